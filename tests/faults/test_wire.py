"""Faults on the wire, a test a row: a client that serves version 1 through a proxy, before a real S3 server.

Throughout, version 1 answers every prediction, rightly and at once; `status()` says what is wrong; requests stay
few; and once the fault is over, what was released meanwhile comes into force without anybody's doing.
"""

import base64
import hashlib
import itertools
import socket
import time
import urllib.parse
from collections.abc import Iterator

import proxy as faults
import pytest
from served import BACKOFF_SECONDS, LOOK_SECONDS, PROMPT_SECONDS, wait_for
from shelf import NAME, add_version

from mlshared import Client, ModelNotReady, NotPublished
from mlshared._cache import open_cache
from mlshared._envelope import strict_json
from mlshared._following import follow
from mlshared._objects import open_objects
from mlshared._ref import parse_ref
from mlshared.errors import IntegrityError, StorageError
from mlshared.events import RefreshFailed
from mlshared.manifest import Manifest, Previous, to_bytes
from mlshared.store import Store, blob_key, release_key, version_key

MIB = 1 << 20
IN_FLIGHT_BYTES = 16 * MIB  # what sockets and aiohttp hold on the way
ATTEMPTS = 4  # requests a look may cost: botocore sends twice, aiohttp again on a connection that was kept
NEXT = r"/releases/production/0000000002\.json"
PLACES = {"entry": NEXT, "manifest": r"/versions/0000000002\.json", "blob": "/blobs/"}

every_place = pytest.mark.parametrize("place", PLACES)


@pytest.fixture(autouse=True)
def _no_hot_loop(counting_proxy) -> Iterator[None]:
    """Whatever happens, the store is asked no more than a few times for each backoff or poll."""
    began = time.monotonic()
    yield
    looks = (time.monotonic() - began) / 0.15 + 20
    assert len(counting_proxy.seen()) < looks * ATTEMPTS


# -- f01 .. f04: the store does not answer, or says no -------------------------------------------------------


@pytest.mark.parametrize("how", ["refused", "reset"])
def test_f01_refused_or_reset(served, how):
    """Looks come half a second apart at the least, each a few requests; stale, with the reason; then all is well."""
    served.proxy.stop() if how == "refused" else served.proxy.inject(faults.reset)
    began, before = time.monotonic(), len(served.proxy.seen())
    served.fails(3)
    looks = [at for at, event in served.events if isinstance(event, RefreshFailed)]
    assert all(later - earlier >= BACKOFF_SECONDS for earlier, later in itertools.pairwise(looks))
    assert len(served.proxy.seen()) - before <= ATTEMPTS * (1 + (time.monotonic() - began) / BACKOFF_SECONDS)
    assert served.status.state == "stale"
    assert served.status.last_error.startswith("StorageError: ")
    served.stays(1)
    served.release(2)
    served.proxy.start() if how == "refused" else served.proxy.heal()
    served.recovers(2)


def test_f01_a_name_that_does_not_resolve(served, serve, s3_wire, monkeypatch):
    """A process that starts while there is no DNS serves from the host's cache, and looks once there is."""
    resolve, known = socket.getaddrinfo, []

    def getaddrinfo(host, *arguments, **options):
        if host != "models.test":
            return resolve(host, *arguments, **options)
        if not known:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    served.client.close()
    port = urllib.parse.urlsplit(s3_wire.options["endpoint_url"]).port
    later = serve(storage_options={**s3_wire.options, "endpoint_url": f"http://models.test:{port}"})
    later.fails(2)
    assert (later.status.state, later.status.ready) == ("stale", True)
    later.stays(1)
    later.release(2)
    known.append("now")
    later.recovers(2)


@pytest.mark.parametrize("fault", [faults.hang, faults.drip()], ids=["hang", "drip"])
@every_place
def test_f02_nothing_or_a_byte_now_and_then(served, fault, place):
    """A look ends at its deadline, also where bytes keep coming; nobody who predicts waits for it."""
    served.release(2)
    with served.proxy.inject(fault, path=PLACES[place]):
        if place == "blob":  # whose deadline is half a minute and more: see below
            served.until(lambda: served.proxy.seen("GET", "/blobs/"))
            served.stays(1)
        else:
            served.fails(2)
            first, second = [at for at, event in served.events if isinstance(event, RefreshFailed)][:2]
            assert second - first < LOOK_SECONDS + 4 * BACKOFF_SECONDS
            assert "no answer within" in served.status.last_error
            served.stays(1)
    served.recovers(2)


@pytest.mark.parametrize("fault", [faults.hang, faults.drip()], ids=["hang", "drip"])
def test_f02_refresh_and_start_up_wait_no_longer_than_told(served, serve, fault, tmp_path):
    """refresh() ends at its deadline, a start with a cold cache too, and one with a warm cache serves from it."""
    with served.proxy.inject(fault):
        took, error = timed(lambda: served.model.refresh(timeout_seconds=0.5))
        assert isinstance(error, StorageError)
        assert 0.4 < took < 0.5 + PROMPT_SECONDS
        options = {
            "storage_options": {**served.store.at(served.proxy.url).options},
            "first_load_seconds": 0.5,
        }
        with Client(served.store.url, cache_dir=tmp_path / "cold", **options) as cold:
            took, error = timed(lambda: cold.model(NAME).predict({}))
        assert isinstance(error, ModelNotReady)
        assert took < 0.5 + PROMPT_SECONDS
        warm = serve(first_load_seconds=10)
        warm.stays(1)
    served.release(2)
    warm.recovers(2)


@pytest.mark.parametrize("fault", [faults.hang, faults.drip(0.1)], ids=["hang", "drip"])
def test_f02_a_blob_ends_at_the_deadline_too(s3_store, s3_wire, shelf, counting_proxy, fault):
    """All calls of a budget end with it, whatever came by then."""
    shelf.send_to(s3_store)
    objects = open_objects(s3_wire.url, s3_wire.options)
    store = Store(objects)
    manifest = store.manifest(shelf.store_id, NAME, 1).entry
    counting_proxy.inject(fault)
    store.allow(0.8)
    for artifact in manifest.artifacts[:2]:
        took, error = timed(lambda a=artifact: store.blob(NAME, manifest.publish_id, a))
        assert isinstance(error, StorageError)
        assert took < 0.8 + PROMPT_SECONDS
    objects.close()


def timed(act):
    """Return how long it took, and what it raised."""
    began = time.monotonic()
    try:
        act()
    except Exception as error:  # noqa: BLE001 - the test says which
        return time.monotonic() - began, error
    return time.monotonic() - began, None


@pytest.mark.parametrize("code", [503, 429, 500])
def test_f03_errors_for_ever(served, code):
    """Two requests a look, half a second between looks, and the seconds since the last good look add up."""
    before, began = len(served.proxy.seen()), time.monotonic()
    served.proxy.inject(faults.status(code))
    served.fails(1)
    first = served.status.stale_seconds
    served.fails(3)
    assert len(served.proxy.seen()) - before <= 2 * (1 + (time.monotonic() - began) / BACKOFF_SECONDS)
    assert served.status.stale_seconds >= first + 3 * BACKOFF_SECONDS
    assert served.status.last_error.startswith("StorageError: ")
    served.stays(1)
    served.release(2)
    served.proxy.heal()
    served.recovers(2)
    assert served.status.stale_seconds < first + 3 * BACKOFF_SECONDS


def test_f04_forbidden(served):
    """A 403 is an error of its own kind, and no reason to ask more often."""
    before, began = len(served.proxy.seen()), time.monotonic()
    served.proxy.inject(faults.status(403))
    served.fails(3)
    assert len(served.proxy.seen()) - before <= 2 * (1 + (time.monotonic() - began) / BACKOFF_SECONDS)
    assert served.status.last_error.startswith("AccessDenied: ")
    served.stays(1)
    served.release(2)
    served.proxy.heal()
    served.recovers(2)


def test_f04_expired_credentials(serve, s3_wire, counting_proxy, monkeypatch):
    """Credentials that expired are looked up again: new ones in the environment are enough."""
    options = {name: value for name, value in s3_wire.options.items() if name not in {"key", "secret"}}
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_wire.options["key"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3_wire.options["secret"])
    served = serve(storage_options=options)
    expired = faults.status(400, "ExpiredToken")
    rule = counting_proxy.inject(expired)
    served.fails(2)
    assert served.status.last_error.startswith("AccessDenied: ")
    assert "ExpiredToken" in served.status.last_error
    served.stays(1)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "dummy-new")
    served.until(lambda: counting_proxy.requests[-1].headers["authorization"].find("=dummy-new/") > 0)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3_wire.options["key"])
    served.release(2)
    rule.end()
    served.recovers(2)


# -- f05 .. f10: bytes that are not the ones -----------------------------------------------------------------


def half_written(cache):
    """Return what lies in the cache and is not whole: blobs of other bytes, and temporary files."""
    blobs = [path for path in (cache / "blobs").rglob("*") if path.is_file()]
    wrong = [p for p in blobs if hashlib.sha256(p.read_bytes()).hexdigest() != p.name]
    return wrong, len(blobs)


@every_place
def test_f05_a_truncated_body(served, place):
    """Refused, tried again, and nothing of it is kept."""
    served.release(2)
    with served.proxy.inject(faults.truncate(after=100), path=PLACES[place]):
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
    """Less than the object, or than was announced, is refused; once is no reason to condemn the version."""
    served.release(2)
    rule = served.proxy.inject(LENGTHS[how], path=PLACES[place], times=1)
    served.recovers(2)
    assert rule.hits == 1
    assert served.status.quarantined == {}
    assert half_written(served.cache)[0] == []


@every_place
def test_f07_a_flipped_bit_on_the_way(served, place):
    """Noticed, asked for again, and the version is not condemned for it."""
    served.release(2)
    rule = served.proxy.inject(faults.flip(), path=PLACES[place], times=1)
    served.recovers(2)
    assert rule.hits == 1
    assert served.loaded() == [1, 2]
    assert served.status.quarantined == {}
    assert half_written(served.cache)[0] == []


@pytest.mark.parametrize("place", ["manifest", "blob"])
def test_f07_a_flipped_bit_in_the_store(served, place):
    """Refused for good; the next release is taken."""
    served.release(2)
    with served.proxy.inject(faults.flip(), path=PLACES[place]):
        served.until(lambda: 2 in served.status.quarantined)
        assert served.status.last_error.startswith("IntegrityError: ")
        before = len(served.proxy.seen("GET", PLACES[place]))
        served.until(lambda: len(served.proxy.seen("GET", r"0000000003\.json")) > 3)
        assert len(served.proxy.seen("GET", PLACES[place])) == before == 2
        served.stays(1)
    served.release(3)
    served.recovers(3)


def test_f07_any_flipped_bit_of_an_entry(shelf, s3_store, s3_wire, counting_proxy, tmp_path):
    """Whichever bit is flipped on the way, nobody takes anything but the entry as it lies in the store.

    Nothing tells a damaged unsigned entry from a whole one, when the damage is in a number or a hash.
    """
    shelf.send_to(s3_store)
    objects = open_objects(s3_wire.url, s3_wire.options)
    store, cache = Store(objects, budget_seconds=60), open_cache(tmp_path / "cache", max_bytes=MIB)
    key = release_key(NAME, "production", 1)
    raw = (shelf.folder / key).read_bytes()

    def reader(number):
        return follow(shelf.store_id, parse_ref(NAME), cache.log(shelf.store_id, NAME, f"log-{number}"))

    bits = range(3, 8 * len(raw), 8 * len(raw) // 60)
    taken = 0
    for bit in bits:
        here = reader(bit)
        with counting_proxy.inject(faults.flip(bit), path=r"/releases/production/", times=1):
            _, error = timed(lambda here=here: here.look(store))
        assert error is None or isinstance(error, IntegrityError), error
        assert here.head is None or here.head.raw == raw
        taken += here.head is not None
        here.look(store)
        assert here.head.raw == raw
    objects.close()


@pytest.mark.parametrize("body", [b"", b"<html>log in</html>"], ids=["empty", "html"])
@every_place
def test_f08_another_body_with_status_200(served, place, body):
    """Refused: no entry, no manifest, no blob."""
    served.release(2)
    rule = served.proxy.inject(faults.instead(body), path=PLACES[place])
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
    served.release(2)
    before = served.proxy.bytes_back
    rule = served.proxy.inject(faults.endless(), path=PLACES[place])
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
    served.release(2)
    rule = served.proxy.inject(faults.splice(other), path=PLACES["manifest"], times=1)
    served.recovers(2)
    assert (rule.hits, served.loaded(), served.status.quarantined) == (1, [1, 2], {})


@pytest.mark.parametrize("place", ["manifest", "blob"])
def test_f10_replaced_in_the_store(served, shelf, place):
    """Another version's bytes in the place of the released one's are refused."""
    manifests = [open_manifest_of(shelf, version) for version in (2, 3)]
    if place == "manifest":
        keys = [version_key(NAME, version) for version in (2, 3)]
    else:
        keys = [
            blob_key(NAME, m.publish_id, next(a.sha256 for a in m.artifacts if a.kind == "plan"))
            for m in manifests
        ]
    put(served.store, keys[0], (shelf.folder / keys[1]).read_bytes())
    served.release(2)
    served.until(lambda: 2 in served.status.quarantined)
    served.stays(1)
    served.release(3)
    served.recovers(3)


def open_manifest_of(shelf, version):
    objects = open_objects(str(shelf.folder))
    return Store(objects).manifest(shelf.store_id, NAME, version).entry


def put(store, key, data):
    """Put an object, whatever lies there."""
    store.server.send("PUT", f"/{store.url.removeprefix('s3://')}/{key}", data)


def delete(store, key):
    store.server.send("DELETE", f"/{store.url.removeprefix('s3://')}/{key}")


# -- f11, f12: what ought to be there is not -----------------------------------------------------------------


@pytest.mark.parametrize("place", ["manifest", "blob"])
def test_f11_a_release_of_what_is_missing(served, place):
    """Told apart from "nothing new", asked for again now and then, and taken up once it is there."""
    held = {}
    keep = lambda kind, data: data if kind != "plan" else held.setdefault(kind, data) and None  # noqa: E731
    options = {"options": served.store.options, "like": 2, "version": 4}
    add_version(served.store.url, **options, **({"blobs": keep} if place == "blob" else {}))
    manifest_key = version_key(NAME, 4)
    path = f"/{served.store.url.removeprefix('s3://')}/{manifest_key}"
    raw = served.store.server.send("GET", path)
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
        put(served.store, blob_key(NAME, publish_id, hashlib.sha256(held["plan"]).hexdigest()), held["plan"])
    served.proxy.heal()
    served.recovers(4)


EVERYTHING = ["emptied", "deleted"]


@pytest.mark.parametrize("how", EVERYTHING)
def test_f12_the_bucket_is_emptied_or_deleted(served, serve, shelf, how):
    """An outage, never "no such model": for who serves, and for who starts from the host's cache."""
    keys = sorted(p.relative_to(shelf.folder).as_posix() for p in shelf.folder.rglob("*") if p.is_file())
    for key in keys:
        delete(served.store, key)
    if how == "deleted":
        served.store.server.send("DELETE", f"/{served.store.bucket}")
    served.until(lambda: served.status.state == "stale")
    served.fails(2)
    later = serve()
    later.fails(2)
    for each in (served, later):
        assert "NotPublished" not in each.status.last_error
        assert ("no such bucket" if how == "deleted" else "the log of ") in each.status.last_error
        assert not any(isinstance(event.error, NotPublished) for event in each.failures())
        each.stays(1)
    if how == "deleted":
        served.store.server.send("PUT", f"/{served.store.bucket}")
    for key in keys:
        put(served.store, key, (shelf.folder / key).read_bytes())
    served.release(2)
    served.recovers(2)
    later.recovers(2)


# -- f24: what belongs elsewhere (of unsigned stores) --------------------------------------------------------


def next_entry(shelf, version=2, **changes):
    """Return the entry that would release a version, changed."""
    objects = open_objects(str(shelf.folder))
    store = Store(objects)
    first = store.release(shelf.store_id, NAME, "production", 1)
    manifest = store.manifest(shelf.store_id, NAME, version)
    prev = Previous(number=1, sha256=first.sha256)
    whole = {
        "number": 2,
        "prev": prev,
        "version": version,
        "manifest_sha256": manifest.sha256,
        "by": "person",
    }
    return first.entry.model_copy(update={**whole, **changes})


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
    put(served.store, release_key(NAME, "production", 2), raw)
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
            put(served.store, f"tumour/{key}", path.read_bytes())
    with pytest.raises(ModelNotReady, match="holds an entry of another place"):
        served.client.model("tumour").predict({})
    served.stays(1)


def test_f24_a_manifest_that_belongs_elsewhere(served, shelf):
    """A release that names another store's manifest, hash and all, is refused."""
    objects = open_objects(str(shelf.folder))
    mine = Store(objects).manifest(shelf.store_id, NAME, 2).entry
    raw = to_bytes(mine.model_copy(update={"store": "f" * 32, "version": 4}))
    assert isinstance(mine, Manifest)
    put(served.store, version_key(NAME, 4), raw)
    entry = next_entry(shelf, version=2)
    named = {"version": 4, "manifest_sha256": hashlib.sha256(raw).hexdigest()}
    put(served.store, release_key(NAME, "production", 2), to_bytes(entry.model_copy(update=named)))
    served.until(lambda: 4 in served.status.quarantined)
    served.stays(1)
    served.release(2)
    served.recovers(2)
