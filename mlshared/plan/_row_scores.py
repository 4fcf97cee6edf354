"""What follows the scores of a linear step, for one row: scores -> link -> decide, as Python functions.

    short_tail(program, output)    links and decisions, on a float or a list of floats
    long_tail(program, output)     any other steps that all follow one linear step: run as they are

Both return the function and the number of the linear step, or None.
"""

from collections.abc import Callable
from math import exp, log, log1p
from typing import Any, Final

import numpy as np

from mlshared.plan._program import Output, Program
from mlshared.plan._row_blocks import shaper


def short_tail(program: Program, output: Output) -> tuple[Callable[[Any], Any] | None, int]:
    """Return what makes the answer of the score, or of the list of scores, and the linear step's number."""
    number = output.steps[0]
    actions: list[Callable[[Any], Any]] = []
    if len(output.steps) != 1 or output.form == "list":
        return None, number
    while (step := program.steps[number]).op != "linear":
        action = _action(program, number, output)
        if action is None:
            return None, number
        actions.append(action)
        number = step.inputs[0]
    single = program.compiled[number].shape.width == 1
    width = program.compiled[output.steps[0]].shape.width
    if output.form == "block" and single and width == 1:
        actions.insert(0, _listed)
    return _composed(actions[::-1]), number


def _action(program: Program, number: int, output: Output) -> Callable[[Any], Any] | None:
    step = program.steps[number]
    if len(step.inputs) != 1 or program.compiled[step.inputs[0]].shape.dtype != "float64":
        return None
    single = program.compiled[step.inputs[0]].shape.width == 1
    if step.op == "posterior" and not single:
        return _joint if step.params["kind"] == "joint" else _shifted
    if step.op == "shares" and not single:
        return _uniform_shares if step.params["otherwise"] == "uniform" else _shares
    if step.op == "link":
        return (_LINKS_OF_ONE if single else _LINKS_OF_SEVERAL).get(step.params["kind"])
    if step.op == "decide" and output.form == "labels":
        return _decision(step.params["rule"], output, single=single)
    return None


def long_tail(program: Program, output: Output) -> tuple[Callable[[Any], Any] | None, int]:
    """Return the same for any steps that all follow one linear step: they are run as they are, on one row."""
    linear: set[int] = set()
    later: set[int] = set()
    waiting = list(output.steps)
    while waiting:
        number = waiting.pop()
        if program.steps[number].op == "linear":
            linear.add(number)
        elif number not in later:
            later.add(number)
            waiting.extend(program.steps[number].inputs)
    if len(linear) != 1 or any(not program.steps[number].inputs for number in later):
        return None, output.steps[0]
    last = linear.pop()
    steps = [(number, program.compiled[number].run, program.steps[number].inputs) for number in sorted(later)]
    shaped = shaper(output)

    def tail(scores: Any) -> Any:
        values = {last: np.array(scores, dtype=np.float64).reshape(1, -1)}
        for number, run, inputs in steps:
            values[number] = run(*[values[i] for i in inputs])
        return shaped(values)

    return tail, last


def _decision(rule: str, output: Output, *, single: bool) -> Callable[[Any], Any] | None:
    classes = np.array(list(output.classes[0]), dtype=output.dtype).tolist()
    if rule == "argmax" and not single:
        return lambda scores: classes[scores.index(max(scores))]
    if len(classes) != 2:
        return None
    no, yes = classes
    if rule == "positive":
        return lambda z: yes if z > 0.0 else no
    if rule == "not_negative":
        return lambda z: yes if z >= 0.0 else no
    return None


def _composed(actions: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    if not actions:
        return lambda score: score
    if len(actions) == 1:
        return actions[0]
    first, *rest = actions
    then = _composed(rest)
    return lambda score: then(first(score))


def _listed(score: float) -> list[float]:
    return [score]


def _logistic(z: float) -> float:
    if z >= 0.0:
        return 1.0 / (1.0 + exp(-z))
    small = exp(z)
    return small / (1.0 + small)


def _logistic2(z: float) -> list[float]:
    if z >= 0.0:
        p = 1.0 / (1.0 + exp(-z))
    else:
        small = exp(z)
        p = small / (1.0 + small)
    return [1.0 - p, p]


def _logistics(scores: list[float]) -> list[float]:
    return [_logistic(z) for z in scores]


def _softmax(scores: list[float]) -> list[float]:
    largest = max(scores)
    e = [exp(z - largest) for z in scores]
    total = sum(e)
    return [value / total for value in e]


def _normalized(scores: list[float]) -> list[float]:
    total = sum(scores)
    return [value / total for value in scores]


def _uniform_shares(scores: list[float]) -> list[float]:
    return _normalized(scores) if sum(scores) != 0.0 else [1 / len(scores)] * len(scores)


def _shares(scores: list[float]) -> list[float]:
    return _normalized(scores) if sum(scores) != 0.0 else scores


def _joint(scores: list[float]) -> list[float]:
    largest = max(scores)
    count = scores.count(largest)
    rest = sum([exp(z - largest) for z in scores if z != largest]) / count
    total = log1p(rest) + log(count) + largest
    return [exp(z - total) for z in scores]


def _shifted(scores: list[float]) -> list[float]:
    largest = max(scores)
    shifted = [z - largest for z in scores]
    total = log(sum([exp(z) for z in shifted]))
    return [exp(z - total) for z in shifted]


_LINKS_OF_ONE: Final[dict[str, Callable[[Any], Any]]] = {
    "logistic2": _logistic2, "logistic": _logistic, "exp": exp,
}  # fmt: skip
_LINKS_OF_SEVERAL: Final[dict[str, Callable[[Any], Any]]] = {
    "softmax": _softmax, "logistic": _logistics, "normalize": _normalized,
}  # fmt: skip
