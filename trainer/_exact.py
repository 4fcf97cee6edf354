"""Whether a plan answers as its pipeline does: what exact means, and what was seen.

    compare(...) -> Comparison         both ways of answering, every method, every row; or NotExact

The reference is the fitted estimator on a frame with the training dtypes. A plan without rounding steps must
give equal bits; one with them stays within 1e-12 of the largest absolute value of a column (float32: 2e-6), 1 for
probabilities. Labels must be equal wherever the two best scores differ by more than that; elsewhere the plan's is
one of the tied, which is counted. A row that scikit-learn refuses, the plan refuses.
"""

import math
import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from mlshared._estimator import REFUSALS
from mlshared._frames import frame
from mlshared._schema import Schema
from mlshared.errors import InputError, MlsharedError
from mlshared.plan import Plan

Row = dict[str, Any]
Ways = dict[str, tuple[Any, slice]]
Array = NDArray[Any]

TOLERANCE: Final = {"float64": 1e-12, "float32": 2e-6}
SINGLE_ROWS: Final = 3
TIMED_ROWS: Final = 256


class NotExact(MlsharedError):  # noqa: N818 - says what it is
    """A plan does not answer as its pipeline does; the message names the method and the difference."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was compared, and how fast both were.

    Attributes:
        rows: How many rows both answered.
        ties: How many labels stood on a tie, and differed.
        plan_seconds: Median for one row by the plan, input check included.
        reference_seconds: Median for one row by scikit-learn, frame included.
    """

    rows: int
    ties: int
    plan_seconds: float
    reference_seconds: float


def compare(
    estimator: Any,
    plan: Plan,
    schema: Schema,
    rows: Sequence[Row],
    wild: Sequence[Row],
    *,
    rounding: bool,
    turns: bool = False,
) -> Comparison:
    """Return what was seen when every row was answered by both.

    Args:
        estimator: The reference, fitted.
        plan: Its plan.
        schema: Of its rows.
        rows: Checked rows that scikit-learn answers.
        wild: Checked rows that it may refuse: infinite, beyond float32.
        rounding: Whether the plan declares rounding.
        turns: Whether the methods take turns with single rows; in tables each answers all of them.

    Raises:
        NotExact: At the first difference.
    """
    # In a busy process a parallel region that is entered for one row may take half a second.
    with threadpool_limits(limits=1, user_api="openmp"):
        asked = _answered(estimator, schema, rows)
        ties = _compare_rows(asked, plan, rounding=rounding, turns=turns)
        for some in _in_groups(estimator, schema, wild, plan.methods):
            _compare_wild(some, plan, rounding=rounding)
        method = "predict_proba" if "predict_proba" in plan.methods else plan.methods[0]
        one = plan.one(method)
        quick = _median(lambda row: one(schema.row(row)), [*asked.rows[:TIMED_ROWS]] * 2)
        slow = _median(lambda row: _answer(estimator, method, frame([row], schema)), asked.rows[:SINGLE_ROWS])
        return Comparison(len(asked.rows), ties, quick, slow)


def compare_more(
    seen: Comparison, estimator: Any, plan: Plan, schema: Schema, rows: Sequence[Row], *, rounding: bool
) -> Comparison:
    """Return what was seen so far and with further rows, none of them wild; methods take turns with single ones.

    Raises:
        NotExact: At the first difference.
    """
    with threadpool_limits(limits=1, user_api="openmp"):
        asked = _answered(estimator, schema, rows)
        ties = _compare_rows(asked, plan, rounding=rounding, turns=True) if asked.rows else 0
    return replace(seen, rows=seen.rows + len(asked.rows), ties=seen.ties + ties)


def _answered(estimator: Any, schema: Schema, rows: Sequence[Row]) -> "_Asked":
    method = "predict" if hasattr(estimator, "predict") else "transform"
    asked = _Asked(estimator, schema, rows)
    return asked if asked.answer(method) is not None else _Asked(estimator, schema, asked.answered(method))


class _Asked:
    """Some rows, and what the reference answers to them; nothing is asked twice.

    The frame is built once, and so is what the last step of a Pipeline is given: every method begins alike.
    """

    def __init__(self, estimator: Any, schema: Schema, rows: Sequence[Row]) -> None:
        self.estimator = estimator
        self.rows = rows
        self._schema = schema
        self._prepared: tuple[Any, Any] | None = None
        self._answers: dict[str, Any] = {}

    def answer(self, method: str) -> Any:
        """Return its answer to the rows; None if it refuses any of them."""
        if method not in self._answers:
            if self._prepared is None:
                self._prepared = _prepared(self.estimator, frame(list(self.rows), self._schema))
            last, x = self._prepared
            self._answers[method] = None if x is None else _answer(last, method, x)
        return self._answers[method]

    def answered(self, method: str) -> list[Row]:
        """Return the rows it answers; asked one by one only where it does not answer them all."""
        if self.answer(method) is not None:
            return list(self.rows)
        if len(self.rows) == 1:
            return []
        half = len(self.rows) // 2
        halves = self.rows[:half], self.rows[half:]
        return [row for part in halves for row in _Asked(self.estimator, self._schema, part).answered(method)]


def _in_groups(estimator: Any, schema: Schema, rows: Sequence[Row], methods: Sequence[str]) -> list[_Asked]:
    """Return wild rows as they are compared: as many together as are all answered, each refused one by itself."""
    infinite = [any(isinstance(value, float) and math.isinf(value) for value in row.values()) for row in rows]
    finite = [row for row, one in zip(rows, infinite, strict=True) if not one]
    for together, alone in (
        (rows, []),
        (finite, [row for row, one in zip(rows, infinite, strict=True) if one]),
    ):
        asked = _Asked(estimator, schema, together)
        if together and all(asked.answer(method) is not None for method in methods):
            return [asked, *(_Asked(estimator, schema, [row]) for row in alone)]
    return [_Asked(estimator, schema, [row]) for row in rows]


def _prepared(estimator: Any, x: Any) -> tuple[Any, Any]:
    """Return what is asked, and what it is given: of a Pipeline the last step; None where rows are refused."""
    if type(estimator) is not Pipeline or len(estimator.steps) == 1:
        return estimator, x
    last = estimator.steps[-1][1]
    return (estimator, x) if isinstance(last, str) else (last, _answer(estimator[:-1], "transform", x))


def _answer(estimator: Any, method: str, x: Any) -> Any:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return getattr(estimator, method)(x)
        except REFUSALS:
            return None


def _compare_rows(asked: _Asked, plan: Plan, *, rounding: bool, turns: bool) -> int:
    ways: dict[str, Ways] = {}
    with np.errstate(all="ignore"):
        try:
            tables = plan.every(asked.rows)
            for turn, method in enumerate(plan.methods):
                some = slice(turn, None, len(plan.methods)) if turns else slice(None)
                singles = [*map(plan.one(method), asked.rows[some])]
                ways[method] = {"a table": (tables[method], slice(None)), "single rows": (singles, some)}
        except InputError as error:
            raise NotExact(f"the plan refuses a row that scikit-learn answers: {error}") from error
    return sum(_compare_method(asked, plan, each, ways[each], rounding=rounding) for each in plan.methods)


def _compare_method(asked: _Asked, plan: Plan, method: str, ways: Ways, *, rounding: bool) -> int:
    """Compare answers, each with the rows they are to, and return how many labels differ at a tie."""
    wanted = asked.answer(method)
    if hasattr(wanted, "toarray"):
        wanted = wanted.toarray()
    scores = _scores(asked, plan) if method == "predict" else None
    ties = 0
    for way, (found, some) in ways.items():
        where = f"{method} of {way}"
        if isinstance(wanted, list):
            parts = found if way == "a table" else list(zip(*found, strict=True))
            for want, part in zip(wanted, parts, strict=True):
                _compare_numbers(where, np.asarray(want)[some], np.asarray(part), method, rounding=rounding)
        elif scores is not None:
            ties += _compare_labels(where, np.asarray(wanted)[some], np.asarray(found), scores[some])
        else:
            _compare_numbers(where, np.asarray(wanted)[some], np.asarray(found), method, rounding=rounding)
    return ties


def _compare_wild(asked: _Asked, plan: Plan, *, rounding: bool) -> None:
    for method in plan.methods:
        one = plan.one(method)
        ways: Ways = {}
        with np.errstate(all="ignore"):
            with suppress(InputError):
                ways["a table"] = plan.rows(method, asked.rows), slice(None)
            with suppress(InputError):
                ways["single rows"] = [one(row) for row in asked.rows], slice(None)
        if asked.answer(method) is None:
            if ways:
                raise NotExact(f"{method}: the plan answers a row that scikit-learn refuses")
        elif len(ways) < 2:
            raise NotExact(f"{method}: the plan refuses a row that scikit-learn answers")
        else:
            _compare_method(asked, plan, method, ways, rounding=rounding)


def _compare_numbers(where: str, wanted: Array, found: Array, method: str, *, rounding: bool) -> None:
    if wanted.dtype.kind not in "fiub":
        same = bool(wanted.shape == found.shape and (wanted == found).all())
        if not same:
            raise NotExact(f"{where}: the answers are not the same")
        return
    wanted, found, dtype = wanted.astype(np.float64), found.astype(np.float64), str(wanted.dtype)
    if wanted.shape != found.shape:
        raise NotExact(f"{where}: shape {found.shape} in the place of {wanted.shape}")
    finite = np.isfinite(wanted)
    equal = (wanted == found) | (np.isnan(wanted) & np.isnan(found))
    if not rounding or not equal[~finite].all():
        gap, allowed = np.where(equal, 0.0, np.inf), 0.0
    else:
        size = (
            1.0 if method == "predict_proba" else np.abs(np.where(finite, wanted, 0.0)).max(axis=0, initial=0)
        )
        gap = np.where(finite, np.abs(found - wanted), 0.0)
        allowed = TOLERANCE.get(dtype, 1e-12) * size
    if (gap > allowed).any():
        off = float(np.abs(found - wanted)[gap > allowed].max())
        raise NotExact(
            f"{where}: {int((gap > allowed).sum())} of {gap.size} answers differ, by up to {off:.3g}"
        )


def _compare_labels(where: str, wanted: Array, found: Array, scores: Array) -> int:
    if wanted.shape != found.shape:
        raise NotExact(f"{where}: shape {found.shape} in the place of {wanted.shape}")
    differ = wanted != found
    if wanted.ndim == 2:
        differ = differ.any(axis=1)
    if (differ & ~_tied(scores)).any():
        raise NotExact(f"{where}: {int(differ.sum())} labels differ, and not at a tie")
    return int(differ.sum())


def _scores(asked: _Asked, plan: Plan) -> Array | None:
    """Return scikit-learn's scores, shape (n,) or (n, classes), if it is a classifier; else None."""
    if not hasattr(asked.estimator, "classes_"):
        return None
    for method in ("decision_function", "predict_proba"):
        if method in plan.methods:
            found = asked.answer(method)
            if isinstance(found, np.ndarray) and found.dtype.kind == "f":
                return found
    return np.tile([0.0, 1.0], (len(asked.rows), 1))


def _tied(scores: Array) -> Array:
    """Return where the two best scores differ by no more than rounding could."""
    largest = float(np.abs(scores[np.isfinite(scores)]).max(initial=0))
    size = TOLERANCE.get(str(scores.dtype), 1e-12) * max(1.0, largest)
    if scores.ndim == 1:
        return np.abs(scores) <= size
    best = np.sort(scores, axis=1)
    return np.asarray(best[:, -1] - best[:, -2] <= size)


def _median(ask: Any, rows: Sequence[Row]) -> float:
    seconds = []
    for row in rows:
        began = time.perf_counter()
        ask(row)
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds)) if seconds else float("nan")
