"""Feature selectors: a mask over the columns."""

from typing import Any, Final

from sklearn.feature_selection import (
    RFE,
    RFECV,
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


def _selector(estimator: Any, x: Block) -> Block:
    kept = estimator.get_support(indices=True)
    if not len(kept):
        x.refuse("selects no column")
    if _frames(estimator):
        return x.select(kept)  # a DataFrame is taken as it is
    if get_tags(estimator).input_tags.allow_nan:
        return x.unified().select(kept)
    sparse = x.sparse
    return x.check(missing=True).stored(sparse=sparse).select(kept)


def _frames(estimator: Any) -> bool:
    """Return whether it was told to give DataFrames; then it does not look at their values."""
    configured = getattr(estimator, "_sklearn_output_config", {}).get("transform")
    return configured not in {None, "default"}


CONVERTERS: Final[dict[type | str, Converter]] = dict.fromkeys(
    (
        RFE,
        RFECV,
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
    _selector,
)
