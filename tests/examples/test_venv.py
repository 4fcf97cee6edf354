"""How `examples/run` and `tests/run` find a Python: the newest that runs, else a word on what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
BASH = shutil.which("bash") or "bash"

RUNS = f'exec {sys.executable} "$@"'
FAILS = "echo 'pyenv: command not found' >&2; exit 127"
OLD = "exit 1"  # as the version check does
WITHOUT_ENSUREPIP = f'case "$2" in *ensurepip*) exit 1;; esac; exec {sys.executable} "$@"'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A PATH with nothing on it but what the script itself needs."""
    for tool in ("sort", "cut"):
        (tmp_path / tool).symlink_to(shutil.which(tool) or tool)
    return tmp_path


def put(folder: Path, name: str, does: str) -> Path:
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!{BASH}\n{does}\n")
    program.chmod(0o755)
    return program


def find_python(*folders: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BASH, "-c", "set -u; . examples/venv.sh; find_python"],
        cwd=TOP,
        env={"PATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_newest_is_taken(path: Path) -> None:
    """By number: 3.9 is older than 3.12."""
    put(path, "python3.9", RUNS)
    newest = put(path, "python3.12", RUNS)
    put(path, "python3.11", RUNS)
    assert find_python(path).stdout == f"{newest}\n"


def test_one_that_fails_is_passed_over(path: Path) -> None:
    """A pyenv shim of a version that is not active; one further down the PATH that runs is found."""
    put(path, "python3.13", FAILS)
    behind = put(path / "behind", "python3.13", RUNS)
    put(path, "python3.12", RUNS)
    found = find_python(path, path / "behind")
    assert (found.stdout, found.stderr) == (f"{behind}\n", "")


def test_other_programs_are_no_pythons(path: Path) -> None:
    """python3.12-config and python3.13t are not asked."""
    put(path, "python3.13t", RUNS)
    put(path, "python3.12-config", RUNS)
    only = put(path, "python3", RUNS)
    assert find_python(path).stdout == f"{only}\n"


def test_one_that_can_make_a_venv_is_preferred(path: Path) -> None:
    """To a newer one that cannot."""
    put(path, "python3.13", WITHOUT_ENSUREPIP)
    able = put(path, "python3.12", RUNS)
    assert find_python(path).stdout == f"{able}\n"


def test_without_ensurepip_it_names_the_package(path: Path) -> None:
    """What to type on Debian and Ubuntu."""
    put(path, "python3.12", WITHOUT_ENSUREPIP)
    found = find_python(path)
    assert (found.returncode, found.stdout) == (1, "")
    assert "apt install python3-venv" in found.stderr


def test_without_a_python_it_says_which_it_needs(path: Path) -> None:
    """An older one does not count."""
    put(path, "python3.10", OLD)
    found = find_python(path)
    assert (found.returncode, found.stdout) == (1, "")
    assert "Python 3.11 or newer" in found.stderr


def test_an_interpreter_says_itself_how_old_it_is() -> None:
    """The check that `find_python` makes, for a version that is too old: one above ours is needed."""
    ours, above = sys.version_info[1], sys.version_info[1] + 1
    for needed, code in ((f"3.{ours}", 0), (f"3.{above}", 1)):
        checked = subprocess.run(
            [BASH, "-c", f". examples/venv.sh; needed={needed}; runs {sys.executable}"], cwd=TOP, check=False
        )
        assert checked.returncode == code
