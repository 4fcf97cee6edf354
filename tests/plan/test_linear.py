"""Linear models answer as scikit-learn does: every family, its links, its decision rule, its refusals."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn import linear_model as lm
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC, LinearSVR

from tests.plan.exactness import compare
from trainer.converters import NotConvertible, convert

pytestmark = pytest.mark.filterwarnings("ignore")
few = settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)

LOOSE = {"float64": None, "float32": 1e-4}
NUMBERS = ("a", "b", "c")
EXTREMES = (0.0, -0.0, 1e-300, 1e15, -1e15, 1e200, 1.7e308, -1.7e308, np.inf, -np.inf)


def numbers(seed, n=60, dtype="float64", scale=1.0):
    """Return a frame of three columns, one of them an integer's, one constant at times."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(rng.normal(size=(n, 3)) * [scale, 1.0, 10.0] + [0.0, seed % 7 * 100, 0.0])
    X.columns = list(NUMBERS)
    X["c"] = X["c"].round() if seed % 2 else 3.0
    return X.astype(dtype)


def rows_of(X):
    """Return rows as an app sends them: seen ones, extremes one by one, and gaps."""
    rows = X.head(25).to_dict("records")
    first = rows[0]
    rows += [{**first, "a": value} for value in EXTREMES]
    return rows + [{**first, name: None} for name in X.columns]


def binary(X, seed):
    rng = np.random.default_rng(seed)
    score = X["b"] - X["b"].mean() + rng.normal(size=len(X))
    return np.where(score > np.median(score), "yes", "no")


def several(X, seed):
    return pd.qcut(X["b"] + np.random.default_rng(seed).normal(size=len(X)), 3, labels=False).to_numpy() * 10


def target(X, seed, outputs=1):
    rng = np.random.default_rng(seed)
    y = np.abs(rng.normal(size=(len(X), outputs)) + X["b"].to_numpy(dtype=float)[:, None]) + 0.1
    return y[:, 0] if outputs == 1 else y


def deprecated(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kind()


CLASSIFIERS = (
    lm.LogisticRegression(), lm.LogisticRegression(C=100.0, fit_intercept=False),
    lm.LogisticRegressionCV(Cs=2, cv=2), lm.RidgeClassifier(), lm.RidgeClassifierCV(),
    lm.SGDClassifier(loss="log_loss"), lm.SGDClassifier(loss="modified_huber"), lm.SGDClassifier(loss="hinge"),
    lm.SGDClassifier(loss="squared_hinge"), lm.SGDClassifier(loss="perceptron"),
    lm.SGDClassifier(loss="huber"), lm.SGDClassifier(loss="epsilon_insensitive"),
    lm.SGDClassifier(loss="squared_error", average=True), lm.SGDClassifier(loss="squared_epsilon_insensitive"),
    LinearSVC(), lm.Perceptron(), deprecated(lm.PassiveAggressiveClassifier),
)  # fmt: skip

REGRESSORS = (
    lm.LinearRegression(), lm.LinearRegression(positive=True), lm.Ridge(fit_intercept=False), lm.RidgeCV(),
    lm.Lasso(), lm.LassoCV(cv=2), lm.ElasticNet(), lm.ElasticNetCV(cv=2), lm.Lars(), lm.LarsCV(cv=2),
    lm.LassoLars(), lm.LassoLarsCV(cv=2), lm.LassoLarsIC(), lm.OrthogonalMatchingPursuit(),
    lm.OrthogonalMatchingPursuitCV(cv=2), lm.BayesianRidge(), lm.ARDRegression(), lm.HuberRegressor(),
    lm.TheilSenRegressor(max_subpopulation=50), lm.QuantileRegressor(), lm.RANSACRegressor(min_samples=10),
    lm.SGDRegressor(), lm.SGDRegressor(loss="huber"), lm.SGDRegressor(loss="epsilon_insensitive"),
    lm.SGDRegressor(loss="squared_epsilon_insensitive"), deprecated(lm.PassiveAggressiveRegressor), LinearSVR(),
    lm.PoissonRegressor(), lm.GammaRegressor(), lm.TweedieRegressor(power=0), lm.TweedieRegressor(power=1.5),
    lm.TweedieRegressor(power=0, link="log"),
)  # fmt: skip

TASKS = (
    lm.LinearRegression(), lm.Ridge(), lm.RidgeCV(), lm.Lasso(), lm.ElasticNet(), lm.MultiTaskLasso(),
    lm.MultiTaskLassoCV(cv=2), lm.MultiTaskElasticNet(), lm.MultiTaskElasticNetCV(cv=2), lm.Lars(),
    lm.OrthogonalMatchingPursuit(),
)  # fmt: skip


def name_of(estimator):
    return str(estimator).replace("\n", "")


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=name_of)
@pytest.mark.parametrize("classes", [binary, several])
@few
@given(seed=st.integers(0, 500), dtype=st.sampled_from(["float64", "float64", "float32"]))
def test_classifiers(estimator, classes, seed, dtype):
    X = numbers(seed, dtype=dtype)
    compare(estimator.fit(X, classes(X, seed)), X, rows_of(X), tolerance=LOOSE[dtype])


@pytest.mark.parametrize("estimator", REGRESSORS, ids=name_of)
@few
@given(seed=st.integers(0, 500), dtype=st.sampled_from(["float64", "float64", "float32"]))
def test_regressors(estimator, seed, dtype):
    X = numbers(seed, dtype=dtype)
    pipeline = make_pipeline(StandardScaler(), estimator)
    pipeline.fit(X, target(X, seed).astype(dtype))
    compare(pipeline, X, rows_of(X), tolerance=LOOSE[dtype])


@pytest.mark.parametrize("estimator", TASKS, ids=name_of)
@few
@given(seed=st.integers(0, 500))
def test_several_targets(estimator, seed):
    X = numbers(seed)
    compare(make_pipeline(StandardScaler(), estimator).fit(X, target(X, seed, 3)), X, rows_of(X))


@few
@given(seed=st.integers(0, 500), nu=st.floats(0.05, 0.9))
def test_one_class(seed, nu):
    X = numbers(seed)
    compare(make_pipeline(StandardScaler(), lm.SGDOneClassSVM(nu=nu, random_state=0)).fit(X), X, rows_of(X))


@pytest.mark.parametrize("estimator", [lm.RidgeClassifier(), lm.RidgeClassifierCV()], ids=name_of)
def test_several_labels(estimator):
    X = numbers(5)
    y = np.stack([binary(X, 1) == "yes", binary(X, 2) == "yes", X["a"] > 0], axis=1).astype(int)
    compare(estimator.fit(X, y), X, rows_of(X))


@pytest.mark.parametrize("estimator", [lm.LogisticRegression(), lm.LinearRegression()], ids=name_of)
@pytest.mark.parametrize("kind", ["float64", "float32", "int64", "int8", "bool"])
def test_dtypes_of_the_frame(estimator, kind):
    X = numbers(3)
    X = (X.mean() < X) if kind == "bool" else (X.round() if kind.startswith("int") else X).clip(-100, 100)
    X = X.astype(kind)
    compare(estimator.fit(X, (binary(numbers(3), 1) == "yes").astype(int)), X, X.head(20).to_dict("records"))


def test_sparse_coefficients():
    X = numbers(3)
    compare(lm.LogisticRegression().fit(X, several(X, 0)).sparsify(), X, rows_of(X))


def test_a_target_of_one_column_is_refused():
    X = numbers(1)
    with pytest.raises(NotConvertible, match=r"shape \(n, 1\)"):
        convert(lm.LinearRegression().fit(X, target(X, 1)[:, None]), X)


def mixed(seed, n=80):
    """Return numbers and texts with gaps, unicode and a rare category."""
    rng = np.random.default_rng(seed)
    X = numbers(seed, n)
    X.loc[rng.random(n) < 0.1, "a"] = np.nan
    X["town"] = rng.choice(["Bern", "Züri ✓", "", "Genève"], n)
    X.loc[rng.random(n) < 0.1, "town"] = np.nan
    X.loc[0, "town"] = "once"
    X["size"] = pd.Categorical(rng.choice(["s", "m", "l"], n), categories=["s", "m", "l", "xl"])
    return X


def prepared(**options):
    fill = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    hot = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(**options))
    return ColumnTransformer([("n", fill, list(NUMBERS)), ("t", hot, ["town", "size"])])


@few
@given(
    seed=st.integers(0, 500),
    unknown=st.sampled_from(["ignore", "error"]),
    drop=st.sampled_from([None, "first", "if_binary"]),
    classes=st.sampled_from([binary, several]),
    scaled=st.booleans(),
    dtype=st.sampled_from(["category", "str", "object"]),
)
def test_mixed_rows(seed, unknown, drop, classes, scaled, dtype):
    X = mixed(seed).astype({"size": dtype})
    steps = [prepared(handle_unknown=unknown, drop=drop, sparse_output=False)]
    steps += [StandardScaler()] if scaled else []
    pipeline = make_pipeline(*steps, lm.LogisticRegression()).fit(X, classes(X, seed))
    rows = [{k: None if pd.isna(v) else v for k, v in row.items()} for row in X.head(30).to_dict("records")]
    first = next(row for row in rows if None not in row.values())
    rows += [{**first, name: None} for name in X.columns]
    rows += [{**first, "town": value} for value in ("never", "BERN", " Bern")]
    rows += [{**first, "a": value} for value in EXTREMES]
    plan = compare(pipeline, X, rows)
    assert dtype == "category" or plan.one("predict_proba").__module__ == "mlshared.plan._row_linear"


@few
@given(seed=st.integers(0, 500), classes=st.integers(2, 60))
def test_many_classes(seed, classes):
    X = mixed(seed, 300)
    y = np.arange(300) % classes
    pipeline = make_pipeline(prepared(handle_unknown="ignore"), lm.LogisticRegression(max_iter=5)).fit(X, y)
    rows = [{k: None if pd.isna(v) else v for k, v in row.items()} for row in X.head(30).to_dict("records")]
    compare(pipeline, X, [*rows, {**rows[5], "town": "never"}])
