"""A table as people have it, numbers with gaps beside texts, and the pipeline that prepares it."""

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from .frames import rows_like


def table(seed: int, *, rows: int = 120, dtype: str = "float64", scale: float = 1.0) -> Any:
    """Return numbers (one with gaps, one whole, one of another scale) and a column of texts with gaps."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "a": rng.normal(size=rows).astype(dtype),
            "b": (rng.normal(size=rows) * scale + scale).astype(dtype),
            "k": rng.integers(-3, 4, rows),
            "c": pd.Series(rng.choice(["red", "green", "naïve"], rows), dtype=object),
        }
    )
    frame.loc[rng.random(rows) < 0.1, "a"] = np.nan
    frame.loc[rng.random(rows) < 0.1, "c"] = np.nan
    return frame


def signal(frame: Any, seed: int) -> Any:
    """Return a number that depends on the columns, and on chance."""
    rng = np.random.default_rng(seed + 1)
    found = frame["a"].fillna(0) + frame["b"].rank(pct=True) * 2 + (frame["c"] == "red") + frame["k"] / 3
    return (found + rng.normal(size=len(frame))).to_numpy(dtype=np.float64)


def classes(frame: Any, seed: int, count: int, *, names: bool = True) -> Any:
    """Return labels that depend on the columns, of so many classes."""
    codes = pd.qcut(signal(frame, seed), count, labels=False)
    return np.array(["no", "yes", "perhaps", "never"])[codes] if names else codes


def prepared(estimator: Any) -> Any:
    """Return the estimator behind imputation, scaling and one-hot."""
    numeric = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(
        ColumnTransformer(
            [
                ("numbers", numeric, ["a", "b", "k"]),
                ("texts", OneHotEncoder(handle_unknown="ignore"), ["c"]),
            ]
        ),
        estimator,
    )


def rows(frame: Any, seed: int) -> list[dict[str, Any]]:
    """Return rows of the table, and rows with a gap, an unseen or an extreme value."""
    found: list[dict[str, Any]] = rows_like(frame, seed, count=30, most=1e9)
    return found
