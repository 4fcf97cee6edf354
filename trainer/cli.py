"""The `trainer` command: its table of commands, and the two that make models: init, retrain.

    trainer init | retrain [NAME...] | list | show REF | diff REF REF | schema REF | versions NAME | history NAME
            | release NAME VERSION | rollback NAME | hold NAME | recover NAME --past N | gc [NAME...] | doctor | keygen
            | verify REF | pull REF DIR | copy REF --to STORE

Each command takes ``--store`` (else ``MLSHARED_STORE``, else trainer.toml), ``--json`` and ``--quiet``. Commands say
what to do and print it; what is done is elsewhere.
"""

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from mlshared.errors import ConfigError, MlsharedError

from . import _report
from ._commands import JsonOption, NamesArgument, QuietOption, StoreOption, exit_code, worst
from ._commands_alias import hold, recover, release, rollback
from ._commands_look import diff, history, list_models, schema, show, versions
from ._commands_store import doctor, gc
from ._commands_trust import copy, keygen, pull, verify
from ._outcome import Outcome
from ._scaffold import write_scaffold
from .config import Config, choose_store, find_config
from .recipe import Recipe

INTERRUPTED: Final = 130
_UsageError: Any = typer.BadParameter.__base__  # click's, or that of the click inside typer
EPILOG: Final = """
Exit codes: 0 released, nothing to do, or on hold; 1 failed; 2 wrong use; 3 published, not released; 75 try again:
the store does not answer, or another retrain of that model is under way.

trainer.toml, here or above: store = "s3://acme/models", and for each model [models.flights] with
recipe = "module:recipe"; `trainer init flights` writes one. --store and MLSHARED_STORE win over it.
"""

app = typer.Typer(
    help="Train, judge and publish scikit-learn models; look at them, release them, roll them back.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Without the program's name; default: the process's.

    Returns:
        The exit code.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = typer.main.get_command(app).main(given, prog_name="trainer", standalone_mode=False)
    except MlsharedError as error:
        _report.print_problem(str(error))
        return _failed(given, str(error), exit_code(error))
    except _UsageError as error:
        error.show()
        return _failed(given, error.format_message(), error.exit_code)
    except typer.Abort:
        return _failed(given, "interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _failed(arguments: Sequence[str], message: str, code: int) -> int:
    """Say on stdout, too, what went wrong, where that is read by a program; return the exit code."""
    if "--json" in arguments:
        _report.print_json({"error": message, "exit_code": code})
    return code


def init(name: Annotated[str, typer.Argument(metavar="NAME", help="The first model.")] = "example") -> None:
    """Write a trainer.toml and a recipe that runs as it is."""
    files = write_scaffold(name, Path.cwd())
    _report.print_lines([*(f"wrote {file.name}" for file in files), f"next: trainer retrain {name}"])


def retrain(
    names: NamesArgument = None,
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
    outcomes: list[Outcome] = []
    failures: list[dict[str, Any]] = []
    for name in chosen:
        try:
            outcomes.append(_retrain_one(config.recipe(name), url, quiet=quiet))
        except MlsharedError as error:
            if isinstance(error, ConfigError) and len(chosen) == 1:
                raise
            failures.append({"name": name, "error": str(error), "exit_code": exit_code(error)})
            if show_traceback:
                traceback.print_exception(error)
            _report.print_problem(str(error))
    _show_outcomes(outcomes, failures, json=json, quiet=quiet)
    raise typer.Exit(worst([*map(exit_code, outcomes), *(f["exit_code"] for f in failures)]))


def _chosen(names: list[str] | None, config: Config) -> list[str]:
    if config.path is None:
        raise ConfigError("no trainer.toml here or above, and no [tool.trainer]; `trainer init` writes one")
    if not config.models:
        raise ConfigError(f'{config.path} names no model; add [models.NAME] with recipe = "module:recipe"')
    for name in names or []:
        if name not in config.models:
            config.recipe(name)  # says which there are; before any other is begun
    with_recipe = [name for name, model in config.models.items() if model.recipe is not None]
    if not (names or with_recipe):
        raise ConfigError(f'{config.path} has pins alone; add recipe = "module:recipe" to a model')
    return list(dict.fromkeys(names)) if names else with_recipe


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


# In the order of `trainer --help`.
COMMANDS: Final[dict[str, tuple[Callable[..., None], str]]] = {
    "init": (init, "init flights"),
    "retrain": (retrain, "retrain flights --store s3://acme/models"),
    "list": (list_models, "list --store ./models"),
    "show": (show, "show flights@42"),
    "diff": (diff, "diff flights@42 flights@production"),
    "schema": (schema, "schema flights@42 --python > flight.py"),
    "versions": (versions, "versions flights"),
    "history": (history, "history flights --alias staging"),
    "release": (release, "release flights 42 --reason 'looked at by hand'"),
    "rollback": (rollback, "rollback flights --reason 'wrong on Mondays'"),
    "hold": (hold, "hold flights --reason 'audit this week'"),
    "recover": (recover, "recover flights --past 41 --reason 'the bucket was restored'"),
    "gc": (gc, "gc flights --keep 30 --pin flights@41 --dry-run"),
    "doctor": (doctor, "doctor --store s3://acme/models"),
    "keygen": (keygen, "keygen trainer.key"),
    "verify": (verify, "verify flights@42"),
    "pull": (pull, "pull flights ./flights-model"),
    "copy": (copy, "copy flights@42 --to s3://acme-production/models"),
}

for _name, (_command, _example) in COMMANDS.items():
    app.command(_name, epilog=f"Example: trainer {_example}")(_command)
