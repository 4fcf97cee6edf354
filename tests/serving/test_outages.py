"""Stores that refuse, hang, come back late; hosts with many processes; what a poll costs. Real processes."""

import collections
import os
import signal
import time

import pytest
from gunicorns import Load, serving, wait_for
from machine import slowness
from shelf import NAME, add_version, disagree

import trainer

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.fixture
def settings(s3, tmp_path):
    return {"store": s3.url, "storage_options": s3.app_options, "cache_dir": str(tmp_path / "cache")}


def test_idle_workers_poll_once_an_interval(shelf, s3, settings, tmp_path, capsys):
    """Four idle workers send about one request per interval together, and nothing but GETs of the next entry."""
    poll_seconds, polls = 2.0, 6
    with serving(
        tmp_path / "log", options=s3.app_options, poll_seconds=poll_seconds, **without(settings)
    ) as web:
        with Load(web.port, shelf.rows) as load:
            load.warm_up(4)
        first = len(s3.proxy.seen())
        wait_for(lambda: len(s3.proxy.seen()) > first)
        began, start_at = time.monotonic(), len(s3.proxy.seen())
        wait_for(lambda: len(s3.proxy.seen()) >= start_at + polls)
        took = time.monotonic() - began
        requests = s3.proxy.seen()[start_at : start_at + polls]
    kinds = collections.Counter((r.method, r.path.split("?")[0].rpartition("/")[2]) for r in requests)
    with capsys.disabled():
        print(
            f"\n    idle, 4 workers, poll {poll_seconds:g} s: {polls} requests in {took:.1f} s: {dict(kinds)}"
        )
    assert took >= polls * poll_seconds * 0.75
    first_looks = kinds.pop(("GET", "models"), 0) + kinds.pop(("GET", s3.url.split("/")[2]), 0)
    assert first_looks <= 3  # each process lists the log once, in the place of its first poll
    assert set(kinds) == {("GET", "0000000002.json")}


def without(settings):
    return {name: value for name, value in settings.items() if name != "storage_options"}


def test_the_store_stops_under_gunicorn(shelf, s3, settings, tmp_path):
    """Predictions go on, status() says stale with the error; a release after its return is taken up."""
    with (
        serving(
            tmp_path / "log", workers=2, options=s3.app_options, poll_seconds=1.0, **without(settings)
        ) as web,
        Load(web.port, shelf.rows) as load,
    ):
        load.warm_up(2)
        s3.proxy.stop()
        wait_for(lambda: web.get("/status")[1]["state"] == "stale")
        assert "StorageError" in stale(web)["last_error"]
        before = len(load.answers)
        wait_for(lambda: len(load.answers) > before + 100)
        s3.proxy.start()
        trainer.release(NAME, 2, store=s3.url, storage_options=s3.options)
        wait_for(lambda: len(load.workers_at(2)) == 2)
    assert load.failures == []
    assert {answer.status for answer in load.answers} == {200}


def stale(web):
    seen = []
    wait_for(lambda: seen.append(web.get("/status")[1]) or seen[-1]["state"] == "stale")
    return seen[-1]


def test_a_bad_release_under_gunicorn(shelf, local, tmp_path):
    """Golden rows that disagree: no worker swaps, status says why; the next good version is taken."""
    add_version(local.url, like=2, version=4, golden=disagree)
    with (
        serving(
            tmp_path / "log", workers=2, store=local.url, cache_dir=str(tmp_path / "cache"), poll_seconds=0.5
        ) as web,
        Load(web.port, shelf.rows) as load,
    ):
        load.warm_up(2)
        trainer.release(NAME, 4, store=local.url)
        wait_for(lambda: web.get("/status")[1]["quarantined"])
        status = stale(web)
        assert "SelfTestFailed: predict_proba, row 0" in status["quarantined"]["4"]
        assert status["last_error"] == status["quarantined"]["4"]
        trainer.release(NAME, 3, store=local.url)
        wait_for(lambda: len(load.workers_at(3)) == 2)
    assert {answer.body["version"] for answer in load.answers} == {1, 3}
    assert {answer.status for answer in load.answers} == {200}


def test_a_cold_gunicorn_answers_in_time(shelf, s3, settings, tmp_path, capsys):
    """With the store hanging, a cold worker answers 503 well before gunicorn would kill it at 30 s."""
    s3.proxy.hold()
    with serving(tmp_path / "log", workers=1, options=s3.app_options, **without(settings)) as web:
        wait_for(lambda: "Booting worker" in web.log.read_text())
        began = time.monotonic()
        status, body = web.post("/predict", shelf.rows[0])
        took = time.monotonic() - began
    assert (status, body["error"].split(":")[0]) == (503, "ModelNotReady")
    assert took < 15 * slowness()
    assert "WORKER TIMEOUT" not in web.log.read_text()
    with capsys.disabled():
        print(f"\n    cold gunicorn, store hanging: 503 after {took:.1f} s: {body['error'][:150]}")


def test_a_killed_worker_is_replaced(shelf, local, tmp_path):
    """A worker that gunicorn starts anew serves what the others serve, from the host's cache."""
    trainer.release(NAME, 2, store=local.url)
    with (
        serving(
            tmp_path / "log", workers=2, store=local.url, cache_dir=str(tmp_path / "cache"), poll_seconds=1.0
        ) as web,
        Load(web.port, shelf.rows) as load,
    ):
        load.warm_up(2, version=2)
        wait_for(lambda: len(load.workers_at(2)) == 2)
        doomed = min(load.workers_at(2))
        os.kill(doomed, signal.SIGTERM)
        wait_for(lambda: len(load.workers_at(2) - {doomed}) == 2)
        assert load.workers_at(1) == set()
