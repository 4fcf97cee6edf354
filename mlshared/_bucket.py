"""A store in S3, or in what speaks its protocol: a get is one GET, a create one PUT with If-None-Match."""

import io
from collections.abc import Callable
from typing import Any, Final

from mlshared._local import check_key
from mlshared._remote import Connection, Remote, last_parts, server_said
from mlshared.errors import ConfigError

_CHUNK_BYTES: Final = 1 << 20
_MAX_PUT_BYTES: Final = 5 * 1024**3  # what S3 takes in one request
_ATTEMPTS: Final = {"total_max_attempts": 2, "mode": "standard"}


class Bucket(Remote):
    """A store in S3, or in what speaks its protocol and honours If-None-Match."""

    _description: Any = None

    def get(self, key: str, *, limit: int, timeout: float) -> bytes | None:
        """Return an object's bytes, at most ``limit`` + 1; None if absent. One GET."""
        parts: list[bytes] = []
        there = self.copy(key, parts.append, limit=limit, timeout=timeout)
        return b"".join(parts) if there else None

    def copy(self, key: str, write: Callable[[bytes], Any], *, limit: int, timeout: float) -> bool:
        """Write an object's bytes part by part, at most ``limit`` + 1; False if it is absent. One GET."""
        check_key(key)

        async def work(fs: Any) -> bool:
            try:
                answer = await self._call(fs, "get_object", key)
            except FileNotFoundError as error:
                if server_said(error)[0] == "NoSuchKey":
                    return False
                raise
            body = answer["Body"]
            try:
                await _copy(body, write, limit + 1)
            finally:
                body.close()
            return True

        return self._run(work, key, timeout)

    def names(self, folder: str, *, timeout: float) -> list[str]:
        """Return the names right below a folder. One LIST for each thousand of them."""
        if folder:
            check_key(folder)

        async def work(fs: Any) -> list[str]:
            _, place, _ = fs.split_path(f"{self._url}/{folder}".rstrip("/"))
            found: list[str] = []
            more: dict[str, Any] = {"Delimiter": "/"}
            while True:
                page = await self._call(fs, "list_objects_v2", folder, **more)
                found += [entry["Key"] for entry in page.get("Contents", ())]
                found += [entry["Prefix"] for entry in page.get("CommonPrefixes", ())]
                if not page.get("IsTruncated"):
                    return last_parts(place, found)
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
                if server_said(error)[1] == 412:
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

    def _file_system(self) -> Any:
        """Return a file system whose session shares what the one before had read of S3's description.

        That takes 10 MB and most of a new client's 150 ms, and is in cycles: collected late, if ever.
        """
        from aiobotocore.session import AioSession  # noqa: PLC0415 - heavy, and s3fs imports it as well

        fs = super()._file_system()
        if fs.session is None:
            fs.session = AioSession(**fs.kwargs)
            if self._description is None:
                self._description = fs.session.get_component("data_loader")
            fs.session.register_component("data_loader", self._description)
        return fs

    def delete(self, key: str, *, timeout: float) -> None:
        """Remove an object, if it is there. One DELETE; a bucket with versioning keeps the bytes."""
        check_key(key)

        async def work(fs: Any) -> None:
            await self._call(fs, "delete_object", key)

        self._run(work, key, timeout)

    async def _connect(self) -> Connection:
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


async def _copy(body: Any, write: Callable[[bytes], Any], most: int) -> None:
    left = most
    while left and (part := await body.read(min(_CHUNK_BYTES, left))):
        write(part)
        left -= len(part)
