"""The highest entry of each alias's log that a trainer of this host has seen.

    <cache>/trainers/<place>/<store id>/<model>/<alias>/0000000007.json      that entry, as it lay in the store

One file an entry, made whole and never rewritten: under two writers a rewritten one goes backwards. It is a
memory, no place of record: where the folder is missing, read-only or full, nothing is remembered, and the
store's own manifests still testify (`_lost`). A place is where the store was reached: a copy made to try things out
has the same id, and neither may be held to what the other one has seen. A store in this process's memory is not
remembered.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import platformdirs

from mlshared._disk import write_file
from mlshared.errors import ArtifactError
from mlshared.manifest import Release, Stored
from mlshared.settings import from_environment
from mlshared.store import open_release

_NUMBERED: Final = re.compile(r"(\d{10})\.json", re.ASCII)


class Seen:
    """What this host remembers of a store's logs. No call raises for trouble with the disk.

    Args:
        root: Returns the folder; None: nothing is remembered.
    """

    def __init__(self, root: Callable[[], Path] | None) -> None:
        self._root = root

    def number(self, store_id: str, model: str, alias: str) -> int:
        """Return the highest number seen, 0 if none."""
        return max(self._numbers(store_id, model, alias), default=0)

    def entry(self, store_id: str, model: str, alias: str) -> Stored[Release] | None:
        """Return the highest entry seen, or None if there is none or it cannot be read."""
        number = self.number(store_id, model, alias)
        if self._root is None or number == 0:
            return None
        try:
            raw = (self._folder(store_id, model, alias) / _name(number)).read_bytes()
            return open_release(raw, store_id, model, alias, number)
        except (OSError, ArtifactError):
            return None

    def aliases(self, store_id: str, model: str) -> list[str]:
        """Return the aliases of which an entry was seen."""
        if self._root is None:
            return []
        try:
            return sorted(path.name for path in (self._root() / store_id / model).iterdir())
        except (OSError, RuntimeError):
            return []

    def note(self, stored: Stored[Release]) -> None:
        """Remember an entry, and forget those below it."""
        entry = stored.entry
        if self._root is None:
            return
        with suppress(OSError, RuntimeError):
            numbers = self._numbers(entry.store, entry.model, entry.alias)
            if entry.number in numbers:
                return
            root, folder = self._root(), self._folder(entry.store, entry.model, entry.alias)
            key = str(folder.relative_to(root) / _name(entry.number))
            write_file(root, key, stored.raw, exclusive=False)
            for number in numbers:
                if number < entry.number:
                    (folder / _name(number)).unlink(missing_ok=True)

    def _numbers(self, store_id: str, model: str, alias: str) -> list[int]:
        if self._root is None:
            return []
        try:
            names = [path.name for path in self._folder(store_id, model, alias).iterdir()]
        except (OSError, RuntimeError):
            return []
        return [int(match[1]) for name in names if (match := _NUMBERED.fullmatch(name))]

    def _folder(self, store_id: str, model: str, alias: str) -> Path:
        assert self._root is not None
        return self._root() / store_id / model / alias


NOTHING_SEEN: Final = Seen(None)


def seen_from(url: str, options: Mapping[str, Any]) -> Seen:
    """Return what this host remembers of the store at a URL.

    Args:
        url: As `open_objects` takes it.
        options: For the storage library; of them an endpoint is part of the place.
    """
    if url.lower().startswith("memory://"):
        return NOTHING_SEEN
    where = url.rstrip("/") if "://" in url else str(Path(url).expanduser().resolve())
    endpoint = options.get("endpoint_url") or (options.get("client_kwargs") or {}).get("endpoint_url")
    place = hashlib.sha256(f"{where} {endpoint or ''}".encode()).hexdigest()[:32]
    return Seen(lambda: _cache_folder() / "trainers" / place)


def _cache_folder() -> Path:
    chosen = from_environment().get("cache_dir")
    folder = Path(str(chosen)).expanduser() if chosen else platformdirs.user_cache_path("mlshared")
    return folder.absolute()


def _name(number: int) -> str:
    return f"{number:010d}.json"
