"""One background thread that calls a function now and again, and runs jobs handed to it.

Stoppable, and startable again should it have died. A thread does not survive a fork: whoever owns a poller
makes a new one in the child. It knows nothing of models.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, TypeVar

T = TypeVar("T")
JOIN_SECONDS: Final = 1.0
RESTART_SECONDS: Final = 0.5
FORK_WAIT_SECONDS: Final = 10.0

logger = logging.getLogger("mlshared")


class Stopped(Exception):  # noqa: N818 - says what it is
    """The poller was stopped for good; what was handed to it is not done."""


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
        self._lock = threading.Lock()  # guards starting the thread
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._stop.is_set()

    def ensure(self) -> None:
        """Start the thread unless it lives or was told to stop; if none can be started, the log says so."""
        if self.running or self._stop.is_set():
            return
        with self._lock:
            if self.running:
                return
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # too many threads, or Python is about to end
                logger.warning("the refresh thread cannot be started: %s", error)
            else:
                self._thread = thread

    def wake(self) -> None:
        """Have ``tick`` called at once."""
        self._jobs.put(None)

    def submit(self, job: Callable[[], T], *, timeout_seconds: float) -> T:
        """Run a job on the thread and return what it returns.

        Raises:
            TimeoutError: If it does not end in time; it may still end later.
            Stopped: If the poller was stopped before the job began.
        """
        if self._thread is threading.current_thread():
            return job()
        future: Future[T] = Future()
        self._jobs.put((future, job))
        self.ensure()
        if self._stop.is_set() and not self.running:
            self._cancel_jobs()
        try:
            return self._await(future, time.monotonic() + timeout_seconds)
        except CancelledError as error:
            raise Stopped("stopped") from error

    def _await(self, future: Future[T], deadline: float) -> T:
        """Return a job's result; start the thread again should it die before it comes to the job."""
        while True:
            try:
                return future.result(max(0.0, min(RESTART_SECONDS, deadline - time.monotonic())))
            except TimeoutError:
                if future.done() or time.monotonic() >= deadline:
                    raise
            self.ensure()

    def stop(self) -> None:
        """Stop the thread for good; wait for it at most a second."""
        self._stop.set()
        self.wake()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        try:
            self._run_jobs(0.0)  # whoever started the thread for a job waits for that, not for a tick
            while not self._stop.is_set():
                wait = 1.0
                try:
                    wait = self._tick()
                except Exception:
                    logger.exception("the refresh thread met something unforeseen; it goes on")
                self._run_jobs(time.monotonic() + wait)
        finally:
            self._finish()
            if self._stop.is_set():
                self._cancel_jobs()

    def _run_jobs(self, until: float) -> None:
        """Run what is handed over until it is time for the next tick, or somebody wakes the thread."""
        while not self._stop.is_set():
            try:
                handed = self._jobs.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return
            if handed is None:
                return
            _fulfil(*handed)

    def _cancel_jobs(self) -> None:
        while True:
            try:
                handed = self._jobs.get_nowait()
            except queue.Empty:
                return
            if handed is not None:
                handed[0].cancel()


def _fulfil(future: Future[Any], job: Callable[[], Any]) -> None:
    try:
        future.set_result(job())
    except BaseException as error:
        future.set_exception(error)  # for whoever waits for the job
        if not isinstance(error, Exception):
            raise


class Gate:
    """Keeps forks out of what they must not interrupt; for ``with``, by one thread at a time.

    A fork while another thread imports a module leaves that module half imported and its lock held in the
    child for ever.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # held within; the thread that holds it may fork

    def close(self, wait_seconds: float = FORK_WAIT_SECONDS) -> None:
        """Wait until nobody is within, but not for ever, and let nobody in: before a fork."""
        self._lock.acquire(timeout=wait_seconds)

    def open(self) -> None:
        """Let others in again: after a fork, in the parent."""
        # Not this thread's where `close` did not wait for ever; another thread may be forking, too.
        with suppress(RuntimeError):
            self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()
