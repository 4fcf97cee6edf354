"""`python -m mlshared`: put a model into an image, look inside a running container, test a version.

    python -m mlshared fetch flights                     load it once, so that the cache has it
    python -m mlshared status [flights]                  what this host's processes are serving
    python -m mlshared check flights --schema app.Flight load, self-test, and try the app's own schema class

Settings come from ``MLSHARED_*``. Exit codes: 0 done; 1 the version cannot be used; 2 usage; 75 the store
cannot be reached.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Any, Final, get_args

from pydantic import BaseModel

from mlshared._cache import open_cache
from mlshared._ref import parse_ref
from mlshared._schema import aliased
from mlshared._version import ModelVersion
from mlshared.client import Client
from mlshared.errors import ConfigError, InputError, InputProblem, MlsharedError, NotPublished, StorageError
from mlshared.events import RefreshFailed, VersionQuarantined, log_event
from mlshared.settings import from_environment, make_settings

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_STORE: Final = 75
WAIT_SECONDS: Final = 300.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        settings = from_environment()
        if getattr(options, "store", None):
            settings["store"] = options.store
        run = {"fetch": _fetch, "status": _status, "check": _check}[options.command]
        run(options, settings)
    except MlsharedError as error:
        told = f"{type(error).__name__}: {error}"
        print(told, file=sys.stderr)
        if getattr(options, "json", False):
            print(json.dumps({"error": told, "exit_code": _exit_code(error)}))
        return _exit_code(error)
    return 0


def _exit_code(error: MlsharedError) -> int:
    if isinstance(error, ConfigError):
        return EXIT_USAGE
    if isinstance(error, StorageError) and not isinstance(error, NotPublished):
        return EXIT_STORE
    return EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mlshared",
        description="Look after the models of this host. Settings come from MLSHARED_* variables.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in (
        ("fetch", "load a model once, so that the cache has it; for building images"),
        ("check", "load a version, self-test it, and try the app's own schema class"),
    ):
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument("ref", help="such as flights, flights@staging, flights@42")
        command.add_argument("--store", help="URL or path; default: MLSHARED_STORE")
        command.add_argument("--features", metavar="MODULE:FUNCTION", help="the app's feature function")
    words = "also where the version has a plan and a web process would do without it"
    command.add_argument(
        "--estimator", action="store_true", help=f"load and self-test the estimator, {words}"
    )
    command.add_argument("--schema", metavar="MODULE.CLASS", help="a pydantic model the app's rows are of")
    words = "show what this host's processes are serving"
    status = commands.add_parser("status", help=words, description=words)
    status.add_argument("ref", nargs="?", help="only of this model, such as flights or flights@staging")
    status.add_argument("--store", help="URL or path; default: MLSHARED_STORE")
    status.add_argument("--json", action="store_true", help="one JSON object")
    return parser


@contextmanager
def _loaded(
    options: argparse.Namespace, settings: dict[str, Any], *, to_disk: bool = False
) -> Iterator[ModelVersion]:
    features = _imported(options.features, ":") if options.features else None
    with Client(**{**settings, "poll_seconds": 0}, hook=_tell) as client:
        model = client.model(options.ref, features=features)
        model.refresh(timeout_seconds=WAIT_SECONDS)
        if to_disk and (problem := model.status().cache_problem):
            raise ConfigError(f"{model.current.ref} loads, and is not kept for the next process: {problem}")
        yield model.current


def _tell(event: Any) -> None:
    """Log an event, but for failures: what is wrong in the end is raised, and said once."""
    if not isinstance(event, RefreshFailed | VersionQuarantined):
        log_event(event)


def _fetch(options: argparse.Namespace, settings: dict[str, Any]) -> None:
    with _loaded(options, settings, to_disk=True) as version:
        print(f"{version.ref} is in this host's cache")


def _check(options: argparse.Namespace, settings: dict[str, Any]) -> None:
    with _loaded(options, settings) as version:
        if options.schema:
            _check_schema(version, _imported(options.schema, "."))
        if options.estimator:
            version.estimator  # noqa: B018 - loads and self-tests it
        print(f"{version.ref} loads and answers its golden rows as at publish")


def _check_schema(version: ModelVersion, schema: Any) -> None:
    """Raise if objects of the app's class lack what the version reads, or may be missing where it may not."""
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)):
        raise ConfigError(f"{schema!r} is no pydantic model class")
    if version.features is not None:
        raise ConfigError("--schema cannot be tried with --features: the model reads what the function makes")
    given = _given(schema, {field.name for field in version.manifest.fields})
    problems: list[InputProblem] = []
    for field in version.manifest.fields:
        if field.name not in given:
            problems.append({"field": field.name, "message": f"{schema.__name__} has no such field"})
        elif not field.nullable and NoneType in get_args(given[field.name]):
            message = f"{schema.__name__} lets it be None, and {version.ref} needs a value"
            problems.append({"field": field.name, "message": message})
    if problems:
        raise InputError(problems)


def _given(schema: type[BaseModel], wanted: set[str]) -> dict[str, Any]:
    """Return the type of what objects of a class give a model that reads the fields ``wanted``, by its field."""
    names = aliased(schema, wanted)
    given = {names.get(name, name): info.annotation for name, info in schema.model_fields.items()}
    return {**given, **{name: info.return_type for name, info in schema.model_computed_fields.items()}}


def _status(options: argparse.Namespace, settings: dict[str, Any]) -> None:
    checked = make_settings(settings)
    if checked.store is None:
        raise ConfigError("no store: give --store or set MLSHARED_STORE")
    cache = open_cache(checked.cache_dir, max_bytes=checked.cache_bytes)
    store_id = checked.store_id or cache.store_id(checked.store)
    found = cache.statuses(store_id) if store_id else []
    if options.ref is not None:
        found = _of_model(found, str(parse_ref(options.ref, alias=checked.alias)))
    if options.json:
        print(json.dumps({"store": checked.store, "processes": found}, default=str))
        return
    if not found:
        print(f"no process of this host has read {options.ref or checked.store}")
    for process in found:
        for ref, status in process["models"].items():
            version = status["version"] if status["version"] is not None else "-"
            error = f"  {status['last_error']}" if status["last_error"] else ""
            print(f"{process.get('pid', '?'):>8}  {ref:<32} {status['state']:<10} version {version}{error}")


def _of_model(processes: list[dict[str, Any]], ref: str) -> list[dict[str, Any]]:
    """Return the processes that use a model, and of them that model alone."""
    own = [
        {
            **process,
            "models": {name: status for name, status in process["models"].items() if status["ref"] == ref},
        }
        for process in processes
    ]
    return [process for process in own if process["models"]]


def _imported(target: str, separator: str) -> Any:
    module, _, attribute = target.rpartition(separator)
    sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"{target!r} cannot be imported: {error}") from error
    return found


if __name__ == "__main__":
    sys.exit(main())
