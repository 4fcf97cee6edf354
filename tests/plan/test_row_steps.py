"""One number through elementwise steps without arrays: the same bits, or left to the definition."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MinMaxScaler,
    PowerTransformer,
)

from mlshared.plan._row_number import Refused, scalar
from mlshared.plan._separable import NumberSource, sources
from tests.plan.frames import fitted, numbers, quick
from trainer.converters import convert

FUNCTIONS = [
    np.absolute, np.fabs, np.positive, np.negative, np.square, np.sqrt, np.sign,
    np.log, np.log2, np.log10, np.log1p, np.exp, np.expm1,
]  # fmt: skip
TRANSFORMERS = [
    MinMaxScaler((-1, 2), clip=True),
    Binarizer(threshold=0.25),
    KBinsDiscretizer(4, encode="ordinal", subsample=None),
    KBinsDiscretizer(4, encode="onehot-dense", subsample=None),
    PowerTransformer(),
    PowerTransformer(standardize=False),
    *(FunctionTransformer(function) for function in FUNCTIONS),
]


@functools.cache
def _sources(name):
    """Return the columns' sources of one of the transformers, fitted once."""
    X = numbers(4, scales=(1.0, 37.5))
    transformer = next(each for each in TRANSFORMERS if repr(each) == name)
    plan = convert(fitted(transformer, X), X)
    found = sources(plan.program, plan.program.outputs["transform"].steps[0])
    assert found is not None
    return found


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=repr)
@quick.__class__(quick, max_examples=100)
@given(x=st.one_of(st.floats(-20, 20), st.floats(allow_nan=False)))
def test_the_same_bits_as_the_definition(transformer, x):
    for source in _sources(repr(transformer)):
        assert isinstance(source, NumberSource)
        function = scalar(source)
        if function is None:
            assert isinstance(transformer, PowerTransformer)  # a power of 0 or 2
            continue
        wanted, accepted = source.walk([x])
        try:
            value = function(x)
        except (Refused, ValueError, OverflowError):
            continue
        assert accepted[0]
        np.testing.assert_array_equal(value, wanted[0])


def test_most_numbers_are_not_left_to_the_definition():
    X = numbers(4, scales=(1.0, 37.5)).abs() + 0.1
    for transformer in TRANSFORMERS:
        plan = convert(fitted(transformer, X), X)
        found = sources(plan.program, plan.program.outputs["transform"].steps[0])
        assert found is not None
        answered = [scalar(source) is not None for source in found]
        assert any(answered)
