"""Single rows, fast: linear rows and blocks equal the definition, refuse what it refuses, and share no memory."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.feature_selection import SelectKBest
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
    TargetEncoder,
)

from mlshared._schema import Schema
from mlshared.errors import InputError
from tests.plan.exactness import compare
from trainer._fields import infer_fields
from trainer.converters import convert

pytestmark = pytest.mark.filterwarnings("ignore")
few = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)

LINEAR, BLOCKS = "mlshared.plan._row_linear", "mlshared.plan._row_blocks"
ENDS = {
    "logistic": (LogisticRegression(), LINEAR), "ridge": (Ridge(), LINEAR),
    "huber": (SGDClassifier(loss="modified_huber", random_state=0), LINEAR), "naive": (GaussianNB(), BLOCKS),
    "network": (MLPClassifier((4,), max_iter=5, random_state=0), BLOCKS),
    "components": (make_pipeline(PCA(2), LogisticRegression()), BLOCKS),
    "best": (make_pipeline(SelectKBest(k=3), LogisticRegression()), None),
}  # fmt: skip


def made(seed, n=120):
    """Return numbers, numbers that are categories, and texts, with gaps; and a target."""
    rng = np.random.default_rng(seed)
    X = pd.DataFrame(
        {"x": rng.normal(1e3, 1, n), "y": rng.normal(size=n), "code": rng.integers(0, 5, n) * 0.1}
    )
    X["size"] = rng.choice(["s", "m", "l"], n)
    for name in ("x", "code", "size"):
        X.loc[rng.random(n) < 0.1, name] = np.nan
    return X, (X["y"] + rng.normal(size=n) > 0).astype(int)


def texts(X):
    """Return the frame with its coded numbers as texts; scikit-learn checks numbers before it encodes them."""
    return X.assign(code=X["code"].map(lambda value: value if pd.isna(value) else f"c{value:.1f}"))


def rows_of(X):
    rows = [{k: None if pd.isna(v) else v for k, v in row.items()} for row in X.head(40).to_dict("records")]
    first = next(row for row in rows if None not in row.values())
    gaps = [{**first, name: None} for name in X.columns]
    values = (0.0, 1e200, 1.7e308, -1.7e308, np.inf, -np.inf)
    extremes = [{**first, name: value} for value in values for name in ("x", "y")]
    codes = ["c0.3", "c7"] if isinstance(first["code"], str) else [0.3, 7.0]
    return [*rows, *gaps, *extremes, *({**first, "code": code} for code in codes), {**first, "size": "xl"}]


def pipeline(scaler, encoder, end):
    numbers = make_pipeline(scaler, SimpleImputer())
    parts = ColumnTransformer(
        [("n", numbers, ["x", "y"]), ("c", encoder, ["code"]), ("s", encoder, ["size"])]
    )
    return make_pipeline(parts, end)


@pytest.mark.parametrize("end", ENDS)
@few
@given(
    seed=st.integers(0, 300),
    scaler=st.sampled_from([StandardScaler(), MinMaxScaler(), MinMaxScaler(clip=True), RobustScaler(), MaxAbsScaler()]),
    encoder=st.sampled_from(
        [
            OneHotEncoder(handle_unknown="ignore", sparse_output=False), OneHotEncoder(sparse_output=False),
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2),
            TargetEncoder(random_state=0),
        ]
    ),
)  # fmt: skip
def test_rows_equal_the_definition(end, seed, scaler, encoder):
    X, y = made(seed)
    model, _ = ENDS[end]
    compare(pipeline(scaler, encoder, model).fit(X, y), X, rows_of(X), tolerance=1e-11)


@pytest.mark.parametrize("end", ENDS)
def test_the_fast_way_is_taken(end):
    X, y = made(1)
    model, way = ENDS[end]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    X = texts(X)
    plan = convert(pipeline(StandardScaler(), encoder, model).fit(X, y), X)
    for method in plan.methods:
        assert way is None or plan.one(method).__module__ == way


@pytest.mark.parametrize("classes", [3, 40])
def test_many_scores_by_loop_and_by_product(classes):
    X = texts(made(2, 200)[0])
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    fitted = pipeline(StandardScaler(), encoder, LogisticRegression(max_iter=5)).fit(
        X, np.arange(200) % classes
    )
    assert compare(fitted, X, rows_of(X)).one("predict").__module__ == LINEAR


def test_numbers_that_arrive_as_nan_or_large_integers():
    """A row made by hand may hold NaN where the door would give None."""
    X, y = made(3)
    fitted = pipeline(StandardScaler(), OneHotEncoder(handle_unknown="ignore"), LogisticRegression()).fit(
        X, y
    )
    plan = convert(fitted, X)
    one = plan.one("predict_proba")
    whole = {"x": 2**60 + 1, "y": True, "code": 0.1, "size": "s"}
    for row in (whole, {**whole, "x": float("nan")}, {**whole, "code": float("nan")}):
        np.testing.assert_allclose(one(row), plan.rows("predict_proba", [row])[0], atol=1e-12)


def test_threads_share_nothing():
    X, y = made(4)
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    for model, _ in ENDS.values():
        fitted = pipeline(StandardScaler(), encoder, model).fit(X, y)
        kind, fields, categories = infer_fields(fitted, X)
        rows = Schema(fields, kind, categories).rows(rows_of(X)[:40]) * 20
        one = convert(fitted, X).one("predict")
        wanted = [one(row) for row in rows]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(one, rows)) == wanted


def test_many_values_of_a_field_load_in_no_time_and_memory():
    names = [f"v{i}" for i in range(3000)]
    X = pd.DataFrame({"a": names * 2, "b": np.arange(6000.0)})
    parts = ColumnTransformer(
        [("c", OneHotEncoder(handle_unknown="ignore"), ["a"]), ("n", StandardScaler(), ["b"])]
    )
    fitted = make_pipeline(parts, LogisticRegression(max_iter=3)).fit(X, np.arange(6000) % 2)
    rows = [{"a": "v2999", "b": 1.0}, {"a": "v0", "b": 1.0}, {"a": "never", "b": 1.0}]
    assert compare(fitted, X, rows).one("predict").__module__ == LINEAR


def test_an_unlisted_category_is_refused_by_row_and_definition():
    X, y = made(5)
    fitted = pipeline(StandardScaler(), OneHotEncoder(), LogisticRegression()).fit(X, y)
    plan = convert(fitted, X)
    row = {"x": 1.0, "y": 1.0, "code": 0.1, "size": "xl"}
    with pytest.raises(InputError, match="size"):
        plan.one("predict")(row)
    with pytest.raises(InputError, match="size"):
        plan.rows("predict", [row])


@pytest.mark.parametrize("weight", [0.0, 1e-300, 1e-30, 0.01, 3.0])
@pytest.mark.parametrize("names", ["ab", "abc"])
def test_what_overflows_on_its_way_is_refused_also_where_weights_cancel(weight, names):
    """A division folded into its weight would give 0 for what scikit-learn divides to infinity."""
    X = pd.DataFrame({name: np.linspace(-1, 1, 20) for name in names})
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, np.arange(20) % 2)
    fitted[0].scale_ = np.full(len(names), 1e-3)
    fitted[1].coef_ = np.array([[weight, -weight, 1e-5][: len(names)]])
    usual = dict.fromkeys(names, 0.25)
    rows = [usual, *({**usual, "a": x, "b": x} for x in (0.0, 1.9e305, 1e308, -1.9e305))]
    rows += [{**usual, "a": x} for x in (1e300, 1.7e305, -1.7e305, 1.9e305)]
    assert compare(fitted, X, rows).one("predict_proba").__module__ == LINEAR


BINS = {"quantile_method": "averaged_inverted_cdf", "subsample": None}


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_indicators_and_bins_are_looked_up(classes):
    """They are constant but for steps: one lookup a field, whatever the number of columns."""
    rng = np.random.default_rng(6)
    X = pd.DataFrame(rng.normal(size=(240, 4)), columns=list("abcd"))
    X[["a", "b"]] = X[["a", "b"]].where(rng.random((240, 2)) > 0.2)
    binned = make_pipeline(SimpleImputer(), StandardScaler(), KBinsDiscretizer(4, encode="ordinal", **BINS))
    onehot = make_pipeline(SimpleImputer(), KBinsDiscretizer(5, encode="onehot-dense", **BINS))
    parts = ColumnTransformer(
        [
            ("n", make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), ["a", "c"]),
            ("i", MissingIndicator(), ["b"]),
            ("h", onehot, ["a", "d"]),
            ("o", binned, ["c"]),
        ]
    )
    y = np.arange(240) % classes if classes > 2 else (X["c"] > 0).astype(int)
    fitted = make_pipeline(parts, LogisticRegression(max_iter=20)).fit(X, y)
    first = {"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5}
    edges = [edge for name in "ad" for edge in np.linspace(-3, 3, 25)]
    edges += fitted[0].named_transformers_["h"][1].bin_edges_[1].tolist()
    odd = (None, 0.0, -0.0, 1e300, np.inf, -np.inf)
    rows = [{**first, name: value} for name in "abcd" for value in (*odd, *edges)]
    rows += [{**first, **dict.fromkeys(some)} for some in ("ab", "abcd", "bd")]
    plan = compare(fitted, X, rows)
    assert plan.one("predict_proba").__module__ == LINEAR
