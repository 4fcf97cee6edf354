"""What fast rows may conclude of a column that depends on one field."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_selection import SelectKBest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    OneHotEncoder,
    PowerTransformer,
    StandardScaler,
)

from mlshared.plan._separable import CodeSource, NumberSource, covered, sources
from tests.plan.exactness import compare
from tests.plan.frames import fitted, numbers, quick, rows_like, seeds, target
from trainer.converters import convert

RISING = [
    StandardScaler(),
    MinMaxScaler(clip=True),
    Binarizer(threshold=0.3),
    FunctionTransformer(np.floor),
    FunctionTransformer(np.sign),
    KBinsDiscretizer(4, encode="ordinal", subsample=None),
    make_pipeline(FunctionTransformer(np.negative), FunctionTransformer(np.negative), StandardScaler()),
]
NOT_RISING = [
    FunctionTransformer(np.negative),
    FunctionTransformer(np.abs),
    FunctionTransformer(np.square),
    FunctionTransformer(np.sin),
    FunctionTransformer(np.sqrt),  # NaN below 0
    FunctionTransformer(np.log1p),
    PowerTransformer(),  # rises, but nobody promises that for its last bit
    KBinsDiscretizer(4, encode="onehot-dense", subsample=None),
    FeatureUnion([("x", StandardScaler())], transformer_weights={"x": -2.0}),
]


def _sources(transformer, X):
    plan = convert(fitted(transformer, X), X)
    found = sources(plan.program, plan.program.outputs["transform"].steps[0])
    assert found is not None
    assert all(isinstance(source, NumberSource) for source in found)
    return found


@pytest.mark.parametrize("transformer", RISING, ids=repr)
def test_a_column_that_never_falls_is_known_to(transformer):
    for source in _sources(transformer, numbers(3, scales=(1.0, 37.5))):
        assert source.rises()


@pytest.mark.parametrize("transformer", NOT_RISING, ids=repr)
def test_a_column_that_may_fall_is_not_taken_for_one_that_rises(transformer):
    X = pd.DataFrame({"a": np.linspace(-1.0, 1.0, 50) ** 3})
    assert not all(source.rises() for source in _sources(transformer, X))


def test_an_indicator_between_two_points_of_the_sample_is_not_rising():
    X = pd.DataFrame({"a": np.linspace(0.3, 0.4, 60)})
    transformer = KBinsDiscretizer(5, encode="onehot-dense", strategy="uniform", subsample=None)
    middle = _sources(transformer, X)[2]
    assert middle.apply([0.35]) == [1.0]
    assert not middle.rises()


@pytest.mark.parametrize("transformer", RISING, ids=repr)
@quick
@given(seed=seeds, place=st.floats(-1.5, 1.5))
def test_before_is_the_last_value_on_the_low_side(transformer, seed, place):
    X = numbers(seed, scales=(1e-8, 1.0, 37.5, 1e6))
    for source in _sources(transformer, X):
        thresholds = np.array([place, 0.0, float(source.apply([X[source.field].iloc[0]])[0])])
        last = source.before(thresholds)
        finite = np.isfinite(last) & (np.abs(last) < 1e308)
        assert (source.apply(last[finite]) <= thresholds[finite]).all()
        with np.errstate(all="ignore"):
            assert (source.apply(np.nextafter(last[finite], np.inf)) > thresholds[finite]).all()


def test_what_a_selector_leaves_out_may_still_refuse_a_row():
    X = numbers(6, scales=(1.0,))
    y = target(X, 6)
    pipeline = fitted(make_pipeline(StandardScaler(), SelectKBest(k=1), LogisticRegression()), X, y)
    plan = compare(pipeline, X, rows_like(X, 6))
    linear = next(i for i, step in enumerate(plan.program.steps) if step.op == "linear")
    before = plan.program.steps[linear].inputs[0]
    found = sources(plan.program, before)
    assert found is not None
    assert not covered(plan.program, before, found)


def test_an_encoder_left_out_may_still_refuse_a_category():
    X = pd.DataFrame(
        {"a": pd.Series(["x", "y"] * 20, dtype=object), "b": pd.Series(list("pqqp") * 10, dtype=object)}
    )
    y = np.array([0, 1] * 20)
    selector = SelectKBest(k=2)  # both columns of "a"
    pipeline = fitted(make_pipeline(OneHotEncoder(sparse_output=False), selector, LogisticRegression()), X, y)
    assert selector.get_support().tolist() == [True, True, False, False]
    compare(pipeline, X, [*rows_like(X, 0), {"a": "x", "b": "unseen"}])


def test_one_hot_columns_know_their_encoder_through_later_steps():
    X = pd.DataFrame({"a": pd.Series(list("xyz") * 8, dtype=object)})
    pipeline = make_pipeline(
        OneHotEncoder(handle_unknown="ignore", sparse_output=False), StandardScaler()
    ).fit(X)
    plan = convert(pipeline, X)
    found = sources(plan.program, plan.program.outputs["transform"].steps[0])
    assert found is not None
    reference = pipeline.transform(X.iloc[:3])
    for column, source in enumerate(found):
        assert isinstance(source, CodeSource)
        assert source.encoder == found[0].encoder
        codes = [source.codes[value] for value in "xyz"]
        np.testing.assert_array_equal(np.take(source.values, codes), reference[:, column])
