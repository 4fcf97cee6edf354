"""What a ref points at now: an alias's log, the highest version, one version, or a moment in the past.

    look(store) -> asks the store          rescan() -> asks the host's cache
    targets     -> the versions to serve, best first

The log of an alias is followed in `_alias_log`. Nothing here loads a model.
"""

from contextlib import suppress
from dataclasses import replace

from mlshared._alias_log import REMEMBERED, AliasLog, newest_remembered, target_of
from mlshared._cache import CachedLog
from mlshared._keys import NO_KEYS, Trust
from mlshared._looks import LOOK_AHEAD, Looks
from mlshared._ref import Ref
from mlshared._target import Follower, Target
from mlshared.errors import ArtifactError, IntegrityError, NotPublished, SignatureError, UnsupportedFormat
from mlshared.manifest import Manifest, Release, Stored
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
        self._unremembered: list[Stored[Manifest]] = []
        self._earlier: list[Stored[Manifest]] = []
        self._looks = Looks()
        self._passed: dict[int, ArtifactError] = {}
        self.head: Stored[Manifest] | None = None
        self.warning: str | None = None
        self.problem: Exception | None = None

    @property
    def targets(self) -> tuple[Target, ...]:
        """The one version, if it has been seen; then those this host took for the highest before."""
        if self.head is None:
            return ()
        earlier = [
            Target(stored.entry.version, stored.sha256, cached_only=True, trust=stored.trust)
            for stored in reversed(self._earlier)
        ]
        return (Target(self.head.entry.version, self.head.sha256, trust=self.head.trust), *earlier)

    def rescan(self) -> None:
        """Take the manifests that other processes of this host have found."""
        known = self.head.entry.version if self.head else 0
        if self._ref.version is None:
            for stored in newest_remembered(self._cached, known, self._open):
                self._take(stored)
        elif not known and (raw := self._cached.version(self._ref.version)) is not None:
            with suppress(ArtifactError):
                self._take(self._open(raw, self._ref.version))

    def look(self, store: Store) -> None:
        """Ask for the pinned manifest if it is not known, or for the ones after the highest known."""
        self.problem = None
        if self._ref.version is not None:
            if self.head is None:
                self._find(store, self._ref.version)
        elif self.head is None or self._ask_on(store):
            self._find_highest(store)

    def remember(self) -> None:
        """Write the manifests to the cache, lowest first."""
        for stored in self._unremembered:
            self._cached.remember_version(stored.entry.version, stored.raw)
            if self._ref.latest:
                self._cached.remember(stored.entry.version, stored.raw)
        if self._unremembered and self._ref.latest:
            self._cached.forget_oldest(keep=REMEMBERED)
        self._unremembered.clear()

    def _find(self, store: Store, number: int) -> None:
        stored = store.manifest(self._store_id, self._ref.model, number)
        if stored is None:
            raise NotPublished(f"the store has no {self._ref}: 'trainer list' shows what it has")
        self._take(stored, fresh=True)

    def _find_highest(self, store: Store) -> None:
        """Take the highest manifest that can be read, above the one known.

        What is passed over is remembered, so that a look that runs out of time is no work lost.
        """
        known = self.head.entry.version if self.head else 0
        for number in reversed(store.versions(self._ref.model)):
            if number <= known:
                break
            if number in self._passed:
                self.problem = self.problem or self._passed[number]
                continue
            try:
                self._find(store, number)
                break
            except NotPublished as error:
                self.problem = error
            except ArtifactError as error:
                self.problem = self._passed[number] = error
        if self.head is not None:
            return
        self._passed.clear()  # looked through to the end: what is mended is found the next time
        if self.problem is not None:
            raise self.problem
        raise NotPublished(f"the store has no version of {self._ref.model}: publish one first")

    def _ask_on(self, store: Store) -> bool:
        """Take what follows the highest known, and pass by what is void; return whether the look-ahead is used up."""
        assert self.head is not None
        number = self.head.entry.version + 1
        while number <= self.head.entry.version + LOOK_AHEAD:
            raw = store.manifest_bytes(self._ref.model, number)
            if raw is None:
                return False
            try:
                self._take(self._open(raw, number), fresh=True)
            except ArtifactError as error:
                self.problem = error
                # A newer format is no verdict: a release of this package that reads it may come any day.
                if isinstance(error, UnsupportedFormat) or not self._looks.is_void(number, raw):
                    return False
            number += 1
        return True

    def _take(self, stored: Stored[Manifest], *, fresh: bool = False) -> None:
        if self.head is not None:
            self._earlier = [*self._earlier, self.head][-LOOK_AHEAD:]
        self.head, self.problem = stored, None
        self._looks.clear()
        if fresh:
            self._unremembered.append(stored)

    def _open(self, raw: bytes, number: int) -> Stored[Manifest]:
        return open_manifest(raw, self._store_id, self._ref.model, number, self._trust)


class Moment:
    """What an alias stood for at a moment in the past; looked up once, for audits.

    The log is walked down from its end. No bisection: entries are ordered by number, their times are what the
    clocks of their writers said, and need not rise. A log too long for one look is gone on with at the next.

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
        self._left: list[int] | None = None

    def rescan(self) -> None:
        """Do nothing: the past is asked of the store."""

    def look(self, store: Store) -> None:
        """Walk the log down to the entry in force at that moment."""
        ref = self._ref
        if self.targets or ref.at is None:
            return
        if self._left is None:
            self._left = store.releases(ref.model, ref.alias)
        while self._left:
            stored = self._entry(store, self._left[-1])
            self._left.pop()  # not before it was read: what it raised may pass
            if stored is not None and stored.entry.created_at <= ref.at:
                self.targets = (replace(target_of(stored), fresh_until=None),)
                return
        self._left = None
        raise NotPublished(f"no release of {ref.model}@{ref.alias} is as old as {ref}")

    def _entry(self, store: Store, number: int) -> Stored[Release] | None:
        try:
            return store.release(self._store_id, self._ref.model, self._ref.alias, number)
        except (IntegrityError, SignatureError):
            return None

    def remember(self) -> None:
        """Do nothing: a moment's answer is not shared."""


def follow(store_id: str, ref: Ref, cached: CachedLog, *, floor: int = 1, trust: Trust = NO_KEYS) -> Follower:
    """Return what follows this kind of ref."""
    if ref.at is not None:
        return Moment(store_id, ref)
    if ref.version is not None or ref.latest:
        return Versions(store_id, ref, cached, trust=trust)
    return AliasLog(store_id, ref, cached, floor=floor, trust=trust)
