"""A process that serves a model over a wire with faults: a client, and somebody who keeps asking it."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import machine
import proxy
from shelf import NAME

import trainer
from mlshared import Client
from mlshared._objects import open_objects
from mlshared.events import RefreshFailed, VersionLoaded
from mlshared.manifest import Previous, Release
from mlshared.store import Store

POLL_SECONDS = 0.2
LOOK_SECONDS = 1.0
BACKOFF_SECONDS = 0.5  # the least there is
PROMPT_SECONDS = 0.9  # who waited for a look that hangs would wait for LOOK_SECONDS
NEXT = r"/releases/production/0000000002\.json"
NEXT_BUT_ONE = r"/releases/production/0000000003\.json"
PLACES = {"entry": NEXT, "manifest": r"/versions/0000000002\.json", "blob": "/blobs/"}
LIKE = 2  # further versions answer like this one


class Asking:
    """Predicts all the time on a thread of its own, and keeps what it sees.

    Attributes:
        versions: The versions that answered, in the order of their first answer.
        slowest: Seconds of the slowest prediction.
        count: How many there were.
        wrong: Answers that are not what their version predicts offline, and what was raised.
    """

    def __init__(self, model: Any, shelf: Any) -> None:
        self._model, self._rows = model, shelf.rows[:5]
        self._expected = {
            (version, row): shelf.offline(version, self._rows[row])
            for version in shelf.pipelines
            for row in range(len(self._rows))
        }
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.versions: dict[int, None] = {}
        self.slowest = 0.0
        self.count = 0
        self.wrong: list[Any] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.001):
            row = self.count % len(self._rows)
            began = time.monotonic()
            try:
                current = self._model.current
                answer = current.predict_proba(self._rows[row])
            except Exception as error:  # noqa: BLE001 - the claim is that there is none
                self.wrong.append(error)
                continue
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.count += 1
            self.versions[current.version] = None
            expected = self._expected.get((current.version, row), self._expected[LIKE, row])
            if answer != expected:
                self.wrong.append((current.version, row, answer))


def prompt(seconds: float) -> bool:
    """Return whether that is no wait, for a machine as busy as this one is."""
    return seconds < PROMPT_SECONDS or seconds < PROMPT_SECONDS * machine.slowness()


@dataclass
class Served:
    """A serving process, the store behind a proxy, and who keeps asking.

    Attributes:
        model: The live model.
        store: The store as trainers reach it: not through the proxy.
        proxy: What the client goes through.
        events: Every event, with the time (monotonic) it was told.
        asking: Who keeps asking.
        cache: The host's cache.
    """

    client: Client
    model: Any
    store: Any
    proxy: Any
    asking: Asking
    cache: Path
    events: list[tuple[float, Any]] = field(default_factory=list)

    @property
    def status(self) -> Any:
        """How the model is doing."""
        return self.model.status()

    def release(self, version: int, **how: Any) -> None:
        """Release a version, as a person does."""
        trainer.release(NAME, version, store=self.store.url, storage_options=self.store.options, **how)

    def until(self, claim: Callable[[], Any], seconds: float = 20) -> None:
        """Wait until a claim holds."""
        wait_for(claim, seconds)

    def release_behind(self, fault: Any, place: str, **which: Any) -> Any:
        """Release version 2, whose entry, manifest or blobs nobody has seen before the fault sets in.

        Args:
            fault: What happens to requests.
            place: For which: a key of `PLACES`.
            which: Further conditions of the `Rule`, which is returned.
        """
        with self.proxy.inject(proxy.status(404, "NoSuchKey"), path=NEXT):
            self.release(2)
            return self.proxy.inject(fault, path=PLACES[place], **which)

    def failures(self) -> list[RefreshFailed]:
        """Return the failures told so far."""
        return [event for _, event in list(self.events) if isinstance(event, RefreshFailed)]

    def fails(self, times: int = 2) -> None:
        """Wait for so many more failures."""
        before = len(self.failures())
        self.until(lambda: len(self.failures()) >= before + times)

    def stays(self, version: int = 1) -> None:
        """Assert that nothing but this version has answered, rightly and at once."""
        assert self.asking.wrong == []
        assert list(self.asking.versions) == [version]
        assert prompt(self.asking.slowest)

    def recovers(self, version: int = 2) -> None:
        """Assert that a version comes into force without anybody's doing, and all is well then."""
        self.until(lambda: self.status.version == version)
        self.until(lambda: self.status.state == "serving")
        assert self.status.last_error is None
        self.until(lambda: list(self.asking.versions)[-1] == version)
        assert self.asking.wrong == []
        assert prompt(self.asking.slowest)

    def loaded(self) -> list[int]:
        """Return the versions that came into force, in order."""
        return [event.version for _, event in list(self.events) if isinstance(event, VersionLoaded)]


def wait_for(claim: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until a claim holds; fail if it does not in time."""
    until, pause = time.monotonic() + seconds, threading.Event()
    while not claim():
        assert time.monotonic() < until, f"not within {seconds:g} s"
        pause.wait(0.01)


def next_entry(shelf: Any, version: int = 2, **changes: Any) -> Release:
    """Return the entry that would release a version, changed."""
    objects = open_objects(str(shelf.folder))
    store = Store(objects)
    first = store.release(shelf.store_id, NAME, "production", 1)
    manifest = store.manifest(shelf.store_id, NAME, version)
    prev = Previous(number=1, sha256=first.sha256)
    whole = {
        "number": 2,
        "prev": prev,
        "version": version,
        "manifest_sha256": manifest.sha256,
        "by": "person",
    }
    return first.entry.model_copy(update={**whole, **changes})
