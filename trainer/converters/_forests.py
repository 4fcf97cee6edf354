"""Decision trees and forests of scikit-learn: the mean of what leaves answer, in the order of the trees.

They compare float32 values with float64 thresholds, refuse what float32 cannot hold, and send NaN where
training sent it. The label is that of the largest mean probability.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from mlshared.plan._step import Array

from ._block import Block, Converter, Outputs
from ._supernodes import FlatTree, summed

CLASSIFIERS: Final = frozenset({DecisionTreeClassifier, ExtraTreeClassifier})
REGRESSORS: Final = frozenset({DecisionTreeRegressor, ExtraTreeRegressor})


def flat_tree(estimator: Any, values: Array | None = None, features: Any = None) -> FlatTree:
    """Return a fitted tree as arrays.

    Args:
        estimator: A decision tree.
        values: What its nodes answer instead of `tree_values`, shape (nodes, outputs).
        features: The columns it was fitted on, where not on all.
    """
    tree = estimator.tree_
    feature = np.where(tree.children_left < 0, 0, tree.feature)
    return FlatTree(
        tree.children_left,
        tree.children_right,
        feature if features is None else np.asarray(features)[feature],
        tree.threshold,
        tree.missing_go_to_left,
        tree_values(estimator) if values is None else values,
    )


def tree_values(estimator: Any) -> Array:
    """Return what each node answers, (nodes, outputs): the probabilities of each target, or the values."""
    value = estimator.tree_.value
    if type(estimator) in REGRESSORS:
        return np.ascontiguousarray(value[:, :, 0])
    counts = np.atleast_1d(estimator.n_classes_)
    return np.concatenate([value[:, target, :count] for target, count in enumerate(counts)], axis=1)


def checked(estimator: Any, x: Block) -> tuple[Block, bool]:
    """Return the columns as trees read them, refused where they refuse, and whether NaN is taken.

    Args:
        estimator: A decision tree.
        x: Its columns.
    """
    dense = np.empty((1, 1), dtype=np.float32)
    missing = not x.sparse and bool(estimator._support_missing_values(dense))  # noqa: SLF001
    return x.cast("float32").check(missing=not missing), missing


def _tree(estimator: Any, x: Block) -> Outputs:
    return _answers(estimator, [estimator], x)


def _forest(estimator: Any, x: Block) -> Outputs:
    trees: Sequence[Any] = estimator.estimators_
    allowed = CLASSIFIERS | REGRESSORS
    if any(type(tree) not in allowed for tree in trees):
        x.refuse("holds trees of an unknown kind")
    return _answers(estimator, trees, x)


def _answers(estimator: Any, trees: Sequence[Any], x: Block) -> Outputs:
    x, missing = checked(trees[0], x)
    mean = summed(x, [flat_tree(tree) for tree in trees], missing=missing, divide=float(len(trees)))
    if type(trees[0]) in REGRESSORS:
        return Outputs({"predict": mean})
    if estimator.n_outputs_ == 1:
        return Outputs(
            {"predict": mean.decide("argmax"), "predict_proba": mean}, (np.asarray(estimator.classes_),)
        )
    classes = tuple(np.asarray(each) for each in estimator.classes_)
    if len({each.dtype for each in classes}) > 1:
        x.refuse("targets with classes of several dtypes")
    ends = np.cumsum([0, *(len(each) for each in classes)])
    probas = [mean.select(range(start, end)) for start, end in pairwise(ends.tolist())]
    return Outputs({"predict": [each.decide("argmax") for each in probas], "predict_proba": probas}, classes)


CONVERTERS: Final[dict[type | str, Converter]] = {
    **dict.fromkeys((*CLASSIFIERS, *REGRESSORS), _tree),
    RandomForestClassifier: _forest,
    RandomForestRegressor: _forest,
    ExtraTreesClassifier: _forest,
    ExtraTreesRegressor: _forest,
}
