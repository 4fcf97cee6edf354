"""Neural networks, partial least squares, and dummies."""

from typing import Any, Final

import numpy as np
from sklearn.cross_decomposition import CCA, PLSSVD, PLSCanonical, PLSRegression
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.neural_network import BernoulliRBM, MLPClassifier, MLPRegressor

from mlshared.plan import Step

from ._block import Block, Column, Converter, Outputs
from ._linear import both, labelled, scores_of, yes_or_no


def _forward(estimator: Any, x: Block) -> Block:
    """Return the activations of the last layer."""
    x = x.check(missing=True)
    last = len(estimator.coefs_) - 1
    for layer, (weights, offset) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
        x = scores_of(x, weights.T, offset)
        x = _activated(x, estimator.activation if layer < last else estimator.out_activation_)
    return x


def _activated(x: Block, name: str) -> Block:
    if name == "identity":
        return x
    if name == "relu":
        limits = {key: np.full(x.width, value, x.dtype) for key, value in (("low", 0.0), ("high", np.inf))}
        return x.apply("clip", arrays=limits)
    if name == "tanh":
        return x.apply("map", fn="tanh")
    if name in {"logistic", "softmax", "exp"}:
        return x.link(name)
    return x.refuse(f"the activation {name!r}")


def _mlp_classifier(estimator: MLPClassifier, x: Block) -> Outputs:
    scores = _forward(estimator, x)
    kind = estimator._label_binarizer.y_type_  # noqa: SLF001 - scikit-learn keeps it nowhere else
    classes = (np.asarray(estimator.classes_),)
    if kind == "multilabel-indicator":
        methods: dict[str, Block | list[Block]] = {
            "predict": labelled(scores, 0.5),
            "predict_proba": scores if scores.width > 1 else both(scores),
        }
        return Outputs(methods, yes_or_no(scores.width))
    if kind == "binary" and scores.width == 1:
        labels = scores.decide("above", column=0, threshold=0.5)
        return Outputs({"predict": labels, "predict_proba": both(scores)}, classes)
    if kind != "multiclass":
        x.refuse(f"a target of type {kind!r}")
    return Outputs({"predict": scores.decide("argmax"), "predict_proba": scores}, classes)


def _mlp_regressor(estimator: MLPRegressor, x: Block) -> Outputs:
    return Outputs({"predict": _forward(estimator, x)})


def _boltzmann(estimator: BernoulliRBM, x: Block) -> Block:
    return scores_of(x.check(missing=True), estimator.components_, estimator.intercept_hidden_).link(
        "logistic"
    )


def _partial_least_squares(estimator: Any, x: Block) -> Outputs:
    if x.dtype != "float64":
        x.refuse("computes in float32")
    if not estimator._predict_1d and len(estimator.coef_) == 1:  # noqa: SLF001 - scikit-learn keeps it nowhere else
        x.refuse("was fitted on a y of shape (n, 1); pass one of shape (n,)")
    centred = x.check(missing=True).affine(sub=estimator._x_mean)  # noqa: SLF001 - scikit-learn keeps it nowhere else
    rotations = np.asarray(estimator.x_rotations_)
    rotated = centred.affine(div=estimator._x_std).linear(rotations, np.zeros(rotations.shape[1]))  # noqa: SLF001 - scikit-learn keeps it nowhere else
    return Outputs(
        {"predict": scores_of(centred, estimator.coef_, estimator.intercept_), "transform": rotated}
    )


def _pls_svd(estimator: PLSSVD, x: Block) -> Block:
    scaled = x.check(missing=True).cast("float64").affine(sub=estimator._x_mean, div=estimator._x_std)  # noqa: SLF001 - scikit-learn keeps it nowhere else
    weights = np.asarray(estimator.x_weights_)
    return scaled.linear(weights, np.zeros(weights.shape[1]))


def _dummy_classifier(estimator: DummyClassifier, x: Block) -> Outputs:
    if estimator.strategy in {"uniform", "stratified"} or estimator.sparse_output_:
        x.refuse(f"strategy={estimator.strategy!r} is random, or its output sparse")
    several = estimator.n_outputs_ > 1
    classes = [np.asarray(each) for each in (estimator.classes_ if several else [estimator.classes_])]
    priors = estimator.class_prior_ if several else [estimator.class_prior_]
    if len({each.dtype for each in classes}) > 1:
        x.refuse("targets of several dtypes")
    proba, labels = [], []
    for position, (values, prior) in enumerate(zip(classes, priors, strict=True)):
        shares = np.asarray(prior, dtype=np.float64)
        if estimator.strategy == "most_frequent":
            shares = np.eye(len(values))[int(np.argmax(shares))]
        elif estimator.strategy == "constant":
            constant = np.ravel(np.asarray(estimator.constant))[position]
            shares = (values == constant).astype(np.float64)
        proba.append(_constant(x, shares))
        labels.append(proba[-1].decide("argmax"))
    if several:
        return Outputs({"predict": labels, "predict_proba": proba}, tuple(classes))
    return Outputs({"predict": labels[0], "predict_proba": proba[0]}, (classes[0],))


def _dummy_regressor(estimator: DummyRegressor, x: Block) -> Outputs:
    constant = np.asarray(estimator.constant_)
    if constant.dtype != np.float64:
        x.refuse(f"a constant of {constant.dtype}")
    return Outputs({"predict": _constant(x, constant.ravel())})


def _constant(x: Block, values: Any) -> Block:
    """Return ``values`` for every row; no column of x is looked at."""
    read = next((column.step for column in x.columns if column.step is not None), None)
    if read is None:
        x.refuse("there is no column to count rows by")
    number = x.builder.add(Step("constant", (read,), {}, {"values": np.ascontiguousarray(values)}))
    return Block(x.builder, tuple(Column(None, number, index) for index in range(len(values))))


CONVERTERS: Final[dict[type | str, Converter]] = {
    MLPClassifier: _mlp_classifier,
    MLPRegressor: _mlp_regressor,
    BernoulliRBM: _boltzmann,
    **dict.fromkeys((PLSRegression, PLSCanonical, CCA), _partial_least_squares),
    PLSSVD: _pls_svd,
    DummyClassifier: _dummy_classifier,
    DummyRegressor: _dummy_regressor,
}
