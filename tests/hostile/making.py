"""How hostile skops files are made: nodes by hand, or a fitted estimator's file with something changed."""

import io
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import skops.io
from changes import json_bytes, members, npy, places, zipped

CANARY = "canary-of-a-hostile-artifact"
COMMAND = f"touch {CANARY}"
UNSEEN = "module_that_only_a_file_names"
MIB = 1 << 20
X = np.random.default_rng(0).normal(size=(30, 2))
Y = (X[:, 0] > 0).astype(int)

BAD, NO = "IntegrityError", "UntrustedType"
LOGISTIC = "sklearn.linear_model._logistic.LogisticRegression"

Case = tuple[str, bytes, str]


class Command:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, (COMMAND,)


def node(loader: str, name: str, **more: Any) -> dict[str, Any]:
    module, _, named = name.rpartition(".")
    return {"__module__": module, "__class__": named, "__loader__": loader, **more}


def text(value: Any) -> dict[str, Any]:
    return node("JsonNode", "builtins.str", content=json.dumps(value), is_json=True)


def listed(*values: Any, loader: str = "ListNode", name: str = "builtins.list") -> dict[str, Any]:
    return node(loader, name, content=list(values))


def tupled(*values: Any) -> dict[str, Any]:
    return listed(*values, loader="TupleNode", name="builtins.tuple")


def dictionary(**values: Any) -> dict[str, Any]:
    types = listed(*[node("TypeNode", "builtins.str")] * len(values))
    return node("DictNode", "builtins.dict", content=values, key_types=types)


def file(root: Any, protocol: Any = 2, **parts: bytes) -> bytes:
    named = {name.replace("_", "."): data for name, data in parts.items()}
    return zipped({**named, "schema.json": json_bytes({**root, "protocol": protocol})})


def edited(estimator: Any, change: Callable[[Any, dict[str, bytes]], None]) -> bytes:
    parts = members(skops.io.dumps(estimator))
    schema = json.loads(parts["schema.json"])
    change(schema, parts)
    return zipped({**parts, "schema.json": json_bytes(schema)})


def nodes(schema: Any, loader: str) -> Iterator[Any]:
    yield from (
        i[k] for i, k in places({"": schema}) if isinstance(i[k], dict) and i[k].get("__loader__") == loader
    )


def state(schema: Any) -> dict[str, Any]:
    content: dict[str, Any] = schema["content"]["content"]
    return content


def numbers(
    estimator: Any,
    where: str,
    change: Callable[[Any], Any],
    *,
    field: str | None = None,
    inside: str | None = None,
) -> bytes:
    """Return an estimator's file with one array changed.

    Args:
        estimator: Fitted.
        where: The attribute that the array is; the first one of that name.
        change: The array -> another.
        field: Which field of a structured array it changes.
        inside: Of which attribute the array is a part.
    """

    def change_it(schema: Any, parts: dict[str, bytes]) -> None:
        for held, key in places(schema if inside is None else state(schema)[inside]):
            found = held[key]
            if key != where or not isinstance(found, dict) or "file" not in found:
                continue
            array = np.load(io.BytesIO(parts[found["file"]]))
            if field is not None:
                array[field] = change(array[field])
            else:
                array = change(array)
            parts[found["file"]] = npy(array)
            return
        raise AssertionError(where)

    return edited(estimator, change_it)


def plain(estimator: Any, **values: Any) -> bytes:
    """Return an estimator's file with numbers or texts of its state changed."""

    def change(schema: Any, _parts: dict[str, bytes]) -> None:
        for name, value in values.items():
            state(schema)[name] = value
            state_types = schema["content"]["key_types"]["content"]
            state_types += [node("TypeNode", "builtins.str")] * (len(state(schema)) - len(state_types))

    return edited(estimator, change)


def set_first(value: Any) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array.reshape(-1)[0] = value
        return array

    return change
