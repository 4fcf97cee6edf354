"""One cycle for one model: look, decide, fetch, load, self-test, swap.

    rescan   what other processes of this host have learnt        no request
    look     the next entry of the log                            one request, by one process of the host
    decide   which version to try, if any                         pure
    fetch    its bytes, verified                                  still by that process, within the host's lock
    tell     the host's other processes: the entry is remembered  only now, so that nobody fetches it twice
    load     and self-test                                        every process for itself
    swap     one assignment
    fill     the estimator of a version with a plan               apart from the cycle, once somebody asks for it

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
from mlshared._gate import apart
from mlshared._house import House
from mlshared._load import Host, wants_estimator
from mlshared._loader import Loaded, Loader
from mlshared._native import sleep
from mlshared._notes import Notes
from mlshared._notices import edited, estimator_problem, untrusted
from mlshared._ref import Ref
from mlshared._status import Status
from mlshared._target import Follower, Target
from mlshared._verdicts import Verdicts, backoff
from mlshared.errors import (
    ArtifactError,
    IntegrityError,
    ModelNotReady,
    NotPublished,
    StorageError,
    raisable,
)
from mlshared.events import ReleaseOverdue, VersionLoaded, VersionQuarantined
from mlshared.model import Model

LOOK_SECONDS: Final = 10.0
COLD_LOOK_SECONDS: Final = 4.0  # less than a request waits, so that it can be told what failed
WARM_LOOK_SECONDS: Final = 1.0  # where nothing is loaded and the cache can serve at once
LONGEST_LOOK_BACKOFF_SECONDS: Final = 60.0
COLD_START_PATIENCE_SECONDS: Final = 5.0
TURN_PATIENCE_SECONDS: Final = 30.0  # of a refresh by hand, while others of this host load theirs
APART_SECONDS: Final = 10.0  # between looks by hand that count as two


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
        self._freshness = Freshness(refuses=settings.refuse_overdue)
        self._verdicts = Verdicts(
            self._log,
            partial(fingerprint, model.features, settings),
            apart=0.8 * settings.poll_interval or APART_SECONDS,
            tell=lambda version, reason: host.hook(VersionQuarantined(str(ref), version, reason)),
        )
        self._loader = Loader(host, store_id, ref.model, self._log.crashes)
        self._notes = Notes(str(ref), host.hook)
        self._house = House(host, model.ref)
        self._interval = settings.poll_interval * random.random()  # noqa: S311 - the first phase spreads load
        self._look_not_before = 0.0
        self._failed_looks = 0
        self._look_failed_at = 0.0
        self._confirmed: float | None = None
        self._store_error: Exception | None = None
        self._version_error: Exception | None = None

    @property
    def last_error(self) -> Exception | None:
        """What is wrong now: the store of late, or the version that ought to be in force; None if neither."""
        return self._store_error or self._version_error

    def tick(self) -> None:
        """Do what is due; called every second or so. What goes wrong is noted, not raised."""
        self._house.tidy(self.model.loaded)
        self._cycle(now=False)
        self._fill_estimator()

    def refresh(self) -> None:
        """Run a whole cycle now.

        Raises:
            MlsharedError: What went wrong; the version in force stays.
        """
        self._store_error = None
        if self._set_aside_because() is None:
            self._version_error = None
        self._verdicts.forgive()
        self._cycle(now=True)
        if self._store_error is not None:
            raise raisable(self._store_error, StorageError)
        if self._version_error is not None:
            raise raisable(self._version_error)
        if because := self._set_aside_because():
            raise ArtifactError(because)  # found by another process, or before a restart

    def not_ready(self) -> ModelNotReady:
        """Return the error that says what was tried."""
        overdue = self._freshness.refusal(self._follower.targets)
        tried = overdue or self._notes.tried or self._set_aside_because() or "still loading"
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
        self._serve(now=now)
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
            by_hand = self._host.settings.poll_interval == 0 and self._failed_looks > 0
            return not by_hand or self.model.asked_at > self._look_failed_at
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
            with apart():
                sleep(0.02)

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
        if self._follower.problem is None:
            self._notes.answered()
        else:
            self._notes.failed(self._follower.problem, None, self.model.loaded)
        self._notes.warn(self._follower.warning)
        self._fetch_and_tell()

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
        self._notes.failed(error, None, self.model.loaded)

    def _hear_of_looks(self) -> None:
        """Count a look by another process of this host as one's own: what it found is in the cache."""
        age = None if self._ref.fixed else self._log.checked_age()
        if age is None:
            return
        asked = time.monotonic() - age
        self._confirmed = max(asked, self._confirmed or asked)
        if not self._failed_looks or asked > self._look_failed_at:
            self._failed_looks, self._look_not_before = 0, 0.0
            self._store_error = self._follower.problem  # none any more, if an entry behind it was found

    def _fetch_and_tell(self) -> None:
        """Bring a new version's bytes to this host before its other processes hear of it."""
        for target in self._to_try()[:1]:
            try:
                self._loader.fetch(target)
            except (StorageError, IntegrityError) as error:
                if not self._failed(target, error):
                    return  # it may come yet; the others would do no better
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

    def _serve(self, *, now: bool) -> None:
        patience = TURN_PATIENCE_SECONDS if now else 0.0 if self.model.loaded else COLD_START_PATIENCE_SECONDS
        for target in self._to_try():
            key, started = self._verdicts.key(target), time.monotonic()
            try:
                loaded = self._loader.load(
                    target, key, features=self.model.features, patience_seconds=patience
                )
            except Exception as error:  # noqa: BLE001 - code of an estimator's or the app's may raise anything
                self._failed(target, error)
                continue
            if loaded is None:
                self._notes.waits(f"version {target.version}: waits while others of this host load theirs")
            else:
                self._swap(loaded, time.monotonic() - started)
            return

    def _swap(self, loaded: Loaded, seconds: float) -> None:
        previous, version = self.model.loaded, loaded.version
        self.model.swap(version)
        self._house.swapped(previous, loaded.mapped)
        self._verdicts.forgive()
        self._notes.clear()
        self._follower.remember()
        self._house.keep(version)
        self._notes.warn(edited(version))
        self._notes.warn(untrusted(version, self._host.settings))
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

    def _failed(self, target: Target, error: Exception) -> bool:
        """Note that a version could not be loaded; return whether it is quarantined for it."""
        if self._version_error is None or target == self._follower.targets[0]:
            self._version_error = error
        for_good = self._verdicts.failed(target, error, while_fetching=self._loader.fetching)
        self._notes.failed(error, target.version, self.model.loaded)
        return for_good

    def _fill_estimator(self) -> None:
        version = self.model.loaded
        if version is not None and wants_estimator(version):
            try:
                self._loader.fill(
                    version, self._verdicts.key(Target(version.version, version.manifest_sha256))
                )
            except Exception as error:  # noqa: BLE001 - code of an estimator's may raise anything
                reason = f"{type(error).__name__}: {error}"
                self._notes.warn(f"tables go on being answered by the plan of {version.ref}: {reason}")
