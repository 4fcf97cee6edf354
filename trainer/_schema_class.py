"""A version's fields as a pydantic model class, in Python: for the app that sends them.

    python_class(manifest) -> the text of a module

The class takes what the version takes: `python -m mlshared check REF --schema module.Class` says so again later.
"""

import keyword
import re
from typing import Final

from pydantic import BaseModel

from mlshared.manifest import Field, Manifest

_TYPES: Final = {
    "number": "float",
    "boolean": "bool",
    "datetime": "datetime",
    "text": "str",
    "category": "str",
}
_TAKEN: Final = frozenset(dir(BaseModel))


def python_class(manifest: Manifest) -> str:
    """Return a module that defines the class; names that Python or pydantic do not take get an alias."""
    names = _identifiers([field.name for field in manifest.fields])
    fields = [_line(name, field) for name, field in zip(names, manifest.fields, strict=True)]
    aliased = any(name != field.name for name, field in zip(names, manifest.fields, strict=True))
    body = "\n".join(fields)
    ref = f"{manifest.model}@{manifest.version}"
    imports = [
        *(["from datetime import datetime"] if "datetime" in body else []),
        *(["from typing import Literal"] if "Literal[" in body else []),
    ]
    wanted = ["BaseModel", *(["ConfigDict"] if aliased else []), *(["Field"] if "Field(" in body else [])]
    head = [f'"""What {ref} takes; made by: trainer schema {ref} --python"""', ""]
    head += [*imports, *([""] if imports else []), f"from pydantic import {', '.join(wanted)}", "", ""]
    head += [
        f"class {_class_name(manifest.model)}(BaseModel):",
        f'    """One row of {manifest.model}."""',
        "",
    ]
    if aliased:
        head += ["    model_config = ConfigDict(populate_by_name=True)", ""]
    return "\n".join([*head, *fields, ""])


def type_of(field: Field) -> str:
    """Return the type of a field's values, as Python spells it."""
    if field.enum is not None:
        return f"Literal[{', '.join(map(repr, field.enum))}]"
    return _TYPES[field.kind] if field.kind != "category" else (field.value_type or "str")


def _line(name: str, field: Field) -> str:
    kind = type_of(field) + (" | None" if field.nullable else "")
    options = [] if name == field.name else [f"alias={field.name!r}"]
    options += [f"ge={field.minimum!r}"] if field.minimum is not None else []
    options += [f"le={field.maximum!r}"] if field.maximum is not None else []
    if options:
        default = ["default=None"] if field.nullable else []
        return f"    {name}: {kind} = Field({', '.join([*default, *options])})"
    return f"    {name}: {kind}{' = None' if field.nullable else ''}"


def _identifiers(names: list[str]) -> list[str]:
    """Return a name for each that Python and pydantic take, no two alike."""
    found: list[str] = []
    for name in names:
        plain = re.sub(r"\W", "_", name).strip("_") or "field"
        plain = f"field_{plain}" if plain[0].isdigit() else plain
        if keyword.iskeyword(plain) or plain in _TAKEN or plain.startswith("model_"):
            plain += "_"
        while plain in found or (plain != name and plain in names):
            plain += "_"
        found.append(plain)
    return found


def _class_name(model: str) -> str:
    words = "".join(word[:1].upper() + word[1:] for word in re.split(r"\W|_", model))
    return words if words.isidentifier() and not keyword.iskeyword(words) else f"Model{words}"
