"""One row through a forest: its columns filled in field by field, then all trees at once.

What follows the forest is Python for the usual ends, probabilities, a label or a number; for several targets
it is the steps themselves, on arrays of one row.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlshared.plan._forest import Forest
from mlshared.plan._program import Output, Program
from mlshared.plan._row_columns import ERRORS, columns
from mlshared.plan._row_tail import followed
from mlshared.plan._step import Array

Row = Mapping[str, Any]
Answer = Callable[[Row], Any]


def forest_row(program: Program, output: Output, otherwise: Answer, shared: dict[Any, Any]) -> Answer | None:
    """Return a function of one checked row, or None if the output is not that of one forest over fields.

    Args:
        program: The plan's.
        output: How the method is answered.
        otherwise: Answers a row by the definition.
        shared: How the columns are filled in, once for all methods.
    """
    number = _only_forest(program, output)
    if number is None:
        return None
    forest = program.compiled[number].run
    assert isinstance(forest, Forest)
    if forest_row not in shared:
        shared[forest_row] = {}
    fills = shared[forest_row]
    if number not in fills:
        fills[number] = columns(program, program.steps[number].inputs[0], forest.copies)
    fill = fills[number]
    if fill is None:
        return None
    walk, tail = forest.row, _tail(program, output, number)

    def answer(row: Row) -> Any:
        try:
            x = fill(row)
        except ERRORS:
            return otherwise(row)
        return tail(walk(x))

    return answer


def _only_forest(program: Program, output: Output) -> int | None:
    """Return the one step `forest` that all of the output comes from; None if anything else goes into it."""
    found, seen, waiting = set(), set(), list(output.steps)
    while waiting:
        number = waiting.pop()
        if number in seen:
            continue
        seen.add(number)
        step = program.steps[number]
        if step.op == "forest":
            found.add(number)
        elif step.inputs:
            waiting.extend(step.inputs)
        else:
            return None
    return found.pop() if len(found) == 1 else None


def _tail(program: Program, output: Output, forest: int) -> Callable[[Array], Any]:
    """Return what makes the answer of the forest's sums, shape (outputs,)."""
    found = followed(program, output, "forest")
    if found is None:
        return _by_steps(program, output, forest)
    _, follow = found
    if program.compiled[forest].shape.width == 1:
        return lambda sums: follow(sums.item())
    return lambda sums: follow(sums.tolist())


def _by_steps(program: Program, output: Output, forest: int) -> Callable[[Array], Any]:
    """Return the rest of the steps, as they are defined, on one row."""
    classes = [np.array(list(each), dtype=output.dtype).tolist() for each in output.classes]
    after = {forest}
    steps = []
    for number in range(forest + 1, max(output.steps) + 1):
        inputs = program.steps[number].inputs
        if inputs and after.issuperset(inputs):
            after.add(number)
            steps.append((number, program.compiled[number].run, inputs))

    def tail(sums: Array) -> Any:
        values = {forest: sums[None, :]}
        for number, run, inputs in steps:
            values[number] = run(*(values[i] for i in inputs))
        found = [values[number][0].tolist() for number in output.steps]
        if output.form == "labels":
            found = [labels[code] for labels, (code,) in zip(classes, found, strict=True)]
        elif output.form == "column":
            found = [value for (value,) in found]
        return found if len(found) > 1 or output.form == "list" else found[0]

    return tail
