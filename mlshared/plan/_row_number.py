"""One number of one row through elementwise steps, as Python arithmetic.

    scaled(source) -> (sub, div) where the column is ``(x - sub) / div``: most of them
    scalar(source) -> a function of the raw number, else; None where there is none here
    missing_value(source) -> the column where the number is missing; None where that is refused

For float64 columns. A missing value is asked of the definition beforehand, as it is a constant.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from mlshared.plan._program import Program
from mlshared.plan._row_steps import scalar_step
from mlshared.plan._separable import CodeSource, NumberSource
from mlshared.plan._step import Step

Scalar = Callable[[Any], float]


class Refused(Exception):  # noqa: N818 - caught where it is raised for, never shown
    """The definition may refuse this number."""


def scaled(source: NumberSource) -> tuple[float, float] | None:
    """Return sub and div if a present number becomes ``(x - sub) / div``, not finite where it is infinite."""
    if not _plain(source):
        return None
    sub, div = 0.0, 1.0
    moved = False
    for number, column in source.path:
        step = source.program.steps[number]
        if step.op == "affine" and not moved and not step.has("mul") and not step.has("add"):
            moved = True
            sub = float(step.arrays["sub"][column]) if step.has("sub") else 0.0
            div = float(step.arrays["div"][column]) if step.has("div") else 1.0
        elif not keeps(step):
            return None
    return (sub, div) if div != 0.0 else None


def scalar(source: NumberSource) -> Scalar | None:
    """Return a function of a present number that gives the column, or raises; None if there is none here."""
    if not _plain(source):
        return None
    actions: list[Scalar] = [float]
    for number, column in source.path:
        step = source.program.steps[number]
        if step.op == "check":
            actions.append(_finite)
        elif step.op == "affine":
            actions.append(_affine(step, column))
        elif step.op == "missing" and step.params.get("marker") is None:
            actions.append(_present)
        elif (own := scalar_step(step, column)) is not None:
            actions.append(own)
        elif not keeps(step):
            return None
    return _chained(actions)


def missing_value(source: NumberSource) -> float | None:
    """Return the column's value where the number is missing, NaN perhaps; None if a step refuses that."""
    found, accepted = source.walk([np.nan])
    return float(found[0]) if accepted[0] else None


def read_whole(program: Program, source: CodeSource) -> bool:
    """Return whether the field that is encoded is read as it is, not rounded to float32."""
    read = program.steps[program.steps[source.encoder].inputs[0]]
    return not source.number or read.params.get("dtype") == "float64"


def _plain(source: NumberSource) -> bool:
    shapes = [source.program.compiled[number].shape for number, _ in source.path]
    read = source.program.steps[source.path[0][0]]
    return all(shape.dtype == "float64" for shape in shapes) and not read.has("values")


def keeps(step: Step) -> bool:
    """Return whether a step gives a present, finite number back as it is."""
    if step.op == "fill":
        return step.params.get("marker") is None
    return step.op in {"number", "cast", "check"}


def _affine(step: Step, column: int) -> Scalar:
    sub, div, mul, add = (
        float(step.arrays[name][column]) if step.has(name) else neutral
        for name, neutral in (("sub", 0.0), ("div", 1.0), ("mul", 1.0), ("add", 0.0))
    )
    return lambda x: (x - sub) / div * mul + add


def _finite(x: float) -> float:
    if x - x != 0.0:
        raise Refused
    return x


def _present(x: float) -> float:
    if x != x:  # noqa: PLR0124 - NaN alone differs from itself
        raise Refused
    return 0.0


def _chained(actions: list[Scalar]) -> Scalar:
    def of(x: Any) -> float:
        for action in actions:
            x = action(x)
        return float(x)

    return of
