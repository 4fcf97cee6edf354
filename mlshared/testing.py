"""For tests of apps that predict: put chosen answers in the place of a model.

    with override_model("flights", predict=1, predict_proba={0: 0.2, 1: 0.8}):
        client.get("/flights/17")

    @override_model("flights", raises=ModelNotReady("down"))
    def test_the_page_without_a_model(): ...

Models obtained earlier are reached as well as later ones. No store and no scikit-learn is needed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any, Final

from mlshared.client import Client
from mlshared.errors import ConfigError
from mlshared.model import overriding

_UNSET: Final[Any] = object()


@contextmanager
def override_model(
    ref: str,
    *,
    predict: Any = _UNSET,
    predict_proba: Any = _UNSET,
    raises: BaseException | type[BaseException] | None = None,
    store: Any = None,
) -> Iterator[None]:
    """Answer for ``ref`` with what is given here; a context manager and a decorator.

    Args:
        ref: As the app asks for it: ``flights``, ``flights@staging``.
        predict: A constant, or a function of the row or table, that answers `predict`.
        predict_proba: The same for `predict_proba`.
        raises: Raised by every method instead.
        store: A folder with the model, as ``trainer pull`` makes it, answered from for real; needs what the model
            needs. Signatures are not checked here: the folder is the test's own.

    Raises:
        ConfigError: If nothing, or more than one of answers, ``raises`` and ``store``, is given.
    """
    answers = {"predict": predict, "predict_proba": predict_proba}
    answers = {method: answer for method, answer in answers.items() if answer is not _UNSET}
    if (bool(answers), raises is not None, store is not None).count(True) != 1:
        raise ConfigError("override_model takes predict and predict_proba, or raises, or store")
    if store is None:
        with overriding(ref, _Answers(ref, answers, raises)):
            yield
        return
    with (
        # A cache of its own: the host's remembers the log of the store that the folder was pulled from.
        TemporaryDirectory(prefix="mlshared-override-") as cache,
        Client(store, poll_seconds=0, cache_dir=cache, allow_unsigned=True) as client,
        overriding(ref, client.model(ref).current),
    ):
        yield


class _Answers:
    """Stands in for a `ModelVersion`."""

    classes = None

    def __init__(
        self, ref: str, answers: dict[str, Any], raises: BaseException | type[BaseException] | None
    ) -> None:
        self.ref = ref
        self.name = ref.partition("@")[0]
        self.version = 0
        self._answers = answers
        self._raises = raises

    def __getattr__(self, method: str) -> Callable[[Any], Any]:
        if method.startswith("_"):
            raise AttributeError(method)
        if self._raises is not None:
            return self._raise
        if method not in self._answers:
            raise AttributeError(f"override_model({self.ref!r}, ...) was given no {method}")
        answer = self._answers[method]
        return answer if callable(answer) else lambda _: answer

    def _raise(self, _: Any) -> Any:
        assert self._raises is not None
        raise self._raises
