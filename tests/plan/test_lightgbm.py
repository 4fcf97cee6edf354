"""LightGBM's estimators answer alike: objectives, boosting kinds, missing values, zeros, categories."""

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainer.converters import NotConvertible, convert

from .exactness import compare

lightgbm = pytest.importorskip("lightgbm")

N = 400
QUICK = {"n_estimators": 12, "verbose": -1, "n_jobs": 1, "min_child_samples": 5, "random_state": 0}


def table(seed: int, *, gaps: bool = True, zeros: bool = False) -> pd.DataFrame:
    """Return three numeric columns; gaps in the first, many zeros in the second."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(N, 3)), columns=["a", "b", "c"])
    if gaps:
        frame.loc[rng.random(N) < 0.1, "a"] = np.nan
    if zeros:
        frame.loc[rng.random(N) < 0.5, "b"] = 0.0
    return frame


def target(frame: pd.DataFrame, classes: int = 0) -> Any:
    """Return positive numbers, or labels of so many classes."""
    score = frame.select_dtypes("number").fillna(0).sum(axis=1)
    if not classes:
        return np.exp(score / 4)
    return np.array(["no", "yes", "perhaps"])[pd.qcut(score.rank(method="first"), classes, labels=False)]


def around(model: Any, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows of the frame, and every threshold with its neighbours in each column."""
    rows = frame.iloc[:50].to_dict("records")
    edge = float(np.float32(1e-35))
    values = [0.0, -0.0, 1e-36, -1e-36, 1e300, -1e300, float("inf"), float("-inf"), None, 5e-324]
    text = model.booster_.model_to_string()
    lines = [line.partition("=")[2].split() for line in text.splitlines() if line.startswith("threshold=")]
    found = np.unique(np.concatenate([np.array(line, dtype=np.float64) for line in lines] + [[edge, -edge]]))
    for value in [*found[:: max(1, len(found) // 40)].tolist(), edge, -edge]:
        values += [value, np.nextafter(value, np.inf), np.nextafter(value, -np.inf)]
    return rows + [{**rows[i % 50], name: value} for name in "abc" for i, value in enumerate(values)]


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_classifiers_are_exact(classes: int, *, gaps: bool, zeros: bool) -> None:
    """With and without missing values in training, where a missing value is zero, or has a side."""
    frame = table(1, gaps=gaps, zeros=zeros)
    model = lightgbm.LGBMClassifier(**QUICK).fit(frame, target(frame, classes))
    compare(model, frame, around(model, frame))


@pytest.mark.parametrize(
    "objective",
    ["regression", "regression_l1", "huber", "fair", "quantile", "mape", "poisson", "gamma", "tweedie"],
)
def test_every_objective_of_regression_is_exact(objective: str) -> None:
    """The link is the objective's."""
    frame = table(2)
    model = lightgbm.LGBMRegressor(objective=objective, **QUICK).fit(frame, target(frame))
    compare(model, frame, around(model, frame))


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("kind", ["dart", "rf", "goss"])
def test_other_kinds_of_boosting_are_exact(kind: str, classes: int) -> None:
    """Dropped trees are scaled at the end of training; a random forest is averaged."""
    frame = table(3)
    bagging = {"subsample": 0.5, "subsample_freq": 1} if kind == "rf" else {}
    model = lightgbm.LGBMClassifier(boosting_type=kind, **bagging, **QUICK).fit(frame, target(frame, classes))
    compare(model, frame, around(model, frame))


def test_options_of_objectives_are_exact() -> None:
    """One against all, another slope of the sigmoid, and cross entropy."""
    frame = table(4)
    for options, classes in (
        ({"objective": "multiclassova", "sigmoid": 0.7}, 3),
        ({"objective": "binary", "sigmoid": 2.5}, 2),
    ):
        model = lightgbm.LGBMClassifier(**options, **QUICK).fit(frame, target(frame, classes))
        compare(model, frame, around(model, frame))


@pytest.mark.parametrize("classes", [2, 3])
def test_pandas_categories_are_exact(classes: int) -> None:
    """By their codes in training; missing and unseen ones alike."""
    rng = np.random.default_rng(5)
    frame = table(5)
    frame["word"] = pd.Categorical(rng.choice(["x", "y", "zé", "w"], N))
    frame["digit"] = pd.Categorical(rng.choice([3, 70, 5], N))
    frame.loc[rng.random(N) < 0.1, "word"] = None
    shift = frame["word"].isin(["x", "w"]).to_numpy() * 3 + (frame["digit"] == 70).to_numpy() * 2
    labels = np.array(["no", "yes", "perhaps"])[pd.qcut(shift + rng.random(N), classes, labels=False)]
    model = lightgbm.LGBMClassifier(
        **QUICK, cat_smooth=1, cat_l2=1, min_data_per_group=5, max_cat_to_onehot=1
    ).fit(frame, labels)
    assert re.search(r"num_cat=[1-9]", model.booster_.model_to_string())
    rows = frame.iloc[:60].to_dict("records")
    rows += [{**rows[0], "word": word} for word in ("x", "y", "zé", "w", "unseen", None)]
    rows += [{**rows[1], "digit": digit} for digit in (3, 70, 5, 6, None)]
    compare(model, frame, rows)


def test_numbers_as_categories_are_exact() -> None:
    """`categorical_feature` over a numeric column: fractions are cut off, as C casts to int."""
    rng = np.random.default_rng(6)
    frame = table(6)
    frame["c"] = rng.choice([0.0, 3.0, 40.0, 200.0, 7.0], N)
    wanted = frame["c"].isin([3.0, 200.0]) * 2.0 + rng.random(N)
    model = lightgbm.LGBMRegressor(**QUICK, min_data_per_group=5).fit(
        frame, wanted, categorical_feature=["c"]
    )
    rows = frame.iloc[:40].to_dict("records")
    rows += [{**rows[0], "c": c} for c in (0.0, -0.5, -1.0, 0.99, 3.5, 199.9, 200.0, 201.0, 1e9, -1e9, None)]
    compare(model, frame, rows)


def test_a_single_leaf_and_early_stopping_are_exact() -> None:
    """A tree without splits; the best iteration alone is used."""
    frame = table(7)
    constant = lightgbm.LGBMRegressor(**QUICK).fit(frame, np.ones(N))
    compare(constant, frame, frame.iloc[:10].to_dict("records"))
    stopped = lightgbm.LGBMRegressor(**{**QUICK, "n_estimators": 200}).fit(
        frame,
        target(frame),
        eval_X=frame,
        eval_y=np.random.default_rng(0).permutation(target(frame)),
        callbacks=[lightgbm.early_stopping(2, verbose=False)],
    )
    assert 0 < stopped.best_iteration_ < 200
    compare(stopped, frame, around(stopped, frame))


@pytest.mark.parametrize(
    ("options", "why"),
    [({"zero_as_missing": True}, "zero_as_missing"), ({"linear_tree": True}, "linear_tree")],
)
def test_what_is_not_surely_exact_is_refused(options: dict[str, Any], why: str) -> None:
    """Rather no plan."""
    frame = table(8, zeros=True)
    model = lightgbm.LGBMRegressor(**QUICK, **options).fit(frame, target(frame))
    with pytest.raises(NotConvertible, match=why):
        convert(model, frame)


def test_an_objective_of_its_own_is_refused() -> None:
    """Its link is code."""
    frame = table(9)
    model = lightgbm.LGBMRegressor(objective=lambda y, z: (z - y, np.ones_like(y)), **QUICK)
    with pytest.raises(NotConvertible, match="objective"):
        convert(model.fit(frame, target(frame)), frame)


def test_an_array_of_integers_is_refused() -> None:
    """LightGBM rounds it to float32."""
    rows = np.random.default_rng(0).integers(0, 100, size=(N, 3))
    model = lightgbm.LGBMRegressor(**QUICK).fit(rows, rows.sum(axis=1))
    with pytest.raises(NotConvertible, match="float32"):
        convert(model, rows)
