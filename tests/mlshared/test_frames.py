"""Frames are typed as the training frame was."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from mlshared import _frames
from mlshared._schema import Schema
from mlshared.errors import InputError
from mlshared.manifest import Field

TRAINING = pd.DataFrame(
    {
        "f64": [1.5, np.nan, 3.0],
        "f32": np.array([0.1, 2.0, 3.0], dtype="float32"),
        "i64": [1, 2, 3],
        "i8": np.array([1, 2, 3], dtype="int8"),
        "u16": np.array([1, 2, 3], dtype="uint16"),
        "flag": [True, False, True],
        "text": ["a", np.nan, "b"],
        "nones": pd.Series(["a", None, "b"], dtype=object),
        "nans": pd.Series(["a", np.nan, "b"], dtype=object),
        "nas": pd.Series(["a", pd.NA, "b"], dtype=object),
        "string": pd.array(["a", None, "b"], dtype="string"),
        "cat": pd.Categorical(["a", None, "b"], categories=["b", "a"]),
        "catint": pd.Categorical([3, 1, None], categories=[1, 3]),
        "Int": pd.array([1, None, 3], dtype="Int64"),
        "Float": pd.array([1.5, None, 3], dtype="Float64"),
        "Bool": pd.array([True, None, False], dtype="boolean"),
        "when": pd.to_datetime(["2026-01-01", None, "2026-01-02"]),
        "zoned": pd.to_datetime(["2026-01-01", None, "2026-01-02"]).tz_localize("Europe/Paris"),
        "arrow": pd.array([1, None, 3], dtype="int64[pyarrow]"),
        "arrowtext": pd.array(["a", None, "b"], dtype=pd.StringDtype("pyarrow")),
    }
)
KINDS = {
    "flag": ("boolean", None),
    "Bool": ("boolean", None),
    "when": ("datetime", None),
    "zoned": ("datetime", None),
    "catint": ("category", "int"),
} | dict.fromkeys(
    ["text", "nones", "nans", "nas", "string", "cat", "arrowtext"], ("category", "str")
)  # fmt: skip
MISSING = {"nones": "none", "when": "nat", "zoned": "nat"} | dict.fromkeys(
    ["nas", "string", "Int", "Float", "Bool", "arrow", "arrowtext"], "na"
)
CATEGORIES = {"cat": ["b", "a"], "catint": [1, 3]}


def field(name, **more):
    kind, value_type = KINDS.get(name, ("number", None))
    dtype = str(TRAINING[name].dtype)
    given = {"kind": kind, "value_type": value_type, "dtype": dtype, "nullable": True, **more}
    return Field(name=name, missing=MISSING.get(name, "nan"), **given)


SCHEMA = Schema([field(name) for name in TRAINING], "fields", CATEGORIES)


def one(name, value, **more):
    schema = Schema([field(name, **more)], "fields", CATEGORIES)
    return _frames.frame([schema.row({name: value})], schema)[name]


def refusal(x, schema=SCHEMA):
    with pytest.raises(InputError) as caught:
        _frames.table(x, schema)
    return caught.value.errors()


def test_rows_become_the_training_frame():
    """All dtypes and missing values at once; the round trip through rows loses nothing."""
    rows = SCHEMA.rows(TRAINING.to_dict("records"))
    pd.testing.assert_frame_equal(_frames.frame(rows, SCHEMA), TRAINING)


@pytest.mark.parametrize("name", list(TRAINING))
def test_every_single_row_has_the_training_dtype(name):
    """A frame of one row is typed as the whole was, where the dtype has room for its value."""
    for position, value in enumerate(TRAINING[name].tolist()):
        pd.testing.assert_series_equal(
            one(name, value), TRAINING[name].iloc[[position]].reset_index(drop=True)
        )


def test_no_rows_make_an_empty_frame_with_dtypes():
    """An empty list has an answer too."""
    pd.testing.assert_frame_equal(_frames.frame([], SCHEMA), TRAINING.iloc[:0])


@pytest.mark.parametrize(("name", "sentinel"), [("nones", None), ("nans", np.nan), ("nas", pd.NA)])
def test_an_object_column_keeps_its_own_missing_value(name, sentinel):
    """None, NaN and NA are three things to an imputer."""
    assert one(name, None).iloc[0] is sentinel
    assert one(name, "a").dtype == object


@pytest.mark.parametrize("name", ["i64", "i8", "u16", "flag"])
def test_a_gap_makes_whole_numbers_and_booleans_floats(name):
    """As pandas would."""
    column = one(name, None)
    assert column.dtype == np.float64
    assert column.isna().all()


@pytest.mark.parametrize(
    ("name", "value", "dtype"),
    [
        ("i64", 12.0, "int64"),
        ("i64", 12.5, "float64"),
        ("i64", float("inf"), "float64"),
        ("i64", 10**30, "float64"),
        ("i8", 300, "float64"),
        ("u16", -1, "float64"),
        ("Int", 12.5, "Float64"),
        ("arrow", 12.5, "double[pyarrow]"),
    ],
)
def test_a_value_the_dtype_cannot_hold_is_not_changed(name, value, dtype):
    """Never wrapped around, never truncated: the column widens."""
    column = one(name, value)
    assert str(column.dtype) == dtype
    assert column.iloc[0] == value


def test_a_large_identifier_is_not_rounded():
    """2**53 + 1 stays itself in an integer column."""
    assert one("i64", 2**53 + 1).iloc[0] == 2**53 + 1


def test_float32_columns_round_as_in_training():
    """0.1 is the float32 nearest to it; 1e39 is infinite, without a warning."""
    assert one("f32", 0.1).iloc[0] == np.float32(0.1)
    assert one("f32", 1e39).iloc[0] == np.inf


def test_an_unseen_category_is_missing_to_a_category_dtype():
    """As ``astype`` with the training dtype makes it."""
    column = one("cat", "zzz")
    assert column.isna().all()
    assert list(column.cat.categories) == ["b", "a"]


def test_a_moment_outside_the_dtype_is_an_input_error():
    """Nanoseconds end in 2262."""
    with pytest.raises(InputError, match=r"when: .*outside"):
        one("when", "9999-01-01T00:00", dtype="datetime64[ns]")


def test_a_training_frame_passes_as_a_table():
    """Unchanged, with its index."""
    x = TRAINING.set_axis([7, 7, 9])
    pd.testing.assert_frame_equal(_frames.table(x, SCHEMA), x)


def test_columns_may_come_in_any_order():
    """Names decide."""
    pd.testing.assert_frame_equal(_frames.table(TRAINING[TRAINING.columns[::-1]], SCHEMA), TRAINING)


def test_an_objects_only_table_is_typed_as_in_training():
    """A frame of a CSV reader or of JSON has other dtypes than the training frame."""
    pd.testing.assert_frame_equal(_frames.table(TRAINING.astype(object), SCHEMA), TRAINING)


def test_extra_columns_are_ignored_and_counted():
    """As extra fields of a row."""
    schema = Schema([field("f64")])
    assert list(_frames.table(TRAINING, schema)) == ["f64"]
    assert schema.ignored["i64"] == 1


def test_a_missing_column_names_the_closest_unknown_one():
    """did you mean ...?"""
    (problem,) = refusal(TRAINING.rename(columns={"zoned": "zonedd"}))
    assert problem == {"field": "zoned", "message": "missing; did you mean 'zonedd'?"}


def test_a_column_given_twice_is_refused():
    """Neither of them is guessed to be meant."""
    assert "twice" in refusal(pd.concat([TRAINING, TRAINING[["f64"]]], axis=1))[0]["message"]


@pytest.mark.parametrize(
    ("name", "values", "where"),
    [
        ("f64", ["1", "12", "abc"], "[2].f64"),
        ("flag", [1, 0, 5], "[2].flag"),
        ("text", ["a", 3, 4], "[1].text"),
        ("cat", [1, "a", "b"], "[0].cat"),
        ("when", ["2026-01-01", "x", "y"], "[1].when"),
    ],
)
def test_a_wrong_value_names_field_and_first_row(name, values, where):
    """The same messages as for rows."""
    x = TRAINING.assign(**{name: pd.Series(values, dtype=object)})
    assert refusal(x)[0]["field"] == where


@pytest.mark.parametrize("name", ["f64", "text", "string", "cat", "Int", "when", "nones", "arrow"])
def test_a_gap_where_the_model_needs_a_value_is_refused(name):
    """In whatever dtype it is missing."""
    schema = Schema([field(name, nullable=False)], "fields", CATEGORIES)
    assert refusal(TRAINING, schema)[0]["field"] == f"[1].{name}"


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "object"])
def test_bounds_hold_in_tables(dtype):
    """Checked as a whole or value by value."""
    schema = Schema([field("i64", minimum=0, maximum=10)])
    assert refusal(pd.DataFrame({"i64": [1, 10, 11]}).astype(dtype), schema)[0]["field"] == "[2].i64"
    assert refusal(pd.DataFrame({"i64": [1, -1, 0]}).astype(dtype), schema)[0]["field"] == "[1].i64"


def test_enums_hold_in_tables():
    """As in rows."""
    schema = Schema([field("text", enum=("a", "b"))])
    assert refusal(pd.DataFrame({"text": ["a", "c"]}), schema)[0]["field"] == "[1].text"


def test_categories_in_another_order_are_recoded():
    """Codes are the training's."""
    x = TRAINING.assign(cat=TRAINING["cat"].cat.set_categories(["a", "b", "c"]))
    pd.testing.assert_frame_equal(_frames.table(x, SCHEMA), TRAINING)


NUMBERS = Schema(
    [Field(name=n, kind="number", dtype="float64", nullable=True) for n in ("x0", "x1")], "array"
)


def test_an_array_model_gets_arrays():
    """From rows, arrays, and frames with the fields' names or with none."""
    array = np.array([[1.0, np.nan], [3.0, 4.0]])
    rows = NUMBERS.rows([{"x1": None, "x0": 1}, {"x0": 3, "x1": "4"}])
    for made in (
        _frames.frame(rows, NUMBERS),
        _frames.table(array, NUMBERS),
        _frames.table(array.astype("float32"), NUMBERS),
        _frames.table(array.astype(object), NUMBERS),
        _frames.table(pd.DataFrame(array), NUMBERS),
        _frames.table(pd.DataFrame(array[:, ::-1], columns=["x1", "x0"]), NUMBERS),
    ):
        np.testing.assert_array_equal(made, array)
        assert made.dtype == np.float64


def test_a_named_frame_is_not_guessed_for_an_array_model():
    """Positions are said by the caller."""
    assert "to_numpy()" in refusal(pd.DataFrame({"a": [1.0], "b": [2.0]}), NUMBERS)[0]["message"]


def test_an_empty_list_makes_an_empty_array():
    """With its width."""
    assert _frames.frame([], NUMBERS).shape == (0, 2)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 3)), "has 3 columns; the model reads 2: 'x0', 'x1'"),
        (np.zeros(2), "reshape"),
        (np.zeros((1, 1, 2)), "3 dimensions"),
    ],
)
def test_an_array_of_another_shape_is_refused(array, message):
    """With the mend."""
    assert message in refusal(array, NUMBERS)[0]["message"]


def test_an_array_is_a_table_for_a_model_of_numbers_alone():
    """In the order of its fields; not where kinds are mixed."""
    schema = Schema([field("f64"), field("i64")])
    made = _frames.table(np.array([[1.0, 2.0]]), schema)
    assert dict(made.dtypes.astype(str)) == {"f64": "float64", "i64": "int64"}
    assert (
        "pass a DataFrame" in refusal(np.zeros((1, 2)), Schema([field("f64"), field("text")]))[0]["message"]
    )


def test_arrays_of_text_keep_their_dtype():
    """``<U`` stays fixed-width text, object stays object."""
    for dtype, made in (("<U3", "U"), ("object", "O")):
        schema = Schema(
            [Field(name="x0", kind="category", dtype=dtype, value_type="str", nullable=True)], "array"
        )
        assert _frames.frame([{"x0": "abc"}], schema).dtype.kind == made


TEXTS = Schema([Field(name="text", kind="text", dtype="str", value_type="str")], "text")


@pytest.mark.parametrize(
    "given", [pd.Series(["a", "b"]), np.array(["a", "b"]), np.array(["a", "b"], dtype=object)]
)
def test_text_models_take_series_and_arrays(given):
    """A list of str comes out."""
    assert _frames.table(given, TEXTS) == ["a", "b"]
    assert _frames.frame(TEXTS.rows(["a", "b"]), TEXTS) == ["a", "b"]


def test_text_models_refuse_other_tables():
    """A frame is not one column of text by guess."""
    assert "reads texts" in refusal(pd.DataFrame({"text": ["a"]}), TEXTS)[0]["message"]
    assert refusal(pd.Series(["a", None]), TEXTS)[0]["field"] == "[1].text"


@pytest.mark.parametrize(
    ("x", "mend"), [(pd.Series([1.0]), "to_dict()"), (sparse.csr_matrix(np.eye(2)), ".toarray()")]
)
def test_other_libraries_tables_are_refused_with_the_mend(x, mend):
    """The message says what to pass instead."""
    assert mend in refusal(x, NUMBERS)[0]["message"]


def test_array_models_need_no_pandas_and_frames_name_the_extra():
    """An environment without pandas: arrays work, a frame says what to install."""
    code = """
import sys; sys.modules["pandas"] = None
from mlshared import _frames
from mlshared._schema import Schema
from mlshared.errors import ConfigError
from mlshared.manifest import Field
import numpy as np
x0 = Field(name="x0", kind="number", dtype="float64", nullable=True)
table = _frames.table(np.ones((1, 1)), Schema([x0], "array"))
print(table, _frames.frame([{"x0": None}], Schema([x0], "array")))
try:
    _frames.frame([{"x0": 1.0}], Schema([x0]))
except ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[[1.]] [[nan]]" in done.stdout
    assert "pip install 'mlshared[sklearn]'" in done.stdout


VALUES = {
    "f64": st.floats() | st.none(),
    "f32": st.floats(width=32) | st.none(),
    "i64": st.integers(-(2**63), 2**63 - 1),
    "i8": st.integers(-128, 127),
    "Int": st.integers(-(2**63), 2**63 - 1) | st.none(),
    "flag": st.booleans(),
    "text": st.text(st.characters(codec="utf-8"), max_size=5) | st.none(),
    "nones": st.text(max_size=5) | st.none(),
    "cat": st.sampled_from(["a", "b", None]),
    "Bool": st.booleans() | st.none(),
}


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.fixed_dictionaries(VALUES), max_size=4))
def test_a_table_made_of_rows_is_the_same_table(rows):
    """frame(rows) is a fixed point of table(), and equal to the rows' own naive frame as a table."""
    schema = Schema([field(name) for name in VALUES], "fields", CATEGORIES)
    made = _frames.frame(schema.rows(rows), schema)
    pd.testing.assert_frame_equal(_frames.table(made, schema), made)
    naive = pd.DataFrame(rows, columns=list(VALUES), dtype=object)
    pd.testing.assert_frame_equal(_frames.table(naive, schema), made)
    for name in VALUES:
        assert made[name].dtype == TRAINING[name].dtype
