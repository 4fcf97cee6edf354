"""self_test: which differences of golden answers pass, and what is said of the others."""

import json

import numpy as np
import pytest
from scipy.sparse import csr_array

from mlshared._selftest import encode, self_test
from mlshared.errors import (
    EnvironmentMismatch,
    InputError,
    IntegrityError,
    SelfTestFailed,
    UnsupportedFormat,
)


def _golden(answers, *, exact=(), written="1.0"):
    rows = [{"a": 1.0}, {"a": None}]
    encoded = {method: encode(answer) for method, answer in answers.items()}
    blob = {"format": written, "rows": rows, "exact": list(exact), "answers": encoded}
    return json.dumps(blob, allow_nan=False).encode()


def _answering(answer):
    return lambda method, rows: answer


def test_equal_answers_pass():
    """Labels, probabilities and scores equal to those of publish."""
    answers = {"predict": np.array(["late", "ok"]), "predict_proba": np.array([[0.1, 0.9], [0.5, 0.5]])}
    self_test(lambda method, rows: answers[method], _golden(answers, exact=["predict"]))


def test_rows_are_handed_over_raw():
    """The function under test sees the rows of the blob, None where missing."""
    seen = []

    def answer(method, rows):
        seen.append((method, rows))
        return np.array([1.0, 2.0])

    self_test(answer, _golden({"predict": np.array([1.0, 2.0])}))
    assert seen == [("predict", [{"a": 1.0}, {"a": None}])]


def test_another_label_fails_and_is_named():
    """Method, row, expected and got are in the message."""
    golden = _golden({"predict": np.array(["late", "ok"])}, exact=["predict"])
    with pytest.raises(SelfTestFailed, match="predict, row 1: expected 'ok', got 'late'"):
        self_test(_answering(np.array(["late", "late"])), golden)


@pytest.mark.parametrize("got", [np.array([True, False]), np.array(["1", "0"]), np.array([1.0, 0.1])])
def test_labels_of_another_type_fail(got):
    """1 is neither True nor "1"; numeric labels have no tolerance."""
    with pytest.raises(SelfTestFailed):
        self_test(_answering(got), _golden({"predict": np.array([1, 0])}, exact=["predict"]))


def test_a_column_is_compared_relative_to_its_largest_value():
    """Next to 1e6, a difference of 0.5 passes at 1e-6; of 2 it does not."""
    golden = _golden({"predict": np.array([1e6, 3.0])})
    self_test(_answering(np.array([1e6, 3.5])), golden)
    with pytest.raises(SelfTestFailed, match=r"row 1: expected 3\.0, got 5\.0"):
        self_test(_answering(np.array([1e6, 5.0])), golden)


def test_columns_are_compared_each_for_itself():
    """A large column does not excuse a small one."""
    golden = _golden({"transform": np.array([[1e6, 1.0], [1e6, 2.0]])})
    with pytest.raises(SelfTestFailed, match="row 0, column 1"):
        self_test(_answering(np.array([[1e6, 1.1], [1e6, 2.0]])), golden)


def test_several_targets_of_mixed_types_are_compared():
    """A list of tables, one per target, and labels of text beside numbers."""
    proba = [np.array([[0.1, 0.9], [0.8, 0.2]]), np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])]
    labels = np.array([["late", 1], ["ok", 0]], dtype=object)
    golden = _golden({"predict": labels, "predict_proba": proba}, exact=["predict"])
    self_test(lambda method, rows: {"predict": labels, "predict_proba": proba}[method], golden)
    wrong = [proba[0], proba[1][:, ::-1]]
    with pytest.raises(SelfTestFailed, match="predict_proba, row 0, column 2"):
        self_test(lambda method, rows: {"predict": labels, "predict_proba": wrong}[method], golden)


def test_values_that_json_lacks_are_kept_apart():
    """NaN equals NaN, infinities equal themselves, and the text "nan" is none of them."""
    golden = _golden({"predict": np.array([np.nan, -np.inf])})
    self_test(_answering(np.array([np.nan, -np.inf])), golden)
    for got in (np.array([0.0, -np.inf]), np.array([np.nan, np.inf]), np.array(["nan", "-inf"])):
        with pytest.raises(SelfTestFailed):
            self_test(_answering(got), golden)


def test_sparse_answers_equal_dense_ones():
    """A sparse transform is compared by its values."""
    table = np.array([[0.0, 1.0], [2.0, 0.0]])
    self_test(_answering(csr_array(table)), _golden({"transform": table}))


@pytest.mark.parametrize("got", [np.array([1.0]), np.array([[1.0, 2.0], [1.0, 2.0]])])
def test_another_shape_fails(got):
    """Fewer rows or more columns are a disagreement, not a crash."""
    with pytest.raises(SelfTestFailed, match="columns and"):
        self_test(_answering(got), _golden({"predict": np.array([1.0, 2.0])}))


@pytest.mark.parametrize(
    "error", [AttributeError("gone"), InputError([{"field": "a", "message": "missing"}])]
)
def test_a_version_that_cannot_answer_fails(error):
    """Loads, then fails at predict: found here."""

    def answer(method, rows):
        raise error

    with pytest.raises(SelfTestFailed, match="does not answer"):
        self_test(answer, _golden({"predict": np.array([1.0, 2.0])}))


def test_a_missing_library_is_a_mismatch():
    """An import that fails while answering is the environment's fault."""

    def answer(method, rows):
        raise ModuleNotFoundError("No module named 'pandas'")

    with pytest.raises(EnvironmentMismatch, match="pandas"):
        self_test(answer, _golden({"predict": np.array([1.0, 2.0])}))


@pytest.mark.parametrize(
    ("table", "single", "wrong"),
    [
        (np.array(["late", "in time"]), ["late", "in time"], ["late", "late"]),
        (np.array([1.0, 2.0]), [1.0, 2.0], [1.0, 2.1]),
        (np.array([[0.1, 0.9], [0.7, 0.3]]), [[0.1, 0.9], [0.7, 0.3]], [[0.1, 0.9], [0.7, 0.31]]),
        (
            [np.array([[0.1, 0.9], [0.7, 0.3]]), np.array([[1.0], [1.0]])],
            [[[0.1, 0.9], [1.0]], [[0.7, 0.3], [1.0]]],
            [[[0.1, 0.9], [1.0]], [[0.7, 0.3], [0.9]]],
        ),
    ],
)
def test_single_rows_are_asked_as_well(table, single, wrong):
    """A request is answered by the way of single rows, which may differ where tables do not."""
    golden = _golden({"predict": table})
    self_test(_answering(table), golden, one=lambda method: lambda row: single[row["a"] is None])
    with pytest.raises(SelfTestFailed, match=r"predict of single rows, row 1"):
        self_test(_answering(table), golden, one=lambda method: lambda row: wrong[row["a"] is None])
    with pytest.raises(SelfTestFailed, match=r"predict of single rows does not answer"):
        self_test(_answering(table), golden, one=lambda method: lambda row: row["absent"])


@pytest.mark.parametrize("error", [MemoryError(), OSError("disk")])
def test_memory_and_disk_trouble_are_no_verdict(error):
    """They pass through, so that the version is tried again."""

    def answer(method, rows):
        raise error

    with pytest.raises(type(error)):
        self_test(answer, _golden({"predict": np.array([1.0, 2.0])}))


def test_a_newer_format_is_unsupported():
    """Written by a later major release."""
    with pytest.raises(UnsupportedFormat, match=r"2\.0"):
        self_test(_answering(None), _golden({"predict": np.array([1.0, 2.0])}, written="2.0"))


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"[]",
        b"{}",
        b'{"format": "1.0", "rows": [], "answers": {}}',
        b'{"format": "1.0", "rows": [1], "answers": {"predict": [NaN]}}',
        b'{"format": "1.0", "rows": [1], "answers": {"predict": 3}}',
        b'{"format": "1.0", "rows": [1, 2], "answers": {"predict": [[1], [1, 2]]}}',
    ],
)
def test_a_malformed_blob_is_an_integrity_error(blob):
    """Nothing to compare with is no pass."""
    with pytest.raises(IntegrityError):
        self_test(_answering(np.array([1.0])), blob)
