"""Storage: the same behaviour on a folder, in memory and over a real S3 wire, and what each must survive."""

import asyncio
import contextlib
import functools
import gzip
import http.server
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import wire

from mlshared._objects import open_objects
from mlshared.errors import AccessDenied, ConfigError, StorageError

SECONDS = 120.0  # until a test gives up
MIB = 1 << 20


@pytest.fixture
def make(request):
    """A function that opens one and the same fresh store again and again; all are closed at the end."""
    kind = getattr(request, "param", "s3")
    if kind == "local":
        url, options = str(request.getfixturevalue("tmp_path") / "models"), {}
    elif kind == "memory":
        url, options = f"memory://{uuid.uuid4().hex}/models", {}
    elif kind == "versitygw":
        store = wire.new_bucket(request.getfixturevalue("versitygw_server"))
        url, options = store.url, store.options
    else:
        store = request.getfixturevalue("s3_wire")
        url, options = store.url, store.options
    opened = []

    def open_one():
        opened.append(open_objects(url, options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


every_backend = pytest.mark.parametrize(
    "make", ["local", "memory", "s3", pytest.param("versitygw", marks=pytest.mark.slow)], indirect=True
)
every_server = pytest.mark.parametrize("s3_server", wire.EVERY_SERVER, indirect=True)


def get(objects, key, limit=1000):
    return objects.get(key, limit=limit, timeout=SECONDS)


def create(objects, key, data=b"data"):
    return objects.create(key, data, timeout=SECONDS)


# -- what all storage does ----------------------------------------------------------------------------------


@every_backend
def test_absent(make):
    """An object nobody created is None, not an error."""
    assert get(make(), "flights/versions/0000000001.json") is None


@every_backend
@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 5000])
def test_created_is_read_back(make, data):
    """What was created is read back, byte for byte, by others too."""
    assert create(make(), "flights/blobs/a/b", data)
    assert get(make(), "flights/blobs/a/b", limit=10 * MIB) == data


@every_backend
def test_taken(make):
    """A taken key is False, and its bytes stay."""
    objects = make()
    assert create(objects, "a/b", b"first")
    assert create(make(), "a/b", b"second") is False
    assert get(objects, "a/b") == b"first"


@every_backend
def test_deleted(make):
    """It is gone, from listings too, with its folder where that is empty; deleting what is absent is no failure."""
    objects = make()
    for key in ("a/b/one", "a/b/two", "a/c/three"):
        create(objects, key)
    objects.delete("a/c/three", timeout=SECONDS)
    objects.delete("a/c/three", timeout=SECONDS)
    objects.delete("a/b/one", timeout=SECONDS)
    objects.delete("never/was", timeout=SECONDS)
    assert get(make(), "a/c/three") is None
    assert objects.names("a", timeout=SECONDS) == ["b"]
    assert objects.names("a/b", timeout=SECONDS) == ["two"]
    assert create(objects, "a/c/three", b"again")


@every_backend
@pytest.mark.parametrize(("limit", "length"), [(0, 1), (3, 4), (5, 6), (6, 6), (100, 6)])
def test_limit(make, limit, length):
    """A get returns at most one byte more than the limit, which tells that there is more."""
    objects = make()
    create(objects, "key", b"sixsix")
    assert len(get(objects, "key", limit=limit)) == length


@every_backend
def test_names(make):
    """Names are the objects and folders right below, nothing deeper and nothing of neighbours."""
    objects = make()
    for key in ("mlshared.json", "a/one", "a/two", "a/deep/three", "ab/four"):
        create(objects, key)
    assert sorted(objects.names("", timeout=SECONDS)) == ["a", "ab", "mlshared.json"]
    assert sorted(objects.names("a", timeout=SECONDS)) == ["deep", "one", "two"]


@every_backend
def test_names_of_nothing(make):
    """A folder that is not there has no names."""
    objects = make()
    assert objects.names("", timeout=SECONDS) == []
    assert objects.names("a/b", timeout=SECONDS) == []


@every_backend
def test_a_folder_is_no_object(make):
    """A key below which there are objects is itself absent."""
    objects = make()
    create(objects, "a/b/c")
    assert get(objects, "a/b") is None


@every_backend
@pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\\b", "a\0b", ".."])
def test_bad_keys(make, key):
    """A key that could lead elsewhere is refused before anything is asked."""
    objects = make()
    with pytest.raises(ValueError, match="not a key"):
        get(objects, key)
    with pytest.raises(ValueError, match="not a key"):
        create(objects, key)
    if key:
        with pytest.raises(ValueError, match="not a key"):
            objects.names(key, timeout=SECONDS)


@every_backend
def test_used_after_close(make):
    """Closing lets go of connections; the next call makes them anew, and closing twice is fine."""
    objects = make()
    create(objects, "a")
    objects.close()
    objects.close()
    assert get(objects, "a") == b"data"


@every_backend
def test_inside_a_running_event_loop(make):
    """It works in a thread whose event loop is running, as in a notebook or an async view."""

    async def notebook():
        objects = make()
        create(objects, "a")
        return get(objects, "a"), objects.names("", timeout=SECONDS), objects.close()

    assert asyncio.run(notebook()) == (b"data", ["a"], None)


# Not with versitygw: 1.7.0 looks for the object and puts it there in two steps, and several win.
@pytest.mark.parametrize("make", ["local", "memory", "s3"], indirect=True)
def test_thread_race(make):
    """Of 8 threads that create one key exactly one wins, and the object is its bytes, whole."""
    barrier = threading.Barrier(8)

    def race(number):
        objects = make()
        barrier.wait()
        return create(objects, "a/b", bytes([number]) * 100_000)

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(race, range(8)))
    assert won.count(True) == 1
    assert get(make(), "a/b", limit=MIB) == bytes([won.index(True)]) * 100_000


RACE = """
import json, sys
from mlshared._objects import open_objects
url, options, number = json.loads(sys.argv[1])
objects = open_objects(url, options)
won = [objects.create(f"key-{k}", bytes([number]) * 100_000, timeout=60) for k in range(5)]
objects.close()
print(json.dumps(won))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["local", "s3"])
def test_process_race(kind, tmp_path, request):
    """Of 8 processes that create the same keys exactly one wins each, and each object is whole."""
    url, options = str(tmp_path / "models"), {}
    if kind == "s3":
        store = request.getfixturevalue("s3_store")
        url, options = store.url, store.options
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, json.dumps([url, options, number])],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(8)
    ]
    results = [json.loads(racer.communicate(timeout=180)[0]) for racer in racers]
    objects = open_objects(url, options)
    for k in range(5):
        winners = [number for number, won in enumerate(results) if won[k]]
        assert len(winners) == 1
        assert get(objects, f"key-{k}", limit=MIB) == bytes(winners) * 100_000
    objects.close()


# -- URLs and options ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuch://a/b", "no kind of storage"),
        ("sftp-nosuch://a", "no kind of storage"),
        ("s3://", "names no place"),
        ("simplecache::s3://a/b", "no '::'"),
        ("s3://key:hush@bucket/a", "storage_options"),
        ("https://host/a?signature=hush", "storage_options"),
        ("zip://a/b", "deadline"),
    ],
)
def test_unusable_urls(url, message):
    """A URL that cannot be a store is a ConfigError that says why and repeats no secret."""
    with pytest.raises(ConfigError, match=message) as caught:
        open_objects(url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["./models", "memory://models"])
def test_options_nobody_takes(url):
    """Options where nothing takes them are refused by name, without their values."""
    with pytest.raises(ConfigError, match="remove from storage_options: key") as caught:
        open_objects(url, {"key": "hush"})
    assert "hush" not in str(caught.value)


def test_options_that_are_ours():
    """Options that would undo what this package promises are refused."""
    with pytest.raises(ConfigError, match="asynchronous, loop"):
        open_objects("s3://bucket/models", {"asynchronous": False, "loop": None})


def test_options_s3fs_does_not_know(s3_store):
    """An option that does not fit is a ConfigError at the first use."""
    objects = open_objects(s3_store.url, {**s3_store.options, "sercet": "hush"})
    with pytest.raises(ConfigError, match="storage_options do not fit") as caught:
        get(objects, "a")
    assert "hush" not in str(caught.value)
    objects.close()


def test_without_s3fs():
    """Without s3fs the error names the extra to install."""
    script = """
        import sys
        sys.modules["s3fs"] = None  # as Python itself marks a module that must not be found
        from mlshared._objects import open_objects
        from mlshared.errors import ConfigError
        try:
            open_objects("s3://bucket/models")
        except ConfigError as error:
            print(error)
    """
    assert "pip install 'mlshared[s3]'" in run(script)


def test_import_is_light():
    """Importing the module loads neither fsspec nor s3fs."""
    assert run("import sys, mlshared._objects; print({'fsspec', 's3fs'} & set(sys.modules))") == "set()"


def run(script, *arguments):
    """Run Python on a script with warnings as errors; return what it prints; nothing may be on stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


# -- a folder -----------------------------------------------------------------------------------------------


def test_file_url(tmp_path):
    """file:// and a plain path are the same store."""
    create(open_objects(f"file://{tmp_path}/models"), "a")
    assert get(open_objects(str(tmp_path / "models")), "a") == b"data"


def test_folder_gone(tmp_path):
    """A store's folder that was there and is gone is an outage, and is not made again."""
    objects = open_objects(str(tmp_path / "models"))
    create(objects, "a")
    assert get(objects, "b") is None
    (tmp_path / "models").rename(tmp_path / "unmounted")
    for call in (
        lambda: get(objects, "a"),
        lambda: objects.names("", timeout=SECONDS),
        lambda: create(objects, "b"),
    ):
        with pytest.raises(StorageError, match="is gone"):
            call()


def test_no_temporary_files_stay(tmp_path):
    """Neither a won nor a lost create leaves anything but the object."""
    objects = open_objects(str(tmp_path))
    create(objects, "a")
    create(objects, "a")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_temporary_files_are_not_named(tmp_path):
    """What a killed writer left is not among the names."""
    (tmp_path / ".mlshared-0123456789abcdef").write_bytes(b"half")
    assert open_objects(str(tmp_path)).names("", timeout=SECONDS) == []


def test_others_may_read(tmp_path):
    """Objects have the usual mode, so that the web app may run as another user than the trainer."""
    old = os.umask(0o022)
    try:
        create(open_objects(str(tmp_path)), "a")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_object_in_the_way_of_a_folder(tmp_path):
    """A key below an object cannot be created: a StorageError, not "taken"."""
    objects = open_objects(str(tmp_path))
    create(objects, "a")
    with pytest.raises(StorageError):
        create(objects, "a/b")


def test_no_permission(tmp_path):
    """A folder this user may not enter is AccessDenied for reading, listing and creating."""
    objects = open_objects(str(tmp_path))
    create(objects, "shut/a")
    (tmp_path / "shut").chmod(0)
    me = os.geteuid()
    if me == 0:
        tmp_path.chmod(0o700)
        os.seteuid(65534)  # root may enter anything
    try:
        for call in (
            lambda: get(objects, "shut/a"),
            lambda: objects.names("shut", timeout=SECONDS),
            lambda: create(objects, "shut/b"),
        ):
            with pytest.raises(AccessDenied, match="Permission denied"):
                call()
    finally:
        os.seteuid(me)
        (tmp_path / "shut").chmod(0o700)


# -- S3: what goes over the wire ----------------------------------------------------------------------------


@every_server
def test_get_is_one_request(make, counting_proxy):
    """A get is exactly one request, also the first, for what is there and for what is not."""
    objects = make()
    get(objects, "absent")
    assert [r.method for r in counting_proxy.seen()] == ["GET"]
    create(objects, "there")
    get(objects, "there")
    assert [r.method for r in counting_proxy.seen()] == ["GET", "PUT", "GET"]


@every_server
def test_get_asks_past_caches(make, counting_proxy):
    """A get says Cache-Control: no-cache, and signs it."""
    get(make(), "a")
    (request,) = counting_proxy.seen()
    assert request.headers["cache-control"] == "no-cache"
    assert "cache-control" in request.headers["authorization"].split("SignedHeaders=")[1].split(",")[0]


@pytest.mark.slow
@every_server
def test_large_create_is_one_conditional_put(make, counting_proxy):
    """64 MiB are created in one PUT with If-None-Match, and whole."""
    objects = make()
    data = os.urandom(MIB) * 64
    assert objects.create("big", data, timeout=120)
    (request,) = counting_proxy.seen()
    assert (request.method, request.headers["if-none-match"]) == ("PUT", "*")
    assert objects.get("big", limit=len(data), timeout=120) == data


@every_server
def test_reading_stops_at_the_limit(make, counting_proxy):
    """Of 64 MiB hardly more than the limit is fetched."""
    objects = make()
    objects.create("big", bytes(64 * MIB), timeout=120)
    before = counting_proxy.bytes_back
    assert len(objects.get("big", limit=1000, timeout=SECONDS)) == 1001
    objects.close()
    assert counting_proxy.bytes_back - before < 16 * MIB  # what sockets and aiohttp hold on the way


@pytest.mark.slow
@every_server
def test_many_names(make, s3_store):
    """A listing of more than one page is whole."""
    for number in range(1005):
        s3_store.server.send("PUT", f"/{s3_store.bucket}/models/many/{number:010d}.json", b"x")
    names = make().names("many", timeout=60)
    assert sorted(names) == [f"{number:010d}.json" for number in range(1005)]


def test_folder_marker_is_no_name(make, s3_store):
    """The empty object that some tools create for a folder is not among its names."""
    s3_store.server.send("PUT", f"/{s3_store.bucket}/models/a/", b"")
    create(make(), "a/b")
    assert make().names("a", timeout=SECONDS) == ["b"]


@every_server
def test_bucket_is_the_store(s3_store):
    """A store may be a bucket's root."""
    objects = open_objects(f"s3://{s3_store.bucket}", s3_store.options)
    create(objects, "a/b")
    assert (get(objects, "a/b"), objects.names("", timeout=SECONDS)) == (b"data", ["a"])
    objects.close()


# -- S3: faults ---------------------------------------------------------------------------------------------


def each_call(objects, seconds=SECONDS):
    return (
        lambda: objects.get("a", limit=10, timeout=seconds),
        lambda: objects.names("a", timeout=seconds),
        lambda: objects.create("a", b"x", timeout=seconds),
    )


@every_server
def test_missing_bucket(s3_store):
    """A bucket that is not there is an outage, never "absent"."""
    objects = open_objects("s3://no-such-bucket-here/models", s3_store.options)
    for call in each_call(objects):
        with pytest.raises(StorageError, match="s3://no-such-bucket-here/models/a: there is no such bucket"):
            call()
    objects.close()


def test_refused(make, s3_store):
    """A bucket policy's 403 is AccessDenied; it names the object and no secret."""
    denied = {"Effect": "Deny", "Principal": "*", "Action": "s3:*"}
    denied["Resource"] = [f"arn:aws:s3:::{s3_store.bucket}", f"arn:aws:s3:::{s3_store.bucket}/*"]
    policy = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
    s3_store.server.send("PUT", f"/{s3_store.bucket}?policy", policy.encode())
    objects = make()
    for call in (lambda: get(objects, "a"), lambda: create(objects, "a")):  # moto lists all the same
        with pytest.raises(AccessDenied, match=f"{s3_store.url}/a: refused") as caught:
            call()
        assert "dummy-secret" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("s3_server", ["versitygw"], indirect=True)
def test_wrong_secret(s3_store):
    """A signature that the server itself finds wrong is AccessDenied."""
    objects = open_objects(s3_store.url, {**s3_store.options, "secret": "dummy-wrong"})
    for call in each_call(objects):
        with pytest.raises(AccessDenied, match="refused"):
            call()
    objects.close()


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("AccessDenied", 403, AccessDenied),
        ("ExpiredToken", 400, AccessDenied),
        ("InvalidAccessKeyId", 403, AccessDenied),
        ("SignatureDoesNotMatch", 403, AccessDenied),
        ("NoSuchBucket", 404, StorageError),
        ("RequestTimeTooSkewed", 403, StorageError),
        ("InternalError", 500, StorageError),
        ("SlowDown", 503, StorageError),
        ("ConditionalRequestConflict", 409, StorageError),
    ],
)
def test_what_s3_answers(answering, code, status, kind):
    """Each error code of S3 has its class, the same for all calls, after two attempts at most."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
    url, requests = answering(status, body)
    objects = open_objects("s3://bucket/models", s3_options(url))
    for number, call in enumerate(each_call(objects), start=1):
        with pytest.raises(StorageError) as caught:
            call()
        assert type(caught.value) is kind
        assert len(requests) <= 2 * number
    objects.close()


def test_412_is_taken(answering):
    """412 on a create is False."""
    url, _ = answering(412, b"<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>")
    objects = open_objects("s3://bucket/models", s3_options(url))
    assert create(objects, "a") is False
    objects.close()


@pytest.mark.parametrize("body", [b"", b"<html>not found</html>", b"<Error></Error>"])
def test_404_by_someone_else(answering, body):
    """A 404 that does not say NoSuchKey is an outage: a wrong address is no empty store."""
    url, _ = answering(404, body)
    objects = open_objects("s3://bucket/models", s3_options(url))
    with pytest.raises(StorageError):
        get(objects, "a")
    objects.close()


@every_server
def test_server_stopped(make, counting_proxy):
    """A stopped server is a StorageError soon, and all is well again once it is back."""
    objects = make()
    create(objects, "a", b"x")
    counting_proxy.stop()
    for call in each_call(objects):
        started = time.monotonic()
        with pytest.raises(StorageError, match="is it up"):
            call()
        assert time.monotonic() - started < 8
    counting_proxy.start()
    assert get(objects, "a") == b"x"


@every_server
def test_server_silent(make, counting_proxy):
    """A server that accepts and never answers is a StorageError at the deadline, then works again."""
    objects = make()
    create(objects, "a", b"x")
    counting_proxy.hold()
    for call in each_call(objects, seconds=0.5):
        started = time.monotonic()
        with pytest.raises(StorageError, match="no answer within"):
            call()
        assert time.monotonic() - started < 3
    counting_proxy.heal()
    assert get(objects, "a") == b"x"


# -- S3: nothing is left behind -----------------------------------------------------------------------------

USE = """
    import asyncio, gc, json, os, sys
    from mlshared._objects import open_objects
    url, options = sys.argv[1], json.loads(sys.argv[2])
    objects = open_objects(url, options)
    objects.get("a", limit=10, timeout=20)
"""


@pytest.mark.parametrize(
    "end",
    [
        "objects.close()",
        "pass  # not closed: Python ends",
        pytest.param("del objects; gc.collect()", marks=pytest.mark.slow),
        pytest.param(
            "asyncio.run(asyncio.sleep(0, globals().pop('objects'))); gc.collect()", marks=pytest.mark.slow
        ),
        pytest.param(
            "objects.keep = objects; del objects  # a cycle, collected at the end if ever",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_no_complaints(s3_store, end):
    """However it ends, nothing complains of an unclosed session, socket or loop."""
    run(f"{USE}\n    {end}", s3_store.url, json.dumps(s3_store.options))


def test_no_threads_and_files_stay(s3_store):
    """Opening, using and closing leaves neither threads nor file descriptors."""

    def use():
        objects = open_objects(s3_store.url, s3_store.options)
        get(objects, "a")
        objects.close()

    use()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        use()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


FORK = """
    # a thread of asyncio's may be there, which 3.12 warns of
    import warnings; warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
    if child == 0:
        objects.close()
        own = open_objects(url, options)
        assert own.get("a", limit=10, timeout=20) == b"x"
        own.close()
        sys.exit(0)  # with all of Python's own ending
    assert os.waitpid(child, 0)[1] == 0
    assert objects.get("a", limit=10, timeout=20) == b"x"
    print("fine")
"""


def test_fork(answering):
    """A forked child closes what it inherited and works; its parent goes on, over its own connection."""
    url, requests = answering(200, b"x")
    assert run(USE + FORK, "s3://bucket/models", json.dumps(s3_options(url))) == "fine"
    before, childs, after = [headers["X-Peer"] for headers in requests]
    assert before == after != childs


BUSY_FORK = """
    import contextlib, socket, threading, warnings
    from mlshared.errors import StorageError
    warnings.simplefilter("ignore", DeprecationWarning)
    silent = socket.create_server(("127.0.0.1", 0))
    endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
    busy = open_objects(url, {**options, "endpoint_url": endpoint})

    def wait():
        with contextlib.suppress(StorageError):
            busy.get("a", limit=10, timeout=2)

    thread = threading.Thread(target=wait)
    thread.start()
    asked, _ = silent.accept()
    child = os.fork()
    if child == 0:
        busy.close()
        own = open_objects(url, options)
        assert own.get("a", limit=10, timeout=20) == b"x"
        sys.exit(0)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
    asked.close()
    silent.close()
    print("fine")
"""


@pytest.mark.slow
def test_fork_during_a_request(answering):
    """A child forked while another thread waits for the store neither hangs nor complains."""
    url, _ = answering(200, b"x")
    assert run(USE + BUSY_FORK, "s3://bucket/models", json.dumps(s3_options(url))) == "fine"


# -- a replica ----------------------------------------------------------------------------------------------


def test_replica(tmp_path):
    """A store's mirror on a plain web server can be read, absent is None, and creating is refused."""
    create(open_objects(str(tmp_path)), "flights/a", b"sixsix")
    handler = functools.partial(QuietFiles, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        objects = open_objects(f"http://127.0.0.1:{server.server_port}")
        assert get(objects, "flights/a") == b"sixsix"
        assert get(objects, "flights/a", limit=2) == b"six"
        assert get(objects, "flights/b") is None
        assert objects.names("flights", timeout=SECONDS) == ["a"]
        with pytest.raises(ConfigError, match="read only"):
            create(objects, "b")
        with pytest.raises(ConfigError, match="read only"):
            objects.delete("flights/a", timeout=SECONDS)
        objects.close()
        server.shutdown()
    with pytest.raises(StorageError):
        get(objects, "flights/a")
    objects.close()


@pytest.mark.parametrize("packed", [True, False])
def test_a_replica_unpacks_nothing(packed):
    """A megabyte can unpack to gigabytes; nor is more read than asked for where the range is ignored."""
    body = gzip.compress(bytes(8 * MIB)) if packed else bytes(8 * MIB)
    asked = []

    class Handler(QuietFiles):
        def do_GET(self):
            asked.append(self.headers["Accept-Encoding"])
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            if packed:
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            with contextlib.suppress(OSError):  # the reader hangs up
                self.wfile.write(body)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        objects = open_objects(f"http://127.0.0.1:{server.server_port}")
        if packed:
            with pytest.raises(StorageError, match="comes packed"):
                get(objects, "a")
        else:
            assert get(objects, "a", limit=10) == bytes(11)
        objects.close()
        server.shutdown()
    assert asked == ["identity"]


@pytest.mark.parametrize("how", ["get", "copy"])
def test_a_pipe_in_a_folder_keeps_nobody_waiting(tmp_path, how):
    """It is there, and holds nothing that belongs there."""
    objects = open_objects(str(tmp_path))
    os.mkfifo(tmp_path / "a")
    if how == "get":
        assert get(objects, "a") == b""
    else:
        assert objects.copy("a", pytest.fail, limit=9, timeout=SECONDS)


class QuietFiles(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


# -- a server that always gives one answer ------------------------------------------------------------------


def s3_options(url):
    region = {"region_name": "us-east-1"}
    return {"endpoint_url": url, "key": "dummy-key", "secret": "dummy-secret", "client_kwargs": region}


@pytest.fixture
def answering():
    """A function that starts a web server with one answer; returns its URL and the headers it was sent."""
    servers = []

    def start(status, body, announced=None):
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # keeps connections open, as S3 does and moto's does not

            def answer(self):
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.headers["X-Peer"] = str(self.client_address[1])
                requests.append(self.headers)
                self.send_response(status)
                self.send_header("Content-Length", str(announced or len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = announced is not None

            do_GET = do_PUT = answer  # noqa: N815 - the names http.server looks for

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
