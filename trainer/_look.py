"""Reading a store for a person: its models, versions, logs, and what a ref means in them.

    with open_store(url) as store:
        models(store)  versions(store, name)  history(store, name, alias)  find(store, ref)

It reads what is there each time, keeps nothing and writes nothing. Entries that are not valid are left out
of a log, as every client leaves them out.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from mlshared._alias_log import accepts
from mlshared._objects import open_objects
from mlshared._ref import Ref
from mlshared.errors import IntegrityError, NotPublished, SignatureError
from mlshared.manifest import Manifest, Release
from mlshared.plan import load_plan
from mlshared.store import Store

from ._log import no_such_model
from ._signing import find_signing
from .config import choose_options

COLLECTED: Final = "collected"
SET_ASIDE: Final = "to be collected"


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store that has an identity.

    Attributes:
        reader: Reads it.
        id: Its random id.
        url: As the user gave it, for messages.
    """

    reader: Store
    id: str
    url: str


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model of a store: its newest version, what each alias has in force, and what is collected of that."""

    name: str
    newest: int
    in_force: dict[str, Release]
    states: dict[int, str]


@contextmanager
def open_store(url: str, options: Mapping[str, Any] | None = None) -> Iterator[OpenStore]:
    """Give a store to read.

    Raises:
        NotPublished: If nobody has published to it yet.
        StorageError: If it cannot be reached.
    """
    objects = open_objects(url, choose_options(options))
    try:
        reader = find_signing(reads_only=True).store(objects)
        identity = reader.identity()
        if identity is None:
            raise NotPublished(
                f"{url} is no store yet: the first `trainer retrain` or trainer.publish makes it one"
            )
        yield OpenStore(reader, identity.id, url)
    finally:
        objects.close()


def models(store: OpenStore) -> list[ModelLine]:
    """Return every model of a store, by name."""
    lines = []
    for name in store.reader.models():
        published = store.reader.versions(name)
        if published:
            heads = {alias: history(store, name, alias)[-1:] for alias in store.reader.aliases(name)}
            in_force = {a: head[0] for a, head in heads.items() if head}
            lines.append(ModelLine(name, published[-1], in_force, _states_in_force(store, name, in_force)))
    return lines


def versions(store: OpenStore, name: str) -> list[Manifest]:
    """Return every version of a model, oldest first.

    Raises:
        NotPublished: If the store holds no such model.
    """
    return [manifest(store, name, number) for number in published(store, name)]


def history(store: OpenStore, name: str, alias: str) -> list[Release]:
    """Return the valid entries of an alias's log, oldest first; empty if it has none.

    Raises:
        NotPublished: If the store holds no such model.
    """
    numbers = store.reader.releases(name, alias)
    if not numbers:
        published(store, name)  # a name that is not there is an error, an alias without releases is not
    entries, head = [], None
    for number in numbers:
        try:
            stored = store.reader.release(store.id, name, alias, number)
        except (IntegrityError, SignatureError):
            continue
        if stored is not None and accepts(head, stored.entry):
            entries.append(stored.entry)
            head = stored
    return entries


def find(store: OpenStore, ref: Ref) -> Manifest:
    """Return the manifest of the version a ref means now.

    Raises:
        NotPublished: If there is no such model, version or release.
    """
    numbers = published(store, ref.model)
    if ref.version is not None:
        return manifest(store, ref.model, ref.version)
    if ref.latest:
        return manifest(store, ref.model, numbers[-1])
    entries = [e for e in history(store, ref.model, ref.alias) if ref.at is None or e.created_at <= ref.at]
    if not entries:
        raise NotPublished(f"{ref}: nothing was released there; see `trainer history {ref.model}`")
    return manifest(store, ref.model, entries[-1].version)


def published(store: OpenStore, name: str) -> list[int]:
    """Return the numbers of a model's versions, at least one.

    Raises:
        NotPublished: If the store holds no such model.
    """
    numbers = store.reader.versions(name)
    if not numbers:
        raise no_such_model(store.reader, name, store.url)
    return numbers


def manifest(store: OpenStore, name: str, number: int) -> Manifest:
    """Return one version's manifest.

    Raises:
        NotPublished: If the model has no such version.
    """
    stored = store.reader.manifest(store.id, name, number)
    if stored is None:
        numbers = published(store, name)
        raise NotPublished(
            f"{name!r} has no version {number}; its versions are {numbers[0]} to {numbers[-1]}"
        )
    return stored.entry


def state(store: OpenStore, manifest: Manifest) -> str:
    """Return whether a version is `COLLECTED` or `SET_ASIDE`; an empty text if neither."""
    return states(store, manifest.model, [manifest]).get(manifest.version, "")


def states(store: OpenStore, name: str, manifests: Iterable[Manifest]) -> dict[int, str]:
    """Return which of these versions are `COLLECTED` or `SET_ASIDE`."""
    marked = set(store.reader.tombstones(name))
    if not marked:
        return {}
    have = set(store.reader.publishes(name))
    return {
        m.version: SET_ASIDE if m.publish_id in have else COLLECTED for m in manifests if m.version in marked
    }


def _states_in_force(store: OpenStore, name: str, in_force: Mapping[str, Release]) -> dict[int, str]:
    marked = set(store.reader.tombstones(name))
    numbers = {entry.version for entry in in_force.values()} & marked
    return states(store, name, [manifest(store, name, number) for number in sorted(numbers)])


def plan_lines(store: OpenStore, manifest: Manifest) -> list[str]:
    """Return a version's plan as people read it, a line a step; one line that says why if it has none."""
    artifact = manifest.artifact("plan")
    if artifact is None:
        return [manifest.plan_report or "no plan"]
    plan = load_plan(store.reader.blob(manifest.model, manifest.publish_id, artifact))
    lines = [manifest.plan_report or "plan"]
    for number, step in enumerate(plan.program.steps):
        inputs = ", ".join(str(i) for i in step.inputs)
        words = [f"{key} {_short(value)}" for key, value in step.params.items() if value is not None]
        words += [
            f"{key} {'x'.join(map(str, array.shape))} {array.dtype}" for key, array in step.arrays.items()
        ]
        lines.append(f"{number:>5}  {step.op}({inputs})  {'; '.join(words)}".rstrip())
    for method, output in plan.program.outputs.items():
        lines.append(f"       {method} <- {', '.join(map(str, output.steps))}, as {output.form}")
    return lines


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
