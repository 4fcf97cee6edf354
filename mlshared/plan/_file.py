"""The plan's file: a JSON header, then raw arrays. Data only.

    8 bytes      length of the header, little endian
    header       JSON, padded with spaces to 64 bytes: {"__metadata__": {"plan": "<program>"}, name: tensor, ...}
    arrays       ordered by item size, widest first, one after the other, so that each is aligned

Source of the layout: https://github.com/huggingface/safetensors#format. The program, itself JSON, is what
`_program` reads. Reading checks everything that an array's use relies on; nothing is copied: arrays are views
of the bytes they were read from, which may be a mapped file.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mlshared.errors import IntegrityError

Array = NDArray[Any]

ALIGNMENT: Final = 64
MAX_HEADER_BYTES: Final = 16 * 1024 * 1024
MAX_TENSORS: Final = 100_000
MAX_ELEMENTS: Final = 2**36
_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    name: np.dtype(code)
    for name, code in {
        "F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
        "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
    }.items()
}  # fmt: skip
_NAMES: Final = {dtype: name for name, dtype in _DTYPES.items()}


def pack(program: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """Return the file of a program and its arrays.

    Args:
        program: JSON-able.
        arrays: By name; C order, of one of the dtypes above.
    """
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))
    tensors: dict[str, Any] = {"__metadata__": {"plan": json.dumps(program, separators=(",", ":"))}}
    offset = 0
    for name, array in ordered:
        dtype = _NAMES[array.dtype.newbyteorder("<")]
        span = [offset, offset + array.nbytes]
        tensors[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": span}
        offset += array.nbytes
    header = json.dumps(tensors, separators=(",", ":")).encode()
    header += b" " * (-(len(header) + 8) % ALIGNMENT)
    body = b"".join(np.ascontiguousarray(array).tobytes() for _, array in ordered)
    return len(header).to_bytes(8, "little") + header + body


def unpack(data: bytes | memoryview) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return the program and its arrays, as read-only views of ``data``.

    Raises:
        IntegrityError: If the file is not laid out as above.
    """
    view = memoryview(data).toreadonly()
    if len(view) < 8:
        raise IntegrityError("a plan of under 8 bytes")
    size = int.from_bytes(view[:8], "little")
    if not 2 <= size <= min(MAX_HEADER_BYTES, len(view) - 8) or (size + 8) % ALIGNMENT:
        raise IntegrityError("the plan's header does not fit its file")
    header = _json(bytes(view[8 : 8 + size]))
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or not isinstance(metadata.get("plan"), str):
        raise IntegrityError("the plan's header holds no program")
    if len(header) > MAX_TENSORS:
        raise IntegrityError(f"the plan has {len(header):,} tensors")
    return _json(metadata["plan"]), _tensors(header, view[8 + size :])


def _tensors(header: dict[str, Any], body: memoryview) -> dict[str, Array]:
    arrays: dict[str, Array] = {}
    expected = 0
    for name, tensor in sorted(header.items(), key=_start):
        try:
            dtype, shape, (start, end) = _DTYPES[tensor["dtype"]], tensor["shape"], tensor["data_offsets"]
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"tensor {name[:80]!r} is not described") from error
        if (
            not isinstance(shape, list)
            or len(shape) > 4
            or not all(type(n) is int and n >= 0 for n in (start, end, *shape))
        ):
            raise IntegrityError(f"tensor {name[:80]!r} has no usable shape")
        if start != expected or end > len(body) or end - start != math.prod(shape) * dtype.itemsize:
            raise IntegrityError(f"tensor {name[:80]!r} does not lie where it should")
        if math.prod(max(n, 1) for n in shape) > MAX_ELEMENTS:  # an axis of 0 makes any other cost nothing
            raise IntegrityError(f"tensor {name[:80]!r} has an axis longer than any file")
        if start % dtype.itemsize:
            # numpy copies a misaligned array at every take: 200 us in the place of one.
            raise IntegrityError(f"tensor {name[:80]!r} is not aligned")
        arrays[name] = np.frombuffer(body[start:end], dtype=dtype).reshape(shape)
        expected = end
    if expected != len(body):
        raise IntegrityError("the plan's file goes on after its last tensor")
    return arrays


def _start(item: tuple[str, Any]) -> tuple[int, int]:
    try:
        start, end = item[1]["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"tensor {item[0][:80]!r} is not described") from error
    return (start, end) if type(start) is int and type(end) is int else (-1, -1)


def _json(text: bytes | str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_no_constants)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"the plan's header is not strict JSON: {str(error)[:100]}") from error
    if not isinstance(value, dict):
        raise IntegrityError("the plan's header is no JSON object")
    return value


def _no_constants(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")
