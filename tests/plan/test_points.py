"""Neighbours, k-means and Gaussian mixtures answer as scikit-learn does, where that is not a matter of chance."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer.converters import NotConvertible, convert

from .exactness import compare
from .frames import fitted, quick, seeds
from .mixed import classes, rows, signal, table

METRICS = [
    ("euclidean", 2),
    ("manhattan", 2),
    ("chebyshev", 2),
    ("minkowski", 1),
    ("minkowski", 2),
    ("minkowski", 3),
]


def continuous(seed: int) -> Any:
    """Return numbers among which no two distances are equal."""
    return table(seed)[["a", "b"]].fillna(0.1).assign(c=np.random.default_rng(seed).normal(size=120))


@quick
@given(
    seed=seeds,
    metric=st.sampled_from(METRICS),
    weights=st.sampled_from(["uniform", "distance"]),
    algorithm=st.sampled_from(["auto", "kd_tree"]),
    k=st.sampled_from([1, 2, 5, 30]),
    count=st.sampled_from([2, 3]),
)
def test_neighbours_vote(
    seed: int, metric: tuple[str, int], weights: str, algorithm: str, k: int, count: int
) -> None:
    X = continuous(seed)
    model = KNeighborsClassifier(k, weights=weights, algorithm=algorithm, metric=metric[0], p=metric[1])
    pipeline = fitted(make_pipeline(StandardScaler(), model), X, classes(table(seed), seed, count))
    compare(pipeline, X, rows(X, seed))


@pytest.mark.parametrize(
    "metric", [each for each in METRICS if each[0] != "euclidean" and each[1] != 2] + [("chebyshev", 2)]
)
def test_neighbours_found_by_comparing_all(metric: tuple[str, int]) -> None:
    X = continuous(1)
    model = KNeighborsClassifier(3, algorithm="brute", metric=metric[0], p=metric[1])
    compare(fitted(model, X, classes(table(1), 1, 3)), X, rows(X, 1))


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("targets", [1, 2])
def test_neighbours_average(weights: str, targets: int) -> None:
    X = continuous(2)
    y = signal(table(2), 2)
    y = np.column_stack([y, -y]) if targets == 2 else y
    compare(fitted(KNeighborsRegressor(weights=weights), X, y), X, rows(X, 2))


def test_a_training_point_itself_outweighs_all_others() -> None:
    X = continuous(3)
    model = fitted(KNeighborsRegressor(weights="distance"), X, signal(table(3), 3))
    compare(model, X, X.to_dict("records"))


@quick
@given(
    seed=seeds,
    k=st.sampled_from([1, 2, 3, 8]),
    weights=st.sampled_from(["uniform", "distance"]),
    metric=st.sampled_from(METRICS[:4]),
    width=st.sampled_from([1, 2, 3]),
    leaf=st.sampled_from([1, 3, 30]),
)
def test_of_equally_far_points_the_same_count(
    seed: int, k: int, weights: str, metric: Any, width: int, leaf: int
) -> None:
    """On a lattice, far outside of it, and where points lie twice: scikit-learn's own search decides."""
    rng = np.random.default_rng(seed)
    lattice = rng.integers(0, 5, (150, width)).astype(np.float64)
    model = KNeighborsClassifier(k, weights=weights, metric=metric[0], p=metric[1], leaf_size=leaf)
    asked = [*lattice[:40], *(rng.integers(-2, 14, (40, width)) / 2), *np.full((1, width), 1e17)]
    fitted(model, lattice, rng.integers(0, 3, 150))
    compare(model, lattice, [{f"x{i}": float(v) for i, v in enumerate(row)} for row in asked])


def test_what_does_not_pay_or_cannot_be_equal_is_refused() -> None:
    rng = np.random.default_rng(0)
    big = rng.normal(size=(30_000, 8))
    with pytest.raises(NotConvertible, match="does not pay"):
        convert(KNeighborsRegressor().fit(big, big[:, 0]), big[:50])
    small = big[:100]
    brute = KNeighborsRegressor(algorithm="brute").fit(small, small[:, 0])
    with pytest.raises(NotConvertible, match="expanding the square"):
        convert(brute, small)
    ball = KNeighborsRegressor(algorithm="ball_tree").fit(small, small[:, 0])
    with pytest.raises(NotConvertible, match="ball_tree"):
        convert(ball, small)
    own = KNeighborsRegressor(weights=lambda d: 1 / (1 + d)).fit(small, small[:, 0])
    with pytest.raises(NotConvertible, match="own"):
        convert(own, small)


@quick
@given(seed=seeds, kind=st.sampled_from([KMeans, MiniBatchKMeans]), k=st.sampled_from([1, 2, 7]))
def test_clusters(seed: int, kind: Any, k: int) -> None:
    X = continuous(seed)
    model = make_pipeline(StandardScaler(), kind(k, n_init=1, random_state=seed))
    compare(fitted(model, X), X, rows(X, seed))


@pytest.mark.parametrize("covariance", ["full", "tied", "diag", "spherical"])
def test_mixtures(covariance: str) -> None:
    X = continuous(4)
    model = GaussianMixture(3, covariance_type=covariance, random_state=0)
    compare(fitted(make_pipeline(StandardScaler(), model), X), X, X.to_dict("records"))
