"""f39: the collector beside publishers, readers and rollbacks. No version in force loses a blob, in any order."""

import hashlib
import importlib.util
import json
import sys
import time
import uuid
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

import trainer
from mlshared import Client
from mlshared._objects import open_objects
from mlshared.errors import ConfigError, NotPublished, StorageError
from mlshared.manifest import FORMAT, Artifact, Tombstone, to_bytes
from mlshared.store import Store, blob_key, tombstone_key, version_key
from trainer import _collect, _publish, _writing
from trainer._append import OutcomeUnknown
from trainer._collect import GRACE_SECONDS, KEEP_RELEASES, WAIT_SECONDS, Facts, collect_model, decide
from trainer._publish import Draft, upload
from trainer._release import release_automatically
from trainer._seen import NOTHING_SEEN
from trainer._writing import Writing
from trainer.checks import Check
from trainer.cli import exit_code, main
from trainer.errors import ReleaseRefused

DAY = 24 * 3600.0


def load(name):
    """Import a module that lies in the folder above, under its own name."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"{name}.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


entries, interleave = load("entries"), load("interleave")
ALIAS, MODEL, STORE_ID = entries.ALIAS, entries.MODEL, entries.STORE_ID


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLSHARED_CACHE_DIR", str(tmp_path / "cache"))


def passing(_head):
    return (Check("better", passed=True, message=""),)


class Aged:
    """Objects whose time is ``now``, in seconds since the epoch: that is when what is created was."""

    def __init__(self, inner, now):
        self._inner = inner
        self._made = {}
        self.now = now

    def create(self, key, data, *, timeout):
        won = self._inner.create(key, data, timeout=timeout)
        if won:
            self._made.setdefault(key, self.now)  # put back after a schedule, it is as old as it was
        return won

    def modified(self, key, *, timeout):
        return self._made.get(key) or self._inner.modified(key, timeout=timeout)

    def __getattr__(self, name):
        return getattr(self._inner, name)


class Place:
    """A store with versions of a model, each with a blob, and its own time."""

    def __init__(self, url, options=None, *, versions=0):
        self.url = url
        self.objects = Aged(open_objects(url, options), time.time())
        self.store = entries.founded(self.objects)
        self.to = Writing(self.store, STORE_ID)
        for _ in range(versions):
            self.publish()

    def publish(self):
        blob = uuid.uuid4().bytes
        artifact = Artifact(kind="skops", required=True, sha256=hashlib.sha256(blob).hexdigest(), size=16)
        return upload(self.store, Draft(entries.manifest(artifacts=(artifact,)), {"skops": blob}))

    def release(self, version, **options):
        return trainer.release(MODEL, version, store=self.url, **options)

    def clock(self, _to, _model):
        return self.objects.now

    def collect(self, **options):
        return collect_model(self.to, MODEL, **{"keep": 2, "clock": self.clock, **options})

    def later(self, days):
        self.objects.now += days * DAY
        return self

    def is_whole(self, version):
        self.store.allow(60)
        entry = self.store.manifest(STORE_ID, MODEL, version).entry
        keys = [blob_key(MODEL, entry.publish_id, artifact.sha256) for artifact in entry.artifacts]
        return all(self.objects.get(key, limit=99, timeout=9) is not None for key in keys)

    def whole(self):
        self.store.allow(60)
        return [version for version in self.store.versions(MODEL) if self.is_whole(version)]


@pytest.fixture
def memory():
    """Versions 1 to 6 in memory; 1, 2, 3 were released."""
    made = Place(f"memory://{uuid.uuid4().hex}/models", versions=6)
    for version in (1, 2, 3):
        made.release(version)
    return made


# -- what stays ---------------------------------------------------------------------------------------------


def test_f39_first_set_aside_a_day_later_deleted(memory, monkeypatch):
    """Kept: the newest, what the last release names, and everything younger than a week; manifests for ever."""
    monkeypatch.setattr(_collect, "KEEP_RELEASES", 1)
    assert memory.later(6.9).collect().kept == (1, 2, 3, 4, 5, 6)
    done = memory.later(0.2).collect()
    assert (done.kept, done.set_aside, done.collected) == ((2, 3, 5, 6), (1, 4), ())
    assert memory.whole() == [1, 2, 3, 4, 5, 6]
    done = memory.later(0.9).collect()
    assert (done.set_aside, done.waiting, done.collected) == ((), (1, 4), ())
    assert memory.whole() == [1, 2, 3, 4, 5, 6]
    done = memory.later(0.2).collect()
    assert (done.waiting, done.collected, done.objects) == ((), (1, 4), 2)
    assert memory.whole() == [2, 3, 5, 6]
    assert memory.store.versions(MODEL) == [1, 2, 3, 4, 5, 6]
    assert memory.collect().gone == (1, 4)


def test_f39_what_is_needed_again_within_the_day_stays(memory, monkeypatch):
    """Here as somebody raised the number of versions to keep."""
    monkeypatch.setattr(_collect, "KEEP_RELEASES", 1)
    assert memory.later(8).collect().set_aside == (1, 4)
    done = memory.later(2).collect(keep=3)
    assert (done.kept, done.collected) == ((2, 3, 4, 5, 6), (1,))


FACTS = st.builds(
    Facts,
    now=st.just(100 * DAY),
    written=st.dictionaries(st.integers(1, 12), st.floats(0, 100 * DAY)),
    gone=st.sets(st.integers(13, 15)),
    tombstones=st.dictionaries(st.integers(1, 12), st.floats(90 * DAY, 100 * DAY)),
    in_use=st.sets(st.integers(1, 15)),
)


@given(FACTS, st.integers(1, 5))
def test_f39_only_what_nobody_needs_is_deleted(facts, keep):
    """Whatever the store looks like; and every version with blobs has exactly one lot."""
    made = decide(facts, keep=keep)
    lots = [*made.keep, *made.set_aside, *made.wait, *made.delete]
    assert sorted(lots) == sorted(facts.written)
    newest = sorted({*facts.written, *facts.gone})[-keep:]
    for version in (*made.set_aside, *made.wait, *made.delete):
        assert version not in facts.in_use
        assert version not in newest
        assert facts.now - facts.written[version] >= GRACE_SECONDS
    for version in made.delete:
        assert facts.now - facts.tombstones[version] >= WAIT_SECONDS


def test_f39_holds_and_renewals_do_not_push_releases_out(memory, monkeypatch):
    """They repeat the version in force: a hundred of them are one release."""
    monkeypatch.setattr(_collect, "KEEP_RELEASES", 2)
    for _ in range(5):
        trainer.hold(MODEL, store=memory.url)
    assert memory.later(8).collect(keep=1).kept == (1, 2, 3, 6)
    assert KEEP_RELEASES >= 10


def test_f39_pins_and_every_alias_count(memory, monkeypatch):
    """A version an app is pinned to, and what staging has in force."""
    monkeypatch.setattr(_collect, "KEEP_RELEASES", 1)
    memory.release(4, alias="staging")
    assert memory.later(8).collect(keep=1, pins=[1]).kept == (1, 2, 3, 4, 6)


@pytest.mark.parametrize("what", ["no release", "an invalid entry on top", "an unreadable manifest"])
def test_f39_where_it_cannot_be_told_everything_stays(what):
    """A log that says nothing must not make everything collectable."""
    memory = Place(f"memory://{uuid.uuid4().hex}/models", versions=6)
    if what != "no release":
        memory.release(1)
    if what == "an invalid entry on top":
        memory.objects.create(f"{MODEL}/releases/{ALIAS}/0000000002.json", b"{}", timeout=1)
    if what == "an unreadable manifest":
        memory.objects.create(version_key(MODEL, 7), b"{}", timeout=1)
        memory.objects.create(f"{MODEL}/blobs/{'a' * 32}/{'b' * 64}", b"", timeout=1)
    done = memory.later(8).collect()
    assert bool(done.problem) == (what != "no release")
    assert done.abandoned == ()
    if what != "an unreadable manifest":
        assert done.set_aside == ()
        assert memory.objects.names(f"{MODEL}/tombstones", timeout=1) == []


@pytest.mark.parametrize("version", [3, 4, 6])
def test_f39_blobs_stay_where_their_manifest_was_lost(memory, version):
    """Of the version in force, of one that nobody released, of the newest: a backup brings the manifest back."""
    memory.release(6, alias="staging")
    entry = memory.store.manifest(STORE_ID, MODEL, version).entry
    memory.objects.delete(version_key(MODEL, version), timeout=1)
    done = memory.later(8).collect(keep=1)
    assert done.abandoned == ()
    assert f"the manifest of flights@{version} is missing" in done.problem
    assert memory.store.blobs(MODEL, entry.publish_id)


def test_f39_a_store_that_begins_with_any_number_is_in_order(memory):
    """As one that was pulled does: no blob in it is without its manifest."""
    key = version_key(MODEL, 4)
    memory.to.store.allow(60)
    blobs = blob_key(MODEL, memory.store.manifest(STORE_ID, MODEL, 4).entry.publish_id, "")
    for name in memory.objects.names(blobs.rstrip("/"), timeout=1):
        memory.objects.delete(blobs + name, timeout=1)
    memory.objects.delete(key, timeout=1)
    assert memory.later(8).collect(keep=1).problem == ""


def test_f39_blobs_that_no_manifest_names_stay_where_a_log_was_lost(memory):
    """What lost the log may have lost a manifest too."""
    memory.objects.create(f"{MODEL}/blobs/{'a' * 32}/{'b' * 64}", b"", timeout=1)
    memory.objects.create(f"{MODEL}/releases/{ALIAS}/0000000004.json", b"{}", timeout=1)
    done = memory.later(8).collect()
    assert (bool(done.problem), done.abandoned, done.objects) == (True, (), 0)
    assert memory.store.blobs(MODEL, "a" * 32)


def test_f39_blobs_of_a_publish_given_up_go_after_a_week(memory):
    """When all of them are that old; those of a publish under way stay."""
    old, half = "a" * 32, "b" * 32
    for name in ("1" * 64, "2" * 64):
        memory.objects.create(f"{MODEL}/blobs/{old}/{name}", b"", timeout=1)
    memory.objects.create(f"{MODEL}/blobs/{half}/{'1' * 64}", b"", timeout=1)
    assert memory.later(6).collect().abandoned == ()
    memory.objects.create(f"{MODEL}/blobs/{half}/{'2' * 64}", b"", timeout=1)
    done = memory.later(2).collect()
    assert (done.abandoned, done.objects) == ((old,), 2)
    assert memory.whole() == [1, 2, 3, 4, 5, 6]


def test_f39_a_dry_run_writes_and_deletes_nothing(memory):
    """It says what would be done."""
    before = MemoryFileSystem().find("/")
    done = memory.later(8).collect(keep=1, dry_run=True)
    assert done.set_aside == (4, 5)
    assert MemoryFileSystem().find("/") == before


def test_f39_a_publish_slower_than_half_the_grace_starts_afresh(memory, monkeypatch):
    """Its first blobs may be gone by the time its manifest would name them."""
    now = [0.0]

    class Clock:
        monotonic = time.monotonic  # a suspended machine: only the wall clock shows it

        @staticmethod
        def time():
            return now[0]

    class Slow:
        def create(self, key, data, *, timeout):
            if "/blobs/" in key and not now[0]:
                now[0] = GRACE_SECONDS / 2 + 1
            return memory.objects.create(key, data, timeout=timeout)

        def __getattr__(self, name):
            return getattr(memory.objects, name)

    monkeypatch.setattr(_publish, "time", Clock)
    before = set(memory.store.publishes(MODEL))
    blob = b"x"
    artifact = Artifact(kind="skops", required=True, sha256=hashlib.sha256(blob).hexdigest(), size=1)
    stored = upload(Store(Slow()), Draft(entries.manifest(artifacts=(artifact,)), {"skops": blob}))
    made = set(memory.store.publishes(MODEL)) - before
    assert len(made) == 2
    done = memory.later(8).collect()
    assert {*done.abandoned} == made - {stored.entry.publish_id}
    assert memory.is_whole(stored.entry.version)


# -- what others meet ---------------------------------------------------------------------------------------


@pytest.fixture
def aside(memory, monkeypatch):
    """The same, with versions 4 and 5 set aside."""
    assert memory.later(8).collect(keep=1).set_aside == (4, 5)
    return memory


def test_f39_a_version_set_aside_is_not_released(aside):
    """By nobody; what is in force may be held all the same."""
    for command in (
        lambda: aside.release(4),
        lambda: trainer.rollback(MODEL, to=5, store=aside.url),
        lambda: trainer.recover(MODEL, past=3, version=4, anyway=True, store=aside.url),
    ):
        with pytest.raises(ReleaseRefused, match=r"flights@\d was set aside by `trainer gc`"):
            command()
    candidate = aside.store.manifest(STORE_ID, MODEL, 5)
    verdict = release_automatically(aside.store, STORE_ID, candidate, ALIAS, passing)
    assert not verdict.released
    assert "set aside" in verdict.reason
    assert trainer.history(MODEL, store=aside.url)[-1].version == 3


def tombstone(version):
    """Return what a collector writes to set a version aside."""
    made = Tombstone(
        type=Tombstone.TYPE,
        format=FORMAT,
        store=STORE_ID,
        model=MODEL,
        nonce="0" * 32,
        version=version,
        manifest_sha256="0" * 64,
        created_at=entries.NOON,
    )
    return to_bytes(made)


class Meanwhile:
    """Objects to which something happens once an entry was created: the store fails, or a version is set aside."""

    def __init__(self, inner, event):
        self._inner = inner
        self._event = event
        self._created = False

    def create(self, key, data, *, timeout):
        won = self._inner.create(key, data, timeout=timeout)
        if "/releases/" in key and not self._created:
            self._created = True
            if self._event != "the store fails":
                self._inner.create(tombstone_key(MODEL, self._event), tombstone(self._event), timeout=timeout)
        return won

    def get(self, key, *, limit, timeout):
        if self._created and self._event == "the store fails" and "/tombstones/" in key:
            raise StorageError("no answer")
        return self._inner.get(key, limit=limit, timeout=timeout)

    def __getattr__(self, name):
        return getattr(self._inner, name)


def released_meanwhile(place, event):
    """Release version 2 of a store, to which something happens meanwhile."""
    return release_over(Writing(Store(Meanwhile(place.objects, event)), STORE_ID))


def release_over(to):
    log = _writing.read_log(to.store, STORE_ID, MODEL, ALIAS)
    target = to.store.manifest(STORE_ID, MODEL, 2)
    entry = _writing.next_entry(log, target, kind="release", by="person", hold=False, reason="")
    return _writing.put_in_force(to, log, entry)


def test_f39_an_outage_after_the_entry_is_no_failed_release(memory):
    """It says what was written, and exits 75."""
    with pytest.raises(
        OutcomeUnknown, match="number 4 of flights@production was written and put version 2 in"
    ) as at:
        released_meanwhile(memory, "the store fails")
    assert exit_code(at.value) == 75
    assert trainer.history(MODEL, store=memory.url)[-1].version == 2


def test_f39_a_budget_for_the_look_after_the_entry(memory):
    """Of its own: what was left of the one before may be nothing."""

    class Slow(Meanwhile):
        def create(self, key, data, *, timeout):
            won = super().create(key, data, timeout=timeout)
            to.store.allow(0.0)
            return won

    to = Writing(Store(Slow(memory.objects, 2)), STORE_ID)
    with pytest.raises(ReleaseRefused, match="and is not released"):
        release_over(to)
    assert trainer.history(MODEL, store=memory.url)[-1].version == 3


def test_f39_a_first_release_that_cannot_be_taken_back_says_that_it_is_in_force():
    """There is nothing to go back to."""
    place = Place(f"memory://{uuid.uuid4().hex}/models", versions=2)
    with pytest.raises(ReleaseRefused, match="number 1 of flights@production put it in force, where it is"):
        released_meanwhile(place, 2)
    assert trainer.history(MODEL, store=place.url)[-1].version == 2


def test_f39_a_version_in_force_that_was_set_aside_can_be_held_and_doctor_tells(memory, capsys):
    """The release slipped in between the collector's look and its tombstone; no collector takes it."""
    memory.objects.create(tombstone_key(MODEL, 3), tombstone(3), timeout=1)
    assert trainer.hold(MODEL, store=memory.url).version == 3
    assert memory.later(30).collect(keep=1).collected == ()
    assert main(["doctor", "--store", memory.url, "--quiet", "--read-only"]) == 0
    assert main(["doctor", "--store", memory.url, "--read-only"]) == 0
    assert "version 3, which is in force, was set aside by `trainer gc`" in capsys.readouterr().out


def test_f39_commands_say_what_is_collected(shelf, tmp_path, monkeypatch, capsys):
    """From gc to show; an app that wants a collected version keeps what it has."""
    url = shelf.copy_to(tmp_path / "models")
    days = [8.0]
    monkeypatch.setattr(_collect, "_store_time", lambda _to, _model: time.time() + days[0] * DAY)
    gc = ["gc", "cancer", "--keep", "1", "--store", url]
    assert main([*gc, "--dry-run"]) == 0
    assert (
        "version 2 set aside, to go in a day (dry run" not in capsys.readouterr().out
    )  # a dry run: this host's time
    for pin in ("cancr@2", "cancer@9"):
        assert main([*gc, "--pin", pin]) == 2
        assert f"{pin} is pinned and does not exist" in capsys.readouterr().err
    assert main([*gc, "--pin", "cancer@2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["set_aside"] == []
    (tmp_path / "trainer.toml").write_text("[models.cancer]\npins = [2]\n")
    assert main([*gc, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"][0]["set_aside"] == []
    (tmp_path / "trainer.toml").unlink()
    assert main(gc) == 0
    assert capsys.readouterr().out == "cancer: 2 kept, version 2 set aside, to go in a day\n"
    assert main(["show", "cancer@2", "--store", url]) == 0
    assert "state    to be collected" in capsys.readouterr().out
    days[0] = 9.1
    assert main(gc) == 0
    assert "version 2 collected" in capsys.readouterr().out
    assert main(["show", "cancer@2", "--store", url]) == 0
    assert "state    collected" in capsys.readouterr().out
    assert main(["versions", "cancer", "--store", url, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["versions"]
    assert [version["collected"] for version in found] == [None, "collected", None]
    assert main(["release", "cancer", "2", "--store", url]) == 3
    with Client(url, poll_seconds=0, cache_dir=str(tmp_path / "app")) as client:
        with pytest.raises(StorageError, match="is missing from the store"):
            client.model("cancer@2").refresh()
        assert client.model("cancer").current.version == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pin", "flights"], "name a version, such as flights@41"),
        (["nothing"], "no model 'nothing'"),
    ],
)
def test_f39_wrong_use_of_gc_is_one_line(tmp_path, capsys, arguments, message):
    """And exit 2."""
    Place(str(tmp_path / "models"), versions=1)
    assert main(["gc", *arguments, "--store", str(tmp_path / "models")]) == 2
    assert message in capsys.readouterr().err


def test_f39_arguments_of_collect(tmp_path):
    """The newest version always stays."""
    Place(str(tmp_path / "models"), versions=1)
    with pytest.raises(ConfigError, match="keep is at least 1"):
        trainer.collect(keep=0, store=str(tmp_path / "models"))
    with pytest.raises(NotPublished):
        trainer.collect("hotels", store=str(tmp_path / "models"))


def test_f39_over_s3(s3_store):
    """The same requests on a real wire; deleting what is gone already is no failure."""
    place = Place(s3_store.url, s3_store.options, versions=3)
    first = place.store.manifest(STORE_ID, MODEL, 1)
    place.to.store.allow(60)
    assert release_automatically(
        place.store, STORE_ID, place.store.manifest(STORE_ID, MODEL, 3), ALIAS, passing
    ).released
    assert place.later(8).collect(keep=1).set_aside == (1, 2)
    assert place.later(1.1).collect(keep=1).collected == (1, 2)
    assert place.whole() == [3]
    key = blob_key(MODEL, first.entry.publish_id, first.entry.artifacts[0].sha256)
    place.objects.delete(key, timeout=20)
    place.objects.close()


# -- races --------------------------------------------------------------------------------------------------

COLLECTOR = "collector"


class Race:
    """Old versions 1 to 4: 3, then 4 in production, 1 in nightly, 2 nowhere; who acts, acts on `Waiting` objects."""

    def __init__(self, monkeypatch):
        self.place = Place(f"memory://{uuid.uuid4().hex}/models", versions=4)
        for version in (3, 4):
            self.place.release(version)
        self.place.release(1, alias="nightly")
        self.orphan = f"{MODEL}/blobs/{'a' * 32}/{'b' * 64}"
        self.place.objects.create(self.orphan, b"", timeout=1)
        self.place.later(8)
        self.opened = {}
        self.outcomes = set()
        monkeypatch.setattr(_writing, "open_objects", lambda url, _options: self.opened[url])
        monkeypatch.setattr(_writing, "seen_from", lambda _url, _options: NOTHING_SEEN)
        monkeypatch.setattr(_collect, "KEEP_RELEASES", 1)

    def collector(self, objects):
        """Set aside what is old, and a day later delete it: what the others do in one step may take them that day."""
        aged = Aged(objects, self.place.objects.now)
        to = Writing(Store(aged), STORE_ID)
        collect_model(to, MODEL, keep=1, clock=lambda *_: aged.now)
        aged.now += 1.01 * DAY
        return collect_model(to, MODEL, keep=1, clock=lambda *_: aged.now)

    def person(self, command, **options):
        def act(objects):
            self.opened[command] = objects
            return getattr(trainer, command)(MODEL, store=command, **options)

        return act

    def retrain(self, objects):
        store = Store(objects)
        candidate = store.manifest(STORE_ID, MODEL, 2)
        store.allow(60)
        return release_automatically(store, STORE_ID, candidate, "nightly", passing)

    def publisher(self, objects):
        store = Store(objects)
        blob = b"new"
        artifact = Artifact(kind="skops", required=True, sha256=hashlib.sha256(blob).hexdigest(), size=3)
        stored = upload(store, Draft(entries.manifest(artifacts=(artifact,)), {"skops": blob}))
        return release_automatically(store, STORE_ID, stored, ALIAS, passing)

    def reader(self, objects):
        """Read the version in force as a client does; a blob that is missing is a `StorageError`."""
        store = Store(objects)
        number = store.releases(MODEL, ALIAS)[-1]
        version = store.release(STORE_ID, MODEL, ALIAS, number).entry.version
        entry = store.manifest(STORE_ID, MODEL, version).entry
        return [store.blob(MODEL, entry.publish_id, artifact) for artifact in entry.artifacts]

    def check(self, run):
        place = self.place
        place.store.allow(60)
        said = f"{run.schedule}"
        assert run.actors[COLLECTOR].error is None, f"{run.actors[COLLECTOR].error!r}: {said}"
        for alias in place.store.aliases(MODEL):
            number = place.store.releases(MODEL, alias)[-1]
            entry = place.store.release(STORE_ID, MODEL, alias, number).entry
            assert place.is_whole(entry.version), f"{entry.version} in force lacks a blob: {said}"
            if entry.fallback is not None:
                assert place.is_whole(entry.fallback.version), f"the fallback lacks a blob: {said}"
        assert place.objects.get(self.orphan, limit=1, timeout=1) is None, said
        for name, actor in run.actors.items():
            if name == "reader":
                assert actor.error is None, f"{actor.error!r}: {said}"
            elif actor.error is not None:
                assert isinstance(actor.error, ReleaseRefused), f"{actor.error!r}: {said}"
            self.outcomes.add((name, type(actor.error).__name__, getattr(actor.result, "released", None)))

    def run(self, **actors):
        def forget(keys):
            for key in keys:
                MemoryFileSystem.store.pop(f"/{self.place.url.removeprefix('memory://')}/{key}")

        everybody = {COLLECTOR: self.collector, **actors}
        return interleave.explore(
            self.place.objects, everybody, self.check, forget=forget, deletes=True,
            inert=lambda key: "/probes/" in key,
        )  # fmt: skip


@pytest.fixture
def race(monkeypatch):
    return Race(monkeypatch)


def say(capsys, schedules):
    with capsys.disabled():
        print(f" [{schedules:,} schedules]", end="")


def test_f39_every_order_with_a_rollback(race, capsys):
    """Of a rollback to what is being collected: it is refused, taken back, or stays and keeps its blobs."""
    say(capsys, race.run(rollback=race.person("rollback", to=2)))
    assert race.outcomes >= {("rollback", "ReleaseRefused", None), ("rollback", "NoneType", None)}


def test_f39_every_order_with_an_automatic_release(race, capsys):
    """Of a candidate that waited for its judge until it was old: released and whole, or not released."""
    say(capsys, race.run(retrain=race.retrain))
    assert race.outcomes >= {("retrain", "NoneType", True), ("retrain", "NoneType", False)}


def test_f39_every_order_with_a_default_rollback(race, capsys):
    """To the fallback, which is never collected: it always succeeds."""
    say(capsys, race.run(rollback=race.person("rollback")))
    assert {outcome for outcome in race.outcomes if outcome[0] == "rollback"} == {
        ("rollback", "NoneType", None)
    }


def test_f39_every_order_with_a_reader(race, capsys):
    """It always gets the bytes of the version in force, also while that one is rolled back from."""
    say(capsys, race.run(reader=race.reader, rollback=race.person("rollback")))


def test_f39_every_order_with_a_publisher(race, capsys):
    """A version published and released meanwhile is whole."""
    schedules = race.run(publisher=race.publisher)
    say(capsys, schedules)
    assert schedules > 10
