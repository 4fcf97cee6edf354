"""f24, f25: who wrote it, and when. A client with keys meets every kind of entry that is not for it.

Each attack is what somebody with the right to write to the store can do. It is refused, the version in force goes
on answering, and a valid entry that comes later is found.
"""

import contextlib
import json
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import signers
from shelf import NAME

import trainer
from mlshared import (
    Client,
    EnvironmentMismatch,
    IntegrityError,
    ModelNotReady,
    NotPublished,
    SignatureError,
    StorageError,
    events,
)
from mlshared._fingerprint import fingerprint
from mlshared._looks import VOID_AFTER_LOOKS
from mlshared._objects import open_objects
from mlshared._policy import check_estimator
from mlshared.manifest import FORMAT, Artifact, Features, Previous, Tombstone, to_bytes
from mlshared.settings import make_settings
from mlshared.store import IDENTITY_KEY, Store, release_key, tombstone_key, version_key
from trainer.errors import ReleaseRefused

pair, sign, sign_store = signers.pair, signers.sign, signers.sign_store

OURS, NEW, THEIRS = pair(), pair(), pair()
ALIAS = "production"


class World:
    """A signed store in a folder, whoever writes to it, and the clients of one host."""

    def __init__(self, shelf, tmp_path, monkeypatch):
        self.url = sign_store(shelf, tmp_path / "models", OURS)
        self.store = Store(open_objects(self.url))
        self.store_id = self.store.identity().id
        self.row = shelf.rows[0]
        self.events = []
        self._cache = tmp_path / "cache"
        self._monkeypatch = monkeypatch
        self._clients = []
        self.signs(OURS)

    def signs(self, by):
        self._monkeypatch.setenv("TRAINER_SIGNING_KEY", by.pem.decode())

    def release(self, version):
        return trainer.release(NAME, version, store=self.url)

    def entry(self, number=1, **changes):
        """Return an entry of the log, changed."""
        return self.store.release(self.store_id, NAME, ALIAS, number).entry.model_copy(update=changes)

    def plant(self, number, raw):
        assert self.store.objects.create(release_key(NAME, ALIAS, number), raw, timeout=5)

    def following(self, place, **changes):
        """Return an entry that follows the one before ``place`` as it should, putting version 2 in force."""
        before = self.store.release(self.store_id, NAME, ALIAS, place - 1)
        two = self.store.manifest(self.store_id, NAME, 2)
        update = {
            "number": place,
            "prev": Previous(number=place - 1, sha256=before.sha256),
            "version": 2,
            "manifest_sha256": two.sha256,
        }
        return before.entry.model_copy(update={**update, **changes})

    def client(self, *trusted, ref=NAME, cache="cache", **settings):
        if trusted:
            settings["trusted_keys"] = [
                each if isinstance(each, dict) else each.trusted() for each in trusted
            ]
        known = {"cache_dir": self._cache / cache, "poll_seconds": 0, "hook": self.events.append}
        made = Client(self.url, **{**known, **settings})
        self._clients.append(made)
        return made.model(ref)

    def close(self):
        for client in self._clients:
            client.close()


@pytest.fixture
def world(shelf, tmp_path, monkeypatch):
    made = World(shelf, tmp_path, monkeypatch)
    yield made
    made.close()


def serves(model, version):
    """Return whether a model answers with a version, saying that it is signed."""
    return (model.current.version, model.status().version, model.status().trust) == (
        version,
        version,
        "signed",
    )


# -- f24 ----------------------------------------------------------------------------------------------------

ATTACKS = {
    "wrong_key": lambda w: sign(w.following(2), THEIRS),
    "unsigned": lambda w: to_bytes(w.following(2)),
    "wrong_payload_type": lambda w: w.store.manifest_bytes(NAME, 2),
    "another_stores_entry": lambda w: sign(w.following(2, store="6" * 32), OURS),
    "another_models_entry": lambda w: sign(w.following(2, model="hotels"), OURS),
    "another_alias_entry": lambda w: sign(w.following(2, alias="staging"), OURS),
    "another_numbers_entry": lambda w: sign(w.following(2, number=3), OURS),
    "old_entry_replayed": lambda w: w.store.release_bytes(NAME, ALIAS, 1),
    "reset_without_the_right": lambda w: sign(w.following(2, reset=True), OURS),
    "signature_of_another": lambda w: signers.closed(
        {
            **signers.opened(sign(w.following(2), OURS)),
            "signatures": signers.opened(sign(w.entry(), OURS))["signatures"],
        }
    ),
}


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_f24_an_entry_that_is_not_for_us(world, attack):
    """Refused, with the version in force; void after three looks, so that the next valid one is found."""
    model = world.client(OURS)
    model.refresh()
    world.plant(2, ATTACKS[attack](world))
    for _ in range(VOID_AFTER_LOOKS):
        with pytest.raises((SignatureError, IntegrityError)):
            model.refresh()
        assert serves(model, 1)
        assert model.status().state == "stale"
        assert model.predict(world.row) in (0, 1)
    assert world.release(3).number == 3
    world_says = [type(event.error) for event in world.events if isinstance(event, events.RefreshFailed)]
    assert set(world_says) <= {SignatureError, IntegrityError}
    try_refresh(model)
    assert serves(model, 3)


def try_refresh(model):
    """Look again; an invalid entry is told of as long as it is looked at."""
    with contextlib.suppress(SignatureError, IntegrityError):
        model.refresh()


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_f24_an_entry_that_is_not_for_us_at_a_cold_start(world, attack):
    """A new container finds the valid entry below."""
    world.plant(2, ATTACKS[attack](world))
    model = world.client(OURS)
    assert serves(model, 1)


def test_f24_a_key_that_was_removed(world):
    """Old and new at once, then the new alone: what the old one signed is not accepted any more, cached or not."""
    model = world.client(OURS, NEW)
    assert serves(model, 1)
    alone = world.client(NEW)
    with pytest.raises(ModelNotReady, match="by no key in trusted_keys"):
        _ = alone.current
    world.signs(NEW)
    world._monkeypatch.setenv("MLSHARED_TRUSTED_KEYS", json.dumps(OURS.trusted()))
    world.release(2)
    for each in (model, alone):
        each.refresh()
        assert serves(each, 2)


def test_f24_a_model_that_was_renamed(world):
    """All of it copied to another name: signed, and for another place."""
    shutil.copytree(Path(world.url) / NAME, Path(world.url) / "hotels")
    for ref in ("hotels", "hotels@1", "hotels@latest"):
        with pytest.raises(ModelNotReady, match="another place"):
            _ = world.client(OURS, ref=ref).current


def test_f24_a_store_in_the_place_of_another(world, shelf, tmp_path):
    """Signed by us, with another id: an entry is for one store."""
    other = sign_store(shelf, tmp_path / "other", OURS)
    identity = json.loads((Path(other) / IDENTITY_KEY).read_text())
    (Path(other) / IDENTITY_KEY).unlink()
    (Path(other) / IDENTITY_KEY).write_text(json.dumps({**identity, "id": "6" * 32}))
    with (
        Client(other, cache_dir=tmp_path / "c", poll_seconds=0, trusted_keys=[OURS.trusted()]) as client,
        pytest.raises(ModelNotReady, match="another place"),
    ):
        _ = client.model(NAME).current


def test_f24_a_version_that_no_release_names(world):
    """Its own signature counts, and the role of a manifest."""
    ref = f"{NAME}@4"
    four = world.store.manifest(world.store_id, NAME, 2).entry.model_copy(update={"version": 4})
    world.store.objects.create(version_key(NAME, 4), to_bytes(four), timeout=5)
    with pytest.raises(ModelNotReady, match="is not signed"):
        _ = world.client(OURS, ref=ref).current
    (Path(world.url) / version_key(NAME, 4)).unlink()
    world.store.objects.create(version_key(NAME, 4), sign(four, OURS), timeout=5)
    with pytest.raises(ModelNotReady, match="whose scope is not manifest"):
        _ = world.client(OURS.trusted(roles=["release"]), ref=ref, cache="b").current
    assert serves(world.client(OURS.trusted(roles=["manifest"]), ref=ref, cache="c"), 4)


def test_f24_the_newest_version_is_the_newest_that_is_signed(world):
    """What lies above it, from now on or from the start, does not keep `@latest` from going on."""
    running = world.client(OURS, ref=f"{NAME}@latest")
    assert serves(running, 3)
    made = world.store.manifest(world.store_id, NAME, 2).entry
    world.store.objects.create(
        version_key(NAME, 4), to_bytes(made.model_copy(update={"version": 4})), timeout=5
    )
    with pytest.raises(SignatureError):
        running.refresh()
    assert (serves(running, 3), running.status().state) == (True, "stale")
    assert serves(world.client(OURS, ref=f"{NAME}@latest", cache="new"), 3)
    world.store.objects.create(
        version_key(NAME, 5), sign(made.model_copy(update={"version": 5}), OURS), timeout=5
    )
    for _ in range(VOID_AFTER_LOOKS):
        try_refresh(running)
    assert serves(running, 5)


def test_f24_a_release_names_the_manifest_and_no_second_signature_is_needed(world):
    """A key for releases alone puts in force what another key, or nobody, published."""
    two = world.store.manifest(world.store_id, NAME, 2).entry
    (Path(world.url) / version_key(NAME, 2)).unlink()
    world.store.objects.create(version_key(NAME, 2), sign(two, THEIRS), timeout=5)
    world.plant(2, sign(world.following(2), OURS))
    assert serves(world.client(OURS.trusted(roles=["release"])), 2)


def test_f24_a_signed_store_and_no_keys(world):
    """Refused with the mend; served when the settings say so, and told as what it is."""
    with pytest.raises(ModelNotReady, match="this store is signed, and no keys are configured"):
        _ = world.client().current
    model = world.client(allow_unsigned=True)
    assert (model.current.trust, model.status().trust) == ("unverified", "unverified")


def test_f24_a_signed_store_that_says_it_is_not(world):
    """A client with keys does not ask; a host that has seen the store before remembers."""
    with pytest.raises(ModelNotReady):
        _ = world.client().current
    identity = json.loads((Path(world.url) / IDENTITY_KEY).read_text())
    (Path(world.url) / IDENTITY_KEY).unlink()
    (Path(world.url) / IDENTITY_KEY).write_text(json.dumps({**identity, "signed": False}))
    with pytest.raises(ModelNotReady, match="this store is signed"):
        _ = world.client().current
    assert serves(world.client(OURS, cache="new"), 1)
    world.plant(2, to_bytes(world.following(2)))
    assert serves(world.client(OURS, cache="another"), 1)


def test_f24_what_another_process_remembered_is_checked_again(world):
    """The cache shares bytes, never verdicts: a process with other keys judges for itself."""
    world.plant(2, sign(world.following(2), THEIRS))
    lax = world.client(OURS, THEIRS)
    assert serves(lax, 2)
    assert serves(world.client(OURS), 1)
    two = world.store.manifest(world.store_id, NAME, 2).entry.model_copy(update={"version": 4})
    world.store.objects.create(version_key(NAME, 4), sign(two, THEIRS), timeout=5)
    for ref, kept in ((f"{NAME}@4", None), (f"{NAME}@latest", 3)):
        assert serves(world.client(OURS, THEIRS, ref=ref), 4)
        strict = world.client(OURS, ref=ref)
        if kept is None:
            with pytest.raises(ModelNotReady, match="by no key in trusted_keys"):
                _ = strict.current
        else:
            assert serves(strict, kept)


def test_f24_keys_decide_about_a_quarantine(world):
    """A version set aside under one trust is tried anew under another: the fingerprint holds the keys."""

    def of(**settings):
        return fingerprint(None, make_settings(settings))

    settings = [
        {},
        {"allow_unsigned": True},
        {"trusted_keys": [OURS.trusted()]},
        {"trusted_keys": [OURS.trusted(), NEW.trusted()]},
        {"trusted_keys": [OURS.trusted(models=[NAME])]},
        {"trusted_keys": [OURS.trusted()], "allow_joblib": True},
        {"trusted_types": ["app.Scaler"]},
    ]
    assert len({of(**each) for each in settings}) == len(settings)
    assert of(trusted_keys=[OURS.trusted(), NEW.trusted()]) == of(
        trusted_keys=[NEW.trusted(), OURS.trusted()]
    )


def test_f24_unsigned_is_warned_of_once(shelf, tmp_path):
    """And visible for as long as it lasts; not warned of where the settings know."""
    url, told = shelf.copy_to(tmp_path / "models"), []

    def warnings():
        return [event.message for event in told if isinstance(event, events.StoreWarning)]

    with Client(url, cache_dir=tmp_path / "cache", poll_seconds=0, hook=told.append) as client:
        model = client.model(NAME)
        model.refresh()
        trainer.release(NAME, 2, store=url)
        model.refresh()
        assert [model.status().version, model.status().trust] == [2, "unsigned"]
    assert ["unsigned: whoever can write to the store" in message for message in warnings()] == [True]
    told.clear()
    with Client(
        url, cache_dir=tmp_path / "cache", poll_seconds=0, hook=told.append, allow_unsigned=True
    ) as client:
        client.model(NAME).refresh()
    assert warnings() == []


@pytest.mark.parametrize("garbage", [True, False])
def test_f24_numbers_that_were_planted_far_up(world, garbage):
    """They take no number, freeze no release, hold nothing back: not garbage, and not an entry nobody signed."""
    model = world.client(OURS)
    assert serves(model, 1)
    for number in (1000, 9_999_999_999):
        entry = world.entry().model_copy(update={"number": number, "hold": True})
        world.plant(number, b"x" if garbage else to_bytes(entry))
    assert [world.release(version).number for version in (2, 3)] == [2, 3]
    assert trainer.rollback(NAME, store=world.url).number == 4
    model.refresh()
    assert serves(model, 2)
    assert serves(world.client(OURS, cache="new"), 2)


def test_f24_a_tombstone_that_is_none(world):
    """What is no tombstone of that version keeps nobody from releasing it; one that is does."""
    objects = world.store.objects
    assert objects.create(tombstone_key(NAME, 2), b"x", timeout=5)
    assert world.release(2).version == 2
    made = Tombstone(
        type=Tombstone.TYPE,
        format=FORMAT,
        store=world.store_id,
        model=NAME,
        nonce="0" * 32,
        version=3,
        manifest_sha256="0" * 64,
        created_at=datetime.now(UTC),
    )
    assert objects.create(tombstone_key(NAME, 1), to_bytes(made), timeout=5)
    assert not world.store.has_tombstone(NAME, 1)
    assert objects.create(tombstone_key(NAME, 3), to_bytes(made), timeout=5)
    with pytest.raises(ReleaseRefused, match="set aside"):
        world.release(3)


@pytest.mark.parametrize(
    "requires", [{"a\nERROR forged": "1"}, {"scikit-learn": "1\nERROR forged"}, {"": "1"}]
)
def test_what_a_store_says_begins_no_line_in_a_log(requires, caplog):
    """Names from a manifest are names, and whatever an error quotes is escaped."""
    estimator = Artifact(kind="skops", required=True, sha256="0" * 64, size=0, requires=requires)
    with pytest.raises(EnvironmentMismatch) as caught:
        check_estimator(estimator, trust="signed", allow_joblib=False)
    assert "\n" not in str(caught.value)
    events.log_event(events.RefreshFailed(NAME, IntegrityError("a\nERROR forged \x1b[2J"), None, None))
    (record,) = caplog.records
    assert not {"\n", "\x1b"} & set(record.getMessage())


def test_nothing_that_a_manifest_names_is_imported(world, tmp_path, monkeypatch):
    """Signed or not: a feature function is the app's to name, whatever a manifest says it expects."""
    (tmp_path / "named_by_data.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    named = Features(name="named_by_data:derive", sha256="0" * 64)
    two = world.store.manifest(world.store_id, NAME, 2).entry
    four = two.model_copy(update={"version": 4, "features": named})
    world.store.objects.create(version_key(NAME, 4), sign(four, OURS), timeout=5)
    with pytest.raises(ModelNotReady, match="named_by_data:derive"):
        _ = world.client(OURS, ref=f"{NAME}@4").current
    assert "named_by_data" not in sys.modules


# -- f25 ----------------------------------------------------------------------------------------------------


def truncate(world, number):
    """Remove the log's entries from a number on, as somebody who restores a backup does."""
    for path in (Path(world.url) / NAME / "releases" / ALIAS).iterdir():
        if int(path.stem) >= number:
            path.unlink()


def test_f25_an_old_entry_comes_back(world):
    """Under its own number it is known, under the next one it is not in its place."""
    world.release(2)
    model = world.client(OURS)
    assert serves(model, 2)
    world.plant(3, world.store.release_bytes(NAME, ALIAS, 1))
    with pytest.raises(IntegrityError, match="another place"):
        model.refresh()
    assert serves(model, 2)


def test_f25_a_log_that_was_cut_short_and_a_cache(world):
    """The host remembers: the version in force stays, in this process and after a restart."""
    world.release(2)
    assert serves(world.client(OURS), 2)
    truncate(world, 2)
    again = world.client(OURS)
    with pytest.raises(StorageError, match="ends before entry 2, which was accepted before"):
        again.refresh()
    assert serves(again, 2)


def test_f25_a_log_that_was_cut_short_and_a_floor(world):
    """A new container with a floor refuses what lies below it."""
    world.release(2)
    truncate(world, 2)
    with pytest.raises(NotPublished, match="below the floor 2"):
        world.client(OURS, cache="new", floors={NAME: 2}).refresh()


def test_f25_a_log_that_was_cut_short_goes_unseen_without_either(world):
    """Signatures do not tell: the old entry is genuine. SECURITY.md says so."""
    world.release(2)
    truncate(world, 2)
    assert serves(world.client(OURS, cache="new"), 1)


@pytest.mark.parametrize("days", [-1, 1])
def test_f25_a_clock_that_is_off_by_a_day(world, days):
    """Order is by number: an entry from yesterday or tomorrow comes when its number does."""
    at = datetime.now(UTC) + timedelta(days=days)
    model = world.client(OURS)
    assert serves(model, 1)
    world.plant(2, sign(world.following(2, created_at=at), OURS))
    model.refresh()
    assert serves(model, 2)
    assert world.release(3).number == 3
    model.refresh()
    assert serves(model, 3)


def overdue(world, **settings):
    """Return a client whose version promised a newer one by an hour ago."""
    at = datetime.now(UTC) - timedelta(hours=2)
    world.plant(2, sign(world.following(2, created_at=at, fresh_for_seconds=3600.0), OURS))
    return world.client(OURS, **settings)


def test_f25_a_log_that_is_held_back(world):
    """The promise runs out: the status and one event say so, serving goes on, and a renewal ends it."""
    model = overdue(world)
    model.refresh()
    model.refresh()
    assert serves(model, 2)
    assert (model.status().state, model.status().overdue, model.status().last_error) == (
        "overdue",
        True,
        None,
    )
    (told,) = [event for event in world.events if isinstance(event, events.ReleaseOverdue)]
    assert (told.ref, told.version, told.serving) == (f"{NAME}@{ALIAS}", 2, True)
    world.plant(3, sign(world.following(3, kind="renewal", created_at=datetime.now(UTC)), OURS))
    model.refresh()
    assert (model.status().state, model.status().overdue) == ("serving", False)


def test_f25_a_log_that_is_held_back_and_a_client_that_refuses(world):
    """Only if it is told to: nothing answers, the message says why, and a renewal brings it back."""
    model = overdue(world, refuse_overdue=True)
    with pytest.raises(ModelNotReady, match=r"version 2 is overdue.*refuse_overdue is set"):
        _ = model.current
    assert model.predict(world.row, default="none") == "none"
    assert not model.status().ready
    (told,) = [event for event in world.events if isinstance(event, events.ReleaseOverdue)]
    assert not told.serving
    assert not [
        event for event in world.events if isinstance(event, events.VersionLoaded)
    ]  # not for a moment
    world.plant(3, sign(world.following(3, kind="renewal", created_at=datetime.now(UTC)), OURS))
    model.refresh()
    assert serves(model, 2)
