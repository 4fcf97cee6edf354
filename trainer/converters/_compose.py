"""Pipeline, ColumnTransformer, FeatureUnion: columns are threaded, no step of their own."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

from ._block import Block, Converter, Outputs, join


def _pipeline(estimator: Pipeline, x: Block) -> Block | Outputs:
    found: Block | Outputs = x
    for position, (_, step) in enumerate(estimator.steps):
        if step is None or step == "passthrough":
            continue
        assert isinstance(found, Block)
        last = position == len(estimator.steps) - 1
        found = found.convert(step) if last else found.transformed(step)
    return found


def _column_transformer(estimator: ColumnTransformer, x: Block) -> Block:
    blocks = []
    outer_names = getattr(estimator, "feature_names_in_", None)
    for name, transformer, columns in estimator.transformers_:
        if isinstance(transformer, str) and transformer == "drop":
            continue
        picked = _picked(x, columns, outer_names)
        if not picked:
            continue
        part = x.select(picked)
        if not (isinstance(transformer, str) and transformer == "passthrough"):
            with x.builder.inside(f"ColumnTransformer[{name!r}]"):
                part = part.transformed(transformer)
        blocks.append(part)
    if not blocks:
        x.refuse("keeps no columns")
    return _named(estimator, join(blocks))


def _feature_union(estimator: FeatureUnion, x: Block) -> Block:
    weights = estimator.transformer_weights or {}
    blocks = []
    for name, transformer in estimator.transformer_list:
        if isinstance(transformer, str) and transformer == "drop":
            continue
        passed = isinstance(transformer, str) and transformer == "passthrough"
        part = x if passed else x.transformed(transformer)
        if name in weights:
            part = part.affine(mul=weights[name])
        blocks.append(part)
    if not blocks:
        x.refuse("keeps no columns")
    return _named(estimator, join(blocks))


def _picked(x: Block, columns: Any, names: Any) -> list[int]:
    """Return the positions a fitted column specification means: names, positions, a slice or a mask."""
    if names is None:
        names = x.names
    known = {str(name): position for position, name in enumerate(names) if name is not None}
    width = x.width
    if isinstance(columns, str):
        return [known[columns]]
    if isinstance(columns, slice):
        if isinstance(columns.start, str) or isinstance(columns.stop, str):
            start = 0 if columns.start is None else known[columns.start]
            stop = width if columns.stop is None else known[columns.stop] + 1
            return list(range(start, stop, columns.step or 1))
        return list(range(width))[columns]
    if isinstance(columns, int | np.integer):
        return [int(columns) % width]
    listed: Sequence[Any] = list(columns)
    if listed and all(isinstance(value, bool | np.bool_) for value in listed):
        return [position for position, kept in enumerate(listed) if kept]
    return [known[value] if isinstance(value, str) else int(value) % width for value in listed]


def _named(estimator: Any, block: Block) -> Block:
    """Return the block under the names scikit-learn gives its columns, where later steps could see them."""
    try:
        names = [str(name) for name in estimator.get_feature_names_out()]
    except (AttributeError, ValueError, TypeError):
        return block
    return block.renamed(names) if len(names) == block.width else block


CONVERTERS: Final[dict[type | str, Converter]] = {
    Pipeline: _pipeline,
    ColumnTransformer: _column_transformer,
    FeatureUnion: _feature_union,
}
