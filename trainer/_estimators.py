"""What a fitted estimator is, and its bytes: what publish writes into a manifest and beside it.

    describe_estimator(estimator, X, y)  -> Description(task, methods, classes, targets, ...)
    dump_estimator(estimator)            -> skops bytes that a client with default settings loads
    environment(data, X)                 -> the libraries the estimator's types really come from

An estimator that cannot be stored is refused here, by name and reason, before anything is published.
"""

import functools
import platform
import sys
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from io import BytesIO
from pickle import Pickler, PicklingError
from types import FunctionType
from typing import Any, Final, Literal

import numpy as np

from mlshared._artifact import import_skops, load_estimator, skops_refuses
from mlshared._skops_audit import audit
from mlshared.errors import ArtifactError
from mlshared.manifest import Environment, Scalar

from .errors import NotStorable

Task = Literal["classifier", "regressor", "clusterer", "outlier_detector", "transformer", "other"]
METHODS: Final = ("predict", "predict_proba", "decision_function", "transform")

# Rows tried to see what predict returns.
_TRIED: Final = 8
_MENDS: Final = {
    "<lambda>": "give it a name in a module, and name that in trusted_types; or use a numpy ufunc",
    "__main__": "move it into a module that the web app can import too",
    "<locals>": "move it to the top of a module",
    "scipy.stats": "publish the search's .best_estimator_, which holds no distributions",
}


@dataclass(frozen=True, slots=True)
class Description:
    """What a manifest says of an estimator.

    Attributes:
        task: What kind of estimator it is.
        methods: Which of `METHODS` it has.
        classes: What it can answer, as Python scalars; one tuple per target where there are several.
        class_dtype: The numpy dtype of the classes; of the first target's where there are several.
        targets: Names of the targets where there are several.
        output_dtype: The numpy dtype of what ``predict`` returns, or None without ``predict``.
    """

    task: Task
    methods: tuple[str, ...]
    classes: tuple[Scalar, ...] | tuple[tuple[Scalar, ...], ...] | None
    class_dtype: str | None
    targets: tuple[str, ...] | None
    output_dtype: str | None


def describe_estimator(estimator: Any, X: Any, y: Any = None) -> Description:  # noqa: N803 - scikit-learn's name
    """Return what a manifest says of a fitted estimator.

    Args:
        estimator: Fitted.
        X: Rows it predicts, as it was fitted on: DataFrame, array, sparse matrix or list of texts; the
            first few are predicted.
        y: Their targets; a DataFrame's columns name several targets, which are ``y0..yn`` otherwise.

    Raises:
        NotStorable: If its classes are not text, numbers or booleans.
    """
    task = _task(estimator)
    methods = tuple(name for name in METHODS if hasattr(estimator, name))
    if "predict" not in methods:
        return Description(task, methods, None, None, None, None)
    answer = np.asarray(estimator.predict(X[:_TRIED]))
    targets = _targets(answer, y)
    classes = getattr(estimator, "classes_", None) if task == "classifier" else None
    if classes is None:
        return Description(task, methods, None, None, targets, str(answer.dtype))
    if targets is None:
        found = _scalars(classes)
        return Description(task, methods, found, str(np.asarray(classes).dtype), None, str(answer.dtype))
    per_target = _per_target(classes, len(targets))
    return Description(
        task,
        methods,
        tuple(_scalars(each) for each in per_target),
        str(np.asarray(per_target[0]).dtype),
        targets,
        str(answer.dtype),
    )


def dump_estimator(estimator: Any, trusted_types: Iterable[str] = ()) -> bytes:
    """Return a fitted estimator as skops bytes, once they have been loaded again as a client would.

    Args:
        estimator: Fitted.
        trusted_types: Exact names that every client of the model has in its setting ``trusted_types``.

    Raises:
        NotStorable: If it holds a lambda, something of ``__main__`` or of a type that is not allowed, or
            if skops cannot write it; the message names each and why.
    """
    trusted = frozenset(trusted_types)
    skops_io = import_skops()
    try:
        data: bytes = skops_io.dumps(estimator, compression=zipfile.ZIP_STORED)
    except RecursionError as error:
        raise NotStorable(f"{_named(estimator)} cannot be stored: it refers to itself") from error
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise NotStorable(f"{_named(estimator)} cannot be stored: {str(error)[:300]}") from error
    refused = audit(data, trusted).refused
    refused = {**skops_refuses(data, trusted), **refused}
    if refused:
        listed = "; ".join(f"{name} ({_mend(name, why)})" for name, why in sorted(refused.items()))
        raise NotStorable(f"{_named(estimator)} cannot be stored: it holds {listed}")
    try:
        load_estimator(data, "skops", trusted)
    except ArtifactError as error:
        raise NotStorable(f"{_named(estimator)} is stored but cannot be loaded: {error}") from error
    return data


def dump_joblib(estimator: Any) -> bytes:
    """Return a fitted estimator as joblib bytes.

    Raises:
        NotStorable: If it holds a lambda or something of ``__main__``, which no app could load, or if it cannot be
            pickled.
    """
    import joblib  # noqa: PLC0415 - heavy

    buffer = BytesIO()
    try:
        names = _pickled_names(estimator)
        joblib.dump(estimator, buffer)
    except (PicklingError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise NotStorable(f"{_named(estimator)} cannot be stored: {str(error)[:300]}") from error
    if refused := sorted(name for name in names if name.startswith("__main__.")):
        raise NotStorable(
            f"{_named(estimator)} cannot be stored: it holds {refused[0]} ({_MENDS['__main__']})"
        )
    return buffer.getvalue()


class _Naming(Pickler):
    """Notes the classes and functions that a pickle would name."""

    def __init__(self) -> None:
        super().__init__(BytesIO())
        self.names: set[str] = set()

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type | FunctionType):
            self.names.add(f"{obj.__module__}.{obj.__qualname__}")
        return NotImplemented


def _pickled_names(estimator: Any) -> set[str]:
    naming = _Naming()
    naming.dump(estimator)
    return naming.names


def environment(
    estimator: Any,
    data: bytes | None,
    X: Any = None,  # noqa: N803 - scikit-learn's name
    *,
    pickled: bool = False,
) -> Environment:
    """Return where the estimator was trained.

    Args:
        estimator: Fitted.
        data: Its bytes, from `dump_estimator`; None if it cannot be stored.
        X: What it was fitted on; pandas is listed if that is a frame.
        pickled: Whether it was stored by `dump_joblib`.
    """
    types = {type(estimator).__module__} if data is None else set(audit(data).names)
    if pickled:
        types = _pickled_names(estimator)
    return Environment(
        python=platform.python_version(), machine=platform.machine(), libraries=libraries(types, X)
    )


def libraries(types: Iterable[str], X: Any = None) -> dict[str, str]:  # noqa: N803 - scikit-learn's name
    """Return ``{distribution: version}`` of what an estimator's types, by full name, and its frames come from."""
    modules = {name.split(".")[0] for name in types} | {"numpy", "skops"}
    if type(X).__module__.split(".")[0] == "pandas":
        modules.add("pandas")
    if "sklearn" in modules:
        modules.add("scipy")
    distributions = _distributions()
    if modules - distributions.keys() - sys.stdlib_module_names:  # installed since, or of no distribution
        _distributions.cache_clear()
        distributions = _distributions()
    found = {each for module in modules for each in distributions.get(module, ())[:1]}
    return {each: metadata.version(each) for each in sorted(found)}


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Return the distributions of each module; looking through all that is installed takes a tenth of a second."""
    return metadata.packages_distributions()


def _task(estimator: Any) -> Task:
    from sklearn.utils import get_tags  # noqa: PLC0415 - heavy, and only the trainer extra has it

    try:
        kind = get_tags(estimator).estimator_type
    except AttributeError:
        # Not scikit-learn's own kind of estimator: it predicts, and that is all that is known.
        kind = None
    for task in ("classifier", "regressor", "clusterer", "outlier_detector", "transformer"):
        if kind == task:
            return task
    return "transformer" if hasattr(estimator, "transform") and not hasattr(estimator, "predict") else "other"


def _targets(answer: Any, y: Any) -> tuple[str, ...] | None:
    if answer.ndim < 2 or answer.shape[1] == 1:
        return None
    columns = getattr(y, "columns", None)
    if columns is not None and len(columns) == answer.shape[1]:
        return tuple(str(name) for name in columns)
    return tuple(f"y{position}" for position in range(answer.shape[1]))


def _per_target(classes: Any, targets: int) -> list[Any]:
    if isinstance(classes, list | tuple) and len(classes) == targets and np.ndim(classes[0]) == 1:
        return list(classes)
    # A multilabel classifier numbers its labels in classes_; each of them is answered 0 or 1.
    return [np.array([0, 1])] * targets


def _scalars(classes: Any) -> tuple[Scalar, ...]:
    values = tuple(np.asarray(classes).tolist())
    for value in values:
        if not isinstance(value, bool | int | float | str):
            raise NotStorable(
                f"a class is {type(value).__name__} {str(value)[:40]!r}; classes must be text, numbers or "
                "booleans: encode the target before fitting"
            )
    return values


def _named(estimator: Any) -> str:
    return type(estimator).__name__


def _mend(name: str, why: str) -> str:
    return next((mend for part, mend in _MENDS.items() if part in name), why)
