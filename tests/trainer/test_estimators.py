"""describe_estimator, dump_estimator: what a manifest says, and what is refused before publishing."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.cluster import KMeans
from sklearn.datasets import load_iris, load_linnerud
from sklearn.ensemble import IsolationForest, RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import RandomizedSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import __main__
from mlshared._artifact import load_estimator
from mlshared._skops_audit import audit
from trainer._estimators import describe_estimator, dump_estimator, libraries
from trainer.errors import NotStorable

X, Y = load_iris(return_X_y=True)


def named(x):
    return x


@pytest.mark.parametrize(
    ("estimator", "task", "methods"),
    [
        (LogisticRegression(max_iter=500), "classifier", ("predict", "predict_proba", "decision_function")),
        (make_pipeline(StandardScaler(), LinearRegression()), "regressor", ("predict",)),
        (KMeans(2, random_state=0), "clusterer", ("predict", "transform")),
        (IsolationForest(n_estimators=5), "outlier_detector", ("predict", "decision_function")),
        (StandardScaler(), "transformer", ("transform",)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_task_and_methods_come_from_the_estimator(estimator, task, methods):
    """Task by scikit-learn's tags, methods by what it has; pipelines answer for their last step."""
    found = describe_estimator(estimator.fit(X, Y), X)
    assert (found.task, found.methods) == (task, methods)


@pytest.mark.parametrize(
    ("labels", "classes", "dtype"),
    [
        (Y, (0, 1, 2), "int64"),
        (Y > 0, (False, True), "bool"),
        (np.array(["a", "b", "c"])[Y], ("a", "b", "c"), "<U1"),
        (np.array(["a", "b", "c"], dtype=object)[Y], ("a", "b", "c"), "object"),
        (Y / 2, (0.0, 0.5, 1.0), "float64"),
    ],
    ids=["int", "bool", "str", "object", "float"],
)
def test_classes_are_python_scalars(labels, classes, dtype):
    """Of the labels' own type, so that json.dumps works; with the numpy dtype beside them."""
    forest = RandomForestClassifier(3)
    found = describe_estimator(forest.fit(X, labels if dtype != "float64" else labels * 2), X)
    expected = classes if dtype != "float64" else (0.0, 1.0, 2.0)
    assert found.classes == expected
    assert [type(value) for value in found.classes] == [type(value) for value in expected]
    assert found.class_dtype == dtype


def test_several_targets_have_names_and_their_own_classes():
    """A frame's columns name them; y0..yn otherwise."""
    both = pd.DataFrame({"kind": Y, "large": X[:, 0] > 5.8})
    found = describe_estimator(RandomForestClassifier(3).fit(X, both.astype(int)), X, both)
    assert found.targets == ("kind", "large")
    assert found.classes == ((0, 1, 2), (0, 1))
    assert describe_estimator(LinearRegression().fit(*load_linnerud(return_X_y=True)), X[:, :3]).targets == (
        *("y0", "y1", "y2"),
    )


def test_a_multilabel_classifier_has_two_classes_per_target():
    """Its own classes_ number the labels; each is answered 0 or 1."""
    labels = np.column_stack([Y == 0, Y == 1]).astype(int)
    found = describe_estimator(OneVsRestClassifier(LogisticRegression()).fit(X, labels), X)
    assert (found.targets, found.classes) == (("y0", "y1"), ((0, 1), (0, 1)))


def test_what_is_dumped_loads_with_default_settings():
    """The bytes are those a client takes."""
    estimator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X, Y)
    loaded = load_estimator(dump_estimator(estimator))
    np.testing.assert_array_equal(loaded.predict_proba(X), estimator.predict_proba(X))


def test_a_lambda_is_refused_with_the_mend():
    """Before anything is published."""
    pipeline = make_pipeline(FunctionTransformer(lambda x: x), LogisticRegression(max_iter=1000)).fit(X, Y)
    with pytest.raises(NotStorable, match=r"Pipeline cannot be stored.*<lambda>.*give it a name"):
        dump_estimator(pipeline)


def test_what_lives_in_main_is_refused_with_the_mend(monkeypatch):
    """A web app's __main__ is another one."""

    def derive(x):
        return x

    derive.__module__, derive.__qualname__ = "__main__", "derive"
    monkeypatch.setattr(__main__, "derive", derive, raising=False)
    pipeline = make_pipeline(FunctionTransformer(derive), LogisticRegression(max_iter=1000)).fit(X, Y)
    with pytest.raises(NotStorable, match=r"__main__\.derive.*module that the web app can import"):
        dump_estimator(pipeline)


def test_a_named_function_is_stored_only_if_the_clients_trust_it():
    """Refused by default; stored where its exact name is given."""
    pipeline = make_pipeline(FunctionTransformer(named), LogisticRegression(max_iter=1000)).fit(X, Y)
    with pytest.raises(NotStorable, match="named"):
        dump_estimator(pipeline)
    assert dump_estimator(pipeline, [f"{named.__module__}.named"])


def test_a_search_over_distributions_is_refused_with_the_mend():
    """Its best estimator can be published instead."""
    search = RandomizedSearchCV(
        LogisticRegression(max_iter=500), {"C": scipy.stats.loguniform(0.1, 1)}, n_iter=1, cv=2
    )
    with pytest.raises(NotStorable, match=r"\.best_estimator_"):
        dump_estimator(search.fit(X, Y))


def test_an_estimator_that_refers_to_itself_is_refused():
    """Not an endless file, not a traceback of a thousand lines."""
    estimator = LinearRegression().fit(X, Y)
    estimator.own_ = estimator
    with pytest.raises(NotStorable, match="refers to itself"):
        dump_estimator(estimator)


def test_classes_that_json_lacks_are_refused():
    """Dates as labels have no JSON scalar."""
    labels = np.array(["2026-01-01", "2026-01-02", "2026-01-03"], dtype="datetime64[D]")[Y]
    estimator = LogisticRegression(max_iter=500).fit(X, Y)
    estimator.classes_ = np.unique(labels)
    with pytest.raises(NotStorable, match="encode the target"):
        describe_estimator(estimator, X)


def test_libraries_are_those_of_the_types_in_it():
    """scikit-learn and its arrays' libraries; pandas only for a frame."""
    data = dump_estimator(LogisticRegression(max_iter=500).fit(X, Y))
    assert set(libraries(audit(data).names)) == {"numpy", "scikit-learn", "scipy", "skops"}
    assert "pandas" in libraries(audit(data).names, pd.DataFrame(X))


def test_a_library_installed_meanwhile_is_among_them(tmp_path, monkeypatch):
    """A notebook goes on after `pip install`."""
    assert "late-library" not in libraries({"sklearn.svm._classes.SVC"})
    info = tmp_path / "late_library-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: late-library\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("late_library\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert libraries({"late_library.Model"})["late-library"] == "1.0"
