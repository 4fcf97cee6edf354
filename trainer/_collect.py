"""Collecting what nobody needs any more: the only deleter, and of blobs alone.

    gather   blobs first, then logs, versions, tombstones
    decide   pure: which versions get a tombstone now, and whose blobs go
    act      write tombstones; delete the blobs of versions that have had theirs for a day and still are not needed

Kept are the newest versions, what the last releases of every alias put in force or named to fall back to, pins, and
everything younger than a week by the store's own time. Manifests and logs stay for ever. Blobs that no manifest
names, such as a killed publish leaves, go when all of that publish are older than a week; not while a manifest is
missing, as they may be its own.

A day passes between tombstone and deletion so that whoever was about to release the version has either done it,
and the version is needed again, or looks again and finds the tombstone (`_writing`).
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mlshared.errors import ArtifactError, ConfigError, NotPublished, SignatureError
from mlshared.manifest import FORMAT, Manifest, Stored, Tombstone, to_bytes
from mlshared.store import blob_key, tombstone_key, version_key

from ._append import append, nonce
from ._clock import store_time
from ._log import check_names, read_log, whoever_signed_it
from ._lost import aliases_known, check_log
from ._writing import BUDGET_SECONDS, Writing, writing
from .errors import ReleaseRefused

KEEP_VERSIONS: Final = 20
KEEP_RELEASES: Final = 20
GRACE_SECONDS: Final = 7 * 24 * 3600.0
WAIT_SECONDS: Final = 24 * 3600.0

Clock = Callable[[Writing, str], float]


@dataclass(frozen=True, slots=True)
class Collected:
    """What a run did to one model, or with ``dry_run`` would do.

    Attributes:
        model: Its name.
        kept: Versions that are needed, and keep their blobs.
        set_aside: Versions that got a tombstone in this run; a run a day later may delete their blobs.
        waiting: Versions whose tombstone is younger than a day.
        collected: Versions whose blobs were deleted in this run.
        gone: Versions that had no blobs before this run.
        abandoned: Ids of publishes that no manifest names, whose blobs were deleted in this run.
        objects: How many objects were deleted.
        problem: Why versions were left alone, or an empty text.
    """

    model: str
    kept: tuple[int, ...] = ()
    set_aside: tuple[int, ...] = ()
    waiting: tuple[int, ...] = ()
    collected: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()
    abandoned: tuple[str, ...] = ()
    objects: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What decides over a model's versions.

    Attributes:
        now: The store's time.
        written: When each version's manifest was written, of those that still have blobs.
        gone: Versions without blobs.
        tombstones: When each tombstone was written.
        in_use: Versions that logs or pins name.
    """

    now: float
    written: Mapping[int, float]
    gone: Collection[int]
    tombstones: Mapping[int, float]
    in_use: Collection[int]


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of each version that still has blobs."""

    keep: tuple[int, ...]
    set_aside: tuple[int, ...]
    wait: tuple[int, ...]
    delete: tuple[int, ...]


def decide(facts: Facts, *, keep: int) -> Decision:
    """Return what becomes of each version.

    Args:
        facts: What there is.
        keep: How many of the newest versions stay whatever else.
    """
    newest = set(sorted({*facts.written, *facts.gone})[-keep:])
    young = {n for n, written in facts.written.items() if facts.now - written < GRACE_SECONDS}
    needed = newest | young | set(facts.in_use)
    outside = sorted(facts.written.keys() - needed)
    marked = {n: facts.now - at for n, at in facts.tombstones.items()}
    return Decision(
        keep=tuple(sorted(facts.written.keys() & needed)),
        set_aside=tuple(n for n in outside if n not in marked),
        wait=tuple(n for n in outside if n in marked and marked[n] < WAIT_SECONDS),
        delete=tuple(n for n in outside if n in marked and marked[n] >= WAIT_SECONDS),
    )


def collect(
    *names: str,
    keep: int = KEEP_VERSIONS,
    pins: Mapping[str, Collection[int]] | None = None,
    dry_run: bool = False,
    store: str | None = None,
    storage_options: dict[str, Any] | None = None,
) -> list[Collected]:
    """Delete the blobs of versions that nobody needs any more; a version is told to go a day before it does.

    Args:
        names: The models; default: all of the store.
        keep: How many of the newest versions to keep; at least 1.
        pins: Versions to keep by model, such as those apps are pinned to.
        dry_run: Whether to write and delete nothing.
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.

    Returns:
        What was done, model by model.

    Raises:
        NotPublished: If there is no such model.
        StorageError: If the store does not answer; run again.
    """
    if keep < 1:
        raise ConfigError("keep is at least 1: the newest version always stays")
    with writing(store, storage_options, releases=False) as to:
        for name in names:
            check_names(name)
            if not to.store.versions(name):
                raise NotPublished(f"there is no model {name!r} in this store")
        clock = _local_time if dry_run else _store_time
        chosen = dict.fromkeys(names) or to.store.models()
        return [
            collect_model(to, name, keep=keep, pins=(pins or {}).get(name, ()), dry_run=dry_run, clock=clock)
            for name in chosen
        ]


def collect_model(
    to: Writing,
    model: str,
    *,
    keep: int = KEEP_VERSIONS,
    pins: Iterable[int] = (),
    dry_run: bool = False,
    clock: "Clock | None" = None,
) -> Collected:
    """Collect one model; arguments are those of `collect`, and the clock that tells the store's time."""
    to.store.allow(BUDGET_SECONDS)
    # Blobs before versions: a publish that begins meanwhile is not looked at, one that ends meanwhile is named.
    publishes = to.store.publishes(model)
    now = (clock or _store_time)(to, model)
    # Logs before versions: whatever a log names by now has its manifest by then, or lost it.
    try:
        in_use, problem = _in_use(to, model), ""
    except (ReleaseRefused, ArtifactError) as error:
        in_use, problem = set(), str(error)
    manifests, unread = _manifests(to, model)
    named = {stored.entry.publish_id for stored in manifests.values()}
    have = {n: stored for n, stored in manifests.items() if stored.entry.publish_id in publishes}
    gone = tuple(sorted(manifests.keys() - have.keys()))
    if problem:
        return Collected(model, tuple(sorted(have)), gone=gone, problem=problem)
    unread |= in_use - manifests.keys()
    unnamed = [publish_id for publish_id in publishes if publish_id not in named]
    if unnamed:  # else it does not matter: a store that was pulled begins with any number
        unread |= _left_out({*manifests, *unread})
    abandoned: tuple[str, ...] = ()
    objects = 0
    if not unread:
        abandoned = tuple(p for p in unnamed if _is_old(to, model, p, now))
    for publish_id in abandoned:
        objects += _delete(to, model, publish_id, dry_run=dry_run)
    in_use |= {*pins, *unread}
    facts = Facts(now, _written(to, model, have), {*gone, *unread}, _tombstones(to, model, have), in_use)
    decision = decide(facts, keep=keep)
    if not dry_run:
        for version in decision.set_aside:
            _set_aside(to, have[version])
    for version in decision.delete:
        objects += _delete(to, model, have[version].entry.publish_id, dry_run=dry_run)
    return Collected(
        model,
        kept=decision.keep,
        set_aside=decision.set_aside,
        waiting=decision.wait,
        collected=decision.delete,
        gone=gone,
        abandoned=abandoned,
        objects=objects,
        problem=_unreadable(model, unread) if unread else "",
    )


def _manifests(to: Writing, model: str) -> tuple[dict[int, Stored[Manifest]], set[int]]:
    """Return every manifest, and the numbers of those that cannot be read."""
    found: dict[int, Stored[Manifest]] = {}
    unread: set[int] = set()
    for version in to.store.versions(model):
        to.store.allow(BUDGET_SECONDS)
        try:
            stored = to.store.manifest(to.store_id, model, version)
        except ArtifactError:
            stored = None
        if stored is None:
            unread.add(version)
        else:
            found[version] = stored
    return found, unread


def _left_out(numbers: Collection[int]) -> set[int]:
    """Return the first number that is left out: they are given out one after the other, so it was lost."""
    for number, there in enumerate(sorted(numbers), 1):
        if number != there:
            return {number}
    return set()


def _unreadable(model: str, unread: Collection[int]) -> str:
    return (
        f"the manifest of {model}@{min(unread)} is missing or cannot be read, so blobs that no manifest names stay; "
        "put it back from a backup"
    )


def _in_use(to: Writing, model: str) -> set[int]:
    """Return the versions that the last releases of every alias name.

    Raises:
        ReleaseRefused: If a log does not tell, so that everything must stay.
    """
    aliases = aliases_known(to.store, to.store_id, model, to.seen)
    if not aliases:
        return set(to.store.versions(model))  # nothing is in force yet, or nothing tells
    return {version for alias in aliases for version in _named_by(to, model, alias)}


def _named_by(to: Writing, model: str, alias: str) -> set[int]:
    to.store.allow(BUDGET_SECONDS)
    log = read_log(to.store, to.store_id, model, alias)
    check_log(to.store, log, to.seen)
    if log.obscured or log.head is None:
        raise ReleaseRefused(f"{log.obscured_by}, then release; until then its versions stay")
    named: set[int] = set()
    in_force: list[int] = []
    for number in range(log.head.entry.number, 0, -1):
        to.store.allow(BUDGET_SECONDS)
        trusted = True
        try:
            stored = to.store.release(to.store_id, model, alias, number)
        except SignatureError:  # some app may trust that key
            stored, trusted = whoever_signed_it(to.store, to.store_id, model, alias, number), False
        except ArtifactError:
            continue
        if stored is None:
            continue
        entry = stored.entry
        # Holds, renewals and recoveries repeat the version in force: together they are one release.
        if trusted and in_force[-1:] != [entry.version]:
            in_force.append(entry.version)
        if len(in_force) > KEEP_RELEASES:
            break
        named |= {entry.version} | ({entry.fallback.version} if entry.fallback else set())
    return named


def _written(to: Writing, model: str, versions: Iterable[int]) -> dict[int, float]:
    found = {n: _modified(to, version_key(model, n)) for n in versions}
    return {n: at for n, at in found.items() if at is not None}


def _tombstones(to: Writing, model: str, versions: Collection[int]) -> dict[int, float]:
    numbers = [n for n in to.store.tombstones(model) if n in versions]
    found = {n: _modified(to, tombstone_key(model, n)) for n in numbers}
    return {n: at for n, at in found.items() if at is not None}


def _is_old(to: Writing, model: str, publish_id: str, now: float) -> bool:
    """Return whether every blob of a publish is older than the grace."""
    keys = [blob_key(model, publish_id, sha256) for sha256 in to.store.blobs(model, publish_id)]
    ages = [now - at for key in keys if (at := _modified(to, key)) is not None]
    return bool(ages) and min(ages) > GRACE_SECONDS


def _modified(to: Writing, key: str) -> float | None:
    to.store.allow(BUDGET_SECONDS)
    return to.store.objects.modified(key, timeout=to.store.remaining())


def _set_aside(to: Writing, stored: Stored[Manifest]) -> None:
    entry = stored.entry
    tombstone = Tombstone(
        type=Tombstone.TYPE,
        format=FORMAT,
        store=to.store_id,
        model=entry.model,
        nonce=nonce(),
        version=entry.version,
        manifest_sha256=stored.sha256,
        created_at=datetime.now(UTC),
    )
    to.store.allow(BUDGET_SECONDS)
    what = f"the tombstone of {entry.model}@{entry.version}"
    append(to.store, tombstone_key(entry.model, entry.version), to_bytes(tombstone), what)


def _delete(to: Writing, model: str, publish_id: str, *, dry_run: bool) -> int:
    """Delete the blobs of one publish; return how many there were."""
    to.store.allow(BUDGET_SECONDS)
    blobs: Sequence[str] = to.store.blobs(model, publish_id)
    for sha256 in () if dry_run else blobs:
        to.store.allow(BUDGET_SECONDS)
        to.store.objects.delete(blob_key(model, publish_id, sha256), timeout=to.store.remaining())
    return len(blobs)


def _store_time(to: Writing, model: str) -> float:
    return store_time(to.store, f"{model}/leases/probes")


def _local_time(_to: Writing, _model: str) -> float:
    return time.time()  # a dry run writes nothing, and deletes nothing either
