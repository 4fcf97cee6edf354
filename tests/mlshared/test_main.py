"""python -m mlshared: fetch, status, check, and one helpful line for each wrong use."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
from shelf import COLUMNS, NAME, add_version, disagree

import trainer
from mlshared import Client
from mlshared.__main__ import main


@pytest.fixture
def url(shelf, tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith("MLSHARED_"):
            monkeypatch.delenv(name)
    url = shelf.copy_to(tmp_path / "models")
    monkeypatch.setenv("MLSHARED_STORE", url)
    monkeypatch.setenv("MLSHARED_CACHE_DIR", str(tmp_path / "cache"))
    return url


@pytest.fixture
def app(tmp_path, monkeypatch):
    """The app's own module, in the folder the command is started in."""
    (tmp_path / "my_rows.py").write_text(
        textwrap.dedent(f"""
            from pydantic import Field, create_model
            NAMES = {COLUMNS!r}
            Right = create_model("Right", **{{name: (float, ...) for name in NAMES}})
            Lacking = create_model("Lacking", **{{name: (float, ...) for name in NAMES[1:]}})
            Optional = create_model("Optional", **{{name: (float | None, None) for name in NAMES}})
            KINDS = ["alias", "validation_alias", "serialization_alias"]
            Alias = create_model("Alias", **{{
                f"f{{n}}": (float, Field(**{{KINDS[n % 3]: name}})) for n, name in enumerate(NAMES)}})
            def derive(row): return row
        """)
    )
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("my_rows", None)
    sys.path[:] = [path for path in sys.path if path != str(tmp_path)]


def test_fetch_fills_the_cache(url, tmp_path, capsys):
    """After fetch a model is served without a store, as in an image."""
    assert main(["fetch", NAME]) == 0
    assert f"{NAME}@1 is in this host's cache" in capsys.readouterr().out
    (tmp_path / "models").rename(tmp_path / "gone")
    with Client(url, cache_dir=tmp_path / "cache") as client:
        assert client.model(NAME).current.version == 1


def test_fetch_without_a_cache(url, tmp_path, capsys, monkeypatch):
    """An image build fails where nothing of the model would be in the image."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("MLSHARED_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert main(["fetch", NAME]) == 2
    told = capsys.readouterr()
    assert "is not kept for the next process" in told.err
    assert not told.out


def test_check(url, app, capsys):
    """A version that loads and answers its golden rows, and accepts the app's class, passes."""
    for schema in ("Right", "Alias"):
        assert main(["check", f"{NAME}@2", "--schema", f"my_rows.{schema}"]) == 0
        assert f"{NAME}@2 loads and answers" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ["check", NAME, "--schema", "my_rows.Lacking"],
            1,
            "InputError: mean radius: Lacking has no such field",
        ),
        (["check", NAME, "--schema", "my_rows.Optional"], 1, "Optional lets it be None"),
        (["check", NAME, "--schema", "my_rows.NAMES"], 2, "is no pydantic model class"),
        (["check", NAME, "--schema", "my_rows.Missing"], 2, "cannot be imported"),
        (["check", NAME, "--schema", "Right"], 2, "cannot be imported"),
        (["check", NAME, "--schema", "my_rows.Right", "--features", "my_rows:derive"], 2, "--features"),
        (["check", NAME, "--features", "my_rows:nothing"], 2, "cannot be imported"),
        (["check", "Cancer"], 2, "is no ref"),
        (["fetch", "unknown"], 1, "NotPublished: no release of unknown@production"),
        (["fetch", f"{NAME}@99"], 1, "NotPublished"),
        (["fetch", NAME, "--store", "nosuch://x/y"], 2, "ConfigError"),
        (["fetch", NAME, "--store", "/proc/nowhere"], 1, "nothing has been published"),
    ],
)
def test_wrong_use(url, app, capsys, arguments, code, message):
    """One line, and an exit code that says whose fault it is."""
    assert main(arguments) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error


def test_a_version_that_fails(url, capsys):
    """fetch and check say why a version cannot be used, also where the host knows already."""
    add_version(url, like=2, version=4, golden=disagree)
    trainer.release(NAME, 4, store=url)
    assert main(["fetch", NAME]) == 1
    for _ in range(2):
        assert main(["check", f"{NAME}@4"]) == 1
        assert "SelfTestFailed: predict_proba, row 0" in capsys.readouterr().err


def test_no_store(monkeypatch, capsys):
    """Without a store each command says how to name one."""
    monkeypatch.delenv("MLSHARED_STORE", raising=False)
    for command in (["fetch", NAME], ["check", NAME], ["status"]):
        assert main(command) == 2
        assert "store" in capsys.readouterr().err
    assert main(["status", "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["exit_code"], found["error"][:22]) == (2, "ConfigError: no store:")


def test_the_store_does_not_answer(url, s3_store, counting_proxy, monkeypatch, capsys):
    """75: try again later."""
    counting_proxy.stop()
    monkeypatch.setenv("MLSHARED_STORAGE_OPTIONS", json.dumps(s3_store.at(counting_proxy.url).options))
    assert main(["fetch", NAME, "--store", s3_store.url]) == 75
    assert "StorageError" in capsys.readouterr().err


def test_status(url, capsys, tmp_path):
    """It shows what each living process of the host serves."""
    assert main(["status"]) == 0
    assert "no process" in capsys.readouterr().out
    with Client(url, cache_dir=tmp_path / "cache", poll_seconds=0.05) as client:
        client.model(NAME).ready()
        worker = next(iter(client._workers.values()))
        worker._poller.submit(worker._tick, timeout_seconds=20)
        assert main(["status"]) == 0
        shown = capsys.readouterr().out
        assert f"{os.getpid()}" in shown
        assert "serving" in shown
        assert main(["status", "--json"]) == 0
        (process,) = json.loads(capsys.readouterr().out)["processes"]
        assert process["models"][NAME]["version"] == 1
        assert main(["status", NAME]) == 0
        assert f"{os.getpid()}" in capsys.readouterr().out
        assert main(["status", f"{NAME}@staging"]) == 0
        assert f"no process of this host has read {NAME}@staging" in capsys.readouterr().out


def test_as_a_module(url):
    """`python -m mlshared` runs it, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "mlshared", "fetch", "unknown"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("NotPublished: ")
