"""What follows the scores of one row: link and decision, as Python arithmetic on floats.

    followed(program, output, "trees") -> the number of the step that gives the scores, and
                                          a function of them: scores -> the answer

The scores are a float where the step gives one, else a list. A link that is not known here runs as the
definition has it, over an array of one row.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlshared.plan._program import Output, Program
from mlshared.plan._row_blocks import shaper
from mlshared.plan._row_scores import LINKS_OF_ONE, LINKS_OF_SEVERAL, SHARES, Follow, joint, shifted
from mlshared.plan._step import Step


def followed(program: Program, output: Output, head: str) -> tuple[int, Follow] | None:
    """Return the step ``head`` that the answer follows from, and how; None if it follows from another.

    Args:
        program: The plan's.
        output: How the method is answered.
        head: The op of the step that gives the scores.
    """
    if len(output.steps) != 1 or output.form == "list":
        return None
    number, chain = output.steps[0], []
    while (step := program.steps[number]).op != head:
        if len(step.inputs) != 1:
            return None
        chain.append(number)
        number = step.inputs[0]
    chain.reverse()
    follow = _in_python(program, output, number, chain)
    return (number, follow) if follow is not None else by_steps(program, output, head)


def by_steps(program: Program, output: Output, head: str) -> tuple[int, Follow] | None:
    """Return the same where several steps follow one step ``head``: they run as they are, on one row."""
    heads: set[int] = set()
    later: set[int] = set()
    waiting = list(output.steps)
    while waiting:
        number = waiting.pop()
        if program.steps[number].op == head:
            heads.add(number)
        elif number not in later:
            later.add(number)
            waiting.extend(program.steps[number].inputs)
    if len(heads) != 1 or any(not program.steps[number].inputs for number in later):
        return None
    first = heads.pop()
    dtype = program.compiled[first].shape.dtype
    steps = [(number, program.compiled[number].run, program.steps[number].inputs) for number in sorted(later)]
    shaped = shaper(output)

    def tail(scores: Any) -> Any:
        values = {first: np.array(scores, dtype=dtype).reshape(1, -1)}
        for number, run, inputs in steps:
            values[number] = run(*[values[i] for i in inputs])
        return shaped(values)

    return first, tail


def _in_python(program: Program, output: Output, number: int, chain: list[int]) -> Follow | None:
    single = program.compiled[number].shape.width == 1
    dtype = program.compiled[number].shape.dtype
    actions: list[Follow] = []
    for each in chain:
        action = _action(program.steps[each], output, dtype, single=single)
        if action is None:
            return None
        actions.append(action)
        single = program.compiled[each].shape.width == 1
        dtype = program.compiled[each].shape.dtype
    if output.form == "block" and single:
        actions.append(_listed)
    return _composed([action for action in actions if action is not _itself])


def _action(step: Step, output: Output, dtype: str, *, single: bool) -> Follow | None:
    if step.op == "cast":
        if step.params["dtype"] == "float64":
            return _itself  # a float32 is the same float
        return _narrowed if single else _all_narrowed
    if step.op == "decide" and output.form == "labels":
        classes = np.array(list(output.classes[0]), dtype=output.dtype).tolist()
        return _decision(step.params, classes, single=single)
    return _of_scores(step, single=single) if dtype == "float64" else None


def _of_scores(step: Step, *, single: bool) -> Follow | None:
    if step.op == "link":
        return (LINKS_OF_ONE if single else LINKS_OF_SEVERAL).get(step.params["kind"])
    if single:
        return None
    if step.op == "posterior":
        return joint if step.params["kind"] == "joint" else shifted
    return SHARES[step.params["otherwise"]] if step.op == "shares" else None


def _composed(actions: list[Follow]) -> Follow:
    if not actions:
        return _itself
    if len(actions) == 1:
        return actions[0]
    first, rest = actions[0], _composed(actions[1:])
    return lambda scores: rest(first(scores))


def _decision(params: Mapping[str, Any], classes: list[Any], *, single: bool) -> Follow | None:
    rule = params["rule"]
    if rule == "argmax" and not single:
        return lambda scores: classes[scores.index(max(scores))]
    if len(classes) != 2:
        return None
    no, yes = classes
    if rule == "positive":
        return lambda z: yes if z > 0.0 else no
    if rule == "not_negative":
        return lambda z: yes if z >= 0.0 else no
    if rule == "above" and not single:
        column, threshold = params["column"], params["threshold"]
        return lambda scores: yes if scores[column] > threshold else no
    return None


def _itself(scores: Any) -> Any:
    return scores


def _listed(score: float) -> list[float]:
    return [score]


def _narrowed(score: float) -> float:
    return float(np.float32(score))


def _all_narrowed(scores: list[float]) -> list[float]:
    narrowed: list[float] = np.array(scores, dtype=np.float32).tolist()
    return narrowed
