"""SimpleImputer and MissingIndicator: what is missing is filled, or told.

Numbers are NaN where missing. A field of texts has one missing value of its own, NaN or None, and an imputer
told to look for the other one leaves it alone, as scikit-learn does. Private attributes used:
`SimpleImputer._fit_dtype`.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np
from sklearn.impute import MissingIndicator, SimpleImputer

from mlshared._values import is_missing
from mlshared.plan import Step

from ._block import UNFILLED, Block, Converter, join


def _simple_imputer(estimator: SimpleImputer, x: Block) -> Block:
    objects = np.dtype(estimator._fit_dtype).kind == "O"  # noqa: SLF001
    marker = estimator.missing_values
    if x.sparse and not is_missing(marker):
        x.refuse("a marker in a sparse matrix")
    statistics = np.asarray(estimator.statistics_)
    kept = [
        position
        for position, value in enumerate(statistics)
        if estimator.keep_empty_features or not _is_nan(value)
    ]
    x = _checked(x, marker, objects=objects)
    filled = _filled(x.select(kept), [statistics[position] for position in kept], estimator, objects=objects)
    filled = filled.stored(sparse=x.sparse)
    if not estimator.add_indicator or not len(estimator.indicator_.features_):
        return filled
    told = _told(x.select(estimator.indicator_.features_), marker)
    return join([filled, told.stored(sparse=x.sparse)])


def _missing_indicator(estimator: MissingIndicator, x: Block) -> Block:
    sparse = estimator.sparse is True or (estimator.sparse == "auto" and x.sparse)
    marker = estimator.missing_values
    x = _checked(x, marker, objects=x.labelled())
    others = sorted(set(range(x.width)) - set(np.asarray(estimator.features_).tolist()))
    if estimator.features == "missing-only" and estimator.error_on_new and others:
        x = _without_new(x, others, marker)
    # Booleans to scikit-learn: beside float32 columns they become float32.
    return _told(x.select(estimator.features_), marker).stored(sparse=sparse)


def _checked(x: Block, marker: Any, *, objects: bool) -> Block:
    """Refuse what scikit-learn refuses: infinite numbers, and missing ones where others are the marker."""
    if not is_missing(marker) and x.labelled() and not all(column.label for column in x.columns):
        x.refuse("a marker among texts and numbers")
    if objects:
        return x
    return x.check(missing=not is_missing(marker))


def _filled(x: Block, values: list[Any], estimator: SimpleImputer, *, objects: bool) -> Block:
    marker = estimator.missing_values
    if objects:
        blocks = [_filled_object(x.select([i]), value, marker) for i, value in enumerate(values)]
        return join(blocks) if blocks else x
    if not x.width:
        return x
    fill_dtype = getattr(estimator, "_fill_dtype", estimator._fit_dtype)  # noqa: SLF001
    numbers = np.array(values).astype(fill_dtype).astype(np.float64)
    return x.fill(numbers, marker=None if is_missing(marker) else float(marker))


def _filled_object(x: Block, value: Any, marker: Any) -> Block:
    """Fill one column of an array of objects: a number among texts is filled as well."""
    (column,) = x.columns
    if not column.label:
        return x if marker is None else x.cast("float64").fill(float(value))
    plain = value.item() if isinstance(value, np.generic) else value
    if not is_missing(marker):
        return _replaced(x, marker, plain)
    if column.fill is not UNFILLED or not _looks_for(x, marker):
        return x
    return replace(x, columns=(replace(column, fill=plain, origin=None),))


def _replaced(x: Block, marker: Any, value: Any) -> Block:
    """Put a text in the place of another one; NaN is refused beside a marker, None is not."""
    (column,), (field,) = x.columns, x.fields()
    if field is None or column.step is None or column.fill is not UNFILLED:
        x.refuse("a marker among texts that are no field any more")
    params = {"marker": marker, "value": value, "missing": field.missing != "none"}
    step = x.builder.add(Step("replace", (column.step,), params))
    return replace(x, columns=(replace(column, step=step, origin=None),))


def _looks_for(x: Block, marker: Any) -> bool:
    """Return whether this marker, one of the missing values, is that of the one column's field."""
    (field,) = x.fields()
    if field is None:
        x.refuse("texts that are no field any more")
    if marker is None:
        return field.missing == "none"
    return field.missing != "none" or not _is_nan(marker)  # pd.NA finds all of them


def _told(x: Block, marker: Any) -> Block:
    """Return 1 where a value is missing and 0 elsewhere."""
    if x.labelled() and x.width > 1:
        return join([_told(x.select([position]), marker) for position in range(x.width)])
    if not x.labelled():
        if marker is None:
            x.refuse("looks for None among numbers")
        return x.missing(marker=None if is_missing(marker) else float(marker))
    (column,) = x.columns
    if not is_missing(marker):
        return x.encode([marker], missing=-1, unknown=-1).lookup([[1.0]], [0.0], names=[column.name])
    seen = column.fill is UNFILLED and _looks_for(x, marker)
    codes = x.encode([], missing=-1 if seen else 0, unknown=0)
    return codes.lookup([[0.0]], [1.0], names=[column.name])


def _without_new(x: Block, others: list[int], marker: Any) -> Block:
    """Refuse a value that is missing where none was in training."""
    if not is_missing(marker) or any(x.columns[i].label for i in others):
        x.refuse("error_on_new with a marker, or among texts")
    columns = list(x.columns)
    checked = x.select(others).apply("check", missing=True, infinite=False)
    for place, column in zip(others, checked.columns, strict=True):
        columns[place] = column
    # One step of all columns: what is selected from it then comes after what was refused, too.
    return replace(x, columns=tuple(columns)).apply("check", missing=False, infinite=False)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


CONVERTERS: Final[dict[type | str, Converter]] = {
    SimpleImputer: _simple_imputer,
    MissingIndicator: _missing_indicator,
}
