"""From a target to a version that may serve: manifest, policy, blobs, load, self-test.

    fetch(host, model, target) -> Bundle      bytes, each checked against its hash; cache first, then store
    assemble(bundle, ...)      -> ModelVersion, self-tested

Policy comes before any download. What is fetched is shared with the host's other processes as bytes; every
process loads and self-tests for itself.
"""

import hashlib
import json
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Final

from mlshared import _artifact, _selftest
from mlshared._cache import Cache
from mlshared._envelope import MAX_ENTRY_BYTES
from mlshared._estimator import EstimatorPredictor, set_one_job
from mlshared._features import source_sha256
from mlshared._planned import LazyEstimator, PlanPredictor
from mlshared._schema import Schema
from mlshared._target import Target
from mlshared._version import ModelVersion, RowFunction
from mlshared.errors import (
    EnvironmentMismatch,
    FeatureSkew,
    IntegrityError,
    MlsharedError,
    StorageError,
    UnsupportedFormat,
    UntrustedType,
)
from mlshared.events import Hook
from mlshared.manifest import Artifact, Manifest, Stored, Trusted
from mlshared.plan import Plan, load_plan
from mlshared.settings import Settings
from mlshared.store import Store, open_manifest

KNOWN_KINDS: Final = _artifact.ESTIMATOR_KINDS | {"plan", "golden", "categories"}
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
        gate: Held while libraries are imported.
        in_use: The blobs of every model in force here, by ref.
    """

    settings: Settings
    store: Store
    cache: Cache
    hook: Hook
    gate: AbstractContextManager[None] = field(default_factory=nullcontext)
    in_use: dict[str, set[str]] = field(default_factory=dict)

    def close(self) -> None:
        """Let go of connections."""
        self.store.objects.close()


@dataclass(frozen=True, slots=True)
class Bundle:
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
    stored = _manifest(host, store_id, model, target)
    check_policy(stored.entry, trust=target.trust, allow_joblib=host.settings.allow_joblib)
    wanted = [a for a in stored.entry.artifacts if a.kind in _kinds(stored.entry)]
    blobs = {a.kind: _bytes(host, stored.entry, a, cached_only=target.cached_only) for a in wanted}
    return Bundle(stored, blobs)


def check_policy(manifest: Manifest, *, trust: Trusted, allow_joblib: bool = False) -> None:
    """Refuse a version this process could not use, or may not, before anything is downloaded.

    Args:
        manifest: Of the version.
        trust: What is known of who signed it.
        allow_joblib: The setting.

    Raises:
        UnsupportedFormat: If it needs a kind of artifact that is not known here.
        IntegrityError: If it names two artifacts of a kind, or two estimators: which one counts would be a guess.
        EnvironmentMismatch: If its estimator needs a library that is absent, or another minor release of
            scikit-learn.
        UntrustedType: If its estimator is a joblib file, and that is not allowed here, or not signed.
    """
    kinds = _kinds(manifest)
    named = [artifact.kind for artifact in manifest.artifacts]
    if len(set(named)) < len(named) or len(_artifact.ESTIMATOR_KINDS.intersection(named)) > 1:
        raise IntegrityError("names two artifacts where there can be one")
    for artifact in manifest.artifacts:
        if artifact.required and artifact.kind not in KNOWN_KINDS:
            raise UnsupportedFormat(f"needs an artifact of kind {artifact.kind[:40]!r}: upgrade mlshared")
        if artifact.kind in _artifact.ESTIMATOR_KINDS and "plan" not in kinds:
            check_estimator(artifact, trust=trust, allow_joblib=allow_joblib)
    if not kinds & (_artifact.ESTIMATOR_KINDS | {"plan"}):
        raise UnsupportedFormat("has no artifact that this release can predict with: upgrade mlshared")


def check_estimator(artifact: Artifact, *, trust: Trusted, allow_joblib: bool) -> None:
    """Refuse an estimator that could not be loaded here, or may not be; arguments and errors of `check_policy`."""
    if artifact.kind == "joblib" and not (allow_joblib and trust == "signed"):
        missing = "allow_joblib is not set here" if not allow_joblib else f"the version is {trust}"
        raise UntrustedType(
            f"the estimator is a joblib file, which can run any code, and {missing}; it is loaded only with "
            "allow_joblib and a signature by one of trusted_keys"
        )
    _check_libraries(
        {**artifact.requires, **({"skops": "0.16 or newer"} if artifact.kind == "skops" else {})}
    )


def assemble(
    bundle: Bundle, target: Target, *, features: RowFunction | None, settings: Settings
) -> ModelVersion:
    """Return a version that answers its golden rows as it did at publish.

    Raises:
        ArtifactError: If it cannot be loaded here or answers otherwise.
    """
    manifest = bundle.manifest
    if manifest.features is not None and features is None:
        raise FeatureSkew(
            f"expects rows to pass through {manifest.features.name}; "
            f"name it: get_model({manifest.model!r}, features=...)"
        )
    categories = json.loads(bytes(bundle.blobs["categories"])) if "categories" in bundle.blobs else {}
    schema = Schema(manifest.fields, manifest.input, categories)
    predictor = _predictor(bundle, schema, settings, target.trust)
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
    tolerance = ESTIMATOR_TOLERANCE if version.plan is None or version.plan.single else PLAN_TOLERANCE
    _selftest.self_test(version.answer, golden, tolerance)
    return version


def fill_estimator(host: Host, version: ModelVersion) -> None:
    """Load the estimator of a version with a plan, if somebody has asked for it.

    Raises:
        MlsharedError: If it cannot be loaded here; the plan goes on answering.
    """
    predictor = version.predictor
    if not isinstance(predictor, PlanPredictor) or not predictor.lazy.wanted:
        return
    try:
        loaded = _loaded_estimator(host, version)
    except (MlsharedError, OSError, MemoryError) as error:
        predictor.lazy.settle(problem=error)
        raise
    predictor.lazy.settle(predictor=loaded)


def _loaded_estimator(host: Host, version: ModelVersion) -> EstimatorPredictor:
    manifest = version.manifest
    artifact = next((a for a in manifest.artifacts if a.kind in _artifact.ESTIMATOR_KINDS), None)
    if artifact is None:
        raise UnsupportedFormat(f"{version.ref} has no estimator that this release can load")
    check_estimator(artifact, trust=version.trust, allow_joblib=host.settings.allow_joblib)
    data = _blob(host, manifest, artifact, cached_only=False)
    with host.gate:
        predictor = _estimator_predictor(data, artifact.kind, version.schema, host.settings, version.trust)
    golden = manifest.artifact("golden")
    if golden is not None:
        rows = _blob(host, manifest, golden, cached_only=False)
        _selftest.self_test(
            lambda method, raw: predictor.rows(method, [version.checked(row) for row in raw]), rows
        )
    return predictor


def _predictor(
    bundle: Bundle, schema: Schema, settings: Settings, trust: Trusted
) -> PlanPredictor | EstimatorPredictor:
    if "plan" in bundle.blobs:
        plan = load_plan(bundle.blobs["plan"])
        lacking = set(bundle.manifest.methods) - set(plan.methods)
        if lacking or not _read_as_checked(plan, schema):
            raise IntegrityError("the plan does not answer what the manifest says it does")
        lazy = LazyEstimator(foreseen=_estimator_problem(bundle.manifest, settings, trust))
        return PlanPredictor(plan, schema, lazy, min_rows=settings.estimator_min_rows)
    kind = next(kind for kind in sorted(_artifact.ESTIMATOR_KINDS) if kind in bundle.blobs)
    return _estimator_predictor(bytes(bundle.blobs[kind]), kind, schema, settings, trust)


def _estimator_problem(manifest: Manifest, settings: Settings, trust: Trusted) -> MlsharedError | None:
    """Return why the estimator beside a plan cannot answer tables here, as far as the manifest tells."""
    artifact = next((a for a in manifest.artifacts if a.kind in _artifact.ESTIMATOR_KINDS), None)
    try:
        if artifact is None:
            raise UnsupportedFormat("has no estimator that this release can load")
        check_estimator(artifact, trust=trust, allow_joblib=settings.allow_joblib)
    except MlsharedError as error:
        return error
    return None


def _read_as_checked(plan: Plan, schema: Schema) -> bool:
    """Return whether every field the plan reads is one of the schema's, and of the kind it is read as."""
    texts = {field.name: field.value_type in {"str", None} and field.kind in TEXTS for field in schema.fields}
    return all(texts.get(field) == (op == "labels") for field, op in plan.reads)


def _estimator_predictor(
    data: bytes, kind: str, schema: Schema, settings: Settings, trust: Trusted
) -> EstimatorPredictor:
    unpickle = settings.allow_joblib and trust == "signed"
    estimator = _artifact.load_estimator(data, kind, settings.trusted_types, unpickle=unpickle)
    set_one_job(estimator)
    return EstimatorPredictor(estimator, schema)


def _golden(blobs: dict[str, bytes | memoryview]) -> bytes:
    golden = blobs.get("golden")
    if golden is None:
        raise IntegrityError("has no golden rows, so it cannot be tested before it serves")
    return bytes(golden)


def _kinds(manifest: Manifest) -> set[str]:
    """Return the kinds of artifact to fetch: with a plan, no estimator before somebody asks for it."""
    kinds = {artifact.kind for artifact in manifest.artifacts} & KNOWN_KINDS
    return kinds - _artifact.ESTIMATOR_KINDS if "plan" in kinds else kinds


def _manifest(host: Host, store_id: str, model: str, target: Target) -> Stored[Manifest]:
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
    if view is None:
        raw = _blob(host, manifest, artifact, cached_only=cached_only)
        view = host.cache.mapped(artifact.sha256, artifact.size)
        return raw if view is None else view
    return view


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
    host.store.allow(30 + artifact.size / SLOWEST_BYTES_PER_SECOND)
    try:
        raw = host.store.blob(manifest.model, manifest.publish_id, artifact)
    except IntegrityError:
        # Once more: only bytes that are wrong twice are the store's and not the network's.
        raw = host.store.blob(manifest.model, manifest.publish_id, artifact)
    host.cache.put(artifact.sha256, raw)
    return raw


def _check_libraries(requires: dict[str, str]) -> None:
    for distribution, wanted in requires.items():
        try:
            present = metadata.version(distribution)
        except metadata.PackageNotFoundError as error:
            extra = ": pip install 'mlshared[sklearn]'" if distribution == "scikit-learn" else ""
            raise EnvironmentMismatch(
                f"needs {distribution} {wanted}, which is not installed{extra}"
            ) from error
        if distribution == "scikit-learn" and present.split(".")[:2] != wanted.split(".")[:2]:
            raise EnvironmentMismatch(
                f"was trained with scikit-learn {wanted}, and {present} is installed here: "
                "install the same minor release, or retrain with this one"
            )


def fingerprint(features: RowFunction | None, settings: Settings) -> str:
    """Return a hash of what decides whether a version that failed here would fail again."""
    distributions = ("mlshared", "numpy", "scikit-learn", "scipy", "pandas", "skops", "lightgbm", "xgboost")
    facts: list[Any] = [_installed(name) for name in distributions]
    facts += [_python(), source_sha256(features) if features else None]
    facts += [sorted(settings.trusted_types), settings.allow_joblib, settings.allow_unsigned]
    facts += [sorted(json.dumps(key.as_json(), sort_keys=True) for key in settings.trusted_keys or ())]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _python() -> list[str]:
    import platform  # noqa: PLC0415 - only at a load

    return [platform.python_version(), platform.machine()]
