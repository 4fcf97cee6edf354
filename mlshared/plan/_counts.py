"""Steps over counts, the sparse rows that texts become: what `_basic` says of blocks, without their zeros.

A row is a pair of lists: the columns that are not zero, rising, and their values. Other steps get counts as
a block, through `dense`, where it is narrow enough.
"""

import math
from typing import Any, Final

import numpy as np

from mlshared.errors import InputError, IntegrityError
from mlshared.plan._step import Array, Compiled, Shape, Step, indices, only
from mlshared.plan._text import SIZES, Counts, Row

MAX_DENSE: Final = 20_000
_LISTED: Final = 300_000  # weights that are kept as Python floats too, for loops


def dense(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give counts as a block, zeros and all."""
    width = only(step, inputs, "counts").width
    if width > MAX_DENSE:
        raise IntegrityError(f"counts of {width:,} columns are too wide to be computed on as a whole")

    def run(rows: Counts) -> Array:
        block = np.zeros((len(rows), width))
        for number, (columns, values) in enumerate(rows):
            block[number, columns] = values
        return block

    return Compiled(Shape("block", width), run)


def linear(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Compute ``x @ W + b``; ``W`` (width, outputs), ``b`` (outputs)."""
    shape = only(step, inputs, "counts")
    weights = step.array("W", shape.width, None)
    offset = step.array("b", weights.shape[1])
    outputs = Shape("block", weights.shape[1])
    if weights.shape[1] <= 2 and weights.size <= _LISTED:
        return Compiled(outputs, _by_loops(weights.T.tolist(), offset.tolist()))

    def run(rows: Counts) -> Array:
        found = np.empty((len(rows), weights.shape[1]))
        for number, (columns, values) in enumerate(rows):
            picked = weights.take(np.array(columns, dtype=np.int64), axis=0, mode="clip")
            found[number] = np.array(values) @ picked + offset
        return found

    return Compiled(outputs, run)


def _by_loops(weights: list[list[float]], offset: list[float]) -> Any:
    def run(rows: Counts) -> Array:
        found = []
        for columns, values in rows:
            scores = []
            for column_weights, start in zip(weights, offset, strict=True):
                total = 0.0
                for column, value in zip(columns, values, strict=True):
                    total += column_weights[column] * value
                scores.append(total + start)
            found.append(scores)
        return np.array(found).reshape(len(rows), len(offset))

    return run


def check(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Refuse what scikit-learn refuses there: ``missing`` and ``infinite`` say whether each is refused."""
    shape = only(step, inputs, "counts")
    missing, infinite = step.params.get("missing") is True, step.params.get("infinite") is True

    def run(rows: Counts) -> Counts:
        for _, values in rows:
            if not all(map(math.isfinite, values)) and (
                (missing and any(map(math.isnan, values))) or (infinite and any(map(math.isinf, values)))
            ):
                message = "the model refuses a missing or infinite value"
                raise InputError([{"field": "input", "message": message}])
        return rows

    return Compiled(shape, run)


def affine(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Compute ``(x / div) * mul``, each of them optional; shifts would fill in the zeros."""
    shape = only(step, inputs, "counts")
    if not step.arrays or set(step.arrays) - {"div", "mul"}:
        raise IntegrityError("step 'affine' on counts takes div and mul")
    div, mul = (step.array(name, shape.width).tolist() if step.has(name) else None for name in ("div", "mul"))

    def of_row(row: Row) -> Row:
        columns, values = row
        if div is not None:
            with np.errstate(all="ignore"):
                values = np.divide(values, [div[column] for column in columns]).tolist()
        if mul is not None:
            values = [value * mul[column] for column, value in zip(columns, values, strict=True)]
        return columns, values

    return Compiled(shape, lambda rows: [of_row(row) for row in rows])


def normalize(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Divide each row by its ``norm``: l1, l2 or max; a norm of zero leaves it."""
    shape = only(step, inputs, "counts")
    size_of = SIZES[step.choice("norm", ("l1", "l2", "max"))]

    def of_row(row: Row) -> Row:
        columns, values = row
        size = size_of(values) if values else 0.0
        return (columns, [value / size for value in values]) if size else row

    return Compiled(shape, lambda rows: [of_row(row) for row in rows])


def gather(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Put columns of counts and blocks side by side: ``source`` (which input) and ``column`` of each."""
    if any(shape.kind not in {"block", "counts"} for shape in inputs):
        raise IntegrityError("step 'gather' takes blocks and counts")
    source = indices(step, "source", step.array("source", None, dtype="int64"), len(inputs))
    column = step.array("column", len(source), dtype="int64")
    places = []
    for number, shape in enumerate(inputs):
        taken = np.flatnonzero(source == number)
        place = dict(
            zip(indices(step, "column", column[taken], shape.width).tolist(), taken.tolist(), strict=True)
        )
        if len(place) != len(taken):
            raise IntegrityError("step 'gather' takes a column of counts twice")
        places.append(place)
    kinds = [shape.kind for shape in inputs]

    def run(*values: Any) -> Counts:
        parts = [
            value if kind == "counts" else _stored(value) for kind, value in zip(kinds, values, strict=True)
        ]
        return [_gathered(rows, places) for rows in zip(*parts, strict=True)]

    return Compiled(Shape("counts", len(source)), run)


def _stored(block: Array) -> Counts:
    """Return the rows of a block without their zeros; a missing value is none of them."""
    found = []
    for row in block.tolist():
        columns = [column for column, value in enumerate(row) if value != 0]
        found.append((columns, [row[column] for column in columns]))
    return found


def _gathered(rows: tuple[Row, ...], places: list[dict[int, int]]) -> Row:
    found: list[tuple[int, float]] = []
    for (columns, values), place in zip(rows, places, strict=True):
        found += [(place[c], value) for c, value in zip(columns, values, strict=True) if c in place]
    found.sort()
    return [column for column, _ in found], [value for _, value in found]
