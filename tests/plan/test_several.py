"""One problem as several answers as scikit-learn does: one-vs-rest, one-vs-one, several targets, chains."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from trainer.converters import NotConvertible, convert

from .exactness import compare
from .frames import fitted, quick, seeds
from .mixed import classes, prepared, rows, signal, table

LOGISTIC = LogisticRegression(max_iter=300)
INNER = [LOGISTIC, LinearSVC(), DecisionTreeClassifier(max_depth=4, random_state=0), SGDClassifier()]


def numeric(seed: int, **options: Any) -> Any:
    return table(seed, **options)[["a", "b", "k"]].fillna(0)


@quick
@given(seed=seeds, count=st.sampled_from([2, 3, 4]), inner=st.sampled_from(INNER), names=st.booleans())
def test_one_vs_rest(*, seed: int, count: int, inner: Any, names: bool) -> None:
    X = table(seed)
    model = OneVsRestClassifier(prepared(inner))
    compare(fitted(model, X, classes(X, seed, count, names=names)), X, rows(X, seed))


@pytest.mark.parametrize("inner", INNER[:3])
def test_one_vs_rest_of_several_labels_at_once(inner: Any) -> None:
    X = table(1)
    y = np.column_stack([signal(X, 1) > 1, X["b"] > 0, X["k"] > 0]).astype(int)
    compare(fitted(OneVsRestClassifier(prepared(inner)), X, y), X, rows(X, 1))


def test_a_label_that_every_row_had_is_a_constant() -> None:
    X = table(2)
    y = np.column_stack([signal(X, 2) > 1, np.ones(len(X)), np.zeros(len(X))]).astype(int)
    compare(fitted(OneVsRestClassifier(prepared(LOGISTIC)), X, y), X, rows(X, 2))


@quick
@given(seed=seeds, count=st.sampled_from([2, 3, 4]), inner=st.sampled_from(INNER))
def test_one_vs_one(seed: int, count: int, inner: Any) -> None:
    X = numeric(seed)
    compare(fitted(OneVsOneClassifier(inner), X, classes(table(seed), seed, count)), X, rows(X, seed))


@quick
@given(seed=seeds, size=st.sampled_from([2.0, 4.0]), inner=st.sampled_from(INNER[:2]))
def test_output_codes(seed: int, size: float, inner: Any) -> None:
    X = numeric(seed)
    model = fitted(
        OutputCodeClassifier(inner, code_size=size, random_state=seed), X, classes(table(seed), seed, 3)
    )
    if len(np.unique(model.code_book_, axis=0)) == 3:
        compare(model, X, X.to_dict("records"))
    else:
        with pytest.raises(NotConvertible, match="share a code"):
            convert(model, X)


@quick
@given(seed=seeds, inner=st.sampled_from(INNER[:3]), names=st.booleans())
def test_several_classified_targets(*, seed: int, inner: Any, names: bool) -> None:
    """Class names of several lengths are not cut to the shortest."""
    X = table(seed)
    long = np.where(X["k"] > 0, "more than nothing", "x") if names else X["k"] > 0
    y = np.column_stack([classes(X, seed, 3, names=names), long])
    compare(fitted(MultiOutputClassifier(prepared(inner)), X, y), X, rows(X, seed))


def test_several_regressed_targets() -> None:
    X = table(3)
    y = np.column_stack([signal(X, 3), X["b"]])
    compare(fitted(MultiOutputRegressor(prepared(Ridge())), X, y), X, rows(X, 3))


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
@pytest.mark.parametrize("order", [None, [2, 0, 1], "random"])
def test_classifier_chains(method: str, order: Any) -> None:
    X = numeric(4)
    y = np.column_stack([signal(table(4), 4) > 1, X["b"] > 1, X["k"] > 0]).astype(int)
    model = ClassifierChain(LOGISTIC, chain_method=method, order=order, random_state=0)
    compare(fitted(model, X, y), X, rows(X, 4))


@pytest.mark.parametrize("order", [None, [1, 0]])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_regressor_chains(order: Any, dtype: str) -> None:
    X = numeric(5, dtype=dtype)[["a", "b"]]
    y = np.column_stack([signal(table(5), 5), X["b"] * 2])
    compare(fitted(RegressorChain(Ridge(), order=order), X, y), X, rows(X, 5))


def test_targets_of_several_kinds_are_refused() -> None:
    X = numeric(6)
    y = np.column_stack([classes(table(6), 6, 2), X["k"] > 0]).astype(object)
    model = MultiOutputClassifier(LOGISTIC).fit(
        X, np.column_stack([y[:, 0] == "yes", X["k"] > 0]).astype(int)
    )
    model.estimators_[0] = fitted(LogisticRegression(), X, y[:, 0].astype(str))
    with pytest.raises(NotConvertible, match="several kinds"):
        convert(model, X)
