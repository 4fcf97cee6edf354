"""Everything this package raises, by whose fault it is.

    MlsharedError
    |-- ConfigError                the operator's settings are wrong
    |-- StorageError               the store did not answer, or not as a store does; trying again may help
    |   |-- NotPublished           the store answers, and holds no such model, alias or version
    |   `-- AccessDenied           the store refuses these credentials
    |-- ArtifactError              what is stored cannot be used
    |   |-- IntegrityError         bytes are not the ones that were named
    |   |-- SignatureError         a signature is missing, wrong or by a key that is not trusted
    |   |-- UntrustedType          an artifact holds a type that is not on the allow-list
    |   |-- UnsupportedFormat      written by a newer release of this package
    |   |-- EnvironmentMismatch    needs libraries that are not here
    |   |-- SelfTestFailed         its golden rows are not answered as at publish
    |   `-- FeatureSkew            the app's feature function is not the trainer's
    |-- ModelNotReady              nothing could be loaded yet
    `-- InputError                 the caller's row or table is wrong (also a ValueError)

Errors of other packages are translated where they arise and chained with ``from``.
"""

from collections.abc import Sequence
from typing import TypedDict


class MlsharedError(Exception):
    """Anything raised by this package on purpose."""


class ConfigError(MlsharedError):
    """A setting is missing, unknown or unusable; the message names it."""


class StorageError(MlsharedError):
    """The store could not be reached or answered unusably; trying again may help."""


class NotPublished(StorageError):  # noqa: N818 - a documented name
    """The store answers, and holds no such model, alias or version."""


class AccessDenied(StorageError):  # noqa: N818 - a documented name
    """The store refuses these credentials."""


class ArtifactError(MlsharedError):
    """A stored object cannot be used; the version in force stays."""


class IntegrityError(ArtifactError):
    """Bytes are not the ones that were named, or an entry is not where it belongs."""


class SignatureError(ArtifactError):
    """A signature is missing, wrong, or by a key that is not trusted."""


class UntrustedType(ArtifactError):  # noqa: N818 - a documented name
    """An artifact holds types that are neither on the allow-list nor in ``trusted_types``."""


class UnsupportedFormat(ArtifactError):  # noqa: N818 - a documented name
    """An object was written in a format this release does not know; upgrade the reader."""


class EnvironmentMismatch(ArtifactError):  # noqa: N818 - a documented name
    """An artifact needs libraries that are absent here or of another version."""


class SelfTestFailed(ArtifactError):  # noqa: N818 - a documented name
    """The golden rows of a version are not answered as they were at publish."""


class FeatureSkew(ArtifactError):  # noqa: N818 - a documented name
    """The app's feature function gives other values than the trainer's."""


class ModelNotReady(MlsharedError):  # noqa: N818 - a documented name
    """No version could be loaded yet; the message lists what was tried."""


def raisable(error: Exception, kind: type[MlsharedError] = ArtifactError) -> MlsharedError:
    """Return an error that was kept, to be raised, maybe not for the first time.

    Args:
        error: One of this package's is raised as it is, without the frames of the last time.
        kind: What any other is raised as.
    """
    if isinstance(error, MlsharedError):
        return error.with_traceback(None)  # each raise adds its frames
    ours = kind(f"{type(error).__name__}: {error}")
    ours.__cause__ = error
    return ours


class InputProblem(TypedDict):
    """One thing wrong with an input: the field and what to do about it."""

    field: str
    message: str


class InputError(MlsharedError, ValueError):
    """A row or table does not have the fields or values the model reads.

    >>> error = InputError([{"field": "dep_time", "message": "missing; did you mean 'dep_tim'?"}])
    >>> error.errors()
    [{'field': 'dep_time', 'message': "missing; did you mean 'dep_tim'?"}]
    >>> print(error)
    dep_time: missing; did you mean 'dep_tim'?
    """

    def __init__(self, problems: Sequence[InputProblem]) -> None:
        """Keep the problems; the message is one line of all of them."""
        self._problems = list(problems)
        super().__init__("; ".join(f"{p['field']}: {p['message']}" for p in self._problems))

    def errors(self) -> list[InputProblem]:
        """Return every problem as ``{"field": ..., "message": ...}``, fit for JSON."""
        return [{"field": p["field"], "message": p["message"]} for p in self._problems]

    def __reduce__(self) -> tuple[type["InputError"], tuple[list[InputProblem]]]:
        return (InputError, (self._problems,))
