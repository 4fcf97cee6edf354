"""Steps of ensembles of one kind of estimator: the weighted median of their answers, the isolation score."""

import numpy as np

from mlshared.errors import IntegrityError
from mlshared.plan._step import Array, Compiled, Shape, Step, only


def median(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Give the weighted median of a row: the first of its sorted values that reaches half of ``weights``.

    Source: ``_get_median_predict`` of sklearn/ensemble/_weight_boosting.py, H. Drucker 1997.
    """
    shape = only(step, inputs)
    if not shape.width:
        raise IntegrityError("step 'median' takes columns")
    weights = step.array("weights", shape.width)

    def run(x: Array) -> Array:
        order = np.argsort(x, axis=1)
        reached = np.cumsum(weights[order], axis=1)
        place = (reached >= 0.5 * reached[:, -1:]).argmax(axis=1)[:, None]
        return np.take_along_axis(x, np.take_along_axis(order, place, axis=1), axis=1)

    return Compiled(Shape("block", 1, shape.dtype), run)


def isolation(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Turn the summed path lengths of isolation trees into ``-2 ** -(x / length) - offset``.

    ``length`` is what the sum would be on average. Source: F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation
    Forest", 2008, as sklearn/ensemble/_iforest.py computes it: where ``length`` is 0, the exponent is -1.
    """
    shape = only(step, inputs)
    length = step.number("length", low=0, high=1e300)
    offset = step.number("offset", low=-1e300, high=1e300)

    def run(x: Array) -> Array:
        ratio = np.divide(x, length) if length else np.ones_like(x)
        with np.errstate(over="ignore"):
            return np.asarray(-np.power(2.0, -ratio) - offset)

    return Compiled(shape, run)
