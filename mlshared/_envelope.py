"""The envelope every entry of a store travels in: DSSE, strict JSON inside.

    bytes -> unwrap() -> Closed(body, signatures) -> a check of the signatures -> Opened(payload, ...)

Source: https://github.com/secure-systems-lab/dsse/blob/master/envelope.md

A signed and an unsigned entry have different payload types, so a signed one cannot be turned into an
unsigned one by dropping its signatures, nor the other way round. Whoever checks signatures does so before the
payload is parsed, and is not known here; nor is what a payload says.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from mlshared.errors import IntegrityError

MAX_ENTRY_BYTES: Final = 1024 * 1024
MAX_SIGNATURES: Final = 16
_TYPE_PREFIX: Final = "application/vnd.mlshared."
_SIGNED_SUFFIX: Final = "+json"
_UNSIGNED_SUFFIX: Final = "+json;unsigned"


class Closed(NamedTuple):
    """An envelope whose payload nobody has looked into yet.

    Attributes:
        kind: What its payload type says it is: ``manifest``, ``release``, ``lease``, ...
        payload_type: In full; a signature covers it.
        body: The payload's bytes.
        signatures: As they came, at most `MAX_SIGNATURES`.
        signed: Whether it claims to be signed; says nothing about who signed it.
        sha256: Of the whole envelope, as other entries name it.
    """

    kind: str
    payload_type: str
    body: bytes
    signatures: tuple[Any, ...]
    signed: bool
    sha256: str


class Opened(NamedTuple):
    """What an envelope held.

    Attributes:
        payload: The payload's JSON object.
        kind: The payload type: ``manifest``, ``release``, ``lease``, ...
        signed: Whether it claims to be signed; says nothing about who signed it.
        sha256: Of the whole envelope, as other entries name it.
    """

    payload: dict[str, Any]
    kind: str
    signed: bool
    sha256: str


def payload_type(kind: str, *, signed: bool) -> str:
    """Return the payload type of an entry, in full."""
    return f"{_TYPE_PREFIX}{kind}{_SIGNED_SUFFIX if signed else _UNSIGNED_SUFFIX}"


def body_of(payload: dict[str, Any]) -> bytes:
    """Return the bytes that stand for a payload, and that a signature covers."""
    return json.dumps(payload, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()


def seal(
    payload: dict[str, Any], kind: str, sign: Callable[[bytes, str], Mapping[str, bytes]] | None = None
) -> bytes:
    """Return the envelope of ``payload``, at most 1 MiB.

    Args:
        payload: JSON-able.
        kind: What it is.
        sign: Returns the signatures of a body of a payload type, by key id. None: it says it is unsigned.
    """
    body, kind_in_full = body_of(payload), payload_type(kind, signed=sign is not None)
    signatures = {} if sign is None else sign(body, kind_in_full)
    envelope = {
        "payload": base64.b64encode(body).decode("ascii"),
        "payloadType": kind_in_full,
        "signatures": [
            {"keyid": keyid, "sig": base64.b64encode(signature).decode("ascii")}
            for keyid, signature in signatures.items()
        ],
    }
    sealed = json.dumps(envelope, separators=(",", ":")).encode()
    if len(sealed) > MAX_ENTRY_BYTES:
        msg = f"this {kind} takes {len(sealed):,} bytes; entries hold at most {MAX_ENTRY_BYTES:,}"
        raise IntegrityError(msg)
    return sealed


def unwrap(data: bytes, kind: str) -> Closed:
    """Return the envelope in these bytes, its payload unread.

    Args:
        data: The stored bytes.
        kind: The payload type expected at this place.

    Raises:
        IntegrityError: If it is no envelope, or not of ``kind``.
    """
    envelope = strict_json(data)
    found, payload, signatures = (envelope.get(key) for key in ("payloadType", "payload", "signatures"))
    if not isinstance(found, str) or not isinstance(payload, str) or not isinstance(signatures, list):
        raise IntegrityError("not an entry: payloadType, payload or signatures is missing")
    if found not in {payload_type(kind, signed=False), payload_type(kind, signed=True)}:
        raise IntegrityError(f"payload type is {found[:80]!r}, not a {kind}")
    signed = found == payload_type(kind, signed=True)
    if signed != bool(signatures):
        raise IntegrityError("signatures do not match the payload type")
    if len(signatures) > MAX_SIGNATURES:
        raise IntegrityError(f"{len(signatures):,} signatures; entries hold at most {MAX_SIGNATURES}")
    body = decode_base64(payload, "payload")
    return Closed(kind, found, body, tuple(signatures), signed, hashlib.sha256(data).hexdigest())


def open_closed(closed: Closed) -> Opened:
    """Return what an envelope holds, once its signatures have been looked at.

    Raises:
        IntegrityError: If the payload is not strict JSON, or holds text that is none.
    """
    payload = strict_json(closed.body)
    if b"\\ud" in closed.body.lower() and not _is_text(payload):
        raise IntegrityError("holds half a surrogate pair, which nobody can write, print or compare")
    return Opened(payload, closed.kind, closed.signed, closed.sha256)


def _is_text(payload: dict[str, Any]) -> bool:
    try:
        json.dumps(payload, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def decode_base64(text: str, what: str) -> bytes:
    """Return the bytes in a base64 text, which is the only text that stands for them.

    Raises:
        IntegrityError: If it is another; spare bits would let an entry change without a change of meaning.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise IntegrityError(f"{what} is not base64: {error}") from error
    if base64.b64encode(data).decode("ascii") != text:
        raise IntegrityError(f"{what} is not base64 as it is written")
    return data


def strict_json(data: bytes) -> dict[str, Any]:
    """Return the JSON object in ``data``.

    Raises:
        IntegrityError: If it is over 1 MiB, no object, or has duplicate keys, NaN, infinities or bad UTF-8.
    """
    if len(data) > MAX_ENTRY_BYTES:
        raise IntegrityError(f"{len(data):,} bytes; entries hold at most {MAX_ENTRY_BYTES:,}")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=no_duplicates, parse_constant=_no_constants
        )
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"not strict JSON: {str(error)[:120]}") from error
    if not isinstance(value, dict):
        raise IntegrityError("not a JSON object")
    return value


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; for `json.loads`, which would let the last of two keys win."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _no_constants(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
