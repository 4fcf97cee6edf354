"""What a person sees: the steps while a retrain works, and what came of it.

Progress goes to stderr, results to stdout. On a terminal Rich colours both and a spinner turns; elsewhere
the same words come as plain lines of any length, so that logs can be searched. Nothing here decides
anything.
"""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from math import isfinite
from types import TracebackType
from typing import Any, Final, Self, TextIO

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from mlshared._printable import printable

from ._outcome import Outcome, Step

_PLAIN_WIDTH: Final = 10_000


def console(stream: TextIO) -> Console:
    """Return a console; one that is no terminal gets neither colours nor wrapped lines."""
    if stream.isatty():
        return Console(file=stream, highlight=False, markup=False)
    return Console(
        file=stream, width=_PLAIN_WIDTH, no_color=True, force_terminal=False, highlight=False, markup=False
    )


class Progress:
    """The steps of one retrain, as they go by; a context manager.

    Args:
        name: The model.
        quiet: Shows nothing.
    """

    def __init__(self, name: str, *, quiet: bool = False) -> None:
        self._name = name
        self._console = None if quiet else console(sys.stderr)
        self._status: Status | None = None
        self._step: tuple[str, float] | None = None

    def __enter__(self) -> Self:
        if self._console is not None and self._console.is_terminal:
            self._status = self._console.status(self._name)
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._finish()
        if self._status is not None:
            self._status.stop()

    def step(self, step: Step, detail: str = "") -> None:
        """Say which step begins."""
        self._finish()
        text = f"{self._name}: {step}" + (f" ({detail})" if detail else "")
        self._step = (text, time.monotonic())
        if self._status is not None:
            self._status.update(Text(text))

    def _finish(self) -> None:
        if self._step is None or self._console is None:
            return
        text, began = self._step
        self._console.print(f"{text}  {time.monotonic() - began:.1f} s", soft_wrap=True)
        self._step = None


def print_outcome(outcome: Outcome) -> None:
    """Print candidate against version in force, every check, and what became of it."""
    out = console(sys.stdout)
    _print(out, _scores(outcome))
    _print(out, _checks(outcome))
    if outcome.plan_report:
        out.print(printable(outcome.plan_report), soft_wrap=True)
    out.print(_verdict(outcome), soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows in aligned columns."""
    table = _table(columns)
    for row in rows:
        table.add_row(*(Text("" if cell is None else printable(str(cell))) for cell in row))
    _print(console(sys.stdout), table)


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout."""
    out = console(sys.stdout)
    for line in lines:
        out.print(printable(line), soft_wrap=True)


def print_json(value: Any) -> None:
    """Print one JSON object on stdout; a number that JSON lacks is null."""
    sys.stdout.write(json.dumps(_jsonable(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def print_problem(message: str) -> None:
    """Print one line on stderr."""
    console(sys.stderr).print(Text(printable(f"trainer: {' '.join(message.split())}")), soft_wrap=True)


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as `print_json` takes it."""
    return asdict(outcome)


def _print(out: Console, table: Table) -> None:
    if out.is_terminal:
        out.print(table)
        return
    with out.capture() as captured:
        out.print(table)
    # Rich fills every cell up to its column's width; in a log that is only noise.
    out.file.writelines(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _scores(outcome: Outcome) -> Table:
    champion = outcome.champion_metrics or {}
    force = "in force" if outcome.champion_version is None else f"{outcome.name}@{outcome.champion_version}"
    table = _table(("metric", outcome.ref, force, "difference"))
    for name, new in outcome.metrics.items():
        old = champion.get(name)
        cells = ["-", "-"] if old is None else [f"{old:.6g}", f"{new - old:+.6g}"]
        table.add_row(Text(printable(name)), f"{new:.6g}", *cells)
    return table


def _checks(outcome: Outcome) -> Table:
    table = _table(("check", "", ""))
    for check in outcome.checks:
        verdict = Text("passed", style="green") if check.passed else Text("FAILED", style="bold red")
        table.add_row(Text(printable(check.name)), verdict, Text(printable(check.message)))
    return table


def _verdict(outcome: Outcome) -> Text:
    reason = f": {outcome.reason}" if outcome.reason else ""
    if outcome.released:
        return Text(f"{outcome.ref} is released{reason}", style="bold green")
    if outcome.on_hold:
        return Text(f"{outcome.ref} is published, and on hold{reason}", style="bold yellow")
    return Text(f"{outcome.ref} is published, not released{reason}", style="bold red")


def _table(columns: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(Text(column), overflow="fold", no_wrap=place == 0)
    return table


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value
