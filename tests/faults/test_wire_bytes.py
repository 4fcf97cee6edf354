"""Faults on the wire: bytes that are not the ones (f05 .. f10). See test_wire.py."""

import contextlib
import hashlib

import proxy as faults
import pytest
from served import NEXT, NEXT_BUT_ONE, PLACES, next_entry, wait_for
from shelf import NAME
from wire import EVERY_SERVER

from mlshared import Client, ModelNotReady
from mlshared._cache import open_cache
from mlshared._following import follow
from mlshared._objects import open_objects
from mlshared._ref import parse_ref
from mlshared.errors import StorageError
from mlshared.manifest import to_bytes
from mlshared.store import IDENTITY_KEY, Store, blob_key, release_key, version_key

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("s3_server", EVERY_SERVER, indirect=True)]
MIB = 1 << 20
IN_FLIGHT_BYTES = 16 * MIB  # what sockets and aiohttp hold on the way

every_place = pytest.mark.parametrize("place", PLACES)


def half_written(cache):
    """Return what lies in the cache and is not whole: blobs of other bytes, and temporary files."""
    blobs = [path for path in (cache / "blobs").rglob("*") if path.is_file()]
    wrong = [p for p in blobs if hashlib.sha256(p.read_bytes()).hexdigest() != p.name]
    return wrong, len(blobs)


@every_place
def test_f05_a_truncated_body(served, place):
    """Refused, tried again, and nothing of it is kept."""
    with served.release_behind(faults.truncate(after=100), place):
        served.fails(2)
        assert served.status.last_error.startswith("StorageError: ")
        assert half_written(served.cache)[0] == []
        served.stays(1)
    served.recovers(2)
    assert served.status.quarantined == {}
    assert half_written(served.cache)[0] == []


LENGTHS = {
    "short": faults.shorten(100),
    "part": faults.shorten(100, as_status=206),
    "more": faults.announce(+50),
    "less": faults.announce(-50),
}


@pytest.mark.parametrize("how", LENGTHS)
@every_place
def test_f06_lengths_that_lie(served, place, how):
    """Less than the object, or than was announced, is refused; twice is no reason to condemn the version."""
    rule = served.release_behind(LENGTHS[how], place, times=2)
    served.recovers(2)
    assert rule.hits == 2
    assert served.status.quarantined == {}
    assert half_written(served.cache)[0] == []


@every_place
def test_f07_a_flipped_bit_on_the_way(served, place):
    """Noticed, asked for again, and the version is not condemned for it."""
    times = 1 if place == "entry" else 2  # see below for what tells an entry from a damaged one
    rule = served.release_behind(faults.flip(), place, times=times)
    served.recovers(2)
    assert rule.hits == times
    served.until(lambda: served.loaded() == [1, 2])
    assert served.status.quarantined == {}
    assert half_written(served.cache)[0] == []


@pytest.mark.parametrize("place", ["manifest", "blob"])
def test_f07_wrong_once_is_asked_for_again_at_once(served, place):
    """Within the same look: a bit that flips on the way is no failure that anybody has to hear of."""
    rule = served.release_behind(faults.flip(), place, times=1)
    served.recovers(2)
    assert rule.hits == 1
    assert served.failures() == []


@pytest.mark.parametrize("place", ["manifest", "blob"])
def test_f07_a_flipped_bit_in_the_store(served, place):
    """Refused for good; the next release is taken."""
    with served.release_behind(faults.flip(), place):
        served.until(lambda: 2 in served.status.quarantined)
        assert served.status.last_error.startswith("IntegrityError: ")
        before, polls = (
            len(served.proxy.seen("GET", PLACES[place])),
            len(served.proxy.seen("GET", NEXT_BUT_ONE)),
        )
        served.until(lambda: len(served.proxy.seen("GET", NEXT_BUT_ONE)) > polls + 3)
        assert len(served.proxy.seen("GET", PLACES[place])) == before
        served.stays(1)
    served.release(3)
    served.recovers(3)


@pytest.mark.parametrize("start", ["cold", "polling"])
def test_f07_any_flipped_bit_of_an_entry(shelf, s3_store, s3_wire, counting_proxy, tmp_path, start):
    """Whichever bit is flipped on the way, nobody takes anything but the entries as they lie in the store.

    Nothing tells a damaged unsigned entry from a whole one, when the damage is in a number or a hash.
    """
    shelf.send_to(s3_store)
    objects = open_objects(s3_wire.url, s3_wire.options)
    store, cache = Store(objects, budget_seconds=120), open_cache(tmp_path / "cache", max_bytes=MIB)
    second = to_bytes(next_entry(shelf))
    bits = range(3, 8 * len(second), 8 * len(second) // 25)
    readers = [
        follow(shelf.store_id, parse_ref(NAME), cache.log(shelf.store_id, NAME, f"log-{bit}")) for bit in bits
    ]
    for here in readers if start == "polling" else ():
        here.look(store)
    s3_store.put(release_key(NAME, "production", 2), second)
    for bit, here in zip(bits, readers, strict=True):
        before = here.head and here.head.entry.number
        fault = counting_proxy.inject(faults.flip(bit), path=NEXT, times=1)
        with fault, contextlib.suppress(StorageError):
            here.look(store)
        assert fault.hits == 1
        assert here.head is None or here.head.entry.number == before or here.head.raw == second
        here.look(store)
        assert here.head.raw == second
    objects.close()


def test_f07_a_flipped_bit_of_the_identity(start_cold, shelf, counting_proxy):
    """One digit of the store's id, flipped on the way, is not remembered for the store's."""
    model, raw = start_cold(), (shelf.folder / IDENTITY_KEY).read_bytes()
    digit = raw.index(shelf.store_id.encode())
    with counting_proxy.inject(
        faults.flip(8 * digit), path=IDENTITY_KEY, times=1
    ):  # '4' for '5', 'e' for 'd'
        model.ready(timeout=0)
        wait_for(lambda: model.status().version == 1)
    assert model.status().state == "serving"


@pytest.mark.parametrize("body", [b"", b"<html>log in</html>"], ids=["empty", "html"])
@every_place
def test_f08_another_body_with_status_200(served, place, body):
    """Refused: no entry, no manifest, no blob."""
    rule = served.release_behind(faults.instead(body), place)
    served.fails(1)
    assert served.status.last_error.startswith("IntegrityError: ")
    served.stays(1)
    rule.end()
    served.release(3)
    served.recovers(3)


def test_f08_instead_of_the_identity(start_cold, counting_proxy):
    """A login page in the place of mlshared.json is no store; the process gets ready once it is gone."""
    model = start_cold()
    with counting_proxy.inject(faults.instead(b"<html>log in</html>")):
        with pytest.raises(ModelNotReady, match="does not identify a store"):
            model.predict({})
        assert model.status().state == "failed"
    wait_for(lambda: model.status().version == 1)


@pytest.fixture
def start_cold(shelf, s3_store, s3_wire, impatient, tmp_path):
    """A function that makes a model of a client that has not started; closed at the end."""
    shelf.send_to(s3_store)
    with Client(
        s3_wire.url, storage_options=s3_wire.options, cache_dir=tmp_path / "cold", poll_seconds=0.2
    ) as client:
        yield lambda: client.model(NAME)


@every_place
def test_f09_an_endless_body(served, place):
    """Reading stops one byte after what there may be, counted at the socket."""
    before = served.proxy.bytes_back
    rule = served.release_behind(faults.endless(), place)
    served.fails(1)
    rule.end()
    assert "larger than the" in served.failures()[-1].error.args[0]
    assert served.proxy.bytes_back - before < rule.hits * (MIB + IN_FLIGHT_BYTES)
    served.stays(1)
    served.release(3)
    served.recovers(3)


def test_f10_replaced_while_being_read(served, shelf):
    """Half of one object and half of another is neither."""
    other = next(shelf.folder.glob(f"{NAME}/versions/0000000003.json")).read_bytes()
    rule = served.release_behind(faults.splice(other), "manifest", times=1)
    served.recovers(2)
    assert (rule.hits, served.status.quarantined) == (1, {})


@pytest.mark.parametrize("place", ["manifest", "blob"])
def test_f10_replaced_in_the_store(served, shelf, place):
    """Other bytes in the place of the released ones are refused, however whole they are and well they fit."""
    second, third = (open_manifest_of(shelf, version) for version in (2, 3))
    if place == "manifest":
        served.store.put(version_key(NAME, 2), to_bytes(third.model_copy(update={"version": 2})))
    else:
        keys = [blob_key(NAME, m.publish_id, m.artifact("plan").sha256) for m in (second, third)]
        served.store.put(keys[0], (shelf.folder / keys[1]).read_bytes())
    served.store.put(release_key(NAME, "production", 2), to_bytes(next_entry(shelf)))
    served.until(lambda: 2 in served.status.quarantined)
    assert served.status.quarantined[2].startswith("IntegrityError: ")
    served.stays(1)
    served.release(3, breaking=True)  # what is in force cannot be compared with
    served.recovers(3)


def open_manifest_of(shelf, version):
    objects = open_objects(str(shelf.folder))
    return Store(objects).manifest(shelf.store_id, NAME, version).entry
