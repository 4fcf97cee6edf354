"""Bins, splines and polynomials: several columns of one, or of all.

Private attributes used: `KBinsDiscretizer._encoder`, for the number of bins; none of the others.
"""

from typing import Any, Final

import numpy as np
from sklearn.preprocessing import KBinsDiscretizer, PolynomialFeatures, SplineTransformer

from ._block import Block, Converter


def _k_bins_discretizer(estimator: KBinsDiscretizer, x: Block) -> Block:
    if estimator.dtype is not None:
        x = x.cast(np.dtype(estimator.dtype).name)
    edges = [np.asarray(each, dtype=np.float64)[1:-1] for each in estimator.bin_edges_]
    starts = np.cumsum([0, *(len(each) for each in edges)])
    arrays = {"edges": np.concatenate(edges), "starts": starts.astype(np.int64)}
    bins = x.check(missing=True).apply("bin", arrays=arrays, side="right")
    if estimator.encode == "ordinal":
        return bins
    counts = np.asarray(estimator.n_bins_)
    repeated = bins.select(np.repeat(np.arange(x.width), counts))
    values = np.concatenate([np.arange(count) for count in counts]).astype(x.dtype)
    hot = repeated.apply("equal", names=[None] * len(values), arrays={"values": values})
    return hot.stored(sparse=estimator.encode == "onehot")


def _polynomial_features(estimator: PolynomialFeatures, x: Block) -> Block:
    x.builder.rounding |= x.sparse  # scikit-learn multiplies in another order there
    powers = np.asarray(estimator.powers_)
    degree = int(powers.sum(axis=1).max(initial=0))
    factors = np.full((len(powers), max(degree, 1)), -1, dtype=np.int64)
    for term, row in enumerate(powers):
        named = np.repeat(np.arange(x.width), row)
        factors[term, : len(named)] = named
    checked = x.check(missing=True)
    return checked.apply("monomials", names=[None] * len(factors), arrays={"factors": factors}).stored(
        sparse=x.sparse
    )


def _spline_transformer(estimator: SplineTransformer, x: Block) -> Block:
    x.builder.rounding = True
    zeros = getattr(estimator, "handle_missing", "error") == "zeros"  # since scikit-learn 1.9
    splines = list(estimator.bsplines_)
    degree, extrapolation = int(estimator.degree), estimator.extrapolation
    x = x.unified() if zeros else x.check(missing=True)
    if extrapolation == "constant":
        if not degree:
            x.refuse("splines of degree 0, constant beyond their knots")
        limits = {"low": [s.t[degree] for s in splines], "high": [s.t[-degree - 1] for s in splines]}
        x = x.apply("clip", arrays={name: np.array(each, dtype=x.dtype) for name, each in limits.items()})
        extrapolation = "continue"
    arrays: dict[str, Any] = {"knots": np.stack([s.t for s in splines])}
    if extrapolation == "linear":
        arrays.update(_lines(splines, degree))
    count = splines[0].c.shape[1]
    params = {"degree": degree, "extrapolation": extrapolation, "zeros": zeros}
    found = x.apply("spline", names=[None] * (count * x.width), arrays=arrays, **params)
    if not estimator.include_bias:
        found = found.select(j for j in range(found.width) if (j + 1) % count)
    return found.stored(sparse=estimator.sparse_output)


def _lines(splines: list[Any], degree: int) -> dict[str, Any]:
    """Return where straight lines go on from, the values of the splines there, and their slopes.

    scikit-learn raises a degree below 2 inside of its loop over the columns: those that follow go on from
    another knot than the first. So they do here.
    """
    count = splines[0].c.shape[1]
    ends = np.zeros((2, len(splines)))
    edges, slopes = np.zeros((2, len(splines), count)), np.zeros((2, len(splines), count))
    for column, spline in enumerate(splines):
        ends[:, column] = spline.t[degree], spline.t[-degree - 1]
        if degree <= 1:
            degree += 1
        for side, kept in enumerate((slice(0, degree), slice(count - degree, count))):
            edges[side, column, kept] = spline(ends[side, column])[kept]
            slopes[side, column, kept] = spline(ends[side, column], nu=1)[kept]
    return {"ends": ends, "edges": edges, "slopes": slopes}


CONVERTERS: Final[dict[type | str, Converter]] = {
    KBinsDiscretizer: _k_bins_discretizer,
    PolynomialFeatures: _polynomial_features,
    SplineTransformer: _spline_transformer,
}
