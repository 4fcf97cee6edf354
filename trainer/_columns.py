"""Asks a fitted pipeline's structure which of its columns it reads, and how.

Pipeline, ColumnTransformer and FeatureUnion are followed as far as they pass the frame on unchanged; whatever
else comes first is taken to read every column. Answers are hints: `trainer._fields` tries them.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np


def columns_read(estimator: Any, names: list[str]) -> list[str]:
    """Return the names the fitted structure reads, as far as it can be asked; else all of them."""
    steps = getattr(estimator, "steps", None)
    if steps is not None:
        working = [step for _, step in steps if step is not None and not isinstance(step, str)]
        return columns_read(working[0], names) if working else names
    if hasattr(estimator, "transformers_"):
        read = {name for _, _, columns in _selections(estimator) for name in _selected(columns, names)}
        return [name for name in names if name in read]
    if hasattr(estimator, "transformer_list"):
        parts = [step for _, step in estimator.transformer_list if step != "drop"]
        read = {
            name for step in parts for name in (names if isinstance(step, str) else columns_read(step, names))
        }
        return [name for name in names if name in read]
    for inner in ("best_estimator_", "regressor_"):  # searches and TransformedTargetRegressor pass X through
        if hasattr(estimator, inner):
            return columns_read(getattr(estimator, inner), names)
    return names


def _selections(estimator: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the fitted parts of a ColumnTransformer that read something."""
    for name, part, columns in estimator.transformers_:
        if not (isinstance(part, str) and part == "drop"):
            yield name, part, columns


def _selected(columns: Any, names: list[str]) -> list[str]:
    """Return the names that a ColumnTransformer's fitted selection stands for."""
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice):
        return _sliced(columns, names)
    chosen = list(np.atleast_1d(np.asarray(columns, dtype=object)))
    if chosen and all(isinstance(one, bool | np.bool_) for one in chosen):
        return [name for name, taken in zip(names, chosen, strict=False) if taken]
    inside = range(-len(names), len(names))
    return [
        one if isinstance(one, str) else names[one] for one in chosen if isinstance(one, str) or one in inside
    ]


def _sliced(columns: slice, names: list[str]) -> list[str]:
    start, stop = columns.start, columns.stop
    if any(isinstance(end, str) and end not in names for end in (start, stop)):
        return []
    if isinstance(start, str):
        start = names.index(start)
    if isinstance(stop, str):
        stop = names.index(stop) + 1  # a slice of labels holds its last one
    return names[slice(start, stop, columns.step)]


def encoded_values(estimator: Any, names: list[str]) -> dict[str, list[Any]]:
    """Return the categories that fitted encoders hold, by column; none where that cannot be told."""
    found: dict[str, list[Any]] = {}
    for given, step in _fitted_steps(estimator, names):
        categories = getattr(step, "categories_", None)
        if categories is not None and len(categories) == len(given):
            for name, values in zip(given, categories, strict=True):
                found.setdefault(name, []).extend(values)
    return found


def _fitted_steps(estimator: Any, names: list[str]) -> Iterator[tuple[list[str], Any]]:
    """Yield every fitted step with the columns that its part of the pipeline was given."""
    yield names, estimator
    for _, step in getattr(estimator, "transformer_list", ()):
        yield from _fitted_steps(step, names)
    for _, step in getattr(estimator, "steps", ()):
        yield from _fitted_steps(step, names)
        if hasattr(step, "transformers_") or hasattr(step, "transformer_list"):
            break  # what comes out of it has other columns
    if hasattr(estimator, "transformers_"):
        for _, part, columns in _selections(estimator):
            yield from _fitted_steps(part, _selected(columns, names))


def text_columns(estimator: Any, names: list[str]) -> set[str]:
    """Return the columns given to a transformer by one bare name: as 1-D text, not as a table."""
    return {
        columns
        for _, step in _fitted_steps(estimator, names)
        if hasattr(step, "transformers_")
        for _, _, columns in _selections(step)
        if isinstance(columns, str)
    }
