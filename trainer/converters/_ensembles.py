"""Voting, stacking and calibration: several inner estimators on the same columns."""

from typing import Any, Final

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier, StackingRegressor, VotingClassifier, VotingRegressor
from sklearn.isotonic import IsotonicRegression

from ._answers import answered, as_numbers, average, isotonic_step, one_minus, positive
from ._block import Block, Converter, Outputs, combine, join

# -- voting


def _voting_classifier(estimator: VotingClassifier, x: Block) -> Outputs:
    classes = np.asarray(estimator.classes_)
    if any(list(inner.classes_) != list(range(len(classes))) for inner in estimator.estimators_):
        x.refuse("an inner classifier was fitted on other classes")
    found = [x.predicted(inner) for inner in estimator.estimators_]
    weights = _weights(estimator)
    if estimator.voting == "hard":
        given = np.ones(len(found)) if weights is None else np.asarray(weights, dtype=np.float64)
        if (given < 0).any():
            x.refuse("negative weights of votes")
        codes = [answered(each, "predict", x) for each in found]
        names = [None] * len(classes)
        votes = combine(codes, "tally", classes=len(classes), names=names, arrays={"weights": given})
        return Outputs({"predict": votes.decide("argmax")}, (classes,))
    probas = [answered(each, "predict_proba", x) for each in found]
    proba = average(probas, weights, dtype="float64" if weights is not None else join(probas).dtype)
    methods: dict[str, Block | list[Block]] = {"predict": proba.decide("argmax"), "predict_proba": proba}
    if estimator.flatten_transform:
        methods["transform"] = join(probas)
    return Outputs(methods, (classes,))


def _voting_regressor(estimator: VotingRegressor, x: Block) -> Outputs:
    found = [answered(x.predicted(inner), "predict", x) for inner in estimator.estimators_]
    if any(block.width != 1 for block in found):
        x.refuse("several targets")
    weights = _weights(estimator)
    mean = average(found, weights, dtype="float64" if weights is not None else join(found).dtype)
    return Outputs({"predict": mean, "transform": join(found)})


def _weights(estimator: Any) -> list[float] | None:
    """Return the weights of the estimators that were not dropped."""
    if estimator.weights is None:
        return None
    pairs = zip(estimator.estimators, estimator.weights, strict=True)
    return [weight for (_, inner), weight in pairs if not isinstance(inner, str)]


# -- stacking


def _stacking(estimator: Any, x: Block) -> Outputs:
    binary = len(getattr(estimator, "classes_", ())) == 2
    blocks, labels = [], 0
    for inner, method in zip(estimator.estimators_, estimator.stack_method_, strict=True):
        found = x.predicted(inner)
        block = answered(found, method, x)
        if method == "predict" and found.classes:
            block = as_numbers(block, inner.classes_)
            labels += 1
        blocks.append(block.select(range(1, block.width)) if binary and method == "predict_proba" else block)
    stacked = join([*blocks, x] if estimator.passthrough else blocks)
    found = stacked.renamed([None] * stacked.width).predicted(estimator.final_estimator_)
    methods = dict(found.methods)
    if estimator.passthrough or labels < len(blocks):  # labels alone would be whole numbers
        methods["transform"] = stacked
    if isinstance(estimator, StackingRegressor):
        return Outputs(methods, found.classes)
    classes = estimator.classes_
    if isinstance(classes, list):
        x.refuse("several targets")
    # The final estimator learned the positions of the classes.
    return Outputs(methods, (np.asarray(classes)[np.asarray(estimator.final_estimator_.classes_)],))


# -- calibration


def _calibrated(estimator: CalibratedClassifierCV, x: Block) -> Outputs:
    classes = np.asarray(estimator.classes_)
    parts = [_calibrated_part(part, x, classes) for part in estimator.calibrated_classifiers_]
    proba = average(parts)
    return Outputs({"predict": proba.decide("argmax"), "predict_proba": proba}, (classes,))


def _calibrated_part(part: Any, x: Block, classes: Any) -> Block:
    # Temperature scaling fits on the positions of the classes.
    seen = part.estimator.classes_
    if not (np.array_equal(seen, classes) or (part.method == "temperature" and len(seen) == len(classes))):
        x.refuse("an inner classifier did not see every class")
    method, scores = positive(part.estimator, x.predicted(part.estimator), x)
    if part.method == "temperature":
        return _tempered(part.calibrators[0], scores, probabilities=method == "predict_proba")
    calibrated = _calibrators(part, scores.cast("float64") if part.method == "sigmoid" else scores)
    if len(classes) == 2:
        return join([one_minus(calibrated), calibrated])
    return calibrated.apply("shares", otherwise="uniform")


def _calibrators(part: Any, scores: Block) -> Block:
    if all(type(each) is IsotonicRegression for each in part.calibrators):
        scores = scores.check(missing=True)  # as IsotonicRegression does, and the sigmoid does not
        columns = [isotonic_step(each, scores.select([i])) for i, each in enumerate(part.calibrators)]
        return join(columns)
    if part.method != "sigmoid":
        scores.refuse(f"calibration by {part.method}")
    slope = np.array([each.a_ for each in part.calibrators])
    offset = np.array([each.b_ for each in part.calibrators])
    return scores.affine(mul=-slope, add=-offset).link("logistic")


def _tempered(calibrator: Any, scores: Block, *, probabilities: bool) -> Block:
    if scores.width == 1:
        pair = [one_minus(scores) if probabilities else scores.affine(mul=-1), scores]
        scores = join(pair)
    if scores.dtype != "float64":
        scores.refuse("temperature scaling in float32")
    if scores.width > 2 or probabilities:
        scores = scores.apply("logits")
    return scores.affine(mul=float(calibrator.beta_)).link("softmax")


CONVERTERS: Final[dict[type | str, Converter]] = {
    VotingClassifier: _voting_classifier,
    VotingRegressor: _voting_regressor,
    StackingClassifier: _stacking,
    StackingRegressor: _stacking,
    CalibratedClassifierCV: _calibrated,
}
