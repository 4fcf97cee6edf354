"""Checked rows or a user's table -> the frame a fitted estimator expects.

    rows of Schema.row -> frame() ---.
                                      >-- DataFrame with the training dtypes, ndarray, or list of str
    DataFrame, ndarray -> table() ---'

A frame is typed as the training frame was, down to its own missing value: a naive ``DataFrame([row])`` turns
a ``str`` column with None into ``object``, loses one-hot's NaN category, and leaves None unimputed. Where a
training dtype cannot hold the values (a whole-number column with a gap, 12.5, or 300 in an ``int8``), the
column is float64, as pandas would make it. A value outside a pandas category dtype is missing to that dtype.

Tables follow the rules of rows; columns that already have their training dtype are checked as a whole,
others value by value. pandas is imported for the first DataFrame, not for models fitted on arrays or texts.
"""

import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlshared._problems import bounded, missing_field, shown
from mlshared._schema import Schema
from mlshared._values import holds_integers
from mlshared.errors import ConfigError, InputError
from mlshared.manifest import Field

if TYPE_CHECKING:
    import pandas as pd

Rows = Sequence[Mapping[str, Any]]

_NULLABLE: Final = ("Int", "UInt", "Float")
_WIDEST_NULLABLE: Final = "Float64"
_WIDEST_ARROW: Final = "double[pyarrow]"


def frame(rows: Rows, schema: Schema) -> Any:
    """Return checked rows as the fitted estimator expects them.

    Args:
        rows: What `Schema.row` or `Schema.rows` returned; may be empty.
        schema: The schema that checked them.

    Returns:
        A DataFrame (n, n_fields) with the training dtypes; for a model fitted without names an ndarray of
        that shape; for a text model a list of n ``str``.

    Raises:
        InputError: If a moment is outside what the training dtype can hold.
        ConfigError: If a DataFrame is needed and pandas is not installed.
    """
    if schema.input == "text":
        return [row[schema.names[0]] for row in rows]
    if schema.input == "array" and all(field.dtype == "float64" for field in schema.fields):
        values = [[row[name] for name in schema.names] for row in rows]
        return np.array(values, dtype=np.float64).reshape(len(rows), len(schema.names))
    columns = {
        field.name: _column(field, [row[field.name] for row in rows], schema) for field in schema.fields
    }
    return _assembled(columns, schema, None)


def table(x: Any, schema: Schema) -> Any:
    """Return a user's table as the fitted estimator expects it.

    Args:
        x: A DataFrame with its columns in any order; an ndarray (n, n_fields), where the model was fitted
            without names or reads numbers alone; for a text model a Series or 1-D array of ``str``.
        schema: What the model reads.

    Returns:
        As `frame`; a DataFrame keeps the index of ``x``.

    Raises:
        InputError: If a column is missing, the width is wrong, or a value is; names field and first row.
        ConfigError: If a DataFrame is needed and pandas is not installed.
    """
    if schema.input == "text":
        return _texts(x, schema)
    return _assembled(columns(x, schema), schema, x.index if _is_pandas(x, "DataFrame") else None)


def columns(x: Any, schema: Schema) -> dict[str, Any]:
    """Return the columns of the same by field, and no frame of them: an array of numbers needs no pandas.

    Arguments and errors are those of `table`.
    """
    if schema.input == "text":
        return {schema.names[0]: _texts(x, schema)}
    if _is_pandas(x, "DataFrame"):
        given = _by_name(x, schema)
    elif isinstance(x, np.ndarray):
        given = _by_position(x, schema)
    else:
        raise _no_table(x)
    return {field.name: _checked(field, given[field.name], schema) for field in schema.fields}


def _pandas() -> ModuleType:
    try:
        import pandas as pd  # noqa: PLC0415 - heavy, and a web process may do without it
    except ImportError as error:
        raise ConfigError(
            "this model was fitted on a DataFrame, and pandas is not installed: "
            "pip install 'mlshared[sklearn]'"
        ) from error
    return pd


def _is_pandas(x: Any, kind: str) -> bool:
    loaded = sys.modules.get("pandas")
    return loaded is not None and isinstance(x, getattr(loaded, kind))


def _assembled(columns: dict[str, Any], schema: Schema, index: "pd.Index[Any] | None") -> Any:
    if schema.input == "array":
        return np.column_stack(list(columns.values()))
    pd = _pandas()
    # A Series with its dtype, or the DataFrame would make ``str`` of an object array.
    series = {
        name: pd.Series(column, index=index, dtype=object, copy=False) if column.dtype == object else column
        for name, column in columns.items()
    }
    return pd.DataFrame(series, index=index, copy=False)


# -- values -> a column of the training dtype


def _column(field: Field, values: list[Any], schema: Schema) -> Any:
    """Return checked values (None where missing) as a column of the field's training dtype."""
    try:
        return _typed(field, values, schema)
    except (ValueError, OverflowError) as error:
        message = f"a value is outside what {field.dtype} can hold: {str(error)[:60]}"
        raise InputError([{"field": field.name, "message": message}]) from error


def _typed(field: Field, values: list[Any], schema: Schema) -> Any:
    dtype = field.dtype
    if dtype == "category":
        return _categorical(values, schema.categories[field.name])
    if dtype.startswith("<U") and None not in values:
        return np.array(values, dtype=np.str_)
    if dtype == "object" or dtype.startswith("<U"):
        return _objects(values, field.missing)
    if field.kind == "number":
        return _numbers(values, dtype)
    if dtype == "bool":
        return np.array(values, dtype=np.float64 if None in values else np.bool_)
    return _of_pandas(values, dtype, schema)


def _numbers(values: list[Any], dtype: str) -> Any:
    plain = dtype.removesuffix("[pyarrow]").lower()
    whole = _whole(values, plain) if holds_integers(dtype) else None
    if dtype.startswith(_NULLABLE) or dtype.endswith("[pyarrow]"):
        if whole is not None or not holds_integers(dtype):
            return _pandas().array(values if whole is None else whole, dtype=dtype)
        return _pandas().array(values, dtype=_WIDEST_ARROW if dtype.endswith("]") else _WIDEST_NULLABLE)
    if whole is not None and None not in whole:
        return np.array(whole, dtype=plain)
    floats = np.array(values, dtype=np.float64)  # None becomes NaN
    if holds_integers(dtype):
        return floats
    with np.errstate(over="ignore"):  # 1e39 is infinite as float32; the estimator judges
        return floats.astype(plain)


def _whole(values: list[Any], dtype: str) -> list[int | None] | None:
    """Return the values as ints, or None if one has a fraction or does not fit the dtype."""
    limits = np.iinfo(dtype)
    low, high = int(limits.min), int(limits.max)
    whole: list[int | None] = []
    for value in values:
        if value is None:
            whole.append(None)
        elif (isinstance(value, int) or value.is_integer()) and low <= value <= high:
            whole.append(int(value))
        else:
            return None
    return whole


def _objects(values: list[Any], missing: str) -> Any:
    if missing == "nan":
        gap: Any = np.nan
    elif missing == "none":
        gap = None
    else:
        gap = _pandas().NA if missing == "na" else _pandas().NaT
    column = np.empty(len(values), dtype=object)
    column[:] = [gap if value is None else value for value in values]
    return column


def _categorical(values: list[Any], categories: list[Any]) -> Any:
    codes = {category: code for code, category in enumerate(categories)}
    found = [-1 if value is None else codes.get(value, -1) for value in values]
    return _pandas().Categorical.from_codes(found, categories=categories)


def _of_pandas(values: list[Any], dtype: str, schema: Schema) -> Any:
    if dtype.startswith("datetime64") and schema.input == "array":
        return np.array(values, dtype=dtype)
    pd = _pandas()
    if dtype != "str":
        return pd.array(values, dtype=dtype)
    try:
        text = pd.StringDtype(na_value=np.nan)
    except TypeError:  # pandas before 2.3 has no such dtype: object with NaN is what it had instead
        return _objects(values, "nan")
    return pd.array(values, dtype=text)


# -- a user's column -> the same


def _checked(field: Field, column: Any, schema: Schema) -> Any:
    """Return a Series or 1-D array, checked by the rules of rows, with the field's training dtype."""
    trained = str(column.dtype) == field.dtype and field.kind != "category" and field.enum is None
    if field.kind == "number" and field.enum is None and _is_numpy_number(column.dtype, field.dtype):
        values = np.asarray(column)
        _check_numbers(field, values)
        return _cast(values, np.dtype(field.dtype))
    if trained and field.dtype not in {"object", "category"} and not _bounded(field):
        _check_present(field, np.asarray(_pandas().isna(column)))
        return np.asarray(column) if isinstance(column.dtype, np.dtype) else column.array
    return _column(field, schema.column(field.name, column.tolist()), schema)


def _is_numpy_number(given: Any, trained: str) -> bool:
    if not isinstance(given, np.dtype) or given.kind not in "fiub":
        return False
    return trained.startswith(("float", "int", "uint")) and not trained.endswith("]")


def _bounded(field: Field) -> bool:
    return field.minimum is not None or field.maximum is not None


def _check_numbers(field: Field, values: Any) -> None:
    if values.dtype.kind == "f":
        _check_present(field, np.isnan(values))
    for bound, word, wrong in (
        (field.minimum, "below the minimum", np.less),
        (field.maximum, "above the maximum", np.greater),
    ):
        if bound is not None and (found := np.flatnonzero(wrong(values, bound))).size:
            value = values[found[0]].item()
            message = f"{shown(value)} is {word} of {bound!r}"
            raise InputError([{"field": f"[{found[0]}].{field.name}", "message": message}])


def _check_present(field: Field, gaps: Any) -> None:
    if not field.nullable and gaps.any():
        message = "missing (None, NaN or NA), and the model has no answer without it; fill the column"
        raise InputError([{"field": f"[{int(np.argmax(gaps))}].{field.name}", "message": message}])


def _cast(values: Any, dtype: np.dtype[Any]) -> Any:
    if values.dtype == dtype:
        return values
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return values.astype(dtype)
    if values.dtype.kind == "b":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    if not values.size:
        return values.astype(dtype)
    if values.dtype.kind == "f":
        # float(2**63) is one more than the largest int64, hence the strict comparison above.
        fits = (values == np.floor(values)) & (values >= float(limits.min)) & (values < float(limits.max) + 1)
        return values.astype(dtype if fits.all() and np.isfinite(values).all() else np.float64)
    fits_whole = int(values.min()) >= int(limits.min) and int(values.max()) <= int(limits.max)
    return values.astype(dtype if fits_whole else np.float64)


# -- which column is which field


def _by_name(x: "pd.DataFrame", schema: Schema) -> dict[str, Any]:
    columns = list(x.columns)
    positional = schema.input == "array" and not any(isinstance(name, str) for name in columns)
    if positional:  # a frame without names of its own: as the array it stands for
        _check_width(len(columns), schema)
        return {name: x.iloc[:, number] for number, name in enumerate(schema.names)}
    known = set(schema.names)
    unknown = [name for name in columns if name not in known]
    absent = [field for field in schema.fields if field.name not in columns]
    if absent and schema.input == "array":
        message = "this model was fitted without column names; pass frame.to_numpy(), columns as in training"
        raise InputError([{"field": absent[0].name, "message": message}])
    if absent:
        raise bounded([missing_field(field, unknown) for field in absent])
    twice = [name for name in schema.names if columns.count(name) > 1]
    if twice:
        raise bounded([{"field": name, "message": "the table has it twice; drop one"} for name in twice])
    schema.count_ignored(unknown)
    return {name: x[name] for name in schema.names}


def _by_position(x: Any, schema: Schema) -> dict[str, Any]:
    if x.ndim != 2:
        mend = "reshape(1, -1) makes one row of it" if x.ndim == 1 else "tables are 2-D"
        raise InputError(
            [{"field": "table", "message": f"an array of {x.ndim} dimensions is no table; {mend}"}]
        )
    named = [field.name for field in schema.fields if field.kind != "number"]
    if schema.input == "fields" and named:
        message = f"an array has no column names; pass a DataFrame: {shown(named[0])} is not a number"
        raise InputError([{"field": "table", "message": message}])
    _check_width(x.shape[1], schema)
    return {name: x[:, number] for number, name in enumerate(schema.names)}


def _check_width(width: int, schema: Schema) -> None:
    if width != len(schema.names):
        first = ", ".join(shown(name) for name in schema.names[:5])
        message = f"has {width} columns; the model reads {len(schema.names)}: {first}"
        more = ", ..." if len(schema.names) > 5 else ""
        raise InputError([{"field": "table", "message": message + more}])


def _texts(x: Any, schema: Schema) -> list[str]:
    if not (_is_pandas(x, "Series") or (isinstance(x, np.ndarray) and x.ndim == 1)):
        message = f"this model reads texts; pass a str, or a list or Series of them, not a {type(x).__name__}"
        raise InputError([{"field": "table", "message": message}])
    texts: list[str] = schema.column(schema.names[0], x.tolist())
    return texts


def _no_table(x: Any) -> InputError:
    if _is_pandas(x, "Series"):
        mend = "for one row pass series.to_dict(), for a table series.to_frame()"
    elif hasattr(x, "to_pandas"):
        mend = "pass its .to_pandas()"
    elif hasattr(x, "toarray"):
        mend = "pass its .toarray()"
    else:
        mend = "pass a DataFrame or a 2-D array"
    message = f"a {type(x).__name__} is no table here; {mend}"
    return InputError([{"field": "table", "message": message}])
