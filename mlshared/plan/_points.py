"""Steps that compare a row with stored points: kernels, nearest neighbours, distances to centres."""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from mlshared.errors import IntegrityError
from mlshared.plan._step import Array, Compiled, Shape, Step, only


def kernel(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Compute K @ W + b for the kernel K of each row with ``points`` (m, width); ``W`` (m, outputs), ``b``.

    ``kind``, ``gamma``, ``coef0``, ``degree`` as in https://scikit-learn.org/stable/modules/svm.html. Every
    number is computed as libsvm does: one dot product a point, the C library's exp and tanh, sums in the order
    of the points. Weights of 1e6 that cancel would show any other order in the ninth digit.
    """
    shape = only(step, inputs)
    points = step.array("points", None, shape.width)
    weights = step.array("W", len(points), None)
    offset = step.array("b", weights.shape[1])
    kind = step.choice("kind", ("linear", "rbf", "poly", "sigmoid"))
    gamma = step.number("gamma", low=0, high=1e300)
    coef0 = step.number("coef0", low=-1e300, high=1e300)
    degree = int(step.number("degree", low=0, high=1_000))
    if shape.dtype != "float64" or not points.size:
        raise IntegrityError("step 'kernel' takes float64 and has points")
    stacked = points[:, None, :]

    def of_row(row: Array) -> Array:
        if kind == "rbf":
            apart = points - row
            inner = (apart[:, None, :] @ apart[:, :, None])[:, 0, 0]
            found = np.array(list(map(math.exp, (-gamma * inner).tolist())))
        else:
            inner = (stacked @ row[:, None])[:, 0, 0]
            if kind == "poly":
                inner = _powered(gamma * inner + coef0, degree)
            elif kind == "sigmoid":
                inner = np.array(list(map(math.tanh, (gamma * inner + coef0).tolist())))
            found = inner
        return np.asarray(np.cumsum(weights * found[:, None], axis=0)[-1] + offset)

    def run(x: Array) -> Array:
        with np.errstate(all="ignore"):
            return _rows(of_row, x, len(offset))

    return Compiled(Shape("block", len(offset)), run)


def _powered(base: Array, times: int) -> Array:
    """Return base ** times by repeated squaring, as libsvm's ``powi``."""
    found = np.ones_like(base)
    while times:
        if times % 2:
            found = found * base
        base = base * base
        times //= 2
    return found


def nearest(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give the mean of ``targets`` (m, outputs) over the ``k`` points nearest to each row.

    ``metric`` (``p`` for minkowski) and ``weights``: ``uniform``, or ``distance`` for 1 / distance, where points
    at no distance outweigh all others. Of points equally far the earlier is nearer.
    """
    shape = only(step, inputs)
    points = step.array("points", None, shape.width)
    targets = step.array("targets", len(points), None)
    k = int(step.number("k", low=1, high=len(points)))
    apart, root = _metric(step)
    by_distance = step.choice("weights", ("uniform", "distance")) == "distance"
    if shape.dtype != "float64" or not targets.shape[1]:
        raise IntegrityError("step 'nearest' takes float64 and has targets")

    def of_row(row: Array) -> Array:
        distances = apart(points - row)
        limit = np.partition(distances, k - 1)[k - 1]
        near = np.flatnonzero(distances <= limit)
        near = near[distances[near].argsort(kind="stable")][:k]
        found = targets[near]
        if not by_distance:
            return np.asarray(np.add.reduce(found, axis=0) / len(near))
        weights = _inverse(root(distances[near]))
        return np.asarray((found * weights[:, None]).sum(axis=0) / weights.sum())

    def run(x: Array) -> Array:
        with np.errstate(all="ignore"):
            return _rows(of_row, x, targets.shape[1])

    return Compiled(Shape("block", targets.shape[1]), run)


def distances(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give the euclidean distance of each row to each of ``points`` (m, width), by the expanded square.

    Source: ``euclidean_distances`` of sklearn/metrics/pairwise.py.
    """
    shape = only(step, inputs)
    points = step.array("points", None, shape.width)
    if shape.dtype != "float64" or not len(points):
        raise IntegrityError("step 'distances' takes float64 and has points")
    squares = np.einsum("ij,ij->i", points, points)

    def run(x: Array) -> Array:
        found = -2 * (x @ points.T) + np.einsum("ij,ij->i", x, x)[:, None] + squares
        return np.asarray(np.sqrt(np.maximum(found, 0)))

    return Compiled(Shape("block", len(points)), run)


def mixture(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give the logarithm of each component's weighted normal density, up to a constant all of them share.

    ``factors`` (components, width, width), the Cholesky factors of the precisions; ``means`` (components,
    width); ``offsets`` (components), log determinant plus log weight.
    """
    shape = only(step, inputs)
    means = step.array("means", None, shape.width)
    factors = step.array("factors", len(means), shape.width, shape.width)
    offsets = step.array("offsets", len(means))
    if shape.dtype != "float64" or not len(means):
        raise IntegrityError("step 'mixture' takes float64 and has components")

    def run(x: Array) -> Array:
        found = np.empty((len(x), len(means)))
        for component, (mean, factor) in enumerate(zip(means, factors, strict=True)):
            found[:, component] = np.square(x @ factor - mean @ factor).sum(axis=1)
        return -0.5 * found + offsets

    return Compiled(Shape("block", len(means)), run)


def _rows(of_row: Callable[[Array], Array], x: Array, width: int) -> Array:
    if len(x) == 1:
        return of_row(x[0])[None, :]
    found = np.empty((len(x), width))
    for number, row in enumerate(x):
        found[number] = of_row(row)
    return found


def _metric(step: Step) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
    """Return differences (m, width) -> what distances are ranked by, and that -> distances."""
    metric = step.choice("metric", (*_METRICS, "minkowski"))
    if metric != "minkowski":
        return _METRICS[metric]
    p = step.number("p", low=1, high=1_000)
    return lambda d: (np.abs(d) ** p).sum(axis=1), lambda ranked: ranked ** (1 / p)


def _same(ranked: Array) -> Array:
    return ranked


_METRICS: Final[dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]] = {
    "euclidean": (lambda d: np.einsum("ij,ij->i", d, d), np.sqrt),
    "manhattan": (lambda d: np.abs(d).sum(axis=1), _same),
    "chebyshev": (lambda d: np.abs(d).max(axis=1), _same),
}


def _inverse(distance: Array) -> Array:
    weights = 1.0 / distance
    at_it = np.isinf(weights)
    return at_it.astype(np.float64) if at_it.any() else weights
