"""AdaBoost: weighted votes of classifiers (SAMME), the weighted median of regressors.

Trees become one forest whose leaves hold votes; estimators of other kinds are converted one by one.
"""

from typing import Any, Final

import numpy as np
from sklearn.ensemble import AdaBoostClassifier, AdaBoostRegressor

from mlshared.plan._step import Array

from ._answers import answered
from ._block import Block, Converter, Outputs, combine, join
from ._forests import CLASSIFIERS, REGRESSORS, checked, flat_tree, tree_values
from ._supernodes import summed


def _adaboost_classifier(estimator: AdaBoostClassifier, x: Block) -> Outputs:
    classes = np.asarray(estimator.classes_)
    if len(classes) < 2:
        x.refuse("one class")
    scores = _class_scores(estimator, x.check(missing=True), classes)
    if len(classes) == 2:
        # The sum of (-first, second), as scikit-learn does it: exact, however a product of two is summed.
        difference = {"W": np.ones((2, 1)), "b": np.zeros(1)}
        scores = scores.affine(mul=[-1.0, 1.0]).apply("linear", names=[None], arrays=difference)
        labels = scores.decide("positive")
        halves = join([scores.affine(mul=-1.0), scores]).affine(div=2.0)
    else:
        labels = scores.decide("argmax")
        halves = scores.affine(div=float(len(classes) - 1))
    proba = halves.link("softmax")
    return Outputs({"predict": labels, "predict_proba": proba, "decision_function": scores}, (classes,))


def _class_scores(estimator: Any, x: Block, classes: Array) -> Block:
    """Return the weighted votes for each class, divided by the sum of weights."""
    inner, weights = estimator.estimators_, estimator.estimator_weights_
    total = float(weights.sum())
    votes = [_votes(each, weight, classes) for each, weight in zip(inner, weights, strict=False)]
    if all(type(each) in CLASSIFIERS for each in inner):
        x, _ = checked(inner[0], x)
        leaves = [table[tree_values(each).argmax(axis=1)] for each, table in zip(inner, votes, strict=True)]
        trees = [flat_tree(each, values) for each, values in zip(inner, leaves, strict=True)]
        return summed(x, trees, missing=False, divide=total)
    blocks = []
    names = [None] * len(classes)
    for each, table in zip(inner, votes, strict=True):
        codes = answered(_unnamed(x).predicted(each), "predict", x)
        blocks.append(codes.lookup(table, np.zeros(len(classes)), names=names))
    arrays = {"weights": np.ones(len(blocks))}
    return combine(blocks, "average", arrays=arrays, divisor=total, dtype="float64", names=names)


def _votes(inner: Any, weight: float, classes: Array) -> Array:
    """Return the votes of an estimator's answers, shape (its classes, classes)."""
    chosen = np.asarray(inner.classes_)[:, None] == classes
    return np.where(chosen, weight, -1 / (len(classes) - 1) * weight)


def _adaboost_regressor(estimator: AdaBoostRegressor, x: Block) -> Outputs:
    x = x.check(missing=True)
    inner = estimator.estimators_
    if all(type(each) in REGRESSORS for each in inner):
        x, _ = checked(inner[0], x)
        answers = summed(x, [flat_tree(each) for each in inner], missing=False, each=True)
    else:
        answers = join([answered(_unnamed(x).predicted(each), "predict", x) for each in inner])
    if answers.width != len(inner):
        x.refuse("several targets")
    weights = np.asarray(estimator.estimator_weights_, dtype=np.float64)[: len(inner)]
    return Outputs({"predict": answers.apply("median", names=[None], arrays={"weights": weights})})


def _unnamed(x: Block) -> Block:
    if x.labelled():
        x.refuse("boosts estimators that read texts")
    return x.renamed([None] * x.width)


CONVERTERS: Final[dict[type | str, Converter]] = {
    AdaBoostClassifier: _adaboost_classifier,
    AdaBoostRegressor: _adaboost_regressor,
}
