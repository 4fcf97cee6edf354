"""What a function of this package was called with, refused by the argument's name before anything is begun."""

from typing import Any, get_args

from mlshared._problems import shown
from mlshared.errors import ConfigError


def check_text(name: str, value: Any, example: str) -> None:
    """Refuse what is no text.

    Raises:
        ConfigError: That names the argument.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{name} is text such as {example!r}, not {shown(value)}")


def check_number(name: str, value: Any) -> None:
    """Refuse what is no version or entry number.

    Raises:
        ConfigError: That names the argument.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{name} is a whole number such as 42, not {shown(value)}")


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Refuse what is not one of a ``Literal``.

    Raises:
        ConfigError: That names the argument.
    """
    allowed = get_args(choices)
    if value not in allowed:
        raise ConfigError(f"{name} is {' or '.join(map(repr, allowed))}, not {shown(value)}")


def check_rows(X: Any, y: Any) -> None:  # noqa: N803 - scikit-learn's name
    """Refuse rows that are none, or not those of ``y``.

    Raises:
        ConfigError: That names the argument.
    """
    rows, targets = _length(X), _length(y)
    if not rows:
        what = "an empty table" if rows == 0 else shown(X)
        raise ConfigError(
            f"X is held-out rows: a DataFrame, an array of shape (n, columns) or texts, not {what}"
        )
    if y is not None and targets is None:
        raise ConfigError(f"y is the targets of X, one a row, not {shown(y)}")
    if targets is not None and targets != rows:
        raise ConfigError(f"X has {rows:,} rows and y {targets:,}: give the targets of the same rows")


def _length(table: Any) -> int | None:
    shape = getattr(table, "shape", None)
    if shape:
        return int(shape[0])
    return len(table) if hasattr(table, "__len__") and not isinstance(table, str) else None
