"""Keeps forks out of background work: a child inherits every lock another thread holds, and nobody to release it.

    gate = Gate()
    with gate:               background work of this thread, in which it may hold locks: of the import system, of
        ...                  the standard library, of any package it calls
        with apart():        a wait, in which it holds none: a fork need not wait for its end
            ...
    gate.close()             before a fork: waits until nobody works within
    gate.open()              after it, in the parent

What waits knows nothing of gates: `apart` is of the gate this thread is within, and outside of one it is nothing.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Final

from mlshared._native import make_reentrant_lock

FORK_WAIT_SECONDS: Final = 10.0


class _Local(threading.local):
    gate: "Gate | None" = None


_here: Final = _Local()


class Gate:
    """For ``with``, by one thread at a time, not nested; that thread may fork itself."""

    def __init__(self) -> None:
        self._lock = make_reentrant_lock()  # held within
        self._times_entered = 0
        self._given_up: int | None = None

    def close(self, wait_seconds: float = FORK_WAIT_SECONDS) -> None:
        """Wait until nobody is within, but not for ever, and let nobody in: before a fork.

        Work that hangs is waited for once, not at every fork.
        """
        hangs = self._given_up == self._times_entered
        if not self._lock.acquire(timeout=0.0 if hangs else wait_seconds):
            self._given_up = self._times_entered

    def open(self) -> None:
        """Let others in again: after a fork, in the parent."""
        # Not this thread's where `close` did not wait for ever; another thread may be forking, too.
        with suppress(RuntimeError):
            self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._times_entered += 1
        _here.gate = self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _here.gate = None
        self._lock.release()


@contextmanager
def apart() -> Iterator[None]:
    """Within, this thread waits and holds no lock: forks need not wait for it."""
    gate = _here.gate
    if gate is None:
        yield
        return
    gate.__exit__(None, None, None)
    try:
        yield
    finally:
        gate.__enter__()
