"""What processes do to each other and to themselves: rows of FAULTS, client side, with real ones."""

import collections
import ctypes
import importlib.util
import json
import os
import signal
import sys
import threading
import time
import types
import uuid
from pathlib import Path

import pytest
from machine import slowness
from process import Events, Process, in_a_fork, said, script
from shelf import NAME
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier

import trainer
from mlshared import Client, _refresh, _worker
from mlshared.__main__ import main
from mlshared.events import RefreshStopped, VersionLoaded, log_event

SERVING = Path(__file__).parents[1] / "serving"
_SPEC = importlib.util.spec_from_file_location("gunicorns", SERVING / "gunicorns.py")
gunicorns = sys.modules["gunicorns"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(gunicorns)
SECONDS = 90.0


@pytest.fixture
def url(shelf, tmp_path):
    return shelf.copy_to(tmp_path / "models")


@pytest.fixture
def settings(tmp_path):
    return {"cache_dir": tmp_path / "cache", "poll_seconds": 0.05}


def release(url, version, **options):
    trainer.release(NAME, version, store=url, **options)


@pytest.fixture(scope="module")
def deadly_models(shelf, tmp_path_factory):
    """The shelf, and version 4 in force: an estimator that may kill who loads it; see deadly.py."""
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        import deadly  # noqa: PLC0415
    finally:
        sys.path.pop(0)
    return deadly.released(shelf, tmp_path_factory.mktemp("deadly") / "models")


# Imports once what every process of a test would, then forks them.
FARM = """
import signal
from pathlib import Path
import deadly, pandas, skops.io, sklearn.linear_model, s3fs
from machine import slowness
from process import Process
from mlshared import Client, MlsharedError, ModelNotReady

def start(work):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(80)
        try:
            os.write(writer, json.dumps(work()).encode())
        except BaseException as error:
            os.write(writer, json.dumps(f"{type(error).__name__}: {error}").encode())
        finally:
            os._exit(0)
    os.close(writer)
    return pid, reader

def finish(started):
    pid, reader = started
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(told) if told else None

def killed(work):
    "Have it run until it dies of a signal; return which. Nobody buries it."
    pid, reader = start(work)
    died = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return died.si_status if died.si_code in (os.CLD_KILLED, os.CLD_DUMPED) else None, (pid, reader)
"""


# -- f21: locks and cold starts -----------------------------------------------------------------------------

EIGHT = (
    FARM
    + """
import fcntl
url, folder, locked = ARGUMENTS
if locked == "always":
    fcntl.flock = lambda *_: None

def work():
    with Client(url, cache_dir=folder, poll_seconds=0.1, first_load_seconds=60) as client:
        model = client.model("cancer")
        assert model.ready()
        seen = [model.current.version]
        while seen[-1] != 2:
            if model.current.version != seen[-1]:
                seen.append(model.current.version)
            time.sleep(0.01)
        status = model.status()
        return [seen, status.quarantined, status.cache_problem]

started = [start(work) for _ in range(8)]
while len(list(Path(folder).rglob("blobs/*"))) < 3:
    time.sleep(0.01)
print(json.dumps("cold"), flush=True)
for each in started:
    print(json.dumps(finish(each)), flush=True)
"""
)


@pytest.mark.slow
@pytest.mark.parametrize("locked", ["once", "always"])
def test_f21_eight_processes_start_cold(url, settings, locked):
    """Also where every lock is given to everybody: all serve, and all follow the next release."""
    process = script(EIGHT, url, str(settings["cache_dir"]), locked)
    assert json.loads(process.stdout.readline()) == "cold"
    release(url, 2)
    for seen, quarantined, problem in said(process):
        assert seen in ([1, 2], [2])
        assert (quarantined, problem) == ({}, None)


HOLDER = """
from machine import slowness
from process import Process
url, folder = ARGUMENTS
here = Process(url, folder, poll_seconds=0.2)
here.tick()
with here.refresher._log.try_lock() as held:
    print(json.dumps([held, here.version]), flush=True)
    sys.stdin.readline()
"""


def test_f21_the_holder_of_the_lock_is_stopped(url, settings):
    """Others wait three polls for it, then poll without the lock; one that starts cold serves meanwhile."""
    holder = script(HOLDER, url, str(settings["cache_dir"]))
    try:
        assert json.loads(holder.stdout.readline()) == [True, 1]
        os.kill(holder.pid, signal.SIGSTOP)
        other = Process(url, settings["cache_dir"], poll_seconds=0.2)
        other.tick()
        assert other.version == 1
        release(url, 2)
        deadline = time.monotonic() + SECONDS
        while other.version != 2 and time.monotonic() < deadline:
            other.tick()
            time.sleep(0.01)
        assert other.version == 2
    finally:
        os.kill(holder.pid, signal.SIGCONT)
        holder.communicate("\n", timeout=SECONDS)


# -- f23: forks ---------------------------------------------------------------------------------------------


def test_f23_fork_after_use(url, settings, shelf):
    """A forked child answers at once, has a thread of its own, and follows releases; so does the parent."""
    events, row = Events(), shelf.rows[0]
    with Client(url, **settings, hook=events) as client:
        model = client.model(NAME)
        assert model.predict_proba(row) == shelf.offline(1, row)
        go_reader, go_writer = os.pipe()

        def child():
            first = model.predict_proba(row) == shelf.offline(1, row)
            os.read(go_reader, 1)
            assert events.wait_for(VersionLoaded, count=2)
            return first, model.current.version

        def act():
            release(url, 2)
            os.write(go_writer, b"!")

        releasing = threading.Timer(0.3, act)
        releasing.start()
        assert in_a_fork(child) == "(True, 2)"
        releasing.join()
        os.close(go_reader)
        os.close(go_writer)
        assert events.wait_for(VersionLoaded, count=2)


def hookless_fork():
    """Fork as a web server written in C may: none of Python's hooks is run."""
    pid = ctypes.PyDLL(None).fork()
    assert pid >= 0
    return pid


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("fork", [os.fork, hookless_fork])
def test_f23_tables_after_a_fork(settings, fork):
    """A child answers tables too, though its parent has used OpenMP, whose threads do not survive a fork."""
    X, y = load_breast_cancer(return_X_y=True)
    store = f"memory://{uuid.uuid4().hex}"
    estimator = HistGradientBoostingClassifier(max_iter=5).fit(X, y)
    trainer.publish(estimator, X, y, name="boosted", store=store)
    with Client(store, **{**settings, "poll_seconds": 0}, estimator_min_rows=1) as client:
        model = client.model("boosted")
        model.refresh()
        assert model.current.estimator.n_iter_ == 5
        expected = model.predict(X).sum()
        assert in_a_fork(lambda: model.predict(X).sum(), fork=fork) == str(expected)
        assert model.predict(X).sum() == expected


def test_f23_fork_while_the_thread_holds_a_lock(url, settings, shelf, monkeypatch):
    """Whatever lock the refresh thread takes in its work, of any package's, a child finds it free."""
    lock, held = threading.Lock(), threading.Semaphore(0)
    ask = _refresh.wants_estimator

    def locked(version):
        with lock:
            held.release()
            time.sleep(0.1)
            return ask(version)

    monkeypatch.setattr(_refresh, "wants_estimator", locked)
    with Client(url, **{**settings, "poll_seconds": 0.01}) as client:
        model = client.model(NAME)
        model.ready()
        for _ in range(3):
            while held.acquire(blocking=False):
                pass
            assert held.acquire(timeout=SECONDS)
            assert in_a_fork(lambda: lock.acquire(timeout=5)) == "True"
        assert in_a_fork(lambda: model.refresh() or model.current.version) == "1"


@pytest.mark.slow
@pytest.mark.parametrize("moments", [15])
def test_f23_fork_during_refreshes(url, settings, shelf, moments):
    """Whenever a fork falls, within polls, loads and swaps, the child answers and refreshes."""
    row = shelf.rows[0]
    with Client(url, **{**settings, "poll_seconds": 0.01}) as client:
        model = client.model(NAME)
        model.ready()
        for turn in range(moments):
            version = 2 + turn % 2
            release(url, version)

            def child(version=version):
                model.predict(row)
                model.refresh(timeout_seconds=20)
                return model.current.version, model.predict_proba(row) == shelf.offline(version, row)

            assert in_a_fork(child) == f"({version}, True)"


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_f23_preloaded_workers(shelf, url, settings, tmp_path, worker_class):
    """Workers of every kind, forked from a process that has used the model, answer and follow a release."""
    with (
        gunicorns.serving(
            tmp_path / "log",
            workers=2,
            preload=True,
            worker_class=worker_class,
            store=url,
            cache_dir=str(settings["cache_dir"]),
            poll_seconds=0.5,
        ) as web,
        gunicorns.Load(web.port, shelf.rows) as load,
    ):
        load.warm_up(2)
        release(url, 2)
        gunicorns.wait_for(lambda: len(load.workers_at(2)) == 2)
    assert load.failures == []
    assert {answer.status for answer in load.answers} == {200}
    for answer in load.answers[:: max(1, len(load.answers) // 50)]:
        expected = shelf.offline(answer.body["version"], shelf.rows[answer.row], text=True)
        assert answer.body["proba"] == expected
    assert "Traceback" not in web.log.read_text()


# -- f27, f28: processes that die while they load ------------------------------------------------------------

DYING = (
    FARM
    + """
url, folder, signals, buried = ARGUMENTS
settings = {"trusted_types": ["deadly.Deadly"]}

def tick(**more):
    here = Process(url, folder, **{**settings, **more})
    here.tick()
    here.tick()
    status = here.status()
    return [here.version, status.state, status.quarantined, [type(event).__name__ for event in here.events]]

graves = []
for number in signals:
    os.environ["DEADLY"] = str(number)
    died_of, remains = killed(tick)
    print(json.dumps(died_of))
    if buried:
        finish(remains)
os.environ["DEADLY"] = ""
print(json.dumps(finish(start(tick))))
print(json.dumps(finish(start(tick))))
print(json.dumps(finish(start(lambda: tick(trusted_types=["deadly.Deadly", "of.another.deploy"])))))
"""
)


def dying(url, folder, signals, *, buried):
    """Return what three processes serve after others died of signals: two in their environment, one in another."""
    *deaths, first, second, other = said(script(DYING, url, str(folder), signals, buried))
    assert deaths == signals
    return first, second, other


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signals", "buried"),
    [([11, 11, 11], True), ([11, 7], False), ([9, 9, 9], True)],
    ids=["three unknown deaths", "two crashes", "three that nobody can tell from crashes"],
)
def test_f27_a_version_that_kills_who_loads_it(deadly_models, tmp_path, signals, buried):
    """For an hour no process here loads it, whenever it starts; the fallback serves; another deploy tries."""
    first, second, other = dying(deadly_models, tmp_path / "cache", signals, buried=buried)
    version, state, quarantined, events = first
    assert (version, state) == (1, "stale")
    assert "died while they loaded it" in quarantined["4"]
    assert events == ["VersionQuarantined", "VersionLoaded"]
    assert second == [1, "stale", quarantined, events]  # each says so, as it is no verdict for good
    assert other[:3] == [4, "serving", {}]


@pytest.mark.slow
@pytest.mark.parametrize(("signals", "buried"), [([9] * 5, False), ([11], False), ([9, 9], True)], ids=str)
def test_f28_deaths_that_are_not_its_fault(deadly_models, tmp_path, signals, buried):
    """Killed processes are not held against it where the signal is known, nor are fewer than it takes."""
    for told in dying(deadly_models, tmp_path / "cache", signals, buried=buried):
        assert told[:3] == [4, "serving", {}]


# -- f31: the store is down at the start --------------------------------------------------------------------

ASK = """
import sklearn.linear_model, sklearn.pipeline, skops.io, pandas, s3fs
from mlshared import Client, MlsharedError
settings, row = ARGUMENTS
began = time.monotonic()
with Client(**settings) as client:
    model = client.model("cancer")
    try:
        answer = model.predict_proba(row)
        told = {"version": model.current.version, "proba": {str(k): v for k, v in answer.items()}}
    except MlsharedError as error:
        told = {"error": type(error).__name__, "message": str(error)}
    took = time.monotonic() - began
    print(json.dumps({**told, "seconds": took, "state": model.status().state}), flush=True)
"""


@pytest.fixture
def remote(shelf, s3_store, counting_proxy, tmp_path):
    """Settings of a client that reads the shelf from S3, through the proxy."""
    shelf.send_to(s3_store)
    return {
        "store": s3_store.url,
        "storage_options": s3_store.at(counting_proxy.url).options,
        "cache_dir": str(tmp_path / "cache"),
    }


def ask(shelf, settings):
    (told,) = said(script(ASK, settings, shelf.rows[0]))
    return told


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("how", ["refusing", "hanging"])
def test_f31_a_new_process_starts_from_a_warm_cache(shelf, remote, counting_proxy, how):
    """Though the store refuses or hangs, the last version known here answers within two seconds and a half."""
    ask(shelf, remote)
    counting_proxy.stop() if how == "refusing" else counting_proxy.hold()
    # The host's last look is long ago, so that the new process asks.
    for checked in Path(remote["cache_dir"]).rglob("checked"):
        os.utime(checked, (1, 1))
    told = ask(shelf, remote)
    assert told["proba"] == shelf.offline(1, shelf.rows[0], text=True)
    assert told["state"] == "stale"
    assert told["seconds"] < 2.5 * slowness()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("how", ["refusing", "hanging", "known"])
def test_f31_a_cold_cache(shelf, remote, counting_proxy, how):
    """ModelNotReady long before gunicorn's 30 s, naming what was tried; also where the store's id is known."""
    counting_proxy.stop() if how == "refusing" else counting_proxy.hold()
    told = ask(shelf, {**remote, "store_id": shelf.store_id} if how == "known" else remote)
    assert told["error"] == "ModelNotReady"
    assert ("no answer within" if how == "known" else "mlshared.json") in told["message"]
    assert told["seconds"] < 7


# -- f32: nobody refreshes ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_f32_a_thread_that_died_is_replaced(url, settings):
    """Status says so; the next prediction past the due time finds out; refreshing goes on with a new thread."""
    events = Events()
    with Client(url, **settings, hook=events) as client:
        model = client.model(NAME)
        assert model.current.version == 1
        worker = next(iter(client._workers.values()))

        def kill():
            raise SystemExit

        with pytest.raises(SystemExit):
            worker._poller.submit(kill, timeout_seconds=SECONDS)
        worker._poller._thread.join(SECONDS)
        assert model.status().state == "stale"
        assert "does not run" in model.status().last_error
        release(url, 2)
        assert model.current.version == 1  # within the due time nobody looks
        model.keep_until(0.0)  # ... which is now over
        assert model.current.version == 1
        assert events.wait_for(VersionLoaded, count=2)
        assert model.current.version == 2
        assert model.status().state == "serving"
        assert events.wait_for(RefreshStopped)
        assert [event.going_on for event in events.all if isinstance(event, RefreshStopped)] == [True]


def test_f32_forked_without_hooks(url, settings, shelf, monkeypatch):
    """Such a child answers, says that it is not refreshed, finds out when due, and follows releases."""
    monkeypatch.setattr(_worker, "DUE_SECONDS", 0.5)
    events, row = Events(), shelf.rows[0]
    with Client(url, **{**settings, "poll_seconds": 1}, hook=events) as client:
        model = client.model(NAME)
        assert model.ready()
        worker = next(iter(client._workers.values()))
        worker._poller.submit(lambda: None, timeout_seconds=SECONDS)
        # Its thread now waits for a while, and holds none of the interpreter's own locks: a fork without hooks
        # that falls on such a moment is beyond anybody's help.
        time.sleep(0.05)

        def child():
            first = model.predict_proba(row) == shelf.offline(1, row)
            before = model.status()
            release(url, 2)
            deadline = time.monotonic() + 20
            while model.current.version != 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            noticed = [event.reason for event in events.all if isinstance(event, RefreshStopped)]
            return first, before.state, model.current.version, model.status().state, noticed

        told = in_a_fork(child, fork=hookless_fork)
        assert told.startswith("(True, 'stale', 2, 'serving', [\"this process was forked without")
        assert model.refresh() in (True, False)  # the parent's own goes on
        assert model.current.version == 2


STOPPED = """
from mlshared import Client, _worker
_worker.DUE_SECONDS = 0.3
url, folder = ARGUMENTS
with Client(url, cache_dir=folder, poll_seconds=0.1) as client:
    model = client.model("cancer")
    print(json.dumps(model.current.version), flush=True)
    sys.stdin.readline()
    seen = [model.current.version]
    while seen[-1] != 2:
        seen.append(model.current.version)
        time.sleep(0.01)
    print(json.dumps([seen[0], model.status().state]), flush=True)
"""


def test_f32_a_suspended_machine(url, settings):
    """A process that stood still for longer than it had promised to look goes on by itself."""
    process = script(STOPPED, url, str(settings["cache_dir"]))
    assert json.loads(process.stdout.readline()) == 1
    os.kill(process.pid, signal.SIGSTOP)
    release(url, 2)
    time.sleep(1.0)  # the suspension itself
    os.kill(process.pid, signal.SIGCONT)
    out, err = process.communicate("\n", timeout=SECONDS)
    assert process.returncode == 0, err
    first, state = json.loads(out)
    assert first in (1, 2)
    assert state == "serving"


def test_f32_threads_that_get_no_turn(url, settings, monkeypatch):
    """Under uWSGI without threads there is one loud event, from the request that finds out; predictions go on."""
    uwsgi = types.ModuleType("uwsgi")
    uwsgi.opt = {"http": b"127.0.0.1:0", "master": True}
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    monkeypatch.setattr(_worker, "NUDGE_SECONDS", 0.0)
    events, go = Events(), threading.Event()
    with Client(url, **settings, hook=events) as client:
        model = client.model(NAME)
        assert model.ready()
        worker = next(iter(client._workers.values()))
        blocking = threading.Thread(
            target=lambda: worker._poller.submit(lambda: go.wait(20), timeout_seconds=20)
        )
        blocking.start()
        model.keep_until(time.monotonic() - 1)
        while not any(isinstance(event, RefreshStopped) for event in events.all):
            assert model.current.version == 1
        for _ in range(3):
            assert model.current.version == 1
        (event,) = [event for event in events.all if isinstance(event, RefreshStopped)]
        assert not event.going_on
        assert "enable-threads" in event.reason
        log_event(event)
        go.set()
        blocking.join()


# -- f33: sixty-four at once --------------------------------------------------------------------------------

CROWD = (
    FARM
    + """
settings, count = ARGUMENTS

def work():
    with Client(**settings) as client:
        model = client.model("cancer")
        return [model.ready(timeout=75), model.status().version, model.status().quarantined]

for told in [finish(each) for each in [start(work) for _ in range(count)]]:
    print(json.dumps(told))
"""
)


@pytest.mark.slow
@pytest.mark.alone
def test_f33_sixty_four_processes_start_at_once(deadly_models, s3_store, counting_proxy, tmp_path, capsys):
    """Each blob is downloaded once, counted at the socket; no more load at a time than the host has slots."""
    prefix = s3_store.url.removeprefix("s3://")
    for path in Path(deadly_models).rglob("*"):
        if path.is_file():
            key = path.relative_to(deadly_models).as_posix()
            s3_store.server.send("PUT", f"/{prefix}/{key}", path.read_bytes())
    loads, count = tmp_path / "loads", 64
    settings = {
        "store": s3_store.url,
        "storage_options": s3_store.at(counting_proxy.url).options,
        "store_id": json.loads((Path(deadly_models) / "mlshared.json").read_bytes())["id"],
        "cache_dir": str(tmp_path / "cache"),
        "trusted_types": ["deadly.Deadly"],
        "first_load_seconds": 75,
    }
    began = time.monotonic()
    told = said(script(CROWD, settings, count, environment={"DEADLY": f"slow:{loads}"}))
    assert told == [[True, 4, {}]] * count
    downloads = collections.Counter(r.path for r in counting_proxy.seen("GET") if "/blobs/" in r.path)
    assert sorted(downloads.values()) == [1, 1]
    spans = sorted(tuple(map(float, line.split())) for line in loads.read_text().splitlines())
    assert len(spans) == count
    most = max(sum(a <= at < b for a, b in spans) for at, _ in spans)
    with capsys.disabled():
        took = time.monotonic() - began
        print(
            f"\n    {count} cold: {took:.1f} s, {len(counting_proxy.seen())} requests, {most} load at a time"
        )
    assert most <= max(1, (os.cpu_count() or 1) // 4)


# -- gevent, and what a host's processes say ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.alone
def test_gevent_workers_with_djangos_orm(shelf, s3_store, counting_proxy, tmp_path, monkeypatch, capsys):
    """Over a live S3 store: the ORM works, no event loop leaks into a request, the hub never stalls for long."""
    shelf.send_to(s3_store)
    options = s3_store.at(counting_proxy.url).options
    named = {**options, "endpoint_url": counting_proxy.url.replace("127.0.0.1", "localhost")}
    monkeypatch.setenv("DATABASE", str(tmp_path / "db.sqlite3"))
    with (
        gunicorns.serving(
            tmp_path / "log",
            workers=1,
            worker_class="gevent",
            app="gevent_app:application",
            chdir=Path(__file__).parent,
            store=s3_store.url,
            options=named,
            cache_dir=str(tmp_path / "cache"),
            poll_seconds=0.5,
        ) as web,
    ):
        answers, stalls = [], []

        def serves(version):
            answers.append(web.post("/predict", shelf.rows[0]))
            return answers[-1][1]["version"] == version

        gunicorns.wait_for(lambda: serves(1))
        for version in (2, 3, 2, 3):
            web.get("/stalled")
            release(s3_store.url, version, storage_options=s3_store.options)
            gunicorns.wait_for(lambda v=version: serves(v))
            stalls.append(web.get("/stalled")[1]["seconds"])
    for status, answer in answers:
        assert (status, answer["rows"], answer["loop"]) == (200, 3, False)
        assert answer["proba"] == shelf.offline(answer["version"], shelf.rows[0], text=True)
    log = web.log.read_text()
    assert "SynchronousOnlyOperation" not in log
    assert "Traceback" not in log
    with capsys.disabled():
        print(f"\n    gevent: longest stalls of the hub {[round(1e3 * s) for s in stalls]} ms over 4 swaps")
    assert min(stalls) < 0.05 * slowness()


SERVE = """
from mlshared import Client
url, folder = ARGUMENTS
with Client(url, cache_dir=folder, poll_seconds=0.1) as client:
    client.model("cancer").ready()
    worker = next(iter(client._workers.values()))
    worker._poller.submit(worker._tick, timeout_seconds=20)
    print("1", flush=True)
    sys.stdin.readline()
"""


def test_status_shows_each_living_process(url, settings, capsys, monkeypatch):
    """`python -m mlshared status` shows both; of one that was killed nothing is left."""
    monkeypatch.setenv("MLSHARED_CACHE_DIR", str(settings["cache_dir"]))
    processes = [script(SERVE, url, str(settings["cache_dir"])) for _ in range(2)]
    try:
        for process in processes:
            process.stdout.readline()

        def shown():
            assert main(["status", "--store", url, "--json"]) == 0
            return {
                p["pid"]: p["models"][NAME]["version"]
                for p in json.loads(capsys.readouterr().out)["processes"]
            }

        assert shown() == dict.fromkeys((process.pid for process in processes), 1)
        processes[0].kill()
        processes[0].wait()
        assert shown() == {processes[1].pid: 1}
        assert not list(settings["cache_dir"].rglob(f"{processes[0].pid}.json"))
    finally:
        for process in processes:
            process.communicate("\n" if process.poll() is None else None, timeout=SECONDS)
