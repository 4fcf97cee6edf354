import numpy as np
import pytest
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_selection import (
    RFE,
    RFECV,
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFromModel,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
    SequentialFeatureSelector,
    VarianceThreshold,
    f_regression,
)
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tests.plan.exactness import compare
from tests.plan.frames import fitted, numbers, rows_like, target, texts
from trainer.converters import NotConvertible, convert

SELECTORS = [
    VarianceThreshold(),
    SelectKBest(k=1),
    SelectKBest(k="all"),
    SelectPercentile(percentile=60),
    SelectFpr(alpha=1.0),
    SelectFdr(alpha=1.0),
    SelectFwe(alpha=1.0),
    GenericUnivariateSelect(f_regression, mode="k_best", param=2),
    SelectFromModel(Ridge(), threshold="mean"),
    SelectFromModel(RandomForestClassifier(5, random_state=0), threshold="median"),
    RFE(LinearRegression(), n_features_to_select=2),
    RFECV(LinearRegression(), cv=2),
    SequentialFeatureSelector(LinearRegression(), n_features_to_select=1, cv=2),
]


@pytest.mark.parametrize("selector", SELECTORS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_selector_keeps_the_same_columns(selector, dtype):
    X = numbers(6, dtype=dtype, scales=(1.0, 37.5)).loc[:, lambda f: f.nunique() > 5]
    compare(fitted(selector, X, target(X, 6)), X, rows_like(X, 6), methods=["transform"])


def test_a_selector_that_allows_gaps_refuses_nothing():
    X = numbers(6, gaps=True, scales=(1.0,))
    compare(fitted(VarianceThreshold(), X), X, rows_like(X, 6))


def test_a_selector_that_keeps_nothing_has_no_plan():
    X = numbers(6, scales=(1.0,))
    with pytest.raises(NotConvertible, match="selects no column"):
        convert(fitted(SelectFpr(alpha=0.0), X, target(X, 6)), X)


@pytest.mark.parametrize("whiten", [True, False])
@pytest.mark.parametrize("solver", ["full", "randomized", "covariance_eigh"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_principal_components(whiten, solver, dtype):
    X = numbers(11, dtype=dtype, scales=(1.0, 37.5))
    X["m"] = (X["n0"] * 2 + np.arange(len(X))).astype(dtype)
    pca = PCA(2, whiten=whiten, svd_solver=solver, random_state=0)
    compare(fitted(make_pipeline(StandardScaler(), pca), X), X, rows_like(X, 11, most=1e9))


def test_components_learned_in_batches():
    X = numbers(11, scales=(1.0, 37.5))
    compare(fitted(IncrementalPCA(2), X), X, rows_like(X, 11))


def test_singular_vectors_of_dense_and_sparse():
    X = numbers(11, scales=(1.0, 37.5))
    compare(fitted(TruncatedSVD(1), X), X, rows_like(X, 11))
    X = texts(5)
    pipeline = make_pipeline(OneHotEncoder(handle_unknown="ignore"), TruncatedSVD(2, random_state=0))
    compare(pipeline.fit(X), X, rows_like(X, 5))
