"""Reading a store: what is absent, what is an outage, and what is not what belongs there."""

import hashlib
import uuid

import pytest
from entries import ALIAS, MODEL, STORE_ID, founded, manifest, put, release
from hypothesis import given
from hypothesis import strategies as st

from mlshared._envelope import MAX_ENTRY_BYTES
from mlshared._objects import open_objects
from mlshared.errors import IntegrityError, StorageError, UnsupportedFormat
from mlshared.manifest import Artifact, to_bytes
from mlshared.store import IDENTITY_KEY, Store, blob_key, lease_end_key, lease_key, release_key, version_key

NUMBERS = st.integers(1, 9_999_999_999)


@pytest.fixture
def objects():
    return open_objects(f"memory://{uuid.uuid4().hex}/models")


@pytest.fixture
def store(objects):
    return founded(objects)


def write(store, key, data):
    assert store.objects.create(key, data, timeout=1)


def test_where_things_lie():
    """These paths are in every store ever written."""
    assert IDENTITY_KEY == "mlshared.json"
    assert version_key("flights", 42) == "flights/versions/0000000042.json"
    assert release_key("flights", "production", 7) == "flights/releases/production/0000000007.json"
    assert blob_key("flights", "p", "s") == "flights/blobs/p/s"
    assert lease_key("flights", 3) == "flights/leases/retrain/0000000003.json"
    assert lease_key("flights", 3, 2) == "flights/leases/retrain/0000000003/0000000002.json"
    assert lease_end_key("flights", 3) == "flights/leases/retrain/0000000003.done"


@given(NUMBERS, NUMBERS)
def test_names_sort_as_numbers_do(one, other):
    """A plain listing is in order."""
    assert (version_key(MODEL, one) < version_key(MODEL, other)) == (one < other)


@given(st.sets(NUMBERS, max_size=8))
def test_versions_are_numbers_in_order(numbers):
    """And nothing else that lies there."""
    store = founded(open_objects(f"memory://{uuid.uuid4().hex}"))
    for number in numbers:
        write(store, version_key(MODEL, number), b"{}")
    for odd in (
        "1.json",
        "00000000012.json",
        "0000000001.json.tmp",
        "000000000a.json",
        "\u0660" * 9 + "\u0661.json",
    ):
        write(store, f"{MODEL}/versions/{odd}", b"")
    assert store.versions(MODEL) == sorted(numbers)


def test_absent_is_none(store):
    """Not an error."""
    assert store.manifest(STORE_ID, MODEL, 1) is None
    assert store.release(STORE_ID, MODEL, ALIAS, 1) is None
    assert store.versions(MODEL) == store.releases(MODEL, ALIAS) == store.models() == []


def test_no_identity_is_no_store(objects):
    """Nobody has published to it yet."""
    assert Store(objects).identity() is None


@pytest.mark.parametrize("data", [b"", b"{}", b'{"id": "x"}', b"[1]", b'{"id": NaN}', b"\x00" * 100])
def test_a_wrong_identity(objects, data):
    """Is no reason to become another store."""
    objects.create(IDENTITY_KEY, data, timeout=1)
    with pytest.raises(IntegrityError):
        Store(objects).identity()


def test_a_store_of_another_format(objects):
    """Is for an upgrade."""
    objects.create(IDENTITY_KEY, b'{"format": "2.0", "id": "%s"}' % (b"5" * 32), timeout=1)
    with pytest.raises(UnsupportedFormat, match=r"format 2\.0"):
        Store(objects).identity()


def test_what_was_written_is_read(store):
    """With the hash of its bytes, by which others name it."""
    made = manifest(3)
    stored = put(store, made)
    assert (stored.entry, stored.raw) == (made, to_bytes(made))
    assert stored.sha256 == hashlib.sha256(to_bytes(made)).hexdigest()
    assert put(store, release(1, version=3)).entry.version == 3


@pytest.mark.parametrize(
    "changes", [{"store": "6" * 32}, {"model": "hotels"}, {"alias": "staging"}, {"number": 2}]
)
def test_a_release_of_another_place(store, changes):
    """Copied entries are refused where they do not belong."""
    write(store, release_key(MODEL, ALIAS, 1), to_bytes(release(**changes)))
    with pytest.raises(IntegrityError, match="an entry of another place"):
        store.release(STORE_ID, MODEL, ALIAS, 1)


@pytest.mark.parametrize("changes", [{"store": "6" * 32}, {"model": "hotels"}, {"version": 2}])
def test_a_manifest_of_another_place(store, changes):
    """The same for manifests."""
    write(store, version_key(MODEL, 1), to_bytes(manifest(**changes)))
    with pytest.raises(IntegrityError, match="a manifest of another place"):
        store.manifest(STORE_ID, MODEL, 1)


@given(st.binary(max_size=300))
def test_any_bytes_in_the_place_of_an_entry(data):
    """Are an `IntegrityError`, nothing else."""
    store = founded(open_objects(f"memory://{uuid.uuid4().hex}"))
    write(store, release_key(MODEL, ALIAS, 1), data)
    with pytest.raises(IntegrityError):
        store.release(STORE_ID, MODEL, ALIAS, 1)


def test_an_entry_too_large(store):
    """Is not read to its end."""
    write(store, version_key(MODEL, 1), b" " * (MAX_ENTRY_BYTES + 1))
    with pytest.raises(IntegrityError, match="is larger than the"):
        store.manifest(STORE_ID, MODEL, 1)


@pytest.mark.parametrize("kept", [b"bytez", b"byte", b"bytes and more", b""])
def test_a_blob_with_other_bytes(store, kept):
    """Is refused by size or hash."""
    artifact = Artifact(kind="skops", required=True, sha256=hashlib.sha256(b"bytes").hexdigest(), size=5)
    write(store, blob_key(MODEL, "p", artifact.sha256), kept)
    with pytest.raises(IntegrityError):
        store.blob(MODEL, "p", artifact)


def test_a_blob_that_is_missing_may_only_be_late(store):
    """Trying again may help."""
    artifact = Artifact(kind="skops", required=True, sha256="0" * 64, size=5)
    with pytest.raises(StorageError, match="is missing from the store"):
        store.blob(MODEL, "p", artifact)


def test_models_and_aliases(store):
    """Only what can be one."""
    put(store, manifest(), release())
    put(store, release(alias="staging"))
    for odd in ("Flights/x", "feed/x", f"{MODEL}/releases/UPPER/x"):
        write(store, odd, b"")
    assert store.models() == [MODEL]
    assert store.aliases(MODEL) == ["production", "staging"]


def test_a_budget_that_is_spent(objects, monkeypatch):
    """Ends every call, until there is more."""
    store = Store(objects, budget_seconds=0)
    with pytest.raises(StorageError, match="did not answer in time"):
        store.identity()
    store.allow(10)
    assert store.identity() is None
