import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlshared.errors import ConfigError
from mlshared.manifest import Environment, Features, Field, Manifest
from trainer.checks import AtLeast, Comparison, NoWorse, compatibility, compatible, judge

NAN = float("nan")


def comparison(candidate, champion, rows=100):
    return Comparison("flights@3", rows, {"auc": candidate}, {"auc": champion})


def manifest(version=1, **changes):
    values = {
        "type": "manifest",
        "format": "1.0",
        "store": "0" * 32,
        "model": "flights",
        "nonce": "1" * 32,
        "version": version,
        "publish_id": "2" * 32,
        "created_at": dt.datetime(2026, 11, 1, tzinfo=dt.UTC),
        "task": "classifier",
        "methods": ("predict", "predict_proba"),
        "classes": (False, True),
        "class_dtype": "bool",
        "output_dtype": "bool",
        "input": "fields",
        "fields": (field("distance"), field("carrier", "category", "str", value_type="str", nullable=True)),
        "artifacts": (),
        "environment": Environment(python="3.11.2", machine="x86_64"),
    }
    return Manifest(**{**values, **changes})


def field(name="distance", kind="number", dtype="float64", **more):
    return Field(name=name, kind=kind, dtype=dtype, **more)


@pytest.mark.parametrize(
    ("score", "passed"), [(0.7, True), (0.71, True), (0.6999, False), (NAN, False), (float("inf"), False)]
)
def test_at_least_is_a_floor(score, passed):
    """The value itself passes; what is no finite number does not."""
    assert AtLeast("auc", 0.7).judge({"auc": score}, None).passed is passed


@pytest.mark.parametrize(
    ("new", "old", "by", "passed"),
    [
        (0.8, 0.8, 0.0, True),
        (0.795, 0.8, 0.005, True),
        (0.7949, 0.8, 0.005, False),
        (0.9, 0.8, 0.0, True),
        (NAN, 0.8, 1.0, False),
        (0.8, NAN, 1.0, False),
        (-1e9, -1e9 + 1e-5, 0.0, True),
    ],
)
def test_no_worse_compares_on_the_same_rows(new, old, by, passed):
    """Equal passes, worse by more than `by` does not, and NaN on either side does not."""
    assert NoWorse("auc", by=by).judge({"auc": 0.0}, comparison(new, old)).passed is passed


def test_no_worse_shows_its_figures():
    """Both scores, the version, the rows."""
    check = NoWorse("auc", by=0.005).judge({}, comparison(0.81, 0.8, rows=1234))
    assert check.name == "auc no worse by more than 0.005"
    assert check.message == "0.81 against 0.8 of flights@3, on 1,234 rows that neither was trained on"


def test_no_version_in_force_is_nothing_to_compare_with():
    """A first release is not kept back by NoWorse."""
    check = NoWorse("auc").judge({"auc": 0.1}, None)
    assert check.passed
    assert "nothing to compare with" in check.message


@pytest.mark.parametrize("rows", [0, 29])
def test_too_few_rows_decide_nothing(rows):
    """The check fails and gives the count."""
    check = NoWorse("auc").judge({}, comparison(0.9, 0.1, rows=rows))
    assert not check.passed
    assert check.message.startswith(f"{rows} rows that neither was trained on: fewer than 30")


def test_just_enough_rows_decide():
    """The smallest number that is asked for is enough."""
    assert NoWorse("auc").judge({}, comparison(0.9, 0.1, rows=30)).passed
    assert NoWorse("auc", min_rows=1).judge({}, comparison(0.9, 0.1, rows=1)).passed


@pytest.mark.parametrize(("new", "old"), [(NAN, 0.8), (0.8, NAN), (float("inf"), 0.8), (0.8, float("-inf"))])
def test_a_comparison_with_no_number_says_so(new, old):
    """Also where the candidate would look better than minus infinity."""
    check = NoWorse("auc").judge({}, comparison(new, old))
    assert not check.passed
    assert check.message.endswith(": not finite numbers")


def test_a_comparison_that_cannot_be_made_fails_with_its_reason():
    """The reason is the message."""
    check = NoWorse("auc").judge({"auc": 0.9}, Comparison("flights@3", problem="cannot tell"))
    assert (check.passed, check.message) == (False, "cannot tell")


def test_every_gate_gives_its_verdict():
    """One failure does not hide the others."""
    gates = [AtLeast("auc", 0.9), NoWorse("auc"), AtLeast("auc", 0.1)]
    assert [check.passed for check in judge(gates, {"auc": 0.5}, None)] == [False, True, True]


@pytest.mark.parametrize(
    "make",
    [
        lambda: AtLeast("auc", NAN),
        lambda: AtLeast("auc", "0.7"),
        lambda: AtLeast("auc", True),
        lambda: AtLeast(len, 0.7),
        lambda: NoWorse("auc", by=-0.1),
        lambda: NoWorse("auc", by=NAN),
        lambda: NoWorse("auc", min_rows=0),
        lambda: NoWorse(""),
    ],
)
def test_unusable_gates_are_refused_when_made(make):
    """A gate that could not hold back anything is an error."""
    with pytest.raises(ConfigError):
        make()


def test_a_first_version_is_compatible():
    """There is nothing it could break."""
    assert compatibility(None, manifest()).passed


def test_the_same_manifest_is_compatible():
    """And the check says with what."""
    check = compatibility(manifest(3), manifest(4))
    assert check.passed
    assert "flights@3" in check.message


def test_dropped_fields_are_fine():
    """An app may go on sending a field the model no longer reads."""
    assert compatible(manifest(), manifest(2, fields=(field("distance"),))) == []


def test_a_failed_check_names_the_way_out():
    """A person may release what breaks."""
    check = compatibility(manifest(), manifest(2, task="regressor"))
    assert not check.passed
    assert check.message.endswith("trainer release flights 2 --breaking")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"task": "regressor"}, "it is a regressor, was a classifier"),
        ({"methods": ("predict",)}, "it has no predict_proba any more"),
        ({"classes": (True,)}, "it no longer knows the class False"),
        ({"classes": (0, 1)}, "it no longer knows the class False, True"),
        ({"output_dtype": "int64"}, "predict answers integers, answered booleans"),
        ({"targets": ("a", "b")}, "its targets are a, b, were not named"),
        ({"input": "text", "fields": ()}, "it takes text, took fields"),
        (
            {"features": Features(name="app:derive", sha256="0" * 64)},
            "expects app:derive, expected no feature",
        ),
        ({"fields": (field("speed", nullable=True),)}, "field 'speed' is new, and every row must have it"),
    ],
)
def test_what_breaks_an_app_is_said(changes, problem):
    """One sentence for each."""
    (found,) = compatible(manifest(), manifest(2, **changes))
    assert problem in found


def test_a_class_of_one_of_several_targets_is_missed():
    """Each target has its own classes."""
    old = manifest(targets=("late", "gate"), classes=(("no", "yes"), ("A", "B")))
    new = manifest(2, targets=("late", "gate"), classes=(("no", "yes"), ("A", "C")))
    assert compatible(old, new) == ["it no longer knows the class gate='B'"]


def test_another_width_breaks_arrays():
    """Columns without names are told apart by their place alone."""
    old = manifest(input="array", fields=(field("x0"), field("x1")))
    assert compatible(old, manifest(2, input="array", fields=(field("x0"),))) == [
        "it takes 1 columns, took 2"
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (field(), field(kind="category", dtype="str", value_type="str"), "takes category (str), took number"),
        (field(kind="boolean", dtype="bool"), field(), "takes number (float, int), took boolean (bool)"),
        (field(dtype="datetime64[ns]", kind="datetime"),
         field(dtype="datetime64[ns, UTC]", kind="datetime"), "with a time zone"),
        (field(nullable=True), field(), "may no longer be missing"),
        (field(), field(minimum=0), "must be at least 0, had no such bound"),
        (field(minimum=0), field(minimum=1), "must be at least 1, was 0"),
        (field(maximum=9), field(maximum=8), "must be at most 8, was 9"),
        (field(enum=("a", "b")), field(enum=("a",)), "no longer takes 'b'"),
        (field(), field(enum=("a",)), "no longer takes values other than 'a'"),
        (field(enum=(1,)), field(enum=(True,)), "no longer takes 1"),
    ],
)  # fmt: skip
def test_a_narrowed_field_breaks(old, new, problem):
    """Whatever was accepted yesterday and would be refused today."""
    (found,) = compatible(manifest(fields=(old,)), manifest(2, fields=(new,)))
    assert found.startswith("field 'distance'")
    assert problem in found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (field(dtype="float64"), field(dtype="int64")),
        (field(dtype="int64"), field(dtype="float64")),
        (field(), field(nullable=True)),
        (field(minimum=1, maximum=8), field(minimum=0, maximum=9)),
        (field(minimum=1, enum=(1,)), field()),
        (field(enum=("a",)), field(enum=("b", "a"))),
        (field(kind="category", dtype="str", value_type="str"), field(kind="text", dtype="str")),
        (field(kind="category", dtype="int64", value_type="int"), field()),
    ],
)
def test_a_widened_field_is_fine(old, new):
    """And so is a number read as integer tonight because nothing happened to be missing."""
    assert compatible(manifest(fields=(old,)), manifest(2, fields=(new,))) == []


bounds = st.none() | st.integers(-5, 5).map(float)
fields = st.builds(
    Field,
    name=st.sampled_from("abc"),
    kind=st.sampled_from(["number", "boolean", "text"]),
    dtype=st.just("float64"),
    nullable=st.booleans(),
    minimum=bounds,
    maximum=bounds,
)


@given(*[st.lists(fields, max_size=3, unique_by=lambda f: f.name).map(tuple) for _ in range(3)])
def test_compatibility_carries_over(first, second, third):
    """If 2 breaks nothing of 1, and 3 nothing of 2, then 3 breaks nothing of 1, dropped fields aside."""
    one, two, three = (manifest(fields=some) for some in (first, second, third))
    dropped_and_back = {f.name for f in first} - {f.name for f in second}
    if compatible(one, two) or compatible(two, three) or dropped_and_back & {f.name for f in third}:
        return
    assert compatible(one, three) == []
