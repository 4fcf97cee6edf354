"""`versions` and `history` for Python: what `trainer list` and `trainer history` read."""

from typing import Any

from mlshared.manifest import Manifest, Release

from . import _look
from ._log import check_names
from .config import StorePath, choose_store, find_config


def versions(
    name: str, *, store: StorePath | None = None, storage_options: dict[str, Any] | None = None
) -> list[Manifest]:
    """Return the manifests of a model's versions, oldest first.

    Args:
        name: The model.
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.

    Raises:
        NotPublished: If there is no such model.
    """
    check_names(name)
    with _look.open_store(choose_store(store, find_config()), storage_options) as opened:
        return _look.versions(opened, name)


def history(
    name: str,
    *,
    alias: str = "production",
    store: StorePath | None = None,
    storage_options: dict[str, Any] | None = None,
) -> list[Release]:
    """Return the valid entries of an alias's log, oldest first.

    Arguments and errors are those of `versions`.
    """
    check_names(name, alias)
    with _look.open_store(choose_store(store, find_config()), storage_options) as opened:
        return _look.history(opened, name, alias)
