"""XGBoost's estimators answer alike: objectives, float32 throughout, missing values, categories."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from trainer.converters import NotConvertible, convert

from .exactness import compare

xgboost = pytest.importorskip("xgboost")

N = 400
QUICK = {"n_estimators": 12, "n_jobs": 1, "random_state": 0, "max_depth": 4}


def table(seed: int, dtype: str = "float64") -> pd.DataFrame:
    """Return three numeric columns, gaps in the first."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(N, 3)).astype(dtype), columns=["a", "b", "c"])
    frame.loc[rng.random(N) < 0.1, "a"] = np.nan
    return frame


def target(frame: pd.DataFrame, classes: int = 0) -> Any:
    """Return positive numbers, or classes from 0 on."""
    score = frame.select_dtypes("number").fillna(0).sum(axis=1)
    if not classes:
        return np.exp(score / 4) / 20
    return pd.qcut(score.rank(method="first"), classes, labels=False)


def around(model: Any, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows of the frame, and every threshold with its neighbours, in float32 and in float64."""
    trees = json.loads(model.get_booster().save_raw("json"))["learner"]["gradient_booster"]["model"]["trees"]
    found = np.unique(np.concatenate([tree["split_conditions"] for tree in trees]).astype(np.float32))
    found = found[:: max(1, len(found) // 40)]
    values: list[Any] = [0.0, -0.0, 1e30, -1e30, 1e39, -1e300, float("inf"), None, 1e-300]
    for step in (np.float32(np.inf), np.float32(-np.inf)):
        values += np.nextafter(found, step).astype(float).tolist()
        values += np.nextafter(found.astype(np.float64), float(step)).tolist()
    values += found.astype(float).tolist()
    rows = frame.iloc[:50].to_dict("records")
    return rows + [{**rows[i % 50], name: value} for name in "abc" for i, value in enumerate(values)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("classes", [2, 3])
def test_classifiers_are_exact(classes: int, dtype: str) -> None:
    """Two classes and more, at every threshold."""
    frame = table(1, dtype)
    model = xgboost.XGBClassifier(**QUICK).fit(frame, target(frame, classes))
    compare(model, frame, around(model, frame))


@pytest.mark.parametrize(
    "objective",
    [
        "reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:squaredlogerror",
        "count:poisson", "reg:gamma", "reg:tweedie", "reg:logistic",
    ],
)  # fmt: skip
def test_every_objective_of_regression_is_exact(objective: str) -> None:
    """The link is the objective's, for the base score too."""
    frame = table(2)
    wanted = np.clip(target(frame), 0.01, 0.99)
    model = xgboost.XGBRegressor(objective=objective, **QUICK).fit(frame, wanted)
    compare(model, frame, around(model, frame))


def test_sums_are_equal_to_the_bit() -> None:
    """In float32, from the base score, tree by tree."""
    frame = table(3)
    model = xgboost.XGBRegressor(**QUICK).fit(frame, target(frame))
    plan = convert(model, frame)
    rows = [{k: None if v != v else v for k, v in row.items()} for row in frame.to_dict("records")]  # noqa: PLR0124
    wanted = model.predict(frame)
    assert plan.rows("predict", rows).dtype == wanted.dtype
    np.testing.assert_array_equal(plan.rows("predict", rows), wanted)
    np.testing.assert_array_equal([plan.one("predict")(row) for row in rows], wanted.astype(float))


@pytest.mark.parametrize("kind", ["XGBRFClassifier", "XGBRFRegressor"])
def test_forests_are_exact(kind: str) -> None:
    """Several trees an output in one round."""
    frame = table(4)
    wanted = target(frame, 3) if kind == "XGBRFClassifier" else target(frame)
    model = getattr(xgboost, kind)(**QUICK).fit(frame, wanted)
    compare(model, frame, around(model, frame))


@pytest.mark.parametrize("onehot", [1, 100])
def test_pandas_categories_are_exact(onehot: int) -> None:
    """By their codes in training, one category a split or several; missing and unseen ones alike."""
    rng = np.random.default_rng(5)
    frame = table(5)
    frame["word"] = pd.Categorical(rng.choice(["x", "y", "zz", "w", ""], N))
    frame["digit"] = pd.Categorical(rng.choice([3, 70, 5], N))
    frame.loc[rng.random(N) < 0.1, "word"] = None
    shift = frame["word"].isin(["x", "w"]).to_numpy() * 3 + (frame["digit"] == 70).to_numpy() * 2
    model = xgboost.XGBClassifier(**QUICK, enable_categorical=True, max_cat_to_onehot=onehot)
    model.fit(frame, pd.qcut(shift + rng.random(N), 2, labels=False))
    rows = frame.iloc[:60].to_dict("records")
    rows += [{**rows[0], "word": word} for word in ("x", "y", "zz", "w", "", "unseen", None)]
    rows += [{**rows[1], "digit": digit} for digit in (3, 70, 5, 6, None)]
    compare(model, frame, rows)


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_zeros_of_a_sparse_matrix_are_missing(threshold: float) -> None:
    """One-hot columns are sparse by default; whether numbers beside them are, too, depends on how many there are."""
    frame = table(6).assign(word=np.random.default_rng(6).choice(["x", "y", "z"], N))
    frame.loc[::9, "b"] = 0.0
    before = ColumnTransformer(
        [("as they are", "passthrough", ["a", "b", "c"]), ("hot", OneHotEncoder(), ["word"])],
        sparse_threshold=threshold,
    )
    model = make_pipeline(before, xgboost.XGBClassifier(**QUICK)).fit(frame, target(frame, 2))
    assert model[0].sparse_output_ == (threshold > 0)
    rows = [{**row, "word": "z"} for row in around(model[-1], frame)] + frame.iloc[:50].to_dict("records")
    plan = compare(model, frame, rows)
    assert all("_row_masks" in plan.one(method).__module__ for method in plan.methods)


def test_categories_beyond_ascii_are_refused() -> None:
    """XGBoost takes the number of characters for that of bytes."""
    frame = table(6)
    frame["word"] = pd.Categorical(np.random.default_rng(0).choice(["é", "è"], N))
    model = xgboost.XGBRegressor(**QUICK, enable_categorical=True).fit(frame, target(frame))
    with pytest.raises(NotConvertible, match="ASCII"):
        convert(model, frame)


def test_early_stopping_uses_the_best_iteration() -> None:
    """As `predict` does."""
    frame = table(7)
    noise = np.random.default_rng(0).permutation(target(frame))
    model = xgboost.XGBRegressor(**{**QUICK, "n_estimators": 100}, early_stopping_rounds=2)
    model.fit(frame, target(frame), eval_set=[(frame, noise)], verbose=False)
    assert model.best_iteration < 99
    compare(model, frame, around(model, frame))


@pytest.mark.parametrize(
    ("options", "why"),
    [({"booster": "dart"}, "dart"), ({"booster": "gblinear"}, "gblinear"), ({"missing": 0.0}, "missing")],
)
def test_what_is_not_surely_exact_is_refused(options: dict[str, Any], why: str) -> None:
    """Rather no plan."""
    frame = table(8).fillna(1.0)
    model = xgboost.XGBRegressor(n_estimators=3, n_jobs=1, **options).fit(frame, target(frame))
    with pytest.raises(NotConvertible, match=why):
        convert(model, frame)
