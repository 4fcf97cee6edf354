"""Appending to a store: create-if-absent, and what to do when the answer is lost.

    409, 412, a timeout, a lost answer -> read back: own bytes: won; other bytes: lost; absent: the same again

Every entry carries a random nonce, so bytes tell their writer. An append ends won, lost or `OutcomeUnknown`;
never in a guess.
"""

import random
import secrets
import time
from typing import Final

from mlshared.errors import AccessDenied, ConfigError, IntegrityError, NotPublished, StorageError
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
        AccessDenied: If writing is refused.
    """
    while True:
        try:
            if store.objects.create(key, data, timeout=store.remaining()):
                return True
            found = store.objects.get(key, limit=len(data), timeout=store.remaining())
        except AccessDenied:
            raise
        except StorageError as error:
            found = _read_back(store, key, len(data), what, error)
        if found is not None:
            return found == data
        time.sleep(PAUSE_SECONDS * random.random())  # noqa: S311 - spreads racing writers


def nonce() -> str:
    """Return 128 random bits, as hex."""
    return secrets.token_hex(16)


def open_identity(store: Store) -> Identity:
    """Return who a store is.

    Raises:
        NotPublished: If nobody has published to it yet.
    """
    identity = store.identity()
    if identity is None:
        raise NotPublished("this is no store yet: publish a model first")
    return identity


def found_store(store: Store) -> Identity:
    """Return who a store is, making it one if nobody has; refuses storage that would lose races.

    Raises:
        ConfigError: If the storage overwrites what exists although told not to.
    """
    identity = store.identity()
    if identity is not None:
        return identity
    data = Identity(format=FORMAT, id=nonce()).model_dump_json().encode()
    append(store, IDENTITY_KEY, data, IDENTITY_KEY)
    if store.objects.create(IDENTITY_KEY, data, timeout=store.remaining()):
        raise ConfigError(
            "this storage overwrites existing objects although asked not to (If-None-Match is ignored): "
            "two trainers would overwrite each other's versions; use storage that has conditional writes"
        )
    return open_identity(store)


def _read_back(store: Store, key: str, size: int, what: str, error: StorageError) -> bytes | None:
    """Return what lies at a key after a write whose answer was lost, asking until the budget is spent."""
    while True:
        try:
            return store.objects.get(key, limit=size, timeout=store.remaining())
        except AccessDenied:
            raise
        except (StorageError, IntegrityError):
            try:
                store.remaining()
            except StorageError:
                raise OutcomeUnknown(
                    f"the store stopped answering: {what} may still appear; "
                    f"look with `trainer history` ({error})"
                ) from error
            time.sleep(PAUSE_SECONDS)
