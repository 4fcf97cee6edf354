"""Forks wait for background work, not for ever, and not for its waits."""

import threading
import time

from mlshared._gate import Gate, apart

SECONDS = 20.0


def test_gate():
    """A fork waits for whoever is within, but not for ever; afterwards others get in again."""
    gate, inside, leave = Gate(), threading.Event(), threading.Event()

    def work():
        with gate:
            inside.set()
            leave.wait(SECONDS)

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(SECONDS)
    gate.close(wait_seconds=0.01)
    gate.open()
    leave.set()
    gate.close(SECONDS)
    thread.join(SECONDS)
    gate.open()
    with gate:
        gate.close(0.01)  # the thread within may fork itself
        gate.open()


def test_gate_with_two_forks():
    """A thread that gave up waiting to fork does not leave the gate shut for the one that got in."""
    gate = Gate()
    gate.close()
    late = threading.Thread(target=lambda: (gate.close(wait_seconds=0.01), gate.open()))
    late.start()
    late.join(SECONDS)
    gate.open()
    entered = threading.Event()

    def enter():
        with gate:
            entered.set()

    other = threading.Thread(target=enter, daemon=True)
    other.start()
    other.join(SECONDS)
    assert entered.is_set()


def test_apart():
    """A wait within lets forks through; it is not over before they are, and work goes on within afterwards."""
    gate, waiting, leave, order = Gate(), threading.Event(), threading.Event(), []

    def work():
        with gate:
            with apart():
                waiting.set()
                leave.wait(SECONDS)
            order.append("work")
        with apart():  # outside of a gate it is nothing
            order.append("end")

    thread = threading.Thread(target=work)
    thread.start()
    assert waiting.wait(SECONDS)
    gate.close(SECONDS)
    leave.set()
    thread.join(0.1)
    order.append("fork")
    gate.open()
    thread.join(SECONDS)
    assert order == ["fork", "work", "end"]


def test_work_that_hangs_holds_up_one_fork_only():
    """The next does not wait for the same work again; for other work it does."""
    gate, inside, leave = Gate(), threading.Semaphore(0), threading.Semaphore(0)

    def work():
        for _ in range(2):
            with gate:
                inside.release()
                leave.acquire(timeout=SECONDS)

    def closing():
        began = time.monotonic()
        gate.close(0.2)
        gate.open()
        return time.monotonic() - began >= 0.2

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.acquire(timeout=SECONDS)
    waited = [closing(), closing()]
    leave.release()
    assert inside.acquire(timeout=SECONDS)
    waited.append(closing())
    leave.release()
    thread.join(SECONDS)
    assert waited == [True, False, True]
