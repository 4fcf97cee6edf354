"""Decision trees and forests answer as scikit-learn does, to the bit."""

from io import BytesIO
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from mlshared.plan import Plan
from tests.plan.exactness import compare
from trainer._fields import infer_fields

CLASSIFIERS = (DecisionTreeClassifier, ExtraTreeClassifier, RandomForestClassifier, ExtraTreesClassifier)
REGRESSORS = (DecisionTreeRegressor, ExtraTreeRegressor, RandomForestRegressor, ExtraTreesRegressor)


def table(seed: int, *, n: int = 120, missing: float = 0.0, dtype: str = "float64") -> pd.DataFrame:
    """Return numbers of several scales, with ties and constants."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "a": rng.normal(size=n),
            "b": rng.normal(size=n) * 1e-30,
            "c": rng.normal(size=n) * 1e30,
            "d": rng.integers(0, 4, n).astype(float),
            "e": np.full(n, 7.0),
        }
    )
    X = X.mask(rng.random(X.shape) < missing)
    # scikit-learn 1.9 cannot fit a frame of float32 alone with NaN: pandas 3 gives it as a read-only array.
    return X.astype(dict.fromkeys(["a", "c"] if missing else X.columns, dtype))


def around(tree: Any, X: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows whose values lie on thresholds of a tree and next to them."""
    rows = []
    tests = [(f, t) for f, t in zip(tree.tree_.feature, tree.tree_.threshold, strict=True) if f >= 0]
    for feature, threshold in tests[:20]:
        start = X.iloc[0].to_dict()
        low = np.float32(threshold)
        near = [threshold, np.nextafter(threshold, -np.inf), np.nextafter(threshold, np.inf), low]
        near += [np.nextafter(low, np.float32(-np.inf)), np.nextafter(low, np.float32(np.inf))]
        rows += [{**start, X.columns[feature]: float(value)} for value in near]
    return rows


def records(X: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows with None where missing."""
    given = X.astype(object).where(X.notna(), None)
    return [dict(zip(X.columns, row, strict=True)) for row in given.to_numpy().tolist()]


def fitted(kind: type, X: pd.DataFrame, y: Any, **params: Any) -> Any:
    if kind.__name__.endswith(("ForestClassifier", "ForestRegressor", "TreesClassifier", "TreesRegressor")):
        params.setdefault("n_estimators", 11)
    return kind(random_state=0, **params).fit(X, y)


def trees_of(estimator: Any) -> list[Any]:
    return list(getattr(estimator, "estimators_", [estimator]))


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize("classes", [1, 2, 4])
def test_classifiers(kind: type, classes: int) -> None:
    """Every classifier, with labels that are texts, thresholds and their neighbours included."""
    X = table(1)
    y = np.array([f"class {i}" for i in np.arange(len(X)) % classes])
    estimator = fitted(kind, X, y)
    compare(estimator, X, records(X) + around(trees_of(estimator)[0], X))


@pytest.mark.parametrize("kind", REGRESSORS)
def test_regressors(kind: type) -> None:
    """Every regressor: sums in the order of the trees."""
    X = table(2)
    y = X["a"].fillna(0) * 1e3 + X["d"] ** 2
    estimator = fitted(kind, X, y)
    compare(estimator, X, records(X) + around(trees_of(estimator)[0], X))


@pytest.mark.parametrize("kind", CLASSIFIERS + REGRESSORS)
def test_several_targets(kind: type) -> None:
    """Several targets, with different numbers of classes."""
    X = table(3)
    y = np.stack([np.arange(len(X)) % 3, X["d"] % 2], axis=1).astype(int)
    compare(fitted(kind, X, y), X, records(X))


@pytest.mark.parametrize("kind", CLASSIFIERS + REGRESSORS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_missing_values(kind: type, dtype: str) -> None:
    """NaN goes where training sent it, or is refused where scikit-learn refuses it."""
    X = table(4, missing=0.3, dtype=dtype)
    y = (X["a"].isna() | (X["d"] > 1)).astype(int) + X["b"].isna()
    compare(fitted(kind, X, y), X, records(X))


@pytest.mark.parametrize("kind", [RandomForestClassifier, DecisionTreeRegressor])
def test_missing_only_when_asked(kind: type) -> None:
    """A forest that never saw NaN takes it as scikit-learn does; infinity and 1e39 are refused."""
    X = table(5)
    estimator = fitted(kind, X, (X["a"] > 0).astype(int))
    first = records(X)[0]
    rows = [{**first, "a": None}, {**first, "a": 1e39}, {**first, "a": -1e39}, {**first, "a": float("inf")}]
    rows += [{**first, "a": 3.4028234e38}, {**first, "a": 1e-46}, first]
    compare(estimator, X, rows)


@pytest.mark.parametrize("trees", [3, 30])
def test_a_split_between_missing_and_the_rest(trees: int) -> None:
    """Where only NaN goes right, the threshold is infinite."""
    X = pd.DataFrame({"a": [1.0, 2.0, None, None, 3.0, None] * 10, "b": np.arange(60) % 5})
    y = X["a"].isna().astype(int)
    estimator = RandomForestClassifier(trees, random_state=0, max_features=None).fit(X, y)
    assert any(np.isinf(tree.tree_.threshold).any() for tree in estimator.estimators_)
    plan = compare(estimator, X, [*records(X), {"a": 3e38, "b": 1.0}])
    assert any(step.params.get("copies") == 3 for step in plan.program.steps)


def mixed(seed: int, n: int = 300) -> tuple[pd.DataFrame, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({f"n{i}": rng.normal(size=n) for i in range(4)})
    X = X.mask(rng.random(X.shape) < 0.05)
    for i in range(3):
        X[f"c{i}"] = rng.choice(["x", "y", "zäß", "w"], n).astype(object)
        X.loc[rng.random(n) < 0.05, f"c{i}"] = np.nan
    return X, (X["n0"].fillna(0) + (X["c0"] == "x") > 0.3).astype(int).to_numpy()


def preprocessing(encoder: Any, *, scale: bool = True) -> ColumnTransformer:
    numbers = [f"n{i}" for i in range(4)]
    number = make_pipeline(SimpleImputer(), StandardScaler()) if scale else SimpleImputer()
    labels = make_pipeline(SimpleImputer(strategy="most_frequent"), encoder)
    return ColumnTransformer([("n", number, numbers), ("c", labels, [f"c{i}" for i in range(3)])])


ENCODERS = {
    "dense": OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    "sparse": OneHotEncoder(handle_unknown="ignore"),
    "ordinal": OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("estimator", [
    RandomForestClassifier(20, max_depth=6, random_state=0),
    ExtraTreesRegressor(20, random_state=0),
    DecisionTreeClassifier(random_state=0),
])  # fmt: skip
def test_behind_preprocessing(encoder: str, estimator: Any) -> None:
    """Imputed, scaled and encoded columns: the row is filled in field by field."""
    X, y = mixed(0)
    pipeline = make_pipeline(preprocessing(ENCODERS[encoder]), estimator).fit(X, y)
    rows = records(X.head(30))
    rows += [{**rows[0], "c0": "never seen"}, dict.fromkeys(X.columns), {**rows[1], "n0": 1e300}]
    rows += [{**rows[2], "n1": float("inf")}, {**rows[2], "n1": -1e39}, {**rows[3], "n2": 5e-324}]
    plan = compare(pipeline, X, rows)
    assert _is_fast(plan)


def _is_fast(plan: Plan) -> bool:
    return all("_row_" in plan.one(method).__module__ for method in plan.methods)


def test_a_scaler_behind_one_hot() -> None:
    """One-hot columns that are scaled are no longer 0 and 1."""
    X, y = mixed(1)
    pipeline = make_pipeline(
        preprocessing(ENCODERS["dense"]), StandardScaler(), RandomForestClassifier(12, random_state=0)
    ).fit(X, y)
    compare(pipeline, X, records(X))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(CLASSIFIERS + REGRESSORS),
    depth=st.one_of(st.none(), st.integers(1, 9)),
    leaf=st.integers(1, 9),
    features=st.sampled_from([None, "sqrt", 1]),
    missing=st.sampled_from([0.0, 0.2]),
    dtype=st.sampled_from(["float64", "float32"]),
    bootstrap=st.booleans(),
    weighted=st.booleans(),
)
def test_random_forests(
    *,
    seed: int,
    kind: type,
    depth: int | None,
    leaf: int,
    features: Any,
    missing: float,
    dtype: str,
    bootstrap: bool,
    weighted: bool,
) -> None:
    """Over the parameters: depth, leaves, features, bootstrap, weights, missing values, float32."""
    plain = kind in {DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor}
    X = table(seed, n=80, missing=missing, dtype=dtype)
    rng = np.random.default_rng(seed)
    y = (
        rng.integers(0, 3, len(X))
        if kind in CLASSIFIERS
        else rng.normal(size=len(X)) * 10.0 ** rng.integers(-9, 9)
    )
    params: dict[str, Any] = {"max_depth": depth, "min_samples_leaf": leaf, "max_features": features}
    if not plain:
        params |= {"bootstrap": bootstrap, "n_estimators": int(rng.integers(1, 15))}
    if weighted and kind in CLASSIFIERS:
        params["class_weight"] = "balanced"
    estimator = kind(random_state=seed, **params).fit(X, y)
    compare(estimator, X, records(X) + around(trees_of(estimator)[0], X))


@pytest.mark.parametrize("criterion", ["gini", "entropy", "log_loss"])
def test_constrained_and_pruned_classifiers(criterion: str) -> None:
    """Every criterion; monotonic columns, with which NaN is refused; pruning."""
    X = table(6)
    y = (X["a"] + X["d"] > 1).astype(int)
    params: dict[str, Any] = {"monotonic_cst": [1, 0, 0, 0, 0], "ccp_alpha": 0.001, "criterion": criterion}
    rows = [*records(X), {**records(X)[0], "a": None}]
    compare(fitted(RandomForestClassifier, X, y, **params), X, rows)


@pytest.mark.parametrize("criterion", ["squared_error", "absolute_error", "poisson"])
def test_every_criterion_of_regressors(criterion: str) -> None:
    """Leaves hold means or medians."""
    X = table(7)
    compare(fitted(RandomForestRegressor, X, X["d"] + 1.5, criterion=criterion), X, records(X))


@pytest.mark.parametrize("n", [6, 40])
def test_texts(n: int) -> None:
    """Counts of words: sparse to scikit-learn, whose zeros a tree tests all the same."""
    words = ["snow", "rain", "sun", "fog and sun", "rain and wind", "late"] * n
    pipeline = make_pipeline(TfidfVectorizer(), RandomForestClassifier(12, random_state=0))
    pipeline.fit(words, np.arange(len(words)) % 6 > 2)
    field = infer_fields(pipeline, words)[1][0].name
    compare(pipeline, words, [{field: text} for text in [*words[:6], "unheard of", ""]])


def test_many_columns() -> None:
    """More columns than a byte can number."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(60, 300)), columns=[f"x{i}" for i in range(300)])
    estimator = RandomForestClassifier(20, random_state=0).fit(X, X["x299"] > 0)
    plan = compare(estimator, X, records(X.head(20)))
    forest = next(step for step in plan.program.steps if step.op == "forest")
    assert forest.arrays["feature"].dtype == np.uint16


@pytest.mark.parametrize("kind", [RandomForestClassifier, ExtraTreesClassifier])
def test_a_deep_forest_is_compact(kind: type) -> None:
    """At most 0.4 of what joblib writes."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(3000, 8)), columns=list("abcdefgh"))
    estimator = kind(10, random_state=0).fit(X, X["a"] + rng.normal(size=3000) > 0)
    file = BytesIO()
    joblib.dump(estimator, file)
    assert compare(estimator, X, records(X.head(20))).size <= 0.4 * file.tell()


def test_a_degenerate_tree() -> None:
    """A tree as deep as it has rows."""
    X = pd.DataFrame({"a": np.arange(600, dtype=float)})
    estimator = DecisionTreeRegressor(max_leaf_nodes=599, random_state=0).fit(X, 1.9 ** np.arange(600))
    assert estimator.get_depth() > 100
    compare(estimator, X, records(X))
