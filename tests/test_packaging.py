"""What the wheel holds and asks for; built here, by the hatchling that is installed, without a network."""

import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=TOP, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return zipfile.Path(built)


def metadata(wheel: zipfile.Path, name: str) -> str:
    (info,) = (entry for entry in wheel.iterdir() if entry.name.endswith(".dist-info"))
    return (info / name).read_text()


def test_it_holds_both_packages_and_nothing_else(wheel: zipfile.Path) -> None:
    """No examples, no tests: whatever else lies at the top would land in site-packages."""
    top = {entry.name for entry in wheel.iterdir()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"mlshared", "trainer"}
    assert len(top) == 3


@pytest.mark.parametrize("package", ["mlshared", "trainer"])
def test_it_holds_every_module(wheel: zipfile.Path, package: str) -> None:
    """And nothing but modules and the marker."""
    sources = {str(file.relative_to(TOP)) for file in (TOP / package).rglob("*.py")}
    packed = {
        name for name in wheel.root.namelist() if name.startswith(f"{package}/") and not name.endswith("/")
    }
    assert packed == sources | {f"{package}/py.typed"}


def test_a_web_process_needs_little(wheel: zipfile.Path) -> None:
    """Five distributions, and typing-extensions, which pydantic brings; the rest is asked for by extras."""
    message = Parser().parsestr(metadata(wheel, "METADATA"))
    required = [line for line in message.get_all("Requires-Dist", []) if "extra ==" not in line]
    names = {line.partition(">")[0] for line in required}
    assert names == {"numpy", "pydantic", "fsspec", "platformdirs", "filelock", "typing-extensions"}


def test_every_extra_is_there(wheel: zipfile.Path) -> None:
    """Errors and the README name them."""
    message = Parser().parsestr(metadata(wheel, "METADATA"))
    extras = set(message.get_all("Provides-Extra", []))
    assert extras == {"s3", "sklearn", "trust", "trainer", "flask", "django", "examples", "all"}


def test_it_says_which_python_and_shows_the_readme(wheel: zipfile.Path) -> None:
    """On PyPI."""
    message = Parser().parsestr(metadata(wheel, "METADATA"))
    assert message["Requires-Python"] == ">=3.11"
    assert "# mlshared" in str(message.get_payload())


def test_it_installs_the_trainer_command(wheel: zipfile.Path) -> None:
    """It enters through mlshared, which can say what is missing."""
    assert "trainer = mlshared._trainer_entry:main" in metadata(wheel, "entry_points.txt")
