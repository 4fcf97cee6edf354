"""Background work rests between its pieces, and only there; while it rests, others run."""

import sys
import threading
from pathlib import Path

import pytest
from shelf import NAME

import trainer
from mlshared import Client
from mlshared._breath import BREATH_SECONDS, _here, breathe, giving_way
from mlshared._selftest import read_golden, self_test
from mlshared.plan import load_plan


def gives_way():
    return _here.work is not None


def test_a_breath_is_nothing_where_nobody_gives_way():
    """Requests, trainers and first loads run through the same code, and wait for nothing."""
    rests = []
    with giving_way(piece_seconds=0, rest=rests.append):
        pass
    breathe()
    assert (rests, gives_way()) == ([], False)


def test_work_rests_once_a_piece_is_done():
    """Not before: a rest costs more than what one step takes."""
    rests = []
    with giving_way(piece_seconds=1e9, rest=rests.append):
        breathe()
        assert rests == []
        with giving_way(piece_seconds=0, rest=rests.append):
            breathe()
            assert rests == [BREATH_SECONDS]
        breathe()
    assert rests == [BREATH_SECONDS]


def test_other_threads_do_not_rest():
    """What gives way is a thread's work."""
    seen = []
    with giving_way(piece_seconds=0, rest=seen.append):
        other = threading.Thread(target=lambda: (breathe(), seen.append(gives_way())))
        other.start()
        other.join()
    assert seen == [False]


def test_while_it_rests_others_run(monkeypatch):
    """Also where the interpreter would not take turns by itself."""
    ran = []
    lock = threading.Lock()
    lock.acquire()
    other = threading.Thread(target=lambda: lock.acquire() and ran.append(True))
    other.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        with giving_way(piece_seconds=0):
            lock.release()
            turns = next(turn for turn in range(1_000_000) if ran or breathe())
    finally:
        sys.setswitchinterval(interval)
    other.join()
    assert ran == [True]
    assert turns < 1000


@pytest.fixture
def blobs(shelf):
    """The blobs of version 1 that a client reads."""
    manifest = trainer.versions(NAME, store=str(shelf.folder))[0]
    folder = Path(shelf.folder) / NAME / "blobs" / manifest.publish_id
    return {kind: (folder / manifest.artifact(kind).sha256).read_bytes() for kind in ("plan", "golden")}


def test_loading_and_testing_a_plan_rest_in_between(blobs):
    """At each of its steps and methods, and at each golden row."""
    rests = []
    with giving_way(piece_seconds=0, rest=rests.append):
        plan = load_plan(blobs["plan"])
        loaded = len(rests)
        self_test(plan.rows, blobs["golden"])
    rows, answers, _ = read_golden(blobs["golden"])
    assert loaded >= len(plan.program.steps) + len(plan.methods)
    assert len(rests) - loaded >= len(rows) * len(answers)


def test_a_swap_gives_way_and_a_first_load_does_not(shelf, tmp_path):
    """Requests wait for a first version; those that have one are not held up by the next."""
    url, seen = shelf.copy_to(tmp_path / "models"), []
    hook = lambda event: seen.append(gives_way())  # noqa: E731
    with Client(url, cache_dir=tmp_path / "cache", poll_seconds=0, hook=hook, allow_unsigned=True) as client:
        model = client.model(NAME)
        model.refresh()
        trainer.release(NAME, 2, store=url)
        model.refresh()
    assert seen == [False, True]
