"""The commands that keep a store in order: gc, doctor."""

from dataclasses import asdict
from typing import Annotated

import typer

from mlshared._ref import parse_ref
from mlshared.errors import ConfigError

from . import _collect, _doctor, _report
from ._commands import FAILED, TRY_AGAIN, JsonOption, NamesArgument, QuietOption, StoreOption, worst
from .config import Config, find_config

_EXITS = {"ok": 0, "warning": 0, "problem": FAILED, "unreachable": TRY_AGAIN}


def gc(
    names: NamesArgument = None,
    *,
    keep: Annotated[
        int, typer.Option("--keep", min=1, help="How many of the newest versions stay.")
    ] = _collect.KEEP_VERSIONS,
    pin: Annotated[
        list[str] | None, typer.Option("--pin", metavar="REF", help="A version to keep: flights@41.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; write nothing.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Delete the artifacts of versions nobody needs: set aside first, deleted a day later."""
    pins = _pins(pin or [], find_config())
    collections = _collect.collect(*(names or []), keep=keep, pins=pins, dry_run=dry_run, store=store)
    if json:
        _report.print_json({"dry_run": dry_run, "models": [asdict(each) for each in collections]})
    for each in collections:
        if each.problem:
            _report.print_problem(each.problem)
        if not (json or quiet):
            _report.print_lines([_line(each, dry_run=dry_run)])
    raise typer.Exit(FAILED if any(each.problem for each in collections) else 0)


def doctor(
    *,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Write nothing: for an app's own credentials.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what is wrong with a store, and what to do about it."""
    findings = _doctor.examine(store=store, read_only=read_only)
    if json:
        _report.print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        shown = [finding for finding in findings if not quiet or _EXITS[finding.kind]]
        _report.print_lines(_finding(finding) for finding in shown)
    raise typer.Exit(worst(_EXITS[finding.kind] for finding in findings))


def _pins(refs: list[str], config: Config) -> dict[str, set[int]]:
    pins = {name: set(model.pins) for name, model in config.models.items()}
    for text in refs:
        ref = parse_ref(text)
        if ref.version is None:
            raise ConfigError(f"--pin {text}: name a version, such as {ref.model}@41")
        pins.setdefault(ref.model, set()).add(ref.version)
    return pins


def _line(done: _collect.Collected, *, dry_run: bool) -> str:
    counts = [
        (f"{len(done.kept)} kept", True),
        (f"{_listed(done.set_aside)} set aside, to go in a day", done.set_aside),
        (f"{_listed(done.waiting)} waiting for their day to pass", done.waiting),
        (f"{_listed(done.collected)} collected", done.collected),
        (f"{len(done.gone)} without blobs already", done.gone),
        (f"{len(done.abandoned)} abandoned publishes deleted", done.abandoned),
        (f"{done.objects} objects deleted", done.objects),
    ]
    words = ", ".join(text for text, count in counts if count)
    return f"{done.model}: {words}{' (dry run: nothing was done)' if dry_run else ''}"


def _listed(versions: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, versions[:8])) + (
        f" and {len(versions) - 8} more" if len(versions) > 8 else ""
    )
    return f"version{'' if len(versions) == 1 else 's'} {shown}"


def _finding(finding: _doctor.Finding) -> str:
    mend = f"; {finding.mend}" if finding.mend else ""
    return f"{finding.kind:<11}  {finding.about}: {finding.what}{mend}"
