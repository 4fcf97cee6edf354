"""Whether the release in force is older than it promised to become (`fresh_for_seconds`).

A log that somebody holds back looks like one to which nothing is written; a promise of the next entry tells them
apart. Wall clocks decide, so a wrong one can be late or early with the news; it never decides what is served,
unless the settings ask for that.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from mlshared._target import Target


class Freshness:
    """Watches the promise of one ref's release.

    Args:
        refuses: Whether a version that is overdue is not to answer.
        clock: Aware time.
    """

    def __init__(
        self, *, refuses: bool = False, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self.refuses = refuses
        self._clock = clock
        self._told: datetime | None = None

    def is_over(self, targets: tuple[Target, ...]) -> bool:
        """Return whether the promise of the version that ought to be in force has run out."""
        promised = targets[0].fresh_until if targets else None
        return promised is not None and self._clock() > promised

    def falls_due(self, targets: tuple[Target, ...]) -> bool:
        """Return the same, once for each promise."""
        if not self.is_over(targets) or self._told == targets[0].fresh_until:
            return False
        self._told = targets[0].fresh_until
        return True

    def refusal(self, targets: tuple[Target, ...]) -> str | None:
        """Return why nothing may answer, or None."""
        if not self.refuses or not self.is_over(targets):
            return None
        promised = targets[0].fresh_until
        assert promised is not None
        return (
            f"version {targets[0].version} is overdue: a newer release or a renewal was promised by "
            f"{promised.isoformat(timespec='seconds')}, and refuse_overdue is set"
        )
