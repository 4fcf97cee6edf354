"""A process of a host, as tests play it: within this process, forked from it, or started anew.

here = Process(url, cache); here.tick(); here.refresh(); here.version; here.told(VersionLoaded)
in_a_fork(work)                     what work returned in a forked child, as text
said(script(code, *arguments))      what a new Python printed, one JSON value a line
Events                              a hook that keeps events, to be waited for
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import warnings
from pathlib import Path

from mlshared._cache import open_cache
from mlshared._load import Host
from mlshared._objects import open_objects
from mlshared._ref import parse_ref
from mlshared._refresh import Refresher
from mlshared.model import Model
from mlshared.settings import make_settings
from mlshared.store import Store

SECONDS = 90.0
TESTS = Path(__file__).parent


class Process:
    """A refresher as a process of a host has one, run by the test instead of a thread."""

    def __init__(self, url, cache, ref="cancer", **settings):
        self.events = []
        known = {"store": url, "cache_dir": cache, "poll_seconds": 0, "allow_unsigned": True}
        self.settings = make_settings({**known, **settings})
        objects = open_objects(self.settings.store)
        cache = open_cache(self.settings.cache_dir, max_bytes=self.settings.cache_bytes)
        self.host = Host(self.settings, Store(objects), cache, self.events.append)
        self.model = Model(ref, lambda model: None)
        store_id = self.settings.store_id or self.host.store.identity().id
        self.refresher = Refresher(self.model, parse_ref(ref), self.host, store_id)
        self.refresh, self.tick = self.refresher.refresh, self.refresher.tick
        self.status = self.refresher.status

    @property
    def version(self):
        return self.model.loaded.version if self.model.loaded else None

    def answer(self, row):
        return self.model.loaded.predict_proba(row)

    def told(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


class Events:
    """A hook that keeps events, to be waited for."""

    def __init__(self):
        self.all, self._changed = [], threading.Condition()

    def __call__(self, event):
        with self._changed:
            self.all.append(event)
            self._changed.notify_all()

    def wait_for(self, kind, count=1):
        def enough():
            return sum(isinstance(event, kind) for event in self.all) >= count

        with self._changed:
            return self._changed.wait_for(enough, SECONDS)


def in_a_fork(work, seconds=SECONDS, fork=os.fork):
    """Run work in a forked child; return what it returned, as text, or how it ended.

    A fork without Python's hooks may catch the lock of the interpreter's own lock: that child never runs a line, and
    nobody's code can mend it. Another is forked then.
    """
    for _ in range(5):
        told = _forked(work, seconds, fork)
        if told is not None:
            return told
    return "no child came to life"


def _forked(work, seconds, fork):
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # From 3.12 on, Python warns where threads are, as here and in pytest-xdist's workers.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = fork()
    if pid == 0:
        signal.alarm(int(seconds))
        os.write(writer, b"alive:")
        try:
            os.write(writer, str(work()).encode())
        except BaseException as error:  # noqa: BLE001 - told to the parent
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        lives = fork is os.fork or select.select([pipe], [], [], 20.0)[0]
        if not lives:
            os.kill(pid, signal.SIGKILL)
        told = pipe.read().decode().removeprefix("alive:")
    status = os.waitpid(pid, 0)[1]
    return (told or f"killed by signal {status & 0x7F}") if lives else None


def script(code, *arguments, environment=(), **options):
    """Start a Python that runs code; its arguments are JSON in ``ARGUMENTS``, and tests' modules are importable."""
    path = os.pathsep.join(map(str, (TESTS.parent, TESTS, TESTS / "faults")))
    prelude = "import json, os, sys, time\nARGUMENTS = [json.loads(each) for each in sys.argv[1:]]\n"
    return subprocess.Popen(
        [sys.executable, "-c", prelude + code, *map(json.dumps, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **dict(environment)},
        **options,
    )


def said(process, seconds=90):
    """Wait for a script and return what it printed."""
    try:
        out, err = process.communicate(timeout=seconds)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]
