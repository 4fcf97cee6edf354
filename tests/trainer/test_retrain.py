"""Retraining end to end, on small data and a store in memory: what is published, what is released, and why."""

import contextlib
import uuid
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline

import trainer
from mlshared import Client
from mlshared._objects import open_objects
from mlshared.errors import ConfigError, IntegrityError
from trainer import AtLeast, KeySplit, NoWorse, Recipe
from trainer._lease import Busy, LeaseLost
from trainer._outcome import Step
from trainer.errors import RecipeError, ReleaseRefused

ROWS = 400


def data(rows=ROWS):
    # Prefixes of one stream: row 7 is the same row every night.
    random = np.random.default_rng(7)
    values = random.normal(size=(8000, 3))
    late = values[:, 0] + 0.5 * values[:, 1] + random.normal(scale=0.5, size=8000) > 0
    frame = pd.DataFrame(values, columns=["distance", "wind", "rain"])
    return frame.assign(id=range(8000), late=late.astype(int))[:rows]


def recipe(**changes):
    values = {
        "name": "flights",
        "load": data,
        "target": "late",
        "drop": ["id", "rain"],
        "build": LogisticRegression,
        "split": KeySplit("id", test=0.3),
        "metrics": ["roc_auc"],
        "gates": [AtLeast("roc_auc", 0.7), NoWorse("roc_auc", by=0.01)],
    }
    return Recipe(**{**values, **changes})


@pytest.fixture
def url(tmp_path, monkeypatch):
    """A fresh store, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"memory://{uuid.uuid4().hex}/models"


def in_force(url):
    return [(entry.version, entry.by) for entry in trainer.history("flights", store=url)]


def failed(outcome):
    return [check.name for check in outcome.failed]


def test_the_first_retrain_is_released(url):
    """With its scores, a verdict for each check, and an answer for apps."""
    steps = []
    outcome = trainer.retrain(recipe(), store=url, on_step=lambda step, _words: steps.append(step))
    assert (outcome.version, outcome.ref, outcome.released, outcome.on_hold) == (1, "flights@1", True, False)
    assert steps == list(get_args(Step))
    assert [c.name for c in outcome.checks] == [
        "roc_auc at least 0.7", "roc_auc no worse by more than 0.01", "compatible",
    ]  # fmt: skip
    assert outcome.champion_version is None
    assert outcome.champion_metrics is None
    assert 0.7 < outcome.metrics["roc_auc"] < 1
    with Client(url, poll_seconds=0) as client:
        assert client.model("flights").predict({"distance": 9.0, "wind": 9.0}) == 1


def test_the_manifest_records_how_it_was_made(url):
    """Rows, split, scores and verdicts; of no data row a value."""
    outcome = trainer.retrain(recipe(), store=url)
    (manifest,) = trainer.versions("flights", store=url)
    training = manifest.training
    assert (training.recipe, training.rows + training.test_rows) == ("flights", ROWS)
    assert training.split == {"kind": "key", "column": "id", "test": 0.3, "salt": ""}
    assert training.metrics == outcome.metrics
    assert [check["name"] for check in training.checks] == [check.name for check in outcome.checks]


def test_an_equal_candidate_is_released(url):
    """Compared with the version in force on rows neither has seen."""
    trainer.retrain(recipe(), store=url)
    outcome = trainer.retrain(recipe(), store=url)
    assert (outcome.released, outcome.champion_version) == (True, 1)
    assert outcome.champion_metrics == outcome.metrics
    assert in_force(url) == [(1, "retrain"), (2, "retrain")]


def test_a_hold_keeps_it_back(url):
    """Published, not released, and that is no failure; a person's release ends it."""
    trainer.retrain(recipe(), store=url)
    trainer.hold("flights", store=url, reason="audit")
    outcome = trainer.retrain(recipe(), store=url)
    assert (outcome.version, outcome.released, outcome.on_hold, failed(outcome)) == (2, False, True, [])
    assert "audit" in outcome.reason
    trainer.release("flights", 2, store=url)
    assert trainer.retrain(recipe(), store=url).released


def test_a_rollback_is_not_undone(url):
    """Not by the next retrain, nor the one after."""
    trainer.retrain(recipe(), store=url)
    trainer.retrain(recipe(), store=url)
    trainer.rollback("flights", store=url)
    for version in (3, 4):
        outcome = trainer.retrain(recipe(), store=url)
        assert (outcome.version, outcome.released, outcome.on_hold) == (version, False, True)
    assert in_force(url)[-1] == (1, "person")


def test_a_failing_gate_keeps_it_back(url):
    """The version is there to look at, its failed check in its manifest."""
    outcome = trainer.retrain(recipe(gates=[AtLeast("roc_auc", 1.5)]), store=url)
    assert (outcome.version, outcome.released, failed(outcome)) == (1, False, ["roc_auc at least 1.5"])
    assert in_force(url) == []
    (manifest,) = trainer.versions("flights", store=url)
    assert [check["passed"] for check in manifest.training.checks] == [False, True]


def test_a_worse_candidate_is_kept_back(url):
    """Worse than the version in force on the same rows, though over its floor."""
    trainer.retrain(recipe(), store=url)
    outcome = trainer.retrain(
        recipe(drop=["id", "wind"], gates=[NoWorse("roc_auc", by=0.01)], metrics=["roc_auc"]), store=url
    )
    assert not outcome.released
    assert "roc_auc no worse by more than 0.01" in failed(outcome)


def test_a_new_required_field_is_kept_back(url):
    """An app that works would break; a person says when it is ready."""
    trainer.retrain(recipe(), store=url)
    outcome = trainer.retrain(recipe(drop=["id"]), store=url)
    assert (outcome.released, failed(outcome)) == (False, ["compatible"])
    assert "field 'rain' is new, and every row must have it" in outcome.reason
    with pytest.raises(ReleaseRefused, match="--breaking"):
        trainer.release("flights", 2, store=url)
    trainer.release("flights", 2, store=url, breaking=True)
    assert in_force(url) == [(1, "retrain"), (2, "person")]


def test_a_field_that_may_no_longer_be_missing_is_kept_back(url):
    """An app that sends None would break."""
    lenient = recipe(build=lambda: make_pipeline(SimpleImputer(), LogisticRegression()))
    trainer.retrain(lenient, store=url)
    outcome = trainer.retrain(recipe(), store=url)
    assert (outcome.released, failed(outcome)) == (False, ["compatible"])
    assert "may no longer be missing" in outcome.reason


def test_a_class_that_vanished_is_kept_back(url):
    """An app that waits for it would wait for ever."""

    def three():
        return data().assign(late=lambda frame: frame.late + (frame.wind > 1))

    scores = {"metrics": ["accuracy"], "gates": []}
    trainer.retrain(recipe(load=three, **scores), store=url)
    outcome = trainer.retrain(recipe(**scores), store=url)
    assert (outcome.released, failed(outcome)) == (False, ["compatible"])
    assert "no longer knows the class 2" in outcome.reason


def test_a_second_retrain_at_once_is_told(url):
    """While the first one works; afterwards it may."""
    told = []

    def load():
        with pytest.raises(Busy, match="another retrain of flights is under way"):
            trainer.retrain(recipe(), store=url)
        told.append(True)
        return data()

    assert trainer.retrain(recipe(load=load), store=url).version == 1
    assert told == [True]
    assert trainer.retrain(recipe(), store=url).version == 2


def test_a_failing_recipe_frees_the_lease(url):
    """And publishes nothing."""

    def load():
        raise OSError("the database is away")

    with pytest.raises(RecipeError, match="load raised OSError: the database is away"):
        trainer.retrain(recipe(load=load), store=url)
    assert trainer.retrain(recipe(), store=url).version == 1


def damage(url, suffix, data):
    """Replace the objects whose key ends so, as no client of this store ever would."""
    for path in [p for p in MemoryFileSystem.store if p.startswith(url.removeprefix("memory:/"))]:
        if path.endswith(suffix):
            MemoryFileSystem().pipe_file(path, data)


def blob(url, kind):
    (manifest,) = trainer.versions("flights", store=url)
    return manifest.artifact(kind).sha256


def test_a_version_in_force_that_cannot_be_loaded(url, monkeypatch, tmp_path):
    """The comparison fails and says why; what needs none is still checked."""
    trainer.retrain(recipe(), store=url)
    damage(url, blob(url, "skops"), b"no longer a model")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    outcome = trainer.retrain(recipe(), store=url)
    assert (outcome.version, outcome.released) == (2, False)
    assert failed(outcome) == ["roc_auc no worse by more than 0.01"]
    assert "flights@1 cannot be loaded here" in outcome.reason
    trainer.release("flights", 2, store=url)
    assert trainer.retrain(recipe(), store=url).released


def test_a_version_in_force_whose_blob_is_missing(url, monkeypatch, tmp_path):
    """The candidate is published all the same, so that a person can release it."""
    trainer.retrain(recipe(), store=url)
    sha256 = blob(url, "skops")
    for path in [path for path in MemoryFileSystem.store if path.endswith(sha256)]:
        MemoryFileSystem().rm_file(path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))
    outcome = trainer.retrain(recipe(), store=url)
    assert (outcome.version, outcome.released) == (2, False)
    assert "flights@1 cannot be loaded here" in outcome.reason
    assert "missing" in outcome.reason
    assert trainer.release("flights", 2, store=url).version == 2


def test_a_version_in_force_without_its_manifest(url):
    """Nothing is judged against nothing."""
    trainer.retrain(recipe(), store=url)
    damage(url, "versions/0000000001.json", b"{}")
    with pytest.raises(IntegrityError):
        trainer.retrain(recipe(), store=url)
    assert len(in_force(url)) == 1


def test_a_release_while_it_trains_is_what_it_is_judged_against(url):
    """The version in force when it comes to releasing counts, not the one at the start."""
    trainer.retrain(recipe(gates=[]), store=url)
    trainer.retrain(recipe(gates=[AtLeast("roc_auc", 1.5)]), store=url)

    def on_step(step, _words):
        if step == "read back":
            trainer.release("flights", 2, store=url)

    outcome = trainer.retrain(recipe(), store=url, on_step=on_step)
    assert (outcome.released, outcome.champion_version) == (True, 2)
    assert [entry.prev.number for entry in trainer.history("flights", store=url)[1:]] == [1, 2]


def test_a_hold_while_it_trains_is_not_passed_over(url):
    """Also in the last moment."""
    trainer.retrain(recipe(), store=url)

    def on_step(step, _words):
        if step == "release":
            trainer.hold("flights", store=url)

    outcome = trainer.retrain(recipe(), store=url, on_step=on_step)
    assert (outcome.released, outcome.on_hold) == (False, True)


def test_a_lost_lease_releases_nothing(url):
    """Whoever took over does."""
    trainer.retrain(recipe(), store=url)

    def on_step(step, _words):
        if step == "release":
            raise LeaseLost("another retrain of this model took over; nothing was released")

    with contextlib.suppress(LeaseLost):
        trainer.retrain(recipe(), store=url, on_step=on_step)
    assert in_force(url) == [(1, "retrain")]
    assert len(trainer.versions("flights", store=url)) == 2


def test_another_alias(url):
    """Has its own version in force."""
    trainer.retrain(recipe(), store=url)
    outcome = trainer.retrain(recipe(), store=url, alias="staging")
    assert (outcome.released, outcome.champion_version) == (True, None)
    assert in_force(url) == [(1, "retrain")]


def test_an_impossible_alias_is_refused_before_anything_is_done(url):
    """No store, no version."""
    with pytest.raises(ConfigError, match="cannot name an alias"):
        trainer.retrain(recipe(load=lambda: 1 / 0), store=url, alias="latest")
    assert open_objects(url).names("", timeout=1) == []


# -- twelve nights ------------------------------------------------------------------------------------------


def nights(url, split):
    """Retrain thirteen times on data that grows, with an equal candidate; the outcomes after the first."""

    def build():
        return RandomForestClassifier(n_estimators=10, random_state=0)

    gates = [NoWorse("roc_auc", by=0.03)]
    first, *later = [
        trainer.retrain(
            recipe(load=lambda night=night: data(2000 + 200 * night), build=build, split=split, gates=gates),
            store=url,
        )
        for night in range(13)
    ]
    assert first.released
    return later


@pytest.mark.slow
def test_twelve_nights_with_a_stable_split(url):
    """An equal candidate is released twelve times of twelve."""
    outcomes = nights(url, KeySplit("id", test=0.3))
    assert [outcome.released for outcome in outcomes] == [True] * 12, [o.reason for o in outcomes]
    assert [version for version, _ in in_force(url)] == list(range(1, 14))


@pytest.mark.slow
def test_twelve_nights_with_a_random_split(url):
    """The check fails and says why: nobody can tell which rows the version in force has seen."""
    outcomes = nights(url, lambda frame: train_test_split(frame, test_size=0.3, random_state=len(frame)))
    assert [outcome.released for outcome in outcomes] == [False] * 12
    for outcome in outcomes:
        assert "cannot tell which rows flights@1 was trained on: its split was a function" in outcome.reason
        assert "KeySplit('id', test=0.2)" in outcome.reason
    assert in_force(url) == [(1, "retrain")]
