"""Under gunicorn and load: releases reach every worker, no request fails, every answer is its version's."""

import collections
import time

import pytest
from gunicorns import Load, serving, wait_for
from machine import slowness

import trainer

POLL_SECONDS = 2.0
WORKERS = 4


def swap(load, act, version, workers=WORKERS):
    """Act; return the seconds until every worker has answered with the version, and the load meanwhile."""
    began, before = time.monotonic(), len(load.answers)
    act()
    done = time.monotonic()
    wait_for(lambda: len(load.workers_at(version, since=done)) == workers)
    return time.monotonic() - done, (len(load.answers) - before) / (time.monotonic() - began)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.parametrize("preload", [False, True], ids=["each", "preload"])
@pytest.mark.parametrize("place", ["local", "s3"], indirect=True)
def test_release_and_rollback_under_load(shelf, place, preload, tmp_path, capsys):
    """Within poll + 2 s each release is everywhere, at over 100 requests a second, none failed, none wrong.

    On a machine that does other things too, both bounds are as many times wider as it is slower.
    """
    to = {"store": place.url, "storage_options": place.options}
    slower = slowness()
    with (
        serving(
            tmp_path / "log",
            workers=WORKERS,
            preload=preload,
            store=place.url,
            options=place.app_options,
            cache_dir=str(tmp_path / "cache"),
            poll_seconds=POLL_SECONDS,
        ) as web,
        Load(web.port, shelf.rows) as load,
    ):
        load.warm_up(WORKERS)
        let_each_connect(tmp_path / "cache")
        up, up_rate = swap(load, lambda: trainer.release("cancer", 2, **to), 2)
        back, back_rate = swap(load, lambda: trainer.rollback("cancer", **to), 1)
    slower = max(slower, slowness())
    log = web.log.read_text()
    figures = f"v2 {up:.2f} s, back {back:.2f} s, {up_rate:.0f} and {back_rate:.0f} requests/s"
    figures += f", {len(load.answers)} answers, machine {slower:.1f} times slower than alone"
    assert load.failures == []
    assert [answer for answer in load.answers if answer.status != 200] == []
    assert wrong_answers(shelf, load.answers) == []
    assert "Traceback" not in log
    assert max(up, back) <= POLL_SECONDS + 2 * slower, figures
    assert min(up_rate, back_rate) * slower >= 100, figures
    if place.proxy is not None:
        downloads = collections.Counter(r.path for r in place.proxy.seen("GET") if "/blobs/" in r.path)
        assert len(downloads) == 4, downloads  # estimator and golden rows of two versions
        assert set(downloads.values()) == {1}, downloads
        figures += f", {len(downloads)} blobs downloaded once each, {len(place.proxy.seen())} requests in all"
    with capsys.disabled():
        print(f"\n    {figures}")


def let_each_connect(cache):
    """Wait for as many polls as there are processes: the first of each makes its S3 client, much work at once."""
    times = set()

    def polled():
        times.update(path.stat().st_mtime_ns for path in cache.rglob("checked"))
        return len(times) > WORKERS + 1

    wait_for(polled)


def wrong_answers(shelf, answers):
    """Return the answers that differ from what their version predicts offline."""
    expected = {
        (version, row): shelf.offline(version, shelf.rows[row], text=True)
        for version in (1, 2)
        for row in {answer.row for answer in answers}
    }
    return [a for a in answers if a.body["proba"] != expected[a.body["version"], a.row]]
