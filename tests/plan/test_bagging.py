"""Bagging, isolation forests and AdaBoost answer as scikit-learn does."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    IsolationForest,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier

from tests.plan.exactness import compare


def table(seed: int, *, n: int = 90, missing: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 5)), columns=list("abcde"))
    X["d"] = rng.integers(0, 4, n).astype(float)
    X["e"] *= 1e3
    return X.mask(rng.random(X.shape) < missing)


def rows_of(X: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows, among them some that may be refused."""
    given = X.astype(object).where(X.notna(), None).head(40).to_numpy().tolist()
    rows = [dict(zip(X.columns, row, strict=True)) for row in given]
    odd: list[dict[str, Any]] = [{"a": None}, {"a": 1e39}, {"b": float("inf")}, {"e": -1e300}, {"d": 3e38}]
    return [*rows, *({**rows[0], **change} for change in odd)]


def labels(X: pd.DataFrame, classes: int) -> Any:
    score = X["a"].fillna(0) + X["d"].fillna(1)
    return np.array(list("pqrs"))[pd.qcut(score, classes, labels=False).to_numpy()]


SCALED = make_pipeline(StandardScaler(), LogisticRegression())


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("base", [
    None, DecisionTreeClassifier(max_depth=3), ExtraTreeClassifier(), SCALED, LinearSVC(),
])  # fmt: skip
def test_bagging_classifier(base: Any, classes: int) -> None:
    """Trees become one forest; others are averaged, or vote."""
    X = table(0)
    estimator = BaggingClassifier(base, n_estimators=7, random_state=0)
    plan = compare(estimator.fit(X, labels(X, classes)), X, rows_of(X))
    if base is None:
        assert [step.op for step in plan.program.steps].count("forest") == 1


@pytest.mark.parametrize(
    "base", [SCALED, make_pipeline(DecisionTreeClassifier()), make_pipeline(LinearSVC())]
)
def test_bagging_that_missed_a_class(base: Any) -> None:
    """An estimator that has not met a class gives it nothing."""
    X = table(1, n=60)
    y = np.array(["rare"] * 2 + ["a", "b"] * 29)
    estimator = BaggingClassifier(base, n_estimators=9, max_samples=0.2, random_state=1).fit(X, y)
    assert any(len(each.classes_) < 3 for each in estimator.estimators_)
    compare(estimator, X, rows_of(X), methods=["predict", "predict_proba"])


@pytest.mark.parametrize("base", [None, DecisionTreeRegressor(max_depth=4), Ridge()])
@pytest.mark.parametrize("targets", [1, 2])
def test_bagging_regressor(base: Any, targets: int) -> None:
    """One target and several."""
    X = table(2)
    y = X["a"] * 10 + X["d"]
    wanted = y.to_numpy() if targets == 1 else np.stack([y, -(y**2)], axis=1)
    compare(BaggingRegressor(base, n_estimators=6, random_state=0).fit(X, wanted), X, rows_of(X))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    samples=st.floats(0.3, 1.0),
    features=st.floats(0.2, 1.0),
    bootstrap=st.booleans(),
    bootstrap_features=st.booleans(),
    missing=st.sampled_from([0.0, 0.2]),
)
def test_bagged_trees(
    *,
    seed: int,
    samples: float,
    features: float,
    bootstrap: bool,
    bootstrap_features: bool,
    missing: float,
) -> None:
    """Samples of rows and columns, with and without replacement, missing values."""
    X = table(seed, missing=missing)
    estimator = BaggingClassifier(
        n_estimators=9,
        max_samples=samples,
        max_features=features,
        bootstrap=bootstrap,
        bootstrap_features=bootstrap_features,
        random_state=seed,
    )
    compare(estimator.fit(X, labels(X, 3)), X, rows_of(X))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    trees=st.integers(1, 20),
    samples=st.sampled_from(["auto", 1, 2, 30]),
    features=st.sampled_from([1.0, 0.5, 1]),
    contamination=st.sampled_from(["auto", 0.1]),
    missing=st.sampled_from([0.0, 0.2]),
)
def test_isolation_forest(
    *, seed: int, trees: int, samples: Any, features: Any, contamination: Any, missing: float
) -> None:
    """Scores, and which rows are outliers; nothing is refused but what no frame can hold."""
    X = table(seed, missing=missing)
    estimator = IsolationForest(
        n_estimators=trees,
        max_samples=samples,
        max_features=features,
        contamination=contamination,
        random_state=seed,
    )
    compare(estimator.fit(X), X, rows_of(X), methods=["predict", "decision_function"])


def test_isolation_forest_on_sparse_columns() -> None:
    """Of a sparse matrix, scikit-learn sends NaN right whatever training did."""
    X = table(5, missing=0.1)
    X["d"] = X["d"].map({0.0: "p", 1.0: "q", 2.0: "r", 3.0: "s"}).astype(object)
    encoder = ColumnTransformer(
        [("d", OneHotEncoder(), ["d"])], remainder="passthrough", sparse_threshold=1.0
    )
    pipeline = make_pipeline(encoder, IsolationForest(n_estimators=20, random_state=0)).fit(X)
    rows = [{**row, "a": None} for row in rows_of(X)[:20]] + rows_of(X)[:20]
    compare(pipeline, X, rows, methods=["predict", "decision_function"])


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("base", [None, DecisionTreeClassifier(max_depth=4), LogisticRegression()])
def test_adaboost_classifier(base: Any, classes: int) -> None:
    """SAMME with stumps, deeper trees and other estimators."""
    X = table(3).drop(columns="e")
    rows = [{name: row[name] for name in "abcd"} for row in rows_of(table(3))]
    estimator = AdaBoostClassifier(base, n_estimators=12, learning_rate=0.7, random_state=0)
    compare(estimator.fit(X, labels(X, classes)), X, rows)


@pytest.mark.parametrize("base", [None, DecisionTreeRegressor(max_depth=1), Ridge()])
@pytest.mark.parametrize("loss", ["linear", "square", "exponential"])
def test_adaboost_regressor(base: Any, loss: str) -> None:
    """The weighted median of trees, and of other estimators."""
    X = table(4).drop(columns="e")
    rows = [{name: row[name] for name in "abcd"} for row in rows_of(table(4))]
    estimator = AdaBoostRegressor(base, n_estimators=15, loss=loss, random_state=0)
    compare(estimator.fit(X, X["a"] * 3 + X["d"] ** 2), X, rows)
