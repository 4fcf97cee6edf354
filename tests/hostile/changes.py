"""What is done to real artifacts, at random: to bytes, to JSON, to a zip's members, to arrays."""

import copy
import io
import json
import zipfile
from typing import Any

import numpy as np

ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 0.5, -0.0, 63, 64, 200, 2**31, 2**63, 10**400, -(10**400), 1e308, "", "x", "nan",
    "\ud800", "a" * 5000, "../x", "/etc/passwd", "float64", "object", "text", "number", "category", "int8", "U99999999",
    [], [[]], [["a"]], [None], [0, 1], {}, {"a": 1}, {"float": "nan"}, {"targets": [[1]]}, {"targets": []},
    [[0.5], [1, 2]],
)  # fmt: skip
_TYPED = b'0123456789-.eE"[]{},: tfn\\'
# Numbers in an estimator's own state: none so large that an honest loop over it takes long.
NUMBERS = (-1, 0, 1, 2, 3, 5, 17, 1000, 70_000)


def pick(rng: np.random.Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def bytes_changed(rng: np.random.Generator, data: bytes) -> bytes:
    made = bytearray(data)
    how = int(rng.integers(5))
    if how == 0:
        return bytes(made[: int(rng.integers(len(made) + 1))])
    if how == 1:
        at = int(rng.integers(len(made) + 1))
        return bytes(made[:at]) + rng.bytes(int(rng.integers(1, 60))) + bytes(made[at:])
    if how == 2 and len(made) > 4:
        low, high = sorted(rng.integers(0, len(made), 2).tolist())
        return bytes(made[:low]) + bytes(made[high:])
    for _ in range(int(rng.integers(1, 8))):
        if made:
            made[int(rng.integers(len(made)))] = pick(rng, _TYPED) if how == 3 else int(rng.integers(256))
    return bytes(made)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every container of a JSON value with each of its keys, the same ones for the same value."""
    found, waiting = [], [value]
    while waiting:
        each = waiting.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
        for key in keys:
            found.append((each, key))
            waiting.append(each[key])
    return found


def json_changed(rng: np.random.Generator, value: Any, odd: Any = ODD) -> Any:
    """Change a JSON value in place, in one to three places; return it."""
    for _ in range(int(rng.integers(1, 4))):
        found = places(value)
        if not found:
            return value
        inside, key = pick(rng, found)
        how = int(rng.integers(6))
        if how == 0:
            del inside[key]
        elif how == 1 and isinstance(inside, list):
            inside.append(json.loads(json.dumps(inside[key])))
        elif how == 2:
            other, at = pick(rng, found)
            inside[key] = (
                json.loads(json.dumps(other[at])) if at in other or isinstance(other, list) else None
            )
        elif how == 3 and isinstance(inside, dict):
            inside[pick(rng, ("critical", "type", "format", "x", "é", "__class__"))] = inside.pop(key)
        else:
            inside[key] = copy.deepcopy(pick(rng, odd))
    return value


def json_bytes(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "replace")


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return {name: file.read(name) for name in file.namelist()}


def zipped(parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return file.getvalue()


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def skops_changed(rng: np.random.Generator, data: bytes) -> bytes:
    """Change a skops file: mostly its arrays, and the numbers and texts in its schema."""
    how = rng.random()
    if how < 0.08:
        return bytes_changed(rng, data)
    parts = members(data)
    for _ in range(int(rng.integers(1, 4))):
        _part_changed(rng, parts)
    if how < 0.12:
        name = pick(rng, sorted(parts))
        parts[name] = bytes_changed(rng, parts[name])
    return zipped(parts)


def _part_changed(rng: np.random.Generator, parts: dict[str, bytes]) -> None:
    arrays = sorted(name for name in parts if name.endswith((".npy", ".npz")))
    if arrays and rng.random() < 0.65:
        name = pick(rng, arrays)
        if name.endswith(".npz"):
            inner = members(parts[name])
            part = pick(rng, sorted(inner))
            inner[part] = npy(array_changed(rng, np.load(io.BytesIO(inner[part]))))
            parts[name] = zipped(inner)
        elif rng.random() < 0.15:
            parts[name] = parts[pick(rng, [each for each in arrays if each.endswith(".npy")])]
        else:
            parts[name] = npy(array_changed(rng, np.load(io.BytesIO(parts[name]))))
        return
    schema = json.loads(parts["schema.json"])
    if rng.random() < 0.75:
        _leaf_changed(rng, schema)
    else:
        json_changed(rng, schema)
    parts["schema.json"] = json_bytes(schema)


def _leaf_changed(rng: np.random.Generator, schema: Any) -> None:
    """Change one number or text of the estimator's state, or exchange two nodes."""
    found = [(i, k) for i, k in places(schema) if isinstance(i[k], dict) and "__loader__" in i[k]]
    leaves = [(i, k) for i, k in found if i[k]["__loader__"] == "JsonNode"]
    if rng.random() < 0.7 and leaves:
        inside, key = pick(rng, leaves)
        value = (
            pick(rng, NUMBERS)
            if rng.random() < 0.6
            else pick(rng, (None, True, False, "x", "auto", "brute", []))
        )
        inside[key]["content"] = json.dumps(value)
    elif found:
        (inside, key), (other, at) = pick(rng, found), pick(rng, found)
        copy = json.loads(json.dumps(other[at]))
        for node, name in places(copy):
            if name == "__id__" and isinstance(node[name], int):
                node[name] += 1 << 60
        inside[key] = copy
    del found


def array_changed(rng: np.random.Generator, array: Any) -> Any:
    if array.dtype.names:
        return _records_changed(rng, array)
    made, how = array.copy(), int(rng.integers(9))
    if how > 5 or not made.ndim:
        return _values_changed(rng, made)
    half = made.shape[-1] // 2
    return np.ascontiguousarray(
        (
            lambda: made[: len(made) // 2],
            lambda: made[:0],
            lambda: np.concatenate([made, made]),
            lambda: made.T,
            lambda: made[..., :half],
            lambda: np.concatenate([made, made], axis=-1),
        )[how]()
    )


def _values_changed(rng: np.random.Generator, made: Any) -> Any:
    if made.dtype.kind not in "iufb" or not made.size:
        return made
    flat = made.reshape(-1)
    chosen = rng.random(flat.size) < pick(rng, [1 / flat.size, 0.3, 1.0])
    if made.dtype.kind == "f":
        value = pick(rng, [np.nan, np.inf, -1e30, 0.0, 1e30])
    elif made.dtype.kind == "b":
        value = bool(rng.integers(2))
    else:
        limit = np.iinfo(made.dtype)
        value = pick(rng, [limit.max, limit.min, -1 if limit.min else 0, 7, 1000, limit.max // 2, 2**20])
        value = min(max(value, limit.min), limit.max)
    flat[chosen] = value
    return flat.reshape(made.shape)


def _records_changed(rng: np.random.Generator, array: Any) -> Any:
    made = array.copy()
    if rng.random() < 0.2:
        return made[: len(made) // 2]
    name = pick(rng, made.dtype.names)
    made[name] = _values_changed(rng, made[name].copy())
    return made
