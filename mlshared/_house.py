"""What a process keeps for one model: the version before for a while, and its blobs on the disk.

Versions are dropped here, on the refresh thread, so that freeing a large one never falls into a request.
"""

import time
from typing import Final

from mlshared._load import Host
from mlshared._version import ModelVersion

KEEP_OLD_SECONDS: Final = 60.0
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
        self._old: list[tuple[float, ModelVersion]] = []
        self._touched = time.monotonic()

    def retire(self, version: ModelVersion) -> None:
        """Keep a version that is no longer in force for those who still ask it."""
        self._old.append((time.monotonic() + KEEP_OLD_SECONDS, version))

    def keep(self, version: ModelVersion) -> None:
        """Mark a version's blobs as in use, and let the cache drop what nobody uses."""
        host, blobs = self._host, _blobs(version)
        host.in_use[self._ref] = blobs
        host.cache.touch(blobs)
        host.cache.evict(set().union(*host.in_use.values()))
        self._touched = time.monotonic()

    def tidy(self, in_force: ModelVersion | None) -> None:
        """Drop what was kept long enough; say now and again that the rest is in use."""
        now = time.monotonic()
        self._old = [(until, version) for until, version in self._old if until > now]
        if now - self._touched > TOUCH_SECONDS and in_force is not None:
            self.keep(in_force)


def _blobs(version: ModelVersion) -> set[str]:
    return {version.manifest_sha256} | {artifact.sha256 for artifact in version.manifest.artifacts}
