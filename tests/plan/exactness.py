"""Whether a plan answers as the fitted pipeline does: the definition of exact, as tests use it.

    plan = compare(pipeline, X, rows)        converts, then asserts every method over all rows, both ways

The reference is the pipeline on a frame with the training dtypes. A plan without rounding steps gives equal bits;
one with them stays within 1e-12 of the largest absolute value of a column (float32: 2e-6), or of 1 for
probabilities. Labels are equal wherever the two best scores differ by more than that. A row the pipeline
refuses is one the plan refuses.
"""

import warnings
from typing import Any

import numpy as np
import pytest

from mlshared._frames import frame
from mlshared._schema import Schema
from mlshared.errors import InputError
from mlshared.plan import Plan
from trainer._fields import infer_fields
from trainer.converters import convert

METHODS = ("predict", "predict_proba", "decision_function")
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}


def compare(
    pipeline: Any, X: Any, rows: list[dict[str, Any]], *, methods: Any = None, tolerance: float | None = None
) -> Plan:
    """Assert that the pipeline converts, and that plan and row functions answer ``rows`` as it does.

    ``tolerance`` replaces that of rounding steps: a dot product in float32 is as good as its terms.
    """
    kind, fields, categories = infer_fields(pipeline, X)
    converted = convert.converted(pipeline, fields, categories)
    # The door would refuse a missing value that the pipeline refuses; here the plan has to.
    schema = Schema([field.model_copy(update={"nullable": True}) for field in fields], kind, categories)
    checked = schema.rows(rows)
    plan = converted.plan
    answered = methods or [method for method in METHODS if hasattr(pipeline, method)] or ["transform"]
    assert set(plan.methods) >= set(answered)
    parted = _parted(pipeline, plan.methods[0], checked, schema)
    for method in plan.methods:
        within = tolerance if tolerance and converted.rounding else float(converted.rounding)
        if not _parts(pipeline, method, parted, schema):
            parted = _parted(pipeline, method, checked, schema)
        for row in parted[1]:
            _assert_refused(plan, method, row)
        _compare_method(pipeline, plan, method, parted[0], schema, rounding=within)
    return plan


def _parted(pipeline: Any, method: str, rows: list[Any], schema: Schema) -> tuple[list[Any], list[Any]]:
    """Return the rows that the pipeline answers, and those it refuses; asked in halves, for one row takes long."""
    if not rows or reference(pipeline, method, rows, schema) is not None:
        return rows, []
    if len(rows) == 1:
        return [], rows
    half = len(rows) // 2
    first, second = (_parted(pipeline, method, part, schema) for part in (rows[:half], rows[half:]))
    return first[0] + second[0], first[1] + second[1]


def _parts(pipeline: Any, method: str, parted: tuple[list[Any], list[Any]], schema: Schema) -> bool:
    """Return whether a method answers and refuses the same rows as another."""
    answered, refused = parted
    if answered and reference(pipeline, method, answered, schema) is None:
        return False
    return all(reference(pipeline, method, [row], schema) is None for row in refused)


def reference(pipeline: Any, method: str, rows: list[dict[str, Any]], schema: Schema) -> Any:
    """Return what the pipeline answers to checked rows; None if it refuses any of them."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return getattr(pipeline, method)(frame(rows, schema))
        except (ValueError, OverflowError, IndexError):
            return None


def _compare_method(
    pipeline: Any, plan: Plan, method: str, rows: list[dict[str, Any]], schema: Schema, *, rounding: float
) -> None:
    if not rows:
        return
    wanted = reference(pipeline, method, rows, schema)
    one = plan.one(method)
    with np.errstate(all="ignore"):
        answers = {"run": plan.rows(method, rows), "one": [one(row) for row in rows]}
    scores = _scores(pipeline, rows, schema) if method == "predict" else None
    if isinstance(wanted, list):
        assert isinstance(answers["run"], list)
        for position, part in enumerate(wanted):
            _assert_equal(part, answers["run"][position], method, scores, rounding=rounding)
            singly = [answer[position] for answer in answers["one"]]
            _assert_equal(part, singly, method, scores, rounding=rounding)
        return
    wanted = wanted.toarray() if hasattr(wanted, "toarray") else np.asarray(wanted)
    if method == "transform" and wanted.dtype.kind in "biuO":
        wanted = wanted.astype(np.float64)  # as the next step would read them
    assert np.asarray(answers["run"]).dtype.kind == wanted.dtype.kind
    for answer in answers.values():
        _assert_equal(wanted, answer, method, scores, rounding=rounding)


def _assert_refused(plan: Plan, method: str, row: dict[str, Any]) -> None:
    with pytest.raises(InputError), np.errstate(all="ignore"):
        plan.rows(method, [row])
    with pytest.raises(InputError), np.errstate(all="ignore"):
        plan.one(method)(row)


def _assert_equal(wanted: Any, answer: Any, method: str, scores: Any, *, rounding: float) -> None:
    wanted = np.asarray(wanted)
    if wanted.dtype.kind != "f" or scores is not None:
        _assert_labels(wanted, np.asarray(answer), scores, rounding)
        return
    found = np.asarray(answer, dtype=np.float64)
    assert found.shape == wanted.shape
    if not rounding:
        np.testing.assert_array_equal(found, wanted.astype(np.float64))
        return
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(wanted))
    np.testing.assert_array_equal(found[~np.isfinite(wanted)], wanted[~np.isfinite(wanted)])
    with np.errstate(invalid="ignore"):
        gap = np.where(np.isfinite(wanted), np.abs(found - wanted), 0.0)
    finite = np.where(np.isfinite(wanted), np.abs(wanted), 0.0).astype(np.float64)
    size = 1.0 if method == "predict_proba" else finite.max(axis=0)
    tolerance = TOLERANCE[str(wanted.dtype)] if rounding == 1 else rounding
    assert (gap <= tolerance * size).all(), f"{method}: off by {gap.max()} of {size}"


def _assert_labels(wanted: Any, found: Any, scores: Any, rounding: float) -> None:
    assert found.shape == wanted.shape
    same = found == wanted
    if same.all():
        return
    assert scores is not None, "labels differ"
    clear = _clear(scores, rounding, several=wanted.ndim == 2).reshape(len(wanted), -1)
    assert (same.reshape(len(wanted), -1) | ~clear).all(), "labels differ where scores do not tie"


def _clear(scores: Any, rounding: float, *, several: bool) -> Any:
    """Return where the two best scores, or each label's score and 0, differ by more than the tolerance."""
    tolerance = TOLERANCE[str(scores.dtype)] if rounding in {0, 1} else rounding
    size = tolerance * max(1.0, float(np.abs(scores[np.isfinite(scores)]).max(initial=0)))
    if scores.ndim == 1 or several:
        return np.abs(scores) > size
    best = np.sort(scores, axis=1)
    return best[:, -1] - best[:, -2] > size


def _scores(pipeline: Any, rows: list[dict[str, Any]], schema: Schema) -> Any:
    if not hasattr(pipeline, "classes_"):
        return None
    for method in ("decision_function", "predict_proba"):
        if hasattr(pipeline, method):
            found = reference(pipeline, method, rows, schema)
            return found if isinstance(found, np.ndarray) else np.zeros((len(rows), 2))
    return np.full((len(rows), 2), [0.0, 1.0])
