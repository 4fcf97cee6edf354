"""A large version is swapped in under load (f34)."""

import copy
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from served import wait_for
from shelf import NAME, add_version
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import trainer
from mlshared import Client
from mlshared._objects import open_objects
from mlshared.store import Store
from trainer.converters import convert

pytestmark = pytest.mark.slow
TEXTS = ["late again", "bad weather", "a smooth landing", "good crew", "lost my bag", "on time", "no news"]
TEXTS *= 8  # of each label, what a split wants
WIDTH, CLASSES = 3_999_999, 7  # weights of 224 MB


def wide(small):
    """Return a classifier of texts like a small one, with so many weights."""
    large = copy.deepcopy(small)
    large[0].n_features = large[1].n_features_in_ = WIDTH
    large[1].coef_ = np.resize(np.random.default_rng(0).normal(size=10_007), (CLASSES, WIDTH))
    return large


def test_f34_a_large_version_is_swapped_in_under_load(tmp_path):
    """While 224 MB are fetched, checked, mapped, left and taken up again, each answer is wholly one version's."""
    url = str(tmp_path / "models")
    labels = np.arange(len(TEXTS)) % CLASSES
    pipelines = {1: make_pipeline(HashingVectorizer(n_features=16), LogisticRegression()).fit(TEXTS, labels)}
    trainer.publish(pipelines[1], TEXTS, labels, name=NAME, store=url)
    fields = Store(open_objects(url)).manifest(
        json.loads(Path(url, "mlshared.json").read_text())["id"], NAME, 1
    )
    pipelines[2] = wide(pipelines[1])
    data = convert.converted(pipelines[2], fields.entry.fields).data
    assert len(data) > 200_000_000

    def answer(golden):
        golden["answers"] = {m: getattr(pipelines[2], m)(golden["rows"]).tolist() for m in golden["answers"]}

    add_version(url, like=1, version=2, plan=lambda _: data, golden=answer)
    expected = {
        (version, text): pytest.approx(dict(enumerate(pipeline.predict_proba([text])[0].tolist())), rel=1e-9)
        for version, pipeline in pipelines.items()
        for text in TEXTS[:CLASSES]
    }
    with Client(url, cache_dir=tmp_path / "cache", poll_seconds=0, hook=lambda event: None) as client:
        model = client.model(NAME)
        assert model.ready(timeout=60)
        with Crowd(model, expected) as crowd:
            for version in (2, 1, 2):
                trainer.release(NAME, version, store=url)
                assert model.refresh(timeout_seconds=120)
                before = crowd.count
                wait_for(lambda before=before: crowd.count > before + 100)
    assert crowd.wrong == []
    assert crowd.versions == {1, 2}


class Crowd:
    """Eight threads that predict, with a short pause after each answer.

    Attributes:
        versions: The versions that answered.
        count: How many answers there were.
        wrong: Those that are not what their version predicts offline.
    """

    def __init__(self, model, expected):
        self._model, self._expected = model, expected
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(8)]
        self.versions, self.count, self.wrong = set(), 0, []

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self):
        while not self._stop.wait(0.001):
            text = TEXTS[self.count % CLASSES]
            current = self._model.current
            answer = current.predict_proba(text)
            self.versions.add(current.version)
            self.count += 1
            if answer != self._expected[current.version, text]:
                self.wrong.append((current.version, text, answer))
