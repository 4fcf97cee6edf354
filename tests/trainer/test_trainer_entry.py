"""The console script, in a process of its own, against package folders as pip would leave them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = (
    *("numpy", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection", "annotated_types"),
    *("fsspec", "platformdirs", "filelock"),
)


def run(site, *arguments, options=()):
    code = "from mlshared._trainer_entry import main; main()"
    command = [sys.executable, *options, "-c", code, *arguments]
    environ = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(command, env=environ, cwd=site, capture_output=True, text=True, check=False)


@pytest.fixture
def site(tmp_path):
    (tmp_path / "mlshared").symlink_to(ROOT / "mlshared")
    (tmp_path / "trainer").mkdir()
    return tmp_path


def install(site, distribution):
    info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    (info / "RECORD").write_text("trainer/__init__.py,,\n")
    (info / "top_level.txt").write_text("trainer\n")


def test_ours_runs():
    """The commands are listed."""
    result = run(ROOT, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert "retrain" in result.stdout


@pytest.mark.parametrize("source", ["x = 1\n", "import torch_is_not_here\n", "raise RuntimeError('boom')\n"])
def test_an_intruder_is_named(site, source):
    """Whatever its package does when imported."""
    (site / "trainer" / "__init__.py").write_text(source)
    install(site, "coqui-tts-trainer")
    result = run(site, "retrain")
    assert result.returncode == 2
    assert result.stderr == (
        "trainer: the distribution 'coqui-tts-trainer' has overwritten mlshared's package trainer: "
        "pip uninstall coqui-tts-trainer, then pip install --force-reinstall --no-deps mlshared\n"
    )


def test_a_package_nobody_owns_up_to_is_not_ours_either(site):
    """Files left by hand carry no mark of ours."""
    (site / "trainer" / "__init__.py").write_text("x = 1\n")
    result = run(site, "retrain")
    assert result.returncode == 2
    assert result.stderr.startswith("trainer: the package trainer is not mlshared's")
    assert result.stderr.count("\n") == 1


def test_without_its_extra_it_names_it(site):
    """A web app's install has the command, and one line says what is missing."""
    (site / "trainer" / "__init__.py").write_text("THIS_IS_MLSHARED = True\nimport typer_is_not_here\n")
    # -S leaves out site-packages; what a web app installs is put beside our two packages.
    for name in CORE:
        there = Path(importlib.util.find_spec(name).origin)
        there = there.parent if there.name == "__init__.py" else there
        (site / there.name).symlink_to(there)
    result = run(site, "list", options=["-S"])
    assert result.returncode == 2
    assert result.stderr.startswith("trainer: needs typer, rich, sklearn, pandas, joblib, skops: ")
    assert result.stderr.endswith("pip install 'mlshared[trainer]'\n")
