"""What links and their like make of the scores of one row, as Python arithmetic: a float, or a list of floats.

LINKS_OF_ONE[kind](score)       LINKS_OF_SEVERAL[kind](scores)       SHARES, joint, shifted: of several as well
"""

from collections.abc import Callable
from math import exp, inf, log, log1p
from typing import Any, Final

Follow = Callable[[Any], Any]


def _logistic(z: float) -> float:
    if z >= 0.0:
        return 1.0 / (1.0 + exp(-z))
    small = exp(z)
    return small / (1.0 + small)


def _logistic2(z: float) -> list[float]:
    if z >= 0.0:
        p = 1.0 / (1.0 + exp(-z))
    else:
        small = exp(z)
        p = small / (1.0 + small)
    return [1.0 - p, p]


def _exp(z: float) -> float:
    try:
        return exp(z)
    except OverflowError:  # where numpy answers infinity
        return inf


def _logistics(scores: list[float]) -> list[float]:
    return [_logistic(z) for z in scores]


def _softmax(scores: list[float]) -> list[float]:
    largest = max(scores)
    e = [exp(z - largest) for z in scores]
    total = sum(e)
    return [value / total for value in e]


def _normalized(scores: list[float]) -> list[float]:
    total = sum(scores)
    return [value / total for value in scores]


def _uniform_shares(scores: list[float]) -> list[float]:
    return _normalized(scores) if sum(scores) != 0.0 else [1 / len(scores)] * len(scores)


def _shares(scores: list[float]) -> list[float]:
    return _normalized(scores) if sum(scores) != 0.0 else scores


def joint(scores: list[float]) -> list[float]:
    largest = max(scores)
    count = scores.count(largest)
    rest = sum([exp(z - largest) for z in scores if z != largest]) / count
    total = log1p(rest) + log(count) + largest
    return [exp(z - total) for z in scores]


def shifted(scores: list[float]) -> list[float]:
    largest = max(scores)
    shifted = [z - largest for z in scores]
    total = log(sum([exp(z) for z in shifted]))
    return [exp(z - total) for z in shifted]


LINKS_OF_ONE: Final[dict[str, Follow]] = {"logistic2": _logistic2, "logistic": _logistic, "exp": _exp}
LINKS_OF_SEVERAL: Final[dict[str, Follow]] = {
    "softmax": _softmax, "logistic": _logistics, "normalize": _normalized,
}  # fmt: skip
SHARES: Final[dict[str, Follow]] = {"uniform": _uniform_shares, "same": _shares}
