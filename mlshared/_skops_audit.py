"""What is in a skops file, decided from its bytes alone: nothing is imported, nothing constructed.

    bytes -> audit() -> Audited(names, refused, versions)

A skops file is a zip of arrays and one ``schema.json``: a tree of nodes, each with the name of a type or
function and of the loader that will use it. skops audits names; here the pair is audited (see
`_skops_types`), and the places where skops would call what a file names:

- two nodes with one id must be of one kind, because skops takes the first for both;
- a dict's key types are called with its keys, so they are on a list of their own;
- a partial is of a listed function; bound methods, operators and back-references are refused.

What skops trusts by default it decides itself, at load; `_artifact` asks it after this.
"""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

from mlshared._skops_types import (
    CONSUMER_LOADERS,
    KEY_TYPES,
    LOADER_OF,
    PARTIAL_OF,
    SKOPS_DEFAULTS,
)
from mlshared.errors import EnvironmentMismatch, IntegrityError, UnsupportedFormat

# The only one we write. Older ones choose older, laxer nodes in skops.
PROTOCOL: Final = 2

_MEMBER: Final = b"PK\x01\x02"  # begins each entry of a zip's directory
_MOST_MEMBERS: Final = 200_000

_Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Audited:
    """What a file holds.

    Attributes:
        names: Every type and function in it, ``module.name``.
        refused: Those neither on our list, nor trusted by the consumer, nor possibly trusted by skops, and
            those used with a loader they are not listed for, with the reason.
        versions: The scikit-learn versions its estimators were fitted with.
    """

    names: frozenset[str]
    refused: dict[str, str]
    versions: frozenset[str]


def audit(data: bytes, trusted_types: Collection[str] = ()) -> Audited:
    """Return what the file holds and what of it is refused.

    Args:
        data: A whole skops file.
        trusted_types: Exact names the consumer trusts.

    Raises:
        IntegrityError: If it is no well-formed skops file.
        UnsupportedFormat: If its protocol is older than ours.
        EnvironmentMismatch: If its protocol is newer than ours.
    """
    nodes = list(_nodes(_schema(data)))
    _check_ids(nodes)
    names, refused, versions = set(), {}, set()
    for node in nodes:
        name = _name(node)
        names.add(name)
        why = _refusal(node, name, trusted_types)
        if why:
            refused[name] = why
        version = _version(node)
        if version:
            versions.add(version)
    return Audited(frozenset(names), refused, frozenset(versions))


def _schema(data: bytes) -> _Node:
    # Counted here, as zipfile would build an object of each; a few may be part of an array.
    if data.count(_MEMBER) > _MOST_MEMBERS:
        raise IntegrityError(f"not a skops file: more than {_MOST_MEMBERS:,} members")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            if sum(member.file_size for member in file.infolist()) > len(data):
                raise IntegrityError("unpacks to more than its own size; `trainer` writes no such file")
            schema = json.loads(file.read("schema.json"))
    except (zipfile.BadZipFile, KeyError, ValueError, RecursionError, NotImplementedError) as error:
        raise IntegrityError(f"not a skops file: {str(error)[:120]}") from error
    if not isinstance(schema, dict) or not isinstance(schema.get("__loader__"), str):
        raise IntegrityError("not a skops file: schema.json holds no node")
    protocol = schema.get("protocol")
    if type(protocol) is not int:
        raise IntegrityError("not a skops file: no protocol number")
    if protocol < PROTOCOL:
        raise UnsupportedFormat(f"skops protocol {protocol}, this release reads {PROTOCOL}: publish it anew")
    if protocol > PROTOCOL:
        raise EnvironmentMismatch(
            f"skops protocol {protocol}, this release reads {PROTOCOL}: upgrade mlshared"
        )
    return schema


def _nodes(schema: _Node) -> Iterator[_Node]:
    """Yield every object that skops could take for a node, and maybe some that it would not."""
    waiting: list[Any] = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if isinstance(value.get("__loader__"), str):
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _name(node: _Node) -> str:
    module, name = node.get("__module__"), node.get("__class__")
    if not isinstance(module, str) or not isinstance(name, str):
        raise IntegrityError("not a skops file: a node has no name")
    return f"{module}.{name}"


def _check_ids(nodes: list[_Node]) -> None:
    kinds: dict[Any, tuple[str, str]] = {}
    counts: Counter[Any] = Counter()
    for node in nodes:
        key = node.get("__id__")
        if key is None:
            continue
        if type(key) is not int:
            raise IntegrityError("not a skops file: a node's id is no number")
        counts[key] += 1
        if kinds.setdefault(key, (node["__loader__"], _name(node))) != (node["__loader__"], _name(node)):
            raise IntegrityError("two nodes of different kinds share an id")
    for node in nodes:
        keys = node.get("key_types")
        if node["__loader__"] == "DictNode" and isinstance(keys, dict) and counts[keys.get("__id__")] > 1:
            raise IntegrityError("a dict's key types share their id with something else")


def _refusal(node: _Node, name: str, trusted_types: Collection[str]) -> str | None:
    loader = node["__loader__"]
    if loader == "DictNode" and not _plain_keys(node):
        return "a dict with keys other than text, numbers and booleans"
    if name in trusted_types and loader in CONSUMER_LOADERS:
        return None
    if name in LOADER_OF:
        if LOADER_OF[name] != loader:
            return f"listed for {LOADER_OF[name]}, used as {loader}"
        return None if loader != "PartialNode" else _partial_refusal(node)
    allowed = SKOPS_DEFAULTS.get(loader, ())
    if any(name.startswith(entry) if entry.endswith(".") else name == entry for entry in allowed):
        return None
    return "not on the allow-list" if allowed or loader in CONSUMER_LOADERS else f"{loader} is not accepted"


def _plain_keys(node: _Node) -> bool:
    keys = node.get("key_types")
    if not isinstance(keys, dict) or keys.get("__loader__") != "ListNode":
        return False
    types = keys.get("content")
    return isinstance(types, list) and all(
        isinstance(item, dict) and item.get("__loader__") == "TypeNode" and _name(item) in KEY_TYPES
        for item in types
    )


def _partial_refusal(node: _Node) -> str | None:
    content = node.get("content")
    function = content.get("func") if isinstance(content, dict) else None
    if (
        isinstance(function, dict)
        and function.get("__loader__") == "FunctionNode"
        and _name(function) in PARTIAL_OF
    ):
        return None
    return "a partial of a function that is not listed"


def _version(node: _Node) -> str | None:
    content = node.get("content")
    entry = content.get("_sklearn_version") if isinstance(content, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
        return None
    return str(entry["content"]).strip('"')
