"""What publish makes of a pipeline: a plan's file and a line, or no plan and the reason."""

import math
import uuid

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import trainer
from mlshared import Client
from mlshared.plan import _program, load_plan, pack
from mlshared.plan._file import unpack
from trainer import _plan
from trainer._fields import infer_fields
from trainer._plan import plan_for

RNG = np.random.default_rng(8)
X = pd.DataFrame(RNG.normal(size=(150, 3)), columns=["a", "b", "c"])
CLASS = (X["a"] > 0).to_numpy().astype(int)


def planned(estimator, frame=X):
    kind, fields, categories = infer_fields(estimator, frame)
    return plan_for(estimator, frame, kind=kind, fields=fields, categories=categories)


def tampering(change):
    """Return a convert that changes every plan it makes."""

    class Changed:
        def converted(self, estimator, fields, categories):
            made = trainer.converters.convert.converted(estimator, fields, categories)
            program, tensors = unpack(made.data)
            tensors = {name: array.copy() for name, array in tensors.items()}
            change(program, tensors)
            data = pack(program, tensors)
            return type(made)(data, load_plan(data), made.rounding)

    return Changed()


def one_leaf(program, tensors):
    name = next(step["arrays"]["value"] for step in program["steps"] if step["op"] == "trees")
    tensors[name][tensors[name] != 0] = np.nextafter(tensors[name][tensors[name] != 0], np.inf)


def one_weight(program, tensors):
    tensors[next(step["arrays"]["W"] for step in program["steps"] if step["op"] == "linear")] += 1e-9


def another_label(program, tensors):
    program["outputs"]["predict"]["classes"][0].reverse()


def no_checks(program, tensors):
    for step in program["steps"]:
        if step["op"] == "check":
            step.update(missing=False, infinite=False)


LOGISTIC = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, CLASS)
BOOSTED = HistGradientBoostingRegressor(max_iter=5).fit(X, X["a"])


@pytest.mark.parametrize("estimator", [LOGISTIC, BOOSTED], ids=["rounding", "bits"])
def test_a_plan_and_what_was_seen(estimator):
    data, report = planned(estimator)
    assert report.startswith("plan: equal on ")
    assert "us a row (scikit-learn " in report
    assert load_plan(data).methods


def test_rows_are_compared_while_there_is_time():
    """Made rows and a first part of the data in any case, all of it with time enough; then each row once."""
    frame = pd.DataFrame(RNG.normal(size=(5000, 3)), columns=["a", "b", "c"])
    kind, fields, categories = infer_fields(LOGISTIC, frame)

    def rows_within(seconds):
        data, report = plan_for(
            LOGISTIC, frame, kind=kind, fields=fields, categories=categories, seconds=seconds
        )
        assert data is not None
        return int(report.split()[3].replace(",", ""))

    assert rows_within(0) == rows_within(math.inf) - len(frame) + math.ceil(len(frame) / _plan.PARTS)
    assert rows_within(1e9) == rows_within(math.inf)


@pytest.mark.parametrize(
    ("estimator", "change", "why"),
    [
        (BOOSTED, one_leaf, "answers differ"),
        (LOGISTIC, one_weight, "answers differ"),
        (LOGISTIC, another_label, "labels differ"),
        (LOGISTIC, no_checks, "answers a row that scikit-learn refuses"),
    ],
)
def test_a_difference_is_no_plan(monkeypatch, estimator, change, why):
    monkeypatch.setattr(_plan, "convert", tampering(change))
    data, report = planned(estimator)
    assert data is None
    assert report.startswith("no plan: ")
    assert why in report


def test_a_plan_that_no_client_would_load(monkeypatch):
    """A limit of the file's format is a reason, not an error of publish."""
    monkeypatch.setattr(_program, "MAX_DEPTH", 3)
    data, report = planned(LOGISTIC)
    assert data is None
    assert report.startswith("no plan: the plan is too large by its step ")


class Unknown(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)


def test_an_estimator_without_a_converter_is_named():
    data, report = planned(Unknown().fit(X, CLASS))
    assert data is None
    assert report.startswith("no plan: ")
    assert "no converter for" in report
    assert "Unknown" in report


def test_a_version_without_a_plan_serves_its_estimator(tmp_path, monkeypatch):
    monkeypatch.setattr(_plan, "convert", tampering(one_weight))
    store = f"memory://{uuid.uuid4().hex}"
    made = trainer.publish(LOGISTIC, X, CLASS, name="planless", store=store)
    assert made.plan_report.startswith("no plan: ")
    assert made.manifest.artifact("plan") is None
    with Client(store, cache_dir=tmp_path / "cache", poll_seconds=0) as client:
        current = client.model("planless").current
        assert current.plan is None
        assert current.predict(X.iloc[0].to_dict()) == LOGISTIC.predict(X[:1])[0]
