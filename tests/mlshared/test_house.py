"""What a process keeps for one model, and for how long."""

import pytest
from process import Process

from mlshared import _house


@pytest.fixture
def here(shelf, tmp_path):
    here = Process(shelf.copy_to(tmp_path / "models"), tmp_path / "cache")
    here.tick()
    return here


def test_what_was_replaced_is_let_go(here, monkeypatch):
    """After a while, on the refresh thread, by the tick."""
    here.refresher._house.swapped(here.model.loaded, None)
    (kept,) = here.refresher._house._replaced._old
    here.tick()
    assert here.refresher._house._replaced._old == [kept]
    monkeypatch.setattr(here.refresher._house._replaced, "_clock", lambda: kept.until)
    here.tick()
    assert here.refresher._house._replaced._old == []


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
