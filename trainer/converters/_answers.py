"""What composite estimators ask of their inner ones: one answer, codes put into other codes, isotonic steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression

from ._block import Block, Outputs, combine


def answered(found: Outputs, method: str, x: Block) -> Block:
    """Return the one block that answers a method, or refuse."""
    block = found.methods.get(method)
    if not isinstance(block, Block):
        x.refuse(f"needs one answer of an inner estimator's {method}")
    return block


def first_answered(estimator: Any, x: Block, methods: Sequence[str]) -> str:
    """Return the first of the methods that an estimator has."""
    for method in methods:
        if hasattr(estimator, method):
            return method
    return x.refuse(f"{type(estimator).__name__} has none of {', '.join(methods)}")


def positive(estimator: Any, found: Outputs, x: Block) -> tuple[str, Block]:
    """Return the scores of an inner classifier, its decision function if it has one, and which they are.

    Args:
        estimator: The inner classifier.
        found: What it was converted to.
        x: Its input, for messages.

    Returns:
        The method, and its block; of two classes one column, that of the second.
    """
    method = first_answered(estimator, x, ("decision_function", "predict_proba"))
    scores = answered(found, method, x)
    if method == "predict_proba" and len(estimator.classes_) == 2:
        scores = scores.select([1])
    return method, scores


def swapped(codes: Block) -> Block:
    """Return code 1 for code 0, and 0 for 1."""
    return as_numbers(codes, [1, 0]).decide("at_least", column=0, threshold=0.5)


def as_numbers(codes: Block, classes: Any) -> Block:
    """Return the classes, which are numbers, that codes stand for, as a block of width 1."""
    classes = np.asarray(classes)
    if classes.dtype.kind not in "biuf":
        codes.refuse("computes on classes that are no numbers")
    table = classes.astype(np.float64)[:, None]
    return codes.lookup(table, np.zeros(1), names=[None])


def one_minus(x: Block) -> Block:
    """Return 1 - x."""
    return x.affine(mul=-1, add=1)


def average(blocks: Sequence[Block], weights: Any = None, *, dtype: str = "float64") -> Block:
    """Return the weighted mean of blocks. Declares rounding: numpy sums a batch and a row in other orders."""
    blocks[0].builder.rounding = True
    given = np.ones(len(blocks)) if weights is None else np.asarray(weights, dtype=np.float64)
    names = [None] * blocks[0].width
    arrays = {"weights": given}
    return combine(blocks, "average", arrays=arrays, divisor=float(given.sum()), dtype=dtype, names=names)


def isotonic_step(estimator: IsotonicRegression, x: Block) -> Block:
    """Return the fitted isotonic function of one column."""
    points, values = estimator.X_thresholds_, estimator.y_thresholds_
    if points.dtype != np.float64 or values.dtype != np.float64 or x.dtype != "float64":
        x.refuse("isotonic regression in float32")
    # Of a single point scipy makes a constant, wherever the value lies.
    outside = "clip" if len(points) == 1 else estimator.out_of_bounds
    return x.apply("isotonic", arrays={"x": points, "y": values}, outside=outside)
