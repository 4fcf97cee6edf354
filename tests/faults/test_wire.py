"""Faults on the wire: the store does not answer, or says no (f01 .. f04).

Of all tests named after a fault: a client serves version 1 through a proxy, before a real S3 server. Throughout,
version 1 answers every prediction, rightly and at once; `status()` says what is wrong; requests stay few; and once
the fault is over, what was released meanwhile comes into force without anybody's doing.
"""

import itertools
import socket
import time
import urllib.parse

import proxy as faults
import pytest
from served import BACKOFF_SECONDS, LOOK_SECONDS, PLACES, PROMPT_SECONDS
from shelf import NAME

from mlshared import Client, ModelNotReady, _refresh
from mlshared._objects import open_objects
from mlshared.errors import StorageError
from mlshared.events import RefreshFailed
from mlshared.store import Store

pytestmark = pytest.mark.slow
ATTEMPTS = 4  # requests a look may cost: botocore sends twice, aiohttp again on a connection that was kept

every_place = pytest.mark.parametrize("place", PLACES)


@pytest.mark.parametrize("how", ["refused", "reset"])
def test_f01_refused_or_reset(served, how):
    """Looks come half a second apart at the least, each a few requests; stale, with the reason; then all is well."""
    served.proxy.stop() if how == "refused" else served.proxy.inject(faults.reset)
    began, before = time.monotonic(), len(served.proxy.seen())
    served.fails(3)
    assert spaced(served)
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
        if host != "localhost":
            return resolve(host, *arguments, **options)
        if not known:
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    served.client.close()
    port = urllib.parse.urlsplit(s3_wire.options["endpoint_url"]).port
    named = {
        "endpoint_url": f"http://localhost:{port}",
        "config_kwargs": {"s3": {"addressing_style": "path"}},
    }
    later = serve(storage_options={**s3_wire.options, **named})
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
    with served.release_behind(fault, place):
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


def spaced(served):
    """Return whether each look that failed began so long after the one before."""
    looks = [at for at, event in served.events if isinstance(event, RefreshFailed)]
    return all(later - earlier >= BACKOFF_SECONDS for earlier, later in itertools.pairwise(looks))


@pytest.mark.parametrize("code", [503, 429, 500])
def test_f03_errors_for_ever(served, code, monkeypatch):
    """Two requests a look, half a second between looks, and the seconds since the last good look add up."""
    monkeypatch.setattr(_refresh, "LOOK_SECONDS", 10.0)  # time for many attempts, were there so many
    rule = served.proxy.inject(faults.status(code))
    served.fails(1)
    first = served.status.stale_seconds
    served.fails(3)
    assert rule.hits <= 2 * (len(served.failures()) + 1)
    assert spaced(served)
    assert served.status.stale_seconds >= first + 3 * BACKOFF_SECONDS
    assert served.status.last_error.startswith("StorageError: ")
    served.stays(1)
    served.release(2)
    served.proxy.heal()
    served.recovers(2)
    assert served.status.stale_seconds < first + 3 * BACKOFF_SECONDS


def test_f04_forbidden(served):
    """A 403 is an error of its own kind, and no reason to ask more often."""
    rule = served.proxy.inject(faults.status(403))
    served.fails(3)
    assert rule.hits <= 2 * (len(served.failures()) + 1)
    assert spaced(served)
    assert served.status.last_error.startswith("AccessDenied: ")
    served.stays(1)
    served.release(2)
    served.proxy.heal()
    served.recovers(2)


def test_f04_expired_credentials(serve, s3_wire, counting_proxy, monkeypatch):
    """Credentials that expired are looked up again: new ones in the environment are enough."""
    options = {name: value for name, value in s3_wire.options.items() if name not in {"key", "secret"}}
    monkeypatch.setattr(_refresh, "LOOK_SECONDS", 5.0)  # such a look makes two new clients
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
