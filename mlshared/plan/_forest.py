"""The step `forest`: the sum of deep trees, walked four levels at a time.

A supernode holds 15 tests, in the order of a heap, of one tree: a column each and a threshold, greater than
which is right. The tests of all trees are packed to bits and looked up in a table: which of the 16 children
comes next. Supernodes lie by level, the roots first, and children in a later level than their parent: no walk
is longer than there are levels.

    feature    (n, 16) uint8, uint16 or int32     columns; the 16th is not used
    threshold  (n, 16) float32                    the largest <= scikit-learn's; infinity: always left
    child      (n + 1, 16) int32                  < n a supernode, n nothing, above it n + 1 + leaf
    level      (levels,) int64                    supernodes of each level; of the first: trees
    value      (leaves, outputs) float64          distinct answers of leaves

`copies` says where NaN goes. Its test reads the column itself and NaN goes left; or a second copy of the
columns, in which NaN is infinite, and it goes right; or a third, 1 where NaN, and it alone goes right.
The arrays are used as they are, mapped or not. They may change after the check: every `take` clips.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from mlshared._breath import breathe
from mlshared.errors import IntegrityError
from mlshared.plan._step import MAX_WIDTH, Array, Compiled, Shape, Step, indices, only

MAX_LEVELS: Final = 4096
MAX_NODES: Final = 2**26  # 16 children each, numbered in int32
FEW_TREES: Final = 5  # so many are walked faster in Python, one by one
TESTS: Final = 16
FEW_ROWS: Final = 256
_CHUNK: Final = 2**17  # trees walked at once
_SMALL_CHUNK: Final = 2**10


def forest(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Sum the answers of trees, in their order, and divide by ``divide``; float32 columns.

    With ``each``, give what each tree answers, which is one number, instead.
    """
    shape = only(step, inputs)
    if shape.dtype != "float32":
        raise IntegrityError("step 'forest' takes float32")
    built = Forest(step, shape.width)
    return Compiled(Shape("block", built.outputs), built)


class Forest:
    """A checked forest; called with a block (n, width) of float32, it answers (n, outputs).

    Args:
        step: As in the file.
        width: Of its input.
    """

    def __init__(self, step: Step, width: int) -> None:
        self.copies = int(step.number("copies", low=1, high=3))
        self.divide = float(step.number("divide", low=1e-300, high=1e300))
        self.width = width * self.copies
        self.threshold = step.array("threshold", None, TESTS, dtype="float32")
        self.count = len(self.threshold)
        self.feature = _features(step, self.count, self.width)
        self.value = step.array("value", None, None)
        self.each = step.params.get("each") is True
        children = step.array("child", self.count + 1, TESTS, dtype="int32")
        levels = step.array("level", None, dtype="int64").tolist()
        if not self.value.size or self.value.shape[1] > (1 if self.each else MAX_WIDTH):
            raise IntegrityError("step 'forest' has no leaves of that kind")
        _check_children(children, levels, self.count, len(self.value))
        self.child = children.reshape(-1)
        self.trees, self.rounds = levels[0], len(levels)
        self.outputs = self.trees if self.each else self.value.shape[1]
        self._first_feature = self.feature[: self.trees].astype(np.intp)
        self._first_threshold = self.threshold[: self.trees]
        self._first_child = np.arange(self.trees) * TESTS
        # Two outputs are the two parts of one complex number, summed in half the time.
        two = self.value.shape[1] == 2
        self._pairs = np.ascontiguousarray(self.value).view(np.complex128)[:, 0] if two else None

    @property
    def row(self) -> Callable[[Array], Array]:
        """What answers one row, spread, shape (width,): its answer has the shape (outputs,)."""
        return self._few if self.trees <= FEW_TREES else self._many

    def __call__(self, x: Array) -> Array:
        """Return the answers to n rows, shape (n, outputs)."""
        x = spread(x, self.copies)
        if len(x) == 1:
            return self.row(x[0])[None, :]
        total = np.zeros((len(x), self.outputs))
        # Of what a self-test takes at once the process keeps the memory; a table is worth it.
        size = max(1, (_SMALL_CHUNK if len(x) <= FEW_ROWS else _CHUNK) // self.trees)
        for start in range(0, len(x), size):
            leaves = self._leaves(x[start : start + size])
            part = total[start : start + size]
            if self.each:
                part[:] = self.value[:, 0].take(leaves, mode="clip")
                continue
            for leaf in leaves.T:
                part += self.value.take(leaf, 0, mode="clip")
        return total / self.divide

    def _leaves(self, x: Array) -> Array:
        """Return the leaf that each row reaches in each tree, shape (n, trees)."""
        flat = np.ascontiguousarray(x).reshape(-1)
        node = np.tile(np.arange(self.trees), len(x))
        start = np.repeat(np.arange(len(x)) * x.shape[1], self.trees)[:, None]
        found = np.zeros(len(node), dtype=np.intp)
        walking = np.arange(len(node))
        for _ in range(self.rounds):
            breathe()
            columns = self.feature.take(node, 0, mode="clip") + start
            right = flat.take(columns, mode="clip") > self.threshold.take(node, 0, mode="clip")
            bits = np.packbits(right, bitorder="little").view(_BITS).astype(np.intp)
            node = self.child.take(node * TESTS + _SLOT.take(bits, mode="clip"), mode="clip")
            ended = node >= self.count
            found[walking[ended]] = node[ended] - (self.count + 1)
            on = ~ended
            node, start, walking = node[on], start[on], walking[on]
        return found.reshape(len(x), self.trees)

    def _many(self, x: Array) -> Array:
        """Return the answer to one row, spread, shape (outputs,): all trees at once, in rounds.

        A tree that reached its leaf goes on at the child "nothing", which is smaller than any leaf.
        """
        feature, threshold, child, count = self.feature, self.threshold, self.child, self.count
        right = x.take(self._first_feature, None, None, "clip") > self._first_threshold
        bits = np.packbits(right, None, "little").view(_BITS).astype(np.intp)
        node = child.take(self._first_child + _SLOT.take(bits, None, None, "clip"), None, None, "clip")
        # Indices as intp: `take` converts any other itself, and three times as slowly.
        found = node = node.astype(np.intp)
        for number in range(1, self.rounds):
            columns = feature.take(node, 0, None, "clip").astype(np.intp)
            right = x.take(columns, None, None, "clip") > threshold.take(node, 0, None, "clip")
            bits = np.packbits(right, None, "little").view(_BITS).astype(np.intp)
            place = node * TESTS
            place += _SLOT.take(bits, None, None, "clip")
            node = child.take(place, None, None, "clip").astype(np.intp)
            found = np.maximum(found, node)
            if number == 1 or number + 1 == self.rounds:
                continue
            walking = (found <= count).nonzero()[0].tolist()
            if len(walking) <= FEW_TREES:
                for tree in walking:
                    found[tree] = self._down(x.data, int(node[tree]), self.rounds)
                break
        return self._summed(found - (count + 1))

    def _few(self, x: Array) -> Array:
        """Return the same, one tree after the other."""
        ends = [self._down(x.data, tree, self.rounds) for tree in range(self.trees)]
        return self._summed(np.array(ends) - (self.count + 1))

    def _down(self, x: Any, node: int, rounds: int) -> int:
        """Return where the walk of one tree ends that has come to a supernode."""
        for _ in range(rounds):
            if node >= self.count:
                break
            features, thresholds = self.feature[node].tolist(), self.threshold[node].tolist()
            test = 0
            while test < TESTS - 1:
                test += test + 1 + (x[features[test]] > thresholds[test])
            node = int(self.child[node * TESTS + test - (TESTS - 1)])
        return node

    def _summed(self, leaves: Array) -> Array:
        """Return the sum of the leaves' values, in their order: numpy would sum a single column in pairs."""
        if self._pairs is not None:
            total = np.add.accumulate(self._pairs.take(leaves, None, None, "clip"))[-1:]
            return np.asarray(total.view(np.float64) / self.divide)
        answers = self.value.take(leaves, 0, None, "clip")
        if self.each:
            return np.asarray(answers[:, 0] / self.divide)
        if self.outputs == 1:
            return np.asarray(answers.cumsum()[-1:] / self.divide)
        return np.asarray(np.add.reduce(answers, 0) / self.divide)


def spread(x: Array, copies: int) -> Array:
    """Return the columns and their copies, shape (..., width * copies)."""
    if copies == 1:
        return x
    absent = np.isnan(x)
    made = (x, np.where(absent, np.float32(np.inf), x), absent.astype(np.float32))
    return np.concatenate(made[:copies], axis=-1)


def _features(step: Step, count: int, width: int) -> Array:
    found = step.arrays.get("feature")
    dtype = str(found.dtype) if found is not None else "uint8"
    if dtype not in {"uint8", "uint16", "int32"}:
        raise IntegrityError(f"step 'forest' has features of {dtype}")
    feature = step.array("feature", count, TESTS, dtype=dtype)
    return indices(step, "feature", feature, width)


def _check_children(child: Array, levels: list[int], count: int, leaves: int) -> None:
    """Check that all children are in range, each in a later level than its parent: no walk turns back."""
    if not 0 < len(levels) <= MAX_LEVELS or min(levels) < 1 or sum(levels) != count:
        raise IntegrityError("step 'forest': its levels do not add up")
    if count + leaves > MAX_NODES:
        raise IntegrityError("step 'forest' is too large")
    start = 0
    for size in levels:
        end = start + size
        if int(child[start:end].min()) < end:
            raise IntegrityError("step 'forest': a child does not come after its parent")
        start = end
    if int(child.max()) > count + leaves or not bool((child[count] == count).all()):
        raise IntegrityError("step 'forest': a child points outside")


def _slots() -> Any:
    """Return which of the 16 children comes next, for each outcome of 15 tests as bits."""
    outcome = np.arange(2 ** (TESTS - 1))
    test = np.zeros_like(outcome)
    for _ in range(4):
        test += test + 1 + ((outcome >> test) & 1)
    return (test - (TESTS - 1)).astype(np.intp)


_BITS: Final = np.dtype("<u2")
_SLOT: Final = _slots()
