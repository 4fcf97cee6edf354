"""A large plan goes from the store to the disk part by part: whole and verified, or not at all."""

import hashlib
import resource
import uuid

import pytest
from shelf import NAME

import trainer
from mlshared import Client, _load
from mlshared._cache import open_cache
from mlshared._objects import open_objects
from mlshared.errors import IntegrityError, StorageError
from mlshared.manifest import Artifact
from mlshared.store import Store, blob_key

SECONDS = 20.0
DATA = bytes(range(256)) * 12_000  # three parts
SHA256 = hashlib.sha256(DATA).hexdigest()
KEY = blob_key("flights", "0" * 32, SHA256)
ARTIFACT = Artifact(kind="plan", required=False, sha256=SHA256, size=len(DATA))


@pytest.fixture(params=["local", "memory", "s3"])
def objects(request):
    if request.param == "local":
        url, options = str(request.getfixturevalue("tmp_path") / "models"), {}
    elif request.param == "memory":
        url, options = f"memory://{uuid.uuid4().hex}/models", {}
    else:
        store = request.getfixturevalue("s3_store")
        url, options = store.url, store.options
    opened = open_objects(url, options)
    yield opened
    opened.close()


@pytest.fixture
def cache(tmp_path):
    return open_cache(tmp_path / "cache", max_bytes=10**9)


def copied(objects, cache, artifact=ARTIFACT):
    store = Store(objects, budget_seconds=SECONDS)
    return cache.fill(artifact.sha256, lambda write: store.copy_blob("flights", "0" * 32, artifact, write))


def test_a_blob_is_copied(objects, cache):
    """Byte for byte, and no further than one byte past what it may have."""
    objects.create(KEY, DATA, timeout=SECONDS)
    assert copied(objects, cache)
    assert cache.blob(SHA256, len(DATA)) == DATA
    parts = []
    assert objects.copy(KEY, parts.append, limit=10, timeout=SECONDS)
    assert b"".join(parts) == DATA[:11]


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b"x" + DATA[1:], b""], ids=len)
def test_wrong_bytes_are_refused_and_not_kept(objects, cache, data):
    """Cut short, too long, changed or empty: refused, and neither the blob nor a part of it stays."""
    objects.create(KEY, data, timeout=SECONDS)
    with pytest.raises(IntegrityError):
        copied(objects, cache)
    assert not cache.holds(SHA256)
    assert cache.problem is None


def test_an_absent_blob_is_the_stores_trouble(objects, cache, tmp_path):
    """It may only be late; nothing is kept, and the disk is not blamed."""
    with pytest.raises(StorageError, match="missing"):
        copied(objects, cache)
    assert not cache.holds(SHA256)
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []
    assert cache.problem is None


def test_a_disk_that_takes_no_more_is_told(objects, tmp_path):
    """It is not taken for an error of the store, over which it happened; the caller reads on into memory."""
    objects.create(KEY, DATA, timeout=SECONDS)
    cache = open_cache(tmp_path / "cache", max_bytes=10**9)
    (tmp_path / "cache" / "blobs").write_bytes(b"in the way")  # of the folder
    assert not copied(objects, cache)
    assert cache.problem is not None


def test_a_disk_that_is_full_after_a_part_keeps_none(objects, cache, tmp_path):
    """What it took until then is removed; the store that was being read is not blamed."""
    objects.create(KEY, DATA, timeout=SECONDS)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(DATA) // 2, before[1]))
    try:
        assert not copied(objects, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "File too large" in cache.problem
    assert not cache.holds(SHA256)
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


def test_a_client_copies_a_large_plan(shelf, tmp_path, monkeypatch):
    """It is mapped from the disk then, and answers; with no disk it is answered from memory."""
    monkeypatch.setattr(_load, "MAPPED_FROM_BYTES", 1)
    url = shelf.copy_to(tmp_path / "models")
    (tmp_path / "file").write_bytes(b"")
    for folder in (tmp_path / "cache", tmp_path / "file"):
        with Client(url, cache_dir=folder, poll_seconds=0) as client:
            model = client.model(NAME)
            model.refresh()
            assert model.predict_proba(shelf.rows[0]) == pytest.approx(shelf.offline(1, shelf.rows[0]))
    plan = trainer.versions(NAME, store=url)[0].artifact("plan").sha256
    assert (tmp_path / "cache" / "blobs" / plan).exists()
