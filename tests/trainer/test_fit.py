import math

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from trainer._fit import derive, fit, load_frame, prepare
from trainer.errors import RecipeError
from trainer.recipe import Recipe
from trainer.splits import KeySplit

FRAME = pd.DataFrame(
    {
        "id": range(100),
        "x": [None if i % 7 == 0 else float(i) for i in range(100)],
        "when": pd.date_range("2026-01-01", periods=100, freq="h"),
        "late": [i % 2 for i in range(100)],
    }
)


def hour_and_x(row):
    return {"hour": row["when"].hour, "x": -1.0 if row["x"] is None else row["x"] * 2}


def hour_and_x_frame(frame):
    return pd.DataFrame({"hour": frame["when"].dt.hour, "x": (frame["x"] * 2).fillna(-1.0)})


def recipe(**changes):
    values = {
        "name": "flights",
        "load": lambda: FRAME,
        "target": "late",
        "drop": ["id"],
        "build": LogisticRegression,
        "split": KeySplit("id", test=0.3),
        "metrics": ["roc_auc"],
        "features": hour_and_x,
    }
    return Recipe(**{**values, **changes})


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (lambda: [1, 2], "load() returned list, not a DataFrame"),
        (lambda: FRAME[:0], "load() returned no rows"),
        (lambda: FRAME.drop(columns="late"), "no column 'late' (target)"),
        (lambda: FRAME.rename(columns={"late": "lates"}), "no column 'late' (target); did you mean 'lates'?"),
        (lambda: FRAME.drop(columns="id"), "no column 'id' (drop)"),
        (lambda: FRAME.rename(columns={"x": 7}), "a column named 7; names are text"),
        (lambda: FRAME.rename(columns={"x": "id"}), "load() returned column 'id' twice"),
        (
            lambda: FRAME.assign(late=FRAME["x"]),
            "the target 'late' is missing in 15 rows; drop them in load()",
        ),
    ],
)
def test_what_load_must_return(load, message):
    """Each mistake is one line that says what was returned instead."""
    with pytest.raises(RecipeError) as caught:
        load_frame(recipe(load=load))
    assert str(caught.value).startswith("flights: ")
    assert message in str(caught.value)


def test_what_load_raises_is_named_with_its_line():
    """The person who wrote load() is told where to look."""

    def load():
        return FRAME["nope"]

    with pytest.raises(RecipeError, match=r"flights: load raised KeyError: 'nope' \(test_fit.py, line \d+\)"):
        load_frame(recipe(load=load))


def test_raw_rows_are_what_load_returned_less_target_and_drop():
    """That is what an app sends; the split still saw the key."""
    prepared = prepare(recipe(features=None), FRAME)
    assert list(prepared.test.raw.columns) == ["x", "when"]
    assert list(prepared.test.frame.columns) == list(FRAME.columns)
    assert prepared.train.X is prepared.train.raw
    assert len(prepared.train.y) + len(prepared.test.y) == 100
    assert prepared.description["kind"] == "key"


def test_rows_keep_their_target():
    """Features and target stay aligned through split and derivation."""
    prepared = prepare(recipe(), FRAME)
    for part in (prepared.train, prepared.test):
        assert (part.X["hour"].to_numpy() == FRAME.loc[part.y.index, "when"].dt.hour.to_numpy()).all()
        assert (part.y == FRAME.loc[part.X.index, "late"]).all()


def test_several_targets_are_a_frame():
    """In the order the recipe names them."""
    frame = FRAME.assign(gate=FRAME["late"] * 2)
    prepared = prepare(recipe(target=["gate", "late"]), frame)
    assert list(prepared.train.y.columns) == ["gate", "late"]


def test_a_row_function_gets_none_for_what_is_missing():
    """As in an app's row; a function tested on NaN would first meet None in production."""
    seen = []

    def watch(row):
        seen.append(row)
        return {"x": 0.0}

    derive(recipe(features=watch), FRAME[["x", "when"]])
    assert [row["x"] for row in seen[::7]] == [None] * 15
    assert {type(row["x"]) for row in seen if row["x"] is not None} == {float}


def test_both_parts_have_the_same_dtypes():
    """Also where one part happens to hold no missing value."""

    def some(row):
        return {"x": row["x"]}

    frame = FRAME.assign(x=[None, *range(1, 100)])
    prepared = prepare(recipe(features=some), frame)
    assert prepared.train.X.dtypes.equals(prepared.test.X.dtypes)


def test_the_twin_is_used_where_it_agrees():
    """The vectorised function gives the same features."""
    raw = FRAME[["x", "when"]]
    by_row, by_frame = derive(recipe(), raw), derive(recipe(features_frame=hour_and_x_frame), raw)
    pd.testing.assert_frame_equal(by_row, by_frame, check_dtype=False)


@pytest.mark.parametrize(
    ("twin", "message"),
    [
        (
            lambda f: hour_and_x_frame(f).assign(x=0.0),
            "disagree on 'x' in the sample's row 0: '-1.0' against '0.0'",
        ),
        (lambda f: hour_and_x_frame(f).drop(columns="x"), "only features gives 'x'"),
        (lambda f: hour_and_x_frame(f).assign(y=1), "only features_frame gives 'y'"),
        (lambda f: hour_and_x_frame(f)[1:], "returned 99 rows for 100"),
        (lambda f: f.to_numpy(), "returned numpy.ndarray, not a DataFrame"),
        (lambda f: f["nope"], "features_frame raised KeyError"),
        (lambda f: hour_and_x_frame(f).assign(hour=lambda g: g["hour"].astype(str)), "disagree on 'hour'"),
    ],
)
def test_a_twin_that_differs_is_refused(twin, message):
    """The app runs the row function: trained on other values, a model is skewed from its first request."""
    with pytest.raises(RecipeError) as caught:
        derive(recipe(features_frame=twin), FRAME[["x", "when"]])
    assert message in str(caught.value)


def test_last_bits_and_kinds_of_missing_make_no_difference():
    """math and numpy differ in the last bits; None, NaN and NA are one missing value."""

    def root(row):
        return {"r": None if row["x"] is None else math.exp(math.sin(row["x"]))}

    def root_frame(frame):
        return pd.DataFrame({"r": np.exp(np.sin(frame["x"])) * (1 + 1e-15)})

    derive(recipe(features=root, features_frame=root_frame), FRAME[["x"]])


def test_a_twin_cannot_change_the_raw_rows():
    """It works on a copy."""

    def greedy(frame):
        frame["x"] = 0.0
        return pd.DataFrame({"one": [1] * len(frame)})

    raw = FRAME[["x"]].copy()
    derive(recipe(features=one, features_frame=greedy), raw)
    pd.testing.assert_frame_equal(raw, FRAME[["x"]])


def one(row):
    return {"one": 1}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("no_dict", "features returned float for a row, not a dict"),
        ("sometimes", "features gives 'y' for some rows only; give None where it is missing"),
        ("raises", "features raised TypeError"),
    ],
)
def test_what_a_row_function_must_return(features, message):
    """Each row gives the same fields, in a dict."""
    functions = {"no_dict": no_dict, "sometimes": sometimes, "raises": raises}
    with pytest.raises(RecipeError) as caught:
        derive(recipe(features=functions[features]), FRAME[["x"]])
    assert message in str(caught.value)


def no_dict(row):
    return 1.0


def sometimes(row):
    return {"x": 1} if row["x"] is None else {"x": 1, "y": 2}


def raises(row):
    return {"x": row["x"] + 1}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: 3, "build() returned int, not an estimator to fit"),
        (lambda: LogisticRegression, "not an estimator to fit"),
        (lambda: LogisticRegression(C=-1.0), "fit raised InvalidParameterError"),
    ],
)
def test_what_build_must_return(build, message):
    """An unfitted estimator that can be fitted."""
    rows = prepare(recipe(), FRAME).train
    with pytest.raises(RecipeError) as caught:
        fit(recipe(build=build), rows)
    assert message in str(caught.value)


def test_fit_gives_a_fitted_estimator():
    """On the training rows alone."""
    rows = prepare(recipe(), FRAME).train
    estimator = fit(recipe(), rows)
    assert list(estimator.feature_names_in_) == ["hour", "x"]
