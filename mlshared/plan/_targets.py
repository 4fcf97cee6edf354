"""Steps back from a transformed target."""

import numpy as np

from mlshared.plan._step import Array, Compiled, Shape, Step, only

_SPACING = float(np.spacing(1.0))


def unpower(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Undo a power transform: ``kind``, and ``lambdas``, one a column.

    Source: ``PowerTransformer.inverse_transform`` of sklearn/preprocessing/_data.py, and
    `scipy.special.inv_boxcox`.
    """
    shape = only(step, inputs)
    lambdas = step.array("lambdas", shape.width).tolist()
    kind = step.choice("kind", ("yeo_johnson", "box_cox"))
    undo = _from_yeo_johnson if kind == "yeo_johnson" else _from_box_cox

    def run(x: Array) -> Array:
        with np.errstate(all="ignore"):
            columns = [undo(x[:, column], power) for column, power in enumerate(lambdas)]
        return np.stack(columns, axis=1) if columns else x

    return Compiled(shape, run)


def _from_yeo_johnson(x: Array, power: float) -> Array:
    above = np.exp(x) - 1 if abs(power) < _SPACING else np.power(x * power + 1, 1 / power) - 1
    other = 2 - power
    below = 1 - np.power(-other * x + 1, 1 / other) if abs(power - 2) > _SPACING else 1 - np.exp(-x)
    return np.where(x >= 0, above, below)


def _from_box_cox(x: Array, power: float) -> Array:
    return np.asarray(np.exp(x) if power == 0 else np.exp(np.log1p(power * x) / power))
