"""Scalers, imputers and encoders: one function a type."""

from typing import Any, Final

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from ._block import Block, Column, Converter, join


def _standard_scaler(estimator: StandardScaler, x: Block) -> Block:
    x = x.check(missing=False)
    return x.affine(
        sub=estimator.mean_ if estimator.with_mean else None,
        div=estimator.scale_ if estimator.with_std else None,
    )


def _simple_imputer(estimator: SimpleImputer, x: Block) -> Block:
    if estimator.add_indicator:
        x.refuse("add_indicator")
    if x.labelled():
        columns = []
        for column, value in zip(x.columns, estimator.statistics_.tolist(), strict=True):
            if not column.label:
                x.refuse("imputes texts and numbers at once")
            columns.append(Column(column.name, column.step, 0, True, value))
        return Block(x.builder, tuple(columns))
    statistics = np.asarray(estimator.statistics_, dtype=np.float64)
    if np.isnan(statistics).any():
        x.refuse("a column without any value in training")
    return x.check(missing=False).fill(statistics)


def _one_hot_encoder(estimator: OneHotEncoder, x: Block) -> Block:
    blocks = []
    for position in range(x.width):
        blocks.append(_one_hot(estimator, x.select([position]), position))
    return join(blocks)


def _one_hot(estimator: OneHotEncoder, x: Block, position: int) -> Block:
    categories: Any = estimator.categories_[position]
    if estimator.drop is not None or getattr(estimator, "_infrequent_enabled", False):
        x.refuse("drop and infrequent categories")
    listed = list(categories)
    missing = next((code for code, value in enumerate(listed) if value is None or value != value), None)
    unknown = -1 if estimator.handle_unknown != "error" else None
    table = np.eye(len(listed))
    codes = x.encode(listed, missing=unknown if missing is None else missing, unknown=unknown)
    return codes.lookup(table, np.zeros(len(listed)), names=[None] * len(listed))


CONVERTERS: Final[dict[type | str, Converter]] = {
    StandardScaler: _standard_scaler,
    SimpleImputer: _simple_imputer,
    OneHotEncoder: _one_hot_encoder,
}
