"""The step `trees`: what it computes, and that no plan makes it read outside of its arrays, or run for long."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlshared.errors import IntegrityError
from mlshared.plan._step import Shape, Step
from mlshared.plan._trees import MAX_DEPTH, trees

# One tree of two splits, then a single leaf: x0 <= 1 ? (x1 in {0, 33} ? 1 : 2) : 4;  8
ARRAYS: dict[str, Any] = {
    "roots": np.array([0, 5], dtype=np.int32),
    "feature": np.array([0, 1, -1, -1, -1, -1], dtype=np.int32),
    "threshold": np.array([1.0, 0, 0, 0, 0, 0]),
    "left": np.array([1, 3, 0, 0, 0, 0], dtype=np.int32),
    "right": np.array([2, 4, 0, 0, 0, 0], dtype=np.int32),
    "value": np.array([0, 0, 4.0, 1.0, 2.0, 8.0]),
    "missing_left": np.array([True, False, False, False, False, False]),
    "category": np.array([-1, 0, -1, -1, -1, -1], dtype=np.int32),
    "sets": np.array([[1, 2]], dtype=np.uint32),
    "base": np.array([0.5]),
}
INPUTS = (Shape("block", 2),)


def step(**changed: Any) -> Step:
    """Return the step of `ARRAYS`, with some of them changed."""
    return Step("trees", (0,), {"dtype": "float64"}, {**ARRAYS, **changed})


def test_rows_go_by_threshold_set_and_side_of_the_missing() -> None:
    """A set is asked as a C cast to int would, and what is not in it goes right."""
    x = np.array([[1, 0], [1, 33], [1, 1], [2, 0], [np.nan, 0], [0, np.nan], [0, -0.5], [0, 64], [0, -1]])
    found = trees(step(), INPUTS).run(x)
    assert found[:, 0].tolist() == [9.5, 9.5, 10.5, 12.5, 9.5, 10.5, 9.5, 10.5, 10.5]
    assert trees(step(), INPUTS).run(x[:0]).shape == (0, 1)


@pytest.mark.parametrize(
    "changed",
    [
        {"left": [1, 3, 0, 0, 0]},
        {"left": [0, 3, 0, 0, 0, 0]},
        {"left": [1, 1, 0, 0, 0, 0]},
        {"left": [1, -3, 0, 0, 0, 0]},
        {"right": [6, 4, 0, 0, 0, 0]},
        {"right": [3, 4, 0, 0, 0, 0]},
        {"feature": [2, 1, -1, -1, -1, -1]},
        {"feature": [0, -1, -1, -1, -1, -1]},
        {"feature": [0, 1, 1, -1, -1, -1]},
        {"roots": [0, 6]},
        {"roots": [0, 0]},
        {"roots": [0]},
        {"roots": []},
        {"category": [-1, 1, -1, -1, -1, -1]},
    ],
    ids=str,
)
def test_what_is_no_forest_is_refused(changed: dict[str, list[int]]) -> None:
    """Indices outside, cycles, shared nodes, nodes without a parent."""
    (name, values), *_ = changed.items()
    with pytest.raises(IntegrityError):
        trees(step(**{name: np.array(values, dtype=np.int32)}), INPUTS)


@pytest.mark.parametrize(
    "changed",
    [
        {"base": np.array([])},
        {"base": np.zeros(3)},
        {"base": np.zeros(1, dtype=np.float32)},
        {"sets": np.zeros((0, 2), dtype=np.uint32)},
        {"sets": np.zeros((1, 0), dtype=np.uint32)},
        {"threshold": np.zeros(5)},
        {"missing_left": np.zeros(6)},
        {"value": np.zeros((6, 1))},
    ],
    ids=str,
)
def test_arrays_of_another_shape_are_refused(changed: dict[str, Any]) -> None:
    """Each is of its dtype and length."""
    with pytest.raises(IntegrityError):
        trees(step(**changed), INPUTS)


def test_a_tree_of_absurd_depth_is_refused() -> None:
    """It would take as many steps a row."""
    depth = MAX_DEPTH + 1
    split = np.arange(depth) * 2
    feature = np.full(2 * depth + 1, -1, dtype=np.int32)
    left, right = np.zeros_like(feature), np.zeros_like(feature)
    feature[split], left[split], right[split] = 0, split + 1, split + 2
    arrays = {
        "roots": np.zeros(1, dtype=np.int32),
        "feature": feature,
        "threshold": np.zeros(len(feature)),
        "left": left,
        "right": right,
        "value": np.zeros(len(feature)),
        "missing_left": np.zeros(len(feature), dtype=np.bool_),
        "base": np.zeros(1),
    }
    with pytest.raises(IntegrityError, match="deeper"):
        trees(Step("trees", (0,), {"dtype": "float64"}, arrays), INPUTS)


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(["roots", "feature", "left", "right", "category"]),
    place=st.integers(0, 5),
    value=st.integers(-(2**31), 2**31 - 1),
    rows=st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=5),
)
def test_a_changed_index_is_refused_or_harmless(
    name: str, place: int, value: int, rows: list[tuple[float, float]]
) -> None:
    """No crash, no hang, no other error."""
    array = ARRAYS[name].copy()
    array[place % len(array)] = value
    try:
        run = trees(step(**{name: array}), INPUTS).run
    except IntegrityError:
        return
    assert run(np.array(rows)).shape == (len(rows), 1)
