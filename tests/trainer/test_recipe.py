import dataclasses
import functools

import pytest
from pydantic import BaseModel
from sklearn.linear_model import LogisticRegression

from mlshared.errors import ConfigError
from trainer.checks import AtLeast, NoWorse
from trainer.recipe import Recipe, describe_features
from trainer.splits import KeySplit


def load():
    raise NotImplementedError


def derive(row):
    return {"double": row["x"] * 2}


def my_metric(estimator, X, y):
    return 1.0


GOOD = {
    "name": "flights",
    "load": load,
    "target": "late",
    "build": LogisticRegression,
    "split": KeySplit("id", test=0.2),
    "metrics": ["roc_auc", my_metric],
    "gates": [AtLeast("roc_auc", 0.7), NoWorse("my_metric", by=0.005)],
}


def test_a_recipe_is_frozen():
    """Not even a list passed in can change it later."""
    metrics = ["roc_auc"]
    recipe = Recipe(**{**GOOD, "metrics": metrics, "gates": ()})
    metrics.append("r2")
    assert recipe.metric_names == ("roc_auc",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.name = "other"


def test_metrics_are_named_by_scorer_or_function():
    """A gate refers to either by that name."""
    assert Recipe(**GOOD).metric_names == ("roc_auc", "my_metric")


def test_there_may_be_several_targets():
    """One or many, the recipe gives them as a tuple."""
    assert Recipe(**{**GOOD, "target": ["late", "gate"]}).targets == ("late", "gate")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Flights"}, "recipe: name: 'Flights' cannot name a model: lower-case"),
        ({"name": None}, "recipe: name: "),
        ({"load": "data.csv"}, "load is a function, not 'data.csv'"),
        ({"build": LogisticRegression()}, r"build is a function, not LogisticRegression\(\)"),
        ({"split": 0.2}, "split is TimeSplit, KeySplit or a function, not 0.2"),
        ({"metrics": "roc_auc"}, "metrics is a list of scorer names or functions, not 'roc_auc'"),
        ({"metrics": []}, "metrics is empty"),
        ({"metrics": ["roc_acu"]}, "scikit-learn has no scorer 'roc_acu'; did you mean 'roc_auc'"),
        ({"metrics": [lambda *_: 1.0]}, "has no name; write it as"),
        ({"metrics": [functools.partial(my_metric)]}, "has no name; write it as"),
        ({"metrics": [3]}, "3 is no scorer name and no function"),
        ({"metrics": ["r2", "r2"]}, "metrics names one twice"),
        ({"gates": [AtLeast("roc_acu", 0.5)]}, "'roc_acu' is not in metrics; did you mean 'roc_auc'"),
        ({"gates": [NoWorse("r2")]}, "'r2' is not in metrics; add it there"),
        ({"gates": ["roc_auc > 0.7"]}, "is neither AtLeast nor NoWorse"),
        ({"gates": AtLeast("roc_auc", 0.7)}, "gates is a list"),
        ({"target": ""}, "target names columns, '' is no name"),
        ({"target": []}, "target is empty"),
        ({"target": 3}, "target is a column, or a list of columns"),
        ({"drop": ["late"]}, "drop names the target 'late'"),
        ({"drop": "id"}, "drop is a list of columns, not 'id'"),
        ({"features_frame": derive}, "features_frame is the twin of features, which is missing"),
        ({"features": lambda row: row}, "write it as `def derive"),
        ({"schema": dict}, "schema is a pydantic model class"),
    ],
)
def test_a_bad_field_is_one_line_that_names_it(changes, message):
    """Wrong use shows when the recipe is made, not after an hour of loading."""
    with pytest.raises(ConfigError, match=message) as caught:
        Recipe(**{**GOOD, **changes})
    assert "\n" not in str(caught.value)


def test_a_schema_is_a_pydantic_model():
    """Any model class is accepted."""

    class Flight(BaseModel):
        distance: float

    assert Recipe(**GOOD, schema=Flight).schema is Flight


def test_what_is_recorded_of_a_feature_function():
    """Where it is, and a hash of its source."""
    features = describe_features(derive)
    assert features.name == f"{__name__}:derive"
    assert len(features.sha256) == 64
    assert features == describe_features(derive)


def test_another_source_is_another_hash():
    """Two functions that differ by a constant are told apart."""

    def other(row):
        return {"double": row["x"] * 3}

    assert describe_features(other).sha256 != describe_features(derive).sha256


def test_a_function_without_source_is_refused():
    """Nothing could be recorded of it."""
    with pytest.raises(ConfigError, match="has no source to hash"):
        describe_features(dict)
