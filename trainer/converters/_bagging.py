"""Bagging and isolation forests: estimators on samples of the columns, averaged in their order.

Bagged trees become one forest; estimators of other kinds are converted one by one.
"""

from dataclasses import replace
from typing import Any, Final

import numpy as np
from sklearn.ensemble import BaggingClassifier, BaggingRegressor, IsolationForest
from sklearn.ensemble._iforest import _average_path_length

from mlshared.plan._step import Array

from ._answers import answered
from ._block import Block, Converter, Outputs, combine, join
from ._forests import CLASSIFIERS, REGRESSORS, checked, flat_tree, tree_values
from ._supernodes import FlatTree, summed


def _bagging_classifier(estimator: BaggingClassifier, x: Block) -> Outputs:
    classes = np.asarray(estimator.classes_)
    # They were fitted on the positions of the classes, and may not have met all of them.
    seen = [np.asarray(each.classes_) for each in estimator.estimators_]
    if all(type(each) in CLASSIFIERS for each in estimator.estimators_):
        values = [
            _widened(tree_values(each), own, len(classes))
            for each, own in zip(estimator.estimators_, seen, strict=True)
        ]
        proba = _bagged_trees(estimator, x, values)
        return Outputs({"predict": proba.decide("argmax"), "predict_proba": proba}, (classes,))
    answers = _inner(estimator, x)
    if all(hasattr(each, "predict_proba") for each in estimator.estimators_):
        probas = [answered(each, "predict_proba", x) for each in answers]
        proba = _mean([_placed(block, own, len(classes)) for block, own in zip(probas, seen, strict=True)])
    else:
        proba = _votes(estimator, [answered(each, "predict", x) for each in answers], seen)
    methods: dict[str, Block | list[Block]] = {"predict": proba.decide("argmax"), "predict_proba": proba}
    if hasattr(estimator, "decision_function"):
        scores = [answered(each, "decision_function", x) for each in answers]
        # scikit-learn cannot add them either where one has not met every class.
        if len({block.width for block in scores}) == 1:
            methods["decision_function"] = _mean(scores)
    return Outputs(methods, (classes,))


def _bagging_regressor(estimator: BaggingRegressor, x: Block) -> Outputs:
    if all(type(each) in REGRESSORS for each in estimator.estimators_):
        values = [tree_values(each) for each in estimator.estimators_]
        return Outputs({"predict": _bagged_trees(estimator, x, values)})
    return Outputs({"predict": _mean([answered(each, "predict", x) for each in _inner(estimator, x)])})


def _isolation_forest(estimator: IsolationForest, x: Block) -> Outputs:
    whole = estimator._max_features == estimator.n_features_in_  # noqa: SLF001
    trees = []
    for number, tree in enumerate(estimator.estimators_):
        if type(tree) not in REGRESSORS:
            x.refuse("holds trees of an unknown kind")
        depths = estimator._decision_path_lengths[number]  # noqa: SLF001
        lengths = depths + estimator._average_path_length_per_tree[number] - 1.0  # noqa: SLF001
        features = None if whole else estimator.estimators_features_[number]
        flat = flat_tree(tree, lengths[:, None], features)
        # Of a sparse matrix, scikit-learn compares NaN like a number: it goes right.
        trees.append(replace(flat, missing_left=np.zeros_like(flat.missing_left)) if x.sparse else flat)
    length = len(trees) * _average_path_length([estimator._max_samples])[0]  # noqa: SLF001
    depth = summed(x.cast("float32"), trees, missing=True)
    x.builder.rounding = True
    score = depth.apply("isolation", length=float(length), offset=float(estimator.offset_))
    codes = score.decide("not_negative")
    return Outputs({"predict": codes, "decision_function": score}, (np.array([-1, 1]),))


def _bagged_trees(estimator: Any, x: Block, values: list[Array]) -> Block:
    """Return the mean of trees, each fitted on columns of its own."""
    inner, features = estimator.estimators_, estimator.estimators_features_
    read = np.unique(np.concatenate(features))  # what no tree was given, none refuses
    x, missing = checked(inner[0], x.select(read))
    trees: list[FlatTree] = [
        flat_tree(tree, value, np.searchsorted(read, own))
        for tree, value, own in zip(inner, values, features, strict=True)
    ]
    return summed(x, trees, missing=missing, divide=float(len(trees)))


def _inner(estimator: Any, x: Block) -> list[Outputs]:
    if x.labelled():
        x.refuse("bags estimators that read texts")
    pairs = zip(estimator.estimators_, estimator.estimators_features_, strict=True)
    return [x.select(own).renamed([None] * len(own)).predicted(each) for each, own in pairs]


def _widened(values: Array, own: Array, count: int) -> Array:
    """Return probabilities of all classes, shape (nodes, count), from those of the classes a tree met."""
    wide = np.zeros((len(values), count))
    wide[:, own.astype(np.int64)] = values
    return wide


def _placed(proba: Block, own: Array, count: int) -> Block:
    """Return probabilities of all classes; 0 for those an estimator has not met."""
    if len(own) == count:
        return proba
    zero = proba.apply("constant", names=[None], arrays={"values": np.zeros(1)})
    known = {int(code): place for place, code in enumerate(own)}
    return join([proba.select([known[code]]) if code in known else zero for code in range(count)])


def _votes(estimator: Any, codes: list[Block], seen: list[Array]) -> Block:
    """Return the share of estimators that vote for each class."""
    count = len(estimator.classes_)
    tables = [_widened(np.eye(len(own)), own, count) for own in seen]
    return _mean(
        [
            block.lookup(table, np.zeros(count), names=[None] * count)
            for block, table in zip(codes, tables, strict=True)
        ]
    )


def _mean(blocks: list[Block]) -> Block:
    """Return the mean of blocks, summed in their order."""
    arrays = {"weights": np.ones(len(blocks))}
    names = [None] * blocks[0].width
    return combine(blocks, "average", arrays=arrays, divisor=float(len(blocks)), dtype="float64", names=names)


CONVERTERS: Final[dict[type | str, Converter]] = {
    BaggingClassifier: _bagging_classifier,
    BaggingRegressor: _bagging_regressor,
    IsolationForest: _isolation_forest,
}
