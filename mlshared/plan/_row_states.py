"""The states of each field: sets of raw values that no test of some trees tells apart.

    number   intervals between cuts, then the missing value; infinities are states of their own
    code     one a listed value, then the missing value, then any other

Every field that the definition may refuse is there too, although no tree tests it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from mlshared.plan._program import Program
from mlshared.plan._row_cuts import cuts
from mlshared.plan._separable import ELEMENTWISE, CodeSource, NumberSource, Source, sources
from mlshared.plan._step import Array
from mlshared.plan._trees import Nodes

_LARGEST: Final = float(np.finfo(np.float64).max)
_MOST_CELLS: Final = 1 << 24
_EXACT: Final = 2.0**53
_REFUSING: Final = frozenset({"check", "lookup", "onehot"})
_KNOWN: Final = ELEMENTWISE | _REFUSING | {"number", "labels", "gather", "encode"}


@dataclass(frozen=True, slots=True, eq=False)
class NumberStates:
    """The states of a number field.

    Attributes:
        name: The field.
        count: How many states.
        values: Column that the trees test -> its value in each state, (count,).
        accepted: Whether the definition answers in each state, (count,) bool.
        cuts: State s holds the values above cut s - 1, up to and with cut s.
        missing: The state of a missing value.
    """

    name: str
    count: int
    values: dict[int, Array]
    accepted: Array
    cuts: list[float]
    missing: int


@dataclass(frozen=True, slots=True, eq=False)
class CodeStates:
    """The states of an encoded field.

    Attributes:
        name: The field.
        count: How many states.
        values: As of `NumberStates`.
        accepted: As of `NumberStates`.
        codes: Value -> state; None is the missing value.
        unknown: The state of any other.
    """

    name: str
    count: int
    values: dict[int, Array]
    accepted: Array
    codes: Mapping[Any, int]
    unknown: int


States = NumberStates | CodeStates


def states(program: Program, number: int, nodes: Nodes) -> list[States] | None:
    """Return the states of every field that the step ``number`` comes from, as the trees on it test them.

    None where a column depends on several fields, or falls as its field rises. Fields that change nothing
    are left out.
    """
    tested = sources(program, number)
    if tested is None:
        return None
    guards = _guards(program, number, tested)
    if guards is None:
        return None
    by_field: dict[str, dict[int, Source]] = {}
    used = set(nodes.feature[~nodes.leaves()].tolist())
    for column, source in enumerate(tested):
        kept = by_field.setdefault(source.field, {})
        # Columns that no tree tests are there for what the definition refuses on the way to them.
        kept[column if column in used else -1 - column] = source
    for place, source in enumerate(guards):
        by_field.setdefault(source.field, {})[-1 - len(tested) - place] = source
    numbers = [
        (source, _thresholds(nodes, column))
        for columns in by_field.values()
        for column, source in columns.items()
        if isinstance(source, NumberSource)
    ]
    moved = _moved(numbers)
    if moved is None:
        return None
    found: list[States] = []
    for name, columns in by_field.items():
        made = _numbers(name, columns, moved) or _codes(program, name, columns)
        if made is None:
            return None
        if made.values or not made.accepted.all():
            found.append(made)
    return found


def _guards(program: Program, number: int, tested: tuple[Source, ...]) -> list[Source] | None:
    """Return the sources of what may refuse a row, beyond those on the way to the tested columns."""
    passed = {step for source in tested if isinstance(source, NumberSource) for step in source.path}
    encoders = {source.encoder for source in tested if isinstance(source, CodeSource)}
    found: list[Source] = []
    waiting, seen = [number], {number}
    while waiting:
        at = waiting.pop()
        step = program.steps[at]
        if step.op not in _KNOWN:
            return None  # it may refuse what nothing here knows of
        if step.op in _REFUSING:
            all_ = sources(program, at)
            if all_ is None:
                return None
            found += [
                source
                for column, source in enumerate(all_)
                if (isinstance(source, NumberSource) and (at, column) not in passed)
                or (isinstance(source, CodeSource) and source.encoder not in encoders)
            ]
        new = set(step.inputs) - seen
        seen |= new
        waiting += new
    return found


def _moved(numbers: list[tuple[NumberSource, Array]]) -> dict[NumberSource, Array] | None:
    """Return the raw values after which a column may change; None if one falls as its field rises.

    A number that stands for a missing one is an interval of its own, and the steps are followed as if it were
    like any other.
    """
    parts: list[tuple[NumberSource, NumberSource, Array]] = []
    for source, thresholds in numbers:
        path: list[tuple[int, int]] = []
        for place in source.path:
            step = source.program.steps[place[0]]
            if step.op == "fill" and step.params.get("marker") is not None:
                marker = float(step.params["marker"])
                around = np.array([np.nextafter(marker, -np.inf), marker])
                parts.append((source, replace(source, path=tuple(path)), around))
            else:
                path.append(place)
        parts.append((source, replace(source, path=tuple(path)), thresholds))
    if not all(smooth.rises() for _, smooth, _ in parts):
        return None
    moved: dict[NumberSource, Array] = {}
    raw = cuts([(smooth, thresholds) for _, smooth, thresholds in parts])
    for (source, _, _), found in zip(parts, raw, strict=True):
        moved[source] = np.append(moved.get(source, np.empty(0)), found)
    return moved


def _numbers(
    name: str, columns: dict[int, Source], moved: Mapping[NumberSource, Array]
) -> NumberStates | None:
    passed = {column: source for column, source in columns.items() if isinstance(source, NumberSource)}
    if len(passed) != len(columns):
        return None
    every = np.unique(np.concatenate([[-np.inf, _LARGEST], *(moved[source] for source in passed.values())]))
    if not all(_affordable(source, len(every) + 2) for source in passed.values()):
        return None
    # The upper end of an interval stands for all of it.
    values = np.concatenate([every, [np.inf, np.nan]])
    seen = {column: source.walk(values) for column, source in passed.items()}
    return NumberStates(
        name,
        len(values),
        {column: value for column, (value, _) in seen.items() if column >= 0},
        np.logical_and.reduce([accepted for _, accepted in seen.values()]),
        [_comparable(cut) for cut in every.tolist()],
        len(values) - 1,
    )


def _affordable(source: NumberSource, count: int) -> bool:
    """Return whether so many values may be put through a column's steps, each as wide as its block."""
    program = source.program
    most = max(program.compiled[number].shape.width for number, _ in source.path) * count
    return most <= _MOST_CELLS and program.tracing.take(most // 64)


def _thresholds(nodes: Nodes, column: int) -> Array:
    """Return where the tests on a column change, each as the last value before it; none for columns below 0."""
    at = np.flatnonzero((nodes.feature == column) & ~nodes.leaves())
    numeric = nodes.threshold[at[nodes.category[at] < 0]]
    if len(numeric) == len(at):
        return np.unique(numeric)
    codes = np.arange(1.0, 32 * nodes.sets.shape[1] + 1)
    return np.unique(np.concatenate([numeric, [-1.0], np.nextafter(codes, -np.inf)]))


def _comparable(cut: float) -> float:
    """Return a cut that ints compare with as the floats they are rounded to."""
    if not _EXACT <= abs(cut) < _LARGEST:
        return cut
    middle = (int(cut) + int(np.nextafter(cut, np.inf))) // 2
    return middle if float(middle) <= cut else middle - 1


def _codes(program: Program, name: str, columns: dict[int, Source]) -> CodeStates | None:
    encoded = {column: source for column, source in columns.items() if isinstance(source, CodeSource)}
    if len(encoded) != len(columns) or _narrow(program, name):
        return None
    listed = list(dict.fromkeys(value for codes in _distinct(encoded.values()) for value in codes))
    values: dict[int, Array] = {}
    accepted = np.ones(len(listed) + 2, dtype=np.bool_)
    known: dict[int, tuple[Array, Array]] = {}
    for column, source in encoded.items():
        if source.encoder not in known:
            known[source.encoder] = _coded(source, listed)
        codes, taken = known[source.encoder]
        accepted &= taken
        if column >= 0:
            values[column] = _at(source.values, codes)
    states_of = {value: state for state, value in enumerate(listed)}
    states_of[None] = len(listed)
    return CodeStates(name, len(listed) + 2, values, accepted, states_of, len(listed) + 1)


def _distinct(encoded: Any) -> list[Mapping[Any, int]]:
    return list({source.encoder: source.codes for source in encoded}.values())


def _coded(source: CodeSource, listed: list[Any]) -> tuple[Array, Array]:
    """Return the code in each state, and whether the encoder takes it."""
    codes = [source.codes.get(value, source.unknown) for value in listed]
    codes += [source.missing, source.unknown]
    taken = np.array([code is not None for code in codes])
    return np.array([-1 if code is None else code for code in codes], dtype=np.int64), taken


def _at(values: Array, codes: Array) -> Array:
    """Return values by code, as `lookup` does: the last for -1, and for codes beyond its table."""
    return values.take(np.where(codes < 0, len(values) - 1, codes), mode="clip")


def _narrow(program: Program, name: str) -> bool:
    """Return whether a number field is read as float32, whose values are not those of the row."""
    return any(
        step.op == "number" and step.params["field"] == name and step.params["dtype"] == "float32"
        for step in program.steps
    )
