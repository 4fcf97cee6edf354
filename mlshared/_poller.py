"""One background thread that calls a function now and again, and runs jobs handed to it.

Stoppable, and startable again should it have died. A thread does not survive a fork: whoever owns a poller
makes a new one in the child, and has forks wait while the thread works (`_gate`). Under gevent, too, it is a
thread, so that no request waits for it. It knows nothing of models.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

from mlshared._gate import Gate, apart
from mlshared._native import Flag, Thread, Wake, make_lock, start_thread

T = TypeVar("T")
JOIN_SECONDS: Final = 1.0
RESTART_SECONDS: Final = 0.5

logger = logging.getLogger("mlshared")


class Stopped(Exception):  # noqa: N818 - says what it is
    """The poller was stopped for good; what was handed to it is not done."""


class _Job(Generic[T]):
    """A function handed to the thread, and what became of it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._ended = Flag()
        self._result: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Run it; whoever waits gets what it returns or raises."""
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error
            if not isinstance(error, Exception):
                raise
        finally:
            self._ended.set()

    def cancel(self) -> None:
        """Tell whoever waits that it will not be run."""
        self._error = Stopped("stopped")
        self._ended.set()

    def ended(self, seconds: float) -> bool:
        """Wait at most so many seconds; return whether it has ended."""
        return self._ended.wait(seconds)

    def result(self) -> T:
        """Return what it returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        result: T = self._result
        return result


class Poller:
    """Calls ``tick`` again and again on a daemon thread.

    Args:
        tick: Does what is due and returns the seconds until it wants to be called again.
        finish: Called on the thread when it stops.
        name: Of the thread.
    """

    def __init__(self, tick: Callable[[], float], finish: Callable[[], None], *, name: str) -> None:
        self._tick = tick
        self._finish = finish
        self._name = name
        self._lock = make_lock()  # guards starting the thread
        self._jobs: deque[_Job[Any]] = deque()
        self._wake = Wake()
        self._woken = False
        self._thread: Thread | None = None
        self._native_id = 0
        self.stopped = False
        self.gate = Gate()

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def started(self) -> bool:
        """Whether there ever was a thread."""
        return self._thread is not None

    def ensure(self) -> bool:
        """Start the thread unless it lives or was told to stop; return whether one had died before.

        If none can be started, the log says so.
        """
        if self.running or self.stopped:
            return False
        with self._lock:
            if self.running:
                return False
            died = self.started
            try:
                self._thread = start_thread(self._run, name=self._name)
            except RuntimeError as error:  # too many threads, or Python is about to end
                logger.warning("the refresh thread cannot be started: %s", error)
                return False
            return died

    def wake(self) -> None:
        """Have ``tick`` called at once."""
        self._woken = True
        self._wake.set()

    def submit(self, job: Callable[[], T], *, timeout_seconds: float) -> T:
        """Run a job on the thread and return what it returns.

        Raises:
            TimeoutError: If it does not end in time; it may still end later.
            Stopped: If the poller was stopped before the job began.
        """
        if self._native_id == threading.get_native_id():
            return job()
        handed = _Job(job)
        self._jobs.append(handed)
        self._wake.set()
        self.ensure()
        if self.stopped and not self.running:
            self._cancel_jobs()
        self._await(handed, time.monotonic() + timeout_seconds)
        return handed.result()

    def _await(self, job: _Job[T], deadline: float) -> None:
        """Wait for a job's end; start the thread again should it die before it comes to the job."""
        while not job.ended(max(0.0, min(RESTART_SECONDS, deadline - time.monotonic()))):
            if time.monotonic() >= deadline:
                raise TimeoutError
            self.ensure()
            if self.stopped and not self.running:  # it came too late for the thread's own farewell
                self._cancel_jobs()

    def stop(self, wait_seconds: float = JOIN_SECONDS) -> None:
        """Stop the thread for good; wait for its end, but not for ever."""
        self.stopped = True
        self._wake.set()
        thread = self._thread
        if thread is not None and self._native_id != threading.get_native_id():
            thread.join(wait_seconds)

    def _run(self) -> None:
        with self.gate:
            self._live()

    def _live(self) -> None:
        self._native_id = threading.get_native_id()
        try:
            self._run_jobs(0.0)  # whoever started the thread for a job waits for that, not for a tick
            while not self.stopped:
                wait = 1.0
                try:
                    wait = self._tick()
                except Exception:
                    logger.exception("the refresh thread met something unforeseen; it goes on")
                self._run_jobs(time.monotonic() + wait)
        finally:
            self._native_id = 0  # the system gives numbers again
            try:
                self._finish()
            except Exception:
                logger.exception("the refresh thread could not close its storage")
            if self.stopped:
                self._cancel_jobs()

    def _run_jobs(self, until: float) -> None:
        """Run what is handed over until it is time for the next tick, or somebody wakes the thread."""
        while not self.stopped:
            if self._jobs:
                self._jobs.popleft().run()
                continue
            left = until - time.monotonic()
            if self._woken or left <= 0:
                self._woken = False
                return
            with apart():
                self._wake.wait(left)

    def _cancel_jobs(self) -> None:
        while self._jobs:
            with suppress(IndexError):  # another thread was first
                self._jobs.popleft().cancel()
