"""An alias's release log, as a trainer reads it, and what its next entry says.

    read_log(store, ...) -> Log          head: the highest valid entry; highest: the highest number there is
    next_entry(log, ...) -> Release      pure: carries what is withdrawn, chooses the fallback

Nothing here writes.
"""

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import chain
from typing import Final, Literal

from mlshared.errors import (
    ArtifactError,
    ConfigError,
    IntegrityError,
    NotPublished,
    SignatureError,
    StorageError,
)
from mlshared.manifest import (
    FORMAT,
    Fallback,
    Manifest,
    Previous,
    Release,
    Stored,
    check_alias,
    check_model_name,
)
from mlshared.store import Store, open_release

from ._append import nonce
from ._arguments import check_text

LOOK_BACK: Final = 200
_FARTHEST: Final = 10**9  # no log comes so far; beyond it only those lie who want its numbers to run out
Kind = Literal["release", "rollback", "hold", "renewal", "recover"]
By = Literal["person", "retrain"]


@dataclass(frozen=True, slots=True)
class Log:
    """The state of an alias's log at one moment.

    Attributes:
        store_id: The store's identity.
        model: The model.
        alias: The alias.
        head: The highest valid entry, or None if there is none.
        highest: The last number taken after the head without a gap, valid or not; 0 if none. Numbers are taken one
            by one, so what lies beyond a gap was put there to have them run out, or to hide the next one.
        passed_over: The highest entry above the head that is an entry, and not signed as this trainer wants it. Apps
            with other keys may have accepted it, so the next one follows it.
    """

    store_id: str
    model: str
    alias: str
    head: Stored[Release] | None
    highest: int
    passed_over: Previous | None = None

    @property
    def obscured(self) -> bool:
        """Whether an invalid entry stands above the head: somebody ought to look before a machine goes on."""
        return self.highest > (self.head.entry.number if self.head else 0)

    @property
    def ends(self) -> int:
        """The number of the last entry, whoever signed it; 0 if there is none: one by a key of before is not lost."""
        numbers = (
            self.head.entry.number if self.head else 0,
            self.passed_over.number if self.passed_over else 0,
        )
        return max(numbers)

    @property
    def obscured_by(self) -> str:
        """What stands above the head, and what to do about it, for people."""
        if self.passed_over is not None and self.passed_over.number == self.highest:
            return (
                f"entry {self.highest} of {self.model}@{self.alias} is signed by no key that is trusted here: if it is "
                "yours, add that key to trusted_keys"
            )
        return f"entry {self.highest} of {self.model}@{self.alias} is not valid; look at it"


def read_log(store: Store, store_id: str, model: str, alias: str) -> Log:
    """Return the log's state: one LIST, and a GET or two.

    Raises:
        UnsupportedFormat: If its highest entry was written by a newer trainer.
        StorageError: If the store lists an entry and does not give it.
    """
    numbers = store.releases(model, alias)
    head: Stored[Release] | None = None
    doubtful: list[int] = []
    for number in reversed(numbers):
        try:
            stored = _valid(store, store_id, model, alias, number)
        except SignatureError:
            if head is None:
                doubtful.append(number)
            continue
        if stored is not None:
            head = stored
            if not stored.entry.rootless:
                break
    last = _FARTHEST if head is None else last_taken(numbers, head.entry.number)
    theirs = ((n, whoever_signed_it(store, store_id, model, alias, n)) for n in doubtful if n <= last)
    passed_over = next((Previous(number=n, sha256=each.sha256) for n, each in theirs if each), None)
    start = passed_over or (head.entry if head else None)
    return Log(store_id, model, alias, head, last_taken(numbers, start.number if start else 0), passed_over)


def last_taken(numbers: Collection[int], start: int) -> int:
    """Return the last number after ``start`` that is reached without a gap."""
    taken = set(numbers)
    while start + 1 in taken:
        start += 1
    return start


def check_names(model: str, alias: str | None = None) -> None:
    """Refuse what no model, or no alias, may be called, before anything is read or written.

    Raises:
        ConfigError: With the rule.
    """
    check_text("name", model, "flights")
    if alias is not None:
        check_text("alias", alias, "production")
    try:
        check_model_name(model)
        if alias is not None:
            check_alias(alias)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def no_such_model(store: Store, name: str, where: str = "this store") -> NotPublished:
    """Return the error of a model that is not there, naming the closest one that is."""
    known = store.models()
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(known[:12]) or 'none'}"
    return NotPublished(f"{where} has no model {name!r}; {hint}")


def next_entry(
    log: Log,
    target: Stored[Manifest],
    *,
    kind: Kind,
    by: By,
    hold: bool,
    reason: str,
    left: Collection[int] = (),
    older: Iterable[Fallback] = (),
    fresh_for_seconds: float | None = None,
    reset: bool = False,
) -> Release:
    """Return the entry that puts ``target`` in force after everything in ``log``.

    Args:
        log: What there is.
        target: The version to put in force.
        kind: Why.
        by: Who.
        hold: Whether automatic releases stop there.
        reason: In words.
        left: Versions that a rollback leaves: they join the withdrawn.
        older: What else may be fallen back to, best first; asked only where the head offers nothing.
        fresh_for_seconds: After how long without a newer entry the alias counts as overdue. None: no promise; a
            person's entry hands on the one in force.
        reset: Whether readers follow it from wherever they are.
    """
    head = log.head.entry if log.head else None
    if fresh_for_seconds is None and by == "person" and head is not None:
        fresh_for_seconds = head.fresh_for_seconds
    version = target.entry.version
    withdrawn = set(head.withdrawn if head else ()) | set(left)
    withdrawn.discard(version)
    return Release(
        type=Release.TYPE,
        format=FORMAT,
        store=log.store_id,
        model=log.model,
        nonce=nonce(),
        alias=log.alias,
        number=log.highest + 1,
        kind=kind,
        prev=log.passed_over
        or (Previous(number=head.number, sha256=log.head.sha256) if head and log.head else None),
        version=version,
        manifest_sha256=target.sha256,
        fallback=next(_fallbacks(head, version, withdrawn, older), None),
        withdrawn=tuple(sorted(withdrawn)),
        hold=hold,
        by=by,
        reason=reason,
        created_at=datetime.now(UTC),
        fresh_for_seconds=fresh_for_seconds,
        reset=reset,
    )


def earlier_fallbacks(store: Store, log: Log, version: int) -> Iterator[Fallback]:
    """Yield what the entries that put a version in force named as their fallbacks, the newest first.

    A rollback goes to the head's fallback; what that one could fall back to is told by its own release.
    """
    lowest = max(0, log.highest - LOOK_BACK)
    for number in range(log.head.entry.number if log.head else 0, lowest, -1):
        try:
            stored = store.release(log.store_id, log.model, log.alias, number)
        except ArtifactError:
            continue
        if stored is None or stored.entry.version != version:
            continue
        back = stored.entry.fallback
        if back is not None and not store.has_tombstone(log.model, back.version):
            yield back


def _fallbacks(
    head: Release | None, version: int, withdrawn: set[int], older: Iterable[Fallback]
) -> Iterator[Fallback]:
    """Yield what may be fallen back to: the version in force before, or its fallback, or an older one."""
    if head is None:
        return
    before = Fallback(version=head.version, manifest_sha256=head.manifest_sha256)
    for each in chain([before, head.fallback], older):
        if each is not None and each.version not in withdrawn and each.version != version:
            yield each


def _valid(store: Store, store_id: str, model: str, alias: str, number: int) -> Stored[Release] | None:
    """Return an entry that clients accept: well-formed, in its place, following an entry that is there or none."""
    try:
        stored = store.release(store_id, model, alias, number)
    except IntegrityError:
        return None
    if stored is None:
        # Taking it for invalid would write past an entry that clients have read.
        raise StorageError(f"entry {number} of {model}@{alias} is listed and cannot be read; try again")
    prev = stored.entry.prev
    if prev is None:
        return stored
    raw = store.release_bytes(model, alias, prev.number) if prev.number < number else None
    return stored if raw is not None and hashlib.sha256(raw).hexdigest() == prev.sha256 else None


def whoever_signed_it(
    store: Store, store_id: str, model: str, alias: str, number: int
) -> Stored[Release] | None:
    """Return an entry whoever signed it, or None if there is none or it is none: some app may trust that key."""
    raw = store.release_bytes(model, alias, number)
    try:
        return None if raw is None else open_release(raw, store_id, model, alias, number)
    except ArtifactError:
        return None
