"""What the processes of one user share on a host: verified bytes, remembered entries, who polls, who lives.

    <cache>/blobs/<sha256>                                 artifacts and manifests, by content
    <cache>/used/<sha256>                                  when a process last used that blob
    <cache>/hashed/<sha256>                                which file of that blob was hashed, for mapping it
    <cache>/slots/<n>                                      who loads an estimator now
    <cache>/urls/<sha256 of url>                           which store lies at a URL
    <cache>/stores/<id>/@signed                            whether that store says its entries are signed
    <cache>/stores/<id>/<model>/<alias>/<number>.json      remembered entries of an alias's log
    <cache>/stores/<id>/<model>/<alias>/quarantine/...     versions this host found unusable, and why
    <cache>/stores/<id>/<model>/<alias>/loading, deaths    loads under way, and those that ended their process
    <cache>/stores/<id>/<model>/<alias>/checked, lock      when the store was last asked, and who asks now
    <cache>/stores/<id>/<model>/@versions/<number>.json    manifests found by number
    <cache>/stores/<id>/processes/<pid>.json               each process's status

Where the disk fails the same interface is answered from memory, and `Cache.problem` says why. Bytes are
shared, never verdicts: nothing here checks an entry or decides what is served. A cache is no place of record:
all of it may be deleted at any time.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from mlshared._breath import breathe
from mlshared._crashes import Crashes
from mlshared._disk import Write, refusal
from mlshared._envelope import MAX_ENTRY_BYTES
from mlshared._folder import Folder, Kept
from mlshared._process import lives, started
from mlshared.manifest import RESERVED_ALIASES, check_alias, check_model_name

IN_USE_SECONDS: Final = 3600.0
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_STORE_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_NUMBERED: Final = re.compile(r"(\d{10})\.json", re.ASCII)
_PROCESS: Final = re.compile(r"(\d{1,10})\.json", re.ASCII)
_REASON_CHARACTERS: Final = 2000
_HASHED_BYTES: Final = 1 << 17  # at a time


class Cache:
    """The shared files of one cache folder. Made by `open_cache`; no call raises for trouble with the disk.

    Args:
        folder: The files.
        max_bytes: How many bytes of blobs may lie on the disk after `evict`.
    """

    def __init__(self, folder: Folder, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    @property
    def problem(self) -> str | None:
        """Why some or all of it is in this process's memory only, or None."""
        return self._folder.problem

    def blob(self, sha256: str, size: int) -> bytes | None:
        """Return the bytes with this hash, or None; a damaged file is removed, so that it is fetched again.

        Args:
            sha256: Of the bytes; what is returned was hashed after it was read.
            size: How many bytes it has, or may have where that is not known.
        """
        key = _blob_key(sha256)
        data = self._folder.read(key, limit=size)
        if data is None:
            return None
        if hashlib.sha256(data).hexdigest() != sha256:
            self._folder.remove(key)
            return None
        return data

    def mapped(self, sha256: str, size: int) -> memoryview | None:
        """Return a blob mapped from the disk, shared with every process that maps it; None where it cannot be.

        Hashed when it is first mapped, and again whenever the file is not, to its last attribute, the one that
        was hashed then.

        Args:
            sha256: Of the bytes.
            size: How many bytes it has.
        """
        found = self._folder.map(_blob_key(sha256), limit=size)
        if found is None:
            return None
        view, identity = memoryview(found[0]), found[1].encode()
        hashed = f"hashed/{sha256}"
        if self._folder.read(hashed, limit=MAX_ENTRY_BYTES) != identity:
            if len(view) != size or _hash(view) != sha256:
                self._folder.remove(_blob_key(sha256))
                return None
            self._folder.replace(hashed, identity)
        return view

    def put(self, sha256: str, data: bytes) -> None:
        """Keep verified bytes; in memory, if the disk has no room for them and this process has."""
        self._folder.replace(_blob_key(sha256), data)

    def fill(self, sha256: str, copy: Callable[[Write], None]) -> bool:
        """Keep the verified bytes that ``copy`` writes, never all in memory; False if the disk does not take them.

        What ``copy`` raises, because they are not verified above all, goes on to the caller.
        """
        return self._folder.fill(_blob_key(sha256), copy)

    def holds(self, sha256: str) -> bool:
        """Return whether a blob lies on the disk, whole or not, mappable or not."""
        return self._folder.holds(_blob_key(sha256))

    def touch(self, sha256s: Iterable[str]) -> None:
        """Say that this process uses these blobs, so that nobody evicts them for an hour."""
        for sha256 in sha256s:
            # Not the blob's own time: whoever maps it takes a changed time for changed bytes.
            self._folder.touch(_used_key(sha256))

    def evict(self, keep: set[str]) -> None:
        """Unlink blobs, least recently used first, until the rest fits; then retry what could not be written.

        Args:
            keep: Hashes that stay, as do those written or touched within the hour.
        """
        blobs = self._folder.kept("blobs")
        used = self._folder.kept("used")
        for sha256 in choose_evictions(blobs, used, keep=keep, max_bytes=self._max_bytes):
            self._folder.remove(_blob_key(sha256))
            self._folder.remove(_used_key(sha256))
            self._folder.remove(f"hashed/{sha256}")
        for sha256 in used.keys() - blobs.keys():
            if _idle(used[sha256]) > IN_USE_SECONDS:
                self._folder.remove(f"used/{sha256}")
        for sha256 in set(self._folder.held("blobs")) - keep:
            self._folder.forget(f"blobs/{sha256}")
        self._folder.retry()

    @contextmanager
    def load_slot(self) -> Iterator[bool]:
        """Hold one of the host's slots for loading estimators; False if all are taken. It never waits.

        One for each four processors, and at least one: what many processes load at once must fit into memory.
        """
        with ExitStack() as held:
            slots = max(1, (os.cpu_count() or 1) // 4)
            yield any(held.enter_context(self._folder.lock(f"slots/{n}")) for n in range(slots))

    def store_id(self, url: str) -> str | None:
        """Return the id of the store that was first seen at a URL, or None."""
        raw = self._folder.recorded(_url_key(url))
        found = None if raw is None else raw.decode("ascii", errors="replace")
        return found if found is not None and _STORE_ID.fullmatch(found) else None

    def remember_store_id(self, url: str, store_id: str) -> None:
        """Remember which store lies at a URL; the first to say so wins, so ask `store_id` afterwards."""
        self._folder.record(_url_key(url), _checked(_STORE_ID, store_id).encode())

    def store_is_signed(self, store_id: str) -> bool | None:
        """Return whether a store said that its entries are signed when it was first seen; None if it was not."""
        raw = self._folder.recorded(_signed_key(store_id))
        return None if raw is None else raw == b"yes"

    def remember_store_is_signed(self, store_id: str, *, signed: bool) -> None:
        """Remember whether a store says that its entries are signed; what was said first stays."""
        self._folder.record(_signed_key(store_id), b"yes" if signed else b"no")

    def log(self, store_id: str, model: str, alias: str) -> "CachedLog":
        """Return what is remembered of an alias's log; ``latest`` names what was seen without one.

        Raises:
            ValueError: If one of the names cannot be one.
        """
        name = alias if alias in RESERVED_ALIASES else check_alias(alias)
        return CachedLog(self._folder, _checked(_STORE_ID, store_id), check_model_name(model), name)

    def write_status(self, store_id: str, pid: int, status: Mapping[str, Any]) -> None:
        """Publish a process's status on this host, in the place of its last one.

        Args:
            store_id: The store it reads.
            pid: The process.
            status: JSON-able; what is not is written as text.
        """
        document = {"started": started(pid), "status": dict(status)}
        self._folder.replace(
            f"{_processes(store_id)}/{pid}.json",
            json.dumps(document, default=str, separators=(",", ":")).encode(),
        )

    def remove_status(self, store_id: str, pid: int) -> None:
        """Take a process's status away: it serves nothing of this store any more."""
        key = f"{_processes(store_id)}/{pid}.json"
        self._folder.remove(key)
        self._folder.forget(key)

    def statuses(self, store_id: str) -> list[dict[str, Any]]:
        """Return the last status of each living process, by process id; those of dead ones are removed."""
        folder = _processes(store_id)
        pids = sorted(
            int(match[1]) for name in self._folder.names(folder) if (match := _PROCESS.fullmatch(name))
        )
        found = []
        for pid in pids:
            key = f"{folder}/{pid}.json"
            raw = self._folder.read(key, limit=MAX_ENTRY_BYTES)
            status = None if raw is None else _living_status(pid, raw)
            if status is None:
                self.remove_status(store_id, pid)
            else:
                found.append(status)
        return found


class CachedLog:
    """What this host remembers of one alias's log, and of its model's versions.

    Args:
        folder: The files.
        store_id: The store.
        model: The model.
        alias: The alias.
    """

    def __init__(self, folder: Folder, store_id: str, model: str, alias: str) -> None:
        self._folder = folder
        self._here = f"stores/{store_id}/{model}/{alias}"
        self.crashes = Crashes(folder, self._here)
        # No alias can be called so.
        self._versions = f"stores/{store_id}/{model}/@versions"

    def numbers(self) -> list[int]:
        """Return the numbers of the entries remembered, ascending."""
        return sorted(
            int(match[1]) for name in self._folder.names(self._here) if (match := _NUMBERED.fullmatch(name))
        )

    def entry(self, number: int) -> bytes | None:
        """Return an entry's bytes as remembered, or None; a damaged one is forgotten."""
        return self._folder.recorded(f"{self._here}/{number:010d}.json")

    def remember(self, number: int, raw: bytes) -> None:
        """Remember an entry; one that is remembered and whole stays as it is."""
        self._folder.record(f"{self._here}/{number:010d}.json", raw)

    def forget_oldest(self, *, keep: int) -> None:
        """Forget all entries but so many of the highest numbers."""
        for number in self.numbers()[:-keep]:
            key = f"{self._here}/{number:010d}.json"
            self._folder.remove(key)
            self._folder.forget(key)

    def version(self, number: int) -> bytes | None:
        """Return the manifest that was found under a version's number, or None."""
        return self._folder.recorded(f"{self._versions}/{number:010d}.json")

    def remember_version(self, number: int, raw: bytes) -> None:
        """Remember the manifest of a version; one that is remembered and whole stays as it is."""
        self._folder.record(f"{self._versions}/{number:010d}.json", raw)

    def checked_age(self) -> float | None:
        """Return the seconds since a process of this host asked the store; None if never or in the future."""
        return self._folder.age(f"{self._here}/checked")

    def touch_checked(self) -> None:
        """Say that the store was asked now, and that whatever is new is remembered here."""
        # An entry that only this process could remember is unknown to the others: they must go on asking.
        self._folder.touch(f"{self._here}/checked", private=bool(self._folder.held(self._here)))

    def try_lock(self) -> AbstractContextManager[bool]:
        """Return a context that is True if no other process of this host polls; it never waits.

        A process forked within it does not hold the lock and must not go on polling.
        """
        return self._folder.lock(f"{self._here}/lock")

    def quarantined(self) -> dict[str, str]:
        """Return why each quarantined key is, by key."""
        folder = f"{self._here}/quarantine"
        found: dict[str, str] = {}
        for name in sorted(self._folder.names(folder)):
            raw = self._folder.recorded(f"{folder}/{name}")
            found.update({} if raw is None else _verdict(raw))
        return found

    def quarantine(self, key: str, reason: str) -> None:
        """Remember that a version is unusable in an environment; the first reason given stays.

        Args:
            key: Of the version and the environment; any text.
            reason: Why; cut after 2,000 characters.
        """
        name = hashlib.sha256(key.encode()).hexdigest()
        document = json.dumps([key, reason[:_REASON_CHARACTERS]])
        self._folder.record(f"{self._here}/quarantine/{name}.json", document.encode())


def open_cache(folder: Path | None, *, max_bytes: int) -> Cache:
    """Return the cache in a folder, or one in memory that says why in its ``problem``; never raises for it.

    Args:
        folder: Made if absent, mode 0700. None: the platform's cache folder for this user.
        max_bytes: How many bytes of blobs may lie there after `Cache.evict`.
    """
    try:
        root = _users_folder() if folder is None else folder.absolute()
        # A user without a home gets the literal "~/.cache".
        refused = refusal(root) if root.is_absolute() else "this user has no home folder; set cache_dir"
    except (OSError, RuntimeError) as error:
        root, refused = Path(), f"no cache folder: {error}; set cache_dir"
    files = Folder(None if refused else root, refused=refused and f"cache in memory only: {refused}")
    files.start()
    return Cache(files, max_bytes=max_bytes)


def _users_folder() -> Path:
    import platformdirs  # noqa: PLC0415 - who names a folder need not wait for it

    return platformdirs.user_cache_path("mlshared")


def choose_evictions(
    blobs: Mapping[str, Kept], used: Mapping[str, Kept], *, keep: set[str], max_bytes: int
) -> list[str]:
    """Return which blobs have to go so that the rest fits, least recently used first.

    Args:
        blobs: Those on the disk, by hash.
        used: Marks of their last use, by hash.
        keep: Hashes that stay.
        max_bytes: How many bytes may stay; more do, if all of them are kept or in use.
    """
    idle = {name: min(_idle(blob), _idle(used.get(name, blob))) for name, blob in blobs.items()}
    excess = sum(blob.size for blob in blobs.values()) - max_bytes
    chosen = []
    for name in sorted(blobs, key=lambda name: -idle[name]):
        if excess <= 0 or idle[name] <= IN_USE_SECONDS:
            break
        if name not in keep and _SHA256.fullmatch(name):
            chosen.append(name)
            excess -= blobs[name].size
    return chosen


def _hash(view: memoryview) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(view), _HASHED_BYTES):
        digest.update(view[start : start + _HASHED_BYTES])
        breathe()
    return digest.hexdigest()


def _idle(file: Kept) -> float:
    # Far in the future means that the clock was wrong then: as old as one that far in the past.
    return abs(file.age)


def _living_status(pid: int, raw: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(raw)
        since, status = document["started"], document["status"]
    except (ValueError, KeyError, TypeError):
        return None
    return status if isinstance(status, dict) and lives(pid, since) else None


def _verdict(raw: bytes) -> dict[str, str]:
    """Return one quarantined key and why; nothing if that is not what it says."""
    try:
        key, why = json.loads(raw)
    except (ValueError, TypeError, RecursionError):
        return {}
    return {key: why} if isinstance(key, str) and isinstance(why, str) else {}


def _checked(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(f"{text[:80]!r} is not of the form {pattern.pattern}")
    return text


def _blob_key(sha256: str) -> str:
    return f"blobs/{_checked(_SHA256, sha256)}"


def _used_key(sha256: str) -> str:
    return f"used/{_checked(_SHA256, sha256)}"


def _url_key(url: str) -> str:
    return f"urls/{hashlib.sha256(url.encode()).hexdigest()}"


def _signed_key(store_id: str) -> str:
    return f"stores/{_checked(_STORE_ID, store_id)}/@signed"


def _processes(store_id: str) -> str:
    return f"stores/{_checked(_STORE_ID, store_id)}/processes"
