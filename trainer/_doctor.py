"""Is this a store that versions can be trusted to, and is what lies in it sound? One finding, one line, one mend.

    examine(url) -> findings

First the storage: does it answer, may we write, does create-if-absent hold, does it give back and list what was
written, how far apart are the clocks. Then the contents: holes in numbers, entries that are not valid, logs that
were lost, versions in force whose bytes are not all there. Nothing is mended here; two small objects are written under
``_probes/``, none with ``read_only``.
"""

import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from mlshared._objects import open_objects
from mlshared.errors import (
    AccessDenied,
    ArtifactError,
    IntegrityError,
    SignatureError,
    StorageError,
    UnsupportedFormat,
)
from mlshared.manifest import Manifest
from mlshared.store import Store, blob_key

from ._log import read_log
from ._lost import aliases_known, check_log
from ._seen import Seen, seen_from
from ._signing import find_signing
from ._writing import BUDGET_SECONDS
from .config import StorePath, choose_options, choose_store, find_config
from .errors import LogLost

Kind = Literal["ok", "warning", "problem", "unreachable"]

PROBES: Final = "_probes"  # no model can be called so
SKEW_SECONDS: Final = 60.0
REFUSED_SKEW_SECONDS: Final = 15 * 60.0  # what S3 takes for a forged request


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    Attributes:
        kind: ``ok``; ``warning``: works, and should be changed; ``problem``; ``unreachable``: try again.
        about: What was looked at: ``create-if-absent``, ``flights@production``.
        what: What was found.
        mend: What to do, or an empty text.
    """

    kind: Kind
    about: str
    what: str
    mend: str = ""


def examine(
    *, store: StorePath | None = None, storage_options: dict[str, Any] | None = None, read_only: bool = False
) -> list[Finding]:
    """Return what is right and what is wrong with a store.

    Args:
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.
        read_only: Whether to write nothing, as with an app's own credentials.
    """
    url = choose_store(store, find_config())
    options = choose_options(storage_options)
    objects = open_objects(url, options)
    try:
        return list(
            _findings(
                find_signing(reads_only=True).store(objects, budget_seconds=BUDGET_SECONDS),
                seen_from(url, options),
                read_only=read_only,
            )
        )
    finally:
        objects.close()


def _findings(store: Store, seen: Seen, *, read_only: bool) -> Iterator[Finding]:
    store_id = None
    try:
        identity = store.identity()
        yield Finding("ok", "reachable", "the store answers")
        store_id = identity.id if identity else None
        yield Finding("ok", "identity", store_id or "no store yet: the first publish makes it one")
    except ArtifactError as error:
        mend = "the folder is another program's, or the object was replaced: restore mlshared.json"
        yield Finding("problem", "identity", str(error), mend)
    except AccessDenied as error:
        yield Finding(
            "problem", "reachable", str(error), "give these credentials s3:GetObject and s3:ListBucket"
        )
        return
    except StorageError as error:
        yield Finding("unreachable", "reachable", str(error), "try again once the store is up")
        return
    try:
        yield from _reading(store)
        if not read_only:
            yield from _writing(store)
        if store_id is not None:
            for model in store.models():
                yield from _model(store, seen, store_id, model)
    except AccessDenied as error:
        yield Finding(
            "problem", "rights", str(error), "give these credentials s3:GetObject and s3:ListBucket"
        )
    except StorageError as error:
        yield Finding("unreachable", "reachable", str(error), "try again once the store is up")


# -- the storage --------------------------------------------------------------------------------------------


def _reading(store: Store) -> Iterator[Finding]:
    try:
        store.objects.get(f"{PROBES}/{secrets.token_hex(16)}", limit=0, timeout=store.remaining())
    except AccessDenied:
        mend = "give readers s3:ListBucket, so that a missing object and a refused one can be told apart"
        yield Finding("warning", "rights", "the store answers 403 for what is absent", mend)


def _writing(store: Store) -> Iterator[Finding]:
    store.allow(BUDGET_SECONDS)
    key, first = f"{PROBES}/{secrets.token_hex(16)}", secrets.token_bytes(32)
    before = time.time()
    try:
        store.objects.create(key, first, timeout=store.remaining())
    except AccessDenied as error:
        mend = "give trainers s3:PutObject; for an app's credentials: trainer doctor --read-only"
        yield Finding("problem", "write", str(error), mend)
        return
    except StorageError as error:
        mend = "use storage that has conditional writes (PUT with If-None-Match)"
        yield Finding("problem", "write", str(error), mend)
        return
    after = time.time()
    found = store.objects.get(key, limit=len(first), timeout=store.remaining())
    if found != first:
        what = "is absent" if found is None else "has other bytes"
        yield Finding("problem", "read-back", f"what was just written {what}", _OTHER_STORAGE)
        return
    yield Finding("ok", "read-back", "what was written is there at once")
    yield from _create_if_absent(store, key, first)
    yield from _listing(store, key)
    yield from _clock(store, key, before, after)


_OTHER_STORAGE: Final = "use storage that is consistent, and talk to it without a cache in between"


def _create_if_absent(store: Store, key: str, first: bytes) -> Iterator[Finding]:
    try:
        created = store.objects.create(key, secrets.token_bytes(32), timeout=store.remaining())
    except StorageError as error:
        created, said = False, f" ({error})"
    else:
        said = ""
    if created or store.objects.get(key, limit=len(first), timeout=store.remaining()) != first:
        yield Finding(
            "problem",
            "create-if-absent",
            "this storage overwrites existing objects although asked not to (If-None-Match is ignored)",
            "use storage that has conditional writes: here two trainers would overwrite each other's versions",
        )
    elif said:
        yield Finding(
            "warning", "create-if-absent", f"holds, with an odd answer{said}", "upgrade the storage"
        )
    else:
        yield Finding("ok", "create-if-absent", "an existing object is never overwritten")


def _listing(store: Store, key: str) -> Iterator[Finding]:
    try:
        names = store.objects.names(PROBES, timeout=store.remaining())
    except AccessDenied as error:
        yield Finding("problem", "list", str(error), "give trainers s3:ListBucket")
        return
    if key.rpartition("/")[2] in names:
        yield Finding("ok", "list", "what was written is listed at once")
    else:
        yield Finding("problem", "list", "what was just written is not listed", _OTHER_STORAGE)


def _clock(store: Store, key: str, before: float, after: float) -> Iterator[Finding]:
    modified = store.objects.modified(key, timeout=store.remaining())
    if modified is None:
        yield Finding("problem", "clock", "the store does not say when an object was written", _OTHER_STORAGE)
        return
    # Storage may cut to whole seconds.
    skew = max(before - 1 - modified, modified - after, 0.0)
    if skew < SKEW_SECONDS:
        yield Finding("ok", "clock", "this host's and the store's agree")
        return
    kind: Kind = "problem" if skew >= REFUSED_SKEW_SECONDS else "warning"
    yield Finding(
        kind, "clock", f"this host's and the store's are {skew:,.0f} s apart", "set this host's clock (NTP)"
    )


# -- the contents -------------------------------------------------------------------------------------------


def _model(store: Store, seen: Seen, store_id: str, model: str) -> Iterator[Finding]:
    store.allow(BUDGET_SECONDS)
    numbers = store.versions(model)
    if not numbers:
        return
    bad = [*_holes(f"{model}'s versions", numbers), *_manifests(store, store_id, model, numbers)]
    aliases = aliases_known(store, store_id, model, seen)
    for alias in aliases:
        bad += _alias(store, seen, store_id, model, alias)
    yield from bad
    if not aliases:
        yield Finding(
            "warning", model, "has versions and no release", f"trainer release {model} {numbers[-1]}"
        )
    elif not bad:
        yield Finding(
            "ok",
            model,
            f"{len(numbers)} version{'s' * (len(numbers) > 1)}; {', '.join(aliases)}: whole and in order",
        )


def _holes(about: str, numbers: list[int]) -> Iterator[Finding]:
    missing = sorted(set(range(1, numbers[-1] + 1)) - set(numbers))
    if missing:
        mend = "manifests and releases stay for ever: turn off the bucket's expiry rule, restore them from a backup"
        yield Finding("problem", about, f"{_numbers(missing)} missing", mend)


def _manifests(store: Store, store_id: str, model: str, numbers: Iterable[int]) -> Iterator[Finding]:
    for number in numbers:
        store.allow(BUDGET_SECONDS)
        try:
            store.manifest(store_id, model, number)
        except UnsupportedFormat as error:
            yield Finding("warning", f"{model}@{number}", str(error), "upgrade mlshared here")
        except (IntegrityError, SignatureError) as error:
            yield Finding(
                "problem", f"{model}@{number}", str(error), "find out who wrote it; never release it"
            )


def _alias(store: Store, seen: Seen, store_id: str, model: str, alias: str) -> Iterator[Finding]:
    about = f"{model}@{alias}"
    store.allow(BUDGET_SECONDS)
    numbers = store.releases(model, alias)
    if numbers:
        yield from _holes(f"{about}'s entries", numbers)
    for number in numbers:
        store.allow(BUDGET_SECONDS)
        try:
            store.release(store_id, model, alias, number)
        except UnsupportedFormat as error:
            yield Finding("warning", about, f"entry {number}: {error}", "upgrade mlshared here")
            return
        except (IntegrityError, SignatureError) as error:
            mend = "find out who wrote it; apps pass over it, and a person's release goes on after it"
            yield Finding("problem", about, f"entry {number} is not valid: {error}", mend)
    log = read_log(store, store_id, model, alias)
    try:
        check_log(store, log, seen)
    except LogLost as error:
        yield Finding("problem", about, *_halves(str(error)))
        return
    if log.head is None:
        yield Finding("problem", about, "has no valid entry", f"trainer recover {model} --past {log.highest}")
        return
    entry = log.head.entry
    yield from _in_force(store, store_id, model, about, entry.version, entry.manifest_sha256)


def _in_force(
    store: Store, store_id: str, model: str, about: str, version: int, sha256: str
) -> Iterator[Finding]:
    mend = f"trainer rollback {model} --to a version that is whole, or publish anew and release"
    try:
        stored = store.manifest(store_id, model, version)
    except ArtifactError:
        return  # told already
    if stored is None or stored.sha256 != sha256:
        what = "is missing" if stored is None else "is not the one that was released"
        yield Finding("problem", about, f"the manifest of version {version}, which is in force, {what}", mend)
        return
    if missing := _missing_blobs(store, stored.entry):
        what = f"version {version}, which is in force, lacks its {', '.join(missing)}"
        yield Finding("problem", about, what, mend)
    if store.has_tombstone(model, version):
        what = f"version {version}, which is in force, was set aside by `trainer gc`"
        yield Finding(
            "warning", about, what, "it stays while it is in force; publish it again to release it later"
        )


def _missing_blobs(store: Store, manifest: Manifest) -> list[str]:
    there = set(store.blobs(manifest.model, manifest.publish_id))
    keys = {a.kind: blob_key(manifest.model, manifest.publish_id, a.sha256) for a in manifest.artifacts}
    return [kind for kind, key in keys.items() if key.rpartition("/")[2] not in there]


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:8])) + (f" and {len(numbers) - 8} more" if len(numbers) > 8 else "")
    return f"{shown} {'is' if len(numbers) == 1 else 'are'}"


def _halves(message: str) -> tuple[str, str]:
    what, _, mend = message.partition("; ")
    return what, mend
