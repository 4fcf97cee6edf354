"""`examples/run`, whole: on files, over S3, and stopped in the middle."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.alone]

TOP = Path(__file__).parents[2]


def start(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "examples.demo", *options],
        cwd=TOP,
        env={**os.environ, "MLSHARED_STORE": "/nowhere", "PYTHONWARNINGS": "default"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module", params=["files", "s3"])
def shown(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What it prints."""
    folder = tmp_path_factory.mktemp("demo")
    demo = start("--folder", str(folder), *(["--s3"] if request.param == "s3" else []))
    printed, _ = demo.communicate(timeout=900)
    assert demo.returncode == 0, printed
    assert children_of(folder) == []
    return printed


def children_of(folder: Path) -> list[str]:
    """Return the processes that the demo of that folder has left running, by their environment."""
    left = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"MLSHARED_CACHE_DIR={folder}/cache".encode() in (process / "environ").read_bytes():
                left.append(process.name)
        except OSError:
            continue
    return left


def figure(shown: str, name: str) -> int:
    (found,) = re.findall(rf"^   {name} +([\d,]+)", shown, re.MULTILINE)
    return int(found.replace(",", ""))


def test_no_request_fails_and_no_answer_is_wrong(shown: str) -> None:
    """Over two changes under load, each answer compared with what its version predicts offline."""
    assert figure(shown, "requests") > 500
    assert figure(shown, "failed") == figure(shown, "wrong answers") == figure(shown, "stale answers") == 0


def test_every_worker_changes_forth_and_back(shown: str) -> None:
    """Two workers, each seen to answer with the other version; how soon is for `tests/serving` to say."""
    for change in ("1 -> 2", "2 -> 1"):
        changed = re.findall(rf"worker (\d+): version {change}, [\d.]+ s after the release", shown)
        assert len(set(changed)) == 2


def test_a_blob_is_downloaded_once_for_both_workers(shown: str) -> None:
    """Two versions of two blobs each."""
    assert figure(shown, "downloads") == 4


def test_without_a_terminal_it_is_a_plain_log(shown: str) -> None:
    """No escape sequences, no carriage returns, no warnings; steps 1 to 7; the last line says what to try."""
    assert not re.search(r"[\x1b\r]|[Ww]arning", shown)
    assert re.findall(r"^(\d)\. ", shown, re.MULTILINE) == list("1234567")
    assert shown.splitlines()[-1].startswith("Next: ")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="children are looked for in /proc")
def test_ctrl_c_leaves_nothing_running(tmp_path: Path) -> None:
    """While it trains with S3 up: it says so, ends with 130, and every process it started is gone."""
    demo = start("--s3", "--folder", str(tmp_path))
    until = time.monotonic() + 240
    while len(children_of(tmp_path)) < 2:
        assert time.monotonic() < until
        assert demo.poll() is None
        time.sleep(0.05)
    demo.send_signal(signal.SIGINT)
    printed, _ = demo.communicate(timeout=120)
    assert demo.returncode == 130
    assert printed.splitlines()[-1] == "Stopped. Nothing it started is left running."
    assert "Traceback" not in printed
    assert children_of(tmp_path) == []


def test_two_at_once_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second says so and leaves the first alone."""
    first = start("--folder", str(tmp_path))
    try:
        until = time.monotonic() + 240
        while not (tmp_path / "commands.log").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        printed, _ = start("--folder", str(tmp_path)).communicate(timeout=120)
        assert "another one is running" in printed
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGINT)
        first.communicate(timeout=120)
