"""Looks into a loaded estimator where scikit-learn's compiled code would follow its indices unchecked.

skops checks which types a file holds, not what is in them. A crafted tree whose child is node 4,000,000,000
passes any list of types and ends the process at the first prediction (skops therefore trusts no trees;
scikit-learn pull request 34558). Each tree must lead from the root downwards only, stay inside its arrays,
and read only columns its owner was fitted on.

This does not make arbitrary hostile content safe: support vector machines, for one, trust their arrays
too. Who may write to a store is decided by its credentials and, later, signatures.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from mlshared.errors import IntegrityError


def check_content(estimator: Any) -> None:
    """Check every tree and sparse matrix reachable from a loaded estimator.

    Raises:
        IntegrityError: If one would read outside its arrays.
    """
    for value in _reachable(estimator):
        kind = f"{type(value).__module__}.{type(value).__name__}"
        if kind == "sklearn.tree._tree.Tree":
            _check_tree(value)
        elif kind in ("sklearn.neighbors._kd_tree.KDTree", "sklearn.neighbors._ball_tree.BallTree"):
            _check_ball_tree(value)
        elif kind.startswith("scipy.sparse."):
            _check_sparse(value)
        elif kind.startswith("sklearn."):
            _check_owner(value)


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


def _require(condition: object, what: str) -> None:
    if not condition:
        raise IntegrityError(f"an estimator's content is malformed: {what}; publish it anew")


def _check_tree(tree: Any) -> None:
    _require(1 <= tree.node_count <= tree.capacity, "a decision tree's number of nodes")
    left, right = tree.children_left, tree.children_right
    inner = left != -1
    _check_downwards(left[inner], right[inner], np.flatnonzero(inner), tree.node_count)
    features = tree.feature[inner]
    _require(((features >= 0) & (features < tree.n_features)).all(), "a decision tree's columns")


def _check_downwards(left: Any, right: Any, parents: Any, count: int) -> None:
    for children in (left, right):
        # Depth first and parents before children, so a loop cannot be written.
        _require(((children > parents) & (children < count)).all(), "a tree's branches")


def _check_owner(owner: Any) -> None:
    state = getattr(owner, "__dict__", {})
    tree: Any = state.get("tree_")
    if type(tree).__name__ == "Tree":
        _require(tree.n_features == state.get("n_features_in_"), "a decision tree's number of columns")
    if "_predictors" in state:
        _check_hist_gradient_boosting(owner)
    elif isinstance(state.get("estimators_"), np.ndarray) and state["estimators_"].ndim == 2:
        _check_gradient_boosting(owner)


def _check_gradient_boosting(owner: Any) -> None:
    columns = owner.n_features_in_
    _require(
        all(getattr(each, "n_features_in_", None) == columns for each in owner.estimators_.ravel()),
        "the number of columns of a boosted tree",
    )
    start = owner._raw_predict_init(np.zeros((1, columns), dtype=np.float32))  # noqa: SLF001 - what predict adds to
    _require(start.shape == (1, owner.estimators_.shape[1]), "the number of boosted trees in a round")


def _check_hist_gradient_boosting(owner: Any) -> None:
    columns = owner.n_features_in_
    categorical = np.zeros(columns, dtype=bool)
    if owner.is_categorical_ is not None:
        _require(np.shape(owner.is_categorical_) == (columns,), "which columns are categorical")
        categorical = np.asarray(owner._bin_mapper.is_categorical_, dtype=bool)  # noqa: SLF001 - read by predict
        _require(categorical.shape == (columns,), "which columns are categorical")
    for stage in owner._predictors:  # noqa: SLF001 - where scikit-learn keeps its trees
        for predictor in stage:
            _check_predictor(predictor, categorical)


def _check_predictor(predictor: Any, categorical: Any) -> None:
    nodes, bitsets = predictor.nodes, predictor.raw_left_cat_bitsets
    _require(nodes.ndim == 1 and len(nodes), "a boosted tree without nodes")
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    nodes = nodes[inner]
    _check_downwards(nodes["left"], nodes["right"], inner, len(predictor.nodes))
    features = nodes["feature_idx"]
    _require(((features >= 0) & (features < len(categorical))).all(), "a boosted tree's columns")
    by_category = nodes["is_categorical"] != 0
    _require(categorical[features[by_category]].all(), "a boosted tree's categorical columns")
    _require(bitsets.ndim == 2 and bitsets.shape[1] == 8, "a boosted tree's categories")
    _require((nodes["bitset_idx"][by_category] < len(bitsets)).all(), "a boosted tree's categories")


def _check_ball_tree(tree: Any) -> None:
    data, indices, nodes, bounds, *_rest = state = tree.__getstate__()
    n_nodes, metric = state[6], state[11]
    samples, columns = data.shape
    _require(n_nodes == len(nodes) == bounds.shape[1] and n_nodes >= 1, "a neighbour tree's nodes")
    _require(bounds.shape[2] == columns, "a neighbour tree's bounds")
    expected_bounds = 2 if type(tree).__name__.startswith("KDTree") else 1
    _require(bounds.shape[0] == expected_bounds, "a neighbour tree's bounds")
    _require(indices.shape == (samples,), "a neighbour tree's points")
    _require(((indices >= 0) & (indices < samples)).all(), "a neighbour tree's points")
    start, end = nodes["idx_start"], nodes["idx_end"]
    _require(((start >= 0) & (start <= end) & (end <= samples)).all(), "a neighbour tree's ranges")
    # Node i's children are 2i+1 and 2i+2.
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    _require((2 * inner + 2 < n_nodes).all(), "a neighbour tree's branches")
    name = type(metric).__name__
    _require(name.endswith("Distance64"), "a neighbour tree's metric")
    if name == "MinkowskiDistance64":
        weights = metric.__getstate__()[1]
        _require(len(weights) in (0, 1, columns), "a neighbour tree's weights")


def _check_sparse(matrix: Any) -> None:
    try:
        matrix.check_format(full_check=True)
    except (ValueError, AttributeError) as error:
        raise IntegrityError(f"a sparse matrix is malformed: {str(error)[:120]}") from error
