"""Encoders: the code of a category, then what is looked up by it.

Private attributes used: of the encoders, `_infrequent_enabled` and `_default_to_infrequent_mappings` (which
group a code belongs to) and `_drop_idx_after_grouping`; of OrdinalEncoder, `_missing_indices`.
"""

from typing import Any, Final

import numpy as np
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from mlshared._values import is_missing

from ._block import Block, Converter, join

_EXACT: Final = 2.0**53  # whole numbers beyond it share their floats


def _one_hot_encoder(estimator: OneHotEncoder, x: Block) -> Block:
    blocks = [_one_hot(estimator, x.select([position]), position) for position in range(x.width)]
    return join(blocks).stored(sparse=estimator.sparse_output)


def _one_hot(estimator: OneHotEncoder, x: Block, position: int) -> Block:
    categories = estimator.categories_[position]
    groups, infrequent = _groups(estimator, position)
    drop = estimator._drop_idx_after_grouping  # noqa: SLF001
    dropped = None if drop is None else drop[position]
    grouped = estimator.handle_unknown in {"infrequent_if_exist", "warn"} and infrequent is not None
    column = np.arange(int(groups.max()) + 1)
    if dropped is not None:
        column[int(dropped) :] -= 1
        column[int(dropped)] = -1
    width = int(column.max()) + 1
    codes = codes_of(x, categories, refuse=estimator.handle_unknown == "error")
    if not width and (estimator.handle_unknown == "error" or not x.labelled()):
        x.refuse("a column of one category that is dropped, and checked")
    if not width:
        return x.select([])
    return codes.apply(
        "onehot",
        names=[None] * width,
        arrays={"column": column[groups]},
        otherwise=int(column[infrequent]) if grouped else -1,
        width=width,
        dtype="float32" if np.dtype(estimator.dtype) == np.float32 else "float64",
    )


def _groups(estimator: Any, position: int) -> tuple[Any, Any]:
    """Return the group of each code, the infrequent ones sharing the last, and which that is, or None."""
    mapping = None
    if estimator._infrequent_enabled:  # noqa: SLF001
        mapping = estimator._default_to_infrequent_mappings[position]  # noqa: SLF001
    if mapping is None:
        return np.arange(len(estimator.categories_[position])), None
    return np.asarray(mapping, dtype=np.int64), int(mapping.max())


def _ordinal_encoder(estimator: OrdinalEncoder, x: Block) -> Block:
    return join([_ordinal(estimator, x.select([position]), position) for position in range(x.width)])


def _ordinal(estimator: OrdinalEncoder, x: Block, position: int) -> Block:
    categories = estimator.categories_[position]
    groups, _ = _groups(estimator, position)
    dtype = np.dtype(estimator.dtype)
    table = np.zeros(len(categories), dtype=dtype)
    table[: len(groups)] = groups
    missing = estimator._missing_indices.get(position)  # noqa: SLF001
    if missing is not None:
        table[missing] = estimator.encoded_missing_value
    refuse = estimator.handle_unknown == "error"
    unknown = np.zeros(1, dtype=dtype) if refuse else np.array([estimator.unknown_value]).astype(dtype)
    name = "float32" if dtype == np.float32 else "float64"
    codes = codes_of(x, categories, refuse=refuse)
    return codes.lookup(table[:, None], unknown, names=x.names, dtype=name)


def _target_encoder(estimator: TargetEncoder, x: Block) -> Block:
    outputs = len(estimator.classes_) if estimator.target_type_ == "multiclass" else 1
    means = np.atleast_1d(np.asarray(estimator.target_mean_, dtype=np.float64))
    blocks = []
    for position in range(x.width):
        codes = codes_of(x.select([position]), estimator.categories_[position], refuse=False)
        encodings = estimator.encodings_[position * outputs : (position + 1) * outputs]
        blocks.append(codes.lookup(np.stack(encodings, axis=1), means, names=[x.names[position]] * outputs))
    return join(blocks)


def codes_of(x: Block, categories: Any, *, refuse: bool) -> Block:
    """Return the codes of one column's values: their places in ``categories``, -1 for others.

    Args:
        x: One column.
        categories: As an encoder has learned them, a missing value among them or not.
        refuse: Whether other values are refused.
    """
    listed = list(categories)
    (column,) = x.columns
    missing = next((code for code, value in enumerate(listed) if is_missing(value)), None)
    unknown = None if refuse else -1
    if sum(map(is_missing, listed)) > 1:
        x.refuse("categories hold several missing values, which rows cannot tell apart")
    if not column.label:
        x = _numbers(x, np.asarray(categories))
        listed = [np.nan if is_missing(value) else float(value) for value in listed]
    else:
        listed = [None if is_missing(value) else value for value in listed]
    return x.encode(listed, missing=unknown if missing is None else missing, unknown=unknown)


def _numbers(x: Block, categories: Any) -> Block:
    if any(isinstance(value, str | bytes) for value in categories.tolist()):
        x.refuse("categories are texts where the column is numbers")
    whole = [value for value in categories.tolist() if isinstance(value, int)]
    if any(abs(value) >= _EXACT for value in whole):
        x.refuse("categories are whole numbers beyond 2**53, which floats do not tell apart")
    # Arrays of objects are not asked for infinities by scikit-learn.
    return x if categories.dtype.kind == "O" else x.check(missing=False)


CONVERTERS: Final[dict[type | str, Converter]] = {
    OneHotEncoder: _one_hot_encoder,
    OrdinalEncoder: _ordinal_encoder,
    TargetEncoder: _target_encoder,
}
