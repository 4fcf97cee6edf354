"""Narrows inferred fields by the user's own pydantic model of a row.

Read from the model's JSON schema, so that ``Literal``, ``Enum``, ``Annotated`` and references all arrive in
one form. Taken over are bounds, enums and whether a value may be None; patterns, lengths and defaults stay
the app's own.
"""

import math
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError

from mlshared._schema import aliased
from mlshared.errors import ConfigError
from mlshared.manifest import Field


def fields_from_schema(model: type[BaseModel], inferred: Sequence[Field]) -> tuple[Field, ...]:
    """Return the inferred fields, narrowed by the user's own pydantic model.

    Args:
        model: A pydantic model of one row. Fields the pipeline does not read are left out.
        inferred: What `infer_fields` found.

    Raises:
        ConfigError: If the model lacks a field the pipeline reads, gives it another type, or lets it be None
            where the pipeline has no answer then.
    """
    try:
        document = model.model_json_schema(by_alias=False)
    except (PydanticInvalidForJsonSchema, PydanticSchemaGenerationError) as error:
        raise ConfigError(f"schema {model.__name__} has no JSON schema: {str(error)[:200]}") from error
    names = aliased(model, {field.name for field in inferred})
    properties = {names.get(name, name): part for name, part in document.get("properties", {}).items()}
    document = {**document, "properties": properties}
    return tuple(_narrowed(field, model, document) for field in inferred)


def _narrowed(field: Field, model: type[BaseModel], document: dict[str, Any]) -> Field:
    where = f"schema {model.__name__}"
    properties = document.get("properties", {})
    if field.name not in properties:
        close = get_close_matches(field.name, properties, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "; add it"
        raise ConfigError(f"{where} lacks {field.name!r}, which the pipeline reads{hint}")
    parts = list(_alternatives(properties[field.name], document))
    optional = any(part.get("type") == "null" for part in parts)
    parts = [part for part in parts if part.get("type") != "null"]
    if optional and not field.nullable:
        raise ConfigError(
            f"{where}: {field.name!r} may be None, and the fitted pipeline has no answer then; "
            "add an imputer to the pipeline, or make the field required"
        )
    wanted = _json_types(field)
    if parts and not any(part.get("type") in {None, *wanted} for part in parts):
        given = ", ".join(str(part.get("type")) for part in parts)
        raise ConfigError(
            f"{where}: {field.name!r} is {given}, and the pipeline reads {field.kind} ({wanted[0]})"
        )
    return field.model_copy(update={"nullable": optional, **_limits(parts)})


def _alternatives(part: dict[str, Any], document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in part:
        yield from _alternatives(document["$defs"][part["$ref"].rsplit("/", 1)[-1]], document)
    elif "anyOf" in part or "allOf" in part:
        for one in part.get("anyOf") or part["allOf"]:
            yield from _alternatives(one, document)
    else:
        yield part


def _json_types(field: Field) -> tuple[str, ...]:
    if field.kind == "number":
        return ("number", "integer", "boolean")
    if field.kind == "boolean":
        return ("boolean", "integer")
    if field.kind in {"datetime", "text"}:
        return ("string",)
    types = {"str": ("string",), "int": ("integer",), "float": ("number", "integer"), "bool": ("boolean",)}
    return types[field.value_type] if field.value_type else ("string", "number", "integer", "boolean")


def _limits(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the inclusive bounds and the enum; of a union only where every member has one."""
    if not parts:
        return {}
    lows, highs = [_low(part) for part in parts], [_high(part) for part in parts]
    enums = [
        part["enum"] if "enum" in part else [part["const"]] if "const" in part else None for part in parts
    ]
    return {
        "minimum": None if None in lows else min(low for low in lows if low is not None),
        "maximum": None if None in highs else max(high for high in highs if high is not None),
        "enum": None if None in enums else tuple(value for enum in enums for value in enum or ()),
    }


def _low(part: dict[str, Any]) -> float | None:
    if "exclusiveMinimum" in part:
        return math.nextafter(part["exclusiveMinimum"], math.inf)
    return float(part["minimum"]) if "minimum" in part else None


def _high(part: dict[str, Any]) -> float | None:
    if "exclusiveMaximum" in part:
        return math.nextafter(part["exclusiveMaximum"], -math.inf)
    return float(part["maximum"]) if "maximum" in part else None
