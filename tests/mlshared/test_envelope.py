"""The envelope: what goes in comes out, and nothing else does."""

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlshared._envelope import MAX_ENTRY_BYTES, open_closed, seal, strict_json, unwrap
from mlshared.errors import IntegrityError

KIND = "release"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
PAYLOADS = st.dictionaries(st.text(), VALUES, max_size=5)


def open_envelope(data, kind):
    return open_closed(unwrap(data, kind))


def envelope(**changes):
    values = json.loads(seal({"a": 1}, KIND))
    return json.dumps({**values, **changes}).encode()


def encoded(text):
    return base64.b64encode(text.encode()).decode()


@given(PAYLOADS)
def test_a_payload_comes_back(payload):
    """As it was, with the hash of all the bytes."""
    data = seal(payload, KIND)
    opened = open_envelope(data, KIND)
    assert (opened.payload, opened.kind, opened.signed) == (payload, KIND, False)
    assert opened.sha256 == hashlib.sha256(data).hexdigest()


@given(PAYLOADS)
def test_the_same_payload_gives_the_same_bytes(payload):
    """Whatever the order of its keys."""
    assert seal(dict(reversed(payload.items())), KIND) == seal(payload, KIND)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_opened(data):
    """Never anything but an `IntegrityError`."""
    with pytest.raises(IntegrityError):
        open_envelope(data, KIND)


@given(PAYLOADS, st.integers(0, 10**6), st.integers(0, 255))
def test_a_changed_byte_changes_the_hash_or_is_refused(payload, place, byte):
    """Nothing that was altered passes for what it was."""
    data = bytearray(seal(payload, KIND))
    data[place % len(data)] = byte
    before = open_envelope(seal(payload, KIND), KIND)
    try:
        opened = open_envelope(bytes(data), KIND)
    except IntegrityError:
        return
    assert opened.sha256 != before.sha256 or bytes(data) == seal(payload, KIND)


@pytest.mark.parametrize(
    "data",
    [
        b"[]",
        b"{}",
        b"\xff",
        b'{"payload": 1, "payloadType": "x", "signatures": []}',
        envelope(payload="?"),
        envelope(payload=encoded("[]")),
        envelope(payload=encoded('{"a": NaN}')),
        envelope(payload=encoded('{"a": -Infinity}')),
        envelope(payload=encoded('{"a": 1, "a": 2}')),
        envelope(payload=encoded('{"a": {"b": 1, "b": 1}}')),
        envelope(payload=encoded("[" * 100_000)),
        envelope(payload=encoded('{"a": ' + "9" * 10_000 + "}")),
        envelope(signatures={}),
        envelope(payloadType=None),
    ],
)
def test_hostile_bytes(data):
    """Duplicate keys, NaN, depth, size of numbers, missing parts: each refused."""
    with pytest.raises(IntegrityError):
        open_envelope(data, KIND)


def test_another_kind():
    """A manifest is no release, wherever it lies."""
    with pytest.raises(IntegrityError, match="not a release"):
        open_envelope(seal({}, "manifest"), KIND)


def test_dropping_the_signatures_does_not_make_it_unsigned():
    """Nor does adding one make it signed: the type says which it is."""
    signed_type = "application/vnd.mlshared.release+json"
    with pytest.raises(IntegrityError, match="signatures do not match"):
        open_envelope(envelope(payloadType=signed_type), KIND)
    with pytest.raises(IntegrityError, match="signatures do not match"):
        open_envelope(envelope(signatures=[{"sig": "x"}]), KIND)


def test_claiming_to_be_signed_is_told_apart():
    """By whom is checked elsewhere."""
    data = envelope(payloadType="application/vnd.mlshared.release+json", signatures=[{"sig": "x"}])
    assert open_envelope(data, KIND).signed


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", {"\ud800": 1}, ["x", "\udc00\ud800"]])
def test_half_a_surrogate_pair(text):
    """JSON can say it; no field is called so, and no log could print it."""
    with pytest.raises(IntegrityError, match="half a surrogate pair"):
        open_envelope(seal({"a": text}, KIND), KIND)


def test_a_whole_surrogate_pair_is_text():
    """It is how JSON writes what lies beyond the basic plane; and a backslash before a u may be just that."""
    payload = {"a": "\U0001f600", "b": "\\ud800"}
    assert open_envelope(seal(payload, KIND), KIND).payload == payload


def test_too_large_to_write():
    """Said before anything leaves the process."""
    with pytest.raises(IntegrityError, match="entries hold at most"):
        seal({"a": "x" * MAX_ENTRY_BYTES}, KIND)


def test_too_large_to_read():
    """Before it is parsed."""
    with pytest.raises(IntegrityError, match="entries hold at most"):
        strict_json(b" " * (MAX_ENTRY_BYTES + 1))


def test_nan_is_never_written():
    """No other reader of JSON would take it."""
    with pytest.raises(ValueError):
        seal({"a": float("nan")}, KIND)
