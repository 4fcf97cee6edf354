"""One row through a linear model whose columns each depend on one field: a loop, no arrays.

    number field    (x - sub) / div * weight       a constant where it is missing
    encoded field   one lookup of value -> weight  encode x lookup x linear, summed over its columns
    scores          -> link -> decide              floats and lists, closed over

The mean stays where it was: folded into the intercept it would cost digits. What the definition would refuse
(a missing or infinite value, an overflow, an unlisted category) makes a score that is not finite here, and
such a row is left to the definition.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import frexp
from operator import mul
from typing import Any, Final

import numpy as np

from mlshared.plan._program import Output, Program
from mlshared.plan._row_number import Refused, missing_value, read_whole, scalar, scaled
from mlshared.plan._row_scores import long_tail, short_tail
from mlshared.plan._separable import CodeSource, NumberSource, covered, sources
from mlshared.plan._step import Array

Row = Mapping[str, Any]
Answer = Callable[[Row], Any]

_SMALLEST: Final = 2.0**-60  # of weights; below, and at 0, a division stays one
NAN: Final = float("nan")
MAX_LOOP: Final = 400  # weights in a Python loop; beyond that one numpy product is quicker
_ERRORS: Final = (Refused, TypeError, ValueError, OverflowError, ZeroDivisionError, KeyError)


@dataclass(frozen=True, slots=True, eq=False)
class Terms:
    """A linear step taken apart; weights are arrays of shape (outputs,).

    Attributes:
        offset: Added to all.
        scaled: (field, column's value where missing, sub, div, weights): the column is ``(x - sub) / div``.
        other: (field, column's value where missing, function of the value, weights).
        encoded: (field, value -> weights, weights of an unlisted value).
    """

    offset: Array
    scaled: list[tuple[str, float, float, float, Array]]
    other: list[tuple[str, float, Callable[[Any], float], Array]]
    encoded: list[tuple[str, dict[Any, Array], Array]]


def linear_row(program: Program, output: Output, otherwise: Answer, shared: dict[Any, Any]) -> Answer | None:
    """Return a function of one checked row, or None if the output is no such model.

    Args:
        program: The plan's.
        output: How the method is answered.
        otherwise: Answers a row by the definition.
        shared: What the methods have in common: the terms of a linear step are kept here.
    """
    tail, last = short_tail(program, output)
    if tail is None:
        tail, last = long_tail(program, output)
    if tail is None:
        return None
    key = ("linear", last)
    if key not in shared:
        shared[key] = _terms(program, last)
    terms: Terms | None = shared[key]
    if terms is None:
        return None
    if len(terms.offset) == 1:
        return _one_score(terms, tail, otherwise)
    scores = _by_loop(terms) if _size(terms) <= MAX_LOOP else _by_product(terms)
    return _several_scores(scores, tail, otherwise)


# -- the scores


def _one_score(terms: Terms, tail: Callable[[Any], Any], otherwise: Answer) -> Answer:
    """Return the loop of a single score, two fields at a time: a tenth quicker than one at a time.

    Weights are multiplied by a power of two, which costs no digit, so that a division may be folded into its
    weight: each is then at least 2, and what overflows in the definition's division overflows here as well.
    """
    usual = [(f, float(missing), sub, div, float(w[0])) for f, missing, sub, div, w in terms.scaled]
    folded = [each for each in usual if _folds(*each[-2:])]
    scale = 2.0 ** -min([0, *(frexp(weight)[1] - 2 for *_, weight in folded)])
    offset, back = float(terms.offset[0]) * scale, 1.0 / scale
    numbers = _paired(
        [(f, missing * w * scale, sub, w * scale / div) for f, missing, sub, div, w in folded], (0.0,) * 3
    )
    divided = tuple(
        (f, missing * w * scale, sub, div, w * scale)
        for f, missing, sub, div, w in usual
        if not _folds(div, w)
    )
    encoded = _paired(
        [
            (f, {value: float(w[0]) * scale for value, w in table.items()}.get, float(unknown[0]) * scale)
            for f, table, unknown in terms.encoded
        ],
        ({}.get, 0.0),
    )
    other = tuple(
        (f, float(missing * w[0]) * scale, of, float(w[0]) * scale) for f, missing, of, w in terms.other
    )

    def answer(row: Row) -> Any:
        try:
            z = offset
            for name, absent, sub, factor, name2, absent2, sub2, factor2 in numbers:
                x, x2 = row[name], row[name2]
                z += absent if x is None else (x - sub) * factor
                z += absent2 if x2 is None else (x2 - sub2) * factor2
            for name, weight_of, unlisted, name2, weight_of2, unlisted2 in encoded:
                z += weight_of(row[name], unlisted) + weight_of2(row[name2], unlisted2)
            for name, absent, sub, div, weight in divided:
                x = row[name]
                z += absent if x is None else (x - sub) / div * weight
            for name, absent, of, weight in other:
                x = row[name]
                z += absent if x is None else of(x) * weight
            if z - z == 0.0:  # finite
                return tail(z * back)
        except _ERRORS:
            pass
        return otherwise(row)

    return answer


def _folds(div: float, weight: float) -> bool:
    return div != 0.0 and abs(weight) >= _SMALLEST


def _paired(terms: list[Any], nothing: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return terms in twos, each (field, ...); an odd one beside the same field adding ``nothing``."""
    even = terms if len(terms) % 2 == 0 else [*terms, (terms[-1][0], *nothing)]
    return tuple((*one, *other) for one, other in zip(even[::2], even[1::2], strict=True))


def _several_scores(
    scores_of: Callable[[Row], list[float]], tail: Callable[[Any], Any], otherwise: Answer
) -> Answer:
    def answer(row: Row) -> Any:
        try:
            scores = scores_of(row)
            total = sum(scores)
            if total - total == 0.0:  # all of them finite
                return tail(scores)
        except _ERRORS:
            pass
        return otherwise(row)

    return answer


def _by_loop(terms: Terms) -> Callable[[Row], list[float]]:
    numbers = tuple((f, missing, sub, div) for f, missing, sub, div, _ in terms.scaled)
    other = tuple((f, missing, of) for f, missing, of, _ in terms.other)
    columns = [w.tolist() for *_, w in terms.scaled] + [w.tolist() for *_, w in terms.other]
    offset = terms.offset.tolist()
    weights = [[column[output] for column in columns] for output in range(len(offset))]
    encoded = tuple(
        (f, {value: w.tolist() for value, w in table.items()}.get, unknown.tolist())
        for f, table, unknown in terms.encoded
    )

    def scores_of(row: Row) -> list[float]:
        values = []
        for name, absent, sub, div in numbers:
            x = row[name]
            values.append(absent if x is None else (x - sub) / div)
        for name, absent, of in other:
            x = row[name]
            values.append(absent if x is None else of(x))
        added = [offset]
        for name, weights_of, unlisted in encoded:
            added.append(weights_of(row[name], unlisted))
        # Sums and products stay in C: a fifth of the time of a loop over columns and outputs.
        return [
            sum(map(mul, values, of_output), sum(own))
            for of_output, own in zip(weights, zip(*added))  # noqa: B905 - time
        ]

    return scores_of


def _by_product(terms: Terms) -> Callable[[Row], list[float]]:
    offset = terms.offset
    numbers = tuple((f, missing, sub, div) for f, missing, sub, div, _ in terms.scaled)
    other = tuple((f, missing, of) for f, missing, of, _ in terms.other)
    columns = [w for *_, w in terms.scaled] + [w for *_, w in terms.other]
    weights = np.array(columns).reshape(len(columns), len(offset))
    listed = [(f, table, unknown) for f, table, unknown in terms.encoded]
    rows_of: list[Array] = []
    encoded = []
    for name, table, unknown in listed:
        places = {value: len(rows_of) + 1 + place for place, value in enumerate(table)}
        encoded.append((name, places.get, len(rows_of)))
        rows_of += [unknown, *table.values()]
    tables = np.array(rows_of).reshape(len(rows_of), len(offset))

    def scores_of(row: Row) -> list[float]:
        values = []
        for name, absent, sub, div in numbers:
            x = row[name]
            values.append(absent if x is None else (x - sub) / div)
        for name, absent, of in other:
            x = row[name]
            values.append(absent if x is None else of(x))
        scores = np.array(values, dtype=np.float64) @ weights + offset
        if encoded:
            places = [place_of(row[name], unlisted) for name, place_of, unlisted in encoded]
            scores += tables.take(places, axis=0).sum(axis=0)
        found: list[float] = scores.tolist()
        return found

    return scores_of


# -- a linear step, taken apart


def _size(terms: Terms) -> int:
    return len(terms.offset) * (len(terms.scaled) + len(terms.encoded) + len(terms.other))


def _terms(program: Program, number: int) -> Terms | None:
    step = program.steps[number]
    if program.compiled[number].shape.dtype != "float64":
        return None
    found = sources(program, step.inputs[0])
    if found is None or not covered(program, step.inputs[0], found):
        return None
    terms = Terms(step.arrays["b"].copy(), [], [], [])
    encoders: dict[int, list[tuple[CodeSource, Array]]] = {}
    for source, weights in zip(found, step.arrays["W"], strict=True):
        if isinstance(source, CodeSource):
            encoders.setdefault(source.encoder, []).append((source, weights))
        elif not _number(terms, source, weights):
            return None
    if not all(read_whole(program, columns[0][0]) for columns in encoders.values()):
        return None
    for columns in encoders.values():
        terms.encoded.append(_merged(columns))
    return terms


def _number(terms: Terms, source: NumberSource, weights: Array) -> bool:
    absent = missing_value(source)
    missing = NAN if absent is None else absent
    simple = scaled(source)
    if simple is not None:
        terms.scaled.append((source.field, missing, *simple, weights))
        return True
    function = scalar(source)
    if function is not None:
        terms.other.append((source.field, missing, function, weights))
    return function is not None


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
