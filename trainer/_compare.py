"""Two versions of a model on the same rows: how each scores, and where their answers differ.

    print(trainer.compare("flights@42", "flights@production", X, y))

Both are fetched and answer as they do in an app, through their feature function, by plan or estimator; nothing is
written but this host's cache.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from mlshared import Client
from mlshared._version import ModelVersion, RowFunction
from mlshared.errors import ConfigError, InputError

from ._arguments import check_rows, check_text
from ._signing import find_signing
from .config import StorePath, choose_options, choose_store, find_config
from .recipe import metric_name

FETCH_SECONDS: Final = 300.0
Metric = str | Callable[..., float]
_ANSWERS: Final = frozenset({"predict", "predict_proba", "decision_function"})


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """What two versions made of the same rows.

    Attributes:
        refs: The versions: ``("flights@42", "flights@41")``.
        rows: How many rows were asked.
        metrics: Both scores by metric, higher is better.
        differ: How many rows ``predict`` answers otherwise.
        largest: The largest difference between two probabilities, or between two predicted numbers; None where the
            answers are not numbers, or the classes not the same.
    """

    refs: tuple[str, str]
    rows: int
    metrics: dict[str, tuple[float, float]]
    differ: int
    largest: float | None

    def __str__(self) -> str:
        lines = [("metric", *self.refs, "difference")]
        lines += [
            (name, f"{first:.6g}", f"{second:.6g}", f"{first - second:+.6g}")
            for name, (first, second) in self.metrics.items()
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        largest = "" if self.largest is None else f", by up to {self.largest:.6g}"
        return "\n".join([*table, f"{self.differ:,} of {self.rows:,} rows are answered otherwise{largest}"])


def compare(
    first: str,
    second: str,
    X: Any,  # noqa: N803 - scikit-learn's name
    y: Any,
    *,
    metrics: Sequence[Metric] = (),
    store: StorePath | None = None,
    storage_options: dict[str, Any] | None = None,
    features: RowFunction | None = None,
    trusted_types: tuple[str, ...] = (),
) -> VersionComparison:
    """Return how two versions score on the same rows, and how often they answer otherwise.

    Args:
        first: ``flights@42``, ``flights@staging``, ...
        second: The same; of any model that takes these rows.
        X: Rows neither was trained on, as the app has them: a DataFrame or an array of shape (n, columns).
        y: Their targets, shape (n,).
        metrics: Names of scikit-learn's scorers, or callables of (estimator, X, y); default: those that both
            versions were judged by, else accuracy or r2.
        store: URL or path; default: ``MLSHARED_STORE``, else ``trainer.toml``.
        storage_options: For the storage library; default: ``MLSHARED_STORAGE_OPTIONS``.
        features: The row function the versions expect.
        trusted_types: Full names of types they may hold beyond this package's own list.

    Raises:
        ConfigError: If X and y are not rows and their targets, or a metric cannot score these versions.
        NotPublished: If there is no such version.
        InputError: If a version does not take these rows.
        StorageError: If the store does not answer.
    """
    for name, ref in (("first", first), ("second", second)):
        check_text(name, ref, "flights@42")
    check_rows(X, y)
    settings: dict[str, Any] = {
        "storage_options": choose_options(storage_options),
        "poll_seconds": 0,
        "trusted_types": trusted_types,
        **find_signing(reads_only=True).client_settings(),
    }
    with ExitStack() as stack:
        client = stack.enter_context(Client(str(choose_store(store, find_config())), **settings))
        versions = []
        for ref in (first, second):
            model = client.model(ref, features=features)
            model.refresh(timeout_seconds=FETCH_SECONDS)
            versions.append(model.current)
        scores = [_scores(version, metrics or _common_metrics(versions), X, y) for version in versions]
        differ, largest = _difference(versions, X)
    both = {name: (scores[0][name], scores[1][name]) for name in scores[0]}
    return VersionComparison((versions[0].ref, versions[1].ref), len(y), both, differ, largest)


def _common_metrics(versions: Sequence[ModelVersion]) -> list[str]:
    """Return the scorers both were judged by; a callable of a recipe's is known by its name alone, and left out."""
    from sklearn.metrics import get_scorer_names  # noqa: PLC0415 - heavy, and not for who only looks

    judged = [version.manifest.training.metrics for version in versions]
    common = [name for name in judged[0] if name in judged[1] and name in get_scorer_names()]
    return common or ["accuracy" if versions[0].manifest.task == "classifier" else "r2"]


def _scores(version: ModelVersion, metrics: Sequence[Metric], x: Any, y: Any) -> dict[str, float]:
    from sklearn.metrics import get_scorer  # noqa: PLC0415 - as above

    estimator, found = _as_estimator(version), {}
    for metric in metrics:
        try:
            scorer = get_scorer(metric) if isinstance(metric, str) else metric
            found[metric_name(metric)] = float(scorer(estimator, x, y))
        except InputError:
            raise
        except (ValueError, TypeError, AttributeError) as error:
            message = (str(error).splitlines() or [""])[0][:300]
            raise ConfigError(
                f"metric {metric_name(metric)!r} cannot score {version.ref}: {message}"
            ) from error
    return found


def _as_estimator(version: ModelVersion) -> Any:
    """Return what scikit-learn's scorers take for a fitted estimator, and what answers as the app is answered."""
    import numpy as np  # noqa: PLC0415 - as above
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin  # noqa: PLC0415

    def asking(method: str) -> Callable[[Any, Any], Any]:
        def ask(_: Any, x: Any) -> Any:
            return getattr(version, method)(x)

        ask.__name__ = method  # scorers look at it
        return ask

    methods = {method: asking(method) for method in _ANSWERS if method in version.manifest.methods}
    kind = ClassifierMixin if version.manifest.task == "classifier" else RegressorMixin
    fitted = {"__sklearn_is_fitted__": lambda _: True}
    estimator: Any = type("Answers", (kind, BaseEstimator), {**methods, **fitted})()
    if version.classes is not None:
        estimator.classes_ = np.asarray(version.classes, dtype=version.manifest.class_dtype)
    return estimator


def _difference(versions: Sequence[ModelVersion], x: Any) -> tuple[int, float | None]:
    import numpy as np  # noqa: PLC0415 - as above

    first, second = (np.asarray(version.predict(x)) for version in versions)
    otherwise = first != second
    if first.dtype.kind == "f" and second.dtype.kind == "f":
        otherwise &= ~(np.isnan(first) & np.isnan(second))
    differ = int(otherwise.reshape(len(first), -1).any(axis=1).sum())
    shown: Mapping[bool, str] = {True: "predict_proba", False: "predict"}
    method = shown[all(hasattr(version, "predict_proba") for version in versions)]
    if method == "predict_proba" and versions[0].classes != versions[1].classes:
        return differ, None
    answers = [np.asarray(getattr(version, method)(x)) for version in versions]
    if (
        any(answer.dtype.kind not in "fiu" for answer in answers)
        or versions[0].manifest.task != versions[1].manifest.task
    ):
        return differ, None
    gap = np.abs(answers[0].astype(float) - answers[1].astype(float))
    return differ, float(np.nanmax(gap, initial=0.0))
