"""What the demo prints: numbered steps, facts below them; on a terminal also how time goes by.

Without a terminal every line is plain and final, so that it can be a log.
"""

import os
import sys
import time
from collections.abc import Callable

_BOLD, _DIM, _PLAIN, _CLEAR_LINE = "\033[1m", "\033[2m", "\033[0m", "\r\033[K"


class Screen:
    """Prints to stdout."""

    def __init__(self) -> None:
        self._steps = 0
        self._live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self._colours = self._live and "NO_COLOR" not in os.environ

    def step(self, title: str) -> None:
        """Begin the next numbered step."""
        self._steps += 1
        line = f"{self._steps}. {title}"
        self._print(f"\n{_BOLD}{line}{_PLAIN}" if self._colours else f"\n{line}")

    def say(self, line: str) -> None:
        """Print a fact below the step."""
        self._print(f"   {line}")

    def command(self, line: str) -> None:
        """Print the command that is being run."""
        self._print(f"   {_DIM}$ {line}{_PLAIN}" if self._colours else f"   $ {line}")

    def last(self, line: str) -> None:
        """Print the line the demo ends with."""
        self._print(f"\n{line}")

    def wait(self, over: Callable[[], bool], so_far: Callable[[], str], *, seconds: float) -> bool:
        """Wait until ``over()``; on a terminal, show ``so_far()`` meanwhile.

        Returns:
            Whether it was over within the time.
        """
        began = time.monotonic()
        while not (done := over()) and time.monotonic() - began < seconds:
            if self._live:
                sys.stdout.write(f"{_CLEAR_LINE}   {time.monotonic() - began:.0f} s  {so_far()}")
                sys.stdout.flush()
            time.sleep(0.2)
        if self._live:
            sys.stdout.write(_CLEAR_LINE)
        return done

    def _print(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
