"""A linear step taken apart into what each field adds to its scores: what the loops over one row are made of.

    terms(program, step) -> Terms, or None if a column of the step does not depend on one field alone

What a field adds by steps, a missing-indicator or a bin, is added up beforehand over all columns that follow it,
as for a category. Nothing here is larger than `MAX_CELLS`, whatever a plan asks for.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np

from mlshared.plan._program import Program
from mlshared.plan._row_number import Refused, keeps, missing_value, read_whole, scalar, scaled
from mlshared.plan._separable import CodeSource, NumberSource, covered, sources
from mlshared.plan._step import Array

Lookup = Callable[[Any, Any], Any]

NAN: Final = float("nan")
MAX_CELLS: Final = 1 << 20  # values x outputs of all fields, beyond twice the weights that the plan brings


@dataclass(frozen=True, slots=True, eq=False)
class Binned:
    """A number field that adds one of a few weights, by the bin it falls into.

    Attributes:
        field: The field.
        sub: What is compared with the edges is ``(x - sub) / div``.
        div: As said.
        count: Edges and number -> the number of its bin.
        edges: Rising.
        missing: Weights where it is missing, (outputs,).
        weights: Of each bin, (bins, outputs).
    """

    field: str
    sub: float
    div: float
    count: Callable[[list[float], float], int]
    edges: list[float]
    missing: Array
    weights: Array

    def lookup(self, missing: Any, by_bin: list[Any]) -> Lookup:
        """Return a function that is called as ``dict.get`` is, and gives ``missing`` or an item of ``by_bin``."""
        sub, div, count, edges = self.sub, self.div, self.count, self.edges

        def get(x: Any, _: Any) -> Any:
            if x is None:
                return missing
            x = (x - sub) / div
            if x - x != 0.0:
                raise Refused
            return by_bin[count(edges, x)]

        return get


class Terms(NamedTuple):
    """A linear step taken apart; weights are arrays of shape (outputs,).

    Attributes:
        offset: Added to all.
        scaled: (field, column's value where missing, sub, div, weights): the column is ``(x - sub) / div``.
        other: (field, column's value where missing, function of the value, weights).
        encoded: (field, value -> weights, weights of an unlisted value).
        flags: Field -> weights where it is missing, and where it is not; other terms refuse what is not finite.
        binned: Number fields by bins.
    """

    offset: Array
    scaled: list[tuple[str, float, float, float, Array]]
    other: list[tuple[str, float, Callable[[Any], float], Array]]
    encoded: list[tuple[str, dict[Any, Array], Array]]
    flags: dict[str, tuple[Array, Array]]
    binned: list[Binned]

    @property
    def size(self) -> int:
        """How many weights there are to add for a row."""
        numbers, looked_up = len(self.scaled) + len(self.other), len(self.encoded) + len(self.binned)
        return len(self.offset) * (numbers + looked_up + len(self.flags))

    def lookups(self, of: Callable[[Array], Any], *, flags: bool = True) -> list[tuple[str, Lookup, Any]]:
        """Return the fields that add one of a few weights: (field, what is called as ``dict.get`` is, its default).

        Args:
            of: Makes of weights, (outputs,), what is looked up.
            flags: Whether with those that only tell what is missing.
        """
        found: list[tuple[str, Lookup, Any]] = [
            (field, {value: of(w) for value, w in table.items()}.get, of(unlisted))
            for field, table, unlisted in self.encoded
        ]
        found += [
            (field, {None: of(missing)}.get, of(there))
            for field, (missing, there) in self.flags.items()
            if flags
        ]
        return found + [
            (each.field, each.lookup(of(each.missing), [of(w) for w in each.weights]), None)
            for each in self.binned
        ]


def terms(program: Program, number: int) -> Terms | None:
    """Return the terms of the linear step ``number``, or None."""
    step = program.steps[number]
    if program.compiled[number].shape.dtype != "float64":
        return None
    found = sources(program, step.inputs[0])
    if found is None or not covered(program, step.inputs[0], found):
        return None
    made = Terms(step.arrays["b"].copy(), [], [], [], {}, [])
    encoders: dict[int, list[tuple[CodeSource, Array]]] = {}
    bins: dict[tuple[tuple[int, int], ...], list[tuple[NumberSource, Array]]] = {}
    for source, weights in zip(found, step.arrays["W"], strict=True):
        if isinstance(source, CodeSource):
            encoders.setdefault(source.encoder, []).append((source, weights))
        elif (at := _bin(source)) is not None:
            bins.setdefault(source.path[: at + 1], []).append((source, weights))
        elif not _flag(made, source, weights) and not _number(made, source, weights):
            return None
    if not all(read_whole(program, columns[0][0]) for columns in encoders.values()):
        return None
    sizes = [len(columns[0][0].values) for columns in encoders.values()]
    sizes += [len(_edges(columns[0][0], path)) for path, columns in bins.items()]
    if sum(sizes) * len(made.offset) > MAX_CELLS + 2 * step.arrays["W"].size:
        return None
    made.encoded.extend(_merged(columns) for columns in encoders.values())
    made.binned.extend(_binned(path, columns) for path, columns in bins.items())
    _guard(made)
    return made


def _number(made: Terms, source: NumberSource, weights: Array) -> bool:
    absent = missing_value(source)
    missing = NAN if absent is None else absent
    simple = scaled(source)
    if simple is not None:
        made.scaled.append((source.field, missing, *simple, weights))
        return True
    function = scalar(source)
    if function is not None:
        made.other.append((source.field, missing, function, weights))
    return function is not None


# -- numbers by steps


def _flag(made: Terms, source: NumberSource, weights: Array) -> bool:
    """Add what a missing-indicator gives, if the column is one, of the raw number."""
    steps = [source.program.steps[number] for number, _ in source.path]
    at = next((place for place, step in enumerate(steps) if step.op == "missing"), None)
    if at is None or not all(keeps(step) for step in steps[:at]):
        return False
    function = scalar(source)
    if function is None:
        return False
    absent = missing_value(source)
    try:
        present = function(1.0)
    except (Refused, ValueError, OverflowError, ZeroDivisionError):
        return False
    with np.errstate(all="ignore"):
        missing, there = made.flags.get(
            source.field, (np.zeros_like(made.offset), np.zeros_like(made.offset))
        )
        missing = missing + (NAN if absent is None else absent) * weights
        made.flags[source.field] = missing, there + present * weights
    return True


def _guard(made: Terms) -> None:
    """See that a field with a flag is read as a number as well: a term of no weight, NaN if it is not finite."""
    nothing = np.zeros_like(made.offset)
    for field in made.flags.keys() - {field for field, *_ in made.scaled}:
        made.scaled.append((field, 0.0, 0.0, 1.0, nothing))


def _bin(source: NumberSource) -> int | None:
    """Return the place in its path of the bin that the column tells, or None if it tells none."""
    steps = [source.program.steps[number] for number, _ in source.path]
    at = next((place for place, step in enumerate(steps) if step.op == "bin"), None)
    if at is None or scaled(replace(source, path=source.path[:at])) is None:
        return None
    after = steps[at + 1 :]
    if after and after[0].op == "equal":
        after = after[1:]
    return at if all(keeps(step) for step in after) else None


def _edges(source: NumberSource, path: tuple[tuple[int, int], ...]) -> list[float]:
    number, column = path[-1]
    step = source.program.steps[number]
    first, last = step.arrays["starts"][column : column + 2].tolist()
    edges: list[float] = step.arrays["edges"][first:last].tolist()
    return edges


def _binned(path: tuple[tuple[int, int], ...], columns: list[tuple[NumberSource, Array]]) -> Binned:
    source = columns[0][0]
    edges = _edges(source, path)
    simple = scaled(replace(source, path=path[:-1]))
    assert simple is not None  # or `_bin` had found none
    codes = np.arange(len(edges) + 1.0)
    missing, weights_of = np.zeros(columns[0][1].size), np.zeros((len(codes), columns[0][1].size))
    with np.errstate(all="ignore"):
        for each, weights in columns:
            absent, values = missing_value(each), codes
            if len(each.path) > len(path) and each.program.steps[each.path[len(path)][0]].op == "equal":
                number, column = each.path[len(path)]
                values = (codes == each.program.steps[number].arrays["values"][column]).astype(np.float64)
            missing = missing + (NAN if absent is None else absent) * weights
            weights_of = weights_of + values[:, None] * weights
    side = source.program.steps[path[-1][0]].params["side"]
    count = bisect_left if side == "left" else bisect_right
    return Binned(source.field, *simple, count, edges, missing, weights_of)


# -- categories


def _merged(columns: list[tuple[CodeSource, Array]]) -> tuple[str, dict[Any, Array], Array]:
    """Return the weights of each value of a field, summed over the columns looked up by one encoder."""
    first = columns[0][0]
    hot = [(source, weights) for source, weights in columns if _zero_or_one_value(source, weights)]
    by_code = np.zeros((len(first.values), columns[0][1].size))
    with np.errstate(all="ignore"):
        for source, weights in columns:
            if not _zero_or_one_value(source, weights):
                by_code = by_code + source.values.astype(np.float64)[:, None] * weights
        for column, own, weights in _together(hot):
            by_code = by_code + _spread(column, own, weights)
    refused = np.full(by_code.shape[1], NAN)

    def of(code: int | None) -> Array:
        return refused if code is None else by_code[min(code, len(by_code) - 1)]

    values = {value: of(code) for value, code in first.codes.items() if not _is_nan(value)}
    values[None] = of(first.missing)
    # NaN is a missing number, and no key of a dict: it is left to the definition.
    return first.field, values, refused if first.number else of(first.unknown)


def _zero_or_one_value(source: CodeSource, weights: Array) -> bool:
    """Return whether a column is zero but for one of its one-hot step's codes: most are, and there are many."""
    return source.hot is not None and source.levels[0] == 0 and bool(np.isfinite(weights).all())


def _together(hot: list[tuple[CodeSource, Array]]) -> list[tuple[Array, list[int], Array]]:
    """Return, for each one-hot step, its codes' columns, those that are used, and what they add where they are 1."""
    steps: dict[int, tuple[Array, list[int], list[Array]]] = {}
    for source, weights in hot:
        assert source.hot is not None
        column, own = source.hot
        _, owned, adds = steps.setdefault(id(column), (column, [], []))
        owned.append(own)
        adds.append(float(source.levels[1]) * weights)
    return [(column, owned, np.array(adds)) for column, owned, adds in steps.values()]


def _spread(column: Array, owned: list[int], adds: Array) -> Array:
    none = max(int(column.max()), *owned) + 1
    by_column = np.zeros((none + 1, adds.shape[1]))
    np.add.at(by_column, owned, adds)
    return by_column[np.where(column < 0, none, column)]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value  # noqa: PLR0124 - NaN alone differs from itself
