"""Feature selectors: a mask over the columns. RFE predicts, too, and is among the wrappers."""

from typing import Any, Final

from sklearn.feature_selection import (
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFromModel,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
    SequentialFeatureSelector,
    VarianceThreshold,
)
from sklearn.utils import get_tags

from ._block import Block, Converter
from ._compose import gives_frames


def selected(estimator: Any, x: Block) -> Block:
    """Return the columns that a fitted selector keeps, checked as it checks them."""
    kept = estimator.get_support(indices=True)
    if not len(kept):
        x.refuse("selects no column")
    if gives_frames(estimator):
        return x.leaving_out(kept).select(kept)  # a DataFrame is taken as it is
    if get_tags(estimator).input_tags.allow_nan:
        return x.unified().leaving_out(kept).select(kept)
    sparse = x.sparse
    return x.check(missing=True).stored(sparse=sparse).select(kept)


CONVERTERS: Final[dict[type | str, Converter]] = dict.fromkeys(
    (
        GenericUnivariateSelect,
        SelectFdr,
        SelectFpr,
        SelectFromModel,
        SelectFwe,
        SelectKBest,
        SelectPercentile,
        SequentialFeatureSelector,
        VarianceThreshold,
    ),
    selected,
)
