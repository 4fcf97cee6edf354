"""What an estimator returns for one row, turned into plain Python: scalars and dicts that json.dumps takes.

    predict               (1,)        -> scalar              (1, targets)    -> {target: scalar}
    predict_proba         (1, c)      -> {class: float}      one array a target -> {target: {class: float}}
    decision_function     (1,)        -> float               (1, c)          -> {class: float}, [float, ...]
    transform             (1, width)  -> [float, ...]

Tables are not touched: they are answered with the arrays the estimator returns.
"""

from typing import Any

import numpy as np

from mlshared.manifest import Manifest, Scalar


def plain(method: str, answer: Any, manifest: Manifest) -> Any:
    """Return an estimator's answer to a one-row table as plain Python.

    Args:
        method: The method that answered.
        answer: Array of shape (1,) or (1, k), a list of such arrays, or a sparse matrix.
        manifest: Of the version that answered; names its classes and targets.
    """
    if isinstance(answer, list):
        return _by_target(answer, manifest)
    if hasattr(answer, "toarray"):
        answer = answer.toarray()
    array = np.asarray(answer)
    if method == "transform":
        return array.reshape(-1).tolist()  # never by target or class, though there may be as many
    if array.ndim == 1:
        return _scalar(array[0])
    values = array[0].tolist()
    if method == "predict" or (manifest.targets and len(manifest.targets) == len(values)):
        return dict(zip(_targets(manifest, len(values)), values, strict=True))
    classes = manifest.classes
    if classes is not None and len(classes) == len(values):
        return dict(zip(classes, values, strict=True))
    return values


def _by_target(answers: list[Any], manifest: Manifest) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    per_target = manifest.classes or ()
    for position, target in enumerate(_targets(manifest, len(answers))):
        values = np.asarray(answers[position])[0].tolist()
        classes = per_target[position] if position < len(per_target) else ()
        named: tuple[Scalar, ...] = classes if isinstance(classes, tuple) else ()
        answer[target] = dict(zip(named, values, strict=True)) if len(named) == len(values) else values
    return answer


def _targets(manifest: Manifest, count: int) -> tuple[str, ...]:
    targets = manifest.targets
    return targets if targets and len(targets) == count else tuple(f"y{i}" for i in range(count))


def _scalar(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
