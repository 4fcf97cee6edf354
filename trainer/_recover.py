"""Beginning an alias's log again after it was lost: `recover`.

Apps remember the highest entry they have accepted and ask for the one after it. So the version in force is
released again and again until the numbers pass every one that was ever given out; the last of them carries
``reset``, which apps follow from wherever they are. Until then they go on with what they have.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from mlshared.errors import ConfigError
from mlshared.manifest import Manifest, Release, Stored, parse

from ._arguments import check_number
from ._log import Log, check_names, next_entry, no_such_model, read_log
from ._lost import known
from ._writing import BUDGET_SECONDS, Writing, append_entry, published_manifest, writing
from .config import StorePath
from .errors import ReleaseRefused

MOST_ENTRIES: Final = 10_000
UNASKED_ENTRIES: Final = 1_000


def recover(
    name: str,
    *,
    past: int,
    version: int | None = None,
    anyway: bool = False,
    store: StorePath | None = None,
    storage_options: dict[str, Any] | None = None,
    alias: str = "production",
    reason: str = "",
) -> Release:
    """Begin an alias's log again after it was lost; apps follow from wherever they are.

    Stopped halfway, it is run again.

    Args:
        name: The model.
        past: The highest entry that anybody may have seen; the log ends after it.
        version: The version to put in force; default: the one of the last entry that is there or that this host
            remembers.
        anyway: Whether to go on where nothing tells that anything was lost, or so much of it.
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.
        alias: Of which log.
        reason: For the log.

    Returns:
        The last entry written.

    Raises:
        ConfigError: If ``past`` is below an entry that is known to have been, or far beyond it without ``anyway``.
        NotPublished: If there is no such model or version.
        ReleaseRefused: If it cannot be told which version was in force, or its bytes are others now; if nothing was
            lost, without ``anyway``.
        OutcomeUnknown: If the store stopped answering while writing.
    """
    check_names(name, alias)
    check_number("past", past)
    with writing(store, storage_options) as to:
        log = read_log(to.store, to.store_id, name, alias)
        if log.highest == 0 and not to.store.versions(name):
            raise no_such_model(to.store, name)
        _check_past(to, log, past, anyway=anyway)
        last = _last_known(to, log)
        target = _target(to, log, version, last)
        for each in _entries(to, log, target, past, last, reason):
            entry = each
        return entry


def _entries(
    to: Writing, log: Log, target: Stored[Manifest], past: int, last: Release | None, reason: str
) -> Iterator[Release]:
    """Write entry after entry until one lies past that number; yield each."""
    hold, gone = (last.hold, last.withdrawn) if last else (False, ())
    left = set(gone) - {target.entry.version}
    number = 0
    while number <= past:
        to.store.allow(BUDGET_SECONDS)
        entry = next_entry(
            log,
            target,
            kind="recover",
            by="person",
            hold=hold,
            reason=reason or "the log was lost",
            left=left,
            reset=log.highest >= past,
        )
        if append_entry(to, entry):
            number = entry.number
            head = parse(to.store.seal(entry), Release)  # the bytes that were written: Ed25519 signs alike
            log = replace(log, head=head, highest=number, passed_over=None)
            yield entry
        else:
            log = read_log(to.store, to.store_id, log.model, log.alias)


def _check_past(to: Writing, log: Log, past: int, *, anyway: bool) -> None:
    had = known(to.store, log, to.seen)
    if not anyway:
        _refuse_whole(log, had)
    if past < had:
        raise ConfigError(
            f"the log of {log.model}@{log.alias} had come to entry {had}: give --past {had} or more"
        )
    if not (anyway or past < max(had, log.highest) + UNASKED_ENTRIES):
        raise ConfigError(
            f"--past {past:,} would take {past - log.highest:,} entries, and the log is known to have come to entry "
            f"{had:,}: give the highest entry an app has seen; if it is that one, --anyway"
        )
    if past - log.highest > MOST_ENTRIES:
        raise ConfigError(
            f"--past {past:,} would take {past - log.highest:,} entries, more than {MOST_ENTRIES:,}; "
            "give the highest entry an app has seen"
        )


def _refuse_whole(log: Log, had: int) -> None:
    """Refuse to begin a log again that is there as far as anybody remembers.

    Raises:
        ReleaseRefused: Unless an earlier `recover` stopped halfway.
    """
    head = log.head.entry if log.head else None
    where = f"{log.model}@{log.alias}"
    if head is None and log.highest == had == 0:
        raise ReleaseRefused(f"{where} never had a release, as far as the store tells; if it did: --anyway")
    halfway = head is not None and head.kind == "recover" and not head.reset
    if head is not None and not halfway and head.number == log.highest >= had:
        raise ReleaseRefused(
            f"nothing was lost: the log of {where} ends with entry {head.number}, and neither the store nor this "
            "host remembers more; if an app has seen a higher one: --anyway"
        )


def _last_known(to: Writing, log: Log) -> Release | None:
    """Return the last entry there is, or the one this host remembers if that came later."""
    remembered = to.seen.entry(log.store_id, log.model, log.alias)
    entries = [stored.entry for stored in (log.head, remembered) if stored is not None]
    return max(entries, key=lambda entry: entry.number, default=None)


def _target(to: Writing, log: Log, version: int | None, last: Release | None) -> Stored[Manifest]:
    name = log.model
    if version is None and last is None:
        newest = max(to.store.versions(name), default=0)
        raise ReleaseRefused(
            f"nothing tells which version of {name} was in force: name it with --version (the newest is {newest})"
        )
    target = published_manifest(to, name, version or (last.version if last else 0))
    if version is None and last is not None and target.sha256 != last.manifest_sha256:
        raise ReleaseRefused(
            f"the manifest of {name}@{last.version} is not the one that was released: find out who replaced it, "
            "and name a version with --version"
        )
    if to.store.has_tombstone(name, target.entry.version):
        raise ReleaseRefused(
            f"{name}@{target.entry.version} was set aside by `trainer gc`; name a version with --version"
        )
    return target
