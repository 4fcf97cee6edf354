"""Rows filled in field by field equal the columns that the steps compute, whatever stands before a forest."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from mlshared.plan import Plan
from tests.plan.exactness import compare

NUMBERS = ["x", "y", "z"]
LABELS = ["kind", "place"]


def table(dtype: str = "float64", n: int = 150) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {"x": rng.normal(size=n), "y": rng.exponential(size=n) + 0.1, "z": rng.normal(3, 1e-3, n)}
    )
    X = X.mask(rng.random(X.shape) < 0.1).astype(dict.fromkeys(NUMBERS, dtype))
    X["count"] = rng.integers(0, 5, n)
    X["kind"] = rng.choice(["a", "b", "c"], n).astype(object)
    X.loc[rng.random(n) < 0.1, "kind"] = np.nan
    X["place"] = rng.choice([f"p{i}" for i in range(20)], n).astype(object)
    return X


def rows_of(X: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows, among them unseen and extreme values; some may be refused."""
    given = X.astype(object).where(X.notna(), None).head(30).to_numpy().tolist()
    rows = [dict(zip(X.columns, row, strict=True)) for row in given]
    odd: list[dict[str, Any]] = [{"kind": "z"}, {"kind": None}, {"place": "p99"}, {"count": 77}, {"x": 1e39}]
    odd += [
        {"x": float("-inf")},
        {"y": 3.4e38},
        {"y": 1e-320},
        {"z": None, "y": None, "x": None},
        {"y": -1.0},
    ]
    return rows + [{**rows[0], **change} for change in odd]


def imputed(*steps: Any) -> Any:
    return make_pipeline(SimpleImputer(), *steps)


NUMERIC = {
    "as they are": ("passthrough", True),
    "imputed": (imputed(), True),
    "with indicators": (SimpleImputer(add_indicator=True), True),
    "scaled, then imputed": (make_pipeline(StandardScaler(), SimpleImputer()), True),
    "scaled twice": (imputed(StandardScaler(), MinMaxScaler()), True),
    "by range": (imputed(MinMaxScaler()), True),
    "clipped": (imputed(MinMaxScaler(clip=True)), False),
    "by quartile": (imputed(RobustScaler()), True),
    "by maximum": (MaxAbsScaler(), True),
    "by a function": (imputed(FunctionTransformer(np.arcsinh)), False),
    "by power": (imputed(PowerTransformer()), False),
    "binned": (imputed(KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf")), False),
}
CODED = {
    "one-hot": OneHotEncoder(handle_unknown="ignore"),
    "one-hot, first dropped": OneHotEncoder(handle_unknown="ignore", drop="first", sparse_output=False),
    "one-hot, rare together": OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=8),
    "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-5, encoded_missing_value=-9),
    "ordinal with gaps": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
}


def fitted(X: pd.DataFrame, numbers: Any, labels: Any, counts: Any = "passthrough") -> Any:
    parts = [("n", numbers, NUMBERS), ("c", labels, LABELS), ("i", counts, ["count"])]
    columns = ColumnTransformer(parts, sparse_threshold=0.0)
    y = X["y"].fillna(0) + (X["kind"] == "a") + (X["count"] > 2) > 1.5
    return make_pipeline(columns, ExtraTreesClassifier(12, random_state=0)).fit(X, y)


def is_fast(plan: Plan) -> bool:
    return all("_row_" in plan.one(method).__module__ for method in plan.methods)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NUMERIC)
def test_numbers(name: str, dtype: str) -> None:
    """Each way of preparing numbers; those that are differences and quotients take the fast way."""
    transformer, simple = NUMERIC[name]
    X = table(dtype)
    plan = compare(fitted(X, transformer, CODED["one-hot"]), X, rows_of(X))
    assert is_fast(plan) or not simple or dtype == "float32"


@pytest.mark.parametrize("name", CODED)
def test_labels(name: str) -> None:
    """Each way of encoding texts, missing and unseen ones included."""
    X = table()
    plan = compare(fitted(X, imputed(), CODED[name]), X, rows_of(X))
    assert is_fast(plan)


@pytest.mark.parametrize("name", ["one-hot", "ordinal"])
def test_numbers_that_are_categories(name: str) -> None:
    """Integers, encoded; a number that was not seen."""
    X = table()
    compare(fitted(X, imputed(), CODED["one-hot"], CODED[name]), X, rows_of(X))
