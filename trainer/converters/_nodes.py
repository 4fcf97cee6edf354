"""Trees of any library as the arrays of the step `trees`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlshared.plan._step import Array

from ._block import Block


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """One tree; node 0 is its root.

    Attributes:
        feature: (nodes,) int, -1 at leaves.
        threshold: (nodes,) float64; a value goes left where it is <=.
        left: (nodes,) int.
        right: (nodes,) int.
        value: (nodes,), of leaves.
        missing_left: (nodes,) bool.
        category: (nodes,) int, the set of categories that go left, -1 where it is a threshold.
        sets: (sets, words) uint32.
    """

    feature: Array
    threshold: Array
    left: Array
    right: Array
    value: Array
    missing_left: Array
    category: Array | None = None
    sets: Array | None = None


def summed(x: Block, trees: Sequence[Tree], base: Any) -> Block:
    """Return the sum of trees from ``base`` (outputs,), whose dtype is that of the sum.

    Args:
        x: What they test.
        trees: Rounds of one tree an output.
        base: Where each sum starts.
    """
    base = np.atleast_1d(base)
    parts = [_ordered(tree) for tree in trees]
    starts = np.cumsum([0, *(len(part["feature"]) for part in parts)])[:-1]
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    shift = np.repeat(starts, [len(part["feature"]) for part in parts])
    split = arrays["feature"] >= 0
    for side in ("left", "right"):
        arrays[side] = np.where(split, arrays[side] + shift, 0).astype(np.int32)
    arrays["value"] = np.where(split, 0, arrays["value"]).astype(base.dtype)
    arrays["feature"] = arrays["feature"].astype(np.int32)
    arrays |= {"roots": starts.astype(np.int32), "base": base}
    sets = [np.empty((0, 1), dtype=np.uint32) if tree.sets is None else tree.sets for tree in trees]
    if any(len(each) for each in sets):
        arrays |= _sets(sets, [part["category"] for part in parts])
    else:
        del arrays["category"]
    return x.apply("trees", names=[None] * len(base), arrays=arrays, dtype=str(base.dtype))


def _ordered(tree: Tree) -> dict[str, Array]:
    """Return a tree's arrays with every child after its parent, and nothing that no path leads to."""
    order = [0]
    feature, left, right = tree.feature.tolist(), tree.left.tolist(), tree.right.tolist()
    for node in order:  # grows while it is read: breadth first
        if feature[node] >= 0:
            order += [left[node], right[node]]
    kept = np.array(order, dtype=np.int64)
    place = np.zeros(len(feature), dtype=np.int64)
    place[kept] = np.arange(len(kept))
    split = tree.feature[kept] >= 0
    category = np.full(len(feature), -1) if tree.category is None else tree.category
    return {
        "feature": np.where(split, tree.feature[kept], -1),
        "threshold": np.where(split, tree.threshold[kept], 0.0).astype(np.float64),
        "left": np.where(split, place[np.where(split, tree.left[kept], 0)], 0),
        "right": np.where(split, place[np.where(split, tree.right[kept], 0)], 0),
        "value": tree.value[kept],
        "missing_left": tree.missing_left[kept].astype(np.bool_) & split,
        "category": np.where(split, category[kept], -1),
    }


def _sets(sets: Sequence[Array], categories: Sequence[Array]) -> dict[str, Array]:
    """Return the sets of all trees, as wide as the widest, and each node's among them."""
    words = max(each.shape[1] for each in sets)
    firsts = np.cumsum([0, *(len(each) for each in sets)])
    shifted = [np.where(own < 0, -1, own + first) for own, first in zip(categories, firsts, strict=False)]
    padded = [np.pad(each, ((0, 0), (0, words - each.shape[1]))) for each in sets]
    return {
        "category": np.concatenate(shifted).astype(np.int32),
        "sets": np.concatenate(padded).astype(np.uint32),
    }
