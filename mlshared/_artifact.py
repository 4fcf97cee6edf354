"""Verified bytes -> an estimator that may be used here, or the reason why not.

    load_estimator(data, "skops", trusted_types)
      audit      the archive, and names against our list and the consumer's; nothing imported yet
      versions   fitted with another minor release of scikit-learn: refused
      load       by skops, told to trust our list and the consumer's, never what the file lists
      content    nothing that compiled code trusts leads outside its arrays
    load_estimator(data, "joblib", unpickle=True)
      load       whatever code it holds runs: only for a signer who is trusted, and where the consumer says so

Whether the bytes are the ones a manifest names was decided before (`_cache`, `store`); whether the answers
are right is decided after (`_selftest`). No kind falls back to another.
"""

import struct
import zlib
from collections.abc import Iterable
from importlib import metadata
from io import BytesIO
from pickle import UnpicklingError
from types import ModuleType
from typing import Any, Final
from zipfile import BadZipFile

import numpy as np

from mlshared._skops_audit import audit
from mlshared._skops_content import check_content
from mlshared._skops_types import ALLOWED
from mlshared.errors import EnvironmentMismatch, IntegrityError, UnsupportedFormat, UntrustedType
from mlshared.manifest import ESTIMATOR_KINDS

# What foreign code raises over what is malformed. Not OSError and MemoryError: they may pass.
MALFORMED: Final = (
    *(ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError, NameError),
    *(RuntimeError, SyntaxError, TypeError, ValueError, BadZipFile, struct.error, zlib.error, np.ma.MAError),
)
_MEND: Final = "pip install 'mlshared[sklearn]'"


def load_estimator(
    data: bytes, kind: str = "skops", trusted_types: Iterable[str] = (), *, unpickle: bool = False
) -> Any:
    """Return the estimator in ``data``.

    Args:
        data: The artifact's bytes.
        kind: The artifact's kind.
        trusted_types: Exact full names the consumer trusts beyond this package's list.
        unpickle: Whether code in a joblib file may run: its signer is trusted, and the consumer allows it.

    Raises:
        UnsupportedFormat: If ``kind`` is none this release loads.
        UntrustedType: If it holds a type or function that is not trusted; all are named.
        EnvironmentMismatch: If a library it needs is absent, or scikit-learn is of another minor release.
        IntegrityError: If the bytes are no well-formed estimator.
    """
    if kind not in ESTIMATOR_KINDS:
        raise UnsupportedFormat(
            f"estimators of kind {kind[:40]!r} are not read by this release: upgrade mlshared"
        )
    if kind == "joblib":
        return _unpickled(data, allowed=unpickle)
    trusted = frozenset([trusted_types] if isinstance(trusted_types, str) else trusted_types)
    found = audit(data, trusted)
    if found.refused:
        raise UntrustedType(refusal(found.refused))
    check_versions(found.versions)
    skops_io = import_skops()
    extra = sorted(ALLOWED | trusted)
    try:
        estimator = skops_io.loads(data, trusted=extra)
    except (ImportError, Warning) as error:
        raise EnvironmentMismatch(f"the estimator cannot be loaded here: {error}; {_MEND}") from error
    except MALFORMED as error:
        untrusted = skops_refuses(data, trusted)
        if untrusted:
            raise UntrustedType(refusal(untrusted)) from error
        raise IntegrityError(f"the estimator cannot be loaded: {str(error)[:200]}") from error
    try:
        check_content(estimator)
    except MALFORMED as error:
        raise IntegrityError(f"the estimator is malformed: {str(error)[:200]}") from error
    return estimator


def _unpickled(data: bytes, *, allowed: bool) -> Any:
    if not allowed:
        raise UntrustedType("the estimator is a joblib file, which can run any code: not allowed here")
    try:
        import joblib  # noqa: PLC0415 - heavy and optional

        return joblib.load(BytesIO(data))
    except (ImportError, AttributeError) as error:
        raise EnvironmentMismatch(f"the estimator cannot be loaded here: {error}; {_MEND}") from error
    except (UnpicklingError, *MALFORMED) as error:
        raise IntegrityError(f"the estimator cannot be loaded: {str(error)[:200]}") from error


def skops_refuses(data: bytes, trusted_types: Iterable[str] = ()) -> dict[str, str]:
    """Return the names skops does not trust, nor we, nor the consumer, with the reason; for messages.

    The list comes from the file and is never passed back as trusted.
    """
    skops_io = import_skops()
    try:
        names = set(skops_io.get_untrusted_types(data=data))
    except MALFORMED:
        return {}
    return dict.fromkeys(sorted(names - ALLOWED - set(trusted_types)), "not on the allow-list")


def refusal(refused: dict[str, str]) -> str:
    """Return the message that names what is not trusted and what to do."""
    listed = "; ".join(f"{name[:120]} ({why})" for name, why in sorted(refused.items())[:20])
    more = f"; and {len(refused) - 20} more" if len(refused) > 20 else ""
    return (
        f"the estimator holds what is not trusted: {listed}{more}. If you know it to be harmless, add the "
        "exact name to the setting trusted_types"
    )


def check_versions(fitted_with: Iterable[str]) -> None:
    """Check that scikit-learn is here, and of the minor release the estimator was fitted with.

    Raises:
        EnvironmentMismatch: If not; the message says what to install.
    """
    try:
        here = metadata.version("scikit-learn")
    except metadata.PackageNotFoundError as error:
        raise EnvironmentMismatch(
            f"this model needs scikit-learn, which is not installed: {_MEND}"
        ) from error
    for version in sorted(fitted_with):
        minor = version.split(".")[:2]
        if minor != here.split(".")[:2]:
            raise EnvironmentMismatch(
                f"fitted with scikit-learn {version[:40]}, here is {here}: pip install "
                f"'scikit-learn=={'.'.join(minor)[:20]}.*', or retrain with {here}"
            )


def import_skops() -> ModuleType:
    """Return ``skops.io``, imported now because it imports scikit-learn and scipy.

    Raises:
        EnvironmentMismatch: If it is not installed.
    """
    try:
        from skops import io  # noqa: PLC0415 - heavy and optional
    except ImportError as error:
        raise EnvironmentMismatch(f"this model needs skops ({error}): {_MEND}") from error
    module: ModuleType = io
    return module
