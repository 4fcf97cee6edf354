"""Publishing: what a version holds, and who may displace what. Racing publishers: tests/faults."""

import uuid

import numpy as np
import pytest
from entries import MODEL, STORE_ID, founded, manifest
from fsspec.implementations.memory import MemoryFileSystem
from interleave import explore
from sklearn.linear_model import LogisticRegression

import trainer
from mlshared import Client
from mlshared._objects import open_objects
from mlshared.errors import ArtifactError, ConfigError, StorageError
from mlshared.store import Store, blob_key, version_key
from trainer import _append
from trainer._append import found_store
from trainer._publish import Draft, draft, upload
from trainer._read_back import read_back
from trainer._release import release_first

X = np.array([[0.0], [1.0], [2.0], [3.0]])
Y = np.array([0, 0, 1, 1])


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return f"memory://{uuid.uuid4().hex}/models"


@pytest.fixture
def fitted():
    return LogisticRegression().fit(X, Y)


@pytest.fixture
def store(url):
    return founded(open_objects(url))


def publish(fitted, url, **options):
    return trainer.publish(fitted, X, Y, name=MODEL, store=url, **options)


def history(url):
    return trainer.history(MODEL, store=url)


# -- publish ------------------------------------------------------------------------------------------------


def test_the_first_version_is_released(fitted, url):
    """Nothing can be displaced, and apps have something to load."""
    published = publish(fitted, url)
    assert (published.version, published.ref, published.released) == (1, "flights@1", True)
    with Client(url, poll_seconds=0) as client:
        assert client.model(MODEL).predict({"x0": 3.0}) == 1


def test_later_versions_are_only_published(fitted, url):
    """Until somebody releases them."""
    publish(fitted, url)
    second = publish(fitted, url)
    assert (second.version, second.released, second.reason) == (2, False, "not asked to")
    assert [entry.version for entry in history(url)] == [1]


def test_released_when_told_to(fitted, url):
    """As a person's release, under that alias."""
    publish(fitted, url)
    assert publish(fitted, url, release="production").released
    assert [(entry.version, entry.by) for entry in history(url)] == [(1, "person"), (2, "person")]


def test_a_hold_is_passed_by_no_publish(fitted, url):
    """Only a release of that very version ends it."""
    publish(fitted, url)
    trainer.hold(MODEL, store=url, reason="audit")
    held = publish(fitted, url, release="production")
    assert (held.version, held.released) == (2, False)
    assert held.reason == "on hold since entry 2 (audit); `trainer release flights 2` ends it"
    assert len(history(url)) == 2
    trainer.release(MODEL, 2, store=url)
    assert publish(fitted, url, release="production").released


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((X, Y), {"format": "pickle"}, "format is 'skops' or 'joblib', not 'pickle'"),
        ((X, Y), {"release": True}, "release is text such as 'production', not True"),
        ((X, Y), {"name": 3}, "name is text such as 'flights', not 3"),
        ((None, None), {}, "X is held-out rows: .* not None"),
        ((X[:0], Y[:0]), {}, "X is held-out rows: .* not an empty table"),
        ((X, Y[:3]), {}, "X has 4 rows and y 3"),
        ((X, 1), {}, "y is the targets of X, one a row, not 1"),
    ],
)
def test_arguments_that_cannot_be_meant(fitted, url, arguments, options, message):
    """One line that names the argument, before anything is written."""
    with pytest.raises(ConfigError, match=message):
        trainer.publish(fitted, *arguments, **{"name": MODEL, "store": url, **options})
    assert open_objects(url).names("", timeout=1) == []


def test_published_is_shown_in_a_line(fitted, url):
    """Not with the whole manifest."""
    assert repr(publish(fitted, url)) == ("Published(version=1, ref='flights@1', released=True, reason='')")


def test_an_incompatible_version_is_published_and_not_released(fitted, url):
    """With what would break."""
    publish(fitted, url)
    wider = LogisticRegression().fit(np.hstack([X, X]), Y)
    published = trainer.publish(wider, np.hstack([X, X]), Y, name=MODEL, store=url, release="production")
    assert (published.version, published.released) == (2, False)
    assert "it takes 2 columns, took 1" in published.reason


def test_first_publishes_racing_in_every_order_displace_nothing(url, store, capsys):
    """Of three at once one is released, and stays."""
    stored = [upload(store, Draft(manifest(), {})) for _ in range(3)]

    def first(target):
        return lambda waiting: release_first(Store(waiting), STORE_ID, target, "production", reason="")

    def check(run):
        (entry,) = history(url)
        won = [actor.result for actor in run.actors.values()]
        assert sorted(won) == [False, False, True], run.schedule
        assert entry.version == won.index(True) + 1

    def forget(keys):
        for key in keys:
            MemoryFileSystem.store.pop(f"{url.removeprefix('memory:/')}/{key}")

    actors = {str(target.entry.version): first(target) for target in stored}
    schedules = explore(store.objects, actors, check, forget=forget)
    with capsys.disabled():
        print(f" [{schedules:,} schedules]", end="")
    assert schedules > 5


@pytest.mark.parametrize("options", [{"name": "Flights"}, {"name": MODEL, "release": "latest"}])
def test_impossible_names_are_refused_before_anything_is_written(fitted, url, options):
    """No store is made for them."""
    with pytest.raises(ConfigError, match="cannot name"):
        trainer.publish(fitted, X, Y, store=url, **options)
    assert open_objects(url).names("", timeout=1) == []


def test_a_manifest_names_every_blob(fitted, url):
    """By hash and size, in a folder of this publish alone."""
    published = publish(fitted, url)
    store = Store(open_objects(url))
    for artifact in published.manifest.artifacts:
        assert len(store.blob(MODEL, published.manifest.publish_id, artifact)) == artifact.size


def test_a_version_that_does_not_read_back_is_not_released(fitted, url):
    """Bytes other than those uploaded are found before anybody serves them."""
    store = Store(open_objects(url))
    made = draft(fitted, X, Y, store_id=found_store(store).id, name=MODEL)
    stored = upload(store, made)
    key = blob_key(MODEL, stored.entry.publish_id, stored.entry.artifact("golden").sha256)
    MemoryFileSystem().pipe_file(f"{url.removeprefix('memory:/')}/{key}", b"{}")
    with pytest.raises(ArtifactError):
        read_back(url, {}, stored.entry)


# -- upload -------------------------------------------------------------------------------------------------


@pytest.fixture
def made():
    return Draft(manifest(), {"skops": b"bytes"})


def test_numbers_follow_the_highest(store, made):
    """One by one, from 1."""
    assert [upload(store, made).entry.version for _ in range(3)] == [1, 2, 3]


def test_a_gap_is_not_filled(store, made):
    """A number that was taken once is never given again; what is no manifest, far up, takes none."""
    store.objects.create(version_key(MODEL, 9_999_999_999), b"{}", timeout=1)
    first = upload(store, made).entry
    assert first.version == 1
    seventh = first.model_copy(update={"version": 7})
    store.objects.create(version_key(MODEL, 7), store.seal(seventh), timeout=1)
    assert upload(store, made).entry.version == 8


def test_each_upload_is_its_own(store, made):
    """Another nonce and another folder, also of one draft."""
    first, second = upload(store, made).entry, upload(store, made).entry
    assert first.nonce != second.nonce
    assert first.publish_id != second.publish_id


def test_blobs_are_there_before_the_manifest(store, made):
    """A version is whole from its first moment."""
    seen = []

    class Watched:
        def create(self, key, data, *, timeout):
            seen.append(key.split("/")[1])
            return store.objects.create(key, data, timeout=timeout)

        def __getattr__(self, name):
            return getattr(store.objects, name)

    upload(Store(Watched()), made)
    assert seen == ["blobs", "versions"]


def test_a_blob_that_cannot_be_written_publishes_nothing(store, made, monkeypatch):
    """No manifest names what is not there."""
    monkeypatch.setattr(_append, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr("trainer._publish.BUDGET_SECONDS", 0.05)

    class Full:
        def create(self, key, data, *, timeout):
            raise StorageError("no space left")

        def __getattr__(self, name):
            return getattr(store.objects, name)

    with pytest.raises(StorageError):
        upload(Store(Full()), made)
    store.allow(10)
    assert store.versions(MODEL) == []
