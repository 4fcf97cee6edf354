"""Faults in the store: what ought to be there is not, or belongs elsewhere (f11, f12, f24). See test_wire.py."""

import base64
import hashlib

import proxy as faults
import pytest
from served import next_entry
from shelf import NAME, add_version
from wire import EVERY_SERVER

from mlshared import ModelNotReady, NotPublished, _alias_log
from mlshared._envelope import strict_json
from mlshared._objects import open_objects
from mlshared.manifest import Previous, to_bytes
from mlshared.store import Store, blob_key, release_key, version_key

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("s3_server", EVERY_SERVER, indirect=True)]


@pytest.mark.parametrize("place", ["manifest", "blob"])
def test_f11_a_release_of_what_is_missing(served, place):
    """Told apart from "nothing new", asked for again now and then, and taken up once it is there."""
    held = {}
    keep = lambda kind, data: data if kind != "plan" else held.setdefault(kind, data) and None  # noqa: E731
    options = {"options": served.store.options, "like": 2, "version": 4}
    add_version(served.store.url, **options, **({"blobs": keep} if place == "blob" else {}))

    raw = served.store.get(version_key(NAME, 4))
    served.release(4)
    if place == "manifest":
        served.proxy.inject(faults.status(404, "NoSuchKey"), path=r"/versions/0000000004\.json")
    served.fails(3)
    status = served.status
    assert (status.state, status.version, status.quarantined) == ("stale", 1, {})
    assert "missing from the store" in status.last_error
    assert status.last_error.startswith("StorageError: ")
    served.stays(1)
    if place == "blob":
        publish_id = strict_json(base64.b64decode(strict_json(raw)["payload"]))["publish_id"]
        served.store.put(blob_key(NAME, publish_id, hashlib.sha256(held["plan"]).hexdigest()), held["plan"])
    served.proxy.heal()
    served.recovers(4)


def is_an_outage(process, how):
    """Assert that a process serves on, is stale, and has never said that nothing is published."""
    assert process.status.state == "stale"
    assert ("no such bucket" if how == "deleted" else "the log of ") in process.status.last_error
    assert not any(isinstance(event.error, NotPublished) for event in process.failures())
    process.stays(1)


@pytest.mark.parametrize("how", ["emptied", "deleted"])
def test_f12_the_bucket_is_emptied_or_deleted(served, serve, shelf, how, monkeypatch):
    """An outage, never "no such model": for who serves, and for who starts from the host's cache."""
    keys = sorted(p.relative_to(shelf.folder).as_posix() for p in shelf.folder.rglob("*") if p.is_file())
    for key in keys:
        served.store.delete(key)
    if how == "deleted":
        served.store.server.send("DELETE", f"/{served.store.bucket}")
    served.fails(2)
    is_an_outage(served, how)
    monkeypatch.setattr(_alias_log, "CONFIRM_SECONDS", 600.0)  # who starts is told by the first look
    later = serve()
    later.fails(2)
    is_an_outage(later, how)
    if how == "deleted":
        served.store.server.send("PUT", f"/{served.store.bucket}")
    for key in keys:
        served.store.put(key, (shelf.folder / key).read_bytes())
    served.release(2)
    served.recovers(2)
    later.recovers(2)


# -- f24: what belongs elsewhere (of unsigned stores) --------------------------------------------------------


FOREIGN = {
    "another store's": {"store": "f" * 32},
    "another model's": {"model": "other"},
    "another alias's": {"alias": "staging"},
    "another number's": {"number": 3},
    "an unknown type": {"type": "lease"},
    "after another entry": {"prev": Previous(number=1, sha256="0" * 64)},
}


@pytest.mark.parametrize("whose", [*FOREIGN, "a manifest", "its own"])
def test_f24_an_entry_that_belongs_elsewhere(served, shelf, whose):
    """It takes the next number and is refused; the entry after it is found. Its own would have been taken."""
    if whose == "a manifest":
        raw = (shelf.folder / version_key(NAME, 2)).read_bytes()
    else:
        raw = to_bytes(next_entry(shelf, **FOREIGN.get(whose, {})))
    served.store.put(release_key(NAME, "production", 2), raw)
    if whose != "its own":
        served.fails(1)
        assert served.status.last_error.startswith("IntegrityError: ")
        served.release(2)
        served.stays(1)
    served.recovers(2)


def test_f24_a_renamed_model(served, shelf):
    """All of a model copied under another name is not that model."""
    for path in (shelf.folder / NAME).rglob("*"):
        if path.is_file():
            key = path.relative_to(shelf.folder / NAME).as_posix()
            served.store.put(f"tumour/{key}", path.read_bytes())
    with pytest.raises(ModelNotReady, match="holds an entry of another place"):
        served.client.model("tumour").predict({})
    served.stays(1)


def test_f24_a_manifest_that_belongs_elsewhere(served, shelf):
    """A release that names another store's manifest, hash and all, is refused."""
    objects = open_objects(str(shelf.folder))
    mine = Store(objects).manifest(shelf.store_id, NAME, 2).entry
    raw = to_bytes(mine.model_copy(update={"store": "f" * 32, "version": 4}))
    served.store.put(version_key(NAME, 4), raw)
    entry = next_entry(shelf, version=2)
    named = {"version": 4, "manifest_sha256": hashlib.sha256(raw).hexdigest()}
    served.store.put(release_key(NAME, "production", 2), to_bytes(entry.model_copy(update=named)))
    served.until(lambda: 4 in served.status.quarantined)
    served.stays(1)
    served.release(2, breaking=True)  # what is in force cannot be compared with
    served.recovers(2)
