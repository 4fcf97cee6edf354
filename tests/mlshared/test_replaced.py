"""What a swap replaced goes on answering for a minute, and costs this process no memory meanwhile."""

import gc
import sys
import weakref
from pathlib import Path

import pytest
from shelf import NAME

import trainer
from mlshared import Client, _load
from mlshared._disk import map_file, unload, write_file
from mlshared._replaced import KEEP_SECONDS, Replaced

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, to see what a process holds")


def resident(path):
    """Return the bytes of a file's mappings that this process holds, by mapping."""
    found, ours = [], False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, *rest = line.split()
        if not name.endswith(":"):
            ours = line.endswith(str(path))
        elif name == "Rss:" and ours:
            found.append(1024 * int(rest[0]))
    return found


@on_linux
def test_unloaded_pages_are_given_back_and_read_again(tmp_path):
    """The kernel drops them from this process; a reader gets the same bytes."""
    data = bytes(range(256)) * 40_000
    write_file(tmp_path, "blobs/plan", data, exclusive=True)
    mapped, _ = map_file(tmp_path / "blobs" / "plan", limit=len(data))
    view = memoryview(mapped)
    assert bytes(view) == data
    assert resident(tmp_path / "blobs" / "plan")[0] >= len(data)
    unload(view)
    assert resident(tmp_path / "blobs" / "plan") == [0]
    assert bytes(view) == data


def test_bytes_that_are_not_mapped_stay():
    """A plan read into memory is nothing to unload."""
    unload(memoryview(b"plan"))


@on_linux
def test_a_swap_gives_back_the_pages_of_the_old_plan(shelf, tmp_path, monkeypatch):
    """A request that still has the old version is answered by it, as before."""
    monkeypatch.setattr(_load, "MAPPED_FROM_BYTES", 1)
    url, cache = shelf.copy_to(tmp_path / "models"), tmp_path / "cache"
    with Client(url, cache_dir=cache, poll_seconds=0) as client:
        model = client.model(NAME)
        model.refresh()
        old = model.current
        answers = old.predict_proba(shelf.rows).tolist()
        blob = cache / "blobs" / old.manifest.artifact("plan").sha256
        assert resident(blob)[0] > 0
        trainer.release(NAME, 2, store=url)
        model.refresh()
        assert resident(blob) == [0]
        assert old.predict_proba(shelf.rows).tolist() == answers
        assert resident(blob)[0] > 0


class Version:
    """Stands for a version: something that can be seen to be gone."""


def test_what_was_replaced_is_let_go_after_a_minute(tmp_path):
    """Not before, in case a request has it; and the newer one stays."""
    now, seen = [0.0], []
    replaced = Replaced(lambda: now[0])
    for at in (0.0, 10.0):
        now[0] = at
        version = Version()
        replaced.swapped(version, None)
        seen.append(weakref.ref(version))
        del version
    alive = []
    for at in (KEEP_SECONDS - 1, KEEP_SECONDS + 1, KEEP_SECONDS + 11):
        now[0] = at
        replaced.let_go()
        gc.collect()
        alive.append([ref() is not None for ref in seen])
    assert alive == [[True, True], [False, True], [False, False]]
