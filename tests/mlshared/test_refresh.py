"""One cycle: what is decided, and what a process does with good, bad, missing and late versions."""

import hashlib
import os
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from process import Process
from shelf import NAME, add_version, disagree

import trainer
from mlshared import _refresh
from mlshared._looks import VOID_AFTER_LOOKS
from mlshared._refresh import decide
from mlshared._target import Target
from mlshared.errors import (
    AccessDenied,
    ArtifactError,
    IntegrityError,
    NotPublished,
    SelfTestFailed,
    StorageError,
    UnsupportedFormat,
)
from mlshared.events import RefreshFailed, StoreWarning, VersionLoaded
from mlshared.manifest import Artifact
from mlshared.store import release_key

ONE, TWO, THREE = Target(1, "1" * 64), Target(2, "2" * 64), Target(3, "3" * 64)


@pytest.mark.parametrize(
    ("targets", "in_force", "set_aside", "to_try"),
    [
        ((), None, (), ()),
        ((), ONE, (), ()),
        ((TWO, ONE), None, (), (TWO, ONE)),
        ((TWO, ONE), ONE, (), (TWO,)),
        ((TWO, ONE), TWO, (), ()),
        ((ONE, TWO), TWO, (), (ONE,)),
        ((TWO, ONE), None, (TWO,), (ONE,)),
        ((TWO, ONE), ONE, (TWO,), ()),
        ((TWO, ONE), None, (TWO, ONE), ()),
        ((THREE, TWO, ONE), ONE, (THREE,), ()),
        ((THREE, TWO, ONE), None, (THREE,), (TWO, ONE)),
    ],
)
def test_decide(targets, in_force, set_aside, to_try):
    """The released version is tried; fallbacks only by a process with nothing; never what is set aside."""
    hashes = {target.manifest_sha256 for target in set_aside}
    assert decide(targets, in_force.manifest_sha256 if in_force else None, hashes) == to_try


TARGETS = st.lists(st.sampled_from([Target(n, f"{n:064d}") for n in range(6)]), unique=True).map(tuple)
HASHES = st.sampled_from([f"{n:064d}" for n in range(6)])


@given(TARGETS, st.none() | HASHES, st.sets(HASHES))
def test_decide_always(targets, in_force, set_aside):
    """Whatever there is: in the order of the targets, nothing set aside, and a version in force gives way to
    the first target alone."""
    to_try = decide(targets, in_force, set_aside)
    assert [target for target in targets if target in to_try] == list(to_try)
    assert not {target.manifest_sha256 for target in to_try} & set_aside
    if in_force is not None:
        assert to_try in ((), targets[:1])
        assert in_force not in {target.manifest_sha256 for target in to_try}


# -- a process ----------------------------------------------------------------------------------------------


@pytest.fixture
def url(shelf, tmp_path):
    return shelf.copy_to(tmp_path / "models")


@pytest.fixture
def process(url, tmp_path):
    return lambda **settings: Process(url, tmp_path / "cache", **settings)


def release(url, version):
    trainer.release(NAME, version, store=url)


def test_the_released_version_is_loaded(process):
    """The first tick loads it; status and hook say so."""
    here = process()
    assert here.status().state == "loading"
    here.tick()
    assert here.version == 1
    assert [(event.version, event.previous) for event in here.told(VersionLoaded)] == [(1, None)]
    assert (here.status().state, here.status().trust, here.status().last_error) == (
        "serving",
        "unsigned",
        None,
    )


def test_a_release_and_a_rollback_are_followed(process, url):
    """Each refresh brings what was released, forwards and back."""
    here = process()
    seen = []
    for act in (lambda: None, lambda: release(url, 2), lambda: trainer.rollback(NAME, store=url)):
        act()
        here.refresh()
        seen.append(here.version)
    assert seen == [1, 2, 1]


def test_by_hand_only(process, url):
    """With poll_seconds=0 a tick does not look for releases."""
    here = process()
    here.tick()
    release(url, 2)
    here.tick()
    assert here.version == 1


def test_a_quarantined_version_and_nothing_else(process, url):
    """With no version that can serve, the error names the quarantine."""
    add_version(url, like=2, version=4, golden=disagree)
    for _ in range(2):
        here = process(ref=f"{NAME}@4")
        here.tick()
        assert "SelfTestFailed: predict_proba" in str(here.refresher.not_ready())


def test_back_to_what_is_in_force(process, url):
    """A bad release taken back leaves nothing to complain about, though nothing was swapped."""
    here = process()
    here.tick()
    add_version(url, like=2, version=4, golden=disagree)
    release(url, 4)
    with pytest.raises(SelfTestFailed):
        here.refresh()
    trainer.rollback(NAME, store=url)
    here.refresh()
    assert (here.status().state, here.status().last_error) == ("serving", None)


def test_trouble_that_is_over_is_forgotten(process, url, tmp_path):
    """After a quarantine long ago, a store that answers again ends the complaint about the store."""
    here = process()
    here.tick()
    add_version(url, like=2, version=4, golden=disagree)
    release(url, 4)
    with pytest.raises(SelfTestFailed):
        here.refresh()
    release(url, 3)
    here.refresh()
    (tmp_path / "models").rename(tmp_path / "unmounted")
    with pytest.raises(StorageError):
        here.refresh()
    assert here.status().state == "stale"
    (tmp_path / "unmounted").rename(tmp_path / "models")
    here.refresher._look(now=True)
    assert (here.status().state, here.status().last_error) == ("serving", None)


def test_another_manifest_than_was_released(process, url, tmp_path):
    """A manifest that was replaced after its release is not taken."""
    here = process()
    here.tick()
    release(url, 2)
    path = tmp_path / "models" / NAME / "versions" / "0000000002.json"
    other = (path.parent / "0000000003.json").read_bytes()
    path.unlink()
    path.write_bytes(other)
    with pytest.raises(IntegrityError, match="not the one that was released"):
        here.refresh()
    assert here.version == 1


class Damaged:
    """A store's objects behind a network that spoils the first answer to each key below a folder."""

    def __init__(self, objects, folder):
        self._objects, self._folder, self._seen = objects, folder, set()

    def __getattr__(self, name):
        return getattr(self._objects, name)

    def get(self, key, **options):
        raw = self._objects.get(key, **options)
        if self._folder in key and key not in self._seen:
            self._seen.add(key)
            return bytes([raw[0] ^ 1]) + raw[1:]
        return raw


@pytest.mark.parametrize("folder", ["/versions/", "/blobs/"])
def test_bytes_spoilt_on_the_way(process, folder):
    """Bytes that are wrong once are asked for again; a version is not condemned for the network."""
    here = process()
    here.host.store.objects = Damaged(here.host.store.objects, folder)
    here.refresh()
    assert here.version == 1
    assert here.status().quarantined == {}


def test_a_missing_blob_that_appears(process, url, tmp_path):
    """A blob that is not there yet is waited for, and the version taken up when it is."""
    here = process()
    here.tick()
    held = {}
    keep = lambda kind, data: data if kind != "plan" else held.setdefault(kind, data) and None  # noqa: E731
    add_version(url, like=2, version=4, blobs=keep)
    release(url, 4)
    with pytest.raises(StorageError, match="is missing from the store"):
        here.refresh()
    assert (here.version, here.status().quarantined) == (1, {})
    golden = max((tmp_path / "models" / NAME / "blobs").iterdir(), key=lambda path: path.stat().st_ctime_ns)
    (golden / hashlib.sha256(held["plan"]).hexdigest()).write_bytes(held["plan"])
    here.refresh()
    assert (here.version, here.status().last_error) == (4, None)


def test_an_artifact_that_is_not_known(process, url):
    """A version that needs a kind this release does not know is refused before anything is downloaded."""
    here = process()
    here.tick()
    new = Artifact(kind="quantum", required=True, sha256="0" * 64, size=1)
    add_version(url, like=2, version=4, edit=lambda m: {"artifacts": (*m.artifacts, new)})
    release(url, 4)
    with pytest.raises(UnsupportedFormat, match="quantum"):
        here.refresh()
    assert (here.version, here.status().quarantined) == (1, {})


@pytest.mark.parametrize("edit", [{"requires": {"": "1"}}, {"size": 2**50}])
def test_a_manifest_that_makes_no_sense(process, url, edit):
    """Whatever a manifest says, the cycle ends, and the version in force stays."""
    here = process()
    here.tick()
    add_version(
        url,
        like=2,
        version=4,
        edit=lambda m: {
            "artifacts": tuple(a.model_copy(update=edit) for a in m.artifacts if a.kind != "plan")
        },
    )
    release(url, 4)
    with pytest.raises((ValueError, ArtifactError)):
        here.refresh()
    here.tick()
    assert here.version == 1
    assert here.told(RefreshFailed)[-1].version == 4


class Absurd:
    """Storage that fails as no storage should."""

    def names(self, folder, **options):
        raise RuntimeError("absurd")

    get = names


def test_storage_that_raises_anything(process):
    """It counts as a failed look: told, and asked again later, not at once."""
    here = process()
    here.host.store.objects = Absurd()
    here.tick()
    here.tick()
    assert [str(event.error) for event in here.told(RefreshFailed)] == ["absurd"]
    assert here.status().last_error == "RuntimeError: absurd"
    with pytest.raises(StorageError, match="RuntimeError: absurd") as raised:
        here.refresh()  # what is caught as this package's error is one
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_a_log_without_a_valid_entry_is_not_asked_for_at_once(process, url):
    """It counts as a failed look, too, so that a store is not asked every second."""
    here = process()
    entry = Path(url) / release_key(NAME, "production", 1)
    entry.unlink()
    entry.write_bytes(b"garbage")
    here.tick()
    here.tick()
    assert len(here.told(RefreshFailed)) == 1
    assert here.status().state == "failed"


def test_a_process_does_not_fetch_what_another_is_fetching(process, monkeypatch):
    """Where the lock's holder asked the store a moment ago, a process with nothing leaves it the download."""
    monkeypatch.setattr(_refresh, "COLD_START_PATIENCE_SECONDS", 0.05)
    first, second = process(poll_seconds=30), process(poll_seconds=30)
    with first.refresher._log.try_lock():
        first.refresher._log.touch_checked()
        second.tick()
    assert second.version is None
    assert not second.told(RefreshFailed)
    second.tick()
    assert second.version == 1


def test_a_fallback_for_a_process_with_nothing(process, url):
    """A process that cannot load the released version starts with the one before, and says so."""
    release(url, 2)
    add_version(url, like=2, version=4, golden=disagree)
    release(url, 4)
    here = process()
    here.tick()
    assert (here.version, here.status().state) == (2, "stale")
    assert [event.version for event in here.told(RefreshFailed)] == [4]


def test_the_last_good_version_on_the_host(process, url, tmp_path):
    """If neither the released version nor its fallback can be had, what this host served before is taken."""
    here = process()
    for version in (3, 1):
        release(url, version)
        here.refresh()
    for version in (4, 5):
        add_version(url, like=2, version=version, golden=disagree)
        release(url, version)
    later = process()
    later.tick()
    assert later.version == 1


def test_one_process_of_a_host_asks(process, url):
    """What one process looked up within the poll interval, another takes from the cache, without a request."""
    one, other = process(poll_seconds=1000), process(poll_seconds=1000)
    one.tick()
    other.tick()
    release(url, 2)
    one.refresh()
    other.host.store.objects = None  # any request would fail
    other.tick()
    assert (one.version, other.version) == (2, 2)
    assert other.status().stale_seconds < 500


def test_another_process_reached_the_store(process, url, tmp_path):
    """A failed look is forgotten as soon as another process of the host has asked with success."""
    one, other = process(poll_seconds=1000), process(poll_seconds=1000)
    one.tick()
    other.tick()
    (tmp_path / "models").rename(tmp_path / "unmounted")
    with pytest.raises(StorageError):
        other.refresh()
    assert other.status().state == "stale"
    other.refresher._look_failed_at -= 0.1  # further back than the clock of a file system may lag
    (tmp_path / "unmounted").rename(tmp_path / "models")
    one.refresh()
    other.tick()
    assert (other.status().state, other.status().last_error) == ("serving", None)


def test_a_pin_does_not_count_as_a_look(process, url):
    """A process that serves a pinned version, or a moment, asked nothing that an alias's followers rely on."""
    here = process()
    here.tick()
    age = here.refresher._log.checked_age()
    os.utime(next((here.settings.cache_dir / "stores").rglob("checked")), (1, 1))
    process(ref=f"{NAME}@2026-01-01T00:00Z").tick()
    assert age < 100 < here.refresher._log.checked_age()


def test_an_estimator_that_raises_anything(process, url):
    """Whatever a version's code raises, the version in force stays and the next one is taken."""
    here = process()
    here.tick()
    release(url, 2)

    def derive(row):
        raise RuntimeError("unforeseen")

    here.model.features = derive
    with pytest.raises(ArtifactError, match="unforeseen"):
        here.refresh()
    here.model.features = None
    release(url, 3)
    here.refresh()
    assert here.version == 3


class Watched:
    """A store's objects that call a function before each blob is read."""

    def __init__(self, objects, watch):
        self._objects, self._watch = objects, watch

    def __getattr__(self, name):
        return getattr(self._objects, name)

    def get(self, key, **options):
        if "/blobs/" in key:
            self._watch()
        return self._objects.get(key, **options)


def test_an_estimator_is_fetched_before_it_is_its_turn(process):
    """A process killed while it downloads says nothing of the version, and holds nobody up."""
    here, seen = process(), []
    here.tick()

    def watch():
        with here.host.cache.load_slot() as free:
            seen.append((free, list(here.settings.cache_dir.rglob("loading/*/*"))))

    here.host.store.objects = Watched(here.host.store.objects, watch)
    here.model.loaded.predictor.lazy.want()
    here.tick()
    assert here.model.loaded.predictor.lazy.predictor is not None
    assert seen
    assert set(map(str, seen)) == {"(True, [])"}


def test_an_estimator_that_waits_for_its_turn_is_fetched_once(process):
    """While another process of the host loads its own, nothing is asked for again."""
    here, asked = process(), []
    here.tick()
    here.host.store.objects = Watched(here.host.store.objects, lambda: asked.append(True))
    here.model.loaded.predictor.lazy.want()
    (here.settings.cache_dir / "blobs").rename(here.settings.cache_dir / "elsewhere")
    with ExitStack() as slots:
        for number in range(os.cpu_count() or 1):
            slots.enter_context(here.host.cache._folder.lock(f"slots/{number}"))
        here.tick()
        before = len(asked)
        here.tick()
    assert before == len(asked) > 0
    here.tick()
    assert here.model.loaded.predictor.lazy.predictor is not None
    assert before == len(asked)


def test_an_estimator_that_raises_anything_beside_a_plan(process):
    """It is tried once in a process, and who asks for it gets an error of this package's."""
    here, asked = process(), []
    here.tick()

    def fail():
        asked.append(True)
        raise RuntimeError("absurd")

    here.host.store.objects = Watched(here.host.store.objects, fail)
    lazy = here.model.loaded.predictor.lazy
    for _ in range(3):
        lazy.want()
        here.tick()
    assert len(asked) == 1
    assert ["RuntimeError: absurd" in event.message for event in here.told(StoreWarning)] == [True]
    frames = set()
    for _ in range(3):
        with pytest.raises(ArtifactError, match="RuntimeError: absurd") as raised:
            lazy.wait(0.0)
        frames.add(len(raised.traceback))
    assert len(frames) == 1


def test_a_bad_entry_that_another_process_passed_by(process, url):
    """The complaint about it ends with the next entry, by whomever that was found."""
    one, other = process(poll_seconds=1000), process(poll_seconds=1000)
    one.tick()
    other.tick()
    bad = Path(url) / release_key(NAME, "production", 2)
    bad.write_bytes(b"garbage")
    with pytest.raises(IntegrityError):
        one.refresh()
    assert one.status().state == "stale"
    trainer.release(NAME, 2, store=url)
    for _ in range(VOID_AFTER_LOOKS):
        with suppress(IntegrityError):
            other.refresh()
    one.tick()
    assert (one.version, one.status().state, one.status().last_error) == (2, "serving", None)


def test_nothing_published(tmp_path, url):
    """A model that is not in the store: the error names it and what to do."""
    here = Process(url, tmp_path / "cache", ref="unknown")
    with pytest.raises(NotPublished, match="no release of unknown@production"):
        here.refresh()
    assert here.status().state == "failed"
    assert "NotPublished" in str(here.refresher.not_ready())


def test_a_reader_that_may_not_list(process, url):
    """Without the right to list the model is served all the same, with a warning once."""
    here = process()

    class Unlistable:
        def __init__(self, objects):
            self._objects = objects

        def get(self, key, **options):
            raw = self._objects.get(key, **options)
            if raw is None:
                raise AccessDenied(key)
            return raw

        def names(self, folder, **options):
            raise AccessDenied(folder)

    here.host.store.objects = Unlistable(here.host.store.objects)
    for version in (1, 2, 3):
        release(url, version)
        here.refresh()
        here.refresh()
        assert here.version == version
    assert ["s3:ListBucket" in event.message for event in here.told(StoreWarning)] == [True]
