"""What went wrong with one model, for its status, its errors and the hook; each warning once."""

import re
from typing import Final

from mlshared._version import ModelVersion
from mlshared.events import Hook, RefreshFailed, StoreWarning

_SECONDS: Final = re.compile(
    r"\d+(\.\d+)? s\b"
)  # how long was waited, in a message that is the same otherwise
REMEMBERED: Final = 16
SHOWN: Final = 4


class Notes:
    """Keeps the last failures of one model, and tells the hook.

    Args:
        ref: What was asked for.
        hook: Is given the events.
    """

    def __init__(self, ref: str, hook: Hook) -> None:
        self._ref = ref
        self._hook = hook
        self._tried: list[str] = []
        self._warned: set[str] = set()
        self._same: dict[int | None, tuple[str, int]] = {}

    @property
    def tried(self) -> str:
        """The last failures since a version came into force; "" if there were none."""
        return "; ".join(self._tried[-SHOWN:])

    def failed(self, error: Exception, version: int | None, serving: ModelVersion | None) -> None:
        """Note that a version, or with None the store, could not be used."""
        what = "the store" if version is None else f"version {version}"
        told = f"{what}: {type(error).__name__}: {error}"
        self.waits(told)
        before, times = self._same.get(version, ("", 0))
        same = _SECONDS.sub("", told)
        times = times + 1 if same == before else 0
        self._same[version] = (same, times)
        self._hook(RefreshFailed(self._ref, error, version, serving.version if serving else None, times))

    def answered(self) -> None:
        """Note that the store answered: what it does next is told again."""
        self._same.pop(None, None)

    def waits(self, why: str) -> None:
        """Note what a version that is not in force yet waits for."""
        if why not in self._tried[-1:]:
            self._tried.append(why)
            del self._tried[:-REMEMBERED]

    def warn(self, message: str | None) -> None:
        """Tell the hook, once."""
        if message is not None and message not in self._warned:
            self._warned.add(message)
            self._hook(StoreWarning(self._ref, message))

    def clear(self) -> None:
        """Forget the failures: a version came into force."""
        self._tried.clear()
        self._same.clear()
