"""`trainer.toml`, or ``[tool.trainer]`` in pyproject.toml: which store, and which recipes.

    store = "s3://acme/models"
    [models.flights]
    recipe = "examples.flights.recipe:recipe"
    pins = [41]                                     # optional: versions that `trainer gc` keeps

At the top, too: ``key = "trainer.key"``, with which what is published and released is signed, and
``trusted_keys = ["other.pub"]``, further trainers' keys.

The nearest one upward from the working directory counts. Relative paths are relative to the file, so that a command
does the same in every folder below it. Reading the file imports nothing; `load_recipe` does.
"""

import importlib
import os
import re
import sys
import tomllib
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlshared.errors import ConfigError
from mlshared.manifest import check_model_name
from mlshared.settings import from_environment

from ._arguments import check_text
from .recipe import Recipe

StorePath = str | os.PathLike[str]
FILE: Final = "trainer.toml"
_TARGET: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class ModelConfig(BaseModel):
    """One model.

    Attributes:
        recipe: Where its recipe is, as ``package.module:attribute``; None where only versions are pinned.
        pins: Versions that `trainer gc` keeps, such as those apps are pinned to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: str | None = None
    pins: tuple[Annotated[int, Field(ge=1)], ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> "ModelConfig":
        if self.recipe is None and not self.pins:
            raise ValueError('has no recipe; add recipe = "module:recipe"')
        return self


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str | None = None
    key: Annotated[str, Field(min_length=1)] | None = None
    trusted_keys: Annotated[list[str | dict[str, Any]], Field(min_length=1)] | None = None
    models: dict[str, ModelConfig] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Config:
    """What the file says.

    Attributes:
        store: URL or absolute path of the store, or None.
        models: By name.
        path: The file, or None if there is none.
        key: Absolute path of the private key, or None.
        trusted_keys: Public keys as objects or absolute paths, or None.
    """

    store: str | None = None
    models: Mapping[str, ModelConfig] = field(default_factory=dict)
    path: Path | None = None
    key: str | None = None
    trusted_keys: tuple[Any, ...] | None = None

    def recipe(self, name: str) -> Recipe:
        """Return a model's recipe, imported.

        Raises:
            ConfigError: If the file has no such model, or its recipe cannot be imported.
        """
        if name not in self.models:
            raise ConfigError(f"{_where(self.path)} has no [models.{name[:64]}]{_known(name, self.models)}")
        target = self.models[name].recipe
        if target is None:
            raise ConfigError(
                f'{_where(self.path)}: [models.{name}] has pins alone; to retrain it, add recipe = "module:recipe"'
            )
        recipe = load_recipe(target, folder=self.path.parent if self.path else None)
        if recipe.name != name:
            raise ConfigError(
                f"{_where(self.path)} calls it {name!r}, its recipe {recipe.name!r}; make them the same"
            )
        return recipe


def find_config(start: Path | None = None) -> Config:
    """Return what the nearest file upward says; an empty `Config` if there is none.

    Args:
        start: The folder to begin in; default: the working directory.

    Raises:
        ConfigError: If the file is no TOML, or has unknown keys or unusable values.
    """
    folder = (start or Path.cwd()).absolute()
    for parent in (folder, *folder.parents):
        if (parent / FILE).is_file() and _is_ours(parent / FILE, folder):
            return _parse(parent / FILE, _toml(parent / FILE))
        project = parent / "pyproject.toml"
        if (
            project.is_file()
            and "trainer" in (tool := _toml(project).get("tool", {}))
            and _is_ours(project, folder)
        ):
            return _parse(project, tool["trainer"])
    return Config()


def _is_ours(file: Path, folder: Path) -> bool:
    """Return whether a file may say what to run: it is this user's, root's, or whose the working directory is."""
    owner = file.stat().st_uid
    if owner in {os.geteuid(), 0, folder.stat().st_uid}:
        return True
    warnings.warn(f"{file} belongs to another user (uid {owner}) and is not read", stacklevel=3)
    return False


def choose_store(given: StorePath | None, config: Config, environ: Mapping[str, str] | None = None) -> str:
    """Return the store to use: as given, else ``MLSHARED_STORE``, else the file's.

    Raises:
        ConfigError: If none of them names one.
    """
    if isinstance(given, os.PathLike):
        given = os.fspath(given)
    if given is not None:
        check_text("store", given, "./models")
        if not given.strip():
            raise ConfigError("--store is empty")
    store = given or from_environment(os.environ if environ is None else environ).get("store") or config.store
    if store is None:
        raise ConfigError(
            "no store: give --store, set MLSHARED_STORE, or write `store = ...` into trainer.toml "
            "(`trainer init` makes one)"
        )
    return str(store)


def choose_options(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the options for the storage library: as given, else ``MLSHARED_STORAGE_OPTIONS``, else none.

    Raises:
        ConfigError: If the variable does not hold a JSON object.
    """
    options = from_environment().get("storage_options", {}) if given is None else given
    if not isinstance(options, Mapping):
        raise ConfigError("MLSHARED_STORAGE_OPTIONS must hold a JSON object")
    return dict(options)


def load_recipe(target: str, *, folder: Path | None = None) -> Recipe:
    """Return the recipe that ``package.module:attribute`` names.

    The working directory and ``folder`` are put on ``sys.path``, as ``python -m`` does.

    Raises:
        ConfigError: If it cannot be imported, has no such attribute, or that is no `Recipe`.
    """
    if not _TARGET.fullmatch(target):
        raise ConfigError(f"recipe {target[:120]!r} is not of the form 'package.module:attribute'")
    for entry in (folder, Path.cwd()):
        if entry is not None and str(entry) not in sys.path:
            sys.path.insert(0, str(entry))
    module_name, _, attribute = target.partition(":")
    module = _import(module_name, target)
    recipe = getattr(module, attribute, None)
    if isinstance(recipe, Recipe):
        return recipe
    recipes = [name for name, value in vars(module).items() if isinstance(value, Recipe)]
    found = f"is a {type(recipe).__name__}, not a Recipe" if hasattr(module, attribute) else "does not exist"
    raise ConfigError(f"recipe {target!r}: {attribute} {found}{_known(attribute, recipes)}")


def _import(name: str, target: str) -> Any:
    try:
        return importlib.import_module(name)
    except ConfigError as error:
        raise ConfigError(f"recipe {target!r}: {error}") from error
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(
                f"recipe {target!r}: no module {error.name!r} is installed or in {Path.cwd()}; "
                "run this in the folder it lies in"
            ) from error
        raise ConfigError(f"recipe {target!r} imports {error.name!r}, which is not installed") from error
    except Exception as error:
        message = (str(error).splitlines() or [""])[0][:300]
        raise ConfigError(
            f"recipe {target!r} cannot be imported: {type(error).__name__}: {message}{_place(error)}"
        ) from error


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    return "" if last.filename.startswith("<") else f" ({Path(last.filename).name}, line {last.lineno})"


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no TOML: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _parse(path: Path, values: Any) -> Config:
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: [tool.trainer] is no table")
    try:
        file = _File.model_validate(values)
        for name in file.models:
            check_model_name(name)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_first(error)}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    trusted = [
        _absolute(key, path.parent) if isinstance(key, str) else key for key in file.trusted_keys or ()
    ]
    return Config(
        _absolute(file.store, path.parent),
        file.models,
        path,
        _absolute(file.key, path.parent),
        tuple(trusted) or None,
    )


def _first(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False)
    # A misspelt key also leaves a required one missing: the misspelling is the cause.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        fields = ModelConfig.model_fields if problem["loc"][0] == "models" else _File.model_fields
        return f"unknown key {where!r}{_known(str(problem['loc'][-1]), fields)}"
    return f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _absolute(store: str | None, folder: Path) -> str | None:
    if store is None or "://" in store:
        return store
    return str(folder / Path(store).expanduser())


def _known(name: str, known: Any) -> str:
    if close := get_close_matches(name, list(known), n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; it has {', '.join(sorted(known)[:12])}" if known else "; it has none"


def _where(path: Path | None) -> str:
    return "no trainer.toml here or above, so it" if path is None else path.name
