"""A release, a rollback with its hold and two retrains racing, in every order of their steps.

The release log must come out right whatever the order: no hold passed over, no automatic release judged
against a version no longer in force, nothing withdrawn coming back by itself, one head for every client.
"""

import hashlib
import importlib.util
import sys
import uuid
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from entries import ALIAS, MODEL, STORE_ID, founded, manifest, put, release
from fsspec.implementations.memory import MemoryFileSystem
from interleave import explore

from mlshared._alias_log import accepts
from mlshared._objects import open_objects
from mlshared.store import Store
from trainer import _append, _release, _writing
from trainer._publish import Draft, upload
from trainer._seen import NOTHING_SEEN
from trainer.checks import Check
from trainer.errors import ReleaseRefused

FOUR = RELEASE, ROLLBACK, RETRAIN_4, RETRAIN_5 = "release", "rollback", "retrain 4", "retrain 5"


class Racers:
    """A store with versions 1 to 5, of which 1 and 2 were released, and those who race on it."""

    def __init__(self, root, module, scene):
        self.root = root
        self.objects = open_objects(root)
        self.store = founded(self.objects)
        self.manifests = {number: put(self.store, manifest(number)) for number in range(1, 6)}
        first = self._entry(1, None, 1)
        put(self.store, first, self._entry(2, first, 2, fallback=1))
        self.outcomes = set()
        self._module = module
        self._scene = scene
        self._opened = {}
        self.judged = {}

    def _entry(self, number, prev, version, *, fallback=None):
        names = {n: {"version": n, "manifest_sha256": m.sha256} for n, m in self.manifests.items()}
        return release(number, prev=prev, **names[version], fallback=names.get(fallback))

    def open(self, url, _options):
        """Stand where storage is opened by URL: here the URL is the actor."""
        return self._opened[url]

    def person(self, command, *arguments, **options):
        def act(objects):
            self._opened[command] = objects
            return getattr(self._module, command)(MODEL, *arguments, store=command, **options)

        return act

    def retrain(self, version):
        def act(objects):
            store = Store(objects)
            judged = self.judged[version] = []

            def judge(head):
                champion = store.manifest(STORE_ID, MODEL, head.entry.version)
                judged.append(champion.entry.version)
                return (Check("better", passed=True, message=""),)

            candidate = self.manifests[version]
            return self._module.release_automatically(store, STORE_ID, candidate, ALIAS, judge)

        return act

    def forget(self, keys):
        forget(self.root, keys)

    def log(self):
        """Return the log; its numbers are contiguous, or this fails."""
        self.store.allow(60)
        numbers = self.store.releases(MODEL, ALIAS)
        assert numbers == list(range(1, len(numbers) + 1))
        return [self.store.release(STORE_ID, MODEL, ALIAS, number) for number in numbers]

    def check(self, run):
        log = self.log()
        said = f"{run.schedule}: {[(s.entry.kind, s.entry.version, s.entry.by) for s in log]}"
        for before, stored in pairwise(log[1:]):
            self._check_entry(before, stored, said)
        _check_clients(log, said)
        for name, actor in run.actors.items():
            if name.startswith("retrain"):
                self._check_retrain(actor, log, int(name[-1]), said)
            else:
                self._check_person(actor, log, said)
        self.outcomes.add(said.partition(": ")[2])

    def _check_entry(self, before, stored, said):
        entry, head = stored.entry, before.entry
        assert (entry.prev.number, entry.prev.sha256) == (head.number, before.sha256), said
        assert entry.manifest_sha256 == self.manifests[entry.version].sha256, said
        assert set(entry.withdrawn) >= set(head.withdrawn) - {entry.version}, said
        assert entry.version not in entry.withdrawn, said
        if entry.kind == "rollback" and head.version != entry.version:
            assert head.version in entry.withdrawn, f"left, and not withdrawn: {said}"
        if entry.fallback is not None:
            assert entry.fallback.version not in {*entry.withdrawn, entry.version}, said
        if entry.by == "retrain":
            assert not head.hold, f"a hold was passed over: {said}"
            assert entry.version not in head.withdrawn, f"withdrawn, and back by itself: {said}"
            assert self.judged[entry.version][-1] == head.version, f"not judged against entry {head}: {said}"

    def _check_retrain(self, actor, log, version, said):
        assert actor.error is None, f"{actor.error!r}: {said}"
        verdict = actor.result
        mine = [s.entry for s in log[2:] if s.entry.by == "retrain" and s.entry.version == version]
        assert len(mine) <= 1, said
        released_by_person = any(s.entry.by == "person" and s.entry.version == version for s in log)
        assert verdict.released == bool(mine) or released_by_person, said
        assert verdict.champion.version == self.judged[version][-1], f"not judged against it: {said}"

    def _check_person(self, actor, log, said):
        """What they chose, by the log they saw first, is what was written, or was refused for a reason."""
        seen = log[len(actor.listings[0]) - 1].entry
        chosen = self._scene.released
        if actor.name == ROLLBACK:
            chosen = self._scene.to or (seen.fallback and seen.fallback.version)
        if actor.name == ROLLBACK and chosen in {None, seen.version}:
            assert isinstance(actor.error, ReleaseRefused), said
            return
        assert actor.error is None, f"{actor.error!r}: {said}"
        entry = actor.result
        assert log[entry.number - 1].entry == entry, said
        assert entry.version == chosen, f"turned around: {said}"
        assert entry.hold == (self._scene.hold if actor.name == ROLLBACK else self._scene.hold_release), said


def inert(key):
    """Nobody here publishes or collects: what is asked about versions and tombstones changes for nobody."""
    return key.endswith(("/versions", "/versions/0000000005.json")) or "/tombstones/" in key


def forget(root, keys):
    for key in keys:
        MemoryFileSystem.store.pop(f"/{root.removeprefix('memory://')}/{key}")


def _check_clients(log, said):
    """From wherever a client starts and whatever it misses, it only goes up, and ends at one head."""
    assert accepts(None, log[0].entry), said
    for place, head in enumerate(log):
        for other, stored in enumerate(log):
            assert accepts(head, stored.entry) == (other > place), said


@dataclass(frozen=True)
class Scene:
    """What the persons do."""

    released: int = 3
    hold_release: bool = False
    to: int | None = None
    hold: bool = True


@pytest.fixture
def race(tmp_path, monkeypatch, capsys):
    """A function that runs every order of the four in a scene, on our `_release` or a mutant of it."""
    monkeypatch.chdir(tmp_path)  # where no trainer.toml is looked for and found
    monkeypatch.setattr(_append, "PAUSE_SECONDS", 0.0)

    def run(scene, *, module=_release, only=FOUR, **options):
        racers = Racers(f"memory://{uuid.uuid4().hex}/models", module, scene)
        monkeypatch.setattr(_writing, "open_objects", racers.open)
        monkeypatch.setattr(
            _writing, "seen_from", lambda _url, _options: NOTHING_SEEN
        )  # every schedule is another world
        actors = {
            RELEASE: racers.person(RELEASE, scene.released, hold=scene.hold_release),
            ROLLBACK: racers.person(ROLLBACK, to=scene.to, hold=scene.hold),
            RETRAIN_4: racers.retrain(4),
            RETRAIN_5: racers.retrain(5),
        }
        schedules = explore(
            racers.objects,
            {name: act for name, act in actors.items() if name in only},
            racers.check,
            forget=racers.forget,
            inert=inert,
            **options,
        )
        with capsys.disabled():
            print(f" [{schedules:,} schedules]", end="")
        return schedules, racers.outcomes

    return run


SCENES = {
    "a release, a rollback with hold": Scene(),
    "a release of what a retrain is about to release": Scene(released=4),
    "the same, with a rollback that does not hold": Scene(released=4, hold=False),
    "a rollback to a version by number": Scene(to=1),
    "a release with hold": Scene(hold_release=True),
    "a release backwards, and no hold at all": Scene(released=1, hold=False),
}


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(each, id=words, marks=pytest.mark.slow if each != Scene() else ())
        for words, each in SCENES.items()
    ],
)
def test_every_order_of_four(race, scene):
    """Release, rollback and two retrains: the log comes out right in every order of their steps."""
    schedules, outcomes = race(scene)
    assert schedules > 300
    assert len(outcomes) > 10


@pytest.mark.slow
@pytest.mark.parametrize("name", FOUR)
def test_every_order_of_four_with_a_lost_answer(race, name):
    """The same where one of them never hears that its first write took effect."""
    schedules, _ = race(Scene(), lose={name: {1: "after"}})
    assert schedules > 300


@pytest.mark.slow
@pytest.mark.parametrize("name", [RELEASE, ROLLBACK, RETRAIN_4])
def test_every_order_of_three_with_a_lost_request(race, name):
    """The same where the first write of one of them never arrives; three, as there are many more orders."""
    schedules, _ = race(Scene(), only=(RELEASE, ROLLBACK, RETRAIN_4), lose={name: {1: "before"}})
    assert schedules > 40


@pytest.mark.parametrize(
    "only",
    [
        pytest.param((RELEASE, RETRAIN_4), marks=pytest.mark.slow),
        pytest.param((ROLLBACK, RETRAIN_4), marks=pytest.mark.slow),
        (RETRAIN_4, RETRAIN_5),
    ],
)
def test_leaving_out_equal_orders_leaves_out_no_outcome(race, only):
    """For two at a time all orders can be run: they come to the same outcomes as those left over."""
    every, all_outcomes = race(Scene(released=4), only=only, reduce=False)
    fewer, outcomes = race(Scene(released=4), only=only)
    assert outcomes == all_outcomes
    assert fewer * 10 < every


MUTANTS = {
    "a retrain that lost takes the next number": (
        """            if put_in_force(to, log, entry):
                return Verdict(True,""",
        """            while not put_in_force(to, log, entry):
                log = read_log(store, store_id, name, alias)
                entry = next_entry(log, candidate, kind="release", by="retrain", hold=False, reason=reason)
            if True:
                return Verdict(True,""",
        Scene(),
        "a hold was passed over",
    ),
    "a retrain that lost does not judge again": (
        "        checks = judge(log.head)\n",
        "        checks = checks if _ else judge(log.head)\n",
        Scene(),
        "not judged against",
    ),
    "a hold is not looked at": (
        "    if head is not None and head.hold:",
        "    if False:",
        Scene(),
        "a hold was passed over",
    ),
    "what is withdrawn is not looked at": (
        "    if head is not None and candidate.version in head.withdrawn:",
        "    if False:",
        Scene(released=4, hold=False),
        "withdrawn, and back by itself",
    ),
    "a rollback that lost chooses anew": (
        "        target = target or choose(log)",
        "        target = choose(log)",
        Scene(),
        "turned around|is the version in force",
    ),
    "a rollback withdraws only what it saw first": (
        '        if kind == "rollback" and log.head is not None:',
        '        if kind == "rollback" and log.head is not None and not left:',
        Scene(),
        "not withdrawn",
    ),
}


@pytest.mark.parametrize(("old", "new", "scene", "said"), MUTANTS.values(), ids=MUTANTS.keys())
def test_each_mistake_is_caught(race, monkeypatch, old, new, scene, said):
    """The check can fail: with the mistake in the code, some order shows it."""
    with pytest.raises(AssertionError, match=said):
        race(scene, module=mutant(monkeypatch, old, new))


def mutant(monkeypatch, old, new):
    """Return `_release` with one place changed."""
    text = Path(_release.__file__).read_text()
    assert text.count(old) == 1
    spec = importlib.util.spec_from_loader("trainer._mutant", loader=None)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "trainer._mutant", module)
    exec(compile(text.replace(old, new), "mutant", "exec"), module.__dict__)
    return module


def test_three_publishers(tmp_path, capsys):
    """In every order of their steps they get versions 1, 2 and 3, each with its own manifest and blob."""
    root = f"memory://{uuid.uuid4().hex}/models"
    objects = open_objects(root)
    store = founded(objects)
    drafts = {name: Draft(manifest(labels={"by": name}), {"skops": name.encode()}) for name in "abc"}
    actors = {name: lambda objects, made=made: upload(Store(objects), made) for name, made in drafts.items()}

    def check(run):
        store.allow(60)
        numbers = store.versions(MODEL)
        stored = {number: store.manifest(STORE_ID, MODEL, number) for number in numbers}
        assert numbers == [1, 2, 3]
        assert stored == {actor.result.entry.version: actor.result for actor in run.actors.values()}
        for name, actor in run.actors.items():
            assert actor.result.entry.labels == {"by": name}
            key = f"blobs/{actor.result.entry.publish_id}/{hashlib.sha256(name.encode()).hexdigest()}"
            assert objects.get(f"{MODEL}/{key}", limit=9, timeout=9) == name.encode()

    schedules = explore(objects, actors, check, forget=lambda keys: forget(root, keys))
    with capsys.disabled():
        print(f" [{schedules:,} schedules]", end="")
    assert schedules > 30
