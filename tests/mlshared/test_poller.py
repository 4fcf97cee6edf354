"""The background thread: it ticks, runs jobs, survives errors, stops, starts again; forks wait for its work."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mlshared._gate import apart
from mlshared._poller import Poller, Stopped

SECONDS = 20.0


class Ticks:
    """A tick that counts, and says when it has been called often enough."""

    def __init__(self, wait=1000.0):
        self.count, self.finished, self.threads = 0, 0, set()
        self.wait = wait
        self._changed = threading.Condition()

    def __call__(self):
        with self._changed:
            self.count += 1
            self.threads.add(threading.get_ident())
            self._changed.notify_all()
        return self.wait

    def finish(self):
        self.finished += 1

    def reach(self, count):
        with self._changed:
            return self._changed.wait_for(lambda: self.count >= count, SECONDS)


@pytest.fixture
def make():
    made = []

    def make_one(tick, finish=lambda: None):
        made.append(Poller(tick, finish, name="test-poller"))
        return made[-1]

    yield make_one
    for poller in made:
        poller.stop()


def test_nothing_runs_before_it_is_wanted(make):
    """Making a poller starts no thread."""
    assert not make(Ticks()).running


def test_ticks_until_stopped(make):
    """It ticks as often as it is asked to, on one thread of its own, and tells when it ends."""
    ticks = Ticks(wait=0.0)
    poller = make(ticks, ticks.finish)
    poller.ensure()
    assert ticks.reach(5)
    poller.stop()
    assert not poller.running
    assert (ticks.finished, len(ticks.threads)) == (1, 1)
    assert threading.get_ident() not in ticks.threads


def test_wake(make):
    """A wake brings the next tick at once."""
    ticks = Ticks()
    poller = make(ticks)
    poller.ensure()
    assert ticks.reach(1)
    poller.wake()
    assert ticks.reach(2)


def test_one_thread_however_many_ask(make):
    """Threads that all find it not running start one."""
    ticks = Ticks()
    poller = make(ticks)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: poller.ensure(), range(64)))
    assert ticks.reach(1)
    assert len(ticks.threads) == 1


def test_jobs_run_on_the_thread(make):
    """A job runs on the thread; what it returns or raises comes back; a job of a job runs at once."""
    poller = make(Ticks())
    assert poller.submit(threading.get_ident, timeout_seconds=SECONDS) != threading.get_ident()
    nested = lambda: poller.submit(lambda: "inner", timeout_seconds=SECONDS)  # noqa: E731
    assert poller.submit(nested, timeout_seconds=SECONDS) == "inner"
    with pytest.raises(ZeroDivisionError):
        poller.submit(lambda: 1 / 0, timeout_seconds=SECONDS)
    assert poller.running


def test_a_job_that_takes_too_long(make):
    """Whoever waits is told; the thread goes on with it."""
    go = threading.Event()
    poller = make(Ticks())
    with pytest.raises(TimeoutError):
        poller.submit(lambda: go.wait(SECONDS), timeout_seconds=0.01)
    go.set()
    assert poller.submit(lambda: "next", timeout_seconds=SECONDS) == "next"


def test_a_tick_that_raises(make, caplog):
    """What is unforeseen is logged with its traceback, and ticking goes on."""
    ticks = Ticks()

    def tick():
        ticks()
        raise LookupError("unforeseen")

    poller = make(tick)
    with caplog.at_level(logging.ERROR, "mlshared"):
        poller.ensure()
        poller.wake()
        assert ticks.reach(2)
    assert "LookupError: unforeseen" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_died(make):
    """A thread that something killed is started again by the next one who cares, and had let go of things."""
    ticks, deadly = Ticks(), [True]

    def tick():
        ticks()
        if deadly.pop() if deadly else False:
            raise SystemExit
        return 1000.0

    poller = make(tick, ticks.finish)
    poller.ensure()
    assert ticks.reach(1)
    poller._thread.join(SECONDS)
    assert (poller.running, ticks.finished) == (False, 1)
    poller.ensure()
    assert ticks.reach(2)
    assert poller.running


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_job_that_kills_the_thread(make):
    """Whoever waits for such a job is told at once."""

    def job():
        raise SystemExit("deadly")

    poller = make(Ticks())
    with pytest.raises(SystemExit, match="deadly"):
        poller.submit(job, timeout_seconds=SECONDS)
    assert poller.submit(lambda: "next", timeout_seconds=SECONDS) == "next"


def test_stopped_for_good(make):
    """A stopped poller starts no thread, and a job handed to it is refused at once."""
    poller = make(Ticks())
    poller.ensure()
    poller.stop()
    poller.ensure()
    assert (poller.running, poller.stopped) == (False, True)
    with pytest.raises(Stopped):
        poller.submit(lambda: None, timeout_seconds=SECONDS)


def test_jobs_that_wait_when_it_is_stopped(make):
    """Jobs that had not begun are refused, whoever waits for them."""
    began, go = threading.Event(), threading.Event()
    poller = make(Ticks())

    def long():
        began.set()
        go.wait(SECONDS)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(poller.submit, long, timeout_seconds=SECONDS)
        assert began.wait(SECONDS)
        second = pool.submit(poller.submit, lambda: None, timeout_seconds=SECONDS)
        stopping = threading.Thread(target=poller.stop)
        stopping.start()
        while not poller._jobs or not poller.stopped:
            pass
        go.set()
        stopping.join()
        assert first.result(SECONDS) is None
        with pytest.raises(Stopped):
            second.result(SECONDS)


def test_no_thread_can_be_started(make, monkeypatch, caplog):
    """At the end of Python no thread can be started: that is logged, and raises into no prediction."""

    def refuse(self):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    poller = make(Ticks())
    with caplog.at_level(logging.WARNING, "mlshared"):
        poller.ensure()
    assert not poller.running
    assert "cannot be started" in caplog.text


def test_the_job_that_starts_the_thread_comes_first(make):
    """Whoever handed it over waits for it, and not for a tick before it."""
    order = []
    ticks = Ticks()
    poller = make(lambda: order.append("tick") or ticks())
    poller.submit(lambda: order.append("job"), timeout_seconds=SECONDS)
    assert ticks.reach(1)
    assert order == ["job", "tick"]


def test_a_job_that_comes_with_the_threads_last_breath(make):
    """Nobody is left to run it: whoever handed it over is told so at once, not when its time is up."""
    done, go = threading.Event(), threading.Event()
    poller = make(Ticks())
    cancel_jobs = poller._cancel_jobs

    def farewell():
        cancel_jobs()
        if threading.current_thread().name == "test-poller":
            done.set()
            go.wait(SECONDS)

    poller._cancel_jobs = farewell
    poller.ensure()
    poller.stop(0.0)
    assert done.wait(SECONDS)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(poller.submit, lambda: 1, timeout_seconds=5.0)
        while not poller._jobs:
            pass
        go.set()
        with pytest.raises(Stopped):
            job.result(SECONDS)


def test_storage_that_cannot_be_closed(make, caplog):
    """Who waits for a job is told all the same that it will not be run."""
    began, go = threading.Event(), threading.Event()

    def finish():
        began.set()
        go.wait(SECONDS)
        raise RuntimeError("cannot close")

    poller = make(Ticks(), finish)
    poller.ensure()
    poller.stop(0.0)
    assert began.wait(SECONDS)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(poller.submit, lambda: 1, timeout_seconds=SECONDS)
        while not poller._jobs:
            pass
        go.set()
        with pytest.raises(Stopped):
            job.result(SECONDS)
    poller.stop()
    assert "could not close its storage" in caplog.text


def test_forks_wait_for_work_and_not_for_waits(make):
    """The gate is shut while a tick or a job works, and open while the thread waits, for a network too."""
    reached, go = threading.Semaphore(0), threading.Semaphore(0)

    def step():
        reached.release()
        assert go.acquire(timeout=SECONDS)

    def tick():
        step()
        with apart():
            step()
        step()
        return 1000.0

    poller = make(tick)
    poller.ensure()
    found = []
    for _ in range(3):
        assert reached.acquire(timeout=SECONDS)
        found.append(shut(poller.gate))
        go.release()
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(poller.submit, step, timeout_seconds=SECONDS)
        assert reached.acquire(timeout=SECONDS)
        found.append(shut(poller.gate))
        go.release()
        job.result(SECONDS)
    poller.gate.close(SECONDS)
    found.append(shut(poller.gate))
    poller.gate.open()
    assert found == [True, False, True, True, False]


def shut(gate):
    """Return whether somebody is within a gate just now; leaves no trace of the question."""
    free = gate._lock.acquire(timeout=0)
    if free:
        gate._lock.release()
    return not free
