"""`convert`: a fitted estimator in, a plan out, or `NotConvertible` with the step and the reason.

convert(estimator, examples)              the plan
@convert.register(MyEstimator)            how one type is converted, by exact type:
def _(estimator, x): ...                  a subclass may override what it does, and must register itself
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlshared.errors import IntegrityError
from mlshared.manifest import Field
from mlshared.plan import Plan, load_plan, pack
from mlshared.plan._ops import FORMAT
from mlshared.plan._step import Array, Step

from .._fields import infer_fields
from ._block import Block, Builder, Column, Converter, NotConvertible, Outputs


@dataclass(frozen=True, slots=True)
class Converted:
    """A plan, as published.

    Attributes:
        data: Its file.
        plan: Loaded from that file.
        rounding: Whether any step rounds otherwise than scikit-learn may (a dot product, a transcendental
            function); else answers are equal to the bit.
    """

    data: bytes
    plan: Plan
    rounding: bool


class Convert:
    """Converters by exact type; called, it converts.

    Args:
        converters: By type, or by ``module.qualname`` for types of packages that may not be installed.
    """

    def __init__(self, converters: Mapping[type | str, Converter]) -> None:
        self._converters = dict(converters)

    def __call__(self, estimator: Any, examples: Any) -> Plan:
        """Return the plan of a fitted estimator.

        Args:
            estimator: Fitted.
            examples: Rows like those it was fitted on, shape (n, columns).

        Raises:
            NotConvertible: Naming the step and why.
        """
        _, fields, categories = infer_fields(estimator, examples)
        return self.converted(estimator, fields, categories).plan

    def register(self, kind: type) -> Callable[[Converter], Converter]:
        """Return a decorator that makes its function the converter of exactly this type."""

        def decorate(converter: Converter) -> Converter:
            self._converters[kind] = converter
            return converter

        return decorate

    def converted(
        self, estimator: Any, fields: Sequence[Field], categories: dict[str, list[Any]] | None = None
    ) -> Converted:
        """Return the plan of a fitted estimator that reads ``fields``, with its file.

        Raises:
            NotConvertible: Naming the step and why.
        """
        builder = Builder(self._one)
        builder.fields = {field.name: field for field in fields}
        x = _reads(builder, estimator, fields, categories or {})
        found = self._one(estimator, x)
        outputs = Outputs({"transform": found}) if isinstance(found, Block) else found
        data = _packed(builder, outputs)
        try:
            return Converted(data, load_plan(data), builder.rounding)
        except IntegrityError as error:  # beyond what a client takes: too deep, too wide
            raise NotConvertible(str(error)) from error

    def _one(self, estimator: Any, x: Block) -> "Block | Outputs":
        kind = type(estimator)
        with x.builder.inside(kind.__name__):
            name = f"{kind.__module__}.{kind.__qualname__}"
            converter = self._converters.get(kind) or self._converters.get(name)
            if converter is None:
                x.refuse(f"no converter for {name}")
            return converter(estimator, x)


def _reads(
    builder: Builder, estimator: Any, fields: Sequence[Field], categories: dict[str, list[Any]]
) -> Block:
    """Return the columns the estimator was fitted on; those it does not read are there, and unreadable."""
    named = {field.name: field for field in fields}
    names = getattr(estimator, "feature_names_in_", None)
    columns = []
    for name in [field.name for field in fields] if names is None else [str(name) for name in names]:
        field = named.get(name)
        if field is None:
            columns.append(Column(name, None))
            continue
        label = field.kind in {"category", "text"} and field.value_type in {"str", None}
        known = categories.get(name)
        if field.kind == "datetime" or (field.kind == "category" and field.value_type == "bool"):
            raise NotConvertible(
                f"field {name!r} holds {field.kind} values of {field.value_type}, not numbers or text"
            )
        op = "labels" if label else "number"
        # Integers pass through float64 whole up to 2**53; narrower floats stay what they were.
        dtype = {} if label else {"dtype": "float32" if field.dtype == "float32" else "float64"}
        # A value outside of a pandas category dtype is a missing one to it.
        listed = {"values": known} if known is not None and label else {}
        arrays = {"values": np.array(known, dtype=np.float64)} if known is not None and not label else {}
        step = builder.add(Step(op, (), {"field": name, **dtype, **listed}, arrays))
        columns.append(Column(name, step, label=label, origin=name))
    return Block(builder, tuple(columns))


def _packed(builder: Builder, outputs: Outputs) -> bytes:
    # First, for an answer that gathers columns of several steps is one more step.
    described = {method: _output(method, found, outputs) for method, found in outputs.methods.items()}
    arrays: dict[str, Array] = {}
    steps = []
    for number, step in enumerate(builder.steps):
        named = {key: f"{number}.{key}" for key in step.arrays}
        arrays.update({f"{number}.{key}": array for key, array in step.arrays.items()})
        raw = {"op": step.op, **step.params}
        if step.inputs:
            raw["in"] = list(step.inputs)
        if named:
            raw["arrays"] = named
        steps.append(raw)
    return pack({"format": FORMAT, "steps": steps, "outputs": described}, arrays)


def _output(method: str, found: "Block | list[Block]", outputs: Outputs) -> dict[str, Any]:
    blocks = found if isinstance(found, list) else [found]
    numbers = [block.builder.as_block(block.step()) for block in blocks]
    shapes = [block.builder.shapes[number] for block, number in zip(blocks, numbers, strict=True)]
    if method == "predict" and outputs.classes:
        classes = [array.tolist() for array in outputs.classes]
        dtype = str(np.asarray(outputs.classes[0]).dtype)
        return {"as": "labels", "steps": numbers, "classes": classes, "dtype": dtype}
    if isinstance(found, list) and method == "predict_proba":
        return {"as": "list", "steps": numbers}
    if all(shape.width == 1 for shape in shapes) and method in {"predict", "decision_function"}:
        return {"as": "column", "steps": numbers, "dtype": shapes[0].dtype}
    return {"as": "block", "steps": numbers, "dtype": shapes[0].dtype}
