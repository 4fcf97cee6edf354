"""What is in a skops file, decided from its bytes alone: nothing is imported, nothing constructed.

    bytes -> audit() -> Audited(names, refused, versions)

A skops file is a zip of arrays (`_skops_zip`) and one ``schema.json``: a tree of nodes, each with the name of
a type or function and of the loader that will use it. skops audits names; here the pair is audited (see
`_skops_types`), and the places where skops would call what a file names:

- two nodes with one id must be the same, because skops takes the first for both: the second would be used
  unaudited, or a short one would stand for a long one, to be walked again at each place, or for ever;
- a dict's key types are called with its keys, so they are on a list of their own;
- a partial is of a listed function; bound methods, operators and back-references are refused.

What skops trusts by default it decides itself, at load; `_artifact` asks it after this.
"""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mlshared._skops_types import (
    CONSUMER_LOADERS,
    KEY_TYPES,
    LOADER_OF,
    PARTIAL_OF,
    SKOPS_DEFAULTS,
)
from mlshared._skops_zip import Header, opened
from mlshared.errors import EnvironmentMismatch, IntegrityError, UnsupportedFormat

# The only one we write. Older ones choose older, laxer nodes in skops.
PROTOCOL: Final = 2

# Of JSON within JSON; skops itself gives up a little deeper.
MOST_DEEP: Final = 600
# What a decision tree makes room for before its arrays are looked at.
_MOST_OUTPUTS: Final = 100_000
_LARGEST_POOL: Final = 64

_Node = dict[str, Any]
_Headers = Mapping[str, Header]
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
    schema, headers = _opened(data)
    nodes = _nodes(schema, headers)
    names, refused, versions = set(), {}, set()
    for node in nodes:
        name = _name(node)
        names.add(name)
        why = _refusal(node, name, trusted_types, headers)
        if why:
            refused[name] = why
        version = _version(node)
        if version:
            versions.add(version)
    return Audited(frozenset(names), refused, frozenset(versions))


def _opened(data: bytes) -> tuple[_Node, _Headers]:
    try:
        raw, headers = opened(data)
        schema = json.loads(raw)
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
    return schema, headers


def _nodes(schema: _Node, headers: _Headers) -> list[_Node]:
    """Return every object that skops could take for a node, and maybe some that it would not.

    Raises:
        IntegrityError: If two of them share an id and differ, or the schema is too deep.
    """
    values: list[Any] = [schema]
    depths = [1]
    for at, value in enumerate(values):  # grows while it is walked: outer before inner
        inner = [each for _, each in _items(value) if type(each) in _INNER]
        if inner and depths[at] >= MOST_DEEP:
            raise IntegrityError("not a skops file: its schema is too deep")
        values += inner
        depths += [depths[at] + 1] * len(inner)
    nodes = [each for each in values if isinstance(each, dict) and isinstance(each.get("__loader__"), str)]
    _check_ids(nodes, _Contents(headers).of(values))
    return nodes


def _items(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value)


class _Contents:
    """Numbers what lists and dicts hold: equal numbers for what is equal but for ids and the names of members."""

    def __init__(self, headers: _Headers) -> None:
        self._headers = headers
        self._numbers: dict[Any, int] = {}
        self._known: dict[int, int] = {}

    def of(self, values: list[Any]) -> dict[int, int]:
        """Return the number of each of the values, which are listed outer before inner, by `id`."""
        for value in reversed(values):
            held = tuple(self._part(key, each) for key, each in _items(value) if key != "__id__")
            self._known[id(value)] = self._numbers.setdefault((type(value), held), len(self._numbers))
        return self._known

    def _part(self, key: Any, value: Any) -> Any:
        if type(value) in _INNER:
            return key, None, self._known[id(value)]
        if key == "file" and isinstance(value, str):
            # One object's arrays are written anew, under another name, with each mention of it.
            return key, None, self._headers.get(value, value.rpartition(".")[2])
        return key, type(value), value


def _name(node: _Node) -> str:
    module, name = node.get("__module__"), node.get("__class__")
    if not isinstance(module, str) or not isinstance(name, str):
        raise IntegrityError("not a skops file: a node has no name")
    return f"{module}.{name}"


def _check_ids(nodes: list[_Node], contents: dict[int, int]) -> None:
    first: dict[int, int] = {}
    counts: Counter[int] = Counter()
    for node in nodes:
        key = node.get("__id__")
        if key is None:
            continue
        if type(key) is not int:
            raise IntegrityError("not a skops file: a node's id is no number")
        counts[key] += 1
        if first.setdefault(key, contents[id(node)]) != contents[id(node)]:
            raise IntegrityError("two nodes that share an id differ")
    for node in nodes:
        keys = node.get("key_types")
        if node["__loader__"] == "DictNode" and isinstance(keys, dict) and counts[keys.get("__id__", -1)] > 1:
            raise IntegrityError("a dict's key types share their id with something else")


def _refusal(node: _Node, name: str, trusted_types: Collection[str], headers: _Headers) -> str | None:
    loader = node["__loader__"]
    if loader == "DictNode" and not _plain_keys(node):
        return "a dict with keys other than text, numbers and booleans"
    if name in trusted_types and loader in CONSUMER_LOADERS:
        return None
    if name in LOADER_OF:
        listed = LOADER_OF[name] == loader
        return _further(node, headers) if listed else f"listed for {LOADER_OF[name]}, used as {loader}"
    if name in SKOPS_DEFAULTS.get(loader, ()):
        return _further(node, headers)
    known = loader in SKOPS_DEFAULTS or loader in CONSUMER_LOADERS
    return "not on the allow-list" if known else f"{loader} is not accepted"


def _further(node: _Node, headers: _Headers) -> str | None:
    """Return why a listed name is refused all the same, for what it is made with."""
    match node["__loader__"]:
        case "PartialNode":
            return _partial_refusal(node)
        case "RandomGeneratorNode":
            return _generator_refusal(node)
        case "TreeNode":
            return _tree_refusal(node, headers)
    return None


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


def _tree_refusal(node: _Node, headers: _Headers) -> str | None:
    """Return why a decision tree is refused that would be made wrongly.

    While it is made it makes room for its outputs, reads so many numbers of classes, and takes the lengths of
    its arrays for granted; `_skops_content` looks at what is in them.
    """
    try:
        _columns, classes, outputs = node["__reduce__"]["args"]["content"]
        held = node["content"]["content"]
        arrays = [classes, held["nodes"], held["values"]]
        plain = outputs["__loader__"] == "JsonNode" and {each["__loader__"] for each in arrays} == {
            "NdArrayNode"
        }
        (dtype, counted), (_, (many,)), (_, (valued, per, _)) = (headers[each["file"]] for each in arrays)
        number = int(outputs["content"])
        if plain and dtype == "<i8" and counted == (number,) and (valued, per) == (many, number):
            return None if 1 <= number <= _MOST_OUTPUTS else "a decision tree of too many outputs"
    except (LookupError, TypeError, ValueError):
        pass
    return "a decision tree whose arrays do not fit its outputs"


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


def _version(node: _Node) -> str | None:
    content = node.get("content")
    entry = content.get("_sklearn_version") if isinstance(content, dict) else None
    if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
        return None
    return str(entry["content"]).strip('"')
