"""Whose signatures count, and for what: trusted keys, their scopes, and the check itself.

    Trust(keys).check(closed, role, place)    over the bytes, before anything in them is parsed
      keys configured     signed by one of them that may sign this here, or `SignatureError`
      no keys             nothing is checked; a store that says it is signed is then refused

A key may sign everything in every store, or only some models, aliases, roles, or one store. Signatures are DSSE's
(the payload's type is signed with it) and Ed25519; securesystemslib does the arithmetic, and is imported when keys
are configured, never otherwise.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlshared._envelope import MAX_ENTRY_BYTES, Closed, decode_base64, no_duplicates
from mlshared.errors import ConfigError, IntegrityError, SignatureError
from mlshared.manifest import Trusted, check_alias, check_model_name

Role = Literal["release", "manifest", "reset"]
ORDINARY_ROLES: Final[tuple[Role, ...]] = ("release", "manifest")
ALL_ROLES: Final[tuple[Role, ...]] = ("release", "manifest", "reset")

_KEYID: Final = re.compile(r"^[A-Za-z0-9._:-]{1,128}$")
Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], Field(min_length=1)]


class PublicKey(BaseModel):
    """An Ed25519 public key: 32 bytes, as hex."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    public: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TrustedKey(BaseModel):
    """A public key, and what its owner may sign. Unknown fields are refused: a misspelt scope must not widen it.

    Attributes:
        keyid: Its name in signatures; by default the hash that securesystemslib names it by.
        keytype: Always ``ed25519``.
        scheme: Always ``ed25519``.
        keyval: ``{"public": 64 hex digits}``.
        models: Only these; None: all.
        aliases: Only releases under these; None: all.
        store: Only in the store with this id; None: in any.
        roles: ``release`` (put a version in force), ``manifest`` (publish a version that is asked for by its
            number), ``reset`` (begin a lost log again; not by default).
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid", hide_input_in_errors=True)

    keyid: Annotated[str, Field(pattern=_KEYID.pattern)]
    keytype: Literal["ed25519"] = "ed25519"
    scheme: Literal["ed25519"] = "ed25519"
    keyval: PublicKey
    models: Names | None = None
    aliases: Names | None = None
    store: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")] | None = None
    roles: Annotated[tuple[Role, ...], Field(min_length=1)] = ORDINARY_ROLES

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: Any) -> Any:
        for scope in ("models", "aliases", "store"):
            if isinstance(values, Mapping) and scope in values and values[scope] is None:
                raise ValueError(f"{scope} is null: leave it out if it is not to limit the key")
        if isinstance(values, Mapping) and "keyid" not in values:
            public = values.get("keyval", {})
            if isinstance(public, Mapping) and isinstance(public.get("public"), str):
                return {**values, "keyid": default_keyid(public["public"])}
        return values

    @model_validator(mode="after")
    def _usable_names(self) -> "TrustedKey":
        for model in self.models or ():
            check_model_name(model)
        for alias in self.aliases or ():
            check_alias(alias)
        return self

    def may(self, role: Role, place: "Place") -> bool:
        """Return whether it may sign this here."""
        return (
            role in self.roles
            and (self.store is None or self.store == place.store)
            and (self.models is None or place.model in self.models)
            and (self.aliases is None or place.alias is None or place.alias in self.aliases)
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as settings, the environment and files hold it."""
        return self.model_dump(mode="json", exclude_none=True)


class Place(NamedTuple):
    """Where an entry was found; what it says of itself must agree, and is compared later.

    Attributes:
        what: For messages.
        store: The store's id.
        model: The model.
        alias: The alias of a release; None for a manifest.
    """

    what: str
    store: str
    model: str
    alias: str | None = None


class Trust:
    """Decides whether an entry's signatures suffice. Frozen; for any number of threads.

    Args:
        keys: Those whose signatures count. None: nothing is checked.
        signed_store: Whether everything is refused without keys, since the store says it is signed.

    Raises:
        ConfigError: If there are keys and securesystemslib is not installed.
    """

    def __init__(self, keys: Iterable[TrustedKey] = (), *, signed_store: bool = False) -> None:
        self.keys: Final = tuple(keys)
        self._signed_store = signed_store
        self._usable = [(key, _public_key(key)) for key in self.keys]

    def check(self, closed: Closed, role: Role, place: Place) -> Trusted:
        """Return what is known of who signed an envelope.

        Raises:
            SignatureError: If that is not enough; nothing in it is to be read then.
        """
        if self._usable:
            self._verify(closed, role, place)
            return "signed"
        if self._signed_store:
            raise SignatureError(
                f"{place.what} was not checked: this store is signed, and no keys are configured; set "
                "trusted_keys, or allow_unsigned to serve what nobody has checked"
            )
        return "unverified" if closed.signed else "unsigned"

    def _verify(self, closed: Closed, role: Role, place: Place) -> None:
        if not closed.signed:
            raise SignatureError(f"{place.what} is not signed, and trusted_keys accept nothing else")
        signatures = _signatures(closed, place)
        known = [(key, public) for key, public in self._usable if key.keyid in signatures]
        if not known:
            by = ", ".join(keyid[:16] for keyid in list(signatures)[:3])
            raise SignatureError(f"{place.what} is signed by {by}, and by no key in trusted_keys")
        able = [public for key, public in known if key.may(role, place)]
        if not able:
            by = ", ".join(key.keyid[:16] for key, _ in known)
            raise SignatureError(f"{place.what} is signed by {by}, whose scope is not {role} here")
        if not _one_fits(closed, signatures, able):
            raise SignatureError(f"{place.what} carries a signature that is not of these bytes")


NO_KEYS: Final = Trust()


def default_keyid(public: str) -> str:
    """Return the key id of an Ed25519 public key: the sha256 of its canonical JSON.

    Source: https://theupdateframework.github.io/specification/latest/#keyid
    """
    fields = {"keytype": "ed25519", "keyval": {"public": public}, "scheme": "ed25519"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def read_keys(given: Any) -> tuple[TrustedKey, ...]:
    """Return the keys in a setting: objects, mappings, or paths of files that hold one or a list of them.

    Raises:
        ValueError: If there is none, or one is unusable; the message names which and why.
    """
    items = list(given) if isinstance(given, list | tuple) else [given]
    keys = [key for item in items for key in _keys_in(item)]
    if not keys:
        raise ValueError(
            "is empty: leave it out, or name at least one key; no keys at all are never meant by it"
        )
    publics: dict[str, str] = {}
    for key in keys:
        if publics.setdefault(key.keyid, key.keyval.public) != key.keyval.public:
            raise ValueError(f"two different keys are called {key.keyid[:64]!r}")
    return tuple(keys)


def _keys_in(item: Any) -> list[TrustedKey]:
    if isinstance(item, TrustedKey):
        return [item]
    if isinstance(item, Mapping):
        return [_key(item)]
    if isinstance(item, str | os.PathLike) and str(item).strip():
        return _keys_in_file(Path(item).expanduser())
    if isinstance(item, str):
        return []
    raise ValueError(
        f"holds a {type(item).__name__}; a key is an object, or the path of a file made by trainer keygen"
    )


def _keys_in_file(path: Path) -> list[TrustedKey]:
    try:
        with path.open("rb") as file:
            # The last of two would count: a scope that was added above it would not.
            found = json.loads(file.read(MAX_ENTRY_BYTES), object_pairs_hook=no_duplicates)
    except OSError as error:
        raise ValueError(f"{str(path)[:200]!r} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{str(path)[:200]!r} holds no public key; trainer keygen writes one beside the private key"
        ) from error
    items = found if isinstance(found, list) else [found]
    try:
        return [_key(item) for item in items]
    except ValueError as error:
        raise ValueError(f"{str(path)[:200]!r}: {error}") from error


def _key(values: Any) -> TrustedKey:
    try:
        return TrustedKey.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"not a key: {where + ': ' if where else ''}{message}") from error


def _signatures(closed: Closed, place: Place) -> dict[str, str]:
    """Return an envelope's signatures as hex, by key id."""
    found: dict[str, str] = {}
    for signature in closed.signatures:
        keyid, text = (
            (signature.get("keyid"), signature.get("sig")) if isinstance(signature, dict) else (None, None)
        )
        if (
            not isinstance(keyid, str)
            or not isinstance(text, str)
            or keyid in found
            or not _KEYID.fullmatch(keyid)
        ):
            raise SignatureError(f"{place.what} carries signatures that are none, or two of one key")
        try:
            found[keyid] = decode_base64(text, "a signature").hex()
        except IntegrityError as error:
            raise SignatureError(f"{place.what}: {error}") from error
    return found


def _public_key(key: TrustedKey) -> Any:
    return _securesystemslib().SSlibKey(key.keyid, key.keytype, key.scheme, {"public": key.keyval.public})


def _one_fits(closed: Closed, signatures: Mapping[str, str], keys: list[Any]) -> bool:
    """Return whether one of these keys signed these bytes as this type."""
    from securesystemslib.dsse import Envelope  # noqa: PLC0415 - see _securesystemslib
    from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError  # noqa: PLC0415

    signer = _securesystemslib()
    named = {keyid: signer.Signature(keyid, text) for keyid, text in signatures.items()}
    try:
        Envelope(closed.body, closed.payload_type, named).verify(keys, 1)
    except (VerificationError, UnverifiedSignatureError, ValueError):
        return False
    return True


def _securesystemslib() -> Any:
    try:
        from securesystemslib import signer  # noqa: PLC0415 - optional, and 0.15 s where boto3 is installed
    except ImportError as error:
        raise ConfigError("trusted_keys need securesystemslib: pip install 'mlshared[trust]'") from error
    return signer
