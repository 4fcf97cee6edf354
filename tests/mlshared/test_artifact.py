"""load_estimator: what it loads, and what it refuses, by name and reason."""

import io
import json
import zipfile

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from mlshared._artifact import load_estimator
from mlshared._skops_types import ALLOWED, GROUPS
from mlshared.errors import EnvironmentMismatch, IntegrityError, UnsupportedFormat, UntrustedType

X = np.random.default_rng(0).normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)


class Own(BaseEstimator):
    """An estimator of the user's."""

    def fit(self, X, y=None):
        self.n_features_in_ = X.shape[1]
        return self

    def predict(self, X):
        return np.zeros(len(X))


def own_function(x):
    return x


def _edit(data, change):
    """Return the file with its schema changed by ``change(schema, arrays)``."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    schema = json.loads(members["schema.json"])
    change(schema, members)
    members["schema.json"] = json.dumps(schema).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def _nodes(schema, loader):
    waiting = [schema]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("__loader__") == loader:
                yield value
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _with_array(estimator, change, dtype_has):
    """Return the estimator's file with the first structured array having that field changed."""

    def edit(_schema, members):
        for name in [name for name in members if name.endswith(".npy")]:
            array = np.load(io.BytesIO(members[name]))
            if dtype_has in (array.dtype.names or ()):
                change(array)
                buffer = io.BytesIO()
                np.save(buffer, array)
                members[name] = buffer.getvalue()
                return
        raise AssertionError("no such array")

    return _edit(skops.io.dumps(estimator), edit)


def _table():
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "a": np.where(random.random(80) < 0.2, np.nan, random.normal(size=80)),
            "b": random.integers(0, 5, 80).astype(float),
            "c": random.choice(["x", "y", "z"], 80),
            "t": random.choice(["the cat", "dog ate", "a fox runs"], 80),
        }
    )


_NUMBERS = make_column_selector(dtype_include="number")
PIPELINES = {
    "mixed columns": make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), _NUMBERS),
            (OneHotEncoder(handle_unknown="ignore"), ["c"]),
            (TfidfVectorizer(), "t"),
        ),
        LogisticRegression(),
    ),
    "boosting with categories": make_pipeline(
        make_column_transformer(
            (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan), ["c"]),
            ("passthrough", ["a", "b"]),
        ),
        HistGradientBoostingClassifier(categorical_features=[0], max_iter=3),
    ),
    "splines and ufuncs": make_pipeline(
        make_column_transformer((make_pipeline(SimpleImputer(), FunctionTransformer(np.abs)), ["a", "b"])),
        SplineTransformer(),
        LogisticRegression(),
    ),
    "sparse": make_pipeline(make_column_transformer((TfidfVectorizer(), "t")), SVC()),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_usual_pipelines_load_with_default_settings(name):
    """Mixed columns, text, categories, splines: equal answers without any trusted_types."""
    table = _table()
    pipeline = PIPELINES[name].fit(table, np.where(table.b > 2, "late", "on time"))
    loaded = load_estimator(skops.io.dumps(pipeline))
    np.testing.assert_array_equal(loaded.predict(table), pipeline.predict(table))


def test_another_kind_is_an_unsupported_format():
    """Said as such, whatever its bytes are."""
    with pytest.raises(UnsupportedFormat, match="onnx"):
        load_estimator(b"", "onnx")


def test_a_joblib_file_is_loaded_only_where_that_is_allowed():
    """Code in it would run: it is not even opened otherwise, nor taken for another kind of file."""
    buffer = io.BytesIO()
    joblib.dump(LogisticRegression().fit(X, Y), buffer)
    data = buffer.getvalue()
    with pytest.raises(UntrustedType, match="can run any code"):
        load_estimator(data, "joblib")
    with pytest.raises(IntegrityError):
        load_estimator(data, "skops", unpickle=True)
    assert load_estimator(data, "joblib", unpickle=True).predict(X).shape == (len(X),)
    for damaged in (b"", b"garbage", data[:-9]):
        with pytest.raises(IntegrityError):
            load_estimator(damaged, "joblib", unpickle=True)


def test_an_own_type_is_refused_by_name():
    """A type on nobody's list is named, with the setting that would trust it."""
    with pytest.raises(UntrustedType, match=r"test_artifact\.Own.*trusted_types"):
        load_estimator(skops.io.dumps(Own().fit(X)))


def test_an_own_type_loads_when_the_consumer_names_it():
    """The consumer's exact name suffices."""
    loaded = load_estimator(skops.io.dumps(Own().fit(X)), "skops", [f"{Own.__module__}.Own"])
    assert type(loaded) is Own


def test_a_prefix_of_a_name_trusts_nothing():
    """Names are exact: a module or wildcard trusts none of its types."""
    data = skops.io.dumps(Own().fit(X))
    for name in (Own.__module__, f"{Own.__module__}.", f"{Own.__module__}.*", "*"):
        with pytest.raises(UntrustedType):
            load_estimator(data, "skops", [name])


def test_all_refused_names_are_in_one_message():
    """Two functions of the user's: both are named at once."""
    pipeline = make_pipeline(FunctionTransformer(own_function), Own()).fit(X)
    with pytest.raises(UntrustedType, match=r"(?s)Own.*own_function"):
        load_estimator(skops.io.dumps(pipeline))


def test_a_type_scikit_learn_keeps_private_is_refused_unless_listed():
    """What neither skops nor our list trusts is refused, though it is scikit-learn's."""

    def change(schema, _members):
        schema["__module__"], schema["__class__"] = "sklearn.utils._mocking", "CheckingClassifier"

    with pytest.raises(UntrustedType, match="CheckingClassifier"):
        load_estimator(_edit(skops.io.dumps(LogisticRegression().fit(X, Y)), change))


def test_a_listed_function_cannot_be_called_while_loading():
    """A function allowed to be referred to is refused as a constructor."""

    def change(schema, _members):
        node = next(_nodes(schema, "TupleNode"), None) or next(_nodes(schema, "ListNode"))
        node.update(
            __loader__="ConstructorFromReduceNode",
            __module__="sklearn.utils.validation",
            __class__="check_array",
        )

    with pytest.raises(UntrustedType, match="used as ConstructorFromReduceNode"):
        load_estimator(_edit(skops.io.dumps(PIPELINES["sparse"].fit(_table(), [0, 1] * 40)), change))


@pytest.mark.parametrize("loader", ["MethodNode", "OperatorFuncNode", "CachedNode"])
def test_bound_methods_operators_and_back_references_are_refused(loader):
    """Loaders that reach for attributes by name are not accepted at all."""

    def change(schema, _members):
        next(_nodes(schema, "JsonNode"))["__loader__"] = loader

    with pytest.raises((UntrustedType, IntegrityError)):
        load_estimator(_edit(skops.io.dumps(LogisticRegression().fit(X, Y)), change))


def test_a_dict_cannot_have_its_keys_made_by_a_function():
    """Key types are called by skops with the keys; only plain types are accepted."""

    def change(schema, _members):
        types = next(node["key_types"] for node in _nodes(schema, "DictNode") if node["key_types"]["content"])
        types["content"][0].update(__loader__="FunctionNode", __module__="numpy", __class__="log1p", __id__=7)

    with pytest.raises(UntrustedType, match="keys other than"):
        load_estimator(_edit(skops.io.dumps(LogisticRegression().fit(X, Y)), change))


def test_two_kinds_of_node_cannot_share_an_id():
    """skops takes the first node for both, so the second would be used unaudited."""

    def change(schema, _members):
        first = next(_nodes(schema, "TypeNode"))
        next(_nodes(schema, "JsonNode"))["__id__"] = first["__id__"]

    with pytest.raises(IntegrityError, match="share an id"):
        load_estimator(_edit(skops.io.dumps(LogisticRegression().fit(X, Y)), change))


def test_an_old_protocol_is_refused():
    """A file cannot choose skops' older, laxer nodes."""

    def change(schema, _members):
        schema["protocol"] = 0

    with pytest.raises(UnsupportedFormat, match="protocol 0"):
        load_estimator(_edit(skops.io.dumps(LogisticRegression().fit(X, Y)), change))


def test_another_minor_release_of_scikit_learn_is_a_mismatch_with_the_mend():
    """Fitted with 1.5: not loaded, and the message says what to install."""

    def change(schema, _members):
        for node in _nodes(schema, "DictNode"):
            if "_sklearn_version" in node["content"]:
                node["content"]["_sklearn_version"]["content"] = '"1.5.2"'

    with pytest.raises(EnvironmentMismatch, match=r"scikit-learn==1\.5\.\*"):
        load_estimator(_edit(skops.io.dumps(LogisticRegression().fit(X, Y)), change))


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 40])
def test_other_bytes_are_an_integrity_error(data):
    """What is no skops file is said to be none."""
    with pytest.raises(IntegrityError, match="not a skops file"):
        load_estimator(data)


def test_a_compressed_file_is_refused():
    """A compressed bomb is not unpacked."""
    with pytest.raises(IntegrityError, match="is compressed"):
        load_estimator(skops.io.dumps(np.zeros(1_000_000), compression=zipfile.ZIP_DEFLATED))


def _far_child(nodes):
    nodes["left_child"][0] = 2**30


def _loop(nodes):
    nodes["left_child"][0] = 0


def _far_column(nodes):
    nodes["feature"][0] = 10_000


@pytest.mark.parametrize("change", [_far_child, _loop, _far_column])
@pytest.mark.parametrize(
    "estimator",
    [DecisionTreeClassifier(), RandomForestClassifier(2), GradientBoostingClassifier(n_estimators=2)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_a_decision_tree_that_leads_astray_is_refused(estimator, change):
    """Unchecked, each would crash the process or never end at the first prediction."""
    data = _with_array(estimator.fit(X, Y), change, "left_child")
    with pytest.raises(IntegrityError, match=r"decision tree|branches"):
        load_estimator(data)


@pytest.mark.parametrize(("field", "value"), [("left", 2**30), ("right", 0), ("feature_idx", 10_000)])
def test_a_boosted_tree_that_leads_astray_is_refused(field, value):
    """HistGradientBoosting's trees likewise."""

    def change(nodes):
        nodes[field][0] = value

    data = _with_array(HistGradientBoostingClassifier(max_iter=2).fit(X, Y), change, "feature_idx")
    with pytest.raises(IntegrityError, match="tree's"):
        load_estimator(data)


def test_a_neighbour_tree_that_leads_astray_is_refused():
    """KDTree's ranges stay inside its points."""

    def change(nodes):
        nodes["idx_end"][0] = 10_000

    data = _with_array(KNeighborsClassifier(algorithm="kd_tree").fit(X, Y), change, "idx_end")
    with pytest.raises(IntegrityError, match="ranges"):
        load_estimator(data)


def test_no_name_is_listed_twice():
    """Each name has one loader and one reason."""
    names = [name for group in GROUPS for name in group.names]
    assert len(names) == len(set(names)) == len(ALLOWED)
    assert all(group.why for group in GROUPS)
