"""Who is retraining a model now: a lease that saves work. Nothing depends on it.

    leases/retrain/<n>.json        taken by create-if-absent
    leases/retrain/<n>/<k>.json    a beat every five minutes
    leases/retrain/<n>.done        the end, also after an exception or SIGTERM

Two trainers on two hosts share no clock: the age of a beat is measured by the store's own time, against a
probe just written. The holder measures with its own monotonic clock, and stops before others
may think it dead.
"""

import os
import platform
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from mlshared.errors import MlsharedError, StorageError
from mlshared.manifest import FORMAT, Lease, to_bytes
from mlshared.store import Objects, Store, lease_end_key, lease_key

from ._append import append, nonce
from ._clock import store_time

BEAT_SECONDS: Final = 300.0
LOST_AFTER_SECONDS: Final = 14 * 60.0
FREE_AFTER_SECONDS: Final = 16 * 60.0
CALL_SECONDS: Final = 30.0
_LEASE: Final = re.compile(r"(\d{10})\.json", re.ASCII)


class Busy(MlsharedError):  # noqa: N818 - says what it is
    """Another retrain of the model is under way."""


class LeaseLost(MlsharedError):  # noqa: N818 - says what it is
    """The store could not be told in time that this retrain lives, or another one took over."""


class Held:
    """A lease that is held.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, number: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.number = number
        self._clock = clock
        self._confirmed = clock()
        self._taken_over = False

    def now(self) -> float:
        """Return the holder's own time, in monotonic seconds."""
        return self._clock()

    def confirm(self, asked_at: float) -> None:
        """Note a beat that the store took; ``asked_at`` is the time before the request."""
        self._confirmed = asked_at

    def give_up(self) -> None:
        """Note that somebody else holds a higher lease."""
        self._taken_over = True

    def check(self) -> None:
        """Raise if the lease may be somebody else's by now.

        Raises:
            LeaseLost: Then nothing may be released.
        """
        if self._taken_over:
            raise LeaseLost("another retrain of this model took over; nothing was released")
        if self._clock() - self._confirmed > LOST_AFTER_SECONDS:
            raise LeaseLost("the store could not be reached for 14 minutes; nothing was released")


@contextmanager
def lease(open_storage: Callable[[], Objects], store_id: str, model: str) -> Iterator[Held]:
    """Hold the retrain lease of a model; beats go out on a thread with storage of its own.

    Meanwhile SIGTERM ends the main thread by SystemExit, unless the program handles it already.

    Raises:
        Busy: If another retrain is under way.
    """
    owner = f"{platform.node()[:60]}:{os.getpid()}"
    objects = open_storage()
    try:
        held = _take(Store(objects, budget_seconds=CALL_SECONDS), objects, store_id, model, owner)
    finally:
        objects.close()
    stop = threading.Event()
    beats = threading.Thread(
        target=_beat,
        args=(open_storage, store_id, model, owner, held, stop),
        name="trainer-lease",
        daemon=True,
    )
    try:
        with _exit_on_sigterm():
            beats.start()
            yield held
    finally:
        stop.set()
        if beats.ident is not None:
            beats.join(CALL_SECONDS)


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Let a termination run what stands in ``finally``, which by default it does not."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _exit(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _take(store: Store, objects: Objects, store_id: str, model: str, owner: str) -> Held:
    last = _last_lease(objects, store, model)
    if last and not _is_free(objects, store, model, last):
        raise Busy(f"another retrain of {model} is under way (lease {last}); it ends by itself")
    held = Held(last + 1)
    entry = _entry(store_id, model, last + 1, 0, owner)
    if not append(store, lease_key(model, last + 1), to_bytes(entry), f"lease {last + 1} of {model}"):
        raise Busy(f"another retrain of {model} has just begun")
    return held


def _last_lease(objects: Objects, store: Store, model: str) -> int:
    names = objects.names(f"{model}/leases/retrain", timeout=store.remaining())
    return max((int(match[1]) for name in names if (match := _LEASE.fullmatch(name))), default=0)


def _is_free(objects: Objects, store: Store, model: str, number: int) -> bool:
    """Return whether a lease has ended, or its holder has been silent for too long by the store's clock."""
    if objects.get(lease_end_key(model, number), limit=1 << 16, timeout=store.remaining()) is not None:
        return True
    beats = objects.names(f"{model}/leases/retrain/{number:010d}", timeout=store.remaining())
    last = max((int(match[1]) for name in beats if (match := _LEASE.fullmatch(name))), default=None)
    beaten = objects.modified(lease_key(model, number, last), timeout=store.remaining())
    now = store_time(store, f"{model}/leases/probes")
    return beaten is not None and now - beaten > FREE_AFTER_SECONDS


def _beat(
    open_storage: Callable[[], Objects],
    store_id: str,
    model: str,
    owner: str,
    held: Held,
    stop: threading.Event,
) -> None:
    objects = open_storage()
    beat = 0
    try:
        while not stop.wait(BEAT_SECONDS):
            beat += 1
            _send_beat(objects, store_id, model, owner, held, beat)
        _end(objects, store_id, model, owner, held.number)
    finally:
        objects.close()


def _send_beat(objects: Objects, store_id: str, model: str, owner: str, held: Held, beat: int) -> None:
    asked_at = held.now()
    store = Store(objects, budget_seconds=CALL_SECONDS)
    data = to_bytes(_entry(store_id, model, held.number, beat, owner))
    try:
        if append(store, lease_key(model, held.number, beat), data, "a beat"):
            held.confirm(asked_at)
        if _last_lease(objects, store, model) > held.number:
            held.give_up()
    except StorageError:
        return  # held.check() counts the silence


def _end(objects: Objects, store_id: str, model: str, owner: str, number: int) -> None:
    data = to_bytes(_entry(store_id, model, number, 0, owner, done=True))
    try:
        objects.create(lease_end_key(model, number), data, timeout=CALL_SECONDS)
    except StorageError:
        return  # it ends by itself, sixteen minutes from the last beat


def _entry(store_id: str, model: str, number: int, beat: int, owner: str, *, done: bool = False) -> Lease:
    return Lease(
        type=Lease.TYPE,
        format=FORMAT,
        store=store_id,
        model=model,
        nonce=nonce(),
        number=number,
        beat=beat,
        owner=owner,
        done=done,
    )
