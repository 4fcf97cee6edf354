"""Single files on a local disk, written so that a crash, a race or another user can do no harm.

    write_file    temp file in <root>/tmp -> fsync -> link (first one wins) or rename (last one wins)
    fill_file     the same, part by part
    read_file     open once without following links -> owner, mode, size -> those bytes
    map_file      the same, mapped, with an identity that tells whether its bytes may have changed
    unload        what is mapped is not needed here any more
    refusal       why a folder cannot be used at all: not ours, open to others, on a network

Nothing is ever truncated or rewritten in place: a process that has mapped or opened a file keeps what it had.
Trouble is an `OSError` here; what to do about it is decided in `_folder`.
"""

import errno
import fcntl
import mmap
import os
import re
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from mlshared._breath import breathe

Write = Callable[[bytes], None]

TEMPORARY: Final = "tmp"
ABANDONED_SECONDS: Final = 3600.0
_UNLOAD_BYTES: Final = 4 * 1024**2  # the interpreter is held meanwhile
_MOUNTS: Final = Path("/proc/self/mounts")
_OPEN_TO_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_NOT_A_FILE: Final = frozenset({errno.ELOOP, errno.ENXIO})
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC

# On these, locks and renames of one host are not seen by the next as they are on a disk, and a file that
# vanishes while it is mapped kills the process.
_NETWORK: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs"}
    | {"nfs", "nfs4", "ocfs2", "orangefs", "pvfs2", "smb3", "smbfs"}
)
_LOCAL_FUSE: Final = frozenset({"fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.ntfs-3g", "fuse.bindfs"})


def refusal(folder: Path) -> str | None:
    """Make a folder if it is absent; return why it cannot be used, or None.

    A folder that is ours but cannot be written just now is not refused: what it holds can still be read.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = os.lstat(folder)
        where = os.path.realpath(folder)
    except (OSError, ValueError) as error:
        return f"{folder} cannot be made: {reason(error)}; name another with cache_dir"
    if not stat.S_ISDIR(found.st_mode):
        return f"{folder} is a link: name the folder it leads to with cache_dir"
    if found.st_uid != os.geteuid():
        return (
            f"{folder} belongs to user id {found.st_uid}, this process is {os.geteuid()}; "
            "name a folder of its own (or a new one below this) with cache_dir"
        )
    if found.st_mode & _OPEN_TO_OTHERS:
        return f"others can write to {folder}: run 'chmod go-w' on it, or name another with cache_dir"
    kind = file_system(where, _mounts())
    if is_network(kind):
        return f"{folder} is on a network file system ({kind}); name a folder on a local disk with cache_dir"
    return None


def file_system(path: str, mounts: str) -> str:
    """Return the type of the file system that holds ``path``, or "" if the table does not say.

    Args:
        path: Absolute, without symbolic links.
        mounts: A mount table as in ``/proc/self/mounts``; source: fstab(5).
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = _unescaped(fields[1]).rstrip("/")
        # Of two on the same point, the later one covers the earlier.
        if (path == point or path.startswith(f"{point}/")) and len(point) >= best:
            best, kind = len(point), fields[2]
    return kind


def is_network(kind: str) -> bool:
    """Return whether a type of file system may reach over a network; most of FUSE may."""
    return kind in _NETWORK or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE)


def read_file(path: Path, *, limit: int) -> bytes | None:
    """Return a file's bytes; None if what is there is not a file that `write_file` could have left.

    Args:
        path: Where.
        limit: A file with more bytes than this is none of ours.

    Raises:
        OSError: If it is absent or cannot be read.
    """
    fd = _open_ours(path, limit)
    if fd is None:
        return None
    with os.fdopen(fd, "rb") as file:
        data = file.read(limit + 1)
    return data if len(data) <= limit else None


def map_file(path: Path, *, limit: int) -> tuple[mmap.mmap, str] | None:
    """Return a file mapped for reading, and the identity it has; None as in `read_file`.

    The identity changes whenever the bytes could have: device, inode, size, times of content and of inode.

    Raises:
        OSError: If it is absent or cannot be mapped.
    """
    fd = _open_ours(path, limit)
    if fd is None:
        return None
    try:
        found = os.fstat(fd)
        if found.st_size == 0:
            return None  # cannot be mapped
        identity = f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_mtime_ns}:{found.st_ctime_ns}"
        return mmap.mmap(fd, found.st_size, access=mmap.ACCESS_READ), identity
    finally:
        os.close(fd)


def unload(view: memoryview) -> None:
    """Drop the pages of a mapped file from this process; whoever still reads them gets them back, a page at a time.

    The kernel then no longer counts them as this process's memory, and unmapping it later takes no time. Whether
    they stay in the page cache is its own to judge.
    """
    mapped = view.obj
    if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    for start in range(0, len(view), _UNLOAD_BYTES):
        mapped.madvise(mmap.MADV_DONTNEED, start, min(_UNLOAD_BYTES, len(view) - start))
        breathe()


def _open_ours(path: Path, limit: int) -> int | None:
    """Return a descriptor of a file that `write_file` could have left, or None if it is no such file."""
    try:
        # O_NONBLOCK: opening a planted FIFO must not wait for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _NOT_A_FILE:
            return None
        raise
    found = os.fstat(fd)
    plain = stat.S_ISREG(found.st_mode) and not found.st_mode & _OPEN_TO_OTHERS
    if plain and found.st_uid == os.geteuid() and found.st_size <= limit:
        return fd
    os.close(fd)
    return None


def write_file(root: Path, key: str, data: bytes, *, exclusive: bool) -> None:
    """Put a file in place, whole or not at all, mode 0400 in folders 0700.

    Args:
        root: The folder that all keys are below.
        key: The path below it.
        data: The bytes.
        exclusive: Raise FileExistsError rather than take the place of an existing file.

    Raises:
        OSError: If that failed; nothing of it is left.
    """
    fill_file(root, key, lambda write: write(data), exclusive=exclusive)


def fill_file(root: Path, key: str, fill: Callable[[Write], None], *, exclusive: bool) -> None:
    """Do the same with what ``fill`` writes, part by part; nothing of it is left if that raises."""
    path = root / key
    temporary = _temporary(root)
    make_folders(root, temporary.parent)
    make_folders(root, path.parent)
    try:
        _write_new(temporary, fill)
        if exclusive:
            os.link(temporary, path)
        else:
            temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def probe(root: Path) -> None:
    """Raise OSError if a small file cannot be written below ``root`` just now."""
    temporary = _temporary(root)
    try:
        make_folders(root, temporary.parent)
        # Not synced, as a first answer waits for it: what matters is.
        _write_new(temporary, lambda write: write(b"probe"), sync=False)
    finally:
        with suppress(OSError):
            temporary.unlink()


def touch_file(root: Path, key: str) -> None:
    """Set an empty file's time to now; make it if it is absent.

    Raises:
        OSError: If that failed.
    """
    path = root / key
    make_folders(root, path.parent)
    fd = os.open(path, _CREATE | os.O_NONBLOCK, 0o600)
    try:
        os.utime(fd)
    finally:
        os.close(fd)


def file_age(path: Path) -> float | None:
    """Return the seconds since a file of ours was touched, negative if in the future; None if absent."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        return None
    return time.time() - found.st_mtime


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a file; True where that cannot be told."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def sweep(root: Path) -> None:
    """Unlink the temp files that killed processes left behind over an hour ago."""
    folder = root / TEMPORARY
    with suppress(OSError):
        for path in folder.iterdir():
            age = file_age(path)
            if age is not None and abs(age) > ABANDONED_SECONDS:
                with suppress(OSError):
                    path.unlink()


def make_folders(root: Path, folder: Path) -> None:
    """Make a folder at or below ``root``, and those between, each open to us alone.

    Raises:
        OSError: If one cannot be made.
    """
    if folder.is_dir():
        return
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    step = root
    for part in folder.relative_to(root).parts:
        # Not makedirs: it gives its mode to the last folder only.
        step /= part
        step.mkdir(mode=0o700, exist_ok=True)


def reason(error: OSError | ValueError) -> str:
    """Return what went wrong, in the system's words."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _temporary(root: Path) -> Path:
    return root / TEMPORARY / f"{os.getpid()}-{os.urandom(8).hex()}"


def _write_new(path: Path, fill: Callable[[Write], None], *, sync: bool = True) -> None:
    fd = os.open(path, _CREATE | os.O_EXCL, 0o400)

    def write(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]

    try:
        fill(write)
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _mounts() -> str:
    try:
        return _MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return ""  # no such table on this system: taken to be a local disk


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
