"""A hash of everything that decides whether a version that failed here would fail again.

A quarantine is kept under it, so that another Python, another library, another feature function or other trust
settings, as a new deploy of the app may bring, try the version anew.
"""

import hashlib
import json
import platform
from collections.abc import Callable
from importlib import metadata
from typing import Any

from mlshared._breath import breathe
from mlshared._features import source_sha256
from mlshared.settings import Settings


def fingerprint(features: Callable[..., Any] | None, settings: Settings) -> str:
    """Return a hash of what decides whether a version that failed here would fail again."""
    distributions = ("mlshared", "numpy", "scikit-learn", "scipy", "pandas", "skops", "lightgbm", "xgboost")
    facts: list[Any] = [_installed(name) for name in distributions]
    facts += [_python(), source_sha256(features) if features else None]
    facts += [sorted(settings.trusted_types), settings.allow_joblib, settings.allow_unsigned]
    facts += [sorted(json.dumps(key.as_json(), sort_keys=True) for key in settings.trusted_keys or ())]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _installed(distribution: str) -> str | None:
    breathe()
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _python() -> list[str]:
    return [platform.python_version(), platform.machine()]
