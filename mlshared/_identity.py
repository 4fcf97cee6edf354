"""Which store lies at a URL, and whose signatures count in it: asked once, then remembered by the host.

Nothing here looks at a model.
"""

from typing import Final

from mlshared._keys import Trust
from mlshared._load import Host
from mlshared.errors import NotPublished

OPEN_SECONDS: Final = 4.0  # less than a request waits, so that it can be told what failed


def identify(host: Host) -> str:
    """Return the store's id: as told, as remembered for its URL, or as it says itself, then remembered."""
    settings = host.settings
    assert settings.store is not None
    known = settings.store_id or host.cache.store_id(settings.store)
    if known is not None:
        return known
    host.store.allow(OPEN_SECONDS)
    identity = host.store.identity()
    if identity is None:
        raise NotPublished(f"nothing has been published to {settings.store} yet")
    host.cache.remember_store_is_signed(identity.id, signed=identity.signed)
    host.cache.remember_store_id(settings.store, identity.id)
    return host.cache.store_id(settings.store) or identity.id  # who asked first on this host was right


def trust_in(host: Host, store_id: str) -> Trust:
    """Return whose signatures count; without keys, nobody's in a store that says it is signed."""
    settings = host.settings
    if settings.trusted_keys:
        return Trust(settings.trusted_keys)
    return Trust(signed_store=not settings.allow_unsigned and _is_signed(host, store_id))


def _is_signed(host: Host, store_id: str) -> bool:
    known = host.cache.store_is_signed(store_id)
    if known is not None:
        return known
    host.store.allow(OPEN_SECONDS)
    identity = host.store.identity()
    if identity is None or identity.id != store_id:
        return False  # a mirror of the entries alone; whose they are is checked with each
    host.cache.remember_store_is_signed(store_id, signed=identity.signed)
    return identity.signed
