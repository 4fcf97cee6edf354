"""The identity of a feature function: a hash of its source, the same in the trainer and in the app.

It tells people that a function was edited. It decides nothing: values do (`_selftest.check_features`).
"""

import hashlib
import inspect
import textwrap
from collections.abc import Callable
from typing import Any


def source_sha256(function: Callable[..., Any]) -> str | None:
    """Return the sha256 of a function's source, dedented; None where there is no source to read."""
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return None
    return hashlib.sha256(source.encode()).hexdigest()
