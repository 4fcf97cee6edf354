import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from tests.plan.exactness import compare
from tests.plan.frames import fitted, numbers, quick, rows_like, seeds
from trainer.converters import NotConvertible, convert

DTYPES = st.sampled_from(["float64", "float32"])
SCALERS = [
    StandardScaler(),
    StandardScaler(with_mean=False),
    StandardScaler(with_std=False),
    StandardScaler(with_mean=False, with_std=False),
    MinMaxScaler(),
    MinMaxScaler((-3, 0.7), clip=True),
    MaxAbsScaler(),
    RobustScaler(),
    RobustScaler(with_centering=False, quantile_range=(10, 90)),
    RobustScaler(with_scaling=False),
    RobustScaler(unit_variance=True),
    Binarizer(threshold=0.1),
    Binarizer(threshold=-1.0),
    *(Normalizer(norm) for norm in ("l1", "l2", "max")),
    PowerTransformer(),
    PowerTransformer(standardize=False),
    QuantileTransformer(n_quantiles=15),
    QuantileTransformer(n_quantiles=40, output_distribution="normal"),
]


@pytest.mark.parametrize("estimator", SCALERS, ids=repr)
@quick
@given(seed=seeds, dtype=DTYPES, gaps=st.booleans())
def test_a_scaler_gives_the_pipelines_numbers(estimator, seed, dtype, gaps):
    gaps = gaps and not isinstance(estimator, Binarizer | Normalizer)
    scales = (
        (1e-8, 1.0, 1.0, 37.5, 1e6) if dtype == "float32" or isinstance(estimator, PowerTransformer) else None
    )
    X = numbers(seed, gaps=gaps, dtype=dtype, **({"scales": scales} if scales else {}))
    compare(fitted(estimator, X), X, rows_like(X, seed))


@quick
@given(seed=seeds, standardize=st.booleans())
def test_box_cox(seed, standardize):
    X = numbers(seed, scales=(1e-8, 1.0, 37.5, 1e6)).abs() + 1e-3
    X += np.random.default_rng(seed).random(X.shape) * 1e-3  # it refuses constants
    compare(fitted(PowerTransformer("box-cox", standardize=standardize), X), X, rows_like(X, seed))


@pytest.mark.parametrize(
    "function",
    [
        np.log1p,
        np.log,
        np.sqrt,
        np.square,
        np.exp,
        np.abs,
        np.negative,
        np.sign,
        np.tanh,
        np.cbrt,
        np.floor,
        None,
    ],
)
@pytest.mark.parametrize("validate", [True, False])
def test_functions_of_numpy(function, validate):
    for dtype in ("float64", "float32"):
        X = numbers(5, dtype=dtype, scales=(1.0, 37.5))
        compare(fitted(FunctionTransformer(function, validate=validate), X), X, rows_like(X, 5))


def test_a_function_of_ones_own_has_no_plan():
    X = numbers(1)
    with pytest.raises(NotConvertible, match="the function"):
        convert(FunctionTransformer(lambda x: x + 1).fit(X), X)
    with pytest.raises(NotConvertible, match="arguments"):
        convert(FunctionTransformer(np.clip, kw_args={"a_min": 0, "a_max": 1}).fit(X), X)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint32"])
@pytest.mark.parametrize("function", [np.log1p, np.sqrt, np.exp, np.floor])
def test_functions_of_whole_numbers(dtype, function):
    X = pd.DataFrame({"a": np.arange(30), "b": np.arange(30)[::-1]}).astype(dtype)
    compare(FunctionTransformer(function).fit(X), X, rows_like(X, 0))


@pytest.mark.parametrize(("dtype", "function"), [("int8", np.sqrt), ("int64", np.square), ("bool", np.exp)])
def test_functions_that_numpy_computes_otherwise_for_a_dtype_are_refused(dtype, function):
    X = pd.DataFrame({"a": np.arange(30) % 2}).astype(dtype)
    with pytest.raises(NotConvertible, match=f"'a', {dtype}"):
        convert(FunctionTransformer(function).fit(X), X)


@pytest.mark.parametrize(
    "scaler",
    [StandardScaler(with_mean=False), MaxAbsScaler(), RobustScaler(with_centering=False), Normalizer()],
    ids=repr,
)
def test_scalers_of_sparse_matrices(scaler):
    X = pd.DataFrame(
        {"a": pd.Series(list("abcab" * 8), dtype=object), "b": pd.Series(list("xyxyx" * 8), dtype=object)}
    )
    pipeline = make_pipeline(OneHotEncoder(handle_unknown="ignore"), scaler).fit(X)
    compare(pipeline, X, rows_like(X, 0))


def test_quantiles_of_sparse_matrices_are_refused():
    X = pd.DataFrame({"a": pd.Series(list("abcab" * 8), dtype=object)})
    pipeline = fitted(make_pipeline(OneHotEncoder(), QuantileTransformer(n_quantiles=5)), X)
    with pytest.raises(NotConvertible, match="sparse"):
        convert(pipeline, X)
