"""Hostile archives by name: zips that readers disagree about, that unpack to too much, or are too deep.

Each with the error it must be refused with.
"""

import zipfile
from collections.abc import Iterator

import numpy as np
import skops.io
from changes import members, npy, zipped
from making import (
    BAD,
    CANARY,
    MIB,
    Case,
    X,
    Y,
    file,
    listed,
    node,
    text,
)
from sklearn.linear_model import LogisticRegression


def overlapping(schema: bytes) -> bytes:
    """Return a zip of two members, whose entries name the same bytes."""
    lone = zipped({"schema.json": schema})
    at, end = lone.index(b"PK\x01\x02"), lone.index(b"PK\x05\x06")
    entry = lone[at:end]
    directory = entry.replace(b"schema.json", b"0123456.npy") + entry
    counted = b"\2\0\2\0" + len(directory).to_bytes(4, "little") + at.to_bytes(4, "little") + b"\0\0"
    return lone[:at] + directory + b"PK\x05\x06" + bytes(4) + counted


def archives() -> Iterator[Case]:
    """Zips that readers disagree about, or that unpack to too much."""
    good = members(skops.io.dumps(LogisticRegression().fit(X, Y)))
    schema = good["schema.json"]
    packed = zipped({"schema.json": b" " * (600 * MIB)}, zipfile.ZIP_DEFLATED)
    yield "a bomb of 600 MB", packed, BAD
    yield (
        "a bomb in a bomb",
        zipped({"1.bin": packed, "schema.json": schema}, zipfile.ZIP_DEFLATED),
        BAD,
    )
    for kind, method in (("bzip2", zipfile.ZIP_BZIP2), ("LZMA", zipfile.ZIP_LZMA)):
        yield f"packed with {kind}", zipped(good, method), BAD
    for name in ("../1.npy", "/1.npy", "a/1.npy", "C:\\1.npy", "é.npy", "1.exe", "schema.json/"):
        yield f"a member named {name!r}", zipped({**good, name: b"x"}), BAD
    twice = zipped({**good, "schema.jsoo": b"{}"}).replace(b"schema.jsoo", b"schema.json")
    nul = zipped({**good, "1.npy_x": b"x"}).replace(b"1.npy_x", b"1.npy\0x")
    yield "a member whose name has a NUL", nul, BAD
    yield "two schemas", twice, BAD
    whole = zipped(good)
    at = whole.index(b"PK\x01\x02")
    yield "without a schema", zipped({n: d for n, d in good.items() if n != "schema.json"}), BAD
    for name, offset, value in (
        ("encrypted by the directory", at + 8, b"\1\0"),
        ("encrypted by a header", 6, b"\1\0"),
        ("another name in a header", 30, b"9"),
        ("another size in a header", 18, b"\xff\0\0\0"),
        ("another size in the directory", at + 20, b"\xff\0\0\0"),
        ("of zip64 size in a header", 18, b"\xff" * 8),
        ("of zip64 size in the directory", at + 20, b"\xff" * 8),
        ("another offset", at + 42, b"\1\0\0\0"),
        ("compressed by the directory", at + 10, b"\x08\0"),
        ("another checksum", at + 16, b"\1\2\3\4"),
    ):
        yield f"a member {name}", whole[:offset] + value + whole[offset + len(value) :], BAD
    yield "two members of the same bytes", overlapping(schema), BAD
    yield "bytes before the first member", b"#!/bin/sh\n" + whole, BAD
    yield "bytes between the members", whole[:at] + b"hidden" + whole[at:], BAD
    yield "a comment", whole[:-2] + b"\5\0hello", BAD
    nested = zipped({"data.npy": npy(np.zeros(40 * MIB))}, zipfile.ZIP_DEFLATED)
    sparse = node("SparseMatrixNode", "scipy.sparse._csr.csr_matrix", type="scipy", file="1.npz")
    yield "a bomb of 320 MB in a sparse matrix", file(sparse, **{"1_npz": nested}), BAD
    packed = zipped({"data.npy": npy(np.arange(200.0))}, zipfile.ZIP_DEFLATED)
    begins = packed.index(b"data.npy") + len(b"data.npy")
    spoilt = packed[:begins] + b"\xff" * 16 + packed[begins + 16 :]
    yield "a sparse matrix that does not unpack", file(sparse, **{"1_npz": spoilt}), BAD
    ndarray = node("NdArrayNode", "numpy.ndarray", type="numpy", file="1.npy")
    for shape in ((2**40,), (2**62, 4), (-1,), (10**30,), ("a",), (1,) * 100):
        header = repr({"descr": "<f8", "fortran_order": False, "shape": shape}).encode() + b"\n"
        array = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + bytes(8)
        yield f"an array of shape {str(shape)[:20]}", file(ndarray, **{"1_npy": array}), BAD
    for header in (
        b"__import__('os').system('touch " + CANARY.encode() + b"')",
        b"(" * 5000,
        b"{'descr': '|O'}",
    ):
        array = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header
        yield f"an array whose header is {header[:12]!r}", file(ndarray, **{"1_npy": array}), BAD


def json_depths() -> Iterator[Case]:
    """Schemas too deep or too dense."""
    for name, made in {
        "lists": b"[" * 10**6 + b"]" * 10**6,
        "objects": b'{"a":' * 10**6 + b"1" + b"}" * 10**6,
        "an unfinished list": b"[" * (32 * MIB),
        "dense": b"[" + b"{}," * (3 * 10**6) + b"{}]",
        "dense numbers": b"[" + b"1," * (9 * 10**6) + b"1]",
        "one number": b"1" * MIB,
    }.items():
        yield f"a schema of {name}", zipped({"schema.json": made}), BAD
    level = text(1)
    for _ in range(400):
        level = listed(level)
    yield "lists in lists, 400 deep", file(level), BAD
    yield (
        "JSON within JSON",
        file(node("JsonNode", "builtins.str", content="[" * 10**6, is_json=True)),
        BAD,
    )
