"""An estimator's answer to one row, as plain Python."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from mlshared._answers import naming, values


def manifest(classes=None, targets=None):
    return SimpleNamespace(classes=classes, targets=targets)


ONE = manifest()
YES_NO = manifest(classes=("no", "yes"))
THREE = manifest(classes=(1, 2, 3))
TWO_TARGETS = manifest(targets=("a", "b"))
TWO_CLASSIFIED = manifest(classes=((0, 1), ("x", "y", "z")), targets=("a", "b"))


@pytest.mark.parametrize(
    ("method", "answer", "about", "expected"),
    [
        ("predict", np.array([3]), ONE, 3),
        ("predict", np.array([2.5], dtype=np.float32), ONE, 2.5),
        ("predict", np.array([True]), ONE, True),
        ("predict", np.array(["yes"]), YES_NO, "yes"),
        ("predict", np.array(["yes"], dtype=object), YES_NO, "yes"),
        ("predict", np.array([[1.5, 2.5]]), TWO_TARGETS, {"a": 1.5, "b": 2.5}),
        ("predict", np.array([[1.5, 2.5]]), ONE, {"y0": 1.5, "y1": 2.5}),
        ("predict", np.array([[1.5]]), ONE, {"y0": 1.5}),
        ("predict", np.array([[1, 0]]), TWO_CLASSIFIED, {"a": 1, "b": 0}),
        ("predict_proba", np.array([[0.25, 0.75]]), YES_NO, {"no": 0.25, "yes": 0.75}),
        (
            "predict_proba",
            [np.array([[0.5, 0.5]]), np.array([[0.0, 0.25, 0.75]])],
            TWO_CLASSIFIED,
            {"a": {0: 0.5, 1: 0.5}, "b": {"x": 0.0, "y": 0.25, "z": 0.75}},
        ),
        ("decision_function", np.array([-1.5]), YES_NO, -1.5),
        ("decision_function", np.array([[1.0, 2.0, 3.0]]), THREE, {1: 1.0, 2: 2.0, 3: 3.0}),
        ("decision_function", np.array([[1.0, 2.0, 3.0, 4.0]]), THREE, [1.0, 2.0, 3.0, 4.0]),
        ("transform", np.array([[1.0, 2.0]]), ONE, [1.0, 2.0]),
        ("transform", np.array([[1.0, 2.0]]), TWO_TARGETS, [1.0, 2.0]),
        ("transform", np.array([[1.0, 2.0, 3.0]]), THREE, [1.0, 2.0, 3.0]),
        ("transform", np.array([7.0]), ONE, [7.0]),
        ("transform", csr_matrix([[0.0, 5.0]]), ONE, [0.0, 5.0]),
        ("predict", csr_matrix([[0, 1]]), TWO_TARGETS, {"a": 0, "b": 1}),
    ],
)
def test_plain(method, answer, about, expected):
    """Scalars and dicts of plain Python, in the documented shape, that json.dumps takes."""
    got = naming(method, about)(values(method, answer))
    assert got == expected
    assert json.dumps(got)
    assert "numpy" not in {type(value).__module__ for value in walk(got)}


def walk(value):
    yield value
    parts = value.items() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        yield from walk(list(part) if isinstance(part, tuple) else part)
