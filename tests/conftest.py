"""How many examples hypothesis tries, and the fixtures that tests of several rooms share.

s3_server       a real S3 server on loopback, one for the session (under pytest-xdist: for each worker):
                moto's, or versitygw's for a test that is parametrized so: wire.EVERY_SERVER, indirect
s3_store        a fresh bucket on it: .url, .options, .server
counting_proxy  a proxy before the server: .url, .seen(), .stop(), .start(), .inject(fault): faults/proxy.py
s3_wire         s3_store, reached through counting_proxy
shelf           a store with a model in three versions, made once: .copy_to(folder), .send_to(s3_store)
"""

import gc
import importlib.util
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# No deadlines: a busy machine is no finding. tests/run sets the variable when it is called with `quick`.
settings.register_profile("default", deadline=None, max_examples=40)
settings.register_profile("quick", deadline=None, max_examples=10)
settings.load_profile(os.environ.get("TESTS_PROFILE", "default"))


def pytest_collection_finish():
    """Keep what was imported out of later garbage collections, and have fewer: they are half of a small test."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


# A job that a shell starts in the background ignores Ctrl-C, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _beside(path: str) -> Any:
    """Import a module in or below this folder, for tests in every folder to import by its name."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wire = _beside("wire.py")
machine = _beside("machine.py")
proxy = _beside("faults/proxy.py")
make_shelf = _beside("shelf.py").make_shelf
for _name in ("entries", "signers", "process"):
    _beside(f"{_name}.py")


@pytest.fixture(scope="session", autouse=True)
def _home_is_left_alone(tmp_path_factory):
    """What a test or a process of its does not put elsewhere goes into a cache folder of the session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _a_host_of_its_own(tmp_path_factory, monkeypatch):
    """A trainer remembers how far a store's logs had come: copies of one store must not meet on one host."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("host")))


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left_running():
    """What a test started has ended when the session does: its children, and what inherited its environment."""
    mark = f"TESTS_SESSION={uuid.uuid4().hex}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(*mark.split("="))
        yield
    until = time.monotonic() + 10
    while left := _started_here(mark):
        assert time.monotonic() < until, f"left running: {left}"
        time.sleep(0.05)


def _started_here(mark):
    """Return the command lines of processes that are this one's children or have that in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            status = (process / "status").read_text()
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended, or is another user's
        ours = f"PPid:\t{os.getpid()}\n" in status or mark.encode() in environment
        if ours and command and process.name != str(os.getpid()) and "resource_tracker" not in command:
            found.append(command[:200])
    return found


@pytest.fixture(scope="session")
def moto_server():
    with wire.serving() as server:
        yield server


@pytest.fixture(scope="session")
def versitygw_server(tmp_path_factory):
    if wire.versitygw() is None:
        pytest.skip(f"versitygw is not here: {wire.BUILD}")
    with wire.serving_files(tmp_path_factory.mktemp("versitygw")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_server(request):
    return request.getfixturevalue(f"{getattr(request, 'param', 'moto')}_server")


@pytest.fixture
def s3_store(s3_server):
    return wire.new_bucket(s3_server)


@pytest.fixture
def counting_proxy(s3_server):
    with proxy.Proxy(s3_server.port) as before:
        yield before


@pytest.fixture
def s3_wire(s3_store, counting_proxy):
    return s3_store.at(counting_proxy.url)


@pytest.fixture(scope="session")
def shelf(tmp_path_factory):
    return make_shelf(tmp_path_factory.mktemp("shelf") / "models")
