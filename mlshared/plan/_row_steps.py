"""Elementwise steps of one column as functions of one present Python float, equal to the definition to the bit.

    scalar_step(step, column) -> a function that gives the column, or raises ValueError where the definition
                                 has to say what happens; None if the step has no such form

What numpy rounds in its own way (logarithms, exponentials, powers) is asked of numpy here, too.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from math import copysign, inf, sqrt
from typing import Any, Final

import numpy as np

from mlshared.plan._step import Step

Scalar = Callable[[Any], float]

_LARGEST_EXPONENT: Final = 700.0


def scalar_step(step: Step, column: int) -> Scalar | None:
    """Return the function of one column of a step of float64, or None."""
    if step.op == "clip":
        return _clip(float(step.arrays["low"][column]), float(step.arrays["high"][column]))
    if step.op == "bin":
        first, last = step.arrays["starts"][column : column + 2].tolist()
        return _bin(step.arrays["edges"][first:last].tolist(), step.params["side"])
    if step.op == "equal":
        own = float(step.arrays["values"][column])
        return lambda x: 1.0 if x == own else 0.0
    if step.op == "map":
        return _MAPPED.get(step.params["fn"])
    if step.op == "power" and step.params["kind"] == "yeo_johnson":
        return _yeo_johnson(float(step.arrays["lambdas"][column]))
    return None


def _clip(low: float, high: float) -> Scalar:
    return lambda x: min(max(x, low), high)


def _bin(edges: list[float], side: str) -> Scalar:
    count = bisect_left if side == "left" else bisect_right
    return lambda x: float(count(edges, x))


def _yeo_johnson(power: float) -> Scalar | None:
    """Return ``expm1(log1p(x) * l) / l`` and its mirror image; None where l is 0 or 2 but for rounding."""
    if not min(abs(power), abs(power - 2.0)) > 1e-9:
        return None
    log1p, expm1, other = np.log1p, np.expm1, 2.0 - power

    def of(x: float) -> float:
        up = x >= 0.0
        factor = power if up else other
        scaled = factor * log1p(x if up else -x)
        if not -inf < scaled < _LARGEST_EXPONENT:
            raise ValueError
        found = float(expm1(scaled) / factor)
        return found if up else -found

    return of


def _above(bound: float, function: Any) -> Scalar:
    """Return a function of numpy that has no answer, or an infinite one, at the bound and below."""

    def of(x: float) -> float:
        if not bound < x < inf:
            raise ValueError
        return float(function(x))

    return of


def _exponential(function: Any) -> Scalar:
    def of(x: float) -> float:
        if not -_LARGEST_EXPONENT < x < _LARGEST_EXPONENT:
            raise ValueError
        return float(function(x))

    return of


def _sign(x: float) -> float:
    return copysign(1.0, x) if x else 0.0


_MAPPED: Final[dict[str, Scalar]] = {
    "absolute": abs,
    "fabs": abs,
    "positive": float,
    "negative": lambda x: -x,
    "square": lambda x: x * x,
    "sqrt": sqrt,
    "sign": _sign,
    "log": _above(0.0, np.log),
    "log2": _above(0.0, np.log2),
    "log10": _above(0.0, np.log10),
    "log1p": _above(-1.0, np.log1p),
    "exp": _exponential(np.exp),
    "expm1": _exponential(np.expm1),
}
