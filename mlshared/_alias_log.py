"""The release log of one alias, followed entry by entry.

    look(store)   one request where there is nothing new; the first time, the end of the log is found
    rescan()      what other processes of this host have accepted
    targets       the released version, its fallback, then what this host served before

An entry is accepted only by the rules of the log (`accepts`), so an alias never goes backwards, and remembered in
the cache, one file an entry. An unsigned one is read twice before: a bit flipped on the way can leave it well-formed
and say something else, and once accepted it stands for its number. Nothing here loads a model.
"""

import hashlib
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

from mlshared._cache import CachedLog
from mlshared._keys import NO_KEYS, Trust
from mlshared._looks import LOOK_AHEAD, Looks
from mlshared._ref import Ref
from mlshared._target import Target
from mlshared.errors import (
    AccessDenied,
    ArtifactError,
    IntegrityError,
    NotPublished,
    SignatureError,
    StorageError,
    UnsupportedFormat,
)
from mlshared.manifest import Manifest, Release, Stored
from mlshared.store import Store, open_release

CONFIRM_SECONDS: Final = 600.0
REMEMBERED: Final = 64  # entries on a host; each process lists them every second

E = TypeVar("E", Release, Manifest)


def accepts(head: Stored[Release] | None, entry: Release) -> bool:
    """Return whether an alias's log may go on from ``head`` to ``entry``.

    An entry that does not follow ``head`` is accepted only with ``reset``: the log that ``head`` belonged to was
    lost, and a person has begun it again.
    """
    if head is None:
        return True
    if entry.number <= head.entry.number:
        return False
    if entry.prev is None or entry.prev.number < head.entry.number:
        return entry.reset
    return entry.prev.number > head.entry.number or entry.prev.sha256 == head.sha256 or entry.reset


def target_of(stored: Stored[Release]) -> Target:
    """Return the version an entry puts in force."""
    entry = stored.entry
    return Target(
        entry.version,
        entry.manifest_sha256,
        entry.created_at,
        trust=stored.trust,
        fresh_until=_fresh_until(entry),
    )


def _fresh_until(entry: Release) -> datetime | None:
    if entry.fresh_for_seconds is None:
        return None
    try:
        return entry.created_at + timedelta(seconds=entry.fresh_for_seconds)
    except (OverflowError, ValueError):
        return None  # longer than calendars go


def newest_remembered(
    cached: CachedLog, known: int, read: Callable[[bytes, int], Stored[E]]
) -> list[Stored[E]]:
    """Return what this host remembers above ``known``, lowest first: as many as are of use, and that can be read.

    Args:
        cached: The host's memory.
        known: The highest number that is known.
        read: Opens one of a number; an ArtifactError passes it by.
    """
    found: list[Stored[E]] = []
    for number in reversed(cached.numbers()):
        if number <= known or len(found) > LOOK_AHEAD:
            break
        raw = cached.entry(number)
        with suppress(ArtifactError):
            if raw is not None:
                found.append(read(raw, number))
    return found[::-1]


class AliasLog:
    """Follows the release log of one alias.

    Args:
        store_id: The store's identity.
        ref: Which model and alias.
        cached: The host's memory of this log.
        floor: Entries below this number are not accepted.
        trust: Whose entries are.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        store_id: str,
        ref: Ref,
        cached: CachedLog,
        *,
        floor: int = 1,
        trust: Trust = NO_KEYS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store_id = store_id
        self._ref = ref
        self._cached = cached
        self._floor = floor
        self._trust = trust
        self._looks = Looks()
        self._unremembered: list[Stored[Release]] = []
        self._history: list[Stored[Release]] = []
        self._clock = clock
        self._confirmed = clock()
        self._listed = False
        self._unfinished = False
        self._passed: dict[int, ArtifactError] = {}
        self.head: Stored[Release] | None = None
        self.warning: str | None = None
        self.problem: Exception | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """The released version, its fallback, then what this host served before and is not withdrawn."""
        if self.head is None:
            return ()
        entry = self.head.entry
        named = target_of(self.head)
        found = {named.manifest_sha256: named}
        if back := entry.fallback:
            fallback = replace(named, version=back.version, manifest_sha256=back.manifest_sha256)
            found.setdefault(back.manifest_sha256, fallback)
        for earlier in reversed(self._history):
            if earlier.entry.version not in entry.withdrawn:
                old = replace(target_of(earlier), cached_only=True)
                found.setdefault(old.manifest_sha256, old)
        return tuple(found.values())

    def rescan(self) -> None:
        """Accept the entries that other processes of this host remembered."""
        known = self.head.entry.number if self.head else 0
        for stored in newest_remembered(self._cached, known, self._open):
            self._accept(stored)

    def look(self, store: Store) -> None:
        """Ask for the entries after the head; the first time, list the log to find its end."""
        self.problem = None
        if self.head is None or not self._listed:
            self._find_head(store)
            self._listed = True
            return
        used_up = self._ask_on(store)
        due = self._clock() - self._confirmed > CONFIRM_SECONDS
        if due:
            self._confirm_head(store)  # last, so that what it raises does not keep newer entries out
        if used_up or due or self._unfinished:
            self._look_beyond(store)

    def remember(self) -> None:
        """Write accepted entries to the cache, oldest first."""
        for stored in self._unremembered:
            self._cached.remember(stored.entry.number, stored.raw)
        if self._unremembered:
            self._cached.forget_oldest(keep=REMEMBERED)
        self._unremembered.clear()

    def _ask_on(self, store: Store) -> bool:
        """Ask for the numbers after the head; return whether all there may be are taken, and none is usable."""
        assert self.head is not None
        number = self.head.entry.number + 1
        while number <= self.head.entry.number + LOOK_AHEAD:
            try:
                raw = store.release_bytes(self._ref.model, self._ref.alias, number)
            except AccessDenied:
                self._explain_denial(store)
                return False
            if raw is None:
                return False
            if not self._judge(store, raw, number):
                return False
            number += 1
        return True

    def _look_beyond(self, store: Store) -> None:
        """List the log, so that nothing planted in it hides a release for longer than `CONFIRM_SECONDS`."""
        if isinstance(self.problem, UnsupportedFormat):
            return  # waited for, and not looked past
        self._unfinished = True  # a look that runs out of time is gone on with at the next
        try:
            numbers = store.releases(self._ref.model, self._ref.alias)
        except AccessDenied:
            numbers = []  # a reader that may not list
        self._accept_newest(store, numbers)
        self._unfinished = False

    def _judge(self, store: Store, raw: bytes, number: int) -> bool:
        """Accept an entry, or count a look at an invalid one; return whether to ask for the next number."""
        try:
            stored = self._open(raw, number)
        except UnsupportedFormat as error:
            self.problem = error
            return False
        except (IntegrityError, SignatureError) as error:
            return self._is_void(raw, number, error)
        if accepts(self.head, stored.entry):
            if stored.trust != "signed":
                self._check_again(store, raw, number)
            self._accept(stored, fresh=True)
            return True
        head = self.head.entry.number if self.head else 0
        return self._is_void(raw, number, IntegrityError(f"entry {number} does not follow entry {head}"))

    def _is_void(self, raw: bytes, number: int, error: ArtifactError) -> bool:
        self.problem = error
        return self._looks.is_void(number, raw)

    def _accept(self, stored: Stored[Release], *, fresh: bool = False) -> None:
        if not accepts(self.head, stored.entry) or stored.entry.number < self._floor:
            return
        if self.head is not None:
            self._history.append(self.head)
            del self._history[:-LOOK_AHEAD]
        self.head = stored
        self.problem = None
        self._looks.clear()
        self._confirmed = self._clock()
        if fresh:
            self._unremembered.append(stored)

    def _find_head(self, store: Store) -> None:
        model, alias = self._ref.model, self._ref.alias
        known = self.head.entry.number if self.head else 0
        try:
            numbers = store.releases(model, alias)
        except AccessDenied:
            numbers = list(range(1, self._gallop(store, max(known, self._floor)) + 1))
        if known > max(numbers, default=0):
            raise StorageError(f"the log of {self._ref} ends before entry {known}, which was accepted before")
        self._accept_newest(store, numbers)
        if self.head is None:
            self._passed.clear()  # looked through to the end: what is mended is found the next time
            if self.problem is not None:
                raise self.problem  # a failed look: it is told, and the next one is later
            if numbers:
                raise NotPublished(
                    f"the log of {self._ref} ends with entry {max(numbers)}, "
                    f"below the floor {self._floor} in the settings"
                )
            raise NotPublished(f"no release of {self._ref} in the store: train and release one first")

    def _accept_newest(self, store: Store, numbers: list[int]) -> None:
        """Accept the first valid entry of these above the head, the highest first.

        What is passed over is remembered, so that a look that runs out of time is no work lost.
        """
        rootless: Stored[Release] | None = None
        known = self.head.entry.number if self.head else 0
        for number in [n for n in reversed(numbers) if n >= self._floor and n > known]:
            if number in self._passed:
                self.problem = self.problem or (self._passed[number] if self.head is None else None)
                continue
            try:
                stored = self._read(store, number)
            except ArtifactError as error:
                self.problem = self._passed[number] = error
                continue
            if stored is None:
                continue
            if stored.entry.rootless and self.head is None:
                rootless = stored  # in force only if nothing valid lies below
                continue
            self._accept(stored, fresh=True)
            if self.head and self.head.entry.number == number:
                return
        if self.head is None and rootless is not None:
            self._accept(rootless, fresh=True)

    def _read(self, store: Store, number: int) -> Stored[Release] | None:
        """Return an entry that a reader could begin with, or None if it is absent.

        Raises:
            ArtifactError: If it is not valid, and was not at a second reading either.
        """
        raw = store.release_bytes(self._ref.model, self._ref.alias, number)
        if raw is None:
            return None
        try:
            stored = self._open(raw, number)
            if stored.trust != "signed":
                self._check_again(store, raw, number)
            self._check_previous(store, stored.entry)
        except ArtifactError:
            self._check_again(store, raw, number)
            raise
        return stored

    def _check_previous(self, store: Store, entry: Release) -> None:
        """Refuse an entry that a reader who followed the log would: one that follows what is not there.

        Raises:
            IntegrityError: If the entry it names lies there with other bytes.
        """
        if self.head is not None or entry.prev is None or entry.reset:
            return  # `accepts` decides, or nothing can be told
        raw = store.release_bytes(self._ref.model, self._ref.alias, entry.prev.number)
        if raw is not None and hashlib.sha256(raw).hexdigest() != entry.prev.sha256:
            self._check_again(store, raw, entry.prev.number)
            raise IntegrityError(
                f"entry {entry.number} does not follow entry {entry.prev.number} as it lies there"
            )

    def _check_again(self, store: Store, raw: bytes, number: int) -> None:
        """Read an entry once more.

        Raises:
            StorageError: If it comes with other bytes: nothing can be told from either.
        """
        if store.release_bytes(self._ref.model, self._ref.alias, number) != raw:
            raise StorageError(f"entry {number} of {self._ref}, read twice, came with different bytes")

    def _gallop(self, store: Store, start: int) -> int:
        """Return the highest number of a log that cannot be listed; absent looks like denied there."""

        def there(number: int) -> bool:
            try:
                return store.release_bytes(self._ref.model, self._ref.alias, number) is not None
            except AccessDenied:
                if number == start:
                    raise
                return False

        if not there(start):
            return 0
        low, high = start, start * 2
        while there(high):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if there(middle) else (low, middle)
        return low

    def _explain_denial(self, store: Store) -> None:
        """Tell a reader that may not list (403 for what is absent) from one that may not read."""
        self._confirm_head(store)
        self.warning = (
            "the store answers 403 for what is absent: give this reader s3:ListBucket, "
            "so that a missing object and a refused one can be told apart"
        )

    def _confirm_head(self, store: Store) -> None:
        assert self.head is not None
        number = self.head.entry.number
        raw = store.release_bytes(self._ref.model, self._ref.alias, number)
        if raw is None:
            raise StorageError(f"the log of {self._ref} is gone from the store")
        if raw != self.head.raw:
            raise IntegrityError(f"entry {number} of {self._ref} was replaced in the store")
        self._confirmed = self._clock()

    def _open(self, raw: bytes, number: int) -> Stored[Release]:
        return open_release(raw, self._store_id, self._ref.model, self._ref.alias, number, self._trust)
