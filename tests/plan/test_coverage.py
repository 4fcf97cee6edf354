"""Which estimators have a row plan: every name of the families below is fitted, published and served with one.

A name counts only if the version a client serves has a plan, which publish ships only if it was compared with
scikit-learn and found exact. The figures are printed: planned / all, by family.
"""

import uuid
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import is_classifier
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import all_estimators

from mlshared import Client
from mlshared._objects import open_objects
from mlshared.store import Store
from trainer._append import found_store
from trainer._publish import draft, upload

FAMILIES = {
    "preprocessing": """
        SimpleImputer MissingIndicator StandardScaler MinMaxScaler MaxAbsScaler RobustScaler PowerTransformer
        QuantileTransformer Normalizer Binarizer KBinsDiscretizer SplineTransformer PolynomialFeatures OneHotEncoder
        OrdinalEncoder TargetEncoder SelectKBest SelectFromModel VarianceThreshold PCA TruncatedSVD
        FunctionTransformer
    """,
    "linear": """
        LogisticRegression LogisticRegressionCV LinearRegression Ridge RidgeCV RidgeClassifier RidgeClassifierCV Lasso
        LassoCV LassoLars LassoLarsCV LassoLarsIC ElasticNet ElasticNetCV SGDClassifier SGDRegressor LinearSVC
        LinearSVR Perceptron PassiveAggressiveClassifier PassiveAggressiveRegressor PoissonRegressor GammaRegressor
        TweedieRegressor LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis GaussianNB MultinomialNB
        ComplementNB BernoulliNB CategoricalNB MLPClassifier MLPRegressor
    """,
    "trees": """
        DecisionTreeClassifier DecisionTreeRegressor RandomForestClassifier RandomForestRegressor ExtraTreesClassifier
        ExtraTreesRegressor GradientBoostingClassifier GradientBoostingRegressor HistGradientBoostingClassifier
        HistGradientBoostingRegressor AdaBoostClassifier AdaBoostRegressor BaggingClassifier BaggingRegressor
        IsolationForest
    """,
    "composition": """
        CalibratedClassifierCV VotingClassifier VotingRegressor StackingClassifier StackingRegressor
        OneVsRestClassifier OneVsOneClassifier MultiOutputClassifier MultiOutputRegressor TransformedTargetRegressor
        FixedThresholdClassifier TunedThresholdClassifierCV SVC SVR KNeighborsClassifier KNeighborsRegressor
    """,
    "text": "CountVectorizer TfidfVectorizer HashingVectorizer",
    "boosters": "LGBMClassifier LGBMRegressor XGBClassifier XGBRegressor",
}
_LINEAR = LogisticRegression(C=0.1)
_ARGUMENTS = {
    "BernoulliNB": {"binarize": 3.0},
    "Binarizer": {"threshold": 3.0},
    "FixedThresholdClassifier": {"estimator": _LINEAR},
    "FunctionTransformer": {"func": np.log1p},
    "HashingVectorizer": {"n_features": 64},
    "MultiOutputClassifier": {"estimator": _LINEAR},
    "MultiOutputRegressor": {"estimator": Ridge()},
    "OneVsOneClassifier": {"estimator": _LINEAR},
    "OneVsRestClassifier": {"estimator": _LINEAR},
    "SelectFromModel": {"estimator": _LINEAR},
    "SelectKBest": {"k": 2},
    "StackingClassifier": {
        "estimators": [("tree", DecisionTreeClassifier(max_depth=2)), ("linear", _LINEAR)]
    },
    "StackingRegressor": {"estimators": [("tree", DecisionTreeRegressor(max_depth=2)), ("linear", Ridge())]},
    "TunedThresholdClassifierCV": {"estimator": _LINEAR},
    "VotingClassifier": {
        "estimators": [("tree", DecisionTreeClassifier(max_depth=2)), ("linear", _LINEAR)],
        "voting": "soft",
    },
    "VotingRegressor": {"estimators": [("tree", DecisionTreeRegressor(max_depth=2)), ("linear", Ridge())]},
}
_TWO_CLASSES = {"FixedThresholdClassifier", "TunedThresholdClassifierCV"}
_SMALL = {"n_estimators": 5, "random_state": 0}
_NAMES = [(family, name) for family, names in FAMILIES.items() for name in names.split()]
planned: dict[str, list[str]] = {family: [] for family in FAMILIES}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store to publish to, its id, and its folder; at the end, the figures are printed."""
    folder = str(tmp_path_factory.mktemp("store"))
    opened = Store(open_objects(folder), budget_seconds=1e6)
    yield opened, found_store(opened).id, folder
    for family, names in FAMILIES.items():
        print(f"planned {len(planned[family]):>3} / {len(names.split()):<3} {family}")


def _class_of(name):
    if name.startswith("LGBM"):
        return getattr(pytest.importorskip("lightgbm"), name)
    if name.startswith("XGB"):
        return getattr(pytest.importorskip("xgboost"), name)
    return dict(all_estimators())[name]


def _fitted(name):
    """Return a fitted estimator, in a pipeline where it does not predict, and rows like those it was fitted on."""
    cls = _class_of(name)
    known = cls().get_params() if name not in _ARGUMENTS else {}
    arguments = {key: value for key, value in _SMALL.items() if key in known} | _ARGUMENTS.get(name, {})
    estimator = cls(**arguments)
    if name.endswith("Vectorizer"):
        texts = [
            "red apples",
            "green pears",
            "red pears and plums",
            "blue plums",
            "green apples",
            "plums",
        ] * 10
        return make_pipeline(estimator, LogisticRegression()).fit(texts, [0, 1, 0, 1, 1, 0] * 10), texts
    x, y = load_iris(return_X_y=True, as_frame=True)
    x.columns = ["sepal_length", "sepal_width", "petal_length", "petal_width"]  # LightGBM changes other names
    if name == "MissingIndicator":
        x = x.where(x != x.round())
    if name in _TWO_CLASSES:
        x, y = x[y > 0], (y[y > 0] > 1).astype(int)
    if name in {"OneHotEncoder", "OrdinalEncoder", "TargetEncoder"}:
        x = pd.DataFrame({"size": np.where(x.iloc[:, 0] > 5.8, "large", "small"), "kind": "abc"[0]})
        return make_pipeline(estimator, LogisticRegression()).fit(x, y), x
    if name == "CategoricalNB":
        x = x.round().astype(int)
        return make_pipeline(OrdinalEncoder(), estimator).fit(x, y), x
    if hasattr(estimator, "transform") and not hasattr(cls, "predict"):
        return make_pipeline(estimator, LogisticRegression(max_iter=500)).fit(x, y), x
    if not is_classifier(estimator) and name != "IsolationForest":
        x, y = load_diabetes(return_X_y=True, as_frame=True)
        y = y / 100
    if name.startswith("MultiOutput"):
        y = pd.DataFrame({"one": y, "two": y * (2 if name.endswith("Regressor") else 1)})
    return estimator.fit(x, y), x


@pytest.mark.slow
@pytest.mark.parametrize(("family", "name"), _NAMES, ids=[name for _, name in _NAMES])
def test_has_a_plan(family, name, store, tmp_path):
    """Published and fetched, the version in force answers from a plan."""
    opened, store_id, folder = store
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it converges is not what is tested
        estimator, x = _fitted(name)
        model = f"m{uuid.uuid4().hex[:12]}"
        stored = upload(opened, draft(estimator, x, store_id=store_id, name=model))
        assert stored.entry.plan_report.startswith("plan: equal on "), stored.entry.plan_report
        with Client(folder, cache_dir=tmp_path) as client:
            assert client.model(f"{model}@{stored.entry.version}").current.plan is not None
    planned[family].append(name)
