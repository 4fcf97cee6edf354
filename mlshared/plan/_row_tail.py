"""What follows the scores of one row: link and decision, as Python arithmetic on floats.

    followed(program, output, "trees") -> the number of the step that gives the scores, and
                                          a function of them: scores -> the answer

The scores are a float where the step gives one, else a list. A link that is not known here runs as the
definition has it, over an array of one row.
"""

from collections.abc import Callable, Mapping
from math import exp, inf
from typing import Any, Final

import numpy as np

from mlshared.plan._program import Output, Program
from mlshared.plan._step import Step

Follow = Callable[[Any], Any]


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
    return number, _in_python(program, output, number, chain) or _in_numpy(program, output, number, chain)


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
    if step.op == "link" and dtype == "float64":
        links = _LINKS_OF_ONE if single else _LINKS_OF_SEVERAL
        return links.get(step.params["kind"])
    if step.op == "decide" and output.form == "labels":
        classes = np.array(list(output.classes[0]), dtype=output.dtype).tolist()
        return _decision(step.params, classes, single=single)
    return None


def _composed(actions: list[Follow]) -> Follow:
    if not actions:
        return _itself
    if len(actions) == 1:
        return actions[0]
    first, rest = actions[0], _composed(actions[1:])
    return lambda scores: rest(first(scores))


def _in_numpy(program: Program, output: Output, number: int, chain: list[int]) -> Follow:
    shape = program.compiled[number].shape
    runs = [program.compiled[each].run for each in chain]
    labels = output.form == "labels"
    classes = np.array(list(output.classes[0]), dtype=output.dtype).tolist() if labels else []

    def follow(scores: Any) -> Any:
        block = np.array(scores, dtype=shape.dtype).reshape(1, shape.width)
        for run in runs:
            block = run(block)
        if labels:
            return classes[int(block[0, 0])]
        return block[0, 0].item() if output.form == "column" else block[0].tolist()

    return follow


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


def _logistic2(z: float) -> list[float]:
    if z >= 0.0:
        p = 1.0 / (1.0 + exp(-z))
    else:
        small = exp(z)
        p = small / (1.0 + small)
    return [1.0 - p, p]


def _exp(z: float) -> float:
    try:
        return exp(z)
    except OverflowError:  # where numpy answers infinity
        return inf


def _softmax(scores: list[float]) -> list[float]:
    largest = max(scores)
    e = [exp(z - largest) for z in scores]
    total = sum(e)
    return [value / total for value in e]


_LINKS_OF_ONE: Final[dict[str, Follow]] = {"logistic2": _logistic2, "exp": _exp}
_LINKS_OF_SEVERAL: Final[dict[str, Follow]] = {"softmax": _softmax}
