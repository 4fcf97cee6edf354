"""Writing an alias's log: the entry that follows what was read, looked at before and after.

    with writing(url, options) as to:
        log = read_log(...)
        put_in_force(to, log, next_entry(log, ...))      False: the number is somebody else's

What is to be collected is not put in force: a collector that saw it out of use deletes its blobs a day after
it has said so, and whoever slept through that day between looking and writing must take it back.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from mlshared._objects import open_objects
from mlshared.errors import ArtifactError, NotPublished, StorageError
from mlshared.manifest import Manifest, Release, Stored, parse
from mlshared.store import Store, release_key

from ._append import OutcomeUnknown, append, open_identity
from ._log import Log, check_names, next_entry, read_log
from ._seen import NOTHING_SEEN, Seen, seen_from
from ._signing import find_signing
from .config import choose_options, choose_store, find_config
from .errors import ReleaseRefused

BUDGET_SECONDS: Final = 60.0
ATTEMPTS: Final = 5


@dataclass(frozen=True, slots=True)
class Writing:
    """A store to write releases to.

    Attributes:
        store: Where.
        store_id: Its identity.
        seen: What this host remembers of its logs.
    """

    store: Store
    store_id: str
    seen: Seen = NOTHING_SEEN


@contextmanager
def writing(store: str | None, options: dict[str, Any] | None, *, releases: bool = True) -> Iterator[Writing]:
    """Give a store that exists, to write to; whether ``releases`` are written, which takes a key where it is signed."""
    url = choose_store(store, find_config())
    chosen = choose_options(options)
    objects = open_objects(url, chosen)
    try:
        opened = find_signing(reads_only=not releases).store(objects, budget_seconds=BUDGET_SECONDS)
        yield Writing(opened, open_identity(opened, releases=releases).id, seen_from(url, chosen))
    finally:
        objects.close()


def published_manifest(at: Writing, name: str, version: int) -> Stored[Manifest]:
    """Return a version's manifest.

    Raises:
        NotPublished: If there is none.
    """
    check_names(name)
    stored = at.store.manifest(at.store_id, name, version) if version >= 1 else None
    if stored is None:
        numbers = at.store.versions(name)
        has = f"its versions are {numbers[0]} to {numbers[-1]}" if numbers else "there is no such model"
        raise NotPublished(f"{name} has no version {version}: {has}")
    return stored


def put_in_force(to: Writing, log: Log, entry: Release) -> bool:
    """Write the entry that follows ``log``; return whether that number was won.

    Raises:
        ReleaseRefused: If its version is to be collected: nothing was written, or it was taken back, or, as the
            message says, there was nothing to go back to.
        OutcomeUnknown: If the store stopped answering while writing, or after it.
    """
    _refuse_tombstoned(to, log, entry)
    if not append_entry(to, entry):
        return False
    try:
        _look_again(to, log, entry)
    except StorageError as error:
        raise OutcomeUnknown(
            f"number {entry.number} of {entry.model}@{entry.alias} was written and put version {entry.version} in "
            "force; then the store stopped answering, so that it could not be seen whether that version is to be "
            f"collected: look with `trainer doctor` ({error})"
        ) from error
    return True


def append_entry(to: Writing, entry: Release) -> bool:
    """Create an entry, and remember it; return whether its number was won.

    Raises:
        OutcomeUnknown: If the store stopped answering.
    """
    key, raw = release_key(entry.model, entry.alias, entry.number), to.store.seal(entry)
    won = append(to.store, key, raw, f"number {entry.number} of {entry.model}@{entry.alias}")
    if won:
        to.seen.note(parse(raw, Release))
    return won


def _look_again(to: Writing, log: Log, entry: Release) -> None:
    """Take an entry back whose version was set aside: whoever slept before writing may have slept for days."""
    to.store.allow(BUDGET_SECONDS)
    try:
        _refuse_tombstoned(to, log, entry)
    except ReleaseRefused:
        _take_back(to, log, entry)
        raise


def _refuse_tombstoned(to: Writing, log: Log, entry: Release) -> None:
    if log.head is not None and log.head.entry.version == entry.version:
        return  # in force: no collector takes it
    if to.store.has_tombstone(entry.model, entry.version):
        raise ReleaseRefused(
            f"{entry.model}@{entry.version} was set aside by `trainer gc` and is not released: its blobs are "
            "collected, or will be; name another version, or publish it again"
        )


def _take_back(to: Writing, log: Log, entry: Release) -> None:
    """Put the version before in force again, unless somebody else has put another one there meanwhile.

    Raises:
        ReleaseRefused: If the version stays in force.
    """
    before, target = log.head, _before(to, log)
    for _ in range(ATTEMPTS):
        if before is None or target is None:
            break  # nothing to go back to
        to.store.allow(BUDGET_SECONDS)
        now = read_log(to.store, to.store_id, entry.model, entry.alias)
        if now.head is None or now.head.entry.version != entry.version:
            return
        reason, by, hold = f"version {entry.version} is to be collected", entry.by, before.entry.hold
        back = next_entry(
            now, target, kind="rollback", by=by, hold=hold, reason=reason, left=(entry.version,)
        )
        if append_entry(to, back):
            return
    raise ReleaseRefused(
        f"{entry.model}@{entry.version} was set aside by `trainer gc` while number {entry.number} of "
        f"{entry.model}@{entry.alias} put it in force, where it is: its blobs are collected, or will be; release "
        "another version, or publish it again"
    )


def _before(to: Writing, log: Log) -> Stored[Manifest] | None:
    """Return the version that was in force, or None if nothing was or its bytes are others now."""
    if log.head is None:
        return None
    head = log.head.entry
    try:
        target = to.store.manifest(to.store_id, head.model, head.version)
    except ArtifactError:
        return None
    return target if target is not None and target.sha256 == head.manifest_sha256 else None
