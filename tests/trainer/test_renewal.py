"""Renewals: what keeps `fresh_for_seconds` alive when a retrain finds nothing better."""

import uuid

import pytest
from entries import ALIAS, MODEL, STORE_ID, founded, manifest, put, release

import trainer
from mlshared._objects import open_objects
from mlshared.errors import ConfigError
from mlshared.store import release_key
from trainer import KeySplit, Recipe
from trainer._release import release_automatically
from trainer._renewal import renew
from trainer._seen import NOTHING_SEEN, Seen
from trainer._writing import Writing
from trainer.checks import Check

HOUR = 3600.0
PASSED = Check("better", passed=True, message="")


@pytest.fixture
def url(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return f"memory://{uuid.uuid4().hex}/models"


@pytest.fixture
def store(url):
    store = founded(open_objects(url))
    put(store, manifest(1))
    return store


def renewed(store, fresh_for_seconds=None, seen=NOTHING_SEEN):
    return renew(
        Writing(store, STORE_ID, seen), MODEL, ALIAS, fresh_for_seconds=fresh_for_seconds, reason="worse"
    )


def head(url):
    return trainer.history(MODEL, store=url)[-1]


def test_a_renewal_repeats_what_is_in_force(store, url):
    """Version, hold, fallback, what is withdrawn, and the promise; by a machine, after the entry before."""
    put(store, release(1, version=1, hold=True, withdrawn=(7,), fresh_for_seconds=HOUR, by="person"))
    before = head(url)
    assert renewed(store)
    after = head(url)
    same = (
        "version",
        "manifest_sha256",
        "hold",
        "fallback",
        "withdrawn",
        "fresh_for_seconds",
        "alias",
        "store",
    )
    assert [getattr(after, name) for name in same] == [getattr(before, name) for name in same]
    assert (after.number, after.prev.number, after.kind, after.by, after.reason) == (
        2,
        1,
        "renewal",
        "retrain",
        "worse",
    )
    assert after.created_at > before.created_at
    assert not after.reset


def test_without_a_promise_there_is_nothing_to_renew(store, url):
    """Nobody waits to hear of it."""
    put(store, release(1, version=1))
    assert not renewed(store)
    assert renewed(store, HOUR)
    assert head(url).fresh_for_seconds == HOUR


def test_nothing_is_renewed_over_an_entry_that_cannot_be_judged(store, url):
    """Nor where nothing was ever released."""
    assert not renewed(store, HOUR)
    put(store, release(1, version=1, fresh_for_seconds=HOUR))
    store.objects.create(release_key(MODEL, ALIAS, 2), b"garbage", timeout=5)
    assert not renewed(store)


def test_nothing_is_renewed_in_a_log_that_was_lost(store, url, tmp_path):
    """Its numbers were given out already: apps that have read them would never see the renewal."""
    seen = Seen(lambda: tmp_path)
    put(store, release(1, version=1, fresh_for_seconds=HOUR))
    assert renewed(store, seen=seen)
    assert seen.number(STORE_ID, MODEL, ALIAS) == 2
    store.objects.delete(release_key(MODEL, ALIAS, 2), timeout=5)
    assert not renewed(store, seen=seen)
    assert store.releases(MODEL, ALIAS) == [1]


def test_a_release_carries_the_promise(store, url):
    """A retrain's its recipe's; a person's the one in force."""
    first, second = (put(store, manifest(n)) for n in (2, 3))

    def automatically(candidate, promise):
        judge = lambda _head: (PASSED,)  # noqa: E731
        release_automatically(store, STORE_ID, candidate, ALIAS, judge, fresh_for_seconds=promise)
        return head(url).fresh_for_seconds

    assert automatically(first, HOUR) == HOUR
    assert trainer.hold(MODEL, store=url).fresh_for_seconds == HOUR
    assert trainer.release(MODEL, 2, store=url).fresh_for_seconds == HOUR
    assert automatically(second, None) is None


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), "1h"])
def test_a_promise_is_a_number_of_seconds(seconds):
    """Named, before anything is trained."""
    values = {"name": "x", "load": list, "target": "y", "build": list, "split": KeySplit("id", test=0.2)}
    with pytest.raises(ConfigError, match="fresh_for_seconds"):
        Recipe(**values, metrics=["r2"], fresh_for_seconds=seconds)
