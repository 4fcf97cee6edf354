"""Putting a version in force: a person's release, rollback and hold, and a retrain's automatic release.

    person      read the log -> next entry -> create the next number; lost the race: again, at most 5 times
    retrain     read the log -> judge against its head -> create head + 1; lost: judge again, at most twice

A person's command is absolute. An automatic release never takes a number it has not seen the one before of:
it would undo a rollback, or pass over a hold, that was written meanwhile. Both refuse to go on with a log that
was lost, and to put in force what is to be collected: looked at before writing, and again after it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mlshared.errors import ArtifactError
from mlshared.manifest import Manifest, Release, Stored
from mlshared.store import Store

from ._log import Kind, Log, check_names, earlier_fallbacks, next_entry, read_log
from ._lost import check_log
from ._seen import NOTHING_SEEN, Seen
from ._writing import BUDGET_SECONDS, Writing, published_manifest, put_in_force, writing
from .checks import Check, compatibility
from .errors import LogLost, ReleaseRefused

PERSON_ATTEMPTS: Final = 5
AUTOMATIC_ATTEMPTS: Final = 3

Judge = Callable[[Stored[Release] | None], tuple[Check, ...]]


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
        ReleaseRefused: If the version's schema is not compatible with the one in force, without ``breaking``;
            if it is to be collected.
        LogLost: If the alias's log ends before an entry it once had.
        OutcomeUnknown: If the store stopped answering while writing.
    """
    with writing(store, storage_options) as to:
        target = published_manifest(to, name, version)

        def check(log: Log) -> None:
            verdict = _check_compatible(to.store, log, target.entry)
            if not (verdict.passed or breaking):
                raise ReleaseRefused(f"{name}@{version} was not released: {verdict.message}")

        return _by_person(
            to, name, alias, lambda _: target, kind="release", hold=hold, reason=reason, check=check
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
        ReleaseRefused: If there is nothing to go back to, or it is to be collected.
        LogLost: If the alias's log ends before an entry it once had.
        OutcomeUnknown: If the store stopped answering while writing.
    """
    with writing(store, storage_options) as at:

        def choose(log: Log) -> Stored[Manifest]:
            head = _in_force(log)
            if to is None and head.fallback is None:
                raise ReleaseRefused(
                    f"{name}@{head.version} has no earlier version to go back to; name one with --to"
                )
            wanted = to if to is not None else head.fallback.version if head.fallback else 0
            if wanted == head.version:
                raise ReleaseRefused(f"{name}@{wanted} is the version in force; nothing to go back to")
            target = published_manifest(at, name, wanted)
            if to is None and head.fallback is not None:
                _check_bytes(target, head.fallback.manifest_sha256)
            return target

        return _by_person(at, name, alias, choose, kind="rollback", hold=hold, reason=reason)


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
    with writing(store, storage_options) as at:

        def choose(log: Log) -> Stored[Manifest]:
            head = _in_force(log)
            target = published_manifest(at, name, head.version)
            _check_bytes(target, head.manifest_sha256)
            return target

        return _by_person(at, name, alias, choose, kind="hold", hold=True, reason=reason)


def release_automatically(
    store: Store,
    store_id: str,
    candidate: Stored[Manifest],
    alias: str,
    judge: Judge,
    *,
    reason: str = "",
    fresh_for_seconds: float | None = None,
    seen: Seen = NOTHING_SEEN,
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
        seen: What this host remembers of the store's logs.

    Raises:
        OutcomeUnknown: If the store stopped answering while writing.
    """
    name, to = candidate.entry.model, Writing(store, store_id, seen)
    for _ in range(AUTOMATIC_ATTEMPTS):
        store.allow(BUDGET_SECONDS)
        log = read_log(store, store_id, name, alias)
        champion = log.head.entry if log.head else None
        checks = judge(log.head)
        if champion is not None and champion.version == candidate.entry.version:
            return Verdict(
                True, False, f"entry {champion.number} put it in force meanwhile", checks, champion
            )
        store.allow(BUDGET_SECONDS)
        if (why := _lost(to, log)) is not None:
            return Verdict(False, False, why, checks, champion)
        if (why := _stop(log, candidate.entry, checks)) is not None:
            return Verdict(False, bool(champion and champion.hold), why, checks, champion)
        try:
            entry = next_entry(
                log,
                candidate,
                kind="release",
                by="retrain",
                hold=False,
                reason=reason,
                fresh_for_seconds=fresh_for_seconds,
            )
            if put_in_force(to, log, entry):
                return Verdict(True, False, "every check passed", checks, champion)
        except ReleaseRefused as error:
            return Verdict(False, False, str(error), checks, champion)
    why = f"{name}@{alias} changed {AUTOMATIC_ATTEMPTS} times while this was being judged"
    return Verdict(False, False, why, checks, champion)


def release_first(
    store: Store,
    store_id: str,
    target: Stored[Manifest],
    alias: str,
    *,
    reason: str,
    seen: Seen = NOTHING_SEEN,
) -> bool:
    """Put a version in force if nothing ever was, so that nothing is displaced; return whether it was.

    Raises:
        LogLost: If something was in force, and its log is gone.
        OutcomeUnknown: If the store stopped answering while writing.
    """
    store.allow(BUDGET_SECONDS)
    to = Writing(store, store_id, seen)
    log = read_log(store, store_id, target.entry.model, alias)
    check_log(store, log, seen)
    if log.highest > 0:
        return False
    return put_in_force(
        to, log, next_entry(log, target, kind="release", by="person", hold=False, reason=reason)
    )


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
    to: Writing,
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
        to.store.allow(BUDGET_SECONDS)
        log = read_log(to.store, to.store_id, name, alias)
        check_log(to.store, log, to.seen)
        if kind == "hold":
            target = None  # of what is in force by then: of what was before, it would undo the release that slipped in
        # Chosen once, by what the person saw: a release that slips in must not turn a rollback around.
        target = target or choose(log)
        if kind == "rollback" and log.head is not None:
            left.add(log.head.entry.version)
        if check is not None:
            check(log)
        older = earlier_fallbacks(to.store, log, target.entry.version)
        entry = next_entry(
            log, target, kind=kind, by="person", hold=hold, reason=reason, left=left, older=older
        )
        if put_in_force(to, log, entry):
            return entry
    raise ReleaseRefused(f"{name}@{alias} changed {PERSON_ATTEMPTS} times meanwhile; try again")


def _in_force(log: Log) -> Release:
    if log.head is None and log.passed_over is not None:
        raise ReleaseRefused(f"{log.obscured_by}, or release a version first")
    if log.head is None:
        raise ReleaseRefused(
            f"{log.model}@{log.alias} has no release; release a version first, or, if it had one and its log "
            f"was lost: trainer recover {log.model} --past N"
        )
    return log.head.entry


def _lost(to: Writing, log: Log) -> str | None:
    """Return that the log was lost, and the mend, or None."""
    try:
        check_log(to.store, log, to.seen)
    except LogLost as error:
        return str(error)
    return None


def _stop(log: Log, candidate: Manifest, checks: tuple[Check, ...]) -> str | None:
    """Return why an automatic release must not go on, or None."""
    head = log.head.entry if log.head else None
    if log.obscured:
        return f"{log.obscured_by}, then release by hand"
    if head is not None and head.hold:
        return f"on hold since entry {head.number} ({head.reason or head.kind}); release by hand to end it"
    if head is not None and candidate.version in head.withdrawn:
        return f"version {candidate.version} was withdrawn"
    if head is not None and head.version > candidate.version:
        return f"version {head.version}, which is newer, is in force already"
    if failed := [check for check in checks if not check.passed]:
        return "; ".join(f"{check.name}: {check.message}" for check in failed)
    return None
