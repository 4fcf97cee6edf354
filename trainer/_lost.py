"""Whether an alias's log was lost: expired by a rule of the bucket, or restored from a backup.

    check_log(store, log, seen)      raises LogLost, with the mend
    heads(store, ...) -> {alias: n}  what a manifest about to be published testifies

Two witnesses tell how far a log had come: what this host remembers (`_seen`), and the newest manifest, which
names the heads its publisher saw and hands on those its predecessor named. A log that never had an entry has no
witness against it, so a first release needs no word from anybody. Writing on after a loss would
give numbers out twice: apps that remember the first ones would never see the second.
"""

from mlshared.errors import ArtifactError
from mlshared.store import Store

from ._log import Log, read_log
from ._seen import Seen
from .errors import LogLost


def check_log(store: Store, log: Log, seen: Seen) -> None:
    """Refuse a log that ends before an entry it once had; remember how far it has come.

    Raises:
        LogLost: Nothing may be written to it but by `recover`.
    """
    ends, had = log.ends, known(store, log, seen)
    if ends < had:
        where = f"ends with entry {ends}" if ends else "has no valid entry"
        raise LogLost(
            f"the log of {log.model}@{log.alias} {where} and had come to entry {had}: it expired, or was restored "
            f"from a backup; nothing is released until somebody begins it again: trainer recover {log.model} "
            f"--past {had}{'' if log.alias == 'production' else f' --alias {log.alias}'} (or past the "
            "highest entry an app has seen, if that is more)"
        )
    if log.head is not None:
        seen.note(log.head)


def known(store: Store, log: Log, seen: Seen) -> int:
    """Return how far an alias's log had come, by every witness; 0 if there is none."""
    named = testimony(store, log.store_id, log.model).get(log.alias, 0)
    return max(named, seen.number(log.store_id, log.model, log.alias))


def aliases_known(store: Store, store_id: str, model: str, seen: Seen) -> list[str]:
    """Return the aliases that have a log, or had one by any witness."""
    named = testimony(store, store_id, model)
    return sorted({*store.aliases(model), *named, *seen.aliases(store_id, model)})


def heads(store: Store, store_id: str, model: str) -> dict[str, int]:
    """Return how far each alias's log has come, or had come when an earlier version was published."""
    found = testimony(store, store_id, model)
    for alias in store.aliases(model):
        try:
            log = read_log(store, store_id, model, alias)
        except ArtifactError:
            continue  # a newer trainer's log: it can speak for itself
        if log.head is not None:
            found[alias] = max(found.get(alias, 0), log.head.entry.number)
    return found


def testimony(store: Store, store_id: str, model: str) -> dict[str, int]:
    """Return the heads that the newest readable manifest names."""
    for version in reversed(store.versions(model)):
        try:
            stored = store.manifest(store_id, model, version)
        except ArtifactError:
            continue
        if stored is not None:
            return dict(stored.entry.heads)
    return {}
