"""The trainer's own key, and whose keys it trusts.

    TRAINER_SIGNING_KEY         the private key itself, PEM: for CI secrets
    TRAINER_SIGNING_KEY_FILE    the path of a file that holds it
    trainer.toml                key = "path", trusted_keys = ["path", ...]

With a key every manifest and release is signed, and a store made by it says that it is signed; without one, a signed
store is not written to. Own entries are trusted; others' where MLSHARED_TRUSTED_KEYS or trainer.toml names their
keys. A private key is in no repr, message or log, and is not handed to processes started here.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from mlshared._envelope import seal
from mlshared._keys import ALL_ROLES, NO_KEYS, PublicKey, Trust, TrustedKey, read_keys
from mlshared.errors import ConfigError
from mlshared.manifest import Entry
from mlshared.settings import from_environment
from mlshared.store import Objects, Store

from .config import Config, find_config

ENVIRONMENT_PREFIX: Final = "TRAINER_SIGNING_KEY"
KEY_VARIABLE: Final = "TRAINER_SIGNING_KEY"
FILE_VARIABLE: Final = "TRAINER_SIGNING_KEY_FILE"
_MAX_KEY_BYTES: Final = 65536


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key at work.

    Attributes:
        public: Its public half.
    """

    public: TrustedKey
    _signer: Any = field(repr=False)

    def seal(self, entry: Entry) -> bytes:
        """Return the signed envelope of an entry."""
        return seal(entry.model_dump(mode="json"), entry.TYPE, self._sign)

    def _sign(self, body: bytes, payload_type: str) -> dict[str, bytes]:
        from securesystemslib.dsse import Envelope  # noqa: PLC0415 - optional

        signature = Envelope(body, payload_type, {}).sign(self._signer)
        return {signature.keyid: bytes.fromhex(signature.signature)}


@dataclass(frozen=True, slots=True)
class Signing:
    """What a trainer signs with, and whom it trusts.

    Attributes:
        key: Its own key, or None.
        trusted: The keys it trusts, its own included.
    """

    key: SigningKey | None = None
    trusted: tuple[TrustedKey, ...] = ()

    def store(self, objects: Objects, *, budget_seconds: float = 60.0) -> Store:
        """Return a store that signs what is written, and checks what is read."""
        trust = Trust(self.trusted) if self.trusted else NO_KEYS
        return Store(objects, budget_seconds=budget_seconds, trust=trust, signer=self.key)

    def client_settings(self) -> dict[str, Any]:
        """Return the settings of a client that trusts the same, fit for JSON."""
        return client_settings(self.trusted)


NOT_SIGNING: Final = Signing()


def client_settings(keys: Iterable[TrustedKey]) -> dict[str, Any]:
    """Return the settings of a client that trusts these keys, or without any whatever there is; fit for JSON."""
    trusted = [key.as_json() for key in keys]
    return {"trusted_keys": trusted} if trusted else {"allow_unsigned": True}


def find_signing(
    config: Config | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    key: str | os.PathLike[str] | None = None,
    reads_only: bool = False,
) -> Signing:
    """Return the trainer's key and trusted keys, from the environment, else trainer.toml.

    Args:
        config: What trainer.toml says; default: the nearest one.
        environ: Default: the process's.
        key: Path of the private key, instead of all that.
        reads_only: Whether nothing is to be signed: the file that trainer.toml names may then be elsewhere.

    Raises:
        ConfigError: If a key is named and unusable; no message holds any of it.
    """
    environ = os.environ if environ is None else environ
    config = find_config() if config is None else config
    own = _own_key(config, environ, key, reads_only=reads_only)
    given = from_environment(environ).get("trusted_keys")
    given = config.trusted_keys if given is None else given
    trusted = () if given is None else _trusted(given)
    if own is not None:
        trusted = (own.public, *trusted)
    return Signing(own, trusted)


def signing_key(pem: bytes, what: str) -> SigningKey:
    """Return the key in an unencrypted PKCS#8 PEM.

    Args:
        pem: The bytes.
        what: Where they come from, for messages.

    Raises:
        ConfigError: If they are no Ed25519 private key, or securesystemslib is not installed.
    """
    signer_module, serialization = _libraries()
    try:
        private = serialization.load_pem_private_key(pem, None)
        signer = signer_module.CryptoSigner(private)
    except Exception:  # noqa: BLE001 - of whatever kind: what it says may hold a part of the key
        raise ConfigError(
            f"{what} holds no unencrypted private key in PEM; `trainer keygen` makes one"
        ) from None
    if signer.public_key.keytype != "ed25519":
        raise ConfigError(
            f"{what} is of kind {signer.public_key.keytype}; `trainer keygen` makes an Ed25519 key"
        )
    return SigningKey(public_half(signer.public_key), signer)


def public_half(key: Any) -> TrustedKey:
    """Return the trusted key of one of securesystemslib's."""
    return TrustedKey(keyid=key.keyid, keyval=PublicKey(public=key.keyval["public"]), roles=ALL_ROLES)


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment for another process: without the private key."""
    return {name: value for name, value in environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}


def _own_key(
    config: Config, environ: Mapping[str, str], path: str | os.PathLike[str] | None, *, reads_only: bool
) -> SigningKey | None:
    if path is not None:
        return _key_in_file(str(path), "the key")
    named = [name for name in (KEY_VARIABLE, FILE_VARIABLE) if name in environ]
    if len(named) > 1:
        raise ConfigError(f"{KEY_VARIABLE} and {FILE_VARIABLE} are both set; unset one")
    if named and not environ[named[0]].strip():
        raise ConfigError(f"{named[0]} is set and empty; unset it, or nothing would be signed without a word")
    if named == [KEY_VARIABLE]:
        # CI systems keep secrets on one line.
        return signing_key(environ[KEY_VARIABLE].replace("\\n", "\n").encode(), KEY_VARIABLE)
    if named == [FILE_VARIABLE]:
        return _key_in_file(environ[FILE_VARIABLE], FILE_VARIABLE)
    if config.key is None or (reads_only and not Path(config.key).exists()):
        return None
    return _key_in_file(config.key, "key in trainer.toml")


def _key_in_file(path: str, what: str) -> SigningKey:
    try:
        with Path(path).expanduser().open("rb") as file:
            pem = file.read(_MAX_KEY_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no path"
        raise ConfigError(f"{what}: {path[:200]!r} cannot be read: {reason}") from error
    return signing_key(pem, f"{what}: {path[:200]!r}")


def _trusted(given: Any) -> tuple[TrustedKey, ...]:
    try:
        return read_keys(given)
    except ValueError as error:
        raise ConfigError(f"trusted_keys: {error}") from error


def _libraries() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - optional
        from securesystemslib import signer  # noqa: PLC0415
    except ImportError as error:
        raise ConfigError("signing needs securesystemslib: pip install 'mlshared[trust]'") from error
    return signer, serialization
