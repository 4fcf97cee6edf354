"""Leaf masks answer one row as the definition does, and are used where they can be."""

import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from mlshared.errors import InputError
from mlshared.plan import Plan
from mlshared.plan._row_masks import masked_row
from trainer.converters import convert

from .exactness import compare

N = 500


def frame(seed: int) -> pd.DataFrame:
    """Return numbers with gaps, and two columns of texts, one of them of a category dtype."""
    rng = np.random.default_rng(seed)
    found = pd.DataFrame(rng.normal(size=(N, 3)), columns=["a", "b", "c"])
    found.loc[rng.random(N) < 0.1, "a"] = np.nan
    found["word"] = pd.Series(rng.choice(["x", "y", "zé"], N), dtype="str")
    found["kind"] = pd.Categorical(rng.choice(["k", "l", "m"], N))
    return found


def target(found: pd.DataFrame) -> Any:
    """Return numbers that depend on every column."""
    word = (found["word"] == "x").to_numpy() * 2.0
    kind = (found["kind"] == "l").to_numpy() * 1.5
    return found[["a", "b", "c"]].fillna(0).sum(axis=1).to_numpy() + word + kind


def masked(plan: Plan, method: str = "predict") -> bool:
    """Return whether a method is answered by masks."""
    return masked_row(plan.program, plan.program.outputs[method], lambda _: None, {}) is not None


def plain(found: pd.DataFrame) -> list[dict[str, Any]]:
    """Return checked rows: None where missing."""
    return [
        {name: None if pd.isna(value) else value for name, value in row.items()}
        for row in found.to_dict("records")
    ]


def assert_alike(plan: Plan, rows: list[dict[str, Any]]) -> None:
    """Assert that each method answers a row as the definition does, to the bit before the link."""
    for method in plan.methods:
        one = plan.one(method)
        found, wanted = [one(row) for row in rows], plan.rows(method, rows)
        if plan.program.steps[plan.program.outputs[method].steps[0]].op == "link":
            np.testing.assert_allclose(found, wanted, rtol=1e-15, atol=1e-15)
        else:
            np.testing.assert_array_equal(found, wanted)


PREPARED = ColumnTransformer(
    [
        ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b", "c"]),
        ("hot", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["word"]),
        ("codes", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["kind"]),
    ]
)


@pytest.mark.parametrize("leaves", [2, 8, 9, 16, 17, 32, 33, 53, 54, 63, 64])
def test_any_number_of_leaves_up_to_64_is_exact(leaves: int) -> None:
    """Each width of mask; beyond 53 bits a float no longer holds them all."""
    rows = np.random.default_rng(leaves).normal(size=(4000, 2))
    model = HistGradientBoostingRegressor(max_leaf_nodes=leaves, min_samples_leaf=2, max_iter=4)
    plan = convert(model.fit(rows, np.sin(rows[:, 0] * 9) * np.cos(rows[:, 1] * 7)), rows)
    assert masked(plan)
    assert_alike(plan, [{"x0": a, "x1": b} for a, b in rows[:500]])


@pytest.mark.parametrize(("leaves", "classes"), [(65, 0), (126, 2), (126, 3), (127, 0), (300, 3)])
def test_more_leaves_take_several_words(leaves: int, classes: int) -> None:
    """For one sum and for several, whose rounds stay in order."""
    rows = np.random.default_rng(leaves).normal(size=(4000, 2))
    wanted = np.sin(rows[:, 0] * 9) * np.cos(rows[:, 1] * 7)
    options = {"max_leaf_nodes": leaves, "min_samples_leaf": 2, "max_iter": 2}
    if classes:
        model = HistGradientBoostingClassifier(**options)
        wanted = pd.qcut(wanted, classes, labels=False)
    else:
        model = HistGradientBoostingRegressor(**options)
    plan = convert(model.fit(rows, wanted), rows)
    assert masked(plan)
    assert_alike(plan, [{"x0": a, "x1": b} for a, b in [*rows[:300].tolist(), (None, 1.0), (None, None)]])


def test_trees_of_very_many_leaves_are_walked() -> None:
    """Their masks would be too many."""
    rows = np.random.default_rng(0).normal(size=(4000, 2))
    model = HistGradientBoostingRegressor(max_leaf_nodes=None, min_samples_leaf=1, max_iter=2)
    plan = convert(model.fit(rows, np.sin(rows[:, 0] * 9)), rows)
    assert not masked(plan)
    assert_alike(plan, [{"x0": a, "x1": b} for a, b in rows[:50]])


@pytest.mark.parametrize(
    "model",
    [
        GradientBoostingClassifier(n_estimators=10),
        GradientBoostingRegressor(n_estimators=10),
        HistGradientBoostingClassifier(max_iter=10),
        HistGradientBoostingRegressor(max_iter=10, loss="poisson"),
    ],
    ids=lambda model: type(model).__name__,
)
def test_preprocessing_disappears(model: Any) -> None:
    """Imputed, scaled, one-hot and ordinal columns are asked about raw values."""
    found = frame(1)
    wanted = target(found)
    labels = (
        pd.qcut(wanted, 3, labels=False) if hasattr(model, "decision_function") else wanted - wanted.min()
    )
    plan = convert(make_pipeline(PREPARED, model).fit(found, labels), found)
    assert all(masked(plan, method) for method in plan.methods)
    rows = plain(found)
    more = [{**rows[0], "word": "unseen"}, {**rows[0], "a": None}, {**rows[0], "kind": None}]
    assert_alike(plan, rows + more)


def test_native_categories_are_states_too() -> None:
    """Of texts and of a pandas category dtype, without and with preprocessing of the user's."""
    found = frame(2)
    model = HistGradientBoostingRegressor(categorical_features=["word", "kind"], max_iter=10)
    plan = convert(model.fit(found, target(found)), found)
    assert masked(plan)
    rows = plain(found)
    more = [{**rows[0], "kind": kind} for kind in ("k", "l", "m", "unseen", None)]
    assert_alike(plan, rows + more + [{**rows[0], "word": word} for word in ("x", "y", "unseen", None)])


def test_what_the_definition_refuses_is_refused() -> None:
    """An infinite value where a scaler stands, even in a column that a selector drops after it."""
    found = frame(3)[["b", "c"]].assign(noise=0.0)
    found["noise"] = np.random.default_rng(0).normal(size=N)
    before = make_pipeline(StandardScaler(), SelectKBest(f_regression, k=2))
    model = make_pipeline(before, GradientBoostingRegressor(n_estimators=5))
    plan = convert(model.fit(found, found["b"] + found["c"]), found)
    assert masked(plan)
    row = {"b": 1.0, "c": 2.0, "noise": 0.5}
    assert_alike(plan, [row])
    for name in row:
        for value in (float("inf"), float("-inf"), None):
            with pytest.raises(InputError):
                plan.one("predict")({**row, name: value})
            with pytest.raises(InputError):
                plan.rows("predict", [{**row, name: value}])


def test_large_ints_are_the_floats_they_are_rounded_to() -> None:
    """Python would compare 2**53 + 1 exactly; numpy reads it as 2**53."""
    values = 2.0**53 + 2.0 * np.arange(200)
    model = HistGradientBoostingRegressor(min_samples_leaf=1, max_iter=3, max_leaf_nodes=60)
    plan = convert(model.fit(values[:, None], np.arange(200) % 7), values[:, None])
    assert masked(plan)
    assert_alike(plan, [{"x0": 2**53 + step} for step in range(-3, 410)])
    assert_alike(plan, [{"x0": -(2**60) + step} for step in range(-3, 4)])


def test_threads_share_a_plan() -> None:
    """No memory is shared between calls."""
    found = frame(4)
    labels = pd.qcut(target(found), 2, labels=False)
    plan = convert(
        make_pipeline(PREPARED, HistGradientBoostingClassifier(max_iter=20)).fit(found, labels), found
    )
    rows, one = plain(found), plan.one("predict_proba")
    wanted = [one(row) for row in rows]
    wrong: list[int] = []

    def ask(first: int) -> None:
        for number in [*range(first, len(rows)), *range(first)]:
            if one(rows[number]) != wanted[number]:
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(60 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "model", [GradientBoostingRegressor(n_estimators=15), HistGradientBoostingRegressor(max_iter=15)]
)
def test_thresholds_are_moved_back_to_the_last_bit(model: Any) -> None:
    """Raw values at each threshold, and their neighbours by one ulp, behind imputation and scaling."""
    found = frame(5)
    pipeline = make_pipeline(PREPARED, model).fit(found, target(found))
    plan = convert(pipeline, found)
    assert masked(plan)
    rows = plain(found)
    around = plan.thresholds(most=3000)
    assert set(around) == {"a", "b", "c"}
    assert sum(map(len, around.values())) > 150
    moved = [{**rows[i % N], name: value} for name in around for i, value in enumerate(around[name])]
    compare(pipeline, found, moved)
