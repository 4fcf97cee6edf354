"""What a swap replaced: kept for a minute, for requests that still answer from it, without its memory.

A plan's file that is mapped stays mapped until then, and this process gives its pages back at once: a request under
way reads them again from the page cache, and no host holds two copies of a large plan for long.
"""

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from mlshared._breath import giving_way
from mlshared._disk import unload
from mlshared._version import ModelVersion

KEEP_SECONDS: Final = 60.0


class _Old(NamedTuple):
    until: float
    version: ModelVersion
    mapped: memoryview | None


class Replaced:
    """The versions of one model that are no longer in force here. Used by the refresh thread alone.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._mapped: memoryview | None = None
        self._old: list[_Old] = []

    def swapped(self, previous: ModelVersion | None, mapped: memoryview | None) -> None:
        """Take over a version that was just replaced.

        Args:
            previous: It; None if there was none.
            mapped: The file of the plan now in force, where it is mapped.
        """
        if previous is not None:
            self._old.append(_Old(self._clock() + KEEP_SECONDS, previous, self._mapped))
        if self._mapped is not None:
            unload(self._mapped)
        self._mapped = mapped

    def let_go(self) -> None:
        """Free what was replaced over a minute ago: on this thread, so that it never falls into a request."""
        now = self._clock()
        if not self._old or self._old[0].until > now:
            return
        with giving_way():
            for old in self._old:
                if old.until <= now and old.mapped is not None:
                    unload(old.mapped)  # again: what is unmapped with all its pages holds the interpreter
            self._old = [old for old in self._old if old.until > now]
