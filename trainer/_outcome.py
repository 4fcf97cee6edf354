"""What a retrain came to: `Outcome`, and the steps it goes through on the way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from .checks import Check

Step = Literal["load", "fit", "evaluate", "judge", "publish", "read back", "release"]

# Called with the step that begins, and a few words on it, such as the number of rows.
OnStep = Callable[[Step, str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a retrain published, and whether it was released.

    Attributes:
        name: The model.
        version: The version published.
        ref: ``flights@42``.
        released: Whether it is in force now.
        on_hold: Whether a person's hold kept it back.
        reason: Why it was or was not released, one line.
        checks: Every check's verdict.
        metrics: The candidate's scores on its held-out rows; higher is better.
        champion_metrics: The scores of the version in force on those of them that it was not trained on
            either; None if there was none, or they could not be told.
        champion_version: The version in force it was judged against, or None.
        plan_report: What converting it to a row plan gave, or None.
        seconds: Wall time of all of it.
    """

    name: str
    version: int
    ref: str
    released: bool
    on_hold: bool
    reason: str
    checks: tuple[Check, ...]
    metrics: Mapping[str, float]
    champion_metrics: Mapping[str, float] | None
    champion_version: int | None
    plan_report: str | None
    seconds: float

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that were not passed."""
        return tuple(check for check in self.checks if not check.passed)
