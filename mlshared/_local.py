"""A store in a folder of this host, by system calls alone.

An object is written to a temporary file beside its place, synced, and hard-linked there: the link is the
create-if-absent, so an object is whole or absent, also after a power cut, and of many writers one wins.

It needs hard links (a few mounts of cloud storage have none, and it says so), and has no deadlines: a call
ends when the disk answers.
"""

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from mlshared.errors import AccessDenied, ConfigError, StorageError

_PART_BYTES: Final = 1 << 17  # of larger ones the allocator keeps some
_TEMPORARY: Final = ".mlshared-"


def check_key(key: str) -> str:
    """Return the key.

    Raises:
        ValueError: If it could lead out of the store, or name one object in two ways.
    """
    if any(part in {"", ".", ".."} for part in key.split("/")) or "\0" in key or "\\" in key:
        raise ValueError(f"{key[:200]!r} is not a key: parts joined by '/', none of them empty, '.' or '..'")
    return key


class LocalObjects:
    """A store in a folder of this host; its calls end when the disk answers, whatever the timeout."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen = False

    def get(self, key: str, *, limit: int, timeout: float) -> bytes | None:  # noqa: ARG002
        """Return an object's bytes, at most ``limit`` + 1; None if absent."""
        path = self._root / check_key(key)
        try:
            with open(_open_at_once(path), "rb") as file:
                status = os.fstat(file.fileno())
                self._seen = True
                if not stat.S_ISREG(status.st_mode):
                    return b""
                return file.read(min(limit, status.st_size) + 1)  # read() allocates what it is asked for
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._check_root()
            return None
        except OSError as error:
            raise _disk_failure(error, path) from error

    def copy(self, key: str, write: Callable[[bytes], None], *, limit: int, timeout: float) -> bool:  # noqa: ARG002
        """Write an object's bytes part by part, at most ``limit`` + 1 of them; False if it is absent."""
        path, left = self._root / check_key(key), limit + 1
        try:
            with open(_open_at_once(path), "rb", buffering=0) as file:
                self._seen = True
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    return True
                while left and (part := file.read(min(_PART_BYTES, left))):
                    write(part)
                    left -= len(part)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            self._check_root()
            return False
        except OSError as error:
            raise _disk_failure(error, path) from error
        return True

    def names(self, folder: str, *, timeout: float) -> list[str]:  # noqa: ARG002
        """Return the names right below a folder."""
        path = self._root / check_key(folder) if folder else self._root
        try:
            found = [entry.name for entry in path.iterdir()]
        except (FileNotFoundError, NotADirectoryError):
            self._check_root()
            return []
        except OSError as error:
            raise _disk_failure(error, path) from error
        return [name for name in found if not name.startswith(_TEMPORARY)]

    def create(self, key: str, data: bytes, *, timeout: float) -> bool:  # noqa: ARG002
        """Create an object, whole and on the disk or not at all; False if the key is taken."""
        path = self._root / check_key(key)
        self._check_root()
        temporary = path.with_name(f"{_TEMPORARY}{os.urandom(8).hex()}")
        try:
            _make_folder(path.parent)
            try:
                _write_through(temporary, data)
                os.link(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(path.parent)
        except FileExistsError as error:
            if path.exists():
                return False
            raise _disk_failure(error, path) from error
        except OSError as error:
            raise _disk_failure(error, path) from error
        return True

    def modified(self, key: str, *, timeout: float) -> float | None:  # noqa: ARG002
        """Return when an object was written, in seconds since the epoch; None if absent."""
        path = self._root / check_key(key)
        try:
            return path.stat().st_mtime
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _disk_failure(error, path) from error

    def delete(self, key: str, *, timeout: float) -> None:  # noqa: ARG002
        """Remove an object, if it is there, and its folder, if that is empty then."""
        path = self._root / check_key(key)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _disk_failure(error, path) from error
        with suppress(OSError):  # not empty, or being filled again
            path.parent.rmdir()

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _check_root(self) -> None:
        """Tell an object that is absent from a disk that is: a folder seen once does not just go."""
        try:
            found = self._root.stat().st_mode
            if stat.S_ISREG(found):
                raise ConfigError(f"the store {self._root} is a file, not a folder")
            there = stat.S_ISDIR(found)
        except (FileNotFoundError, NotADirectoryError):
            there = False
        except OSError as error:
            raise _disk_failure(error, self._root) from error
        if not there and self._seen:
            raise StorageError(f"the store's folder {self._root} is gone; is its disk still mounted?")
        self._seen = self._seen or there


def _open_at_once(path: Path) -> int:
    """Open a file; a pipe in its place, which would keep its reader waiting, is as good as an empty one."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(path)
    return descriptor


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _write_through(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_failure(error: OSError, path: Path) -> StorageError:
    reason = error.strerror or type(error).__name__
    if error.filename2 is not None:  # only a link has two
        return StorageError(f"{path} could not be linked ({reason}); the store's disk must have hard links")
    if isinstance(error, PermissionError):
        return AccessDenied(f"{path}: {reason}; let this user read it (a trainer: write it)")
    return StorageError(f"{path}: {reason}")
