"""Rows as callers send them -> rows as the model reads them, or an `InputError` that names field and mend.

    a dict -> one compiled validator -> {field: value}, in the order of training
                 | refused: NaN, infinities, numpy and pandas scalars, mistakes
                 `-> the careful path -> {field: value} or InputError

None, NaN, ``pd.NA`` and NaT are one missing value, None. Numbers and booleans are lax ("12" is 12.0, True is
1.0), categories and texts are strict. Infinities pass: whether they have an answer is the estimator's to
judge. Fields the model does not read are ignored and counted.

What may be missing, and how frames are typed, is decided at publish (`trainer._fields`, `mlshared._frames`);
pandas is never imported here. A number is checked as float64; whole numbers beyond 2**53 stay ``int`` where
the training column was of integers, so that large identifiers are not rounded.
"""

import re
import reprlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from itertools import islice
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    NaiveDatetime,
    Strict,
    TypeAdapter,
    ValidationError,
)
from pydantic import Field as Constrained
from typing_extensions import TypedDict  # pydantic refuses typing.TypedDict before Python 3.12

from mlshared._breath import breathe
from mlshared.errors import InputError, InputProblem
from mlshared.manifest import Field, Scalar

_MOST_PROBLEMS: Final = 20
_MOST_LOOK_ALIKES: Final = 100
_MOST_IGNORED: Final = 100
_OTHERS: Final = "(others)"
_MOST_CHARACTERS: Final = 60
_EXACT_FLOAT: Final = 2.0**53 - 1  # 2**53 + 1 rounds to 2**53
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_DIGITS: Final = re.compile(r"\s*[+-]?[0-9._]+\s*", re.ASCII)
_NO_CATEGORIES: Final[Mapping[str, list[Any]]] = MappingProxyType({})

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = _MOST_CHARACTERS
_SHORT.maxlevel = 2
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 3


def shown(value: Any) -> str:
    """Return ``repr(value)``, at most 60 characters of it."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        text = f"<a very large {type(value).__name__}>"
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 3] + "..."


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


def missing_field(field: Field, unknown: Iterable[Any]) -> InputProblem:
    """Return the problem of a field that is not there, naming the closest of the unknown names."""
    return missing_key(field.name, unknown, nullable=field.nullable)


def missing_key(wanted: str, unknown: Iterable[Any], *, nullable: bool = False) -> InputProblem:
    """Return the problem of a key that is not there, naming the closest of the unknown ones."""
    names = [n for n in unknown if isinstance(n, str) and len(n) <= 2 * len(wanted) + 8][:_MOST_IGNORED]
    folded = {name.casefold(): name for name in names}
    close = get_close_matches(wanted.casefold(), folded, n=1)
    if close:
        return {"field": wanted, "message": f"missing; did you mean {shown(folded[close[0]])}?"}
    mend = ", as None if it is not known" if nullable else ""
    return {"field": wanted, "message": f"missing; send it{mend}"}


def bounded(problems: Sequence[InputProblem]) -> InputError:
    """Return the error of these problems, of which it lists the first twenty."""
    listed = list(problems[:_MOST_PROBLEMS])
    if len(problems) > _MOST_PROBLEMS:
        listed.append({"field": "...", "message": f"only the first {_MOST_PROBLEMS} problems are listed"})
    return InputError(listed)


class Schema:
    """The fields a model reads, and the one door its rows come through.

    Safe for any number of threads, and takes no lock: a forked child could inherit it locked.

    Args:
        fields: What the model reads, in the order of training.
        input: ``fields`` (named columns), ``array`` (x0..xn) or ``text`` (one field, given as plain ``str``).
        categories: The categories of columns with a pandas category dtype, in their order.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        input: Literal["fields", "array", "text"] = "fields",  # noqa: A002 - the manifest's name for it
        categories: Mapping[str, list[Any]] = _NO_CATEGORIES,
    ) -> None:
        self.fields = tuple(fields)
        self.input = input
        self.categories = dict(categories)
        self.names = tuple(field.name for field in self.fields)
        self._by_name = {field.name: field for field in self.fields}
        self._width = len(self.fields)
        self._ignored: dict[str, int] = {}
        self._quick = _row_validator(self.fields, careful=False)
        self._careful = _row_validator(self.fields, careful=True)

    @property
    def ignored(self) -> dict[str, int]:
        """How many inputs carried each field the model does not read; of at most a hundred names."""
        return dict(self._ignored)

    def is_row(self, x: Any) -> bool:
        """Return whether ``x`` is one row: a mapping, a pydantic object, or a ``str`` for a text model."""
        return isinstance(x, Mapping | BaseModel) or (self.input == "text" and isinstance(x, str))

    def row(self, x: Any) -> dict[str, Any]:
        """Return one checked row: every field in the order of training, None where missing.

        Args:
            x: A mapping or pydantic object; for a text model also the text itself.

        Raises:
            InputError: If it is no row, lacks a field, or a value is not what its field takes.
        """
        if type(x) is not dict:  # subclasses may store other things than they show: Django's QueryDict does
            return self.row(self._as_dict(x))
        try:
            checked: dict[str, Any] = self._quick(x)
        except ValidationError:
            checked = {}
        if not checked:
            checked = self._checked_with_care(x)
        if len(x) != self._width:
            self.count_ignored(name for name in x if name not in self._by_name)
        return checked

    def checker(self) -> Callable[[Any], dict[str, Any]]:
        """Return a function that is `row`, only quicker for a dict of all fields and no other."""
        quick, width, row = self._quick, self._width, self.row

        def check(x: Any) -> dict[str, Any]:
            if type(x) is dict and len(x) == width:
                try:
                    checked: dict[str, Any] = quick(x)
                except ValidationError:
                    return row(x)
                if checked:
                    return checked
            return row(x)

        return check

    def rows(self, x: Any) -> list[dict[str, Any]]:
        """Return checked rows; none for an empty list.

        Raises:
            InputError: If it is no list, or of any row; its fields are named ``[3].distance``.
        """
        if not isinstance(x, list | tuple):
            raise InputError([{"field": "rows", "message": f"expected a list of rows, not {_a(x)}"}])
        if x and not self.is_row(x[0]) and not isinstance(x[0], list | tuple | np.ndarray):
            raise InputError([self._not_a_row(x, "rows")])
        checked: list[dict[str, Any]] = []
        problems: list[InputProblem] = []
        for number, row in enumerate(x):
            try:
                checked.append(self.row(row))
            except InputError as error:
                problems += self._numbered(number, row, error)
                if len(problems) > _MOST_PROBLEMS:
                    break
        if problems:
            raise bounded(problems)
        return checked

    def column(self, name: str, values: Sequence[Any]) -> list[Any]:
        """Return one field's checked values of many rows, by the rules of `row`.

        Raises:
            InputError: If a value is wrong; names the first such row, as ``[3].distance``.
        """
        field = self._by_name[name]
        plain = [_plain(field, value) for value in values]
        validator: TypeAdapter[list[Any]] = TypeAdapter(_column_of(field))
        try:
            checked = validator.validate_python(plain)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            number = int(first["loc"][0])
            message = _message(field, plain[number], first["type"])
            raise InputError([{"field": f"[{number}].{name}", "message": message}]) from error
        return [_unrounded(field, given, value) for given, value in zip(plain, checked, strict=True)]

    def count_ignored(self, names: Iterable[Any]) -> None:
        """Count an input's fields that the model does not read.

        A count is a hint for people: two threads may lose one between them, so that nobody waits for a lock.
        """
        for name in names:
            key = name[:_MOST_CHARACTERS] if isinstance(name, str) else shown(name)
            if key not in self._ignored and len(self._ignored) >= _MOST_IGNORED:
                key = _OTHERS
            self._ignored[key] = self._ignored.get(key, 0) + 1

    def _as_dict(self, x: Any) -> dict[Any, Any]:
        if isinstance(x, BaseModel):
            return _model_values(x, self._by_name)
        if isinstance(x, Mapping):
            return {name: x[name] for name in x}
        if self.input == "text" and isinstance(x, str):
            return {self.names[0]: x}
        raise InputError([self._not_a_row(x, "row")])

    def _not_a_row(self, x: Any, field: str) -> InputProblem:
        if self.input == "text":
            return {"field": field, "message": f"expected a str, or a list of str, not {_a(x)}"}
        names = ", ".join(f"{shown(name)}: ..." for name in self.names[:2])
        example = f"{{{names}{', ...' if self._width > 2 else ''}}}"
        if isinstance(x, list | tuple | np.ndarray):
            mend = f"its values have no names; send a mapping {example}"
            if self.input == "array":
                mend += ", or a 2-D numpy array for a table"
            return {"field": field, "message": f"{_a(x)} is no row: {mend}"}
        mend = "; parse the JSON first" if isinstance(x, str | bytes) else ""
        return {"field": field, "message": f"expected a mapping {example}, not {_a(x)}{mend}"}

    def _checked_with_care(self, x: dict[Any, Any]) -> dict[str, Any]:
        plain = {field.name: _plain(field, x[field.name]) for field in self.fields if field.name in x}
        try:
            checked = self._careful(plain)
        except ValidationError as error:
            raise bounded(self._problems(x, plain, error)) from error
        return {name: _unrounded(self._by_name[name], plain[name], value) for name, value in checked.items()}

    def _problems(
        self, x: dict[Any, Any], plain: dict[str, Any], error: ValidationError
    ) -> list[InputProblem]:
        problems: dict[str, InputProblem] = {}
        unknown = list(islice((name for name in x if name not in self._by_name), _MOST_LOOK_ALIKES))
        for found in error.errors(include_url=False, include_input=False, include_context=False):
            name = str(found["loc"][0])
            if len(problems) > _MOST_PROBLEMS:
                break  # more are not listed, and looking for what each may have been called costs
            if name in problems:  # a union reports each of its members
                continue
            field = self._by_name[name]
            if name in plain:
                message = _message(field, plain[name], found["type"])
                problems[name] = {"field": name, "message": message}
            else:
                problems[name] = missing_field(field, unknown)
        return list(problems.values())

    def _numbered(self, number: int, row: Any, error: InputError) -> Iterator[InputProblem]:
        for problem in error.errors():
            where = f"[{number}].{problem['field']}" if self.is_row(row) else f"[{number}]"
            yield {"field": where, "message": problem["message"]}


# The next version of a model mostly reads the same fields: a swap then compiles nothing, which takes pydantic
# milliseconds in one piece.
@lru_cache(maxsize=64)
def _row_validator(fields: tuple[Field, ...], *, careful: bool) -> Any:
    annotations = {}
    for field in fields:
        annotations[field.name] = _annotation(field, careful=careful)
        breathe()
    row = TypedDict("Row", annotations)  # type: ignore[misc]
    compiled = TypeAdapter(row).validator.validate_python
    breathe()
    return compiled


def _column_of(field: Field) -> Any:
    return list[_annotation(field, careful=True)]  # type: ignore[misc]


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


def _plain(field: Field, value: Any) -> Any:
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
    stripped = text[:_MOST_CHARACTERS].strip().lower()
    if stripped.lstrip("+-") == "nan":
        return None
    if holds_integers(field.dtype) and _WHOLE.fullmatch(stripped):
        return int(stripped)
    return text


def _unrounded(field: Field, given: Any, checked: Any) -> Any:
    if type(given) is int and abs(given) > _EXACT_FLOAT and holds_integers(field.dtype):
        return given
    return checked


def aliased(kind: type[BaseModel], wanted: Container[str]) -> dict[str, str]:
    """Return ``{attribute: alias}`` of a pydantic class's attributes that are read by an alias alone."""
    found = {}
    for name, info in kind.model_fields.items():
        for alias in (info.serialization_alias, info.alias, info.validation_alias):
            if isinstance(alias, str) and alias in wanted and name not in wanted:
                found[name] = alias
                break
    return found


def _model_values(x: BaseModel, wanted: Mapping[str, Field]) -> dict[str, Any]:
    """Return a pydantic object's values by name; by alias where only the alias is a field."""
    values = dict(x)
    for name, alias in aliased(type(x), wanted).items():
        values[alias] = values.pop(name)
    for name in type(x).model_computed_fields:
        values[name] = getattr(x, name)
    return values


def _message(field: Field, value: Any, error: str) -> str:
    if value is None:
        return "missing (None, NaN or NA), and the model has no answer without it; send a value"
    if error == "greater_than_equal":
        return f"{shown(value)} is below the minimum of {field.minimum!r}"
    if error == "less_than_equal":
        return f"{shown(value)} is above the maximum of {field.maximum!r}"
    if field.enum is not None and error == "value_error" and field.kind != "datetime":
        allowed = ", ".join(shown(one) for one in field.enum[:10])
        return f"{shown(value)} is not one of {allowed}{', ...' if len(field.enum) > 10 else ''}"
    mend = ", or None if it is not known" if field.nullable else ""
    return f"{shown(value)} is not {_expected(field)}{mend}"


def _expected(field: Field) -> str:
    if field.kind == "number":
        return "a number; send one such as 12.5 or '12.5'"
    if field.kind == "boolean":
        return "a boolean; send True or False"
    if field.kind == "datetime":
        zone = "with its time zone, such as '2026-11-20T12:00Z'" if "," in field.dtype else ""
        zone = zone or "without a time zone, such as '2026-11-20T12:00'"
        return f"a moment {zone}; send that, or a datetime"
    if field.kind == "text" or field.value_type == "str":
        return "text; send a str"
    kinds = {"int": "an int", "float": "a float", "bool": "True or False"}
    return f"a category; send {kinds.get(field.value_type or '', 'a str, int, float or bool')}"


def _a(x: Any) -> str:
    return f"a {type(x).__name__} ({shown(x)})"
