"""Linear models: a dot product, and each family's own decision rule."""

from typing import Any, Final

import numpy as np
from sklearn.linear_model import LogisticRegression

from ._block import Block, Converter, Outputs


def _logistic_regression(estimator: LogisticRegression, x: Block) -> Outputs:
    scores = _scores(estimator, x)
    if scores.width == 1:
        proba = scores.link("logistic2")
        labels = scores.decide("positive")
    else:
        proba = scores.link("softmax")
        labels = scores.decide("argmax")
    return Outputs(
        {"predict": labels, "predict_proba": proba, "decision_function": scores},
        (np.asarray(estimator.classes_),),
    )


def _scores(estimator: Any, x: Block) -> Block:
    x = x.check(missing=True)
    return x.linear(np.atleast_2d(estimator.coef_).T, np.atleast_1d(estimator.intercept_))


CONVERTERS: Final[dict[type | str, Converter]] = {
    LogisticRegression: _logistic_regression,
}
