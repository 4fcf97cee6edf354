"""What a value of a field may be, and the compiled validators that say so.

quick     a dict of plain Python values; NaN, infinities, numpy and pandas scalars are refused
careful   what `plain` has made of such values; what is still wrong is wrong
"""

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Annotated, Any, Final

import numpy as np
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, NaiveDatetime, Strict, TypeAdapter
from pydantic import Field as Constrained
from typing_extensions import TypedDict  # pydantic refuses typing.TypedDict before Python 3.12

from mlshared._breath import breathe
from mlshared._problems import MOST_CHARACTERS
from mlshared.manifest import Field, Scalar

_EXACT_FLOAT: Final = 2.0**53 - 1  # 2**53 + 1 rounds to 2**53
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_DIGITS: Final = re.compile(r"\s*[+-]?[0-9._]+\s*", re.ASCII)


def is_missing(value: Any) -> bool:
    """Return whether this is None, NaN, ``pd.NA`` or NaT; pandas need not be installed."""
    if value is None:
        return True
    if isinstance(value, float | np.floating):
        return bool(value != value)  # noqa: PLR0124 - NaN is what differs from itself
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    if isinstance(value, Decimal):
        return value.is_nan()
    return type(value).__name__ in {"NAType", "NaTType"} and type(value).__module__.startswith("pandas.")


def holds_integers(dtype: str) -> bool:
    """Return whether a training dtype is one of whole numbers: ``int64``, ``UInt8``, ``int32[pyarrow]``."""
    return dtype.lower().startswith(("int", "uint"))


# The next version of a model mostly reads the same fields: a swap then compiles nothing, which takes pydantic
# milliseconds in one piece.
@lru_cache(maxsize=64)
def row_validator(fields: tuple[Field, ...], *, careful: bool) -> Any:
    """Return what checks a dict of these fields and returns them in their order, or raises ValidationError."""
    annotations = {}
    for field in fields:
        annotations[field.name] = _annotation(field, careful=careful)
        breathe()
    row = TypedDict("Row", annotations)  # type: ignore[misc]
    compiled = TypeAdapter(row).validator.validate_python
    breathe()
    return compiled


def column_validator(field: Field) -> Callable[[Any], list[Any]]:
    """Return what checks a list of one field's plain values, or raises ValidationError."""
    rows_of: Any = list[_annotation(field, careful=True)]  # type: ignore[misc]
    adapter: TypeAdapter[list[Any]] = TypeAdapter(rows_of)
    return adapter.validate_python


def _annotation(field: Field, *, careful: bool) -> Any:
    kind = _kind(field, careful=careful)
    if field.enum is not None:
        kind = Annotated[kind, AfterValidator(_one_of(field.enum))]
    if field.nullable:
        kind = kind | None
    if field.kind == "datetime":  # outermost, for NaT is a datetime to pydantic
        kind = Annotated[kind, BeforeValidator(_moment)]
    return kind


def _kind(field: Field, *, careful: bool) -> Any:
    if field.kind == "boolean":
        return bool
    if field.kind == "datetime":
        return AwareDatetime if "," in field.dtype else NaiveDatetime
    if field.kind == "number":
        return _number(field, careful=careful)
    if field.kind == "text":
        return Annotated[str, Strict()]
    bounds = Constrained(ge=field.minimum, le=field.maximum)
    whole = Annotated[int, Strict(), bounds]
    real = Annotated[float, Strict(), bounds, Constrained(allow_inf_nan=careful)]
    text, truth = Annotated[str, Strict()], Annotated[bool, Strict()]
    if field.value_type is None:
        return text | truth | whole | real
    return {"str": text, "int": whole, "float": real, "bool": truth}[field.value_type]


def _number(field: Field, *, careful: bool) -> Any:
    low, high = field.minimum, field.maximum
    if holds_integers(field.dtype) and not careful:
        # Beyond 2**53 a float would be another number: left to the careful path.
        low = -_EXACT_FLOAT if low is None else max(low, -_EXACT_FLOAT)
        high = _EXACT_FLOAT if high is None else min(high, _EXACT_FLOAT)
    return Annotated[float, Constrained(ge=low, le=high, allow_inf_nan=careful)]


def _one_of(allowed: tuple[Scalar, ...]) -> Any:
    def check(value: Any) -> Any:
        if value not in allowed:
            raise ValueError("not in the enum")
        return value

    return check


def _moment(value: Any) -> Any:
    """Refuse what pydantic would take for seconds since 1970, "20240101" too; NaT is missing."""
    if isinstance(value, str):
        if _DIGITS.fullmatch(value):
            raise ValueError("digits alone")
    elif is_missing(value):
        return None
    elif not isinstance(value, date):  # datetime is a subclass
        raise ValueError("no date")
    return value


def plain(field: Field, value: Any) -> Any:
    """Return the Python scalar that a numpy, pandas or enum value stands for; None if it is missing."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if is_missing(value):
        return None
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item()
    if isinstance(value, np.generic):
        value = value.item()
    if field.kind == "number" and isinstance(value, str):
        return _number_text(field, value)
    if field.value_type == "int" and isinstance(value, float) and value.is_integer():
        return int(value)  # frames with a gap turn whole numbers into floats, and 3.0 == 3
    return value


def _number_text(field: Field, text: str) -> Any:
    stripped = text[:MOST_CHARACTERS].strip().lower()
    if stripped.lstrip("+-") == "nan":
        return None
    if holds_integers(field.dtype) and _WHOLE.fullmatch(stripped):
        return int(stripped)
    return text


def unrounded(field: Field, given: Any, checked: Any) -> Any:
    """Return a checked value; the one given where that is a whole number which a float would round."""
    if type(given) is int and abs(given) > _EXACT_FLOAT and holds_integers(field.dtype):
        return given
    return checked
