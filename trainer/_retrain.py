"""One retrain: load, fit, evaluate, judge, publish, read back, release.

Idempotent, and safe to run twice at once: a lease saves the second one its work, and where it does not, the
release log decides. A candidate is judged against the version in force at that moment, and again if another
one is in force when it comes to releasing.
"""

import time
from typing import Any, Final

from mlshared import Client
from mlshared._objects import open_objects
from mlshared.errors import ConfigError, IntegrityError, MlsharedError
from mlshared.manifest import Manifest, Release, Stored, Training
from mlshared.store import Store

from ._append import found_store
from ._evaluate import Champion, cannot_compare, compare, score
from ._fit import Prepared, fit, load_frame, prepare
from ._lease import Held, lease
from ._log import check_names, read_log
from ._lost import check_log
from ._outcome import OnStep, Outcome
from ._publish import Draft, draft, upload
from ._read_back import read_back
from ._release import release_automatically
from ._renewal import renew
from ._seen import Seen, seen_from
from ._signing import Signing, client_settings, find_signing
from ._writing import BUDGET_SECONDS, Writing
from .checks import Check, Comparison, compatibility, judge
from .config import StorePath, choose_options, choose_store, find_config
from .recipe import Recipe

PLAN_SHARE: Final = 0.09  # of the seconds a fit takes, for its row plan: a tenth with what is begun and ended


def retrain(
    recipe: Recipe,
    *,
    store: StorePath | None = None,
    storage_options: dict[str, Any] | None = None,
    alias: str = "production",
    on_step: OnStep | None = None,
) -> Outcome:
    """Train a candidate, publish it, and release it if it passes every check.

    Args:
        recipe: How.
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.
        alias: Under which name to release.
        on_step: Told of each step as it begins.

    Raises:
        RecipeError: If a function of the recipe raised, or returned what cannot be used.
        Busy: If another retrain of the model is under way.
        LogLost: If the alias's log ends before an entry it once had; nothing is trained then.
        OutcomeUnknown: If the store stopped answering while writing.
    """
    url = choose_store(store, find_config())
    options = choose_options(storage_options)
    check_names(recipe.name, alias)
    objects = open_objects(url, options)
    try:
        signing = find_signing()
        opened = signing.store(objects, budget_seconds=BUDGET_SECONDS)
        store_id = found_store(opened).id
        seen = seen_from(url, options)
        check_log(opened, read_log(opened, store_id, recipe.name, alias), seen)
        with lease(lambda: open_objects(url, options), store_id, recipe.name) as held:
            run = _Run(recipe, url, options, alias, opened, store_id, seen, held, on_step or _silent, signing)
            return run.outcome()
    finally:
        objects.close()


class _Run:
    """One retrain under way."""

    def __init__(
        self,
        recipe: Recipe,
        url: str,
        options: dict[str, Any],
        alias: str,
        store: Store,
        store_id: str,
        seen: Seen,
        held: Held,
        on_step: OnStep,
        signing: Signing,
    ) -> None:
        self._signing = signing
        self._recipe = recipe
        self._url = url
        self._options = options
        self._alias = alias
        self._store = store
        self._store_id = store_id
        self._seen = seen
        self._held = held
        self._on_step = on_step
        self._comparison: Comparison | None = None
        self._judged: dict[str | None, tuple[tuple[Check, ...], Comparison | None]] = {}

    def outcome(self) -> Outcome:
        """Go through every step; return what it came to."""
        started = time.monotonic()
        recipe = self._recipe
        self._on_step("load", "")
        prepared = prepare(recipe, load_frame(recipe))
        self._on_step("fit", f"{len(prepared.train.X):,} rows")
        fitting = time.monotonic()
        estimator = fit(recipe, prepared.train)
        fitting = time.monotonic() - fitting
        self._on_step("evaluate", f"{len(prepared.test.X):,} rows held out")
        scores = score(recipe, estimator, prepared.test)
        made = self._draft(estimator, prepared, scores, time.monotonic() - started, fitting)

        def verdicts(head: Stored[Release] | None) -> tuple[Check, ...]:
            checks = self._judge(head, estimator, prepared, scores, made.manifest)
            self._held.check()  # judging may take long, and comes right before what counts
            return checks

        self._on_step("judge", "")
        self._store.allow(BUDGET_SECONDS)
        checks = verdicts(read_log(self._store, self._store_id, recipe.name, self._alias).head)
        self._on_step("publish", f"{sum(map(len, made.blobs.values())):,} bytes")
        stored = upload(self._store, _with_checks(made, checks))
        self._on_step("read back", f"version {stored.entry.version}")
        read_back(self._url, self._options, stored.entry, features=recipe.features, signing=self._signing)
        self._on_step("release", f"version {stored.entry.version}")
        verdict = release_automatically(
            self._store,
            self._store_id,
            stored,
            self._alias,
            verdicts,
            reason="retrained",
            fresh_for_seconds=recipe.fresh_for_seconds,
            seen=self._seen,
        )
        if not verdict.released:
            self._renew(verdict.reason)
        comparison = self._comparison
        return Outcome(
            name=recipe.name,
            version=stored.entry.version,
            ref=f"{recipe.name}@{stored.entry.version}",
            released=verdict.released,
            on_hold=verdict.on_hold,
            reason=verdict.reason,
            checks=verdict.checks,
            metrics=scores,
            champion_metrics=comparison.champion if comparison else None,
            champion_version=verdict.champion.version if verdict.champion else None,
            plan_report=stored.entry.plan_report,
            seconds=time.monotonic() - started,
        )

    def _renew(self, reason: str) -> None:
        """Say that this retrain looked and found nothing better, where somebody waits to hear it."""
        self._held.check()
        self._store.allow(BUDGET_SECONDS)
        name, promise = self._recipe.name, self._recipe.fresh_for_seconds
        to = Writing(self._store, self._store_id, self._seen)
        renew(to, name, self._alias, fresh_for_seconds=promise, reason=reason[:500])

    def _draft(
        self, estimator: Any, prepared: Prepared, scores: dict[str, float], seconds: float, fitting: float
    ) -> Draft:
        recipe = self._recipe
        training = Training(
            recipe=recipe.name,
            rows=len(prepared.train.X),
            test_rows=len(prepared.test.X),
            split=prepared.description,
            metrics={name: value for name, value in scores.items() if value - value == 0},  # finite
            seconds=seconds,
        )
        return draft(
            estimator,
            prepared.train.X,
            prepared.train.y,
            store_id=self._store_id,
            name=recipe.name,
            schema=recipe.schema,
            features=recipe.features,
            raw=prepared.train.raw,
            training=training,
            plan_seconds=PLAN_SHARE * fitting,
        )

    def _judge(
        self,
        head: Stored[Release] | None,
        estimator: Any,
        prepared: Prepared,
        scores: dict[str, float],
        candidate: Manifest,
    ) -> tuple[Check, ...]:
        """Return every verdict against the version that ``head`` puts in force; remembered per head."""
        key = head.sha256 if head else None
        if key not in self._judged:
            champion = self._champion_manifest(head)
            comparison = self._compare(champion, estimator, prepared)
            checks = judge(self._recipe.gates, scores, comparison)
            self._judged[key] = ((*checks, compatibility(champion, candidate)), comparison)
        checks, self._comparison = self._judged[key]
        return checks

    def _champion_manifest(self, head: Stored[Release] | None) -> Manifest | None:
        if head is None:
            return None
        self._store.allow(BUDGET_SECONDS)
        stored = self._store.manifest(self._store_id, self._recipe.name, head.entry.version)
        if stored is None or stored.sha256 != head.entry.manifest_sha256:
            # Judging against nothing would let anything pass.
            raise IntegrityError(
                f"the manifest of {self._recipe.name}@{head.entry.version}, which is in force, is missing "
                "from the store or was replaced; nothing was released"
            )
        return stored.entry

    def _compare(self, champion: Manifest | None, estimator: Any, prepared: Prepared) -> Comparison | None:
        if champion is None:
            return None
        ref = f"{champion.model}@{champion.version}"
        try:
            fitted = self._loaded(ref)
        except ConfigError:
            raise  # this trainer's own, whatever is in force
        except (
            MlsharedError
        ) as error:  # a blob that is missing, too: it must not stop every retrain from now on
            return cannot_compare(ref, f"{ref} cannot be loaded here: {error}")
        return compare(self._recipe, estimator, Champion(ref, fitted, champion.training.split), prepared)

    def _loaded(self, ref: str) -> Any:
        """Return the estimator of a version, loaded by the client's own path."""
        settings: dict[str, Any] = {"storage_options": self._options, "poll_seconds": 0, "allow_joblib": True}
        settings |= client_settings(self._store.trust.keys)
        with Client(self._url, store_id=self._store_id, **settings) as client:
            model = client.model(ref, features=self._recipe.features)
            model.refresh()
            return model.current.estimator


def _with_checks(made: Draft, checks: tuple[Check, ...]) -> Draft:
    recorded = tuple({"name": c.name, "passed": c.passed, "message": c.message} for c in checks)
    training = made.manifest.training.model_copy(update={"checks": recorded})
    return Draft(made.manifest.model_copy(update={"training": training}), made.blobs)


def _silent(_step: str, _words: str) -> None:
    """Say nothing."""
