"""Steps of models refuse what does not hold together."""

import numpy as np
import pytest
from scipy.special import logsumexp as theirs

from mlshared.errors import IntegrityError
from mlshared.plan import Shape, Step
from mlshared.plan._models import logsumexp, posterior, squares

WIDE = (Shape("block", 3),)


@pytest.mark.parametrize(
    "arrays",
    [
        {"means": np.zeros((2, 2))},
        {"means": np.zeros((2, 3), np.float32)},
        {"means": np.zeros(3)},
        {"means": np.zeros((0, 3))},
        {"means": np.zeros((2, 3)), "variances": np.ones((1, 3))},
        {"scales": np.zeros((2, 3))},
    ],
)
def test_squares_of_other_shapes_are_refused(arrays):
    with pytest.raises(IntegrityError):
        squares(Step("squares", (0,), {}, arrays), WIDE)


@pytest.mark.parametrize("inputs", [(), (Shape("codes", 1),), (Shape("block", 3, "float32"),), WIDE * 2])
def test_squares_of_other_inputs_are_refused(inputs):
    with pytest.raises(IntegrityError):
        squares(Step("squares", (0,)), inputs)


def test_squares_by_hand():
    arrays = {
        "means": np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]]),
        "variances": np.array([[1.0] * 3, [2.0] * 3]),
    }
    found = squares(Step("squares", (0,), {}, arrays), WIDE).run(np.array([[1.0, 2.0, 2.0]]))
    np.testing.assert_array_equal(found, [[9.0, 0.5]])
    np.testing.assert_array_equal(
        squares(Step("squares", (0,)), WIDE).run(np.array([[1.0, 2.0, 2.0]])), [[9.0]]
    )


@pytest.mark.parametrize("kind", [None, 1, "soft"])
def test_a_posterior_of_no_known_kind_is_refused(kind):
    with pytest.raises(IntegrityError):
        posterior(Step("posterior", (0,), {"kind": kind}), WIDE)


@pytest.mark.parametrize("kind", ["joint", "shifted"])
def test_a_posterior_sums_to_one(kind):
    x = np.array([[-1e3, -1e3, -1e3], [0.0, -800.0, 3.0]])
    found = posterior(Step("posterior", (0,), {"kind": kind}), WIDE).run(x)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert (x == np.array([[-1e3, -1e3, -1e3], [0.0, -800.0, 3.0]])).all()


def test_logsumexp_is_scipys():
    x = np.random.default_rng(0).normal(size=(200, 4)).round(1) * 100
    np.testing.assert_array_equal(logsumexp(x)[:, 0], theirs(x, axis=1))
