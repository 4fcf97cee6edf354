"""Voting, stacking and calibration answer as scikit-learn does, over their parameters and inner estimators."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from trainer.converters import NotConvertible, convert

from .exactness import compare
from .frames import fitted, quick, seeds
from .mixed import classes, prepared, rows, signal, table

TREE = DecisionTreeClassifier(max_depth=3, random_state=0)
LOGISTIC = LogisticRegression(max_iter=300)


def inner_classifiers() -> list[tuple[str, Any]]:
    boosting = HistGradientBoostingClassifier(max_iter=4, random_state=0)
    return [("linear", prepared(LOGISTIC)), ("tree", prepared(TREE)), ("boosting", prepared_dense(boosting))]


def prepared_dense(estimator: Any) -> Any:
    found = prepared(estimator)
    found[0].transformers[1][1].set_params(sparse_output=False)
    return found


def inner_regressors() -> list[tuple[str, Any]]:
    boosting = HistGradientBoostingRegressor(max_iter=4, random_state=0)
    return [("linear", prepared(LinearRegression())), ("boosting", prepared_dense(boosting))]


@quick
@given(
    seed=seeds,
    count=st.sampled_from([2, 3]),
    voting=st.sampled_from(["hard", "soft"]),
    weights=st.sampled_from([None, [1, 1, 1], [2.0, 0.5, 3], [0, 1, 1]]),
    flatten=st.booleans(),
    names=st.booleans(),
)
def test_voting_classifiers_count_votes_as_numpy_does(
    *, seed: int, count: int, voting: str, weights: Any, flatten: bool, names: bool
) -> None:
    X = table(seed)
    y = classes(X, seed, count, names=names)
    model = VotingClassifier(inner_classifiers(), voting=voting, weights=weights, flatten_transform=flatten)
    compare(fitted(model, X, y), X, rows(X, seed))


@pytest.mark.parametrize("weights", [None, [1, 3]])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_voting_regressors_average(weights: Any, dtype: str) -> None:
    X = table(1, dtype=dtype)
    compare(fitted(VotingRegressor(inner_regressors(), weights=weights), X, signal(X, 1)), X, rows(X, 1))


def test_a_dropped_voter_has_no_vote() -> None:
    X = table(2)
    model = VotingClassifier([*inner_classifiers(), ("gone", "drop")], voting="soft", weights=[1, 2, 3, 9])
    compare(fitted(model, X, classes(X, 2, 2)), X, rows(X, 2))


@quick
@given(
    seed=seeds,
    count=st.sampled_from([2, 3]),
    method=st.sampled_from(["auto", "predict_proba", "predict"]),
    passthrough=st.booleans(),
    final=st.sampled_from([LOGISTIC, TREE]),
)
def test_stacking_classifiers_hand_on_what_scikit_learn_hands_on(
    *, seed: int, count: int, method: str, passthrough: bool, final: Any
) -> None:
    X = table(seed)[["a", "b", "k"]].fillna(0)
    inner = [("linear", LOGISTIC), ("tree", TREE)]
    model = StackingClassifier(inner, final, stack_method=method, passthrough=passthrough, cv=3)
    compare(fitted(model, X, classes(table(seed), seed, count)), X, rows(X, seed))


@pytest.mark.parametrize("passthrough", [True, False])
def test_stacking_regressors(*, passthrough: bool) -> None:
    X = table(3)[["a", "b", "k"]].fillna(0)
    inner = [("linear", LinearRegression()), ("ridge", Ridge()), ("gone", "drop")]
    model = StackingRegressor(inner, Ridge(), passthrough=passthrough, cv=3)
    compare(fitted(model, X, signal(table(3), 3)), X, rows(X, 3))


@pytest.mark.parametrize("count", [2, 3])
def test_stacking_of_decision_functions(count: int) -> None:
    X = table(4)[["a", "b", "k"]].fillna(0)
    model = StackingClassifier([("svc", LinearSVC())], LOGISTIC, stack_method="decision_function", cv=3)
    compare(fitted(model, X, classes(table(4), 4, count)), X, rows(X, 4))


@quick
@given(
    seed=seeds,
    count=st.sampled_from([2, 3]),
    method=st.sampled_from(["sigmoid", "isotonic", "temperature"]),
    ensemble=st.booleans(),
    inner=st.sampled_from([LOGISTIC, TREE, LinearSVC()]),
    scale=st.sampled_from([1e-8, 1.0, 1e6]),
)
def test_calibration_maps_scores_as_it_was_fitted_to(
    *, seed: int, count: int, method: str, ensemble: bool, inner: Any, scale: float
) -> None:
    X = table(seed, scale=scale)
    model = CalibratedClassifierCV(prepared(inner), method=method, ensemble=ensemble, cv=3)
    compare(fitted(model, X, classes(X, seed, count)), X, rows(X, seed))


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
@pytest.mark.parametrize("count", [2, 3])
def test_calibration_of_a_frozen_classifier(method: str, count: int) -> None:
    X = table(5)
    y = classes(X, 5, count)
    frozen = FrozenEstimator(fitted(prepared(LOGISTIC), X, y))
    compare(fitted(CalibratedClassifierCV(frozen, method=method), X, y), X, rows(X, 5))


@pytest.mark.parametrize("method", ["sigmoid", "isotonic", "temperature"])
def test_calibration_clips_what_lies_far_outside(method: str) -> None:
    X = table(6)
    model = fitted(CalibratedClassifierCV(prepared(LinearSVC()), method=method), X, classes(X, 6, 2))
    far = [{"a": a, "b": a, "k": 0, "c": "red"} for a in np.linspace(-1e4, 1e4, 41)]
    compare(model, X, far)


def test_calibration_in_which_a_fold_lacks_a_class_is_refused() -> None:
    X = table(7)[["a", "b", "k"]].fillna(0)
    y = classes(table(7), 7, 3)
    model = fitted(CalibratedClassifierCV(LOGISTIC, cv=3), X, y)
    two = fitted(LogisticRegression(), X[y != "no"], y[y != "no"])
    model.calibrated_classifiers_[0].estimator = two
    with pytest.raises(NotConvertible, match="did not see every class"):
        convert(model, X)
