"""Support vector machines with libsvm's kernels, and its votes among more than two classes."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from ._block import Block, Converter, Outputs

MAX_VALUES: Final = 2_000_000  # of support vectors; beyond, a row costs more than scikit-learn's overhead
_PROBED: Final = 200
_CANCELLING: Final = 100.0  # times 1e-16 is well within the tolerance of 1e-12


def _svc(estimator: Any, x: Block) -> Outputs:
    if getattr(estimator, "_effective_probability", estimator.probability) not in {False, "deprecated"}:
        x.refuse("probability=True: its probabilities are not those of its labels")
    classes = np.asarray(estimator.classes_)
    count = len(classes)
    if count == 2:
        scores = _scores(estimator, x, _dense(estimator.dual_coef_).T)
        return Outputs({"predict": scores.decide("not_negative"), "decision_function": scores}, (classes,))
    # libsvm scores the first class of a pair above zero; `duels` the second.
    against = _scores(estimator, x, -_of_pairs(estimator), -1)
    by_class = _duels(against, count, "sign", confidence=True)
    if estimator.break_ties:
        labels = by_class.decide("argmax")
    else:
        labels = _duels(against, count, "libsvm", confidence=False).decide("argmax")
    one_to_one = estimator.decision_function_shape == "ovo"
    decision = against.affine(mul=-1) if one_to_one else by_class
    return Outputs({"predict": labels, "decision_function": decision}, (classes,))


def _svr(estimator: Any, x: Block) -> Outputs:
    return Outputs({"predict": _scores(estimator, x, _dense(estimator.dual_coef_).T)})


def _one_class(estimator: OneClassSVM, x: Block) -> Outputs:
    scores = _scores(estimator, x, _dense(estimator.dual_coef_).T)
    return Outputs({"predict": scores.decide("positive"), "decision_function": scores}, (np.array([-1, 1]),))


def _scores(estimator: Any, x: Block, weights: Any, sign: int = 1) -> Block:
    """Return kernels times ``weights`` (vectors, scores) plus ``sign`` times the intercepts."""
    if estimator.kernel not in {"linear", "rbf", "poly", "sigmoid"}:
        x.refuse("a kernel that is not linear, rbf, poly or sigmoid")
    vectors = _dense(estimator.support_vectors_)
    offset = sign * np.asarray(estimator.intercept_, dtype=np.float64)
    weights = _dense(weights)
    x = x.check(missing=True).cast("float64")
    if not len(vectors) or (estimator.kernel == "linear" and _forgiving(np.dot, vectors, weights, offset)):
        return x.linear(vectors.T @ weights, offset)
    if vectors.size > MAX_VALUES:
        x.refuse(f"{len(vectors):,} support vectors: a row would take longer than it saves")
    x.builder.rounding = True
    gamma = float(estimator._gamma)  # noqa: SLF001 - what "scale" came to
    order = "libsvm"
    if estimator.kernel == "rbf":
        forgiving = _forgiving(lambda a, b: rbf_kernel(a, b.T, gamma=gamma), vectors, weights, offset)
        order = "any" if forgiving else "libsvm"
    return x.apply(
        "kernel",
        names=[None] * len(offset),
        arrays={"points": vectors, "W": weights, "b": offset},
        kind=estimator.kernel,
        gamma=gamma,
        coef0=float(estimator.coef0),
        degree=int(estimator.degree),
        order=order,
    )


def _forgiving(kernel: Callable[[Any, Any], Any], vectors: Any, weights: Any, offset: Any) -> bool:
    """Return whether a machine's sums may run in any order: no large terms cancel in them.

    Seen on some of the support vectors.
    """
    some = vectors[np.unique(np.linspace(0, len(vectors) - 1, _PROBED).astype(int))]
    kernels = kernel(some, vectors.T)
    terms = (np.abs(kernels) @ np.abs(weights)).max()
    largest = np.abs(kernels @ weights + offset).max(axis=0)
    return bool(terms <= _CANCELLING * largest.min())


def _of_pairs(estimator: Any) -> Any:
    """Return the weights of each pair of classes, shape (vectors, pairs).

    ``dual_coef_`` holds, for a vector of one class, its weight against each of the others, in their order.
    """
    dual = _dense(estimator.dual_coef_)
    counts = np.asarray(estimator.n_support_)
    starts = np.concatenate([[0], np.cumsum(counts)])
    count = len(counts)
    weights = np.zeros((starts[-1], count * (count - 1) // 2))
    for pair, (first, second) in enumerate(zip(*np.triu_indices(count, 1), strict=True)):
        of_first, of_second = (slice(starts[c], starts[c + 1]) for c in (first, second))
        weights[of_first, pair] = dual[second - 1, of_first]
        weights[of_second, pair] = dual[first, of_second]
    return weights


def _duels(scores: Block, count: int, rule: str, *, confidence: bool) -> Block:
    names = [None] * count
    return scores.apply("duels", names=names, classes=count, rule=rule, confidence=confidence)


def _dense(values: Any) -> Any:
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float64)


CONVERTERS: Final[dict[type | str, Converter]] = {
    SVC: _svc,
    NuSVC: _svc,
    SVR: _svr,
    NuSVR: _svr,
    OneClassSVM: _one_class,
}
