"""Boosted trees: the step `trees`, a sum over trees from a base, each a path of tests to a leaf.

    at a split    feature, threshold        left if x[feature] <= threshold, else right
                  missing_left              where NaN goes
                  category, sets            left if the bit x[feature] of the set is 1; no threshold then
    at a leaf     feature -1, value

Trees are rounds of one tree an output: tree t adds to output t % outputs, in this order, starting at ``base``.
The order is kept: sums of floats depend on it, and scikit-learn adds tree by tree.
"""

from typing import Final, NamedTuple

import numpy as np

from mlshared.errors import IntegrityError
from mlshared.plan._step import Array, Compiled, Shape, Step, indices, only

MAX_DEPTH: Final = 1000  # a chain of a million splits would take seconds a row
MAX_SET: Final = 1 << 17  # categories; each is a state of its own where a row is answered by masks
_CELLS: Final = 1 << 19  # rows times trees walked at once
_FULL_LEVELS: Final = 6  # further down, most have come to a leaf, and only the others are walked on


class Nodes(NamedTuple):
    """The nodes of all trees, checked; indices are copies, for a mapped file may change after the check.

    Attributes:
        roots: (trees,) int64.
        feature: (nodes,) int64, 0 at leaves.
        threshold: (nodes,) float64.
        left: (nodes,) int64, the node itself at leaves.
        right: As ``left``.
        value: (nodes,), float64 or float32.
        missing_left: (nodes,) bool.
        category: (nodes,) int64, the set tested at a split, -1 where it is a threshold.
        sets: (sets, words) uint32; bit b of a set is bit b % 32 of its word b // 32.
        base: (outputs,), of the dtype of ``value``.
        levels: The nodes at each depth, the roots first.
    """

    roots: Array
    feature: Array
    threshold: Array
    left: Array
    right: Array
    value: Array
    missing_left: Array
    category: Array
    sets: Array
    base: Array
    levels: tuple[Array, ...]

    def leaves(self) -> Array:
        """Return which nodes are leaves, (nodes,) bool."""
        return np.asarray(self.left == np.arange(len(self.left)))

    def goes_left(self, at: Array, values: Array, *, missing: bool = True) -> Array:
        """Return whether ``values`` go left at the splits ``at``, whose shapes broadcast.

        Args:
            at: Nodes.
            values: What they test.
            missing: Whether any of the values may be NaN.
        """
        left = np.asarray(values <= self.threshold.take(at, mode="clip"))
        if len(self.sets):
            category = np.broadcast_to(self.category.take(at, mode="clip"), left.shape)
            listed = np.nonzero(category >= 0)
            left[listed] = self._listed(category[listed], np.broadcast_to(values, left.shape)[listed])
        if not missing:
            return left
        return np.where(np.isnan(values), self.missing_left.take(at, mode="clip"), left)

    def _listed(self, category: Array, values: Array) -> Array:
        size = 32 * self.sets.shape[1]
        # As a C cast to int does it: -0.5 is category 0, and what is outside of the set is not in it.
        inside = (values > -1) & (values < size)
        code = np.where(inside, values, 0).astype(np.int64)
        words = self.sets[category, code >> 5]
        return np.asarray(inside & ((words >> (code & 31).astype(np.uint32)) & 1).astype(np.bool_))


def trees(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Sum the leaves that a row comes to, from ``base``; ``dtype`` is that of the sum."""
    shape = only(step, inputs)
    nodes = checked(step, shape.width)
    outputs = len(nodes.base)
    rows = max(1, _CELLS // max(1, len(nodes.roots)))

    def run(x: Array) -> Array:
        parts = [_sums(nodes, x[start : start + rows]) for start in range(0, len(x), rows)]
        return np.concatenate(parts) if parts else np.empty((0, outputs), dtype=nodes.value.dtype)

    return Compiled(Shape("block", outputs, str(nodes.value.dtype)), run)


def checked(step: Step, width: int) -> Nodes:
    """Return the nodes of a step over ``width`` columns.

    Raises:
        IntegrityError: If they are no trees: an index out of range, a child not after its parent, a node that
            is the child of none or of two, a tree too deep.
    """
    dtype = step.choice("dtype", ("float64", "float32"))
    roots = step.array("roots", None, dtype="int32").astype(np.int64)
    feature = step.array("feature", None, dtype="int32").astype(np.int64)
    count = len(feature)
    left, right = (step.array(name, count, dtype="int32").astype(np.int64) for name in ("left", "right"))
    base = step.array("base", None, dtype=dtype).copy()
    if not len(base) or not len(roots) or len(roots) % len(base):
        raise IntegrityError("step 'trees': its trees are no rounds of one tree an output")
    leaf, own = feature < 0, np.arange(count)
    indices(step, "feature", np.where(leaf, 0, feature), width)
    _check_children(step, np.concatenate([roots, left[~leaf], right[~leaf]]), count)
    if (left[~leaf] <= own[~leaf]).any() or (right[~leaf] <= own[~leaf]).any():
        raise IntegrityError("step 'trees': a child stands before its parent")
    category, sets = _sets(step, count)
    nodes = Nodes(
        roots,
        np.where(leaf, 0, feature),
        step.array("threshold", count),
        np.where(leaf, own, left),
        np.where(leaf, own, right),
        step.array("value", count, dtype=dtype),
        step.array("missing_left", count, dtype="bool"),
        category,
        sets,
        base,
        (),
    )
    return _levelled(nodes)


def _check_children(step: Step, named: Array, count: int) -> None:
    """Check that each node is a root, or the child of one parent."""
    indices(step, "a child", named, count)
    if len(named) != count or (np.bincount(named, minlength=count) != 1).any():
        raise IntegrityError("step 'trees': a node has no parent, or two")


def _sets(step: Step, count: int) -> tuple[Array, Array]:
    if not step.has("sets"):
        return np.full(count, -1, dtype=np.int64), np.empty((0, 1), dtype=np.uint32)
    sets = step.array("sets", None, None, dtype="uint32")
    category = step.array("category", count, dtype="int32").astype(np.int64)
    if not 0 < sets.shape[1] <= MAX_SET // 32 or not len(sets):
        raise IntegrityError(f"step 'trees' has a set of no category, or of more than {MAX_SET:,}")
    indices(step, "category", np.maximum(category, 0), len(sets))
    return np.maximum(category, -1), sets


def _levelled(nodes: Nodes) -> Nodes:
    levels = [nodes.roots]
    leaf = nodes.leaves()
    while True:
        splits = levels[-1][~leaf[levels[-1]]]
        if not len(splits):
            break
        if len(levels) > MAX_DEPTH:
            raise IntegrityError(f"step 'trees': a tree is deeper than {MAX_DEPTH:,}")
        levels.append(np.concatenate([nodes.left[splits], nodes.right[splits]]))
    return nodes._replace(levels=tuple(levels))


def _sums(nodes: Nodes, x: Array) -> Array:
    at = np.repeat(nodes.roots[None, :], len(x), axis=0)
    starts = (np.arange(len(x)) * x.shape[1])[:, None]
    flat, missing = x.ravel(), bool(np.isnan(x).any())

    def below(at: Array, starts: Array) -> Array:
        values = flat.take(nodes.feature.take(at, mode="clip") + starts, mode="clip")
        left = nodes.goes_left(at, values, missing=missing)
        return np.where(left, nodes.left.take(at, mode="clip"), nodes.right.take(at, mode="clip"))

    for _ in nodes.levels[1 : 1 + _FULL_LEVELS]:
        at = below(at, starts)
    if len(nodes.levels) > 1 + _FULL_LEVELS:
        starts, at = np.repeat(starts, at.shape[1]), at.ravel()
        walking = np.flatnonzero(nodes.left.take(at, mode="clip") != at)
        for _ in nodes.levels[1 + _FULL_LEVELS :]:
            reached = at[walking] = below(at[walking], starts[walking])
            walking = walking[nodes.left.take(reached, mode="clip") != reached]
    found = nodes.value.take(at, mode="clip").reshape(len(x), -1, len(nodes.base))
    start = np.broadcast_to(nodes.base, (len(x), 1, len(nodes.base)))
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.concatenate([start, found], axis=1).cumsum(axis=1)[:, -1, :])
