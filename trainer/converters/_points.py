"""Nearest neighbours, k-means and Gaussian mixtures: a row is compared with points."""

from typing import Any, Final

import numpy as np
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from ._block import Block, Converter, Outputs

MAX_VALUES: Final = 200_000  # of training points; beyond, comparing with all of them does not pay
_METRICS: Final = ("euclidean", "manhattan", "chebyshev", "minkowski")
_ALIASES: Final = {"l1": "manhattan", "cityblock": "manhattan", "l2": "euclidean"}


# -- neighbours


def _neighbours_classifier(estimator: KNeighborsClassifier, x: Block) -> Outputs:
    if estimator.outputs_2d_:
        x.refuse("several targets")
    classes = np.asarray(estimator.classes_)
    targets = np.eye(len(classes))[np.asarray(estimator._y).reshape(-1)]  # noqa: SLF001 - its training labels
    proba = _nearest(estimator, x, targets)
    return Outputs({"predict": proba.decide("argmax"), "predict_proba": proba}, (classes,))


def _neighbours_regressor(estimator: KNeighborsRegressor, x: Block) -> Outputs:
    targets = np.asarray(estimator._y)  # noqa: SLF001 - its training targets
    if targets.dtype == np.float32:
        x.refuse("float32 targets")
    return Outputs({"predict": _nearest(estimator, x, targets.reshape(len(targets), -1).astype(np.float64))})


def _nearest(estimator: Any, x: Block, targets: Any) -> Block:
    points = estimator._fit_X  # noqa: SLF001 - its training points
    metric, p = _metric(estimator, x)
    if hasattr(points, "toarray") or np.asarray(points).dtype != np.float64 or x.dtype != "float64":
        x.refuse("training points that are sparse or float32")
    if points.size > MAX_VALUES:
        x.refuse(f"{len(points):,} training points: comparing with all of them does not pay")
    if estimator.weights not in ("uniform", "distance", None):
        x.refuse("weights of the user's own")
    method = estimator._fit_method  # noqa: SLF001 - what "auto" came to
    if method == "brute" and metric == "euclidean":
        x.refuse(
            "finds euclidean distances by expanding the square, whose last digits depend on the processor"
        )
    if method not in {"kd_tree", "brute"}:
        x.refuse(f"a search by {method}")
    x.builder.rounding = True
    return x.check(missing=True).apply(
        "nearest",
        names=[None] * targets.shape[1],
        arrays={"points": np.asarray(points), "targets": targets, **_search_tree(estimator)},
        k=int(estimator.n_neighbors),
        metric=metric,
        p=p,
        weights=estimator.weights or "uniform",
        refuse=isinstance(estimator, KNeighborsClassifier),
    )


def _search_tree(estimator: Any) -> dict[str, Any]:
    """Return the k-d tree that settles which of equally far points count; nothing if points come in order."""
    if estimator._fit_method == "brute":  # noqa: SLF001 - what "auto" came to
        return {}
    _, order, nodes, bounds = estimator._tree.get_arrays()  # noqa: SLF001 - its search tree
    listed = [nodes["idx_start"], nodes["idx_end"], nodes["is_leaf"]]
    return {
        "order": np.asarray(order, dtype=np.int64),
        "nodes": np.column_stack(listed).astype(np.int64),
        "bounds": np.asarray(bounds, dtype=np.float64),
    }


def _metric(estimator: Any, x: Block) -> tuple[str, float]:
    metric = estimator.effective_metric_ if isinstance(estimator.effective_metric_, str) else "callable"
    metric = _ALIASES.get(metric, metric)
    params = dict(estimator.effective_metric_params_ or {})
    p = params.pop("p", 2)
    if metric not in _METRICS or any(value is not None for value in params.values()) or p < 1:
        x.refuse(f"the metric {metric} with these parameters")
    if metric == "minkowski":
        metric = {1: "manhattan", 2: "euclidean"}.get(p, "chebyshev" if np.isinf(p) else metric)
    return metric, float(p) if np.isfinite(p) else 1.0


# -- k-means


def _k_means(estimator: Any, x: Block) -> Outputs:
    centres = np.asarray(estimator.cluster_centers_)
    if centres.dtype != np.float64 or x.dtype != "float64":
        x.refuse("float32")
    x = x.check(missing=True)
    # The nearest centre c has the largest 2 x.c - c.c, which is how scikit-learn finds it.
    closeness = x.linear(2 * centres.T, -np.square(centres).sum(axis=1))
    names = [None] * len(centres)
    distances = x.apply("distances", names=names, arrays={"points": centres})
    classes = np.arange(len(centres), dtype=np.int32)
    return Outputs({"predict": closeness.decide("argmax"), "transform": distances}, (classes,))


# -- Gaussian mixtures


def _gaussian_mixture(estimator: GaussianMixture, x: Block) -> Outputs:
    means = np.asarray(estimator.means_)
    if means.dtype != np.float64 or x.dtype != "float64":
        x.refuse("float32")
    factors = _factors(estimator, means.shape)
    x = x.check(missing=True)
    x.builder.rounding = True
    offsets = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1) + np.log(estimator.weights_)
    arrays = {"means": means, "factors": factors, "offsets": offsets}
    density = x.apply("mixture", names=[None] * len(means), arrays=arrays)
    methods: dict[str, Block | list[Block]] = {
        "predict": density.decide("argmax"),
        "predict_proba": density.link("softmax"),
    }
    return Outputs(methods, (np.arange(len(means)),))


def _factors(estimator: GaussianMixture, shape: tuple[int, ...]) -> Any:
    """Return the Cholesky factors of the precisions, shape (components, width, width)."""
    found = np.asarray(estimator.precisions_cholesky_)
    kind = estimator.covariance_type
    count, width = shape
    if kind == "full":
        return found
    if kind == "tied":
        return np.repeat(found[None, :, :], count, axis=0)
    diagonal = found if kind == "diag" else np.repeat(found[:, None], width, axis=1)
    return diagonal[:, :, None] * np.eye(width)


CONVERTERS: Final[dict[type | str, Converter]] = {
    KNeighborsClassifier: _neighbours_classifier,
    KNeighborsRegressor: _neighbours_regressor,
    KMeans: _k_means,
    MiniBatchKMeans: _k_means,
    GaussianMixture: _gaussian_mixture,
}
