"""The live model and the immutable version: what they answer, raise, and promise."""

import json

import numpy as np
import pandas as pd
import pytest
from pydantic import create_model
from shelf import COLUMNS, NAME

from mlshared import Client, ConfigError, InputError, ModelNotReady
from mlshared.model import Model


@pytest.fixture(scope="module")
def client(shelf, tmp_path_factory):
    with Client(shelf.folder, cache_dir=tmp_path_factory.mktemp("cache"), poll_seconds=0) as client:
        client.model(NAME).refresh()
        yield client


@pytest.fixture
def cancer(client):
    return client.model(NAME)


@pytest.fixture
def row(shelf):
    return shelf.rows[0]


def test_one_row(cancer, shelf):
    """A mapping gives Python scalars, equal to the fitted pipeline's to the last digits, that json.dumps takes."""
    for row in shelf.rows:
        assert cancer.predict_proba(row) == shelf.offline(1, row)
        assert cancer.predict(row) in (0, 1)
        assert isinstance(cancer.decision_function(row), float)
    assert json.dumps([cancer.predict(row), cancer.predict_proba(row)])


def test_a_pydantic_object(cancer, row):
    """An object of the app's own pydantic class is a row."""
    cell = create_model("Cell", **dict.fromkeys(COLUMNS, (float, ...)))
    assert cancer.predict_proba(cell(**row)) == cancer.predict_proba(row)
    with pytest.raises(InputError, match="did you mean"):
        cancer.predict(create_model("Cell", mean_radius=(float, ...))(mean_radius=1.0))


def test_rows_and_tables(cancer, shelf):
    """A list of rows, a frame and an array give arrays, columns as the classes."""
    frame = pd.DataFrame(shelf.rows)
    expected = shelf.pipelines[1].predict_proba(frame[COLUMNS])
    for given in (shelf.rows, frame, frame[frame.columns[::-1]], frame[COLUMNS].to_numpy()):
        answer = cancer.predict_proba(given)
        assert answer.shape == (len(shelf.rows), 2)
        np.testing.assert_allclose(answer, expected, rtol=1e-12)
    assert cancer.classes == [0, 1]


def test_a_list_of_numbers(cancer, row):
    """A bare list of numbers is refused with the mend, since nobody can see their order."""
    with pytest.raises(InputError):
        cancer.predict(list(row.values()))


def test_the_current_version(cancer, row):
    """It is immutable, and knows its name."""
    version = cancer.current
    assert (version.name, version.version, version.ref, version.trust) == (NAME, 1, f"{NAME}@1", "unsigned")
    assert version.released_at is not None
    assert version.predict(row) == cancer.predict(row)
    assert repr(version) == f"<ModelVersion {NAME}@1>"
    assert repr(cancer) == f"<Model {NAME}: {NAME}@1>"
    with pytest.raises(AttributeError):
        version.version = 2


def test_hasattr(cancer, row):
    """A method the estimator lacks is an AttributeError, so hasattr works."""
    assert hasattr(cancer.current, "predict_proba")
    assert not hasattr(cancer.current, "transform")
    with pytest.raises(AttributeError, match="has no transform; it has predict"):
        cancer.transform(row)


def test_extra_fields_are_counted(client, row):
    """A field the model does not read is ignored, and counted in the status."""
    model = client.model(f"{NAME}@1")
    model.refresh()
    for _ in range(3):
        model.predict({**row, "favourite colour": "green"})
    assert model.status().ignored_fields == {"favourite colour": 3}


def test_default_only_instead_of_not_ready(tmp_path, cancer):
    """A default stands in for a model that is not there, never for a wrong input."""
    with Client(tmp_path / "nothing", cache_dir=tmp_path / "cache", first_load_seconds=0.01) as client:
        model = client.model(NAME)
        assert model.predict({}, default=None) is None
        assert model.predict_proba({}, default={}) == {}
        with pytest.raises(ModelNotReady):
            model.predict({})
    with pytest.raises(InputError, match="mean radius: missing"):
        cancer.predict({}, default=None)


def test_an_answer_does_not_change_hands(cancer, client, row):
    """A request that predicts twice takes `current` once: a swap in between does not reach it."""
    model = client.model(f"{NAME}@latest")
    model.refresh()
    version, answer = model.current, model.predict(row)
    model.swap(cancer.current)
    try:
        assert (version.version, version.predict(row)) == (3, answer)
        assert model.current.version == 1
    finally:
        model.swap(version)


class Counting:
    """A keeper that counts how often a model comes to it."""

    def __init__(self, version):
        self.calls, self._version = 0, version

    def __call__(self, model):
        return self

    def attend(self, wait_seconds):
        self.calls += 1
        return self._version


def test_the_keeper_is_asked_only_when_due(cancer, row):
    """A prediction within the promised time goes to nobody; past it, it says that nobody came."""
    keeper = Counting(cancer.current)
    model = Model("counting", keeper)
    model.swap(cancer.current)
    model.keep_until(float("inf"))
    assert model.predict(row) == cancer.predict(row)
    assert (keeper.calls, model.take_used(), model.take_used()) == (0, True, False)
    model.keep_until(0.0)
    model.predict(row)
    assert keeper.calls == 1


def test_status_never_raises(monkeypatch):
    """Not even where nothing is configured."""
    model = Client(None).model(NAME)
    assert (model.status().state, model.status().ready) == ("failed", False)
    assert "no store is configured" in model.status().last_error
    with pytest.raises(ConfigError):
        model.ready()
