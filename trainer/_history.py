"""`versions` and `history` for Python: what `trainer list` and `trainer history` read."""

from typing import Any

from mlshared.errors import ConfigError
from mlshared.manifest import Manifest, Release, check_alias, check_model_name

from . import _look
from .config import choose_store, find_config


def versions(
    name: str, *, store: str | None = None, storage_options: dict[str, Any] | None = None
) -> list[Manifest]:
    """Return the manifests of a model's versions, oldest first.

    Args:
        name: The model.
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.

    Raises:
        NotPublished: If there is no such model.
    """
    check_name(name)
    with _look.open_store(choose_store(store, find_config()), storage_options) as opened:
        return _look.versions(opened, name)


def history(
    name: str,
    *,
    alias: str = "production",
    store: str | None = None,
    storage_options: dict[str, Any] | None = None,
) -> list[Release]:
    """Return the valid entries of an alias's log, oldest first.

    Arguments and errors are those of `versions`.
    """
    check_name(name)
    _check(check_alias, alias)
    with _look.open_store(choose_store(store, find_config()), storage_options) as opened:
        return _look.history(opened, name, alias)


def check_name(name: str) -> None:
    """Refuse what no model may be called.

    Raises:
        ConfigError: With the rule.
    """
    _check(check_model_name, name)


def _check(rule: Any, text: str) -> None:
    try:
        rule(text)
    except ValueError as error:
        raise ConfigError(str(error)) from error
