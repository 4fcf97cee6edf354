"""Columns that depend on one field alone: what the fast ways of answering a row are built on.

    sources(program, step) -> a Source for each column of a step, or None if one of them is no such column

    NumberSource   a number field through elementwise steps      impute, scale, clip, log, ...
    CodeSource     a field encoded, then looked up                one-hot, ordinal, target

`NumberSource.before` finds, to the last bit, which raw values stay on the low side of a threshold: so trees
can be asked about raw values, and preprocessing disappears.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from mlshared._breath import breathe
from mlshared.errors import InputError
from mlshared.plan._basic import encoding
from mlshared.plan._elementwise import direction
from mlshared.plan._program import Program
from mlshared.plan._step import Array, Step

# Ops whose output column j depends on input column j alone; `direction` knows which of them never fall.
ELEMENTWISE: Final = frozenset(
    {"check", "cast", "fill", "missing", "affine", "clip", "map", "power", "quantile", "bin", "equal"}
)
_MAX_CELLS: Final = 1 << 22
_ACCEPTING: Final = frozenset({"number", "labels", "gather", "lookup", "onehot"})
MAX_TRACED: Final = 1 << 18  # columns of a step
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
        """Return whether the column never falls as the raw value rises, and is a number everywhere.

        Every step on the way must be known not to fall, to the last bit: a sample alone would miss an
        indicator between two of its points. The sample finds NaN, outside of a function's domain.
        """
        steps = [(self.program.steps[number], column) for number, column in self.path]
        widths = [self.program.compiled[number].shape.width for number, _ in self.path]
        if not self.program.tracing.take(len(SAMPLE) * sum(widths) // 64):
            return False
        sign = np.prod([direction(step, column) for step, column in steps])
        return bool(sign == 1 and (np.diff(self.apply(SAMPLE)) >= 0).all())

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
        encoder: The step that encodes it; its columns share ``codes``, ``missing`` and ``unknown``.
        codes: Value -> code; None refuses it.
        missing: The code of a missing value; None refuses it.
        unknown: The code of a value not listed; None refuses it.
        levels: The column by code, the last for code -1; with ``hot``, its two values: elsewhere, and there.
        number: Whether the field is a number.
        hot: The codes, that of -1 being the number of codes, which have the second value; None without.
    """

    field: str
    encoder: int
    codes: Mapping[Any, int]
    missing: int | None
    unknown: int | None
    levels: Array
    number: bool
    hot: tuple[Array, int] | None = None

    @property
    def values(self) -> Array:
        """The column by code; the last is for code -1.

        Made anew each time: one-hot columns of k categories would hold k x k numbers.
        """
        if self.hot is None:
            return self.levels
        column, own = self.hot
        found: Array = self.levels.take((column == own).astype(np.intp))
        return found


Source = NumberSource | CodeSource


def sources(program: Program, number: int) -> tuple[Source, ...] | None:
    """Return where each column of a step comes from, or None if one depends on several fields."""
    if program.compiled[number].shape.width > MAX_TRACED:
        return None
    return _Tracer(program).all(number)


def covered(program: Program, number: int, found: tuple[Source, ...]) -> bool:
    """Return whether all that may refuse a row is on the way to these columns, the sources of a step.

    A selector leaves columns out that were checked before: a row infinite there is refused by the definition,
    and a fast way that reads the other fields alone would answer it.
    """
    tracer = _Tracer(program)
    passed = {place for source in found if isinstance(source, NumberSource) for place in source.path}
    encoders = {source.encoder for source in found if isinstance(source, CodeSource)}
    return all(tracer.harmless(at, passed) for at in _before(program, number) if at not in encoders)


def _before(program: Program, number: int) -> set[int]:
    """Return a step and all that it comes from."""
    seen, waiting = {number}, [number]
    while waiting:
        new = set(program.steps[waiting.pop()].inputs) - seen
        seen |= new
        waiting.extend(new)
    return seen


class _Tracer:
    """Traces the columns of one program back to their fields."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.codes: dict[int, dict[Any, Any]] = {}
        self.columns: dict[int, Array] = {}
        self.levels: dict[tuple[int, bytes], Array] = {}

    def all(self, number: int) -> tuple[Source, ...] | None:
        """Return the source of each column of a step, or None."""
        found = []
        for column in range(self.program.compiled[number].shape.width):
            breathe()
            source = self.one(number, column)
            if source is None:
                return None
            found.append(source)
        return tuple(found)

    def one(self, number: int, column: int) -> Source | None:
        """Return the source of one column of a step, or None."""
        path: list[tuple[int, int]] = []
        while self.program.tracing.take(1):
            step = self.program.steps[number]
            if step.op == "number":
                path.append((number, 0))
                return NumberSource(step.params["field"], self.program, tuple(reversed(path)))
            if step.op in {"lookup", "onehot"}:
                source = self._looked_up(number, column)
                for at, place in reversed(path):
                    source = None if source is None else self._through(at, place, source)
                return source
            if step.op == "gather":
                inner = step.inputs[int(step.arrays["source"][column])]
                number, column = inner, int(step.arrays["column"][column])
            elif step.op in ELEMENTWISE:
                path.append((number, column))
                number = step.inputs[0]
            else:
                return None
        return None

    def harmless(self, number: int, passed: set[tuple[int, int]]) -> bool:
        """Return whether a step refuses nothing, but at the places passed."""
        step = self.program.steps[number]
        if step.op == "encode":
            return step.params.get("missing") is not None and step.params.get("unknown") is not None
        if step.op != "check" or not (
            step.params.get("missing") is True or step.params.get("infinite") is True
        ):
            return step.op in ELEMENTWISE or step.op in _ACCEPTING
        for column in range(self.program.compiled[number].shape.width):
            if (number, column) not in passed:
                source = self.one(number, column)
                if not isinstance(source, CodeSource):
                    return False
        return True

    def _looked_up(self, number: int, column: int) -> CodeSource | None:
        lookup = self.program.steps[number]
        encoder = lookup.inputs[0]
        encode = self.program.steps[encoder]
        if encode.op != "encode":
            return None
        read = self.program.steps[encode.inputs[0]]
        if read.op not in {"labels", "number"}:
            return self._encoded_again(lookup, encode, column)
        known = _known(read)
        if encoder not in self.codes:
            listed = encode.arrays["values"].tolist() if encode.has("values") else encode.params["values"]
            self.codes[encoder] = encoding(listed)
            if known is not None:
                codes, unknown = self.codes[encoder], encode.params.get("unknown")
                self.codes[encoder] = {value: codes.get(value, unknown) for value in known}
        hot = self._hot(number, column) if lookup.op == "onehot" else None
        return CodeSource(
            read.params["field"],
            encoder,
            self.codes[encoder],
            encode.params.get("missing"),
            encode.params.get("unknown" if known is None else "missing"),
            np.array([0.0, 1.0], dtype=lookup.params["dtype"]) if hot else _column(lookup, column),
            read.op == "number",
            hot,
        )

    def _encoded_again(self, lookup: Step, encode: Step, column: int) -> CodeSource | None:
        """Return the source of a column that was looked up, and then encoded and looked up once more."""
        inner = self.one(encode.inputs[0], 0)
        if not isinstance(inner, CodeSource) or lookup.op != "lookup" or not encode.has("values"):
            return None
        if not self.program.tracing.take(len(encode.arrays["values"]) + len(inner.levels)):
            return None
        codes = encoding(encode.arrays["values"].tolist())
        missing, unknown = encode.params.get("missing"), encode.params.get("unknown")
        again = [missing if np.isnan(v) else codes.get(v, unknown) for v in inner.values.tolist()]
        if None in again:
            return None  # it may refuse
        levels = _column(lookup, column)
        place = np.array([len(levels) - 1 if code == -1 else code for code in again], dtype=np.intp)
        return replace(inner, levels=levels.take(place, mode="clip"), hot=None)

    def _through(self, number: int, column: int, source: CodeSource) -> CodeSource | None:
        """Put the values of a looked-up column through one more elementwise step.

        All columns of a step at once, as if they had the same values: one-hot columns of k categories have,
        and one by one they would take k x k.
        """
        key = number, source.levels.tobytes()
        found = self.levels.get(key)
        if found is None:
            width = self.program.compiled[self.program.steps[number].inputs[0]].shape.width
            cells = len(source.levels) * width
            if cells > _MAX_CELLS or not self.program.tracing.take(cells // 64):
                return None
            block = np.repeat(source.levels[:, None], width, axis=1)
            try:
                found = self.program.compiled[number].run(block)
            except InputError:
                return None
        if source.hot is not None:
            self.levels[key] = found
        return replace(source, levels=found[:, column].copy())

    def _hot(self, number: int, column: int) -> tuple[Array, int]:
        step = self.program.steps[number]
        if number not in self.columns:
            self.columns[number] = np.append(step.arrays["column"], step.params["otherwise"])
        return self.columns[number], column


def _known(read: Step) -> list[Any] | None:
    """Return the values a read lets through, as a pandas category dtype does; any other is a missing one."""
    if read.has("values"):
        values: list[Any] = read.arrays["values"].tolist()
        return values
    return read.params.get("values")


def _column(lookup: Step, column: int) -> Array:
    return np.append(lookup.arrays["table"][:, column], lookup.arrays["otherwise"][column])


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


def thresholds(program: Program, most: int) -> dict[str, list[Array]]:
    """Return raw values of number fields at which a tree may turn: field -> one array a column made from it.

    Args:
        program: Whose trees.
        most: Values a column, evenly spread over those there are.
    """
    finder = _Tracer(program)
    found: dict[str, list[Array]] = {}
    for step in program.steps:
        if step.op not in {"trees", "forest"}:
            continue
        feature, threshold = step.arrays["feature"].reshape(-1), step.arrays["threshold"].reshape(-1)
        width = program.compiled[step.inputs[0]].shape.width
        tests = feature % width  # a forest may read further copies of its columns
        for column in range(width):
            source = finder.one(step.inputs[0], column)
            if isinstance(source, NumberSource) and source.rises():
                tested = np.unique(threshold[tests == column].astype(np.float64))
                tested = tested[np.isfinite(tested)]
                raw = source.before(tested[:: len(tested) // most + 1])
                found.setdefault(source.field, []).append(raw)
    return found
