"""A fitted estimator and a frame like its training frame -> the fields a row must have.

    infer_fields(estimator, X) -> (input, fields, categories)
        which columns it reads      not the dropped ones: asked of the structure, then tried
        what each of them holds     kind, dtype, the frame's own missing value
        which may be missing        tried: the fitted estimator answers, or it does not
    fields_from_schema(Flight, fields) -> fields with the user's bounds, enums and nullability

An inferred schema describes the pipeline, not tonight's sample: a column without gaps tonight may still be
nullable, and no bound or enum is ever taken from data.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from mlshared._frames import frame
from mlshared._schema import Schema
from mlshared._values import is_missing
from mlshared.errors import InputError
from mlshared.manifest import Field, FieldKind

from ._columns import columns_read, encoded_values, text_columns
from ._own_schema import fields_from_schema as fields_from_schema  # noqa: PLC0414 - one door for fields

Input = Literal["fields", "array", "text"]
Inferred = tuple[Input, tuple[Field, ...], dict[str, list[Any]]]
ValueType = Literal["str", "int", "float", "bool"]
Missing = Literal["nan", "none", "na", "nat"]

TEXT_FIELD: Final = "text"

_CANDIDATE_ROWS: Final = 20
_TRIED_ROWS: Final = 3
_METHODS: Final = ("predict", "transform", "predict_proba", "decision_function", "score_samples")
# Whatever a transformer of the user's own trips over means: no answer.
_REFUSALS: Final = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError)
_VALUE_TYPES: Final[dict[str, ValueType]] = {
    "string": "str", "integer": "int", "floating": "float", "mixed-integer-float": "float", "boolean": "bool",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Hints:
    """What the fitted structure tells beyond the rows: columns of text, and values its encoders know."""

    texts: set[str]
    encoded: dict[str, list[Any]]


def infer_fields(estimator: Any, X: Any) -> Inferred:  # noqa: N803 - scikit-learn's name
    """Return what the fitted estimator reads.

    Args:
        estimator: Any fitted estimator.
        X: The training frame, or held-out rows with the same columns and dtypes: a DataFrame, a 2-D array,
            or a list, Series or 1-D array of ``str``. A few rows suffice.

    Returns:
        The kind of input; the fields in the order of training; the categories of columns with a pandas
        category dtype.

    Raises:
        InputError: If X is not what the estimator was fitted on, or a column holds what no row can carry.
    """
    if _is_texts(X):
        return "text", (Field(name=TEXT_FIELD, kind="text", dtype="str", value_type="str"),), {}
    kind, columns = _columns(estimator, X)
    read = columns_read(estimator, list(columns)) if kind == "fields" else list(columns)
    try:
        return _tried(estimator, kind, {name: columns[name] for name in read})
    except InputError:
        if len(read) == len(columns):
            raise
    return _tried(estimator, kind, columns)  # something before the selection wants every column


# -- which columns


def _is_texts(X: Any) -> bool:  # noqa: N803
    if not isinstance(X, list | tuple | pd.Series | np.ndarray) or getattr(X, "ndim", 1) != 1:
        return False
    return len(X) > 0 and all(isinstance(value, str) for value in X)


def _columns(estimator: Any, X: Any) -> tuple[Input, dict[str, "pd.Series[Any]"]]:  # noqa: N803
    """Return every column the estimator may have been fitted on, by the name of its field."""
    names = getattr(estimator, "feature_names_in_", None)
    width = getattr(estimator, "n_features_in_", None)
    if hasattr(X, "to_pandas"):
        X = X.to_pandas()  # noqa: N806
    if isinstance(X, pd.DataFrame) and all(isinstance(name, str) for name in X.columns):
        if names is not None:
            _check_columns(columns_read(estimator, list(names)), X)
            return "fields", {str(name): X[name] for name in names if name in X.columns}
        if width is None:  # a first step of the user's own, that keeps no record
            return "fields", {name: X[name] for name in X.columns}
    by_position = _positions(X)
    if width is not None and len(by_position) != width:
        message = f"has {len(by_position)} columns, and the estimator was fitted on {width}"
        raise InputError([{"field": "X", "message": f"{message}; pass rows like the training rows"}])
    if names is not None:
        return "fields", dict(zip(map(str, names), by_position, strict=True))
    return "array", {f"x{number}": column for number, column in enumerate(by_position)}


def _check_columns(names: list[str], X: pd.DataFrame) -> None:  # noqa: N803
    absent = [name for name in names if name not in X.columns]
    if absent:
        message = "the estimator was fitted on this column, and X lacks it"
        raise InputError([{"field": str(name), "message": message} for name in absent[:20]])


def _positions(X: Any) -> list["pd.Series[Any]"]:  # noqa: N803
    if isinstance(X, pd.DataFrame):
        return [X.iloc[:, number] for number in range(X.shape[1])]
    array = np.asarray(X[:_CANDIDATE_ROWS].toarray() if hasattr(X, "toarray") else X)
    if array.ndim != 2:
        message = f"a {type(X).__name__} of {array.ndim} dimensions; pass a DataFrame or a 2-D array"
        raise InputError([{"field": "X", "message": message}])
    dtype = object if array.dtype.kind in "OU" else array.dtype
    columns = [pd.Series(array[:, number], dtype=dtype) for number in range(array.shape[1])]
    for column in columns:
        column.attrs["dtype"] = str(array.dtype)  # pandas keeps no ``<U5``
    return columns


# -- what they hold


def _described(name: str, column: "pd.Series[Any]", hints: "_Hints") -> Field:
    dtype = str(column.attrs.get("dtype", column.dtype))
    if isinstance(column.dtype, pd.SparseDtype):
        dtype = str(column.dtype.subtype)
    kind, value_type = column_kind(name, column)
    return Field(
        name=name,
        kind="text" if name in hints.texts and value_type == "str" else kind,
        dtype=dtype,
        value_type=value_type,
        missing=_missing(name, column, hints.encoded.get(name, [])),
        nullable=True,
    )


def column_kind(name: str, column: "pd.Series[Any]") -> tuple[FieldKind, ValueType | None]:
    """Return how values of a column are checked, and the Python type of a category's values."""
    dtype, types = column.dtype, pd.api.types
    if isinstance(dtype, pd.CategoricalDtype):
        return "category", _value_type(name, pd.Series(list(dtype.categories), dtype=object))
    if types.is_bool_dtype(dtype):
        return "boolean", None
    if types.is_numeric_dtype(dtype) and "decimal" not in str(dtype) and not types.is_complex_dtype(dtype):
        return "number", None
    if types.is_datetime64_any_dtype(dtype):
        return "datetime", None
    if isinstance(dtype, pd.StringDtype):
        return "category", "str"
    if types.is_object_dtype(dtype) or types.is_string_dtype(dtype):
        value_type = _value_type(name, column)
        return ("boolean", None) if value_type == "bool" else ("category", value_type)
    raise InputError([{"field": name, "message": f"no row can carry {dtype}; convert the column to numbers"}])


def _value_type(name: str, column: "pd.Series[Any]") -> ValueType | None:
    found = pd.api.types.infer_dtype(column, skipna=True)
    if found in _VALUE_TYPES:
        return _VALUE_TYPES[found]
    if found == "empty" or all(
        isinstance(value, str | bool | int | float) for value in column if not is_missing(value)
    ):
        return None
    mend = "convert it to text, numbers or datetime64 before fitting"
    raise InputError([{"field": name, "message": f"no row can carry its values ({found}); {mend}"}])


def _missing(name: str, column: "pd.Series[Any]", encoded: list[Any]) -> Missing:
    """Return the frame's own missing value: of these rows, or where they have none, of a fitted encoder."""
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return "nat"
    if not pd.api.types.is_object_dtype(column.dtype):
        value: Any = getattr(column.dtype, "na_value", np.nan)
        return "na" if value is pd.NA else "nan"
    seen = {_missing_kind(value) for value in column if is_missing(value)}
    known = {_missing_kind(value) for value in encoded if is_missing(value)}
    if len(seen | known) > 1:
        message = "holds several missing values (" + ", ".join(sorted(seen | known)) + "), which rows cannot"
        mend = "tell apart; use one: column.where(column.notna(), np.nan), and fit again"
        raise InputError([{"field": name, "message": f"{message} {mend}"}])
    return next(iter(seen | known), "nan")


def _missing_kind(value: Any) -> Missing:
    if value is None:
        return "none"
    if value is pd.NA:
        return "na"
    return "nat" if value is pd.NaT else "nan"


# -- which may be missing


def _tried(estimator: Any, kind: Input, columns: dict[str, "pd.Series[Any]"]) -> Inferred:
    names = [str(name) for name in getattr(estimator, "feature_names_in_", columns)]
    hints = _Hints(text_columns(estimator, names), encoded_values(estimator, names))
    fields = tuple(_described(name, column, hints) for name, column in columns.items())
    categories = {
        name: column.dtype.categories.tolist()
        for name, column in columns.items()
        if isinstance(column.dtype, pd.CategoricalDtype)
    }
    schema = Schema(fields, kind, categories)
    answers = _asker(estimator, schema)
    rows = _working_rows(schema, columns, answers)
    nullable = _nullable(list(schema.names), rows, answers)
    decided = tuple(field.model_copy(update={"nullable": field.name in nullable}) for field in fields)
    return kind, decided, categories


def _asker(estimator: Any, schema: Schema) -> Callable[[list[dict[str, Any]]], str | None]:
    """Return a function of rows: None if the estimator answers them, else why not."""
    method = next((name for name in _METHODS if hasattr(estimator, name)), None)
    if method is None:
        message = f"{type(estimator).__name__} has none of {', '.join(_METHODS)}"
        raise InputError([{"field": "estimator", "message": f"{message}; nothing could be asked of it"}])
    ask = getattr(estimator, method)

    def refusal(rows: list[dict[str, Any]]) -> str | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # an unknown category here is on purpose
                answer = ask(frame(rows, schema))
        except _REFUSALS as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        if method == "predict" and pd.isna(np.asarray(answer)).any():
            return "the answer is NaN"
        return None

    return refusal


def _working_rows(
    schema: Schema,
    columns: dict[str, "pd.Series[Any]"],
    refusal: Callable[[list[dict[str, Any]]], str | None],
) -> list[dict[str, Any]]:
    length = len(next(iter(columns.values())))
    if not length:
        raise InputError(
            [{"field": "X", "message": "has no rows; pass some that are like the training rows"}]
        )
    chosen = np.unique(np.linspace(0, length - 1, _CANDIDATE_ROWS).astype(int))
    values = {name: column.iloc[chosen].tolist() for name, column in columns.items()}
    working: list[dict[str, Any]] = []
    for number in range(len(chosen)):
        row = schema.row({name: column[number] for name, column in values.items()})
        why = refusal([row])
        if why is None:
            working.append(row)
        if len(working) == _TRIED_ROWS:
            break
    if not working:
        message = f"the fitted estimator answers none of the rows tried; the last one: {why}"
        raise InputError([{"field": "X", "message": message}])
    return working


def _nullable(
    names: list[str], rows: list[dict[str, Any]], refusal: Callable[[list[dict[str, Any]]], str | None]
) -> set[str]:
    """Return the fields without which every row is still answered.

    Many are asked at once, each of them missing in a row of its own; a batch that fails is halved.
    """
    if len(names) == 1:  # a batch shares its dtypes: the row alone has the last word
        return set(names) if all(refusal([{**row, names[0]: None}]) is None for row in rows) else set()
    if refusal([{**rows[0], name: None} for name in names]) is None and (
        refusal([{**row, name: None} for name in names for row in rows[1:]]) is None
    ):
        return set(names)
    half = len(names) // 2
    return _nullable(names[:half], rows, refusal) | _nullable(names[half:], rows, refusal)
