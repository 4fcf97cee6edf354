"""`Model`, which always answers with the newest good version.

    app -> Model.predict -> the ModelVersion in force -> its answer

A prediction reads one attribute and compares one clock; it takes no lock and does no I/O. Everything else,
loading, polling, swapping, happens elsewhere and reaches a `Model` as one assignment.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from mlshared._status import Status
from mlshared._version import ModelVersion, RowFunction
from mlshared.errors import MlsharedError, ModelNotReady

_RAISE: Final[Any] = object()


class Keeper(Protocol):
    """What keeps one `Model` fresh in this process; the client provides it."""

    def attend(self, wait_seconds: float | None) -> ModelVersion:
        """Return a version, loading one if need be; see that refreshing goes on."""
        ...

    def refresh(self, timeout_seconds: float) -> bool:
        """Run a cycle now; return whether another version came into force."""
        ...

    def status(self) -> Status:
        """Return how the model is doing."""
        ...


class Model:
    """A live model: predicts with the newest good version, without a restart.

    Obtained from `get_model` or `Client.model`; safe for any number of threads, and across forks.
    """

    def __init__(
        self, ref: str, keeper: Callable[["Model"], Keeper], *, features: RowFunction | None = None
    ) -> None:
        self.ref = ref
        self.features = features
        self._keeper = keeper
        self._version: ModelVersion | None = None
        self._loaded: ModelVersion | None = None
        self._override: Any = None
        self._due = 0.0
        self._asked_at = 0.0
        self._used = False
        with _registry:
            _models.add(self)
            self.override(_overrides.get(ref))

    def predict(self, x: Any, *, default: Any = _RAISE) -> Any:
        """Return the prediction for a row, a list of rows, or a table.

        Args:
            x: A mapping or pydantic object; a list of them; a DataFrame; or a 2-D array of shape (n, fields).
            default: Returned instead of raising `ModelNotReady`.

        Returns:
            A Python scalar for one row ({target: scalar} for several targets), else an array of shape (n,).

        Raises:
            InputError: If a field is missing or a value is not what the model reads.
            ModelNotReady: If no version could be loaded yet and there is no ``default``.
        """
        return self._ask("predict", x, default)

    def predict_proba(self, x: Any, *, default: Any = _RAISE) -> Any:
        """Return class probabilities: {class: float} for one row, else an array (n, n_classes).

        Arguments and errors are those of `predict`.
        """
        return self._ask("predict_proba", x, default)

    def decision_function(self, x: Any, *, default: Any = _RAISE) -> Any:
        """Return scores: a float or {class: float} for one row, else an array.

        Arguments and errors are those of `predict`.
        """
        return self._ask("decision_function", x, default)

    def transform(self, x: Any, *, default: Any = _RAISE) -> Any:
        """Return the transformed row as a list of floats, or an array (n, width) for a table.

        Arguments and errors are those of `predict`.
        """
        return self._ask("transform", x, default)

    @property
    def current(self) -> ModelVersion:
        """The version in force; loads if nothing has. Take it once where one request predicts twice.

        Raises:
            ModelNotReady: If no version could be loaded yet.
        """
        version = self._version
        if version is None or time.monotonic() > self._due:
            if isinstance(self._override, ModelNotReady):
                raise self._override
            self._asked_at = time.monotonic()
            version = self._keeper(self).attend(None)
        self._used = True
        return version

    @property
    def classes(self) -> list[Any] | None:
        """The classes of the version in force."""
        return self.current.classes

    def ready(self, timeout: float | None = None) -> bool:
        """Return whether a version is in force, waiting up to ``timeout`` seconds for it.

        Args:
            timeout: Default: the setting ``first_load_seconds``.
        """
        if self._override is not None:
            return not isinstance(self._override, ModelNotReady)
        self._asked_at = time.monotonic()
        try:
            self._keeper(self).attend(float("inf") if timeout is None else timeout)
        except ModelNotReady:
            return False
        return True

    async def aready(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - mirrors ready()
        """Return the same as `ready`, without blocking the event loop."""
        import asyncio  # noqa: PLC0415 - only async apps pay for it

        return await asyncio.to_thread(self.ready, timeout)

    def refresh(self, *, timeout_seconds: float = 60.0) -> bool:
        """Look for a new version now; return whether one came into force.

        Raises:
            MlsharedError: What went wrong; the version in force stays.
        """
        return self._keeper(self).refresh(timeout_seconds)

    def status(self) -> Status:
        """Return how this model is doing; never loads, never raises."""
        if self._override is not None:
            down = self._override if isinstance(self._override, ModelNotReady) else None
            told = None if down is None else f"{type(down).__name__}: {down}"
            return Status(self.ref, "overridden", ready=down is None, last_error=told)
        try:
            return self._keeper(self).status()
        except MlsharedError as error:
            return Status(self.ref, "failed", ready=False, last_error=f"{type(error).__name__}: {error}")

    @property
    def loaded(self) -> ModelVersion | None:
        """The version in force, or None; neither loads nor counts as use."""
        return self._loaded

    def swap(self, version: ModelVersion | None) -> None:
        """Put a version in force: one assignment, seen whole by every thread."""
        self._loaded = version
        if self._override is None:
            self._version = version

    @property
    def due(self) -> float:
        """Until when (`time.monotonic`) somebody has promised to refresh this model."""
        return self._due

    @property
    def asked_at(self) -> float:
        """When (`time.monotonic`) a version was last asked of those who refresh this model."""
        return self._asked_at

    def keep_until(self, due: float) -> None:
        """Promise that somebody refreshes this model until then (`time.monotonic`); later uses nudge."""
        if self._override is None:
            self._due = due

    def take_used(self) -> bool:
        """Return whether it was used since the last call."""
        used, self._used = self._used, False
        return used

    def override(self, version: Any) -> None:
        """Answer with ``version`` instead of what is loaded, or as with nothing, by a ModelNotReady; None ends it."""
        self._override = version
        shown = None if isinstance(version, ModelNotReady) else version
        self._version = self._loaded if version is None else shown
        self._due = 0.0 if version is None else float("inf")

    def __repr__(self) -> str:
        version = self._version
        return f"<Model {self.ref}: {'nothing loaded' if version is None else version.ref}>"

    def _ask(self, method: str, x: Any, default: Any) -> Any:
        try:
            version = self.current
        except ModelNotReady:
            if default is _RAISE:
                raise
            return default
        return getattr(version, method)(x)


_registry = threading.Lock()  # guards the two below: a model being made while an override begins or ends
_models: "weakref.WeakSet[Model]" = weakref.WeakSet()
_overrides: dict[str, Any] = {}


def forget_locks() -> None:
    """Replace locks that another thread of the parent may have held: after a fork, in the child."""
    global _registry  # noqa: PLW0603 - as said
    _registry = threading.Lock()


@contextmanager
def overriding(ref: str, version: Any) -> Iterator[None]:
    """Answer with ``version`` in every model of that ref, those obtained earlier and later alike."""
    with _registry:
        before = _overrides.get(ref)
        _set_override(ref, version)
    try:
        yield
    finally:
        with _registry:
            _set_override(ref, before)


def _set_override(ref: str, version: Any) -> None:
    if version is None:
        _overrides.pop(ref, None)
    else:
        _overrides[ref] = version
    for model in _models:
        if model.ref == ref:
            model.override(version)
