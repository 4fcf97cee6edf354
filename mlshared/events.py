"""What a client tells the outside: frozen events, given to hooks.

A hook is any callable that takes one event. It runs on the refresh thread, after the fact; what it raises
is logged and goes no further. Without a hook of the user's own, `log_event` writes to ``mlshared``'s logger.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mlshared._printable import printable

logger = logging.getLogger("mlshared")


@dataclass(frozen=True, slots=True)
class VersionLoaded:
    """A version came into force in this process.

    Attributes:
        ref: What was asked for, as typed.
        version: The version now in force.
        previous: The one before, or None.
        seconds: From the decision to load it until it was in force.
    """

    ref: str
    version: int
    previous: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class RefreshFailed:
    """A look at the store, or a load, failed; the version in force stays.

    Attributes:
        ref: What was asked for.
        error: What was raised.
        version: The version that could not be loaded, or None if the store could not be read.
        serving: The version in force, or None.
        repeated: How often the same was told before, since it last went well.
    """

    ref: str
    error: Exception
    version: int | None
    serving: int | None
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class VersionQuarantined:
    """A version failed in a way that trying again cannot mend; it is not tried again in this environment.

    If processes of this host died while they loaded it, it is tried again an hour after the last death.
    """

    ref: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class StoreWarning:
    """Something about the store, the cache or the feature function deserves a look; serving goes on."""

    ref: str
    message: str


@dataclass(frozen=True, slots=True)
class ReleaseOverdue:
    """The release in force promised a newer one, or a renewal, by a moment that has passed; told once.

    Attributes:
        ref: What was asked for.
        version: The version that ought to be in force.
        promised: When a newer entry was due, in UTC.
        serving: Whether its predictions go on.
    """

    ref: str
    version: int
    promised: datetime
    serving: bool


@dataclass(frozen=True, slots=True)
class RefreshStopped:
    """Nothing was refreshed in this process for a while; the versions in force went on answering.

    Attributes:
        reason: Why, and what to do about it, if anything.
        going_on: Whether refreshing goes on from here.
    """

    reason: str
    going_on: bool


Event = VersionLoaded | RefreshFailed | VersionQuarantined | StoreWarning | ReleaseOverdue | RefreshStopped
Hook = Callable[[Any], None]


def guarded(hook: Hook) -> Hook:
    """Return a hook whose errors are logged and go no further."""

    def call(event: Event) -> None:
        try:
            hook(event)
        except Exception:
            logger.exception("a hook failed on %r", event)

    return call


def log_event(event: Event) -> None:
    """Write an event to the ``mlshared`` logger."""
    match event:
        case VersionLoaded():
            logger.info(
                "%s: version %d in force after %.0f ms (before: %s)",
                event.ref,
                event.version,
                event.seconds * 1e3,
                event.previous,
            )
        case RefreshFailed():
            what = "the store" if event.version is None else f"version {event.version}"
            kept = "nothing is" if event.serving is None else f"version {event.serving} stays"
            times = event.repeated + 1
            # Logged once, and again at the tenth time, the hundredth, ...: a store may be down for a night.
            loud = str(times).strip("0") == "1"
            logger.log(
                logging.WARNING if loud else logging.DEBUG,
                "%s: %s could not be used, %s in force: %s: %s%s",
                event.ref,
                what,
                kept,
                type(event.error).__name__,
                printable(str(event.error)),
                f" ({times:,} times so far)" if event.repeated else "",
            )
        case VersionQuarantined():
            logger.error(
                "%s: version %d is set aside in this environment: %s",
                event.ref,
                event.version,
                printable(event.reason),
            )
        case ReleaseOverdue():
            goes_on = "it goes on answering" if event.serving else "nothing is answered until there is one"
            logger.warning(
                "%s: version %d is overdue, a newer release or a renewal was promised by %s; %s",
                event.ref,
                event.version,
                event.promised.isoformat(timespec="seconds"),
                goes_on,
            )
        case StoreWarning():
            logger.warning("%s: %s", event.ref, printable(event.message))
        case RefreshStopped():
            logger.log(logging.WARNING if event.going_on else logging.ERROR, "%s", event.reason)
