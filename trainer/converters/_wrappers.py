"""Estimators that answer through one inner estimator: searches, thresholds, frozen ones, transformed targets."""

from typing import Any, Final

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.feature_selection import RFE, RFECV
from sklearn.frozen import FrozenEstimator
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.utils import get_tags

from ._answers import answered, first_answered, isotonic_step, swapped
from ._block import Block, Converter, Outputs


def _frozen(estimator: FrozenEstimator, x: Block) -> Block | Outputs:
    return x.convert(estimator.estimator)


def _search(estimator: Any, x: Block) -> Block | Outputs:
    if not hasattr(estimator, "best_estimator_"):
        x.refuse("was fitted with refit=False, and holds no estimator")
    return x.convert(estimator.best_estimator_)


def _self_training(estimator: SelfTrainingClassifier, x: Block) -> Outputs:
    return x.predicted(estimator.estimator_)


def _eliminated(estimator: Any, x: Block) -> Outputs:
    """Recursive feature elimination: the columns it kept, and what its inner estimator says of them."""
    allows = get_tags(estimator).input_tags.allow_nan
    kept = x.check(missing=not allows, infinite=not allows).select(np.flatnonzero(estimator.support_))
    inner = kept.predicted(estimator.estimator_)
    return Outputs({**inner.methods, "transform": kept}, inner.classes)


# -- thresholds


def _fixed_threshold(estimator: FixedThresholdClassifier, x: Block) -> Outputs:
    inner = getattr(estimator, "estimator_", estimator.estimator)
    method, threshold = _method(estimator, inner, x), estimator.threshold
    if isinstance(threshold, str):
        threshold = 0.5 if method == "predict_proba" else 0.0
    return _thresholded(inner, x, method=method, threshold=threshold, positive=estimator.pos_label)


def _tuned_threshold(estimator: TunedThresholdClassifierCV, x: Block) -> Outputs:
    inner = estimator.estimator_
    positive = estimator._curve_scorer._get_pos_label()  # noqa: SLF001 - what its predict asks
    method = _method(estimator, inner, x)
    return _thresholded(inner, x, method=method, threshold=estimator.best_threshold_, positive=positive)


def _method(estimator: Any, inner: Any, x: Block) -> str:
    if estimator.response_method != "auto":
        return str(estimator.response_method)
    return first_answered(inner, x, ("predict_proba", "decision_function"))


def _thresholded(inner: Any, x: Block, *, method: str, threshold: float, positive: Any) -> Outputs:
    found = x.predicted(inner)
    classes = np.asarray(inner.classes_)
    if len(classes) != 2:
        x.refuse("a threshold needs two classes")
    at = 1 if positive is None else int(np.flatnonzero(classes == positive)[0])
    scores = answered(found, method, x)
    column = at if method == "predict_proba" else 0
    if method != "predict_proba" and at == 0:
        scores = scores.affine(mul=-1)
    decided = scores.decide("at_least", column=column, threshold=float(threshold))
    if at == 0:
        decided = swapped(decided)
    return Outputs({**found.methods, "predict": decided}, (classes,))


# -- targets


def _transformed_target(estimator: TransformedTargetRegressor, x: Block) -> Outputs:
    found = answered(x.predicted(estimator.regressor_), "predict", x)
    transformer = estimator.transformer_
    kind = type(transformer)
    if kind is FunctionTransformer:
        back = FunctionTransformer(
            transformer.inverse_func, kw_args=transformer.inv_kw_args, validate=transformer.validate
        )
        return Outputs({"predict": found.transformed(back.fit(np.zeros((1, found.width))))})
    if kind is PowerTransformer:
        return Outputs({"predict": _unpowered(transformer, found)})
    if kind is QuantileTransformer:
        return Outputs({"predict": _from_quantiles(transformer, found)})
    steps = _inverse(transformer, found)
    dtype = found.dtype
    for step in steps:  # scikit-learn computes each in float64, and rounds it to the predictions' dtype
        found = found.cast("float64").affine(**step).cast(dtype)
    return Outputs({"predict": found})


def _inverse(transformer: Any, x: Block) -> list[dict[str, Any]]:
    """Return the affine steps of a fitted scaler's inverse, in scikit-learn's order."""
    kind = type(transformer)
    if kind is StandardScaler:
        given = [("mul", transformer.scale_), ("add", transformer.mean_ if transformer.with_mean else None)]
    elif kind is MinMaxScaler:
        given = [("sub", transformer.min_), ("div", transformer.scale_)]
    elif kind is MaxAbsScaler:
        given = [("mul", transformer.scale_)]
    elif kind is RobustScaler:
        given = [
            ("mul", transformer.scale_ if transformer.with_scaling else None),
            ("add", transformer.center_ if transformer.with_centering else None),
        ]
    else:
        x.refuse(f"the inverse of {kind.__name__} on targets")
    return [{name: value} for name, value in given if value is not None]


def _unpowered(transformer: PowerTransformer, x: Block) -> Block:
    if x.dtype != "float64":
        x.refuse("the inverse of a power transform in float32")
    if transformer.standardize:
        scaler = transformer._scaler  # noqa: SLF001 - how it standardizes
        x = x.affine(mul=scaler.scale_, add=scaler.mean_)
    x.builder.rounding = True
    kind = transformer.method.replace("-", "_")
    return x.apply("unpower", arrays={"lambdas": np.asarray(transformer.lambdas_, np.float64)}, kind=kind)


def _from_quantiles(transformer: QuantileTransformer, x: Block) -> Block:
    if transformer.output_distribution != "uniform" or x.width != 1 or x.dtype != "float64":
        x.refuse("the inverse of quantiles that are normal, of several targets, or in float32")
    arrays = {"x": transformer.references_, "y": transformer.quantiles_[:, 0]}
    return x.check(missing=False).apply("isotonic", arrays=arrays, outside="clip")


# -- isotonic regression


def _isotonic(estimator: IsotonicRegression, x: Block) -> Outputs:
    if x.width != 1:
        x.refuse("takes one column")
    return Outputs({"predict": isotonic_step(estimator, x.check(missing=True))})


CONVERTERS: Final[dict[type | str, Converter]] = {
    FrozenEstimator: _frozen,
    GridSearchCV: _search,
    RandomizedSearchCV: _search,
    "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV": _search,
    "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV": _search,
    SelfTrainingClassifier: _self_training,
    RFE: _eliminated,
    RFECV: _eliminated,
    FixedThresholdClassifier: _fixed_threshold,
    TunedThresholdClassifierCV: _tuned_threshold,
    TransformedTargetRegressor: _transformed_target,
    IsotonicRegression: _isotonic,
}
