"""`ModelVersion`, which never changes, and `Model`, which always answers with the newest good one.

    app -> Model.predict -> the ModelVersion in force -> rows checked -> predictor -> plain Python

A prediction reads one attribute and compares one clock; it takes no lock and does no I/O. Everything else,
loading, polling, swapping, happens elsewhere and reaches a `Model` as one assignment.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from pydantic import BaseModel

from mlshared._answers import naming
from mlshared._schema import Schema, missing_key
from mlshared.errors import InputError, MlsharedError, ModelNotReady
from mlshared.manifest import Manifest
from mlshared.plan import Plan

Row = dict[str, Any]
RowFunction = Callable[[dict[str, Any]], Mapping[str, Any]]
_RAISE: Final[Any] = object()


class Predictor(Protocol):
    """Answers checked input; a row plan or an estimator stands behind it."""

    @property
    def estimator(self) -> Any:
        """The fitted estimator."""
        ...

    def one(self, method: str) -> Callable[[Row], Any]:
        """Return the function that answers one checked row: a scalar, or lists of values."""
        ...

    def rows(self, method: str, rows: list[Row]) -> Any:
        """Return the answer to checked rows: an array of shape (n, ...) or a list of them, one a target."""
        ...

    def table(self, method: str, table: Any) -> Any:
        """Return the answer to a user's DataFrame or 2-D array, checked first."""
        ...


@dataclass(frozen=True, eq=False)
class ModelVersion:
    """One version of a model, loaded, self-tested, immutable.

    Attributes:
        manifest: Everything known about it.
        released_at: When it was released under the alias it was loaded for; None if it was not.
        trust: ``"unsigned"``: nobody's signature was checked.
        schema: Of the rows it reads.
        predictor: What answers checked rows.
        plan: The row plan, or None where the estimator answers.
        features: The app's feature function, or None.
    """

    manifest: Manifest
    manifest_sha256: str
    released_at: datetime | None
    trust: str
    schema: Schema
    predictor: Predictor
    plan: Plan | None = None
    features: RowFunction | None = None
    _asks: dict[str, Callable[[Any], Any]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        asks = {
            method: _asker(method, self.manifest, self.schema, self.predictor, self.features)
            for method in self.manifest.methods
        }
        object.__setattr__(self, "_asks", asks)

    @property
    def estimator(self) -> Any:
        """The fitted scikit-learn estimator; with a plan, it is fetched and loaded at first use.

        Raises:
            MlsharedError: If it cannot be fetched or loaded here.
        """
        return self.predictor.estimator

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.model

    @property
    def version(self) -> int:
        """The version's number."""
        return self.manifest.version

    @property
    def ref(self) -> str:
        """The ref that always means this version: ``flights@42``."""
        return f"{self.name}@{self.version}"

    @property
    def classes(self) -> list[Any] | None:
        """The classes in the order of ``predict_proba``'s columns; None for a regressor.

        One list per target where there are several.
        """
        classes = self.manifest.classes
        return None if classes is None else [list(c) if isinstance(c, tuple) else c for c in classes]

    @property
    def predict(self) -> Callable[[Any], Any]:
        """One row in, one Python scalar out ({target: scalar} for several); a table in, an array out."""
        return self._method("predict")

    @property
    def predict_proba(self) -> Callable[[Any], Any]:
        """One row in, {class: probability} out; a table in, an array of shape (n, n_classes) out."""
        return self._method("predict_proba")

    @property
    def decision_function(self) -> Callable[[Any], Any]:
        """One row in, a float or {class: float} out; a table in, an array out."""
        return self._method("decision_function")

    @property
    def transform(self) -> Callable[[Any], Any]:
        """One row in, a list of floats out; a table in, an array of shape (n, width) out."""
        return self._method("transform")

    def answer(self, method: str, rows: list[Any]) -> Any:
        """Return the predictor's own answer to a list of raw rows; what the self-test asks."""
        return self.predictor.rows(method, self.schema.rows([self._raw(row) for row in rows]))

    def checked(self, row: Any) -> Row:
        """Return a raw row as the predictor gets it: through the feature function, then checked."""
        return self.schema.row(self._raw(row))

    def __repr__(self) -> str:
        return f"<ModelVersion {self.ref}>"

    def _method(self, method: str) -> Callable[[Any], Any]:
        ask = self._asks.get(method)
        if ask is None:
            has = ", ".join(self.manifest.methods)
            raise AttributeError(f"{self.ref} has no {method}; it has {has}")
        return ask

    def _raw(self, row: Any) -> Any:
        return row if self.features is None else derived(row, self.features)


def _asker(
    method: str, manifest: Manifest, schema: Schema, predictor: Predictor, features: RowFunction | None
) -> Callable[[Any], Any]:
    """Return the function that answers one method; it knows nothing of the version, which so has no cycle."""
    check, one, name = schema.row, predictor.one(method), naming(method, manifest)

    def ask(x: Any) -> Any:
        if type(x) is dict and features is None:
            return name(one(check(x)))
        if schema.is_row(x):
            return name(one(check(x if features is None else derived(x, features))))
        if features is not None and hasattr(x, "to_dict"):
            x = x.to_dict(orient="records")
        if isinstance(x, list | tuple):
            rows = list(x) if features is None else [derived(row, features) for row in x]
            return predictor.rows(method, schema.rows(rows))
        return predictor.table(method, x)

    return ask


def derived(row: Any, features: RowFunction) -> Any:
    """Return what a feature function makes of a raw row; what is no row goes on to be refused.

    Raises:
        InputError: If the function asks for a field that the row does not have.
    """
    if isinstance(row, BaseModel):
        row = row.model_dump()
    if not isinstance(row, Mapping):
        return row
    try:
        return features(dict(row))
    except KeyError as error:
        missing = error.args[0] if error.args else None
        if not isinstance(missing, str) or missing in row:
            raise
        raise InputError([missing_key(missing, row)]) from error


class Keeper(Protocol):
    """What keeps one `Model` fresh in this process; the client provides it."""

    def attend(self, wait_seconds: float | None) -> ModelVersion:
        """Return a version, loading one if need be; see that refreshing goes on."""
        ...

    def refresh(self, timeout_seconds: float) -> bool:
        """Run a cycle now; return whether another version came into force."""
        ...

    def status(self) -> "Status":
        """Return how the model is doing."""
        ...


@dataclass(frozen=True, slots=True)
class Status:
    """How a model is doing in this process.

    Attributes:
        ref: What was asked for.
        state: ``idle`` (not used yet), ``loading``, ``serving``, ``stale`` (the store does not answer, or
            a newer version could not be loaded) or ``failed`` (nothing could be loaded).
        ready: Whether a prediction would be answered at once.
        version: The version in force, or None.
        trust: ``unsigned``, or None while nothing is loaded.
        stale_seconds: Seconds since the store last confirmed what is in force; None before the first time.
        last_error: The last failure since the last success, as ``Type: message``.
        quarantined: Versions set aside in this environment, ``{version: reason}``.
        ignored_fields: Fields that rows brought and the model does not read, ``{field: count}``.
        cache_problem: Why nothing is kept on disk, if so.
    """

    ref: str
    state: str
    ready: bool
    version: int | None = None
    trust: str | None = None
    stale_seconds: float | None = None
    last_error: str | None = None
    quarantined: Mapping[int, str] = field(default_factory=dict)
    ignored_fields: Mapping[str, int] = field(default_factory=dict)
    cache_problem: str | None = None


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
            return True
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
            return Status(self.ref, "overridden", ready=True)
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

    def keep_until(self, due: float) -> None:
        """Promise that somebody refreshes this model until then (`time.monotonic`); later uses nudge."""
        if self._override is None:
            self._due = due

    def take_used(self) -> bool:
        """Return whether it was used since the last call."""
        used, self._used = self._used, False
        return used

    def override(self, version: Any) -> None:
        """Answer with ``version`` instead of what is loaded; None ends it."""
        self._override = version
        self._version = self._loaded if version is None else version
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
