"""Keys for tests, made anew, and what they sign.

ours = pair()                       ours.trusted(roles=["manifest"]): the public half, as a setting
sign(entry, ours)                   its signed envelope
opened(envelope), closed(document)  an envelope as a dict and back, for those who tamper
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner

from mlshared._keys import TrustedKey
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
