"""Steps that change each number by itself: clip, map, power, quantile, bin, equal.

Column j of the output depends on column j of the input alone: fast ways of answering a row see through them.
Each keeps the dtype of its input, and passes NaN on unless it says otherwise.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np

from mlshared.errors import InputError, IntegrityError
from mlshared.plan._normal import ppf
from mlshared.plan._step import Array, Compiled, Shape, Step, only

FUNCTIONS: Final[dict[str, np.ufunc]] = {
    ufunc.__name__: ufunc
    for ufunc in (
        np.log, np.log2, np.log10, np.log1p, np.exp, np.exp2, np.expm1, np.sqrt, np.cbrt, np.square,
        np.absolute, np.fabs, np.negative, np.positive, np.reciprocal, np.sign,
        np.floor, np.ceil, np.trunc, np.rint, np.deg2rad, np.rad2deg,
        np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan,
        np.sinh, np.cosh, np.tanh, np.arcsinh, np.arccosh, np.arctanh,
    )
}  # fmt: skip
# Never falling, to the last bit: rounded correctly, or exact. A logarithm or a power may fall by one bit.
RISING: Final = frozenset(
    {"sqrt", "positive", "sign", "floor", "ceil", "trunc", "rint", "deg2rad", "rad2deg"}
)

BOUNDS: Final = 1e-7  # scikit-learn's BOUNDS_THRESHOLD
LOWEST: Final = float(ppf(np.array(BOUNDS - np.spacing(1))))
HIGHEST: Final = float(ppf(np.array(1 - (BOUNDS - np.spacing(1)))))


def clip(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Keep values between ``low`` and ``high``, one a column."""
    shape = only(step, inputs)
    low, high = (step.array(name, shape.width, dtype=shape.dtype) for name in ("low", "high"))
    return Compiled(shape, lambda x: np.clip(x, low, high))


def map_(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Apply a numpy function to every value: ``fn``, one of `FUNCTIONS`; NaN outside of its domain."""
    shape = only(step, inputs)
    function = FUNCTIONS[step.choice("fn", tuple(FUNCTIONS))]

    def run(x: Array) -> Array:
        with np.errstate(all="ignore"):
            found: Array = function(x)
        return found

    return Compiled(shape, run)


def power(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Apply a power transform: ``kind``, and ``lambdas``, one a column.

    ``yeo_johnson`` and ``box_cox`` as `scipy.stats.yeojohnson` and `scipy.special.boxcox` compute them.
    """
    shape = only(step, inputs)
    kind = step.choice("kind", tuple(_POWERS))
    lambdas = step.array("lambdas", shape.width, dtype=shape.dtype)
    function = _POWERS[kind]

    def run(x: Array) -> Array:
        with np.errstate(all="ignore"):
            return function(x, lambdas)

    return Compiled(shape, run)


def positive(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Refuse a number that is not above 0, as Box-Cox does; a missing one passes."""
    shape = only(step, inputs)

    def run(x: Array) -> Array:
        if (x <= 0).any():
            raise InputError(
                [{"field": "input", "message": "the model refuses numbers that are not above 0"}]
            )
        return x

    return Compiled(shape, run)


def _yeo_johnson(x: Array, lambdas: Array) -> Array:
    """Return ``expm1(log1p(x) * l) / l`` where x >= 0, and its mirror image with 2 - l elsewhere."""
    one, epsilon = x.dtype.type(1), np.finfo(x.dtype).eps
    up = x >= 0
    factor = np.where(up, lambdas, 2 - lambdas)
    straight = np.where(up, np.abs(lambdas) < epsilon, np.abs(lambdas - 2) <= epsilon)
    size = np.log1p(np.where(up, x, -x))
    bent = np.where(straight, size, np.expm1(factor * size) / np.where(straight, one, factor))
    return np.where(up, bent, -bent)


def _yeo_johnson_plain(x: Array, lambdas: Array) -> Array:
    """Return the same as scikit-learn before 1.9 computes it: ``((x + 1) ** l - 1) / l``."""
    one, epsilon = x.dtype.type(1), np.spacing(1.0)
    up = x >= 0
    factor = np.where(up, lambdas, 2 - lambdas)
    straight = np.where(up, np.abs(lambdas) < epsilon, np.abs(lambdas - 2) <= epsilon)
    size = np.where(up, x, -x)
    bent = (np.power(size + one, factor) - one) / np.where(straight, one, factor)
    found = np.where(straight, np.log1p(size), bent)
    return np.where(up, found, -found)


def _box_cox(x: Array, lambdas: Array) -> Array:
    """Return ``expm1(log(x) * l) / l``, or log(x) where l is 0; computed in float64, as scipy does."""
    factor = lambdas.astype(np.float64)
    straight = np.abs(factor) < 1e-19
    safe = np.where(straight, 1.0, factor)
    size = np.log(x.astype(np.float64))
    scaled = factor * size
    large = np.sign(factor) * np.exp(scaled - np.log(np.abs(safe))) - 1 / safe
    bent = np.where(scaled < 709.78, np.expm1(scaled) / safe, large)
    return np.where(straight, size, bent).astype(x.dtype)


_POWERS: Final[dict[str, Callable[[Array, Array], Array]]] = {
    "yeo_johnson": _yeo_johnson,
    "yeo_johnson_plain": _yeo_johnson_plain,
    "box_cox": _box_cox,
}


def quantile(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Map to quantiles as scikit-learn does: ``quantiles`` (m, width), ``references`` (m), ``normal``.

    Interpolated both ways, because repeated quantiles have two answers; the mean of them is taken.
    """
    shape = only(step, inputs)
    quantiles = step.array("quantiles", None, shape.width)
    references = step.array("references", len(quantiles))
    normal = step.params.get("normal") is True
    every = range(shape.width)
    if not len(quantiles) or not _ascends(quantiles) or not _ascends(references):
        raise IntegrityError("step 'quantile': its quantiles do not ascend")

    mirrored = -quantiles[::-1], -references[::-1]

    def run(x: Array) -> Array:
        found = np.empty_like(x)
        with np.errstate(all="ignore"):
            for j in every:
                up = np.interp(x[:, j], quantiles[:, j], references)
                down = np.interp(-x[:, j], mirrored[0][:, j], mirrored[1])
                found[:, j] = 0.5 * (up - down)
            found = _bounded(x, found, quantiles[0], quantiles[-1], 0.0 if not normal else BOUNDS)
            return _normal(found) if normal else found

    return Compiled(shape, run)


def _bounded(x: Array, found: Array, first: Array, last: Array, near: float) -> Array:
    """Return 0 where ``x`` is the first quantile, or near, and 1 where it is the last; NaN where it is NaN."""
    low = x - near < first if near else x == first
    high = x + near > last if near else x == last
    return np.where(np.isnan(x), x, np.where(low, 0, np.where(high, 1, found)).astype(x.dtype))


def _normal(found: Array) -> Array:
    clipped: Array = np.clip(ppf(found.astype(np.float64)).astype(found.dtype), LOWEST, HIGHEST)
    return clipped


def _ascends(values: Array) -> bool:
    return bool((np.diff(values, axis=0) >= 0).all())


def bin_(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give the number of edges below each value: ``edges``, divided among columns by ``starts`` (width + 1).

    ``side`` right counts an edge equal to the value, left does not.
    """
    shape = only(step, inputs)
    side: Literal["left", "right"] = "left" if step.choice("side", ("left", "right")) == "left" else "right"
    edges = step.array("edges", None)
    starts = step.array("starts", shape.width + 1, dtype="int64")
    if starts[0] != 0 or starts[-1] != len(edges) or (np.diff(starts) < 0).any():
        raise IntegrityError("step 'bin': its edges are not divided among the columns")
    divided = [edges[starts[j] : starts[j + 1]] for j in range(shape.width)]
    if not all(_ascends(each) for each in divided):
        raise IntegrityError("step 'bin': its edges do not ascend")

    def run(x: Array) -> Array:
        found = np.empty(x.shape, dtype=x.dtype)
        for j, each in enumerate(divided):
            found[:, j] = np.searchsorted(each, x[:, j], side=side)
        return found

    return Compiled(shape, run)


def equal(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give 1 where a value is that of ``values``, one a column, and 0 elsewhere."""
    shape = only(step, inputs)
    values = step.array("values", shape.width, dtype=shape.dtype)
    return Compiled(shape, lambda x: (x == values).astype(x.dtype))


# -- which never fall


def direction(step: Step, column: int) -> int:
    """Return 1 if that column never falls as its input rises, to the last bit, -1 if it never rises, or 0."""
    if step.op == "number":
        return int(not step.has("values"))
    if step.op in {"check", "cast", "clip", "bin"}:
        return 1
    if step.op in {"fill", "missing"}:
        return 1 if step.params.get("marker") is None else 0
    if step.op == "map":
        return 1 if step.params["fn"] in RISING else -1 if step.params["fn"] == "negative" else 0
    if step.op == "affine":
        factors = [step.arrays[name][column] for name in ("div", "mul") if step.has(name)]
        return int(np.prod([_sign(factor) for factor in factors], initial=1))
    return 0


def _sign(factor: Any) -> int:
    return int(np.sign(factor)) if np.isfinite(factor) else 0
