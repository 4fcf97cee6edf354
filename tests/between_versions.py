"""Publish pipelines with one scikit-learn, serve them beside another. Called by ``tests/versions``, twice.

    publish FOLDER     train, publish, note what the plans answer here
    serve FOLDER       answer the same rows: through the plans, with scikit-learn kept from being imported first;
                       then ask for the estimator, which must be refused

Answers through a plan must be the same to the last bit: they come from the plan's arrays, not from the
scikit-learn that happens to be installed.
"""
# ruff: noqa: PLC0415 - the serving side must do without the libraries

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import mlshared

METHODS = ("predict", "predict_proba", "decision_function", "transform")


def pipelines():
    """Return fitted pipelines by name, and the frame they were fitted on."""
    import numpy as np
    import pandas as pd
    from sklearn import ensemble, linear_model, naive_bayes, neighbors, neural_network, preprocessing, svm
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import PCA
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    rng = np.random.default_rng(0)
    X = pd.DataFrame({f"n{i}": rng.normal(size=800) * 10.0**i for i in range(4)})
    X["shop"] = rng.choice(["north", "south", "öst"], 800)
    y = (X["n0"] + X["n1"] / 10 + (X["shop"] == "north") > 0).astype(int)
    X.loc[rng.random(800) < 0.1, "n1"] = np.nan
    X.loc[rng.random(800) < 0.1, "shop"] = np.nan
    numbers, amounts = [f"n{i}" for i in range(4)], X["n0"] * 3 + X["n2"] / 50

    def prepared(estimator, scaler, target):
        filled = make_pipeline(SimpleImputer(), scaler)
        shops = make_pipeline(
            SimpleImputer(strategy="most_frequent"),
            preprocessing.OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        )
        columns = ColumnTransformer([("n", filled, numbers), ("s", shops, ["shop"])])
        return make_pipeline(columns, estimator).fit(X, target)

    standard, quantiles = preprocessing.StandardScaler, preprocessing.QuantileTransformer
    made = {
        "logistic": (linear_model.LogisticRegression(), standard(), y),
        "power": (linear_model.LogisticRegression(), preprocessing.PowerTransformer(), y),
        "ridge": (linear_model.Ridge(), quantiles(n_quantiles=100), amounts),
        "bayes": (naive_bayes.GaussianNB(), preprocessing.RobustScaler(), y),
        "network": (neural_network.MLPClassifier((8,), max_iter=30, random_state=0), standard(), y),
        "svc": (svm.SVC(), standard(), y),
        "neighbours": (neighbors.KNeighborsClassifier(), standard(), y),
        "forest": (ensemble.RandomForestClassifier(20, random_state=0), standard(), y),
        "extra-trees": (ensemble.ExtraTreesRegressor(20, random_state=0), standard(), amounts),
        "boosting": (ensemble.GradientBoostingClassifier(random_state=0), standard(), y),
        "hist-boosting": (ensemble.HistGradientBoostingClassifier(random_state=0), standard(), y),
        "adaboost": (ensemble.AdaBoostClassifier(n_estimators=10, random_state=0), standard(), y),
        "isolation": (ensemble.IsolationForest(n_estimators=20, random_state=0), standard(), None),
        "components": (PCA(3), standard(), None),
    }
    return {name: prepared(*given) for name, given in made.items()}, X


def rows_of(X):
    """Return raw rows, with shops never seen and values far away among them."""
    rows = [{k: None if v != v else v for k, v in row.items()} for row in X.iloc[:150].to_dict("records")]  # noqa: PLR0124
    return [*rows, *({**row, "shop": "nowhere", "n3": row["n3"] * 1e6} for row in rows[:50])]


def answers(folder, cache, name, rows):
    """Return what the plan of a model answers to each row, floats as hexadecimal; {method: answers}."""
    with mlshared.Client(
        folder / "store", cache_dir=folder / cache, poll_seconds=0, allow_unsigned=True
    ) as client:
        version = client.model(name).current
        if version.plan is None:
            raise SystemExit(f"{name} has no plan: {version.manifest.plan_report}")
        found = {}
        for method in version.manifest.methods:
            ask = getattr(version, method)
            found[method] = [shown(ask(row)) for row in rows]
            found[f"{method} of a table"] = shown(
                version.plan.rows(method, [version.checked(r) for r in rows]).tolist()
            )
        return found


def shown(value):
    if isinstance(value, dict):
        return {str(name): shown(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shown(each) for each in value]
    return value.hex() if isinstance(value, float) else value


def publish(folder):
    import warnings

    import sklearn

    import trainer

    warnings.simplefilter("ignore")
    fitted, X = pipelines()
    folder.mkdir()
    rows = rows_of(X)
    expected = {}
    for name, pipeline in fitted.items():
        published = trainer.publish(pipeline, X, name=name, store=f"{folder}/store")
        print(f"  {name}: {published.plan_report}", flush=True)
        assert published.manifest.artifact("skops") is not None, f"{name}: the estimator could not be stored"
    for name in fitted:
        expected[name] = answers(folder, "cache-of-publisher", name, rows)
    noted = {"sklearn": sklearn.__version__, "rows": rows, "answers": expected}
    (folder / "noted.json").write_text(json.dumps(noted))


def serve(folder):
    from importlib import metadata

    noted, here = json.loads((folder / "noted.json").read_text()), metadata.version("scikit-learn")
    assert noted["sklearn"].split(".")[:2] != here.split(".")[:2], (
        "both interpreters have the same scikit-learn"
    )
    failed = []
    for name, expected in noted["answers"].items():
        found = json.loads(json.dumps(answers(folder, "cache-of-server", name, noted["rows"])))
        failed += [f"{name}: {method}" for method in expected if found[method] != expected[method]]
    assert "sklearn" not in sys.modules, "a plan needed scikit-learn"
    for name in noted["answers"]:
        with mlshared.Client(
            folder / "store", cache_dir=folder / "cache-of-server", poll_seconds=0, hook=quiet
        ) as client:
            failed += estimator_not_refused(client.model(name), noted["sklearn"], here)
    answered = sum(len(each) for expected in noted["answers"].values() for each in expected.values())
    print(
        f"trained with scikit-learn {noted['sklearn']}, served beside {here}: {len(noted['answers'])} plans,"
    )
    print(f"  {answered:,} answers, {'identical; estimators refused' if not failed else 'NOT identical'}")
    for reason in failed:
        print(f"  differs: {reason}")
    return 1 if failed else 0


def quiet(event):
    """Leave out of the log that estimators are refused: that is what is asked for."""


def estimator_not_refused(model, trained, here):
    version = model.current
    version.predictor.lazy.wanted = True
    try:
        model.refresh()
        _ = version.estimator
    except mlshared.EnvironmentMismatch as error:
        message = str(error)
        return [] if trained in message and here in message else [f"{model.ref}: says {message!r}"]
    return [f"{model.ref}: an estimator of scikit-learn {trained} was loaded beside {here}"]


if __name__ == "__main__":
    command, folder = sys.argv[1], Path(sys.argv[2])
    sys.exit(publish(folder) if command == "publish" else serve(folder))
