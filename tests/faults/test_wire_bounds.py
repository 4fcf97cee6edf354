"""What is too much, in a process that may have little memory (f30)."""

import hashlib
import io
import json
import os
import secrets
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from served import next_entry
from shelf import NAME

from mlshared._envelope import MAX_ENTRY_BYTES
from mlshared._objects import open_objects
from mlshared.manifest import to_bytes
from mlshared.store import Store, blob_key, version_key

pytestmark = pytest.mark.slow
MIB = 1 << 20
MORE_BYTES = 384 * MIB  # what a process may take beyond what it has when version 1 serves
SECONDS = 20

# Version 1 serves; then the release appears, and the process may have no more memory than it has, and a bit.
READER = """
import json, os, re, resource, sys, time
from pathlib import Path
import numpy, pandas, skops.io, sklearn.linear_model, sklearn.pipeline
from mlshared import Client
more, row = int(sys.argv[1]), json.loads(sys.argv[2])
for store in sys.argv[3:]:
    with Client(store, cache_dir=f"{store}-cache", poll_seconds=0, hook=lambda event: None) as client:
        model = client.model("cancer")
        before = model.predict_proba(row)
        Path(store, "next.json").rename(Path(store, "cancer/releases/production/0000000002.json"))
        now = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
        resource.setrlimit(resource.RLIMIT_AS, (now + more, resource.RLIM_INFINITY))
        began = time.monotonic()
        try:
            said = f"refreshed: {model.refresh()}"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - began
        same = model.predict_proba(row) == before and model.status().version == 1
        print(json.dumps([said, seconds, same]), flush=True)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def deep(size, opening=b"[", closing=b"]", middle=b""):
    return opening * (size // 2) + middle + closing * (size // 2)


def zipped(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


def million_entries():
    """Return a zip whose directory has a million entries that all lie at the same place."""
    header = zipped([("a", b"")])
    directory = header[header.index(b"PK\x01\x02") : header.index(b"PK\x05\x06")]
    body = header[: header.index(b"PK\x01\x02")]
    count, size = 1_000_000, len(directory) * 1_000_000
    large = b"PK\x06\x06" + (44).to_bytes(8, "little") + b"\x2d\0\x2d\0" + bytes(8)
    large += count.to_bytes(8, "little") * 2 + size.to_bytes(8, "little") + len(body).to_bytes(8, "little")
    locator = b"PK\x06\x07" + bytes(4) + (len(body) + size).to_bytes(8, "little") + (1).to_bytes(4, "little")
    end = b"PK\x05\x06" + bytes(4) + b"\xff" * 12 + bytes(2)
    return body + directory * count + large + locator + end


def plan_of(shape):
    """Return a plan file whose header promises an array that large."""
    header = json.dumps({"a": {"dtype": "F64", "shape": shape, "data_offsets": [0, 8 * int(np.prod(shape))]}})
    return len(header).to_bytes(8, "little") + header.encode() + bytes(64)


DEEP = deep(MAX_ENTRY_BYTES)
BLOBS = {
    "a golden blob of deep JSON": {"golden": DEEP},
    "a golden blob of much JSON": {"golden": b'{"rows":[' + b"[[]]," * (40 * MIB) + b"[]]}"},
    "a plan that promises a terabyte": {"plan": plan_of([2**37])},
    "a plan of deep JSON": {"plan": len(DEEP).to_bytes(8, "little") + DEEP},
    "categories of deep JSON": {"categories": DEEP},
    "categories of much JSON": {"categories": b'{"a":[' + b"[[]]," * (40 * MIB) + b"[]]}"},
    "an archive of a million entries": {"plan": None, "skops": million_entries()},
    "a zip bomb": {
        "plan": None,
        "skops": zipped([("schema.json", b" " * (1 << 30))], zipfile.ZIP_DEFLATED),
    },
    "a skops file of deep JSON": {"plan": None, "skops": zipped([("schema.json", deep(64 * MIB))])},
}
ENTRIES = {
    "an entry of deep JSON": DEEP,
    "an entry of deep objects": deep(MAX_ENTRY_BYTES, b'{"a":', b"}", b"1")[:MAX_ENTRY_BYTES],
    "an entry of one long number": b'{"payload":' + b"1" * (MAX_ENTRY_BYTES - 20) + b"}",
    "an endless entry": b" " * (64 * MIB),
}
SIZES = {"a blob of a petabyte": 2**50, "a blob larger than memory": 2**43}


def hostile_store(folder, shelf, name):
    """Return a store whose next entry, held back, or what it releases, is hostile."""
    url = shelf.copy_to(folder)
    waiting = folder / "next.json"
    if name in ENTRIES:
        waiting.write_bytes(ENTRIES[name])
        return url
    sizes = {"size": SIZES[name]} if name in SIZES else {}
    raw = hostile_version(folder, shelf, BLOBS.get(name, {"plan": b"{}"}), **sizes)
    named = {"version": 4, "manifest_sha256": hashlib.sha256(raw).hexdigest()}
    waiting.write_bytes(to_bytes(next_entry(shelf).model_copy(update=named)))
    return url


def hostile_version(folder, shelf, blobs, **changes):
    """Publish version 4, like 2 but with these blobs (None: without); return its manifest."""
    objects = open_objects(str(folder))
    manifest = Store(objects).manifest(shelf.store_id, NAME, 2).entry
    publish_id, artifacts = secrets.token_hex(16), {a.kind: a for a in manifest.artifacts}
    for artifact in manifest.artifacts:
        data = (folder / blob_key(NAME, manifest.publish_id, artifact.sha256)).read_bytes()
        objects.create(blob_key(NAME, publish_id, artifact.sha256), data, timeout=20)
    for kind, data in blobs.items():
        if data is None:
            del artifacts[kind]
            continue
        named = {"kind": kind, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data), **changes}
        artifacts[kind] = artifacts["golden"].model_copy(update=named)
        key = blob_key(NAME, publish_id, named["sha256"])
        objects.create(key, data, timeout=20)
        if kind == "plan" and changes:
            os.truncate(folder / key, min(changes["size"], 2**43))  # with holes: it takes no room on the disk
    update = {"version": 4, "publish_id": publish_id, "artifacts": tuple(artifacts.values())}
    raw = to_bytes(manifest.model_copy(update=update))
    objects.create(version_key(NAME, 4), raw, timeout=20)
    return raw


def test_f30_hostile_sizes(shelf, tmp_path):
    """Each is refused for what it is, soon, with little memory; version 1 goes on."""
    names = [*ENTRIES, *SIZES, *BLOBS]
    stores = [hostile_store(tmp_path / f"store-{n}", shelf, name) for n, name in enumerate(names)]
    done = subprocess.run(
        [sys.executable, "-c", READER, str(MORE_BYTES), json.dumps(shelf.rows[0]), *stores],
        # An arena for each thread would be address space that nobody uses.
        env={**os.environ, "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(said) == len(names), (names[len(said)], done.stderr[-2000:])
    for name, (what, seconds, goes_on) in zip(names, said, strict=True):
        print(f"{name}: {seconds:.2f} s, {what[:150]}")
        assert what.split(":")[0] in {"IntegrityError", "EnvironmentMismatch", "UnsupportedFormat"}, (
            name,
            what,
        )
        assert seconds < SECONDS, name
        assert goes_on, name
