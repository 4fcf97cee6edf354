"""How the two models are trained: `recipe` ("flights", boosted trees) and `logistic` ("flights-logistic").

    trainer retrain                                    both, as pyproject.toml lists them
    FLIGHTS_MONTHS=6 trainer retrain flights           as of the end of June

``FLIGHTS_MONTHS`` says how many months of 2013 have passed, so that "next quarter's retrain" can be tried at
once. The last 60 days there are judge both the candidate and the version in force; neither has seen them.
"""

import os
from typing import Final

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, StandardScaler

from examples.flights.data import MONTHS, load_flights
from examples.flights.features import CATEGORIES, FLAGS, NUMBERS, derive, derive_frame
from trainer import AtLeast, NoWorse, Recipe, TimeSplit

TARGET: Final = "late"
_UNKNOWN: Final = float("nan")


def load() -> pd.DataFrame:
    """Return all flights so far.

    Raises:
        ValueError: If ``FLIGHTS_MONTHS`` is not a number from 1 to 12.
    """
    return load_flights(int(os.environ.get("FLIGHTS_MONTHS", MONTHS)))


def build_trees() -> Pipeline:
    """Return boosted trees, which take missing numbers as they are and categories as codes."""
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=_UNKNOWN)
    columns = ColumnTransformer(
        [("categories", codes, list(CATEGORIES)), ("numbers", "passthrough", [*NUMBERS, *FLAGS])]
    )
    trees = HistGradientBoostingClassifier(
        categorical_features=list(range(len(CATEGORIES))), early_stopping=False, random_state=0
    )
    return make_pipeline(columns, trees)


def build_logistic() -> Pipeline:
    """Return a logistic regression on filled, scaled and one-hot columns."""
    hour = make_pipeline(
        SimpleImputer(strategy="median"), KBinsDiscretizer(8, quantile_method="averaged_inverted_cdf")
    )
    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    categories = make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=100),
    )
    columns = ColumnTransformer(
        [
            ("hour", hour, [NUMBERS[0]]),
            ("numbers", numbers, list(NUMBERS[1:])),
            ("flags", "passthrough", list(FLAGS)),
            ("categories", categories, list(CATEGORIES)),
        ]
    )
    return make_pipeline(columns, LogisticRegression(max_iter=300))


recipe = Recipe(
    name="flights",
    load=load,
    target=TARGET,
    build=build_trees,
    split=TimeSplit("time", test="60d"),
    metrics=["roc_auc", "neg_log_loss"],
    gates=[AtLeast("roc_auc", 0.65), NoWorse("roc_auc", by=0.005)],
    features=derive,
    features_frame=derive_frame,
)
logistic = Recipe(
    name="flights-logistic",
    load=load,
    target=TARGET,
    build=build_logistic,
    split=TimeSplit("time", test="60d"),
    metrics=["roc_auc", "neg_log_loss"],
    gates=[AtLeast("roc_auc", 0.65), NoWorse("roc_auc", by=0.005)],
    features=derive,
    features_frame=derive_frame,
)
