"""LightGBM's scikit-learn estimators, read from the model text that LightGBM itself stores.

Source of the text and of every decision: LightGBM, `src/io/tree.cpp` and `include/LightGBM/tree.h`.
LightGBM is not imported: an estimator that is here has brought it along.

Traps: numbers within 1e-35 of zero are zero to it; a missing value is zero where the training column had
none; pandas categories are codes in the order of training; integer arrays are rounded to float32.
"""

import re
from itertools import pairwise
from typing import Any, Final

import numpy as np

from mlshared.plan._step import Array

from ._block import Block, Converter, Outputs, join
from ._nodes import Tree, summed

ZERO: Final = float(np.float32(1e-35))
MAX_WORDS: Final = 4096  # of a set of categories: 131,072 of them
_CATEGORICAL, _DEFAULT_LEFT, _MISSING = 1, 2, 12  # bits of decision_type
_ZERO_MISSES, _NAN_MISSES = 4, 8
_SAME: Final = frozenset(
    {"regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank", "rank_xendcg"}
)
_EXPONENTIAL: Final = frozenset({"poisson", "gamma", "tweedie"})


def _classifier(estimator: Any, x: Block) -> Outputs:
    kind, options = _objective(estimator, x)
    sums, scores = _scores(estimator, x)
    if kind in {"binary", "cross_entropy"}:
        proba = _times(scores, options.get("sigmoid", 1.0)).link("logistic2")
    elif kind == "multiclass":
        proba = scores.link("softmax")
    elif kind == "multiclassova":
        proba = _times(scores, options.get("sigmoid", 1.0)).link("logistic")
    else:
        x.refuse(f"objective {kind!r}")
    classes = np.asarray(estimator.classes_)
    if len(classes) != proba.width:
        x.refuse("has other classes than its trees")
    methods: dict[str, Block | list[Block]] = {
        "predict": proba.decide("argmax"),
        "predict_proba": proba,
        "decision_function": sums,
    }
    return Outputs(methods, (classes,))


def _regressor(estimator: Any, x: Block) -> Outputs:
    kind, options = _objective(estimator, x)
    if (kind not in _SAME and kind not in _EXPONENTIAL) or options.get("sqrt"):
        x.refuse(f"objective {kind!r} with {sorted(options)}")
    _, scores = _scores(estimator, x)
    return Outputs({"predict": scores.link("exp") if kind in _EXPONENTIAL else scores})


def _times(scores: Block, factor: float) -> Block:
    return scores if factor == 1.0 else scores.affine(mul=factor)


def _objective(estimator: Any, x: Block) -> tuple[str, dict[str, float]]:
    """Return the objective's name and options: ``binary sigmoid:1``."""
    if estimator.get_params().get("pred_early_stop"):
        x.refuse("pred_early_stop")
    found = re.search(r"^objective=(.*)$", _text(estimator), re.MULTILINE)
    if found is None:
        x.refuse("an objective of its own")
    kind, *options = found[1].split()
    pairs = (option.partition(":") for option in options)
    return kind, {name: float(value) if value else 1.0 for name, _, value in pairs}


def _text(estimator: Any) -> str:
    return str(estimator.booster_.model_to_string())


def _scores(estimator: Any, x: Block) -> tuple[Block, Block]:
    """Return the sums, and the scores that the link takes: of random forests the averages."""
    text = _text(estimator)
    header, *parts = text.partition("\nend of trees")[0].split("\nTree=")
    outputs = int(_values(header)["num_tree_per_iteration"])
    trees = [_tree(_values(part), x) for part in parts]
    sums = summed(_columns(estimator, x).cast("float64"), trees, np.zeros(outputs))
    if re.search(r"^average_output$", header, re.MULTILINE):
        return sums, sums.affine(div=float(len(trees) // outputs))
    return sums, sums


def _values(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, equals, value in pairs if equals}


def _columns(estimator: Any, x: Block) -> Block:
    """Return the columns as LightGBM sees them: pandas categories as codes, NaN where unknown."""
    categories = estimator.booster_.pandas_categorical
    fields = x.fields()
    if categories is None and any(
        field is not None and re.fullmatch(r"u?int(32|64)", field.dtype) for field in fields
    ):
        x.refuse("takes an array of integers, which LightGBM rounds to float32")
    own = [place for place, field in enumerate(fields) if field is not None and field.dtype == "category"]
    if len(own) != len(categories or []):
        x.refuse("has categories that are no column of the frame")
    blocks = [x.select([place]) for place in range(x.width)]
    for place, listed in zip(own, categories or [], strict=True):
        codes = blocks[place].encode(listed, missing=-1, unknown=-1)
        names = blocks[place].names
        blocks[place] = codes.lookup(np.arange(float(len(listed)))[:, None], [np.nan], names=names)
    return join(blocks)


def _tree(values: dict[str, str], x: Block) -> Tree:
    """Return one tree; its splits first, then its leaves."""
    if values.get("is_linear", "0") != "0":
        x.refuse("linear_tree")
    leaves = np.array(values["leaf_value"].split(), dtype=np.float64)
    splits = int(values["num_leaves"]) - 1
    if splits == 0:
        empty = np.array([-1])
        return Tree(empty, np.zeros(1), empty, empty, leaves[:1], np.zeros(1, dtype=np.bool_))
    ints = {
        name: np.array(values[name].split(), dtype=np.int64)
        for name in ("split_feature", "decision_type", "left_child", "right_child")
    }
    kinds, threshold = ints["decision_type"], np.array(values["threshold"].split(), dtype=np.float64)
    if ((kinds & _MISSING) == _ZERO_MISSES).any():
        x.refuse("zero_as_missing")
    categorical = (kinds & _CATEGORICAL) > 0
    misses = (kinds & _MISSING) == _NAN_MISSES
    left = np.where(misses, (kinds & _DEFAULT_LEFT) > 0, threshold >= 0) & ~categorical
    count, pad = splits + len(leaves), np.zeros(len(leaves))
    category = np.full(count, -1)
    category[:splits][categorical] = threshold[categorical].astype(np.int64)
    none = pad.astype(np.int64)
    return Tree(
        np.append(ints["split_feature"], none - 1),
        np.append(_around_zero(threshold), pad),
        np.append(_placed(ints["left_child"], splits), none),
        np.append(_placed(ints["right_child"], splits), none),
        np.append(np.zeros(splits), leaves),
        np.append(left, pad.astype(np.bool_)),
        category,
        _sets(values, x) if categorical.any() else None,
    )


def _around_zero(threshold: Array) -> Array:
    """Return thresholds that treat what is within `ZERO` of zero alike, as if it were zero."""
    below = (threshold >= -ZERO) & (threshold < 0)
    above = (threshold >= 0) & (threshold < ZERO)
    return np.where(below, np.nextafter(-ZERO, -np.inf), np.where(above, ZERO, threshold))


def _placed(children: Array, splits: int) -> Array:
    """Return children as nodes: leaf l is written ~l, and stands behind all splits."""
    return np.where(children < 0, splits + ~children, children)


def _sets(values: dict[str, str], x: Block) -> Array:
    bounds = np.array(values["cat_boundaries"].split(), dtype=np.int64)
    words = np.array(values["cat_threshold"].split(), dtype=np.uint32)
    widest = int(np.diff(bounds).max())
    if widest > MAX_WORDS:
        x.refuse(f"categories beyond {32 * MAX_WORDS:,}")
    sets = np.zeros((len(bounds) - 1, widest), dtype=np.uint32)
    for place, (start, end) in enumerate(pairwise(bounds.tolist())):
        sets[place, : end - start] = words[start:end]
    return sets


CONVERTERS: Final[dict[type | str, Converter]] = {
    "lightgbm.sklearn.LGBMClassifier": _classifier,
    "lightgbm.sklearn.LGBMRegressor": _regressor,
    "lightgbm.sklearn.LGBMRanker": _regressor,
}
