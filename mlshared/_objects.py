"""The storage under a store: a bounded get, names, create-if-absent. The only place that knows fsspec.

    open_objects(url, options)
      ./models, file://    LocalObjects  system calls; a hard link is the create-if-absent
      memory://            Memory        fsspec's memory file system, for tests and notebooks
      s3://                Bucket        s3fs: a get is one GET, a create one PUT with If-None-Match
      https://, gs://...   Replica       any other asynchronous fsspec file system; to read only

Remote ones own an event loop and a file system, made at first use and kept: fsspec's shared loop does not
survive a fork, upsets Django under gevent, and a fresh S3 client costs 150 ms of CPU. Foreign errors end
in `_remote`: absent is None, taken is False, all else is a `StorageError` that names the object and no option.

It knows nothing of what the objects mean, and keeps no listing and no bytes. Blobs alone are ever deleted, and
by the trainer's collector alone.
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from mlshared._bucket import Bucket
from mlshared._local import LocalObjects, check_key
from mlshared._remote import Remote, last_parts
from mlshared._urls import mended
from mlshared.errors import ConfigError, StorageError
from mlshared.store import Objects

_CHUNK_BYTES: Final = 1 << 18
_MEMORY_CREATES: Final = threading.Lock()  # makes look-then-write in the shared memory file system one step
_OURS: Final = frozenset(
    {"asynchronous", "loop", "skip_instance_cache", "use_listings_cache", "cache_regions"}
)
_READ_ONLY: Final = "is read only here; publish to a folder or to s3:// and mirror from there"


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
    if (meant := mended(url)) is not None:
        raise ConfigError(f"the store {url[:80]!r} is half a URL; write {meant[:80]!r}")
    if protocol in {"", "file"}:
        _refuse_options(given, "a folder takes none")
        return LocalObjects(Path(path or "/").expanduser().absolute())
    if "::" in url or "?" in url or "#" in url or "@" in path.split("/")[0] or "://" in protocol:
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

    def copy(self, key: str, write: Callable[[bytes], None], *, limit: int, timeout: float) -> bool:
        """Write an object's bytes, at most ``limit`` + 1; False if it is absent."""
        found = self.get(key, limit=limit, timeout=timeout)
        if found is not None:
            write(found)
        return found is not None

    def names(self, folder: str, *, timeout: float) -> list[str]:  # noqa: ARG002
        """Return the names right below a folder."""
        path = f"{self._root}/{check_key(folder)}" if folder else self._root
        with _MEMORY_CREATES:
            try:
                found: list[str] = self._fs.ls(path, detail=False)
            except FileNotFoundError:
                return []
        return last_parts(path, found)

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

    def delete(self, key: str, *, timeout: float) -> None:  # noqa: ARG002
        """Remove an object, if it is there."""
        path = f"{self._root}/{check_key(key)}"
        with _MEMORY_CREATES, suppress(FileNotFoundError):
            self._fs.rm_file(path)

    def close(self) -> None:
        """Do nothing: others may use the same memory."""


class Replica(Remote):
    """A store's mirror behind another asynchronous fsspec file system, such as a CDN; to read only."""

    def get(self, key: str, *, limit: int, timeout: float) -> bytes | None:
        """Return an object's bytes, at most ``limit`` + 1; None if absent. One ranged request."""
        check_key(key)

        async def work(fs: Any) -> bytes | None:
            try:
                if _is_http(fs):
                    return await _fetch(fs, f"{self._url}/{key}", limit)
                found = await fs._cat_file(f"{self._url}/{key}", start=0, end=limit + 1)  # noqa: SLF001
            except FileNotFoundError:
                return None
            return bytes(found[: limit + 1])  # a server may ignore the range

        return self._run(work, key, timeout)

    def copy(self, key: str, write: Callable[[bytes], None], *, limit: int, timeout: float) -> bool:
        """Write an object's bytes, at most ``limit`` + 1; False if it is absent."""
        found = self.get(key, limit=limit, timeout=timeout)
        if found is not None:
            write(found)
        return found is not None

    def names(self, folder: str, *, timeout: float) -> list[str]:
        """Return the names right below a folder, where the file system can list."""
        path = f"{self._url}/{check_key(folder)}" if folder else self._url

        async def work(fs: Any) -> list[str]:
            try:
                return last_parts(path, await fs._ls(path, detail=False))  # noqa: SLF001
            except FileNotFoundError:
                return []

        return self._run(work, folder, timeout)

    def _file_system(self) -> Any:
        fs = super()._file_system()
        if _is_http(fs):
            # What a server packed would be unpacked whole before its size is known: a megabyte can hold gigabytes.
            given = dict(fs.client_kwargs)
            headers = {**given.get("headers", {}), "Accept-Encoding": "identity"}
            fs.client_kwargs = {**given, "headers": headers, "auto_decompress": False}
        return fs

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

    def delete(self, key: str, *, timeout: float) -> None:  # noqa: ARG002
        """Refuse, as `create` does.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"{self._url} {_READ_ONLY}")


def _is_http(fs: Any) -> bool:
    return hasattr(fs, "encode_url")


async def _fetch(fs: Any, url: str, limit: int) -> bytes | None:
    """Return at most ``limit`` + 1 bytes over HTTP, whether or not the server heeds the range; None if absent."""
    session, options = await fs.set_session(), dict(fs.kwargs)
    headers = {**options.pop("headers", {}), "Range": f"bytes=0-{limit}", "Accept-Encoding": "identity"}
    found = bytearray()
    async with session.get(fs.encode_url(url), headers=headers, **options) as answer:
        fs._raise_not_found_for_status(answer, url)  # noqa: SLF001
        packed = answer.headers.get("Content-Encoding", "identity")
        if packed.lower() != "identity":
            raise StorageError(
                f"{url} comes packed ({packed[:20]!r}) although not asked to; have it served as it is"
            )
        async for part in answer.content.iter_chunked(_CHUNK_BYTES):
            found += part[: limit + 1 - len(found)]
            if len(found) > limit:
                break
    return bytes(found)
