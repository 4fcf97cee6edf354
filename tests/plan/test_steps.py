"""Hostile parameters of the preprocessing steps: refused when the plan is loaded, never later."""

import numpy as np
import pytest

from mlshared.errors import InputError, IntegrityError
from mlshared.plan._normal import ppf
from mlshared.plan._program import compile_step
from mlshared.plan._step import Shape, Step

BLOCK = Shape("block", 2)
CODES = Shape("codes", 1, "int64")
ZEROS = np.zeros(2)


def ints(*values):
    return np.array(values, dtype=np.int64)


HOSTILE = [
    (BLOCK, Step("clip", (0,), {}, {"low": ZEROS})),
    (BLOCK, Step("clip", (0,), {}, {"low": ZEROS, "high": np.zeros(3)})),
    (BLOCK, Step("map", (0,), {"fn": "__import__"})),
    (BLOCK, Step("map", (0,), {})),
    (CODES, Step("map", (0,), {"fn": "exp"})),
    (BLOCK, Step("power", (0,), {"kind": "cube"}, {"lambdas": ZEROS})),
    (BLOCK, Step("power", (0,), {"kind": "box_cox"}, {"lambdas": np.zeros(2, np.float32)})),
    (BLOCK, Step("quantile", (0,), {}, {"quantiles": np.zeros((0, 2)), "references": np.zeros(0)})),
    (BLOCK, Step("quantile", (0,), {}, {"quantiles": np.zeros((3, 2)), "references": np.zeros(2)})),
    (BLOCK, Step("quantile", (0,), {}, {"quantiles": np.array([[1, 1], [0, 0.0]]), "references": ZEROS})),
    (BLOCK, Step("quantile", (0,), {}, {"quantiles": np.full((2, 2), np.nan), "references": ZEROS})),
    (BLOCK, Step("bin", (0,), {"side": "up"}, {"edges": ZEROS, "starts": ints(0, 1, 2)})),
    (BLOCK, Step("bin", (0,), {"side": "left"}, {"edges": ZEROS, "starts": ints(0, 1, 3)})),
    (BLOCK, Step("bin", (0,), {"side": "left"}, {"edges": ZEROS, "starts": ints(0, 3, 2)})),
    (BLOCK, Step("bin", (0,), {"side": "left"}, {"edges": np.array([1.0, 0.0]), "starts": ints(0, 2, 2)})),
    (BLOCK, Step("equal", (0,), {}, {"values": np.zeros(1)})),
    (BLOCK, Step("onehot", (0,), {"width": 2, "otherwise": -1, "dtype": "float64"}, {"column": ints(0, 1)})),
    (CODES, Step("onehot", (0,), {"width": 2, "otherwise": 2, "dtype": "float64"}, {"column": ints(0, 1)})),
    (CODES, Step("onehot", (0,), {"width": 2, "otherwise": -1, "dtype": "float64"}, {"column": ints(0, 2)})),
    (CODES, Step("onehot", (0,), {"width": 2, "otherwise": -1, "dtype": "float64"}, {"column": ints(0, -2)})),
    (CODES, Step("onehot", (0,), {"width": 10**12, "otherwise": 0, "dtype": "float64"}, {"column": ints(0)})),
    (BLOCK, Step("monomials", (0,), {}, {"factors": ints(0, 2)[None]})),
    (BLOCK, Step("monomials", (0,), {}, {"factors": ints(0, -2)[None]})),
    (BLOCK, Step("monomials", (0,), {}, {"factors": np.zeros((1, 1000), np.int64)})),
    (BLOCK, Step("normalize", (0,), {"norm": "l3"})),
    (Shape("labels", 1, "object"), Step("replace", (0,), {"marker": "?", "value": ["a"]})),
    (Shape("labels", 1, "object"), Step("replace", (0,), {"value": "a"})),
    (BLOCK, Step("spline", (0,), {"degree": 3, "extrapolation": "continue"}, {"knots": np.zeros((2, 7))})),
    (BLOCK, Step("spline", (0,), {"degree": -1, "extrapolation": "continue"}, {"knots": np.zeros((2, 9))})),
    (BLOCK, Step("spline", (0,), {"degree": 1, "extrapolation": "away"}, {"knots": np.zeros((2, 9))})),
    (BLOCK, Step("spline", (0,), {"degree": 1, "extrapolation": "error"}, {"knots": -np.ones((2, 9)).cumsum(1)})),
    (BLOCK, Step("spline", (0,), {"degree": 1, "extrapolation": "linear"}, {"knots": np.zeros((2, 9))})),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "step"), HOSTILE)
def test_a_step_that_does_not_hold_together_is_refused(shape, step):
    with pytest.raises(IntegrityError):
        compile_step(step, (shape,))


def test_codes_outside_of_a_one_hot_are_clipped():
    step = Step("onehot", (0,), {"width": 2, "otherwise": -1, "dtype": "float64"}, {"column": ints(0, 1)})
    found = compile_step(step, (CODES,)).run(ints(0, 1, -1, 99)[:, None])
    assert found.tolist() == [[1, 0], [0, 1], [0, 0], [0, 0]]


@pytest.mark.parametrize(
    "step",
    [
        Step("clip", (0,), {}, {"low": ZEROS, "high": ZEROS + 1}),
        Step("map", (0,), {"fn": "exp"}),
        Step("power", (0,), {"kind": "yeo_johnson"}, {"lambdas": ZEROS}),
        Step("quantile", (0,), {"normal": True}, {"quantiles": np.zeros((2, 2)), "references": ZEROS}),
        Step("bin", (0,), {"side": "left"}, {"edges": ZEROS, "starts": ints(0, 1, 2)}),
        Step("equal", (0,), {}, {"values": ZEROS}),
        Step("positive", (0,)),
        Step("monomials", (0,), {}, {"factors": ints(0, 1)[None]}),
        Step("normalize", (0,), {"norm": "l2"}),
        Step("spline", (0,), {"degree": 1, "extrapolation": "continue", "zeros": True}, {"knots": np.zeros((2, 9))}),
    ],
    ids=lambda step: step.op,
)  # fmt: skip
def test_no_step_writes_into_its_input(step):
    x = np.array([[0.5, np.nan], [3.0, 1e300]])
    kept = x.copy()
    compiled = compile_step(step, (BLOCK,))
    compiled.run(x)
    np.testing.assert_array_equal(x, kept)
    empty = compiled.run(x[:0])
    assert empty.shape == (0, compiled.shape.width)


def test_positive_refuses_zero_and_takes_missing():
    run = compile_step(Step("positive", (0,)), (BLOCK,)).run
    assert run(np.array([[1.0, np.nan]])).shape == (1, 2)
    with pytest.raises(InputError):
        run(np.array([[1.0, 0.0]]))


def test_the_inverse_normal_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    tails = 10.0 ** -np.arange(1, 300)
    q = np.concatenate([np.linspace(0, 1, 10_001), tails, 1 - tails[:15], [-0.1, 1.1, np.nan]])
    wanted = stats.norm.ppf(q)
    np.testing.assert_allclose(ppf(q), wanted, rtol=1e-15, atol=1e-15)
