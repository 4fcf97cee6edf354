"""The retrain lease: one holder, beats, takeover by the store's clock, an end whatever ends it."""

import os
import signal
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path

import pytest
from entries import MODEL, STORE_ID
from fsspec.implementations.memory import MemoryFileSystem
from interleave import explore

from mlshared._objects import open_objects
from mlshared.errors import StorageError
from mlshared.manifest import Lease, parse
from mlshared.store import Store, lease_end_key, lease_key
from trainer import _append, _lease
from trainer._lease import FREE_AFTER_SECONDS, LOST_AFTER_SECONDS, Busy, Held, LeaseLost, lease


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def opened(folder):
    """What opens the storage."""
    return lambda: open_objects(str(folder))


@pytest.fixture
def objects(opened):
    return opened()


def hold(opened):
    return lease(opened, STORE_ID, MODEL)


def there(objects, key):
    return objects.get(key, limit=1 << 16, timeout=1) is not None


def crash(opened):
    """Take the lease and end without a word."""
    objects = opened()
    return _lease._take(Store(objects), objects, STORE_ID, MODEL, "dead:1")


def age(folder, key, seconds):
    """Let the storage's clock say that an object was written so long ago."""
    path = folder / key
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def beat(objects, held, number):
    _lease._send_beat(objects, STORE_ID, MODEL, "host:1", held, number)


# -- one holder ---------------------------------------------------------------------------------------------


def test_the_first_lease_is_number_one(opened, objects):
    """It says who holds it."""
    with hold(opened) as held:
        assert held.number == 1
        raw = objects.get(lease_key(MODEL, 1), limit=1 << 16, timeout=1)
    entry = parse(raw, Lease).entry
    assert (entry.store, entry.model, entry.number, entry.beat) == (STORE_ID, MODEL, 1, 0)
    assert entry.owner.endswith(f":{os.getpid()}")


def test_a_second_holder_is_told(opened):
    """Busy, with the model, while the first one lives."""
    with hold(opened), pytest.raises(Busy, match="another retrain of flights is under way"), hold(opened):
        pass


def test_another_model_is_free(opened):
    """A lease is of one model."""
    with hold(opened), lease(opened, STORE_ID, "hotels") as held:
        assert held.number == 1


def test_the_end_frees_it(opened, objects):
    """At once, with the next number."""
    with hold(opened):
        assert not there(objects, lease_end_key(MODEL, 1))
    assert there(objects, lease_end_key(MODEL, 1))
    with hold(opened) as held:
        assert held.number == 2


def test_an_exception_ends_it_too(opened, objects):
    """And passes."""
    with pytest.raises(ZeroDivisionError), hold(opened):
        raise ZeroDivisionError
    assert there(objects, lease_end_key(MODEL, 1))


def test_takers_racing_in_every_order(capsys):
    """Three at once: one holds it, the others are told."""
    root = uuid.uuid4().hex
    objects = open_objects(f"memory://{root}")

    def check(run):
        held = [actor for actor in run.actors.values() if isinstance(actor.result, Held)]
        busy = [actor for actor in run.actors.values() if isinstance(actor.error, Busy)]
        assert (len(held), len(busy)) == (1, 2), [actor.error for actor in run.actors.values()]

    def forget(keys):
        for key in keys:
            MemoryFileSystem.store.pop(f"/{root}/{key}")

    def take(waiting):
        return _lease._take(Store(waiting), waiting, STORE_ID, MODEL, "host:1")

    schedules = explore(objects, dict.fromkeys("abc", take), check, forget=forget)
    with capsys.disabled():
        print(f" [{schedules:,} schedules]", end="")
    assert schedules > 5


# -- takeover -----------------------------------------------------------------------------------------------


def test_a_silent_holder_keeps_it_for_a_while(opened, folder):
    """A beat may be late."""
    crash(opened)
    age(folder, lease_key(MODEL, 1), FREE_AFTER_SECONDS - 30)
    with pytest.raises(Busy), hold(opened):
        pass


def test_a_holder_silent_for_too_long_loses_it(opened, folder):
    """By the storage's clock alone; nobody's own clock is asked."""
    crash(opened)
    age(folder, lease_key(MODEL, 1), FREE_AFTER_SECONDS + 30)
    with hold(opened) as held:
        assert held.number == 2


def test_a_beat_keeps_it(opened, folder, objects):
    """Age counts from the last beat."""
    held = crash(opened)
    beat(objects, held, 1)
    beat(objects, held, 2)
    age(folder, lease_key(MODEL, 1), 10 * FREE_AFTER_SECONDS)
    age(folder, lease_key(MODEL, 1, 1), 9 * FREE_AFTER_SECONDS)
    with pytest.raises(Busy), hold(opened):
        pass
    age(folder, lease_key(MODEL, 1, 2), FREE_AFTER_SECONDS + 30)
    with hold(opened) as held:
        assert held.number == 2


def test_others_wait_longer_than_the_holder():
    """Two minutes lie between the holder's own end and the others' patience, and a beat is often enough."""
    assert FREE_AFTER_SECONDS - LOST_AFTER_SECONDS >= 120
    assert LOST_AFTER_SECONDS > 2 * _lease.BEAT_SECONDS + _lease.CALL_SECONDS


# -- the holder's own view ----------------------------------------------------------------------------------


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


class Dead:
    """Storage that does not answer."""

    def __getattr__(self, _name):
        def fail(*_arguments, **_options):
            raise StorageError("no answer")

        return fail


@pytest.fixture
def clock():
    return Clock()


def test_a_confirmed_beat_keeps_the_holder_sure(objects, clock):
    """For fourteen minutes from the time before the request."""
    held = Held(1, clock=clock)
    clock.now += LOST_AFTER_SECONDS
    beat(objects, held, 1)
    clock.now += LOST_AFTER_SECONDS
    held.check()
    clock.now += 1
    with pytest.raises(LeaseLost, match="could not be reached for 14 minutes; nothing was released"):
        held.check()


def test_a_slow_beat_counts_from_before_the_request(objects, clock):
    """What the store wrote may be as old as that."""
    held = Held(1, clock=clock)

    class Slow:
        def __getattr__(self, name):
            clock.now += LOST_AFTER_SECONDS + 1
            return getattr(objects, name)

    beat(Slow(), held, 1)
    with pytest.raises(LeaseLost):
        held.check()


def test_a_beat_nobody_took_confirms_nothing(clock, monkeypatch):
    """The silence is counted, and the next beat tried."""
    monkeypatch.setattr(_lease, "CALL_SECONDS", 0.01)
    monkeypatch.setattr(_append, "PAUSE_SECONDS", 0.001)
    held = Held(1, clock=clock)
    clock.now += LOST_AFTER_SECONDS + 1
    beat(Dead(), held, 1)
    with pytest.raises(LeaseLost):
        held.check()


def test_a_higher_lease_ends_the_holder(opened, folder, objects, clock):
    """It is seen at the next beat."""
    held = Held(crash(opened).number, clock=clock)
    age(folder, lease_key(MODEL, 1), FREE_AFTER_SECONDS + 30)
    with hold(opened):
        held.check()
        beat(objects, held, 1)
        with pytest.raises(LeaseLost, match="took over"):
            held.check()


def test_beats_go_out_meanwhile(opened, objects, monkeypatch):
    """On a thread and a connection of their own."""
    monkeypatch.setattr(_lease, "BEAT_SECONDS", 0.0)
    with hold(opened) as held:
        first, second = lease_key(MODEL, held.number, 1), lease_key(MODEL, held.number, 2)
        while not (there(objects, first) and there(objects, second)):
            pass
    assert there(objects, lease_end_key(MODEL, 1))


def test_a_store_that_is_gone_at_the_end_does_not_hide_the_result(opened, folder):
    """The lease then ends by itself, sixteen minutes later."""
    with hold(opened):
        folder.rename(folder.with_name("elsewhere"))


# -- termination --------------------------------------------------------------------------------------------

RECIPE = """
    import signal
    import sys
    from trainer import KeySplit, Recipe

    def load():
        print("loading", flush=True)
        signal.pause()

    recipe = Recipe(name="flights", load=load, target="late", build=dict, split=KeySplit("id", test=0.2),
                    metrics=["roc_auc"])
"""


@pytest.fixture
def retraining(tmp_path, folder):
    """A `trainer retrain` of its own, in the middle of loading."""
    (tmp_path / "endless.py").write_text(textwrap.dedent(RECIPE))
    config = f'store = "{folder}"\n[models.flights]\nrecipe = "endless:recipe"\n'
    (tmp_path / "trainer.toml").write_text(config)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLSHARED_")}
    with subprocess.Popen(
        [sys.executable, "-c", "from mlshared._trainer_entry import main; main()", "retrain", "--quiet"],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(Path(_lease.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "loading\n", process.stderr.read()
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_terminated_retrain_frees_its_lease(retraining, objects, number):
    """As a cron job's time limit, a deploy or Ctrl-C end it: the next one need not wait."""
    assert there(objects, lease_key(MODEL, 1))
    retraining.send_signal(number)
    assert retraining.wait(timeout=300) != 0
    assert there(objects, lease_end_key(MODEL, 1)), retraining.stderr.read()


def test_a_killed_retrain_leaves_its_lease(retraining, objects):
    """SIGKILL can be answered by nobody; the silence tells."""
    retraining.kill()
    retraining.wait(timeout=300)
    assert not there(objects, lease_end_key(MODEL, 1))


def test_a_program_that_handles_sigterm_keeps_its_handler(opened):
    """Nothing of the program's is replaced, and what was the default is so again."""

    def own(*_):
        raise AssertionError

    for handler in (own, signal.SIG_DFL):
        before = signal.signal(signal.SIGTERM, handler)
        try:
            with hold(opened):
                assert (signal.getsignal(signal.SIGTERM) is own) == (handler is own)
            assert signal.getsignal(signal.SIGTERM) is handler
        finally:
            signal.signal(signal.SIGTERM, before)
