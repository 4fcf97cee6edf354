"""A new pair of keys: the private one for trainers alone, the public one for every app.

    trainer.key    PKCS#8 PEM, mode 0600
    trainer.pub    JSON, for `trusted_keys`

Neither is ever overwritten: a lost private key cannot be made again.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlshared.errors import ConfigError

from ._signing import public_half


@dataclass(frozen=True, slots=True)
class KeyPair:
    """What was written.

    Attributes:
        private: The private key's file.
        public: The public key's file.
        keyid: The name that signatures carry.
    """

    private: Path
    public: Path
    keyid: str


def keygen(path: str | os.PathLike[str] = "trainer.key") -> KeyPair:
    """Write a new Ed25519 pair: the private key at ``path``, mode 0600, and the public one beside it, ``.pub``.

    Args:
        path: Of the private key.

    Raises:
        ConfigError: If one of the files exists or cannot be written, or securesystemslib is not installed.
    """
    private = Path(path).expanduser()
    public = private.with_suffix(".pub")
    if public == private:
        raise ConfigError(f"{private.name!r} would be both files; leave out .pub")
    signer = _crypto_signer().generate_ed25519()
    key = public_half(signer.public_key)
    document = {
        "keyid": key.keyid,
        "keytype": key.keytype,
        "scheme": key.scheme,
        "keyval": key.as_json()["keyval"],
    }
    for file in (private, public):
        if os.path.lexists(file):
            raise ConfigError(f"{file} exists, and a key is never overwritten; name another path")
    _create(private, signer.private_bytes, 0o600)
    _create(public, f"{json.dumps(document, indent=2)}\n".encode(), 0o644)
    return KeyPair(private, public, key.keyid)


def _create(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask says
            file.write(data)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def _crypto_signer() -> Any:
    try:
        from securesystemslib import signer as signers  # noqa: PLC0415 - optional
    except ImportError as error:
        raise ConfigError("keygen needs securesystemslib: pip install 'mlshared[trust]'") from error
    module: Any = signers
    return module.CryptoSigner
