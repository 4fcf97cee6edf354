"""Small entries of a store, whole but for the estimator: manifests, releases, and a store that holds some.

manifest(3), release(2, version=3)        entries with every field a reader needs
store = founded(objects); put(store, manifest(1), release(1))
"""

import hashlib
from datetime import UTC, datetime

from mlshared.manifest import FORMAT, Artifact, Environment, Field, Manifest, Previous, Release, to_bytes
from mlshared.store import IDENTITY_KEY, Identity, Store, open_manifest, release_key, version_key
from trainer._append import nonce

STORE_ID = "5" * 32
MODEL = "flights"
ALIAS = "production"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def manifest(version=1, **changes):
    """Return the manifest of a classifier of one number."""
    values = {
        "type": Manifest.TYPE,
        "format": FORMAT,
        "store": STORE_ID,
        "model": MODEL,
        "nonce": nonce(),
        "version": version,
        "publish_id": nonce(),
        "created_at": NOON,
        "task": "classifier",
        "methods": ("predict", "predict_proba"),
        "classes": (0, 1),
        "class_dtype": "int64",
        "output_dtype": "int64",
        "input": "fields",
        "fields": (Field(name="distance", kind="number", dtype="float64"),),
        "artifacts": (Artifact(kind="skops", required=True, sha256="0" * 64, size=0),),
        "environment": Environment(python="3.11", machine="x86_64"),
    }
    return Manifest(**{**values, **changes})


def release(number=1, *, prev=None, version=1, **changes):
    """Return an entry of a log; ``prev`` is the entry before it."""
    if prev is not None:
        prev = Previous(number=prev.number, sha256=hashlib.sha256(to_bytes(prev)).hexdigest())
    values = {
        "type": Release.TYPE,
        "format": FORMAT,
        "store": STORE_ID,
        "model": MODEL,
        "nonce": nonce(),
        "alias": ALIAS,
        "number": number,
        "kind": "release",
        "prev": prev,
        "version": version,
        "manifest_sha256": "0" * 64,
        "by": "retrain",
        "created_at": NOON,
    }
    return Release(**{**values, **changes})


def founded(objects):
    """Return a store whose id is `STORE_ID`."""
    identity = Identity(id=STORE_ID).model_dump_json().encode()
    assert objects.create(IDENTITY_KEY, identity, timeout=10)
    return Store(objects)


def put(store, *entries):
    """Write manifests and releases where they belong; return the last one as it lies there."""
    for entry in entries:
        if isinstance(entry, Manifest):
            key = version_key(entry.model, entry.version)
        else:
            key = release_key(entry.model, entry.alias, entry.number)
        assert store.objects.create(key, to_bytes(entry), timeout=10)
    if isinstance(entry, Manifest):
        return open_manifest(to_bytes(entry), entry.store, entry.model, entry.version)
    return store.release(entry.store, entry.model, entry.alias, entry.number)
