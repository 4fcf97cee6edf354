import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from tests.plan.exactness import compare
from tests.plan.frames import fitted, numbers, quick, rows_like, seeds, texts
from trainer.converters import NotConvertible, convert

DTYPES = st.sampled_from(["float64", "float32"])


@quick.__class__(quick, max_examples=12)
@given(
    seed=seeds,
    strategy=st.sampled_from(["mean", "median", "most_frequent", "constant"]),
    add_indicator=st.booleans(),
    keep=st.booleans(),
    dtype=DTYPES,
)
def test_numbers(seed, strategy, add_indicator, keep, dtype):
    X = numbers(seed, gaps=True, dtype=dtype, scales=(1e-8, 1.0, 37.5, 1e6))
    if seed % 2:
        X["empty"] = np.full(len(X), np.nan, dtype=dtype)
    imputer = SimpleImputer(strategy=strategy, add_indicator=add_indicator, keep_empty_features=keep)
    compare(
        fitted(imputer, X),
        X,
        rows_like(X.drop(columns="empty", errors="ignore"), seed) if not seed % 2 else _with_empty(X, seed),
    )


def _with_empty(X, seed):
    return [{**row, "empty": None} for row in rows_like(X.drop(columns="empty"), seed)] + [
        {**row, "empty": 2.5} for row in rows_like(X.drop(columns="empty"), seed)[:3]
    ]


@pytest.mark.parametrize("marker", [-1, 0])
@pytest.mark.parametrize("dtype", ["int64", "float64", "float32"])
@pytest.mark.parametrize("strategy", ["mean", "most_frequent", "constant"])
@pytest.mark.parametrize("add_indicator", [True, False])
def test_a_number_that_stands_for_missing(marker, dtype, strategy, add_indicator):
    X = pd.DataFrame({"a": [-1, 0, 3, 3, 5, -1] * 4, "b": [2, 0, -1, 0, 7, 7] * 4}).astype(dtype)
    imputer = SimpleImputer(missing_values=marker, strategy=strategy, add_indicator=add_indicator)
    compare(imputer.fit(X), X, rows_like(X, 0))


def test_a_function_as_strategy():
    X = numbers(9, gaps=True)
    compare(SimpleImputer(strategy=np.max).fit(X), X, rows_like(X, 9))


@pytest.mark.parametrize(("gap", "looked_for"), [(None, None), (None, np.nan), (np.nan, np.nan)])
@pytest.mark.parametrize("strategy", ["most_frequent", "constant"])
@pytest.mark.parametrize("add_indicator", [True, False])
def test_texts_are_filled_where_their_own_missing_value_is_looked_for(
    gap, looked_for, strategy, add_indicator
):
    X = texts(7, gap=gap)
    imputer = SimpleImputer(missing_values=looked_for, strategy=strategy, add_indicator=False)
    encoder = OneHotEncoder(handle_unknown="ignore")
    if add_indicator:
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
        imputer.set_params(add_indicator=True)
    compare(fitted(make_pipeline(imputer, encoder), X), X, rows_like(X, 7))


def test_texts_of_a_str_column_and_of_a_pandas_category():
    values = ["x", "y", None, "y", "z"] * 6
    for dtype in ("str", "category"):
        X = pd.DataFrame({"a": pd.Series(values, dtype=dtype)})
        pipeline = make_pipeline(
            SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore")
        )
        compare(pipeline.fit(X), X, [{"a": v} for v in ("x", "y", None, "unseen")])


def test_texts_and_numbers_in_one_imputer():
    X = pd.concat([texts(3, gap=np.nan), numbers(3, rows=60, gaps=True, scales=(1.0,))], axis=1)
    pipeline = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    compare(fitted(pipeline, X), X, rows_like(X, 3))


@quick
@given(
    seed=seeds,
    features=st.sampled_from(["all", "missing-only"]),
    error_on_new=st.booleans(),
    sparse=st.sampled_from([True, False, "auto"]),
    dtype=DTYPES,
)
def test_missing_indicator(seed, features, error_on_new, sparse, dtype):
    X = numbers(seed, gaps=True, dtype=dtype)
    X["gap"] = np.where(np.arange(len(X)) % 5, 1.0, np.nan).astype(dtype)
    indicator = MissingIndicator(features=features, error_on_new=error_on_new, sparse=sparse)
    rows = rows_like(X, seed)
    compare(fitted(indicator, X), X, [*rows, {**rows[0], "n0": None}])


def test_imputed_beside_indicators_then_scaled():
    X = numbers(12, gaps=True, dtype="float32", scales=(1.0, 37.5))
    union = FeatureUnion([("x", SimpleImputer()), ("m", MissingIndicator(features="all"))])
    compare(fitted(make_pipeline(union, StandardScaler()), X), X, rows_like(X, 12))


@pytest.mark.parametrize("add_indicator", [True, False])
@pytest.mark.parametrize("gap", [None, np.nan])
def test_a_text_that_stands_for_missing(add_indicator, gap):
    X = pd.DataFrame(
        {"a": pd.Series(["x", "?", "y", "y"] * 5, dtype=object), "b": pd.Series(list("pq?q") * 5)}
    )
    X["b"] = X["b"].astype(object)
    imputer = SimpleImputer(missing_values="?", strategy="most_frequent", add_indicator=add_indicator)
    pipeline = fitted(make_pipeline(imputer, OneHotEncoder(handle_unknown="ignore")), X)
    rows = [{"a": a, "b": b} for a in ("x", "?", "unseen") for b in ("?", "p")]
    if gap is None:
        X.iloc[:2, 0] = None
        pipeline = fitted(pipeline, X)
        rows.append({"a": None, "b": "?"})
    compare(pipeline, X, rows)


def test_a_marker_among_texts_and_numbers_is_refused():
    X = pd.DataFrame({"a": pd.Series(["x", "?", "y"] * 5, dtype=object), "b": np.arange(15.0)})
    imputer = SimpleImputer(missing_values="?", strategy="most_frequent")
    with pytest.raises(NotConvertible, match="marker among texts and numbers"):
        convert(make_pipeline(imputer, OneHotEncoder()).fit(X), X)
