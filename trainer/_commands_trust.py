"""The commands about trust: keygen, verify, pull, copy. What they do is elsewhere; they say it."""

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mlshared.errors import ConfigError

from . import _report
from ._commands import FAILED, JsonOption, QuietOption, RefArgument, StoreOption
from ._keygen import keygen as make_keys
from .config import choose_store, find_config

FeaturesOption = Annotated[
    str | None,
    typer.Option("--features", metavar="MODULE:FUNCTION", help="The row function the version expects."),
]
TypesOption = Annotated[
    list[str] | None, typer.Option("--trusted-type", help="A type every app trusts; may be repeated.")
]


def keygen(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Of the private key.")] = Path("trainer.key"),
    *,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a new pair of keys, to sign with and to trust; never overwrites one."""
    pair = make_keys(path)
    if json:
        _report.print_json({"private": str(pair.private), "public": str(pair.public), "keyid": pair.keyid})
    elif not quiet:
        _report.print_lines(
            [
                f"{pair.private}  the private key, for trainers alone: key in trainer.toml",
                f"{pair.public}  the public key, for every app: trusted_keys, or MLSHARED_TRUSTED_KEYS",
            ]
        )


def verify(
    ref: RefArgument,
    *,
    features: FeaturesOption = None,
    trusted_type: TypesOption = None,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check signatures, hashes and types, and self-test in a clean interpreter."""
    from ._verify import verify as run  # noqa: PLC0415 - loads scikit-learn

    found = run(
        ref,
        store=choose_store(store, find_config()),
        features=_function(features),
        trusted_types=tuple(trusted_type or ()),
    )
    if json:
        checks = [{"name": c.name, "passed": c.passed, "message": c.message} for c in found.checks]
        types = {kind: list(names) for kind, names in found.types.items()}
        _report.print_json(
            {"ref": found.ref, "trust": found.trust, "passed": found.passed, "checks": checks, "types": types}
        )
    else:
        if not quiet:
            _report.print_lines([f"{found.ref}  {found.trust}"])
        _report.print_lines(
            [
                f"  {'passed' if check.passed else 'FAILED'}  {check.name}: {check.message}"
                for check in found.checks
                if not (check.passed and quiet)
            ]
        )
        if not quiet:
            _report.print_lines(
                [f"  {kind} holds  {', '.join(names)}" for kind, names in found.types.items() if names]
            )
    if not found.passed:
        raise typer.Exit(FAILED)


def pull(
    ref: RefArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    *,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write one version into a folder that is itself a store, for tests and images."""
    from ._carry import pull as run  # noqa: PLC0415 - loads scikit-learn

    pulled = run(ref, folder, store=choose_store(store, find_config()))
    if json:
        _report.print_json({"folder": str(pulled.folder), "ref": pulled.ref, "version": pulled.version})
    elif not quiet:
        _report.print_lines(
            [f"{pulled.folder} is a store that answers to {pulled.ref} (version {pulled.version})"]
        )


def copy(
    ref: RefArgument,
    *,
    to: Annotated[str, typer.Option("--to", help="URL or folder of the other store.")],
    key: Annotated[str | None, typer.Option("--key", help="The other environment's private key.")] = None,
    release: Annotated[
        str | None, typer.Option("--release", help="Put it in force there, under this alias.")
    ] = None,
    features: FeaturesOption = None,
    trusted_type: TypesOption = None,
    unsigned_source: Annotated[
        bool, typer.Option("--unsigned-source", help="Sign it although nobody signed it before.")
    ] = False,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Publish one version into another store, signed with that environment's key."""
    from ._carry import copy as run  # noqa: PLC0415 - loads scikit-learn

    made = run(
        ref,
        to,
        store=choose_store(store, find_config()),
        key=key,
        release=release,
        features=_function(features),
        trusted_types=tuple(trusted_type or ()),
        unsigned_source=unsigned_source,
    )
    if json:
        _report.print_json(
            {"ref": made.ref, "version": made.version, "released": made.released, "reason": made.reason}
        )
    elif not quiet:
        state = "in force" if made.released else f"published, not released: {made.reason}"
        _report.print_lines([f"{ref} is {made.ref} in {to}, {state}"])


def _function(target: str | None) -> Any:
    if target is None:
        return None
    module, _, name = target.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"--features {target[:120]!r} cannot be imported: {error}") from error
    return found
