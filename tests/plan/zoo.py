"""A dozen pipelines that use every op between them: what the plan's core and its safety are tested on.

for animal in zoo(): animal.name, .pipeline, .X, .converted, .rows        rows are checked
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostRegressor,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import HashingVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.multiclass import OneVsOneClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
    TargetEncoder,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from mlshared._schema import Schema
from mlshared.errors import InputError
from trainer._fields import infer_fields
from trainer.converters import Converted, convert

from .frames import fitted
from .mixed import classes, prepared, rows, signal, table

SEED = 11
LOGISTIC = LogisticRegression  # made anew each time: a pipeline fits its last step itself


@dataclass(frozen=True)
class Animal:
    """A fitted pipeline and its plan.

    Attributes:
        name: Of the pipeline.
        pipeline: Fitted.
        X: What it was fitted on.
        schema: Of its rows.
        converted: Its plan.
        rows: Checked rows, ordinary ones and odd ones.
    """

    name: str
    pipeline: Any
    X: Any
    schema: Schema
    converted: Converted
    rows: list[dict[str, Any]]


def _numbers(width: int) -> Any:
    values = np.abs(np.random.default_rng(SEED).normal(size=(120, width))) + 0.01
    return pd.DataFrame(values, columns=[f"n{i}" for i in range(width)])


def _texts() -> list[str]:
    words = np.array(["red", "green", "blue", "naïve", "sky", "of", "a b"])
    return [" ".join(np.random.default_rng(i).choice(words, 5)) for i in range(120)]


def _steps() -> Any:
    """Return one transformer of every kind that works on numbers alone."""
    bins = {"quantile_method": "averaged_inverted_cdf", "subsample": None}
    return FeatureUnion(
        [
            ("power", make_pipeline(StandardScaler(), PowerTransformer())),
            ("boxcox", PowerTransformer(method="box-cox")),
            ("quantile", QuantileTransformer(n_quantiles=20, output_distribution="normal")),
            ("clip", MinMaxScaler(clip=True)),
            ("map", FunctionTransformer(np.log1p)),
            ("bins", KBinsDiscretizer(4, encode="ordinal", **bins)),
            ("hotbins", KBinsDiscretizer(3, encode="onehot-dense", **bins)),
            ("spline", SplineTransformer(n_knots=4)),
            ("monomials", PolynomialFeatures(2)),
            ("normal", Normalizer()),
            ("distances", KMeans(3, n_init=1, random_state=SEED)),
        ]
    )


def _pipelines() -> dict[str, tuple[Any, Any, Any]]:
    mixed = table(SEED)
    two, three = classes(mixed, SEED, 2), classes(mixed, SEED, 3)
    few, y3 = _numbers(4), np.arange(120) % 3
    gaps = few.copy()
    gaps.iloc[::7, 1] = np.nan
    ordinal = ColumnTransformer(
        [
            ("c", OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), ["c"]),
            ("t", TargetEncoder(random_state=SEED), ["k"]),
            ("n", SimpleImputer(add_indicator=True), ["a", "b"]),
        ]
    )
    marked = SimpleImputer(missing_values="red", strategy="constant", fill_value="green")
    colours = pd.DataFrame({"c": mixed["c"].fillna("blue")})
    powers = TransformedTargetRegressor(Ridge(), transformer=PowerTransformer())
    tempered = CalibratedClassifierCV(LOGISTIC(), method="temperature", cv=3)
    constant = VotingClassifier([("a", LOGISTIC()), ("b", DummyClassifier())], voting="soft")
    return {
        "logistic": (prepared(LogisticRegression()), mixed, three),
        "hist": (HistGradientBoostingClassifier(max_iter=8), gaps, y3),
        "gradient": (prepared(GradientBoostingRegressor(n_estimators=8)), mixed, signal(mixed, SEED)),
        "forest": (make_pipeline(ordinal, RandomForestClassifier(7, random_state=SEED)), mixed, two),
        "several": (MultiOutputClassifier(DecisionTreeClassifier(max_depth=3)), few, np.c_[y3, y3 > 0]),
        "steps": (make_pipeline(_steps(), SelectKBest(k=30), LOGISTIC()), few, y3),
        "text": (make_pipeline(TfidfVectorizer(sublinear_tf=True), LOGISTIC()), _texts(), y3),
        "hashed": (
            make_pipeline(HashingVectorizer(n_features=64), DecisionTreeClassifier(max_depth=4)),
            _texts(),
            y3,
        ),
        "svm": (make_pipeline(StandardScaler(), SVC()), few, y3),
        "neighbours": (KNeighborsClassifier(3, weights="distance", leaf_size=4), few, y3),
        "duels": (OneVsOneClassifier(LOGISTIC()), few, y3),
        "calibrated": (CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=3), few, y3),
        "votes": (VotingClassifier([("a", LOGISTIC()), ("b", LinearDiscriminantAnalysis())]), few, y3),
        "soft": (VotingClassifier([("a", LOGISTIC()), ("b", GaussianNB())], voting="soft"), few, y3),
        "median": (AdaBoostRegressor(n_estimators=5, random_state=SEED), few, few["n0"].to_numpy()),
        "isolation": (IsolationForest(n_estimators=10, random_state=SEED), few, None),
        "replaced": (make_pipeline(marked, OneHotEncoder(handle_unknown="ignore"), LOGISTIC()), colours, two),
        "tempered": (tempered, few, y3),
        "unpower": (powers, few, few["n0"].to_numpy()),
        "dummy": (constant, few, y3),
        "mixture": (GaussianMixture(2, random_state=SEED), few, None),
    }


@cache
def zoo() -> dict[str, Animal]:
    """Return every pipeline, fitted and converted, by name."""
    return {name: _animal(name, *given) for name, given in _pipelines().items()}


def _animal(name: str, pipeline: Any, X: Any, y: Any) -> Animal:
    fitted(pipeline, X, y)
    kind, fields, categories = infer_fields(pipeline, X)
    schema = Schema(fields, kind, categories)
    if isinstance(X, list):
        raw: list[Any] = [*X[:20], "", "none of these", "red " * 50]
    else:
        raw = [{k: v for k, v in row.items() if k in schema.names} for row in rows(X, SEED)]
    return Animal(
        name, pipeline, X, schema, convert.converted(pipeline, fields, categories), _taken(schema, raw)
    )


def _taken(schema: Schema, raw: list[Any]) -> list[dict[str, Any]]:
    found = []
    for row in raw:
        try:
            found += schema.rows([row])
        except InputError:
            continue  # the door refuses it before any plan could
    return found
