"""Steps that make several columns of one, or of all: onehot, spline, monomials, normalize."""

from typing import Any, Final

import numpy as np

from mlshared.errors import InputError, IntegrityError
from mlshared.plan._step import MAX_WIDTH, Array, Compiled, Shape, Step, indices, only

_EXTRAPOLATIONS: Final = ("error", "continue", "periodic", "linear")
_MOST_DEGREE: Final = 50


def onehot(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give 1 in one of ``width`` columns, and 0 in the others: the identity as a lookup, without its table.

    ``column`` (codes) is the column of each code, and ``otherwise`` that of code -1; -1 is none of them.
    """
    only(step, inputs, "codes")
    dtype = step.choice("dtype", ("float64", "float32"))
    width = int(step.number("width", low=1, high=MAX_WIDTH))
    otherwise = int(step.number("otherwise", low=-1, high=width - 1))
    column = step.array("column", None, dtype="int64")
    indices(step, "column", column + 1, width + 1)
    columns = np.append(column, otherwise)

    def run(codes: Array) -> Array:
        code = codes[:, 0]
        hot = columns.take(np.where(code < 0, len(column), code), mode="clip")
        found = np.zeros((len(hot), width), dtype=dtype)
        rows = np.flatnonzero(hot >= 0)
        found[rows, hot[rows]] = 1
        return found

    return Compiled(Shape("block", width, dtype), run)


def monomials(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give products of columns: ``factors`` (terms, degree) names the columns of each, -1 after its last.

    Multiplied from the last factor to the first, as PolynomialFeatures does; no factor gives 1.
    """
    shape = only(step, inputs)
    factors = step.array("factors", None, None, dtype="int64")
    if factors.shape[1] > _MOST_DEGREE:
        raise IntegrityError("step 'monomials': more factors than anything needs")
    indices(step, "factors", factors + 1, shape.width + 1)
    picked = np.where(factors < 0, shape.width, factors)[:, ::-1].T

    def run(x: Array) -> Array:
        ones = np.ones((len(x), 1), dtype=x.dtype)
        padded = np.concatenate([x, ones], axis=1)
        with np.errstate(all="ignore"):
            found: Array = np.broadcast_to(ones, (len(x), len(factors)))
            for each in picked:
                found = found * padded[:, each]
        return found

    return Compiled(Shape("block", len(factors), shape.dtype), run)


def normalize(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Divide each row by its ``norm``: l1, l2 or max; a norm of almost zero divides by one."""
    shape = only(step, inputs)
    norm_of = _NORMS[step.choice("norm", tuple(_NORMS))]

    def run(x: Array) -> Array:
        norms = norm_of(x)
        small = norms < 10 * np.finfo(x.dtype).eps
        with np.errstate(all="ignore"):
            return np.asarray(x / np.where(small, x.dtype.type(1), norms)[:, None])

    return Compiled(shape, run)


_NORMS: Final[dict[str, Any]] = {
    "l1": lambda x: np.abs(x).sum(axis=1),
    "l2": lambda x: np.sqrt(np.einsum("ij,ij->i", x, x)),
    "max": lambda x: np.abs(x).max(axis=1, initial=0),
}


def spline(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give the B-splines of each column, side by side: ``knots`` (width, m), ``degree``, ``extrapolation``.

    Beyond the base knots, ``error`` refuses, ``continue`` follows the last polynomials, ``periodic`` repeats,
    and ``linear`` goes on from ``ends`` (2, width), where the splines have the values ``edges`` and the
    ``slopes``, both (2, width, splines): below, above. With ``zeros``, a missing value has splines of 0.
    """
    shape = only(step, inputs)
    degree = int(step.number("degree", low=0, high=_MOST_DEGREE))
    knots = step.array("knots", shape.width, None)
    extrapolation = step.choice("extrapolation", _EXTRAPOLATIONS)
    zeros = step.params.get("zeros") is True
    count = knots.shape[1] - degree - 1
    splines = count - degree if extrapolation == "periodic" else count
    if splines < 1 or count < degree + 1 or not (np.diff(knots, axis=1) >= 0).all():
        raise IntegrityError("step 'spline': its knots are too few, or do not ascend")
    low, high = knots[:, degree], knots[:, count]
    beyond = None
    if extrapolation == "linear":
        lines = [step.array(name, 2, shape.width, splines) for name in ("edges", "slopes")]
        beyond = (step.array("ends", 2, shape.width), *lines)

    def run(x: Array) -> Array:
        if extrapolation == "error" and ((x < low) | (x > high)).any():
            raise InputError([{"field": "input", "message": "a value beyond the range seen in training"}])
        with np.errstate(all="ignore"):
            basis = _basis(_within(x.astype(np.float64), low, high, extrapolation), knots, degree)
            if extrapolation == "periodic":
                basis[:, :, :degree] += basis[:, :, splines:]
                basis = basis[:, :, :splines]
            if beyond is not None:
                basis = _straight(x, basis, *beyond)
        if zeros:
            basis[np.isnan(x)] = 0
        return basis.reshape(len(x), shape.width * splines).astype(x.dtype)

    return Compiled(Shape("block", shape.width * splines, shape.dtype), run)


def _within(x: Array, low: Array, high: Array, extrapolation: str) -> Array:
    if extrapolation == "periodic":
        period = high - low
        return np.where(period > 0, low + (x - low) % np.where(period > 0, period, 1), 0)
    return np.clip(x, low, high) if extrapolation == "linear" else x


def _basis(x: Array, knots: Array, degree: int) -> Array:
    """Return all B-splines at ``x`` (n, width), shape (n, width, count), as de Boor and Cox recur."""
    count = knots.shape[1] - degree - 1
    interior = knots[:, degree + 1 : count]
    first = (x[:, :, None] >= interior).sum(axis=2)  # of the degree + 1 splines that are not 0 there
    column = np.arange(knots.shape[0])
    near = np.zeros((degree + 1, *x.shape))
    near[0] = 1
    for order in range(1, degree + 1):
        before = near[:order].copy()
        near[0] = 0
        for j in range(order):
            right = knots[column, first + degree + j + 1]
            left = knots[column, first + degree + j + 1 - order]
            share = np.where(right > left, before[j] / np.where(right > left, right - left, 1), 0)
            near[j] += share * (right - x)
            near[j + 1] = share * (x - left)
    found = np.zeros((*x.shape, count))
    for j in range(degree + 1):
        np.put_along_axis(found, (first + j)[:, :, None], near[j][:, :, None], axis=2)
    found[~np.isfinite(near).all(axis=0)] = np.nan  # scipy multiplies them by zeros, too
    return found


def _straight(x: Array, basis: Array, ends: Array, edges: Array, slopes: Array) -> Array:
    """Return the splines with straight lines beyond their ends."""
    for place, (end, beyond) in enumerate(zip(ends, (x < ends[0], x > ends[1]), strict=True)):
        line = edges[place] + (x - end)[:, :, None] * slopes[place]
        basis = np.where(beyond[:, :, None], line, basis)
    return basis
