"""What the models are shown of a flight: `derive` for one row, `derive_frame` for a table of them.

    {"time": "2013-10-04T17:30", "distance": 1400, ...} -> {"hour": 17.5, "weekday": "fri", ...}

The web app and the trainer name the same function, so a feature cannot mean one thing in training and another
in production. Training takes the table form, which is faster; a test holds the two to the same values. An app
needs no pandas for this module.

The month is not among the features: what is to be predicted lies in months that no model has seen.
"""

import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from mlshared import InputError

if TYPE_CHECKING:
    import pandas as pd

NUMBERS: Final = (
    "hour",
    "log_distance",
    "plane_age",
    "seats",
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
)
FLAGS: Final = ("holiday",)
CATEGORIES: Final = ("weekday", "carrier", "origin", "dest")

_AS_THEY_ARE: Final = (*NUMBERS[3:], *CATEGORIES[1:])
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_THURSDAY: Final = 3
_BUSY_DAYS: Final = frozenset(
    {(1, 1), (1, 2), (7, 3), (7, 4), (7, 5), (12, 22), (12, 23), (12, 24), (12, 26), (12, 27)}
)
_BUSY_AROUND_THANKSGIVING: Final = frozenset({-1, 0, 3})


def derive(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the features of one flight.

    Args:
        row: The columns of `examples.flights.data.load_flights`, without the label; ``time`` a datetime or
            ISO 8601 text on New York's clock. None and NaN mean unknown.

    Returns:
        The values of `NUMBERS` (float), `FLAGS` (bool) and `CATEGORIES` (str), None where unknown.

    Raises:
        KeyError: If a column is missing.
        InputError: If a value is not what it should be; a web app tells its caller.
    """
    time = _time(row["time"])
    distance, built = _number(row, "distance"), _number(row, "built")
    features: dict[str, Any] = {name: row[name] for name in _AS_THEY_ARE}
    features["hour"] = None if time is None else time.hour + time.minute / 60
    features["weekday"] = None if time is None else _WEEKDAYS[time.weekday()]
    features["holiday"] = time is not None and is_holiday(time.date())
    features["log_distance"] = None if distance is None else log_distance(distance)
    features["plane_age"] = None if time is None or built is None else time.year - built
    return features


def derive_frame(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the features of a table of flights, in the order of its rows, as `derive` would."""
    time = frame["time"]
    features = frame[list(_AS_THEY_ARE)].copy()
    features["hour"] = time.dt.hour + time.dt.minute / 60
    features["weekday"] = time.dt.day_of_week.map(dict(enumerate(_WEEKDAYS)))
    days = time.dt.normalize()
    features["holiday"] = days.isin([day for day in days.dropna().unique() if is_holiday(day)])
    # numpy's log1p may differ from math's in the last bit: so math's, once for each of the few distances.
    distances = frame["distance"]
    features["log_distance"] = distances.map(
        {miles: log_distance(miles) for miles in distances.dropna().unique()}
    )
    features["plane_age"] = time.dt.year - frame["built"]
    return features[[*NUMBERS, *FLAGS, *CATEGORIES]]


def is_holiday(day: date) -> bool:
    """Return whether a day is among the busiest around New Year, 4 July, Thanksgiving and Christmas."""
    if (day.month, day.day) in _BUSY_DAYS:
        return True
    november = date(day.year, 11, 1)
    thanksgiving = date(day.year, 11, 22 + (_THURSDAY - november.weekday()) % 7)
    return (date(day.year, day.month, day.day) - thanksgiving).days in _BUSY_AROUND_THANKSGIVING


def log_distance(miles: float) -> float:
    """Return log(1 + miles); 0 for distances that are none."""
    return math.log1p(max(miles, 0.0))


def _time(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError as error:
            raise _refused("time", value, "2013-10-04T17:30") from error
    # NaT is a datetime to isinstance, and unequal to itself.
    return value if isinstance(value, datetime) and value == value else None  # noqa: PLR0124


def _number(row: Mapping[str, Any], name: str) -> float | None:
    value = row[name]
    try:
        number = math.nan if value is None else float(value)
    except (TypeError, ValueError) as error:
        raise _refused(name, value, "1400") from error
    return None if math.isnan(number) else number


def _refused(field: str, value: Any, example: str) -> InputError:
    return InputError([{"field": field, "message": f"{str(value)[:40]!r} is not of the form {example}"}])
