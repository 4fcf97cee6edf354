"""When an object that cannot be used counts as void, so that one looks on behind it.

A bad object must not freeze an alias for ever, nor one bad answer of the network skip a good one.
"""

import hashlib
from typing import Final

VOID_AFTER_LOOKS: Final = 3
LOOK_AHEAD: Final = 16


class Looks:
    """Counts how often the same unusable bytes were seen under a number."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[str, int]] = {}

    def is_void(self, number: int, raw: bytes) -> bool:
        """Count a look; return whether these bytes have been there at three looks."""
        sha256 = hashlib.sha256(raw).hexdigest()
        seen, looks = self._seen.get(number, (sha256, 0))
        looks = looks + 1 if seen == sha256 else 1
        self._seen[number] = (sha256, looks)
        return looks >= VOID_AFTER_LOOKS

    def clear(self) -> None:
        """Forget the numbers so far: a later one was usable."""
        self._seen.clear()
