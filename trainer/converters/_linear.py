"""Linear models: a dot product, each family's own link, and its own decision rule."""

from typing import Any, Final

import numpy as np
from scipy import sparse
from sklearn import linear_model as lm
from sklearn.svm import LinearSVC, LinearSVR

from ._block import Block, Converter, Outputs


def scores_of(x: Block, coef: Any, intercept: Any) -> Block:
    """Return ``x @ coef.T + intercept`` in the dtype numpy would compute it in.

    Args:
        x: Checked.
        coef: (outputs, width) or (width,); dense or sparse.
        intercept: (outputs,), a scalar, or a Python float, which takes any dtype.
    """
    weights = np.atleast_2d(coef.toarray() if sparse.issparse(coef) else np.asarray(coef)).T
    if weights.dtype.kind != "f":
        weights = weights.astype(np.float64)
    offset = np.broadcast_to(np.asarray(intercept).reshape(-1), (weights.shape[1],))
    x = x.cast(str(np.result_type(np.dtype(x.dtype), weights.dtype)))
    if x.dtype == "float32" and getattr(intercept, "dtype", None) == np.float64:
        return x.linear(weights, np.zeros(len(offset))).cast("float64").affine(add=offset)
    return x.linear(weights, offset)


def classified(scores: Block, classes: Any) -> Outputs:
    """Return a linear classifier's answers: of one score the sign, of several the largest."""
    labels = scores.decide("positive" if scores.width == 1 else "argmax")
    return Outputs({"predict": labels, "decision_function": scores}, (np.asarray(classes),))


def _scores(estimator: Any, x: Block) -> Block:
    return scores_of(x.check(missing=True), estimator.coef_, estimator.intercept_)


def _classifier(estimator: Any, x: Block) -> Outputs:
    return classified(_scores(estimator, x), estimator.classes_)


def _logistic_regression(estimator: Any, x: Block) -> Outputs:
    # Gone since scikit-learn 1.8; an estimator of before may still carry it.
    if getattr(estimator, "multi_class", "auto") not in {"auto", "deprecated"}:
        x.refuse(f"multi_class={estimator.multi_class!r}")
    found = _classifier(estimator, x)
    scores = found.block("decision_function")
    found.methods["predict_proba"] = scores.link("logistic2" if scores.width == 1 else "softmax")
    return found


def _sgd_classifier(estimator: lm.SGDClassifier, x: Block) -> Outputs:
    found = _classifier(estimator, x)
    scores = found.block("decision_function")
    if estimator.loss == "log_loss":
        found.methods["predict_proba"] = _one_vs_rest(scores)
    elif estimator.loss == "modified_huber":
        found.methods["predict_proba"] = _modified_huber(scores)
    return found


def _one_vs_rest(scores: Block) -> Block:
    if scores.width == 1:
        return scores.link("logistic2")
    return scores.link("logistic").apply("shares", otherwise="uniform")


def _modified_huber(scores: Block) -> Block:
    """Return ``(clip(score, -1, 1) + 1) / 2``, of several scores their shares."""
    limits = {name: np.full(scores.width, value, scores.dtype) for name, value in (("low", -1), ("high", 1))}
    p = scores.apply("clip", arrays=limits)
    if scores.width > 1:
        return p.affine(sub=-1, div=2).apply("shares", otherwise="uniform")
    p = p.cast("float64").affine(sub=-1, div=2)
    return both(p)


def both(p: Block) -> Block:
    """Return ``(1 - p, p)`` of one column."""
    return _side_by_side(p.affine(mul=-1, add=1), p)


def _side_by_side(*blocks: Block) -> Block:
    return Block(blocks[0].builder, tuple(column for block in blocks for column in block.columns))


def _ridge_classifier(estimator: Any, x: Block) -> Outputs:
    scores = _scores(estimator, x)
    if not estimator._label_binarizer.y_type_.startswith("multilabel"):  # noqa: SLF001 - scikit-learn keeps it nowhere else
        return classified(scores, estimator.classes_)
    return Outputs({"predict": labelled(scores, 0.0), "decision_function": scores}, yes_or_no(scores.width))


def labelled(scores: Block, threshold: float) -> list[Block]:
    """Return, for each column, whether it is above the threshold: the labels of a multilabel classifier."""
    return [scores.select([i]).decide("above", column=0, threshold=threshold) for i in range(scores.width)]


def yes_or_no(count: int) -> tuple[Any, ...]:
    """Return the classes 0 and 1 for each of ``count`` labels."""
    return (np.array([0, 1]),) * count


def _sgd_one_class(estimator: lm.SGDOneClassSVM, x: Block) -> Outputs:
    scores = scores_of(x.check(missing=True), estimator.coef_, -estimator.offset_)
    methods: dict[str, Block | list[Block]] = {
        "predict": scores.decide("not_negative"),
        "decision_function": scores,
    }
    return Outputs(methods, (np.array([-1, 1], dtype=np.int32),))


# -- regression


def _regressor(estimator: Any, x: Block) -> Outputs:
    if np.ndim(estimator.coef_) == 2 and len(estimator.coef_) == 1:
        x.refuse("was fitted on a y of shape (n, 1); pass one of shape (n,)")
    return Outputs({"predict": _scores(estimator, x)})


def _flat_regressor(estimator: Any, x: Block) -> Outputs:
    """Convert a regressor that flattens what it predicts."""
    return Outputs({"predict": _scores(estimator, x)})


def _generalized(estimator: Any, x: Block) -> Outputs:
    link = type(estimator._base_loss.link).__name__  # noqa: SLF001 - scikit-learn keeps it nowhere else
    scores = _scores(estimator, x)
    if link == "IdentityLink":
        return Outputs({"predict": scores})
    if link != "LogLink":
        x.refuse(f"the link {link}")
    return Outputs({"predict": scores.link("exp")})


def _ransac(estimator: lm.RANSACRegressor, x: Block) -> Outputs:
    return x.predicted(estimator.estimator_)


_REGRESSORS: Final = (
    lm.LinearRegression, lm.Ridge, lm.RidgeCV, lm.Lasso, lm.LassoCV, lm.ElasticNet, lm.ElasticNetCV,
    lm.MultiTaskLasso, lm.MultiTaskLassoCV, lm.MultiTaskElasticNet, lm.MultiTaskElasticNetCV, lm.Lars, lm.LarsCV,
    lm.LassoLars, lm.LassoLarsCV, lm.LassoLarsIC, lm.OrthogonalMatchingPursuit, lm.OrthogonalMatchingPursuitCV,
    lm.BayesianRidge, lm.ARDRegression, lm.HuberRegressor, lm.TheilSenRegressor, lm.QuantileRegressor, LinearSVR,
)  # fmt: skip

CONVERTERS: Final[dict[type | str, Converter]] = {
    **dict.fromkeys(_REGRESSORS, _regressor),
    **dict.fromkeys((lm.SGDRegressor, lm.PassiveAggressiveRegressor), _flat_regressor),
    **dict.fromkeys((lm.PoissonRegressor, lm.GammaRegressor, lm.TweedieRegressor), _generalized),
    **dict.fromkeys((LinearSVC, lm.Perceptron, lm.PassiveAggressiveClassifier), _classifier),
    **dict.fromkeys((lm.RidgeClassifier, lm.RidgeClassifierCV), _ridge_classifier),
    **dict.fromkeys((lm.LogisticRegression, lm.LogisticRegressionCV), _logistic_regression),
    lm.SGDClassifier: _sgd_classifier,
    lm.SGDOneClassSVM: _sgd_one_class,
    lm.RANSACRegressor: _ransac,
}
