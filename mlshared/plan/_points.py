"""Steps that compare a row with stored points: kernels, distances to centres, mixtures."""

import math
from collections.abc import Callable

import numpy as np

from mlshared.errors import IntegrityError
from mlshared.plan._step import Array, Compiled, Shape, Step, only


def kernel(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Compute K @ W + b for the kernel K of each row with ``points`` (m, width); ``W`` (m, outputs), ``b``.

    ``kind``, ``gamma``, ``coef0``, ``degree`` as in https://scikit-learn.org/stable/modules/svm.html. Every
    number is computed as libsvm does: one dot product a point, the C library's exp and tanh, sums in the order
    of the points. Weights of 1e6 that cancel would show any other order in the ninth digit. ``rbf`` has an
    ``order`` too: ``any`` where nothing cancels, and numpy's faster ways will do.
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
    any_order = kind == "rbf" and step.choice("order", ("libsvm", "any")) == "any"
    stacked = points[:, None, :]

    def of_row(row: Array) -> Array:
        if any_order:
            apart = points - row
            found = np.exp(-gamma * np.einsum("ij,ij->i", apart, apart))
            return np.asarray(found @ weights + offset)
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
            return by_rows(of_row, x, len(offset))

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


def by_rows(of_row: Callable[[Array], Array], x: Array, width: int) -> Array:
    """Return a function of one row applied to all of them, shape (n, width)."""
    if len(x) == 1:
        return of_row(x[0])[None, :]
    found = np.empty((len(x), width))
    for number, row in enumerate(x):
        found[number] = of_row(row)
    return found
