"""Rows are checked by one door."""

import enum
import json
import subprocess
import sys
import threading
from collections import OrderedDict, UserDict, defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlshared._problems import shown
from mlshared._schema import Schema
from mlshared._values import is_missing
from mlshared.errors import InputError
from mlshared.manifest import Field


def number(name="distance", dtype="float64", **more):
    return Field(name=name, kind="number", dtype=dtype, **more)


def category(name="carrier", value_type="str", dtype="str", **more):
    return Field(name=name, kind="category", dtype=dtype, value_type=value_type, **more)


def refusal(schema, row):
    with pytest.raises(InputError) as caught:
        schema.row(row)
    return caught.value.errors()


FLIGHT = Schema([number(nullable=True), category(nullable=True), number("dep_time")])
GOOD = {"distance": 1400.0, "carrier": "UA", "dep_time": 600.0}


def test_a_clean_row_passes_in_the_order_of_training():
    """Fields come back in training order whatever order they were sent in."""
    row = FLIGHT.row({"dep_time": 600, "carrier": "UA", "distance": 1400})
    assert list(row.items()) == list(GOOD.items())
    assert all(type(row[name]) is float for name in ("distance", "dep_time"))


def test_a_missing_field_names_the_closest_unknown_one():
    """did you mean ...?"""
    problems = refusal(FLIGHT, {"distance": 1.0, "carrier": "UA", "Dep_Tim": 1})
    assert problems == [{"field": "dep_time", "message": "missing; did you mean 'Dep_Tim'?"}]


def test_a_missing_field_without_a_likeness_says_what_to_do():
    """A nullable one may be sent as None."""
    assert refusal(FLIGHT, {"carrier": "UA", "dep_time": 1}) == [
        {"field": "distance", "message": "missing; send it, as None if it is not known"}
    ]


def test_every_problem_of_a_row_is_listed():
    """A caller mends a row once."""
    fields = [p["field"] for p in refusal(FLIGHT, {"distance": "abc", "carrier": 3})]
    assert fields == ["distance", "carrier", "dep_time"]


@pytest.mark.parametrize(
    "value", [12, "12", " 12 ", np.int64(12), np.float32(12), Decimal(12), np.array(12.0), b"12"]
)
def test_numbers_are_lax(value):
    """Whatever plainly is a number becomes a float."""
    assert FLIGHT.row({**GOOD, "distance": value})["distance"] == 12.0


@pytest.mark.parametrize(
    "row",
    [
        GOOD,
        {**GOOD, "more": 1},
        {**GOOD, "distance": "12"},
        {**GOOD, "distance": None},
        {**GOOD, "distance": "abc"},
        {name: value for name, value in GOOD.items() if name != "carrier"} | {"carier": "UA"},
        UserDict(GOOD),
        [1, 2, 3],
        None,
    ],
    ids=repr,
)
def test_the_quicker_way_checks_alike(row):
    """The function that predictions use gives the same row, raises the same error, counts the same fields."""
    seen = []
    for way in ("row", "checker"):
        schema = Schema(FLIGHT.fields)
        check = schema.row if way == "row" else schema.checker()
        try:
            answer = check(row)
        except InputError as error:
            answer = error.errors()
        seen.append((answer, schema.ignored))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("value", [True, np.True_])
def test_a_boolean_given_to_a_number_is_one(value):
    """True is 1.0."""
    got = FLIGHT.row({**GOOD, "distance": value})["distance"]
    assert type(got) is float
    assert got == 1.0


@pytest.mark.parametrize(
    "value", ["abc", "", [1.0], {"a": 1}, np.array([1.0]), datetime(2020, 1, 1, tzinfo=UTC), 1 + 2j]
)
def test_what_is_no_number_is_refused_with_the_field(value):
    """The message shows the value and says what to send."""
    (problem,) = refusal(FLIGHT, {**GOOD, "distance": value})
    assert problem["field"] == "distance"
    assert shown(value) in problem["message"]
    assert "is not a number; send one such as 12.5" in problem["message"]


@pytest.mark.parametrize(
    "value",
    [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT"), Decimal("NaN")],
)
@pytest.mark.parametrize("name", ["distance", "carrier"])
def test_there_is_one_missing_value(name, value):
    """None, NaN, NA and NaT all become None."""
    assert FLIGHT.row({**GOOD, name: value})[name] is None


def test_the_text_nan_is_missing_for_a_number():
    """As float("nan") would be."""
    assert FLIGHT.row({**GOOD, "distance": "NaN"})["distance"] is None


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA, "nan"])
def test_missing_where_the_model_needs_a_value_is_refused(value):
    """Not nullable means not nullable, however missing is spelt."""
    (problem,) = refusal(FLIGHT, {**GOOD, "dep_time": value})
    assert problem["field"] == "dep_time"
    assert "missing" in problem["message"]


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), "inf", np.float32("inf")])
def test_infinities_pass(value):
    """Whether they have an answer is the estimator's to judge."""
    assert FLIGHT.row({**GOOD, "distance": value})["distance"] == float(value)


def test_a_number_no_float_can_hold_is_refused():
    """10**5000 neither overflows nor is printed whole."""
    (problem,) = refusal(FLIGHT, {**GOOD, "distance": 10**5000})
    assert len(problem["message"]) < 200


@pytest.mark.parametrize("value", [2**53 + 1, str(2**53 + 1), np.int64(2**53 + 1)])
def test_large_whole_numbers_of_integer_columns_are_not_rounded(value):
    """A snowflake id stays the id it is."""
    assert Schema([number("id", "int64")]).row({"id": value})["id"] == 2**53 + 1


@pytest.mark.parametrize("value", [1, 1.5, True, b"UA", ["UA"]])
def test_text_categories_are_strict(value):
    """A number is no category of texts."""
    (problem,) = refusal(FLIGHT, {**GOOD, "carrier": value})
    assert problem["message"].startswith(f"{shown(value)} is not text")


class Carrier(enum.Enum):
    UNITED = "UA"


def test_an_enum_member_stands_for_its_value():
    """Enums of the app's own need no conversion."""
    assert FLIGHT.row({**GOOD, "carrier": Carrier.UNITED})["carrier"] == "UA"


@pytest.mark.parametrize(
    ("value_type", "good", "result", "bad"),
    [
        ("int", 3.0, 3, "3"),
        ("int", np.int8(3), 3, 3.5),
        ("int", 3, 3, True),
        ("float", 3, 3.0, "3"),
        ("bool", np.False_, False, 1),
        (None, "a", "a", [1]),
        (None, 3, 3, {}),
    ],
)
def test_categories_take_their_own_type(value_type, good, result, bad):
    """Strict, save that 3.0 is 3."""
    schema = Schema([category("c", value_type, "object")])
    got = schema.row({"c": good})["c"]
    assert (got, type(got)) == (result, type(result))
    assert refusal(schema, {"c": bad})[0]["field"] == "c"


@pytest.mark.parametrize(("value", "result"), [("true", True), (1, True), (0.0, False), (np.False_, False)])
def test_booleans_are_lax(value, result):
    """As pydantic reads them."""
    assert Schema([Field(name="b", kind="boolean", dtype="bool")]).row({"b": value}) == {"b": result}


NOON = datetime(2026, 11, 20, 12)  # noqa: DTZ001 - as in a column without time zones
MOMENT = Schema([Field(name="t", kind="datetime", dtype="datetime64[us]", missing="nat", nullable=True)])
ZONED = Schema([Field(name="t", kind="datetime", dtype="datetime64[ns, UTC]", missing="nat")])


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-20T12:00",
        NOON,
        pd.Timestamp("2026-11-20 12:00"),
        np.datetime64("2026-11-20T12"),
    ],
)
def test_moments_come_in_many_types(value):
    """Text, datetime, Timestamp and datetime64 are the same moment."""
    assert MOMENT.row({"t": value})["t"] == NOON


@pytest.mark.parametrize("value", [1700000000, 1.5, "20260101", "1700000000", "soon", True])
def test_a_number_is_no_moment(value):
    """Nobody's 20260101 becomes a day in 1970."""
    assert "is not a moment" in refusal(MOMENT, {"t": value})[0]["message"]


def test_nat_is_missing_for_a_moment():
    """NaT is a datetime to Python, and would pass as one."""
    assert MOMENT.row({"t": pd.NaT}) == {"t": None}


def test_time_zones_must_fit_the_training_column():
    """A naive moment is not guessed to be in some zone, nor a zone dropped."""
    assert "with its time zone" in refusal(ZONED, {"t": "2026-11-20T12:00"})[0]["message"]
    assert "without a time zone" in refusal(MOMENT, {"t": "2026-11-20T12:00Z"})[0]["message"]
    assert ZONED.row({"t": "2026-11-20T12:00Z"}) == {"t": datetime(2026, 11, 20, 12, tzinfo=UTC)}


@pytest.mark.parametrize("dtype", ["float64", "int64"])
def test_bounds_of_the_users_schema_hold(dtype):
    """Inclusive at both ends, and the message says which was passed."""
    schema = Schema([number("n", dtype, minimum=0, maximum=10)])
    assert schema.row({"n": 10}) == {"n": 10.0}
    assert "below the minimum of 0.0" in refusal(schema, {"n": -1})[0]["message"]
    assert "above the maximum of 10.0" in refusal(schema, {"n": float("inf")})[0]["message"]


def test_enums_of_the_users_schema_hold():
    """Only listed values, and None where nullable."""
    schema = Schema([category("c", enum=("a", "b"), nullable=True)])
    assert schema.row({"c": "a"}) == {"c": "a"}
    assert schema.row({"c": None}) == {"c": None}
    assert refusal(schema, {"c": "z"})[0]["message"] == "'z' is not one of 'a', 'b'"


def test_extra_fields_are_ignored_and_counted():
    """An app may send a field before the model wants it."""
    schema = Schema([number()])
    for _ in range(3):
        assert schema.row({"distance": 1.0, "gate": "B", 7: None}) == {"distance": 1.0}
    assert schema.ignored == {"gate": 3, "7": 3}


def test_names_of_ignored_fields_are_printable():
    """They come from whoever sends requests, and go into statuses and logs."""
    schema = Schema([number()])
    schema.row({"distance": 1.0, "a\nERROR root: \x1b[2J": 1})
    assert schema.ignored == {"a\\nERROR root: \\x1b[2J": 1}


def test_names_of_ignored_fields_are_bounded():
    """A hostile caller cannot fill the memory with names."""
    schema = Schema([number()])
    schema.row({"distance": 1.0, **{f"{n}-" + "x" * 100: n for n in range(1000)}})
    assert len(schema.ignored) <= 101
    assert max(map(len, schema.ignored)) <= 60
    assert sum(schema.ignored.values()) == 1000


def test_messages_never_hold_more_of_a_value_than_sixty_characters():
    """Neither a long text nor a deep structure reaches a log whole."""
    for value in ("x" * 10**6, ["y" * 1000] * 1000, {"k" * 1000: [[["z"]]] * 1000}, b"z" * 10**5):
        (problem,) = refusal(FLIGHT, {**GOOD, "distance": value})
        assert len(problem["message"]) < 160


def test_errors_are_json_and_values_are_quoted():
    """A newline in a value does not forge a line of a log."""
    problems = refusal(FLIGHT, {**GOOD, "distance": "1\n2"})
    assert "\n" not in problems[0]["message"]
    assert json.loads(json.dumps(problems)) == problems


def test_a_row_with_very_many_problems_lists_the_first():
    """An error stays short."""
    problems = refusal(Schema([number(f"n{i}") for i in range(500)]), {})
    assert len(problems) == 21
    assert "only the first 20" in problems[-1]["message"]


def test_an_empty_list_is_no_rows():
    """Nothing in, nothing out."""
    assert FLIGHT.rows([]) == []


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0], [None], (1, 2)])
def test_a_bare_list_of_numbers_is_refused_with_the_mend(values):
    """It does not say which value is which."""
    with pytest.raises(InputError, match=r"send a mapping \{'distance': ..., 'carrier': ..., ...\}"):
        FLIGHT.rows(values)
    with pytest.raises(InputError, match=r"send a mapping \{'distance': ..., 'carrier': ..., ...\}"):
        FLIGHT.row(values)


def test_a_list_of_lists_is_refused_with_the_mend():
    """Rows are mappings, in a list too."""
    with pytest.raises(InputError, match=r"\[0\]: .*send a mapping"):
        FLIGHT.rows([[1.0, "UA", 3.0]])


def test_a_model_fitted_without_names_points_to_arrays():
    """x0..xn, or a 2-D array."""
    schema = Schema([number("x0"), number("x1")], "array")
    assert schema.row({"x0": 1, "x1": 2}) == {"x0": 1.0, "x1": 2.0}
    with pytest.raises(InputError, match=r"\{'x0': ..., 'x1': ...\}, or a 2-D numpy array"):
        schema.rows([1.0, 2.0])


@pytest.mark.parametrize("value", ['{"distance": 1}', 3, None, object()])
def test_what_is_no_row_is_refused(value):
    """JSON that was not parsed, a number, nothing."""
    with pytest.raises(InputError, match="expected a mapping"):
        FLIGHT.row(value)
    with pytest.raises(InputError):
        FLIGHT.rows(value)


def test_rows_number_their_problems():
    """The row is named as well as the field."""
    with pytest.raises(InputError) as caught:
        FLIGHT.rows([GOOD, {**GOOD, "distance": "abc"}, GOOD, 3])
    assert [p["field"] for p in caught.value.errors()] == ["[1].distance", "[3]"]


def test_a_million_bad_rows_are_not_all_listed():
    """Looking stops once there is enough to say."""
    with pytest.raises(InputError) as caught:
        FLIGHT.rows([{}] * 10_000)
    assert len(caught.value.errors()) == 21


class Shady(dict):
    """Stores lists and shows their last value, as Django's QueryDict does."""

    def __getitem__(self, name):
        return super().__getitem__(name)[-1]


@pytest.mark.parametrize(
    "row",
    [
        MappingProxyType(GOOD),
        OrderedDict(GOOD),
        defaultdict(int, GOOD),
        Shady({name: ["no", value] for name, value in GOOD.items()}),
    ],
)
def test_any_mapping_is_a_row_by_what_it_shows(row):
    """Not by what a dict subclass stores."""
    assert FLIGHT.row(row) == GOOD


def test_a_default_dict_has_no_more_fields_than_it_shows():
    """Checking a row does not add to it."""
    row = defaultdict(float, carrier="UA")
    assert len(refusal(FLIGHT, row)) == 2
    assert dict(row) == {"carrier": "UA"}


def test_a_pydantic_object_is_a_row():
    """With enums, computed fields and aliases."""

    class Flight(pydantic.BaseModel):
        carrier: Carrier
        dist: float = pydantic.Field(alias="distance")

        @pydantic.computed_field
        def dep_time(self) -> float:
            return 600.0

    assert FLIGHT.row(Flight(carrier=Carrier.UNITED, distance=1400)) == GOOD


TEXTS = Schema([Field(name="text", kind="text", dtype="str", value_type="str")], "text")


def test_a_text_model_takes_texts():
    """One str, or a list of them."""
    assert TEXTS.row("hello") == {"text": "hello"}
    assert TEXTS.rows(["a", "b"]) == [{"text": "a"}, {"text": "b"}]


@pytest.mark.parametrize("value", [3, None, b"x", ["a"]])
def test_a_text_model_refuses_what_is_no_text(value):
    """With the mend."""
    with pytest.raises(InputError, match="expected a str, or a list of str"):
        TEXTS.row(value)


@pytest.mark.parametrize(
    "name", ["a b", "_x", "class", "items", "model_config", "__pydantic_config__", "", "é"]
)
def test_any_text_can_name_a_field(name):
    """Columns are called anything."""
    assert Schema([number(name)]).row({name: 1}) == {name: 1.0}


def test_many_threads_share_a_schema():
    """Each gets the row it sent."""
    wrong = []

    def work(mine):
        for n in range(2000):
            sent = {
                "distance": mine * 10_000 + n,
                "carrier": str(mine),
                "dep_time": float("nan") if n % 7 else 1,
            }
            try:
                got = FLIGHT.row(sent)
                right = n % 7 == 0 and got["distance"] == sent["distance"] and got["carrier"] == str(mine)
            except InputError:
                right = n % 7 != 0
            if not right:
                wrong.append(sent)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_rows_need_no_pandas():
    """The module loads none of the heavy libraries."""
    code = "import sys, mlshared._schema, mlshared._frames; print({'pandas', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def attempt(check):
    """Return (what it returned, no problems), or (None, the problems)."""
    try:
        return check(), []
    except InputError as error:
        return None, error.errors()


for_all = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@for_all
@given(st.dictionaries(st.sampled_from(["distance", "carrier", "dep_time", "other"]), ANYTHING))
def test_every_row_is_checked_or_refused(row):
    """Whatever is sent: the fields' own types, or an InputError; never anything else."""
    checked, problems = attempt(lambda: FLIGHT.row(row))
    if problems:
        assert all(len(p["message"]) < 200 for p in problems)
        return
    assert list(checked) == ["distance", "carrier", "dep_time"]
    assert checked["distance"] is None or type(checked["distance"]) is float
    assert checked["carrier"] is None or type(checked["carrier"]) is str
    assert type(checked["dep_time"]) is float
    assert not any(is_missing(value) and value is not None for value in checked.values())


@for_all
@given(ANYTHING)
def test_a_column_is_checked_as_its_rows_are(value):
    """Tables and rows have one rule."""
    for name in FLIGHT.names:
        row, by_row = attempt(lambda name=name: FLIGHT.row({**GOOD, name: value}))
        column, by_column = attempt(lambda name=name: FLIGHT.column(name, [value]))
        assert [p["message"] for p in by_row] == [p["message"] for p in by_column]
        assert column == (row and [row[name]])


@for_all
@given(st.floats(allow_nan=False))
def test_floats_pass_unchanged(value):
    """Not a bit of a number is lost."""
    assert FLIGHT.row({**GOOD, "distance": value})["distance"].hex() == value.hex()


def test_schemas_of_the_same_fields_share_what_was_compiled():
    """The next version of a model mostly reads what the last one did; one that does not has a check of its own."""
    one, two = (Schema([number("distance", nullable=True)]) for _ in range(2))
    other = Schema([number("distance", nullable=False)])
    assert one._quick is two._quick
    assert one.row({"distance": None}) == {"distance": None}
    with pytest.raises(InputError):
        other.row({"distance": None})


def test_a_row_of_many_strange_names_costs_little():
    """What a missing field may have been called is looked for among a hundred names, for twenty fields."""
    schema = Schema([Field(name=f"field_number_{i}", kind="number", dtype="float64") for i in range(300)])
    row = {f"feeld_numbr_{i}": 1 for i in range(100_000)}
    asked = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("difflib.get_close_matches", lambda _, names, **__: asked.append(len(names)) or [])
        with pytest.raises(InputError) as caught:
            schema.row(row)
    assert len(caught.value.errors()) == 21
    assert (len(asked), max(asked)) == (21, 100)
