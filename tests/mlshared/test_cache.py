"""The host's cache: what is shared, what a crash, a race or a bad disk can do to it (nothing)."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlshared
from mlshared import _folder
from mlshared._cache import choose_evictions, open_cache
from mlshared._folder import Kept

ROOT = str(Path(mlshared.__file__).parents[1])
STORE = "0123456789abcdef" * 2
DATA = b"a fitted pipeline" * 1000
SHA = hashlib.sha256(DATA).hexdigest()
OLD = time.time() - 7200


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def opened(folder, *, max_bytes=10**9):
    return open_cache(folder, max_bytes=max_bytes)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(params=["disk", "memory"])
def cache(request, folder):
    if request.param == "memory":
        folder.write_bytes(b"a file in place of the folder")
    cache = opened(folder)
    assert (cache.problem is None) == (request.param == "disk")
    return cache


@pytest.fixture
def log(cache):
    return cache.log(STORE, "flights", "production")


# The package without its __init__: the cache needs a third of what that imports, and children are many.
PRELUDE = f"""
import hashlib, json, os, signal, sys, types
from pathlib import Path
sys.modules["mlshared"] = types.ModuleType("mlshared")
sys.modules["mlshared"].__path__ = [{ROOT + "/mlshared"!r}]
from mlshared._cache import open_cache
STORE = {STORE!r}
DATA = {DATA!r}
SHA = {SHA!r}
folder = Path(sys.argv[1])
"""


def child(code, *arguments, under=(), environment=(), **options):
    """Start a Python process; it prints JSON, one value a line."""
    command = [*under, sys.executable, "-W", "error", "-c", PRELUDE + code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": ROOT, **dict(environment)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment, **options
    )
    _started.append(process)
    return process


_started = []


@pytest.fixture(autouse=True)
def _none_left():
    """End the processes that a failed test leaves, and close their pipes: else a later test is blamed."""
    yield
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with suppress(BrokenPipeError):
                pipe.close()


def said(process):
    """Wait for a process and return what it printed."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


# Interface, on the disk and in memory.


def test_blob_is_returned_as_put(cache):
    """What was put is found by its hash; another hash is absent."""
    cache.put(SHA, DATA)
    assert cache.blob(SHA, len(DATA)) == DATA
    assert cache.blob(sha256(b"other"), 5) is None


def test_size_may_be_an_upper_bound(cache):
    """Where the size is not known, a bound will do."""
    cache.put(SHA, DATA)
    assert cache.blob(SHA, 10**6) == DATA


def test_empty_blob(cache):
    """No bytes are bytes too."""
    cache.put(sha256(b""), b"")
    assert cache.blob(sha256(b""), 0) == b""


@pytest.mark.parametrize("name", ["../x", "A" * 64, SHA + "\n", "", SHA[:-1], "é" * 64])
def test_only_hashes_name_blobs(cache, name):
    """Nothing but 64 lower-case hexadecimal digits reaches a path."""
    with pytest.raises(ValueError):
        cache.blob(name, 1)
    with pytest.raises(ValueError):
        cache.put(name, b"x")


@pytest.mark.parametrize(
    "names",
    [
        ("..", "m", "a"),
        (STORE, "../m", "a"),
        (STORE, "m", ".."),
        (STORE, "m", "Latest"),
        (STORE, "feed", "a"),
    ],
)
def test_only_names_name_logs(cache, names):
    """Store ids, models and aliases are checked at this door too."""
    with pytest.raises(ValueError):
        cache.log(*names)


def test_entries_are_found_by_number_in_order(log):
    """Numbers ascend as numbers, whatever the order of remembering."""
    for number in (10, 9, 100):
        log.remember(number, b"entry %d" % number)
    assert log.numbers() == [9, 10, 100]
    assert log.entry(9) == b"entry 9"
    assert log.entry(11) is None


def test_first_remembered_entry_stays(log):
    """A number is given once: other bytes never take its place."""
    log.remember(1, b"first")
    log.remember(1, b"second")
    assert log.entry(1) == b"first"


def test_versions_are_no_entries_and_shared_by_aliases(cache, log):
    """Manifests by number are the model's, apart from any alias's log, also one called ``versions``."""
    log.remember_version(42, b"manifest")
    assert log.numbers() == []
    assert cache.log(STORE, "flights", "versions").version(42) == b"manifest"
    assert cache.log(STORE, "flights", "versions").numbers() == []
    assert cache.log(STORE, "trains", "production").version(42) is None


def test_model_called_processes_is_like_any_other(cache):
    """Names of models cannot collide with the cache's own."""
    cache.write_status(STORE, os.getpid(), {"ready": True})
    log = cache.log(STORE, "processes", "production")
    log.remember(1, b"x")
    assert log.entry(1) == b"x"
    assert cache.statuses(STORE) == [{"ready": True}]


def test_never_checked_has_no_age(log):
    """Before the first poll there is no age; after it a small one."""
    assert log.checked_age() is None
    log.touch_checked()
    age = log.checked_age()
    assert age is not None
    assert 0 <= age < 30


def test_store_id_is_the_first_remembered(cache):
    """The first writer wins, so that a changed id is noticed; another URL is another store."""
    assert cache.store_id("s3://a") is None
    cache.remember_store_id("s3://a", STORE)
    cache.remember_store_id("s3://a", "f" * 32)
    assert cache.store_id("s3://a") == STORE
    assert cache.store_id("s3://b") is None


@pytest.mark.parametrize(
    "raw", [b"\xff", b"1", b"[1]", b"[1, 2]", b'["key", null]', b"[" * 100_000, b'{"a": 1}']
)
def test_a_quarantine_that_says_something_else_is_passed_over(log, raw):
    """Whatever lies there costs no version its verdict, and no tick its end."""
    log._folder.record(f"{log._here}/quarantine/{'0' * 64}.json", raw)
    log.quarantine("key", "why")
    assert log.quarantined() == {"key": "why"}


def test_quarantine_keeps_the_first_reason(log):
    """Any text is a key; reasons are kept and cut."""
    log.quarantine("hash/../ \x00 fingerprint", "self-test: row 3")
    log.quarantine("hash/../ \x00 fingerprint", "again")
    log.quarantine("long", "x" * 10_000)
    assert log.quarantined() == {"hash/../ \x00 fingerprint": "self-test: row 3", "long": "x" * 2000}


def test_status_is_the_last_written(cache):
    """A process's status takes the place of its last; what JSON lacks becomes text."""
    cache.write_status(STORE, os.getpid(), {"version": 1})
    cache.write_status(STORE, os.getpid(), {"version": 2, "path": Path("x")})
    assert cache.statuses(STORE) == [{"version": 2, "path": "x"}]


def test_dead_process_has_no_status(cache):
    """The status of a process that ended is dropped."""
    gone = child("", "nowhere")
    said(gone)
    cache.write_status(STORE, gone.pid, {"version": 1})
    assert cache.statuses(STORE) == []


def test_evicting_keeps_what_is_kept_and_new(cache):
    """Blobs in ``keep``, and those just written, stay, however little room there is."""
    cache.put(SHA, DATA)
    cache.touch([SHA])
    cache.evict({SHA})
    assert cache.blob(SHA, len(DATA)) == DATA


def test_lock_is_free_again_after_use(log):
    """A lock that was left can be taken again, by the same process too."""
    for _ in range(2):
        with log.try_lock() as free:
            assert free


# Damage.


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def _truncate(path):
    path.chmod(0o600)
    os.truncate(path, path.stat().st_size // 2)


def _empty(path):
    path.chmod(0o600)
    os.truncate(path, 0)


def _zero(path):
    path.chmod(0o600)
    path.write_bytes(bytes(path.stat().st_size))


def _grow(path):
    path.chmod(0o600)
    with path.open("ab") as file:
        file.write(b"\0" * 4_000_000)


def _open_up(path):
    path.chmod(0o666)


def _link_away(path):
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


damages = pytest.mark.parametrize("damage", [_flip, _truncate, _empty, _zero, _grow, _open_up, _link_away])


@damages
def test_damaged_blob_is_removed_and_can_be_put_again(folder, damage):
    """A blob that is not what its name says is absent, is unlinked, and a new one takes its place."""
    cache = opened(folder)
    cache.put(SHA, DATA)
    damage(folder / "blobs" / SHA)
    assert cache.blob(SHA, len(DATA)) is None
    assert not os.path.lexists(folder / "blobs" / SHA)
    cache.put(SHA, DATA)
    assert opened(folder).blob(SHA, len(DATA)) == DATA
    assert cache.problem is None


@damages
def test_damaged_entry_is_absent_and_can_be_remembered_anew(folder, damage):
    """An entry whose bytes changed on the disk does not freeze its number."""
    log = opened(folder).log(STORE, "flights", "production")
    log.remember(7, b"the entry" * 100)
    damage(folder / f"stores/{STORE}/flights/production/0000000007.json")
    assert log.entry(7) is None
    assert log.numbers() == []
    log.remember(7, b"the entry" * 100)
    assert log.entry(7) == b"the entry" * 100


@damages
def test_remembering_mends_a_damaged_entry_nobody_looked_at(folder, damage):
    """Remembering tells a whole entry, which stays, from a damaged one, which goes."""
    log = opened(folder).log(STORE, "flights", "production")
    log.remember(7, b"the entry" * 100)
    damage(folder / f"stores/{STORE}/flights/production/0000000007.json")
    log.remember(7, b"the entry" * 100)
    assert log.entry(7) == b"the entry" * 100


def test_folder_in_place_of_a_blob_is_trouble_that_is_said(folder):
    """What cannot be put aside is worked around: the blob is in memory, and the problem named."""
    (folder / "blobs" / SHA).mkdir(parents=True)
    folder.chmod(0o700)
    cache = opened(folder)
    cache.put(SHA, DATA)
    assert cache.blob(SHA, len(DATA)) == DATA
    assert "in memory only" in cache.problem


def test_folder_in_place_of_an_entry_is_trouble_that_is_said(folder):
    """The same for an entry."""
    (folder / f"stores/{STORE}/flights/production/0000000007.json").mkdir(parents=True)
    folder.chmod(0o700)
    cache = opened(folder)
    log = cache.log(STORE, "flights", "production")
    log.remember(7, b"entry")
    assert log.entry(7) == b"entry"
    assert cache.problem


def test_garbled_status_is_dropped(folder):
    """A status file that is no status is removed, not raised about."""
    cache = opened(folder)
    cache.write_status(STORE, os.getpid(), {"a": 1})
    path = folder / f"stores/{STORE}/processes/{os.getpid()}.json"
    path.unlink()
    path.write_bytes(b"[1, 2]")
    assert cache.statuses(STORE) == []
    assert not path.exists()


def test_reused_process_id_is_seen(folder):
    """A status written by an earlier process with the same id is not taken for this one's."""
    cache = opened(folder)
    cache.write_status(STORE, os.getpid(), {"a": 1})
    path = folder / f"stores/{STORE}/processes/{os.getpid()}.json"
    written = json.loads(path.read_bytes())
    path.unlink()
    path.write_bytes(json.dumps(written | {"started": "1"}).encode())
    assert cache.statuses(STORE) == []


def test_check_in_the_future_does_not_count(folder):
    """A clock that was ahead does not stop polling."""
    log = opened(folder).log(STORE, "flights", "production")
    log.touch_checked()
    os.utime(folder / f"stores/{STORE}/flights/production/checked", (time.time() + 999,) * 2)
    assert log.checked_age() is None


def test_check_ages(folder):
    """The age is that of the last check, by any process."""
    log = opened(folder).log(STORE, "flights", "production")
    opened(folder).log(STORE, "flights", "production").touch_checked()
    os.utime(folder / f"stores/{STORE}/flights/production/checked", (time.time() - 100,) * 2)
    assert 100 <= log.checked_age() < 130


def test_deleted_cache_is_made_again(folder):
    """Someone may delete the whole folder under a running process."""
    cache = opened(folder)
    cache.put(SHA, DATA)
    shutil.rmtree(folder)
    assert cache.blob(SHA, len(DATA)) is None
    cache.put(SHA, DATA)
    cache.log(STORE, "flights", "production").remember(1, b"x")
    assert opened(folder).blob(SHA, len(DATA)) == DATA
    assert cache.problem is None


# Eviction.


def _put_old(cache, folder, data):
    name = sha256(data)
    cache.put(name, data)
    os.utime(folder / "blobs" / name, (OLD, OLD))
    return name


def test_least_recently_used_goes_first(folder):
    """Over the limit, the blob unused for longest is unlinked, and no more than needed."""
    cache = opened(folder, max_bytes=250)
    names = [_put_old(cache, folder, bytes([i]) * 100) for i in range(3)]
    os.utime(folder / "blobs" / names[1], (OLD - 100, OLD - 100))
    cache.evict(set())
    assert cache.blob(names[1], 100) is None
    assert cache.blob(names[0], 100)
    assert cache.blob(names[2], 100)


def test_touched_blob_stays(folder):
    """A blob that any process touched within the hour is not evicted, and its own file is not changed."""
    cache = opened(folder, max_bytes=0)
    used, unused = (_put_old(cache, folder, data) for data in (b"used", b"unused"))
    before = (folder / "blobs" / used).stat()
    opened(folder).touch([used])
    assert (folder / "blobs" / used).stat() == before
    cache.evict(set())
    assert [path.name for path in (folder / "blobs").iterdir()] == [used]
    assert cache.blob(unused, 6) is None


def test_marks_of_vanished_blobs_go(folder):
    """Marks of use do not pile up."""
    cache = opened(folder)
    cache.touch([SHA])
    cache.evict(set())
    assert [path.name for path in (folder / "used").iterdir()] == [SHA]
    os.utime(folder / "used" / SHA, (OLD, OLD))
    cache.evict(set())
    assert list((folder / "used").iterdir()) == []


def test_evicted_blob_stays_readable_for_who_has_it_open(folder):
    """Eviction unlinks: a process that loads the blob from its descriptor finishes."""
    cache = opened(folder, max_bytes=0)
    name = _put_old(cache, folder, DATA)
    with (folder / "blobs" / name).open("rb") as reader:
        cache.evict(set())
        assert not (folder / "blobs" / name).exists()
        assert reader.read() == DATA


@given(
    sizes=st.dictionaries(
        st.integers(0, 30), st.tuples(st.integers(0, 99), st.floats(-9e9, 9e9)), max_size=12
    ),
    marks=st.dictionaries(st.integers(0, 30), st.floats(-9e9, 9e9), max_size=12),
    keep=st.sets(st.integers(0, 30)),
    max_bytes=st.integers(0, 600),
)
def test_eviction_rule(sizes, marks, keep, max_bytes):
    """What goes is neither kept nor in use; the rest fits or has to stay; nothing goes needlessly."""
    blobs = {f"{n:064x}": Kept(size, age) for n, (size, age) in sizes.items()}
    used = {f"{n:064x}": Kept(0, age) for n, age in marks.items()}
    kept = {f"{n:064x}" for n in keep}
    gone = choose_evictions(blobs, used, keep=kept, max_bytes=max_bytes)
    idle = {n: min(abs(b.age), abs(used[n].age) if n in used else abs(b.age)) for n, b in blobs.items()}
    assert all(n not in kept and idle[n] > 3600 for n in gone)
    rest = {n for n in blobs if n not in gone}
    total = sum(blobs[n].size for n in rest)
    assert total <= max_bytes or all(n in kept or idle[n] <= 3600 for n in rest)
    assert not gone or total + blobs[gone[-1]].size > max_bytes


# No usable folder.


# Not by Popen's own means: the interpreter may lie where only root can start it.
BECOME = """
os.setgroups([])
os.setgid({0})
os.setuid({0})
"""
NOBODY = BECOME.format(65534)


@pytest.fixture
def public_folder():
    """A folder that other users can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

ROUND_TRIP = """
cache = open_cache(folder, max_bytes=10**9)
log = cache.log(STORE, "flights", "production")
cache.put(SHA, DATA)
log.remember(1, b"entry")
log.touch_checked()
cache.touch([SHA])
cache.remember_store_id("s3://x", STORE)
cache.write_status(STORE, os.getpid(), {"a": 1})
log.quarantine("k", "why")
with log.try_lock() as free:
    pass
problem = cache.problem
cache.evict({SHA})
assert cache.blob(SHA, len(DATA)) == DATA
assert log.entry(1) == b"entry"
assert log.numbers() == [1]
assert log.checked_age() is not None
assert cache.store_id("s3://x") == STORE
assert cache.statuses(STORE) == [{"a": 1}]
assert log.quarantined() == {"k": "why"}
assert free
print(json.dumps(problem))
"""


@needs_root
def test_folder_of_another_user_is_not_used(public_folder):
    """A foreign folder is neither read nor written: memory only, with the mend in the message."""
    (problem,) = said(child(NOBODY + ROUND_TRIP, public_folder))
    assert "belongs to user id 0, this process is 65534" in problem
    assert "cache_dir" in problem
    assert list(public_folder.iterdir()) == []


@needs_root
def test_read_only_folder_is_still_read(public_folder):
    """What was put into an image can be used where nothing can be written; the rest is in memory."""
    folder = public_folder / "cache"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    said(child(NOBODY + "open_cache(folder, max_bytes=9).put(SHA, DATA)", folder))
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o500)
    look = "print(json.dumps(open_cache(folder, max_bytes=9).blob(SHA, len(DATA)) == DATA))"
    assert said(child(NOBODY + look, folder)) == [True]
    (problem,) = said(child(NOBODY + ROUND_TRIP, folder))
    assert "Permission denied" in problem


@pytest.mark.parametrize("where", ["/proc/mlshared-cache", "/dev/null", "/dev/null/below", "/nul\0l"])
def test_impossible_folder_is_memory_with_a_reason(where):
    """Opening never raises; the problem names the folder and the setting."""
    cache = opened(Path(where))
    assert "cache_dir" in cache.problem
    cache.put(SHA, DATA)
    assert cache.blob(SHA, len(DATA)) == DATA


@needs_root
def test_user_without_a_home_is_told_to_name_a_folder(public_folder):
    """No folder called ``~`` is made in the working directory."""
    code = "cache = open_cache(None, max_bytes=9); print(json.dumps(cache.problem))"
    environment = {"HOME": "~", "XDG_CACHE_HOME": ""}
    public_folder.chmod(0o777)
    unknown = BECOME.format(64999)
    (problem,) = said(child(unknown + code, public_folder, cwd=public_folder, environment=environment))
    assert "set cache_dir" in problem
    assert list(public_folder.iterdir()) == []


def test_default_is_the_users_cache_folder(tmp_path):
    """Without a setting, the platform's folder is used."""
    code = "open_cache(None, max_bytes=9).put(SHA, DATA)"
    said(child(code, tmp_path, environment={"XDG_CACHE_HOME": str(tmp_path)}))
    assert (tmp_path / "mlshared/blobs" / SHA).read_bytes() == DATA


# A disk that fails.


def _namespaces():
    command = ["unshare", "-rm", "true"]
    return (
        shutil.which("unshare") and subprocess.run(command, capture_output=True, check=False).returncode == 0
    )


needs_namespaces = pytest.mark.skipif(not _namespaces(), reason="no private mounts for this user")
needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace injects the errors")


def _mounted(steps):
    return ["unshare", "-rm", "sh", "-c", f'set -e; {steps}; exec "$@"', "sh"]


@needs_namespaces
@pytest.mark.parametrize("kilobytes", [4, 8, 12, 16, 20, 24, 32])
def test_full_disk_serves_from_memory_and_says_so(tmp_path, kilobytes):
    """Wherever the disk fills up, all that was kept is found again, in this process's memory if need be."""
    under = _mounted(f"mount -t tmpfs -o mode=700,size={kilobytes}k none {tmp_path}")
    (problem,) = said(child(ROUND_TRIP, tmp_path, under=under))
    assert "No space left on device" in problem


@needs_namespaces
def test_read_only_disk_serves_from_memory_and_says_so(tmp_path):
    """A read-only mount is used for what is on it and complained about."""
    under = _mounted(f"mount -t tmpfs -o mode=700,ro none {tmp_path}")
    (problem,) = said(child(ROUND_TRIP, tmp_path, under=under))
    assert "Read-only file system" in problem


@needs_namespaces
def test_network_file_system_is_not_used(tmp_path):
    """Where the mount table says NFS, nothing is written and the problem says which type."""
    (tmp_path / "mounts").write_text(f"server:/ {tmp_path}/nfs nfs4 rw 0 0\n")
    under = _mounted(f"mount --bind {tmp_path}/mounts /proc/$$/mounts")
    (problem,) = said(child(ROUND_TRIP, tmp_path / "nfs", under=under))
    assert "network file system (nfs4)" in problem
    assert list((tmp_path / "nfs").iterdir()) == []


@needs_namespaces
def test_disk_that_works_again_takes_what_was_in_memory(tmp_path):
    """Recovery needs no restart: with room again, `evict` moves memory to the disk and ends the problem."""
    code = """
with open(folder / "ballast", "wb", buffering=0) as ballast:
    try:
        while True:
            ballast.write(bytes(4096))
    except OSError:
        pass
cache = open_cache(folder, max_bytes=10**9)
log = cache.log(STORE, "flights", "production")
cache.put(SHA, DATA)
log.remember(1, b"entry")
assert cache.problem
(folder / "ballast").unlink()
cache.evict({SHA})
other = open_cache(folder, max_bytes=10**9)
found = other.blob(SHA, len(DATA)) == DATA and other.log(STORE, "flights", "production").entry(1) == b"entry"
print(json.dumps([found, cache.problem]))
"""
    under = _mounted(f"mount -t tmpfs -o mode=700,size=128k none {tmp_path}")
    assert said(child(code, tmp_path, under=under)) == [[True, None]]


@pytest.mark.parametrize("limit", [0, 1, 4096, len(DATA) - 1])
def test_write_cut_short_leaves_nothing(folder, limit):
    """A write that stops at any byte leaves no file behind, and the blob in memory."""
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
cache = open_cache(folder, max_bytes=10**9)
cache.put(SHA, DATA)
assert cache.blob(SHA, len(DATA)) == DATA
print(json.dumps([cache.problem, [str(p) for p in folder.rglob("*") if p.is_file()]]))
"""
    ((problem, files),) = said(child(code, folder, limit))
    assert "File too large" in problem
    assert files == []


def test_no_descriptors_left_serves_from_memory(folder):
    """A process out of descriptors goes on, and says why."""
    code = """
import resource
cache = open_cache(folder, max_bytes=10**9)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
cache.put(SHA, DATA)
assert cache.blob(SHA, len(DATA)) == DATA
with cache.log(STORE, "flights", "production").try_lock() as free:
    pass
print(json.dumps([cache.problem, free]))
"""
    ((problem, free),) = said(child(code, folder))
    assert "Too many open files" in problem
    assert free


@pytest.mark.slow
@needs_strace
@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("write", "EIO"),
        ("write", "ENOSPC"),
        ("fsync", "EIO"),
        ("/^rename", "EROFS"),
        ("/^link", "EPERM"),
        ("/^mkdir", "ENOSPC"),
        ("/^unlink", "EIO"),
        ("/^utime", "EROFS"),
        ("flock", "ENOLCK"),
    ],
)
def test_nth_call_fails_for_every_n(tmp_path, call, error):
    """Whichever call on the disk fails, everything kept is found, and a new process finds a sound cache."""
    for n in range(1, 40):
        folder, trace = tmp_path / str(n), tmp_path / f"{n}.trace"
        inject = f"inject={call}:error={error}:when={n}"
        # -P would miss new files; Python itself makes none of these calls before ours but on its output.
        under = ["strace", "-f", "--seccomp-bpf", "-o", str(trace), "-e", f"trace={call}", "-e", inject]
        said(child(ROUND_TRIP.replace("print(json.dumps(problem))", ""), folder, under=under))
        again = opened(folder)
        assert again.blob(SHA, len(DATA)) in (None, DATA)
        assert again.log(STORE, "flights", "production").entry(1) in (None, b"entry")
        if "INJECTED" not in trace.read_text():
            assert n > 1
            return
    pytest.fail("the calls did not end")


def test_entry_in_memory_only_does_not_silence_others(folder):
    """Where an entry could not be shared, the check is not shared either: the others ask for themselves."""
    cache = opened(folder)
    log = cache.log(STORE, "flights", "production")
    other = opened(folder).log(STORE, "flights", "production")
    (folder / f"stores/{STORE}/flights/production/0000000007.json").mkdir(parents=True)
    log.remember(7, b"entry")
    log.touch_checked()
    assert log.checked_age() is not None
    assert other.checked_age() is None


def test_memory_is_bounded(tmp_path, monkeypatch):
    """Large blobs in memory give way to newer ones; entries and manifests do not."""
    monkeypatch.setattr(_folder, "MEMORY_BYTES", 5_000_000)
    (tmp_path / "file").write_bytes(b"")
    cache = opened(tmp_path / "file")
    cache.put(SHA, DATA)
    large = [bytes([i]) * 2_000_000 for i in range(3)]
    for data in large:
        cache.put(sha256(data), data)
    assert [cache.blob(sha256(data), 2_000_000) is not None for data in large] == [False, True, True]
    assert cache.blob(SHA, len(DATA)) == DATA


def test_evicting_drops_unkept_blobs_from_memory(tmp_path):
    """In memory there is no hour of grace: only this process uses it."""
    (tmp_path / "file").write_bytes(b"")
    cache = opened(tmp_path / "file")
    cache.put(SHA, DATA)
    cache.evict(set())
    assert cache.blob(SHA, len(DATA)) is None


# Processes.

RACE = """
cache = open_cache(folder, max_bytes=10**9)
log = cache.log(STORE, "flights", "production")
print(json.dumps("ready"), flush=True)
sys.stdin.readline()
mine = sys.argv[2].encode()
for number in range(1, 21):
    log.remember(number, mine)
    cache.put(SHA, DATA)
    assert cache.blob(SHA, len(DATA)) == DATA
cache.remember_store_id("s3://x", sys.argv[2] * 32)
print(json.dumps([cache.problem, cache.store_id("s3://x"), [log.entry(n).decode() for n in log.numbers()]]))
"""


def test_racing_processes_agree(folder):
    """Of racing writers one wins each number, whole, and all see the same one."""
    processes = [child(RACE, folder, name) for name in "abcd"]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [said(process)[0] for process in processes]
    assert all(answer == answers[0] for answer in answers)
    problem, store_id, entries = answers[0]
    assert problem is None
    assert store_id in {name * 32 for name in "abcd"}
    assert len(entries) == 20
    assert set(entries) <= set("abcd")


HOLD = """
log = open_cache(folder, max_bytes=9).log(STORE, "flights", "production")
with log.try_lock() as free:
    print(json.dumps(free), flush=True)
    sys.stdin.readline()
"""


def test_lock_is_held_by_one_process(folder):
    """While another process polls, the lock says so at once; after its death, even by kill -9, it is free."""
    log = opened(folder).log(STORE, "flights", "production")
    holder = child(HOLD, folder)
    assert json.loads(holder.stdout.readline()) is True
    with log.try_lock() as free:
        assert not free
    with opened(folder).log(STORE, "flights", "staging").try_lock() as free:
        assert free
    holder.kill()
    holder.communicate()
    with log.try_lock() as free:
        assert free


def test_slots_for_loading_are_a_fourth_of_the_processors(folder, monkeypatch):
    """So many hold one at a time, in whatever process; the next is told so at once, and gets one that is let go."""
    for processors, slots in [(None, 1), (1, 1), (7, 1), (8, 2)]:
        monkeypatch.setattr(os, "cpu_count", lambda count=processors: count)
        caches = [opened(folder) for _ in range(slots + 1)]
        with ExitStack() as held:
            assert [held.enter_context(cache.load_slot()) for cache in caches] == [True] * slots + [False]
        with caches[-1].load_slot() as free:
            assert free


def test_stopped_holder_keeps_nobody_waiting(folder):
    """A holder that is stopped is busy, no more: the answer comes without waiting."""
    holder = child(HOLD, folder)
    holder.stdout.readline()
    os.kill(holder.pid, signal.SIGSTOP)
    started = time.monotonic()
    with opened(folder).log(STORE, "flights", "production").try_lock() as free:
        assert not free
    assert time.monotonic() - started < 5
    os.kill(holder.pid, signal.SIGCONT)
    holder.communicate("\n")


def test_two_clients_of_one_process_exclude_each_other(folder):
    """The lock counts between two caches of one process, too."""
    first, second = (opened(folder).log(STORE, "flights", "production") for _ in range(2))
    with first.try_lock() as free:
        assert free
        with second.try_lock() as too:
            assert not too


# Both processes write to one pipe: a line in one call, as print() writes two where PYTHONUNBUFFERED is set.
FORKED_WHILE_LOCKED = """
cache = open_cache(folder, max_bytes=9)
log = cache.log(STORE, "flights", "production")
with log.try_lock() as free:
    assert free
    pid = os.fork()
    if pid:
        os.write(1, b"%d\\n" % pid)
        sys.stdin.readline()
        os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "stay":
    os.write(1, b'"left"\\n')
    signal.pause()
"""


def test_forked_child_does_not_keep_the_lock(folder):
    """A child forked during a poll, and alive after its parent was killed, does not block the others."""
    parent = child(FORKED_WHILE_LOCKED, folder, "stay", start_new_session=True)
    try:
        assert {parent.stdout.readline().strip('"\n').isdigit() for _ in range(2)} == {True, False}
        log = opened(folder).log(STORE, "flights", "production")
        # The child has left the block: that must not have unlocked its parent's lock.
        with log.try_lock() as free:
            assert not free
        parent.stdin.write("\n")
        parent.stdin.flush()
        parent.wait()
        with log.try_lock() as free:
            assert free
    finally:
        os.killpg(parent.pid, signal.SIGKILL)  # the child is in its parent's group, and there still


def test_forked_child_uses_the_cache_it_inherited(folder):
    """A preloaded app's workers go on with the cache of their parent."""
    code = """
cache = open_cache(folder, max_bytes=10**9)
log = cache.log(STORE, "flights", "production")
cache.put(SHA, DATA)
with log.try_lock() as free:
    pass
for _ in range(3):
    if os.fork() == 0:
        assert cache.blob(SHA, len(DATA)) == DATA
        log.remember(os.getpid(), b"child")
        with log.try_lock() as free:
            os._exit(0 if free and cache.problem is None else 1)
    assert os.wait()[1] == 0
print(json.dumps(len(log.numbers())))
"""
    assert said(child(code, folder)) == [3]


def test_errors_of_the_disk_are_named_in_the_systems_words(folder):
    """The problem names the folder and what the system said."""
    cache = opened(folder)
    shutil.rmtree(folder)
    folder.write_bytes(b"")
    cache.put(SHA, DATA)
    assert str(folder) in cache.problem
    assert os.strerror(errno.ENOTDIR) in cache.problem or os.strerror(errno.EEXIST) in cache.problem


# -- mapped blobs


def test_a_mapped_blob_is_the_bytes_and_is_hashed_once(tmp_path):
    """Mapping twice gives the bytes twice; the second time on the word of the first hash."""
    cache = open_cache(tmp_path / "cache", max_bytes=10**9)
    data = bytes(range(256)) * 100
    sha256 = hashlib.sha256(data).hexdigest()
    assert cache.mapped(sha256, len(data)) is None
    cache.put(sha256, data)
    for _ in range(2):
        view = cache.mapped(sha256, len(data))
        assert view is not None
        assert bytes(view) == data
        assert view.readonly
    assert (tmp_path / "cache" / "hashed" / sha256).exists()


def test_a_mapped_blob_that_is_not_the_file_that_was_hashed_is_hashed_again(tmp_path):
    """Another file under the same name, of the same size, is found out, removed and not served."""
    cache = open_cache(tmp_path / "cache", max_bytes=10**9)
    data = bytes(1000)
    sha256 = hashlib.sha256(data).hexdigest()
    cache.put(sha256, data)
    assert cache.mapped(sha256, len(data)) is not None
    path = tmp_path / "cache" / "blobs" / sha256
    path.unlink()
    path.write_bytes(b"\1" + data[1:])
    path.chmod(0o400)
    assert cache.mapped(sha256, len(data)) is None
    assert not path.exists()


def test_a_mapped_blob_outlives_its_eviction(tmp_path):
    """Unlinked while mapped, the bytes stay readable by who has them."""
    cache = open_cache(tmp_path / "cache", max_bytes=0)
    data = b"\7" * 10_000
    sha256 = hashlib.sha256(data).hexdigest()
    cache.put(sha256, data)
    view = cache.mapped(sha256, len(data))
    (tmp_path / "cache" / "blobs" / sha256).unlink()
    assert cache.mapped(sha256, len(data)) is None
    assert view is not None
    assert bytes(view) == data
