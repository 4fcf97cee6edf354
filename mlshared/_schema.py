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

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, Literal

import numpy as np
from pydantic import BaseModel, ValidationError

from mlshared._printable import printable
from mlshared._problems import (
    MOST_CHARACTERS,
    MOST_LOOK_ALIKES,
    MOST_PROBLEMS,
    bounded,
    described,
    misfit,
    missing_field,
    shown,
)
from mlshared._values import column_validator, plain, row_validator, unrounded
from mlshared.errors import InputError, InputProblem
from mlshared.manifest import Field

_MOST_IGNORED: Final = 100
_OTHERS: Final = "(others)"
_NO_CATEGORIES: Final[Mapping[str, list[Any]]] = MappingProxyType({})


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
        self._quick = row_validator(self.fields, careful=False)
        self._careful = row_validator(self.fields, careful=True)

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
            raise InputError([{"field": "rows", "message": f"expected a list of rows, not {described(x)}"}])
        if x and not self.is_row(x[0]) and not isinstance(x[0], list | tuple | np.ndarray):
            raise InputError([self._not_a_row(x, "rows")])
        checked: list[dict[str, Any]] = []
        problems: list[InputProblem] = []
        for number, row in enumerate(x):
            try:
                checked.append(self.row(row))
            except InputError as error:
                problems += self._numbered(number, row, error)
                if len(problems) > MOST_PROBLEMS:
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
        given = [plain(field, value) for value in values]
        try:
            checked = column_validator(field)(given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            number = int(first["loc"][0])
            message = misfit(field, given[number], first["type"])
            raise InputError([{"field": f"[{number}].{name}", "message": message}]) from error
        return [unrounded(field, sent, value) for sent, value in zip(given, checked, strict=True)]

    def count_ignored(self, names: Iterable[Any]) -> None:
        """Count an input's fields that the model does not read.

        A count is a hint for people: two threads may lose one between them, so that nobody waits for a lock.
        """
        for name in names:
            key = (
                printable(name[:MOST_CHARACTERS])[:MOST_CHARACTERS] if isinstance(name, str) else shown(name)
            )
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
            return {"field": field, "message": f"expected a str, or a list of str, not {described(x)}"}
        names = ", ".join(f"{shown(name)}: ..." for name in self.names[:2])
        example = f"{{{names}{', ...' if self._width > 2 else ''}}}"
        if isinstance(x, list | tuple | np.ndarray):
            mend = f"its values have no names; send a mapping {example}"
            if self.input == "array":
                mend += ", or a 2-D numpy array for a table"
            return {"field": field, "message": f"{described(x)} is no row: {mend}"}
        mend = "; parse the JSON first" if isinstance(x, str | bytes) else ""
        return {"field": field, "message": f"expected a mapping {example}, not {described(x)}{mend}"}

    def _checked_with_care(self, x: dict[Any, Any]) -> dict[str, Any]:
        given = {field.name: plain(field, x[field.name]) for field in self.fields if field.name in x}
        try:
            checked = self._careful(given)
        except ValidationError as error:
            raise bounded(self._problems(x, given, error)) from error
        return {name: unrounded(self._by_name[name], given[name], value) for name, value in checked.items()}

    def _problems(
        self, x: dict[Any, Any], given: dict[str, Any], error: ValidationError
    ) -> list[InputProblem]:
        problems: dict[str, InputProblem] = {}
        unknown = list(islice((name for name in x if name not in self._by_name), MOST_LOOK_ALIKES))
        for found in error.errors(include_url=False, include_input=False, include_context=False):
            name = str(found["loc"][0])
            if len(problems) > MOST_PROBLEMS:
                break  # more are not listed, and looking for what each may have been called costs
            if name in problems:  # a union reports each of its members
                continue
            field = self._by_name[name]
            if name in given:
                message = misfit(field, given[name], found["type"])
                problems[name] = {"field": name, "message": message}
            else:
                problems[name] = missing_field(field, unknown)
        return list(problems.values())

    def _numbered(self, number: int, row: Any, error: InputError) -> Iterator[InputProblem]:
        for problem in error.errors():
            where = f"[{number}].{problem['field']}" if self.is_row(row) else f"[{number}]"
            yield {"field": where, "message": problem["message"]}


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
