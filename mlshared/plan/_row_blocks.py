"""One row through any model: its separable columns by a loop, only the steps after them by numpy.

    imputed, scaled, encoded columns   Python floats and lists   equal to the definition to the bit
    what follows                       the steps themselves      on one row

Preprocessing is most of a row's time: some sixty small steps of 2 us each become one loop. What is left is the
model's own. A row that a step might refuse is left to the definition.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from mlshared.plan._ops import READS
from mlshared.plan._program import Output, Program
from mlshared.plan._row_number import Refused, missing_value, scalar, scaled
from mlshared.plan._separable import CodeSource, NumberSource, Source, covered, sources
from mlshared.plan._step import Array

Row = Mapping[str, Any]
Answer = Callable[[Row], Any]
Vector = Callable[[Row], Array]

MAX_CELLS: Final = 200_000  # of the lists of one encoder: values x columns
_ERRORS: Final = (Refused, TypeError, ValueError, OverflowError, ZeroDivisionError, KeyError)


def blocked_row(program: Program, output: Output, otherwise: Answer) -> Answer | None:
    """Return a function of one checked row, or None if no block of columns is separable.

    Args:
        program: The plan's.
        output: How the method is answered.
        otherwise: Answers a row by the definition.
    """
    entries: dict[int, Vector] = {}
    later: set[int] = set()
    waiting = list(output.steps)
    while waiting:
        number = waiting.pop()
        if number in entries or number in later:
            continue
        vector = _vector(program, number)
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
    shaped = _shaper(output)

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


def _shaper(output: Output) -> Callable[[Mapping[int, Any]], Any]:
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
    encoded = _encoded(found)
    if numbers is None or encoded is None:
        return None
    return _by_loop(*numbers, *encoded, dtype=shape.dtype)


_Number = tuple[str, float | None, float, float]
_Other = tuple[str, float | None, Callable[[Any], float]]
_Encoded = tuple[str, Callable[..., list[float] | None], list[float] | None]


def _by_loop(
    plain: tuple[_Number, ...],
    other: tuple[_Other, ...],
    places: list[int],
    encoded: tuple[_Encoded, ...],
    encoded_places: list[int],
    *,
    dtype: str,
) -> Vector:
    order = np.argsort(np.array([*places, *encoded_places]), kind="stable")
    in_order = bool((order == np.arange(len(order))).all())

    def vector(row: Row) -> Array:
        values: list[Any] = []
        total = 0.0
        for name, absent, sub, div in plain:
            x = row[name]
            if x is None:
                values.append(absent)
            else:
                value = (x - sub) / div
                total += value
                values.append(value)
        for name, absent, of in other:
            x = row[name]
            if x is None:
                values.append(absent)
            else:
                value = of(x)
                total += value
                values.append(value)
        if total - total != 0.0 or None in values:  # not finite, or missing and refused
            raise Refused
        for name, values_of, unlisted in encoded:
            values += values_of(row[name], unlisted)  # type: ignore[arg-type]  # None, refused, is a TypeError
        block = np.array(values, dtype=dtype)
        return (block if in_order else block.take(order))[None, :]

    return vector


def _numbers(found: tuple[Source, ...]) -> tuple[tuple[_Number, ...], tuple[_Other, ...], list[int]] | None:
    plain: list[_Number] = []
    other: list[_Other] = []
    plain_places, other_places = [], []
    for place, source in enumerate(found):
        if not isinstance(source, NumberSource):
            continue
        absent = missing_value(source)
        simple = scaled(source)
        if simple is not None:
            plain.append((source.field, absent, *simple))
            plain_places.append(place)
            continue
        function = scalar(source)
        if function is None:
            return None
        other.append((source.field, absent, function))
        other_places.append(place)
    return tuple(plain), tuple(other), plain_places + other_places


def _encoded(found: tuple[Source, ...]) -> tuple[tuple[_Encoded, ...], list[int]] | None:
    """Return, for each encoder, the values of its columns by the field's value; and where they belong."""
    columns: dict[int, list[tuple[int, CodeSource]]] = {}
    for place, source in enumerate(found):
        if isinstance(source, CodeSource):
            columns.setdefault(source.encoder, []).append((place, source))
    encoded: list[_Encoded] = []
    places: list[int] = []
    for own in columns.values():
        first = own[0][1]
        if len(own) * (len(first.codes) + 1) > MAX_CELLS:
            return None
        table = np.stack([source.values for _, source in own], axis=1).astype(np.float64).tolist()
        encoded.append(_listed(first, table))
        places += [place for place, _ in own]
    return tuple(encoded), places


def _listed(source: CodeSource, table: list[list[float]]) -> _Encoded:
    def of(code: int | None) -> list[float] | None:
        return None if code is None else table[min(code, len(table) - 1)]

    known = {value: of(code) for value, code in source.codes.items() if value is not None}
    known[None] = of(source.missing)
    return source.field, known.get, of(source.unknown)
