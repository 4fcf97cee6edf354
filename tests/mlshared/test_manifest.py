"""Entries: both ways through JSON, what newer writers may add, and names."""

import pytest
from entries import manifest, release
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mlshared._envelope import seal
from mlshared.errors import IntegrityError, UnsupportedFormat
from mlshared.manifest import (
    Artifact,
    Field,
    Lease,
    Manifest,
    Release,
    check_alias,
    check_model_name,
    parse,
    to_bytes,
)

SCALARS = (
    st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
BOUNDS = st.none() | st.floats(allow_nan=False, allow_infinity=False)
FIELDS = st.builds(
    Field,
    name=st.text(),
    kind=st.sampled_from(["number", "boolean", "category", "datetime", "text"]),
    dtype=st.text(),
    nullable=st.booleans(),
    minimum=BOUNDS,
    maximum=BOUNDS,
    enum=st.none() | st.lists(SCALARS, max_size=4).map(tuple),
)
ARTIFACTS = st.builds(
    Artifact,
    kind=st.text(),
    required=st.booleans(),
    sha256=st.just("a" * 64),
    size=st.integers(0, 2**40),
    requires=st.dictionaries(st.text(), st.text(), max_size=2),
)
HOSTILE = (
    st.none() | SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(), SCALARS, max_size=2)
)


def payload(entry, **changes):
    return seal({**entry.model_dump(mode="json"), **changes}, entry.TYPE)


def types(values):
    return [type(value) for value in values or ()]


@given(
    st.lists(FIELDS, max_size=3),
    st.lists(ARTIFACTS, max_size=3),
    st.none() | st.lists(SCALARS, max_size=4),
    st.dictionaries(st.text(), st.text(), max_size=2),
    st.integers(1, 9_999_999_999),
)
def test_a_manifest_comes_back(fields, artifacts, classes, labels, version):
    """Every field as it was, classes by type too: False is not 0, and 1 not 1.0."""
    made = manifest(version, fields=fields, artifacts=artifacts, classes=classes, labels=labels)
    back = parse(to_bytes(made), Manifest).entry
    assert back == made
    assert types(back.classes) == types(made.classes)
    assert [types(field.enum) for field in back.fields] == [types(field.enum) for field in made.fields]


@pytest.mark.parametrize("value", ["nan", "inf", "3600", -1.0, True])
def test_a_promise_is_a_number_of_seconds(value):
    """A word that means one is none: with what is no number neither times nor order can be told."""
    with pytest.raises(IntegrityError, match="fresh_for_seconds"):
        parse(payload(release(1), fresh_for_seconds=value), Release)


@given(st.integers(1, 9_999_999_999), st.lists(st.integers(1, 99), max_size=4), st.booleans(), st.text())
def test_a_release_comes_back(number, withdrawn, hold, reason):
    """Every field as it was."""
    made = release(number, prev=release(1), withdrawn=withdrawn, hold=hold, reason=reason)
    assert parse(to_bytes(made), Release).entry == made


@given(st.sampled_from(sorted(Release.model_fields)), HOSTILE)
def test_any_value_in_any_field_is_refused_or_taken(name, value):
    """Never anything but an `ArtifactError` of the two kinds."""
    try:
        entry = parse(payload(release(2, prev=release(1)), **{name: value}), Release).entry
    except (IntegrityError, UnsupportedFormat):
        return
    assert 1 <= entry.number <= 9_999_999_999


@given(st.sampled_from(sorted(Manifest.model_fields)), HOSTILE)
def test_any_value_in_any_field_of_a_manifest(name, value):
    """The same for manifests."""
    try:
        entry = parse(payload(manifest(), **{name: value}), Manifest).entry
    except (IntegrityError, UnsupportedFormat):
        return
    assert all(artifact.size >= 0 for artifact in entry.artifacts)


def test_unknown_fields_are_ignored():
    """Trainers may be newer than clients."""
    assert parse(payload(release(), surprise={"a": 1}), Release).entry.number == 1


def test_unknown_fields_that_are_critical_are_not():
    """The reader is to be upgraded, and nothing is set aside."""
    with pytest.raises(UnsupportedFormat, match="needs 'surprise', unknown here: upgrade"):
        parse(payload(release(), surprise=1, critical=["surprise"]), Release)


@pytest.mark.parametrize("critical", [[{}], [["hold"]], [1], "hold"])
def test_critical_that_is_no_list_of_names(critical):
    """What no trainer writes is refused like any other bad entry."""
    with pytest.raises(IntegrityError, match="critical"):
        parse(payload(release(), critical=critical), Release)


def test_known_fields_may_be_critical():
    """Nothing is lacking then."""
    assert parse(payload(release(), critical=["hold"]), Release).entry.number == 1


@pytest.mark.parametrize("written", ["1.0", "1.1", "1.999"])
def test_a_newer_minor_format_is_read(written):
    """It only adds."""
    assert parse(payload(release(), format=written), Release).entry.format == written


@pytest.mark.parametrize("written", ["2.0", "0.9", "10.0"])
def test_another_major_format_is_for_an_upgrade(written):
    """And says so."""
    with pytest.raises(UnsupportedFormat, match="upgrade mlshared"):
        parse(payload(release(), format=written), Release)


@pytest.mark.parametrize("written", [None, 1, "1", "1.0.0", "one", "1.0\n", "\uff11.0"])
def test_no_format_is_no_entry(written):
    """Only ``major.minor`` in plain digits."""
    with pytest.raises(IntegrityError, match="names no format"):
        parse(payload(release(), format=written), Release)


@pytest.mark.parametrize(
    "changes",
    [{"number": 0}, {"number": 10**10}, {"number": 1.5}, {"store": "A" * 32}, {"nonce": "a" * 31},
     {"manifest_sha256": "a" * 63}, {"manifest_sha256": "a" * 64 + "\n"}, {"kind": "delete"},
     {"by": "nobody"}, {"created_at": "2026-11-20T12:00:00"}],
)  # fmt: skip
def test_values_out_of_range(changes):
    """Numbers, hashes, kinds, times without a zone."""
    with pytest.raises(IntegrityError, match="not a release"):
        parse(payload(release(), **changes), Release)


def test_one_type_of_payload_is_not_another():
    """Even in an envelope of the right type."""
    with pytest.raises(IntegrityError, match="says it is a 'manifest'"):
        parse(seal(manifest().model_dump(mode="json"), "release"), Release)


def test_a_lease_comes_back():
    """The third kind of entry."""
    common = {"type": "lease", "format": "1.0", "store": "5" * 32, "model": "flights", "nonce": "a" * 32}
    made = Lease(**common, number=3, beat=2, owner="host:1")
    assert parse(to_bytes(made), Lease).entry == made


def test_entries_do_not_change():
    """What was verified stays so."""
    with pytest.raises(ValidationError, match="frozen"):
        release().version = 2


@pytest.mark.parametrize("name", ["flights", "a", "0", "a.b_c-d", "x" * 64])
def test_model_names(name):
    """Lower case, digits, and three marks."""
    assert check_model_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "Flights", ".a", "-a", "_a", "a/b", "a b", "a\n", "ä", "x" * 65, "feed", "\u0663"]
)
def test_no_model_names(name):
    """Nothing that could be another key, or another case of it."""
    with pytest.raises(ValueError, match="cannot name a model"):
        check_model_name(name)


@pytest.mark.parametrize("alias", ["production", "a", "a-1", "x" * 32])
def test_aliases(alias):
    """Begin with a letter."""
    assert check_alias(alias) == alias


@pytest.mark.parametrize("alias", ["", "1", "A", "a_b", "a.b", "a/b", "a\n", "x" * 33, "latest"])
def test_no_aliases(alias):
    """A number is a version, ``latest`` the newest."""
    with pytest.raises(ValueError, match="cannot name an alias"):
        check_alias(alias)
