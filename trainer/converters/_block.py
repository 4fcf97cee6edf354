"""A value of a plan under construction: `Block`, what converters take and return.

    x.affine(sub=mean, div=scale)      one more step; returns the block it gives
    x.select([0, 2])  join(blocks)     no step: columns are gathered when something computes on them
    x.convert(inner)                   the block, or `Outputs`, of another fitted estimator
    x.refuse("why")                    raises NotConvertible, naming where

A block's columns are numbers, the column of a step, or labels, a field of texts that nothing has encoded yet.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, Never

import numpy as np

from mlshared.errors import IntegrityError, MlsharedError
from mlshared.manifest import Field
from mlshared.plan import Shape, Step
from mlshared.plan._ops import ON_COUNTS, READS
from mlshared.plan._program import compile_step
from mlshared.plan._step import Array

UNFILLED: Final[Any] = object()


class NotConvertible(MlsharedError):  # noqa: N818 - a documented name
    """A pipeline has no plan; the message names the step and why."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a block.

    Attributes:
        name: As scikit-learn calls it, or None.
        step: The step it comes from; None for a field that is not read, because nothing may use it.
        index: Which column of that step.
        label: Whether it is a column of labels.
        fill: For labels: what is put in the place of a missing one, or `UNFILLED`.
        origin: The field it is, unchanged; None once computed on.
        sparse: Whether scikit-learn would hold it in a sparse matrix, whose zeros some steps pass over.
    """

    name: str | None
    step: int | None
    index: int = 0
    label: bool = False
    fill: Any = UNFILLED
    origin: str | None = None
    sparse: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """What an estimator at the end of a pipeline answers.

    Attributes:
        methods: ``predict``, ``predict_proba``, ``decision_function`` -> a block, or one a target. For a
            classifier, ``predict`` is codes.
        classes: The classes that codes stand for: one array a target.
    """

    methods: dict[str, "Block | list[Block]"]
    classes: tuple[Array, ...] = ()

    def block(self, method: str) -> "Block":
        """Return the one block that answers a method."""
        found = self.methods[method]
        assert isinstance(found, Block)
        return found


Converter = Callable[[Any, "Block"], "Block | Outputs"]


class Builder:
    """The steps and tensors of a plan under construction."""

    def __init__(self, convert: Callable[[Any, "Block"], "Block | Outputs"]) -> None:
        self.convert = convert
        self.steps: list[Step] = []
        self.shapes: list[Shape] = []
        self.path: list[str] = []
        self.rounding = False
        self.fields: dict[str, Field] = {}

    def add(self, step: Step) -> int:
        """Append a step, checked as a client will check it; the same step again is the same one."""
        if step.op not in ON_COUNTS:
            step = replace(step, inputs=tuple(self.as_block(i) for i in step.inputs))
        for number, known in enumerate(self.steps):
            if _same(step, known):
                return number
        try:
            compiled = compile_step(step, tuple(self.shapes[i] for i in step.inputs))
        except IntegrityError as error:
            raise NotConvertible(f"{self.where()}: {error}") from error
        self.steps.append(step)
        self.shapes.append(compiled.shape)
        return len(self.steps) - 1

    def as_block(self, number: int) -> int:
        """Return the step that gives counts with their zeros, as a block; other steps are what they are."""
        return self.add(Step("dense", (number,))) if self.shapes[number].kind == "counts" else number

    @contextmanager
    def inside(self, what: str) -> Iterator[None]:
        """Name a place, for messages."""
        self.path.append(what)
        try:
            yield
        finally:
            self.path.pop()

    def where(self) -> str:
        """Return where conversion is: ``Pipeline > ColumnTransformer > OneHotEncoder``."""
        return " > ".join(self.path) or "estimator"


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Columns of a plan under construction, shape (n, width)."""

    builder: Builder
    columns: tuple[Column, ...]

    @property
    def width(self) -> int:
        """How many columns."""
        return len(self.columns)

    @property
    def names(self) -> list[str | None]:
        """What scikit-learn calls the columns."""
        return [column.name for column in self.columns]

    @property
    def dtype(self) -> str:
        """``float32`` if all columns are, else ``float64``; ``object`` with labels among them."""
        if any(column.label for column in self.columns):
            return "object"
        kinds = {self.builder.shapes[column.step].dtype for column in self.columns if column.step is not None}
        return "float32" if kinds == {"float32"} else "float64"

    # -- columns, without a step

    def select(self, indices: Iterable[int]) -> "Block":
        """Return some of the columns, in that order."""
        return replace(self, columns=tuple(self.columns[int(i)] for i in indices))

    def renamed(self, names: Sequence[str | None]) -> "Block":
        """Return the same columns under other names."""
        renamed = (replace(column, name=name) for column, name in zip(self.columns, names, strict=True))
        return replace(self, columns=tuple(renamed))

    @property
    def sparse(self) -> bool:
        """Whether scikit-learn would hold the columns in a sparse matrix."""
        return any(column.sparse for column in self.columns)

    def stored(self, *, sparse: bool) -> "Block":
        """Return the same columns, as scikit-learn would store them."""
        return replace(self, columns=tuple(replace(column, sparse=sparse) for column in self.columns))

    def fields(self) -> "list[Field | None]":
        """Return the field each column is, unchanged; None for one that was computed."""
        known = self.builder.fields
        return [None if column.origin is None else known.get(column.origin) for column in self.columns]

    def unified(self) -> "Block":
        """Return the columns in their common dtype, as one array would hold them; of objects, float64."""
        if self.labelled():
            return join([self._widened(position) for position in range(self.width)])
        steps = [column.step for column in self.columns if column.step is not None]
        dtypes = {self.builder.shapes[step].dtype for step in steps}
        if len(steps) < self.width or len(dtypes) < 2:
            return self
        return self._after(self.step(), self.names).stored(sparse=self.sparse)

    def labelled(self) -> bool:
        """Return whether any column is labels."""
        return any(column.label for column in self.columns)

    def leaving_out(self, kept: Iterable[int]) -> "Block":
        """Return the same columns, such that those ``kept`` come after whatever refuses a row for another one.

        scikit-learn has computed all of them by the time it leaves some out.
        """
        numbers = [place for place, column in enumerate(self.columns) if self._computed(column)]
        if not set(numbers) - set(kept):
            return self
        columns = list(self.columns)
        readable = [
            place for place, column in enumerate(columns) if not column.label and column.step is not None
        ]
        tied = self.select(readable).apply("check", missing=False, infinite=False)
        for place, column in zip(readable, tied.columns, strict=True):
            columns[place] = replace(column, sparse=columns[place].sparse)
        return replace(self, columns=tuple(columns))

    def _computed(self, column: Column) -> bool:
        return column.step is not None and self.builder.steps[column.step].op not in READS

    def _widened(self, position: int) -> "Block":
        """Return one column; a number as one of float64."""
        column = self.columns[position]
        one = self.select([position])
        return (
            one if column.label or column.step is None else one.cast("float64").stored(sparse=column.sparse)
        )

    # -- steps

    def step(self) -> int:
        """Return the step that gives exactly these columns, gathering them if there is none."""
        if self.labelled():
            self.refuse("computes on texts; encode them first")
        steps = [column.step for column in self.columns]
        if None in steps:
            self.refuse("reads a column that the pipeline was found not to read")
        sources = list(dict.fromkeys(step for step in steps if step is not None))
        if not sources:
            self.refuse("has no columns")
        widths = {source: self.builder.shapes[source].width for source in sources}
        if len(sources) == 1 and [column.index for column in self.columns] == list(range(widths[sources[0]])):
            return sources[0]
        arrays = {
            "source": np.array([sources.index(step) for step in steps if step is not None], dtype=np.int64),
            "column": np.array([column.index for column in self.columns], dtype=np.int64),
        }
        return self.builder.add(Step("gather", tuple(sources), {}, arrays))

    def apply(
        self,
        op: str,
        *,
        names: Sequence[str | None] | None = None,
        arrays: dict[str, Any] | None = None,
        **params: Any,
    ) -> "Block":
        """Append a step on these columns and return what it gives.

        Args:
            op: Its name, as in `mlshared.plan`.
            names: Of the columns it gives; default: those it takes, if the width stays.
            arrays: Its tensors.
            **params: Its scalars, texts and lists, JSON-able and finite.
        """
        tensors = {key: np.ascontiguousarray(value) for key, value in (arrays or {}).items()}
        return self._after(self.builder.add(Step(op, (self.step(),), params, tensors)), names)

    def check(self, *, missing: bool, infinite: bool = True) -> "Block":
        """Refuse rows where scikit-learn would: with a missing or an infinite value."""
        if self.sparse and self.builder.steps[self.step()].op in {"count", "tfidf"}:
            return self  # counts of words are neither
        return self.apply("check", missing=missing, infinite=infinite)

    def cast(self, dtype: str) -> "Block":
        """Round to ``float32``, or widen to ``float64``."""
        return self if self.dtype == dtype else self.apply("cast", dtype=dtype)

    def affine(self, *, sub: Any = None, div: Any = None, mul: Any = None, add: Any = None) -> "Block":
        """Compute ``((x - sub) / div) * mul + add``, each optional, one value a column."""
        given = {"sub": sub, "div": div, "mul": mul, "add": add}
        if all(value is None for value in given.values()):
            return self
        return self.apply("affine", arrays=self._per_column(given))

    def fill(self, values: Any, *, marker: float | None = None) -> "Block":
        """Put values, one a column, in the place of NaN, or of ``marker``."""
        return self.apply("fill", arrays=self._per_column({"values": values}), marker=marker)

    def missing(self, *, marker: float | None = None) -> "Block":
        """Return 1 where a value is missing and 0 elsewhere."""
        return self.apply("missing", marker=marker)

    def encode(self, values: Any, *, missing: int | None, unknown: int | None) -> "Block":
        """Return the codes of the one column's values; ``missing`` and ``unknown`` are codes, None refuses."""
        (column,) = self.columns
        params: dict[str, Any] = {"missing": missing, "unknown": unknown, "name": column.name or "input"}
        arrays = {}
        if not column.label:
            arrays["values"] = np.asarray(values, dtype=np.float64)
            return self.apply("encode", names=[column.name], arrays=arrays, **params)
        listed = [value.item() if isinstance(value, np.generic) else value for value in values]
        if column.fill is not UNFILLED:
            params["missing"] = listed.index(column.fill) if column.fill in listed else unknown
        assert column.step is not None
        number = self.builder.add(Step("encode", (column.step,), {**params, "values": listed}))
        return self._after(number, [column.name])

    def lookup(
        self, table: Any, otherwise: Any, *, names: Sequence[str | None], dtype: str = "float64"
    ) -> "Block":
        """Return the row of ``table`` (codes, width) for each code, ``otherwise`` (width) for code -1."""
        arrays = {"table": np.asarray(table, dtype=dtype), "otherwise": np.asarray(otherwise, dtype=dtype)}
        return self.apply("lookup", names=names, arrays=arrays, dtype=dtype)

    def linear(self, weights: Any, offset: Any, *, names: Sequence[str | None] | None = None) -> "Block":
        """Return ``x @ weights + offset``; weights (width, outputs). Declares rounding."""
        self.builder.rounding = True
        dtype = self.dtype
        arrays = {"W": np.asarray(weights, dtype=dtype), "b": np.asarray(offset, dtype=dtype)}
        return self.apply("linear", names=names or [None] * arrays["W"].shape[1], arrays=arrays)

    def link(self, kind: str) -> "Block":
        """Turn scores into probabilities or responses."""
        self.builder.rounding = True
        return self.apply("link", names=[None] * (2 if kind == "logistic2" else self.width), kind=kind)

    def decide(self, rule: str, **params: Any) -> "Block":
        """Return the codes of the classes decided for."""
        return self.apply("decide", names=[None], rule=rule, **params)

    # -- the rest

    def convert(self, estimator: Any) -> "Block | Outputs":
        """Return what another fitted estimator makes of these columns."""
        return self.builder.convert(estimator, self)

    def transformed(self, estimator: Any) -> "Block":
        """Return what a fitted transformer makes of these columns."""
        found = self.convert(estimator)
        if isinstance(found, Outputs):
            block = found.methods.get("transform")
            if not isinstance(block, Block):
                self.refuse(f"{type(estimator).__name__} does not transform")
            return block
        return found

    def predicted(self, estimator: Any) -> Outputs:
        """Return what a fitted predictor answers to these columns."""
        found = self.convert(estimator)
        if isinstance(found, Block):
            self.refuse(f"{type(estimator).__name__} does not predict")
        return found

    def refuse(self, why: str) -> Never:
        """Say why there is no plan.

        Raises:
            NotConvertible: Always.
        """
        raise NotConvertible(f"{self.builder.where()}: {why}")

    def _per_column(self, given: dict[str, Any]) -> dict[str, Array]:
        dtype = self.dtype
        return {
            key: np.broadcast_to(np.asarray(value, dtype=dtype), (self.width,))
            for key, value in given.items()
            if value is not None
        }

    def _after(self, number: int, names: Sequence[str | None] | None) -> "Block":
        width = self.builder.shapes[number].width
        if names is None:
            names = self.names if width == self.width else [None] * width
        columns = (Column(name, number, index) for index, name in enumerate(names))
        return replace(self, columns=tuple(columns))


def join(blocks: Sequence[Block]) -> Block:
    """Return the columns of several blocks side by side."""
    return replace(blocks[0], columns=tuple(column for block in blocks for column in block.columns))


def combine(blocks: Sequence[Block], op: str, **arguments: Any) -> Block:
    """Append a step that takes several blocks."""
    first = blocks[0]
    arrays = {key: np.ascontiguousarray(value) for key, value in arguments.pop("arrays", {}).items()}
    names = arguments.pop("names", None)
    number = first.builder.add(Step(op, tuple(block.step() for block in blocks), arguments, arrays))
    return first._after(number, names)  # noqa: SLF001 - its own module


def _same(one: Step, other: Step) -> bool:
    if (one.op, one.inputs, one.params) != (other.op, other.inputs, other.params):
        return False
    if one.arrays.keys() != other.arrays.keys():
        return False
    return all(
        mine.dtype == theirs.dtype and mine.shape == theirs.shape and mine.tobytes() == theirs.tobytes()
        for mine, theirs in ((one.arrays[key], other.arrays[key]) for key in one.arrays)
    )
