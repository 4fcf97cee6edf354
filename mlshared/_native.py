"""Threads and waits that hold where gevent has patched the standard library, too.

    start_thread    a thread of the system's, never a greenlet: what it does must not stop the requests
    Wake            what such a thread waits on; whoever wakes it does not wait
    Flag            what requests wait for, be they threads or greenlets; set by any thread
    sleep           stops this thread of the system's, whatever greenlets it may have

A patched process looks the same as any other until it has imported `gevent`, which nothing here does. It may be patched
at any time: under ``gunicorn --preload -k gevent`` that is after this package was imported and used. So each
function finds out when it is called.
"""

import _thread
import importlib
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

_LOOK_SECONDS: Final = 0.005


def is_patched() -> bool:
    """Return whether what calls itself a thread here is a greenlet."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def may_starve() -> bool:
    """Return whether this is uWSGI without ``enable-threads``: where it is old, threads start and get no turn."""
    options = getattr(sys.modules.get("uwsgi"), "opt", None)
    if not isinstance(options, dict):
        return False
    told = {name.decode() if isinstance(name, bytes) else name: value for name, value in options.items()}
    return not {"enable-threads", "threads", "gevent"} & told.keys()


def original(module: str, name: str) -> Any:
    """Return what the standard library itself calls so."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None:
        return getattr(importlib.import_module(module), name)
    return monkey.get_original(module, name)


def sleep(seconds: float) -> None:
    """Stop this thread of the system's for a while."""
    original("time", "sleep")(seconds)


def make_lock() -> Any:
    """Return a lock that excludes threads of the system's; held for moments, as greenlets wait for it as well."""
    return original("_thread", "allocate_lock")()


def make_reentrant_lock() -> Any:
    """Return a lock that a thread of the system's may take again while it has it."""
    return _thread.RLock()  # gevent puts its own in `threading` alone


class Thread(Protocol):
    """A started thread."""

    def is_alive(self) -> bool:
        """Return whether it still runs."""
        ...

    def join(self, timeout: float) -> None:
        """Wait for its end, at most so many seconds."""
        ...


def start_thread(run: Callable[[], None], *, name: str) -> Thread:
    """Start a daemon thread of the system's.

    Raises:
        RuntimeError: If there are too many, or Python is about to end.
    """
    if is_patched():
        return _Started(run)
    thread = _Thread(target=run, name=name, daemon=True)
    thread.start()
    return thread


class _Thread(threading.Thread):
    """A thread that ends in silence also where its process was patched after it had begun."""

    def _delete(self) -> None:
        with suppress(KeyError):  # it is then looked for under a greenlet's number
            super()._delete()  # type: ignore[misc]


class _Started:
    """A thread that `threading`, patched, knows nothing of."""

    def __init__(self, run: Callable[[], None]) -> None:
        self._run = run
        self._ended = Flag()
        original("_thread", "start_new_thread")(self._bootstrap, ())

    def is_alive(self) -> bool:
        return not self._ended.is_set

    def join(self, timeout: float) -> None:
        self._ended.wait(timeout)

    def _bootstrap(self) -> None:
        try:
            self._run()
        finally:
            self._ended.set()


class Wake:
    """What one thread of the system's waits on; waking it twice is waking it once."""

    def __init__(self) -> None:
        self._lock = make_lock()
        self._lock.acquire()

    def set(self) -> None:
        """Wake whoever waits, or the next one who would."""
        with suppress(RuntimeError):  # it was not held: somebody has woken it already
            self._lock.release()

    def wait(self, seconds: float) -> None:
        """Wait until woken, at most so many seconds."""
        self._lock.acquire(timeout=max(0.0, seconds))


class Flag:
    """Set once, by any thread; threads and greenlets may wait for it."""

    def __init__(self) -> None:
        self.is_set = False
        # gevent's own Event wakes greenlets of its own thread only; one made here earlier would stop them all.
        self._event = None if is_patched() else threading.Event()

    def set(self) -> None:
        """Let go whoever waits, now and later."""
        self.is_set = True
        if self._event is not None:
            self._event.set()

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, at most so many seconds; return whether it is."""
        if self.is_set:
            return True
        if self._event is not None and not is_patched():
            return self._event.wait(seconds)
        deadline = time.monotonic() + seconds
        while not self.is_set and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)  # lets the other greenlets run
        return self.is_set
