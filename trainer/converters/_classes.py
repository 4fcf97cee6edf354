"""Discriminant analysis, naive Bayes and nearest centroids: a score a class, and the largest wins."""

from typing import Any, Final

import numpy as np
from sklearn import naive_bayes as nb
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.neighbors import NearestCentroid

from ._block import Block, Converter, Outputs, join
from ._linear import classified, scores_of


def _linear_discriminant(estimator: LinearDiscriminantAnalysis, x: Block) -> Outputs:
    x = x.check(missing=True)
    found = classified(scores_of(x, estimator.coef_, estimator.intercept_), estimator.classes_)
    scores = found.block("decision_function")
    found.methods["predict_proba"] = scores.link("logistic2" if scores.width == 1 else "softmax")
    if estimator.solver != "lsqr" and x.dtype == "float64":
        centred = x.affine(sub=estimator.xbar_) if estimator.solver == "svd" else x
        weights = estimator.scalings_[:, : estimator._max_components]  # noqa: SLF001 - scikit-learn keeps it nowhere else
        if weights.shape[1]:
            found.methods["transform"] = centred.linear(weights, np.zeros(weights.shape[1]))
    return found


def _quadratic_discriminant(estimator: QuadraticDiscriminantAnalysis, x: Block) -> Outputs:
    x = _wide(x.check(missing=True), *estimator.rotations_, *estimator.scalings_, estimator.means_)
    norms, logs = [], []
    for mean, rotation, scaling in zip(
        estimator.means_, estimator.rotations_, estimator.scalings_, strict=True
    ):
        weights = rotation * (scaling ** (-0.5))
        rotated = x.affine(sub=mean).linear(weights, np.zeros(weights.shape[1]))
        norms.append(rotated.apply("squares", names=[None]))
        logs.append(np.sum(np.log(scaling)))
    scores = join(norms).affine(sub=-np.asarray(logs), mul=-0.5, add=np.log(estimator.priors_))
    return _posterior(scores, estimator.classes_)


def _posterior(scores: Block, classes: Any) -> Outputs:
    """Return what `DiscriminantAnalysisPredictionMixin` answers."""
    decision = scores.linear([[-1.0], [1.0]], [0.0]) if len(classes) == 2 else scores
    proba = scores.apply("posterior", kind="shifted")
    methods: dict[str, Block | list[Block]] = {
        "predict": scores.decide("argmax"),
        "predict_proba": proba,
        "decision_function": decision,
    }
    return Outputs(methods, (np.asarray(classes),))


def _naive(jll: Block, classes: Any) -> Outputs:
    proba = jll.apply("posterior", kind="joint")
    return Outputs({"predict": jll.decide("argmax"), "predict_proba": proba}, (np.asarray(classes),))


def _gaussian(estimator: nb.GaussianNB, x: Block) -> Outputs:
    x = _wide(x.check(missing=True), estimator.theta_, estimator.var_)
    x.builder.rounding = True
    variances = np.asarray(estimator.var_, dtype=np.float64)
    arrays = {"means": np.asarray(estimator.theta_, dtype=np.float64), "variances": variances}
    names = [None] * len(variances)
    constant = -0.5 * np.array([np.sum(np.log(2.0 * np.pi * each)) for each in variances])
    jll = x.apply("squares", names=names, arrays=arrays).affine(mul=-0.5, add=constant)
    return _naive(jll.affine(add=np.log(estimator.class_prior_)), estimator.classes_)


def _multinomial(estimator: nb.MultinomialNB, x: Block) -> Outputs:
    x = x.check(missing=True)
    return _naive(scores_of(x, estimator.feature_log_prob_, estimator.class_log_prior_), estimator.classes_)


def _complement(estimator: nb.ComplementNB, x: Block) -> Outputs:
    single = len(estimator.classes_) == 1
    offset = estimator.class_log_prior_ if single else np.zeros(len(estimator.classes_))
    return _naive(scores_of(x.check(missing=True), estimator.feature_log_prob_, offset), estimator.classes_)


def _bernoulli(estimator: nb.BernoulliNB, x: Block) -> Outputs:
    x = x.check(missing=True)
    if estimator.binarize is not None:
        threshold = float(np.dtype(x.dtype).type(estimator.binarize))  # a Python float is weak beside float32
        arrays = {"edges": np.full(x.width, threshold), "starts": np.arange(x.width + 1)}
        x = x.apply("bin", arrays=arrays, side="left")
    present = estimator.feature_log_prob_
    absent = np.log(1 - np.exp(present))
    offset = estimator.class_log_prior_ + absent.sum(axis=1)
    return _naive(scores_of(x, present - absent, offset), estimator.classes_)


def _categorical(estimator: nb.CategoricalNB, x: Block) -> Outputs:
    classes = len(estimator.classes_)
    x = x.check(missing=True).cast("float64").apply("map", fn="trunc")
    columns = []
    for position, log_prob in enumerate(estimator.feature_log_prob_):
        values = np.arange(log_prob.shape[1])
        codes = x.select([position]).encode(values, missing=None, unknown=None)
        columns.append(codes.lookup(log_prob.T, np.zeros(classes), names=[None] * classes))
    summed = np.tile(np.eye(classes), (len(columns), 1))
    return _naive(join(columns).linear(summed, estimator.class_log_prior_), estimator.classes_)


def _nearest_centroid(estimator: NearestCentroid, x: Block) -> Outputs:
    x = x.check(missing=True)
    centroids = np.asarray(estimator.centroids_, dtype=np.float64)
    uniform = bool(np.isclose(estimator.class_prior_, 1 / len(estimator.classes_)).all())
    classes = (np.asarray(estimator.classes_),)
    if estimator.metric != "euclidean":
        if not uniform:
            x.refuse(f"priors with metric={estimator.metric!r}")
        return Outputs({"predict": _closest(x, centroids, estimator.metric)}, classes)
    found = _posterior(_discriminant(estimator, x.cast("float64"), centroids), classes[0])
    if uniform:
        found.methods["predict"] = _closest(x, centroids, "euclidean")
    return found


def _closest(x: Block, centroids: Any, metric: str) -> Block:
    if x.dtype != "float64":
        x.refuse("distances in float32")
    x.builder.rounding = True
    count = len(centroids)
    arrays = {"points": centroids, "targets": np.eye(count)}
    params = {"k": 1, "metric": metric, "weights": "uniform"}
    return x.apply("nearest", names=[None] * count, arrays=arrays, **params).decide("argmax")


def _discriminant(estimator: NearestCentroid, x: Block, centroids: Any) -> Block:
    spread = np.asarray(estimator.within_class_std_dev_, dtype=np.float64)
    div = np.where(spread != 0, spread, 1.0)
    names = [None] * len(centroids)
    apart = x.affine(div=div).apply("distances", names=names, arrays={"points": centroids / div})
    return apart.apply("map", fn="square").affine(mul=-1, add=2.0 * np.log(estimator.class_prior_))


def _wide(x: Block, *parameters: Any) -> Block:
    """Return x in float64, in which numpy computes with parameters of float64; float32 throughout is refused."""
    if np.result_type(np.dtype(x.dtype), *(np.asarray(each).dtype for each in parameters)) != np.float64:
        x.refuse("computes in float32")
    return x.cast("float64")


CONVERTERS: Final[dict[type | str, Converter]] = {
    LinearDiscriminantAnalysis: _linear_discriminant,
    QuadraticDiscriminantAnalysis: _quadratic_discriminant,
    nb.GaussianNB: _gaussian,
    nb.MultinomialNB: _multinomial,
    nb.ComplementNB: _complement,
    nb.BernoulliNB: _bernoulli,
    nb.CategoricalNB: _categorical,
    NearestCentroid: _nearest_centroid,
}
