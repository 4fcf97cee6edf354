"""Boosting answers as scikit-learn does: over losses, classes, missing values, categories and thresholds."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlshared.errors import InputError
from trainer.converters import NotConvertible, convert

from .exactness import compare

N = 300


def numbers(seed: int, *, gaps: bool, dtype: str = "float64", scale: float = 1.0) -> pd.DataFrame:
    """Return three numeric columns, the first with gaps where asked for."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame((rng.normal(size=(N, 3)) * scale).astype(dtype), columns=["a", "b", "c"])
    if gaps:
        frame.loc[rng.random(N) < 0.1, "a"] = np.nan
    return frame


def target(frame: pd.DataFrame, seed: int, classes: int = 0) -> Any:
    """Return positive numbers, or labels of so many classes, that depend on the columns."""
    rng = np.random.default_rng(seed)
    score = frame.select_dtypes("number").fillna(0).rank(pct=True).sum(axis=1) + rng.normal(size=N) * 0.3
    if not classes:
        return np.exp(score)
    return np.array(["no", "yes", "perhaps", "never"])[pd.qcut(score, classes, labels=False)]


def around(pipeline: Any, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows of the frame, extremes, and every threshold with its neighbours."""
    rows = frame.iloc[:60].to_dict("records")
    for column, name in enumerate(frame.columns):
        if not pd.api.types.is_float_dtype(frame[name]):
            continue
        extremes = [0.0, -0.0, 1e30, -1e30, 1e300, -1e300, 5e-324]
        for value in thresholds(pipeline, column)[:40]:
            extremes += [value, np.nextafter(value, np.inf), np.nextafter(value, -np.inf)]
        rows += [{**rows[i % 60], name: value} for i, value in enumerate(extremes)]
    return rows


def thresholds(pipeline: Any, column: int) -> list[float]:
    """Return the thresholds of the trees of an estimator on one column."""
    if hasattr(pipeline, "_predictors"):
        nodes = np.concatenate([tree.nodes for each in pipeline._predictors for tree in each])
        picked = (nodes["feature_idx"] == column) & (nodes["is_leaf"] == 0)
        return np.unique(nodes["num_threshold"][picked]).tolist()
    trees = [tree.tree_ for tree in pipeline.estimators_.ravel()]
    return np.unique(np.concatenate([t.threshold[t.feature == column] for t in trees])).tolist()


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("kind", [GradientBoostingClassifier, HistGradientBoostingClassifier])
def test_classifiers_are_exact_for_two_and_more_classes(kind: Any, classes: int) -> None:
    """Probabilities, scores and labels, at every threshold and beside it."""
    frame = numbers(classes, gaps=kind is HistGradientBoostingClassifier)
    rounds = {"n_estimators": 12} if kind is GradientBoostingClassifier else {"max_iter": 12}
    model = kind(random_state=0, **rounds).fit(frame, target(frame, 1, classes))
    compare(model, frame, around(model, frame))


@settings(max_examples=12, deadline=None)
@given(
    loss=st.sampled_from(["squared_error", "absolute_error", "huber", "quantile"]),
    rate=st.sampled_from([0.1, 0.37, 1.0]),
    init=st.sampled_from([None, "zero"]),
    depth=st.sampled_from([1, 3, 7]),
    dtype=st.sampled_from(["float64", "float32"]),
    scale=st.sampled_from([1e-8, 1.0, 1e12]),
    subsample=st.sampled_from([1.0, 0.6]),
)
def test_gradient_boosting_regression_is_equal_to_the_bit(
    loss: str, rate: float, init: Any, depth: int, dtype: str, scale: float, subsample: float
) -> None:
    """Whatever the loss: what differs is in the leaves and in where the sum starts."""
    frame = numbers(3, gaps=False, dtype=dtype, scale=scale)
    model = GradientBoostingRegressor(
        loss=loss, learning_rate=rate, init=init, max_depth=depth, subsample=subsample, n_estimators=15
    ).fit(frame, target(frame, 2))
    plan = compare(model, frame, around(model, frame))
    for method in (plan.one("predict"), lambda row: plan.rows("predict", [row])):
        with pytest.raises(InputError):
            method({"a": None, "b": 1.0, "c": 1.0})


@settings(max_examples=8, deadline=None)
@given(
    loss=st.sampled_from(["log_loss", "exponential"]),
    init=st.sampled_from([None, "zero", DummyClassifier(strategy="most_frequent")]),
    leaves=st.sampled_from([None, 4, 50]),
    scale=st.sampled_from([1e-300, 1.0, 1e15]),
)
def test_gradient_boosting_classification_is_exact(loss: str, init: Any, leaves: Any, scale: float) -> None:
    """Every loss, start and shape of tree."""
    frame = numbers(4, gaps=False, scale=scale)
    model = GradientBoostingClassifier(
        loss=loss, init=init, max_leaf_nodes=leaves, max_depth=None, n_estimators=10
    ).fit(frame, target(frame, 3, 2))
    compare(model, frame, around(model, frame))


@settings(max_examples=12, deadline=None)
@given(
    loss=st.sampled_from(["squared_error", "absolute_error", "gamma", "poisson", "quantile"]),
    leaves=st.sampled_from([2, 31, 60, 120]),
    gaps=st.booleans(),
    dtype=st.sampled_from(["float64", "float32"]),
    scale=st.sampled_from([1e-300, 1.0, 1e200]),
)
def test_hist_gradient_boosting_regression_is_exact(
    loss: str, leaves: int, *, gaps: bool, dtype: str, scale: float
) -> None:
    """Every loss, with and without a side for missing values, below and above 64 leaves."""
    frame = numbers(5, gaps=gaps, dtype=dtype, scale=1.0 if dtype == "float32" else scale)
    model = HistGradientBoostingRegressor(
        loss=loss,
        quantile=0.3 if loss == "quantile" else None,
        max_leaf_nodes=leaves,
        min_samples_leaf=2,
        max_iter=10,
    ).fit(frame, target(frame, 4))
    rows = [
        *around(model, frame),
        {"a": None, "b": None, "c": None},
        {"a": float("inf"), "b": -1.0, "c": 2.0},
    ]
    compare(model, frame, rows)


def mixed(seed: int, dtype: str) -> pd.DataFrame:
    """Return numbers around text categories, with gaps in both."""
    rng = np.random.default_rng(seed)
    frame = numbers(seed, gaps=True)
    words = rng.choice(["x", "y", "zé", "w w", "rare"], N, p=[0.4, 0.3, 0.2, 0.09, 0.01]).astype(object)
    words[rng.random(N) < 0.1] = np.nan
    frame.insert(1, "word", pd.Series(words).astype(dtype))
    frame["code"] = rng.choice([3, 7, 100, 1000], N)
    return frame


@pytest.mark.parametrize("dtype", ["str", "object", "category"])
@pytest.mark.parametrize("classes", [2, 3])
def test_native_categories_of_hist_gradient_boosting_are_exact(dtype: str, classes: int) -> None:
    """Texts and numbers as categories: known, missing, never seen."""
    frame = mixed(7, dtype)
    model = HistGradientBoostingClassifier(
        categorical_features=["word", "code"], max_iter=15, min_samples_leaf=3
    ).fit(frame, target(frame, 5, classes))
    rows = frame.iloc[:80].to_dict("records")
    rows += [{**rows[0], "word": word} for word in ("x", "y", "zé", "w w", "rare", "unseen", "", None)]
    rows += [{**rows[1], "code": code} for code in (3, 7, 100, 1000, 8, -1)]
    compare(model, frame, rows)


def test_categories_are_found_from_the_dtype() -> None:
    """A pandas category dtype is a native category without being named."""
    frame = mixed(8, "category")
    model = HistGradientBoostingRegressor(max_iter=10, min_samples_leaf=3).fit(frame, target(frame, 6))
    assert model.is_categorical_.tolist() == [False, True, False, False, False]
    compare(model, frame, frame.iloc[:80].to_dict("records"))


@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingClassifier(n_estimators=20),
        HistGradientBoostingClassifier(max_iter=20),
        GradientBoostingRegressor(n_estimators=20, loss="huber"),
        HistGradientBoostingRegressor(max_iter=20, loss="poisson"),
    ],
    ids=lambda model: type(model).__name__,
)
def test_boosting_behind_preprocessing_is_exact(model: Any) -> None:
    """Imputed, scaled and one-hot columns: the commonest pipeline."""
    frame = mixed(9, "str")
    numeric = make_pipeline(SimpleImputer(), StandardScaler())
    words = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    )
    before = ColumnTransformer([("numbers", numeric, ["a", "b", "c"]), ("words", words, ["word"])])
    wanted = target(frame, 7, 2 if hasattr(model, "decision_function") else 0)
    pipeline = make_pipeline(before, model).fit(frame, wanted)
    rows = around(model, frame[["a", "word", "b", "c", "code"]])
    rows += [{**rows[0], "a": None}, {**rows[0], "word": "unseen"}, {**rows[0], "word": None}]
    compare(pipeline, frame, rows)
    refused = [{**rows[0], name: value} for name in "abc" for value in (1e308, 1e39, float("inf"))]
    compare(pipeline, frame, [rows[0], *refused])


def test_a_start_of_the_users_own_is_refused() -> None:
    """`init` as an estimator depends on the row."""
    frame = numbers(1, gaps=False)
    model = GradientBoostingRegressor(init=LinearRegression(), n_estimators=2).fit(frame, target(frame, 1))
    with pytest.raises(NotConvertible, match="init"):
        convert(model, frame)


def test_random_dummies_are_refused() -> None:
    """A dummy that draws has no constant start."""
    frame = numbers(1, gaps=False)
    start = DummyClassifier(strategy="uniform", random_state=0)
    model = GradientBoostingClassifier(init=start, n_estimators=2).fit(frame, target(frame, 1, 2))
    with pytest.raises(NotConvertible, match="init"):
        convert(model, frame)
