"""What answers through one inner estimator answers as it does: searches, thresholds, targets, isotonic maps."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.compose import TransformedTargetRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - scikit-learn's switch
from sklearn.feature_selection import RFE, RFECV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.tree import DecisionTreeClassifier

from trainer.converters import NotConvertible, convert

from .exactness import compare
from .frames import fitted, quick, seeds
from .mixed import classes, prepared, rows, signal, table

LOGISTIC = LogisticRegression(max_iter=300)
GRID = {"C": [0.1, 1.0]}


@pytest.mark.parametrize(
    "search",
    [
        GridSearchCV(LOGISTIC, GRID, cv=3),
        RandomizedSearchCV(LOGISTIC, GRID, n_iter=2, cv=3),
        HalvingGridSearchCV(LOGISTIC, GRID, cv=3),
        HalvingRandomSearchCV(LOGISTIC, GRID, cv=3, n_candidates=2),
        FrozenEstimator(LOGISTIC),
        SelfTrainingClassifier(LOGISTIC),
        RFE(LOGISTIC, n_features_to_select=2),
        RFECV(LOGISTIC, cv=3),
    ],
)
@pytest.mark.parametrize("count", [2, 3])
def test_wrappers_answer_as_what_they_hold(search: Any, count: int) -> None:
    X = table(1)
    y = classes(X, 1, count, names=False)
    if isinstance(search, FrozenEstimator):
        model: Any = FrozenEstimator(fitted(prepared(LOGISTIC), X, y))
    else:
        model = fitted(prepared(search), X, y)
    compare(model, X, rows(X, 1))


def test_a_search_over_a_whole_pipeline() -> None:
    X = table(2)
    model = GridSearchCV(prepared(LOGISTIC), {"logisticregression__C": [0.1, 1]}, cv=3)
    compare(fitted(model, X, classes(X, 2, 3)), X, rows(X, 2))


def test_a_search_without_refit_is_refused() -> None:
    X = table(2)[["b", "k"]]
    model = fitted(GridSearchCV(LOGISTIC, GRID, cv=3, refit=False), X, classes(X.assign(a=0, c=""), 2, 2))
    model.__dict__["feature_names_in_"] = np.array(["b", "k"])
    with pytest.raises(NotConvertible, match="refit=False"):
        convert.converted(model, ())


def test_eliminated_features_within_a_pipeline() -> None:
    X = table(3)[["a", "b", "k"]].fillna(0)
    model = make_pipeline(RFE(LOGISTIC, n_features_to_select=2), DecisionTreeClassifier(max_depth=3))
    compare(fitted(model, X, classes(table(3), 3, 2)), X, rows(X, 3))


@quick
@given(
    seed=seeds,
    method=st.sampled_from(["auto", "predict_proba", "decision_function"]),
    threshold=st.sampled_from(["auto", 0.5, 0.2, 0.9, 0.0]),
    positive=st.sampled_from([None, "no", "yes"]),
)
def test_fixed_thresholds(seed: int, method: str, threshold: Any, positive: Any) -> None:
    X = table(seed)
    options = {"threshold": threshold, "response_method": method, "pos_label": positive}
    y = classes(X, seed, 2)
    compare(fitted(FixedThresholdClassifier(prepared(LOGISTIC), **options), X, y), X, rows(X, seed))


@pytest.mark.parametrize("method", ["auto", "predict_proba", "decision_function"])
@pytest.mark.parametrize("scoring", ["balanced_accuracy", "f1"])
def test_tuned_thresholds(method: str, scoring: str) -> None:
    X = table(4)
    model = TunedThresholdClassifierCV(prepared(LOGISTIC), response_method=method, scoring=scoring, cv=3)
    compare(fitted(model, X, classes(X, 4, 2, names=False)), X, rows(X, 4))


@pytest.mark.parametrize(
    "transformer",
    [
        StandardScaler(),
        StandardScaler(with_mean=False),
        StandardScaler(with_std=False),
        MinMaxScaler((-3, 5)),
        MaxAbsScaler(),
        RobustScaler(),
        RobustScaler(with_centering=False),
        RobustScaler(with_scaling=False),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_targets_are_scaled_back(transformer: Any, dtype: str) -> None:
    X = table(5, dtype=dtype)
    model = TransformedTargetRegressor(prepared(Ridge()), transformer=transformer)
    compare(fitted(model, X, signal(X, 5) * 1e3 + 7), X, rows(X, 5))


@pytest.mark.parametrize(
    ("function", "inverse"), [(np.log1p, np.expm1), (np.log, np.exp), (np.sqrt, np.square), (None, None)]
)
def test_targets_are_put_through_numpy_functions(function: Any, inverse: Any) -> None:
    X = table(6)
    model = TransformedTargetRegressor(prepared(Ridge()), func=function, inverse_func=inverse)
    compare(fitted(model, X, np.exp(signal(X, 6))), X, rows(X, 6))


def own_inverse(y: Any) -> Any:
    return np.expm1(y)


def test_functions_of_the_users_own_and_unknown_inverses_are_refused() -> None:
    X = table(7)
    own = TransformedTargetRegressor(prepared(Ridge()), func=np.log1p, inverse_func=own_inverse)
    with pytest.raises(NotConvertible):
        convert(fitted(own, X, np.exp(signal(X, 7))), X)
    normal = QuantileTransformer(n_quantiles=20, output_distribution="normal")
    model = TransformedTargetRegressor(prepared(Ridge()), transformer=normal)
    with pytest.raises(NotConvertible, match="quantiles that are normal"):
        convert(fitted(model, X, signal(X, 7)), X)


@quick
@given(
    seed=seeds,
    method=st.sampled_from(["yeo-johnson", "box-cox"]),
    standardize=st.booleans(),
    power=st.sampled_from([None, 0.0, 2.0, -0.5]),
)
def test_targets_come_back_from_power_transforms(
    *, seed: int, method: str, standardize: bool, power: float | None
) -> None:
    X = table(seed)
    transformer = PowerTransformer(method=method, standardize=standardize)
    model = TransformedTargetRegressor(prepared(Ridge()), transformer=transformer, check_inverse=False)
    fitted(model, X, np.exp(signal(X, seed) / 3))
    if power is not None:
        model.transformer_.lambdas_[:] = power
    compare(model, X, rows(X, seed))


def test_targets_come_back_from_uniform_quantiles() -> None:
    X = table(8)
    model = TransformedTargetRegressor(prepared(Ridge()), transformer=QuantileTransformer(n_quantiles=20))
    compare(fitted(model, X, signal(X, 8)), X, rows(X, 8))


@quick
@given(
    seed=seeds,
    outside=st.sampled_from(["clip", "nan", "raise"]),
    increasing=st.sampled_from([True, False, "auto"]),
    points=st.sampled_from([1, 2, 40]),
)
def test_isotonic_regression(seed: int, outside: str, increasing: Any, points: int) -> None:
    rng = np.random.default_rng(seed)
    X = np.sort(rng.normal(size=(points, 1)), axis=0)
    model = IsotonicRegression(out_of_bounds=outside, increasing=increasing)
    fitted(model, X, X[:, 0] ** 3 + rng.normal(size=points))
    compare(
        model, X, [{"x0": value} for value in [*X[:, 0].tolist(), *rng.normal(size=20).tolist(), 9.0, -9.0]]
    )
