"""The program of a plan: steps in order, and which of them answer which method.

    {"format": "1.0",
     "steps": [{"op": "number", "field": "distance", "dtype": "float64"},
               {"op": "affine", "in": [0], "arrays": {"sub": "1.sub", "div": "1.div"}}, ...],
     "outputs": {"predict": {"as": "labels", "steps": [7], "classes": [["no", "yes"]]}, ...}}

A step names earlier steps only, so that no cycle can be written. Parsing checks structure; each step checks
itself when it is compiled.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np

from mlshared._breath import breathe
from mlshared.errors import IntegrityError, UnsupportedFormat
from mlshared.plan._ops import FORMAT, ON_COUNTS, OPS
from mlshared.plan._step import MAX_WIDTH, Array, Compiled, Shape, Step

MAX_STEPS: Final = 100_000
MAX_DEPTH: Final = 400  # steps in a chain: ways of answering a row nest calls along it
MAX_CELLS: Final = 1 << 25  # columns of all blocks together, held at once for each row
MAX_CHARACTERS: Final = 1 << 24  # of the classes of a target, padded as numpy does
_DTYPE: Final = re.compile(r"bool|u?int(8|16|32|64)|float(16|32|64)|object|[<>=|]?U[0-9]{1,8}", re.ASCII)
FORMS: Final = ("column", "block", "labels", "list")
METHODS: Final = ("predict", "predict_proba", "decision_function", "transform")


class Output(NamedTuple):
    """How a method is answered.

    Attributes:
        form: ``column``: (n,) of one step of width 1, or (n, steps) of several; ``block``: (n, width);
            ``labels``: classes by their codes, (n,) or (n, steps); ``list``: one block a target.
        steps: The steps answered from.
        classes: With ``labels``, the classes of each step.
        dtype: Of what is answered.
    """

    form: str
    steps: tuple[int, ...]
    classes: tuple[tuple[Any, ...], ...]
    dtype: str


@dataclass(slots=True)
class Budget:
    """How much more may be done to find a fast way of answering; a plan could be made to take hours.

    Attributes:
        left: Columns followed through a step, or 64 numbers computed.
    """

    left: int = 1 << 22

    def take(self, much: int) -> bool:
        """Return whether there is so much left, and take it."""
        self.left -= much
        return self.left >= 0


@dataclass(frozen=True, slots=True)
class Program:
    """A checked program.

    Attributes:
        steps: In order.
        compiled: Each of them.
        outputs: By method.
        tracing: What may be spent, at load, on finding fast ways of answering.
    """

    steps: tuple[Step, ...]
    compiled: tuple[Compiled, ...]
    outputs: dict[str, Output]
    tracing: Budget = field(default_factory=Budget)


def parse_program(program: Mapping[str, Any], arrays: Mapping[str, Array]) -> Program:
    """Return a program whose every step and index has been checked.

    Raises:
        UnsupportedFormat: If it was written by a newer release.
        IntegrityError: If it is not a program.
    """
    written = program.get("format")
    if not isinstance(written, str) or written.split(".")[0] != FORMAT.split(".")[0]:
        raise UnsupportedFormat(
            f"plan format {str(written)[:20]}, this release reads {FORMAT}: upgrade mlshared"
        )
    raw_steps, raw_outputs = program.get("steps"), program.get("outputs")
    if not isinstance(raw_steps, list) or not isinstance(raw_outputs, dict) or len(raw_steps) > MAX_STEPS:
        raise IntegrityError("the plan has no steps, or too many")
    steps: list[Step] = []
    compiled: list[Compiled] = []
    depths: list[int] = []
    cells = 0
    for raw in raw_steps:
        step = _step(raw, len(steps), arrays)
        compiled.append(compile_step(step, tuple(compiled[i].shape for i in step.inputs)))
        breathe()
        steps.append(step)
        depths.append(1 + max((depths[i] for i in step.inputs), default=0))
        cells += compiled[-1].shape.width if compiled[-1].shape.kind == "block" else 0
        if depths[-1] > MAX_DEPTH or cells > MAX_CELLS:
            raise IntegrityError(f"the plan is too large by its step {len(steps) - 1}, {step.op[:40]!r}")
    outputs = {method: _output(method, raw, compiled) for method, raw in raw_outputs.items()}
    if not outputs:
        raise IntegrityError("the plan answers no method")
    return Program(tuple(steps), tuple(compiled), outputs)


def compile_step(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Return one step, checked against its inputs.

    Raises:
        UnsupportedFormat: If there is no such step here.
        IntegrityError: If it does not hold together.
    """
    make = OPS.get(step.op)
    if make is None:
        raise UnsupportedFormat(f"the plan has a step {step.op[:40]!r}, unknown here: upgrade mlshared")
    if any(shape.kind == "counts" for shape in inputs):
        make = ON_COUNTS.get(step.op, make)
    if any(shape.kind == "block" and not shape.width for shape in inputs):
        raise IntegrityError(f"step {step.op[:40]!r} takes a block of no columns")
    compiled = make(step, inputs)
    if compiled.shape.width > MAX_WIDTH:
        raise IntegrityError(f"step {step.op[:40]!r} gives {compiled.shape.width:,} columns")
    return compiled


def _step(raw: Any, number: int, arrays: Mapping[str, Array]) -> Step:
    if not isinstance(raw, dict) or not isinstance(raw.get("op"), str):
        raise IntegrityError(f"step {number} is no step")
    inputs, named = raw.get("in", []), raw.get("arrays", {})
    if not isinstance(inputs, list) or not all(type(i) is int and 0 <= i < number for i in inputs):
        raise IntegrityError(f"step {number} names a step that is not before it")
    if not isinstance(named, dict) or not all(
        name in arrays for name in named.values() if isinstance(name, str)
    ):
        raise IntegrityError(f"step {number} names a tensor that is not there")
    params = {key: value for key, value in raw.items() if key not in {"op", "in", "arrays"}}
    return Step(raw["op"], tuple(inputs), params, {key: arrays[name] for key, name in named.items()})


def _output(method: str, raw: Any, compiled: list[Compiled]) -> Output:
    if method not in METHODS or not isinstance(raw, dict) or raw.get("as") not in FORMS:
        raise IntegrityError(f"the plan's answer to {method[:40]!r} is not described")
    steps, classes = raw.get("steps"), raw.get("classes", [])
    if (
        not isinstance(steps, list)
        or not steps
        or not all(type(i) is int and 0 <= i < len(compiled) for i in steps)
    ):
        raise IntegrityError(f"the plan's answer to {method!r} names no step")
    shapes = [compiled[i].shape for i in steps]
    form = str(raw["as"])
    wanted = "codes" if form == "labels" else "block"
    if any(shape.kind != wanted or (form == "column" and shape.width != 1) for shape in shapes):
        raise IntegrityError(f"the plan's answer to {method!r} is not of the kind it says")
    if form == "block" and len(steps) != 1:
        raise IntegrityError(f"the plan's answer to {method!r} has several blocks")
    dtype = raw.get("dtype", "float64")
    if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
        raise IntegrityError(f"the plan's answer to {method!r} has no dtype")
    if form == "labels":
        _check_classes(method, classes, dtype, shapes)
    elif classes:
        raise IntegrityError(f"the plan's answer to {method!r} has classes, and is none")
    return Output(form, tuple(steps), tuple(tuple(each) for each in classes), dtype)


def _check_classes(method: str, classes: Any, dtype: str, shapes: list[Shape]) -> None:
    """Check that every code of each step has its class, and that numpy can hold the classes."""
    wrong = IntegrityError(f"the plan's answer to {method!r} does not list its classes")
    if not isinstance(classes, list) or len(classes) != len(shapes):
        raise wrong
    longest = int(dtype.rpartition("U")[2]) if "U" in dtype else 1
    for each, shape in zip(classes, shapes, strict=True):
        if (
            not isinstance(each, list)
            or not 0 < shape.codes <= len(each)
            or longest * len(each) > MAX_CHARACTERS
        ):
            raise wrong
        if any(isinstance(value, list | dict) for value in each):
            raise wrong
        try:
            np.array(each, dtype=dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise wrong from error
