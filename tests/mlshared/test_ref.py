"""Refs: which model, and which of its versions."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlshared._ref import Ref, parse_ref
from mlshared.errors import ConfigError

NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True).filter(lambda name: name != "feed")
ALIASES = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True).filter(lambda alias: alias != "latest")
MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0)
)
REFS = (
    st.builds(Ref, NAMES, ALIASES)
    | st.builds(Ref, NAMES, st.just("production"), version=st.integers(1, 9_999_999_999))
    | st.builds(Ref, NAMES, st.just("production"), latest=st.just(True))
    | st.builds(Ref, NAMES, st.just("production"), at=MOMENTS)
)


@given(REFS)
def test_a_ref_written_is_read_as_the_same(ref):
    """Whatever it means."""
    assert parse_ref(str(ref)) == ref


@given(st.text(max_size=60) | st.tuples(NAMES, st.text(max_size=40)).map("@".join))
def test_any_text_is_a_ref_or_refused(text):
    """Never anything but a `ConfigError`."""
    try:
        ref = parse_ref(text)
    except ConfigError:
        return
    assert parse_ref(str(ref)).model == ref.model


def test_a_bare_name_means_the_alias_of_the_settings():
    """``production``, unless they say otherwise."""
    assert parse_ref("flights") == Ref("flights", "production")
    assert parse_ref("flights", alias="staging") == Ref("flights", "staging")


@pytest.mark.parametrize(
    ("text", "fixed"),
    [("flights", False), ("flights@staging", False), ("flights@latest", False), ("flights@42", True),
     ("flights@2026-11-20T12:00Z", True)],
)  # fmt: skip
def test_what_never_changes(text, fixed):
    """A version, and the past."""
    assert parse_ref(text).fixed is fixed


def test_a_moment_is_one_wherever_it_is_written():
    """With any offset."""
    assert parse_ref("flights@2026-11-20T14:00+02:00").at == parse_ref("flights@2026-11-20T12:00Z").at


@pytest.mark.parametrize(
    "text",
    ["", "@", "flights@", "@42", "Flights", "flights@0", "flights@-1", "flights@00000000000000000000001x",
     "flights@99999999999", "flights@2026-11-20T12:00", "flights@2026-13-01T00:00Z", "flights@Production",
     "flights@42@43", "flights@../x", "flights@4\uff12", None, 42],
)  # fmt: skip
def test_no_refs(text):
    """The message shows how to write one."""
    with pytest.raises(ConfigError, match=r"flights@42|a ref is text"):
        parse_ref(text)
