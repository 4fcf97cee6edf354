"""The command line, in process and end to end, on a store in a folder."""

import json
import re
import sys

import pytest

from mlshared.errors import AccessDenied, ArtifactError, ConfigError, InputError, NotPublished, StorageError
from trainer._lease import Busy, LeaseLost
from trainer._outcome import Outcome
from trainer.cli import app, exit_code, main, worst
from trainer.errors import LogLost, RecipeError, ReleaseRefused

COMMANDS = [
    "init", "retrain", "list", "show", "diff", "schema", "versions", "history", "release", "rollback", "hold",
    "recover", "gc", "doctor", "keygen", "verify", "pull", "copy",
]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty working directory, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for variable in ("STORE", "STORAGE_OPTIONS"):
        monkeypatch.delenv(f"MLSHARED_{variable}", raising=False)
    monkeypatch.setenv("MLSHARED_CACHE_DIR", str(tmp_path / "cache"))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.endswith("_recipe"):
            del sys.modules[name]


def outcome(**changes):
    values = dict.fromkeys(Outcome.__dataclass_fields__)
    return Outcome(**{**values, "released": False, "on_hold": False, **changes})


def problem(capsys, *arguments):
    """Run a command that is wrong; return its exit code and its one line on stderr."""
    code = main(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert "Traceback" not in captured.err
    return code, captured.err.strip()


def output(capsys, *arguments):
    """Run a command that works; return its stdout."""
    code = main(arguments)
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (outcome(released=True), 0),
        (outcome(on_hold=True), 0),
        (outcome(), 3),
        (ConfigError(), 2),
        (NotPublished(), 2),
        (StorageError(), 75),
        (AccessDenied(), 1),
        (Busy(), 75),
        (LeaseLost(), 75),
        (ReleaseRefused(), 3),
        (LogLost(), 1),
        (RecipeError(), 1),
        (ArtifactError(), 1),
        (InputError([]), 1),
    ],
)
def test_exit_codes(result, code):
    """Each end a command can come to has its number."""
    assert exit_code(result) == code


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([0, 3], 3),
        ([3, 75], 75),
        ([75, 1, 0], 1),
        ([0, 0], 0),
        ([], 0),
        ([3, 1], 1),
        ([75, 2, 3], 2),
        ([2, 1], 1),
    ],
)
def test_the_worst_of_several_models_counts(codes, code):
    """1 > 2 > 75 > 3 > 0."""
    assert worst(codes) == code


def test_every_command_is_known_here():
    """A new one needs its place in these tests."""
    assert sorted(c.name or c.callback.__name__ for c in app.registered_commands) == sorted(COMMANDS)


def test_help_names_exit_codes_and_the_file(capsys):
    """What cron and a newcomer need."""
    text = " ".join(output(capsys, "--help").split())
    assert "3 published, not released; 75 try again" in text
    assert 'trainer.toml, here or above: store = "s3://acme/models"' in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    """And, where it reads a store, the three common options."""
    text = output(capsys, command, "--help")
    assert f"Example: trainer {command}" in text
    if command not in {"init", "keygen"}:
        assert re.search(r"--store.*--json.*--quiet", text, re.DOTALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list"], "trainer: no store: give --store, set MLSHARED_STORE, or write"),
        (["list", "--store", ""], "trainer: --store is empty"),
        (["list", "--store", "nope://x"], "nope"),
        (["list", "--store", "./none"], "trainer: ./none is no store yet"),
        (["show", "Flights!", "--store", "./none"], "is no ref"),
        (["versions", "../x", "--store", "./none"], "cannot name a model"),
        (["history", "flights", "--alias", "3", "--store", "./none"], "cannot name an alias"),
        (["retrain"], "trainer: no trainer.toml here or above"),
        (["release", "flights", "1", "--store", "./none"], "store"),
        (["recover", "flights", "--past", "1", "--store", "./none"], "store"),
        (["gc", "--store", "./none"], "store"),
        (["gc", "Flights", "--store", "./none"], "store"),
        (["doctor", "--store", "nope://x"], "nope"),
        (["init", "Flights"], "cannot name a model"),
    ],
)
def test_wrong_use_is_one_line_and_exit_2(arguments, message, capsys):
    """Never a traceback."""
    code, line = problem(capsys, *arguments)
    assert code == 2, line
    assert message in line


WRONG = [
    "release flights", "release flights 0", "nope", "list --nope", "recover flights", "recover --past 3",
    "gc --keep 0", "doctor flights",
]  # fmt: skip


@pytest.mark.parametrize("line", WRONG)
def test_wrong_syntax_is_exit_2(line, capsys):
    """The parser names what it did not understand."""
    assert main(line.split()) == 2
    assert "Error" in capsys.readouterr().err


def test_an_unreachable_store_is_exit_75(capsys, monkeypatch):
    """Trying again later may help."""
    options = {
        "endpoint_url": "http://127.0.0.1:9",
        "key": "k",
        "secret": "s",
        "client_kwargs": {"region_name": "us-east-1"},
    }
    monkeypatch.setenv("MLSHARED_STORAGE_OPTIONS", json.dumps(options))
    code, line = problem(capsys, "list", "--store", "s3://bucket/models")
    assert code == 75
    assert "s3://bucket" in line


def test_a_config_without_models_is_said(folder, capsys):
    """With what to add."""
    (folder / "trainer.toml").write_text('store = "./models"\n')
    code, line = problem(capsys, "retrain")
    assert code == 2
    assert "names no model" in line


def test_a_recipe_that_does_not_import_is_one_line(folder, capsys):
    """Before anything is started."""
    (folder / "trainer.toml").write_text('store = "./models"\n[models.m]\nrecipe = "gone_recipe:recipe"\n')
    code, line = problem(capsys, "retrain", "m")
    assert code == 2
    assert "no module 'gone_recipe'" in line


def test_a_recipe_that_does_not_import_stops_no_other_model(folder, capsys):
    """Of several models; that one has failed, and --json says so."""
    output(capsys, "init", "tumours")
    recipe = folder / "tumours_recipe.py"
    recipe.write_text(recipe.read_text().replace("return load_breast", "1 / 0\n    return load_breast"))
    config = folder / "trainer.toml"
    pinned = "[models.pinned]\npins = [3]\n"
    config.write_text(f'{config.read_text()}\n[models.a]\nrecipe = "gone_recipe:recipe"\n{pinned}')
    order = ["a", "tumours"]
    assert main(["retrain", *order, "--json", "--quiet"]) == 1
    failures = json.loads(capsys.readouterr().out)["failures"]
    assert [(f["name"], f["exit_code"]) for f in failures] == [("a", 2), ("tumours", 1)]
    assert "no module 'gone_recipe'" in failures[0]["error"]
    assert "load raised ZeroDivisionError" in failures[1]["error"]
    assert main(["retrain", "--json", "--quiet"]) == 1
    assert len(json.loads(capsys.readouterr().out)["failures"]) == 2
    code, line = problem(capsys, "retrain", "pinned")
    assert code == 2
    assert "[models.pinned] has pins alone" in line


def test_a_failure_is_json_too(capsys):
    """Where JSON is read, one object on stdout; the line on stderr as ever."""
    assert main(["show", "flights", "--store", "./none", "--json"]) == 2
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert found["exit_code"] == 2
    assert told.err.strip() == f"trainer: {found['error']}"


def test_an_unknown_model_is_one_line(capsys):
    """With the closest one there is."""
    output(capsys, "init", "flights")
    code, line = problem(capsys, "retrain", "flight")
    assert code == 2
    assert line.endswith("did you mean 'flights'?")


def test_init_overwrites_nothing(folder, capsys):
    """A second one stops."""
    output(capsys, "init", "flights")
    text = (folder / "trainer.toml").read_text()
    assert problem(capsys, "init", "other")[0] == 2
    assert (folder / "trainer.toml").read_text() == text
    assert not (folder / "other_recipe.py").exists()


@pytest.mark.slow
def test_a_model_from_init_to_rollback(folder, capsys):
    """The whole life of a model by commands alone, starting from nothing."""
    assert "next: trainer retrain tumours" in output(capsys, "init", "tumours")

    assert main(["retrain"]) == 0
    captured = capsys.readouterr()
    steps = [line.split(":")[1].split("(")[0].split("  ")[0].strip() for line in captured.err.splitlines()]
    assert steps == ["load", "fit", "evaluate", "judge", "publish", "read back", "release"]
    assert "tumours@1 is released" in captured.out

    result = json.loads(output(capsys, "retrain", "tumours", "--json"))
    (second,) = result["outcomes"]
    assert (second["version"], second["released"], second["champion_version"]) == (2, True, 1)
    assert second["metrics"] == second["champion_metrics"]
    assert all(check["passed"] for check in second["checks"])

    (line,) = json.loads(output(capsys, "list", "--json"))["models"]
    assert (line["name"], line["newest"], line["aliases"]["production"]["version"]) == ("tumours", 2, 2)
    assert json.loads(output(capsys, "show", "tumours", "--json"))["version"] == 2
    assert "tumours@1  classifier" in output(capsys, "show", "tumours@1")
    assert len(json.loads(output(capsys, "versions", "tumours", "--json"))["versions"]) == 2

    said = output(capsys, "rollback", "tumours", "--reason", "a test")
    assert said.startswith("tumours@production is version 1 (entry 3, rollback); on hold")
    assert main(["retrain", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")

    said = output(capsys, "release", "tumours", "3", "--reason", "looked at")
    assert said == "tumours@production is version 3 (entry 4, release)\n"
    assert "on hold" in output(capsys, "hold", "tumours")
    entries = json.loads(output(capsys, "history", "tumours", "--json"))["history"]
    assert [(e["version"], e["kind"], e["by"]) for e in entries] == [
        (1, "release", "retrain"), (2, "release", "retrain"), (1, "rollback", "person"),
        (3, "release", "person"), (3, "hold", "person"),
    ]  # fmt: skip
    assert problem(capsys, "show", "tumours@99")[0] == 2
    assert problem(capsys, "show", "tumour")[1].endswith("did you mean 'tumours'?")
    assert problem(capsys, "release", "tumours", "99")[0] == 2


def test_a_failed_check_publishes_and_exits_3(folder, capsys):
    """The version is there to look at; what is in force stays."""
    output(capsys, "init", "tumours")
    recipe = folder / "tumours_recipe.py"
    recipe.write_text(recipe.read_text().replace("0.9)", "1.5)"))
    assert main(["retrain", "--quiet"]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "tumours@1 is published, not released: roc_auc at least 1.5" in captured.err


def test_a_recipe_that_raises_fails_with_its_line(folder, capsys):
    """Exit 1; --traceback shows all of it."""
    output(capsys, "init", "tumours")
    recipe = folder / "tumours_recipe.py"
    recipe.write_text(recipe.read_text().replace("return load_breast", "1 / 0\n    return load_breast"))
    assert main(["retrain", "--quiet"]) == 1
    captured = capsys.readouterr()
    said = (
        r"trainer: tumours: load raised ZeroDivisionError: division by zero \(tumours_recipe.py, line \d+\)"
    )
    assert re.fullmatch(said, captured.err.strip())
    assert main(["retrain", "--quiet", "--traceback"]) == 1
    assert "Traceback" in capsys.readouterr().err
