"""What every command shares: its options, and the number it ends with.

Exit codes: 0 released, nothing to do, or on hold; 1 failed; 2 usage; 3 published but not released; 75 store
unreachable, outcome unknown, or another retrain of that model under way.
"""

from collections.abc import Iterable
from typing import Annotated, Final

import typer

from mlshared.errors import AccessDenied, ConfigError, MlsharedError, NotPublished, StorageError
from mlshared.manifest import Manifest, Release

from ._lease import Busy, LeaseLost
from ._outcome import Outcome
from .errors import LogLost, ReleaseRefused

FAILED: Final = 1
USAGE: Final = 2
NOT_RELEASED: Final = 3
TRY_AGAIN: Final = 75
_WORST_FIRST: Final = (FAILED, USAGE, TRY_AGAIN, NOT_RELEASED, 0)

StoreOption = Annotated[
    str | None, typer.Option("--store", help="URL or folder; else MLSHARED_STORE, else trainer.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print only what went wrong.")]
AliasOption = Annotated[str, typer.Option("--alias", help="The alias.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it stays in the history.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The model.")]
RefArgument = Annotated[str, typer.Argument(metavar="REF", help="flights, flights@42, flights@staging, ...")]
NamesArgument = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", help="The models; default: all of them.")
]


def exit_code(result: Outcome | MlsharedError) -> int:
    """Return the exit code of an outcome, or of what kept it from coming about."""
    if isinstance(result, Outcome):
        return 0 if result.released or result.on_hold else NOT_RELEASED
    if isinstance(result, ConfigError | NotPublished):
        return USAGE
    if isinstance(result, ReleaseRefused):
        return FAILED if isinstance(result, LogLost) else NOT_RELEASED
    if isinstance(result, Busy | LeaseLost):
        return TRY_AGAIN
    if isinstance(result, StorageError) and not isinstance(result, AccessDenied):
        return TRY_AGAIN
    return FAILED


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of several models: the worst of 1 > 2 > 75 > 3 > 0."""
    return min(codes, key=_WORST_FIRST.index, default=0)


def when(entry: Manifest | Release) -> str:
    """Return when something was written, for people."""
    return f"{entry.created_at:%Y-%m-%d %H:%M} UTC"


def on_hold(entry: Release) -> str:
    """Return whether an entry holds its alias, for people."""
    return "on hold" if entry.hold else ""
