"""XGBoost's scikit-learn estimators, read from the JSON that XGBoost itself stores.

Source of the JSON: https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html; of every decision:
XGBoost, `src/predictor` and `include/xgboost/tree_model.h`. XGBoost is not imported: an estimator that is
here has brought it along.

All of it is float32: inputs, tests (``x < t``), leaves and their sum, which starts at the base score put
through the link. A category in the set of a split goes right, any other left.
"""

import json
import math
from itertools import pairwise
from typing import Any, Final

import numpy as np

from mlshared.plan._step import Array

from ._block import Block, Converter, Outputs, join
from ._nodes import Tree, summed

MAX_CODE: Final = 100_000  # of a category
_SAME: Final = frozenset(
    {
        "reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:squaredlogerror",
        "reg:quantileerror", "rank:pairwise", "rank:ndcg", "rank:map",
    }
)  # fmt: skip
_EXPONENTIAL: Final = frozenset({"count:poisson", "reg:gamma", "reg:tweedie"})
_LOGISTIC: Final = frozenset({"binary:logistic", "reg:logistic"})


def _classifier(estimator: Any, x: Block) -> Outputs:
    model = _model(estimator, x)
    objective = model["learner"]["objective"]["name"]
    scores = _scores(estimator, model, x)
    if objective == "binary:logistic":
        proba = scores.cast("float64").link("logistic2").cast("float32")
        labels = proba.decide("above", column=1, threshold=0.5)
    elif objective == "multi:softprob":
        proba = scores.cast("float64").link("softmax").cast("float32")
        labels = proba.decide("argmax")
    else:
        x.refuse(f"objective {objective!r}")
    classes = np.asarray(estimator.classes_)
    if len(classes) != proba.width:
        x.refuse("has other classes than its trees")
    return Outputs({"predict": labels, "predict_proba": proba}, (np.arange(len(classes)),))


def _regressor(estimator: Any, x: Block) -> Outputs:
    model = _model(estimator, x)
    objective = model["learner"]["objective"]["name"]
    scores = _scores(estimator, model, x)
    if objective in _SAME:
        return Outputs({"predict": scores})
    kind = "exp" if objective in _EXPONENTIAL else "logistic"
    return Outputs({"predict": scores.cast("float64").link(kind).cast("float32")})


def _model(estimator: Any, x: Block) -> dict[str, Any]:
    missing = estimator.missing
    if not (isinstance(missing, float) and math.isnan(missing)):
        x.refuse(f"missing={missing!r}")
    model: dict[str, Any] = json.loads(estimator.get_booster().save_raw("json"))
    booster = model["learner"]["gradient_booster"]["name"]
    if booster != "gbtree":
        x.refuse(f"booster {booster!r}")
    if int(model["learner"]["learner_model_param"].get("num_target", "1")) > 1:
        x.refuse("several targets")
    return model


def _scores(estimator: Any, model: dict[str, Any], x: Block) -> Block:
    forest = model["learner"]["gradient_booster"]["model"]
    ends = forest["iteration_indptr"]
    best = getattr(estimator, "best_iteration", None) if _stopped_early(estimator) else None
    used = ends[-1] if best is None else ends[best + 1]
    base = _base(model["learner"], x)
    by_output: list[list[Tree]] = [[] for _ in base]
    for tree, output in zip(forest["trees"][:used], forest["tree_info"][:used], strict=True):
        by_output[output].append(_tree(tree, x))
    if len({len(trees) for trees in by_output}) != 1 or not by_output[0]:
        x.refuse("has not as many trees for each output")
    rounds = [tree for each in zip(*by_output, strict=True) for tree in each]
    return summed(_columns(model, x).cast("float32"), rounds, base)


def _stopped_early(estimator: Any) -> bool:
    return estimator.get_booster().attr("best_iteration") is not None


def _base(learner: dict[str, Any], x: Block) -> Array:
    """Return where the sums start: the base score, put through the link in float32."""
    score = json.loads(learner["learner_model_param"]["base_score"])
    base = np.atleast_1d(np.array(score, dtype=np.float32))
    objective = learner["objective"]["name"]
    one = np.float32(1)
    if objective in _LOGISTIC:
        base = -np.log((one / base - one).astype(np.float64)).astype(np.float32)
    elif objective in _EXPONENTIAL:
        base = np.log(base.astype(np.float64)).astype(np.float32)
    elif objective not in _SAME and objective != "multi:softprob":
        x.refuse(f"objective {objective!r}")
    classes = int(learner["learner_model_param"]["num_class"])
    return np.broadcast_to(base, (max(1, classes, len(base)),)).copy()


def _columns(model: dict[str, Any], x: Block) -> Block:
    """Return the columns as XGBoost sees them.

    Pandas categories are codes of training. In a sparse matrix a zero is missing, for it is not there.
    """
    kinds = model["learner"]["feature_types"]
    if x.sparse:
        return x.fill(np.nan, marker=0.0)
    if "c" not in kinds:
        return x
    encodings = model["learner"]["gradient_booster"]["model"].get("cats", {}).get("enc", [])
    fields = x.fields()
    blocks = [x.select([place]) for place in range(x.width)]
    for place, kind in enumerate(kinds):
        if kind == "c":
            field = fields[place]
            if field is None or field.dtype != "category" or place >= len(encodings):
                x.refuse("has categories that are no pandas category column")
            listed = _categories(encodings[place], x)
            codes = blocks[place].encode(listed, missing=-1, unknown=-1)
            names = blocks[place].names
            blocks[place] = codes.lookup(np.arange(float(len(listed)))[:, None], [np.nan], names=names)
    return join(blocks)


def _categories(encoding: dict[str, Any], x: Block) -> list[Any]:
    values = encoding["values"]
    if "offsets" not in encoding:
        if not all(type(value) is int for value in values):
            x.refuse("categories that are neither texts nor whole numbers")
        return list(values)
    if any(value < 0 for value in values):
        x.refuse("categories beyond ASCII, which XGBoost cuts short")
    offsets = encoding["offsets"]
    return [bytes(values[start:end]).decode("ascii") for start, end in pairwise(offsets)]


def _tree(tree: dict[str, Any], x: Block) -> Tree:
    """Return one tree; its sets hold the categories that go right, so its children change places there."""
    if int(tree["tree_param"].get("size_leaf_vector", "1")) > 1:
        x.refuse("leaves of several outputs")
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    leaf = left < 0
    condition = np.array(tree["split_conditions"], dtype=np.float32)
    categorical = (np.array(tree["split_type"]) == 1) & ~leaf
    default = np.array(tree["default_left"]).astype(np.bool_)
    category = np.full(len(left), -1)
    category[np.array(tree["categories_nodes"], dtype=np.int64)] = np.arange(len(tree["categories_nodes"]))
    return Tree(
        np.where(leaf, -1, np.array(tree["split_indices"])),
        np.nextafter(condition, np.float32(-np.inf)).astype(np.float64),  # x < t
        np.where(categorical, right, left),
        np.where(categorical, left, right),
        condition,
        default ^ categorical,
        np.where(categorical, category, -1),
        _sets(tree, x) if categorical.any() else None,
    )


def _sets(tree: dict[str, Any], x: Block) -> Array:
    codes = np.array(tree["categories"], dtype=np.int64)
    if codes.max(initial=0) > MAX_CODE:
        x.refuse(f"categories beyond {MAX_CODE:,}")
    starts, sizes = np.array(tree["categories_segments"]), np.array(tree["categories_sizes"])
    sets = np.zeros((len(starts), int(codes.max(initial=0)) // 32 + 1), dtype=np.uint32)
    owner = np.repeat(np.arange(len(starts)), sizes)
    own = np.concatenate([codes[start : start + size] for start, size in zip(starts, sizes, strict=True)])
    np.bitwise_or.at(sets, (owner, own // 32), np.uint32(1) << (own % 32).astype(np.uint32))
    return sets


CONVERTERS: Final[dict[type | str, Converter]] = {
    "xgboost.sklearn.XGBClassifier": _classifier,
    "xgboost.sklearn.XGBRFClassifier": _classifier,
    "xgboost.sklearn.XGBRegressor": _regressor,
    "xgboost.sklearn.XGBRFRegressor": _regressor,
    "xgboost.sklearn.XGBRanker": _regressor,
}
