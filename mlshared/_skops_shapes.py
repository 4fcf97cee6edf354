"""Looks at other arrays that compiled code trusts: support vectors, neighbours, centres, columns of sparse tables.

Each of these ends the process, or reads or writes other memory, when it is changed: found by shrinking every
array and enlarging every number of every estimator (`tests/hostile/fuzz.py`). `_skops_content` calls them.
"""

from typing import Any, Final

import numpy as np

from mlshared._skops_require import require
from mlshared.errors import IntegrityError

_CLASSIFIES: Final = ("c_svc", "nu_svc")
_MOST_COLUMNS: Final = 2**31 - 1
_MT19937_WORDS: Final = 624


def check_svm(owner: Any) -> None:
    """Check a support vector machine of libsvm, which takes every length from another array."""
    state = vars(owner)
    if "support_vectors_" not in state:
        return
    require(
        "_impl" not in state and "_sparse_kernels" not in state, "a support vector machine of another kind"
    )
    vectors, counts, support = state["support_vectors_"], state["_n_support"], state["support_"]
    classes = len(owner.classes_) if type(owner)._impl in _CLASSIFIES else 2  # noqa: SLF001 - which libsvm runs
    many, pairs, most = len(support), classes * (classes - 1) // 2, int(owner.shape_fit_[0])
    require(classes >= 2 and counts.shape == (classes,) and (counts >= 0).all(), "a machine's classes")
    if type(owner)._impl in _CLASSIFIES:  # noqa: SLF001 - likewise
        require(int(counts.sum(dtype=np.int64)) == many, "a machine's numbers of support vectors")
    require(support.shape == (many,) and ((support >= 0) & (support < most)).all(), "a machine's support")
    require(state["_intercept_"].shape == (pairs,), "a machine's intercepts")
    require(all(len(state[name]) in (0, pairs) for name in ("_probA", "_probB")), "a machine's probabilities")
    require(len(state["_probA"]) == len(state["_probB"]), "a machine's probabilities")
    # As scikit-learn 1.9 and 1.8 tell libsvm that there are some.
    told = state.get("_effective_probability") or state.get("probability") not in (False, None, "deprecated")
    require(len(state["_probA"]) == pairs or not told, "a machine's probabilities")
    _check_vectors(owner, vectors, many)
    weights = state["_dual_coef_"]
    size = weights.data.size if hasattr(weights, "indptr") else weights.size
    require(weights.shape == (classes - 1, many) and size == (classes - 1) * many, "a machine's weights")


def _check_vectors(owner: Any, vectors: Any, many: int) -> None:
    state = vars(owner)
    require(
        hasattr(vectors, "indptr") == hasattr(state["_dual_coef_"], "indptr") == bool(state["_sparse"]),
        _VECTORS,
    )
    if owner.kernel == "precomputed" or callable(owner.kernel):
        require(len(vectors) == 0 and owner.n_features_in_ == int(owner.shape_fit_[0]), _VECTORS)
    else:
        require(vectors.shape == (many, owner.n_features_in_), _VECTORS)


_VECTORS: Final = "a machine's support vectors"


def check_neighbours(owner: Any) -> None:
    """Check the points of a nearest-neighbours estimator, and the classes they name."""
    state = vars(owner)
    points, tree = state.get("_fit_X"), state.get("_tree")
    if points is None:
        require(tree is None, "neighbours")
        return
    samples, columns = points.shape
    require(columns == owner.n_features_in_ and samples == owner.n_samples_fit_, "the points of neighbours")
    require(tree is None or tree.__getstate__()[0].shape == (samples, columns), "a neighbour tree's data")
    labels = state.get("_y")
    if labels is None:
        return
    require(len(labels) == samples, "the answers of neighbours")
    if "classes_" in state:
        lists = state["classes_"] if state.get("outputs_2d_") else [state["classes_"]]
        numbers = np.reshape(labels, (samples, -1))
        require(numbers.shape[1] == len(lists) and numbers.dtype.kind in "iu", "the classes of neighbours")
        most = np.array([len(each) for each in lists])
        require(((numbers >= 0) & (numbers < most)).all(), "the classes of neighbours")


def check_centres(owner: Any) -> None:
    """Check the centres of KMeans and its kin."""
    centres = vars(owner).get("cluster_centers_")
    if centres is not None:
        fits = centres.ndim == 2 and len(centres) > 0 and centres.shape[1] == owner.n_features_in_
        require(fits, "the centres of clusters")
    waiting = [vars(owner).get("_bisecting_tree")]
    while waiting:
        node = waiting.pop()
        if node is None:
            continue
        require(np.shape(node.center) == (owner.n_features_in_,), "a centre of clusters")
        require(len(waiting) < 100_000, "a tree of clusters")
        waiting += [node.left, node.right]


def check_labels(owner: Any) -> None:
    """Check which group a column belongs to: `numpy.bincount` makes room for the largest, or writes elsewhere."""
    labels = vars(owner).get("labels_")
    if labels is not None:
        columns = owner.n_features_in_
        fits = labels.shape == (columns,) and labels.dtype.kind in "iu"
        require(fits and ((labels >= 0) & (labels < columns)).all(), "groups of columns")


def check_one_hot(owner: Any) -> None:
    """Check that a one-hot encoder numbers no column that its sparse table does not have."""
    state = vars(owner)
    if "categories_" not in state:
        return
    number = len(owner.categories_)
    grouped = bool(state.get("_infrequent_enabled"))
    mappings = state["_default_to_infrequent_mappings"] if grouped else [None] * number
    rare = state["_infrequent_indices"] if grouped else [None] * number
    dropped = state.get("_drop_idx_after_grouping")
    dropped = [None] * number if dropped is None else list(dropped)
    widths = [int(width) for width in state["_n_features_outs"]]
    require(number == len(mappings) == len(rare) == len(dropped) == len(widths), _ONE_HOT)
    for at, categories in enumerate(owner.categories_):
        levels = _check_categories(categories, mappings[at], rare[at])
        drop = dropped[at]
        require(drop is None or 0 <= int(drop) < levels, _ONE_HOT)
        require(widths[at] == levels - (drop is not None), _ONE_HOT)


_ONE_HOT: Final = "the categories of an encoder"


def _check_categories(categories: Any, mapping: Any, rare: Any) -> int:
    """Return how many there are after the rare ones became one."""
    if (
        categories.dtype.kind not in "OUS"
    ):  # found by bisection, which returns anything where they are not in order
        known = categories[~np.isnan(categories)] if categories.dtype.kind == "f" else categories
        require((np.diff(known) > 0).all() if known.dtype.kind != "b" else len(known) <= 2, _ONE_HOT)
    require((mapping is None) == (rare is None), _ONE_HOT)
    if mapping is None:
        return len(categories)
    levels = len(categories) - len(rare) + 1
    require(mapping.shape == (len(categories),) and ((mapping >= 0) & (mapping < levels)).all(), _ONE_HOT)
    return levels


def check_vocabulary(owner: Any) -> None:
    """Check that words are numbered 0, 1, 2, ...: the table they are counted in has a column for each."""
    vocabulary = vars(owner).get("vocabulary_")
    if vocabulary is None:
        return
    numbers = list(vocabulary.values())
    require(
        all(type(each) is int or isinstance(each, np.integer) for each in numbers), "a vocabulary's columns"
    )
    require(set(numbers) == set(range(len(numbers))), "a vocabulary's columns")


def check_texts(owner: Any) -> None:
    """Check that a vectorizer takes its texts for texts.

    With ``input="filename"`` it would open the file that a row names: any file of the web app's.
    """
    if vars(owner).get("input", "content") != "content":
        raise IntegrityError(
            "a vectorizer would open the files that its rows name (input='filename'): not read here"
        )
    check_hashing(owner)


def check_hashing(owner: Any) -> None:
    """Check that hashed words have a column."""
    columns = vars(owner).get("n_features")
    if columns is not None:
        whole = type(columns) is int or isinstance(columns, np.integer)
        require(whole and 1 <= columns <= _MOST_COLUMNS, "a hashed word's column")


def check_spline(spline: Any) -> None:
    """Check that a spline has the knots and coefficients its degree asks for."""
    state = vars(spline)
    knots, weights = (state.get(f"_{name}", state.get(name)) for name in "tc")
    degree = state["k"]
    require(type(degree) is int or isinstance(degree, np.integer), "a spline's degree")
    require(0 <= degree <= 100 and knots.ndim == 1 and knots.dtype.kind == "f", "a spline's knots")
    many = len(knots) - degree - 1
    require(many > degree and weights.ndim >= 1 and len(weights) >= many, "a spline's coefficients")
    require(np.isfinite(knots).all() and (np.diff(knots) >= 0).all(), "a spline's knots")


def check_random_state(state: Any) -> None:
    """Check that a random state stands within its own words; numpy believes any number."""
    inner = state.get_state(legacy=False)["state"]
    require(0 <= inner["pos"] <= _MT19937_WORDS and len(inner["key"]) == _MT19937_WORDS, "a random state")
