"""Every classifier and regressor of scikit-learn: stored and loaded, published and served, by default.

Answers equal the fitted estimator's, value for value, for a table and for one row.
"""

import functools
import inspect
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_linnerud
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import all_estimators

from mlshared import Client
from mlshared._artifact import load_estimator
from mlshared._objects import open_objects
from mlshared.store import Store
from trainer._append import found_store
from trainer._estimators import METHODS, dump_estimator
from trainer._publish import draft, upload
from trainer.errors import NotStorable

# Name -> part of the reason. The check fails when the set changes, either way.
NOT_STORABLE: dict[str, str] = {}

_LINEAR = LogisticRegression(C=0.1)
_CLASSIFIERS = [("tree", DecisionTreeClassifier(max_depth=2)), ("linear", _LINEAR)]
_REGRESSORS = [("tree", DecisionTreeRegressor(max_depth=2)), ("linear", Ridge())]
_ARGUMENTS = {
    "CategoricalNB": {"min_categories": 5000},  # held-out rows hold numbers that training rows do not
    "ClassifierChain": {"estimator": _LINEAR},
    "FixedThresholdClassifier": {"estimator": _LINEAR},
    "MultiOutputClassifier": {"estimator": _LINEAR},
    "MultiOutputRegressor": {"estimator": Ridge()},
    "OneVsOneClassifier": {"estimator": _LINEAR},
    "OneVsRestClassifier": {"estimator": _LINEAR},
    "OutputCodeClassifier": {"estimator": _LINEAR},
    "RadiusNeighborsClassifier": {"radius": 1e6},
    "RadiusNeighborsRegressor": {"radius": 1e6},
    "RegressorChain": {"estimator": Ridge()},
    "SelfTrainingClassifier": {"estimator": _LINEAR},
    "StackingClassifier": {"estimators": _CLASSIFIERS},
    "StackingRegressor": {"estimators": _REGRESSORS},
    "TunedThresholdClassifierCV": {"estimator": _LINEAR},
    "VotingClassifier": {"estimators": _CLASSIFIERS, "voting": "soft"},
    "VotingRegressor": {"estimators": _REGRESSORS},
}


def _sets(kind):
    if kind == "classifier":
        x, y = load_iris(return_X_y=True)
        yield "breast cancer", *load_breast_cancer(return_X_y=True)
        yield "iris", x, y
        yield "iris, two targets", x, np.column_stack([y == 1, x[:, 0] > 5.8]).astype(int)
    else:
        x, y = load_diabetes(return_X_y=True)
        yield "diabetes", abs(x), y
        yield "diabetes, one column", abs(x[:, :1]), y
        yield "linnerud", *load_linnerud(return_X_y=True)


@functools.cache
def _fits(kind, name, cls):
    small = {"random_state": 0, "n_estimators": 5}
    arguments = {key: value for key, value in small.items() if key in inspect.signature(cls).parameters}
    arguments |= _ARGUMENTS.get(name, {})
    found = []
    for data, x, y in _sets(kind):
        x_train, x_test, y_train, _ = train_test_split(x, y, test_size=0.25, random_state=0)
        with warnings.catch_warnings():
            # Whether it converges on unscaled data is not what is tested.
            warnings.simplefilter("ignore")
            try:
                found.append((data, cls(**arguments).fit(x_train, y_train), x_test))
            except (ValueError, TypeError, IndexError, NotImplementedError):
                continue
    return found


_ALL = [(kind, name, cls) for kind in ("classifier", "regressor") for name, cls in all_estimators(kind)]
# One of each family; the rest is the whole run's.
_QUICK = {
    "DecisionTreeClassifier",
    "DummyClassifier",
    "ElasticNet",
    "GaussianNB",
    "GradientBoostingRegressor",
    "IsotonicRegression",
    "LinearSVC",
    "LogisticRegression",
    "MLPRegressor",
    "RandomForestClassifier",
    "SVR",
    "VotingClassifier",
}
_SWEEP = [
    pytest.param(kind, name, cls, id=name, marks=() if name in _QUICK else pytest.mark.slow)
    for kind, name, cls in _ALL
]


def _same(want, got):
    if isinstance(want, list):
        return len(want) == len(got) and all(map(_same, want, got))
    return want.dtype == got.dtype and np.array_equal(want, got, equal_nan=want.dtype.kind == "f")


@pytest.mark.filterwarnings("ignore:Class .* is deprecated:FutureWarning")  # said while loading as well
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # overflow on unscaled data, before and after alike
@pytest.mark.parametrize(("kind", "name", "cls"), _SWEEP)
def test_answers_like_the_fitted_one_after_storing_and_loading(kind, name, cls):
    """Dumped, then loaded with default settings: equal answers for a table and for five single rows."""
    fitted = _fits(kind, name, cls)
    assert fitted, f"{name} fits on none of the bundled data"
    if name in NOT_STORABLE:
        for _, estimator, _ in fitted:
            with pytest.raises(NotStorable, match=NOT_STORABLE[name]):
                dump_estimator(estimator)
        return
    for data, estimator, x in fitted:
        loaded = load_estimator(dump_estimator(estimator))
        for method in (method for method in METHODS if hasattr(estimator, method)):
            for rows in (x, *(x[i : i + 1] for i in range(5))):
                want, got = (getattr(each, method)(rows.copy()) for each in (estimator, loaded))
                assert _same(want, got), f"{name} fitted on {data}: {method} of {len(rows)} rows"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store to publish to, its id, and its folder."""
    folder = str(tmp_path_factory.mktemp("store"))
    opened = Store(open_objects(folder), budget_seconds=1e6)
    return opened, found_store(opened).id, folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Class .* is deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")  # a multilabel classifier without positives, and the like
@pytest.mark.parametrize(("kind", "name", "cls"), _ALL, ids=[name for _, name, _ in _ALL])
def test_answers_like_the_fitted_one_when_published_and_served(kind, name, cls, store, tmp_path):
    """Published, fetched by a client with default settings: equal answers for a table and three mappings."""
    opened, store_id, folder = store
    for data, estimator, x in _fits(kind, name, cls):
        model_name = f"{name.lower()}.{data.replace(' ', '').replace(',', '.')}"
        stored = upload(opened, draft(estimator, x, store_id=store_id, name=model_name))
        with Client(folder, cache_dir=tmp_path) as client:
            served = client.model(f"{model_name}@{stored.entry.version}").current
            for method in stored.entry.methods:
                want = getattr(estimator, method)(x.copy())
                _assert_alike(_dense(want), _dense(getattr(served, method)(x)), f"{model_name}: {method}")
                for row in x[:3]:
                    got = getattr(served, method)({f"x{i}": float(value) for i, value in enumerate(row)})
                    want = _flat(_dense(getattr(estimator, method)(row[None, :])))
                    _assert_alike(want, _flat(got), f"{model_name}: {method} of one mapping")


def _assert_alike(want, got, what):
    """Assert equal answers: labels exactly, floats to the last digits, which a row plan may round otherwise."""
    if isinstance(want, list) and want and isinstance(want[0], np.ndarray):
        for one, other in zip(want, got, strict=True):
            _assert_alike(one, other, what)
        return
    want, got = np.asarray(want), np.asarray(got)
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want, what)
        return
    size = float(np.abs(want[np.isfinite(want)]).max(initial=1.0))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-11 * size, err_msg=what)


def _dense(answer):
    return answer.toarray() if hasattr(answer, "toarray") else answer


def _flat(answer):
    """Return an answer's values in order: of a dict, of a list of one-row arrays, of a one-row array."""
    if isinstance(answer, dict):
        return [value for each in answer.values() for value in _flat(each)]
    if isinstance(answer, list):
        return [value for each in answer for value in _flat(each)]
    return np.ravel(answer).tolist()


def test_those_that_cannot_be_stored_are_classifiers_or_regressors_that_exist():
    """The list names nothing that scikit-learn does not have."""
    assert set(NOT_STORABLE) <= {name for _, name, _ in _ALL}


# What is neither classifier nor regressor, such as transformers and clusterers, and cannot be stored.
OTHERS_NOT_STORABLE = {"Birch": "Birch"}


@pytest.mark.slow
def test_other_estimators_that_cannot_be_stored_are_known_by_name():
    """Of the rest that fits on iris as it is, exactly the listed ones are refused, and the others load."""
    x, y = load_iris(return_X_y=True)
    x, y = x[::3], y[::3]
    refused = {}
    for name, cls in all_estimators():
        if (name, cls) in {(known, its) for _, known, its in _ALL}:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                estimator = cls().fit(x, y)
            except (TypeError, ValueError, AttributeError):
                continue
        try:
            dump_estimator(estimator)
        except NotStorable as error:
            refused[name] = str(error)
    assert set(refused) == set(OTHERS_NOT_STORABLE), refused
