"""From a target to a version that may serve: manifest, policy, blobs, load, self-test.

    fetch(host, model, target) -> Bundle      bytes, each checked against its hash; cache first, then store
    assemble(bundle, ...)      -> ModelVersion, self-tested

Policy comes before any download. What is fetched is shared with the host's other processes as bytes; every
process loads and self-tests for itself.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NamedTuple

from mlshared import _selftest
from mlshared._breath import breathe
from mlshared._cache import Cache
from mlshared._envelope import MAX_ENTRY_BYTES
from mlshared._estimator import EstimatorPredictor, set_one_job
from mlshared._planned import LazyEstimator, PlanPredictor
from mlshared._policy import check_estimator, check_policy, estimator_problem, kinds_to_fetch
from mlshared._printable import printable
from mlshared._schema import Schema
from mlshared._target import Target
from mlshared._version import ModelVersion, RowFunction
from mlshared.errors import (
    FeatureSkew,
    IntegrityError,
    StorageError,
    UnsupportedFormat,
)
from mlshared.events import Hook
from mlshared.manifest import ESTIMATOR_KINDS, Artifact, Manifest, Stored, Trusted
from mlshared.plan import Plan, load_plan
from mlshared.settings import Settings
from mlshared.store import Store, open_manifest

TEXTS: Final = frozenset({"category", "text"})
PLAN_TOLERANCE: Final = 1e-9
MAPPED_FROM_BYTES: Final = 16 * 1024 * 1024
ESTIMATOR_TOLERANCE: Final = 1e-6
SLOWEST_BYTES_PER_SECOND: Final = 1e6
MANIFEST_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Host:
    """What all models of a client share in one process.

    Attributes:
        settings: The client's.
        store: Where entries and blobs come from.
        cache: What this host already has.
        hook: Who is told.
        wake: Has the refresh thread look at once.
        in_use: The blobs of every model in force here, by ref.
    """

    settings: Settings
    store: Store
    cache: Cache
    hook: Hook
    wake: Callable[[], None] = lambda: None
    in_use: dict[str, set[str]] = field(default_factory=dict)

    def close(self) -> None:
        """Let go of connections."""
        self.store.objects.close()


class Bundle(NamedTuple):
    """The verified bytes of one version."""

    stored: Stored[Manifest]
    blobs: dict[str, bytes | memoryview]

    @property
    def manifest(self) -> Manifest:
        """What the version says of itself."""
        return self.stored.entry


def fetch(host: Host, store_id: str, model: str, target: Target) -> Bundle:
    """Return a version's bytes, verified.

    Raises:
        StorageError: If the store cannot give them now, or may not be asked for this target.
        IntegrityError: If the store holds other bytes than were named, twice.
        ArtifactError: If policy refuses the version.
    """
    stored = read_manifest(host, store_id, model, target)
    check_policy(stored.entry, trust=target.trust, allow_joblib=host.settings.allow_joblib)
    wanted = [a for a in stored.entry.artifacts if a.kind in kinds_to_fetch(stored.entry)]
    blobs = {a.kind: _bytes(host, stored.entry, a, cached_only=target.cached_only) for a in wanted}
    return Bundle(stored, blobs)


def assemble(bundle: Bundle, target: Target, *, features: RowFunction | None, host: Host) -> ModelVersion:
    """Return a version that answers its golden rows as it did at publish.

    Raises:
        ArtifactError: If it cannot be loaded here or answers otherwise.
    """
    manifest = bundle.manifest
    if manifest.features is not None and features is None:
        raise FeatureSkew(
            f"expects rows to pass through {printable(manifest.features.name)}; "
            f"name it: get_model({manifest.model!r}, features=...)"
        )
    schema = Schema(manifest.fields, manifest.input, _categories(bundle.blobs))
    breathe()
    predictor = _predictor(bundle, schema, host, target.trust)
    breathe()
    version = ModelVersion(
        manifest=manifest,
        manifest_sha256=bundle.stored.sha256,
        released_at=target.released_at,
        trust=target.trust,
        schema=schema,
        predictor=predictor,
        plan=predictor.plan if isinstance(predictor, PlanPredictor) else None,
        features=features,
    )
    golden = _golden(bundle.blobs)
    if features is not None and manifest.features is not None:
        _selftest.check_features(version.checked, golden)
    check_golden(version, golden)
    return version


def check_golden(version: ModelVersion, golden: bytes) -> None:
    """Self-test a version: its answers to tables and, with a plan, to single rows.

    Raises:
        ArtifactError: If it answers otherwise than it did at publish.
    """
    tolerance = ESTIMATOR_TOLERANCE if version.plan is None or version.plan.single else PLAN_TOLERANCE
    one = None if version.plan is None else _row_by_row(version)
    _selftest.self_test(_answers(version), golden, tolerance, one=one)


def _row_by_row(version: ModelVersion) -> _selftest.Single:
    """Return what answers raw rows as requests are answered: a plan has a way of its own for one row."""

    def of(method: str) -> Callable[[Any], Any]:
        answer = version.predictor.one(method)
        return lambda row: answer(version.checked(row))

    return of


def _answers(version: ModelVersion) -> _selftest.Answer:
    """Return what answers raw rows for a self-test; a plan walks them once for all its methods."""
    plan = version.plan
    if plan is None:
        return version.answer
    known: dict[str, Any] = {}

    def answer(method: str, rows: list[Any]) -> Any:
        if not known:
            known.update(plan.every([version.checked(row) for row in rows]))
        return known[method]

    return answer


class EstimatorBytes(NamedTuple):
    """The verified bytes of the estimator of a version with a plan, and its golden rows."""

    kind: str
    data: bytes
    golden: bytes | None


def fetch_estimator(host: Host, version: ModelVersion) -> EstimatorBytes:
    """Return the bytes of the estimator of a version with a plan; somebody `wants_estimator`.

    Raises:
        MlsharedError: If there is none for here, or it cannot be had.
    """
    manifest = version.manifest
    artifact = next((a for a in manifest.artifacts if a.kind in ESTIMATOR_KINDS), None)
    if artifact is None:
        raise UnsupportedFormat(f"{version.ref} has no estimator that this release can load")
    check_estimator(artifact, trust=version.trust, allow_joblib=host.settings.allow_joblib)
    data = _blob(host, manifest, artifact, cached_only=False)
    golden = manifest.artifact("golden")
    rows = None if golden is None else _blob(host, manifest, golden, cached_only=False)
    return EstimatorBytes(artifact.kind, data, rows)


def fill_estimator(host: Host, version: ModelVersion, fetched: EstimatorBytes) -> None:
    """Load the estimator of a version with a plan.

    Raises:
        Exception: What its types raise, or that it answers otherwise than at publish; the plan goes on answering.
    """
    predictor = version.predictor
    assert isinstance(predictor, PlanPredictor)
    predictor.lazy.settle(predictor=_loaded_estimator(host, version, fetched))


def wants_estimator(version: ModelVersion) -> bool:
    """Return whether somebody has asked for the estimator of a version with a plan, and it is not here yet."""
    return isinstance(version.predictor, PlanPredictor) and version.predictor.lazy.wanted


def refuse_estimator(version: ModelVersion, error: Exception) -> None:
    """Tell those who asked for the estimator of a version with a plan that it will not be loaded."""
    if isinstance(version.predictor, PlanPredictor):
        version.predictor.lazy.settle(problem=error)


def _loaded_estimator(host: Host, version: ModelVersion, fetched: EstimatorBytes) -> EstimatorPredictor:
    predictor = _estimator_predictor(fetched.data, fetched.kind, version.schema, host.settings, version.trust)
    if fetched.golden is not None:
        _selftest.self_test(
            lambda method, raw: predictor.rows(method, [version.checked(row) for row in raw]), fetched.golden
        )
    return predictor


def _predictor(
    bundle: Bundle, schema: Schema, host: Host, trust: Trusted
) -> PlanPredictor | EstimatorPredictor:
    settings = host.settings
    if "plan" in bundle.blobs:
        plan = load_plan(bundle.blobs["plan"])
        lacking = set(bundle.manifest.methods) - set(plan.methods)
        if lacking or not _read_as_checked(plan, schema):
            raise IntegrityError("the plan does not answer what the manifest says it does")
        foresee = partial(estimator_problem, bundle.manifest, trust=trust, allow_joblib=settings.allow_joblib)
        lazy = LazyEstimator(host.wake, foresee)
        return PlanPredictor(plan, schema, lazy, min_rows=settings.estimator_min_rows)
    kind = next(kind for kind in sorted(ESTIMATOR_KINDS) if kind in bundle.blobs)
    return _estimator_predictor(bytes(bundle.blobs[kind]), kind, schema, settings, trust)


def _read_as_checked(plan: Plan, schema: Schema) -> bool:
    """Return whether every field the plan reads is one of the schema's, and of the kind it is read as."""
    texts = {field.name: field.value_type in {"str", None} and field.kind in TEXTS for field in schema.fields}
    return all(texts.get(field) == (op == "labels") for field, op in plan.reads)


def _estimator_predictor(
    data: bytes, kind: str, schema: Schema, settings: Settings, trust: Trusted
) -> EstimatorPredictor:
    from mlshared._artifact import MALFORMED, load_estimator  # noqa: PLC0415 - a plan needs nothing of it

    unpickle = settings.allow_joblib and trust == "signed"
    estimator = load_estimator(data, kind, settings.trusted_types, unpickle=unpickle)
    try:
        set_one_job(estimator)
    except MALFORMED as error:
        raise IntegrityError(f"the estimator's parameters are malformed: {str(error)[:200]}") from error
    return EstimatorPredictor(estimator, schema)


def _categories(blobs: dict[str, bytes | memoryview]) -> dict[str, list[Any]]:
    try:
        categories = json.loads(bytes(blobs.get("categories", b"{}")))
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"its categories are no JSON: {str(error)[:120]}") from error
    if not isinstance(categories, dict) or not all(map(_are_scalars, categories.values())):
        raise IntegrityError("its categories are no lists of texts, numbers and booleans")
    return categories


def _are_scalars(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, str | int | float) for value in values)


def _golden(blobs: dict[str, bytes | memoryview]) -> bytes:
    golden = blobs.get("golden")
    if golden is None:
        raise IntegrityError("has no golden rows, so it cannot be tested before it serves")
    return bytes(golden)


def read_manifest(host: Host, store_id: str, model: str, target: Target) -> Stored[Manifest]:
    """Return a version's manifest, verified; errors are those of `fetch`."""
    raw = host.cache.blob(target.manifest_sha256, MAX_ENTRY_BYTES)
    if raw is None:
        if target.cached_only:
            raise StorageError(f"version {target.version} is not in this host's cache")
        host.store.allow(MANIFEST_SECONDS)
        try:
            raw = _manifest_bytes(host.store, model, target)
        except IntegrityError:
            raw = _manifest_bytes(host.store, model, target)  # once more, as with blobs
        host.cache.put(target.manifest_sha256, raw)
    return open_manifest(raw, store_id, model, target.version)


def _bytes(host: Host, manifest: Manifest, artifact: Artifact, *, cached_only: bool) -> bytes | memoryview:
    """Return an artifact's bytes; a large plan's mapped, so that the host's processes share them."""
    if artifact.kind != "plan" or artifact.size < MAPPED_FROM_BYTES:
        return _blob(host, manifest, artifact, cached_only=cached_only)
    view = host.cache.mapped(artifact.sha256, artifact.size)
    if view is None and not cached_only and not host.cache.holds(artifact.sha256):
        _to_disk(host, manifest, artifact)
        view = host.cache.mapped(artifact.sha256, artifact.size)
    return _blob(host, manifest, artifact, cached_only=cached_only) if view is None else view


def _to_disk(host: Host, manifest: Manifest, artifact: Artifact) -> None:
    """Copy a large plan to the host's disk, if that takes it.

    Part by part: the allocator keeps what it once had to find for such a block, and each process that has
    fetched two versions would hold as much as a further copy.
    """

    def copy(write: Callable[[bytes], None]) -> None:
        host.store.copy_blob(manifest.model, manifest.publish_id, artifact, write)

    _allow(host, artifact)
    try:
        host.cache.fill(artifact.sha256, copy)
    except IntegrityError:
        host.cache.fill(artifact.sha256, copy)  # once more, as with other blobs


def _allow(host: Host, artifact: Artifact) -> None:
    host.store.allow(30 + artifact.size / SLOWEST_BYTES_PER_SECOND)


def _manifest_bytes(store: Store, model: str, target: Target) -> bytes:
    raw = store.manifest_bytes(model, target.version)
    if raw is None:
        raise StorageError(f"the manifest of {model}@{target.version} is missing from the store")
    if hashlib.sha256(raw).hexdigest() != target.manifest_sha256:
        raise IntegrityError(f"the manifest of {model}@{target.version} is not the one that was released")
    return raw


def _blob(host: Host, manifest: Manifest, artifact: Artifact, *, cached_only: bool) -> bytes:
    raw = host.cache.blob(artifact.sha256, artifact.size)
    if raw is not None:
        return raw
    if cached_only:
        raise StorageError(f"version {manifest.version} is not in this host's cache")
    _allow(host, artifact)
    try:
        raw = host.store.blob(manifest.model, manifest.publish_id, artifact)
    except IntegrityError:
        # Once more: only bytes that are wrong twice are the store's and not the network's.
        raw = host.store.blob(manifest.model, manifest.publish_id, artifact)
    host.cache.put(artifact.sha256, raw)
    return raw
