"""What all remote storage shares: a private loop, one connection, a deadline a call, errors of ours.

    Remote -> PrivateLoop -> an asynchronous file system of fsspec's -> bytes, or a `StorageError`

Which file system it is, and what is asked of it, is known in `_bucket` and `_objects`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from mlshared.errors import AccessDenied, ConfigError, MlsharedError, StorageError

_T = TypeVar("_T")

# Credentials that may be better after a second look at the environment, the profile or the role.
_STALE_CODES: Final = frozenset(
    {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired"}
)
_NO_CREDENTIALS: Final = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"}
)


def last_parts(folder: str, paths: list[str]) -> list[str]:
    """Return the last part of each path but the folder's own: some list it as an empty object."""
    own = folder.strip("/")
    return sorted({path.rstrip("/").rpartition("/")[2] for path in paths if path.strip("/") != own} - {""})


@dataclass(frozen=True)
class Connection:
    """An asynchronous file system, and what of it is to be closed."""

    fs: Any
    session: Any

    async def close(self) -> None:
        if self.session is not None:
            await self.session.close()


class Remote:
    """What all remote storage shares: the connection, the deadline, the translation of errors."""

    def __init__(self, url: str, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
        self._url = url
        self._make = make
        self._options = dict(options)
        from mlshared._loop import PrivateLoop  # noqa: PLC0415 - asyncio and TLS: a store in a folder needs none

        self._loop = PrivateLoop(self._connect)

    def close(self) -> None:
        """Close connections and loop; a later call makes them anew."""
        self._loop.close()

    async def _connect(self) -> Connection:
        try:
            fs = self._file_system()
            session = await fs.set_session() if hasattr(fs, "set_session") else None
        except (TypeError, KeyError, ValueError) as error:
            raise ConfigError(
                f"storage_options do not fit {self._url} ({type(error).__name__})"
            ) from None  # it may quote them
        return Connection(fs, session)

    def _file_system(self) -> Any:
        fixed = {"asynchronous": True, "skip_instance_cache": True, "use_listings_cache": False}
        return self._make(**self._options, **fixed)

    def _run(self, work: Callable[[Any], Awaitable[_T]], key: str, timeout: float) -> _T:
        """Return what ``work`` makes of the file system, or say what went wrong with which object."""
        where = f"{self._url}/{key}"
        try:
            return self._loop.run(lambda connection: work(connection.fs), timeout=timeout)
        except MlsharedError:
            raise
        except TimeoutError as error:
            raise StorageError(f"{where}: no answer within {timeout:.1f} s") from error
        except Exception as error:  # each file system has its own kinds; all mean the store failed us
            if _looks_stale(error):
                self.close()  # the next call looks for credentials again
            raise _translate(error, where) from error


def server_said(error: BaseException | None) -> tuple[str, int]:
    """Return the store's error code and HTTP status; ("", 0) if it did not answer.

    s3fs raises built-in exceptions, with what S3 said in the one that caused them.
    """
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return str(response.get("Error", {}).get("Code", ""))[:64], int(status)
        status = getattr(error, "status", None)
        if isinstance(status, int):
            return "", status
        error = error.__cause__
    return "", 0


def _looks_stale(error: Exception) -> bool:
    return server_said(error)[0] in _STALE_CODES or type(error).__name__ in _NO_CREDENTIALS


def _translate(error: Exception, where: str) -> StorageError:
    code, status = server_said(error)
    said = code or (f"status {status}" if status else type(error).__name__)
    if code == "RequestTimeTooSkewed":
        return StorageError(f"{where}: the clocks of this host and of the store differ; set this host's")
    if status in {401, 403} or isinstance(error, PermissionError) or _looks_stale(error):
        return AccessDenied(f"{where}: refused ({said}); check storage_options and the rights they give")
    if code == "NoSuchBucket":
        return StorageError(f"{where}: there is no such bucket")
    return StorageError(f"{where}: the store failed ({said}); is it up, and its address right?")
