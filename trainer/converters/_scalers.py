"""Scalers and other transformers of one number at a time, in the order and dtype scikit-learn computes in.

Private attributes used: `PowerTransformer._scaler`.
"""

from typing import Any, Final

import numpy as np
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from mlshared.plan._elementwise import FUNCTIONS

from ._block import Block, Converter

# Of these alone numpy computes in float64; on narrower ones ufuncs give float16 or float32.
_COMPUTED_IN_FLOAT64: Final = frozenset({"int32", "int64", "uint32", "uint64"})
# Exact on whole numbers, unless they overflow as integers and not as floats.
_OTHERWISE_ON_INTEGERS: Final = frozenset({"square", "reciprocal", "absolute", "negative"})
_ON_SPARSE: Final = frozenset(
    {"arcsin", "arcsinh", "arctan", "arctanh", "ceil", "deg2rad", "expm1", "floor", "log1p", "rad2deg",
     "rint", "sign", "sin", "sinh", "sqrt", "tan", "tanh", "trunc"}
)  # fmt: skip


def _standard_scaler(estimator: StandardScaler, x: Block) -> Block:
    x = x.check(missing=False)
    if x.sparse:
        return _times_reciprocal(x, estimator.scale_)
    return x.affine(
        sub=estimator.mean_ if estimator.with_mean else None,
        div=estimator.scale_ if estimator.with_std else None,
    )


def _min_max_scaler(estimator: MinMaxScaler, x: Block) -> Block:
    x = _in_place(x.check(missing=False), mul=estimator.scale_)
    x = _in_place(x, add=estimator.min_)
    return _clipped(x, *estimator.feature_range) if estimator.clip else x


def _max_abs_scaler(estimator: MaxAbsScaler, x: Block) -> Block:
    x = x.check(missing=False)
    sparse = x.sparse
    x = _times_reciprocal(x, estimator.scale_) if sparse else _in_place(x, div=estimator.scale_)
    clip = getattr(estimator, "clip", False)  # since scikit-learn 1.9
    return _clipped(x, -1.0, 1.0).stored(sparse=sparse) if clip else x


def _robust_scaler(estimator: RobustScaler, x: Block) -> Block:
    x = x.check(missing=False)
    if x.sparse:
        return _times_reciprocal(x, estimator.scale_ if estimator.with_scaling else None)
    if estimator.with_centering:
        x = _in_place(x, sub=estimator.center_)
    return _in_place(x, div=estimator.scale_) if estimator.with_scaling else x


def _in_place(x: Block, **values: Any) -> Block:
    """Compute ``x op= values``: float32 columns and float64 values meet in float64, and are rounded back."""
    ((name, array),) = values.items()
    dtype = x.dtype
    if np.asarray(array).dtype.name == dtype:
        return x.affine(**{name: array})
    return x.cast("float64").affine(**{name: array}).cast(dtype)


def _times_reciprocal(x: Block, scale: Any) -> Block:
    """Scale as scikit-learn scales sparse matrices: by multiplication."""
    return (x if scale is None else _in_place(x, mul=1.0 / scale)).stored(sparse=True)


def _clipped(x: Block, low: float, high: float) -> Block:
    limits = {"low": np.full(x.width, low, x.dtype), "high": np.full(x.width, high, x.dtype)}
    return x.apply("clip", arrays=limits)


def _normalizer(estimator: Normalizer, x: Block) -> Block:
    x.builder.rounding = True
    return x.check(missing=True).apply("normalize", norm=estimator.norm).stored(sparse=x.sparse)


def _binarizer(estimator: Binarizer, x: Block) -> Block:
    threshold = float(estimator.threshold)
    if np.isnan(threshold):
        x.refuse("a threshold that is no number")
    if x.dtype == "float32":
        threshold = float(np.float32(threshold))  # a Python float is weak beside a float32 column
    arrays = {"edges": np.full(x.width, threshold), "starts": np.arange(x.width + 1)}
    return x.check(missing=True).apply("bin", arrays=arrays, side="left").stored(sparse=x.sparse)


def _power_transformer(estimator: PowerTransformer, x: Block) -> Block:
    x.builder.rounding = True
    lambdas = np.asarray(estimator.lambdas_)
    if lambdas.dtype.name != x.dtype:
        x.refuse(f"was fitted on {lambdas.dtype}, and reads {x.dtype}")
    x = x.check(missing=False)
    if estimator.method == "box-cox":
        x = x.apply("positive")
    plain = hasattr(estimator, "_yeo_johnson_transform")  # before scikit-learn 1.9
    kind = "box_cox" if estimator.method == "box-cox" else "yeo_johnson_plain" if plain else "yeo_johnson"
    x = x.apply("power", arrays={"lambdas": lambdas}, kind=kind)
    return _standard_scaler(estimator._scaler, x) if estimator.standardize else x  # noqa: SLF001


def _quantile_transformer(estimator: QuantileTransformer, x: Block) -> Block:
    if x.sparse:
        x.refuse("a sparse matrix, of which it leaves the zeros as they are")
    normal = estimator.output_distribution == "normal"
    x.builder.rounding |= normal
    quantiles = np.asarray(estimator.quantiles_, dtype=np.float64)
    arrays = {"quantiles": quantiles, "references": np.asarray(estimator.references_)}
    return x.check(missing=False).apply("quantile", arrays=arrays, normal=normal)


def _function_transformer(estimator: FunctionTransformer, x: Block) -> Block:
    if estimator.kw_args and estimator.func is not None:
        x.refuse("a function with arguments")
    if estimator.func is None:
        return x.check(missing=True) if estimator.validate and not x.labelled() else x
    name = getattr(estimator.func, "__name__", "")
    if FUNCTIONS.get(name) is not estimator.func:
        x.refuse(f"the function {name or estimator.func!r:.60}: of numpy's, {', '.join(sorted(FUNCTIONS))}")
    if x.sparse and name not in _ON_SPARSE:
        x.refuse(f"{name} of a sparse matrix")
    for field in x.fields():
        if field is None or field.dtype in {"float64", "float32"}:
            continue
        if field.dtype not in _COMPUTED_IN_FLOAT64 or name in _OTHERWISE_ON_INTEGERS:
            x.refuse(
                f"{name} of {field.name!r}, {field.dtype}, which numpy computes otherwise than of floats"
            )
    x.builder.rounding = True
    checked = x.check(missing=True) if estimator.validate else x
    return checked.apply("map", fn=name).stored(sparse=x.sparse)


CONVERTERS: Final[dict[type | str, Converter]] = {
    StandardScaler: _standard_scaler,
    MinMaxScaler: _min_max_scaler,
    MaxAbsScaler: _max_abs_scaler,
    RobustScaler: _robust_scaler,
    Normalizer: _normalizer,
    Binarizer: _binarizer,
    PowerTransformer: _power_transformer,
    QuantileTransformer: _quantile_transformer,
    FunctionTransformer: _function_transformer,
}
