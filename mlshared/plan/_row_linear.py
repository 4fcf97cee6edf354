"""One row through a linear model whose columns each depend on one field: a loop, no arrays.

    number field    (x - sub) / div * weight       a constant where it is missing
    encoded field   one lookup of value -> weight  encode x lookup x linear, summed over its columns; bins too
    scores          -> link -> decide              floats and lists, closed over

The mean stays where it was: folded into the intercept it would cost digits. What the definition would refuse
(a missing or infinite value, an overflow, an unlisted category) makes a score that is not finite here, and
such a row is left to the definition.
"""

from collections.abc import Callable, Mapping
from math import frexp
from operator import mul
from typing import Any, Final

import numpy as np

from mlshared.plan._program import Output, Program
from mlshared.plan._row_number import Refused
from mlshared.plan._row_tail import by_steps, followed
from mlshared.plan._row_terms import Terms
from mlshared.plan._row_terms import terms as terms_of
from mlshared.plan._step import Array

Row = Mapping[str, Any]
Answer = Callable[[Row], Any]

_SMALLEST: Final = 2.0**-60  # of weights; below, and at 0, a division stays one
MAX_LOOP: Final = 400  # weights in a Python loop; beyond that one numpy product is quicker
_ERRORS: Final = (Refused, TypeError, ValueError, OverflowError, ZeroDivisionError, KeyError)


def linear_row(program: Program, output: Output, otherwise: Answer, shared: dict[Any, Any]) -> Answer | None:
    """Return a function of one checked row, or None if the output is no such model.

    Args:
        program: The plan's.
        output: How the method is answered.
        otherwise: Answers a row by the definition.
        shared: What the methods have in common: the terms of a linear step are kept here.
    """
    found = followed(program, output, "linear") or by_steps(program, output, "linear")
    if found is None:
        return None
    last, tail = found
    key = ("linear", last)
    if key not in shared:
        shared[key] = terms_of(program, last)
    terms: Terms | None = shared[key]
    if terms is None:
        return None
    if len(terms.offset) == 1:
        return _one_score(terms, tail, otherwise)
    scores = _by_loop(terms) if terms.size <= MAX_LOOP else _by_product(terms)
    return _several_scores(scores, tail, otherwise)


# -- the scores


def _one_score(terms: Terms, tail: Callable[[Any], Any], otherwise: Answer) -> Answer:
    """Return the loop of a single score, two fields at a time: a tenth quicker than one at a time.

    Weights are multiplied by a power of two, which costs no digit, so that a division may be folded into its
    weight: each is then at least 2, and what overflows in the definition's division overflows here as well.
    """
    scale, offset, quick, divided = _numbers(terms)
    back, numbers = 1.0 / scale, _paired(quick, (0.0,) * 3)
    encoded = _paired(terms.lookups(lambda w: float(w[0]) * scale, flags=False), ({}.get, 0.0))
    other = tuple(
        (f, float(missing * w[0]) * scale, of, float(w[0]) * scale) for f, missing, of, w in terms.other
    )

    more = bool(divided or other)

    def answer(row: Row) -> Any:
        try:
            z = offset
            for name, absent, sub, factor, name2, absent2, sub2, factor2 in numbers:
                x, x2 = row[name], row[name2]
                z += absent if x is None else (x - sub) * factor
                z += absent2 if x2 is None else (x2 - sub2) * factor2
            for name, weight_of, unlisted, name2, weight_of2, unlisted2 in encoded:
                z += weight_of(row[name], unlisted) + weight_of2(row[name2], unlisted2)
            if more:
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


def _numbers(terms: Terms) -> tuple[float, float, list[Any], list[Any]]:
    """Return the power of two, the offset, (field, absent, sub, factor), and with (..., sub, div, weight) the rest."""
    usual = [(f, float(missing), sub, div, float(w[0])) for f, missing, sub, div, w in terms.scaled]
    folded = [each for each in usual if _folds(*each[-2:])]
    scale = 2.0 ** -min([0, *(frexp(weight)[1] - 2 for *_, weight in folded)])
    offset = float(terms.offset[0]) * scale
    quick, divided = [], []
    flags = {
        f: (float(missing[0]) * scale, float(there[0]) * scale) for f, (missing, there) in terms.flags.items()
    }
    for f, missing, sub, div, w in usual:
        absent, there = flags.pop(f, (0.0, 0.0))  # added once, with the field's first term
        offset += there
        absent += missing * w * scale - there
        if _folds(div, w):
            quick.append((f, absent, sub, w * scale / div))
        else:
            divided.append((f, absent, sub, div, w * scale))
    return scale, offset, quick, divided


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
    encoded = terms.lookups(lambda w: w.tolist())

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
    rows_of: list[Array] = []

    def place(row: Array) -> int:
        rows_of.append(row)
        return len(rows_of) - 1

    encoded = terms.lookups(place)
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
