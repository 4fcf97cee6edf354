"""Steps that put the answers of several models together: averages, votes, calibration, one-vs-one duels."""

from functools import cache
from typing import Any, Final

import numpy as np

from mlshared.errors import InputError, IntegrityError
from mlshared.plan._step import Array, Compiled, Shape, Step, only

MAX_VOTED: Final = 100_000  # classes
MAX_DUELLING: Final = 200  # classes; pairs are half its square
_CELLS: Final = 1 << 18  # rows x classes x classes at once
_FLOATS: Final = ("float64", "float32")
_UNIT: Final = 1e-5  # how far from 1 a row of probabilities may sum: numpy.isclose's relative tolerance
_UNIT_ABSOLUTE: Final = 1e-8
_EPSILON: Final = 1e-12  # what scikit-learn adds to a probability before its logarithm


def average(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Compute the sum of blocks times ``weights``, one a block, in order, divided by ``divisor``; ``dtype``."""
    width = _alike(step, inputs)
    dtype = step.choice("dtype", _FLOATS)
    weights = step.array("weights", len(inputs)).tolist()
    divisor = step.number("divisor", low=-1e300, high=1e300)
    if divisor == 0:
        raise IntegrityError("step 'average' divides by zero")

    def run(*blocks: Array) -> Array:
        total: Any = None
        for block, weight in zip(blocks, weights, strict=True):
            term = block.astype(dtype, copy=False)
            if weight != 1.0:
                term = term * weight
            total = term if total is None else total + term
        return np.asarray(total / divisor, dtype=dtype)

    return Compiled(Shape("block", width, dtype), run)


def tally(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Add up the votes for each of ``classes``: codes weighted by ``weights``, one a voter, in order."""
    if not inputs or any(shape.kind != "codes" for shape in inputs):
        raise IntegrityError("step 'tally' takes codes")
    width = int(step.number("classes", low=1, high=MAX_VOTED))
    weights = step.array("weights", len(inputs)).tolist()
    classes = np.arange(width)

    def run(*codes: Array) -> Array:
        votes = np.zeros((len(codes[0]), width))
        for code, weight in zip(codes, weights, strict=True):
            votes += np.where(code == classes, weight, 0.0)
        return votes

    return Compiled(Shape("block", width), run)


def shares(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Divide each row by its sum; where that is zero, ``otherwise``: ``uniform`` shares, or the row as it is."""
    shape = only(step, inputs)
    uniform = step.choice("otherwise", ("uniform", "same")) == "uniform"

    def run(x: Array) -> Array:
        total = x.sum(axis=1, keepdims=True)
        some = total != 0
        shared = x / np.where(some, total, 1)
        return np.where(some, shared, x.dtype.type(1 / x.shape[1]) if uniform else x)

    return Compiled(shape, run)


def logits(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give log(p + 1e-12) for rows that are probabilities, and other rows as they are.

    Source: ``_convert_to_logits`` of sklearn/calibration.py, there decided for a batch as a whole.
    """
    shape = only(step, inputs)

    def run(x: Array) -> Array:
        inside = ((x >= 0) & (x <= 1)).all(axis=1, keepdims=True)
        total = x.sum(axis=1, keepdims=True)
        probabilities = inside & (np.abs(total - 1) <= _UNIT + _UNIT_ABSOLUTE)
        return np.where(probabilities, np.log(np.where(probabilities, x, 1) + _EPSILON), x)

    return Compiled(shape, run)


def isotonic(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Interpolate between the points ``x``, rising, and ``y``; ``outside``: ``clip``, ``nan`` or ``raise``."""
    shape = only(step, inputs)
    xs = step.array("x", None)
    ys = step.array("y", len(xs))
    outside = step.choice("outside", ("clip", "nan", "raise"))
    if shape.width != 1 or not len(xs) or not bool((np.diff(xs) >= 0).all()):
        raise IntegrityError("step 'isotonic' takes one column and rising points")
    low, high = xs[0], xs[-1]

    def run(x: Array) -> Array:
        x = x[:, 0].astype(np.float64, copy=False)
        if outside == "clip":
            x = x.clip(low, high)
        elif outside == "raise" and ((x < low) | (x > high)).any():
            raise InputError([{"field": "input", "message": "the model refuses a value outside its range"}])
        return np.interp(x, xs, ys, left=np.nan, right=np.nan)[:, None]

    return Compiled(Shape("block", 1), run)


def constant(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give ``values`` for every row, whatever the input is."""
    if len(inputs) != 1:
        raise IntegrityError("step 'constant' takes one input, for its number of rows")
    values = step.array("values", None)
    if not len(values):
        raise IntegrityError("step 'constant' has no values")
    return Compiled(Shape("block", len(values)), lambda x: np.repeat(values[None, :], len(x), axis=0))


def duels(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Turn the scores of each pair of ``classes`` into a score a class; pairs as (0, 1), (0, 2), ..., (1, 2).

    The first input holds a score a pair, above zero for the second class. ``rule`` says who wins a duel: that
    sign, zero going to the first class (``sign``) or the second (``libsvm``), or a second input of codes 0 and
    1, one a pair (``codes``). With ``confidence`` the votes are told apart by the sum of scores s, as
    s / (3 (abs(s) + 1)); source: ``_ovr_decision_function`` of sklearn/utils/multiclass.py.
    """
    count = int(step.number("classes", low=2, high=MAX_DUELLING))
    pairs = count * (count - 1) // 2
    rule = step.choice("rule", ("sign", "libsvm", "codes"))
    confidence = step.params.get("confidence") is True
    wanted = 2 if rule == "codes" else 1
    if len(inputs) != wanted or any(shape.kind != "block" or shape.width != pairs for shape in inputs):
        raise IntegrityError("step 'duels' takes one column a pair of classes")
    wins = np.greater if rule == "sign" else np.greater_equal

    def run(scores: Array, codes: Array | None = None) -> Array:
        won = wins(scores, 0) if codes is None else codes == 1
        votes = _for_each(count, won, ~won)
        if not confidence:
            return votes
        total = _for_each(count, scores, -scores)
        return np.asarray(votes + total / (3 * (np.abs(total) + 1)))

    return Compiled(Shape("block", count), run)


def _for_each(count: int, second: Array, first: Array) -> Array:
    """Return the sum of what each class gets, (n, classes), given what both of each pair get, (n, pairs)."""
    places = _pairs(count)
    found = np.empty((len(second), count))
    rows = max(1, _CELLS // count**2)
    for start in range(0, len(second), rows):
        part = slice(start, start + rows)
        square = np.zeros((len(second[part]), count, count))
        square[:, places[1], places[0]] = second[part]
        square[:, places[0], places[1]] = first[part]
        found[part] = square.sum(axis=2)
    return found


@cache
def _pairs(count: int) -> tuple[Array, Array]:
    """Return the classes of each pair; kept, for a plan may ask for many, and all of them take some megabytes."""
    first, second = np.triu_indices(count, 1)
    return first, second


def _alike(step: Step, inputs: tuple[Shape, ...]) -> int:
    if not inputs or any(shape.kind != "block" or shape.width != inputs[0].width for shape in inputs):
        raise IntegrityError(f"step {step.op!r} takes blocks of one width")
    return inputs[0].width
