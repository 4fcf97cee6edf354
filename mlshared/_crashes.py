"""Loads that ended their process: a version that kills every worker must not be loaded for ever.

    loading(key)   leaves a mark while a version is loaded; a process that dies meanwhile cannot take it away
    weight(key)    what the deaths of the last hour weigh, all processes of the host together

Nobody tells a process how another one died but its parent, and that is the web server. So most deaths are of unknown
cause: three of them within an hour count, one after the other; loads that were under way at the same time may have
ended by one kill, and weigh as one. Two count where the system still knows the signal, and it is one that a crash
sends. A death by another signal, in another run of the machine, or while it killed processes for lack of
memory counts for nothing: a version is not to blame for those.
"""

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from mlshared._folder import Folder
from mlshared._process import boot, death_signal, lives, memory_kills, namespace, started

CONDEMNED: Final = 3
REMEMBER_SECONDS: Final = 3600.0
SETTLE_SECONDS: Final = 5.0
_KNOWN_WEIGHT: Final = 2
_CRASHES: Final = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT})
_MARK: Final = re.compile(r"(\d+)-(\d*)-([0-9a-f]*)-(\d*)-(\d+)-[0-9a-f]+", re.ASCII)
_WEIGHED: Final = re.compile(r".*\.(\d)", re.ASCII)
_open: Final[dict[tuple[int, str], Folder]] = {}  # the marks of loads under way, by process and key


class Mark(NamedTuple):
    """Which process loads, and what the machine was like when it began."""

    pid: int
    started: str
    boot: str
    namespace: str
    memory_kills: int

    @classmethod
    def read(cls, name: str) -> "Mark | None":
        """Return the mark of that name; None if it is none."""
        found = _MARK.fullmatch(name)
        return None if found is None else cls(int(found[1]), found[2], found[3], found[4], int(found[5]))

    def name(self) -> str:
        """Return a name for it that no other mark has."""
        facts = f"{self.pid}-{self.started}-{self.boot}-{self.namespace}-{self.memory_kills}"
        return f"{facts}-{os.urandom(4).hex()}"


def here() -> Mark:
    """Return the mark of this process."""
    pid = os.getpid()
    return Mark(pid, started(pid), boot(), namespace(), memory_kills())


def weigh(mark: Mark, now: Mark, died_by: int | None) -> int:
    """Return what a death weighs.

    Args:
        mark: Left by the process that died.
        now: The mark of the process that found out.
        died_by: The signal, 0 for none; None where nobody knows.
    """
    if mark.boot != now.boot:
        return 0
    if died_by is not None:
        return _KNOWN_WEIGHT if died_by in _CRASHES else 0
    return 0 if now.memory_kills > mark.memory_kills else 1


class Crashes:
    """The loads of one alias that are under way on this host, and those that ended their process.

    Args:
        folder: The host's files.
        place: Where in it.
    """

    def __init__(self, folder: Folder, place: str) -> None:
        self._folder = folder
        self._place = place

    @contextmanager
    def loading(self, key: str) -> Iterator[None]:
        """Leave a mark for as long as something is loaded.

        Args:
            key: Of what is loaded, and the environment; fit for a file's name.
        """
        mark = f"{self._place}/loading/{key}/{here().name()}"
        with self._folder.lock(mark):
            _open[os.getpid(), mark] = self._folder
            try:
                yield
            finally:
                _open.pop((os.getpid(), mark), None)
                self._folder.remove(mark)
                self._folder.tidy(f"{self._place}/loading/{key}")

    def weight(self, key: str) -> int:
        """Return what the deaths of the last hour weigh; from `CONDEMNED` on, it is not to be loaded again."""
        loading, deaths = f"{self._place}/loading/{key}", f"{self._place}/deaths/{key}"
        # Oldest first, so that processes that find the same marks at once blame the same one of them.
        marks = sorted(self._folder.kept(loading).items(), key=lambda each: (-each[1].age, each[0]))
        for name, file in marks:
            mark, now = Mark.read(name), here()
            if mark is not None and self._is_gone(mark, now, f"{loading}/{name}", file.age):
                weight = weigh(mark, now, death_signal(mark.pid, mark.started))
                if weight > 1 or (weight and not self._was_under_way(file.age, deaths)):
                    self._folder.touch(f"{deaths}/{name}.{weight}")
                self._folder.remove(f"{loading}/{name}")
        if marks:
            self._folder.tidy(loading)
        total = 0
        for name, file in self._folder.kept(deaths).items():
            weighed = _WEIGHED.fullmatch(name)
            if weighed is None or abs(file.age) > REMEMBER_SECONDS:
                self._folder.remove(f"{deaths}/{name}")
            else:
                total += int(weighed[1])
        return total

    def _was_under_way(self, age: float, deaths: str) -> bool:
        """Return whether a load of that age had begun when the last death of unknown cause was found."""
        found = self._folder.kept(deaths).items()
        return any(age > death.age for name, death in found if name.endswith(".1"))

    def _is_gone(self, mark: Mark, now: Mark, key: str, age: float) -> bool:
        if mark.boot != now.boot:
            return True
        if mark.namespace == now.namespace:
            return not lives(mark.pid, mark.started)
        # Another container's processes cannot be seen from here, but their locks can.
        return abs(age) > SETTLE_SECONDS and not self._folder.locked(key)


def withdraw() -> None:
    """Take away this process's marks: it ends as it should, in the middle of a load or not."""
    for (pid, key), folder in list(_open.items()):
        if pid == os.getpid():
            folder.remove(key)
