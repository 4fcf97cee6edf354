"""Whether a version may be used here, told by its manifest alone: before anything is downloaded.

    check_policy(manifest, trust=...)     kinds of artifact, libraries, joblib
    kinds_to_fetch(manifest)              with a plan, no estimator before somebody asks for it

A plan runs anywhere. An estimator needs scikit-learn's minor release and the libraries its manifest declares; a
joblib file needs a verified signature and the consumer's word as well. Nothing here is remembered: the next look
judges anew.
"""

import os
import re
from importlib import metadata
from typing import Final

from mlshared._breath import breathe
from mlshared._envelope import MAX_ENTRY_BYTES
from mlshared.errors import (
    EnvironmentMismatch,
    IntegrityError,
    MlsharedError,
    UnsupportedFormat,
    UntrustedType,
)
from mlshared.manifest import ESTIMATOR_KINDS, Artifact, Manifest, Trusted

# What is JSON takes many times its size in memory.
MOST_BYTES: Final = {"golden": MAX_ENTRY_BYTES, "categories": 32 * 1024 * 1024}
_REQUIREMENT: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
KNOWN_KINDS: Final = ESTIMATOR_KINDS | {"plan", "golden", "categories"}


def check_policy(manifest: Manifest, *, trust: Trusted, allow_joblib: bool = False) -> None:
    """Refuse a version this process could not use, or may not, before anything is downloaded.

    Args:
        manifest: Of the version.
        trust: What is known of who signed it.
        allow_joblib: The setting.

    Raises:
        UnsupportedFormat: If it needs a kind of artifact that is not known here.
        IntegrityError: If it names two artifacts of a kind, or two estimators: which one counts would be a guess; if
            a blob is larger than its kind may be.
        EnvironmentMismatch: If its estimator needs a library that is absent, or another minor release of
            scikit-learn; if it is larger than this host's memory.
        UntrustedType: If its estimator is a joblib file, and that is not allowed here, or not signed.
    """
    kinds = kinds_to_fetch(manifest)
    named = [artifact.kind for artifact in manifest.artifacts]
    if len(set(named)) < len(named) or len(ESTIMATOR_KINDS.intersection(named)) > 1:
        raise IntegrityError("names two artifacts where there can be one")
    for artifact in manifest.artifacts:
        if artifact.kind in kinds:
            _check_size(artifact)
        if artifact.required and artifact.kind not in KNOWN_KINDS:
            raise UnsupportedFormat(f"needs an artifact of kind {artifact.kind[:40]!r}: upgrade mlshared")
        if artifact.kind in ESTIMATOR_KINDS and "plan" not in kinds:
            check_estimator(artifact, trust=trust, allow_joblib=allow_joblib)
    if not kinds & (ESTIMATOR_KINDS | {"plan"}):
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


def _check_size(artifact: Artifact) -> None:
    what = f"its {artifact.kind} takes {artifact.size:,} bytes"
    most = MOST_BYTES.get(artifact.kind)
    if most is not None and artifact.size > most:
        raise IntegrityError(f"{what}, and may have {most:,}")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if artifact.size > memory:
        raise EnvironmentMismatch(f"{what}, and this host has {memory:,} of memory")


def estimator_problem(manifest: Manifest, *, trust: Trusted, allow_joblib: bool) -> MlsharedError | None:
    """Return why the estimator beside a plan cannot answer tables here, as far as the manifest tells."""
    artifact = next((a for a in manifest.artifacts if a.kind in ESTIMATOR_KINDS), None)
    try:
        if artifact is None:
            raise UnsupportedFormat("has no estimator that this release can load")
        check_estimator(artifact, trust=trust, allow_joblib=allow_joblib)
    except MlsharedError as error:
        return error
    return None


def kinds_to_fetch(manifest: Manifest) -> set[str]:
    """Return the kinds of artifact to fetch: with a plan, no estimator before somebody asks for it."""
    kinds = {artifact.kind for artifact in manifest.artifacts} & KNOWN_KINDS
    return kinds - ESTIMATOR_KINDS if "plan" in kinds else kinds


_found: Final[dict[str, str]] = {}  # looking a distribution up takes a millisecond and more, in one piece


def _installed(distribution: str) -> str:
    if distribution not in _found:
        _found[distribution] = metadata.version(distribution)
    return _found[distribution]


def _check_libraries(requires: dict[str, str]) -> None:
    for distribution, wanted in requires.items():
        breathe()
        if not (_REQUIREMENT.fullmatch(distribution) and wanted.isprintable()):
            raise EnvironmentMismatch(f"needs {distribution[:80]!r} {wanted[:80]!r}, which is no library")
        try:
            present = _installed(distribution)
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
