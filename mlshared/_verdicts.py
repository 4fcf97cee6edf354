"""Which versions not to try now: set aside for a while, or quarantined in this environment.

Only a verdict that would come out the same again is kept on disk: wrong bytes fetched twice, a self-test
that disagrees. Everything else (the store, the disk, memory, trust, libraries) is tried again, later and
later, with full jitter.
"""

import hashlib
import random
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final

from mlshared._cache import CachedLog
from mlshared._target import Target
from mlshared.errors import IntegrityError, SelfTestFailed

DETERMINISTIC: Final = (IntegrityError, SelfTestFailed)
FIRST_BACKOFF_SECONDS: Final = 2.0
LONGEST_BACKOFF_SECONDS: Final = 300.0


def backoff(failures: int, longest: float = LONGEST_BACKOFF_SECONDS) -> float:
    """Return seconds to wait after that many failures in a row: full jitter, never under half a second.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    ceiling = min(longest, FIRST_BACKOFF_SECONDS * 2.0 ** min(failures, 30))
    return max(0.5, random.uniform(0, ceiling))  # noqa: S311 - spreads load, guards nothing


class Verdicts:
    """What failed for one model in this process and, for good, in this environment.

    Args:
        log: Where quarantines are kept for the next process.
        fingerprint: Returns one of everything that decides whether a failure repeats. Asked for at the first
            quarantine only: it looks up the installed libraries, which takes as long as a load.
        clock: Monotonic seconds.
    """

    def __init__(
        self, log: CachedLog, fingerprint: Callable[[], str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.quarantined: dict[int, str] = {}
        self._log = log
        self._fingerprint = cache(fingerprint)
        self._clock = clock
        self._retry_at: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    def set_aside(self, targets: Iterable[Target]) -> set[str]:
        """Return the manifest hashes among ``targets`` that are not to be tried now."""
        kept = self._log.quarantined()
        aside = set()
        for target in targets:
            if kept and (reason := kept.get(self._key(target))) is not None:
                self.quarantined[target.version] = reason
                aside.add(target.manifest_sha256)
            elif self._retry_at.get(target.manifest_sha256, 0.0) > self._clock():
                aside.add(target.manifest_sha256)
        return aside

    def failed(self, target: Target, error: Exception) -> bool:
        """Note a failure; return whether it is for good."""
        if isinstance(error, DETERMINISTIC):
            reason = f"{type(error).__name__}: {error}"
            self.quarantined[target.version] = reason
            self._log.quarantine(self._key(target), reason)
            self._retry_at[target.manifest_sha256] = float("inf")  # where the disk does not keep it
            return True
        failures = self._failures.get(target.manifest_sha256, 0) + 1
        self._failures[target.manifest_sha256] = failures
        self._retry_at[target.manifest_sha256] = self._clock() + backoff(failures)
        return False

    def forgive(self) -> None:
        """Try everything again that is not quarantined."""
        self._retry_at = {sha: at for sha, at in self._retry_at.items() if at == float("inf")}
        self._failures.clear()

    def _key(self, target: Target) -> str:
        return hashlib.sha256(f"{target.manifest_sha256} {self._fingerprint()}".encode()).hexdigest()
