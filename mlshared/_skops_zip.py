"""The zip a skops file is, looked through before anything in it is read for use: bytes -> schema.json.

    opened(data) -> bytes of schema.json, and the type and shape of each array

skops writes one flat archive: members stored uncompressed, one after the other from the first byte to the
directory, ``schema.json`` and arrays named by a number. Whatever differs is refused, because zip readers
disagree about it: two members of one name, members that overlap, a directory that says other than the
headers before the data, encryption, bytes that no member holds. Arrays are measured by their headers, so that
none promises more memory than the file has bytes; sparse ones, which scipy compresses, by what they unpack to.

The schema is bounded before it is parsed: JSON takes many times its size in memory.
"""

import ast
import io
import re
import struct
import sys
import zipfile
import zlib
from typing import Any, Final

import numpy as np

from mlshared.errors import IntegrityError

MOST_MEMBERS: Final = 200_000
MOST_SCHEMA_BYTES: Final = 128 * 1024 * 1024
# Of lists and dicts, and of values, in the schema: what a model of 20,000 trees has.
MOST_NODES: Final = 2_000_000
MOST_VALUES: Final = 8_000_000
# What compressed arrays may unpack to: this, and so many times the file.
UNPACKED_BYTES: Final = 64 * 1024 * 1024
UNPACKED_TIMES: Final = 20

# A numpy type, as numpy spells it, and a shape.
Header = tuple[str, tuple[int, ...]]
_Known = dict[bytes, tuple[Header, int]]

_MEMBER: Final = b"PK\x01\x02"  # begins each entry of a zip's directory
_NAME: Final = re.compile(r"schema\.json|[0-9A-Za-z-]{1,64}\.(?:npy|npz|bin)")
_ARRAY: Final = re.compile(r"[0-9A-Za-z_]{1,64}\.npy")
# signature, version, flags, method, time, date, crc, packed size, size, lengths of name and extra
_LOCAL: Final = struct.Struct("<4s5H3I2H")
_SIZE_IS_ELSEWHERE: Final = 0xFFFFFFFF
_ZIP64_FROM: Final = 2**31 - 1
_MOST_IN_SPARSE: Final = 16
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    LookupError,
    ValueError,
    RuntimeError,
    EOFError,
)
_MOST_HEADER_BYTES: Final = 10_000
_MOST_AXES: Final = 32


def opened(data: bytes) -> tuple[bytes, dict[str, Header]]:
    """Return ``schema.json`` of a skops file, and what the arrays' headers tell, by member.

    Raises:
        IntegrityError: If the archive is not as skops writes one, or too large in any respect.
    """
    # Counted here, as zipfile would build an object of each; a few may be part of an array.
    if data.count(_MEMBER) > MOST_MEMBERS:
        raise IntegrityError(f"not a skops file: more than {MOST_MEMBERS:,} members")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            _check_layout(data, file)
            headers = _check_arrays(data, file)
            schema = file.read("schema.json")
    except _UNREADABLE as error:
        raise IntegrityError(f"not a skops file: {str(error)[:120]}") from error
    _require(len(schema) <= MOST_SCHEMA_BYTES, f"its schema takes {len(schema):,} bytes")
    _require(schema.count(b"{") + schema.count(b"[") <= MOST_NODES, "its schema holds too many nodes")
    _require(schema.count(b",") <= MOST_VALUES, "its schema holds too many values")
    return schema, headers


def _require(holds: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise IntegrityError(f"not a skops file: {what}")


def _check_layout(data: bytes, file: zipfile.ZipFile) -> None:
    names, end = set(), 0
    for member in sorted(file.infolist(), key=lambda each: each.header_offset):
        shown = ascii(member.orig_filename[:80])
        _require(_NAME.fullmatch(member.orig_filename) is not None, f"a member is named {shown}")
        _require(member.filename not in names, f"two members are named {shown}")
        names.add(member.filename)
        if member.compress_type != zipfile.ZIP_STORED:
            raise IntegrityError(f"not a skops file: {shown} is compressed, and `trainer` compresses nothing")
        _require(member.flag_bits == 0, f"{shown} is encrypted or otherwise unusual")
        _require(member.compress_size == member.file_size, f"{shown} unpacks to more than its own size")
        _require(member.header_offset == end, f"{shown} does not begin where the one before it ends")
        end = _end(data, member, shown)
    _require(end == file.start_dir, "it holds bytes that are in no member")
    _require(not file.comment, "it has a comment")


def _end(data: bytes, member: zipfile.ZipInfo, shown: str) -> int:
    """Return where a member ends, if the header before its data says what the directory says."""
    header: tuple[Any, ...] = _LOCAL.unpack_from(data, member.header_offset)
    signature, _version, flags, method, _time, _date, crc, packed, size, name_length, extra_length = header
    named = member.header_offset + _LOCAL.size
    large = member.file_size > _ZIP64_FROM and packed == size == _SIZE_IS_ELSEWHERE
    _require(
        (signature, flags, method, crc) == (b"PK\x03\x04", 0, zipfile.ZIP_STORED, member.CRC)
        and (large or packed == size == member.file_size)
        and data[named : named + name_length] == member.orig_filename.encode(),
        f"{shown} is another member by its header than by the directory",
    )
    return int(named + name_length + extra_length + member.file_size)


def _check_arrays(data: bytes, file: zipfile.ZipFile) -> dict[str, Header]:
    left = UNPACKED_BYTES + UNPACKED_TIMES * len(data)
    known: _Known = {}
    headers = {}
    for member in file.infolist():
        if member.filename.endswith(".npy"):
            with file.open(member) as array:
                headers[member.filename] = _check_array(array, member.file_size, known)
        elif member.filename.endswith(".npz"):
            left -= _check_sparse(file.read(member), left, known)
    return headers


def _check_sparse(packed: bytes, most: int, known: _Known) -> int:
    """Return what a file of scipy's unpacks to."""
    _require(packed.count(_MEMBER) <= 1000, "a sparse array has too many parts")
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        members = file.infolist()
        names = {member.filename for member in members}
        _require(len(members) == len(names) <= _MOST_IN_SPARSE, "a sparse array has too many parts")
        total = sum(member.file_size for member in members)
        _require(total <= most, f"a sparse array unpacks to {total:,} bytes")
        for member in members:
            _require(
                _ARRAY.fullmatch(member.orig_filename) is not None, "a part of a sparse array is no array"
            )
            usual = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            _require(usual and member.flag_bits & 1 == 0, "a sparse array is packed unusually")
            with file.open(member) as array:
                _check_array(array, member.file_size, known)
    return total


def _check_array(file: Any, size: int, known: _Known) -> Header:
    """Check that an array has the size its header tells, and return that; headers met before are known."""
    start = file.read(min(size, 12))
    long = start[6:7] != b"\x01"
    length = int.from_bytes(start[8:12] if long else start[8:10], "little")
    _require(length <= _MOST_HEADER_BYTES, "an array's header is too long")
    header = start + file.read((12 if long else 10) + length - len(start))
    if header not in known:
        known[header] = _header(header)
    told, content = known[header]
    _require(len(header) + content == size, "an array has another size than its header tells")
    return told


def _header(header: bytes) -> tuple[Header, int]:
    """Return what a header tells, and how many bytes that takes: a Python literal, after 10 or 12 bytes."""
    _require(header[:8] in (b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00"), "an array is of an unknown format")
    try:
        told = ast.literal_eval(header[10 if header[6] == 1 else 12 :].decode("latin-1"))
        dtype, shape = np.lib.format.descr_to_dtype(told["descr"]), told["shape"]
    except (LookupError, MemoryError, RecursionError, SyntaxError, TypeError, ValueError, Warning) as error:
        raise IntegrityError(
            f"not a skops file: an array's header is malformed: {str(error)[:80]}"
        ) from error
    _require(not dtype.hasobject, "an array holds pickled objects")
    _require(isinstance(shape, tuple) and len(shape) <= _MOST_AXES, "an array's shape is malformed")
    count = 1
    for length in shape:
        _require(type(length) is int and 0 <= length <= sys.maxsize, "an array's shape is malformed")
        count *= length
    _require(dtype.itemsize > 0 or count <= MOST_VALUES, "an array of nothing is too long")
    return (dtype.str, shape), count * int(dtype.itemsize)
