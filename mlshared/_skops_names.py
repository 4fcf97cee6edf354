"""The exact names that skops trusts by itself and we accept, as scikit-learn 1.8 and 1.9 have them; data only.

`_skops_types` says how each may be used. A test names what a later scikit-learn adds.
"""

from typing import Final

# Public estimators, and the loss and link objects of boosting, by module within sklearn.
# Not Birch, which skops cannot write.
_ESTIMATORS: Final = {
    "_loss.link": "HalfLogitLink IdentityLink Interval LogLink LogitLink MultinomialLogit",
    "_loss.loss": (
        "AbsoluteError ExponentialLoss HalfBinomialLoss HalfGammaLoss HalfMultinomialLoss HalfPoissonLoss "
        "HalfSquaredError HuberLoss PinballLoss"
    ),
    "calibration": "CalibratedClassifierCV",
    "cluster._affinity_propagation": "AffinityPropagation",
    "cluster._agglomerative": "AgglomerativeClustering FeatureAgglomeration",
    "cluster._bicluster": "SpectralBiclustering SpectralCoclustering",
    "cluster._bisect_k_means": "BisectingKMeans",
    "cluster._dbscan": "DBSCAN",
    "cluster._hdbscan.hdbscan": "HDBSCAN",
    "cluster._kmeans": "KMeans MiniBatchKMeans",
    "cluster._mean_shift": "MeanShift",
    "cluster._optics": "OPTICS",
    "cluster._spectral": "SpectralClustering",
    "compose._column_transformer": "ColumnTransformer",
    "compose._target": "TransformedTargetRegressor",
    "covariance._elliptic_envelope": "EllipticEnvelope",
    "covariance._empirical_covariance": "EmpiricalCovariance",
    "covariance._graph_lasso": "GraphicalLasso GraphicalLassoCV",
    "covariance._robust_covariance": "MinCovDet",
    "covariance._shrunk_covariance": "LedoitWolf OAS ShrunkCovariance",
    "cross_decomposition._pls": "CCA PLSCanonical PLSRegression PLSSVD",
    "decomposition._dict_learning": "DictionaryLearning MiniBatchDictionaryLearning SparseCoder",
    "decomposition._factor_analysis": "FactorAnalysis",
    "decomposition._fastica": "FastICA",
    "decomposition._incremental_pca": "IncrementalPCA",
    "decomposition._kernel_pca": "KernelPCA",
    "decomposition._lda": "LatentDirichletAllocation",
    "decomposition._nmf": "MiniBatchNMF NMF",
    "decomposition._pca": "PCA",
    "decomposition._sparse_pca": "MiniBatchSparsePCA SparsePCA",
    "decomposition._truncated_svd": "TruncatedSVD",
    "discriminant_analysis": "LinearDiscriminantAnalysis QuadraticDiscriminantAnalysis",
    "dummy": "DummyClassifier DummyRegressor",
    "ensemble._bagging": "BaggingClassifier BaggingRegressor",
    "ensemble._forest": (
        "ExtraTreesClassifier ExtraTreesRegressor RandomForestClassifier RandomForestRegressor "
        "RandomTreesEmbedding"
    ),
    "ensemble._gb": "GradientBoostingClassifier GradientBoostingRegressor",
    "ensemble._hist_gradient_boosting.binning": "_BinMapper",
    "ensemble._hist_gradient_boosting.gradient_boosting": (
        "HistGradientBoostingClassifier HistGradientBoostingRegressor"
    ),
    "ensemble._iforest": "IsolationForest",
    "ensemble._stacking": "StackingClassifier StackingRegressor",
    "ensemble._voting": "VotingClassifier VotingRegressor",
    "ensemble._weight_boosting": "AdaBoostClassifier AdaBoostRegressor",
    "feature_extraction._dict_vectorizer": "DictVectorizer",
    "feature_extraction._hash": "FeatureHasher",
    "feature_extraction.image": "PatchExtractor",
    "feature_extraction.text": "CountVectorizer HashingVectorizer TfidfTransformer TfidfVectorizer",
    "feature_selection._from_model": "SelectFromModel",
    "feature_selection._rfe": "RFE RFECV",
    "feature_selection._sequential": "SequentialFeatureSelector",
    "feature_selection._univariate_selection": (
        "GenericUnivariateSelect SelectFdr SelectFpr SelectFwe SelectKBest SelectPercentile"
    ),
    "feature_selection._variance_threshold": "VarianceThreshold",
    "frozen._frozen": "FrozenEstimator",
    "gaussian_process._gpc": "GaussianProcessClassifier",
    "gaussian_process._gpr": "GaussianProcessRegressor",
    "impute._base": "MissingIndicator SimpleImputer",
    "impute._knn": "KNNImputer",
    "isotonic": "IsotonicRegression",
    "kernel_approximation": "AdditiveChi2Sampler Nystroem PolynomialCountSketch RBFSampler SkewedChi2Sampler",
    "kernel_ridge": "KernelRidge",
    "linear_model._base": "LinearRegression",
    "linear_model._bayes": "ARDRegression BayesianRidge",
    "linear_model._coordinate_descent": (
        "ElasticNet ElasticNetCV Lasso LassoCV MultiTaskElasticNet MultiTaskElasticNetCV MultiTaskLasso "
        "MultiTaskLassoCV"
    ),
    "linear_model._glm.glm": "GammaRegressor PoissonRegressor TweedieRegressor",
    "linear_model._huber": "HuberRegressor",
    "linear_model._least_angle": "Lars LarsCV LassoLars LassoLarsCV LassoLarsIC",
    "linear_model._logistic": "LogisticRegression LogisticRegressionCV",
    "linear_model._omp": "OrthogonalMatchingPursuit OrthogonalMatchingPursuitCV",
    "linear_model._passive_aggressive": "PassiveAggressiveClassifier PassiveAggressiveRegressor",
    "linear_model._perceptron": "Perceptron",
    "linear_model._quantile": "QuantileRegressor",
    "linear_model._ransac": "RANSACRegressor",
    "linear_model._ridge": "Ridge RidgeCV RidgeClassifier RidgeClassifierCV",
    "linear_model._stochastic_gradient": "SGDClassifier SGDOneClassSVM SGDRegressor",
    "linear_model._theil_sen": "TheilSenRegressor",
    "manifold._classical_mds": "ClassicalMDS",
    "manifold._isomap": "Isomap",
    "manifold._locally_linear": "LocallyLinearEmbedding",
    "manifold._mds": "MDS",
    "manifold._spectral_embedding": "SpectralEmbedding",
    "manifold._t_sne": "TSNE",
    "mixture._bayesian_mixture": "BayesianGaussianMixture",
    "mixture._gaussian_mixture": "GaussianMixture",
    "model_selection._classification_threshold": "FixedThresholdClassifier TunedThresholdClassifierCV",
    "model_selection._search": "GridSearchCV RandomizedSearchCV",
    "multiclass": "OneVsOneClassifier OneVsRestClassifier OutputCodeClassifier",
    "multioutput": "ClassifierChain MultiOutputClassifier MultiOutputRegressor RegressorChain",
    "naive_bayes": "BernoulliNB CategoricalNB ComplementNB GaussianNB MultinomialNB",
    "neighbors._classification": "KNeighborsClassifier RadiusNeighborsClassifier",
    "neighbors._graph": "KNeighborsTransformer RadiusNeighborsTransformer",
    "neighbors._kde": "KernelDensity",
    "neighbors._lof": "LocalOutlierFactor",
    "neighbors._nca": "NeighborhoodComponentsAnalysis",
    "neighbors._nearest_centroid": "NearestCentroid",
    "neighbors._regression": "KNeighborsRegressor RadiusNeighborsRegressor",
    "neighbors._unsupervised": "NearestNeighbors",
    "neural_network._multilayer_perceptron": "MLPClassifier MLPRegressor",
    "neural_network._rbm": "BernoulliRBM",
    "pipeline": "FeatureUnion Pipeline",
    "preprocessing._data": (
        "Binarizer KernelCenterer MaxAbsScaler MinMaxScaler Normalizer PowerTransformer "
        "QuantileTransformer RobustScaler StandardScaler"
    ),
    "preprocessing._discretization": "KBinsDiscretizer",
    "preprocessing._encoders": "OneHotEncoder OrdinalEncoder",
    "preprocessing._function_transformer": "FunctionTransformer",
    "preprocessing._label": "LabelBinarizer LabelEncoder MultiLabelBinarizer",
    "preprocessing._polynomial": "PolynomialFeatures SplineTransformer",
    "preprocessing._target_encoder": "TargetEncoder",
    "random_projection": "GaussianRandomProjection SparseRandomProjection",
    "semi_supervised._label_propagation": "LabelPropagation LabelSpreading",
    "semi_supervised._self_training": "SelfTrainingClassifier",
    "svm._classes": "LinearSVC LinearSVR NuSVC NuSVR OneClassSVM SVC SVR",
    "tree._classes": "DecisionTreeClassifier DecisionTreeRegressor ExtraTreeClassifier ExtraTreeRegressor",
}
# Element by element, without any effect beside their result.
_NUMPY_UFUNCS: Final = (
    "absolute add arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_count "
    "bitwise_or bitwise_xor cbrt ceil conjugate copysign cos cosh deg2rad degrees divide divmod equal exp "
    "exp2 expm1 fabs float_power floor floor_divide fmax fmin fmod frexp gcd greater greater_equal "
    "heaviside hypot invert isfinite isinf isnan isnat lcm ldexp left_shift less less_equal log log10 "
    "log1p log2 logaddexp logaddexp2 logical_and logical_not logical_or logical_xor matmul matvec maximum "
    "minimum modf multiply negative nextafter not_equal positive power rad2deg radians reciprocal "
    "remainder right_shift rint sign signbit sin sinh spacing sqrt square subtract tan tanh trunc vecdot "
    "vecmat"
)
# The like of `scipy.special`.
_SCIPY_UFUNCS: Final = (
    "agm airy airye bdtr bdtrc bdtri bdtrik bdtrin bei beip ber berp besselpoly beta betainc betaincc "
    "betainccinv betaincinv betaln binom boxcox boxcox1p btdtria btdtrib cbrt chdtr chdtrc chdtri chdtriv "
    "chndtr chndtridf chndtrinc chndtrix cosdg cosm1 cotdg dawsn ellipe ellipeinc ellipj ellipk ellipkinc "
    "ellipkm1 elliprc elliprd elliprf elliprg elliprj entr erf erfc erfcinv erfcx erfi erfinv eval_chebyc "
    "eval_chebys eval_chebyt eval_chebyu eval_gegenbauer eval_genlaguerre eval_hermite eval_hermitenorm "
    "eval_jacobi eval_laguerre eval_legendre eval_sh_chebyt eval_sh_chebyu eval_sh_jacobi eval_sh_legendre "
    "exp1 exp10 exp2 expi expit expm1 expn exprel fdtr fdtrc fdtri fdtridfd fresnel gamma gammainc "
    "gammaincc gammainccinv gammaincinv gammaln gammasgn gdtr gdtrc gdtria gdtrib gdtrix hankel1 hankel1e "
    "hankel2 hankel2e huber hyp0f1 hyp1f1 hyp2f1 hyperu i0 i0e i1 i1e inv_boxcox inv_boxcox1p it2i0k0 "
    "it2j0y0 it2struve0 itairy iti0k0 itj0y0 itmodstruve0 itstruve0 iv ive j0 j1 jv jve k0 k0e k1 k1e kei "
    "keip kelvin ker kerp kl_div kn kolmogi kolmogorov kv kve log1p log_expit log_ndtr log_wright_bessel "
    "loggamma logit lpmv mathieu_a mathieu_b mathieu_cem mathieu_modcem1 mathieu_modcem2 mathieu_modsem1 "
    "mathieu_modsem2 mathieu_sem modfresnelm modfresnelp modstruve nbdtr nbdtrc nbdtri nbdtrik nbdtrin "
    "ncfdtr ncfdtri ncfdtridfd ncfdtridfn ncfdtrinc nctdtr nctdtridf nctdtrinc nctdtrit ndtr ndtri "
    "ndtri_exp nrdtrimn nrdtrisd obl_ang1 obl_ang1_cv obl_cv obl_rad1 obl_rad1_cv obl_rad2 obl_rad2_cv "
    "owens_t pbdv pbvv pbwa pdtr pdtrc pdtri pdtrik poch powm1 pro_ang1 pro_ang1_cv pro_cv pro_rad1 "
    "pro_rad1_cv pro_rad2 pro_rad2_cv pseudo_huber psi radian rel_entr rgamma round shichi sici sindg "
    "smirnov smirnovi spence stdtr stdtridf stdtrit struve tandg tklmbda voigt_profile wofz wright_bessel "
    "wrightomega xlog1py xlogy y0 y1 yn yv yve zetac"
)
# Compiled losses: plain numbers, used by fitting only.
_LOSSES: Final = (
    "CyAbsoluteError CyExponentialLoss CyHalfBinomialLoss CyHalfGammaLoss CyHalfMultinomialLoss "
    "CyHalfPoissonLoss CyHalfSquaredError CyHalfTweedieLoss CyHalfTweedieLossIdentity CyHuberLoss "
    "CyPinballLoss"
)
# The like of stochastic gradient descent.
_SGD_LOSSES: Final = "EpsilonInsensitive Hinge ModifiedHuber SquaredEpsilonInsensitive SquaredHinge"
# Numpy's kinds of number and text. Not void, which takes a number for how much memory to take.
_SCALARS: Final = (
    "bool bytes_ clongdouble complex128 complex64 datetime64 float16 float32 float64 int16 int32 int64 "
    "int8 longdouble longlong str_ timedelta64 uint16 uint32 uint64 uint8 ulonglong"
)


def _named(modules: str, names: str) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for module in modules.split() for name in names.split())


ESTIMATORS: Final = frozenset[str]().union(
    *(_named(f"sklearn.{module}", names) for module, names in _ESTIMATORS.items())
)
UFUNCS: Final = _named(
    "numpy numpy._core._multiarray_umath numpy.core._multiarray_umath", _NUMPY_UFUNCS
) | _named("scipy.special._ufuncs scipy.special._special_ufuncs scipy.special._gufuncs", _SCIPY_UFUNCS)
# scikit-learn 1.8 names the module of its losses _loss.
LOSSES: Final = _named("sklearn._loss._loss _loss", _LOSSES) | _named(
    "sklearn.linear_model._sgd_fast", _SGD_LOSSES
)
SCALARS: Final = _named("numpy", _SCALARS)
