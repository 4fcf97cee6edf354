"""Where tests on columns change, as raw values of their fields, to the last bit; many columns at once.

    cuts([(source, thresholds), ...]) -> for each, the raw values after which a test or a refusal changes

`NumberSource.before` does this for one column. A model of hundreds of columns is loaded in milliseconds only
if the columns of one block go through its steps together.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from mlshared.plan._separable import NumberSource
from mlshared.plan._step import Array

_SIGN: Final = np.int64(-(2**63))
_REST: Final = np.int64(2**63 - 1)


def cuts(columns: Sequence[tuple[NumberSource, Array]]) -> list[Array]:
    """Return, for each column that never falls, the last raw values before its changes.

    Args:
        columns: Sources, and the thresholds they are compared with, float64.

    Returns:
        For each, the largest raw value whose column is <= the threshold (-inf where there is none), then those
        next below the smallest and at the largest finite value that no step refuses.
    """
    found: list[Array] = [np.empty(0)] * len(columns)
    groups: dict[tuple[int, ...], list[int]] = {}
    for place, (source, _) in enumerate(columns):
        groups.setdefault(tuple(number for number, _ in source.path[1:]), []).append(place)
    for group in groups.values():
        raw = _bisected([columns[place] for place in group])
        for position, place in enumerate(group):
            count = len(columns[place][1])
            low, high = -raw[-2, position], raw[-1, position]
            found[place] = np.append(raw[:count, position], [_below(low), high])
    return found


def _bisected(columns: Sequence[tuple[NumberSource, Array]]) -> Array:
    """Return the last raw value for each threshold, padded, then of acceptance downwards (negated) and upwards."""
    most = max(len(thresholds) for _, thresholds in columns)
    wanted = np.full((most, len(columns)), np.nan)
    for position, (_, thresholds) in enumerate(columns):
        wanted[: len(thresholds), position] = thresholds
    together = [source for source, _ in columns]
    low = np.broadcast_to(_key(np.array([-np.inf])), (most + 2, len(columns)))
    high = np.broadcast_to(_key(np.array([np.inf])), low.shape)
    while (open_ := low + 1 < high).any():
        middle = (low & high) + ((low ^ high) >> 1)  # their mean, which cannot overflow
        raw = _unkey(middle)
        raw[-2] *= -1
        x, accepted = _walk(together, raw)
        held = np.concatenate([x[:-2] <= wanted, accepted[-2:] | (raw[-2:] * [[-1.0], [1.0]] < 0)])
        low = np.where(open_ & held, middle, low)
        high = np.where(open_ & ~held, middle, high)
    return _unkey(low)


def _walk(sources: Sequence[NumberSource], raw: Array) -> tuple[Array, Array]:
    """Return the columns for raw values, (n, sources), and which values are accepted, as `NumberSource.walk`."""
    program = sources[0].program
    reads = [source.path[0][0] for source in sources]
    x = np.concatenate([program.compiled[read].run(raw[:, i]) for i, read in enumerate(reads)], axis=1)
    accepted = np.ones(x.shape, dtype=np.bool_)
    with np.errstate(all="ignore"):
        for place in range(1, len(sources[0].path)):
            number = sources[0].path[place][0]
            columns = [source.path[place][1] for source in sources]
            step, compiled = program.steps[number], program.compiled[number]
            if step.op == "check":
                if step.params.get("missing") is True:
                    accepted &= ~np.isnan(x)
                if step.params.get("infinite") is True:
                    accepted &= ~np.isinf(x)
                continue
            width = program.compiled[step.inputs[0]].shape.width
            block = x
            if columns != list(range(width)):
                block = np.zeros((len(x), width), dtype=x.dtype)
                block[:, columns] = x
            x = compiled.run(block)[:, columns]
    return x, accepted


def _below(value: float) -> float:
    return -np.inf if value == -np.finfo(np.float64).max else float(np.nextafter(value, -np.inf))


def _key(values: Array) -> Array:
    """Return int64 keys in the order of the float64 values."""
    bits = values.view(np.int64)
    return np.where(bits < 0, ~(bits & _REST), bits)


def _unkey(keys: Array) -> Array:
    """Return the float64 values of keys."""
    return np.where(keys < 0, ~keys | _SIGN, keys).view(np.float64)
