"""For tests of apps that predict: put chosen answers in the place of a model.

    with override_model("flights", predict=1, predict_proba={0: 0.2, 1: 0.8}):
        client.get("/flights/17")

    @override_model("flights", raises=ModelNotReady("down"))
    def test_the_page_without_a_model(): ...

Models obtained earlier are reached as well as later ones. No store and no scikit-learn is needed.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Final, TypeVar, cast

import numpy as np
from pydantic import BaseModel

from mlshared._ref import parse_ref
from mlshared.client import Client, default_alias
from mlshared.errors import ConfigError, ModelNotReady
from mlshared.model import overriding

_Function = TypeVar("_Function", bound=Callable[..., Any])
_UNSET: Final[Any] = object()


def override_model(
    ref: str,
    *,
    predict: Any = _UNSET,
    predict_proba: Any = _UNSET,
    raises: BaseException | type[BaseException] | None = None,
    store: Any = None,
) -> "Override":
    """Answer for ``ref`` with what is given here; a context manager and a decorator, of ``async def`` too.

    Args:
        ref: As the app asks for it: ``flights``, ``flights@staging``; the alias of a bare name may be left out.
        predict: A constant, or a function of the row or table, that answers `predict`; a table is answered with an
            array that has the constant for every row.
        predict_proba: The same for `predict_proba`.
        raises: Raised by every method instead. A `ModelNotReady` does what it does in production: a ``default`` is
            returned instead, and the model is not ready.
        store: A folder with the model, as ``trainer pull`` makes it, answered from for real; needs what the model
            needs. Signatures are not checked here: the folder is the test's own.

    Raises:
        ConfigError: If nothing, or more than one of answers, ``raises`` and ``store``, is given.
    """
    answers = {"predict": predict, "predict_proba": predict_proba}
    answers = {method: answer for method, answer in answers.items() if answer is not _UNSET}
    if (bool(answers), raises is not None, store is not None).count(True) != 1:
        raise ConfigError("override_model takes predict and predict_proba, or raises, or store")
    parse_ref(ref)
    if store is not None:
        return Override(lambda: _from_store(ref, store))
    if isinstance(raises, type) and issubclass(raises, ModelNotReady):
        raises = raises("override_model says so")
    version = raises if isinstance(raises, ModelNotReady) else _Answers(ref, answers, raises)
    return Override(lambda: _overriding(ref, version))


class Override:
    """What `override_model` returns: entered by ``with``, or around each call of what it decorates."""

    def __init__(self, begin: Callable[[], AbstractContextManager[None]]) -> None:
        self._begin = begin
        self._begun: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        begun = self._begin()
        begun.__enter__()
        self._begun.append(begun)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._begun.pop().__exit__(kind, error, trace)

    def __call__(self, function: _Function) -> _Function:
        """Return the function, overriding while it runs; a coroutine function until it has ended."""
        decorated: Any

        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def decorated(*args: Any, **named: Any) -> Any:
                with self._begin():
                    return await function(*args, **named)
        else:

            @wraps(function)
            def decorated(*args: Any, **named: Any) -> Any:
                with self._begin():
                    return function(*args, **named)

        return cast("_Function", decorated)


@contextmanager
def _from_store(ref: str, store: Any) -> Iterator[None]:
    with (
        # A cache of its own: the host's remembers the log of the store that the folder was pulled from.
        TemporaryDirectory(prefix="mlshared-override-") as cache,
        Client(store, poll_seconds=0, cache_dir=cache, allow_unsigned=True) as client,
        _overriding(ref, client.model(ref).current),
    ):
        yield


@contextmanager
def _overriding(ref: str, version: Any) -> Iterator[None]:
    """Answer for a ref however it is written: a bare name, or with the alias that it means."""
    parsed, alias = parse_ref(ref), default_alias()
    bare = ref in {parsed.model, f"{parsed.model}@{alias}"}
    with ExitStack() as stack:
        for each in {parsed.model, f"{parsed.model}@{alias}"} if bare else {ref}:
            stack.enter_context(overriding(each, version))
        yield


class _Answers:
    """Stands in for a `ModelVersion`."""

    def __init__(
        self, ref: str, answers: dict[str, Any], raises: BaseException | type[BaseException] | None
    ) -> None:
        self.ref = ref
        self.name = ref.partition("@")[0]
        self.version = 0
        self._answers = answers
        self._raises = raises
        proba = answers.get("predict_proba")
        self.classes = list(proba) if isinstance(proba, Mapping) else None

    def __getattr__(self, method: str) -> Callable[[Any], Any]:
        if method.startswith("_"):
            raise AttributeError(method)
        if self._raises is not None:
            return self._raise
        if method not in self._answers:
            raise AttributeError(f"override_model({self.ref!r}, ...) was given no {method}")
        answer = self._answers[method]
        return answer if callable(answer) else lambda x: _constant(answer, x)

    def _raise(self, _: Any) -> Any:
        assert self._raises is not None
        raise self._raises


def _constant(answer: Any, x: Any) -> Any:
    """Return the constant for one row, an array of it for a table."""
    if isinstance(x, Mapping | BaseModel | str) or not hasattr(x, "__len__"):
        return answer
    values = list(answer.values()) if isinstance(answer, Mapping) else answer
    return np.array([values] * len(x))
