"""Trees -> supernodes of four levels, as the step `forest` of a plan takes them.

    trees (left, right, feature, threshold, missing goes left, leaf values)  ->  `forest_arrays`

A supernode holds the 15 tests of four levels of one tree and the 16 children below them, so that a walk takes
a quarter of the rounds. They are laid out by level, over all trees at once: the roots first, then their
children.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mlshared.plan._step import Array

from ._block import Block

LEVELS: Final = 4
TESTS: Final = 2**LEVELS
_LEAF: Final = -1
_NOTHING: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class FlatTree:
    """One fitted tree; arrays of shape (nodes,) unless said otherwise.

    Attributes:
        left: Child where the value is <= the threshold, -1 at a leaf.
        right: Child where it is greater.
        feature: Column tested.
        threshold: float64; scikit-learn compares a float32 value with it.
        missing_left: Whether NaN goes left.
        values: What a leaf answers, float64 of shape (nodes, outputs); that of inner nodes is not read.
    """

    left: Array
    right: Array
    feature: Array
    threshold: Array
    missing_left: Array
    values: Array


def summed(
    x: Block, trees: Sequence[FlatTree], *, missing: bool, divide: float = 1.0, each: bool = False
) -> Block:
    """Return the sum of the trees' answers, in their order, divided.

    Args:
        x: The columns they were fitted on, float32 and checked.
        trees: At least one.
        missing: Whether NaN can arrive.
        divide: By what.
        each: Give the answers, of one number each, one by one.
    """
    arrays, copies = forest_arrays(trees, x.width, missing=missing)
    names = [None] * (len(trees) if each else trees[0].values.shape[1])
    return x.apply("forest", names=names, arrays=arrays, copies=copies, divide=divide, each=each)


def forest_arrays(trees: Sequence[FlatTree], width: int, *, missing: bool) -> tuple[dict[str, Array], int]:
    """Return the tensors of a step `forest` and how many copies of the columns it tests.

    Args:
        trees: In the order in which they are summed.
        width: How many columns the trees were fitted on.
        missing: Whether NaN can arrive; if not, which way it goes is not kept.
    """
    nodes = _joined(trees)
    copies = _route_missing(nodes, width) if missing else 1
    leaves = np.flatnonzero(nodes.left == _LEAF)
    leaf_number = np.zeros(len(nodes.left), dtype=np.int64)
    leaf_number[leaves], values = _distinct(nodes.values[leaves])
    roots = np.cumsum([0, *(len(tree.left) for tree in trees)])[:-1]
    features, thresholds, children, levels = _supernodes(nodes, roots, leaf_number)
    dtype = np.uint8 if width * copies <= 2**8 else np.uint16 if width * copies <= 2**16 else np.int32
    arrays = {
        "feature": features.astype(dtype),
        "threshold": thresholds,
        "child": children,
        "level": np.array(levels, dtype=np.int64),
        "value": values,
    }
    return arrays, copies


def floored(thresholds: Array) -> Array:
    """Return the largest float32 <= each float64 threshold: a float32 is <= the one iff <= the other."""
    with np.errstate(over="ignore"):
        rounded = thresholds.astype(np.float32)
        return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _joined(trees: Sequence[FlatTree]) -> FlatTree:
    """Return all trees as one, children renumbered."""
    starts = np.cumsum([0, *(len(tree.left) for tree in trees)])

    def moved(side: str) -> Array:
        children = [(getattr(tree, side), start) for tree, start in zip(trees, starts, strict=False)]
        return np.concatenate([np.where(child < 0, _LEAF, child + start) for child, start in children])

    def whole(name: str) -> Any:
        return np.concatenate([getattr(tree, name) for tree in trees])

    return FlatTree(
        moved("left"),
        moved("right"),
        whole("feature"),
        floored(whole("threshold")),
        whole("missing_left"),
        whole("values"),
    )


def _route_missing(nodes: FlatTree, width: int) -> int:
    """Point tests that send NaN right at a copy of the columns where NaN is infinite; return how many copies.

    Where the threshold is infinite itself, only NaN goes right: that takes a third copy, 1 where NaN.
    """
    right = (nodes.left != _LEAF) & ~nodes.missing_left.astype(np.bool_)
    alone = right & (nodes.threshold == np.inf)
    nodes.feature[right] += width
    nodes.feature[alone] += width
    nodes.threshold[alone] = 0.5
    return 3 if alone.any() else 2 if right.any() else 1


def _supernodes(nodes: FlatTree, roots: Array, leaf_number: Array) -> tuple[Array, Array, Array, list[int]]:
    """Return features, thresholds, children, each (supernodes, 16), and the supernodes of each level."""
    features, thresholds, below, levels = [], [], [], []
    frontier = roots
    while len(frontier):
        feature = np.zeros((len(frontier), TESTS), dtype=np.int64)
        threshold = np.full((len(frontier), TESTS), np.inf, dtype=np.float32)
        slots = frontier[:, None]
        for level in range(LEVELS):
            inner = (slots != _NOTHING) & (nodes.left[slots] != _LEAF)
            tests = slice(2**level - 1, 2 ** (level + 1) - 1)
            feature[:, tests] = np.where(inner, nodes.feature[slots], 0)
            threshold[:, tests] = np.where(inner, nodes.threshold[slots], np.inf)
            # A leaf stays where it is: nothing is greater than infinity, so that the walk keeps left.
            pair = [np.where(inner, nodes.left[slots], slots), np.where(inner, nodes.right[slots], _NOTHING)]
            slots = np.stack(pair, axis=2).reshape(len(frontier), -1)
        features.append(feature)
        thresholds.append(threshold)
        below.append(slots)
        levels.append(len(frontier))
        frontier = slots[(slots != _NOTHING) & (nodes.left[slots] != _LEAF)]
    return (
        np.concatenate(features),
        np.concatenate(thresholds),
        _numbered(np.concatenate(below), nodes, leaf_number, levels),
        levels,
    )


def _numbered(below: Array, nodes: FlatTree, leaf_number: Array, levels: list[int]) -> Array:
    """Return children as the step reads them: supernodes in order, then one for nothing, then leaf values."""
    count = sum(levels)
    children = np.full((count + 1, TESTS), count, dtype=np.int32)
    numbered = children[:count]
    leaf = (below != _NOTHING) & (nodes.left[below] == _LEAF)
    numbered[leaf] = count + 1 + leaf_number[below[leaf]]
    inner = (below != _NOTHING) & ~leaf
    numbered[inner] = np.arange(levels[0], count)
    return children


def _distinct(values: Array) -> tuple[Array, Array]:
    """Return which of the distinct rows each row is, by their bits, and those rows."""
    codes = np.zeros(len(values), dtype=np.int64)
    for column in np.ascontiguousarray(values.T).view(np.int64):
        _, code = np.unique(column, return_inverse=True)
        _, codes = np.unique(codes * (int(code.max()) + 1) + code, return_inverse=True)
    _, first = np.unique(codes, return_index=True)
    return codes, np.ascontiguousarray(values[first])
