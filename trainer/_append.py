"""Appending to a store: create-if-absent, and what to do when the answer is lost.

    409, 412, a timeout, a lost answer -> read back: own bytes: won; other bytes: lost; absent: the same again

Every entry carries a random nonce, so bytes tell their writer. An append ends won, lost, refused before it
could take effect, or `OutcomeUnknown`; never in a guess.
"""

import random
import secrets
import time
from typing import Final

from mlshared._envelope import MAX_ENTRY_BYTES
from mlshared.errors import AccessDenied, ConfigError, NotPublished, StorageError
from mlshared.manifest import FORMAT
from mlshared.store import IDENTITY_KEY, Identity, Store

PAUSE_SECONDS: Final = 0.2


class OutcomeUnknown(StorageError):  # noqa: N818 - says what it is
    """The store stopped answering while writing: what was being written may still appear."""


def append(store: Store, key: str, data: bytes, what: str) -> bool:
    """Create an object; return whether its bytes are now ours, False if somebody else's are there.

    Args:
        store: Where; its budget is the deadline.
        key: The object's place.
        data: Its bytes, which no other writer could write.
        what: For messages: ``number 8 of flights@production``.

    Raises:
        OutcomeUnknown: If the store stops answering before it is known.
        AccessDenied: If writing is refused, and nothing was written.
    """
    unclear = False
    while True:
        try:
            if store.objects.create(key, data, timeout=store.remaining()):
                return True
            unclear = True  # taken; perhaps by an attempt of ours that the storage library repeated
            found = store.objects.get(key, limit=len(data), timeout=store.remaining())
        except AccessDenied as error:
            if unclear:  # credentials that expire must not pass for a write that never was
                raise _unknown(what, error) from error
            # Nor may those that expire between two attempts of the storage library's own.
            found = _read_back(store, key, len(data), what, error)
            if found is None:
                raise
        except StorageError as error:
            unclear = True
            found = _read_back(store, key, len(data), what, error)
        if found is not None:
            return found == data
        time.sleep(PAUSE_SECONDS * random.random())  # noqa: S311 - spreads racing writers


def nonce() -> str:
    """Return 128 random bits, as hex."""
    return secrets.token_hex(16)


def open_identity(store: Store, *, releases: bool = True) -> Identity:
    """Return who a store is, to write to it.

    Args:
        store: Which.
        releases: Whether manifests or releases are to be written, and not only what says that blobs go.

    Raises:
        NotPublished: If nobody has published to it yet.
        ConfigError: If it is signed, and there is no key to sign with.
    """
    identity = store.identity()
    if identity is None:
        raise NotPublished("this is no store yet: publish a model first")
    if identity.signed and releases and store.signer is None:
        raise ConfigError(
            "this store is signed, and no signing key is configured: apps would refuse what is written here; set "
            'TRAINER_SIGNING_KEY_FILE, or key = "path" in trainer.toml'
        )
    # Whether signatures are checked is decided by the keys here alone: who writes to the bucket can change its word.
    return identity


def found_store(store: Store) -> Identity:
    """Return who a store is, making it one if nobody has; refuses storage that would lose races.

    A store made with a signing key says that it is signed, and stays so for ever.

    Raises:
        ConfigError: If the storage overwrites what exists although told not to.
    """
    if store.identity() is None:
        made = Identity(format=FORMAT, id=nonce(), signed=store.signer is not None)
        data = made.model_dump_json().encode()
        append(store, IDENTITY_KEY, data, IDENTITY_KEY)
    _refuse_overwriting(store)
    return open_identity(store)


def _refuse_overwriting(store: Store) -> None:
    """Raise if what exists can be overwritten: tried every time, with the very bytes that are there."""
    raw = store.objects.get(IDENTITY_KEY, limit=MAX_ENTRY_BYTES, timeout=store.remaining())
    if raw is not None and _create_known(store, IDENTITY_KEY, raw):
        raise ConfigError(
            "this storage overwrites existing objects although asked not to (If-None-Match is ignored): "
            "two trainers would overwrite each other's versions; use storage that has conditional writes"
        )


def _create_known(store: Store, key: str, data: bytes) -> bool:
    """Create an object that is there already; return whether the storage did it all the same."""
    while True:
        try:
            return store.objects.create(key, data, timeout=store.remaining())
        except AccessDenied:
            return False  # credentials for one model alone; whoever made this a store was told
        except StorageError:
            store.remaining()
            time.sleep(PAUSE_SECONDS)


def _read_back(store: Store, key: str, size: int, what: str, error: StorageError) -> bytes | None:
    """Return what lies at a key after a write whose answer was lost, asking until the budget is spent."""
    while True:
        try:
            return store.objects.get(key, limit=size, timeout=store.remaining())
        except AccessDenied as denied:
            raise _unknown(what, denied) from denied
        except StorageError:
            try:
                store.remaining()
            except StorageError:
                raise _unknown(what, error) from error
            time.sleep(PAUSE_SECONDS)


def _unknown(what: str, error: StorageError) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the store stopped answering: {what} may still appear; look with `trainer history` ({error})"
    )
