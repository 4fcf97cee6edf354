"""What deaths in the middle of a load weigh, and whose they are."""

import os
import signal
import subprocess

import pytest
from process import said, script

from mlshared._cache import open_cache
from mlshared._crashes import CONDEMNED, REMEMBER_SECONDS, SETTLE_SECONDS, Crashes, Mark, here, weigh
from mlshared._folder import Folder
from mlshared._process import death_signal, lives, started

MARK = Mark(pid=7, started="100", boot="b" * 32, namespace="4026531836", memory_kills=3)
KEY = "a" * 64


@pytest.mark.parametrize(
    ("now", "died_by", "weight"),
    [
        (MARK, None, 1),
        (MARK, signal.SIGSEGV, 2),
        (MARK, signal.SIGBUS, 2),
        (MARK, signal.SIGILL, 2),
        (MARK, signal.SIGFPE, 2),
        (MARK, signal.SIGABRT, 2),
        (MARK, signal.SIGKILL, 0),
        (MARK, signal.SIGTERM, 0),
        (MARK, 0, 0),
        (MARK._replace(memory_kills=4), None, 0),
        (MARK._replace(memory_kills=4), signal.SIGSEGV, 2),
        (MARK._replace(boot="c" * 32), None, 0),
        (MARK._replace(boot="c" * 32), signal.SIGSEGV, 0),
    ],
)
def test_weigh(now, died_by, weight):
    """Crashes weigh most, unknown deaths less; being killed, a reboot and a lack of memory weigh nothing."""
    assert weigh(MARK, now, died_by) == weight


def test_a_mark_is_known_by_its_name():
    """What a name says is read back; no two names are alike; other files are none."""
    assert Mark.read(MARK.name()) == MARK
    assert MARK.name() != MARK.name()
    assert Mark.read("lock") is None
    assert Mark.read(here().name()) == here()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def crashes(folder):
    return Crashes(Folder(folder), "here")


def leave(folder, mark, *, age=SETTLE_SECONDS + 1):
    """Leave a mark as a process that died would."""
    path = folder / "here" / "loading" / KEY / mark.name()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    when = path.stat().st_mtime - age
    os.utime(path, (when, when))
    return path


def dead():
    """Return the mark of a process that is no more."""
    process = subprocess.Popen(["true"])
    process.wait()
    return here()._replace(pid=process.pid)


def test_a_load_that_ends_leaves_nothing(crashes, folder):
    """Whether it succeeds or raises; while it lasts, it weighs nothing."""
    with crashes.loading(KEY):
        assert crashes.weight(KEY) == 0
        assert len(list((folder / "here" / "loading" / KEY).iterdir())) == 1
    with pytest.raises(MemoryError), crashes.loading(KEY):
        raise MemoryError
    assert list((folder / "here" / "loading").iterdir()) == []
    assert crashes.weight(KEY) == 0


def test_each_death_counts_once_and_expires(crashes, folder):
    """However often and by whom it is looked at; after an hour it is forgotten."""
    for count in range(1, CONDEMNED + 1):
        leave(folder, dead(), age=0.0)
        for each in (crashes, Crashes(Folder(folder), "here")):
            assert each.weight(KEY) == count
    assert crashes.weight("b" * 64) == 0
    for path in (folder / "here" / "deaths" / KEY).iterdir():
        os.utime(path, (1, 1) if REMEMBER_SECONDS < 1e6 else None)
    assert crashes.weight(KEY) == 0
    assert list((folder / "here" / "deaths" / KEY).iterdir()) == []


def test_loads_that_one_kill_ended_weigh_as_one(crashes, folder):
    """All that had begun when the first of them was found; a load that was begun later is another matter."""
    for _ in range(4):
        leave(folder, dead())
    assert crashes.weight(KEY) == 1
    leave(folder, dead())  # of the same kill, found later
    assert crashes.weight(KEY) == 1
    assert list((folder / "here" / "loading").iterdir()) == []
    leave(folder, dead(), age=0.0)
    assert crashes.weight(KEY) == 2


def test_a_process_id_that_was_given_again(crashes, folder):
    """Its new owner has nothing to do with the load: the one that loaded is dead."""
    leave(folder, here()._replace(started="1"))
    assert crashes.weight(KEY) == 1


@pytest.mark.parametrize(("age", "weight"), [(SETTLE_SECONDS + 1, 1), (0.0, 0)])
def test_another_containers_process(crashes, folder, age, weight):
    """It cannot be seen, but its lock can; a mark made just now may not be locked yet."""
    other = here()._replace(namespace="1")
    mark = leave(folder, other, age=age)
    with Folder(folder).lock(f"here/loading/{KEY}/{mark.name}") as held:
        assert held
        os.utime(mark, (mark.stat().st_mtime - age,) * 2)
        assert crashes.weight(KEY) == 0
    assert crashes.weight(KEY) == weight


def test_where_no_disk_keeps_marks(tmp_path):
    """Nothing is known, nothing is held against anybody."""
    in_the_way = tmp_path / "file"
    in_the_way.write_bytes(b"")
    crashes = open_cache(in_the_way, max_bytes=1).log("5" * 32, "flights", "production").crashes
    with crashes.loading(KEY):
        assert crashes.weight(KEY) == 0


def test_the_dead_and_the_unburied():
    """A process that waits to be buried is dead, and the system still knows of what it died."""
    process = subprocess.Popen(["sleep", "60"])
    since = started(process.pid)
    assert lives(process.pid, since)
    assert not lives(process.pid, "1")
    assert death_signal(process.pid, since) is None
    process.send_signal(signal.SIGSEGV)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not lives(process.pid, since)
    assert death_signal(process.pid, since) == signal.SIGSEGV
    process.wait()
    assert not lives(process.pid, since)
    assert death_signal(process.pid, since) is None


ENDS = """
import threading
from mlshared import Client
url, folder = ARGUMENTS
loading = threading.Event()

def derive(row):
    loading.set()
    time.sleep(60)

client = Client(url, cache_dir=folder)
model = client.model("cancer", features=derive)
model.ready(timeout=0)
loading.wait(30)
print(json.dumps(loading.is_set()))
"""


def test_a_process_that_ends_in_the_middle_of_a_load(shelf, tmp_path):
    """It takes its mark with it: a deploy or a command that ends early is no crash."""
    assert said(script(ENDS, shelf.copy_to(tmp_path / "models"), str(tmp_path / "cache"))) == [True]
    assert not list((tmp_path / "cache").rglob("loading/*/*"))
