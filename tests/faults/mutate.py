"""Whether the fault tests would notice: each step that verifies or decides is switched off in turn.

    python tests/faults/mutate.py               every mutant there is
    python tests/faults/mutate.py f07 f24       those of some rows
    python tests/faults/mutate.py --list

A mutant is a tuple of the `MUTANTS` in a ``mutants_*.py`` beside this file:

    (row, path, old text, new text, the test that must fail then)

The repository is copied to a temporary folder, the one mutant applied there, and its test run. A test that takes
longer than five minutes counts as failed: something waits for ever. Prints a table; exit status 1 if any mutant
survives, 2 if one cannot be applied, as its old text is not there exactly once. `test_mutants.py` sees to that.
"""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
TOP = HERE.parents[1]
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", ".cache", "__pycache__", "dist", "build"
)
TEST_SECONDS = 300


class Mutant(NamedTuple):
    """One change, and the test that is to notice it."""

    row: str
    path: str
    old: str
    new: str
    test: str

    def found(self) -> int:
        """Return how often the old text occurs."""
        return (TOP / self.path).read_text().count(self.old)

    def __str__(self) -> str:
        old, new = (" ".join(text.split())[:60] for text in (self.old, self.new))
        return f"{self.path}: {old} -> {new or 'nothing'}"


def mutants() -> list[Mutant]:
    """Return every mutant, by row."""
    found = []
    for path in sorted(HERE.glob("mutants_*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += [Mutant(*each) for each in module.MUTANTS]
    return sorted(found)


def survives(mutant: Mutant) -> bool:
    """Return whether the test passes all the same."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(TOP, copy, ignore=LEFT_OUT)
        changed = copy / mutant.path
        changed.write_text(changed.read_text().replace(mutant.old, mutant.new))
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", mutant.test]
        try:
            done = subprocess.run(
                command,
                cwd=copy,
                env={**os.environ, "PYTHONPATH": str(copy), "TESTS_PROFILE": "quick"},
                capture_output=True,
                text=True,
                timeout=TEST_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    if done.returncode not in (0, 1):
        raise SystemExit(f"{mutant.test} could not be run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 0


def main() -> int:
    """Run what is asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", help="f07 f24; default: all")
    parser.add_argument("--list", action="store_true", help="only list them")
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time; default: 2")
    asked = parser.parse_args()
    chosen = [mutant for mutant in mutants() if not asked.rows or mutant.row in asked.rows]
    lost = [mutant for mutant in chosen if mutant.found() != 1]
    for mutant in lost:
        print(f"{mutant.row}  its old text is there {mutant.found()} times: {mutant}", file=sys.stderr)
    if lost:
        return 2
    if asked.list:
        for mutant in chosen:
            print(f"{mutant.row}  {mutant}\n     {mutant.test}")
        print(f"{len(chosen)} mutants")
        return 0
    alive = 0
    with ThreadPoolExecutor(asked.jobs) as pool:
        for mutant, unnoticed in zip(chosen, pool.map(survives, chosen), strict=True):
            alive += unnoticed
            verdict = "SURVIVES" if unnoticed else "killed by"
            print(f"{mutant.row}  {mutant}\n     {verdict} {mutant.test}", flush=True)
    print(f"{len(chosen)} mutants, {alive} survive")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
