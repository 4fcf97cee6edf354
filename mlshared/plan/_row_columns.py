"""The columns of a step for one row, where each depends on one field: filled in field by field.

    columns(program, number, copies) -> a function of a checked row that gives a float32 array

    number field    (x - sub) / div                  written where it goes; a constant where it is missing
    encoded field   value -> the column that is 1    for one-hot; else value -> (column, number) pairs

The row is an `array` of C floats, copied from a template: cheaper than numpy for some dozens of scalars. What
the definition may refuse (a missing value, an unlisted one, one that float32 cannot hold) raises one of `ERRORS`,
and such a row is left to it.
"""

from array import array
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from mlshared._breath import breathe
from mlshared.plan._forest import spread
from mlshared.plan._program import Program
from mlshared.plan._row_number import Refused, Scalar, scalar, scaled
from mlshared.plan._separable import CodeSource, NumberSource, covered, sources
from mlshared.plan._step import Array

Row = Mapping[str, Any]

LARGEST: Final = float(np.finfo(np.float32).max)
ERRORS: Final = (Refused, TypeError, ValueError, OverflowError, ZeroDivisionError, KeyError)


class _Scaled(NamedTuple):
    place: int
    field: str
    absent: Any  # None cannot be written, and raises
    sub: float
    div: float


class _Computed(NamedTuple):
    place: int
    field: str
    absent: Any
    function: Scalar


class _Hot(NamedTuple):
    field: str
    place_of: Callable[[Any, Any], Any]
    unlisted: Any


class _Pairs(NamedTuple):
    field: str
    pairs_of: Callable[[Any, Any], Any]
    unlisted: Any


def columns(program: Program, number: int, copies: int) -> Callable[[Row], Array] | None:
    """Return a function of a row that gives the columns of a step, or None if one is of no simple kind.

    Casts and checks at the end are understood: a value that is not finite is left to the definition.

    Args:
        program: The plan's.
        number: The step that a forest takes.
        copies: How many of the columns it tests, as `spread` makes them; the array holds all of them.
    """
    missing = True
    while (step := program.steps[number]).op in {"check", "cast"}:
        missing &= step.op == "cast" or step.params.get("missing") is not True
        number = step.inputs[0]
    found = sources(program, number)
    if found is None or not covered(program, number, found):
        return None
    numbers: list[_Scaled | _Computed | None] = []
    encoders: dict[int, list[tuple[int, CodeSource]]] = {}
    for place, source in enumerate(found):
        breathe()
        if isinstance(source, CodeSource):
            encoders.setdefault(source.encoder, []).append((place, source))
        else:
            numbers.append(_number(source, place, missing=missing))
    encoded = [_encoded(program, listed, len(found)) for listed in encoders.values()]
    if None in numbers or None in encoded:
        return None
    parts = [each for each in [*numbers, *encoded] if each is not None]
    absent = [each.absent for each in numbers if each is not None]
    nan = any(value is not None and np.isnan(value) for value in absent)
    return _filler(len(found), parts, _finisher(len(found), copies, nan=nan))


def _finisher(width: int, copies: int, *, nan: bool) -> Callable[["array[float]"], Array]:
    """Return what makes the array of a filled row; ``nan`` says whether NaN can be in it."""
    if copies == 1:
        return lambda x: np.frombuffer(x, np.float32, width)
    if nan:
        return lambda x: spread(np.frombuffer(x, np.float32, width), copies)
    none = array("f", bytes(4 * width * (copies - 2)))
    return lambda x: np.frombuffer(x[:width] * 2 + none, np.float32)


def _filler(
    width: int, parts: list[Any], finished: Callable[["array[float]"], Array]
) -> Callable[[Row], Array]:
    template = array("f", bytes(4 * (width + 1)))  # one more, written to where no column is 1
    numbers = tuple(part for part in parts if isinstance(part, _Scaled))
    others = tuple(part for part in parts if isinstance(part, _Computed))
    hot = tuple(part for part in parts if isinstance(part, _Hot))
    pairs = tuple(part for part in parts if isinstance(part, _Pairs))

    def fill(row: Row) -> Array:
        x = template[:]
        for place, name, absent, sub, div in numbers:
            value = row[name]
            if value is None:
                x[place] = absent
                continue
            value = (value - sub) / div
            if not -LARGEST <= value <= LARGEST:
                raise Refused
            x[place] = value
        for name, place_of, unlisted in hot:
            x[place_of(row[name], unlisted)] = 1.0
        for place, name, absent, of in others:
            value = row[name]
            if value is not None and not -LARGEST <= (value := of(value)) <= LARGEST:
                raise Refused
            x[place] = absent if value is None else value
        for name, pairs_of, unlisted in pairs:
            for place, value in pairs_of(row[name], unlisted):
                x[place] = value
        return finished(x)

    return fill


def _number(source: NumberSource, place: int, *, missing: bool) -> _Scaled | _Computed | None:
    """Return how a column made of a number is filled; ``missing`` says whether it may be NaN in the end."""
    value, accepted = source.walk([np.nan])
    absent: float | None = float(value[0])
    if not accepted[0] or not (missing if np.isnan(value[0]) else abs(value[0]) <= LARGEST):
        absent = None
    simple = (0.0, 1.0) if _kept(source) else scaled(source)
    if simple is not None:
        return _Scaled(place, source.field, absent, *simple)
    function = scalar(source)
    return None if function is None else _Computed(place, source.field, absent, function)


def _kept(source: NumberSource) -> bool:
    """Return whether a present number arrives as it is, or rounded to float32, as it will be anyway."""
    steps = [source.program.steps[number] for number, _ in source.path]
    if steps[0].has("values"):
        return False
    return all(
        step.op in {"number", "check", "cast"} or (step.op == "fill" and step.params.get("marker") is None)
        for step in steps
    )


def _encoded(program: Program, listed: list[tuple[int, CodeSource]], width: int) -> _Hot | _Pairs | None:
    """Return how the columns made of one encoded field are filled."""
    breathe()
    first = listed[0][1]
    read = program.steps[program.steps[first.encoder].inputs[0]]
    if first.number and read.params.get("dtype") != "float64":
        return None
    hot = _places(listed, width)
    by_code: list[Any] | None = _pairs(listed) if hot is None else hot
    if by_code is None:
        return None

    def of(code: int | None) -> Any:
        return None if code is None else by_code[code if 0 <= code < len(by_code) - 1 else -1]

    table = {value: of(code) for value, code in first.codes.items()}
    table[None] = of(first.missing)
    # NaN is a missing number, and no key of a dict: it is left to the definition.
    unlisted = None if first.number else of(first.unknown)
    kind = _Pairs if hot is None else _Hot
    return kind(first.field, table.get, unlisted)


def _places(listed: list[tuple[int, CodeSource]], width: int) -> list[int] | None:
    """Return the place of the one column that is 1, for each code; None if they are not one-hot."""
    places: dict[int, int] = {}
    for place, source in listed:
        if source.hot is None or source.levels.tolist() != [0.0, 1.0] or source.hot[1] in places:
            return None
        places[source.hot[1]] = place
    hot = listed[0][1].hot
    if hot is None or any(source.hot is None or source.hot[0] is not hot[0] for _, source in listed):
        return None
    return [places.get(column, width) for column in hot[0].tolist()]


def _pairs(listed: list[tuple[int, CodeSource]]) -> list[tuple[tuple[int, float], ...]] | None:
    """Return the columns that are not 0, with their numbers, for each code."""
    table = np.stack([source.values for _, source in listed], axis=1).astype(np.float64)
    if not bool((np.abs(table) <= LARGEST).all()):
        return None
    places = [place for place, _ in listed]
    return [
        tuple((place, value) for place, value in zip(places, row, strict=True) if value != 0.0)
        for row in table.tolist()
    ]
