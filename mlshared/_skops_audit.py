"""What is in a skops file, decided from its bytes alone: nothing is imported, nothing constructed.

    bytes -> audit() -> Audited(names, refused, versions)

A skops file is a zip of arrays (`_skops_zip`) and one ``schema.json``: a tree of nodes, each with the name of
a type or function and of the loader that will use it. skops audits names; here the pair is audited (see
`_skops_types`), and the places where skops would call what a file names:

- two nodes with one id must be of one kind and size, because skops takes the first for both: a short one that
  stands for a long one would be walked again at each place, or for ever;
- a dict's key types are called with its keys, so they are on a list of their own;
- a partial is of a listed function; bound methods, operators and back-references are refused.

What skops trusts by default it decides itself, at load; `_artifact` asks it after this.
"""

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

from mlshared._skops_types import (
    CONSUMER_LOADERS,
    KEY_TYPES,
    LOADER_OF,
    PARTIAL_OF,
    SKOPS_DEFAULTS,
)
from mlshared._skops_zip import opened
from mlshared.errors import EnvironmentMismatch, IntegrityError, UnsupportedFormat

# The only one we write. Older ones choose older, laxer nodes in skops.
PROTOCOL: Final = 2

# Of JSON within JSON; skops itself gives up a little deeper.
MOST_DEEP: Final = 600
# What a decision tree makes room for before its arrays are looked at.
_MOST_OUTPUTS: Final = 100_000
_LARGEST_POOL: Final = 64

_Node = dict[str, Any]
_INNER: Final = (dict, list)


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
    sized = _nodes(_schema(data))
    _check_ids(sized)
    nodes = [node for node, _ in sized]
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
    try:
        schema = json.loads(opened(data))
    except (ValueError, RecursionError) as error:
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


def _nodes(schema: _Node) -> list[tuple[_Node, int]]:
    """Return every object that skops could take for a node, and maybe some that it would not, with its size.

    The size is how many dicts and lists it is made of.
    """
    values: list[Any] = [schema]
    parents, depths = [0], [1]
    for at, value in enumerate(values):  # grows while it is walked: outer before inner
        inner = [
            each for each in (value.values() if isinstance(value, dict) else value) if type(each) in _INNER
        ]
        if inner and depths[at] >= MOST_DEEP:
            raise IntegrityError("not a skops file: its schema is too deep")
        values += inner
        parents += [at] * len(inner)
        depths += [depths[at] + 1] * len(inner)
    sizes = [1] * len(values)
    for at in range(len(values) - 1, 0, -1):
        sizes[parents[at]] += sizes[at]
    return [
        (value, size)
        for value, size in zip(values, sizes, strict=True)
        if isinstance(value, dict) and isinstance(value.get("__loader__"), str)
    ]


def _name(node: _Node) -> str:
    module, name = node.get("__module__"), node.get("__class__")
    if not isinstance(module, str) or not isinstance(name, str):
        raise IntegrityError("not a skops file: a node has no name")
    return f"{module}.{name}"


def _check_ids(nodes: list[tuple[_Node, int]]) -> None:
    kinds: dict[Any, tuple[str, str, int]] = {}
    counts: Counter[Any] = Counter()
    for node, size in nodes:
        key = node.get("__id__")
        if key is None:
            continue
        if type(key) is not int:
            raise IntegrityError("not a skops file: a node's id is no number")
        counts[key] += 1
        kind = (node["__loader__"], _name(node), size)
        if kinds.setdefault(key, kind) != kind:
            raise IntegrityError("two nodes of different kinds or sizes share an id")
    for node, _ in nodes:
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
        further = _FURTHER.get(loader)
        return further(node) if further else None
    allowed = SKOPS_DEFAULTS.get(loader, frozenset())
    if name in allowed:
        return None if loader != "RandomGeneratorNode" else _generator_refusal(node)
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


def _tree_refusal(node: _Node) -> str | None:
    """Return why a decision tree is refused whose outputs are many: it makes room for them before they come."""
    try:
        _columns, _classes, outputs = node["__reduce__"]["args"]["content"]
        if 1 <= int(outputs["content"]) <= _MOST_OUTPUTS:
            return None
    except (LookupError, TypeError, ValueError):
        pass
    return "a decision tree without a plain number of outputs"


def _generator_refusal(node: _Node) -> str | None:
    """Return why a random generator is refused that is not numpy's default one.

    skops makes its seed of whatever the file says, and that may ask for any amount of memory.
    """
    try:
        bits, seed = (node["content"][part]["content"] for part in ("bit_generator", "seed_seq"))
        if (
            bits["bit_generator"]["content"] == '"PCG64"'
            and int(seed["pool_size"]["content"]) <= _LARGEST_POOL
        ):
            return None
    except (LookupError, TypeError, ValueError):
        pass
    return "not as numpy.random.default_rng makes it"


_FURTHER: Final = {"PartialNode": _partial_refusal, "TreeNode": _tree_refusal}


def _version(node: _Node) -> str | None:
    content = node.get("content")
    entry = content.get("_sklearn_version") if isinstance(content, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
        return None
    return str(entry["content"]).strip('"')
