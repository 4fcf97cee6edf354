"""Two versions beside each other: scores and answers, manifests; and a version's fields as the app's own class."""

import importlib
import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import trainer
from mlshared import Client
from mlshared.__main__ import main as mlshared_main
from mlshared.errors import ConfigError, InputError, NotPublished
from trainer.cli import main


def trips(rows=400, seed=0):
    """Numbers, texts, missing values, and names that Python does not take."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "distance": random.normal(size=rows),
            "wind speed": np.where(random.random(rows) < 0.2, np.nan, random.normal(size=rows)),
            "class": random.choice(["a", "b", "c"], rows).astype(object),
            "2nd": random.integers(0, 5, rows),
            "copy": random.normal(size=rows),
        }
    )
    return frame, (frame["distance"] + (frame["class"] == "a") + random.normal(size=rows) > 0).astype(int)


def pipeline(estimator):
    numbers = ["distance", "wind speed", "2nd", "copy"]
    steps = [("n", SimpleImputer(), numbers), ("c", OneHotEncoder(handle_unknown="ignore"), ["class"])]
    return make_pipeline(ColumnTransformer(steps, sparse_threshold=0), estimator)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two versions of trips, of different estimators, and one of a regressor."""
    url = str(tmp_path_factory.mktemp("store") / "models")
    X, y = trips()
    for estimator in (LogisticRegression(), HistGradientBoostingClassifier(max_iter=10)):
        trainer.publish(pipeline(estimator).fit(X, y), X, y, name="trips", store=url)
    data = load_diabetes(as_frame=True)
    trainer.publish(Ridge().fit(data.data, data.target), data.data, data.target, name="sugar", store=url)
    trainer.publish(Ridge(9).fit(data.data, data.target), data.data, data.target, name="sugar", store=url)
    return url


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads another's cache, or is told of a store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLSHARED_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("MLSHARED_STORE", raising=False)


# -- compare ------------------------------------------------------------------------------------------------


def test_compare_scores_what_the_app_is_answered(store):
    """Each score is that of the version's own answers; equal rows and answers are counted rightly."""
    X, y = trips(seed=1)
    metrics = ["roc_auc", "accuracy", "neg_log_loss"]
    found = trainer.compare("trips@1", "trips@2", X, y, metrics=metrics, store=store)
    with Client(store, allow_unsigned=True, poll_seconds=0) as client:
        versions = [client.model(f"trips@{number}").current for number in (1, 2)]
        answers = [version.predict(X) for version in versions]
        probabilities = [version.predict_proba(X) for version in versions]
    assert found.refs == ("trips@1", "trips@2")
    assert found.rows == len(X)
    assert list(found.metrics) == metrics
    assert found.metrics["roc_auc"] == tuple(roc_auc_score(y, p[:, 1]) for p in probabilities)
    assert found.metrics["accuracy"] == tuple((a == y).mean() for a in answers)
    assert found.differ == (answers[0] != answers[1]).sum() > 0
    assert found.largest == np.abs(probabilities[0] - probabilities[1]).max()
    lines = str(found).splitlines()
    assert lines[0].split() == ["metric", "trips@1", "trips@2", "difference"]
    assert lines[-1].startswith(f"{found.differ} of 400 rows are answered otherwise, by up to ")


def test_compare_with_itself(store):
    """No difference; metrics by default, refs of any kind."""
    X, y = trips(seed=1)
    found = trainer.compare("trips", "trips@1", X, y, store=store)
    assert found.refs == ("trips@1", "trips@1")
    assert (found.differ, found.largest) == (0, 0.0)
    assert list(found.metrics) == ["accuracy"]


def test_compare_regressors(store):
    """Numbers differ by so much; a callable may be a metric."""

    def worst(estimator, X, y):
        return -float(np.abs(estimator.predict(X) - y).max())

    data = load_diabetes(as_frame=True)
    found = trainer.compare("sugar@1", "sugar@2", data.data, data.target, metrics=["r2", worst], store=store)
    assert found.metrics["r2"][0] > found.metrics["r2"][1]
    assert list(found.metrics) == ["r2", "worst"]
    assert found.differ == len(data.data)
    assert found.largest > 1


def test_compare_refuses_in_one_line(store):
    """What cannot be compared is named, with the mend."""
    X, y = trips(seed=1)
    with pytest.raises(ConfigError, match="X has 400 rows and y 3"):
        trainer.compare("trips@1", "trips@2", X, y[:3], store=store)
    with pytest.raises(NotPublished, match="no trips@9"):
        trainer.compare("trips@1", "trips@9", X, y, store=store)
    with pytest.raises(ConfigError, match="metric 'r3' cannot score trips@1"):
        trainer.compare("trips@1", "trips@2", X, y, metrics=["r3"], store=store)
    with pytest.raises(ConfigError, match="first is text such as"):
        trainer.compare(1, "trips@2", X, y, store=store)
    with pytest.raises(InputError, match="distance"):
        trainer.compare("trips@1", "trips@2", X.drop(columns="distance"), y, store=store)


# -- diff ---------------------------------------------------------------------------------------------------


def test_diff(store, capsys):
    """What both say alike is left out; all else is there, a line each."""
    assert main(["diff", "trips@1", "trips@2", "--store", store, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["refs"] == ["trips@1", "trips@2"]
    what = {each["what"]: (each["first"], each["second"]) for each in found["differences"]}
    assert "task" not in what
    assert not [name for name in what if name.startswith(("field", "library"))]
    assert {name for name in what if name.startswith("artifact")} >= {"artifact plan", "artifact skops"}
    assert [name for name in what if name.startswith("plan step")]
    assert main(["diff", "trips@1", "sugar@1", "--store", store]) == 0
    out = capsys.readouterr().out
    assert "field distance" in out
    assert "classifier" in out
    assert "regressor" in out


def test_diff_with_itself_and_of_what_is_not_there(store, capsys):
    """Nothing differs; an unknown model is named."""
    assert main(["diff", "trips@1", "trips@1", "--store", store, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["differences"] == []
    assert main(["diff", "trips@1", "trip@1", "--store", store]) == 2
    assert "no model 'trip'; did you mean 'trips'?" in capsys.readouterr().err


# -- schema -------------------------------------------------------------------------------------------------


def test_schema_as_a_class_that_the_version_takes(store, tmp_path, capsys, monkeypatch):
    """It is Python, a row of it is answered as its mapping is, and `mlshared check` accepts it."""
    assert main(["schema", "trips@1", "--python", "--store", store]) == 0
    (tmp_path / "trip_class.py").write_text(capsys.readouterr().out)
    monkeypatch.syspath_prepend(str(tmp_path))
    trip_class = importlib.import_module("trip_class")

    X, _ = trips(seed=2)
    row = {name: None if value != value else value for name, value in X.iloc[0].to_dict().items()}  # noqa: PLR0124
    with Client(store, allow_unsigned=True, poll_seconds=0) as client:
        model = client.model("trips@1")
        assert model.predict_proba(trip_class.Trips(**row)) == model.predict_proba(row)
        del row["wind speed"]
        assert math.isfinite(model.predict_proba(trip_class.Trips(**row))[1])
    monkeypatch.setenv("MLSHARED_ALLOW_UNSIGNED", "true")
    assert mlshared_main(["check", "trips@1", "--schema", "trip_class.Trips", "--store", store]) == 0
    del sys.modules["trip_class"]


def test_schema_as_a_table(store, capsys):
    """A line a field; JSON with the class in it."""
    assert main(["schema", "trips@1", "--store", store]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert [line for line in lines if line.startswith("wind speed") and "may be missing" in line]
    assert main(["schema", "trips@1", "--python", "--json", "--store", store]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [field["name"] for field in found["fields"]] == list(trips()[0].columns)
    assert found["python"].startswith('"""What trips@1 takes')


@pytest.mark.parametrize(
    "command", [["pull", "trip", "somewhere"], ["verify", "trip"], ["copy", "trip", "--to", "x"]]
)
def test_an_unknown_model_is_named(store, capsys, command):
    """Whichever command is asked, with the closest name there is."""
    assert main([*command, "--store", store]) == 2
    assert "no model 'trip'; did you mean 'trips'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", [["show"], ["show", "trips", "--nope"], ["nope"], ["release", "trips", "x"]]
)
def test_wrong_use_is_json_too(capsys, command):
    """A program that reads stdout reads what was wrong there."""
    assert main([*command, "--json"]) == 2
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["exit_code"] == 2
    assert found["error"]
    assert "Traceback" not in captured.err
