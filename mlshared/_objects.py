"""The storage under a store: a bounded get, names, create-if-absent. The only place that knows fsspec.

    open_objects(url, options)
      ./models, file://    LocalObjects  system calls; a hard link is the create-if-absent
      memory://            Memory        fsspec's memory file system, for tests and notebooks
      s3://                Bucket        s3fs: a get is one GET, a create one PUT with If-None-Match
      https://, gs://...   Replica       any other asynchronous fsspec file system; to read only

Remote ones own an event loop and a file system, made at first use and kept: fsspec's shared loop does not
survive a fork, upsets Django under gevent, and a fresh S3 client costs 150 ms of CPU. Foreign errors end
here: absent is None, taken is False, all else is a `StorageError` that names the object and no option.

It knows nothing of what the objects mean, keeps no listing and no bytes, and deletes nothing.
"""

import io
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from mlshared._local import LocalObjects, check_key
from mlshared._loop import PrivateLoop
from mlshared.errors import AccessDenied, ConfigError, MlsharedError, StorageError
from mlshared.store import Objects

_T = TypeVar("_T")

_MEMORY_CREATES: Final = threading.Lock()  # makes look-then-write in the shared memory file system one step
_CHUNK_BYTES: Final = 1 << 20
_MAX_PUT_BYTES: Final = 5 * 1024**3  # what S3 takes in one request
_OURS: Final = frozenset(
    {"asynchronous", "loop", "skip_instance_cache", "use_listings_cache", "cache_regions"}
)
_ATTEMPTS: Final = {"total_max_attempts": 2, "mode": "standard"}
_READ_ONLY: Final = "is read only here; publish to a folder or to s3:// and mirror from there"
# Credentials that may be better after a second look at the environment, the profile or the role.
_STALE_CODES: Final = frozenset(
    {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired"}
)
_NO_CREDENTIALS: Final = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"}
)


def open_objects(url: str, options: Mapping[str, Any] | None = None) -> Objects:
    """Return the storage at a URL or path; nothing is connected to yet.

    Args:
        url: ``./models``, ``file:///srv/models``, ``memory://models``, ``s3://bucket/models`` or the URL
            of another asynchronous fsspec file system, without credentials in it.
        options: Given to the file system as they are.

    Raises:
        ConfigError: If the URL cannot be a store, an option cannot be given, or a package is missing.
    """
    protocol, _, path = url.rpartition("://")
    protocol, path, given = protocol.lower(), path.rstrip("/"), dict(options or {})
    if protocol in {"", "file"}:
        _refuse_options(given, "a folder takes none")
        return LocalObjects(Path(path or "/").expanduser().absolute())
    if "::" in url or "?" in url or "#" in url or "@" in path.split("/")[0]:
        raise ConfigError(
            "a store's URL has no '::', '?', '#' or user in it; credentials belong into storage_options"
        )
    if not path:
        raise ConfigError(f"{protocol[:40]}:// names no place; write for example s3://bucket/models")
    if protocol == "memory":
        _refuse_options(given, "memory:// takes none")
        return Memory(path)
    _refuse_options({name: None for name in given if name in _OURS}, "they are set by mlshared")
    make = _file_system_class(protocol)
    remote = Bucket if protocol in {"s3", "s3a"} else Replica
    return remote(f"{protocol}://{path}", make, given)


def _refuse_options(options: Mapping[str, Any], why: str) -> None:
    if options:
        raise ConfigError(f"remove from storage_options: {', '.join(sorted(options))} ({why})")


def _file_system_class(protocol: str) -> Callable[..., Any]:
    import fsspec  # noqa: PLC0415 - 0.15 s that a store in a local folder need not pay

    try:
        found = fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        if protocol in {"s3", "s3a"}:
            raise ConfigError("s3:// needs s3fs: pip install 'mlshared[s3]'") from error
        raise ConfigError(f"{protocol}:// needs another package: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{protocol[:40]!r} is no kind of storage that fsspec knows") from error
    if not getattr(found, "async_impl", False):
        raise ConfigError(f"{protocol}:// cannot be read with a deadline; use a folder, s3:// or https://")
    kind: Callable[..., Any] = found
    return kind


class Memory:
    """A store in this process's memory, where fsspec's ``memory://`` finds it too; always in time."""

    def __init__(self, root: str) -> None:
        from fsspec.implementations.memory import MemoryFileSystem  # noqa: PLC0415 - see _file_system_class

        self._root = f"/{root.strip('/')}"
        self._fs = MemoryFileSystem()

    def get(self, key: str, *, limit: int, timeout: float) -> bytes | None:  # noqa: ARG002
        """Return an object's bytes, at most ``limit`` + 1; None if absent."""
        path = f"{self._root}/{check_key(key)}"
        with _MEMORY_CREATES:
            try:
                return bytes(self._fs.cat_file(path, 0, limit + 1))
            except FileNotFoundError:
                return None

    def names(self, folder: str, *, timeout: float) -> list[str]:  # noqa: ARG002
        """Return the names right below a folder."""
        path = f"{self._root}/{check_key(folder)}" if folder else self._root
        with _MEMORY_CREATES:
            try:
                found: list[str] = self._fs.ls(path, detail=False)
            except FileNotFoundError:
                return []
        return _last_parts(path, found)

    def create(self, key: str, data: bytes, *, timeout: float) -> bool:  # noqa: ARG002
        """Create an object; False if the key is taken."""
        path = f"{self._root}/{check_key(key)}"
        with _MEMORY_CREATES:
            if self._fs.isfile(path):
                return False
            try:
                self._fs.pipe_file(path, data)
            except OSError as error:
                raise StorageError(f"memory:/{path}: {type(error).__name__}") from error
            return True

    def modified(self, key: str, *, timeout: float) -> float | None:  # noqa: ARG002
        """Return when an object was written, in seconds since the epoch; None if absent."""
        path = f"{self._root}/{check_key(key)}"
        with _MEMORY_CREATES:
            try:
                return float(self._fs.modified(path).timestamp())
            except FileNotFoundError:
                return None

    def close(self) -> None:
        """Do nothing: others may use the same memory."""


def _last_parts(folder: str, paths: list[str]) -> list[str]:
    """Return the last part of each path but the folder's own: some list it as an empty object."""
    own = folder.strip("/")
    return sorted({path.rstrip("/").rpartition("/")[2] for path in paths if path.strip("/") != own} - {""})


@dataclass(frozen=True)
class _Connection:
    """An asynchronous file system, and what of it is to be closed."""

    fs: Any
    session: Any

    async def close(self) -> None:
        if self.session is not None:
            await self.session.close()


class _Remote:
    """What all remote storage shares: the connection, the deadline, the translation of errors."""

    def __init__(self, url: str, make: Callable[..., Any], options: Mapping[str, Any]) -> None:
        self._url = url
        self._make = make
        self._options = dict(options)
        self._loop = PrivateLoop(self._connect)

    def close(self) -> None:
        """Close connections and loop; a later call makes them anew."""
        self._loop.close()

    async def _connect(self) -> _Connection:
        fixed = {"asynchronous": True, "skip_instance_cache": True, "use_listings_cache": False}
        try:
            fs = self._make(**self._options, **fixed)
            session = await fs.set_session() if hasattr(fs, "set_session") else None
        except (TypeError, KeyError, ValueError) as error:
            raise ConfigError(f"storage_options do not fit {self._url} ({type(error).__name__})") from error
        return _Connection(fs, session)

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


def _server_said(error: BaseException | None) -> tuple[str, int]:
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
    return _server_said(error)[0] in _STALE_CODES or type(error).__name__ in _NO_CREDENTIALS


def _translate(error: Exception, where: str) -> StorageError:
    code, status = _server_said(error)
    said = code or (f"status {status}" if status else type(error).__name__)
    if code == "RequestTimeTooSkewed":
        return StorageError(f"{where}: the clocks of this host and of the store differ; set this host's")
    if status in {401, 403} or isinstance(error, PermissionError) or _looks_stale(error):
        return AccessDenied(f"{where}: refused ({said}); check storage_options and the rights they give")
    if code == "NoSuchBucket":
        return StorageError(f"{where}: there is no such bucket")
    return StorageError(f"{where}: the store failed ({said}); is it up, and its address right?")


class Bucket(_Remote):
    """A store in S3, or in what speaks its protocol and honours If-None-Match."""

    def get(self, key: str, *, limit: int, timeout: float) -> bytes | None:
        """Return an object's bytes, at most ``limit`` + 1; None if absent. One GET."""
        check_key(key)

        async def work(fs: Any) -> bytes | None:
            try:
                answer = await self._call(fs, "get_object", key)
            except FileNotFoundError as error:
                if _server_said(error)[0] == "NoSuchKey":
                    return None
                raise
            body = answer["Body"]
            try:
                return await _read(body, limit + 1)
            finally:
                body.close()

        return self._run(work, key, timeout)

    def names(self, folder: str, *, timeout: float) -> list[str]:
        """Return the names right below a folder. One LIST for each thousand of them."""
        if folder:
            check_key(folder)

        async def work(fs: Any) -> list[str]:
            found: list[str] = []
            more: dict[str, Any] = {"Delimiter": "/"}
            while True:
                page = await self._call(fs, "list_objects_v2", folder, **more)
                found += [entry["Key"] for entry in page.get("Contents", ())]
                found += [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
                if not page.get("IsTruncated"):
                    return _last_parts(page["Prefix"], found)
                more["ContinuationToken"] = page["NextContinuationToken"]

        return self._run(work, folder, timeout)

    def create(self, key: str, data: bytes, *, timeout: float) -> bool:
        """Create an object; False if the key is taken. One PUT with If-None-Match, of at most 5 GiB.

        Raises:
            StorageError: Also if the outcome is unknown (409, a timeout, a lost answer): read back.
        """
        if len(data) > _MAX_PUT_BYTES:
            raise ConfigError(f"{key}: {len(data):,} bytes; S3 creates at most 5 GiB in one request")
        check_key(key)

        async def work(fs: Any) -> bool:
            try:
                # A stream, as aiohttp warns of large bytes.
                await self._call(fs, "put_object", key, Body=io.BytesIO(data), IfNoneMatch="*")
            except OSError as error:
                if _server_said(error)[1] == 412:
                    return False
                raise
            return True

        return self._run(work, key, timeout)

    def modified(self, key: str, *, timeout: float) -> float | None:
        """Return when an object was written, by the store's clock in seconds since the epoch, or None."""
        check_key(key)

        async def work(fs: Any) -> float | None:
            try:
                answer = await self._call(fs, "head_object", key)
            except FileNotFoundError:
                return None
            return float(answer["LastModified"].timestamp())

        return self._run(work, key, timeout)

    async def _connect(self) -> _Connection:
        given = dict(self._options.get("config_kwargs") or {})
        self._options["config_kwargs"] = {"retries": dict(_ATTEMPTS), **given}
        connection = await super()._connect()
        connection.fs.retries = 1  # s3fs's attempts multiply botocore's
        # Before signing, so that it is signed: a cache between here and there must ask the bucket.
        connection.session.meta.events.register("before-sign.s3.GetObject", _forbid_caches)
        return connection

    async def _call(self, fs: Any, method: str, key: str, **arguments: Any) -> Any:
        """Send one S3 request, with ``s3_additional_kwargs`` and ``requester_pays`` applied.

        The one private name of s3fs in use, as it is in 2026.9. Its public `cat_file` and `pipe_file`
        send a HEAD first, read without a limit, or turn to a multipart upload at 100 MB.
        """
        bucket, path, _ = fs.split_path(f"{self._url}/{key}".rstrip("/"))
        if method == "list_objects_v2":
            arguments["Prefix"] = f"{path}/" if path else ""
        else:
            arguments["Key"] = path
        return await fs._call_s3(method, Bucket=bucket, **arguments)  # noqa: SLF001


def _forbid_caches(request: Any, **_: Any) -> None:
    request.headers["Cache-Control"] = "no-cache"


async def _read(body: Any, most: int) -> bytes:
    parts = bytearray()
    while len(parts) < most:
        part = await body.read(min(_CHUNK_BYTES, most - len(parts)))
        if not part:
            break
        parts += part
    return bytes(parts)


class Replica(_Remote):
    """A store's mirror behind another asynchronous fsspec file system, such as a CDN; to read only."""

    def get(self, key: str, *, limit: int, timeout: float) -> bytes | None:
        """Return an object's bytes, at most ``limit`` + 1; None if absent. One ranged request."""
        check_key(key)

        async def work(fs: Any) -> bytes | None:
            try:
                found = await fs._cat_file(f"{self._url}/{key}", start=0, end=limit + 1)  # noqa: SLF001
            except FileNotFoundError:
                return None
            return bytes(found[: limit + 1])  # a server may ignore the range

        return self._run(work, key, timeout)

    def names(self, folder: str, *, timeout: float) -> list[str]:
        """Return the names right below a folder, where the file system can list."""
        path = f"{self._url}/{check_key(folder)}" if folder else self._url

        async def work(fs: Any) -> list[str]:
            try:
                return _last_parts(path, await fs._ls(path, detail=False))  # noqa: SLF001
            except FileNotFoundError:
                return []

        return self._run(work, folder, timeout)

    def create(self, key: str, data: bytes, *, timeout: float) -> bool:  # noqa: ARG002
        """Refuse: no create-if-absent is known to hold here.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self._url} {_READ_ONLY}")

    def modified(self, key: str, *, timeout: float) -> float | None:  # noqa: ARG002
        """Refuse, as `create` does: only writers ask.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self._url} {_READ_ONLY}")
