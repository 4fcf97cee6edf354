"""Support vector machines answer as libsvm does: kernels, votes, badly conditioned ones."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from trainer.converters import NotConvertible, convert

from .exactness import compare
from .frames import fitted, quick, seeds
from .mixed import classes, prepared, rows, signal, table

KERNELS = ["linear", "rbf", "poly", "sigmoid"]


@quick
@given(
    seed=seeds,
    count=st.sampled_from([2, 3, 4]),
    kernel=st.sampled_from(KERNELS),
    shape=st.sampled_from(["ovr", "ovo"]),
    c=st.sampled_from([0.01, 1.0, 1e6]),
    gamma=st.sampled_from(["scale", "auto", 0.5]),
    degree=st.sampled_from([2, 3, 5]),
)
def test_classifiers(
    seed: int, count: int, kernel: str, shape: str, c: float, gamma: Any, degree: int
) -> None:
    """At C = 1e6 weights cancel, and only libsvm's own order of sums gives its digits."""
    X = table(seed)
    model = SVC(
        C=c,
        kernel=kernel,
        gamma=gamma,
        degree=degree,
        coef0=0.5,
        decision_function_shape=shape,
        max_iter=20_000,
    )
    compare(fitted(prepared(model), X, classes(X, seed, count)), X, rows(X, seed))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("count", [2, 3])
def test_nu_classifiers(kernel: str, count: int) -> None:
    X = table(1)
    model = NuSVC(nu=0.3, kernel=kernel)
    compare(fitted(prepared(model), X, classes(X, 1, count)), X, rows(X, 1))


def test_broken_ties() -> None:
    X = table(2)
    compare(fitted(prepared(SVC(break_ties=True)), X, classes(X, 2, 4)), X, rows(X, 2))


@quick
@given(
    seed=seeds,
    kind=st.sampled_from([SVR, NuSVR]),
    kernel=st.sampled_from(KERNELS),
    c=st.sampled_from([0.1, 10.0]),
    dtype=st.sampled_from(["float64", "float32"]),
)
def test_regressors(seed: int, kind: Any, kernel: str, c: float, dtype: str) -> None:
    X = table(seed, dtype=dtype)
    compare(fitted(prepared(kind(C=c, kernel=kernel)), X, signal(X, seed)), X, rows(X, seed))


@pytest.mark.parametrize("kernel", KERNELS)
def test_outliers(kernel: str) -> None:
    X = table(3)
    compare(fitted(prepared(OneClassSVM(kernel=kernel, nu=0.3)), X), X, rows(X, 3))


def test_a_regressor_without_support_vectors_is_a_constant() -> None:
    X = table(4)
    model = fitted(prepared(SVR(epsilon=1e9)), X, signal(X, 4))
    assert not len(model[-1].support_vectors_)
    compare(model, X, rows(X, 4))


def test_a_linear_machine_is_one_dot_product_where_nothing_cancels() -> None:
    X = table(5)
    plan = convert(fitted(prepared(SVC(kernel="linear", C=0.01)), X, classes(X, 5, 2)), X)
    assert "linear" in {step.op for step in plan.program.steps}


@pytest.mark.filterwarnings("ignore")
def test_probabilities_and_own_kernels_are_refused() -> None:
    X = table(6)[["b", "k"]]
    y = classes(table(6), 6, 2)
    with pytest.raises(NotConvertible, match="probability=True"):
        convert(SVC(probability=True).fit(X, y), X)
    own = SVC(kernel=lambda a, b: np.asarray(a) @ np.asarray(b).T).fit(X, y)
    with pytest.raises(NotConvertible, match="kernel"):
        convert(own, X)
