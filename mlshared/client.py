"""Wiring: settings in, live models out. One client a store, one worker a client and process.

    get_model(ref) -> Model --first use--> Client -> Worker (a thread) -> Refresher, every second or so

After a fork, after the thread died, after the machine slept, the next prediction finds its `due` time past
and comes here, where everything that does not survive such a thing is made anew.
"""

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Self

from mlshared._crashes import withdraw
from mlshared._gate import Gate
from mlshared._poller import JOIN_SECONDS
from mlshared._problems import shown
from mlshared._ref import Ref, parse_ref
from mlshared._status import Status
from mlshared._version import RowFunction
from mlshared._worker import Followed, Worker
from mlshared.errors import ConfigError
from mlshared.events import Hook, log_event
from mlshared.model import Model, forget_locks
from mlshared.settings import Settings, from_environment, make_settings

DEFAULT: Final = "default"
UNHOOKED: Final = (
    "this process was forked without Python's own hooks: nothing was refreshed until it was used again"
)


class Client:
    """Live models from one store.

    Args:
        store: URL or path.
        hook: Is given every event; default: `log_event`.
        **settings: As in `Settings`.

    Nothing is read or started before a model is used.

    >>> with Client("./models", poll_seconds=5) as client:
    ...     flights = client.model("flights")
    """

    def __init__(self, store: Any = None, *, hook: Hook = log_event, **settings: Any) -> None:
        if store is not None:
            settings["store"] = _path(store)
        self.settings = make_settings(settings)
        self._hook = hook
        self._lock = threading.Lock()  # guards _models and the making of a worker
        self._models: dict[str, Model] = {}
        self._workers: dict[int, Worker] = {}
        self._closed = False
        self._pid = os.getpid()
        _track(self)

    def model(self, ref: str, *, features: RowFunction | None = None) -> Model:
        """Return the live model of a ref; the same ref gives the same object.

        Args:
            ref: ``flights``, ``flights@staging``, ``flights@42``, ``flights@latest`` or
                ``flights@2026-11-20T12:00Z``.
            features: The function raw rows pass through first, dict -> dict.

        Raises:
            ConfigError: If it is no ref, or was asked for with another feature function before.
        """
        parse_ref(ref, alias=self.settings.alias)
        with self._lock:
            return _same_or_new(self._models, ref, self.keeper, features)

    def status(self) -> dict[str, Status]:
        """Return how every model is doing, by ref; never loads."""
        return {ref: model.status() for ref, model in list(self._models.items())}

    def refresh(self) -> bool:
        """Look for new versions of every model now; return whether any came into force.

        Raises:
            MlsharedError: The first thing that went wrong.
        """
        changed = [model.refresh() for model in list(self._models.values())]
        return any(changed)

    def close(self) -> None:
        """Stop refreshing and let go of the storage; loaded versions go on answering."""
        self.stop(JOIN_SECONDS)

    def stop(self, wait_seconds: float) -> None:
        """Do the same, and wait at most so long for its end."""
        self._closed = True
        worker = self._workers.get(os.getpid())
        if worker is not None:
            worker.stop(wait_seconds)

    def keeper(self, model: Model) -> Followed:
        """Return what keeps ``model`` fresh in this process.

        Raises:
            ConfigError: If no store is configured.
        """
        worker = self._workers.get(os.getpid())
        if worker is None:
            unhooked = self._pid != os.getpid()
            if unhooked:
                _forget_locks()
                self._lock = threading.Lock()
                self._pid = (
                    os.getpid()
                )  # last: another thread that finds it takes the locks for this process's
            worker = self._start_worker()
            if unhooked:
                worker.say(UNHOOKED)
        return worker.follow(model, self._resolve(model.ref))

    def forked(self) -> None:
        """Go on in a forked child: what was being refreshed in the parent is refreshed here too."""
        self._lock = threading.Lock()
        self._pid = os.getpid()
        for pid, worker in list(self._workers.items()):
            if pid == os.getpid() or self._closed:
                continue
            for model in worker.wanted:
                model.keep_until(0.0)
                if model.loaded is not None:
                    self.keeper(model).attend(None)

    def gates(self) -> list[Gate]:
        """Return what a fork has to wait for in this process."""
        worker = self._workers.get(os.getpid())
        return [] if worker is None else [worker.gate]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_worker(self) -> Worker:
        if self.settings.store is None:
            raise ConfigError(
                "no store is configured: set MLSHARED_STORE, or call mlshared.configure(store='s3://...')"
            )
        with self._lock:
            # The parent's worker stays in the dict: collecting it would close sockets the parent uses.
            worker = self._workers.setdefault(os.getpid(), Worker(self.settings, self._hook))
        if self._closed:
            worker.stop()
        return worker

    def _resolve(self, text: str) -> Ref:
        ref = parse_ref(text, alias=self.settings.alias)
        pinned = self.settings.pins.get(ref.model)
        if pinned is None or ref.fixed or ref.latest:
            return ref
        return Ref(ref.model, ref.alias, version=pinned)


_guard = threading.Lock()  # guards the three below
_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()
_configured: dict[str, dict[str, Any]] = {}
_named: dict[str, tuple[Client | None, dict[str, Model]]] = {}
_hooked = False


def get_model(ref: str, *, using: str = DEFAULT, features: RowFunction | None = None) -> Model:
    """Return the live model of a ref; the same ref gives the same object. No I/O until it is used.

    Args:
        ref: ``flights``, ``flights@staging``, ``flights@42``, ``flights@latest`` or
            ``flights@2026-11-20T12:00Z``.
        using: Which of several configured stores.
        features: The function raw rows pass through first, dict -> dict.

    Raises:
        ConfigError: If it is no ref, or was asked for with another feature function before.

    >>> get_model("flights") is get_model("flights")
    True
    """
    parse_ref(ref)
    with _guard:
        _, models = _named.setdefault(using, (None, {}))
        return _same_or_new(models, ref, lambda model: _default_client(using).keeper(model), features)


def configure(*, using: str = DEFAULT, hook: Hook = log_event, **settings: Any) -> None:
    """Say how `get_model` finds models, before one is first used; keywords win over ``MLSHARED_*``.

    Args:
        using: A name for this store, for ``get_model(ref, using=...)``; only the default reads the
            environment.
        hook: Is given every event.
        **settings: As in `Settings`.

    Raises:
        ConfigError: If a setting is unknown or unusable, or a model of this store is in use already.
    """
    if settings.get("store") is not None:
        settings["store"] = _path(settings["store"])
    make_settings(settings)
    with _guard:
        client, _ = _named.get(using, (None, {}))
        if client is not None:
            raise ConfigError(f"configure() came too late: models of {using!r} are in use already")
        _configured[using] = {**settings, "hook": hook}


def default_alias() -> str:
    """Return what a bare name such as ``flights`` refers to for `get_model`."""
    values = {**from_environment(), **_configured.get(DEFAULT, {})}
    return str(values.get("alias", Settings.model_fields["alias"].default))


def _default_client(using: str) -> Client:
    client, _ = _named.get(using, (None, {}))
    if client is not None:
        return client
    if using != DEFAULT and using not in _configured:
        raise ConfigError(
            f"no store is configured as {using!r}: call mlshared.configure(using={using!r}, store=...)"
        )
    environment = from_environment() if using == DEFAULT else {}
    made = Client(**{**environment, **_configured.get(using, {})})
    with _guard:
        client, models = _named.setdefault(using, (None, {}))
        _named[using] = (client or made, models)
        return client or made


def _path(store: Any) -> str:
    text = os.fspath(store) if isinstance(store, os.PathLike) else store
    if not isinstance(text, str):
        raise ConfigError(f"store is a URL or a path, such as './models', not {shown(store)}")
    return text


def _same_or_new(
    models: dict[str, Model],
    ref: str,
    keeper: Callable[[Model], Followed],
    features: RowFunction | None,
) -> Model:
    known = models.get(ref)
    if known is None:
        known = models[ref] = Model(ref, keeper, features=features)
    elif features is not None and features is not known.features:
        raise ConfigError(f"{ref!r} is in use with another feature function; name the same one everywhere")
    return known


def _track(client: Client) -> None:
    """Have a client stopped at exit and carried over forks; registered with the first one, not at import."""
    global _hooked  # noqa: PLW0603 - registering twice would stop clients twice
    with _guard:
        _clients.add(client)
        if not _hooked:
            _hooked = True
            atexit.register(_stop_all)
            os.register_at_fork(before=_close_gates, after_in_parent=_open_gates, after_in_child=_forked)


def _stop_all() -> None:
    clients = list(_clients)
    for client in clients:
        client.stop(0.0)
    deadline = time.monotonic() + JOIN_SECONDS
    for client in clients:
        client.stop(max(0.0, deadline - time.monotonic()))  # waited for all together
    withdraw()


def _close_gates() -> None:
    for client in list(_clients):
        for gate in client.gates():
            gate.close()


def _open_gates() -> None:
    for client in list(_clients):
        for gate in client.gates():
            gate.open()


def _forget_locks() -> None:
    global _guard  # noqa: PLW0603 - another thread of the parent may have held it
    _guard = threading.Lock()
    forget_locks()


def _forked() -> None:
    _forget_locks()
    for client in list(_clients):
        client.forked()
