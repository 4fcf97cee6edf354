"""Plans that somebody tampered with, at random: made of the zoo's, loaded and asked, in this process.

    python -m tests.plan.mutations --seconds 600 --seed 7

A tampered plan is refused when it is loaded, with one of our errors; or it answers, whatever it answers, or
refuses the row. Anything else is a finding: another exception, more than two seconds, more memory than the
limit. The first finding is printed with its seed and ends the run.
"""

import argparse
import json
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mlshared.errors import InputError, IntegrityError, UnsupportedFormat
from mlshared.plan import load_plan, pack
from mlshared.plan._file import unpack
from mlshared.plan._ops import OPS

SECONDS_EACH = 2.0
MEMORY = 3 * 2**30
ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 0.5, -0.0, 7.5, 63, 64, 200, 1000, 10**6, 4 * 10**6, 10**9, 10**12,
    2**31, 2**63, 10**400, -(10**400), 1e-300, 1e300, 1e308, "", "x", "none", "float32", "float64",
    "int8", "U99999999", "(a+)+$", "\ud800", [], [[]], [["a"]], [None], [0, 1], {}, {"a": 1},
)  # fmt: skip
SHAPES = ("cut", "empty", "doubled", "transposed", "wide", "tall", "flat")
VALUES = ("noise", "one", "zeros", "negative", "huge", "nan", "inf", "shuffled", "constant", "dtype")

Program = dict[str, Any]
Tensors = dict[str, Any]


class TooSlow(BaseException):
    """A case took too long; no Exception, so that nothing catches it on the way."""


def mutate(rng: np.random.Generator, data: bytes) -> bytes:
    """Return a tampered plan."""
    if rng.random() < 0.25:
        return _bytes(rng, data)
    program, tensors = unpack(data)
    program, tensors = json.loads(json.dumps(program)), dict(tensors)
    if rng.random() < 0.3:
        _numbers(rng, tensors)
        return pack(program, tensors)
    for _ in range(int(rng.integers(1, 4))):
        _pick(rng, _CHANGES)(rng, program, tensors)
    return pack(program, tensors)


def _bytes(rng: np.random.Generator, data: bytes) -> bytes:
    made = bytearray(data)
    header = 8 + int.from_bytes(data[:8], "little")
    how = int(rng.integers(5))
    if how == 0:
        return bytes(made[: int(rng.integers(len(made)))])
    if how == 1:
        return bytes(made) + bytes(int(rng.integers(1, 100)))
    low, high = {2: (0, header), 3: (header, len(made))}.get(how, (0, len(made)))
    for _ in range(int(rng.integers(1, 8))):
        if high > low:
            byte = ord(_pick(rng, _TYPED)) if how == 2 else int(rng.integers(256))
            made[int(rng.integers(low, high))] = byte
    return bytes(made)


_TYPED = '0123456789-.eE"[]{},: tfn'


def _parameter(rng: np.random.Generator, program: Program, tensors: Tensors) -> None:
    step = _pick(rng, program["steps"])
    names = sorted(set(step) - {"op"}) or ["op"]
    step[_pick(rng, names)] = _pick(rng, ODD)


def _removed(rng: np.random.Generator, program: Program, tensors: Tensors) -> None:
    step = _pick(rng, program["steps"])
    names = sorted(set(step) - {"op"})
    if names:
        del step[_pick(rng, names)]


def _op(rng: np.random.Generator, program: Program, tensors: Tensors) -> None:
    _pick(rng, program["steps"])["op"] = _pick(rng, sorted(OPS))


def _inputs(rng: np.random.Generator, program: Program, tensors: Tensors) -> None:
    number = int(rng.integers(len(program["steps"])))
    most = max(1, number if rng.random() < 0.9 else len(program["steps"]))
    program["steps"][number]["in"] = rng.integers(0, most, int(rng.integers(4))).tolist()


def _order(rng: np.random.Generator, program: Program, tensors: Tensors) -> None:
    steps = program["steps"]
    a, b = rng.integers(0, len(steps), 2).tolist()
    steps[a], steps[b] = steps[b], steps[a]


def _output(rng: np.random.Generator, program: Program, tensors: Tensors) -> None:
    output = _pick(rng, sorted(program["outputs"].items(), key=str))[1]
    name = _pick(rng, ["as", "steps", "classes", "dtype"])
    if name == "as":
        output["as"] = _pick(rng, ["column", "block", "labels", "list"])
    elif name == "steps":
        output["steps"] = rng.integers(0, len(program["steps"]), int(rng.integers(1, 4))).tolist()
    else:
        output[name] = _pick(rng, ODD)


def _rewired(rng: np.random.Generator, program: Program, tensors: Tensors) -> None:
    step = _pick(rng, [s for s in program["steps"] if s.get("arrays")] or [{}])
    if isinstance(step.get("arrays"), dict) and step["arrays"]:
        step["arrays"][_pick(rng, sorted(step["arrays"]))] = _pick(rng, sorted(tensors))


def _tensor(rng: np.random.Generator, program: Program, tensors: Tensors) -> None:
    if not tensors:
        return
    name = _pick(rng, sorted(tensors))
    if rng.random() < 0.3:
        tensors[name] = _reshaped(rng, tensors[name], _pick(rng, SHAPES))
    else:
        tensors[name] = _revalued(rng, tensors[name], _pick(rng, VALUES))


def _numbers(rng: np.random.Generator, tensors: Tensors) -> None:
    """Change floats alone: most such plans load, and have to answer."""
    floats = sorted(name for name, array in tensors.items() if array.dtype.kind == "f")
    for _ in range(int(rng.integers(1, 6)) if floats else 0):
        name = _pick(rng, floats)
        tensors[name] = _revalued(rng, tensors[name], _pick(rng, [how for how in VALUES if how != "dtype"]))


def _reshaped(rng: np.random.Generator, array: Any, how: str) -> Any:
    tall = int(rng.choice([2**20, 2**31, 10**12]))
    return {
        "cut": lambda: array[: len(array) // 2].copy(),  # noqa: PLW0108 - of this array
        "empty": lambda: array[:0].copy(),  # noqa: PLW0108
        "doubled": lambda: np.concatenate([array, array]),
        "transposed": lambda: np.ascontiguousarray(array.T),
        "wide": lambda: np.empty((len(array), 0), dtype=array.dtype),
        "tall": lambda: np.empty((tall, 0), dtype=array.dtype),
        "flat": lambda: array.reshape(-1),  # as they lie
    }[how]()


def _revalued(rng: np.random.Generator, array: Any, how: str) -> Any:
    made = array.copy()
    if how == "dtype":
        with np.errstate(all="ignore"):
            return made.astype(_pick(rng, ["float64", "float32", "int64", "int32", "uint8", "bool"]))
    if how == "shuffled":
        return rng.permutation(made.reshape(-1)).reshape(made.shape)
    if how == "noise":
        noise = np.frombuffer(rng.bytes(max(1, made.nbytes)), dtype=np.uint8)[: made.nbytes]
        noise = (
            noise.view(np.uint8 if made.dtype == bool else made.dtype).astype(made.dtype).reshape(made.shape)
        )
        return np.where(rng.random(made.shape) < 0.3, noise, made)
    kind = made.dtype.kind
    high = 1 if kind == "b" else np.iinfo(made.dtype).max if kind in "iu" else np.finfo(made.dtype).max
    low = 0 if kind in "bu" else np.iinfo(made.dtype).min if kind == "i" else -high
    value: Any = {
        "one": 1, "zeros": 0, "negative": low if rng.random() < 0.5 or kind in "bu" else -1, "huge": high,
        "nan": np.nan if kind == "f" else 2, "inf": np.inf if kind == "f" else 3,
        "constant": made.reshape(-1)[0] if made.size else 0,
    }[how]  # fmt: skip
    made[rng.random(made.shape) < rng.choice([0.05, 0.5, 1.0])] = value
    return made


_CHANGES: tuple[Callable[..., None], ...] = (
    *(_tensor,) * 6, *(_parameter,) * 5, _removed, _op, _op, _inputs, _order, _output, _output, _rewired,
)  # fmt: skip


def _pick(rng: np.random.Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def ask(data: bytes, rows: list[dict[str, Any]]) -> str:
    """Load and ask a plan; return what became of it. What it must not raise comes through."""
    try:
        plan = load_plan(data)
    except (IntegrityError, UnsupportedFormat):
        return "refused at load"
    outcome = "answers"
    with np.errstate(all="ignore"):
        for method in plan.methods:
            for row in rows[:3]:
                if set(plan.fields) <= set(row):
                    outcome = _outcome(lambda m=method, r=row: plan.one(m)(r), outcome)
            if set(plan.fields) <= set(rows[0]):
                outcome = _outcome(lambda m=method: plan.rows(m, rows[:20]), outcome)
    return outcome


def _outcome(answer: Callable[[], Any], before: str) -> str:
    try:
        answer()
    except InputError:
        return "refuses a row"
    return before


def timed(data: bytes, rows: list[dict[str, Any]]) -> str:
    """Do the same, within `SECONDS_EACH`."""
    signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS_EACH)
    try:
        return ask(data, rows)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _late(*_: Any) -> None:
    raise TooSlow


def findings(seed: int, seconds: float, most: int = 10**9) -> Iterator[tuple[int, str, str]]:
    """Yield case, plan and outcome of tampered plans, for so long; each case is a seed of its own."""
    from tests.plan.zoo import zoo  # noqa: PLC0415 - fits twenty pipelines

    animals = list(zoo().values())
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    began = time.monotonic()
    for number in range(most):
        if time.monotonic() - began > seconds:
            return
        animal = animals[number % len(animals)]
        rng = np.random.default_rng((seed, number))
        try:
            outcome = timed(mutate(rng, animal.converted.data), animal.rows)
        except (Exception, TooSlow):  # noqa: BLE001 - whatever it is, it is a finding
            outcome = traceback.format_exc()
        yield number, animal.name, outcome


def main() -> int:
    """Print how many cases came to what; the first finding whole. Return 1 with one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--findings", type=int, default=1)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: dict[str, int] = {}
    found: dict[str, str] = {}
    for number, name, outcome in findings(given.seed, given.seconds):
        raised = outcome.startswith("Traceback")
        kind = "finding" if raised else outcome
        counts[kind] = counts.get(kind, 0) + 1
        if raised:
            found.setdefault(outcome[-300:], f"{name}, seed {given.seed}, case {number}:\n{outcome}")
        if len(found) >= given.findings:
            break
    print(json.dumps(counts))
    print("\n".join(found.values()))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
