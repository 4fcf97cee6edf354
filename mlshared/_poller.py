"""One background thread that calls a function now and again, and runs jobs handed to it.

Stoppable, and startable again should it have died. A thread does not survive a fork: whoever owns a poller
makes a new one in the child. It knows nothing of models.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final, TypeVar

T = TypeVar("T")
JOIN_SECONDS: Final = 1.0

logger = logging.getLogger("mlshared")


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
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the thread lives."""
        return self._thread is not None and self._thread.is_alive()

    def ensure(self) -> None:
        """Start the thread unless it lives or was told to stop."""
        if self.running or self._stop.is_set():
            return
        with self._lock:
            if not self.running:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Have ``tick`` called at once."""
        self._jobs.put(_nothing)

    def submit(self, job: Callable[[], T], *, timeout_seconds: float) -> T:
        """Run a job on the thread and return what it returns.

        Raises:
            TimeoutError: If it does not end in time; it may still end later.
        """
        if self._thread is threading.current_thread():
            return job()
        future: Future[T] = Future()
        self._jobs.put(lambda: _fulfil(future, job))
        self.ensure()
        return future.result(timeout_seconds)

    def stop(self) -> None:
        """Stop the thread for good; wait for it at most a second."""
        self._stop.set()
        self.wake()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                wait = 1.0
                try:
                    wait = self._tick()
                except Exception:
                    logger.exception("the refresh thread met something unforeseen; it goes on")
                self._run_jobs(time.monotonic() + wait)
        finally:
            self._finish()

    def _run_jobs(self, until: float) -> None:
        """Run what is handed over until it is time for the next tick, or somebody wakes the thread."""
        while not self._stop.is_set():
            try:
                job = self._jobs.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return
            if job is _nothing:
                return
            job()


def _fulfil(future: "Future[Any]", job: Callable[[], Any]) -> None:
    try:
        future.set_result(job())
    except Exception as error:  # noqa: BLE001 - handed to whoever waits for the job
        future.set_exception(error)


def _nothing() -> None:
    """Wake the thread."""
