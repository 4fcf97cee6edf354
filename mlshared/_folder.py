"""A folder of files shared by the processes of one user on one host; this process's memory where it fails.

    record / recorded    small files, written once, each with its checksum: the first writer wins
    replace / read       whole files that a later one may take the place of
    touch / age          empty files whose time says when something was last done
    lock                 at most one process at a time, without waiting

No call raises for trouble with the disk: full, read-only, broken. The file is then held in memory, `problem`
says so, and `retry` moves it to the disk when that works again. With no usable folder at all everything is in
memory, and every lock is free. What the files mean is `_cache`'s business.
"""

import hashlib
import mmap
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from filelock import FileLock, Timeout

from mlshared._disk import (
    Write,
    file_age,
    fill_file,
    is_locked,
    make_folders,
    map_file,
    probe,
    read_file,
    reason,
    sweep,
    touch_file,
    write_file,
)
from mlshared._envelope import MAX_ENTRY_BYTES
from mlshared.errors import MlsharedError

MEMORY_BYTES: Final = 256 * 1024**2
_SEAL_BYTES: Final = 66
_RECORD_BYTES: Final = MAX_ENTRY_BYTES + _SEAL_BYTES


class Kept(NamedTuple):
    """A file on the disk: its size in bytes, and seconds since it was written, negative if in the future."""

    size: int
    age: float


class _Held(NamedTuple):
    data: bytes
    once: bool


class _DiskError(MlsharedError):
    """The disk took no more. Storage that is being read must not take it for an error of its own."""


class Folder:
    """Files by key: ``/`` between parts, no part ``..``; keys are made by this package, never by input.

    Args:
        root: The folder, or None to hold everything in memory.
        refused: Why there is none.
    """

    def __init__(self, root: Path | None, *, refused: str | None = None) -> None:
        self._root = root
        self._refused = refused
        self._memory: dict[str, _Held] = {}
        self._touched: dict[str, float] = {}
        self._trouble: dict[str, str] = {}

    @property
    def problem(self) -> str | None:
        """What is wrong with the folder, so that some or all files are in this process's memory only."""
        # Copied first: other threads may add to it.
        return self._refused or next(iter(list(self._trouble.values())), None)

    def start(self) -> None:
        """Find out whether the folder can be written; clear away what killed processes left."""
        if self._root is None:
            return
        try:
            probe(self._root)
        except OSError as error:
            self._trouble[""] = self._describe(error)
        else:
            self._trouble.pop("", None)
        sweep(self._root)

    def record(self, key: str, raw: bytes) -> None:
        """Keep at most 1 MiB of bytes under a key that has none yet; what is there and whole stays."""
        if self._root is not None:
            try:
                self._record_on_disk(self._root, key, raw)
            except OSError as error:
                self._trouble[key] = self._describe(error)
            else:
                self._on_disk(key)
                return
        self._memory.setdefault(key, _Held(raw, once=True))

    def recorded(self, key: str) -> bytes | None:
        """Return what was recorded under a key, or None; a damaged file is removed, so that it is absent."""
        sealed = self._from_disk(key, limit=_RECORD_BYTES)
        if sealed is not None:
            raw = _unsealed(sealed)
            if raw is not None:
                return raw
            self.remove(key)
        return self._held(key)

    def replace(self, key: str, data: bytes) -> None:
        """Keep bytes under a key, in the place of any before; in memory only within `MEMORY_BYTES`."""
        if self._root is not None:
            try:
                write_file(self._root, key, data, exclusive=False)
            except OSError as error:
                self._trouble[key] = self._describe(error)
            else:
                self._on_disk(key)
                return
        self._memory.pop(key, None)
        self._memory[key] = _Held(data, once=False)
        self._make_room()

    def fill(self, key: str, fill: Callable[[Write], None]) -> bool:
        """Keep what ``fill`` writes under a key, never all of it in memory; False if the disk does not take it.

        What ``fill`` itself raises goes on to the caller, and nothing is kept.
        """
        if self._root is None:
            return False
        try:
            fill_file(self._root, key, lambda write: fill(_telling(write)), exclusive=False)
        except (OSError, _DiskError) as error:
            cause = error.__cause__ if isinstance(error, _DiskError) else error
            assert isinstance(cause, OSError)
            self._trouble[key] = self._describe(cause)
            return False
        self._on_disk(key)
        return True

    def holds(self, key: str) -> bool:
        """Return whether there is a file under a key on the disk."""
        return self._root is not None and (self._root / key).exists()

    def read(self, key: str, *, limit: int) -> bytes | None:
        """Return the bytes under a key, or None; what is no file of ours, or over ``limit``, is removed."""
        data = self._from_disk(key, limit=limit)
        return self._held(key) if data is None else data

    def map(self, key: str, *, limit: int) -> tuple[mmap.mmap, str] | None:
        """Return a file mapped, and its identity; None if it is not on the disk, or is no file of ours."""
        if self._root is None:
            return None
        try:
            return map_file(self._root / key, limit=limit)
        except (OSError, ValueError):
            return None

    def remove(self, key: str) -> None:
        """Unlink a file from the disk, if it is there; processes that have it open or mapped keep it."""
        if self._root is not None:
            with suppress(OSError):
                (self._root / key).unlink()

    def tidy(self, folder: str) -> None:
        """Remove a folder from the disk, if it is empty."""
        if self._root is not None:
            with suppress(OSError):
                (self._root / folder).rmdir()

    def forget(self, key: str) -> None:
        """Drop a file that is held in memory only."""
        self._memory.pop(key, None)
        self._trouble.pop(key, None)

    def retry(self) -> None:
        """Move to the disk what is held in memory only, as far as it can be written now."""
        if self._root is None:
            return
        for key, held in list(self._memory.items()):
            if held.once:
                self.record(key, held.data)
            else:
                self.replace(key, held.data)
        for key in [key for key in list(self._trouble) if key not in self._memory]:
            del self._trouble[key]
        self.start()

    def names(self, folder: str) -> list[str]:
        """Return the names right below a folder, in any order."""
        return list(dict.fromkeys([*self._disk_names(folder), *self.held(folder)]))

    def held(self, folder: str) -> list[str]:
        """Return the names right below a folder of the files that are in memory only."""
        below = [key.removeprefix(f"{folder}/") for key in list(self._memory) if key.startswith(f"{folder}/")]
        return [name for name in below if "/" not in name]

    def kept(self, folder: str) -> dict[str, Kept]:
        """Return the plain files right below a folder on the disk."""
        files: dict[str, Kept] = {}
        if self._root is None:
            return files
        for name in self._disk_names(folder):
            with suppress(OSError):
                found = os.lstat(self._root / folder / name)
                if stat.S_ISREG(found.st_mode):
                    files[name] = Kept(found.st_size, time.time() - found.st_mtime)
        return files

    def touch(self, key: str, *, private: bool = False) -> None:
        """Set the time of a key to now.

        Args:
            key: Which.
            private: For this process alone.
        """
        if self._root is not None and not private:
            try:
                touch_file(self._root, key)
            except OSError as error:
                self._trouble[key] = self._describe(error)
            else:
                self._touched.pop(key, None)
                self._trouble.pop(key, None)
                return
        self._touched[key] = time.monotonic()

    def age(self, key: str) -> float | None:
        """Return the seconds since a key was touched by any process; None if never or in the future."""
        shared = None if self._root is None else file_age(self._root / key)
        own = self._touched.get(key)
        ages = [shared, None if own is None else time.monotonic() - own]
        return min((age for age in ages if age is not None and age >= 0), default=None)

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        """Hold a lock between the processes of this host; False if another has it.

        Where the disk cannot give a lock, it counts as held: work is then done twice at most. A process
        forked meanwhile does not hold it.
        """
        lock, free = self._acquire(key)
        owner = os.getpid()
        try:
            yield free
        finally:
            # A forked child would unlock its parent's.
            if lock is not None and os.getpid() == owner:
                with suppress(OSError):
                    lock.release()

    def locked(self, key: str) -> bool:
        """Return whether a process of this host holds a lock; True where that cannot be told. It makes no file."""
        return self._root is None or is_locked(self._root / key)

    def _acquire(self, key: str) -> tuple[FileLock | None, bool]:
        if self._root is None:
            return None, True
        try:
            path = self._root / key
            make_folders(self._root, path.parent)
            lock = FileLock(path, mode=0o600, thread_local=False)
            lock.acquire(blocking=False)
        except Timeout:
            return None, False
        except OSError:
            return None, True
        return lock, True

    def _record_on_disk(self, root: Path, key: str, raw: bytes) -> None:
        if self._recorded_on_disk(key):
            return
        try:
            write_file(root, key, _sealed(raw), exclusive=True)
        except FileExistsError:
            # Another process was first; anything else in that place is trouble.
            if not self._recorded_on_disk(key):
                raise

    def _recorded_on_disk(self, key: str) -> bool:
        sealed = self._from_disk(key, limit=_RECORD_BYTES)
        if sealed is None:
            return False
        if _unsealed(sealed) is None:
            self.remove(key)
            return False
        return True

    def _from_disk(self, key: str, *, limit: int) -> bytes | None:
        if self._root is None:
            return None
        try:
            data = read_file(self._root / key, limit=limit)
        except OSError:
            return None
        if data is None:
            self.remove(key)
        return data

    def _held(self, key: str) -> bytes | None:
        held = self._memory.get(key)
        return None if held is None else held.data

    def _on_disk(self, key: str) -> None:
        self._memory.pop(key, None)
        self._trouble.pop(key, None)
        self._trouble.pop("", None)

    def _make_room(self) -> None:
        # Only what is large counts: entries and manifests are few and small, and must not be lost to a blob.
        large = {k: len(h.data) for k, h in list(self._memory.items()) if len(h.data) > MAX_ENTRY_BYTES}
        excess = sum(large.values()) - MEMORY_BYTES
        for key, size in large.items():
            if excess <= 0:
                return
            self._memory.pop(key, None)
            excess -= size

    def _disk_names(self, folder: str) -> list[str]:
        if self._root is None:
            return []
        try:
            return [path.name for path in (self._root / folder).iterdir()]
        except OSError:
            return []

    def _describe(self, error: OSError) -> str:
        return f"cache folder {self._root}: {reason(error)}; what cannot be written is in memory only"


def _sealed(raw: bytes) -> bytes:
    return b"%b\n%b\n" % (raw, hashlib.sha256(raw).hexdigest().encode())


def _unsealed(sealed: bytes) -> bytes | None:
    raw = sealed[:-_SEAL_BYTES]
    return raw if _sealed(raw) == sealed else None


def _telling(write: Write) -> Write:
    def write_or_tell(data: bytes) -> None:
        try:
            write(data)
        except OSError as error:
            raise _DiskError("the cache's disk") from error

    return write_or_tell
