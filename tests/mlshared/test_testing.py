"""Chosen answers in the place of a model, for tests of apps."""

import asyncio
import os

import numpy as np
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


@pytest.mark.parametrize("raises", [ModelNotReady, ModelNotReady("down")])
def test_not_ready_is_as_in_production(raises):
    """A default is returned, probes say no, and what is in force cannot be had."""
    model = get_model("testing-i")
    with override_model("testing-i", raises=raises):
        assert model.predict({}, default=7) == 7
        assert not model.ready()
        assert not model.status().ready
        with pytest.raises(ModelNotReady):
            model.current  # noqa: B018
    with override_model("testing-i", raises=ValueError("x")), pytest.raises(ValueError, match="x"):
        model.predict({}, default=7)


def test_the_alias_a_bare_name_means(monkeypatch):
    """Both spellings of one model are reached, whichever was named; another alias is not."""
    bare, full, other = (get_model(f"testing-j{end}") for end in ("", "@production", "@staging"))
    for named in ("testing-j", "testing-j@production"):
        with override_model(named, predict=1):
            assert (bare.predict({}), full.predict({})) == (1, 1)
            with pytest.raises(ConfigError):
                other.predict({})
    monkeypatch.setenv("MLSHARED_ALIAS", "staging")
    with override_model("testing-j", predict=2):
        assert (bare.predict({}), other.predict({})) == (2, 2)


@override_model("testing-k", predict=3)
async def ask_later():
    await asyncio.sleep(0)
    return get_model("testing-k").predict({})


def test_a_coroutine_function():
    """It is overridden until it has ended, each time."""
    assert [asyncio.run(ask_later()), asyncio.run(ask_later())] == [3, 3]


def test_a_constant_for_a_table():
    """One answer a row, as a model gives."""
    with override_model("testing-l", predict=1, predict_proba={0: 0.2, 1: 0.8}):
        model = get_model("testing-l")
        assert model.predict([{}, {}]).tolist() == [1, 1]
        assert model.predict_proba(np.zeros((3, 2))).tolist() == [[0.2, 0.8]] * 3
        assert model.classes == [0, 1]


def test_a_store_of_the_wrong_type():
    """One line that names the argument."""
    with pytest.raises(ConfigError, match="store is a URL or a path"):
        Client(3)
