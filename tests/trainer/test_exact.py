"""Planted differences between a plan and its pipeline are found, however small."""

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mlshared._schema import Schema
from mlshared.plan import load_plan, pack
from mlshared.plan._file import unpack
from trainer._exact import NotExact, compare, compare_more
from trainer._fields import infer_fields
from trainer.converters import convert

RNG = np.random.default_rng(5)
X = pd.DataFrame(RNG.normal(size=(200, 3)), columns=["a", "b", "c"])
NUMBER = X["a"] * 2 - X["b"]
CLASS = (NUMBER > 0).to_numpy().astype(int)
ROWS = X.to_dict("records")
WILD = [{**ROWS[0], "a": value} for value in (float("inf"), float("-inf"), 1e39)]


def compared(estimator, change, *, wild=(), turns=False):
    """Convert, change the plan's program and tensors, and compare it with its estimator."""
    kind, fields, categories = infer_fields(estimator, X)
    converted = convert.converted(estimator, fields, categories)
    program, tensors = unpack(converted.data)
    tensors = {name: array.copy() for name, array in tensors.items()}
    change(program, tensors)
    plan = load_plan(pack(program, tensors))
    schema = Schema(fields, kind, categories)
    rows, wild, rounding = schema.rows(ROWS), schema.rows(wild), converted.rounding
    return compare(estimator, plan, schema, rows, wild, rounding=rounding, turns=turns)


def arrays_of(program, op):
    return next(step["arrays"] for step in program["steps"] if step["op"] == op)


def unchanged(program, tensors):
    pass


def one_leaf_by_one_ulp(program, tensors):
    """The value of one leaf of one tree, which nothing is added to."""
    values = tensors[arrays_of(program, "forest")["value"]]
    values[3] = np.nextafter(values[3], np.inf)


def one_threshold_moved(program, tensors):
    thresholds = tensors[arrays_of(program, "trees")["threshold"]]
    feature = tensors[arrays_of(program, "trees")["feature"]]
    thresholds[int(np.flatnonzero(feature >= 0)[0])] += 0.05


def offset_by_1e9(program, tensors):
    tensors[arrays_of(program, "linear")["b"]] += 1e-9


def weight_by_1e9(program, tensors):
    tensors[arrays_of(program, "linear")["W"]][0] *= 1 + 1e-9


def labels_flipped(program, tensors):
    program["outputs"]["predict"]["classes"][0].reverse()


def answers_what_is_refused(program, tensors):
    for step in program["steps"]:
        if step["op"] == "check":
            step.update(missing=False, infinite=False)


def refuses_what_is_answered(program, tensors):
    number = next(i for i, step in enumerate(program["steps"]) if step["op"] == "check")
    program["steps"][number] = {"op": "positive", "in": program["steps"][number]["in"]}


BOOSTED = GradientBoostingRegressor(n_estimators=20).fit(X, NUMBER)
TREE = DecisionTreeRegressor(max_depth=6).fit(X, NUMBER)
HIST = HistGradientBoostingClassifier(max_iter=5).fit(X, CLASS)
LINEAR = make_pipeline(StandardScaler(), LinearRegression()).fit(X, NUMBER)
LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, CLASS)


@pytest.mark.parametrize(
    "estimator", [TREE, BOOSTED, HIST, LINEAR, LOGISTIC], ids=lambda each: type(each).__name__
)
def test_what_is_the_same_passes(estimator):
    seen = compared(estimator, unchanged, wild=WILD)
    assert seen.rows >= len(ROWS)
    assert seen.ties == 0


@pytest.mark.parametrize(
    ("estimator", "change", "why"),
    [
        (TREE, one_leaf_by_one_ulp, r"predict of a table: .* answers differ"),
        (BOOSTED, one_threshold_moved, r"predict of a table: .* answers differ"),
        (HIST, one_threshold_moved, "differ"),
        (LINEAR, offset_by_1e9, r"predict of a table: 2\d\d of 2\d\d answers differ, by up to 1e-09"),
        (LINEAR, weight_by_1e9, "answers differ"),
        (LOGISTIC, offset_by_1e9, "answers differ"),
        (LOGISTIC, labels_flipped, "200 labels differ, and not at a tie"),
        (HIST, labels_flipped, "200 labels differ, and not at a tie"),
        (LOGISTIC, answers_what_is_refused, "the plan answers a row that scikit-learn refuses"),
        (BOOSTED, answers_what_is_refused, "the plan answers a row that scikit-learn refuses"),
        (LINEAR, refuses_what_is_answered, "the plan refuses a row that scikit-learn answers"),
    ],
)
@pytest.mark.parametrize("turns", [False, True])
def test_what_differs_is_named(estimator, change, why, turns):
    with pytest.raises(NotExact, match=why):
        compared(estimator, change, wild=WILD, turns=turns)


@pytest.mark.parametrize("turns", [False, True])
@pytest.mark.parametrize("method", ["predict", "decision_function"])
def test_a_row_function_of_its_own_mind(monkeypatch, method, turns):
    """Both ways of answering are compared, for each method: a fast one that is wrong is found."""
    estimator = LINEAR if method == "predict" else LOGISTIC
    kind, fields, categories = infer_fields(estimator, X)
    plan = convert.converted(estimator, fields, categories).plan
    one = plan.one(method)
    monkeypatch.setitem(plan._one, method, lambda row: one(row) + 1e-6 * (row["a"] > 0))
    schema = Schema(fields, kind, categories)
    with pytest.raises(NotExact, match=rf"{method} of single rows: .* answers differ"):
        compare(estimator, plan, schema, schema.rows(ROWS), [], rounding=True, turns=turns)


def test_more_rows():
    """They are added up with what was seen; a difference in them alone is found."""
    kind, fields, categories = infer_fields(LOGISTIC, X)
    plan, schema = convert.converted(LOGISTIC, fields, categories).plan, Schema(fields, kind, categories)
    rows = schema.rows(ROWS)
    seen = compare(LOGISTIC, plan, schema, rows[:50], [], rounding=True)
    more = compare_more(seen, LOGISTIC, plan, schema, rows[50:], rounding=True)
    assert (more.rows, more.ties, more.plan_seconds) == (len(rows), 0, seen.plan_seconds)
    other = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, (X["c"] > 0).astype(int))
    with pytest.raises(NotExact):
        compare_more(seen, other, plan, schema, rows[50:], rounding=True)


def test_labels_at_a_tie_are_counted():
    """Two leaves of the same counts tie: the plan may decide for the other class."""
    tied = pd.DataFrame({"a": [0.0, 0.0, 1.0, 1.0], "b": 0.0, "c": 0.0})
    tree = DecisionTreeClassifier().fit(tied, [0, 1, 0, 1])
    kind, fields, categories = infer_fields(tree, tied)
    converted = convert.converted(tree, fields, categories)
    program, tensors = unpack(converted.data)
    program["outputs"]["predict"]["classes"][0].reverse()
    schema = Schema(fields, kind, categories)
    rows = schema.rows(tied.to_dict("records"))
    plan = load_plan(pack(program, tensors))
    assert compare(tree, plan, schema, rows, [], rounding=False).ties >= len(rows)
