"""The example's data: only what is known before a departure, whatever Python runs."""

from datetime import date

import pandas as pd
import pytest

from examples.flights.data import WEATHER, _csv_folder, load_flights


@pytest.fixture(scope="module")
def january() -> pd.DataFrame:
    return load_flights(1)


def test_no_column_tells_how_the_flight_went(january: pd.DataFrame) -> None:
    """The actual times, delays and air time are not there; the label is."""
    assert set(january) == {
        *("time", "carrier", "origin", "dest", "distance", "built", "seats", "late"),
        *WEATHER,
    }


def test_weather_is_the_hour_before_the_departure_s(january: pd.DataFrame) -> None:
    """A flight of 06:xx gets what was observed at 05:xx: that of its own hour may be younger than it."""
    weather = pd.read_csv(_csv_folder() / "weather.csv")
    newark = weather[(weather["origin"] == "EWR") & (weather["month"] == 1) & (weather["day"] == 2)]
    observed = newark.set_index("hour")["temp"]
    flights = january[(january["origin"] == "EWR") & (january["time"].dt.date == date(2013, 1, 2))]
    by_hour = flights.groupby(flights["time"].dt.hour)["temp"].unique()
    assert {hour: list(found) for hour, found in by_hour.items()} == {
        h: [observed[h - 1]] for h in by_hour.index
    }
    assert observed.nunique() > 5


def test_only_flights_that_arrived_are_there(january: pd.DataFrame) -> None:
    """27,004 were planned in January 2013; 606 never arrived where they should."""
    assert len(january) == 26_398


def test_rows_are_in_the_order_of_departure(january: pd.DataFrame) -> None:
    """So that the newest rows are the last ones."""
    assert january["time"].is_monotonic_increasing


def test_months_add_up(january: pd.DataFrame) -> None:
    """More months add rows and change none."""
    two = load_flights(2)
    pd.testing.assert_frame_equal(two.iloc[: len(january)], january)
    assert two["time"].max() >= pd.Timestamp("2013-02-28")


@pytest.mark.parametrize("months", [0, 13, -1])
def test_months_that_do_not_exist_are_refused(months: int) -> None:
    """The message names the twelve that do."""
    with pytest.raises(ValueError, match="months 1 to 12"):
        load_flights(months)
