import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlshared.errors import ConfigError
from trainer.errors import RecipeError
from trainer.splits import CannotTell, KeySplit, TimeSplit, parse_duration, split_frame, untouched

DAYS = pd.DataFrame({"time": pd.date_range("2026-01-01", periods=100, freq="D"), "id": range(100)})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("36h", 129600), ("60d", 5184000), ("2w", 1209600), ("1.5h", 5400)],
)
def test_durations_have_five_units(text, seconds):
    """s, m, h, d and w, whole or not."""
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "60", "d", "-1d", "0d", "60 d", "1y", "\uff11d", None, 60])
def test_anything_else_is_no_duration(text):
    """The message shows the form."""
    with pytest.raises(ConfigError, match="'60d'"):
        parse_duration(text)


def test_time_split_holds_out_what_is_newer_than_the_cutoff():
    """The cutoff is the newest time less the duration, and is recorded."""
    parts = split_frame(TimeSplit("time", test="10d"), DAYS)
    assert parts.description == {
        "kind": "time", "column": "time", "test": "10d", "cutoff": "2026-03-31T00:00:00",
    }  # fmt: skip
    assert parts.test["id"].tolist() == list(range(90, 100))
    assert parts.train["id"].tolist() == list(range(90))


def test_time_split_reads_iso_text_and_zones():
    """Text is read as ISO 8601; a zone is recorded as UTC."""
    frame = DAYS.assign(time=DAYS["time"].dt.strftime("%Y-%m-%dT%H:%M:%S+02:00"))
    assert (
        split_frame(TimeSplit("time", test="1d"), frame).description["cutoff"] == "2026-04-08T22:00:00+00:00"
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (range(100), "holds numbers; make them times in load"),
        (["monday"] * 100, "does not hold times"),
        ([None, *DAYS["time"][1:]], "is missing in 1 of 100 rows; drop or fill them in load"),
    ],
)
def test_a_column_that_is_no_time_is_named(values, message):
    """Numbers, words and gaps each get their mend."""
    with pytest.raises(RecipeError, match=message):
        split_frame(TimeSplit("time", test="1d"), DAYS.assign(time=list(values)))


@given(st.integers(min_value=1, max_value=400))
def test_a_row_stays_on_its_side_however_the_data_grows(rows):
    """A key is held out by every version or by none."""
    split = KeySplit("id", test=0.3)
    some = set(split_frame(split, pd.DataFrame({"id": range(1000)})).test["id"])
    grown = set(split_frame(split, pd.DataFrame({"id": range(1000 + rows)})).test["id"])
    assert {key for key in grown if key < 1000} == some


def test_key_split_is_the_same_for_ever():
    """The hash is part of every store ever written: these very rows are held out."""
    held_out = split_frame(KeySplit("id", test=0.2), pd.DataFrame({"id": range(20)})).test["id"]
    assert held_out.tolist() == [11, 13, 15, 16, 17, 18, 19]


def test_key_split_holds_out_its_share():
    """Of many keys, close to the share asked for."""
    parts = split_frame(KeySplit("id", test=0.2), pd.DataFrame({"id": range(20_000)}))
    assert len(parts.test) / 20_000 == pytest.approx(0.2, abs=0.01)


def test_a_key_read_as_float_is_the_same_key():
    """One missing value elsewhere makes pandas read integers as floats; 12, 12.0 and "12" hash alike."""
    split, numbers = KeySplit("id", test=0.3), pd.Series(range(500))
    sides = [
        split_frame(split, pd.DataFrame({"id": keys})).test.index.tolist()
        for keys in (numbers, numbers.astype(float), numbers.astype(str))
    ]
    assert sides[0] == sides[1] == sides[2]


def test_all_rows_of_a_key_go_to_one_side():
    """A customer's rows are never in both parts."""
    parts = split_frame(KeySplit("id", test=0.5), pd.DataFrame({"id": np.arange(1000) % 50}))
    assert not set(parts.train["id"]) & set(parts.test["id"])


def test_another_salt_holds_out_other_rows():
    """The salt changes which keys are held out, and is recorded."""
    plain = split_frame(KeySplit("id", test=0.5), DAYS)
    salted = split_frame(KeySplit("id", test=0.5, salt="b"), DAYS)
    assert plain.test["id"].tolist() != salted.test["id"].tolist()
    assert salted.description == {"kind": "key", "column": "id", "test": 0.5, "salt": "b"}


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan"), "0.2", True])
def test_a_share_lies_between_zero_and_one(share):
    """All else is refused when the recipe is made."""
    with pytest.raises(ConfigError, match="between 0 and 1"):
        KeySplit("id", test=share)


def test_missing_keys_are_counted():
    """A row without key cannot stay on a side."""
    with pytest.raises(RecipeError, match="KeySplit: column 'id' is missing in 2 of 4 rows"):
        split_frame(KeySplit("id", test=0.5), pd.DataFrame({"id": [1, None, 3, None]}))


def test_a_missing_column_lists_those_there_are():
    """The message names what load() returned."""
    with pytest.raises(RecipeError, match="no column 'key'; it has 'time', 'id'"):
        split_frame(KeySplit("key", test=0.5), DAYS)


def test_an_empty_part_is_an_error():
    """A test set, or a training set, of no rows is said before anything is fitted."""
    with pytest.raises(RecipeError, match="leaves no rows to train"):
        split_frame(TimeSplit("time", test="52w"), DAYS)
    with pytest.raises(RecipeError, match="leaves no rows to test"):
        split_frame(lambda frame: (frame, frame[:0]), DAYS)


def test_a_function_may_split():
    """It is described as what it is: one that does not tell."""
    parts = split_frame(lambda frame: (frame[:60], frame[60:]), DAYS)
    assert (len(parts.train), len(parts.test), parts.description) == (60, 40, {"kind": "callable"})


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (lambda frame: frame, "two DataFrames"),
        (lambda frame: (frame.to_numpy(), frame), "two DataFrames"),
        (lambda frame: (frame[["id"]], frame), "changed the columns"),
        (lambda frame: frame["nope"], "raised KeyError"),
    ],
)
def test_a_function_that_does_not_split_is_said(split, message):
    """Whatever it returns or raises becomes one line."""
    with pytest.raises(RecipeError, match=message):
        split_frame(split, DAYS)


def test_rows_newer_than_a_versions_cutoff_are_untouched():
    """Also when the split now is another one."""
    then = split_frame(TimeSplit("time", test="10d"), DAYS).description
    assert untouched(then, {"kind": "callable"}, DAYS).sum() == 10


def test_the_same_key_split_held_out_the_same_rows():
    """So all rows held out now were held out then."""
    parts = split_frame(KeySplit("id", test=0.3), DAYS)
    assert untouched(dict(parts.description), parts.description, parts.test).all()


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        (None, "records no split"),
        ({"kind": "callable"}, "its split was a function"),
        (
            {"kind": "key", "column": "id", "test": 0.1, "salt": ""},
            r"KeySplit\('id', test=0.1\), the rows at hand by",
        ),
        ({"kind": "key", "column": "id", "test": 0.3, "salt": "x"}, "salt='x'"),
        ({"kind": "time", "column": "gone", "test": "1d", "cutoff": "2026-01-01"}, "have no such column"),
        (
            {"kind": "time", "column": "time", "test": "1d", "cutoff": "2026-01-01T00:00:00+00:00"},
            "time zone",
        ),
        ({"kind": "time", "column": "time", "test": "1d"}, "does not compare"),
        ({"kind": "later"}, "'later' is not known"),
    ],
)
def test_what_cannot_be_told_says_why(then, reason):
    """A description that does not decide gives a reason, never a guess."""
    parts = split_frame(KeySplit("id", test=0.3), DAYS)
    answer = untouched(then, parts.description, parts.test)
    assert isinstance(answer, CannotTell)
    assert re.search(reason, answer.reason)
