"""Real artifacts to tamper with: two published versions, and an estimator of every kind that trusts its arrays.

versions()    what a store holds of each: entries and blobs, and the estimator's as well
estimators()  name -> (skops bytes, rows to ask about)
"""
# ruff: noqa: PLC0415 - heavy, and only the processes that tamper need it

import json
import secrets
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from changes import json_bytes, members, places, zipped

from mlshared._load import Bundle, Host, assemble
from mlshared._objects import open_objects
from mlshared._policy import check_policy
from mlshared._target import Target
from mlshared.manifest import Manifest, Release, Stored
from mlshared.settings import Settings
from mlshared.store import Store


@dataclass(frozen=True)
class Published:
    """One version as a store holds it: the manifest, the release that names it, and the blobs by kind."""

    manifest: Stored[Manifest]
    release: Stored[Release]
    blobs: dict[str, bytes]


def load_as_client(published: Published, stored: Stored[Manifest], blobs: dict[str, bytes]) -> Any:
    """Do what a client does with verified bytes: policy, load, self-test; return the version."""
    host: Any = Host(Settings(store="memory://none"), None, None, None)  # type: ignore[arg-type] - nothing is fetched
    check_policy(stored.entry, trust=stored.trust)
    kinds = {a.kind for a in stored.entry.artifacts} & blobs.keys()
    if "plan" in kinds:
        kinds.discard("skops")
    bundle = Bundle(stored, {kind: blobs[kind] for kind in kinds})
    return assemble(bundle, Target(stored.entry.version, stored.sha256), features=None, host=host)


def versions() -> list[Published]:
    """Publish two small models, one with a plan and categories, one that only its estimator answers."""
    import pandas as pd
    from fsspec.implementations.memory import MemoryFileSystem
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    import trainer

    rng = np.random.default_rng(0)
    x = pd.DataFrame({"a": rng.normal(size=60), "c": pd.Categorical(rng.choice(["x", "y", "z"], 60))})
    y = np.where(x.a > 0, "late", "on time")
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["c"]), remainder="passthrough"
    )
    found = []
    for model in (RandomForestClassifier(3, max_depth=3, random_state=0), GaussianProcessClassifier()):
        place = f"hostile-{secrets.token_hex(6)}"
        trainer.publish(
            make_pipeline(columns, model).fit(x, y), x, y, name="small", store=f"memory://{place}"
        )
        store = Store(open_objects(f"memory://{place}"), budget_seconds=60)
        identity = store.identity().id
        manifest = store.manifest(identity, "small", 1)
        blobs = {a.kind: store.blob("small", manifest.entry.publish_id, a) for a in manifest.entry.artifacts}
        release = store.release(identity, "small", "production", 1)
        found.append(Published(manifest, release, blobs))
        MemoryFileSystem().rm(f"/{place}", recursive=True)
    return found


def estimators() -> dict[str, tuple[bytes, Any]]:
    """Fit, and dump."""
    import skops.io

    made = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (estimator, x, y) in _unfitted().items():
            np.random.seed(0)  # noqa: NPY002 - what an estimator without random_state draws from
            made[name] = (_numbered(skops.io.dumps(estimator.fit(x, y))), x[:8])
    return made


def _numbered(data: bytes) -> bytes:
    """Return a skops file with its ids and names counted from 1: skops takes the objects' addresses."""
    parts = members(data)
    schema = json.loads(parts.pop("schema.json"))
    ids: dict[int, int] = {}
    files: dict[str, str] = {}
    for node, key in places(schema):
        if key == "__id__":
            node[key] = ids.setdefault(node[key], len(ids) + 1)
        elif key == "file":
            node[key] = files.setdefault(node[key], f"{len(files) + 1}.{node[key].rpartition('.')[2]}")
    renamed = {files[name]: content for name, content in parts.items()}
    return zipped({**renamed, "schema.json": json_bytes(schema)})


def _unfitted() -> dict[str, tuple[Any, Any, Any]]:
    from scipy import sparse
    from sklearn import (
        cluster,
        decomposition,
        ensemble,
        feature_extraction,
        gaussian_process,
        impute,
        isotonic,
        kernel_approximation,
        linear_model,
        manifold,
        naive_bayes,
        neighbors,
        neural_network,
        svm,
        tree,
    )
    from sklearn import preprocessing as pre
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import make_pipeline

    rng = np.random.default_rng(0)
    x = np.abs(rng.normal(size=(40, 3)))
    x32, thin = x, sparse.csr_matrix(np.where(x > 0.5, x, 0))
    y, many, number = (x[:, 0] > 0.6).astype(int), np.arange(40) % 3, x[:, 0] * 2 + 1
    words = np.array(["a cat sat", "dogs run far", "the fox", "a dog and a cat"] * 10)
    kinds = np.array([["u", "v", "w"][i % 3] for i in range(40)], dtype=object).reshape(-1, 1)
    bins = np.column_stack([many, y, number > 2]).astype(float)
    k_graph = neighbors.KNeighborsTransformer(n_neighbors=2)
    logistic = linear_model.LogisticRegression
    hist = ensemble.HistGradientBoostingClassifier
    return {
        "tree": (tree.DecisionTreeClassifier(max_depth=3), x, many),
        "forest": (ensemble.RandomForestRegressor(2, max_depth=3), x, number),
        "extra trees": (ensemble.ExtraTreesClassifier(2, max_depth=3), x, many),
        "gradient boosting": (ensemble.GradientBoostingClassifier(n_estimators=2), x, many),
        "boosting": (hist(max_iter=2, min_samples_leaf=5), x, y),
        "boosting by category": (hist(max_iter=2, min_samples_leaf=5, categorical_features=[0, 1]), bins, y),
        "bagging": (ensemble.BaggingClassifier(n_estimators=2, max_features=2), x, many),
        "AdaBoost": (ensemble.AdaBoostClassifier(n_estimators=2), x, y),
        "isolation": (ensemble.IsolationForest(n_estimators=2, max_features=2), x, None),
        "embedding": (ensemble.RandomTreesEmbedding(n_estimators=2, max_depth=2), x, None),
        "SVC": (svm.SVC(), x, many),
        "SVC linear": (svm.SVC(kernel="linear", decision_function_shape="ovo"), x, many),
        "SVC sparse": (svm.SVC(), thin, many),
        "SVC precomputed": (svm.SVC(kernel="precomputed"), x @ x.T, many),
        "NuSVC": (svm.NuSVC(nu=0.2), x, many),
        "SVR": (svm.SVR(), x, number),
        "SVR sparse": (svm.NuSVR(), thin, number),
        "OneClassSVM": (svm.OneClassSVM(), x, None),
        "LinearSVC": (svm.LinearSVC(), x, many),
        "k neighbours, brute": (neighbors.KNeighborsClassifier(3, algorithm="brute"), x, many),
        "k neighbours, sparse": (neighbors.KNeighborsClassifier(3), thin, many),
        "k neighbours, kd": (neighbors.KNeighborsRegressor(3, algorithm="kd_tree"), x, number),
        "k neighbours, ball": (
            neighbors.KNeighborsClassifier(3, algorithm="ball_tree", weights="distance"),
            x,
            many,
        ),
        "neighbours in a radius": (neighbors.RadiusNeighborsClassifier(9.0, algorithm="brute"), x, many),
        "outliers": (neighbors.LocalOutlierFactor(3, novelty=True), x, None),
        "k graph": (k_graph, x, None),
        "Isomap": (manifold.Isomap(n_neighbors=4), x, None),
        "embedding, linear": (manifold.LocallyLinearEmbedding(n_neighbors=5), x, None),
        "centroid": (neighbors.NearestCentroid(), x, many),
        "KMeans": (cluster.KMeans(3, n_init=1), x, None),
        "KMeans sparse": (cluster.MiniBatchKMeans(3, n_init=1), thin, None),
        "KMeans bisecting": (cluster.BisectingKMeans(3), x, None),
        "propagation": (cluster.AffinityPropagation(), x, None),
        "mean shift": (cluster.MeanShift(), x, None),
        "agglomeration": (cluster.FeatureAgglomeration(2), x, None),
        "isotonic": (isotonic.IsotonicRegression(out_of_bounds="clip"), x[:, 0], number),
        "calibrated": (CalibratedClassifierCV(naive_bayes.GaussianNB(), method="isotonic", cv=2), x, y),
        "bins": (make_pipeline(pre.KBinsDiscretizer(3, encode="onehot"), logistic()), x, many),
        "spline": (make_pipeline(pre.SplineTransformer(), logistic()), x, y),
        "spline sparse": (make_pipeline(pre.SplineTransformer(sparse_output=True), logistic()), x, y),
        "monomials sparse": (make_pipeline(pre.PolynomialFeatures(2), logistic()), thin, y),
        "one-hot": (make_pipeline(pre.OneHotEncoder(handle_unknown="ignore"), logistic()), kinds, y),
        "one-hot rare": (pre.OneHotEncoder(min_frequency=14, drop="first"), kinds, None),
        "one-hot numbers": (make_pipeline(pre.OneHotEncoder(handle_unknown="ignore"), logistic()), bins, y),
        "ordinal": (pre.OrdinalEncoder(), kinds, None),
        "target": (pre.TargetEncoder(cv=2), kinds, y),
        "quantiles": (pre.QuantileTransformer(n_quantiles=10), x, None),
        "words": (make_pipeline(feature_extraction.text.TfidfVectorizer(), logistic()), words, y),
        "counts": (
            make_pipeline(feature_extraction.text.CountVectorizer(), naive_bayes.MultinomialNB()),
            words,
            y,
        ),
        "hashes": (
            make_pipeline(feature_extraction.text.HashingVectorizer(n_features=32), logistic()),
            words,
            y,
        ),
        "topics": (decomposition.LatentDirichletAllocation(2, max_iter=2), thin, None),
        "factors": (decomposition.NMF(2), x, None),
        "sparse code": (decomposition.DictionaryLearning(2, max_iter=2), x, None),
        "sparse components": (decomposition.SparsePCA(2, max_iter=2), x, None),
        "kernel components": (decomposition.KernelPCA(2, kernel="rbf"), x, None),
        "Nystroem": (kernel_approximation.Nystroem(n_components=3), x, None),
        "Gaussian process": (gaussian_process.GaussianProcessRegressor(), x, number),
        "categories, Bayes": (naive_bayes.CategoricalNB(), bins, y),
        "perceptron": (neural_network.MLPClassifier((3,), max_iter=2), x, many),
        "gradient descent": (linear_model.SGDClassifier(), thin, many),
        "imputer, k": (impute.KNNImputer(), np.where(x > 2, np.nan, x), None),
        "several": (neighbors.KNeighborsClassifier(3), x32, np.column_stack([y, many])),
    }


def payload(entry: Any) -> dict[str, Any]:
    """Return an entry's payload as JSON says it."""
    return json.loads(entry.model_dump_json())
