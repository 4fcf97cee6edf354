"""Pipeline, ColumnTransformer, FeatureUnion: columns are threaded, no step of their own."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from sklearn import get_config
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
    weights = estimator.transformer_weights or {}
    blocks = []
    outer_names = getattr(estimator, "feature_names_in_", None)
    parts = [
        (name, transformer, _picked(x, columns, outer_names))
        for name, transformer, columns in estimator.transformers_
        if not (isinstance(transformer, str) and transformer == "drop")
    ]
    x = x.leaving_out(position for _, _, picked in parts for position in picked)
    for name, transformer, picked in parts:
        if not picked:
            continue
        part = x.select(picked)
        if not (isinstance(transformer, str) and transformer == "passthrough"):
            with x.builder.inside(f"ColumnTransformer[{name!r}]"):
                part = part.transformed(transformer)
        blocks.append(_weighted(part, weights.get(name)))
    if not any(block.width for block in blocks):
        x.refuse("keeps no columns")
    return _assembled(estimator, join(blocks)).stored(sparse=bool(estimator.sparse_output_))


def _feature_union(estimator: FeatureUnion, x: Block) -> Block:
    weights = estimator.transformer_weights or {}
    blocks = []
    for name, transformer in estimator.transformer_list:
        if isinstance(transformer, str) and transformer == "drop":
            continue
        passed = isinstance(transformer, str) and transformer == "passthrough"
        part = x if passed else x.transformed(transformer)
        blocks.append(_weighted(part, weights.get(name)))
    if not any(block.width for block in blocks):
        x.refuse("keeps no columns")
    sparse = any(block.sparse for block in blocks)
    return _assembled(estimator, join(blocks)).stored(sparse=sparse)


def gives_frames(estimator: Any) -> bool:
    """Return whether it was told to give DataFrames, by `set_output` or for all."""
    own = getattr(estimator, "_sklearn_output_config", {}).get("transform")
    return str(own or get_config()["transform_output"]) != "default"


def _weighted(x: Block, weight: float | None) -> Block:
    return x if weight is None else x.affine(mul=weight).stored(sparse=x.sparse)


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


def _assembled(estimator: Any, block: Block) -> Block:
    """Return the block as later steps see it: under scikit-learn's names, and of one dtype if in one array."""
    if not gives_frames(estimator):
        block = block.unified()
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
