"""Columns that depend on one field alone: what the fast ways of answering a row are built on.

    sources(program, step) -> a Source for each column of a step, or None if one of them is no such column

    NumberSource   a number field through elementwise steps      impute, scale, clip, log, ...
    CodeSource     a field encoded, then looked up                one-hot, ordinal, target

`NumberSource.before` finds, to the last bit, which raw values stay on the low side of a threshold: so trees
can be asked about raw values, and preprocessing disappears.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mlshared.errors import InputError
from mlshared.plan._basic import encoding
from mlshared.plan._program import Program
from mlshared.plan._step import Array

# Ops whose output column j depends on input column j alone. All but `missing` never decrease, given
# positive factors, and `NumberSource.before` finds out where they do.
ELEMENTWISE: Final = frozenset({"check", "cast", "fill", "missing", "affine"})
SAMPLE: Final = np.array([-1e300, -1e9, -1e3, -10.0, -1.0, -0.1, 0.0, 0.1, 1.0, 10.0, 1e3, 1e9, 1e300])


@dataclass(frozen=True, slots=True, eq=False)
class NumberSource:
    """A column that is a number field put through elementwise steps.

    Attributes:
        field: The field.
        program: Whose steps.
        path: Steps and columns, from the read to the last.
    """

    field: str
    program: Program
    path: tuple[tuple[int, int], ...]

    def walk(self, values: Any) -> tuple[Array, Array]:
        """Return the column for raw values, shape (n,), NaN where missing, and which of them are accepted."""
        x = np.asarray(values, dtype=np.float64)
        accepted = np.ones(len(x), dtype=np.bool_)
        with np.errstate(all="ignore"):
            for number, column in self.path:
                step, compiled = self.program.steps[number], self.program.compiled[number]
                if step.op == "check":
                    if step.params.get("missing") is True:
                        accepted &= ~np.isnan(x)
                    if step.params.get("infinite") is True:
                        accepted &= ~np.isinf(x)
                elif step.inputs:
                    width = self.program.compiled[step.inputs[0]].shape.width
                    block = np.zeros((len(x), width), dtype=x.dtype)
                    block[:, column] = x
                    x = compiled.run(block)[:, column]
                else:
                    x = compiled.run(x)[:, 0]
        return x, accepted

    def apply(self, values: Any) -> Array:
        """Return the column for raw values, shape (n,); what a step would refuse goes through unrefused."""
        return self.walk(values)[0]

    def takes(self, value: float) -> bool:
        """Return whether no step refuses this raw value, such as NaN or infinity."""
        return bool(self.walk([value])[1][0])

    def rises(self) -> bool:
        """Return whether the column never falls as the raw value rises, as far as a sample tells."""
        found = self.apply(SAMPLE)
        return bool((np.diff(found) >= 0).all())

    def before(self, thresholds: Array) -> Array:
        """Return the largest finite raw value, for each threshold, whose column is <= the threshold.

        -inf where there is none. By bisection over all float64 values in their order: exact for a column that
        never falls.
        """
        return _last(lambda raw: self.apply(raw) <= thresholds, len(thresholds))

    def bounds(self) -> tuple[float, float]:
        """Return the smallest and the largest finite raw value that no step refuses."""
        low = -_last(lambda raw: self.walk(-raw)[1] | (raw < 0), 1)
        high = _last(lambda raw: self.walk(raw)[1] | (raw < 0), 1)
        return float(low[0]), float(high[0])


@dataclass(frozen=True, slots=True, eq=False)
class CodeSource:
    """A column that is looked up by the code of a field.

    Attributes:
        field: The field.
        codes: Value -> code.
        missing: The code of a missing value; None refuses it.
        unknown: The code of a value not listed; None refuses it.
        values: The column by code; the last is for code -1.
        number: Whether the field is a number.
    """

    field: str
    codes: Mapping[Any, int]
    missing: int | None
    unknown: int | None
    values: Array
    number: bool


Source = NumberSource | CodeSource


def sources(program: Program, number: int) -> tuple[Source, ...] | None:
    """Return where each column of a step comes from, or None if one depends on several fields."""
    width = program.compiled[number].shape.width
    found = [_source(program, number, column) for column in range(width)]
    return tuple(source for source in found if source is not None) if all(found) else None


def _source(program: Program, number: int, column: int) -> Source | None:
    step = program.steps[number]
    if step.op == "number":
        return NumberSource(step.params["field"], program, ((number, 0),))
    if step.op == "gather":
        source = int(step.arrays["source"][column])
        return _source(program, step.inputs[source], int(step.arrays["column"][column]))
    if step.op == "lookup":
        return _looked_up(program, number, column)
    if step.op in ELEMENTWISE:
        found = _source(program, step.inputs[0], column)
        if isinstance(found, NumberSource):
            return NumberSource(found.field, program, (*found.path, (number, column)))
        if isinstance(found, CodeSource):
            return _through(program, number, column, found)
    return None


def _looked_up(program: Program, number: int, column: int) -> CodeSource | None:
    lookup = program.steps[number]
    encode = program.steps[lookup.inputs[0]]
    if encode.op != "encode":
        return None
    read = program.steps[encode.inputs[0]]
    if read.op not in {"labels", "number"} or "values" in read.params or read.has("values"):
        return None
    listed = encode.array("values", None).tolist() if encode.has("values") else encode.params["values"]
    values = np.append(lookup.arrays["table"][:, column], lookup.arrays["otherwise"][column])
    missing, unknown = encode.params.get("missing"), encode.params.get("unknown")
    return CodeSource(read.params["field"], encoding(listed), missing, unknown, values, read.op == "number")


def _through(program: Program, number: int, column: int, source: CodeSource) -> CodeSource | None:
    """Put the values of a looked-up column through one more elementwise step."""
    step, compiled = program.steps[number], program.compiled[number]
    width = program.compiled[step.inputs[0]].shape.width
    block = np.zeros((len(source.values), width), dtype=source.values.dtype)
    block[:, column] = source.values
    try:
        values = compiled.run(block)[:, column]
    except InputError:
        return None
    return CodeSource(source.field, source.codes, source.missing, source.unknown, values, source.number)


def _last(holds: Callable[[Array], Array], count: int) -> Array:
    """Return the last finite float64, for each of ``count`` conditions that hold up to some value."""
    low = _key(np.full(count, -np.inf))
    high = _key(np.full(count, np.inf))
    while (open_ := low + 1 < high).any():
        middle = (low & high) + ((low ^ high) >> 1)  # their mean, which cannot overflow
        held = holds(_unkey(middle))
        low = np.where(open_ & held, middle, low)
        high = np.where(open_ & ~held, middle, high)
    return _unkey(low)


def _key(values: Array) -> Array:
    """Return int64 keys in the order of the float64 values."""
    bits = values.astype(np.float64).view(np.int64)
    return np.where(bits < 0, ~(bits & np.int64(0x7FFFFFFFFFFFFFFF)), bits)


def _unkey(keys: Array) -> Array:
    """Return the float64 values of keys."""
    bits = np.where(keys < 0, ~keys | np.int64(-(2**63)), keys)
    return bits.astype(np.int64).view(np.float64)
