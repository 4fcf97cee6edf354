"""One row through any model: its separable columns by a loop, only the steps after them by numpy.

    imputed, scaled, encoded columns   Python floats and lists   equal to the definition to the bit
    what follows                       the steps themselves      on one row

Preprocessing is most of a row's time: some sixty small steps of 2 us each become one loop. What is left is the
model's own. A row that a step might refuse is left to the definition.
"""

from array import array
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from mlshared.plan._ops import READS
from mlshared.plan._program import Output, Program
from mlshared.plan._row_number import Refused, Scalar, missing_value, read_whole, scalar, scaled
from mlshared.plan._separable import CodeSource, NumberSource, Source, covered, sources
from mlshared.plan._step import Array

Row = Mapping[str, Any]
Answer = Callable[[Row], Any]
Vector = Callable[[Row], Array]

MAX_CELLS: Final = 200_000  # of the lists of one encoder: values x columns
_ERRORS: Final = (Refused, TypeError, ValueError, OverflowError, ZeroDivisionError, KeyError)


def blocked_row(program: Program, output: Output, otherwise: Answer, shared: dict[Any, Any]) -> Answer | None:
    """Return a function of one checked row, or None if no block of columns is separable.

    Args:
        program: The plan's.
        output: How the method is answered.
        otherwise: Answers a row by the definition.
        shared: What the methods have in common: the blocks of columns are kept here.
    """
    entries: dict[int, Vector] = {}
    later: set[int] = set()
    waiting = list(output.steps)
    while waiting:
        number = waiting.pop()
        if number in entries or number in later:
            continue
        key = ("block", number)
        if key not in shared:
            shared[key] = _vector(program, number)
        vector = shared[key]
        if vector is not None:
            entries[number] = vector
        else:
            later.add(number)
            waiting.extend(program.steps[number].inputs)
    if not any(program.steps[number].op not in READS for number in entries):
        return None
    rest = [(i, program.compiled[i].run, program.steps[i].inputs) for i in sorted(later)]
    reads = [(i, run, program.steps[i].params["field"]) for i, run, inputs in rest if not inputs]
    steps = [(i, run, inputs) for i, run, inputs in rest if inputs]
    vectors = list(entries.items())
    shaped = shaper(output)

    def answer(row: Row) -> Any:
        try:
            values: dict[int, Any] = {i: vector(row) for i, vector in vectors}
        except _ERRORS:
            return otherwise(row)
        for i, read, field in reads:
            values[i] = read((row[field],))
        for i, run, inputs in steps:
            values[i] = run(*[values[j] for j in inputs])
        return shaped(values)

    return answer


def shaper(output: Output) -> Callable[[Mapping[int, Any]], Any]:
    """Return what makes plain Python of the values of the output's steps, for one row."""
    numbers = output.steps
    first = numbers[0]
    if output.form == "labels":
        classes = [np.array(list(each), dtype=output.dtype).tolist() for each in output.classes]
        if len(numbers) == 1:
            listed = classes[0]
            return lambda values: listed[values[first].item()]
        # numpy.stack makes one array of them, and so one type.
        return lambda values: [each[values[i].item()] for i, each in zip(numbers, classes, strict=True)]
    if output.form == "list":
        return lambda values: [values[i][0].tolist() for i in numbers]
    if output.form == "column" and len(numbers) == 1:
        return lambda values: values[first].item()
    if output.form == "column":
        return lambda values: [values[i].item() for i in numbers]
    return lambda values: values[first][0].tolist()


def _vector(program: Program, number: int) -> Vector | None:
    """Return what makes a step's block, shape (1, width), of a row; None if it is not separable."""
    shape = program.compiled[number].shape
    if shape.kind != "block" or not shape.width:
        return None
    found = sources(program, number)
    if found is None or program.steps[number].op in READS or not covered(program, number, found):
        return None
    numbers = _numbers(found)
    encoded = _encoded(program, found)
    if numbers is None or encoded is None:
        return None
    return _filled(len(found), *numbers, encoded, dtype=shape.dtype)


class _Scaled(NamedTuple):
    place: int
    field: str
    absent: Any  # None where refused: writing it is a TypeError
    sub: float
    div: float


class _Computed(NamedTuple):
    place: int
    field: str
    absent: Any
    function: Scalar


class _Encoded(NamedTuple):
    field: str
    pairs_of: Callable[[Any, Any], Any]  # value -> (place, number) of the columns that are not 0
    unlisted: Any  # None where refused


def _filled(
    width: int,
    scaled_: tuple[_Scaled, ...],
    computed: tuple[_Computed, ...],
    encoded: tuple[_Encoded, ...],
    *,
    dtype: str,
) -> Vector:
    """Return what fills in a row, copied from a template: cheaper than numpy for some dozens of numbers."""
    template = array("d" if dtype == "float64" else "f", [0.0] * width)

    def vector(row: Row) -> Array:
        block = template[:]
        total = 0.0
        for place, name, absent, sub, div in scaled_:
            x = row[name]
            if x is None:
                block[place] = absent
            else:
                block[place] = value = (x - sub) / div
                total += value
        for place, name, absent, of in computed:
            x = row[name]
            if x is None:
                block[place] = absent
            else:
                block[place] = value = of(x)
                total += value
        if total - total != 0.0:  # some number is not finite: the definition knows whether it is refused
            raise Refused
        for name, pairs_of, unlisted in encoded:
            for place, value in pairs_of(row[name], unlisted):
                block[place] = value
        return np.frombuffer(block, dtype).reshape(1, width)

    return vector


def _numbers(found: tuple[Source, ...]) -> tuple[tuple[_Scaled, ...], tuple[_Computed, ...]] | None:
    plain: list[_Scaled] = []
    computed: list[_Computed] = []
    for place, source in enumerate(found):
        if not isinstance(source, NumberSource):
            continue
        absent = missing_value(source)
        simple = scaled(source)
        function = scalar(source) if simple is None else None
        if simple is not None:
            plain.append(_Scaled(place, source.field, absent, *simple))
        elif function is not None:
            computed.append(_Computed(place, source.field, absent, function))
        else:
            return None
    return tuple(plain), tuple(computed)


def _encoded(program: Program, found: tuple[Source, ...]) -> tuple[_Encoded, ...] | None:
    """Return, for each encoder, the columns that are not 0 by the field's value; None if they are too many."""
    columns: dict[int, list[tuple[int, CodeSource]]] = {}
    for place, source in enumerate(found):
        if isinstance(source, CodeSource):
            columns.setdefault(source.encoder, []).append((place, source))
    if any(len(own) * (len(own[0][1].codes) + 1) > MAX_CELLS for own in columns.values()):
        return None
    if not all(read_whole(program, own[0][1]) for own in columns.values()):
        return None
    return tuple(_pairs(own) for own in columns.values())


def _pairs(own: list[tuple[int, CodeSource]]) -> _Encoded:
    first = own[0][1]
    table = np.stack([source.values for _, source in own], axis=1).astype(np.float64)
    places = [place for place, _ in own]
    rows = [tuple((places[j], float(row[j])) for j in np.flatnonzero(row)) for row in table]

    def of(code: int | None) -> Any:
        return None if code is None else rows[min(code, len(rows) - 1)]

    known = {value: of(code) for value, code in first.codes.items() if value is not None}
    known[None] = of(first.missing)
    # NaN is a missing number, and no key of a dict: it is left to the definition.
    return _Encoded(first.field, known.get, None if first.number else of(first.unknown))
