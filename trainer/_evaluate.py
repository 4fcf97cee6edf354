"""Scoring: the candidate on its held-out rows, and beside the version in force on rows neither has seen.

    scores = score(recipe, estimator, prepared.test)
    comparison = compare(recipe, estimator, champion, prepared)

A candidate that cannot be scored is an error; a version in force that cannot be is a finding
(`Comparison.problem`), because the gates decide what follows from it. Nothing here judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ._fit import Prepared, Rows
from .checks import FAIR_SPLITS, Comparison
from .errors import RecipeError
from .recipe import Recipe, metric_name
from .splits import CannotTell, untouched

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Champion:
    """The version in force.

    Attributes:
        ref: ``flights@3``.
        estimator: The fitted estimator, loaded and verified by the caller.
        split: Its manifest's ``training.split``.
    """

    ref: str
    estimator: Any
    split: Mapping[str, Any] | None


def score(recipe: Recipe, estimator: Any, rows: Rows) -> dict[str, float]:
    """Return the candidate's score by every metric of the recipe.

    Raises:
        RecipeError: If a metric raises or gives no number.
    """
    return {metric_name(m): _one_score(recipe, m, estimator, rows) for m in recipe.metrics}


def compare(recipe: Recipe, candidate: Any, champion: Champion, prepared: Prepared) -> Comparison:
    """Return candidate and version in force scored on the held-out rows neither was trained on.

    Args:
        recipe: The recipe.
        candidate: The fitted candidate.
        champion: The version in force.
        prepared: The candidate's data.

    Raises:
        RecipeError: If a metric cannot score the candidate.
    """
    mask = untouched(champion.split, prepared.description, prepared.test.frame)
    if isinstance(mask, CannotTell):
        return cannot_compare(
            champion.ref,
            f"cannot tell which rows {champion.ref} was trained on: {mask.reason}; {FAIR_SPLITS}, "
            "and release the first such version by hand",
        )
    rows = _only(prepared.test, mask)
    if rows.X.empty:
        return Comparison(champion.ref, 0, {}, {})
    try:
        old = score(recipe, champion.estimator, _as_fitted(champion.estimator, rows))
    except RecipeError as error:
        return cannot_compare(champion.ref, f"{champion.ref} cannot be scored on today's rows: {error}")
    return Comparison(champion.ref, len(rows.X), score(recipe, candidate, rows), old)


def cannot_compare(ref: str, problem: str) -> Comparison:
    """Return the comparison that could not be made, such as with a version that does not load."""
    return Comparison(ref, problem=problem)


def _only(rows: Rows, mask: NDArray[np.bool_]) -> Rows:
    if mask.all():
        return rows
    return Rows(rows.frame[mask], rows.raw[mask], rows.X[mask], rows.y[mask])


def _as_fitted(estimator: Any, rows: Rows) -> Rows:
    """Return the rows with the columns an older estimator was fitted on, as far as they exist."""
    names = getattr(estimator, "feature_names_in_", None)
    if names is None:
        return rows
    columns = [name for name in names if name in rows.X.columns]
    return Rows(rows.frame, rows.raw, rows.X[columns], rows.y)


def _one_score(
    recipe: Recipe,
    metric: Any,
    estimator: Any,
    rows: Rows,
) -> float:
    from sklearn.metrics import get_scorer  # noqa: PLC0415 - heavy; `trainer --help` does without

    scorer = get_scorer(metric) if isinstance(metric, str) else metric
    name = metric_name(metric)
    try:
        return float(scorer(estimator, rows.X, rows.y))
    except Exception as error:
        message = (str(error).splitlines() or [""])[0][:300]
        raise RecipeError(
            f"{recipe.name}: metric {name!r} raised {type(error).__name__}: {message}"
        ) from error
