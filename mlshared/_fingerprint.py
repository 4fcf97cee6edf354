"""A hash of everything that decides whether a version that failed here would fail again.

A quarantine is kept under it, so that another Python, another library, another feature function or other trust
settings, as a new deploy of the app may bring, try the version anew.
"""

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mlshared._breath import breathe
from mlshared._features import source_sha256
from mlshared.settings import Settings


def fingerprint(features: Callable[..., Any] | None, settings: Settings) -> str:
    """Return a hash of what decides whether a version that failed here would fail again.

    That is the interpreter, the processor, every installed distribution (a manifest may ask for any), the app's
    feature function and whom its settings trust: a new deploy of the app tries again.
    """
    facts: list[Any] = [platform.python_version(), platform.machine(), _installed(sys.path)]
    facts += [source_sha256(features) if features else None]
    facts += [sorted(settings.trusted_types), settings.allow_joblib, settings.allow_unsigned]
    facts += [sorted(json.dumps(key.as_json(), sort_keys=True) for key in settings.trusted_keys or ())]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _installed(folders: Iterable[str]) -> list[str]:
    """Return the distributions in these folders by the names of their metadata, which tell their versions."""
    found: set[str] = set()
    for folder in folders:
        breathe()
        with suppress(OSError):
            names = [path.name for path in Path(folder or ".").iterdir()]
            found.update(name for name in names if name.endswith((".dist-info", ".egg-info")))
    return sorted(found)
