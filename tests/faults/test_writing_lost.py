"""f38: the release log expired, or was restored from a backup. Trainers refuse and name the mend; readers go on."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest

import trainer
from mlshared import Client
from mlshared._alias_log import AliasLog
from mlshared._cache import open_cache
from mlshared._objects import open_objects
from mlshared._ref import parse_ref
from mlshared.errors import ConfigError, NotPublished, StorageError
from mlshared.store import Store
from trainer import KeySplit, Recipe
from trainer._release import release_automatically
from trainer.checks import Check
from trainer.cli import main
from trainer.errors import LogLost, ReleaseRefused

NAME = "cancer"


def load(name):
    """Import a module that lies in the folder above, under its own name."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / f"{name}.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


entries = load("entries")


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    """No trainer.toml above; the trainer's cache is one folder, the app's another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLSHARED_CACHE_DIR", str(tmp_path / "trainers"))


class Place:
    """A store in a folder with versions 1 to 3 of a model, 1 to 3 released one after the other, and an app."""

    def __init__(self, shelf, tmp_path):
        self.folder = tmp_path / "models"
        self.url = shelf.copy_to(self.folder)
        self.releases = self.folder / NAME / "releases"
        self.memory = tmp_path / "trainers"
        self.backup = tmp_path / "backup"
        self.release(2)
        shutil.copytree(self.releases, self.backup)
        self.release(3)
        self.client = Client(self.url, poll_seconds=0, cache_dir=str(tmp_path / "app"))
        self.app = self.client.model(NAME)
        self.row = shelf.rows[0]

    def release(self, version, **options):
        return trainer.release(NAME, version, store=self.url, **options)

    def recover(self, past, **options):
        return trainer.recover(NAME, past=past, store=self.url, **options)

    def lose(self, how):
        shutil.rmtree(self.releases)
        if how == "restored":
            shutil.copytree(self.backup, self.releases)

    def log(self):
        return trainer.history(NAME, store=self.url)

    def forget(self):
        """Remove what the trainer's host remembers."""
        shutil.rmtree(self.memory)

    def publish_another(self):
        """Publish a version as `trainer.publish` would, without its minutes of fitting."""
        with opened(self.url) as store:
            store_id = store.identity().id
            newest = store.manifest(store_id, NAME, store.versions(NAME)[-1]).entry
            blobs = {a.kind: store.blob(NAME, newest.publish_id, a) for a in newest.artifacts}
            return trainer._publish.upload(store, trainer._publish.Draft(newest, blobs))


class opened:  # noqa: N801 - reads like a function
    def __init__(self, url):
        self._objects = open_objects(url)

    def __enter__(self):
        return Store(self._objects)

    def __exit__(self, *_):
        self._objects.close()


@pytest.fixture
def place(shelf, tmp_path):
    made = Place(shelf, tmp_path)
    yield made
    made.client.close()


def never(*_):
    raise AssertionError("it was trained")


RECIPE = Recipe(
    name=NAME, load=never, target="target", build=never, split=KeySplit("id", test=0.2), metrics=["r2"]
)

COMMANDS = {
    "release": lambda place: place.release(1),
    "rollback": lambda place: trainer.rollback(NAME, to=1, store=place.url),
    "hold": lambda place: trainer.hold(NAME, store=place.url),
    "retrain": lambda place: trainer.retrain(RECIPE, store=place.url),
}


@pytest.mark.parametrize("how", ["expired", "restored"])
@pytest.mark.parametrize("command", COMMANDS)
def test_f38_trainers_refuse_a_lost_log_and_name_recover(place, how, command):
    """Nothing is written, nothing is trained."""
    place.lose(how)
    before = place.log()
    with pytest.raises(LogLost, match=r"had come to entry 3: .* trainer recover cancer --past 3"):
        COMMANDS[command](place)
    assert place.log() == before


@pytest.mark.parametrize("how", ["expired", "restored"])
def test_f38_manifests_testify_where_no_host_remembers(place, how):
    """As in a CI job, whose cache is a new one each time."""
    place.publish_another()
    place.lose(how)
    place.forget()
    with pytest.raises(LogLost, match=r"had come to entry 3"):
        place.release(1)
    place.publish_another()  # the next one hands the testimony on
    with pytest.raises(LogLost, match=r"had come to entry 3"):
        place.release(1)


@pytest.mark.parametrize("how", ["expired", "restored"])
def test_f38_an_automatic_release_stops_too(place, how):
    """Published, not released, with the mend as the reason, though a hold came back too; a first release is none."""
    trainer.hold(NAME, store=place.url)
    shutil.copytree(place.releases, place.backup, dirs_exist_ok=True)
    trainer.hold(NAME, store=place.url)
    candidate = place.publish_another()
    place.lose(how)
    place.forget()
    with opened(place.url) as store:
        verdict = release_automatically(
            store, candidate.entry.store, candidate, "production", lambda _: (Check("c", True, ""),)
        )
        assert (verdict.released, verdict.on_hold) == (False, False)
        assert "trainer recover cancer --past 5" in verdict.reason
        with pytest.raises(LogLost):
            trainer._release.release_first(store, candidate.entry.store, candidate, "production", reason="")
    assert [e.number for e in place.log()] == ([] if how == "expired" else [1, 2, 3, 4])


@pytest.mark.parametrize("how", ["expired", "restored"])
def test_f38_readers_keep_what_they_have_and_follow_the_recovery(place, how):
    """An app on the lost entry 3, a new one, and one started from the first one's cache."""
    assert place.app.current.version == 3
    place.lose(how)
    assert not place.app.refresh()
    answer = place.app.predict(place.row)
    assert place.app.current.version == 3

    entry = place.recover(3, reason="the bucket was restored")
    assert (entry.number, entry.version, entry.reset, entry.kind) == (4, 3, True, "recover")
    assert [e.number for e in place.log()] == [1, 2, 3, 4]
    assert [e.reset for e in place.log()] == [False, False, False, True]
    place.app.refresh()
    assert place.app.predict(place.row) == answer
    released = place.release(1)
    assert (released.number, released.prev.number) == (5, 4)
    assert place.app.refresh()
    assert place.app.current.version == 1
    with Client(place.url, poll_seconds=0, cache_dir=str(place.memory.with_name("new"))) as other:
        assert other.model(NAME).current.version == 1


def test_f38_a_reader_of_any_entry_ends_at_the_recovery(tmp_path):
    """Wherever it was in the lost log, by poll after poll, without ever going backwards."""
    url = f"memory://{tmp_path.name}/models"
    objects = open_objects(url)
    store = entries.founded(objects)
    for version in (1, 2):
        entries.put(store, entries.manifest(version))
    model, alias = entries.MODEL, entries.ALIAS
    lost = [trainer.release(model, 1 + n % 2, store=url, breaking=True) for n in range(20)]
    readers = {}
    for entry in lost:
        cached = open_cache(tmp_path / str(entry.number), max_bytes=1 << 20).log(
            entries.STORE_ID, model, alias
        )
        reader = readers[entry.number] = AliasLog(entries.STORE_ID, parse_ref(model), cached)
        reader._accept(store.release(entries.STORE_ID, model, alias, entry.number))
    for entry in lost:
        objects.delete(f"{model}/releases/{alias}/{entry.number:010d}.json", timeout=1)
    ended = trainer.recover(model, past=20, version=2, anyway=True, store=url)
    for number, reader in readers.items():
        seen = [number]
        for _ in range(3 * 20):  # an entry that does not follow is looked at three times
            store.allow(60)
            reader._listed = True
            try:
                reader.look(store)
            except StorageError as error:
                raise AssertionError(number) from error
            seen.append(reader.head.entry.number)
        assert seen == sorted(seen)
        assert reader.head.entry == ended, f"a reader of entry {number} ends at {reader.head.entry.number}"


def test_f38_recover_needs_to_pass_every_entry_known(place):
    """A number given out already would be ignored by the apps that have read it."""
    place.lose("expired")
    with pytest.raises(ConfigError, match="had come to entry 3: give --past 3 or more"):
        place.recover(2)
    with pytest.raises(ConfigError, match="would take 1,000,000 entries"):
        place.recover(1_000_000)
    assert place.log() == []
    assert [e.number for e in (place.recover(7), *place.log())] == [8, *range(1, 9)]


def test_f38_recover_keeps_hold_and_withdrawn(place):
    """What the host remembers of the last entry goes on: the lost log ended with a rollback."""
    trainer.rollback(NAME, store=place.url, reason="wrong on Mondays")
    place.lose("restored")
    entry = place.recover(4)
    assert (entry.version, entry.hold, entry.withdrawn) == (2, True, (3,))


def test_f38_recover_guesses_no_version(place):
    """Where neither log nor memory tells, a person names it."""
    place.publish_another()
    place.lose("expired")
    place.forget()
    with pytest.raises(ReleaseRefused, match=r"name it with --version \(the newest is 4\)"):
        place.recover(3)
    with pytest.raises(NotPublished, match="no version 9"):
        place.recover(3, version=9)
    assert place.recover(3, version=2).version == 2


def test_f38_recover_stopped_halfway_is_run_again(place):
    """It goes on where it was; until it is done nobody else releases."""
    place.lose("expired")
    place.recover(3)
    last = place.releases / "production" / "0000000004.json"
    last.unlink()
    with pytest.raises(LogLost):
        place.release(1)
    entry = place.recover(4)
    assert (entry.number, entry.reset) == (5, True)


@pytest.mark.parametrize("trouble", ["missing", "a file", "cannot be made"])
def test_f38_a_cache_folder_that_cannot_be_used_breaks_nothing(place, trouble, monkeypatch):
    """It is a help, not a need."""
    place.forget()
    if trouble == "a file":
        place.memory.write_text("")
    if trouble == "cannot be made":
        monkeypatch.setenv("MLSHARED_CACHE_DIR", "/proc/trainers")
    place.release(1)
    place.release(2)
    assert [e.version for e in place.log()] == [1, 2, 3, 1, 2]


def test_f38_a_copy_of_a_store_is_another_place(place, tmp_path):
    """Made to try things out: what happens there is no witness against the store it was copied from."""
    copy = str(tmp_path / "copy")
    shutil.copytree(place.folder, copy)
    for _ in range(3):
        trainer.hold(NAME, store=copy)
    assert place.release(1).number == 4
    assert trainer.hold(NAME, store=f"{copy}/../copy").number == 7


def test_f38_a_model_that_was_never_released_is_no_loss(place):
    """Nor is an alias that is new: nobody testifies against them."""
    assert place.release(1, alias="staging").number == 1
    place.lose("expired")
    place.forget()
    shutil.rmtree(place.folder / NAME / "versions")  # versions 1 to 3 were published before any release
    with opened(place.url) as store:
        entries.put(store, entries.manifest(1, store=store.identity().id, model=NAME))
    assert place.release(1).number == 1


def test_f38_commands_exit_1_and_doctor_and_gc_say_so(place, capsys):
    """The mend is the last thing on the line; gc deletes nothing by a log that is gone."""
    place.lose("expired")
    assert main(["release", NAME, "1", "--store", place.url]) == 1
    assert "trainer recover cancer --past 3" in capsys.readouterr().err
    assert main(["doctor", "--store", place.url, "--quiet"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("problem      cancer@production: the log of cancer@production has no valid entry")
    assert main(["gc", "--store", place.url, "--keep", "1"]) == 1
    assert "trainer recover cancer --past 3" in capsys.readouterr().err
    assert main(["recover", NAME, "--past", "3", "--store", place.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reset"]
    assert main(["doctor", "--store", place.url, "--quiet"]) == 0
