"""What a ref points at now: an alias's log, the highest version, one version, or a moment in the past.

    look(store) -> asks the store          rescan() -> asks the host's cache
    targets     -> the versions to serve, best first

The log of an alias is followed in `_alias_log`. Nothing here loads a model.
"""

from dataclasses import replace

from mlshared._alias_log import LOOK_AHEAD, AliasLog, target_of
from mlshared._cache import CachedLog
from mlshared._keys import NO_KEYS, Trust
from mlshared._ref import Ref
from mlshared._target import Follower, Target
from mlshared.errors import ArtifactError, IntegrityError, NotPublished, SignatureError
from mlshared.manifest import Manifest, Stored
from mlshared.store import Store, open_manifest


class Versions:
    """Follows the manifests of a model: the highest one, or a single one that never changes.

    Args:
        store_id: The store's identity.
        ref: Which model, and ``version`` or ``latest``.
        cached: The host's memory of this model.
        trust: Whose manifests are taken: no release names them, so their own signatures count.
    """

    def __init__(self, store_id: str, ref: Ref, cached: CachedLog, *, trust: Trust = NO_KEYS) -> None:
        self._trust = trust
        self._store_id = store_id
        self._ref = ref
        self._cached = cached
        self._unremembered: Stored[Manifest] | None = None
        self.head: Stored[Manifest] | None = None
        self.warning: str | None = None
        self.problem: Exception | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """The one version, if it has been seen."""
        if self.head is None:
            return ()
        return (Target(self.head.entry.version, self.head.sha256, trust=self.head.trust),)

    def rescan(self) -> None:
        """Take the manifests that other processes of this host have found."""
        known = self.head.entry.version if self.head else 0
        if self._ref.version is not None:
            found = [] if known else [(self._ref.version, self._cached.version(self._ref.version))]
        else:
            numbers = [number for number in self._cached.numbers() if number > known]
            found = [(number, self._cached.entry(number)) for number in numbers]
        for number, raw in found:
            if raw is None:
                continue
            try:
                self.head = open_manifest(raw, self._store_id, self._ref.model, number, self._trust)
            except ArtifactError:
                continue

    def look(self, store: Store) -> None:
        """Ask for the pinned manifest if it is not known, or for the ones after the highest known."""
        if self._ref.version is not None:
            if self.head is None:
                self._take(store, self._ref.version)
            return
        self.problem = None
        if self.head is None:
            self._find_head(store)
        else:
            self._ask_on(store, self.head.entry.version)

    def remember(self) -> None:
        """Write the manifest to the cache."""
        stored, self._unremembered = self._unremembered, None
        if stored is None:
            return
        self._cached.remember_version(stored.entry.version, stored.raw)
        if self._ref.latest:
            self._cached.remember(stored.entry.version, stored.raw)

    def _find_head(self, store: Store) -> None:
        """Take the highest valid version: whoever may write may have put anything above it."""
        for number in reversed(store.versions(self._ref.model)):
            try:
                self._take(store, number)
            except (IntegrityError, SignatureError) as error:
                self.problem = self.problem or error
            else:
                return
        if self.problem is not None:
            raise self.problem

    def _ask_on(self, store: Store, known: int) -> None:
        """Ask for the versions after the known one, past a few that are not valid."""
        number = known + 1
        while number <= known + LOOK_AHEAD:
            try:
                if not self._take(store, number):
                    return
                known = number
            except (IntegrityError, SignatureError) as error:
                self.problem = error
            number += 1

    def _take(self, store: Store, number: int) -> bool:
        stored = store.manifest(self._store_id, self._ref.model, number)
        if stored is not None:
            self.head = self._unremembered = stored
        elif self.head is None:
            raise NotPublished(f"the store has no {self._ref}: 'trainer list' shows what it has")
        return stored is not None


class Moment:
    """What an alias stood for at a moment in the past; looked up once, for audits.

    Args:
        store_id: The store's identity.
        ref: Which model, alias and moment.
    """

    def __init__(self, store_id: str, ref: Ref) -> None:
        self._store_id = store_id
        self._ref = ref
        self.warning: str | None = None
        self.problem: Exception | None = None
        self.targets: tuple[Target, ...] = ()

    def rescan(self) -> None:
        """Do nothing: the past is asked of the store."""

    def look(self, store: Store) -> None:
        """Walk the log down to the entry in force at that moment."""
        ref = self._ref
        if self.targets or ref.at is None:
            return
        for number in reversed(store.releases(ref.model, ref.alias)):
            try:
                stored = store.release(self._store_id, ref.model, ref.alias, number)
            except (IntegrityError, SignatureError):
                continue
            if stored is not None and stored.entry.created_at <= ref.at:
                self.targets = (replace(target_of(stored), fresh_until=None),)
                return
        raise NotPublished(f"no release of {ref.model}@{ref.alias} is as old as {ref}")

    def remember(self) -> None:
        """Do nothing: a moment's answer is not shared."""


def follow(store_id: str, ref: Ref, cached: CachedLog, *, floor: int = 1, trust: Trust = NO_KEYS) -> Follower:
    """Return what follows this kind of ref."""
    if ref.at is not None:
        return Moment(store_id, ref)
    if ref.version is not None or ref.latest:
        return Versions(store_id, ref, cached, trust=trust)
    return AliasLog(store_id, ref, cached, floor=floor, trust=trust)
