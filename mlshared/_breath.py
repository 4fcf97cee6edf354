"""Background work in short pieces: between them, requests of the same process have the interpreter.

    with giving_way():       what this thread does from here on is in nobody's way
        ...
        breathe()            between two pieces of it

A thread that asks for the interpreter while another runs Python gets it after the switch interval, 5 ms, which is
the app's to set; and a request asks for it after every wait for its socket, and again after every larger step of
numpy's. So background work is in pieces far shorter than a request, and rests far longer between two of them than a
request takes: few requests meet one, hardly any meets two. Only the swap is later for it, by some tenths of a second. A
`sleep(0)` would have the interpreter back before anybody else woke up.

Outside of `giving_way` a breath is nothing: whoever waits for a first version wants it soon.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from mlshared._native import sleep

PIECE_SECONDS: Final = 0.00005
BREATH_SECONDS: Final = 0.001


@dataclass(slots=True)
class _Work:
    piece_seconds: float
    rest: Callable[[float], Any]
    rested: float


class _Local(threading.local):
    work: _Work | None = None


_here: Final = _Local()


@contextmanager
def giving_way(
    *, piece_seconds: float = PIECE_SECONDS, rest: Callable[[float], Any] = sleep
) -> Iterator[None]:
    """Within, `breathe` lets other threads run; for this thread only.

    Args:
        piece_seconds: How long to work between two breaths, about.
        rest: Lets go of the interpreter for so many seconds.
    """
    before = _here.work
    _here.work = _Work(piece_seconds, rest, time.perf_counter())
    try:
        yield
    finally:
        _here.work = before


def breathe() -> None:
    """Let other threads run, if this one gives way and has not done so for a while."""
    work = _here.work
    if work is not None and time.perf_counter() - work.rested >= work.piece_seconds:
        work.rest(BREATH_SECONDS)
        work.rested = time.perf_counter()
