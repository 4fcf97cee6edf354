"""The store's own time: ages of objects are told by it, as no two hosts share a clock."""

import secrets

from mlshared.errors import StorageError
from mlshared.store import Store


def store_time(store: Store, folder: str) -> float:
    """Return the store's time now, in seconds since the epoch: that of a small object just written.

    Args:
        store: Where.
        folder: Where to put it.

    Raises:
        StorageError: If the store does not say.
    """
    probe = f"{folder}/{secrets.token_hex(16)}"
    store.objects.create(probe, b"", timeout=store.remaining())
    now = store.objects.modified(probe, timeout=store.remaining())
    if now is None:
        raise StorageError(f"{probe} was just written and is not there")
    return now
