"""Trees ask about raw values wherever a transformer lets them: at every threshold, and one bit beside it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)
from sklearn.tree import DecisionTreeClassifier

from mlshared.plan._separable import thresholds
from tests.plan.exactness import compare
from tests.plan.frames import fitted, rows_like
from trainer.converters import convert

MODELS = [
    DecisionTreeClassifier(max_depth=5, random_state=0),
    RandomForestClassifier(8, max_depth=5, random_state=0),
    HistGradientBoostingClassifier(max_iter=8, random_state=0),
]
BEFORE = [
    make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()),
    make_pipeline(SimpleImputer(), MinMaxScaler(clip=True)),
    make_pipeline(SimpleImputer(), MaxAbsScaler(), FunctionTransformer(np.negative)),
    make_pipeline(SimpleImputer(), RobustScaler(), FunctionTransformer(np.abs)),
    make_pipeline(SimpleImputer(), KBinsDiscretizer(6, encode="ordinal", subsample=None)),
    make_pipeline(SimpleImputer(), KBinsDiscretizer(6, encode="onehot-dense", subsample=None)),
    make_pipeline(SimpleImputer(), PowerTransformer()),
    make_pipeline(SimpleImputer(), QuantileTransformer(n_quantiles=20)),
    make_pipeline(SimpleImputer(), PolynomialFeatures(2)),
]
ENCODERS = [
    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=12, drop="first", sparse_output=False),
    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan),
    TargetEncoder(),
]


def _frame():
    rng = np.random.default_rng(5)
    X = pd.DataFrame(
        {"a": rng.normal(size=120), "b": rng.normal(size=120) * 1e5, "c": rng.integers(0, 9, 120)}
    )
    X.loc[rng.random(120) < 0.1, "a"] = np.nan
    X["w"] = pd.Series(
        rng.choice(["red", "green", "blue", "grey"], 120, p=[0.5, 0.3, 0.15, 0.05]), dtype=object
    )
    return X, ((X["a"].fillna(0.2) > 0) ^ (X["w"] == "red") ^ (X["c"] > 5)).astype(int).to_numpy()


def _compared(pipeline, X, y):
    plan = convert(fitted(pipeline, X, y), X)
    rows = rows_like(X, 5, wild=False)
    with np.errstate(over="ignore"):  # beside the largest float there is none
        edges = [
            {**rows[0], name: float(np.nextafter(cut, side))}
            for name, columns in thresholds(plan.program, 512).items()
            for cut in np.unique(np.concatenate(columns))[:12]
            for side in (-np.inf, cut, np.inf)
            if np.isfinite(np.nextafter(cut, side))
        ]
    compare(pipeline, X, [*rows, *edges])


@pytest.mark.parametrize("model", MODELS, ids=repr)
@pytest.mark.parametrize("before", BEFORE, ids=lambda before: "-".join(name for name, _ in before.steps))
def test_numbers_before_trees(before, model):
    X, y = _frame()
    encoder = ENCODERS[0]
    _compared(
        make_pipeline(ColumnTransformer([("n", before, ["a", "b", "c"]), ("w", encoder, ["w"])]), model), X, y
    )


@pytest.mark.parametrize("model", MODELS, ids=repr)
@pytest.mark.parametrize("encoder", ENCODERS, ids=repr)
def test_categories_before_trees(encoder, model):
    if isinstance(encoder, OrdinalEncoder) and isinstance(model, RandomForestClassifier):
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    X, y = _frame()
    columns = ColumnTransformer([("n", BEFORE[0], ["a", "b", "c"]), ("w", encoder, ["w"])])
    _compared(make_pipeline(columns, model), X, y)
