"""What the README tells people to paste works as pasted, in an empty folder."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from examples.flights.features import derive

TOP = Path(__file__).parents[1]
README = (TOP / "README.md").read_text()
BIN = Path(sys.executable).parent
DEADLINE_SECONDS = 240


def pasted(name: str) -> str:
    """Return the README's block that begins with ``# name``."""
    (found,) = re.findall(rf"```python\n(# {re.escape(name)}\n.*?)```", README, re.DOTALL)
    return str(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train.py", "app.py"):
        (tmp_path / name).write_text(pasted(name))
    return tmp_path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLSHARED_", "FLASK_"))}
    return {**kept, "XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONWARNINGS": "error"}


def train(folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def url(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """`flask run` in that folder."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "flask.log").open("w") as log:
        flask = subprocess.Popen(
            [str(BIN / "flask"), "run", "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}/predict"
    finally:
        flask.terminate()
        flask.wait(10)


def curl(url: str) -> dict[str, Any]:
    """Send what the README's curl sends, trying until somebody listens."""
    (body,) = re.findall(r"--json '(.*?)'", README)
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            assert time.monotonic() < until, "flask run does not listen"


@pytest.mark.slow
def test_train_and_app_work_as_pasted(folder: Path, environment: dict[str, str], url: str) -> None:
    """Version 1 answers; after train.py ran again the same process answers with version 2."""
    assert train(folder, environment) == "cancer@1 is in force\n"
    answer = curl(url)
    assert answer["version"] == 1
    assert 0 < answer["benign"] < 1
    wrong = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(wrong, timeout=30)
    with caught.value as refused:
        assert refused.code == 400
        assert json.load(refused)["errors"][0]["field"] == "mean radius"
    assert train(folder, environment) == "cancer@2 is in force\n"
    until = time.monotonic() + DEADLINE_SECONDS
    while curl(url)["version"] != 2:
        assert time.monotonic() < until, "version 2 does not arrive"


def test_the_recipe_shown_is_a_recipe() -> None:
    """With the functions it leaves out."""
    (block,) = re.findall(r"```python\n(from trainer import.*?)```", README, re.DOTALL)
    names: dict[str, Any] = {"load": list, "build": list, "derive": derive}
    exec(block, names)
    assert names["recipe"].name == "flights"


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\((?!https?:)(.*?)\)", README))))
def test_links_lead_somewhere(path: str) -> None:
    """Those into the repository."""
    assert (TOP / path).exists()


def test_commands_named_exist() -> None:
    """`./examples/run` and `./tests/run` can be executed."""
    for name in set(re.findall(r"\./(\w+/run)\b", README)):
        assert os.access(TOP / name, os.X_OK), name
