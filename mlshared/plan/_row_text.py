"""One row of a model that reads a text: words counted, weighed and multiplied in one loop.

    labels -> tokens -> count -> [tfidf] -> linear -> whatever follows

Weights are read from the plan's own arrays: nothing is copied, however large the vocabulary.
"""

from collections.abc import Callable, Mapping
from math import log, sqrt
from typing import Any

import numpy as np

from mlshared.plan._program import Output, Program
from mlshared.plan._row_tail import followed
from mlshared.plan._step import Step

Row = Mapping[str, Any]
Scores = Callable[[list[int], list[float]], Any]

_MOST_OUTPUTS = 6  # beyond, one dot product of arrays is faster


def text_row(program: Program, output: Output) -> Callable[[Row], Any] | None:
    """Return a function of one checked row, or None if the answer is no linear function of a text's counts."""
    found = followed(program, output, "linear")
    if found is None:
        return None
    number, follow = found
    linear = program.steps[number]
    path = _path(program, linear.inputs[0])
    if path is None or linear.arrays["W"].shape[1] > _MOST_OUTPUTS:
        return None
    read, tokens, count, weighing = path
    field = program.steps[read].params["field"]
    cut, counted = program.compiled[tokens].run, program.compiled[count].run
    scores_of = _scores(linear, weighing)
    if scores_of is None or ("terms" not in program.steps[count].arrays and _takes_logarithms(weighing)):
        return None  # of signed hashes, which the definition answers with NaN

    def answer(row: Row) -> Any:
        text = np.empty((1, 1), dtype=object)
        text[0, 0] = row[field]
        ((columns, values),) = counted(cut(text))
        return follow(scores_of(columns, values))

    return answer


def _path(program: Program, number: int) -> tuple[int, int, int, Step | None] | None:
    """Return the steps that read, cut and count, and the one that weighs, if there is one."""
    weighing = None
    while (step := program.steps[number]).op in {"check", "tfidf"}:
        if step.op == "tfidf":
            if weighing is not None:
                return None
            weighing = step
        number = step.inputs[0]
    if step.op != "count":
        return None
    tokens = step.inputs[0]
    read = program.steps[tokens].inputs[0]
    if program.steps[tokens].op != "tokens" or program.steps[read].op != "labels":
        return None
    return None if "values" in program.steps[read].params else (read, tokens, number, weighing)


def _scores(linear: Step, weighing: Step | None) -> Scores | None:
    """Return a function of a row's columns and counts: its score, or a list of its scores."""
    weights = linear.arrays["W"]
    of_output: list[Any] = [weights[:, each].data for each in range(weights.shape[1])]
    offset = linear.arrays["b"].tolist()
    idf, norm, sublinear = None, "none", False
    if weighing is not None:
        norm, sublinear = weighing.params["norm"], _takes_logarithms(weighing)
        if "idf" in weighing.arrays:
            if not np.isfinite(weighing.arrays["idf"]).all():
                return None  # the definition refuses such counts
            idf = weighing.arrays["idf"].data
    single = len(offset) == 1

    def scores_of(columns: list[int], values: list[float]) -> Any:
        if sublinear:
            values = [log(value) + 1.0 for value in values]
        if idf is not None:
            values = [value * idf[column] for column, value in zip(columns, values, strict=True)]
        size = _size(norm, values)
        found = []
        for of_column, start in zip(of_output, offset, strict=True):
            total = 0.0
            for column, value in zip(columns, values, strict=True):
                total += of_column[column] * value
            found.append(total / size + start)
        return found[0] if single else found

    return scores_of


def _takes_logarithms(weighing: Step | None) -> bool:
    return weighing is not None and weighing.params.get("sublinear") is True


def _size(norm: str, values: list[float]) -> float:
    """Return the norm of a row's values, 1 where it is zero."""
    size = 1.0
    if norm == "l2":
        size = sqrt(sum([value * value for value in values]))
    elif norm == "l1":
        size = sum([abs(value) for value in values])
    elif norm == "max":
        size = max(map(abs, values), default=0.0)
    return size or 1.0
