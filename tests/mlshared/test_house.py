"""What a process keeps for one model, and for how long."""

import gc
import weakref

import pytest
from process import Process

from mlshared import _house


@pytest.fixture
def here(shelf, tmp_path):
    here = Process(shelf.copy_to(tmp_path / "models"), tmp_path / "cache")
    here.tick()
    return here


def test_an_old_version_is_dropped_after_a_while(here, monkeypatch):
    """For a minute it is kept, so that who still asks it does not free it; then the refresh thread drops it."""
    first = weakref.ref(here.model.loaded)
    now = [_house.time.monotonic()]
    monkeypatch.setattr(_house.time, "monotonic", lambda: now[0])
    here.refresher._house.retire(here.model.loaded)
    here.model.swap(None)
    gc.collect()
    here.refresher._house.tidy(None)
    assert first() is not None
    now[0] += _house.KEEP_OLD_SECONDS + 1
    here.refresher._house.tidy(None)
    gc.collect()
    assert first() is None


def test_blobs_in_use_are_touched_now_and_again(here, tmp_path, monkeypatch):
    """A version that is in force for long keeps its blobs from being evicted by others."""
    marks = sorted((tmp_path / "cache" / "used").iterdir())
    assert len(marks) == len(here.model.loaded.manifest.artifacts) + 1
    for mark in marks:
        mark.unlink()
    here.refresher._house.tidy(here.model.loaded)
    assert not any(mark.exists() for mark in marks)
    now = _house.time.monotonic() + _house.TOUCH_SECONDS + 1
    monkeypatch.setattr(_house.time, "monotonic", lambda: now)
    here.refresher._house.tidy(here.model.loaded)
    assert all(mark.exists() for mark in marks)
