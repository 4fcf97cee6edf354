"""What is known of a version before it is used: signatures, hashes, types, and whether it answers as at publish.

    verify("flights@42") -> Verification(trust, checks, types)

It downloads everything the version holds, and loads it in a clean interpreter only. Each check is made whatever the
others say; a store that does not answer is an error, not a verdict.
"""

from dataclasses import dataclass, field
from typing import Any

from mlshared._keys import NO_KEYS
from mlshared._ref import parse_ref
from mlshared._skops_audit import audit
from mlshared._version import RowFunction
from mlshared.errors import ArtifactError, SignatureError
from mlshared.manifest import Manifest, Trusted
from mlshared.plan import load_plan

from ._carry import Found, Source, find, read_blob, refuse_unchecked, source
from ._read_back import read_back
from ._signing import NOT_SIGNING, Signing
from .checks import Check
from .config import StorePath


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of it.

    Attributes:
        ref: ``flights@42``.
        manifest: Of the version.
        trust: ``signed`` by a trusted key, ``unsigned``, or ``unverified``.
        checks: Every verdict.
        types: What the estimator and the plan hold, by artifact.
    """

    ref: str
    manifest: Manifest = field(repr=False)
    trust: Trusted
    checks: tuple[Check, ...]
    types: dict[str, tuple[str, ...]] = field(repr=False)

    @property
    def passed(self) -> bool:
        """Whether nothing was found wrong."""
        return all(check.passed for check in self.checks)


def verify(
    ref: str,
    *,
    store: StorePath | None = None,
    storage_options: dict[str, Any] | None = None,
    features: RowFunction | None = None,
    trusted_types: tuple[str, ...] = (),
) -> Verification:
    """Check a version's signatures, hashes and types, and have it answer its golden rows in a clean interpreter.

    Args:
        ref: ``flights``, ``flights@staging``, ``flights@42``, ...
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.
        features: The row function the version expects, for the self-test.
        trusted_types: Full names of types it may hold beyond this package's own list.

    Raises:
        NotPublished: If there is no such version.
        IntegrityError: If what names it is no entry at all, so that there is nothing to look at.
        StorageError: If the store does not answer.
    """
    with source(store, storage_options) as at:
        found, signature = _signatures(at, ref)
        manifest, types = found.manifest.entry, dict[str, tuple[str, ...]]()
        checks = [signature]
        for artifact in manifest.artifacts:
            try:
                data = read_blob(at, manifest, artifact)
            except ArtifactError as error:
                checks.append(Check(f"bytes of {artifact.kind}", False, str(error)))
                continue
            checks.append(
                Check(f"bytes of {artifact.kind}", True, f"{artifact.size:,}, sha256 {artifact.sha256}")
            )
            if (held := _types(artifact.kind, data, trusted_types)) is not None:
                types[artifact.kind], verdict = held
                checks.append(verdict)
        # Signatures were looked at above; a joblib file is not run without.
        signing = at.signing if manifest.artifact("joblib") is not None else NOT_SIGNING
        checks.append(_self_test(at, manifest, features, trusted_types, signing))
    return Verification(f"{manifest.model}@{manifest.version}", manifest, found.trust, tuple(checks), types)


def _signatures(at: Source, ref: str) -> tuple[Found, Check]:
    parsed = parse_ref(ref)
    try:
        found = find(at, parsed)
        refuse_unchecked(at, found, ref)
    except SignatureError as error:
        at.store.trust = NO_KEYS  # to look at the rest of it
        return find(at, parsed), Check("signature", False, str(error))
    said = {
        "signed": "by a trusted key",
        "unsigned": "unsigned: whoever can write to the store may have made it",
        "unverified": "signed, and no trusted_keys are configured to tell by whom",
    }
    return found, Check("signature", True, said[found.trust])


def _types(kind: str, data: bytes, trusted_types: tuple[str, ...]) -> tuple[tuple[str, ...], Check] | None:
    """Return what an artifact holds, and whether all of it is trusted; None for what holds data alone."""
    name = f"types in {kind}"
    if kind == "joblib":
        return (), Check(
            name, True, "not told before it is loaded: it can run any code, its signer answers for it"
        )
    try:
        if kind == "plan":
            ops = tuple(sorted({step.op for step in load_plan(data).program.steps}))
            return ops, Check(name, True, f"{len(ops)} kinds of step, data only")
        if kind == "skops":
            found = audit(data, frozenset(trusted_types))
            refused = "; ".join(f"{each} ({why})" for each, why in sorted(found.refused.items()))
            names = tuple(sorted(found.names))
            return names, Check(name, not refused, refused or f"{len(names)}, all on the allow-list")
    except ArtifactError as error:
        return (), Check(name, False, str(error))
    return None


def _self_test(
    at: Source,
    manifest: Manifest,
    features: RowFunction | None,
    trusted_types: tuple[str, ...],
    signing: Signing,
) -> Check:
    try:
        read_back(
            at.url, at.options, manifest, features=features, trusted_types=trusted_types, signing=signing
        )
    except ArtifactError as error:
        return Check("self-test", False, str(error))
    return Check("self-test", True, "loads in a clean interpreter and answers its golden rows as at publish")
