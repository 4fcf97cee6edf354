"""Projections: a dot product, in scikit-learn's order."""

from typing import Any, Final

import numpy as np
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD

from ._block import Block, Converter


def _pca(estimator: Any, x: Block) -> Block:
    components = np.asarray(estimator.components_)
    x = _checked(x, components)
    x = x.linear(components.T, -(estimator.mean_.reshape(1, -1) @ components.T)[0])
    if not estimator.whiten:
        return x
    scale = np.sqrt(estimator.explained_variance_)
    return x.affine(div=np.maximum(scale, np.finfo(scale.dtype).eps))


def _truncated_svd(estimator: TruncatedSVD, x: Block) -> Block:
    components = np.asarray(estimator.components_)
    return _checked(x, components).linear(components.T, np.zeros(len(components)))


def _checked(x: Block, components: Any) -> Block:
    if x.dtype != components.dtype.name:
        x.refuse(f"was fitted on {components.dtype}, and reads {x.dtype}")
    return x.check(missing=True)


CONVERTERS: Final[dict[type | str, Converter]] = {
    PCA: _pca,
    IncrementalPCA: _pca,
    TruncatedSVD: _truncated_svd,
}
