"""The example's feature function: one meaning, for one row in the app and for a table in training."""

import subprocess
import sys
from datetime import date
from typing import Any

import pandas as pd
import pytest

from examples.flights.data import load_flights
from examples.flights.features import CATEGORIES, FLAGS, NUMBERS, derive, derive_frame, is_holiday
from mlshared import InputError


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return load_flights().drop(columns="late")


def test_both_forms_give_the_same_values(flights: pd.DataFrame) -> None:
    """Bit for bit, for 3,000 flights of the year, gaps included."""
    sample = flights.sample(3000, random_state=0)
    rows = pd.DataFrame([derive(row) for row in sample.to_dict("records")])
    table = derive_frame(sample).reset_index(drop=True)
    pd.testing.assert_frame_equal(rows[table.columns], table, check_exact=True)


def test_both_forms_give_the_same_values_where_nothing_is_known(flights: pd.DataFrame) -> None:
    """Every column a row may lack is missing in one of these rows, the time and the distance too."""
    gaps = flights.head(len(flights.columns)).astype({"distance": "float64"})
    for position, column in enumerate(gaps):
        gaps.loc[position, column] = None
    rows = pd.DataFrame([derive(row) for row in gaps.to_dict("records")])
    table = derive_frame(gaps)
    pd.testing.assert_frame_equal(rows[table.columns].astype(table.dtypes), table, check_exact=True)


def test_both_forms_name_the_same_features(flights: pd.DataFrame, flight: dict[str, Any]) -> None:
    """No more and no fewer than the module says."""
    names = {*NUMBERS, *FLAGS, *CATEGORIES}
    assert set(derive(flight)) == names
    assert set(derive_frame(flights.head(1))) == names


@pytest.mark.parametrize(
    "time", ["2013-10-04T17:30", "2013-10-04T17:30:00.000", pd.Timestamp("2013-10-04 17:30")]
)
def test_time_may_be_text(flight: dict[str, Any], time: object) -> None:
    """JSON has no datetimes."""
    features = derive({**flight, "time": time})
    assert (features["hour"], features["weekday"], features["plane_age"]) == (17.5, "fri", 14)


def test_unknown_is_none(flight: dict[str, Any]) -> None:
    """None and NaN in a row both mean that a value is not known; so do features made of them."""
    features = derive({**flight, "time": None, "built": float("nan"), "distance": None})
    for name in ("hour", "weekday", "plane_age", "log_distance"):
        assert features[name] is None
    assert features["holiday"] is False


def test_a_column_the_features_need_must_be_there(flight: dict[str, Any]) -> None:
    """A flight without a distance is a mistake; one with an unknown distance is not."""
    with pytest.raises(KeyError, match="distance"):
        derive({name: value for name, value in flight.items() if name != "distance"})


@pytest.mark.parametrize(
    ("day", "busy"),
    [
        (date(2013, 7, 4), True),
        (date(2013, 7, 10), False),
        (date(2013, 11, 27), True),  # the eve of Thanksgiving
        (date(2013, 11, 28), True),
        (date(2013, 11, 29), False),
        (date(2013, 12, 1), True),  # the Sunday after, in another month
        (date(2026, 11, 26), True),
        (date(2026, 11, 19), False),
    ],
)
def test_holidays(day: date, *, busy: bool) -> None:
    """Fixed days, and those around the fourth Thursday of November."""
    assert is_holiday(day) is busy


@pytest.mark.parametrize(("field", "value"), [("time", "soon"), ("distance", "far"), ("built", [])])
def test_a_value_that_makes_no_sense_is_named(flight: dict[str, Any], field: str, value: object) -> None:
    """The app's caller learns which field it is."""
    with pytest.raises(InputError) as caught:
        derive({**flight, field: value})
    assert [problem["field"] for problem in caught.value.errors()] == [field]


def test_a_number_may_be_text(flight: dict[str, Any]) -> None:
    """As everywhere in mlshared."""
    assert derive({**flight, "distance": "1400"}) == derive(flight)


def test_an_app_needs_no_pandas_for_it(flight: dict[str, Any]) -> None:
    """Importing and calling the row function does not load it."""
    code = (
        "import sys; from examples.flights.features import derive; "
        f"derive({flight!r}); print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
