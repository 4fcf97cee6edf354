"""What an estimator returns for one row, turned into plain Python: scalars and dicts that json.dumps takes.

    predict               (1,)        -> scalar              (1, targets)    -> {target: scalar}
    predict_proba         (1, c)      -> {class: float}      one array a target -> {target: {class: float}}
    decision_function     (1,)        -> float               (1, c)          -> {class: float}, [float, ...]
    transform             (1, width)  -> [float, ...]

Tables are not touched: they are answered with the arrays the estimator returns.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from mlshared.manifest import Manifest


def values(method: str, answer: Any) -> Any:
    """Return an estimator's answer to a one-row table as a scalar, a list of values, or a list of such lists.

    Args:
        method: The method that answered.
        answer: Array of shape (1,) or (1, k), a list of such arrays, or a sparse matrix.
    """
    if isinstance(answer, list):
        return [np.asarray(each)[0].tolist() for each in answer]
    if hasattr(answer, "toarray"):
        answer = answer.toarray()
    array = np.asarray(answer)
    if method == "transform":
        return array.reshape(-1).tolist()
    first = array[0]
    return first.tolist() if isinstance(first, np.ndarray | np.generic) else first


def naming(method: str, manifest: Manifest) -> Callable[[Any], Any]:
    """Return what names the values of one answer by class or target: scalar or lists -> scalar or dicts.

    Args:
        method: The method that answers: its values are a scalar, a list of k values, or for several targets a
            list of lists.
        manifest: Names classes and targets.
    """
    if method == "transform":
        return _as_it_is  # never by target or class, though there may be as many
    classes, targets = manifest.classes, manifest.targets
    if targets is None and classes is not None and method != "predict":
        if len(classes) == 2:
            no, yes = classes
            return lambda values: (
                {no: values[0], yes: values[1]} if type(values) is list and len(values) == 2 else values
            )
        return lambda values: _zipped(classes, values)
    return lambda values: _by_target(values, manifest, method)


def _as_it_is(values: Any) -> Any:
    return values


def _zipped(names: tuple[Any, ...], values: Any) -> Any:
    if not isinstance(values, list) or len(values) != len(names):
        return values
    return dict(zip(names, values, strict=True))


def _by_target(values: Any, manifest: Manifest, method: str) -> Any:
    if not isinstance(values, list):
        return values
    targets = manifest.targets
    if targets is None or len(targets) != len(values):
        if method != "predict":
            return values
        targets = tuple(f"y{position}" for position in range(len(values)))
    if not any(isinstance(value, list) for value in values):
        return dict(zip(targets, values, strict=True))
    per_target = manifest.classes or ()
    named: dict[str, Any] = {}
    for position, target in enumerate(targets):
        names = per_target[position] if position < len(per_target) else ()
        named[target] = _zipped(names, values[position]) if isinstance(names, tuple) else values[position]
    return named
