"""Real artifacts, tampered with at random and loaded as the client loads them.

    python tests/hostile/fuzz.py --minutes 60 --seed 7
    python tests/hostile/fuzz.py --seed 7 --case 1234       one case again, in this process

Envelopes, manifests, releases, plans, golden rows, categories and estimators are changed in their bytes, their
JSON, their zip members and their arrays. Each is refused with one of our errors, or answers. A finding is
anything else: another exception, an input that takes longer than `SECONDS_EACH`, memory beyond `MEMORY`, a crash.
Cases run in a child, which is started again after a crash; what did it lies in .cache/hostile/, by seed and case.
"""
# ruff: noqa: E402 - started as a file, it finds the project first

import argparse
import faulthandler
import json
import os
import resource
import select
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from artifacts import Published, estimators, load_as_client, payload, versions
from changes import bytes_changed, json_bytes, json_changed, pick, skops_changed

from mlshared._artifact import load_estimator
from mlshared._envelope import seal
from mlshared._load import set_one_job
from mlshared._selftest import _METHODS
from mlshared.errors import MlsharedError
from mlshared.manifest import Release, parse
from mlshared.store import open_manifest, open_release

FINDINGS = ROOT / ".cache" / "hostile"
# Of one input: generous, as the machine may be busy. A large number of iterations that an estimator asks for is
# not counted: it is the model's own slowness.
SECONDS_EACH = 30.0
START_SECONDS = 120.0
MEMORY = 3 * 2**30


class Cases:
    """Makes case after case; each is a seed of its own."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.versions = versions()
        self.estimators = estimators()
        self.input = b""
        self.save: Callable[[bytes], None] = lambda data: None

    def run(self, number: int) -> str:
        """Run one; return its kind and what became of it. What it must not raise comes through."""
        rng = np.random.default_rng((self.seed, number))
        kind = pick(rng, ["entry", "entry", "plan", "golden", "golden", "categories", *["estimator"] * 10])
        try:
            with np.errstate(all="ignore"):
                done = getattr(self, f"_{kind}")(rng)
        except MlsharedError as error:
            return f"{kind}: {type(error).__name__}"
        return f"{kind}: {done}"

    def _keep(self, data: bytes) -> bytes:
        self.input = data
        self.save(data)
        return data

    def _entry(self, rng: np.random.Generator) -> str:
        published = pick(rng, self.versions)
        stored = pick(rng, [published.manifest, published.release])
        kind = type(stored.entry)
        raw = stored.raw
        if rng.random() < 0.3:
            raw = bytes_changed(rng, raw)
        elif rng.random() < 0.2:
            raw = json_bytes(json_changed(rng, json.loads(raw)))
        else:
            try:
                raw = seal(json_changed(rng, payload(stored.entry)), kind.TYPE)
            except ValueError:  # what JSON cannot say
                return "not made"
        raw = self._keep(raw)
        parse(raw, kind)
        entry = stored.entry
        if kind is Release:
            open_release(raw, entry.store, entry.model, entry.alias, entry.number)
            return "accepted"
        changed = open_manifest(raw, entry.store, entry.model, entry.version)
        load_as_client(published, changed, published.blobs)
        return "serves"

    def _blob(self, rng: np.random.Generator, kind: str, changed: bytes, which: int | None = None) -> str:
        published: Published = pick(rng, self.versions) if which is None else self.versions[which]
        blobs = {**published.blobs, kind: self._keep(changed)}
        version = load_as_client(published, published.manifest, blobs)
        version.predict({"a": 0.5, "c": "x"})
        return "serves"

    def _golden(self, rng: np.random.Generator) -> str:
        return self._json_blob(rng, "golden", int(rng.random() < 0.3))

    def _categories(self, rng: np.random.Generator) -> str:
        return self._json_blob(rng, "categories", 0)

    def _json_blob(self, rng: np.random.Generator, kind: str, which: int) -> str:
        data = self.versions[which].blobs.get(kind, b'{"c": ["x", "y", "z"]}')
        changed = (
            bytes_changed(rng, data)
            if rng.random() < 0.2
            else json_bytes(json_changed(rng, json.loads(data)))
        )
        return self._blob(rng, kind, changed, which)

    def _plan(self, rng: np.random.Generator) -> str:
        from tests.plan.mutations import mutate  # noqa: PLC0415

        return self._blob(rng, "plan", mutate(rng, self.versions[0].blobs["plan"]), 0)

    def _estimator(self, rng: np.random.Generator) -> str:
        name = pick(rng, sorted(self.estimators))
        data, x = self.estimators[name]
        loaded = load_estimator(self._keep(skops_changed(rng, data)))
        try:
            set_one_job(loaded)
        except (AttributeError, TypeError, ValueError):
            return "parameters malformed"
        outcome = "no method"
        for method in sorted(_METHODS):
            for rows in (x, x[:1]):
                outcome = self._ask(loaded, method, rows)
        return outcome

    def _ask(self, loaded: Any, method: str, rows: Any) -> str:
        try:
            ask = getattr(loaded, method, None)
            if ask is not None:
                ask(rows.copy())
        except MemoryError:
            return "takes much memory"
        except Exception:  # noqa: BLE001 - as the self-test does
            return "does not answer"
        return "answers"


def child(seed: int, first: int) -> None:
    """Run cases for ever, one line each; stops by a crash, or with its parent."""
    warnings.simplefilter("ignore")
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where estimators print that are verbose
    cases = Cases(seed)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    current = FINDINGS / f"current-{os.getppid()}"
    cases.save = lambda data: void(current.write_bytes(data))
    print("ready", file=out, flush=True)
    number = first
    while True:
        faulthandler.dump_traceback_later(SECONDS_EACH, exit=True)
        try:
            said = cases.run(number)
        except Exception:  # noqa: BLE001 - whatever it is, it is a finding
            said = "FOUND " + traceback.format_exc()
            (FINDINGS / f"{seed}-{number}").write_bytes(cases.input)
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps([number, said]), file=out, flush=True)
        number += 1


def void(_: Any) -> None:
    """Return nothing."""


def fuzz(seed: int, seconds: float, most: int = 20) -> tuple[Counter[str], list[str]]:
    """Run cases for so long, or until so many findings; return how many came to what, and the findings."""
    FINDINGS.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    found: list[str] = []
    number, end = 0, None
    while len(found) < most and (end is None or time.monotonic() < end):
        command = [
            sys.executable,
            "-X",
            "faulthandler",
            __file__,
            "--child",
            str(number),
            "--seed",
            str(seed),
        ]
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MALLOC_ARENA_MAX": "1",
        }
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            while select.select([process.stdout], [], [], START_SECONDS)[0]:
                line = process.stdout.readline()
                if not line:
                    break
                if line == "ready\n":
                    end = time.monotonic() + seconds if end is None else end
                    continue
                number, said = json.loads(line)
                if said.startswith("FOUND"):
                    found.append(f"seed {seed}, case {number}: {said}")
                counts["a finding" if said.startswith("FOUND") else said] += 1
                number += 1
                if (end is not None and time.monotonic() > end) or len(found) >= most:
                    process.kill()
                    return counts, found
            process.kill()
            process.wait()
            current = FINDINGS / f"current-{os.getpid()}"
            if current.exists():
                current.rename(FINDINGS / f"{seed}-{number}")
            said = process.stderr.read()
            said = said[said.find("Fatal Python error") :][:3000]
            found.append(f"seed {seed}, case {number}: the process ended with {process.returncode}\n{said}")
            number += 1
            if end is None:
                break
    return counts, found


def main() -> int:
    """Print how many cases came to what, and the findings; 1 with any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        child(given.seed, given.child)
    if given.case is not None:
        warnings.simplefilter("ignore")
        print(Cases(given.seed).run(given.case))
        return 0
    counts, found = fuzz(given.seed, 60 * given.minutes)
    for said, count in sorted(counts.items()):
        print(f"{count:8,}  {said}")
    print(f"{sum(counts.values()):,} cases, {len(found)} findings; inputs in {FINDINGS}")
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
