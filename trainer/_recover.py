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

from ._log import Log, check_names, next_entry, read_log
from ._lost import known
from ._writing import BUDGET_SECONDS, Writing, append_entry, published_manifest, writing
from .errors import ReleaseRefused

MOST_ENTRIES: Final = 10_000


def recover(
    name: str,
    *,
    past: int,
    version: int | None = None,
    store: str | None = None,
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
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.
        alias: Of which log.
        reason: For the log.

    Returns:
        The last entry written.

    Raises:
        ConfigError: If ``past`` is below an entry that is known to have been.
        NotPublished: If there is no such model or version.
        ReleaseRefused: If it cannot be told which version was in force, or its bytes are others now.
        OutcomeUnknown: If the store stopped answering while writing.
    """
    check_names(name, alias)
    with writing(store, storage_options) as to:
        log = read_log(to.store, to.store_id, name, alias)
        _check_past(to, log, past)
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


def _check_past(to: Writing, log: Log, past: int) -> None:
    had = known(to.store, log, to.seen)
    if past < had:
        raise ConfigError(
            f"the log of {log.model}@{log.alias} had come to entry {had}: give --past {had} or more"
        )
    if past - log.highest > MOST_ENTRIES:
        raise ConfigError(
            f"--past {past:,} would take {past - log.highest:,} entries, more than {MOST_ENTRIES:,}; "
            "give the highest entry an app has seen"
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
