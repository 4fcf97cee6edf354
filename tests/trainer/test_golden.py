"""Golden rows: made up, the same every time, away from boundaries, answered by the reference."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeClassifier

from mlshared._selftest import self_test
from mlshared.manifest import Field
from trainer._golden import away_from_ties, golden_rows, make_golden
from trainer.errors import NoGoldenRows

NUMBER = {"kind": "number", "dtype": "float64"}
FIELDS = (
    Field(name="distance", nullable=True, **NUMBER),
    Field(name="seats", kind="number", dtype="int64"),
    Field(name="carrier", kind="category", dtype="object", value_type="str", nullable=True),
    Field(name="night", kind="boolean", dtype="bool", value_type="bool"),
)


@pytest.fixture
def table():
    random = np.random.default_rng(0)
    carriers = random.choice(["UA", "AA"], 200).astype(object)
    carriers[:3] = "RARE"
    return pd.DataFrame(
        {
            "distance": random.normal(1000, 300, 200),
            "seats": random.integers(50, 300, 200),
            "carrier": carriers,
            "night": random.random(200) < 0.5,
        }
    )


def _pipeline(last):
    return make_pipeline(
        make_column_transformer(
            (SimpleImputer(), ["distance", "seats"]), (OneHotEncoder(handle_unknown="ignore"), ["carrier"])
        ),
        last,
    )


def _reference(estimator, table):
    def answer(method, rows):
        frame = pd.DataFrame(rows, columns=list(table.columns))
        return getattr(estimator, method)(frame.astype({"distance": float, "carrier": object}))

    return answer


def test_the_same_rows_every_time(table):
    """No clock and no global random state in it."""
    assert golden_rows(FIELDS, table) == golden_rows(FIELDS, table)


def test_rows_are_strict_json_of_the_fields(table):
    """Plain values under the fields' names, None where missing."""
    rows = golden_rows(FIELDS, table)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert all(list(row) == [field.name for field in FIELDS] for row in rows)


def test_every_kind_of_row_is_there(table):
    """Typical first; missing where nullable and only there; unseen category; beyond the data."""
    rows = golden_rows(FIELDS, table)
    assert rows[0]["distance"] == pytest.approx(table.distance.median(), rel=1e-5)
    missing = {name for row in rows for name, value in row.items() if value is None}
    assert missing == {"distance", "carrier"}
    assert "mlshared-unseen" in {row["carrier"] for row in rows}
    assert max(row["distance"] or 0 for row in rows) > table.distance.max()
    assert all(type(row["seats"]) is int and type(row["night"]) is bool for row in rows)


def test_rare_categories_and_real_rows_stay_out(table):
    """A value seen fewer than ten times could be one person; no row of the data is in it."""
    rows = golden_rows(FIELDS, table)
    assert "RARE" not in {row["carrier"] for row in rows}
    real = {tuple(row) for row in table.itertuples(index=False)}
    assert not real & {tuple(row.values()) for row in rows}


def test_real_rows_come_first_when_asked_for(table):
    """real_rows=3 puts three rows of the data first."""
    rows = golden_rows(FIELDS, table, real_rows=3)
    assert [row["distance"] for row in rows[:3]] == table.distance[:3].tolist()


def test_bounds_and_enums_of_the_users_schema_hold(table):
    """The app's own validation would refuse others."""
    fields = (
        Field(name="distance", minimum=900, maximum=1000, **NUMBER),
        Field(name="carrier", kind="category", dtype="object", value_type="str", enum=("AA", "DL")),
    )
    rows = golden_rows(fields, table)
    assert all(900 <= row["distance"] <= 1000 for row in rows)
    assert {row["carrier"] for row in rows} == {"AA", "DL"}


def test_arrays_and_texts_have_rows_too():
    """x0..xn from an array; sentences of common words, never a whole text, from texts."""
    fields = [Field(name=f"x{i}", **NUMBER) for i in range(2)]
    rows = golden_rows(fields, np.random.default_rng(0).normal(size=(50, 2)), input="array")
    assert set(rows[0]) == {"x0", "x1"}
    texts = golden_rows((), ["my secret is here", "all is well"] * 3 + ["is it so"] * 9, input="text")
    words = {word for text in texts for word in text.split()}
    assert words == {"is", "mlshared-unseen"}


@pytest.mark.parametrize("last", [LogisticRegression(max_iter=5000), DecisionTreeClassifier()])
def test_the_blob_passes_the_self_test_of_what_it_was_made_with(table, last):
    """At most 64 rows, answered, and answered alike again."""
    estimator = _pipeline(last).fit(table, np.where(table.distance > 1000, "late", "ok"))
    answer = _reference(estimator, table)
    golden = make_golden(
        golden_rows(FIELDS, table),
        answer,
        fields=FIELDS,
        methods=("predict", "predict_proba"),
        exact=("predict",),
    )
    assert 16 <= len(json.loads(golden)["rows"]) <= 64
    self_test(answer, golden)


def test_rows_the_estimator_refuses_are_left_out(table):
    """handle_unknown="error" leaves no unseen category behind."""
    encoder = make_column_transformer((OneHotEncoder(), ["carrier"]))
    common = table[table.carrier != "RARE"]
    estimator = make_pipeline(encoder, LinearRegression()).fit(common, common.distance)
    golden = make_golden(
        golden_rows(FIELDS, table), _reference(estimator, table), fields=FIELDS, methods=("predict",)
    )
    assert {row["carrier"] for row in json.loads(golden)["rows"]} == {"UA", "AA"}


def test_rows_on_a_threshold_are_left_out():
    """A number a billionth from a threshold could fall on the other side elsewhere."""
    golden = make_golden(
        [{"x0": 0.2}, {"x0": 0.5}, {"x0": 0.7}],
        lambda method, rows: np.where(np.array([row["x0"] for row in rows]) <= 0.5, 0.0, 9.0),
        fields=[Field(name="x0", **NUMBER)],
        methods=("predict",),
    )
    assert json.loads(golden)["rows"] == [{"x0": 0.2}, {"x0": 0.7}]


def test_rows_whose_answers_dwarf_the_others_are_left_out():
    """Extrapolated to 10^20, one row would make the comparison blind for the rest."""
    x = np.linspace(0, 5, 100)[:, None]
    estimator = PoissonRegressor().fit(x, np.exp(x.ravel()))
    fields = [Field(name="x0", **NUMBER)]
    candidates = golden_rows(fields, x, input="array")

    def answer(method, rows):
        return estimator.predict([[row["x0"]] for row in rows])

    golden = make_golden(candidates, answer, fields=fields, methods=("predict",))
    assert answer("predict", candidates).max() > 1e15
    assert max(json.loads(golden)["answers"]["predict"]) < 1e6


def test_ties_are_seen_in_scores_of_every_shape():
    """One score against zero, one per class, and one table per target."""
    assert away_from_ties(np.array([0.0, 1.0, -1.0])).tolist() == [False, True, True]
    proba = np.array([[0.5, 0.5], [0.9, 0.1]])
    assert away_from_ties(proba).tolist() == [False, True]
    assert away_from_ties([proba, proba[::-1]]).tolist() == [False, False]


def test_texts_are_answered_and_tested():
    """A model of texts has golden rows of texts."""
    texts = ["good film", "bad film"] * 20
    estimator = make_pipeline(CountVectorizer(), LogisticRegression()).fit(texts, [1, 0] * 20)
    golden = make_golden(
        golden_rows((), texts, input="text"),
        lambda method, rows: getattr(estimator, method)(rows),
        methods=("predict", "predict_proba"),
        exact=("predict",),
    )
    self_test(lambda method, rows: getattr(estimator, method)(rows), golden)


def test_no_row_left_is_an_error():
    """A version that could not be tested is not published."""

    def answer(method, rows):
        raise ValueError("never")

    with pytest.raises(NoGoldenRows):
        make_golden([{"x0": 1.0}], answer, methods=("predict",))
