"""Putting a version in force: a person's release, rollback and hold, and a retrain's automatic release.

    person      read the log -> next entry -> create the next number; lost the race: again, at most 5 times
    retrain     read the log -> judge against its head -> create head + 1; lost: judge again, at most twice

A person's command is absolute. An automatic release never takes a number it has not seen the one before of:
it would undo a rollback, or pass over a hold, that was written meanwhile.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from mlshared._objects import open_objects
from mlshared.errors import ArtifactError, MlsharedError, NotPublished
from mlshared.manifest import Manifest, Release, Stored
from mlshared.store import Store, release_key

from ._append import append, open_identity
from ._log import Kind, Log, check_names, next_entry, read_log
from ._signing import find_signing
from .checks import Check, compatibility
from .config import choose_options, choose_store, find_config

PERSON_ATTEMPTS: Final = 5
AUTOMATIC_ATTEMPTS: Final = 3
BUDGET_SECONDS: Final = 60.0

Judge = Callable[[Stored[Release] | None], tuple[Check, ...]]


class ReleaseRefused(MlsharedError):  # noqa: N818 - says what it is
    """A version was not put in force; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an automatic release came to.

    Attributes:
        released: Whether the candidate is in force.
        on_hold: Whether a person's hold kept it back.
        reason: Why, one line.
        checks: The last verdicts; against the head of `champion`.
        champion: The entry the candidate was last judged against.
    """

    released: bool
    on_hold: bool
    reason: str
    checks: tuple[Check, ...]
    champion: Release | None


def release(
    name: str,
    version: int,
    *,
    store: str | None = None,
    storage_options: dict[str, Any] | None = None,
    alias: str = "production",
    reason: str = "",
    hold: bool = False,
    breaking: bool = False,
) -> Release:
    """Put a version in force.

    Args:
        name: The model.
        version: Its number.
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.
        alias: Under which name.
        reason: For the log.
        hold: Whether automatic releases stop here until the next release by a person.
        breaking: Whether apps that work with the version in force may break.

    Returns:
        The entry written.

    Raises:
        NotPublished: If there is no such model or version.
        ReleaseRefused: If the version's schema is not compatible with the one in force, without ``breaking``.
        OutcomeUnknown: If the store stopped answering while writing.
    """
    with writing(store, storage_options) as (reader, store_id):
        target = published_manifest(reader, store_id, name, version)

        def check(log: Log) -> None:
            verdict = _check_compatible(reader, log, target.entry)
            if not (verdict.passed or breaking):
                raise ReleaseRefused(f"{name}@{version} was not released: {verdict.message}")

        return _by_person(
            reader,
            store_id,
            name,
            alias,
            lambda _: target,
            kind="release",
            hold=hold,
            reason=reason,
            check=check,
        )


def rollback(
    name: str,
    *,
    to: int | None = None,
    hold: bool = True,
    store: str | None = None,
    storage_options: dict[str, Any] | None = None,
    alias: str = "production",
    reason: str = "",
) -> Release:
    """Go back to an earlier version; the one left is withdrawn and never released automatically again.

    Args:
        name: The model.
        to: The version to go back to; default: the fallback that the entry in force names.
        hold: Whether automatic releases stop here until the next release by a person.
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.
        alias: Of which log.
        reason: For the log.

    Returns:
        The entry written.

    Raises:
        NotPublished: If there is no such model or version.
        ReleaseRefused: If there is nothing to go back to.
        OutcomeUnknown: If the store stopped answering while writing.
    """
    with writing(store, storage_options) as (reader, store_id):

        def choose(log: Log) -> Stored[Manifest]:
            head = _in_force(log)
            if to is None and head.fallback is None:
                raise ReleaseRefused(
                    f"{name}@{head.version} has no earlier version to go back to; name one with --to"
                )
            wanted = to if to is not None else head.fallback.version if head.fallback else 0
            if wanted == head.version:
                raise ReleaseRefused(f"{name}@{wanted} is the version in force; nothing to go back to")
            target = published_manifest(reader, store_id, name, wanted)
            if to is None and head.fallback is not None:
                _check_bytes(target, head.fallback.manifest_sha256)
            return target

        return _by_person(reader, store_id, name, alias, choose, kind="rollback", hold=hold, reason=reason)


def hold(
    name: str,
    *,
    store: str | None = None,
    storage_options: dict[str, Any] | None = None,
    alias: str = "production",
    reason: str = "",
) -> Release:
    """Keep the version in force until a person releases; retrains go on publishing.

    Arguments and errors are those of `rollback`.
    """
    with writing(store, storage_options) as (reader, store_id):

        def choose(log: Log) -> Stored[Manifest]:
            head = _in_force(log)
            target = published_manifest(reader, store_id, name, head.version)
            _check_bytes(target, head.manifest_sha256)
            return target

        return _by_person(reader, store_id, name, alias, choose, kind="hold", hold=True, reason=reason)


def release_automatically(
    store: Store,
    store_id: str,
    candidate: Stored[Manifest],
    alias: str,
    judge: Judge,
    *,
    reason: str = "",
    fresh_for_seconds: float | None = None,
) -> Verdict:
    """Put a candidate in force if it passes every check against the version in force at that moment.

    Args:
        store: Where.
        store_id: Its identity.
        candidate: The version published.
        alias: Under which name.
        judge: Head -> verdicts; called anew whenever the head has changed.
        reason: For the log.
        fresh_for_seconds: After how long without a newer entry the alias counts as overdue.

    Raises:
        OutcomeUnknown: If the store stopped answering while writing.
    """
    name = candidate.entry.model
    for _ in range(AUTOMATIC_ATTEMPTS):
        store.allow(BUDGET_SECONDS)
        log = read_log(store, store_id, name, alias)
        champion = log.head.entry if log.head else None
        checks = judge(log.head)
        if champion is not None and champion.version == candidate.entry.version:
            return Verdict(
                True, False, f"entry {champion.number} put it in force meanwhile", checks, champion
            )
        if (why := _stop(log, candidate.entry, checks)) is not None:
            return Verdict(False, bool(champion and champion.hold), why, checks, champion)
        entry = next_entry(
            log,
            candidate,
            kind="release",
            by="retrain",
            hold=False,
            reason=reason,
            fresh_for_seconds=fresh_for_seconds,
        )
        store.allow(BUDGET_SECONDS)
        if _append_entry(store, entry):
            return Verdict(True, False, "every check passed", checks, champion)
    why = f"{name}@{alias} changed {AUTOMATIC_ATTEMPTS} times while this was being judged"
    return Verdict(False, False, why, checks, champion)


def release_first(store: Store, store_id: str, target: Stored[Manifest], alias: str, *, reason: str) -> bool:
    """Put a version in force if nothing ever was, so that nothing is displaced; return whether it was.

    Raises:
        OutcomeUnknown: If the store stopped answering while writing.
    """
    store.allow(BUDGET_SECONDS)
    log = read_log(store, store_id, target.entry.model, alias)
    if log.highest > 0:
        return False
    return _append_entry(
        store, next_entry(log, target, kind="release", by="person", hold=False, reason=reason)
    )


@contextmanager
def writing(store: str | None, options: dict[str, Any] | None) -> Iterator[tuple[Store, str]]:
    """Give a store that exists, to write to, and its identity."""
    objects = open_objects(choose_store(store, find_config()), choose_options(options))
    try:
        opened = find_signing().store(objects, budget_seconds=BUDGET_SECONDS)
        yield opened, open_identity(opened).id
    finally:
        objects.close()


def published_manifest(store: Store, store_id: str, name: str, version: int) -> Stored[Manifest]:
    """Return a version's manifest.

    Raises:
        NotPublished: If there is none.
    """
    check_names(name)
    stored = store.manifest(store_id, name, version) if version >= 1 else None
    if stored is None:
        numbers = store.versions(name)
        has = f"its versions are {numbers[0]} to {numbers[-1]}" if numbers else "there is no such model"
        raise NotPublished(f"{name} has no version {version}: {has}")
    return stored


def _check_bytes(target: Stored[Manifest], sha256: str) -> None:
    """Refuse a manifest that is not the one the log names: a number is a label, the hash is the version."""
    if target.sha256 != sha256:
        raise ReleaseRefused(
            f"the manifest of {target.entry.model}@{target.entry.version} is not the one that was released: "
            "find out who replaced it, and name another version with --to"
        )


def _check_compatible(store: Store, log: Log, candidate: Manifest) -> Check:
    """Return whether apps that work with what is in force in ``log`` work with the candidate."""
    if log.head is None:
        return compatibility(None, candidate)
    in_force = log.head.entry
    problem = "is missing from the store or was replaced"
    try:
        champion = store.manifest(log.store_id, log.model, in_force.version)
    except ArtifactError as error:
        champion, problem = None, f"cannot be read: {error}"
    if champion is not None and champion.sha256 == in_force.manifest_sha256:
        return compatibility(champion.entry, candidate)
    # Absolute as a person's word is, it takes that word: a damaged version must not be in force for ever.
    mend = f"go on without comparing? trainer release {candidate.model} {candidate.version} --breaking"
    words = f"the manifest of {log.model}@{in_force.version}, which is in force, {problem}; {mend}"
    return Check("compatible", False, words)


def _by_person(
    store: Store,
    store_id: str,
    name: str,
    alias: str,
    choose: Callable[[Log], Stored[Manifest]],
    *,
    kind: Kind,
    hold: bool,
    reason: str,
    check: Callable[[Log], None] | None = None,
) -> Release:
    check_names(name, alias)
    target: Stored[Manifest] | None = None
    left: set[int] = set()
    for _ in range(PERSON_ATTEMPTS):
        store.allow(BUDGET_SECONDS)
        log = read_log(store, store_id, name, alias)
        # Chosen once, by what the person saw: a release that slips in must not turn a rollback around.
        target = target or choose(log)
        if kind == "rollback" and log.head is not None:
            left.add(log.head.entry.version)
        if check is not None:
            check(log)
        entry = next_entry(log, target, kind=kind, by="person", hold=hold, reason=reason, left=left)
        if _append_entry(store, entry):
            return entry
    raise ReleaseRefused(f"{name}@{alias} changed {PERSON_ATTEMPTS} times meanwhile; try again")


def _append_entry(store: Store, entry: Release) -> bool:
    key = release_key(entry.model, entry.alias, entry.number)
    what = f"number {entry.number} of {entry.model}@{entry.alias}"
    return append(store, key, store.seal(entry), what)


def _in_force(log: Log) -> Release:
    if log.head is None:
        raise ReleaseRefused(f"{log.model}@{log.alias} has no release; release a version first")
    return log.head.entry


def _stop(log: Log, candidate: Manifest, checks: tuple[Check, ...]) -> str | None:
    """Return why an automatic release must not go on, or None."""
    head = log.head.entry if log.head else None
    if log.obscured:
        return (
            f"entry {log.highest} of {log.model}@{log.alias} is not valid; look at it, then release by hand"
        )
    if head is not None and head.hold:
        return f"on hold since entry {head.number} ({head.reason or head.kind}); release by hand to end it"
    if head is not None and candidate.version in head.withdrawn:
        return f"version {candidate.version} was withdrawn"
    if head is not None and head.version > candidate.version:
        return f"version {head.version}, which is newer, is in force already"
    if failed := [check for check in checks if not check.passed]:
        return "; ".join(f"{check.name}: {check.message}" for check in failed)
    return None
