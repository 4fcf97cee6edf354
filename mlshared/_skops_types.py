"""The exact names an estimator file may hold, how each may be used, and why those beyond skops' own are here.

skops trusts by default: scikit-learn's public estimators, its loss and link objects, numpy and scipy ufuncs,
numpy arrays, dtypes and random states, and Python's containers (`SKOPS_DEFAULTS`, `_skops_names`). Everything
else is in `GROUPS` or refused. No entry is a prefix. A list that comes with an artifact counts for nothing; a
consumer adds exact names with ``trusted_types``.

In a skops file the *file* says how each name is used (its loader): as a type to fill, a function to refer
to, a constructor to call. So a name here is good for one loader only: a function that may be referred to
cannot be called while loading.
"""

from dataclasses import dataclass
from typing import Final

from mlshared._skops_names import ESTIMATORS, LOSSES, SCALARS, UFUNCS


@dataclass(frozen=True, slots=True)
class Group:
    """Names allowed for one reason.

    Attributes:
        loader: The only skops loader they may be used with.
        why: Which estimators need them, and why they are harmless.
        names: Full names, ``module.name``.
    """

    loader: str
    why: str
    names: tuple[str, ...]


def _within(module: str, names: str) -> tuple[str, ...]:
    return tuple(f"{module}.{name}" for name in names.split())


GROUPS: Final = (
    Group(
        "TreeNode",
        "decision trees, forests, GradientBoosting, AdaBoost, IsolationForest; skops leaves it out because "
        "its indices are followed unchecked: `_skops_content` checks them after loading",
        ("sklearn.tree._tree.Tree",),
    ),
    Group(
        "ObjectNode",
        "HistGradientBoosting; left out by skops and checked by `_skops_content` likewise",
        ("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",),
    ),
    Group(
        "PartialNode",
        "HistGradientBoosting with categories, whose preprocessor holds partial(check_array); see PARTIAL_OF",
        ("functools.partial",),
    ),
    Group(
        "FunctionNode",
        "HistGradientBoosting with categories: validates an array",
        ("sklearn.utils.validation.check_array",),
    ),
    Group(
        "ObjectNode",
        "neighbours, LocalOutlierFactor, Isomap; indices checked by `_skops_content`",
        ("sklearn.neighbors._kd_tree.KDTree", "sklearn.neighbors._ball_tree.BallTree"),
    ),
    Group(
        "ObjectNode",
        "the metrics of those trees that hold no array to be read unchecked",
        _within(
            "sklearn.metrics._dist_metrics",
            "EuclideanDistance64 ManhattanDistance64 ChebyshevDistance64 MinkowskiDistance64",
        ),
    ),
    Group(
        "ObjectNode",
        "CalibratedClassifierCV: plain numbers",
        _within("sklearn.calibration", "_CalibratedClassifier _SigmoidCalibration _TemperatureScaling"),
    ),
    Group(
        "ObjectNode",
        "TweedieRegressor: plain numbers",
        _within("sklearn._loss.loss", "HalfTweedieLoss HalfTweedieLossIdentity"),
    ),
    Group(
        "ObjectNode",
        "GaussianProcessClassifier: one binary problem's arrays",
        ("sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",),
    ),
    Group(
        "ObjectNode",
        "Gaussian processes: kernels hold numbers and other kernels",
        _within(
            "sklearn.gaussian_process.kernels",
            "CompoundKernel ConstantKernel DotProduct ExpSineSquared Exponentiation Matern PairwiseKernel "
            "Product RBF RationalQuadratic Sum WhiteKernel",
        ),
    ),
    Group(
        "ObjectNode",
        "MLPClassifier, MLPRegressor: the optimizer's arrays, used by fitting only",
        _within("sklearn.neural_network._stochastic_optimizers", "AdamOptimizer SGDOptimizer"),
    ),
    Group(
        "ObjectNode",
        "OneVsRest and OutputCode where a class is constant",
        ("sklearn.multiclass._ConstantPredictor",),
    ),
    Group(
        "DictNode",
        "voting, stacking, ColumnTransformer: a dict with attribute access",
        ("sklearn.utils._bunch.Bunch",),
    ),
    Group(
        "ObjectNode",
        "ColumnTransformer: which columns were asked for, by pattern or dtype",
        ("sklearn.compose._column_transformer.make_column_selector",),
    ),
    Group(
        "TypeNode",
        "make_column_selector(dtype_include=numpy.number or object)",
        ("numpy.number", "builtins.object"),
    ),
    Group("DTypeNode", "SimpleImputer, KBinsDiscretizer: the dtype they answer in", ("numpy.dtype",)),
    Group(
        "ObjectNode", "SplineTransformer: knots and coefficients", ("scipy.interpolate._bsplines.BSpline",)
    ),
    Group(
        "FunctionNode",
        "SplineTransformer: what its splines make arrays with",
        ("scipy._lib.array_api_compat.numpy._aliases.asarray",),
    ),
    Group(
        "ObjectNode",
        "IterativeImputer, which skops misses because it is experimental",
        ("sklearn.impute._iterative.IterativeImputer",),
    ),
    Group(
        "TupleNode",
        "IterativeImputer: one fitted estimator and its columns, a named tuple",
        ("sklearn.impute._iterative._ImputerTriplet",),
    ),
    Group(
        "SparseMatrixNode",
        "estimators fitted on sparse tables; format and indices checked by `_skops_content`",
        (
            *_within("scipy.sparse._csr", "csr_matrix csr_array"),
            *_within("scipy.sparse._csc", "csc_matrix csc_array"),
        ),
    ),
    Group(
        "ObjectNode",
        "BisectingKMeans: its tree of cluster centres",
        ("sklearn.cluster._bisect_k_means._BisectingTree",),
    ),
    Group(
        "FunctionNode",
        "BisectingKMeans and FeatureAgglomeration: what they fitted with",
        (*_within("sklearn.cluster._kmeans", "_kmeans_single_lloyd _kmeans_single_elkan"), "numpy.mean"),
    ),
    Group(
        "FunctionNode",
        "SelectKBest and its kin: the score that chose the columns, used by fitting only",
        (
            *_within(
                "sklearn.feature_selection._univariate_selection",
                "chi2 f_classif f_oneway f_regression r_regression",
            ),
            *_within("sklearn.feature_selection._mutual_info", "mutual_info_classif mutual_info_regression"),
        ),
    ),
    Group(
        "ObjectNode",
        "estimators that tune themselves (GridSearchCV, TunedThresholdClassifierCV): their scorers",
        _within("sklearn.metrics._scorer", "_Scorer _CurveScorer _PassthroughScorer"),
    ),
    Group(
        "FunctionNode",
        "estimators that tune themselves: the metrics named by scikit-learn's own scorers",
        (
            *_within(
                "sklearn.metrics._classification",
                "accuracy_score balanced_accuracy_score brier_score_loss d2_brier_score d2_log_loss_score "
                "f1_score jaccard_score log_loss matthews_corrcoef precision_score recall_score",
            ),
            *_within(
                "sklearn.metrics._ranking", "average_precision_score roc_auc_score top_k_accuracy_score"
            ),
            *_within(
                "sklearn.metrics._regression",
                "d2_absolute_error_score explained_variance_score max_error mean_absolute_error "
                "mean_absolute_percentage_error mean_gamma_deviance mean_poisson_deviance mean_squared_error "
                "mean_squared_log_error median_absolute_error r2_score root_mean_squared_error "
                "root_mean_squared_log_error",
            ),
        ),
    ),
    Group(
        "ObjectNode",
        "estimators that tune themselves: how they split",
        _within(
            "sklearn.model_selection._split",
            "GroupKFold KFold RepeatedKFold RepeatedStratifiedKFold ShuffleSplit StratifiedGroupKFold "
            "StratifiedKFold StratifiedShuffleSplit TimeSeriesSplit",
        ),
    ),
    Group(
        "ObjectNode",
        "estimators that route metadata: names of arguments",
        _within("sklearn.utils._metadata_requests", "MetadataRequest MethodMetadataRequest"),
    ),
)

ALLOWED: Final = frozenset(name for group in GROUPS for name in group.names)
LOADER_OF: Final = {name: group.loader for group in GROUPS for name in group.names}

# Where skops decides, this bounds what it may decide: a later skops that trusts more by default does not make
# us trust more.
SKOPS_DEFAULTS: Final = {
    "JsonNode": frozenset({"builtins.str"}),
    "DictNode": frozenset({"builtins.dict", "collections.OrderedDict"}),
    "DefaultDictNode": frozenset({"collections.defaultdict"}),
    "ListNode": frozenset({"builtins.list"}),
    "SetNode": frozenset({"builtins.set"}),
    "TupleNode": frozenset({"builtins.tuple"}),
    "SliceNode": frozenset({"builtins.slice"}),
    "BytesNode": frozenset({"builtins.bytes"}),
    "BytearrayNode": frozenset({"builtins.bytearray"}),
    "NdArrayNode": SCALARS | {"numpy.ndarray"},
    "MaskedArrayNode": frozenset({"numpy.ma.MaskedArray"}),
    "RandomStateNode": frozenset({"numpy.random.mtrand.RandomState"}),
    "RandomGeneratorNode": frozenset({"numpy.random._generator.Generator"}),  # of HistGradientBoosting
    "FunctionNode": UFUNCS,
    "TypeNode": SCALARS | frozenset(_within("builtins", "bool float int str list set tuple")),
    "ObjectNode": ESTIMATORS,
    "LossNode": LOSSES,
}

# How a name the consumer trusts may be used.
CONSUMER_LOADERS: Final = frozenset(
    {"ObjectNode", "FunctionNode", "TypeNode", "ConstructorFromReduceNode", "DictNode", "TupleNode"}
)

# partial() is a call in waiting; only of these functions.
PARTIAL_OF: Final = frozenset({"sklearn.utils.validation.check_array"})

# skops rebuilds a dict's keys by calling their types.
KEY_TYPES: Final = frozenset(
    {"builtins.bool", "builtins.float", "builtins.int", "builtins.str"}
    | {f"numpy.{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
    | {"numpy.bool", "numpy.str_", "numpy.float32", "numpy.float64"}
)
