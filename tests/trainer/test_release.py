"""Release, rollback, hold, automatic release, versions, history: what each writes, and what it refuses."""

import uuid

import pytest
from entries import ALIAS, MODEL, STORE_ID, founded, manifest, put, release
from hypothesis import given
from hypothesis import strategies as st

import trainer
from mlshared._objects import open_objects
from mlshared.errors import ConfigError, IntegrityError, NotPublished, StorageError, UnsupportedFormat
from mlshared.manifest import Artifact, Field, Manifest, to_bytes
from mlshared.store import Store, release_key, version_key
from trainer import _log, _writing
from trainer._release import release_automatically, release_first
from trainer.checks import Check
from trainer.errors import ReleaseRefused

PASSED = Check("better", passed=True, message="")
FAILED = Check("better", passed=False, message="0.6 against 0.7")
EXTRA = Field(name="hour", kind="number", dtype="float64")


class Shelf:
    """A store with versions 1 to 5 of a model, none released."""

    def __init__(self):
        self.url = f"memory://{uuid.uuid4().hex}/models"
        self.objects = open_objects(self.url)
        self.store = founded(self.objects)
        self.manifests = {n: put(self.store, manifest(n)) for n in range(1, 6)}

    def release(self, version, **options):
        return trainer.release(MODEL, version, store=self.url, **options)

    def rollback(self, **options):
        return trainer.rollback(MODEL, store=self.url, **options)

    def hold(self, **options):
        return trainer.hold(MODEL, store=self.url, **options)

    def automatically(self, version, *checks, judge=None):
        judge = judge or (lambda _head: checks or (PASSED,))
        return release_automatically(self.store, STORE_ID, self.manifests[version], ALIAS, judge)

    def history(self):
        return trainer.history(MODEL, store=self.url)

    def versions_in_force(self):
        return [entry.version for entry in self.history()]


class Overtaken:
    """Objects of a writer whom somebody else overtakes: the first time it creates anything, that is done before."""

    def __init__(self, inner, before):
        self._inner = inner
        self._before = [before]

    def create(self, key, data, *, timeout):
        if self._before:
            self._before.pop()()
        return self._inner.create(key, data, timeout=timeout)

    def __getattr__(self, name):
        return getattr(self._inner, name)


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Shelf()


# -- release ------------------------------------------------------------------------------------------------


def test_the_first_entry(shelf):
    """Number 1, after nothing, with nothing to fall back to."""
    entry = shelf.release(2, reason="to begin with")
    assert (entry.number, entry.prev, entry.fallback, entry.withdrawn) == (1, None, None, ())
    assert (entry.version, entry.kind, entry.by, entry.hold) == (2, "release", "person", False)
    assert entry.manifest_sha256 == shelf.manifests[2].sha256
    assert shelf.history() == [entry]


def test_each_entry_names_the_one_before(shelf):
    """By number and hash; what was in force becomes the fallback."""
    first = shelf.release(1)
    second = shelf.release(2)
    stored = shelf.store.release(STORE_ID, MODEL, ALIAS, 1)
    assert (second.number, second.prev.number, second.prev.sha256) == (2, 1, stored.sha256)
    assert (second.fallback.version, second.fallback.manifest_sha256) == (1, first.manifest_sha256)


def test_aliases_are_apart(shelf):
    """Each has a log of its own."""
    shelf.release(1)
    assert shelf.release(2, alias="staging").number == 1
    assert [e.version for e in trainer.history(MODEL, alias="staging", store=shelf.url)] == [2]


def test_the_version_in_force_again(shelf):
    """It falls back to what it fell back to, never to itself."""
    shelf.release(1)
    shelf.release(2)
    assert shelf.release(2).fallback.version == 1


@pytest.mark.parametrize("version", [0, -1, 6, 10**12])
def test_an_unknown_version(shelf, version):
    """Says which there are, and writes nothing."""
    with pytest.raises(NotPublished, match=f"flights has no version {version}: its versions are 1 to 5"):
        shelf.release(version)
    assert shelf.history() == []


def test_an_unknown_model(shelf):
    """Is said."""
    with pytest.raises(NotPublished, match="there is no such model"):
        trainer.release("hotels", 1, store=shelf.url)


@pytest.mark.parametrize(("name", "alias"), [("Flights", ALIAS), (MODEL, "latest"), (MODEL, "../x")])
def test_impossible_names(shelf, name, alias):
    """No model or alias can be called so."""
    with pytest.raises(ConfigError, match="cannot name"):
        trainer.release(name, 1, alias=alias, store=shelf.url)


def test_no_store_yet(tmp_path):
    """A release makes none."""
    with pytest.raises(NotPublished, match="publish a model first"):
        trainer.release(MODEL, 1, store=str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_an_app_would_break(shelf):
    """A new required field is refused, until a person says so."""
    fields = (*shelf.manifests[1].entry.fields, EXTRA)
    put(shelf.store, manifest(6, fields=fields))
    shelf.release(1)
    with pytest.raises(ReleaseRefused, match=r"flights@6 was not released: field 'hour' is new.*--breaking"):
        shelf.release(6)
    assert shelf.versions_in_force() == [1]
    shelf.release(6, breaking=True)
    assert shelf.versions_in_force() == [1, 6]


def test_a_lost_version_in_force_is_never_compared_with_nothing(shelf):
    """Whether apps would break cannot be told then; a person can go on all the same."""
    put(shelf.store, release(1, version=9))
    with pytest.raises(ReleaseRefused, match=r"flights@9, which is in force, is missing.*--breaking"):
        shelf.release(1)
    assert shelf.release(1, breaking=True).number == 2


def test_a_damaged_version_in_force_can_be_left(shelf):
    """A person's word is absolute, and needs the old manifest for nothing."""
    shelf.objects.create(version_key(MODEL, 9), b"{}", timeout=1)
    put(shelf.store, release(1, version=9))
    with pytest.raises(ReleaseRefused, match="cannot be read"):
        shelf.release(1)
    assert shelf.release(1, breaking=True).number == 2


def test_a_replaced_version_in_force_is_not_compared(shelf):
    """The entry names the bytes; others under the same number say nothing of what apps use."""
    put(shelf.store, release(1, version=3))
    with pytest.raises(ReleaseRefused, match="was replaced"):
        shelf.release(1)


# -- rollback and hold --------------------------------------------------------------------------------------


def test_rollback_goes_to_the_fallback_and_holds(shelf):
    """The version left is withdrawn; to fall back to there is what the version gone back to had itself."""
    for version in (1, 2, 3):
        shelf.release(version)
    entry = shelf.rollback(reason="wrong on Mondays")
    assert (entry.version, entry.kind, entry.hold, entry.withdrawn) == (2, "rollback", True, (3,))
    assert entry.manifest_sha256 == shelf.manifests[2].sha256
    assert (entry.fallback.version, entry.fallback.manifest_sha256) == (1, shelf.manifests[1].sha256)


def test_rollback_to_a_version(shelf):
    """Any that was published, released or not; the versions between are not withdrawn."""
    for version in (1, 2, 3):
        shelf.release(version)
    entry = shelf.rollback(to=1)
    assert (entry.version, entry.withdrawn, entry.fallback.version) == (1, (3,), 2)


def test_rollback_without_a_fallback(shelf):
    """Names the mend."""
    shelf.release(1)
    with pytest.raises(ReleaseRefused, match="flights@1 has no earlier version to go back to; name one with"):
        shelf.rollback()


def test_rollback_without_a_release(shelf):
    """There is nothing to go back from."""
    with pytest.raises(ReleaseRefused, match="flights@production has no release"):
        shelf.rollback()


def test_rollback_twice(shelf):
    """It goes on backwards and never swings back to a version just left; at the first one it ends."""
    for version in (1, 2, 3):
        shelf.release(version)
    shelf.hold()
    shelf.rollback()
    second = shelf.rollback()
    assert (second.version, second.withdrawn, second.fallback) == (1, (2, 3), None)
    with pytest.raises(ReleaseRefused, match="name one with --to"):
        shelf.rollback()


@pytest.mark.parametrize("to", [2, None])
def test_rollback_to_the_version_in_force(shelf, to):
    """Is a slip, not a command."""
    shelf.release(1)
    shelf.release(2)
    if to is None:
        shelf.rollback()
        to = 1
    with pytest.raises(ReleaseRefused, match=f"flights@{to} is the version in force"):
        shelf.rollback(to=to)


def test_rollback_to_an_unknown_version(shelf):
    """Says which there are."""
    shelf.release(1)
    with pytest.raises(NotPublished, match="its versions are 1 to 5"):
        shelf.rollback(to=77)


def test_rollback_without_hold(shelf):
    """The next retrain may release; what was left may not come back by itself."""
    shelf.release(1)
    shelf.release(3)
    assert not shelf.rollback(hold=False).hold
    assert "withdrawn" in shelf.automatically(3).reason
    assert shelf.automatically(4).released


def test_hold_keeps_the_version_and_its_fallback(shelf):
    """Only the hold is new."""
    shelf.release(1)
    shelf.release(2)
    entry = shelf.hold(reason="audit")
    assert (entry.kind, entry.version, entry.hold, entry.fallback.version) == ("hold", 2, True, 1)


def test_a_release_that_slips_in_is_held(shelf, monkeypatch):
    """Not undone: a hold is of the version in force, whichever that is by then."""
    shelf.release(1)
    monkeypatch.setattr(
        _writing, "open_objects", lambda *_: Overtaken(shelf.objects, lambda: shelf.automatically(2))
    )
    entry = shelf.hold()
    assert (entry.number, entry.version, entry.hold, entry.fallback.version) == (3, 2, True, 1)


def test_hold_without_a_release(shelf):
    """There is nothing to hold."""
    with pytest.raises(ReleaseRefused, match="release a version first"):
        shelf.hold()


def test_a_release_ends_a_hold(shelf):
    """Unless it is asked to hold again."""
    shelf.release(1)
    shelf.hold()
    assert not shelf.automatically(2).released
    assert shelf.release(2, hold=True).hold
    assert not shelf.automatically(3).released
    assert not shelf.release(3).hold
    assert shelf.automatically(4).released


def test_releasing_what_was_withdrawn_is_a_persons_right(shelf):
    """It is withdrawn no more; the others stay so."""
    for version in (1, 2, 3):
        shelf.release(version)
    shelf.rollback()
    shelf.rollback(to=1)
    assert shelf.release(3).withdrawn == (2,)


# -- automatic release --------------------------------------------------------------------------------------


def test_the_first_is_released(shelf):
    """Judged against nothing, as there is nothing."""
    heads = []
    verdict = shelf.automatically(1, judge=lambda head: heads.append(head) or (PASSED,))
    assert (verdict.released, verdict.champion, heads) == (True, None, [None])
    (entry,) = shelf.history()
    assert (entry.by, entry.kind, entry.hold) == ("retrain", "release", False)


def test_a_failed_check_keeps_it_back(shelf):
    """The reason is the check's."""
    shelf.release(1)
    verdict = shelf.automatically(2, PASSED, FAILED)
    assert (verdict.released, verdict.on_hold) == (False, False)
    assert verdict.reason == "better: 0.6 against 0.7"
    assert verdict.champion.version == 1
    assert shelf.versions_in_force() == [1]


def test_a_hold_keeps_it_back(shelf):
    """It says since when, why, and how to end it; the checks were made all the same."""
    shelf.release(1)
    shelf.hold(reason="audit")
    verdict = shelf.automatically(2)
    assert (verdict.released, verdict.on_hold, verdict.checks) == (False, True, (PASSED,))
    assert verdict.reason == "on hold since entry 2 (audit); release by hand to end it"


def test_an_older_candidate_is_late(shelf):
    """A retrain that ends after a newer one displaces nothing."""
    shelf.release(3)
    verdict = shelf.automatically(2)
    assert not verdict.released
    assert "version 3, which is newer, is in force already" in verdict.reason


def test_a_candidate_that_a_person_released_meanwhile_is_in_force(shelf):
    """Nothing is written, so their entry and its reason stay the last word."""
    shelf.release(1)
    shelf.release(2, hold=True)
    verdict = shelf.automatically(2)
    assert (verdict.released, verdict.on_hold) == (True, False)
    assert shelf.versions_in_force() == [1, 2]


def test_an_invalid_entry_stops_machines_not_people(shelf):
    """Somebody ought to look; their release then follows the last valid entry, with the next number."""
    first = shelf.release(1)
    shelf.objects.create(release_key(MODEL, ALIAS, 2), b"rubbish", timeout=1)
    verdict = shelf.automatically(2)
    assert not verdict.released
    assert "entry 2 of flights@production is not valid" in verdict.reason
    entry = shelf.release(2)
    assert (entry.number, entry.prev.number, entry.fallback.version) == (3, 1, 1)
    assert shelf.history() == [first, entry]
    assert shelf.automatically(3).released


def test_an_entry_of_another_place_is_not_valid(shelf):
    """Such as one copied from another alias."""
    staged = shelf.release(1, alias="staging")
    shelf.objects.create(release_key(MODEL, ALIAS, 1), to_bytes(staged), timeout=1)
    assert not shelf.automatically(2).released
    with pytest.raises(ReleaseRefused, match="has no release"):
        shelf.rollback()


def test_a_log_that_begins_with_a_bad_entry(shelf):
    """The first release follows none, the next follows it, and there is something to go back to."""
    shelf.objects.create(release_key(MODEL, ALIAS, 1), b"garbage", timeout=1)
    first = shelf.release(1)
    second = shelf.release(2)
    assert (first.number, first.prev) == (2, None)
    assert (second.number, second.prev.number, second.fallback.version) == (3, 2, 1)
    assert shelf.rollback().version == 1


def test_an_entry_that_follows_no_entry_is_not_valid(shelf):
    """Its ``prev`` is not what lies there."""
    shelf.release(1)
    put(shelf.store, release(2, prev=release(1, version=5), version=4))
    log = _log.read_log(shelf.store, STORE_ID, MODEL, ALIAS)
    assert (log.head.entry.number, log.highest, log.obscured) == (1, 2, True)
    assert shelf.versions_in_force() == [1]


def test_an_entry_by_a_newer_trainer_stops_everybody(shelf):
    """It is valid for those who know its format, so nobody here may write past it."""
    shelf.release(1)
    newer = release(2, prev=shelf.history()[0], format="2.0")
    shelf.objects.create(release_key(MODEL, ALIAS, 2), to_bytes(newer), timeout=1)
    with pytest.raises(UnsupportedFormat):
        shelf.release(2)
    with pytest.raises(UnsupportedFormat):
        shelf.automatically(2)


def test_a_listed_entry_that_cannot_be_read_stops_everybody(shelf):
    """Taken for absent, it would be written past, and clients that have read it would not follow."""
    shelf.release(1)

    class Forgetful:
        def get(self, key, *, limit, timeout):
            return None if "/releases/" in key else shelf.objects.get(key, limit=limit, timeout=timeout)

        def __getattr__(self, name):
            return getattr(shelf.objects, name)

    with pytest.raises(StorageError, match="entry 1 of flights@production is listed and cannot be read"):
        _log.read_log(Store(Forgetful()), STORE_ID, MODEL, ALIAS)


def test_a_log_that_never_stands_still_is_given_up(shelf):
    """Three times, each against another head; then it is left published."""
    shelf.release(1)
    judged = []

    def judge(head):
        judged.append(head.entry.version)
        shelf.release(1 + len(judged))
        return (PASSED,)

    verdict = shelf.automatically(5, judge=judge)
    assert (verdict.released, judged) == (False, [1, 2, 3])
    assert "changed 3 times while this was being judged" in verdict.reason
    assert verdict.champion.version == 3


def test_the_first_release_of_a_publish_displaces_nothing(shelf):
    """Where something was released meanwhile, even by a void entry, it stays."""
    assert release_first(shelf.store, STORE_ID, shelf.manifests[1], ALIAS, reason="")
    assert not release_first(shelf.store, STORE_ID, shelf.manifests[2], ALIAS, reason="")
    assert shelf.versions_in_force() == [1]


# -- looking ------------------------------------------------------------------------------------------------


def test_versions_are_manifests_oldest_first(shelf):
    """All of them, released or not."""
    found = trainer.versions(MODEL, store=shelf.url)
    assert [each.version for each in found] == [1, 2, 3, 4, 5]
    assert all(isinstance(each, Manifest) for each in found)


def test_an_unknown_model_has_no_versions(shelf):
    """The closest name is offered."""
    with pytest.raises(NotPublished, match="did you mean 'flights'"):
        trainer.versions("flight", store=shelf.url)


def test_an_unknown_model_has_no_history(shelf):
    """A model without releases has an empty one."""
    assert shelf.history() == []
    with pytest.raises(NotPublished, match="no model 'hotels'"):
        trainer.history("hotels", store=shelf.url)


def test_a_damaged_manifest_is_said(shelf):
    """Not left out in silence: versions are never deleted."""
    shelf.objects.create(version_key(MODEL, 6), b"{}", timeout=1)
    with pytest.raises(IntegrityError):
        trainer.versions(MODEL, store=shelf.url)


# -- what an entry says -------------------------------------------------------------------------------------


VERSIONS = st.integers(1, 5)
COMMANDS = st.lists(
    st.tuples(st.sampled_from(["release", "rollback", "to", "hold", "retrain"]), VERSIONS, st.booleans()),
    max_size=14,
)


@given(COMMANDS)
def test_whatever_people_and_retrains_do_the_log_is_sound(commands):
    """Numbers contiguous, holds kept, nothing withdrawn in force by itself or to fall back to."""
    shelf = Shelf()
    for command, version, hold in commands:
        try:
            if command == "release":
                shelf.release(version, hold=hold)
            elif command == "hold":
                shelf.hold()
            elif command == "retrain":
                shelf.automatically(version)
            else:
                shelf.rollback(to=version if command == "to" else None, hold=hold)
        except ReleaseRefused:
            continue
    entries = shelf.history()
    assert [entry.number for entry in entries] == list(range(1, len(entries) + 1))
    for before, entry in zip([None, *entries], entries, strict=False):
        withdrawn = set(before.withdrawn) if before else set()
        assert entry.version not in entry.withdrawn
        assert set(entry.withdrawn) >= withdrawn - {entry.version}
        assert entry.fallback is None or entry.fallback.version not in {entry.version, *entry.withdrawn}
        if entry.by == "retrain" and before is not None:
            assert not before.hold
            assert entry.version not in withdrawn
            assert entry.version > before.version
        if entry.kind == "rollback":
            assert before.version in entry.withdrawn


def test_artifacts_are_not_looked_at(shelf):
    """A release names a manifest; what it lists was read back at publish."""
    gone = Artifact(kind="skops", required=True, sha256="f" * 64, size=10)
    put(shelf.store, manifest(6, artifacts=(gone,)))
    assert shelf.release(6).version == 6
