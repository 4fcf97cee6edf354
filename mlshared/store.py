"""Reading a store; the only place that knows what lies where in it.

    <store>/mlshared.json                               the store's identity
    <store>/<model>/blobs/<publish id>/<sha256>         artifacts, golden rows
    <store>/<model>/versions/0000000042.json            the manifest of version 42
    <store>/<model>/releases/<alias>/0000000007.json    the 7th entry in the alias's log
    <store>/<model>/leases/retrain/0000000003.json      who retrains now; .../3/<beat>.json, .../3.done
    <store>/<model>/tombstones/0000000012.json          version 12's blobs are to be collected, or were

Absent is an answer (None), an outage is a `StorageError`, and an object that is there but not what belongs
there is an `ArtifactError`. Whatever is returned has been checked against the place it was read from.
"""

import hashlib
import re
import time
from collections.abc import Callable
from typing import Annotated, Final, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlshared._breath import breathe
from mlshared._envelope import MAX_ENTRY_BYTES, strict_json, unwrap
from mlshared._keys import NO_KEYS, Place, Trust
from mlshared.errors import ArtifactError, IntegrityError, StorageError, UnsupportedFormat
from mlshared.manifest import (
    ALIAS_NAME,
    FORMAT,
    MODEL_NAME,
    RESERVED_MODELS,
    Artifact,
    Entry,
    Manifest,
    Release,
    Stored,
    Tombstone,
    parse,
    to_bytes,
)

IDENTITY_KEY: Final = "mlshared.json"
_NUMBERED: Final = re.compile(r"(\d{10})\.json", re.ASCII)
_PUBLISH_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Objects(Protocol):
    """The storage under a store: keys are relative to its root, with ``/`` between their parts."""

    def get(self, key: str, *, limit: int, timeout: float) -> bytes | None:
        """Return an object's bytes, at most ``limit`` + 1 of them; None if the store says it is absent."""
        ...

    def copy(self, key: str, write: Callable[[bytes], None], *, limit: int, timeout: float) -> bool:
        """Write an object's bytes part by part, at most ``limit`` + 1 of them; False if it is absent."""
        ...

    def names(self, folder: str, *, timeout: float) -> list[str]:
        """Return the names right below a folder, in any order; none if there is no such folder."""
        ...

    def create(self, key: str, data: bytes, *, timeout: float) -> bool:
        """Create an object, whole or not at all; False if the key is taken. Used by trainers alone."""
        ...

    def modified(self, key: str, *, timeout: float) -> float | None:
        """Return when an object was written, by the storage's clock, in seconds since the epoch; or None."""
        ...

    def delete(self, key: str, *, timeout: float) -> None:
        """Remove an object, if it is there. Used by the trainer's collector alone, on blobs alone."""
        ...

    def close(self) -> None:
        """Let go of connections; a later call makes them anew."""
        ...


class Signer(Protocol):
    """Signs what a trainer writes."""

    def seal(self, entry: Entry) -> bytes:
        """Return the signed envelope of an entry."""
        ...


class Identity(BaseModel):
    """The store's random id, and whether its entries are signed."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="ignore")

    format: str = FORMAT
    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    signed: bool = False


def version_key(model: str, version: int) -> str:
    """Return where a version's manifest lies."""
    return f"{model}/versions/{version:010d}.json"


def release_key(model: str, alias: str, number: int) -> str:
    """Return where an entry of an alias's log lies."""
    return f"{model}/releases/{alias}/{number:010d}.json"


def blob_key(model: str, publish_id: str, sha256: str) -> str:
    """Return where a blob lies."""
    return f"{model}/blobs/{publish_id}/{sha256}"


def tombstone_key(model: str, version: int) -> str:
    """Return where it is said that a version's blobs are to be collected."""
    return f"{model}/tombstones/{version:010d}.json"


def lease_key(model: str, number: int, beat: int | None = None) -> str:
    """Return where a retrain lease lies, or one of its beats."""
    lease = f"{model}/leases/retrain/{number:010d}"
    return f"{lease}.json" if beat is None else f"{lease}/{beat:010d}.json"


def lease_end_key(model: str, number: int) -> str:
    """Return where the end of a retrain lease is marked."""
    return f"{model}/leases/retrain/{number:010d}.done"


class Store:
    """A store, read within a budget of seconds.

    Not for several threads at once.

    Args:
        objects: The storage.
        budget_seconds: For all calls together until the next `allow`.
        trust: Whose signatures count; by default nothing is checked.
        signer: Signs what is written here. Used by trainers alone.
    """

    def __init__(
        self,
        objects: Objects,
        *,
        budget_seconds: float = 60.0,
        trust: Trust = NO_KEYS,
        signer: Signer | None = None,
    ) -> None:
        self.objects = objects
        self.trust = trust
        self.signer = signer
        self._deadline = time.monotonic() + budget_seconds

    def allow(self, seconds: float) -> None:
        """Give the calls from here on this many seconds together."""
        self._deadline = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds left.

        Raises:
            StorageError: If none are.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise StorageError("the store did not answer in time")
        return left

    def seal(self, entry: Entry) -> bytes:
        """Return the bytes of a release or manifest to be written here: signed, where there is a key."""
        return to_bytes(entry) if self.signer is None else self.signer.seal(entry)

    def identity(self) -> Identity | None:
        """Return who the store is, or None if nobody has published to it yet.

        Raises:
            StorageError: Also if two reads disagree.
        """
        raw = self._get(IDENTITY_KEY, MAX_ENTRY_BYTES)
        if raw is None:
            return None
        if self._get(IDENTITY_KEY, MAX_ENTRY_BYTES) != raw:
            # A digit that was another on the way would be remembered, and make everything else look foreign.
            raise StorageError(f"{IDENTITY_KEY}, read twice, came with different bytes")
        try:
            identity = Identity.model_validate(strict_json(raw))
        except (ValidationError, IntegrityError) as error:
            raise IntegrityError(f"{IDENTITY_KEY} does not identify a store") from error
        if identity.format.split(".")[0] != FORMAT.split(".")[0]:
            raise UnsupportedFormat(f"the store has format {identity.format}, this release reads {FORMAT}")
        return identity

    def release(self, store_id: str, model: str, alias: str, number: int) -> Stored[Release] | None:
        """Return one entry of an alias's log, or None if it is absent."""
        raw = self.release_bytes(model, alias, number)
        return None if raw is None else open_release(raw, store_id, model, alias, number, self.trust)

    def release_bytes(self, model: str, alias: str, number: int) -> bytes | None:
        """Return the bytes at an entry's place, unchecked, or None if there are none."""
        return self._get(release_key(model, alias, number), MAX_ENTRY_BYTES)

    def manifest(self, store_id: str, model: str, version: int) -> Stored[Manifest] | None:
        """Return a version's manifest, or None if it is absent."""
        raw = self.manifest_bytes(model, version)
        return None if raw is None else open_manifest(raw, store_id, model, version, self.trust)

    def manifest_bytes(self, model: str, version: int) -> bytes | None:
        """Return the bytes at a manifest's place, unchecked, or None if there are none."""
        return self._get(version_key(model, version), MAX_ENTRY_BYTES)

    def blob(self, model: str, publish_id: str, artifact: Artifact) -> bytes:
        """Return an artifact's verified bytes.

        Raises:
            StorageError: If it is absent; it may only be late.
            IntegrityError: If its bytes are not the ones the manifest names.
        """
        key = blob_key(model, publish_id, artifact.sha256)
        raw = self._get(key, artifact.size)
        if raw is None:
            raise StorageError(f"{key} is missing from the store")
        if len(raw) != artifact.size or hashlib.sha256(raw).hexdigest() != artifact.sha256:
            raise IntegrityError(f"{key} does not hold the bytes its manifest names")
        return raw

    def copy_blob(
        self, model: str, publish_id: str, artifact: Artifact, write: Callable[[bytes], None]
    ) -> None:
        """Write an artifact's bytes part by part; they are verified once this returns, and not before.

        Raises:
            StorageError: If it is absent; it may only be late.
            IntegrityError: If its bytes are not the ones the manifest names.
        """
        key = blob_key(model, publish_id, artifact.sha256)
        size, digest = 0, hashlib.sha256()

        def take(part: bytes) -> None:
            nonlocal size
            size += len(part)
            digest.update(part)
            write(part)
            breathe()

        if not self.objects.copy(key, take, limit=artifact.size, timeout=self.remaining()):
            raise StorageError(f"{key} is missing from the store")
        if size != artifact.size or digest.hexdigest() != artifact.sha256:
            raise IntegrityError(f"{key} does not hold the bytes its manifest names")

    def versions(self, model: str) -> list[int]:
        """Return the published versions' numbers, ascending (a LIST)."""
        return self._numbers(f"{model}/versions")

    def releases(self, model: str, alias: str) -> list[int]:
        """Return the numbers of an alias's log, ascending (a LIST)."""
        return self._numbers(f"{model}/releases/{alias}")

    def tombstones(self, model: str) -> list[int]:
        """Return the numbers of the versions that are to be collected, or were, ascending (a LIST)."""
        return self._numbers(f"{model}/tombstones")

    def has_tombstone(self, model: str, version: int) -> bool:
        """Return whether a version is to be collected, or was; what is no tombstone of this place says nothing.

        Raises:
            StorageError: If what is there comes with other bytes at a second reading.
        """
        key = tombstone_key(model, version)
        raw = self.objects.get(key, limit=MAX_ENTRY_BYTES, timeout=self.remaining())
        if raw is None:
            return False
        try:
            entry = parse(raw, Tombstone).entry
        except UnsupportedFormat:
            return True
        except ArtifactError:
            if self.objects.get(key, limit=MAX_ENTRY_BYTES, timeout=self.remaining()) != raw:
                raise StorageError(f"{key}, read twice, came with different bytes") from None
            return False
        return (entry.model, entry.version) == (model, version)

    def publishes(self, model: str) -> list[str]:
        """Return the ids of the publishes that have blobs, sorted (a LIST)."""
        names = self.objects.names(f"{model}/blobs", timeout=self.remaining())
        return sorted(n for n in names if _PUBLISH_ID.fullmatch(n))

    def blobs(self, model: str, publish_id: str) -> list[str]:
        """Return the hashes of a publish's blobs, sorted (a LIST)."""
        names = self.objects.names(f"{model}/blobs/{publish_id}", timeout=self.remaining())
        return sorted(n for n in names if _SHA256.fullmatch(n))

    def models(self) -> list[str]:
        """Return the names that may be models, sorted (a LIST)."""
        names = self.objects.names("", timeout=self.remaining())
        return sorted(
            n for n in names if MODEL_NAME.fullmatch(n) and n not in RESERVED_MODELS | {IDENTITY_KEY}
        )

    def aliases(self, model: str) -> list[str]:
        """Return the aliases of a model, sorted (a LIST)."""
        names = self.objects.names(f"{model}/releases", timeout=self.remaining())
        return sorted(n for n in names if ALIAS_NAME.fullmatch(n))

    def _get(self, key: str, limit: int) -> bytes | None:
        raw = self.objects.get(key, limit=limit, timeout=self.remaining())
        if raw is not None and len(raw) > limit:
            raise IntegrityError(f"{key} is larger than the {limit:,} bytes it may have")
        return raw

    def _numbers(self, folder: str) -> list[int]:
        names = self.objects.names(folder, timeout=self.remaining())
        return sorted(int(match[1]) for name in names if (match := _NUMBERED.fullmatch(name)))


def open_release(
    raw: bytes, store_id: str, model: str, alias: str, number: int, trust: Trust = NO_KEYS
) -> Stored[Release]:
    """Return the release in these bytes, if it belongs where it was found and ``trust`` accepts its signatures.

    Raises:
        ArtifactError: If not.
    """
    place = Place(release_key(model, alias, number), store_id, model, alias)
    stored = parse(raw, Release, lambda closed: trust.check(closed, "release", place))
    entry = stored.entry
    _check_store(entry.store, store_id, f"{release_key(model, alias, number)} holds an entry")
    found = (entry.store, entry.model, entry.alias, entry.number)
    if found != (store_id, model, alias, number):
        raise IntegrityError(f"{release_key(model, alias, number)} holds an entry of another place")
    if entry.prev is not None and entry.prev.number >= number:
        raise IntegrityError(f"{release_key(model, alias, number)} follows an entry that comes after it")
    if entry.reset:
        # A reader follows it from a higher number: a right of its own.
        trust.check(unwrap(raw, Release.TYPE), "reset", place)
    return stored


def open_manifest(
    raw: bytes, store_id: str, model: str, version: int, trust: Trust = NO_KEYS
) -> Stored[Manifest]:
    """Return the manifest in these bytes, if it belongs where it was found and ``trust`` accepts its signatures.

    Where a release that is trusted names the manifest's hash, its own signature adds nothing.

    Raises:
        ArtifactError: If not.
    """
    place = Place(version_key(model, version), store_id, model)
    stored = parse(raw, Manifest, lambda closed: trust.check(closed, "manifest", place))
    entry = stored.entry
    _check_store(entry.store, store_id, f"{version_key(model, version)} holds a manifest")
    if (entry.store, entry.model, entry.version) != (store_id, model, version):
        raise IntegrityError(f"{version_key(model, version)} holds a manifest of another place")
    return stored


def _check_store(found: str, expected: str, what: str) -> None:
    if found != expected:
        raise IntegrityError(
            f"{what} of another place: of store {found}, and {expected} is expected here; if the store was "
            "made anew, clear the cache folder or set store_id to the new one"
        )
