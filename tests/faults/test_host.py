"""What can go wrong on a host, with its disk, its clock and the versions it loads: rows of FAULTS, client side."""

import gc
import http.server
import math
import os
import shutil
import sys
import threading
import time
import uuid
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from entries import STORE_ID, founded, put, release
from process import Events, Process, said, script
from shelf import NAME, add_version, disagree

import mlshared
import trainer
from mlshared import Client, _load
from mlshared._alias_log import CONFIRM_SECONDS, AliasLog
from mlshared._cache import open_cache
from mlshared._following import follow
from mlshared._looks import VOID_AFTER_LOOKS
from mlshared._objects import open_objects
from mlshared._ref import parse_ref
from mlshared._refresh import APART_SECONDS
from mlshared.errors import EnvironmentMismatch, IntegrityError, NotPublished, SelfTestFailed, StorageError
from mlshared.events import RefreshFailed, StoreWarning, VersionQuarantined
from mlshared.manifest import to_bytes
from mlshared.store import release_key

REF = parse_ref("flights")


@pytest.fixture
def url(shelf, tmp_path):
    return shelf.copy_to(tmp_path / "models")


@pytest.fixture
def cache_dir(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def process(url, cache_dir):
    return lambda **settings: Process(url, cache_dir, **settings)


@pytest.fixture
def right(shelf):
    """Whether a process answers a row as the fitted pipeline of a version does."""

    def check(here, version):
        return here.version == version and here.answer(shelf.rows[0]) == shelf.offline(version, shelf.rows[0])

    return check


def release_version(url, version):
    trainer.release(NAME, version, store=url)


# -- f18, f19: the cache's disk -----------------------------------------------------------------------------

# In a Python of its own: what is broken there is broken for whoever runs in it.
AT_EVERY_STEP = """
import shutil, signal
from pathlib import Path
from process import Process
from mlshared import _disk

url, folder, row, what = ARGUMENTS
folder, steps, broken = Path(folder), 0, None
CALLS = {"open": os.open, "write": os.write, "fsync": os.fsync, "link": os.link, "replace": os.replace,
         "mkdir": os.mkdir, "utime": os.utime, "unlink": os.unlink, "close": os.close}

def breaking(name, call):
    def one(*arguments, **options):
        global steps
        ours = sys._getframe(1).f_globals.get("__name__") in ("mlshared._disk", "pathlib")
        if broken is not None and ours and name in WHICH:
            steps += 1
            if steps >= broken:
                failure()
        return call(*arguments, **options)
    return one

for name, call in CALLS.items():
    setattr(os, name, breaking(name, call))
Process(url, None)  # imports
"""
KILLED = (
    AT_EVERY_STEP
    + """
WHICH = CALLS
def failure():
    os.kill(os.getpid(), signal.SIGKILL)

n, killed = 1, True
while killed:
    pid = os.fork()
    if pid == 0:
        broken = n
        Process(url, folder).tick()
        os._exit(0)
    killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    here = Process(url, folder)
    here.tick()
    assert here.version == 1, (n, here.status())
    assert here.status().cache_problem is None, (n, here.status())
    assert here.status().quarantined == {}, n
    shutil.rmtree(folder)
    n += 1
print(n)
"""
)
FAILING = (
    AT_EVERY_STEP
    + """
import errno
WHICH = {what["call"]}
def failure():
    raise OSError(getattr(errno, what["error"]), os.strerror(getattr(errno, what["error"])))

n, told, answers = 1, 0, set()
while True:
    broken, steps = n, 0
    here = Process(url, folder)
    here.tick()
    over, broken = steps < n, None
    assert here.version == 1, (n, here.status())
    problem = here.status().cache_problem
    told += problem is not None and os.strerror(getattr(errno, what["error"])) in problem
    answers.add(json.dumps(here.answer(row)))
    here.refresher._house.keep(here.model.loaded)  # as it does now and again: the disk works again
    here.refresher._house.keep(here.model.loaded)
    assert here.status().cache_problem is None, (n, here.status())
    later = Process(url, folder)
    later.tick()
    assert later.version == 1 and later.status().cache_problem is None, (n, later.status())
    shutil.rmtree(folder)
    if over:
        break
    n += 1
(answer,) = answers
print(json.dumps([n, told, json.loads(answer)]))
"""
)


@pytest.mark.slow
def test_f18_killed_at_every_step_of_a_cycle(url, cache_dir, shelf):
    """Whichever call on the cache is the last before kill -9, the next process loads the version at once."""
    (steps,) = said(script(KILLED, url, str(cache_dir), shelf.rows[0], {}))
    assert steps > 50


@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "error"),
    [("write", "ENOSPC"), ("fsync", "EIO"), ("replace", "EROFS"), ("link", "EIO"), ("open", "EROFS")],
)
def test_f19_a_disk_that_fails_from_the_nth_call_on(url, cache_dir, shelf, call, error):
    """Serves from memory and says why; once the disk works, everything is on it and nothing is complained about."""
    what = {"call": call, "error": error}
    ((steps, told, answer),) = said(script(FAILING, url, str(cache_dir), shelf.rows[0], what))
    assert answer == shelf.offline(1, shelf.rows[0], text=True)
    assert told >= max(1, steps - 2)  # at the last none failed, and the first may be but the probe


# -- f20, f22: blobs that change or vanish ------------------------------------------------------------------

DAMAGES = {
    "truncated": lambda data: data[: len(data) // 2],
    "flipped": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "zeroed": lambda data: bytes(len(data)),
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_f20_a_damaged_blob_is_fetched_again(process, cache_dir, right, damage, mapped, monkeypatch):
    """A process that finds it damaged loads the right bytes, and leaves them whole for the next."""
    monkeypatch.setattr(_load, "MAPPED_FROM_BYTES", 0 if mapped else math.inf)
    process().tick()
    blobs = {path: path.read_bytes() for path in (cache_dir / "blobs").iterdir()}
    assert len(blobs) == 3  # manifest, plan, golden rows
    for path, data in blobs.items():
        path.unlink()
        path.write_bytes(DAMAGES[damage](data))
        path.chmod(0o400)
    here = process()
    here.tick()
    assert right(here, 1)
    assert here.status().quarantined == {}
    assert {path: path.read_bytes() for path in (cache_dir / "blobs").iterdir()} == blobs


@pytest.mark.parametrize("mapped", [False, True], ids=["read", "mapped"])
def test_f22_evicted_while_it_is_loaded(process, cache_dir, right, mapped, monkeypatch):
    """Whenever the blobs vanish during a load, it completes: at every file that is opened meanwhile."""
    monkeypatch.setattr(_load, "MAPPED_FROM_BYTES", 0 if mapped else math.inf)
    process().tick()
    opens, at, real = 0, 1, os.open

    def opening(path, *arguments, **options):
        nonlocal opens
        if "blobs/" in str(path):
            opens += 1
            if opens == at:
                shutil.rmtree(cache_dir / "blobs")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", opening)
    while opens >= at - 1:
        opens, at = 0, at + 1
        here = process()
        here.tick()
        assert right(here, 1)
        if opens < at:
            break
    assert at > 3


def test_f22_evicted_while_it_is_mapped(process, cache_dir, right, monkeypatch):
    """Answers go on from what is mapped though the file is unlinked."""
    monkeypatch.setattr(_load, "MAPPED_FROM_BYTES", 0)
    here = process()
    here.tick()
    assert any((cache_dir / "hashed").iterdir())
    shutil.rmtree(cache_dir)
    gc.collect()
    assert right(here, 1)


# -- f25: never backwards -----------------------------------------------------------------------------------


@pytest.fixture
def store():
    return founded(open_objects(f"memory://{uuid.uuid4().hex}"))


def cached_log(folder):
    return open_cache(folder, max_bytes=1 << 20).log(STORE_ID, "flights", "production")


def chain(count):
    entries = [release(1)]
    for number in range(2, count + 1):
        entries.append(release(number, prev=entries[-1], version=number, manifest_sha256=f"{number:064d}"))
    return entries


def test_f25_a_log_never_goes_backwards(store, cache_dir):
    """A process that remembers entry 3 refuses a store whose log ends at 2."""
    put(store, *chain(3))
    log = follow(STORE_ID, REF, cached_log(cache_dir))
    log.look(store)
    log.remember()
    shorter = founded(open_objects(f"memory://{uuid.uuid4().hex}"))
    put(shorter, *chain(2))
    later = follow(STORE_ID, REF, cached_log(cache_dir))
    later.rescan()
    with pytest.raises(StorageError, match="ends before entry 3"):
        later.look(shorter)
    assert later.head.entry.number == 3


def test_f25_an_entry_that_follows_a_head_that_is_gone(tmp_path, cache_dir):
    """A log that lost the accepted entry is an outage, and newer entries are followed all the same."""
    store = founded(open_objects(str(tmp_path / "models")))
    first, second = chain(2)
    put(store, first)
    now = [0.0]
    log = AliasLog(STORE_ID, REF, cached_log(cache_dir), clock=lambda: now[0])
    log.look(store)
    (tmp_path / "models" / release_key("flights", "production", 1)).unlink()
    now[0] = CONFIRM_SECONDS + 1
    with pytest.raises(StorageError, match="gone"):
        log.look(store)
    put(store, second)
    log.look(store)
    assert log.head.entry.number == 2


def test_f25_an_old_entry_replayed(process, url, right):
    """The bytes of entry 1 under the next number are refused, and a version withdrawn does not come back."""
    here = process()
    release_version(url, 2)
    here.refresh()
    log = Path(url) / NAME / "releases" / "production"
    (log / "0000000003.json").write_bytes((log / "0000000001.json").read_bytes())
    for _ in range(VOID_AFTER_LOOKS + 1):
        with pytest.raises(IntegrityError, match="another place"):
            here.refresh()
    assert right(here, 2)
    later = process()
    later.tick()
    assert right(later, 2)


def test_f25_a_floor_protects_a_host_without_memory(url, tmp_path, right):
    """A new host believes a log that was cut short, unless a floor says otherwise; also to what others believed."""
    release_version(url, 2)
    (Path(url) / release_key(NAME, "production", 2)).unlink()
    believing = Process(url, tmp_path / "new")
    believing.tick()
    assert right(believing, 1)
    for cache in ("newer", "new"):
        floored = Process(url, tmp_path / cache, floors={NAME: 2})
        with pytest.raises(NotPublished, match="below the floor 2"):
            floored.refresh()
        assert floored.version is None


@pytest.mark.parametrize("days", [-1, 1])
def test_f25_a_clock_off_by_a_day(process, url, right, monkeypatch, days):
    """Whether it jumps ahead or back, releases are followed in the order of their numbers, and polls go on."""
    here = process(poll_seconds=0.05)
    here.tick()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86400 * days)
    other = process(poll_seconds=0.05)
    other.tick()
    for version in (2, 3):
        release_version(url, version)
        for each in (here, other):
            deadline = time.monotonic() + 20
            while each.version != version and time.monotonic() < deadline:
                each.tick()
            assert right(each, version)
            assert each.status().state == "serving"
        monkeypatch.setattr(time, "time", real)


# -- f26, f27, f28: versions that cannot be used ------------------------------------------------------------


def estimator_only(manifest, **edits):
    """Return the change to a manifest that leaves its estimator alone to answer."""
    return {"artifacts": tuple(a.model_copy(update=edits) for a in manifest.artifacts if a.kind != "plan")}


@pytest.mark.parametrize(
    ("requires", "message"),
    [
        ({"scikit-learn": "0.1.0"}, r"trained with scikit-learn 0\.1\.0"),
        ({"no-such-library": "1.0"}, "needs no-such-library 1.0, which is not installed"),
    ],
)
def test_f26_a_library_that_is_not_here(process, url, right, requires, message):
    """Without a plan the version is refused and says what it needs; it is not quarantined. A plan serves."""
    here = process()
    here.tick()
    edit = lambda m: estimator_only(m, requires=requires)  # noqa: E731
    add_version(url, like=2, version=4, edit=edit)
    release_version(url, 4)
    with pytest.raises(EnvironmentMismatch, match=message):
        here.refresh()
    assert right(here, 1)
    assert here.status().quarantined == {}

    def with_plan(manifest):
        changed = {a.kind: {"requires": requires} if a.kind != "plan" else {} for a in manifest.artifacts}
        return {"artifacts": tuple(a.model_copy(update=changed[a.kind]) for a in manifest.artifacts)}

    add_version(url, like=2, version=5, edit=with_plan)
    release_version(url, 5)
    here.refresh()
    assert (here.version, here.status().state) == (5, "serving")


@pytest.fixture(scope="module")
def deadly_models(shelf, tmp_path_factory):
    """The shelf, and version 4 in force: an estimator of a type of the app's own; see deadly.py."""
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        import deadly  # noqa: PLC0415
    finally:
        sys.path.pop(0)
    return deadly.released(shelf, tmp_path_factory.mktemp("deadly") / "models")


@pytest.fixture
def deadly(deadly_models, cache_dir):
    return Process(deadly_models, cache_dir, trusted_types=["deadly.Deadly"])


def test_f26_a_class_that_is_gone(deadly, right, monkeypatch):
    """An estimator whose class the app no longer has is refused before the swap; the fallback serves."""
    monkeypatch.delitem(sys.modules, "deadly")
    deadly.tick()
    assert right(deadly, 1)
    (failed,) = deadly.told(RefreshFailed)
    assert "deadly" in str(failed.error)
    assert (deadly.status().state, deadly.status().quarantined) == ("stale", {})


def test_f27_golden_rows_that_disagree(process, url):
    """No swap; status and hook say why; the next good version is taken; then all is well again."""
    here = process()
    here.tick()
    add_version(url, like=2, version=4, golden=disagree)
    release_version(url, 4)
    with pytest.raises(SelfTestFailed, match="predict_proba, row 0"):
        here.refresh()
    status = here.status()
    assert (here.version, status.state) == (1, "stale")
    assert "SelfTestFailed: predict_proba, row 0" in status.quarantined[4]
    assert status.last_error == status.quarantined[4]
    assert [event.version for event in here.told(VersionQuarantined)] == [4]
    release_version(url, 3)
    here.refresh()
    assert (here.version, here.status().state, here.status().last_error) == (3, "serving", None)


def nan(document):
    document["answers"]["predict_proba"][0][0] = {"float": "nan"}


def unanswerable(document):
    document["answers"]["transform"] = document["answers"]["predict_proba"]


@pytest.mark.parametrize("golden", [disagree, nan, unanswerable])
def test_f27_a_quarantine_outlives_the_process(process, url, golden):
    """A process that starts later does not try it again, serves the fallback, and says why."""
    here = process()
    add_version(url, like=2, version=4, golden=golden)
    release_version(url, 4)
    here.tick()
    assert here.version == 1
    later = process()
    later.tick()
    assert later.version == 1
    assert later.told(VersionQuarantined) == []
    assert later.told(RefreshFailed) == []  # it was not even tried
    assert later.status().state == "stale"
    assert later.status().last_error.startswith("SelfTestFailed")
    changed = process(trusted_types=["a.b"])  # another environment: tried anew
    changed.tick()
    assert [event.version for event in changed.told(VersionQuarantined)] == [4]


def test_f27_bytes_that_came_wrong_at_three_looks(process, url):
    """A blob that holds other bytes than its manifest names is quarantined at the third look; not before."""
    here = process()
    now = [0.0]
    here.refresher._verdicts._clock = lambda: now[0]
    here.tick()
    flip = lambda kind, data: bytes([data[0] ^ 1]) + data[1:] if kind == "plan" else data  # noqa: E731
    add_version(url, like=2, version=4, blobs=flip)
    release_version(url, 4)
    for looks in range(4):
        assert (4 in here.status().quarantined) == (looks == 3)
        for _ in range(2):  # two looks at once are one
            with pytest.raises(IntegrityError, match="does not hold the bytes"):
                here.refresh()
        now[0] += APART_SECONDS
    assert here.version == 1
    assert [event.version for event in here.told(VersionQuarantined)] == [4]


def test_f28_no_memory_for_a_load(deadly, right, monkeypatch):
    """It is not held against the version: another process tries it, and so does this one, later."""
    monkeypatch.setenv("DEADLY", "memory")
    deadly.tick()
    assert right(deadly, 1)
    assert deadly.status().quarantined == {}
    assert "MemoryError" in deadly.status().last_error
    monkeypatch.delenv("DEADLY")
    deadly.refresh()
    assert (deadly.version, deadly.status().state) == (4, "serving")


# -- f29: hot swaps -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.alone
def test_f29_ten_thousand_swaps_under_load(process, url, shelf):
    """Every answer is one version's, whole; none fails; no version that left stays in memory."""
    release_version(url, 2)
    two = process()
    two.refresh()
    release_version(url, 1)
    two.refresh()
    model = two.model
    versions = {1: model.loaded}
    release_version(url, 2)
    two.refresh()
    versions[2] = model.loaded
    rows = shelf.rows[:4]
    expected = {(n, row): v.predict_proba(rows[row]) for n, v in versions.items() for row in range(4)}
    stop, alive, wrong = threading.Event(), weakref.WeakSet(), []
    counts = [0] * 8
    model.keep_until(math.inf)

    def predict(me):
        turn = me
        while not stop.is_set():
            row = turn = (turn + 1) % 4
            current = model.current
            if model.predict_proba(rows[row]) not in (expected[1, row], expected[2, row]):
                wrong.append((row, "mixed"))
            if current.predict_proba(rows[row]) != expected[current.version, row]:
                wrong.append((row, current))
            counts[me] += 1

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(predict, me) for me in range(8)]
        try:
            for turn in range(10_000):
                fresh = replace(versions[1 + turn % 2])
                alive.add(fresh)
                model.swap(fresh)
                if turn % 50 == 0:
                    time.sleep(0)
            while min(counts) < 50:
                time.sleep(0.01)
        finally:
            stop.set()
        for each in running:
            each.result()
    del fresh
    gc.collect()
    assert wrong == []
    assert len(alive) <= 1  # the one in force


# -- f35, f37: logs with something odd in them --------------------------------------------------------------


def test_f35_a_bad_entry_is_void_after_three_looks(store, cache_dir):
    """Garbage under the next number is looked at three times, then passed over for good."""
    first = release(1)
    put(store, first)
    log = follow(STORE_ID, REF, cached_log(cache_dir))
    log.look(store)
    store.objects.create(release_key("flights", "production", 2), b"garbage", timeout=10)
    put(store, release(3, prev=first, version=3, manifest_sha256="c" * 64))
    for _ in range(VOID_AFTER_LOOKS - 1):
        log.look(store)
        assert isinstance(log.problem, IntegrityError)
        assert log.head.entry.number == 1
    log.look(store)
    assert log.head.entry.number == 3
    assert log.problem is None


def test_f35_bytes_that_differ_from_look_to_look_are_no_void(tmp_path, cache_dir):
    """Each look at other bad bytes counts anew: that is the network, and the entry may be good."""
    store = founded(open_objects(str(tmp_path / "models")))
    first = release(1)
    put(store, first)
    log = follow(STORE_ID, REF, cached_log(cache_dir))
    log.look(store)
    put(store, release(3, prev=first, version=3))
    path = tmp_path / "models" / release_key("flights", "production", 2)
    for look in range(2 * VOID_AFTER_LOOKS):
        path.write_bytes(b"garbage %d" % look)
        log.look(store)
        assert log.head.entry.number == 1
    path.unlink()
    path.write_bytes(to_bytes(release(2, prev=first, version=2, manifest_sha256="b" * 64)))
    log.look(store)
    assert log.head.entry.number == 2


@pytest.fixture
def listless_s3(shelf, monkeypatch):
    """S3 as a reader without s3:ListBucket sees it: lists, and what is absent, are refused."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    log = []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            path = self.path.split("?")[0].lstrip("/").removeprefix("bucket/models/")
            log.append(self.path)
            file = shelf.folder / path
            found = "list-type" not in self.path and file.is_file()
            body = file.read_bytes() if found else b"<Error><Code>AccessDenied</Code></Error>"
            self.send_response(200 if found else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", log
        server.shutdown()
        thread.join()


def test_f37_a_reader_without_list_bucket(listless_s3, cache_dir):
    """It is served, two requests a poll, warned once; a bucket it may not read at all is an AccessDenied."""
    endpoint, log = listless_s3
    options = {
        "endpoint_url": endpoint,
        "key": "k",
        "secret": "s",
        "client_kwargs": {"region_name": "us-east-1"},
    }
    events = Events()
    settings = {"cache_dir": cache_dir, "poll_seconds": 0, "hook": events, "storage_options": options}
    with Client("s3://bucket/models", allow_unsigned=True, **settings) as client:
        model = client.model(NAME)
        assert model.current.version == 1
        model.refresh()
        before = len(log)
        model.refresh()
        assert len(log) - before == 2
        warned = [event.message for event in events.all if isinstance(event, StoreWarning)]
        assert ["s3:ListBucket" in message for message in warned] == [True]
        with pytest.raises(mlshared.AccessDenied):
            client.model("secret").refresh()
