"""One row through trees of at most 64 leaves, by leaf masks: no path is walked.

    field   ->  which of its states the value is in      one bisection or one dict lookup
    state   ->  of each tree, the leaves still possible  a row of bit masks, made at load
    rows    ->  bitwise and                              one bit is left a tree: its leaf
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
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from mlshared.plan._program import Output, Program
from mlshared.plan._row_states import CodeStates, NumberStates, States, states
from mlshared.plan._row_tail import Follow, followed
from mlshared.plan._step import Array
from mlshared.plan._trees import Nodes, checked

Row = Mapping[str, Any]
Answer = Callable[[Row], Any]

MAX_LEAVES: Final = 64
MAX_TABLE: Final = 1 << 25  # bytes; wider ones are walked
_MAX_TESTS: Final = 1 << 26  # states times splits, while the table is made
_DTYPES: Final = ((8, np.uint8), (16, np.uint16), (32, np.uint32), (64, np.uint64))
_BIAS: Final = 1023  # of a float64's exponent


@dataclass(frozen=True, slots=True, eq=False)
class _Masks:
    """What finds the leaves of a row.

    Attributes:
        places: Row -> the place of each field's state in the table.
        take: Of the table of masks.
        values: Masks of one bit each -> values of their leaves, the bases first.
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
    if leaves.most > MAX_LEAVES:
        return None
    fields = states(program, before, nodes)
    if not fields or not _fits(fields, leaves, nodes):
        return None
    table = _table(fields, leaves, nodes)
    return _Masks(_places(fields), table.take, _values(leaves, nodes), len(nodes.base), table.shape[1] - 1)


class _Leaves:
    """Which leaves are under each node: an interval of the tree's leaves, numbered from left to right.

    Attributes:
        tree: The tree of each node, (nodes,) int64.
        first: The first leaf under each node.
        count: How many are under it.
        most: How many a tree has at most.
        dtype: Unsigned, of that many bits.
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
        self.most = int(self.count.max())
        self.dtype = next((dtype for most, dtype in _DTYPES if self.most <= most), np.uint64)

    def mask(self, at: Array) -> Array:
        """Return the leaves under nodes as bits."""
        ones = np.uint64(2**64 - 1) >> (64 - self.count[at]).astype(np.uint64)
        return (ones << self.first[at].astype(np.uint64)).astype(self.dtype)


def _fits(fields: list[States], leaves: _Leaves, nodes: Nodes) -> bool:
    rows = sum(field.count for field in fields)
    tests = sum(
        field.count * int((nodes.feature == column).sum()) for field in fields for column in field.values
    )
    columns = len(nodes.roots) + len(nodes.base)
    return rows * columns * np.dtype(leaves.dtype).itemsize <= MAX_TABLE and tests <= _MAX_TESTS


def _table(fields: list[States], leaves: _Leaves, nodes: Nodes) -> Array:
    """Return the masks, (states of all fields, outputs + trees)."""
    outputs = len(nodes.base)
    whole = leaves.mask(nodes.roots)
    parts = []
    for field in fields:
        part = np.empty((field.count, outputs + len(whole)), dtype=leaves.dtype)
        part[:, :outputs] = np.where(field.accepted, 3, 1)[:, None]
        part[:, outputs:] = whole
        _narrow(part[:, outputs:], field, leaves, nodes)
        parts.append(part)
    return np.concatenate(parts)


def _narrow(part: Array, field: States, leaves: _Leaves, nodes: Nodes) -> None:
    """Take from the masks of a field's states the leaves that its tests exclude."""
    split = ~nodes.leaves()
    kept, trees = [], []
    for column, values in field.values.items():
        at = np.flatnonzero(split & (nodes.feature == column))
        if len(at):
            left = nodes.goes_left(at[None, :], values[:, None])
            kept.append(np.where(left, ~leaves.mask(nodes.right[at]), ~leaves.mask(nodes.left[at])))
            trees.append(leaves.tree[at])
    if not kept:
        return
    every, tree = np.concatenate(kept, axis=1), np.concatenate(trees)
    order = np.argsort(tree, kind="stable")
    found, starts = np.unique(tree[order], return_index=True)
    part[:, found] &= np.bitwise_and.reduceat(every[:, order], starts, axis=1)


def _values(leaves: _Leaves, nodes: Nodes) -> Callable[[Array], Array]:
    """Return a function of masks of one bit each, (outputs + trees,), that gives the values of their leaves."""
    outputs = len(nodes.base)
    size = 256 if leaves.dtype is np.uint8 else 64
    table = np.full((outputs + len(nodes.roots), size), np.nan, dtype=nodes.value.dtype)
    at = np.flatnonzero(nodes.leaves())
    byte = leaves.dtype is np.uint8
    table[: len(nodes.base), 3 if byte else 1] = nodes.base
    table[outputs + leaves.tree[at], 1 << leaves.first[at] if byte else leaves.first[at]] = nodes.value[at]
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
