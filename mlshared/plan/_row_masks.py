"""One row through trees of tens or hundreds of leaves, by leaf masks: no path is walked.

    field   ->  which of its states the value is in      one bisection or one dict lookup
    state   ->  of each tree, the leaves still possible  a row of bit masks, made at load
    rows    ->  bitwise and                              the highest bit left of a tree is its leaf
    leaves  ->  values, added up from the base           in the order of the definition

A state of a number is an interval of raw values within which no test changes: thresholds are moved back
through scaling and imputation to the last bit, so that no preprocessing is left to do. Source of the masks:
QuickScorer, Lucchese et al., SIGIR 2015, https://doi.org/10.1145/2766462.2767733; there a row is scanned
feature by feature, here each field's scan is looked up.

The base is a tree of two leaves before the others. A state that the definition refuses leads to its other
leaf, NaN, and such a row is left to the definition to refuse.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np

from mlshared.plan._program import Output, Program
from mlshared.plan._row_scores import Follow
from mlshared.plan._row_states import CodeStates, NumberStates, States, states
from mlshared.plan._row_tail import followed
from mlshared.plan._step import Array
from mlshared.plan._trees import Nodes, checked

Row = Mapping[str, Any]
Answer = Callable[[Row], Any]

MAX_WORDS: Final = 8  # a tree; beyond that, walking is as quick
_BITS: Final = 64
MAX_TABLE: Final = 1 << 25  # bytes; wider ones are walked
MAX_VALUES: Final = 1 << 23  # of leaves, with a place for each there could be
_MAX_TESTS: Final = 1 << 25  # states times splits, while the table is made
_CELLS: Final = 1 << 18  # of those at once
_DTYPES: Final = ((8, np.uint8), (16, np.uint16), (32, np.uint32), (64, np.uint64))
_BIAS: Final = 1023  # of a float64's exponent


class _Masks(NamedTuple):
    """What finds the leaves of a row.

    Attributes:
        places: Row -> the place of each field's state in the table.
        take: Of the table of masks.
        values: Masks -> values of their leaves, the bases first.
        outputs: How many sums.
        last: The place of the last value.
    """

    places: Callable[[Row], list[int]]
    take: Callable[..., Array]
    values: Callable[[Array], Array]
    outputs: int
    last: int


def masked_row(program: Program, output: Output, otherwise: Answer, shared: dict[Any, Any]) -> Answer | None:
    """Return a function of one checked row, or None if the output is no such model.

    Args:
        program: The plan's.
        output: How the method is answered.
        otherwise: Answers a row by the definition.
        shared: Where the masks are kept for the other methods of the plan.
    """
    found = followed(program, output, "trees")
    if found is None:
        return None
    number, follow = found
    key = ("masks", number)
    if key not in shared:
        shared[key] = _masks(program, number)
    masks = shared[key]
    return None if masks is None else _answering(masks, follow, otherwise)


def _answering(masks: _Masks, follow: Follow, otherwise: Answer) -> Answer:
    places, take, values, outputs, last = masks.places, masks.take, masks.values, masks.outputs, masks.last
    both, add = np.bitwise_and.reduce, np.add.accumulate
    if outputs == 1:

        def answer(row: Row) -> Any:
            z = add(values(both(take(places(row), 0, None, "clip"), 0))).item(last)
            return follow(z) if z == z else otherwise(row)  # noqa: PLR0124 - NaN alone differs from itself

        return answer

    def answers(row: Row) -> Any:
        found = values(both(take(places(row), 0, None, "clip"), 0))
        scores = add(found.reshape(-1, outputs))[-1].tolist()
        return follow(scores) if scores[0] == scores[0] else otherwise(row)

    return answers


def _masks(program: Program, number: int) -> _Masks | None:
    before = program.steps[number].inputs[0]
    nodes = checked(program.steps[number], program.compiled[before].shape.width)
    if not np.isfinite(nodes.value).all() or not np.isfinite(nodes.base).all():
        return None  # NaN is the mark of a refused row
    leaves = _Leaves(nodes)
    if leaves.words > MAX_WORDS or _distinct(nodes) * leaves.size > 4 * MAX_TABLE:
        return None
    if leaves.columns * leaves.places > MAX_VALUES:
        return None
    fields = states(program, before, nodes)
    if not fields or not _fits(fields, leaves, nodes):
        return None
    table = _table(fields, leaves, nodes)
    return _Masks(_places(fields), table.take, _values(leaves, nodes), leaves.outputs, leaves.columns - 1)


class _Leaves:
    """Which leaves are under each node: an interval of the tree's leaves, numbered from left to right.

    A tree of more than 64 leaves takes several words. The lowest bit of each then stands for a leaf in another
    word and has the value 0, so that their sum is the tree's.

    Attributes:
        tree: The tree of each node, (nodes,) int64.
        first: The first leaf under each node.
        count: How many are under it.
        words: How many words a tree takes.
        dtype: Of a word: unsigned, of as many bits as needed.
        outputs: How many sums; as many words of bases stand before those of the trees.
        columns: How many words there are in all.
    """

    def __init__(self, nodes: Nodes) -> None:
        total = len(nodes.feature)
        self.tree, self.first, self.count = (np.zeros(total, dtype=np.int64) for _ in range(3))
        self.tree[nodes.roots] = np.arange(len(nodes.roots))
        leaf = nodes.leaves()
        self.count[leaf] = 1
        for level in reversed(nodes.levels):
            at = level[~leaf[level]]
            self.count[at] = self.count[nodes.left[at]] + self.count[nodes.right[at]]
        for level in nodes.levels:
            at = level[~leaf[level]]
            left, right = nodes.left[at], nodes.right[at]
            self.tree[left] = self.tree[right] = self.tree[at]
            self.first[left] = self.first[at]
            self.first[right] = self.first[at] + self.count[left]
        most = int(self.count.max())
        self.words = 1 if most <= _BITS else -(-most // (_BITS - 1))
        self.dtype = next((dtype for bits, dtype in _DTYPES if most <= bits), np.uint64)
        self.outputs = len(nodes.base)
        self.columns = self.outputs + len(nodes.roots) * self.words

    @property
    def places(self) -> int:
        """How many values a word can tell apart, as they are looked up."""
        return 256 if self.dtype is np.uint8 else _BITS

    @property
    def size(self) -> int:
        """Bytes of one state's masks."""
        return self.columns * np.dtype(self.dtype).itemsize

    def mask(self, at: Array, word: int) -> Array:
        """Return the leaves under nodes as bits of a word of their trees."""
        if self.words == 1:
            ones = np.uint64(2**64 - 1) >> (_BITS - self.count[at]).astype(np.uint64)
            return (ones << self.first[at].astype(np.uint64)).astype(self.dtype)
        low, high = (
            np.clip(bound - (_BITS - 1) * word, 0, _BITS - 1).astype(np.uint64)
            for bound in (self.first[at], self.first[at] + self.count[at])
        )
        one = np.uint64(1)
        return ((one << (high - low)) - one) << (low + one)

    def column(self, tree: Array, word: Any) -> Array:
        """Return where a word of a tree stands: round by round, so that sums are in order."""
        rounds, output = tree // self.outputs, tree % self.outputs
        return np.asarray(self.outputs + (rounds * self.words + word) * self.outputs + output)

    def bit(self, leaf: Array) -> tuple[Array, Array]:
        """Return the word and the bit of leaves."""
        first = self.first[leaf]
        if self.words == 1:
            return np.zeros_like(first), first
        return first // (_BITS - 1), first % (_BITS - 1) + 1


def _distinct(nodes: Nodes) -> int:
    """Return how many tests there are that differ: about as many as states, which take longer to find."""
    split = ~nodes.leaves()
    feature, threshold = nodes.feature[split], nodes.threshold[split]
    order = np.lexsort((threshold, feature))
    feature, threshold = feature[order], threshold[order]
    return 1 + int(((feature[1:] != feature[:-1]) | (threshold[1:] != threshold[:-1])).sum())


def _fits(fields: list[States], leaves: _Leaves, nodes: Nodes) -> bool:
    rows = sum(field.count for field in fields)
    tests = np.bincount(nodes.feature[~nodes.leaves()], minlength=1 + int(nodes.feature.max()))
    work = sum(field.count * int(tests[column]) for field in fields for column in field.values)
    return rows * leaves.size <= MAX_TABLE and work * leaves.words <= _MAX_TESTS


def _table(fields: list[States], leaves: _Leaves, nodes: Nodes) -> Array:
    """Return the masks, (states of all fields, columns)."""
    whole = np.zeros(leaves.columns, dtype=leaves.dtype)
    for word in range(leaves.words):
        mask = leaves.mask(nodes.roots, word)
        whole[leaves.column(leaves.tree[nodes.roots], word)] = (
            mask if leaves.words == 1 else mask | np.uint64(1)
        )
    table = np.empty((sum(field.count for field in fields), leaves.columns), dtype=leaves.dtype)
    table[:] = whole
    start = 0
    for field in fields:
        part = table[start : start + field.count]
        part[:, : leaves.outputs] = np.where(field.accepted, 3, 1)[:, None]
        for column, values in field.values.items():
            _narrow(part, column, values, leaves, nodes)
        start += field.count
    return table


def _narrow(part: Array, column: int, values: Array, leaves: _Leaves, nodes: Nodes) -> None:
    """Take from the masks of a field's states the leaves that the tests on one column exclude."""
    every = np.flatnonzero(~nodes.leaves() & (nodes.feature == column))
    every = every[np.argsort(leaves.tree[every], kind="stable")]
    some = max(1, _CELLS // len(values))
    for begin in range(0, len(every), some):
        at = every[begin : begin + some]
        left = nodes.goes_left(at[None, :], values[:, None])
        trees, starts = np.unique(leaves.tree[at], return_index=True)
        for word in range(leaves.words):
            rest = (~leaves.mask(nodes.right[at], word), ~leaves.mask(nodes.left[at], word))
            kept = np.bitwise_and.reduceat(np.where(left, *rest), starts, axis=1)
            part[:, leaves.column(trees, word)] &= kept


def _values(leaves: _Leaves, nodes: Nodes) -> Callable[[Array], Array]:
    """Return a function of masks, (columns,), that gives the value of the highest bit of each."""
    byte, size = leaves.dtype is np.uint8, leaves.places
    table = np.zeros((leaves.columns, size), dtype=nodes.value.dtype)
    at = np.flatnonzero(nodes.leaves())
    word, bit = leaves.bit(at)
    table[: leaves.outputs, 1 if byte else 0] = np.nan
    table[: leaves.outputs, 3 if byte else 1] = nodes.base
    table[leaves.column(leaves.tree[at], word), 1 << bit if byte else bit] = nodes.value[at]
    take = table.ravel().take
    firsts = np.arange(len(table), dtype=np.int64) * size
    if byte:  # few enough masks to look up themselves
        return lambda masks: take(masks + firsts, None, None, "clip")
    firsts -= _BIAS
    shift = np.array(52)  # an array, for numpy takes longer with a Python int

    def exponents(masks: Array) -> Array:
        place = masks.astype(np.float64).view(np.int64)  # this call's own
        place >>= shift
        place += firsts
        return take(place, None, None, "clip")

    return exponents


def _places(fields: list[States]) -> Callable[[Row], list[int]]:
    """Return a function of a row that gives the place of each field's state in the table."""
    numbers, codes, start = [], [], 0
    for field in fields:
        if isinstance(field, NumberStates):
            numbers.append((field.name, field.cuts, start, start + field.missing))
        elif isinstance(field, CodeStates):
            placed = {value: start + state for value, state in field.codes.items()}
            codes.append((field.name, placed.get, start + field.unknown))
        start += field.count

    def places(row: Row) -> list[int]:
        found = [
            missing if (x := row[name]) is None else bisect_left(cuts, x) + first
            for name, cuts, first, missing in numbers
        ]
        found += [state(row[name], unknown) for name, state, unknown in codes]
        return found

    return places
