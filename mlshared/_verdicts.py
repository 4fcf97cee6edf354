"""Which versions not to try now: set aside for a while, or quarantined in this environment.

Only a verdict that would come out the same again is kept on disk:

    a self-test that disagrees, whole bytes that make no sense      at once
    other bytes than were named, as they came from the store        at the third look, a poll apart each

Nobody knows of what a process died while it loaded one. So a version is suspected only for as long as the deaths
weigh enough (`_crashes`): for an hour, over restarts, too.

Everything else (the store, the disk, memory, time, trust, libraries) is tried again, later and later, with full
jitter.
"""

import hashlib
import math
import random
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Final

from mlshared._cache import CachedLog
from mlshared._crashes import CONDEMNED
from mlshared._target import Target
from mlshared.errors import IntegrityError, SelfTestFailed

DETERMINISTIC: Final = (IntegrityError, SelfTestFailed)
CONDEMNED_AFTER_LOOKS: Final = 3
FIRST_BACKOFF_SECONDS: Final = 2.0
LONGEST_BACKOFF_SECONDS: Final = 300.0
DEADLY: Final = "processes of this host died while they loaded it; tried again an hour after the last death"


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
        fingerprint: Returns one of everything that decides whether a failure repeats; asked for when first needed.
        apart: Seconds between two looks at the store that count as two.
        tell: Is given version and reason of each version that is quarantined here.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        log: CachedLog,
        fingerprint: Callable[[], str],
        *,
        apart: float,
        tell: Callable[[int, str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.quarantined: dict[int, str] = {}
        self._log = log
        self._fingerprint = cache(fingerprint)
        self._apart = apart
        self._tell = tell
        self._clock = clock
        self._retry_at: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._looks: dict[str, tuple[int, float]] = {}
        self._suspected: set[str] = set()

    def set_aside(self, targets: Iterable[Target]) -> set[str]:
        """Return the manifest hashes among ``targets`` that are not to be tried now."""
        kept = self._log.quarantined()
        aside = set()
        for target in targets:
            if kept and (reason := kept.get(self.key(target))) is not None:
                self.quarantined[target.version] = reason
            elif self._log.crashes.weight(self.key(target)) >= CONDEMNED:
                self._suspect(target)
            elif self._is_due(target):
                continue
            aside.add(target.manifest_sha256)
        return aside

    def failed(self, target: Target, error: Exception, *, while_fetching: bool) -> bool:
        """Note a failure; return whether it is for good.

        Args:
            target: What failed.
            error: How.
            while_fetching: Whether its bytes were still on their way, where anything can happen to them.
        """
        if isinstance(error, DETERMINISTIC) and (not while_fetching or self._is_third_look(target)):
            self._condemn(target, f"{type(error).__name__}: {error}")
            return True
        failures = self._failures.get(target.manifest_sha256, 0) + 1
        self._failures[target.manifest_sha256] = failures
        spoilt = while_fetching and isinstance(error, DETERMINISTIC)
        wait = self._apart if spoilt else backoff(failures)
        self._retry_at[target.manifest_sha256] = self._clock() + wait
        return False

    def forgive(self) -> None:
        """Try everything again that is not quarantined."""
        self._retry_at = {sha: at for sha, at in self._retry_at.items() if at == float("inf")}
        self._failures.clear()

    def key(self, target: Target) -> str:
        """Return the name of a version in this environment; fit for a file's name."""
        return hashlib.sha256(f"{target.manifest_sha256} {self._fingerprint()}".encode()).hexdigest()

    def _suspect(self, target: Target) -> None:
        if target.manifest_sha256 not in self._suspected:
            self._suspected.add(target.manifest_sha256)
            self.quarantined[target.version] = DEADLY
            self._tell(target.version, DEADLY)

    def _is_due(self, target: Target) -> bool:
        """Return whether it may be tried, as nothing on this host speaks against it; not any more, maybe."""
        if target.manifest_sha256 in self._suspected:
            self._suspected.remove(target.manifest_sha256)
            self.quarantined.pop(target.version, None)
        return self._retry_at.get(target.manifest_sha256, 0.0) <= self._clock()

    def _condemn(self, target: Target, reason: str) -> None:
        self.quarantined[target.version] = reason
        self._log.quarantine(self.key(target), reason)
        self._retry_at[target.manifest_sha256] = float("inf")  # where the disk does not keep it
        self._tell(target.version, reason)

    def _is_third_look(self, target: Target) -> bool:
        looks, last = self._looks.get(target.manifest_sha256, (0, -math.inf))
        if self._clock() - last < self._apart:
            return False
        self._looks[target.manifest_sha256] = (looks + 1, self._clock())
        return looks + 1 >= CONDEMNED_AFTER_LOOKS
