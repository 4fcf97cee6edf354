"""Gradient boosting of scikit-learn: GradientBoosting* and HistGradientBoosting*.

Both add leaves tree by tree to a constant. GradientBoosting compares float32 inputs and refuses NaN;
HistGradientBoosting compares float64, sends NaN to a side of its own, and encodes its categories itself,
which then come before the numbers. Their decision rules differ at a score of exactly 0.
"""

from typing import Any, Final

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)

from mlshared.plan._step import Array

from ._block import Block, Converter, Outputs, join
from ._nodes import Tree, summed


def _gradient_classifier(estimator: GradientBoostingClassifier, x: Block) -> Outputs:
    scores = _gradient_scores(estimator, x)
    # The exponential loss is in half logits; to double is exact.
    half = estimator.loss == "exponential"
    if scores.width > 1:
        proba, rule = scores.link("softmax"), "argmax"
    else:
        proba, rule = (scores.affine(mul=2.0) if half else scores).link("logistic2"), "not_negative"
    return _classifier(estimator, scores, proba, rule)


def _gradient_regressor(estimator: GradientBoostingRegressor, x: Block) -> Outputs:
    return Outputs({"predict": _gradient_scores(estimator, x)})


def _gradient_scores(estimator: Any, x: Block) -> Block:
    init = estimator.init_
    dummy = type(init) is DummyRegressor or (
        type(init) is DummyClassifier and init.strategy not in {"uniform", "stratified"}
    )
    if not dummy and not (isinstance(init, str) and init == "zero"):
        x.refuse("starts from an estimator of its own (init)")
    # The same for every row: a dummy's answer, put through the link of the loss.
    start = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_)))  # noqa: SLF001
    trees = [_regression_tree(tree.tree_, estimator.learning_rate) for tree in estimator.estimators_.ravel()]
    return summed(x.cast("float32").check(missing=True), trees, start[0])


def _regression_tree(tree: Any, scale: float) -> Tree:
    """Return a tree of `sklearn.tree`, its leaves times ``scale``."""
    return Tree(
        np.where(tree.children_left < 0, -1, tree.feature),
        tree.threshold,
        tree.children_left,
        tree.children_right,
        scale * tree.value[:, 0, 0],
        np.zeros(tree.node_count, dtype=np.bool_),
    )


def _hist_classifier(estimator: HistGradientBoostingClassifier, x: Block) -> Outputs:
    scores = _hist_scores(estimator, x)
    if scores.width > 1:
        return _classifier(estimator, scores, scores.link("softmax"), "argmax")
    return _classifier(estimator, scores, scores.link("logistic2"), "positive")


def _hist_regressor(estimator: HistGradientBoostingRegressor, x: Block) -> Outputs:
    scores = _hist_scores(estimator, x)
    return Outputs({"predict": scores.link("exp") if estimator.loss in {"poisson", "gamma"} else scores})


def _hist_scores(estimator: Any, x: Block) -> Block:
    preprocessor = estimator._preprocessor  # noqa: SLF001
    if preprocessor is not None:
        encoder = preprocessor.named_transformers_["encoder"]
        categorical = np.flatnonzero(estimator.is_categorical_).tolist()
        numeric = np.flatnonzero(~estimator.is_categorical_).tolist()
        blocks = [
            _coded(x.select([column]), encoder.categories_[position])
            for position, column in enumerate(categorical)
        ]
        if numeric:
            blocks.append(x.select(numeric).cast("float64"))
        x = join(blocks)
    rounds = estimator._predictors  # noqa: SLF001
    trees = [_hist_tree(tree) for each in rounds for tree in each]
    start = estimator._baseline_prediction  # noqa: SLF001
    return summed(x.cast("float64"), trees, np.asarray(start, dtype=np.float64).ravel())


def _coded(x: Block, categories: Array) -> Block:
    """Return the category's number as a float; NaN for a missing or unknown one, unless None is a category."""
    listed = [value for value in categories.tolist() if value == value]  # noqa: PLR0124 - NaN is not itself
    none = listed.index(None) if None in listed else -1
    known = [value for value in listed if value is not None]
    if none not in {-1, len(known)}:
        x.refuse("None among its categories")
    codes = x.encode(known, missing=-1 if none < 0 else none, unknown=-1)
    return codes.lookup(np.arange(float(len(listed)))[:, None], [np.nan], names=x.names)


def _hist_tree(tree: Any) -> Tree:
    nodes = tree.nodes
    leaf = nodes["is_leaf"].astype(np.bool_)
    category = nodes["is_categorical"].astype(np.bool_) & ~leaf
    return Tree(
        np.where(leaf, -1, nodes["feature_idx"]),
        nodes["num_threshold"],
        nodes["left"].astype(np.int64),
        nodes["right"].astype(np.int64),
        nodes["value"],
        nodes["missing_go_to_left"].astype(np.bool_),
        np.where(category, nodes["bitset_idx"].astype(np.int64), -1),
        np.asarray(tree.raw_left_cat_bitsets, dtype=np.uint32).reshape(-1, 8),
    )


def _classifier(estimator: Any, scores: Block, proba: Block, rule: str) -> Outputs:
    classes = np.asarray(estimator.classes_)
    if len(classes) < 2:
        scores.refuse("was fitted on a single class")
    methods: dict[str, Block | list[Block]] = {
        "predict": scores.decide(rule),
        "predict_proba": proba,
        "decision_function": scores,
    }
    return Outputs(methods, (classes,))


CONVERTERS: Final[dict[type | str, Converter]] = {
    GradientBoostingClassifier: _gradient_classifier,
    GradientBoostingRegressor: _gradient_regressor,
    HistGradientBoostingClassifier: _hist_classifier,
    HistGradientBoostingRegressor: _hist_regressor,
}
