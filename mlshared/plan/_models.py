"""Steps of models that are more than a dot product: squared distances from class means, posteriors."""

import numpy as np

from mlshared.errors import IntegrityError
from mlshared.plan._step import Array, Compiled, Shape, Step, only


def squares(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Sum ``(x - means[i])**2 / variances[i]`` over the columns, for each i; float64.

    ``means`` and ``variances`` (outputs, width) are optional; with neither, it is one sum of squares.
    """
    shape = only(step, inputs)
    if shape.dtype != "float64" or set(step.arrays) - {"means", "variances"}:
        raise IntegrityError("step 'squares' takes float64, means and variances")
    means, variances = (
        step.array(name, None, shape.width) if step.has(name) else None for name in ("means", "variances")
    )
    count = max(len(given) if given is not None else 1 for given in (means, variances))
    if not count or any(given is not None and len(given) != count for given in (means, variances)):
        raise IntegrityError("step 'squares' has not one mean a variance")

    def run(x: Array) -> Array:
        found = np.empty((len(x), count))
        with np.errstate(all="ignore"):
            for output in range(count):
                apart = x if means is None else x - means[output]
                squared = apart**2 if variances is None else apart**2 / variances[output]
                found[:, output] = squared.sum(axis=1)
        return found

    return Compiled(Shape("block", count), run)


def posterior(step: Step, inputs: tuple[Shape, ...]) -> Compiled:
    """Turn joint log likelihoods, one a class, into probabilities: ``kind``.

    ``joint`` computes ``exp(x - logsumexp(x))`` and so rounds as likelihoods of their size do, as naive Bayes in
    scikit-learn does; ``shifted`` takes the largest off first, as its discriminant analysis does. Source:
    ``_logsumexp`` of sklearn/utils/_array_api.py, after `scipy.special.logsumexp`.
    """
    shape = only(step, inputs)
    joint = step.choice("kind", ("joint", "shifted")) == "joint"

    def run(x: Array) -> Array:
        with np.errstate(all="ignore"):
            if joint:
                return np.asarray(np.exp(x - logsumexp(x)))
            shifted = x - x.max(axis=1, keepdims=True)
            return np.asarray(np.exp(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))))

    return Compiled(shape, run)


def logsumexp(x: Array) -> Array:
    """Return the logarithm of each row's sum of exponentials, shape (n, 1)."""
    largest = x.max(axis=1, keepdims=True)
    at_largest = x == largest
    others = np.where(at_largest, -np.inf, x)
    count = at_largest.astype(x.dtype).sum(axis=1, keepdims=True, dtype=x.dtype)
    shift = np.where(np.isfinite(largest), largest, 0)
    rest = np.exp(others - shift).sum(axis=1, keepdims=True, dtype=x.dtype)
    rest = np.where(rest == 0, rest, rest / count)
    return np.asarray(np.log1p(rest) + np.log(count) + largest)
