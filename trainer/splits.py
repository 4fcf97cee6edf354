"""Which rows are held out, and which of them a version has not been trained on.

    split_frame(split, frame)      -> Parts(train, test, description)
    untouched(then, now, test)     -> which rows of ``test`` a version with description ``then`` has not seen

The description goes into the version's manifest. A version in force can only be judged fairly on rows it was
not trained on; its description is what tells them:

- `TimeSplit`: rows newer than the recorded cutoff came later than anything it was trained on.
- `KeySplit`: a stable hash of the row's key decides, so a row is in the test set of every version, for ever.
- a callable: cannot tell. Such a split trains and scores a candidate, no more.

It draws nothing at random: the same rows give the same parts in every process and on every machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlshared.errors import ConfigError

from .errors import RecipeError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_DURATION: Final = re.compile(r"(\d{1,6}(?:\.\d+)?)([smhdw])", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Hold out the newest rows.

    The cutoff is the newest time in the data less ``test``; rows up to it train, rows after it test.

    Args:
        column: A column of datetimes, or of ISO 8601 text.
        test: How much to hold out: a number with ``s``, ``m``, ``h``, ``d`` or ``w``, such as ``"60d"``.

    Raises:
        ConfigError: If ``test`` is no such duration.

    >>> TimeSplit("time", test="60d")
    TimeSplit(column='time', test='60d')
    """

    column: str
    _: KW_ONLY
    test: str

    def __post_init__(self) -> None:
        _check_column("TimeSplit", self.column)
        parse_duration(self.test)


@dataclass(frozen=True, slots=True)
class KeySplit:
    """Hold out the rows whose key hashes below ``test``: the same ones in every retrain.

    All rows with one key go to the same side, so a customer is never in both.

    Args:
        column: The column that identifies a row, or the group it belongs to.
        test: The share of keys to hold out, between 0 and 1.
        salt: Another salt holds out other keys; versions made with another one cannot be compared.

    Raises:
        ConfigError: If ``test`` is not between 0 and 1.

    >>> KeySplit("id", test=0.2)
    KeySplit(column='id', test=0.2, salt='')
    """

    column: str
    _: KW_ONLY
    test: float
    salt: str = ""

    def __post_init__(self) -> None:
        _check_column("KeySplit", self.column)
        if isinstance(self.test, bool) or not isinstance(self.test, int | float) or not 0 < self.test < 1:
            raise ConfigError(f"KeySplit: test is the share to hold out, between 0 and 1, not {self.test!r}")
        if not isinstance(self.salt, str):
            raise ConfigError(f"KeySplit: salt is text, not {self.salt!r}")


Split = TimeSplit | KeySplit | Callable[["pd.DataFrame"], "tuple[pd.DataFrame, pd.DataFrame]"]


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """A frame in two.

    Attributes:
        train: The rows to fit on.
        test: The rows held out.
        description: What goes into the manifest: ``{"kind": "time" | "key" | "callable", ...}``.
    """

    train: pd.DataFrame
    test: pd.DataFrame
    description: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CannotTell:
    """Why it is not known which rows a version was trained on."""

    reason: str


def split_frame(split: Split, frame: pd.DataFrame) -> Parts:
    """Return the rows to fit on and the rows held out.

    Raises:
        RecipeError: If the column is missing or has missing values, a part would be empty, or a callable
            raised or did not return two frames.
    """
    if isinstance(split, TimeSplit):
        times = _times(frame, split.column)
        cutoff = times.max() - parse_duration(split.test)
        description: dict[str, Any] = {"kind": "time", "column": split.column, "test": split.test}
        parts = _by_mask(frame, (times > cutoff).to_numpy(), description | {"cutoff": cutoff.isoformat()})
    elif isinstance(split, KeySplit):
        description = {"kind": "key", "column": split.column, "test": split.test, "salt": split.salt}
        parts = _by_mask(frame, _hashes_below(frame, split), description)
    else:
        parts = _by_callable(split, frame)
    for part, rows in (("train", parts.train), ("test", parts.test)):
        if rows.empty:
            raise RecipeError(f"{_name(split)} leaves no rows to {part}: of {len(frame):,} rows, none")
    return parts


def untouched(
    then: Mapping[str, Any] | None, now: Mapping[str, Any], test: pd.DataFrame
) -> NDArray[np.bool_] | CannotTell:
    """Return which held-out rows a version has not been trained on.

    Args:
        then: The version's own description, from its manifest; None if it has none.
        now: The description of the split that held out ``test``.
        test: Rows held out now, shape (n, columns of load()).

    Returns:
        A mask of shape (n,), or why it cannot be told.
    """
    kind = None if then is None else then.get("kind")
    if kind == "time" and then is not None:
        return _after_cutoff(then, test)
    if kind == "key" and then is not None:
        if dict(then) == dict(now):
            return np.ones(len(test), dtype=np.bool_)
        return CannotTell(f"it was split by {_words(then)}, the rows at hand by {_words(now)}")
    if kind == "callable":
        return CannotTell("its split was a function, and does not tell")
    if kind is None:
        return CannotTell("it records no split (was it published by hand?)")
    return CannotTell(f"its split {str(kind)[:40]!r} is not known to this release; upgrade mlshared")


def parse_duration(text: str) -> timedelta:
    """Return a duration such as ``"60d"``.

    Raises:
        ConfigError: If it is none, or zero.

    >>> parse_duration("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None or float(match[1]) == 0:
        raise ConfigError(f"{text!r} is no duration: write a number and s, m, h, d or w, such as '60d'")
    return timedelta(**{_UNITS[match[2]]: float(match[1])})


def _by_mask(frame: pd.DataFrame, held_out: NDArray[np.bool_], description: dict[str, Any]) -> Parts:
    return Parts(frame[~held_out], frame[held_out], description)


def _by_callable(split: Callable[..., Any], frame: pd.DataFrame) -> Parts:
    import pandas as pd  # noqa: PLC0415 - heavy; `trainer --help` does without

    try:
        parts = split(frame)
    except Exception as error:
        raise RecipeError(f"split: {_name(split)} raised {type(error).__name__}: {error}") from error
    if not isinstance(parts, tuple | list) or [isinstance(p, pd.DataFrame) for p in parts] != [True, True]:
        raise RecipeError(f"split: {_name(split)} returns (train, test), two DataFrames")
    train, test = parts
    for part in (train, test):
        if set(part.columns) != set(frame.columns):
            raise RecipeError(f"split: {_name(split)} changed the columns; it only chooses rows")
    return Parts(train, test, {"kind": "callable"})


def _times(frame: pd.DataFrame, column: str) -> pd.Series[Any]:
    import pandas as pd  # noqa: PLC0415 - as above

    values = _complete(frame, column, "TimeSplit")
    if not pd.api.types.is_datetime64_any_dtype(values):
        if pd.api.types.is_numeric_dtype(values):
            raise RecipeError(
                f"TimeSplit: column {column!r} holds numbers; make them times in load(): "
                f"pd.to_datetime(frame[{column!r}], unit='s')"
            )
        try:
            values = pd.to_datetime(values, format="ISO8601")
        except (ValueError, TypeError) as error:
            raise RecipeError(f"TimeSplit: column {column!r} does not hold times: {error}") from error
    return values.dt.tz_convert("UTC") if values.dt.tz is not None else values


def _after_cutoff(then: Mapping[str, Any], test: pd.DataFrame) -> NDArray[np.bool_] | CannotTell:
    import pandas as pd  # noqa: PLC0415 - as above

    column = then.get("column")
    if column not in test.columns:
        return CannotTell(f"it was split by {_words(then)}, and the rows at hand have no such column")
    times = _times(test, str(column))
    try:
        cutoff = pd.Timestamp(then["cutoff"])
        return (times > cutoff).to_numpy(dtype=np.bool_)
    except (KeyError, ValueError, TypeError):
        return CannotTell(
            f"its cutoff {str(then.get('cutoff'))[:40]!r} does not compare with {column!r} "
            "(with and without a time zone?)"
        )


def _hashes_below(frame: pd.DataFrame, split: KeySplit) -> NDArray[np.bool_]:
    keys = _complete(frame, split.column, "KeySplit")
    limit = int(split.test * 2**64)
    held_out = {key: _hash(_key_text(key), split.salt) < limit for key in keys.unique()}
    return keys.map(held_out).to_numpy(dtype=np.bool_)


def _hash(text: str, salt: str) -> int:
    digest = hashlib.blake2b(f"{salt}\0{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _key_text(key: Any) -> str:
    # One missing key makes pandas read a column of integers as floats: 12 and 12.0 are one key for ever.
    if isinstance(key, float | np.floating) and float(key).is_integer():
        return str(int(key))
    return str(key)


def _complete(frame: pd.DataFrame, column: str, kind: str) -> pd.Series[Any]:
    if column not in frame.columns:
        raise RecipeError(f"{kind}: load() returned no column {column!r}; it has {_listed(frame)}")
    values = frame[column]
    missing = int(values.isna().sum())
    if missing:
        raise RecipeError(
            f"{kind}: column {column!r} is missing in {missing:,} of {len(frame):,} rows; "
            "drop or fill them in load()"
        )
    return values


def _listed(frame: pd.DataFrame) -> str:
    return ", ".join(repr(str(name)[:40]) for name in list(frame.columns)[:12])


def _check_column(kind: str, column: str) -> None:
    if not isinstance(column, str) or not column:
        raise ConfigError(f"{kind} takes the name of a column, not {column!r}")


def _name(split: Split) -> str:
    if isinstance(split, TimeSplit | KeySplit):
        return f"{type(split).__name__}({split.column!r}, test={split.test!r})"
    return getattr(split, "__qualname__", type(split).__name__)


def _words(description: Mapping[str, Any]) -> str:
    if description.get("kind") not in ("time", "key"):
        return "a function"
    kind = "KeySplit" if description["kind"] == "key" else "TimeSplit"
    salt = f", salt={description['salt']!r}" if description.get("salt") else ""
    return f"{kind}({description.get('column')!r}, test={description.get('test')!r}{salt})"
