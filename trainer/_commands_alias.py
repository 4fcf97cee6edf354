"""The commands that put a version in force: release, rollback, hold, recover. Each prints the entry written."""

from typing import Annotated

import typer

from mlshared.manifest import Release

from . import _recover, _release, _report
from ._commands import AliasOption, JsonOption, NameArgument, QuietOption, ReasonOption, StoreOption


def release(
    name: NameArgument,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1, help="The version to put in force.")],
    *,
    alias: AliasOption = "production",
    reason: ReasonOption = "",
    hold: Annotated[bool, typer.Option("--hold", help="Let no retrain release over it.")] = False,
    breaking: Annotated[bool, typer.Option("--breaking", help="Also if an app's input must change.")] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put a version in force; ends a hold."""
    entry = _release.release(
        name, version, store=store, alias=alias, reason=reason, hold=hold, breaking=breaking
    )
    _show(entry, json=json, quiet=quiet)


def rollback(
    name: NameArgument,
    *,
    to: Annotated[int | None, typer.Option("--to", min=1, help="Default: the version before it.")] = None,
    no_hold: Annotated[bool, typer.Option("--no-hold", help="Let retrains release again.")] = False,
    alias: AliasOption = "production",
    reason: ReasonOption = "",
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Put an earlier version in force, and hold it against retrains."""
    entry = _release.rollback(name, to=to, hold=not no_hold, store=store, alias=alias, reason=reason)
    _show(entry, json=json, quiet=quiet)


def hold(
    name: NameArgument,
    *,
    alias: AliasOption = "production",
    reason: ReasonOption = "",
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Let no retrain release until a person does."""
    _show(_release.hold(name, store=store, alias=alias, reason=reason), json=json, quiet=quiet)


def recover(
    name: NameArgument,
    *,
    past: Annotated[int, typer.Option("--past", min=0, help="The highest entry that anybody may have seen.")],
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="Default: that of the last entry known here.")
    ] = None,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also if nothing tells that so much was lost.")
    ] = False,
    alias: AliasOption = "production",
    reason: ReasonOption = "",
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Begin a release log again that expired or came from a backup; apps follow it."""
    entry = _recover.recover(
        name, past=past, version=version, anyway=anyway, store=store, alias=alias, reason=reason
    )
    _show(entry, json=json, quiet=quiet)


def _show(entry: Release, *, json: bool, quiet: bool) -> None:
    if json:
        _report.print_json(entry.model_dump(mode="json"))
    elif not quiet:
        held = "; on hold: retrains publish, and release nothing" if entry.hold else ""
        number = f"entry {entry.number}, {entry.kind}"
        _report.print_lines([f"{entry.model}@{entry.alias} is version {entry.version} ({number}){held}"])
