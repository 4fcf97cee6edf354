import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, PolynomialFeatures, SplineTransformer

from tests.plan.exactness import compare
from tests.plan.frames import fitted, numbers, quick, rows_like, seeds, texts
from trainer.converters import NotConvertible, convert

DTYPES = st.sampled_from(["float64", "float32"])
NEAR = (1e-3, 1.0, 37.5, 1e4)


@quick.__class__(quick, max_examples=15)
@given(
    seed=seeds,
    encode=st.sampled_from(["onehot", "onehot-dense", "ordinal"]),
    strategy=st.sampled_from(["uniform", "quantile", "kmeans"]),
    bins=st.integers(2, 7),
    read=DTYPES,
    dtype=st.sampled_from([None, np.float64, np.float32]),
)
def test_bins(seed, encode, strategy, bins, read, dtype):
    X = numbers(seed, dtype=read, scales=NEAR)
    estimator = KBinsDiscretizer(bins, encode=encode, strategy=strategy, dtype=dtype, subsample=None)
    pipeline = fitted(estimator, X)
    edges = [{**rows_like(X, seed)[0], X.columns[0]: float(edge)} for edge in pipeline.bin_edges_[0]]
    compare(pipeline, X, [*rows_like(X, seed), *edges])


@pytest.mark.parametrize("extrapolation", ["error", "constant", "linear", "continue", "periodic"])
@quick
@given(
    seed=seeds,
    degree=st.integers(1, 4),
    knots=st.sampled_from(["uniform", "quantile"]),
    bias=st.booleans(),
    sparse=st.booleans(),
)
def test_splines(extrapolation, seed, degree, knots, bias, sparse):
    X = numbers(seed, scales=NEAR)
    X += np.random.default_rng(seed).random(X.shape) * 1e-2  # distinct knots
    spline = SplineTransformer(
        n_knots=6,
        degree=degree,
        knots=knots,
        extrapolation=extrapolation,
        include_bias=bias,
        sparse_output=sparse,
    )
    compare(fitted(spline, X), X, rows_like(X, seed, most=1e3, wild=False))


@pytest.mark.parametrize("extrapolation", ["constant", "linear", "continue", "periodic"])
def test_splines_of_missing_values_are_zeros(extrapolation):
    spline = SplineTransformer(extrapolation=extrapolation)
    if not hasattr(spline, "handle_missing"):
        pytest.skip("since scikit-learn 1.9")
    spline.set_params(handle_missing="zeros")
    X = numbers(8, gaps=True, scales=NEAR)
    X = X.loc[:, X.nunique() > 5]
    compare(fitted(spline, X), X, rows_like(X, 8, most=1e3, wild=False))


def test_splines_of_degree_0():
    X = numbers(2, scales=(1.0,)).loc[:, lambda f: f.nunique() > 5]
    for extrapolation in ("linear", "continue"):
        spline = SplineTransformer(degree=0, extrapolation=extrapolation)
        compare(fitted(spline, X), X, rows_like(X, 2, most=1e3, wild=False))
    with pytest.raises(NotConvertible, match="degree 0"):
        convert(SplineTransformer(degree=0).fit(X), X)


@quick.__class__(quick, max_examples=15)
@given(
    seed=seeds,
    degree=st.sampled_from([1, 2, 3, (2, 3), (0, 2)]),
    interaction_only=st.booleans(),
    bias=st.booleans(),
    dtype=DTYPES,
)
def test_polynomials(seed, degree, interaction_only, bias, dtype):
    X = numbers(seed, dtype=dtype, scales=(1e-3, 1.0, 1e4))
    polynomial = PolynomialFeatures(degree, interaction_only=interaction_only, include_bias=bias)
    compare(fitted(polynomial, X), X, rows_like(X, seed))


def test_polynomials_of_a_sparse_matrix():
    X = texts(4)
    pipeline = make_pipeline(OneHotEncoder(handle_unknown="ignore"), PolynomialFeatures(2))
    compare(pipeline.fit(X), X, rows_like(X, 4))
