"""The fields of raw rows, before a feature function: what golden rows are made up from.

Only ranges and kinds are wanted here; what a version reads, and what may be missing in it, is `_fields`'.
"""

from typing import Any

from mlshared._values import is_missing
from mlshared.errors import InputError
from mlshared.manifest import Field

from ._fields import column_kind


def raw_fields(frame: Any) -> tuple[Field, ...]:
    """Return a field for each column of a raw frame, shape (n, columns), that a row can carry."""
    fields = []
    for name, column in frame.items():
        try:
            kind, value_type = column_kind(str(name), column)
        except InputError:
            continue  # nothing that JSON holds; a feature function that needs it gets no golden row
        nullable = any(is_missing(value) for value in column.head(10_000))
        fields.append(
            Field(
                name=str(name), kind=kind, dtype=str(column.dtype), value_type=value_type, nullable=nullable
            )
        )
    return tuple(fields)
