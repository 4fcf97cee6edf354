"""Keys for tests, made anew, and what they sign.

ours = pair()                       ours.trusted(roles=["manifest"]): the public half, as a setting
sign(entry, ours)                   its signed envelope
opened(envelope), closed(document)  an envelope as a dict and back, for those who tamper
sign_store(shelf, url, ours)        the shelf's store, signed
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from mlshared._keys import TrustedKey
from mlshared._objects import open_objects
from mlshared.store import IDENTITY_KEY, Store, blob_key, release_key, version_key
from trainer._signing import SigningKey, signing_key


@dataclass(frozen=True)
class Pair:
    """A private key, ready to sign, and its PEM."""

    key: SigningKey
    pem: bytes

    @property
    def keyid(self) -> str:
        return self.key.public.keyid

    def trusted(self, **scope: Any) -> dict[str, Any]:
        """Return the public half as a setting; the ordinary roles unless a scope says otherwise."""
        whole = self.key.public.as_json()
        del whole["roles"]
        return {**whole, **scope}

    def write_to(self, path: Path) -> Path:
        path.write_bytes(self.pem)
        return path


def pair() -> Pair:
    signer = CryptoSigner.generate_ed25519()
    return Pair(signing_key(signer.private_bytes, "a test's key"), signer.private_bytes)


def keys(*settings: dict[str, Any]) -> tuple[TrustedKey, ...]:
    return tuple(TrustedKey.model_validate(each) for each in settings)


def sign(entry: Any, by: Pair) -> bytes:
    return by.key.seal(entry)


def opened(envelope: bytes) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(envelope)
    return document


def closed(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def sign_store(shelf: Any, url: Path | str, by: Pair) -> str:
    """Write the shelf's store anew, signed: the same blobs, version 1 in force. Return its URL."""
    source, objects = Store(open_objects(str(shelf.folder))), open_objects(str(url))
    identity = source.identity()
    assert identity is not None
    said = identity.model_copy(update={"signed": True}).model_dump_json().encode()
    files = {IDENTITY_KEY: said}
    (model,) = source.models()
    for version in source.versions(model):
        stored = source.manifest(identity.id, model, version)
        assert stored is not None
        for artifact in stored.entry.artifacts:
            key = blob_key(model, stored.entry.publish_id, artifact.sha256)
            files[key] = source.blob(model, stored.entry.publish_id, artifact)
        files[version_key(model, version)] = by.key.seal(stored.entry)
    for number in source.releases(model, "production"):
        entry = source.release(identity.id, model, "production", number)
        assert entry is not None
        named = hashlib.sha256(files[version_key(model, entry.entry.version)]).hexdigest()
        signed = entry.entry.model_copy(update={"manifest_sha256": named})
        files[release_key(model, "production", number)] = by.key.seal(signed)
    for key, data in files.items():
        assert objects.create(key, data, timeout=10)
    return str(url)
