"""The envelope every entry of a store travels in: DSSE, strict JSON inside.

    bytes -> open_envelope() -> Opened(payload, kind, signed, sha256)

Source: https://github.com/secure-systems-lab/dsse/blob/master/envelope.md

A signed and an unsigned entry have different payload types, so a signed one cannot be turned into an
unsigned one by dropping its signatures, nor the other way round. This module does not check signatures
and does not know what a payload says.
"""

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final

from mlshared.errors import IntegrityError

MAX_ENTRY_BYTES: Final = 1024 * 1024
_TYPE_PREFIX: Final = "application/vnd.mlshared."
_SIGNED_SUFFIX: Final = "+json"
_UNSIGNED_SUFFIX: Final = "+json;unsigned"


@dataclass(frozen=True, slots=True)
class Opened:
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


def seal(payload: dict[str, Any], kind: str) -> bytes:
    """Return the unsigned envelope of ``payload``, at most 1 MiB."""
    body = json.dumps(payload, allow_nan=False, separators=(",", ":"), sort_keys=True).encode()
    envelope = {
        "payload": base64.b64encode(body).decode("ascii"),
        "payloadType": f"{_TYPE_PREFIX}{kind}{_UNSIGNED_SUFFIX}",
        "signatures": [],
    }
    sealed = json.dumps(envelope, separators=(",", ":")).encode()
    if len(sealed) > MAX_ENTRY_BYTES:
        msg = f"this {kind} takes {len(sealed):,} bytes; entries hold at most {MAX_ENTRY_BYTES:,}"
        raise IntegrityError(msg)
    return sealed


def open_envelope(data: bytes, kind: str) -> Opened:
    """Return what the envelope holds.

    Args:
        data: The stored bytes.
        kind: The payload type expected at this place.

    Raises:
        IntegrityError: If it is no envelope, not of ``kind``, or not strict JSON.
    """
    envelope = strict_json(data)
    payload_type, payload, signatures = (
        envelope.get(key) for key in ("payloadType", "payload", "signatures")
    )
    if not isinstance(payload_type, str) or not isinstance(payload, str) or not isinstance(signatures, list):
        raise IntegrityError("not an entry: payloadType, payload or signatures is missing")
    if payload_type == f"{_TYPE_PREFIX}{kind}{_UNSIGNED_SUFFIX}":
        signed = False
    elif payload_type == f"{_TYPE_PREFIX}{kind}{_SIGNED_SUFFIX}":
        signed = True
    else:
        raise IntegrityError(f"payload type is {payload_type[:80]!r}, not a {kind}")
    if signed != bool(signatures):
        raise IntegrityError("signatures do not match the payload type")
    try:
        body = base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise IntegrityError(f"payload is not base64: {error}") from error
    return Opened(strict_json(body), kind, signed, hashlib.sha256(data).hexdigest())


def strict_json(data: bytes) -> dict[str, Any]:
    """Return the JSON object in ``data``.

    Raises:
        IntegrityError: If it is over 1 MiB, no object, or has duplicate keys, NaN, infinities or bad UTF-8.
    """
    if len(data) > MAX_ENTRY_BYTES:
        raise IntegrityError(f"{len(data):,} bytes; entries hold at most {MAX_ENTRY_BYTES:,}")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constants
        )
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"not strict JSON: {str(error)[:120]}") from error
    if not isinstance(value, dict):
        raise IntegrityError("not a JSON object")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _no_constants(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
