import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from mlshared.plan._separable import CodeSource, sources
from tests.plan.exactness import compare
from tests.plan.frames import fitted, numbers, quick, rows_like, seeds, target, texts
from trainer.converters import convert

GAPS = st.sampled_from(["none", None, np.nan])
ONE_HOT = st.fixed_dictionaries(
    {
        "handle_unknown": st.sampled_from(["error", "ignore", "infrequent_if_exist", "warn"]),
        "min_frequency": st.sampled_from([None, 5, 0.2]),
        "max_categories": st.sampled_from([None, 1, 3]),
        "drop": st.sampled_from([None, "first", "if_binary"]),
        "sparse_output": st.booleans(),
        "dtype": st.sampled_from([np.float64, np.float32, np.int64]),
    }
)


@quick.__class__(quick, max_examples=15)
@given(seed=seeds, gap=GAPS, params=ONE_HOT)
def test_one_hot(seed, gap, params):
    X = texts(seed, gap=gap)
    pipeline = fitted(OneHotEncoder(**params), X)
    if len(pipeline.get_feature_names_out()):
        compare(pipeline, X, rows_like(X, seed))


@quick
@given(
    seed=seeds,
    unknown=st.sampled_from(["error", "ignore"]),
    dtype=st.sampled_from(["float64", "float32", "int64"]),
)
def test_one_hot_of_numbers(seed, unknown, dtype):
    rng = np.random.default_rng(seed)
    X = pd.DataFrame({"a": rng.integers(-2, 3, 40), "b": rng.integers(0, 2, 40)}).astype(dtype)
    if dtype != "int64":
        X = X * 0.1
        X.iloc[::7, 0] = np.nan
    compare(fitted(OneHotEncoder(handle_unknown=unknown), X), X, rows_like(X, seed))


def test_one_hot_of_booleans_and_of_a_pandas_category():
    X = pd.DataFrame(
        {
            "b": np.arange(20) % 3 == 0,
            "c": pd.Categorical(list("xyzzy") * 4),
            "n": pd.Categorical([3, 1, 2, 2, None] * 4),
        }
    )
    for unknown, words in (("ignore", ["x", "z", None, "unseen"]), ("error", ["x", "z"])):
        rows = [{"b": b, "c": c, "n": n} for b in (True, False) for c in words for n in (1, 3, None, 9)]
        compare(fitted(OneHotEncoder(handle_unknown=unknown), X), X, rows)


def test_one_hot_drops_named_categories_a_missing_one_too():
    X = pd.DataFrame(
        {"a": pd.Series(["x", "y", np.nan, "z"] * 5, dtype=object), "b": pd.Series(list("pq") * 10)}
    )
    for drop in (["y", "q"], [np.nan, "p"]):
        pipeline = fitted(OneHotEncoder(drop=drop, handle_unknown="ignore"), X)
        compare(pipeline, X, rows_like(X, 1))


def test_one_hot_takes_categories_given():
    X = pd.DataFrame({"a": pd.Series(["x", "y", "x"] * 5, dtype=object)})
    pipeline = fitted(OneHotEncoder(categories=[["y", "z", "x"]], handle_unknown="ignore"), X)
    compare(pipeline, X, rows_like(X, 1))


@quick.__class__(quick, max_examples=12)
@given(
    seed=seeds,
    gap=GAPS,
    unknown=st.sampled_from([None, -1, np.nan, 99]),
    missing=st.sampled_from([np.nan, -2]),
    infrequent=st.sampled_from([{}, {"min_frequency": 5}, {"max_categories": 2}]),
    dtype=st.sampled_from([np.float64, np.float32]),
)
def test_ordinal(seed, gap, unknown, missing, infrequent, dtype):
    X = texts(seed, gap=gap)
    how = {} if unknown is None else {"handle_unknown": "use_encoded_value", "unknown_value": unknown}
    encoder = OrdinalEncoder(encoded_missing_value=missing, dtype=dtype, **how, **infrequent)
    compare(fitted(encoder, X), X, rows_like(X, seed))


def test_ordinal_codes_as_whole_numbers():
    X = texts(3, gap="none")
    compare(fitted(OrdinalEncoder(dtype=np.int32), X), X, rows_like(X, 3))


@quick
@given(
    seed=seeds,
    gap=GAPS,
    kind=st.sampled_from(["binary", "continuous", "multiclass"]),
    smooth=st.sampled_from(["auto", 3.0]),
)
def test_target(seed, gap, kind, smooth):
    X = texts(seed, gap=gap)
    rng = np.random.default_rng(seed)
    y = {
        "binary": target(X, seed),
        "continuous": rng.normal(size=len(X)),
        "multiclass": np.array(["a", "b", "c"])[np.arange(len(X)) % 3],
    }[kind]
    compare(fitted(TargetEncoder(smooth=smooth), X, y), X, rows_like(X, seed))


def test_target_of_numbers():
    X = (numbers(4, scales=(1.0,)) * 2).round()
    compare(fitted(TargetEncoder(), X, target(X, 4)), X, rows_like(X, 4))


def test_a_wide_one_hot_keeps_no_table():
    X = pd.DataFrame({"a": pd.Series([f"v{i}" for i in range(3000)], dtype=object)})
    plan = convert(OneHotEncoder(handle_unknown="ignore").fit(X), X)
    assert plan.size < 100_000
    found = sources(plan.program, plan.program.outputs["transform"].steps[0])
    assert found is not None
    first, *_, last = found
    assert isinstance(first, CodeSource)
    assert isinstance(last, CodeSource)
    assert first.codes is last.codes
    assert np.flatnonzero(first.values) == [first.codes["v0"]]
    assert np.flatnonzero(last.values) == [last.codes["v999"]]
