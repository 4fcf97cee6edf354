"""What is wrong with a row, in words: the field, its value cut short, and the mend."""

import reprlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from mlshared.errors import InputError, InputProblem
from mlshared.manifest import Field

MOST_PROBLEMS: Final = 20
MOST_LOOK_ALIKES: Final = 100
MOST_CHARACTERS: Final = 60

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = MOST_CHARACTERS
_SHORT.maxlevel = 2
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 3


def shown(value: Any) -> str:
    """Return ``repr(value)``, at most 60 characters of it."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # Python refuses to print integers of thousands of digits
        text = f"<a very large {type(value).__name__}>"
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


def missing_field(field: Field, unknown: Iterable[Any]) -> InputProblem:
    """Return the problem of a field that is not there, naming the closest of the unknown names."""
    return missing_key(field.name, unknown, nullable=field.nullable)


def missing_key(wanted: str, unknown: Iterable[Any], *, nullable: bool = False) -> InputProblem:
    """Return the problem of a key that is not there, naming the closest of the unknown ones."""
    from difflib import get_close_matches  # noqa: PLC0415 - for who is wrong, not at each start

    names = [n for n in unknown if isinstance(n, str) and len(n) <= 2 * len(wanted) + 8][:MOST_LOOK_ALIKES]
    folded = {name.casefold(): name for name in names}
    close = get_close_matches(wanted.casefold(), folded, n=1)
    if close:
        return {"field": wanted, "message": f"missing; did you mean {shown(folded[close[0]])}?"}
    mend = ", as None if it is not known" if nullable else ""
    return {"field": wanted, "message": f"missing; send it{mend}"}


def bounded(problems: Sequence[InputProblem]) -> InputError:
    """Return the error of these problems, of which it lists the first twenty."""
    listed = list(problems[:MOST_PROBLEMS])
    if len(problems) > MOST_PROBLEMS:
        listed.append({"field": "...", "message": f"only the first {MOST_PROBLEMS} problems are listed"})
    return InputError(listed)


def misfit(field: Field, value: Any, error: str) -> str:
    """Return what is wrong with a field's value, for a kind of error of pydantic's."""
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


def described(x: Any) -> str:
    """Return the type and value of what is no row."""
    return f"a {type(x).__name__} ({shown(x)})"
