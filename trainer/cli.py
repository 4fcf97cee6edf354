"""The `trainer` command: retrain, look, release, roll back.

    trainer init | retrain [NAME...] | list | show REF | versions NAME | history NAME | release NAME VERSION
            | rollback NAME | hold NAME | keygen | verify REF | pull REF DIR | copy REF --to STORE

Each command takes ``--store`` (else ``MLSHARED_STORE``, else trainer.toml), ``--json`` and ``--quiet``.
Exit codes: 0 released, nothing to do, or on hold; 1 failed; 2 usage; 3 published but not released; 75
store unreachable, outcome unknown, or another retrain of that model under way. Commands say what to do and
print it; what is done is elsewhere.
"""

import traceback
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mlshared._ref import parse_ref
from mlshared.errors import AccessDenied, ConfigError, MlsharedError, NotPublished, StorageError
from mlshared.manifest import Manifest, Release

from . import _history, _look, _release, _report, _trust_commands
from ._lease import Busy, LeaseLost
from ._outcome import Outcome
from ._scaffold import write_scaffold
from .config import Config, choose_store, find_config
from .recipe import Recipe

FAILED: Final = 1
USAGE: Final = 2
NOT_RELEASED: Final = 3
TRY_AGAIN: Final = 75
_WORST_FIRST: Final = (FAILED, TRY_AGAIN, NOT_RELEASED, 0)

app = typer.Typer(
    help="Train, judge and publish scikit-learn models; look at them, release them, roll them back.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

StoreOption = Annotated[
    str | None, typer.Option("--store", help="URL or folder; else MLSHARED_STORE, else trainer.toml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="Print only what went wrong.")]
AliasOption = Annotated[str, typer.Option("--alias", help="The alias.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it stays in the history.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The model.")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; default: the process's.

    Returns:
        The exit code.
    """
    try:
        app(args=None if arguments is None else list(arguments), prog_name="trainer")
    except MlsharedError as error:
        _report.print_problem(str(error))
        return exit_code(error)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    return 0


def exit_code(result: Outcome | MlsharedError) -> int:
    """Return the exit code of an outcome, or of what kept it from coming about."""
    if isinstance(result, Outcome):
        return 0 if result.released or result.on_hold else NOT_RELEASED
    if isinstance(result, ConfigError | NotPublished):
        return USAGE
    if isinstance(result, _release.ReleaseRefused):
        return NOT_RELEASED
    if isinstance(result, Busy | LeaseLost):
        return TRY_AGAIN
    if isinstance(result, StorageError) and not isinstance(result, AccessDenied):
        return TRY_AGAIN
    return FAILED


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of several models: the worst of 1 > 75 > 3 > 0."""
    return min(codes, key=_WORST_FIRST.index, default=0)


@app.command(epilog="Example: trainer init flights")
def init(name: Annotated[str, typer.Argument(metavar="NAME", help="The first model.")] = "example") -> None:
    """Write a trainer.toml and a recipe that runs as it is."""
    files = write_scaffold(name, Path.cwd())
    _report.print_lines([*(f"wrote {file.name}" for file in files), f"next: trainer retrain {name}"])


@app.command(epilog="Example: trainer retrain flights --store s3://acme/models")
def retrain(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Default: all models.")] = None,
    *,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show where a recipe's function raised.")
    ] = False,
) -> None:
    """Train, judge and publish; release if every check passes."""
    config = find_config()
    chosen = _chosen(names, config)
    url = choose_store(store, config)
    recipes = [config.recipe(name) for name in chosen]
    outcomes: list[Outcome] = []
    failures: list[dict[str, Any]] = []
    for recipe in recipes:
        try:
            outcomes.append(_retrain_one(recipe, url, quiet=quiet))
        except ConfigError:
            raise
        except MlsharedError as error:
            failures.append({"name": recipe.name, "error": str(error), "exit_code": exit_code(error)})
            if show_traceback:
                traceback.print_exception(error)
            _report.print_problem(str(error))
    _show_outcomes(outcomes, failures, json=json, quiet=quiet)
    raise typer.Exit(worst([*map(exit_code, outcomes), *(f["exit_code"] for f in failures)]))


@app.command("list", epilog="Example: trainer list --store ./models")
def list_models(*, store: StoreOption = None, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the models of the store, and what is in force."""
    with _open(store) as opened:
        lines = _look.models(opened)
    if json:
        _report.print_json({"models": [_model_json(line) for line in lines]})
    elif not quiet:
        rows = [row for line in lines for row in _model_rows(line)]
        _report.print_table(("model", "newest", "alias", "in force", "since", ""), rows)


@app.command(epilog="Example: trainer show flights@42")
def show(
    ref: Annotated[str, typer.Argument(metavar="REF", help="flights, flights@42, flights@staging, ...")],
    *,
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show what a version takes, answers and scored, and the steps of its plan."""
    parsed = parse_ref(ref)
    with _open(store) as opened:
        manifest = _look.find(opened, parsed)
        steps = [] if json or quiet else _look.plan_lines(opened, manifest)
    if json:
        _report.print_json(manifest.model_dump(mode="json"))
    elif not quiet:
        _report.print_lines([*_manifest_lines(manifest), *steps])


@app.command(epilog="Example: trainer versions flights")
def versions(
    name: NameArgument, *, store: StoreOption = None, json: JsonOption = False, quiet: QuietOption = False
) -> None:
    """List a model's versions with their scores, newest last."""
    url = choose_store(store, find_config())
    manifests = _history.versions(name, store=url)
    if json:
        _report.print_json({"versions": [manifest.model_dump(mode="json") for manifest in manifests]})
    elif not quiet:
        rows = [(m.version, _when(m), m.training.rows, _scores(m)) for m in manifests]
        _report.print_table(("version", "published", "rows", "scores"), rows)


@app.command(epilog="Example: trainer history flights --alias staging")
def history(
    name: NameArgument,
    *,
    alias: AliasOption = "production",
    store: StoreOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List what was in force when, by whom and why, newest last."""
    url = choose_store(store, find_config())
    entries = _history.history(name, alias=alias, store=url)
    if json:
        _report.print_json({"history": [entry.model_dump(mode="json") for entry in entries]})
    elif not quiet:
        rows = [(e.number, e.version, e.kind, _when(e), e.by, _hold(e), e.reason) for e in entries]
        _report.print_table(("entry", "version", "kind", "at", "by", "", "reason"), rows)


@app.command(epilog="Example: trainer release flights 42 --reason 'looked at by hand'")
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
        name,
        version,
        store=choose_store(store, find_config()),
        alias=alias,
        reason=reason,
        hold=hold,
        breaking=breaking,
    )
    _show_entry(entry, json=json, quiet=quiet)


@app.command(epilog="Example: trainer rollback flights --reason 'wrong on Mondays'")
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
    entry = _release.rollback(
        name,
        to=to,
        hold=not no_hold,
        store=choose_store(store, find_config()),
        alias=alias,
        reason=reason,
    )
    _show_entry(entry, json=json, quiet=quiet)


@app.command(epilog="Example: trainer hold flights --reason 'audit this week'")
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
    entry = _release.hold(
        name,
        store=choose_store(store, find_config()),
        alias=alias,
        reason=reason,
    )
    _show_entry(entry, json=json, quiet=quiet)


_trust_commands.add_to(app)


def _chosen(names: list[str] | None, config: Config) -> list[str]:
    if config.path is None:
        raise ConfigError("no trainer.toml here or above, and no [tool.trainer]; `trainer init` writes one")
    if not config.models:
        raise ConfigError(f'{config.path} names no model; add [models.NAME] with recipe = "module:recipe"')
    return list(dict.fromkeys(names)) if names else list(config.models)


def _retrain_one(recipe: Recipe, url: str, *, quiet: bool) -> Outcome:
    from ._retrain import retrain as run  # noqa: PLC0415 - loads scikit-learn

    with _report.Progress(recipe.name, quiet=quiet) as progress:
        return run(recipe, store=url, on_step=progress.step)


def _show_outcomes(
    outcomes: list[Outcome], failures: list[dict[str, Any]], *, json: bool, quiet: bool
) -> None:
    if json:
        shown = [_report.outcome_json(outcome) for outcome in outcomes]
        _report.print_json({"outcomes": shown, "failures": failures})
    for outcome in outcomes:
        if not json and not quiet:
            _report.print_outcome(outcome)
        elif exit_code(outcome):
            _report.print_problem(f"{outcome.ref} is published, not released: {outcome.reason}")


def _show_entry(entry: Release, *, json: bool, quiet: bool) -> None:
    if json:
        _report.print_json(entry.model_dump(mode="json"))
    elif not quiet:
        held = "; on hold: retrains publish, and release nothing" if entry.hold else ""
        number = f"entry {entry.number}, {entry.kind}"
        _report.print_lines([f"{entry.model}@{entry.alias} is version {entry.version} ({number}){held}"])


def _open(store: str | None) -> AbstractContextManager[_look.OpenStore]:
    return _look.open_store(choose_store(store, find_config()))


def _model_json(line: _look.ModelLine) -> dict[str, Any]:
    aliases = {alias: entry.model_dump(mode="json") for alias, entry in line.in_force.items()}
    return {"name": line.name, "newest": line.newest, "aliases": aliases}


def _model_rows(line: _look.ModelLine) -> list[tuple[Any, ...]]:
    if not line.in_force:
        return [(line.name, line.newest, "-", "-", "", "")]
    return [
        (line.name, line.newest, alias, entry.version, _when(entry), _hold(entry))
        for alias, entry in line.in_force.items()
    ]


def _manifest_lines(manifest: Manifest) -> list[str]:
    training = manifest.training
    lines = [
        f"{manifest.model}@{manifest.version}  {manifest.task}, published {_when(manifest)}",
        f"answers  {', '.join(manifest.methods)}",
        f"takes    {manifest.input}: {len(manifest.fields)} fields",
    ]
    lines += [f"  {f.name}  {f.kind}{', may be missing' if f.nullable else ''}" for f in manifest.fields]
    if manifest.features is not None:
        lines.append(f"features {manifest.features.name}")
    if training.rows is not None:
        lines.append(
            f"trained  on {training.rows:,} rows, scored on {training.test_rows or 0:,}: {_scores(manifest)}"
        )
    lines += [
        f"  {'passed' if check.get('passed') else 'FAILED'}  {check.get('name')}: {check.get('message')}"
        for check in training.checks
    ]
    lines += [f"holds    {a.kind}  {a.size:,} bytes" for a in manifest.artifacts]
    return lines


def _scores(manifest: Manifest) -> str:
    return "  ".join(f"{name} {value:.6g}" for name, value in manifest.training.metrics.items())


def _when(entry: Manifest | Release) -> str:
    return f"{entry.created_at:%Y-%m-%d %H:%M} UTC"


def _hold(entry: Release) -> str:
    return "on hold" if entry.hold else ""
