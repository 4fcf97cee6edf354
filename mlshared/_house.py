"""What a process keeps for one model: the version before for a while, and its blobs on the disk.

What was replaced is in `_replaced`; it is dropped on the refresh thread.
"""

import time
from typing import Final

from mlshared._load import Host
from mlshared._replaced import Replaced
from mlshared._version import ModelVersion

TOUCH_SECONDS: Final = 600.0


class House:
    """Keeps old versions, and blobs from being evicted.

    Args:
        host: What all models of the client share.
        ref: Whose blobs.
    """

    def __init__(self, host: Host, ref: str) -> None:
        self._host = host
        self._ref = ref
        self._replaced = Replaced()
        self._touched = time.monotonic()

    def swapped(self, previous: ModelVersion | None, mapped: memoryview | None) -> None:
        """Take over a version that was just replaced, for those who still ask it; see `Replaced.swapped`."""
        self._replaced.swapped(previous, mapped)

    def keep(self, version: ModelVersion) -> None:
        """Mark a version's blobs as in use, and let the cache drop what nobody uses."""
        host, blobs = self._host, _blobs(version)
        host.in_use[self._ref] = blobs
        host.cache.touch(blobs)
        host.cache.evict(set().union(*host.in_use.values()))
        self._touched = time.monotonic()

    def tidy(self, in_force: ModelVersion | None) -> None:
        """Drop what was kept long enough; say now and again that the rest is in use."""
        self._replaced.let_go()
        if time.monotonic() - self._touched > TOUCH_SECONDS and in_force is not None:
            self.keep(in_force)


def _blobs(version: ModelVersion) -> set[str]:
    return {version.manifest_sha256} | {artifact.sha256 for artifact in version.manifest.artifacts}
