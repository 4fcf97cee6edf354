"""From a target to a loaded version, with regard for the host: one after the other, and no version that kills.

    fetch(target)   its bytes to this host, before the host's other processes hear of it
    load(target)    in its turn, with a mark that outlives the process should that die of it
    fill(version)   the estimator of a version with a plan, likewise

A process of a hundred that load one big estimator at once holds two: the old one and the new. So estimators are
loaded in turn, a few at a time on a host. A plan is small, or mapped, and waits for nobody.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from mlshared import _load
from mlshared._crashes import CONDEMNED, Crashes
from mlshared._gate import apart
from mlshared._load import Bundle, EstimatorBytes, Host
from mlshared._native import sleep
from mlshared._target import Target
from mlshared._version import ModelVersion, RowFunction
from mlshared.errors import ArtifactError
from mlshared.manifest import ESTIMATOR_KINDS, Manifest

LONGEST_TURN_SECONDS: Final = 120.0


class Loaded(NamedTuple):
    """A version that may serve, and its plan's file where that is mapped."""

    version: ModelVersion
    mapped: memoryview | None


class Loader:
    """Loads the versions of one model. Used by one thread at a time.

    Args:
        host: What all models of the client share.
        store_id: The store's identity.
        model: The model's name.
        crashes: Where loads are marked.

    Attributes:
        fetching: Whether bytes were on their way when the last call ended, and so what it raised is of them.
    """

    def __init__(self, host: Host, store_id: str, model: str, crashes: Crashes) -> None:
        self.fetching = False
        self._host = host
        self._store_id = store_id
        self._model = model
        self._crashes = crashes
        self._bundle: Bundle | None = None
        self._estimator: tuple[str, EstimatorBytes] | None = None
        self._waiting_since: float | None = None

    def fetch(self, target: Target) -> None:
        """Bring a version's bytes to this host, and keep them for `load`; errors are those of `_load.fetch`."""
        self.fetching = True
        self._bundle = _load.fetch(self._host, self._store_id, self._model, target)
        self.fetching = False

    def load(
        self, target: Target, key: str, *, features: RowFunction | None, patience_seconds: float
    ) -> Loaded | None:
        """Return a version that may serve, or None while others of this host load theirs.

        Args:
            target: Which.
            key: What its mark is called.
            features: The app's feature function.
            patience_seconds: How long to wait for its turn, within this call.

        Raises:
            Exception: What `_load.fetch` and `_load.assemble` raise, and whatever an estimator does.
        """
        self.fetching = True
        bundle = self._bundle
        if bundle is None or bundle.stored.sha256 != target.manifest_sha256:
            bundle = self._bundle = None
        host, place = self._host, (self._store_id, self._model)
        manifest = bundle.manifest if bundle else _load.read_manifest(host, *place, target).entry
        with self._turn(manifest, patience_seconds) as mine:
            if not mine:
                self.fetching = False
                return None
            self._bundle = None
            bundle = bundle or _load.fetch(host, *place, target)
            self.fetching = False
            with self._crashes.loading(key):
                version = _load.assemble(bundle, target, features=features, host=self._host)
        plan = bundle.blobs.get("plan")
        return Loaded(version, plan if isinstance(plan, memoryview) else None)

    def fill(self, version: ModelVersion, key: str) -> None:
        """Load the estimator of a version with a plan, for who has asked for it.

        Raises:
            Exception: If it cannot be loaded here, for whatever reason; who waits for it is told, it is not tried
                again in this process, and the plan goes on answering.
        """
        try:
            self._fill(version, f"{key}-estimator")
        except Exception as error:
            self._estimator = None
            _load.refuse_estimator(version, error)
            raise

    def _fill(self, version: ModelVersion, key: str) -> None:
        if self._crashes.weight(key) >= CONDEMNED:
            raise ArtifactError(
                f"processes of this host died while they loaded the estimator of {version.ref}"
            )
        fetched = self._estimator
        if fetched is None or fetched[0] != version.manifest_sha256:
            # Neither a mark nor the host's slot waits for a network.
            fetched = self._estimator = (
                version.manifest_sha256,
                _load.fetch_estimator(self._host, version),
            )
        with self._host.cache.load_slot() as mine:
            if mine:
                self._estimator = None
                with self._crashes.loading(key):
                    _load.fill_estimator(self._host, version, fetched[1])

    @contextmanager
    def _turn(self, manifest: Manifest, patience_seconds: float) -> Iterator[bool]:
        kinds = {artifact.kind for artifact in manifest.artifacts}
        if "plan" in kinds or not kinds & ESTIMATOR_KINDS:
            yield True
            return
        began = time.monotonic()
        self._waiting_since = self._waiting_since or began
        while True:
            with self._host.cache.load_slot() as mine:
                now = time.monotonic()
                if mine or now - self._waiting_since > LONGEST_TURN_SECONDS:
                    self._waiting_since = None
                    yield True
                    return
            if now - began >= patience_seconds:
                yield False
                return
            with apart():
                sleep(0.02)
