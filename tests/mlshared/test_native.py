"""Threads and waits that hold under gevent, patched before and after; each in a Python of its own."""

import threading
import time

import pytest
from process import said, script

from mlshared._native import Flag, Wake, is_patched, may_starve, original

PATCHED = """
from gevent import monkey
{before}
import threading
import gevent
from mlshared._native import Flag, Wake, is_patched, sleep, start_thread
flag, wake = Flag(), Wake()
{after}
assert is_patched()
main, seen, ticks = threading.get_native_id(), [], [0]

def tick():
    while True:
        ticks[0] += 1
        gevent.sleep(0.001)

def run():
    wake.wait(20)
    seen.append(threading.get_native_id())
    sleep(0.2)
    flag.set()

gevent.spawn(tick)
thread = start_thread(run, name="x")
wake.set()
assert flag.wait(20)
thread.join(20)
print(json.dumps([seen[0] != main, thread.is_alive(), ticks[0] > 20]))
"""


@pytest.mark.parametrize("patch", ["before", "after"])
def test_under_gevent(patch):
    """The thread is one of the system's, and while a greenlet waits for it, the others have their turns."""
    code = PATCHED.format(**{"before": "", "after": "", patch: "monkey.patch_all()"})
    assert said(script(code)) == [[True, False, True]]


def test_unpatched():
    """Here, nothing is patched, and nothing is imported to find out."""
    assert not is_patched()
    assert original("time", "sleep") is time.sleep
    assert not may_starve()


def test_flag():
    """It is waited for in vain, or until another thread sets it; then nobody waits."""
    flag = Flag()
    assert not flag.wait(0.01)
    threading.Timer(0.01, flag.set).start()
    assert flag.wait(20)
    assert flag.wait(0)
    assert flag.is_set


def test_wake():
    """A wake that came before the wait counts, twice is once."""
    wake = Wake()
    wake.set()
    wake.set()
    wake.wait(20)
    began = time.monotonic()
    wake.wait(0.02)
    assert time.monotonic() - began >= 0.015
