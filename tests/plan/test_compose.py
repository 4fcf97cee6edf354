import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.feature_selection import SelectKBest, VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from tests.plan.exactness import compare
from tests.plan.frames import fitted, numbers, quick, rows_like, seeds, target, texts
from trainer.converters import NotConvertible, convert

ONE_HOT = OneHotEncoder(handle_unknown="ignore")
DENSE = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
FILLED = make_pipeline(SimpleImputer(), StandardScaler())


def mixed(seed=1, dtype="float64"):
    columns = numbers(seed, rows=60, gaps=True, dtype=dtype, scales=(1.0, 37.5)).iloc[:, :2]
    columns["n2"] = np.arange(60) % 7
    return pd.concat(
        [columns, texts(seed, gap="none").iloc[:, :1], texts(seed + 1).iloc[:, :1].add_prefix("d")], axis=1
    )


NUMBERS, WORDS = ["n0", "n1", "n2"], ["c0", "dc0"]
SELECTIONS = {
    "names": (NUMBERS, WORDS),
    "positions": ([0, 1, 2], [3, 4]),
    "positions from the end": ([-5, -4, -3], [-2, -1]),
    "slices": (slice(0, 3), slice(3, None)),
    "slices of names": (slice("n0", "n2"), slice("c0", None)),
    "masks": ([True, True, True, False, False], np.array([False, False, False, True, True])),
    "selectors": (
        make_column_selector(dtype_include=np.number),
        make_column_selector(dtype_exclude=np.number),
    ),
    "patterns": (make_column_selector("^n"), make_column_selector("c0$")),
    "functions": (lambda X: [c for c in X if c[0] == "n"], lambda X: WORDS),
    "arrays": (np.array(NUMBERS), pd.Index(WORDS)),
    "another order": (["n2", "n0", "n1"], ["dc0", "c0"]),
}


@pytest.mark.parametrize("selection", SELECTIONS)
def test_columns_are_named_in_every_way(selection):
    X = mixed()
    of_numbers, of_words = SELECTIONS[selection]
    columns = ColumnTransformer([("n", FILLED, of_numbers), ("c", ONE_HOT, of_words)])
    compare(fitted(columns, X), X, rows_like(X, 1))
    model = make_pipeline(columns, LogisticRegression())
    compare(fitted(model, X, target(X, 1)), X, rows_like(X, 1))


@pytest.mark.parametrize(
    "remainder", ["drop", "passthrough", SimpleImputer(strategy="median"), FILLED], ids=repr
)
@pytest.mark.parametrize("threshold", [0, 0.3, 1.0])
def test_what_remains(remainder, threshold):
    X = mixed().fillna({"n0": 1.0, "n1": 2.0})
    columns = ColumnTransformer(
        [("c", ONE_HOT, WORDS), ("m", MinMaxScaler(), ["n1"])],
        remainder=remainder,
        sparse_threshold=threshold,
    )
    compare(fitted(columns, X), X, rows_like(X, 1))
    scaled = make_pipeline(columns, StandardScaler(with_mean=False), LogisticRegression())
    compare(fitted(scaled, X, target(X, 1)), X, rows_like(X, 1))


def test_columns_dropped_passed_and_empty():
    X = mixed()
    columns = ColumnTransformer(
        [
            ("no", "drop", ["n0"]),
            ("as it is", "passthrough", ["n2", "n1"]),
            ("none", StandardScaler(), []),
            ("nothing", StandardScaler(), [False] * 5),
            ("once more", SimpleImputer(add_indicator=True), ["n1"]),
            ("c", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), WORDS),
        ],
        verbose_feature_names_out=True,
    )
    compare(fitted(columns, X), X, rows_like(X.drop(columns="n0"), 1))


def test_weights_of_transformers():
    X = mixed()
    columns = ColumnTransformer(
        [("n", FILLED, NUMBERS), ("c", ONE_HOT, WORDS)], transformer_weights={"n": 0.3, "c": -2.0}
    )
    compare(fitted(columns, X), X, rows_like(X, 1))
    union = FeatureUnion(
        [("a", SimpleImputer()), ("b", FILLED), ("c", "passthrough"), ("d", "drop")],
        transformer_weights={"a": 0.1, "c": 3.0},
    )
    compare(fitted(union, X[NUMBERS]), X[NUMBERS], rows_like(X[NUMBERS], 1))


@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_nested_and_named(output, dtype):
    X = mixed(dtype=dtype)
    inner = ColumnTransformer(
        [("n", SimpleImputer(), ["n0", "n1"]), ("c", SimpleImputer(strategy="most_frequent"), WORDS)],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )
    names = (["n1", "n2"], ["dc0", "c0"], ["n0"]) if output == "pandas" else ([1, 4], [3, 2], [0])
    outer = ColumnTransformer(
        [("n", StandardScaler(), names[0]), ("c", DENSE, names[1]), ("p", "passthrough", names[2])]
    )
    pipeline = make_pipeline(inner, outer, DecisionTreeClassifier(max_depth=4, random_state=0))
    pipeline.set_output(transform=output)
    compare(fitted(pipeline, X, target(X, 1)), X, rows_like(X, 1))


def test_frames_everywhere():
    X = mixed()
    with config_context(transform_output="pandas"):
        columns = ColumnTransformer([("n", FILLED, NUMBERS), ("c", DENSE, WORDS)])
        pipeline = make_pipeline(columns, SelectKBest(k=4), LogisticRegression())
        compare(fitted(pipeline, X, target(X, 1)), X, rows_like(X, 1))


def test_what_a_second_selection_leaves_out_may_still_refuse_a_row():
    X = mixed()
    first = ColumnTransformer([("n", FILLED, NUMBERS), ("c", OneHotEncoder(sparse_output=False), ["c0"])])
    second = ColumnTransformer([("some", "passthrough", [0, 3])])
    for last in (second, VarianceThreshold(threshold=0.9)):
        compare(
            fitted(make_pipeline(first, last, DecisionTreeClassifier(max_depth=3)), X, target(X, 1)),
            X,
            rows_like(X, 1),
        )


def test_float32_beside_float64_is_float64_in_one_array():
    X = pd.DataFrame({"a": np.arange(40, dtype=np.float32) / 7, "b": np.arange(40) / 3.0})
    both = ColumnTransformer([("a", "passthrough", ["a"]), ("b", "passthrough", ["b"])])
    for output in ("default", "pandas"):
        first = ColumnTransformer([("a", StandardScaler(), [0])]).set_output(transform=output)
        compare(fitted(make_pipeline(both.set_output(transform=output), first), X), X, rows_like(X, 0))
    compare(fitted(make_pipeline(VarianceThreshold(), StandardScaler()), X), X, rows_like(X, 0))


@pytest.mark.parametrize("last", ["passthrough", None])
def test_steps_that_do_nothing(last):
    X = numbers(2)
    pipeline = Pipeline([("a", "passthrough"), ("b", StandardScaler()), ("c", None), ("d", last)])
    compare(fitted(pipeline, X), X, rows_like(X, 2))
    compare(fitted(make_pipeline(FunctionTransformer(), StandardScaler()), X), X, rows_like(X, 2))


def test_arrays_without_names():
    X = mixed()[NUMBERS].to_numpy()
    columns = ColumnTransformer([("a", FILLED, [0, 2])], remainder=SimpleImputer(strategy="median"))
    rows = [{"x0": a, "x1": b, "x2": 3.0} for a in (1.5, None, float("inf")) for b in (-2.0, None)]
    compare(fitted(columns, X), X, rows)


@quick
@given(seed=seeds, dtype=st.sampled_from(["float64", "float32"]))
def test_a_common_pipeline_over_many_frames(seed, dtype):
    X = mixed(seed, dtype=dtype)
    columns = ColumnTransformer(
        [
            ("n", FILLED, NUMBERS),
            ("c", make_pipeline(SimpleImputer(strategy="most_frequent"), ONE_HOT), WORDS),
        ]
    )
    compare(fitted(make_pipeline(columns, LogisticRegression()), X, target(X, seed)), X, rows_like(X, seed))


def test_texts_that_nothing_encodes_have_no_plan():
    X = mixed()
    with pytest.raises(NotConvertible, match="texts"):
        convert(fitted(ColumnTransformer([("c", "passthrough", WORDS)]), X), X)
