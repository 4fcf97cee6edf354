"""What the clients got back, and what it shows: who changed over when, what was wrong, how long it took.

Pure: lists of `Answer` in, facts out.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Answer:
    """One request and what became of it.

    Attributes:
        asked_at: When it was sent, in seconds since the epoch.
        seconds: Until the answer was there.
        row: Which row was asked for.
        worker: The process id of the worker that answered; 0 if none did.
        version: The version it answered with; 0 if none did.
        probability: What it answered.
        failure: What went wrong instead, or None.
    """

    asked_at: float
    seconds: float
    row: int
    worker: int = 0
    version: int = 0
    probability: float = math.nan
    failure: str | None = None

    @property
    def answered_at(self) -> float:
        """When the answer was there, in seconds since the epoch."""
        return self.asked_at + self.seconds


def failures(answers: Iterable[Answer]) -> list[str]:
    """Return what went wrong, one text a failed request."""
    return [answer.failure for answer in answers if answer.failure is not None]


def wrong(answers: Iterable[Answer], offline: Mapping[int, Sequence[float]]) -> list[Answer]:
    """Return the answers that are not what their version predicts offline.

    Args:
        answers: Failed ones are not looked at.
        offline: The probability of each row, by version.
    """
    answered = (answer for answer in answers if answer.failure is None)
    return [a for a in answered if not _equal(a.probability, offline[a.version][a.row])]


def changes(answers: Iterable[Answer], version: int, *, since: float) -> dict[int, float]:
    """Return when each worker first answered with a version, in seconds after ``since``, by process id."""
    found: dict[int, float] = {}
    for answer in answers:
        if answer.version == version and answer.answered_at >= since:
            found[answer.worker] = min(answer.answered_at - since, found.get(answer.worker, math.inf))
    return found


def went_back(answers: Iterable[Answer], older: int, newer: int, *, since: float) -> list[Answer]:
    """Return answers with the older version that a worker began to compute after one with the newer."""
    settled: dict[int, float] = {}
    seen = [answer for answer in answers if answer.asked_at >= since]
    for answer in seen:
        if answer.version == newer:
            settled[answer.worker] = min(answer.answered_at, settled.get(answer.worker, math.inf))
    return [a for a in seen if a.version == older and a.asked_at > settled.get(a.worker, math.inf)]


def workers(answers: Iterable[Answer]) -> list[int]:
    """Return the process ids that answered, ascending."""
    return sorted({answer.worker for answer in answers if answer.failure is None})


def percentile(answers: Iterable[Answer], percent: float) -> float:
    """Return the seconds that so many per cent of the requests took at most (nearest rank); NaN for none."""
    seconds = sorted(answer.seconds for answer in answers)
    if not seconds:
        return math.nan
    return seconds[max(0, math.ceil(percent / 100 * len(seconds)) - 1)]


def _equal(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=0.0, abs_tol=TOLERANCE)
