"""Looks into trees where compiled code would follow their indices unchecked; `_skops_content` calls these.

A crafted tree whose child is node 4,000,000,000 passes any list of types and ends the process at the first
prediction (skops therefore trusts no trees; scikit-learn pull request 34558). Each tree must lead from the
root downwards only, stay inside its arrays, and read only columns that its owner hands to it.
"""

from typing import Any

import numpy as np

from mlshared._skops_require import require


def check_tree(tree: Any) -> None:
    """Check a decision tree's branches and columns."""
    # Before anything else: a tree's own views of its arrays trust this number.
    require(1 <= tree.node_count <= tree.capacity, "a decision tree's number of nodes")
    left, right = tree.children_left, tree.children_right
    inner = left != -1
    _check_downwards(left[inner], right[inner], np.flatnonzero(inner), tree.node_count)
    features = tree.feature[inner]
    require(((features >= 0) & (features < tree.n_features)).all(), "a decision tree's columns")


def _check_downwards(left: Any, right: Any, parents: Any, count: int) -> None:
    for children in (left, right):
        # Depth first and parents before children, so a loop cannot be written.
        require(((children > parents) & (children < count)).all(), "a tree's branches")


def check_decision_tree(owner: Any) -> None:
    """Check that an estimator's tree reads the columns that the estimator was fitted on."""
    tree = vars(owner).get("tree_")
    if tree is None:
        return
    require(type(tree).__name__ == "Tree", "a decision tree")
    require(tree.n_features == owner.n_features_in_, "a decision tree's number of columns")


def check_gradient_boosting(owner: Any) -> None:
    """Check that every tree reads the columns of the ensemble, and that there are as many as its answers."""
    if "estimators_" not in vars(owner):
        return
    columns, estimators = owner.n_features_in_, owner.estimators_
    require(isinstance(estimators, np.ndarray) and estimators.ndim == 2, "boosted trees")
    trees: list[Any] = [getattr(each, "tree_", None) for each in estimators.ravel()]
    require(
        all(type(tree).__name__ == "Tree" and tree.n_features == columns for tree in trees),
        "the number of columns of a boosted tree",
    )
    # predict adds to what this returns, one column a tree of a round, and reads one value a leaf.
    require(all(tree.value.shape[1:] == (1, 1) for tree in trees), "a boosted tree's values")
    start = owner._raw_predict_init(np.zeros((1, columns), dtype=np.float32))  # noqa: SLF001 - see above
    require(start.shape == (1, estimators.shape[1]), "the number of boosted trees in a round")


def check_hist_gradient_boosting(owner: Any) -> None:
    """Check every tree of the ensemble, and that its preprocessor hands on as many columns as came in."""
    state = vars(owner)
    if "_predictors" not in state:
        return
    require(not state.get("_in_fit"), "a boosted ensemble that is being fitted")
    columns = owner.n_features_in_
    categorical = np.zeros(columns, dtype=bool)
    if owner.is_categorical_ is not None:
        asked = np.asarray(owner.is_categorical_)
        require(asked.shape == (columns,) and asked.dtype == bool, "which columns are categorical")
        _check_preprocessor(owner._preprocessor, asked)  # noqa: SLF001 - predict reads what it returns
        categorical = np.asarray(owner._bin_mapper.is_categorical_) != 0  # noqa: SLF001 - read by predict
        require(categorical.shape == (columns,), "which columns are categorical")
    else:
        require(owner._preprocessor is None, "a boosted ensemble's preprocessor")  # noqa: SLF001 - likewise
    for stage in owner._predictors:  # noqa: SLF001 - where scikit-learn keeps its trees
        for predictor in stage:
            _check_predictor(predictor, categorical)


def _check_preprocessor(preprocessor: Any, categorical: Any) -> None:
    """Categories are encoded, the rest is checked: nothing else keeps the number of columns for certain."""
    require(type(preprocessor).__name__ == "ColumnTransformer", "a boosted ensemble's preprocessor")
    (_, encoder, encoded), (_, rest, passed), *others = preprocessor.transformers_
    fits = np.array_equal(encoded, categorical) and np.array_equal(passed, ~categorical)
    dropped = all(isinstance(other[1], str) and other[1] == "drop" for other in others)
    require(fits and dropped, "a boosted ensemble's preprocessed columns")
    require(
        type(encoder).__name__ == "OrdinalEncoder"
        and type(rest).__name__ == "FunctionTransformer"
        and getattr(getattr(rest.func, "func", None), "__name__", None) == "check_array"
        and not rest.kw_args,
        "what a boosted ensemble's preprocessor is made of",
    )


def _check_predictor(predictor: Any, categorical: Any) -> None:
    require(type(predictor).__name__ == "TreePredictor", "a boosted tree")
    nodes, bitsets = predictor.nodes, predictor.raw_left_cat_bitsets
    require(nodes.ndim == 1 and len(nodes) > 0, "a boosted tree without nodes")
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    count, nodes = len(nodes), nodes[inner]
    # As signed numbers: an unsigned child is compared with a signed parent.
    _check_downwards(nodes["left"].astype(np.int64), nodes["right"].astype(np.int64), inner, count)
    features = nodes["feature_idx"]
    require(((features >= 0) & (features < len(categorical))).all(), "a boosted tree's columns")
    by_category = nodes["is_categorical"] != 0
    require(categorical[features[by_category]].all(), "a boosted tree's categorical columns")
    require(bitsets.ndim == 2 and bitsets.shape[1] == 8, "a boosted tree's categories")
    require((nodes["bitset_idx"][by_category] < len(bitsets)).all(), "a boosted tree's categories")


def check_neighbour_tree(tree: Any) -> None:
    """Check a KDTree or BallTree: ranges within its points, branches within its nodes, arrays of one width."""
    state = tree.__getstate__()
    data, indices, nodes, bounds, *_ = state
    n_nodes, metric, weights = state[6], state[11], state[12]
    samples, columns = data.shape
    require(n_nodes == len(nodes) == bounds.shape[1] and n_nodes >= 1, "a neighbour tree's nodes")
    require(bounds.shape[2] == columns, "a neighbour tree's bounds")
    expected_bounds = 2 if type(tree).__name__.startswith("KDTree") else 1
    require(bounds.shape[0] == expected_bounds, "a neighbour tree's bounds")
    require(indices.shape == (samples,), "a neighbour tree's points")
    require(((indices >= 0) & (indices < samples)).all(), "a neighbour tree's points")
    require(weights is None or weights.shape == (samples,), "a neighbour tree's weights of points")
    start, end = nodes["idx_start"], nodes["idx_end"]
    require(((start >= 0) & (start <= end) & (end <= samples)).all(), "a neighbour tree's ranges")
    # Node i's children are 2i+1 and 2i+2.
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    require((2 * inner + 2 < n_nodes).all(), "a neighbour tree's branches")
    name = type(metric).__name__
    require(name.endswith("Distance64"), "a neighbour tree's metric")
    if name == "MinkowskiDistance64":
        require(len(metric.__getstate__()[1]) in (0, 1, columns), "a neighbour tree's weights")
