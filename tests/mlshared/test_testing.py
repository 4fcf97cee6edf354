"""Chosen answers in the place of a model, for tests of apps."""

import os

import pytest
from shelf import NAME

from mlshared import Client, ConfigError, ModelNotReady, get_model
from mlshared.testing import override_model


@pytest.fixture(autouse=True)
def no_store(monkeypatch):
    for name in list(os.environ):
        if name.startswith("MLSHARED_"):
            monkeypatch.delenv(name)


def test_constants():
    """Models obtained earlier and later answer what was chosen, without a store."""
    earlier = get_model("testing-a")
    with override_model("testing-a", predict=1, predict_proba={0: 0.2, 1: 0.8}):
        assert earlier.predict({"x": 1}) == 1
        assert get_model("testing-a").predict_proba({}) == {0: 0.2, 1: 0.8}
        assert Client("./nowhere").model("testing-a").predict({}) == 1
        assert (earlier.ready(), earlier.status().state, earlier.current.ref) == (
            True,
            "overridden",
            "testing-a",
        )


def test_functions():
    """An answer may be a function of the row."""
    with override_model("testing-b", predict=lambda row: row["x"] * 2):
        assert get_model("testing-b").predict({"x": 4}) == 8


def test_a_method_without_an_answer():
    """What was given no answer is an AttributeError, as for an estimator that lacks the method."""
    with override_model("testing-c", predict=1):
        assert not hasattr(get_model("testing-c").current, "predict_proba")
        with pytest.raises(AttributeError, match="was given no predict_proba"):
            get_model("testing-c").predict_proba({})


def test_raises():
    """An error in the place of every answer; a default then does what it does in production."""
    with (
        override_model("testing-d", raises=ModelNotReady("down")),
        pytest.raises(ModelNotReady, match="down"),
    ):
        get_model("testing-d").predict({})


@override_model("testing-e", predict="decorated")
def test_as_a_decorator():
    """It decorates a test."""
    assert get_model("testing-e").predict({}) == "decorated"


def test_nested_and_over():
    """The inner one counts; then the outer one again; then, without a store, predicting is a ConfigError."""
    model = get_model("testing-f")
    with override_model("testing-f", predict="outer"):
        with override_model("testing-f", predict="inner"):
            assert model.predict({}) == "inner"
        assert model.predict({}) == "outer"
    with pytest.raises(ConfigError, match="no store is configured"):
        model.predict({})


def test_another_ref_is_not_reached():
    """Only the ref that was named is overridden."""
    with override_model("testing-g@staging", predict=1), pytest.raises(ConfigError):
        get_model("testing-g").predict({})


def test_a_store(shelf, tmp_path, monkeypatch):
    """A folder with the model answers for real."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with override_model(NAME, store=shelf.folder):
        assert get_model(NAME).predict_proba(shelf.rows[0]) == shelf.offline(1, shelf.rows[0])


@pytest.mark.parametrize("given", [{}, {"predict": 1, "raises": ValueError}, {"store": ".", "predict": 1}])
def test_what_to_answer_must_be_clear(given):
    """Nothing, or more than one kind of answer, is a ConfigError."""
    with pytest.raises(ConfigError, match="override_model takes"), override_model("testing-h", **given):
        pass
