"""Fields are what the fitted pipeline reads, holds and can do without."""

import enum
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import pydantic
import pytest
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import DBSCAN
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from mlshared._frames import frame, table
from mlshared._schema import Schema
from mlshared.errors import ConfigError, InputError
from mlshared.manifest import Field
from trainer._fields import fields_from_schema, infer_fields

RNG = np.random.default_rng(0)
N = 60
FLIGHTS = pd.DataFrame(
    {
        "distance": RNG.normal(1000, 300, N),
        "seats": RNG.integers(50, 300, N),
        "carrier": RNG.choice(["UA", "AA", "DL"], N),
        "tail": RNG.choice(["n1", "n2"], N),
        "night": RNG.random(N) < 0.5,
    }
)
LATE = (FLIGHTS["distance"] > 1000).astype(int)


def flights(**gaps):
    x = FLIGHTS.copy()
    for name, positions in gaps.items():
        x.loc[positions, name] = None
    return x


def mixed(numbers=("distance", "seats"), texts=("carrier",), **more):
    scaled = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer(
        [("n", scaled, list(numbers)), ("c", OneHotEncoder(handle_unknown="ignore"), list(texts))], **more
    )


def names(estimator, x):
    return [field.name for field in infer_fields(estimator, x)[1]]


def nullable(estimator, x):
    return {field.name for field in infer_fields(estimator, x)[1] if field.nullable}


def test_columns_a_column_transformer_drops_are_not_read():
    """Though feature_names_in_ lists them."""
    pipeline = make_pipeline(mixed(), LogisticRegression()).fit(FLIGHTS, LATE)
    assert names(pipeline, FLIGHTS) == ["distance", "seats", "carrier"]
    assert names(pipeline, FLIGHTS.drop(columns="tail")) == ["distance", "seats", "carrier"]


@pytest.mark.parametrize(
    ("columns", "read"),
    [
        (["seats", "distance"], ["distance", "seats"]),
        ([0, -4], ["distance", "seats"]),
        (slice("distance", "seats"), ["distance", "seats"]),
        (slice(0, 1), ["distance"]),
        ([True, False, False, False, True], ["distance", "night"]),
        (make_column_selector(dtype_include="number"), ["distance", "seats"]),
        (lambda x: ["seats"], ["seats"]),
    ],
)
def test_every_way_to_select_columns_is_understood(columns, read):
    """Names, positions, slices, masks, selectors and functions."""
    pipeline = make_pipeline(ColumnTransformer([("n", StandardScaler(), columns)]), LogisticRegression())
    assert names(pipeline.fit(FLIGHTS, LATE), FLIGHTS) == read


@pytest.mark.parametrize(
    ("remainder", "read"),
    [
        ("drop", ["distance"]),
        ("passthrough", ["distance", "seats"]),
        (StandardScaler(), ["distance", "seats"]),
    ],
)
def test_a_remainder_that_is_kept_is_read(remainder, read):
    """Dropped, passed on or transformed; and an explicit drop is no reading."""
    selection = ColumnTransformer(
        [("n", StandardScaler(), ["distance"]), ("d", "drop", ["carrier", "tail", "night"])],
        remainder=remainder,
    )
    assert names(make_pipeline(selection, LogisticRegression()).fit(FLIGHTS, LATE), FLIGHTS) == read


def test_nested_pipelines_unions_and_searches_are_followed():
    """What passes the frame on unchanged is looked through."""
    one = ColumnTransformer([("n", StandardScaler(), ["seats"])])
    two = make_pipeline("passthrough", ColumnTransformer([("n", StandardScaler(), ["distance"])]))
    pipeline = make_pipeline("passthrough", FeatureUnion([("a", one), ("b", two)]), LogisticRegression())
    search = GridSearchCV(pipeline, {"logisticregression__C": [1.0]}, cv=2).fit(FLIGHTS, LATE)
    assert names(search, FLIGHTS) == ["distance", "seats"]


def test_a_nested_selection_still_needs_what_the_outer_one_hands_it():
    """scikit-learn slices the outer columns first, read or not."""
    inner = ColumnTransformer([("n", StandardScaler(), ["seats"])])
    outer = ColumnTransformer([("inner", inner, ["seats", "distance"])])
    assert names(make_pipeline(outer, LogisticRegression()).fit(FLIGHTS, LATE), FLIGHTS) == [
        "distance",
        "seats",
    ]


class Ratio(TransformerMixin, BaseEstimator):
    """Keeps no record of its columns."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        return X[["distance"]].to_numpy() / X[["seats"]].to_numpy()


def test_a_first_step_without_a_record_reads_the_columns_of_x():
    """There is nobody else to ask."""
    pipeline = make_pipeline(Ratio(), LogisticRegression()).fit(FLIGHTS, LATE)
    assert names(pipeline, FLIGHTS) == list(FLIGHTS)


def test_columns_a_first_step_needs_are_kept_where_the_selection_alone_fails():
    """Asked of the structure, then tried."""

    class Subset(ColumnTransformer):
        def transform(self, X, **params):
            return super().transform(X.assign(extra=X["tail"]), **params)

    selection = Subset([("n", StandardScaler(), ["distance"])])
    assert names(make_pipeline(selection, LogisticRegression()).fit(FLIGHTS, LATE), FLIGHTS) == list(FLIGHTS)


def test_kinds_and_dtypes_are_those_of_the_frame():
    """One field of every kind."""
    x = FLIGHTS.assign(
        tail=pd.Categorical(FLIGHTS["tail"], categories=["n2", "n1"]),
        when=pd.Timestamp("2026-01-01"),
        old=FLIGHTS["carrier"].astype(object),
        small=FLIGHTS["distance"].astype("float32"),
        Int=FLIGHTS["seats"].astype("Int64"),
        code=pd.Series([1, 2, None] * (N // 3), dtype=object),
    )
    steps = make_pipeline(FunctionTransformer(lambda x: x[["distance"]]), LogisticRegression()).fit(x, LATE)
    kind, fields, categories = infer_fields(steps, x)
    assert kind == "fields"
    assert categories == {"tail": ["n2", "n1"]}
    found = {f.name: (f.kind, f.dtype, f.value_type, f.missing) for f in fields}
    assert found == {
        "distance": ("number", "float64", None, "nan"),
        "seats": ("number", "int64", None, "nan"),
        "carrier": ("category", "str", "str", "nan"),
        "tail": ("category", "category", "str", "nan"),
        "night": ("boolean", "bool", None, "nan"),
        "when": ("datetime", str(x["when"].dtype), None, "nat"),
        "old": ("category", "object", "str", "nan"),
        "small": ("number", "float32", None, "nan"),
        "Int": ("number", "Int64", None, "na"),
        "code": ("category", "object", "int", "none"),
    }


def test_nullable_is_what_the_fitted_pipeline_answers_without():
    """An imputer and a one-hot encoder do; whether tonight's sample has gaps does not matter."""
    pipeline = make_pipeline(mixed(), LogisticRegression()).fit(FLIGHTS, LATE)
    assert nullable(pipeline, FLIGHTS) == {"distance", "seats", "carrier"}
    strict = make_pipeline(ColumnTransformer([("n", StandardScaler(), ["distance"])], remainder="drop"))
    strict.steps.append(("lr", LogisticRegression()))
    assert nullable(strict.fit(FLIGHTS, LATE), FLIGHTS) == set()


def test_nullable_is_decided_field_by_field():
    """One column is imputed, its neighbour is not."""
    selection = ColumnTransformer(
        [
            ("a", SimpleImputer(), ["distance"]),
            ("b", "passthrough", ["seats"]),
            ("c", OneHotEncoder(), ["tail"]),
        ]
    )
    pipeline = make_pipeline(selection, LogisticRegression()).fit(FLIGHTS, LATE)
    assert nullable(pipeline, FLIGHTS) == {"distance"}


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        (HistGradientBoostingClassifier(max_iter=3), {"distance", "seats"}),
        (RandomForestRegressor(3, random_state=0), {"distance", "seats"}),
        (LinearRegression(), set()),
        (StandardScaler(), {"distance", "seats"}),
    ],
)
def test_estimators_that_take_missing_values_are_nullable(estimator, expected):
    """Trees do, linear models do not; without predict, transform is asked."""
    x = FLIGHTS[["distance", "seats"]]
    assert nullable(estimator.fit(x, LATE), x) == expected


@pytest.mark.parametrize("gap", [None, np.nan])
def test_the_frames_own_missing_value_is_recorded(gap):
    """And a row with a gap answers as the frame's row does."""
    x = FLIGHTS.assign(carrier=pd.Series([gap, "UA", "AA"] * (N // 3), dtype=object))
    encoder = OneHotEncoder(handle_unknown="error")
    pipeline = make_pipeline(ColumnTransformer([("c", encoder, ["carrier"])]), LogisticRegression()).fit(
        x, LATE
    )
    kind, fields, categories = infer_fields(pipeline, x)
    assert [(f.missing, f.nullable) for f in fields] == [("none" if gap is None else "nan", True)]
    schema = Schema(fields, kind, categories)
    answer = pipeline.predict_proba(frame([schema.row({"carrier": pd.NA})], schema))
    np.testing.assert_array_equal(answer, pipeline.predict_proba(x.iloc[[0]]))


def test_held_out_rows_without_gaps_leave_the_missing_value_to_the_encoder():
    """publish(estimator, X_test): the training frame's None is in the fitted categories."""
    x = FLIGHTS.assign(carrier=pd.Series([None, "UA", "AA"] * (N // 3), dtype=object))
    pipeline = make_pipeline(mixed(), LogisticRegression()).fit(x, LATE)
    (carrier,) = [f for f in infer_fields(pipeline, x[x["carrier"].notna()])[1] if f.name == "carrier"]
    assert carrier.missing == "none"


def test_none_and_nan_in_one_column_are_refused():
    """A row has one missing value and could not say which."""
    x = FLIGHTS.assign(carrier=pd.Series([None, "UA", np.nan] * (N // 3), dtype=object))
    pipeline = make_pipeline(Ratio(), LogisticRegression()).fit(x, LATE)
    with pytest.raises(InputError, match=r"carrier: holds several missing values \(nan, none\)"):
        infer_fields(pipeline, x)


@pytest.mark.parametrize(
    "column",
    [
        pd.to_timedelta(FLIGHTS["seats"]),
        pd.Series([b"x"] * N),
        pd.cut(FLIGHTS["seats"], 3),
        pd.Series([[]] * N),
    ],
)
def test_columns_no_row_can_carry_are_refused_by_name(column):
    """At publish, not in a request."""
    x = FLIGHTS.assign(odd=column)
    with pytest.raises(InputError, match=r"odd: no row can carry"):
        infer_fields(make_pipeline(Ratio(), LogisticRegression()).fit(x, LATE), x)


def test_a_model_fitted_without_names_has_x0_to_xn():
    """Arrays, lists of lists, sparse matrices, and frames shown to such a model."""
    x = FLIGHTS[["distance", "seats"]].to_numpy()
    model = LogisticRegression().fit(x, LATE)
    for shown in (x, x.tolist(), sparse.csr_matrix(x), FLIGHTS[["distance", "seats"]]):
        kind, fields, _ = infer_fields(model, shown)
        assert kind == "array"
        assert [field.name for field in fields] == ["x0", "x1"]
        assert {field.kind for field in fields} == {"number"}


def test_a_table_of_another_width_is_refused():
    """It is not what the model was fitted on."""
    model = LogisticRegression().fit(np.eye(N), LATE)
    with pytest.raises(InputError, match=f"has 3 columns, and the estimator was fitted on {N}"):
        infer_fields(model, np.zeros((2, 3)))


@pytest.mark.parametrize("dtype", ["object", "<U3"])
def test_arrays_of_text_are_categories(dtype):
    """And rows of them answer."""
    x = FLIGHTS[["carrier", "tail"]].to_numpy().astype(dtype)
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(x, LATE)
    kind, fields, _ = infer_fields(model, x)
    assert [(f.kind, f.dtype, f.value_type) for f in fields] == [("category", dtype, "str")] * 2
    schema = Schema(fields, kind)
    rows = schema.rows([{"x0": a, "x1": b} for a, b in x.tolist()])
    np.testing.assert_array_equal(model.predict(frame(rows, schema)), model.predict(x))


@pytest.mark.parametrize("convert", [list, np.array, pd.Series])
def test_a_model_fitted_on_texts_reads_text(convert):
    """One field, that takes plain str."""
    x = convert(["late again", "on time"] * 5)
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(x, [1, 0] * 5)
    kind, fields, _ = infer_fields(model, x)
    assert (kind, [f.kind for f in fields]) == ("text", ["text"])
    schema = Schema(fields, kind)
    assert model.predict(frame(schema.rows(["late", "time"]), schema)).tolist() == [1, 0]
    assert model.predict(table(np.array(["late"]), schema)).tolist() == [1]


def test_a_column_given_to_a_vectorizer_is_text():
    """One bare name means 1-D text."""
    selection = ColumnTransformer([("t", TfidfVectorizer(), "carrier"), ("n", "passthrough", ["distance"])])
    pipeline = make_pipeline(selection, LogisticRegression()).fit(FLIGHTS, LATE)
    kinds = {f.name: (f.kind, f.nullable) for f in infer_fields(pipeline, FLIGHTS)[1]}
    assert kinds == {"distance": ("number", False), "carrier": ("text", False)}


def test_an_estimator_that_cannot_be_asked_is_refused():
    """DBSCAN only labels what it was fitted on."""
    x = FLIGHTS[["distance"]]
    with pytest.raises(InputError, match="DBSCAN has none of predict"):
        infer_fields(DBSCAN().fit(x), x)


def test_rows_the_estimator_cannot_answer_are_refused_with_its_reason():
    """Publishing would only move the failure to a request."""
    model = LinearRegression().fit(FLIGHTS[["distance"]], LATE)
    with pytest.raises(InputError, match="answers none of the rows tried; the last one: ValueError"):
        infer_fields(model, FLIGHTS[["distance"]] * np.nan)


def test_typed_rows_answer_as_the_frame_does():
    """The reference: every training row through the schema, one at a time and as a table."""
    x = flights(distance=[1, 5], carrier=[2, 5], seats=[7])
    pipeline = make_pipeline(mixed(texts=("carrier", "tail", "night")), LogisticRegression()).fit(x, LATE)
    kind, fields, categories = infer_fields(pipeline, x)
    schema = Schema(fields, kind, categories)
    expected = pipeline.predict_proba(x)
    for position, row in enumerate(x.to_dict("records")):
        answer = pipeline.predict_proba(frame([schema.row(row)], schema))
        np.testing.assert_allclose(answer[0], expected[position], atol=1e-12)
    np.testing.assert_array_equal(pipeline.predict_proba(table(x, schema)), expected)


class Tail(enum.Enum):
    N1 = "n1"
    N2 = "n2"


class Flight(pydantic.BaseModel):
    distance: Annotated[float, pydantic.Field(ge=0, lt=20000)] | None = None
    seats: Annotated[int, pydantic.Field(gt=0, le=900)]
    carrier: Literal["UA", "AA"]
    tail: Tail | None
    unread: str = ""


INFERRED = (
    Field(name="distance", kind="number", dtype="float64", nullable=True),
    Field(name="seats", kind="number", dtype="int64", nullable=True),
    Field(name="carrier", kind="category", dtype="str", value_type="str", nullable=True),
    Field(name="tail", kind="category", dtype="str", value_type="str", nullable=True),
)


def test_the_users_schema_narrows_what_was_inferred():
    """Bounds, enums and nullability; the rest stays."""
    distance, seats, carrier, tail = fields_from_schema(Flight, INFERRED)
    assert (distance.nullable, distance.minimum, distance.maximum) == (True, 0.0, np.nextafter(20000.0, 0))
    assert (seats.nullable, seats.minimum, seats.maximum) == (False, np.nextafter(0.0, 1), 900.0)
    assert (carrier.nullable, carrier.enum) == (False, ("UA", "AA"))
    assert (tail.nullable, tail.enum) == (True, ("n1", "n2"))
    assert [f.dtype for f in (distance, seats, carrier, tail)] == [f.dtype for f in INFERRED]


def test_a_schema_without_a_field_the_pipeline_reads_is_refused():
    """With the closest name it has."""
    with pytest.raises(ConfigError, match=r"schema Flight lacks 'seat', .*did you mean 'seats'"):
        fields_from_schema(Flight, [Field(name="seat", kind="number", dtype="int64")])


def test_a_schema_that_promises_what_the_pipeline_cannot_is_refused():
    """None, where the fitted pipeline has no answer then."""
    with pytest.raises(ConfigError, match="'distance' may be None"):
        fields_from_schema(Flight, [Field(name="distance", kind="number", dtype="float64")])


def test_a_schema_of_another_type_is_refused():
    """Text where the pipeline reads numbers."""
    with pytest.raises(ConfigError, match="'carrier' is string, and the pipeline reads number"):
        fields_from_schema(Flight, [Field(name="carrier", kind="number", dtype="float64")])
