"""From a fitted estimator to a published version: describe, pack, upload, number, read back.

    draft(...)      -> Draft        everything but the number; nothing has left this process
    upload(...)     -> Manifest     blobs first, then the manifest under the next free number
    read_back(...)                  by the client's own path, in a clean interpreter, self-test included

A version is whole from the moment its manifest exists, and nobody serves it before an alias's log names it.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from mlshared._estimator import EstimatorPredictor
from mlshared._load import SLOWEST_BYTES_PER_SECOND
from mlshared._objects import open_objects
from mlshared._schema import Schema
from mlshared._version import RowFunction
from mlshared.errors import ArtifactError, ConfigError
from mlshared.manifest import (
    FORMAT,
    Artifact,
    Environment,
    Field,
    Manifest,
    Stored,
    Training,
)
from mlshared.store import Store, blob_key, open_manifest, version_key

from ._append import append, found_store, nonce
from ._arguments import check_choice, check_rows, check_text
from ._collect import GRACE_SECONDS as COLLECTION_GRACE_SECONDS
from ._estimators import describe_estimator, dump_estimator, dump_joblib, environment
from ._fields import fields_from_schema, infer_fields
from ._golden import golden_rows, make_golden
from ._log import check_names, last_taken
from ._lost import heads
from ._plan import plan_for
from ._raw_fields import raw_fields
from ._read_back import read_back
from ._release import release_first, release_unless_held
from ._seen import Seen, seen_from
from ._signing import find_signing
from ._writing import BUDGET_SECONDS
from .config import StorePath, choose_options, choose_store, find_config
from .errors import LogLost, NotStorable, ReleaseRefused
from .recipe import describe_features

ALIAS: Final = "production"

LABELLING: Final = frozenset({"classifier", "clusterer", "outlier_detector"})


StoredFormat = Literal["skops", "joblib"]


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish made.

    Attributes:
        version: Its number.
        ref: ``flights@42``.
        manifest: All of it.
        released: Whether it was put in force.
        reason: Why it was not, or an empty text.
    """

    version: int
    ref: str
    manifest: Manifest = field(repr=False)
    released: bool
    reason: str = ""

    @property
    def plan_report(self) -> str | None:
        """What converting it to a row plan gave, one line."""
        return self.manifest.plan_report


@dataclass(frozen=True, slots=True)
class Draft:
    """A version without its number: a manifest that says 1, and the blobs it names."""

    manifest: Manifest
    blobs: dict[str, bytes]


def publish(
    estimator: Any,
    X: Any,  # noqa: N803 - scikit-learn's name
    y: Any = None,
    *,
    name: str,
    store: StorePath | None = None,
    storage_options: dict[str, Any] | None = None,
    release: str | None = None,
    schema: type[Any] | None = None,
    features: RowFunction | None = None,
    raw: Any = None,
    trusted_types: tuple[str, ...] = (),
    training: Training | None = None,
    labels: Mapping[str, str] | None = None,
    format: StoredFormat = "skops",  # noqa: A002 - a documented name
) -> Published:
    """Publish any fitted estimator, and release it if told to.

    Args:
        estimator: Fitted.
        X: Held-out rows like those it was fitted on: a DataFrame, an array of shape (n, columns) or texts.
            They give the schema and the ranges of made-up golden rows; no row of theirs is stored.
        y: Their targets; a DataFrame's columns name several targets.
        name: The model.
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.
        release: The alias to put the version in force under, unless a person holds it: `trainer.release` ends a
            hold. None: publishes only, except that a model with no release yet gets its first, since nothing
            can be displaced.
        schema: pydantic model of a row: its bounds, enums and nullability join the inferred schema.
        features: The row function apps pass raw rows through first.
        raw: With ``features``: the raw rows that ``X`` was derived from.
        trusted_types: Exact names that every client of this model has in its setting ``trusted_types``.
        training: How it was trained, if known.
        labels: Free text for the manifest.
        format: ``skops``, or ``joblib`` for what skops cannot store: it can run any code when it is loaded, so it
            takes a signing key here, and ``allow_joblib`` and ``trusted_keys`` in every app.

    Raises:
        ConfigError: If an argument cannot be used; if ``format`` is ``joblib`` and there is no signing key.
        NotStorable: If the estimator cannot be stored so that a client could load it, and has no plan either.
        SelfTestFailed: If the published version, read back, does not answer as it did here.
        OutcomeUnknown: If the store stopped answering while writing.
    """
    url, options = choose_store(store, find_config()), choose_options(storage_options)
    check_arguments(X, y, name, release, format)
    objects = open_objects(url, options)
    try:
        signing = find_signing()
        opened = signing.store(objects, budget_seconds=BUDGET_SECONDS)
        if format == "joblib" and signing.key is None:
            raise ConfigError('format="joblib" needs a signing key: no app loads such a file unsigned')
        store_id = found_store(opened).id
        made = draft(
            estimator,
            X,
            y,
            store_id=store_id,
            name=name,
            schema=schema,
            features=features,
            raw=raw,
            trusted_types=trusted_types,
            training=training,
            labels=labels,
            format=format,
        )
        stored = upload(opened, made)
        read_back(url, options, stored.entry, features=features, trusted_types=trusted_types, signing=signing)
        first, reason = (
            first_release(opened, stored, seen_from(url, options), "the first version")
            if release is None
            else (False, "")
        )
    finally:
        objects.close()
    version, ref = stored.entry.version, f"{name}@{stored.entry.version}"
    if release is None:
        return Published(version, ref, stored.entry, released=first, reason=reason)
    try:
        release_unless_held(
            name, version, store=url, storage_options=options, alias=release, reason="published by hand"
        )
    except ReleaseRefused as error:
        return Published(version, ref, stored.entry, released=False, reason=str(error))
    return Published(version, ref, stored.entry, released=True)


def check_arguments(X: Any, y: Any, name: str, release: str | None, format: str) -> None:  # noqa: A002, N803
    """Refuse what cannot be published, before anything is read or written; arguments are those of `publish`.

    Raises:
        ConfigError: That names the argument.
    """
    check_choice("format", format, StoredFormat)
    if release is not None:
        check_text("release", release, ALIAS)
    check_names(name, release)
    check_rows(X, y)


def draft(
    estimator: Any,
    X: Any,  # noqa: N803
    y: Any = None,
    *,
    store_id: str,
    name: str,
    schema: type[Any] | None = None,
    features: RowFunction | None = None,
    raw: Any = None,
    trusted_types: tuple[str, ...] = (),
    training: Training | None = None,
    labels: Mapping[str, str] | None = None,
    format: StoredFormat = "skops",  # noqa: A002
    plan_seconds: float = math.inf,
) -> Draft:
    """Return everything a version is, but its number. Arguments and errors are those of `publish`.

    ``plan_seconds`` is how long converting and comparing the plan may take.
    """
    check_names(name)
    description = describe_estimator(estimator, X, y)
    kind, fields, categories = infer_fields(estimator, X)
    if schema is not None:
        fields = fields_from_schema(schema, fields)
    plan, report = plan_for(
        estimator,
        X,
        kind=kind,
        fields=fields,
        categories=categories,
        methods=description.methods,
        seconds=plan_seconds,
    )
    blobs = {} if plan is None else {"plan": plan}
    try:
        blobs[format] = (
            dump_joblib(estimator) if format == "joblib" else dump_estimator(estimator, trusted_types)
        )
    except NotStorable as error:
        if plan is None:
            raise
        report = f"{report}; the plan alone is published: {error}"
    where = environment(estimator, blobs.get("skops"), X, pickled=format == "joblib")
    if categories:
        blobs["categories"] = json.dumps(categories).encode()
    blobs["golden"] = _golden(estimator, X, kind, fields, categories, description, features, raw)
    requires: dict[str, dict[str, str]] = {format: _requirements(where)}
    manifest = Manifest(
        type=Manifest.TYPE,
        format=FORMAT,
        store=store_id,
        model=name,
        nonce=nonce(),
        version=1,
        publish_id=nonce(),
        created_at=datetime.now(UTC),
        task=description.task,
        methods=description.methods,
        classes=description.classes,
        class_dtype=description.class_dtype,
        targets=description.targets,
        output_dtype=description.output_dtype,
        input=kind,
        fields=fields,
        artifacts=tuple(
            Artifact(
                kind=each,
                required=each != "plan" or format not in blobs,
                sha256=hashlib.sha256(blob).hexdigest(),
                size=len(blob),
                requires=requires.get(each, {}),
            )
            for each, blob in blobs.items()
        ),
        features=describe_features(features) if features is not None else None,
        environment=where,
        training=training or Training(),
        plan_report=report,
        labels=dict(labels or {}),
    )
    return Draft(manifest, blobs)


def upload(store: Store, made: Draft) -> Stored[Manifest]:
    """Put a draft into the store under the next free number; return its manifest as it lies there.

    Raises:
        OutcomeUnknown: If the store stopped answering while writing the manifest.
        StorageError: If it did before; nothing is published then.
    """
    while True:
        elapsed, publish_id = _elapsed(), nonce()
        for blob in made.blobs.values():
            store.allow(BUDGET_SECONDS + len(blob) / SLOWEST_BYTES_PER_SECOND)
            key = blob_key(made.manifest.model, publish_id, hashlib.sha256(blob).hexdigest())
            append(store, key, blob, "a blob")
        stored = _number(store, made.manifest.model_copy(update={"publish_id": publish_id}), elapsed)
        if stored is not None:
            return stored


def _number(store: Store, manifest: Manifest, elapsed: Callable[[], float]) -> Stored[Manifest] | None:
    """Create a manifest under the next free number; None if that comes too late for its blobs."""
    store.allow(BUDGET_SECONDS)
    model = manifest.model
    seen = heads(store, manifest.store, model)
    version = _next_version(store, manifest.store, model)
    while elapsed() <= COLLECTION_GRACE_SECONDS / 2:
        store.allow(BUDGET_SECONDS)
        numbered = manifest.model_copy(update={"version": version, "nonce": nonce(), "heads": seen})
        raw = store.seal(numbered)
        if append(store, version_key(model, version), raw, f"version {version} of {model}"):
            return open_manifest(raw, manifest.store, model, version, store.trust)
        version += 1
    # The collector may take blobs that no manifest names for a publish that was given up.
    return None


def _next_version(store: Store, store_id: str, model: str) -> int:
    """Return the number after the highest manifest that is valid, and after what follows it without a gap."""
    numbers = store.versions(model)
    if last_taken(numbers, 0) == max(numbers, default=0):
        return last_taken(numbers, 0) + 1
    for number in reversed(numbers):
        store.allow(BUDGET_SECONDS)
        try:
            if store.manifest(store_id, model, number) is not None:
                return last_taken(numbers, number) + 1
        except ArtifactError:
            continue
    return last_taken(numbers, 0) + 1


def _elapsed() -> Callable[[], float]:
    """Return a clock that starts now; a machine that was suspended has no monotonic time to show for it."""
    began, began_at = time.monotonic(), time.time()
    return lambda: max(time.monotonic() - began, time.time() - began_at)


def first_release(store: Store, stored: Stored[Manifest], seen: Seen, reason: str) -> tuple[bool, str]:
    """Put a version in force if nothing ever was; return whether it was, and why not."""
    try:
        first = release_first(store, stored.entry.store, stored, ALIAS, reason=reason, seen=seen)
    except LogLost as error:
        return False, str(error)
    return first, "" if first else "not asked to"


def _requirements(where: Environment) -> dict[str, str]:
    """Return the libraries a client needs to load the estimator: all it uses, bar what every client has."""
    return {name: version for name, version in where.libraries.items() if name not in {"numpy", "skops"}}


def _golden(
    estimator: Any,
    X: Any,  # noqa: N803
    kind: Any,
    fields: tuple[Field, ...],
    categories: dict[str, list[Any]],
    description: Any,
    features: RowFunction | None,
    raw: Any,
) -> bytes:
    schema = Schema(fields, kind, categories)
    predictor = EstimatorPredictor(estimator, schema)

    def checked(row: Any) -> dict[str, Any]:
        return schema.row(row if features is None else features(dict(row)))

    def answer(method: str, rows: list[Any]) -> Any:
        return predictor.rows(method, [checked(row) for row in rows])

    row_fields = fields if features is None else raw_fields(X if raw is None else raw)
    return make_golden(
        golden_rows(row_fields, X if raw is None else raw, input=kind),
        answer,
        fields=row_fields,
        methods=description.methods,
        exact=("predict",) if description.task in LABELLING else (),
        derive=checked if features is not None else None,
    )
