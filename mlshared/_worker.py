"""A client in one process: its thread, its storage, its models.

    attend   what a prediction calls when there is no version, or when nobody has refreshed for too long
    tick     what the thread does every second or so: cheap, it lists a folder of the host's cache
    refresh  a cycle by hand, handed to the thread

Nothing here survives a fork; the child makes a worker of its own. Storage is opened and used on the thread
alone.
"""

import logging
import math
import os
import time
from collections import deque
from dataclasses import asdict, replace
from typing import Final

from mlshared._cache import Cache, open_cache
from mlshared._gate import Gate
from mlshared._identity import identify, trust_in
from mlshared._keys import Trust
from mlshared._load import Host
from mlshared._native import Flag, may_starve
from mlshared._objects import open_objects
from mlshared._poller import JOIN_SECONDS, Poller, Stopped
from mlshared._ref import Ref
from mlshared._refresh import Refresher
from mlshared._status import Status
from mlshared._verdicts import backoff
from mlshared._version import ModelVersion
from mlshared.errors import (
    ConfigError,
    MlsharedError,
    ModelNotReady,
    StorageError,
    raisable,
)
from mlshared.events import Hook, RefreshFailed, RefreshStopped, guarded
from mlshared.model import Model
from mlshared.settings import Settings
from mlshared.store import Store

TICK_SECONDS: Final = 1.0
DUE_SECONDS: Final = 10.0
NUDGE_SECONDS: Final = 2.0
REQUEST_WAIT_SECONDS: Final = 5.0
STATUS_SECONDS: Final = 10.0
LONGEST_OPEN_BACKOFF_SECONDS: Final = 30.0

DIED: Final = "the refresh thread had died: nothing was refreshed until now, and a new one goes on"
NOT_REFRESHED: Final = "the refresh thread does not run in this process; the next prediction starts it"
STARVED: Final = (
    "the refresh thread gets no turn, so that no new version is loaded: set uWSGI's enable-threads"
)

logger = logging.getLogger("mlshared")


class Followed:
    """A model in this process; what its `Model` calls on.

    Nothing happens for it before it is wanted.
    """

    def __init__(self, worker: "Worker", model: Model, ref: Ref) -> None:
        self.model = model
        self.ref = ref
        self.refresher: Refresher | None = None
        self.error: Exception | None = None
        self.wanted = False
        self.last_used = time.monotonic()
        self.tried = Flag()
        self.loaded = Flag()
        self._worker = worker

    def attend(self, wait_seconds: float | None) -> ModelVersion:
        """Return a version, waiting for the first one; see that refreshing goes on.

        Args:
            wait_seconds: How long to wait for the first version. None: as a request may, and no longer than
                the first attempt takes. Infinite: ``first_load_seconds``.

        Raises:
            ModelNotReady: If none could be loaded.
            ConfigError: If none ever could.
        """
        self.last_used = time.monotonic()
        self.wanted = True
        due, now = self.model.due, time.monotonic()
        self.model.keep_until(now + NUDGE_SECONDS)
        self._worker.nudge(wake=now > due, late=0.0 < due < now)
        if self.model.loaded is None:
            self._wait(wait_seconds)
        version = self.model.loaded
        if version is None:
            raise self._not_ready()
        return version

    def refresh(self, timeout_seconds: float) -> bool:
        """Run a whole cycle now; return whether another version came into force."""
        self.wanted = True
        before = self.model.loaded
        self._worker.refresh(self, timeout_seconds)
        return self.model.loaded is not before

    def status(self) -> Status:
        """Return how it is doing; also that nobody looks after it, where that is so."""
        status = self._status()
        if self._worker.is_at_work or status.state == "idle":
            return status
        state = "stale" if status.ready else status.state
        return replace(status, state=state, last_error=status.last_error or NOT_REFRESHED)

    def _status(self) -> Status:
        refresher, raised, version = self.refresher, self.error, self.model.loaded
        error = None if raised is None else f"{type(raised).__name__}: {raised}"
        if refresher is not None:
            status = refresher.status()
            bad = "failed" if version is None else "stale"
            return status if error is None else replace(status, state=bad, last_error=error)
        if version is not None:
            state = "serving" if error is None else "stale"
        else:
            state = "failed" if error else "loading" if self.wanted else "idle"
        number = version.version if version else None
        return Status(str(self.ref), state, ready=version is not None, version=number, last_error=error)

    def serving(self) -> str | None:
        """Return the ref of the version in force, or None."""
        version = self.model.loaded
        return None if version is None else version.ref

    def _wait(self, wait_seconds: float | None) -> None:
        if self._worker.stopped:
            return
        first_load = self._worker.settings.first_load_seconds
        if wait_seconds is None:
            self.tried.wait(min(REQUEST_WAIT_SECONDS, first_load))
        else:
            self.loaded.wait(min(wait_seconds, first_load) if wait_seconds == float("inf") else wait_seconds)

    def _not_ready(self) -> MlsharedError:
        if self._worker.stopped:
            return ModelNotReady(f"{self.ref} was not loaded before its client was closed")
        refresher, error = self.refresher, self.error
        if isinstance(error, ConfigError):
            return raisable(error)
        if refresher is not None and error is None:
            return refresher.not_ready()
        reason = f"{type(error).__name__}: {error}" if error else "still opening the store"
        return ModelNotReady(f"{self.ref} has no version that can serve yet: {reason}")


class Worker:
    """Keeps the models of one client fresh in one process.

    Args:
        settings: The client's; they name a store.
        hook: Is given every event.
    """

    def __init__(self, settings: Settings, hook: Hook) -> None:
        self.settings = settings
        self._hook = guarded(hook)
        self._followed: dict[str, Followed] = {}
        self._poller = Poller(self._tick, self._close, name="mlshared-refresh")
        self._cache: Cache | None = None
        self._host: Host | None = None
        self._store_id: str | None = None
        self._trust = Trust(signed_store=True)  # until it is known, nothing is accepted
        self._open_not_before = 0.0
        self._open_failed_at = 0.0
        self._open_error: Exception | None = None
        self._failed_opens = 0
        self._written = 0.0
        self._starved = False
        self._unsaid: deque[RefreshStopped] = deque()
        self._serving: dict[str, str | None] = {}

    @property
    def gate(self) -> Gate:
        """What a fork has to wait at."""
        return self._poller.gate

    @property
    def stopped(self) -> bool:
        """Whether it was told to stop."""
        return self._poller.stopped

    @property
    def wanted(self) -> list[Model]:
        """The models being kept fresh."""
        return [followed.model for followed in list(self._followed.values()) if followed.wanted]

    def follow(self, model: Model, ref: Ref) -> Followed:
        """Return what keeps a model; the same for the same model."""
        known = self._followed.get(model.ref)
        return known or self._followed.setdefault(model.ref, Followed(self, model, ref))

    @property
    def is_at_work(self) -> bool:
        """Whether the thread lives; or is not to, as it was told to stop."""
        return self._poller.running or self._poller.stopped

    def say(self, reason: str, *, going_on: bool = True) -> None:
        """Have the hook told, on the thread, why nothing was refreshed for a while."""
        self._unsaid.append(RefreshStopped(reason, going_on=going_on))

    def nudge(self, *, wake: bool, late: bool) -> None:
        """See that the thread lives; never blocks, never raises.

        Args:
            wake: Have it look after its models at once.
            late: It promised to do so before now, and did not.
        """
        if late and self._poller.running and not self._starved and may_starve():
            self._starved = True
            self._hook(RefreshStopped(STARVED, going_on=False))  # the thread would not get to say it
        if self._poller.ensure():
            self.say(DIED)
        if wake:
            self._poller.wake()

    def refresh(self, followed: Followed, timeout_seconds: float) -> None:
        """Run a whole cycle for one model on the thread, and wait for it."""
        try:
            self._poller.submit(lambda: self._refresh(followed), timeout_seconds=timeout_seconds)
        except TimeoutError as error:
            raise StorageError(f"no answer about {followed.ref} within {timeout_seconds:g} s") from error
        except Stopped as error:
            raise MlsharedError(f"{followed.ref} cannot be refreshed: its client was closed") from error

    def stop(self, wait_seconds: float = JOIN_SECONDS) -> None:
        """Stop refreshing; loaded versions go on answering."""
        self._poller.stop(wait_seconds)

    # All below runs on the thread.

    def _tick(self) -> float:
        while self._unsaid:
            self._hook(self._unsaid.popleft())
        for followed in list(self._followed.values()):
            if followed.wanted:
                self._attempt(followed)
        self._write_status()
        interval = self.settings.poll_interval or 4 * TICK_SECONDS
        return min(TICK_SECONDS, max(0.05, interval / 4))

    def _attempt(self, followed: Followed) -> None:
        if self._is_idle(followed):
            followed.model.keep_until(0.0)  # its next use comes to attend()
            return
        try:
            self._refresher(followed).tick()
            followed.error = None
        except MlsharedError as error:
            if repr(error) != repr(followed.error):
                version = followed.model.loaded
                serving = version.version if version else None
                self._hook(RefreshFailed(str(followed.ref), error, None, serving))
            followed.error = error
        except Exception as error:  # one model's trouble must not keep the thread from the others
            if repr(error) != repr(followed.error):
                logger.exception(
                    "%s could not be refreshed for an unforeseen reason; tried again", followed.ref
                )
            followed.error = error
        finally:
            self._attempted(followed)

    def _refresh(self, followed: Followed) -> None:
        self._open_not_before = self._open_failed_at = 0.0
        try:
            self._refresher(followed).refresh()
            followed.error = None
        finally:
            self._attempted(followed)

    def _attempted(self, followed: Followed) -> None:
        if followed.model.loaded is not None:
            followed.loaded.set()
        followed.tried.set()
        followed.model.keep_until(time.monotonic() + DUE_SECONDS)

    def _is_idle(self, followed: Followed) -> bool:
        now = time.monotonic()
        if followed.model.take_used():
            followed.last_used = now
        idle = self.settings.idle_seconds
        return idle is not None and followed.model.loaded is not None and now - followed.last_used > idle

    def _refresher(self, followed: Followed) -> Refresher:
        if followed.refresher is None:
            host, store_id = self._open()
            followed.refresher = Refresher(followed.model, followed.ref, host, store_id)
            followed.error = None
        return followed.refresher

    def _open(self) -> tuple[Host, str]:
        """Return the host and the store's identity; tried once for all models, less and less often."""
        if self._host is not None and self._store_id is not None:
            return self._host, self._store_id
        if self._open_error is not None and not self._may_open():
            raise self._open_error.with_traceback(None)  # each raise adds its frames
        try:
            opened = self._try_to_open()
        except Exception as error:
            self._failed_opens, self._open_error = self._failed_opens + 1, error
            longest = min(self.settings.poll_interval or math.inf, LONGEST_OPEN_BACKOFF_SECONDS)
            self._open_failed_at = time.monotonic()
            self._open_not_before = self._open_failed_at + backoff(self._failed_opens, longest)
            raise
        self._failed_opens, self._open_error = 0, None
        return opened

    def _try_to_open(self) -> tuple[Host, str]:
        settings = self.settings
        if self._cache is None:
            self._cache = open_cache(settings.cache_dir, max_bytes=settings.cache_bytes)
        if self._host is None:
            assert settings.store is not None
            store = Store(open_objects(settings.store, settings.storage_options))
            self._host = Host(settings, store, self._cache, self._hook, wake=self._poller.wake)
        if self._store_id is None:
            store_id = identify(self._host)
            self._trust, self._store_id = trust_in(self._host, store_id), store_id
        self._host.store.trust = self._trust  # of a storage opened again, too
        return self._host, self._store_id

    def _may_open(self) -> bool:
        """Return whether to ask again; without polling, only once a model was used since."""
        used = any(followed.last_used > self._open_failed_at for followed in list(self._followed.values()))
        return time.monotonic() >= self._open_not_before and (self.settings.poll_interval > 0 or used)

    def _write_status(self) -> None:
        """Tell the host's command line what this process serves: when it changes, and now and again."""
        host, now = self._host, time.monotonic()
        if host is None or self._store_id is None:
            return
        serving = {ref: followed.serving() for ref, followed in list(self._followed.items())}
        if serving == self._serving and now - self._written < STATUS_SECONDS:
            return
        self._serving, self._written = serving, now
        models = {ref: asdict(followed.status()) for ref, followed in list(self._followed.items())}
        host.cache.write_status(self._store_id, os.getpid(), {"pid": os.getpid(), "models": models})

    def _close(self) -> None:
        host, self._host = self._host, None
        for followed in list(self._followed.values()):
            followed.refresher = None
        if host is not None:
            if self._store_id is not None:
                host.cache.remove_status(self._store_id, os.getpid())
                self._serving = {}
            host.close()
