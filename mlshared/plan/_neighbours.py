"""The mean over nearest neighbours, of the very neighbours that scikit-learn finds.

    distances to all points -> the k-th smallest -> k points, and no more, are that near: their mean
                                               `-> equals: scikit-learn's own search, step by step

Far from all points, or on a lattice, rounding makes many distances equal, and which of them count depends on the
order in which a search meets them. So the search tree is in the plan too, and is walked there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any, Final, NamedTuple

import numpy as np

from mlshared.errors import InputError, IntegrityError
from mlshared.plan._points import by_rows
from mlshared.plan._step import Array, Compiled, Shape, Step, indices, only

_METRICS: Final = ("euclidean", "manhattan", "chebyshev", "minkowski")


def nearest(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give the mean of ``targets`` (m, outputs) over the ``k`` of ``points`` (m, width) nearest to each row.

    ``metric`` (``p`` for minkowski) and ``weights``: ``uniform``, or ``distance`` for 1 / distance, where points
    at no distance outweigh all others; with ``refuse``, weights that are all zero are refused. ``order``,
    ``nodes`` (start, end, leaf) and ``bounds`` are scikit-learn's k-d tree; without, points are met in order.
    """
    shape = only(step, inputs)
    points = step.array("points", None, shape.width)
    targets = step.array("targets", len(points), None)
    k = int(step.number("k", low=1, high=len(points)))
    metric = step.choice("metric", _METRICS)
    p = {"euclidean": 2.0, "manhattan": 1.0}.get(metric) or float(step.number("p", low=1, high=1_000))
    by_distance = step.choice("weights", ("uniform", "distance")) == "distance"
    refuses = step.params.get("refuse") is True
    if shape.dtype != "float64" or not targets.shape[1] or not shape.width:
        raise IntegrityError("step 'nearest' takes float64 and has targets")
    ranked = _ranking(metric, p)
    tree = _tree(step, len(points), shape.width)
    columns = np.ascontiguousarray(points.T)

    def of_row(row: Array) -> Array:
        distances = ranked(columns - row[:, None])
        limit = np.partition(distances, k - 1)[k - 1]
        near = np.flatnonzero(distances <= limit)
        if len(near) == k and isfinite(limit):
            near = near[distances[near].argsort(kind="stable")]
            apart = distances[near]
        else:
            near, apart = tree.search(row, distances, k, ranked)
        found = targets.take(near, axis=0, mode="clip")
        if not by_distance:
            return np.asarray(np.add.reduce(found, axis=0) / k)
        weights = _inverse(apart if metric in {"manhattan", "chebyshev"} else _root(apart, p))
        if refuses and not weights.any():
            message = "is so far from all training rows that none of them counts, and the model refuses that"
            raise InputError([{"field": "input", "message": message}])
        return np.asarray((found * weights[:, None]).sum(axis=0) / weights.sum())

    def run(x: Array) -> Array:
        with np.errstate(all="ignore"):
            return by_rows(of_row, x, targets.shape[1])

    return Compiled(Shape("block", targets.shape[1]), run)


Ranking = Callable[[Array], Array]


def _ranking(metric: str, p: float) -> Ranking:
    """Return differences (width, m) -> what distances are ranked by, added up column after column."""
    if metric == "euclidean":
        return lambda apart: np.add.reduce(apart * apart, axis=0)
    if metric == "manhattan":
        return lambda apart: np.add.reduce(np.abs(apart), axis=0)
    if metric == "chebyshev":
        return lambda apart: np.maximum.reduce(np.abs(apart), axis=0)
    return lambda apart: np.add.reduce(np.abs(apart) ** p, axis=0)


def _root(ranked: Array, p: float) -> Array:
    return np.asarray(np.sqrt(ranked) if p == 2.0 else ranked ** (1 / p))


def _inverse(distance: Array) -> Array:
    weights = 1.0 / distance
    at_it = np.isinf(weights)
    return at_it.astype(np.float64) if at_it.any() else weights


class _Tree(NamedTuple):
    """A search tree: nodes 2i + 1 and 2i + 2 are below node i.

    Attributes:
        order: Points as leaves list them.
        nodes: Start and end in ``order``, and whether it is a leaf.
        low: The smallest values in each node, shape (width, nodes); None if points are met in order.
        high: The largest.
    """

    order: list[int]
    nodes: list[tuple[int, int, bool]]
    low: Array | None
    high: Array | None

    def search(self, row: Array, distances: Array, k: int, ranked: Ranking) -> tuple[Array, Array]:
        """Return the points that scikit-learn's depth-first search keeps, and their ranks, nearest first.

        Source: ``_query_single_depthfirst`` of sklearn/neighbors/_binary_tree.pxi.tp.
        """
        if self.low is None or self.high is None:
            bounds = [0.0]
        else:
            below, above = self.low - row[:, None], row[:, None] - self.high
            bounds = ranked(0.5 * ((below + np.abs(below)) + (above + np.abs(above)))).tolist()
        ranks = distances.tolist()
        heap = _Heap([inf] * k, [0] * k)
        waiting = [0]
        while waiting:
            node = waiting.pop()
            if bounds[node] > heap.values[0]:
                continue
            start, end, leaf = self.nodes[node]
            if leaf:
                for point in self.order[start:end]:
                    if ranks[point] < heap.values[0]:
                        heap.replace(ranks[point], point)
                continue
            first, second = 2 * node + 1, 2 * node + 2
            if bounds[first] <= bounds[second]:
                first, second = second, first
            waiting += [first, second]  # the nearer one is taken next
        values = np.array(heap.values)
        nearest_first = values.argsort(kind="stable")
        return np.array(heap.points)[nearest_first], values[nearest_first]


@dataclass(slots=True)
class _Heap:
    """The k nearest so far, farthest first; of equals it evicts the one scikit-learn's heap would."""

    values: list[float]
    points: list[int]

    def replace(self, value: float, point: int) -> None:
        """Put a point in the place of the farthest. Source: ``heap_push`` of sklearn/utils/_heap.pyx."""
        values, points, size = self.values, self.points, len(self.values)
        at = 0
        while (child := 2 * at + 1) < size:
            if child + 1 < size and values[child] < values[child + 1]:
                child += 1
            if value >= values[child]:
                break
            values[at], points[at] = values[child], points[child]
            at = child
        values[at], points[at] = value, point


def _tree(step: Step, count: int, width: int) -> _Tree:
    if not step.has("nodes"):
        return _Tree(list(range(count)), [(0, count, True)], None, None)
    order = indices(step, "order", step.array("order", count, dtype="int64"), count)
    nodes = step.array("nodes", None, 3, dtype="int64")
    bounds = step.array("bounds", 2, len(nodes), width)
    inner = np.flatnonzero(nodes[:, 2] == 0)
    if not len(nodes) or (inner.size and 2 * int(inner.max()) + 2 >= len(nodes)):
        raise IntegrityError("step 'nearest' has a tree that ends in no leaf")
    indices(step, "nodes", nodes[:, :2], count + 1)
    sizes = (nodes[:, 1] - nodes[:, 0])[nodes[:, 2] != 0]
    if (sizes < 0).any() or int(sizes.sum()) != count:
        raise IntegrityError("step 'nearest' has a tree whose leaves do not share out its points")
    listed: list[Any] = [(start, end, bool(leaf)) for start, end, leaf in nodes.tolist()]
    low, high = (np.ascontiguousarray(each.T) for each in bounds)
    return _Tree(order.tolist(), listed, low, high)
