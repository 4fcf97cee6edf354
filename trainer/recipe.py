"""How a model is made, in one object that lives in the user's own package: `Recipe`.

It is checked when it is made, before anything runs: names, scorers, gates. What its functions return is
checked where they are called (`trainer._fit`). It holds functions, never data, and is never stored: a
version records the recipe's name and its feature function's source hash, and nothing of ours is needed to
read that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mlshared._features import source_sha256
from mlshared._version import RowFunction
from mlshared.errors import ConfigError
from mlshared.manifest import Features, check_model_name

from .checks import AtLeast, Gate, NoWorse
from .splits import KeySplit, Split, TimeSplit

if TYPE_CHECKING:
    import pandas as pd

Metric = str | Callable[[Any, Any, Any], float]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is made and judged.

    Args:
        name: The model's name.
        load: Returns all rows, newest included, as a DataFrame of shape (n, columns).
        target: The column to learn, or several; none of its values may be missing.
        build: Returns a new unfitted estimator at each call.
        split: `TimeSplit`, `KeySplit`, or a function frame -> (train, test).
        metrics: scikit-learn scorer names, or functions (estimator, X, y) -> float; higher is better.
        gates: `AtLeast` and `NoWorse`: what must hold before a release.
        features: Row function dict -> dict, shared with the app. It gets what load() returned less
            ``target`` and ``drop``, a missing value being None as in an app's row.
        features_frame: Its vectorised twin, frame -> frame, for speed; checked against it on a sample.
        schema: pydantic model of a row; else fields are inferred from the fitted pipeline.
        drop: Columns that only the split needs, such as the key: the estimator does not get them.
        fresh_for_seconds: Apps say ``overdue`` when no retrain has looked for so long, in seconds; about two or
            three times the schedule's interval. None: nothing is promised.

    Raises:
        ConfigError: If a field is unusable; one line that names it.
    """

    name: str
    load: Callable[[], pd.DataFrame]
    target: str | Sequence[str]
    build: Callable[[], Any]
    split: Split
    metrics: Sequence[Metric]
    gates: Sequence[Gate] = ()
    features: RowFunction | None = None
    features_frame: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    schema: type[Any] | None = None
    drop: Sequence[str] = ()
    fresh_for_seconds: float | None = None

    def __post_init__(self) -> None:
        try:
            check_model_name(self.name)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"recipe: name: {error}") from error
        self._freeze("metrics", self.metrics, "a list of scorer names or functions")
        self._freeze("gates", self.gates, "a list of AtLeast and NoWorse")
        self._freeze("drop", self.drop, "a list of columns")
        if not isinstance(self.target, str):
            self._freeze("target", self.target, "a column, or a list of columns")
        self._check_functions()
        self._check_columns()
        self._check_metrics()
        self._check_gates()
        seconds = self.fresh_for_seconds
        if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < float("inf")):
            raise self._wrong("fresh_for_seconds", f"is a number of seconds above 0, not {seconds!r}")

    @property
    def targets(self) -> tuple[str, ...]:
        """The target columns, one or several."""
        return (self.target,) if isinstance(self.target, str) else tuple(self.target)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The metrics' names, in order."""
        return tuple(metric_name(metric) for metric in self.metrics)

    def _freeze(self, field: str, value: Any, what: str) -> None:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise self._wrong(field, f"is {what}, not {value!r}")
        # A list in a frozen recipe could still change under a retrain.
        object.__setattr__(self, field, tuple(value))

    def _check_functions(self) -> None:
        for field in ("load", "build", "features", "features_frame"):
            value = getattr(self, field)
            optional = field.startswith("features")
            if not (callable(value) or (optional and value is None)):
                raise self._wrong(field, f"is a function, not {value!r}")
        if not isinstance(self.split, TimeSplit | KeySplit) and not callable(self.split):
            raise self._wrong("split", f"is TimeSplit, KeySplit or a function, not {self.split!r}")
        if self.features_frame is not None and self.features is None:
            raise self._wrong("features_frame", "is the twin of features, which is missing")
        if self.features is not None:
            describe_features(self.features)
        if self.schema is not None and not hasattr(self.schema, "model_fields"):
            raise self._wrong("schema", f"is a pydantic model class, not {self.schema!r}")

    def _check_columns(self) -> None:
        for field, columns in (("target", self.targets), ("drop", self.drop)):
            for column in columns:
                if not isinstance(column, str) or not column:
                    raise self._wrong(field, f"names columns, {column!r} is no name")
        if not self.targets:
            raise self._wrong("target", "is empty")
        if twice := sorted(set(self.targets) & set(self.drop)):
            raise self._wrong("drop", f"names the target {twice[0]!r}, which is left out anyway")

    def _check_metrics(self) -> None:
        if not self.metrics:
            raise self._wrong("metrics", "is empty; what is not measured cannot be judged")
        for metric in self.metrics:
            if isinstance(metric, str):
                self._check_scorer(metric)
            elif not callable(metric):
                raise self._wrong("metrics", f"{metric!r} is no scorer name and no function")
            elif not getattr(metric, "__name__", "<").isidentifier():
                raise self._wrong(
                    "metrics", f"{metric!r} has no name; write it as `def name(estimator, X, y)`"
                )
        if len(set(self.metric_names)) < len(self.metrics):
            raise self._wrong("metrics", "names one twice")

    def _check_scorer(self, name: str) -> None:
        from sklearn.metrics import get_scorer_names  # noqa: PLC0415 - heavy; `import trainer` does without

        known = get_scorer_names()
        if name not in known:
            raise self._wrong("metrics", f"scikit-learn has no scorer {name!r}{did_you_mean(name, known)}")

    def _check_gates(self) -> None:
        for gate in self.gates:
            if not isinstance(gate, AtLeast | NoWorse):
                raise self._wrong("gates", f"{gate!r} is neither AtLeast nor NoWorse")
            if gate.metric not in self.metric_names:
                hint = did_you_mean(gate.metric, self.metric_names) or "; add it there"
                raise self._wrong("gates", f"{gate.metric!r} is not in metrics{hint}")

    def _wrong(self, field: str, message: str) -> ConfigError:
        return ConfigError(f"recipe {self.name!r}: {field} {message}")


def metric_name(metric: Metric) -> str:
    """Return a metric's name: the scorer's, or the function's."""
    return metric if isinstance(metric, str) else str(getattr(metric, "__name__", metric))


def describe_features(function: Callable[..., Any]) -> Features:
    """Return what a manifest records of a feature function: ``module:qualname`` and its source's sha256.

    Raises:
        ConfigError: If it has no name an app could import, or no source.
    """
    name = getattr(function, "__qualname__", None)
    if name is None or "<lambda>" in name:
        raise ConfigError(f"features: {function!r} has no name; write it as `def derive(row)` in a module")
    digest = source_sha256(function)
    if digest is None:
        raise ConfigError(f"features: {name} has no source to hash; define it in a module")
    return Features(name=f"{function.__module__}:{name}", sha256=digest)


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return ``; did you mean 'roc_auc'?``, or nothing.

    >>> did_you_mean("roc_acu", ["roc_auc", "r2"])
    "; did you mean 'roc_auc'?"
    """
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
