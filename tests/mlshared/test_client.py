"""Wiring and lifecycle: refs, settings, several stores, forks, dead threads, closing."""

import asyncio
import logging
import os
import subprocess
import sys
import threading
import time

import pytest
from process import Events, in_a_fork
from shelf import NAME, add_version, disagree

import mlshared
import trainer
from mlshared import Client, ConfigError, InputError, MlsharedError, ModelNotReady, NotPublished, StorageError
from mlshared import client as wiring
from mlshared._identity import identify
from mlshared._notes import Notes
from mlshared._ref import parse_ref
from mlshared._worker import Followed, Worker
from mlshared.events import RefreshFailed, VersionLoaded, log_event
from mlshared.model import Model
from mlshared.settings import make_settings

SECONDS = 120.0  # until a test gives up


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Each test has a process of its own, as far as configuring goes."""
    for name in list(os.environ):
        if name.startswith("MLSHARED_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(wiring, "_named", {})
    monkeypatch.setattr(wiring, "_configured", {})
    before = set(wiring._clients)
    yield
    for client in set(wiring._clients) - before:
        client.close()


@pytest.fixture
def url(shelf, tmp_path):
    return shelf.copy_to(tmp_path / "models")


@pytest.fixture
def settings(tmp_path):
    return {"cache_dir": tmp_path / "cache", "poll_seconds": 0}


@pytest.fixture
def client(url, settings):
    with Client(url, **settings) as client:
        yield client


# -- refs and models ----------------------------------------------------------------------------------------


def test_the_same_ref_is_the_same_model(client):
    """However often it is asked for."""
    assert client.model(NAME) is client.model(NAME)
    assert client.model(NAME) is not client.model(f"{NAME}@1")
    assert mlshared.get_model(NAME) is mlshared.get_model(NAME)
    assert mlshared.get_model(NAME) is not mlshared.get_model(NAME, using="other")


@pytest.mark.parametrize(
    "ref", ["", "Cancer", "feed", "cancer@", "cancer@0", "cancer@Staging", 7, "cancer@2026-13-01"]
)
def test_what_is_no_ref(client, ref):
    """It is refused at once, not at the first prediction."""
    with pytest.raises(ConfigError):
        client.model(ref)
    with pytest.raises(ConfigError):
        mlshared.get_model(ref)


def test_nothing_happens_before_the_first_use(url, settings):
    """Neither a client nor a model starts a thread or makes a file."""
    threads = threading.active_count()
    model = Client(url, **settings).model(NAME)
    assert model.status().state == "idle"
    assert threading.active_count() == threads
    assert not settings["cache_dir"].exists()


@pytest.mark.parametrize(
    ("which", "version"),
    [("", 2), ("@production", 2), ("@1", 1), ("@3", 3), ("@latest", 3), ("@2100-01-01T00:00Z", 2)],
)
def test_refs(client, url, which, version):
    """Alias, number, latest and moment each mean their version."""
    trainer.release(NAME, 2, store=url)
    assert client.model(f"{NAME}{which}").current.version == version


def test_a_moment_in_between(client, url):
    """A moment means what was in force then."""
    first = client.model(NAME).current.released_at
    trainer.release(NAME, 2, store=url)
    moment = f"{first.isoformat()}".replace("+00:00", "Z")
    assert client.model(f"{NAME}@{moment}").current.version == 1


def test_two_refs_of_one_model(client, url):
    """An alias moves, a number stays, and both share blobs."""
    moving, staying = client.model(NAME), client.model(f"{NAME}@1")
    assert (moving.current.version, staying.current.version) == (1, 1)
    trainer.release(NAME, 2, store=url)
    assert client.refresh()
    assert (moving.current.version, staying.current.version) == (2, 1)
    assert set(client.status()) == {NAME, f"{NAME}@1"}


def test_another_alias(url, settings):
    """The setting `alias` says what a bare name means."""
    trainer.release(NAME, 3, store=url, alias="staging")
    with Client(url, alias="staging", **settings) as client:
        assert client.model(NAME).current.version == 3
        assert client.model(f"{NAME}@production").current.version == 1


def test_pins(url, settings):
    """A pin serves its version whatever is released, and lets refs that name a version alone."""
    trainer.release(NAME, 2, store=url)
    with Client(url, pins={NAME: 1}, **settings) as client:
        versions = [
            client.model(f"{NAME}{which}").current.version for which in ("", "@production", "@3", "@latest")
        ]
    assert versions == [1, 1, 3, 3]


def test_floors(url, settings):
    """A log that ends below the floor is not served; one that reaches it is."""
    with Client(url, floors={NAME: 2}, **settings) as client:
        model = client.model(NAME)
        with pytest.raises(NotPublished, match="below the floor 2"):
            model.refresh()
        with pytest.raises(ModelNotReady, match="below the floor"):
            model.predict({})
        trainer.release(NAME, 2, store=url)
        assert model.refresh()
        assert model.current.version == 2


def test_one_feature_function(client):
    """A ref that is in use with one feature function is not had with another."""

    def derive(row):
        return row

    model = client.model("flights", features=derive)
    assert client.model("flights") is model
    with pytest.raises(ConfigError, match="another feature function"):
        client.model("flights", features=lambda row: row)


# -- settings -----------------------------------------------------------------------------------------------


def test_configured(url, settings):
    """configure() says where get_model finds models; a path will do."""
    mlshared.configure(store=settings["cache_dir"].parent / "models", **settings)
    assert mlshared.get_model(NAME).current.version == 1


def test_configured_too_late(url, settings):
    """After the first use it is refused, as it would not be heard."""
    mlshared.configure(store=url, **settings)
    mlshared.get_model(NAME).current  # noqa: B018 - used
    with pytest.raises(ConfigError, match="too late"):
        mlshared.configure(store=url)


def test_from_the_environment(url, tmp_path, monkeypatch):
    """MLSHARED_* variables are read at the first use; keywords win over them."""
    model = mlshared.get_model(NAME)
    monkeypatch.setenv("MLSHARED_STORE", url)
    monkeypatch.setenv("MLSHARED_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("MLSHARED_PINS", f'{{"{NAME}": 2}}')
    monkeypatch.setenv("MLSHARED_POLL_SECONDS", "0")
    mlshared.configure(pins={NAME: 3})
    assert model.current.version == 3


@pytest.mark.parametrize(
    ("name", "value"), [("MLSHARED_STOER", "x"), ("MLSHARED_STORE", ""), ("MLSHARED_PINS", "7")]
)
def test_wrong_environment(name, value, monkeypatch):
    """An unknown name, an empty value and a wrong one are ConfigErrors at the first use."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError):
        mlshared.get_model(NAME).predict({})


def test_several_stores(shelf, tmp_path, settings):
    """`using` names one of several; only the default reads the environment."""
    here, there = shelf.copy_to(tmp_path / "here"), shelf.copy_to(tmp_path / "there")
    trainer.release(NAME, 2, store=there)
    mlshared.configure(store=here, **settings)
    mlshared.configure(using="other", store=there, **{**settings, "cache_dir": tmp_path / "cache2"})
    assert mlshared.get_model(NAME).current.version == 1
    assert mlshared.get_model(NAME, using="other").current.version == 2
    with pytest.raises(ConfigError, match="no store is configured as 'third'"):
        mlshared.get_model(NAME, using="third").predict({})


@pytest.mark.parametrize(
    "wrong", [{"poll_secs": 1}, {"store": "a::b"}, {"pins": {"X": 1}}, {"idle_seconds": 0}]
)
def test_wrong_settings(wrong):
    """An unknown or unusable setting is refused where it is given, and the message names it."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        mlshared.configure(**wrong)
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Client(**wrong)


def test_a_store_that_cannot_be_opened(settings):
    """A missing package or an unknown protocol is a ConfigError also where a model would not be ready."""
    with (
        Client("nosuch://bucket/models", **settings) as client,
        pytest.raises(ConfigError, match="no kind of storage"),
    ):
        client.model(NAME).predict({})


def test_a_store_that_is_not_there_yet(shelf, settings, tmp_path):
    """Who it is is asked now and again for all models together, not for each, nor at each tick."""
    store = tmp_path / "later"
    worker = Worker(make_settings({**settings, "store": str(store)}), log_event)
    with pytest.raises(NotPublished) as first:
        worker._open()
    shelf.copy_to(store)
    with pytest.raises(NotPublished) as second:
        worker._open()
    assert second.value is first.value
    assert len(second.traceback) <= len(first.traceback)  # kept for each request, it must not grow


def test_a_store_that_cannot_be_opened_is_not_opened_at_once_again(settings):
    """Nor is the cache: each costs a look at the disk, or an import."""
    worker = Worker(make_settings({**settings, "store": "nosuch://bucket"}), log_event)
    errors, caches = set(), set()
    for _ in range(3):
        with pytest.raises(ConfigError) as raised:
            worker._open()
        errors.add(id(raised.value))
        caches.add(id(worker._cache))
    assert (len(errors), len(caches)) == (1, 1)


def test_who_a_store_is_was_said_by_another_process_first(url, settings):
    """The first to say so is right, for all processes of the host."""
    worker = Worker(make_settings({**settings, "store": url, "allow_unsigned": True}), log_event)
    with pytest.raises(NotPublished):
        Worker(make_settings({**settings, "store": f"{url}-none"}), log_event)._open()
    host, _ = worker._open()
    host.cache._folder.remove(next(f"urls/{name}" for name in host.cache._folder.names("urls")))
    identity = host.store.identity

    def slowly():
        host.cache.remember_store_id(url, "f" * 32)
        return identity()

    host.store.identity = slowly
    assert identify(host) == "f" * 32


@pytest.fixture
def followed(url, settings):
    """Return a model in a process whose thread is the test's, and what its hook was told."""
    told = []
    worker = Worker(make_settings({**settings, "store": url}), told.append)
    model = Model(NAME, lambda model: None)
    yield worker, worker.follow(model, parse_ref(NAME)), told
    worker._close()


def test_a_store_that_cannot_be_opened_is_told(followed, tmp_path):
    """Once, not at each tick; and no more once it can."""
    worker, followed, told = followed
    (tmp_path / "models").rename(tmp_path / "unmounted")
    for _ in range(3):
        worker._attempt(followed)
    (event,) = told
    assert isinstance(event, RefreshFailed)
    assert (event.ref, event.version, event.serving) == (f"{NAME}@production", None, None)
    assert isinstance(event.error, StorageError)
    assert followed.status().state in {"loading", "failed"}
    (tmp_path / "unmounted").rename(tmp_path / "models")
    worker._open_not_before = 0.0
    followed.last_used = time.monotonic()  # without polling it is asked again when it is used again
    worker._attempt(followed)
    assert followed.model.loaded.version == 1
    assert followed.error is None


def test_a_tick_that_fails_for_an_unforeseen_reason(followed, caplog, monkeypatch):
    """The status says so for as long as it lasts, the log each time it begins."""
    worker, followed, _ = followed
    worker._attempt(followed)
    monkeypatch.setattr(worker._poller, "_thread", threading.current_thread())  # it is at work
    tick = followed.refresher.tick

    def broken():
        raise LookupError("absurd")

    for times in (1, 2):
        for _ in range(2):
            followed.refresher.tick = broken
            worker._attempt(followed)
        status = followed.status()
        assert (status.state, status.ready, status.last_error) == ("stale", True, "LookupError: absurd")
        followed.refresher.tick = tick
        worker._attempt(followed)
        assert (followed.status().state, followed.status().last_error) == ("serving", None)
        assert caplog.text.count("could not be refreshed for an unforeseen reason") == times


def test_closed_while_it_is_asked(followed):
    """A request that finds the refresher gone in between gets an answer like any other."""
    worker, known, _ = followed
    worker._attempt(known)
    refresher = known.refresher

    class Closing(Followed):
        @property
        def refresher(self):
            found, self.left = self.left, None
            return found

        @refresher.setter
        def refresher(self, value):
            self.left = value

    closing = Closing(worker, known.model, known.ref)
    for ask in (closing.status, closing._not_ready):
        closing.refresher = refresher
        ask()


def test_an_error_that_is_raised_for_each_request(settings):
    """It does not grow with them."""
    worker = Worker(make_settings({**settings, "store": "nosuch://bucket"}), log_event)
    followed = worker.follow(Model(NAME, lambda model: None), parse_ref(NAME))
    worker._attempt(followed)
    frames = set()
    for _ in range(3):
        with pytest.raises(ConfigError) as raised:
            raise followed._not_ready()
        frames.add(len(raised.traceback))
    assert frames == {1}


# -- ready, refresh, close ----------------------------------------------------------------------------------


def test_ready(client, tmp_path):
    """True once a version is in force; False where none comes in time."""
    assert client.model(NAME).ready()
    with Client(tmp_path / "nothing", cache_dir=tmp_path / "other") as nothing:
        assert not nothing.model(NAME).ready(timeout=0.05)
    assert asyncio.run(client.model(NAME).aready())


def test_refresh(client, url):
    """True if another version is in force, else False; what went wrong is raised."""
    model = client.model(NAME)
    assert model.refresh()
    assert not model.refresh()
    add_version(url, like=2, version=4, golden=disagree)
    trainer.release(NAME, 4, store=url)
    with pytest.raises(mlshared.SelfTestFailed):
        model.refresh()
    assert model.current.version == 1


def test_polling(url, settings):
    """A release is taken up without anybody asking."""
    events = Events()
    with Client(url, **{**settings, "poll_seconds": 0.05}, hook=events) as client:
        assert client.model(NAME).current.version == 1
        trainer.release(NAME, 2, store=url)
        assert events.wait_for(VersionLoaded, count=2)
        assert client.model(NAME).current.version == 2


def test_a_hook_that_raises(url, settings, caplog):
    """What a hook raises is logged, and stops neither a load nor a refresh."""

    def hook(event):
        raise LookupError("in the hook")

    with Client(url, hook=hook, **settings) as client:
        assert client.model(NAME).refresh()
        with pytest.raises(NotPublished):
            client.model("unknown").refresh()
    assert "in the hook" in caplog.text


def test_closed(url, settings, shelf):
    """Loaded versions go on answering; a refresh, and a model not loaded, are refused at once."""
    with Client(url, **settings) as client:
        model, other = client.model(NAME), client.model(f"{NAME}@2")
        model.ready()
    began = time.monotonic()
    assert model.predict_proba(shelf.rows[0]) == shelf.offline(1, shelf.rows[0])
    with pytest.raises(MlsharedError, match="client was closed"):
        model.refresh()
    with pytest.raises(ModelNotReady, match="closed"):
        other.predict(shelf.rows[0])
    assert time.monotonic() - began < 2
    client.close()


def test_closing_leaves_no_thread(url, settings):
    """The thread has ended when close() returns."""
    with Client(url, **settings) as client:
        client.model(NAME).ready()
        assert [thread for thread in threading.enumerate() if thread.name == "mlshared-refresh"]
    assert not [
        t for t in threading.enumerate() if t.name == "mlshared-refresh" and t in client_threads(client)
    ]


def test_closing_leaves_no_status_behind(url, settings):
    """The host's command line shows processes that serve."""
    with Client(url, **settings) as client:
        client.model(NAME).ready()
        client.model(NAME).refresh()
        worker = next(iter(client._workers.values()))
        client._workers[os.getpid()]._poller.submit(worker._write_status, timeout_seconds=SECONDS)
        assert list(settings["cache_dir"].glob("stores/*/processes/*"))
    assert not list(settings["cache_dir"].glob("stores/*/processes/*"))
    assert not list(settings["cache_dir"].rglob("loading/*"))


def test_at_exit_all_are_stopped_before_any_is_waited_for(url, settings):
    """A process with many clients ends as soon as one with a single one."""
    seen, clients = [], []

    def hook(number):
        def wait(event):
            if not isinstance(event, VersionLoaded):
                return
            started[number].set()
            deadline = time.monotonic() + 0.9
            other = clients[1 - number]
            while not (stopped := other._closed) and time.monotonic() < deadline:
                time.sleep(0.005)
            seen.append(stopped)

        return wait

    started = [threading.Event(), threading.Event()]
    for number in (0, 1):
        clients.append(
            Client(url, hook=hook(number), **{**settings, "cache_dir": settings["cache_dir"] / str(number)})
        )
    for client in clients:
        client.model(NAME).ready(timeout=0)
    for event in started:
        assert event.wait(SECONDS)
    wiring._stop_all()
    for client in clients:
        client.close()
    assert seen == [True, True]


def client_threads(client):
    return {worker._poller._thread for worker in client._workers.values()}


def test_idle(url, settings):
    """A model nobody uses is no longer looked after; its next use starts that again."""
    events = Events()
    with Client(url, **{**settings, "poll_seconds": 0.05}, idle_seconds=0.2, hook=events) as client:
        model = client.model(NAME)
        assert model.current.version == 1
        worker = next(iter(client._workers.values()))
        followed = worker.follow(model, None)
        deadline = time.monotonic() + SECONDS
        while model.due > 0 and time.monotonic() < deadline:
            pass  # until the thread says that it no longer cares
        assert worker._is_idle(followed)
        trainer.release(NAME, 2, store=url)
        assert model.loaded.version == 1
        model.predict_proba  # noqa: B018
        assert model.current.version == 1
        assert events.wait_for(VersionLoaded, count=2)
        assert model.current.version == 2


# -- forks and dead threads ---------------------------------------------------------------------------------


def test_fork_before_use(client):
    """A model that was only obtained before the fork is loaded in the child."""
    model = client.model(NAME)
    assert in_a_fork(lambda: model.current.version) == "1"


@pytest.mark.slow
def test_fork_during_the_first_load(url, tmp_path):
    """A fork while libraries are being imported waits for that, and does not leave the child stuck in it.

    A version without a plan: one that has a plan imports no libraries.
    """
    add_version(url, like=2, version=4, edit=without_plan)
    trainer.release(NAME, 4, store=url)
    script = f"""
import os, signal, sys, time
from mlshared import Client
from mlshared._gate import Gate
Gate.close.__defaults__ = ({SECONDS},)  # a busy machine imports for longer than a fork waits by default
model = Client({url!r}, cache_dir={str(tmp_path / "cache")!r}).model({NAME!r})
model.ready(timeout=0)
until = time.monotonic() + {SECONDS}
while "sklearn" not in sys.modules:
    assert time.monotonic() < until, model.status()
pid = os.fork()
if pid == 0:
    signal.alarm(120)
    print(model.ready(timeout=100), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=3 * SECONDS, check=False
    )
    assert (done.stdout.strip(), done.returncode) == ("True", 0), done.stderr


def without_plan(manifest):
    return {"artifacts": tuple(each for each in manifest.artifacts if each.kind != "plan")}


def test_a_second_thread_of_a_child_without_hooks(client, monkeypatch):
    """It takes the locks for this process's only when they are: the parent's may be held for ever."""
    model, seen = client.model(NAME), []
    client._pid = -1
    parents = client._lock
    forget = wiring._forget_locks
    monkeypatch.setattr(wiring, "_forget_locks", lambda: (seen.append(client._pid), forget()))
    with parents:
        assert client.keeper(model)
    assert (seen, client._pid) == ([-1], os.getpid())


# -- outages ------------------------------------------------------------------------------------------------


def test_the_store_is_gone(url, settings, shelf, tmp_path):
    """Predictions go on; status() says stale, with the error; afterwards all is well again."""
    with Client(url, **settings) as client:
        model = client.model(NAME)
        model.refresh()
        (tmp_path / "models").rename(tmp_path / "unmounted")
        with pytest.raises(StorageError, match="is gone"):
            model.refresh()
        status = model.status()
        assert (status.state, status.ready, status.version) == ("stale", True, 1)
        assert status.last_error.startswith("StorageError: ")
        assert model.predict_proba(shelf.rows[0]) == shelf.offline(1, shelf.rows[0])
        (tmp_path / "unmounted").rename(tmp_path / "models")
        model.refresh()
        assert model.status().state == "serving"


def test_a_poll_is_one_request(shelf, s3_store, s3_wire, counting_proxy, settings):
    """Counted at the socket: nothing new costs one GET; a release as many as it has blobs, and a few."""
    shelf.send_to(s3_store)
    with Client(s3_wire.url, storage_options=s3_wire.options, **settings) as client:
        model = client.model(NAME)
        model.refresh()
        for _ in range(5):
            before = len(counting_proxy.seen())
            assert not model.refresh()
            (poll,) = counting_proxy.seen()[before:]
            assert (poll.method, poll.path.split("?")[0].rpartition("/")[2]) == ("GET", "0000000002.json")
        trainer.release(NAME, 2, store=s3_store.url, storage_options=s3_store.options)
        before = len(counting_proxy.seen())
        assert model.refresh()
        # The entry, twice as it is unsigned; the next one, manifest, estimator, golden rows.
        assert len(counting_proxy.seen()) - before == 6


def ticked(client):
    """Have the thread do what is due, as if every backoff had passed."""
    (worker,) = client._workers.values()
    worker._open_not_before = 0.0
    for followed in worker._followed.values():
        if followed.refresher is not None:
            followed.refresher._look_not_before = 0.0
    worker._poller.submit(worker._tick, timeout_seconds=20)
    return worker._failed_opens or next(iter(worker._followed.values())).refresher._failed_looks


@pytest.mark.parametrize("what", ["no store", "no model"])
def test_without_polling_a_failure_is_not_tried_again_before_the_next_use(url, tmp_path, what):
    """poll_seconds=0: after the first failure only a use, or refresh(), asks again."""
    store = url if what == "no model" else tmp_path / "none"
    with Client(store, poll_seconds=0, cache_dir=tmp_path / "cache") as client:
        model = client.model("nothing")
        assert model.predict({}, default=0) == 0
        assert [ticked(client) for _ in range(3)] == [1, 1, 1]
        assert model.predict({}, default=0) == 0
        assert ticked(client) == 2
        assert [ticked(client) for _ in range(3)] == [2, 2, 2]


def test_the_same_failure_is_logged_once(caplog):
    """Until it changes or the store answers; and again after ten times, with the count."""
    notes = Notes("flights@production", log_event)

    def lines(message, times):
        caplog.clear()
        for n in range(times):
            notes.failed(StorageError(f"{message} within 3.{n} s"), None, None)
        return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]

    (first,) = lines("no answer", 9)
    assert first.endswith("StorageError: no answer within 3.0 s")
    (tenth,) = lines("no answer", 5)
    assert tenth.endswith("(10 times so far)")
    assert len(lines("refused", 2)) == 1
    notes.answered()
    assert len(lines("refused", 2)) == 1


def test_none_is_no_row(client):
    """What was meant is most likely a mapping."""
    with pytest.raises(InputError, match=r"row: expected a mapping \{.*\}, not a NoneType"):
        client.model(NAME).predict(None)
