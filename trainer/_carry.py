"""Carrying one version elsewhere: into a folder as it is, or into another store, signed anew.

    pull(ref, folder)       a store of one version, byte for byte: entries keep their signatures
    copy(ref, to=store)     the same model as a new version of another store, under that store's key

Both check what they carry first: signatures where keys are configured, and the hash of every blob. What is signed
anew was signed before, whatever its store calls itself: a new signature would vouch for it.
"""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from mlshared._envelope import MAX_ENTRY_BYTES
from mlshared._keys import NO_KEYS
from mlshared._load import SLOWEST_BYTES_PER_SECOND
from mlshared._objects import open_objects
from mlshared._ref import Ref, parse_ref
from mlshared._version import RowFunction
from mlshared.errors import (
    ArtifactError,
    ConfigError,
    IntegrityError,
    NotPublished,
    SignatureError,
    StorageError,
)
from mlshared.manifest import Artifact, Manifest, Release, Stored, Trusted, parse
from mlshared.store import (
    IDENTITY_KEY,
    Identity,
    Objects,
    Store,
    blob_key,
    open_manifest,
    release_key,
    version_key,
)

from ._append import found_store
from ._log import Log, next_entry, no_such_model, read_log
from ._publish import Draft, Published, first_release, upload
from ._read_back import read_back
from ._release import release_unless_held as release_by_person
from ._seen import seen_from
from ._signing import Signing, find_signing
from ._writing import BUDGET_SECONDS
from .config import StorePath, choose_options, choose_store, find_config
from .errors import ReleaseRefused

LOOK_BACK: Final = 200


@dataclass(frozen=True, slots=True)
class Found:
    """A version, and how it was found.

    Attributes:
        manifest: Of the version, as it lies in the store.
        release: The entry that names it, or None if it was asked for by its number.
        trust: What is known of who signed the one or the other.
    """

    manifest: Stored[Manifest]
    release: Stored[Release] | None
    trust: Trusted


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull wrote.

    Attributes:
        folder: The store of one version.
        ref: What it answers to: ``flights@production``, or ``flights@42`` where no release could be put in it.
        version: The version.
    """

    folder: Path
    ref: str
    version: int


@dataclass(frozen=True, slots=True)
class Source:
    """A store to carry from.

    Attributes:
        store: To read.
        identity: Who it is.
        url: As the user gave it.
        options: For the storage library.
        signing: Whose signatures count in it.
    """

    store: Store
    identity: Identity
    url: str
    options: dict[str, Any]
    signing: Signing


def pull(
    ref: str,
    folder: str | os.PathLike[str],
    *,
    store: StorePath | None = None,
    storage_options: dict[str, Any] | None = None,
) -> Pulled:
    """Write a version into a new folder that is itself a store: for tests, for images, for a machine without network.

    ``override_model(ref, store=folder)`` and ``Client(folder)`` read it.

    Args:
        ref: ``flights``, ``flights@staging``, ``flights@42``, ...
        folder: Made; must not exist, or be empty.
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.

    Raises:
        NotPublished: If there is no such version.
        ArtifactError: If it is not what it should be, or not signed as it should be.
    """
    target = Path(folder).expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} exists and is not empty; name a new folder")
    with source(store, storage_options) as at:
        parsed = parse_ref(ref)
        found = find(at, parsed)
        refuse_unchecked(at, found, ref)
        entry = found.release or _release_of(at, found.manifest, parsed)
        part = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
        try:
            _write(open_objects(str(part)), at, found.manifest, entry)
            if target.exists():
                target.rmdir()  # empty, as was seen
            part.rename(target)
        except OSError as error:
            raise StorageError(f"{target} cannot be written: {error.strerror}") from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
    manifest = found.manifest.entry
    alias = entry.entry.alias if entry else manifest.version
    return Pulled(target, f"{manifest.model}@{alias}", manifest.version)


def copy(
    ref: str,
    to: str,
    *,
    store: StorePath | None = None,
    storage_options: dict[str, Any] | None = None,
    to_storage_options: dict[str, Any] | None = None,
    key: str | os.PathLike[str] | None = None,
    release: str | None = None,
    features: RowFunction | None = None,
    trusted_types: tuple[str, ...] = (),
    unsigned_source: bool = False,
) -> Published:
    """Publish a version into another store, signed with that environment's key.

    Args:
        ref: ``flights``, ``flights@staging``, ``flights@42``, ...
        to: URL or path of the other store.
        store: URL or path of this one; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.
        to_storage_options: The same for the other store; default: as for this one.
        key: Path of the other environment's private key; default: the configured one.
        release: The alias to put it in force under there. None: publishes only, except that a model with no
            release yet gets its first.
        features: The row function the version expects, for the self-test.
        trusted_types: Exact names that every client of this model has in its setting ``trusted_types``.
        unsigned_source: Whether the key may sign what nobody signed before; never set by what a store says.

    Raises:
        NotPublished: If there is no such version.
        ArtifactError: If it is not what it should be, or not signed as it should be.
        OutcomeUnknown: If the other store stopped answering while writing.
    """
    signing = find_signing(key=key)
    with source(store, storage_options) as at:
        if unsigned_source:
            at.store.trust = NO_KEYS
        found = find(at, parse_ref(ref))
        refuse_unchecked(at, found, ref)
        if signing.key is not None and not unsigned_source:
            _refuse_unsigned(found, ref)
        manifest = found.manifest.entry
        if manifest.artifact("joblib") is not None and (found.trust != "signed" or signing.key is None):
            raise SignatureError(
                f"{ref} is a joblib file: it is carried on only if it is signed, and signed anew"
            )
        blobs = {artifact.kind: read_blob(at, manifest, artifact) for artifact in manifest.artifacts}
        options = at.options if to_storage_options is None else to_storage_options
        from_id, objects = at.identity.id, open_objects(to, options)
    try:
        opened = signing.store(objects, budget_seconds=BUDGET_SECONDS)
        store_id = found_store(opened).id
        if store_id == from_id:
            raise ConfigError(f"{to} is the store that {ref} lies in; release it there")
        origin = {"copied-from": f"{from_id}/{manifest.model}@{manifest.version}"}
        update = {
            "store": store_id,
            "created_at": datetime.now(UTC),
            "labels": {**manifest.labels, **origin},
        }
        stored = upload(opened, Draft(manifest.model_copy(update=update), blobs))
        read_back(to, options, stored.entry, features=features, trusted_types=trusted_types, signing=signing)
        why = f"copied from {ref}"
        first, reason = (
            first_release(opened, stored, seen_from(to, options), why) if release is None else (False, "")
        )
    finally:
        objects.close()
    version = stored.entry.version
    published = Published(version, f"{manifest.model}@{version}", stored.entry, released=first)
    if release is None:
        return replace(published, reason=reason)
    return _released(published, to, options, release, reason=f"copied from {ref}")


@contextmanager
def source(store: StorePath | None, options: dict[str, Any] | None) -> Iterator[Source]:
    """Give a store to carry from.

    Raises:
        NotPublished: If nobody has published to it yet.
    """
    url, chosen, signing = (
        choose_store(store, find_config()),
        choose_options(options),
        find_signing(reads_only=True),
    )
    objects = open_objects(url, chosen)
    try:
        reader = signing.store(objects, budget_seconds=BUDGET_SECONDS)
        identity = reader.identity()
        if identity is None:
            raise NotPublished(
                f"{url} is no store yet: the first `trainer retrain` or trainer.publish makes it one"
            )
        yield Source(reader, identity, url, chosen, signing)
    finally:
        objects.close()


def find(at: Source, ref: Ref) -> Found:
    """Return the version a ref means now.

    Raises:
        NotPublished: If there is none.
        ArtifactError: If what names it, or its manifest, is not valid or not signed as it should be.
    """
    store, store_id = at.store, at.identity.id
    numbers = store.versions(ref.model)
    if not numbers:
        raise no_such_model(store, ref.model, at.url)
    if ref.version is not None or ref.latest:
        version = ref.version if ref.version is not None else max(numbers, default=0)
        stored = store.manifest(store_id, ref.model, version) if version in numbers else None
        if stored is None:
            raise NotPublished(f"there is no {ref}; `trainer list` shows what there is")
        return Found(stored, None, stored.trust)
    release = _entry_at(at, ref)
    return Found(_named_manifest(at, release.entry), release, release.trust)


def refuse_unchecked(at: Source, found: Found, ref: str) -> None:
    """Refuse to carry on what a signed store holds, unless its signature was verified.

    Raises:
        SignatureError: With the mend.
    """
    if at.identity.signed and found.trust != "signed":
        raise SignatureError(
            f"{ref} lies in a signed store and was not checked: set trusted_keys in trainer.toml, or "
            "MLSHARED_TRUSTED_KEYS, to that store's public keys"
        )


def _refuse_unsigned(found: Found, ref: str) -> None:
    """Refuse to sign what no trusted key signed; the bucket's word that it is an unsigned store counts for nothing."""
    if found.trust != "signed":
        raise SignatureError(
            f"{ref} is {found.trust}, and a new signature would vouch for it: set trusted_keys in trainer.toml, or "
            "MLSHARED_TRUSTED_KEYS, to its store's public keys; or say that it may be unsigned: --unsigned-source "
            "(unsigned_source=True)"
        )


def read_blob(at: Source, manifest: Manifest, artifact: Artifact) -> bytes:
    """Return an artifact's bytes, their hash checked."""
    at.store.allow(BUDGET_SECONDS + artifact.size / SLOWEST_BYTES_PER_SECOND)
    return at.store.blob(manifest.model, manifest.publish_id, artifact)


def _entry_at(at: Source, ref: Ref) -> Stored[Release]:
    """Return the entry in force, now or at a moment."""
    log = read_log(at.store, at.identity.id, ref.model, ref.alias)
    if log.head is None and log.passed_over is not None:
        at.store.release(
            at.identity.id, ref.model, ref.alias, log.passed_over.number
        )  # raises what is wrong with it
    if log.head is not None and (ref.at is None or log.head.entry.created_at <= ref.at):
        return log.head
    for stored in _entries(at, ref.model, ref.alias) if ref.at is not None else ():
        if stored.entry.created_at <= ref.at:  # type: ignore[operator]
            return stored
    raise NotPublished(f"{ref}: nothing was released there; see `trainer history {ref.model}`")


def _entries(at: Source, model: str, alias: str) -> Iterator[Stored[Release]]:
    """Yield the valid entries of a log, the newest first, so many of them as a person may mean."""
    for number in reversed(at.store.releases(model, alias)[-LOOK_BACK:]):
        try:
            stored = at.store.release(at.identity.id, model, alias, number)
        except ArtifactError:
            continue
        if stored is not None:
            yield stored


def _named_manifest(at: Source, entry: Release) -> Stored[Manifest]:
    raw = at.store.manifest_bytes(entry.model, entry.version)
    if raw is None:
        raise StorageError(f"the manifest of {entry.model}@{entry.version} is missing from the store")
    # The release names the bytes, so that they need no signature of their own.
    stored = open_manifest(raw, at.identity.id, entry.model, entry.version, NO_KEYS)
    if stored.sha256 != entry.manifest_sha256:
        raise IntegrityError(
            f"the manifest of {entry.model}@{entry.version} is not the one that was released"
        )
    return stored


def _release_of(at: Source, manifest: Stored[Manifest], ref: Ref) -> Stored[Release] | None:
    """Return an entry that puts a version in force: one there is, else a new one, if it can be signed."""
    model = manifest.entry.model
    aliases = at.store.aliases(model)
    for alias in sorted(aliases, key=lambda name: (name != ref.alias, name)):
        for stored in _entries(at, model, alias):
            if stored.entry.manifest_sha256 == manifest.sha256:
                return stored
    if at.identity.signed or at.store.signer is not None:
        return None  # nobody released it, and this key does not say that somebody did
    log = Log(at.identity.id, model, ref.alias, None, 0)
    entry = next_entry(log, manifest, kind="release", by="person", hold=False, reason="pulled")
    return parse(at.store.seal(entry), Release)


def _write(folder: Objects, at: Source, manifest: Stored[Manifest], entry: Stored[Release] | None) -> None:
    said = at.store.objects.get(IDENTITY_KEY, limit=MAX_ENTRY_BYTES, timeout=at.store.remaining())
    model = manifest.entry.model
    files = {IDENTITY_KEY: said or b"", version_key(model, manifest.entry.version): manifest.raw}
    if entry is not None:
        files[release_key(model, entry.entry.alias, entry.entry.number)] = entry.raw
    for artifact in manifest.entry.artifacts:
        key = blob_key(model, manifest.entry.publish_id, artifact.sha256)
        folder.create(key, read_blob(at, manifest.entry, artifact), timeout=BUDGET_SECONDS)
    for key, data in files.items():
        folder.create(key, data, timeout=BUDGET_SECONDS)


def _released(
    published: Published, url: str, options: dict[str, Any], alias: str, *, reason: str
) -> Published:
    manifest = published.manifest
    try:
        release_by_person(
            manifest.model, manifest.version, store=url, storage_options=options, alias=alias, reason=reason
        )
    except ReleaseRefused as error:
        return replace(published, reason=str(error))
    return replace(published, released=True)
