"""A plan: what answers rows without scikit-learn.

    load_plan(bytes) -> Plan
    plan.run(method, columns)     the definition: every step over arrays of n rows
    plan.one(method)              a function of one checked row, specialised once

Both read fields by name, checked before: numbers, texts, None where missing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlshared._breath import breathe
from mlshared.errors import IntegrityError
from mlshared.plan._file import unpack
from mlshared.plan._ops import READS
from mlshared.plan._program import Output, Program, parse_program
from mlshared.plan._rows import specialise
from mlshared.plan._separable import thresholds

Row = Mapping[str, Any]


class Plan:
    """A converted pipeline; immutable, and safe for any number of threads.

    Args:
        program: Checked.
        size: Of its file, in bytes.
    """

    def __init__(self, program: Program, size: int = 0) -> None:
        self.program = program
        self.size = size
        self._needed = {method: _needed(program, output.steps) for method, output in program.outputs.items()}
        shared: dict[Any, Any] = {}
        self._one = {method: self._specialised(method, shared) for method in program.outputs}

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods it answers."""
        return tuple(self.program.outputs)

    @property
    def single(self) -> bool:
        """Whether it answers, somewhere, in single precision."""
        return any(output.dtype == "float32" for output in self.program.outputs.values())

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it reads, in order of first use."""
        return tuple(dict.fromkeys(field for field, _ in self.reads))

    @property
    def reads(self) -> tuple[tuple[str, str], ...]:
        """Each field and how it is read, ``number`` or ``labels``; a field may be read twice."""
        return tuple((step.params["field"], step.op) for step in self.program.steps if step.op in READS)

    def run(self, method: str, columns: Mapping[str, Any]) -> Any:
        """Return the answer to n rows, as the estimator returns it: an array, or a list of them.

        Args:
            method: One of `methods`.
            columns: Field -> its n checked values.
        """
        return _shaped(self.program.outputs[method], _values(self.program, self._needed[method], columns))

    def rows(self, method: str, rows: Sequence[Row]) -> Any:
        """Return the same for checked rows."""
        return self.run(method, self._columns(rows))

    def every(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return what `rows` returns for each method; the steps that methods share run once."""
        needed = sorted(set().union(*self._needed.values()))
        values = _values(self.program, needed, self._columns(rows))
        return {method: _shaped(output, values) for method, output in self.program.outputs.items()}

    def one(self, method: str) -> Callable[[Row], Any]:
        """Return the function that answers one checked row in plain Python.

        A label or number for `predict` (a list for several targets), else a list of floats, or of such lists.
        """
        return self._one[method]

    def thresholds(self, most: int = 512) -> dict[str, list[float]]:
        """Return raw values of number fields at which the answer may jump, with their neighbours by one ulp.

        For comparing a plan where it matters: those of trees over columns that come from one field alone.

        Args:
            most: Values a field, about.
        """
        found = {}
        for field, raw in thresholds(self.program, most).items():
            values = np.unique(np.concatenate(raw))
            values = values[np.isfinite(values)]
            values = values[:: max(1, 3 * len(values) // most)]
            with np.errstate(over="ignore"):  # beside the largest float there is none
                around = [np.nextafter(values, -np.inf), values, np.nextafter(values, np.inf)]
            found[field] = np.concatenate(around).tolist()
        return found

    def _columns(self, rows: Sequence[Row]) -> dict[str, list[Any]]:
        return {name: [row[name] for row in rows] for name in self.fields}

    def _specialised(self, method: str, shared: dict[Any, Any]) -> Callable[[Row], Any]:
        breathe()
        output = self.program.outputs[method]
        plainly = _plainly(self.program, output, self.fields, self._needed[method])
        return specialise(self.program, output, plainly, shared) or plainly


def load_plan(data: bytes | memoryview) -> Plan:
    """Return the plan in these bytes; arrays stay views of them.

    Raises:
        UnsupportedFormat: If it was written by a newer release.
        IntegrityError: If it is not a plan, or any index in it points outside.
    """
    program, arrays = unpack(data)
    try:
        with np.errstate(all="ignore"):  # an extreme threshold is no news for an app's log
            return Plan(parse_program(program, arrays), len(data))
    except (TypeError, ValueError, OverflowError, LookupError, MemoryError) as error:
        raise IntegrityError(f"the plan does not hold together: {str(error)[:200]}") from error


def _plainly(
    program: Program, output: Output, names: Sequence[str], needed: Sequence[int]
) -> Callable[[Row], Any]:
    """Return what answers one row by the definition: numpy over arrays of one row.

    It knows nothing of the plan: what a swap replaced is freed at once, not when cycles are next looked for.
    """

    def answer(row: Row) -> Any:
        values = _values(program, needed, {name: (row[name],) for name in names})
        found = _shaped(output, values)
        return [each[0].tolist() for each in found] if isinstance(found, list) else found[0].tolist()

    return answer


def _values(program: Program, needed: Sequence[int], columns: Mapping[str, Any]) -> dict[int, Any]:
    values: dict[int, Any] = {}
    for i in needed:
        breathe()
        step, compiled = program.steps[i], program.compiled[i]
        if step.op in READS:
            values[i] = compiled.run(columns[step.params["field"]])
        else:
            values[i] = compiled.run(*(values[j] for j in step.inputs))
    return values


def _needed(program: Program, outputs: tuple[int, ...]) -> list[int]:
    needed, waiting = set(), list(outputs)
    while waiting:
        i = waiting.pop()
        if i not in needed:
            needed.add(i)
            waiting.extend(program.steps[i].inputs)
    return sorted(needed)


def _shaped(output: Output, values: Mapping[int, Any]) -> Any:
    blocks = [values[i] for i in output.steps]
    if output.form == "labels":
        blocks = [
            np.array(list(classes), dtype=output.dtype)[block[:, 0]]
            for classes, block in zip(output.classes, blocks, strict=True)
        ]
        return blocks[0] if len(blocks) == 1 else np.stack(blocks, axis=1)
    if output.form == "list":
        return blocks
    if output.form == "column":
        return blocks[0][:, 0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)
    return blocks[0]
