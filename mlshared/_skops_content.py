"""Looks into a loaded estimator where compiled code would follow its numbers unchecked.

skops checks which types a file holds, not what is in them. What is reachable from the estimator is walked,
and each object is checked by the classes it is made of:

    trees and their ensembles             `_skops_trees`
    support vectors, neighbours, centres  `_skops_shapes`
    sparse tables                         by scipy, in full
    any estimator of scikit-learn         keeps the methods of its class

What remains is what any estimator may do: take long, or much memory (SECURITY.md). Who may write to a store is
decided by its credentials and signatures.
"""

from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any, Final

import numpy as np

from mlshared import _skops_shapes as shapes
from mlshared import _skops_trees as trees
from mlshared.errors import IntegrityError

_LARGEST_VOTE: Final = 2**62


def check_content(estimator: Any) -> None:
    """Check everything reachable from a loaded estimator that compiled code trusts.

    Raises:
        IntegrityError: If something would be read outside its arrays.
    """
    for value in _reachable(estimator):
        for cls in type(value).__mro__:
            check = _CHECKS.get(f"{cls.__module__}.{cls.__name__}")
            if check is not None:
                check(value)


def _reachable(root: Any) -> Iterator[Any]:
    waiting, seen = [root], {id(root): root}
    while waiting:
        value = waiting.pop()
        yield value
        for inner in _parts(value):
            if id(inner) not in seen:
                seen[id(inner)] = inner
                waiting.append(inner)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return (
            [*value.values(), *vars(value).values()] if hasattr(value, "__dict__") else list(value.values())
        )
    if isinstance(value, list | tuple | set):
        return list(value)
    if isinstance(value, np.ndarray):
        return value.ravel().tolist() if value.dtype == object else []
    if isinstance(value, type) or (callable(value) and not hasattr(value, "__dict__")):
        return []
    return list(getattr(value, "__dict__", {}).values())


def _check_estimator(estimator: Any) -> None:
    """A function in a method's place could pass a table on that the method would have refused."""
    classes = type(estimator).__mro__
    for name in vars(estimator):
        if any(isinstance(vars(cls).get(name), FunctionType | property) for cls in classes):
            raise IntegrityError(f"an estimator's own {name[:60]!r} stands in for its class's")


def _check_voting(owner: Any) -> None:
    """Check that no vote is for the last number there is: `numpy.bincount` would write outside its array."""
    if vars(owner).get("voting") == "soft":
        return
    for value in _reachable(vars(owner).get("estimators_")):
        whole = isinstance(value, int | np.integer | np.ndarray) and np.asarray(value).dtype.kind in "iu"
        if whole and np.size(value) and np.max(value) >= _LARGEST_VOTE:
            raise IntegrityError("a vote for a class that cannot be")


def _check_sparse(matrix: Any) -> None:
    try:
        matrix.check_format(full_check=True)
    except (ValueError, AttributeError) as error:
        raise IntegrityError(f"a sparse matrix is malformed: {str(error)[:120]}") from error


_CHECKS: Final[dict[str, Callable[[Any], None]]] = {
    "sklearn.base.BaseEstimator": _check_estimator,
    "sklearn.tree._tree.Tree": trees.check_tree,
    "sklearn.tree._classes.BaseDecisionTree": trees.check_decision_tree,
    "sklearn.ensemble._gb.BaseGradientBoosting": trees.check_gradient_boosting,
    "sklearn.ensemble._hist_gradient_boosting.gradient_boosting.BaseHistGradientBoosting": (
        trees.check_hist_gradient_boosting
    ),
    "sklearn.ensemble._voting.VotingClassifier": _check_voting,
    "sklearn.neighbors._kd_tree.KDTree": trees.check_neighbour_tree,
    "sklearn.neighbors._ball_tree.BallTree": trees.check_neighbour_tree,
    "sklearn.svm._base.BaseLibSVM": shapes.check_svm,
    "sklearn.neighbors._base.NeighborsBase": shapes.check_neighbours,
    "sklearn.cluster._kmeans._BaseKMeans": shapes.check_centres,
    "sklearn.cluster._feature_agglomeration.AgglomerationTransform": shapes.check_labels,
    "sklearn.preprocessing._encoders.OneHotEncoder": shapes.check_one_hot,
    "sklearn.feature_extraction.text.CountVectorizer": shapes.check_vocabulary,
    "sklearn.feature_extraction.text._VectorizerMixin": shapes.check_texts,
    "sklearn.feature_extraction._dict_vectorizer.DictVectorizer": shapes.check_vocabulary,
    "sklearn.feature_extraction._hash.FeatureHasher": shapes.check_hashing,
    "scipy.interpolate._bsplines.BSpline": shapes.check_spline,
    "scipy.sparse._base._spbase": _check_sparse,
    "numpy.random.mtrand.RandomState": shapes.check_random_state,
}
