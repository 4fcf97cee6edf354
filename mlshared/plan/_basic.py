"""The steps every pipeline has: read, gather, check, fill, affine, encode, look up, linear, link, decide.

Each function checks one step against the shapes of its inputs and returns it compiled. What it computes is
written out in numpy over arrays of n rows: this is the definition that faster ways must equal.
"""

from typing import Any, Final

import numpy as np

from mlshared.errors import InputError, IntegrityError
from mlshared.plan._step import MAX_WIDTH, Array, Compiled, Shape, Step, indices, only


def number(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Read one field as a block of width 1: ``field``, ``dtype``; a missing value is NaN.

    With ``values``, any other value is missing too, as it is to a pandas category dtype.
    """
    _no_inputs(step, inputs)
    dtype = step.choice("dtype", ("float64", "float32"))
    shape = Shape("block", 1, dtype)
    if not step.has("values"):
        return Compiled(shape, lambda column: numbers(column, dtype))
    known = step.array("values", None)

    def run(column: Any) -> Array:
        x = numbers(column, dtype)
        return np.where(np.isin(x, known), x, np.nan)

    return Compiled(shape, run)


def labels(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Read one field as labels: ``field``; None where missing, or not in ``values`` where they are given."""
    _no_inputs(step, inputs)
    shape = Shape("labels", 1, "object")
    known = step.params.get("values")
    if known is None:
        return Compiled(shape, _as_objects)
    if not isinstance(known, list):
        raise IntegrityError("step 'labels' lists no values")
    listed = frozenset(known)
    return Compiled(shape, lambda column: _as_objects([v if v in listed else None for v in column]))


def gather(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Put columns of several blocks side by side: ``source`` (which input) and ``column`` of each."""
    if not inputs or any(shape.kind != "block" for shape in inputs):
        raise IntegrityError("step 'gather' takes blocks")
    source = indices(step, "source", step.array("source", None, dtype="int64"), len(inputs))
    column = step.array("column", len(source), dtype="int64")
    starts = np.cumsum([0, *(shape.width for shape in inputs)])
    if int(starts[-1]) > MAX_WIDTH:
        raise IntegrityError(f"step 'gather' joins {int(starts[-1]):,} columns")
    widths = np.array([shape.width for shape in inputs])
    if column.size and (int(column.min()) < 0 or bool((column >= widths[source]).any())):
        raise IntegrityError("step 'gather' points outside of its blocks")
    picked = starts[source] + column
    dtype = "float64" if any(shape.dtype == "float64" for shape in inputs) else "float32"
    whole = np.array_equal(picked, np.arange(starts[-1]))

    def run(*blocks: Array) -> Array:
        joined = blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
        return joined if whole else joined[:, picked]

    return Compiled(Shape("block", len(picked), dtype), run)


def check(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Refuse what scikit-learn refuses there: ``missing`` and ``infinite`` say whether each is refused."""
    shape = only(step, inputs)
    missing, infinite = step.params.get("missing") is True, step.params.get("infinite") is True

    def run(x: Array) -> Array:
        if missing and infinite:
            bad = not np.isfinite(x).all()
        else:
            bad = bool((missing and np.isnan(x).any()) or (infinite and np.isinf(x).any()))
        if bad:
            raise InputError([{"field": "input", "message": "the model refuses a missing or infinite value"}])
        return x

    return Compiled(shape, run)


def cast(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Round to another float: ``dtype``."""
    shape = only(step, inputs)
    dtype = step.choice("dtype", ("float64", "float32"))

    def run(x: Array) -> Array:
        with np.errstate(over="ignore"):
            return x.astype(dtype, copy=False)

    return Compiled(Shape("block", shape.width, dtype), run)


def fill(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Put ``values``, one a column, in the place of NaN; with ``marker``, in the place of that number."""
    shape = only(step, inputs)
    values = step.array("values", shape.width, dtype=shape.dtype)
    marker = step.params.get("marker")
    if marker is None:
        return Compiled(shape, lambda x: np.where(np.isnan(x), values, x))
    mark = step.number("marker", low=-np.inf, high=np.inf)
    return Compiled(shape, lambda x: np.where(x == mark, values, x))


def missing(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give 1 where NaN and 0 elsewhere; with ``marker``, 1 where that number is."""
    shape = only(step, inputs)
    if step.params.get("marker") is None:
        return Compiled(shape, lambda x: np.isnan(x).astype(x.dtype))
    mark = step.number("marker", low=-np.inf, high=np.inf)
    return Compiled(shape, lambda x: (x == mark).astype(x.dtype))


def affine(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Compute ``((x - sub) / div) * mul + add``, in this order, each of them optional."""
    shape = only(step, inputs)
    given = {name: step.array(name, shape.width, dtype=shape.dtype) for name in _AFFINE if step.has(name)}
    if not given or set(step.arrays) - set(given):
        raise IntegrityError("step 'affine' takes sub, div, mul and add")
    actions = [(_AFFINE[name], given[name]) for name in _AFFINE if name in given]

    def run(x: Array) -> Array:
        for ufunc, values in actions:
            x = ufunc(x, values)
        return x

    return Compiled(shape, run)


_AFFINE: Final[dict[str, Any]] = {"sub": np.subtract, "div": np.divide, "mul": np.multiply, "add": np.add}


def encode(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give the code of each value: ``values`` (a list, or a tensor of numbers), ``missing`` and ``unknown``.

    ``missing`` is the code of a missing value and ``unknown`` that of a value not listed; -1 is a code of its
    own there, and None refuses.
    """
    if len(inputs) != 1 or inputs[0].kind not in {"labels", "block"} or inputs[0].width != 1:
        raise IntegrityError("step 'encode' takes one column")
    values: list[Any] = (
        step.array("values", None).tolist() if step.has("values") else step.params.get("values", [])
    )
    if not isinstance(values, list) or len(values) > MAX_WIDTH:
        raise IntegrityError("step 'encode' lists no values")
    codes = encoding(values)
    absent, unknown = (_code(step, name, len(values)) for name in ("missing", "unknown"))

    def run(x: Array) -> Array:
        found = np.empty((len(x), 1), dtype=np.int64)
        for row, value in enumerate(x[:, 0].tolist()):
            code = absent if _is_missing(value) else codes.get(value, unknown)
            if code is None:
                raise _not_taken(step, value)
            found[row, 0] = code
        return found

    return Compiled(Shape("codes", 1, "int64"), run)


def encoding(values: list[Any]) -> dict[Any, int]:
    """Return value -> code; the first of equal values wins."""
    codes: dict[Any, int] = {}
    for code, value in enumerate(values):
        if isinstance(value, list | dict):
            raise IntegrityError("step 'encode' lists what is no value")
        codes.setdefault(value, code)
    return codes


def lookup(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give the row of ``table`` for each code, ``table`` (codes, width); code -1 takes ``otherwise`` (width)."""
    only(step, inputs, "codes")
    dtype = step.choice("dtype", ("float64", "float32"))
    table = step.array("table", None, None, dtype=dtype)
    otherwise = step.array("otherwise", table.shape[1], dtype=dtype)
    rows = np.concatenate([table, otherwise[None, :]])

    def run(codes: Array) -> Array:
        code = codes[:, 0]
        return rows.take(np.where(code < 0, len(table), code), axis=0, mode="clip")

    return Compiled(Shape("block", table.shape[1], dtype), run)


def linear(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Compute ``x @ W + b``; ``W`` (width, outputs), ``b`` (outputs)."""
    shape = only(step, inputs)
    weights = step.array("W", shape.width, None, dtype=shape.dtype)
    offset = step.array("b", weights.shape[1], dtype=shape.dtype)
    return Compiled(Shape("block", weights.shape[1], shape.dtype), lambda x: x @ weights + offset)


def link(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Turn scores into probabilities or responses: ``kind``.

    ``logistic2`` gives (1 - p, p) of one score; ``logistic`` each column's own; ``softmax`` and ``normalize``
    work over a row.
    """
    shape = only(step, inputs)
    kind = step.choice("kind", tuple(LINKS))
    width = 2 if kind == "logistic2" else shape.width
    if kind == "logistic2" and shape.width != 1:
        raise IntegrityError("step 'link': logistic2 takes one score")
    return Compiled(Shape("block", width, shape.dtype), LINKS[kind])


def logistic(x: Array) -> Array:
    """Return 1 / (1 + exp(-x)), without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _logistic2(x: Array) -> Array:
    p = logistic(x)
    return np.concatenate([1 - p, p], axis=1)


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def _normalized(x: Array) -> Array:
    return np.asarray(x / x.sum(axis=1, keepdims=True))


LINKS: Final[dict[str, Any]] = {
    "logistic": logistic,
    "logistic2": _logistic2,
    "softmax": _softmax,
    "normalize": _normalized,
    "exp": np.exp,
}


def decide(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give the code of the class decided for: ``rule``.

    ``argmax`` the first of the largest; ``positive`` 1 where the one score is > 0; ``not_negative`` where >= 0;
    ``above`` where the ``column`` is > ``threshold``, ``at_least`` where it is >=.
    """
    shape = only(step, inputs)
    rule = step.choice("rule", ("argmax", "positive", "not_negative", "above", "at_least"))
    if rule in {"positive", "not_negative"} and shape.width != 1:
        raise IntegrityError(f"step 'decide': {rule} takes one score")
    gives = Shape("codes", 1, "int64", shape.width if rule == "argmax" else 2)
    if rule == "argmax":
        return Compiled(gives, lambda x: x.argmax(axis=1)[:, None])
    if rule == "positive":
        return Compiled(gives, lambda x: (x > 0).astype(np.int64))
    if rule == "not_negative":
        return Compiled(gives, lambda x: (x >= 0).astype(np.int64))
    column = int(step.number("column", low=0, high=shape.width - 1))
    threshold = step.number("threshold", low=-np.inf, high=np.inf)
    compare = np.greater if rule == "above" else np.greater_equal
    return Compiled(gives, lambda x: compare(x[:, [column]], threshold).astype(np.int64))


def numbers(column: Any, dtype: str) -> Array:
    """Return a column as a block of width 1; None is NaN."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
        values = column.astype(np.float64, copy=False)
    else:
        values = np.array([np.nan if value is None else value for value in column], dtype=np.float64)
    with np.errstate(over="ignore"):
        return values.astype(dtype, copy=False).reshape(-1, 1)


def _as_objects(column: Any) -> Array:
    values = np.empty((len(column), 1), dtype=object)
    values[:, 0] = list(column)
    return values


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # noqa: PLR0124 - NaN alone differs from itself


def _code(step: Step, name: str, count: int) -> int | None:
    if step.params.get(name) is None:
        return None
    return int(step.number(name, low=-1, high=count))


def _not_taken(step: Step, value: Any) -> InputError:
    field = str(step.params.get("name", "input"))
    what = "is missing" if _is_missing(value) else f"{value!r:.60} was not seen in training"
    return InputError([{"field": field, "message": f"{what}, and the model refuses that"}])


def _no_inputs(step: Step, inputs: tuple[Shape, ...]) -> None:
    if inputs or not isinstance(step.params.get("field"), str):
        raise IntegrityError(f"step {step.op!r} reads a field")
