"""From a recipe to a fitted estimator: load, split, derive features, fit.

    frame = load_frame(recipe)
    prepared = prepare(recipe, frame)             train and test, each with raw rows, X and y
    estimator = fit(recipe, prepared.train)

Every function of the user's is called here, and whatever it raises or returns wrongly becomes one
`RecipeError` that names it, chained to the original. Nothing here scores, judges or stores.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .errors import RecipeError
from .recipe import Recipe, did_you_mean
from .splits import split_frame

if TYPE_CHECKING:
    import pandas as pd

SAMPLE_ROWS: Final = 200


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """One part of the data.

    Attributes:
        frame: As load() returned it, shape (n, all columns).
        raw: Less target and dropped columns: what the app sends.
        X: What the estimator is given: ``raw``, or the features derived from it.
        y: The target, a Series (n,), or a DataFrame (n, targets) where there are several.
    """

    frame: pd.DataFrame
    raw: pd.DataFrame
    X: pd.DataFrame
    y: pd.Series[Any] | pd.DataFrame


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The data in two parts, and the split's description for the manifest."""

    train: Rows
    test: Rows
    description: dict[str, Any]


def load_frame(recipe: Recipe) -> pd.DataFrame:
    """Return what the recipe's load() gives.

    Raises:
        RecipeError: If it raises, or gives no DataFrame with rows, the target and distinct text column names.
    """
    import pandas as pd  # noqa: PLC0415 - heavy; `trainer --help` does without

    frame = _call(recipe, "load", recipe.load)
    if not isinstance(frame, pd.DataFrame):
        raise _wrong(recipe, f"load() returned {_type_name(frame)}, not a DataFrame")
    columns = list(frame.columns)
    if odd := [c for c in columns if not isinstance(c, str)]:
        raise _wrong(recipe, f"load() returned a column named {odd[0]!r}; names are text")
    if len(set(columns)) < len(columns):
        twice = next(c for c in columns if columns.count(c) > 1)
        raise _wrong(recipe, f"load() returned column {twice!r} twice")
    for field, wanted in (("target", recipe.targets), ("drop", recipe.drop)):
        for column in wanted:
            if column not in columns:
                raise _wrong(
                    recipe, f"load() returned no column {column!r} ({field}){did_you_mean(column, columns)}"
                )
    if frame.empty:
        raise _wrong(recipe, "load() returned no rows")
    for column in recipe.targets:
        if missing := int(frame[column].isna().sum()):
            raise _wrong(recipe, f"the target {column!r} is missing in {missing:,} rows; drop them in load()")
    return frame


def prepare(recipe: Recipe, frame: pd.DataFrame) -> Prepared:
    """Return the rows to fit on and the rows held out, features derived.

    Raises:
        RecipeError: If the split cannot be made, or a feature function raises or returns what it must not.
    """
    import pandas as pd  # noqa: PLC0415 - as above

    parts = split_frame(recipe.split, frame)
    left_out = [*recipe.targets, *recipe.drop]
    train, test = parts.train.drop(columns=left_out), parts.test.drop(columns=left_out)
    if recipe.features is None:
        derived_train, derived_test = train, test
    else:
        # Derived in one go: apart, a column with no missing value in one of them would differ in dtype.
        derived = derive(recipe, pd.concat([train, test]))
        derived_train, derived_test = derived.iloc[: len(train)], derived.iloc[len(train) :]
    target = recipe.target if isinstance(recipe.target, str) else list(recipe.target)
    return Prepared(
        Rows(parts.train, train, derived_train, parts.train[target]),
        Rows(parts.test, test, derived_test, parts.test[target]),
        parts.description,
    )


def derive(recipe: Recipe, raw: pd.DataFrame) -> pd.DataFrame:
    """Return the features of raw rows, shape (n, features), with the same index.

    Raises:
        RecipeError: If a function raises, returns what it must not, or the two disagree on a sample.
    """
    if recipe.features is None:
        return raw
    if recipe.features_frame is None:
        return _row_by_row(recipe, recipe.features, raw)
    twin = _call(recipe, "features_frame", recipe.features_frame, raw.copy())
    _check_twin(recipe, twin, raw)
    every = max(1, len(raw) // SAMPLE_ROWS)
    _check_agreement(recipe, _row_by_row(recipe, recipe.features, raw.iloc[::every]), twin.iloc[::every])
    derived: pd.DataFrame = twin.set_axis(raw.index, axis=0)
    return derived


def fit(recipe: Recipe, rows: Rows) -> Any:
    """Return an estimator fitted on these rows.

    Raises:
        RecipeError: If build() or the estimator's fit() raises, or build() returns no estimator.
    """
    estimator = _call(recipe, "build", recipe.build)
    if isinstance(estimator, type) or not hasattr(estimator, "fit"):
        raise _wrong(recipe, f"build() returned {_type_name(estimator)}, not an estimator to fit")
    return _call(recipe, "fit", lambda: estimator.fit(rows.X, rows.y))


def _row_by_row(recipe: Recipe, features: Callable[..., Any], raw: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd  # noqa: PLC0415 - as above

    rows: list[dict[str, Any]] = []
    for row in _app_rows(raw):
        derived = _call(recipe, "features", features, row)
        if not isinstance(derived, dict):
            raise _wrong(recipe, f"features returned {_type_name(derived)} for a row, not a dict")
        if rows and derived.keys() != rows[0].keys():
            odd = sorted(map(str, derived.keys() ^ rows[0].keys()))
            raise _wrong(
                recipe, f"features gives {odd[0]!r} for some rows only; give None where it is missing"
            )
        rows.append(derived)
    return pd.DataFrame(rows, index=raw.index)


def _app_rows(raw: pd.DataFrame) -> list[dict[str, Any]]:
    # An app's row holds None where the frame holds NaN, NaT or pd.NA; a function tested on NaN would meet
    # None for the first time in production.
    rows = raw.astype(object).where(raw.notna(), None).to_dict("records")
    return [{str(key): value for key, value in row.items()} for row in rows]


def _check_twin(recipe: Recipe, twin: Any, raw: pd.DataFrame) -> None:
    import pandas as pd  # noqa: PLC0415 - as above

    if not isinstance(twin, pd.DataFrame):
        raise _wrong(recipe, f"features_frame returned {_type_name(twin)}, not a DataFrame")
    if len(twin) != len(raw):
        raise _wrong(recipe, f"features_frame returned {len(twin):,} rows for {len(raw):,}")


def _check_agreement(recipe: Recipe, by_row: pd.DataFrame, twin: pd.DataFrame) -> None:
    if odd := sorted(set(by_row.columns) ^ set(twin.columns)):
        where = "features" if odd[0] in by_row.columns else "features_frame"
        raise _wrong(recipe, f"features and features_frame disagree: only {where} gives {odd[0]!r}")
    for column in by_row.columns:
        for place, (one, other) in enumerate(zip(by_row[column], twin[column], strict=True)):
            if not _same(one, other):
                raise _wrong(
                    recipe,
                    f"features and features_frame disagree on {column!r} in the sample's row {place}: "
                    f"{_type_name(one)} against {_type_name(other)}"
                    if type(one) is not type(other) and str(one) == str(other)
                    else f"features and features_frame disagree on {column!r} in the sample's row {place}: "
                    f"{str(one)[:40]!r} against {str(other)[:40]!r}",
                )


def _same(one: Any, other: Any) -> bool:
    import pandas as pd  # noqa: PLC0415 - as above

    if pd.isna(one) or pd.isna(other):
        return bool(pd.isna(one) and pd.isna(other))
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    try:
        # math and numpy may differ in the last bits of one formula.
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)
    except TypeError:
        return bool(one == other)


def _call(recipe: Recipe, what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the user's; what it raises is named by recipe, function and place."""
    try:
        return function(*arguments)
    except Exception as error:
        message = (str(error).splitlines() or [""])[0][:300]
        raise _wrong(recipe, f"{what} raised {type(error).__name__}: {message}{_place(error)}") from error


def _place(error: Exception) -> str:
    # The user's own line is the last one outside of installed packages and of this file.
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "site-packages" not in frame.filename and frame.filename != __file__
    ]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _type_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def _wrong(recipe: Recipe, message: str) -> RecipeError:
    return RecipeError(f"{recipe.name}: {message}")
