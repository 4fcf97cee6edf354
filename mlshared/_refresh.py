"""One cycle for one model: look, decide, fetch, load, self-test, swap.

    rescan   what other processes of this host have learnt        no request
    look     the next entry of the log                            one request, by one process of the host
    decide   which version to try, if any                         pure
    fetch    its bytes, verified                                  before the host's other processes hear of it
    load     and self-test                                        every process for itself
    swap     one assignment

Whatever fails, the version in force stays; what failed is noted, told to the hook, and tried again later,
or not at all where trying again cannot help.
"""

import random
import time
from collections.abc import Collection
from contextlib import nullcontext
from functools import partial
from typing import Final

from mlshared._breath import giving_way
from mlshared._fingerprint import fingerprint
from mlshared._following import follow
from mlshared._freshness import Freshness
from mlshared._load import Bundle, Host, assemble, fetch, fill_estimator
from mlshared._notices import edited, estimator_problem, untrusted
from mlshared._ref import Ref
from mlshared._replaced import Replaced
from mlshared._status import Status
from mlshared._target import Follower, Target
from mlshared._verdicts import DETERMINISTIC, Verdicts, backoff
from mlshared._version import ModelVersion
from mlshared.errors import ArtifactError, MlsharedError, ModelNotReady, NotPublished, StorageError
from mlshared.events import RefreshFailed, ReleaseOverdue, StoreWarning, VersionLoaded, VersionQuarantined
from mlshared.model import Model

TOUCH_SECONDS: Final = 600.0
LOOK_SECONDS: Final = 10.0
COLD_LOOK_SECONDS: Final = 4.0  # less than a request waits, so that it can be told what failed
WARM_LOOK_SECONDS: Final = 1.0  # where nothing is loaded and the cache can serve at once
LONGEST_LOOK_BACKOFF_SECONDS: Final = 60.0
COLD_START_PATIENCE_SECONDS: Final = 5.0


def decide(
    targets: tuple[Target, ...], in_force: str | None, set_aside: Collection[str]
) -> tuple[Target, ...]:
    """Return the versions to try, in order.

    Args:
        targets: What the ref stands for, best first.
        in_force: The manifest hash of the version in force, or None.
        set_aside: Manifest hashes not to try now.

    With something in force only the first target may replace it; fallbacks are for a process with nothing.
    """
    if not targets or targets[0].manifest_sha256 == in_force:
        return ()
    candidates = targets if in_force is None else targets[:1]
    return tuple(target for target in candidates if target.manifest_sha256 not in set_aside)


class Refresher:
    """Keeps one `Model` at the version its ref stands for. Used by one thread at a time.

    Args:
        model: The live model to keep.
        ref: What it stands for, settings applied.
        host: What all models of the client share.
        store_id: The store's identity.
    """

    def __init__(self, model: Model, ref: Ref, host: Host, store_id: str) -> None:
        settings = host.settings
        self.model = model
        self._ref = ref
        self._host = host
        self._store_id = store_id
        self._log = host.cache.log(store_id, ref.model, ref.log)
        # A bare name means the settings' own alias: logs of other aliases are numbered on their own.
        bare = settings.floors.get(ref.model, 1) if ref.alias == settings.alias else 1
        floor = settings.floors.get(f"{ref.model}@{ref.alias}", bare)
        self._follower: Follower = follow(store_id, ref, self._log, floor=floor, trust=host.store.trust)
        self._verdicts = Verdicts(self._log, partial(fingerprint, model.features, settings))
        self._freshness = Freshness(refuses=settings.refuse_overdue)
        self._interval = settings.poll_interval * random.random()  # noqa: S311 - the first phase spreads load
        self._look_not_before = 0.0
        self._failed_looks = 0
        self._look_failed_at = 0.0
        self._confirmed: float | None = None
        self._store_error: Exception | None = None
        self._version_error: Exception | None = None
        self._tried: list[str] = []
        self._replaced = Replaced()
        self._touched = time.monotonic()
        self._warned: set[str] = set()
        self._bundle: Bundle | None = None

    @property
    def last_error(self) -> Exception | None:
        """What is wrong now: the store of late, or the version that ought to be in force; None if neither."""
        return self._store_error or self._version_error

    def tick(self) -> None:
        """Do what is due; called every second or so. What goes wrong is noted, not raised."""
        self._keep_house()
        self._cycle(now=False)
        self._fill_estimator()

    def refresh(self) -> None:
        """Run a whole cycle now.

        Raises:
            MlsharedError: What went wrong; the version in force stays.
        """
        self._store_error = None
        if not isinstance(self._version_error, DETERMINISTIC):
            self._version_error = None
        self._verdicts.forgive()
        self._cycle(now=True)
        if self.last_error is not None:
            raise self.last_error
        if because := self._set_aside_because():
            raise ArtifactError(because)  # found by another process, or before a restart

    def not_ready(self) -> ModelNotReady:
        """Return the error that says what was tried."""
        overdue = self._freshness.refusal(self._follower.targets)
        tried = overdue or "; ".join(self._tried[-4:]) or self._set_aside_because() or "still loading"
        return ModelNotReady(f"{self._ref} has no version that can serve yet: {tried}")

    def status(self) -> Status:
        """Return how the model is doing; reads, never asks."""
        version, error = self.model.loaded, self.last_error
        told = f"{type(error).__name__}: {error}" if error else self._set_aside_because()
        overdue = self._freshness.is_over(self._follower.targets)
        good, bad = ("loading", "failed") if version is None else ("serving", "stale")
        good = "overdue" if overdue else good
        return Status(
            ref=str(self._ref),
            state=good if told is None else bad,
            ready=version is not None,
            version=version.version if version else None,
            trust=version.trust if version else None,
            stale_seconds=None if self._confirmed is None else time.monotonic() - self._confirmed,
            last_error=told,
            quarantined=dict(self._verdicts.quarantined),
            ignored_fields=dict(version.schema.ignored) if version else {},
            cache_problem=self._host.cache.problem,
            overdue=overdue,
            estimator_problem=estimator_problem(version),
        )

    def _cycle(self, *, now: bool) -> None:
        with nullcontext() if self.model.loaded is None else giving_way():
            self._run_cycle(now=now)

    def _run_cycle(self, *, now: bool) -> None:
        self._follower.rescan()
        if now or self._look_is_due():
            self._look(now=now)
        else:
            self._hear_of_looks()
        self._serve()
        self._tell_overdue()
        if self._in_force(self._follower.targets[:1]):
            self._version_error = None

    def _in_force(self, targets: tuple[Target, ...]) -> bool:
        loaded = self.model.loaded
        return bool(targets and loaded and targets[0].manifest_sha256 == loaded.manifest_sha256)

    def _set_aside_because(self) -> str | None:
        """Return why the version that ought to be in force is quarantined, if it is."""
        wanted = self._follower.targets[:1]
        if not wanted or self._in_force(wanted):
            return None
        return self._verdicts.quarantined.get(wanted[0].version)

    # -- look ----------------------------------------------------------------------------------------------

    def _look_is_due(self) -> bool:
        """Return whether nobody on this host has asked the store within the poll interval."""
        if time.monotonic() < self._look_not_before:
            return False
        if not self._follower.targets:
            return True
        if self._ref.fixed or self._host.settings.poll_interval == 0:
            return False
        age = self._log.checked_age()
        return age is None or age >= self._interval

    def _look(self, *, now: bool) -> None:
        """Ask the store, unless another process of this host is just doing so."""
        patience = COLD_START_PATIENCE_SECONDS if now or not self._follower.targets else 0.0
        deadline = time.monotonic() + patience
        while True:
            with self._log.try_lock() as held:
                self._follower.rescan()
                if not now and not self._look_is_due():
                    return
                if held or self._lock_is_stuck(deadline, now=now):
                    self._ask_store(patient=now)
                    return
            if time.monotonic() >= deadline:
                return
            time.sleep(0.02)

    def _lock_is_stuck(self, deadline: float, *, now: bool) -> bool:
        """Return whether to go on without the lock; not while its holder may be fetching what it found."""
        if time.monotonic() < deadline or now:
            return time.monotonic() >= deadline
        age = self._log.checked_age()
        return age is None or age > 3 * self._host.settings.poll_interval

    def _ask_store(self, *, patient: bool) -> None:
        self._host.store.allow(LOOK_SECONDS if patient else self._look_seconds())
        try:
            self._follower.look(self._host.store)
        except Exception as error:  # noqa: BLE001 - whatever it is, it counts as a look, and the next one is later
            self._look_failed(error)
            return
        self._confirmed = time.monotonic()
        self._failed_looks = 0
        self._interval = self._host.settings.poll_interval * random.uniform(0.8, 1.0)  # noqa: S311
        if not self._ref.fixed:
            self._log.touch_checked()
        self._store_error = self._follower.problem
        if self._follower.problem is not None:
            self._note(self._follower.problem, None)
        self._warn(self._follower.warning)
        self._prefetch()

    def _look_seconds(self) -> float:
        if self.model.loaded is not None:
            return LOOK_SECONDS
        return WARM_LOOK_SECONDS if self._follower.targets else COLD_LOOK_SECONDS

    def _look_failed(self, error: Exception) -> None:
        self._failed_looks += 1
        self._look_failed_at = time.monotonic()
        longest = LONGEST_LOOK_BACKOFF_SECONDS
        if isinstance(error, NotPublished):
            longest = self._host.settings.poll_interval or longest
        self._look_not_before = self._look_failed_at + backoff(self._failed_looks, longest)
        self._store_error = error
        self._note(error, None)

    def _hear_of_looks(self) -> None:
        """Count a look by another process of this host as one's own: what it found is in the cache."""
        age = None if self._ref.fixed else self._log.checked_age()
        if age is None:
            return
        asked = time.monotonic() - age
        self._confirmed = max(asked, self._confirmed or asked)
        if self._failed_looks and asked > self._look_failed_at:
            self._failed_looks, self._look_not_before = 0, 0.0
            self._store_error = self._follower.problem

    def _prefetch(self) -> None:
        """Bring a new version's bytes to this host before its other processes hear of it."""
        for target in self._to_try()[:1]:
            try:
                self._bundle = fetch(self._host, self._store_id, self._ref.model, target)
            except StorageError as error:
                self._failed(target, error)
                return
            except Exception:  # noqa: BLE001 - of what a manifest says; every process judges for itself
                break
        self._follower.remember()

    # -- serve ---------------------------------------------------------------------------------------------

    def _to_try(self) -> tuple[Target, ...]:
        loaded, targets = self.model.loaded, self._follower.targets
        if self._in_force(targets) or self._freshness.refusal(targets):
            return ()
        in_force = loaded.manifest_sha256 if loaded else None
        return decide(targets, in_force, self._verdicts.set_aside(targets))

    def _serve(self) -> None:
        for target in self._to_try():
            started = time.monotonic()
            try:
                version, mapped = self._load(target)
            except Exception as error:  # noqa: BLE001 - code of an estimator's or the app's may raise anything
                self._failed(target, error)
            else:
                self._swap(version, mapped, time.monotonic() - started)
                return

    def _load(self, target: Target) -> tuple[ModelVersion, memoryview | None]:
        """Return a version, and its plan's file where that is mapped."""
        bundle, self._bundle = self._bundle, None
        if bundle is None or bundle.stored.sha256 != target.manifest_sha256:
            bundle = fetch(self._host, self._store_id, self._ref.model, target)
        with self._host.gate:
            version = assemble(bundle, target, features=self.model.features, host=self._host)
        plan = bundle.blobs.get("plan")
        return version, plan if isinstance(plan, memoryview) else None

    def _swap(self, version: ModelVersion, mapped: memoryview | None, seconds: float) -> None:
        previous = self.model.loaded
        self.model.swap(version)
        self._replaced.swapped(previous, mapped)
        self._verdicts.forgive()
        self._tried.clear()
        self._follower.remember()
        self._keep(version)
        self._warn(edited(version))
        self._warn(untrusted(version, self._host.settings))
        before = previous.version if previous else None
        self._host.hook(VersionLoaded(str(self._ref), version.version, before, seconds))

    def _tell_overdue(self) -> None:
        """Tell once that the release in force is older than it promised to become; refuse it, if so configured."""
        targets, freshness = self._follower.targets, self._freshness
        if freshness.falls_due(targets):
            target = targets[0]
            assert target.fresh_until is not None
            serving = self.model.loaded is not None and not freshness.refuses
            self._host.hook(
                ReleaseOverdue(str(self._ref), target.version, target.fresh_until, serving=serving)
            )
        if freshness.refusal(targets) and self.model.loaded is not None:
            self.model.swap(None)

    # -- note ----------------------------------------------------------------------------------------------

    def _failed(self, target: Target, error: Exception) -> None:
        if self._version_error is None or target == self._follower.targets[0]:
            self._version_error = error
        if self._verdicts.failed(target, error):
            reason = f"{type(error).__name__}: {error}"
            self._host.hook(VersionQuarantined(str(self._ref), target.version, reason))
        self._note(error, target.version)

    def _note(self, error: Exception, version: int | None) -> None:
        what = "the store" if version is None else f"version {version}"
        self._tried.append(f"{what}: {type(error).__name__}: {error}")
        del self._tried[:-16]
        serving = self.model.loaded
        self._host.hook(RefreshFailed(str(self._ref), error, version, serving.version if serving else None))

    def _warn(self, message: str | None) -> None:
        if message is not None and message not in self._warned:
            self._warned.add(message)
            self._host.hook(StoreWarning(str(self._ref), message))

    def _keep_house(self) -> None:
        self._replaced.let_go()
        now = time.monotonic()
        if now - self._touched > TOUCH_SECONDS and self.model.loaded is not None:
            self._keep(self.model.loaded)
            self._touched = now

    def _fill_estimator(self) -> None:
        version = self.model.loaded
        if version is not None:
            try:
                fill_estimator(self._host, version)
            except (MlsharedError, OSError, MemoryError) as error:
                reason = f"{type(error).__name__}: {error}"
                self._warn(f"tables go on being answered by the plan of {version.ref}: {reason}")

    def _keep(self, version: ModelVersion) -> None:
        """Mark a version's blobs as in use, and let the cache drop what nobody uses."""
        host, blobs = self._host, _blobs(version)
        host.in_use[self.model.ref] = blobs
        host.cache.touch(blobs)
        host.cache.evict(set().union(*host.in_use.values()))


def _blobs(version: ModelVersion) -> set[str]:
    return {version.manifest_sha256} | {artifact.sha256 for artifact in version.manifest.artifacts}
