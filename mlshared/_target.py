"""What a ref stands for: `Target`, a version named by its manifest's bytes, and who finds out, a `Follower`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mlshared.manifest import Trusted
from mlshared.store import Store


@dataclass(frozen=True, slots=True)
class Target:
    """A version to serve, named by its manifest's bytes.

    Attributes:
        version: Its number, a label.
        manifest_sha256: Of its manifest.
        released_at: When the entry that names it was written; None where no release does.
        cached_only: Whether it may be served only if this host has it already.
        trust: What is known of who signed the entry that names it: ``signed``, ``unsigned`` or ``unverified``.
        fresh_until: When the entry that names it promised a newer one by; None if it did not.
    """

    version: int
    manifest_sha256: str
    released_at: datetime | None = None
    cached_only: bool = False
    trust: Trusted = "unsigned"
    fresh_until: datetime | None = None


class Follower(Protocol):
    """Knows which versions a ref stands for."""

    warning: str | None
    problem: Exception | None

    def rescan(self) -> None:
        """Take over what other processes of this host have accepted; no request."""

    def look(self, store: Store) -> None:
        """Ask the store what is new: one request where there is nothing new."""

    def remember(self) -> None:
        """Tell the other processes of this host what was accepted."""

    @property
    def targets(self) -> tuple[Target, ...]:
        """The versions this ref stands for, best first: the version in force, then its fallbacks."""
        ...
