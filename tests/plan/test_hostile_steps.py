"""Plans of texts, points and votes that somebody tampered with are refused at load, or harmless."""

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.ensemble import VotingClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.multiclass import OneVsOneClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from mlshared.errors import InputError, IntegrityError, MlsharedError
from mlshared.plan import load_plan, pack
from mlshared.plan._file import unpack
from trainer._fields import infer_fields
from trainer.converters import convert

from .frames import fitted, seeds

RNG = np.random.default_rng(0)
NUMBERS = RNG.normal(size=(60, 3))
CLASSES = np.arange(60) % 3
TEXTS = [" ".join(RNG.choice(["red", "green", "blue", "naïve"], 5)) for _ in range(60)]
LOGISTIC = LogisticRegression()
MODELS = [
    *(SVC(), KNeighborsClassifier(3, leaf_size=4), OneVsOneClassifier(LOGISTIC), KMeans(3, n_init=1)),
    *(CalibratedClassifierCV(LOGISTIC, method="isotonic", cv=3), GaussianMixture(2)),
    VotingClassifier([("a", LOGISTIC), ("b", SVC())]),
]
VECTORIZERS = [CountVectorizer(), TfidfVectorizer(sublinear_tf=True), HashingVectorizer(n_features=16)]
WORTH = st.sampled_from([None, True, -1, 0, 1, 2.5, 10**9, 1e300, "", "x", "(a+)+$", [], [["a"]], {}])


def programs() -> list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Return the program, the tensors and a row of a plan of each kind."""
    found = []
    cases: list[tuple[Any, Any]] = [(model, NUMBERS) for model in MODELS]
    cases += [(make_pipeline(vectorizer, LOGISTIC), TEXTS) for vectorizer in VECTORIZERS]
    for model, X in cases:
        fitted(model, X, CLASSES)
        _, fields, _ = infer_fields(model, X)
        row = {"text": "red naïve"} if X is TEXTS else {f"x{i}": 0.5 for i in range(3)}
        found.append((*unpack(convert.converted(model, fields).data), row))
    return found


PROGRAMS = programs()


def harmless(program: Any, tensors: Any, row: Any) -> None:
    """Assert that it is refused, or answers within a second whatever it answers."""
    started = time.perf_counter()
    try:
        plan = load_plan(pack(program, tensors))
        with np.errstate(all="ignore"):
            for method in plan.methods:
                plan.one(method)(row)
    except (MlsharedError, InputError):
        pass
    assert time.perf_counter() - started < 5


@settings(max_examples=300, deadline=None)
@given(case=st.integers(0, len(PROGRAMS) - 1), data=st.data(), value=WORTH)
def test_parameters(case: int, data: Any, value: Any) -> None:
    program, tensors, row = PROGRAMS[case]
    program = json.loads(json.dumps(program))
    steps = [step for step in program["steps"] if set(step) - {"op", "in", "arrays"}]
    step = data.draw(st.sampled_from(steps))
    name = data.draw(st.sampled_from(sorted(set(step) - {"op", "in", "arrays", "field"}) or ["kind"]))
    step[name] = value
    harmless(program, tensors, row)


@settings(max_examples=300, deadline=None)
@given(case=st.integers(0, len(PROGRAMS) - 1), data=st.data(), seed=seeds)
def test_tensors(case: int, data: Any, seed: int) -> None:
    program, tensors, row = PROGRAMS[case]
    name = data.draw(st.sampled_from(sorted(tensors)))
    how = data.draw(st.sampled_from(["noise", "huge", "negative", "nan", "cut", "empty", "transposed"]))
    harmless(program, {**tensors, name: tampered(tensors[name], how, seed)}, row)


def tampered(array: Any, how: str, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    if how == "noise":
        noise = np.frombuffer(rng.bytes(array.nbytes), dtype=array.dtype).reshape(array.shape)
        return np.where(rng.random(array.shape) < 0.2, noise, array).astype(array.dtype)
    if how == "cut":
        return array[: len(array) // 2]
    if how == "empty":
        return array[:0]
    if how == "transposed":
        return np.ascontiguousarray(array.T)
    filled = array.copy()
    filled.flat[:1] = (
        {"huge": np.iinfo(np.int64).max, "negative": -1, "nan": np.nan}[how]
        if (array.dtype.kind == "f")
        else 255
    )
    return filled


@settings(max_examples=100, deadline=None)
@given(case=st.integers(0, len(PROGRAMS) - 1), data=st.data())
def test_inputs(case: int, data: Any) -> None:
    """Any earlier step may be named: kinds are checked."""
    program, tensors, row = PROGRAMS[case]
    program = json.loads(json.dumps(program))
    later = [number for number, step in enumerate(program["steps"]) if step.get("in")]
    number = data.draw(st.sampled_from(later))
    program["steps"][number]["in"] = data.draw(st.lists(st.integers(0, number - 1), max_size=3))
    harmless(program, tensors, row)


def test_a_tree_that_would_take_for_ever_is_refused() -> None:
    """Leaves that each hold all points would be walked one after the other."""
    program, tensors, _ = PROGRAMS[1]
    name = next(key for key in tensors if key.endswith(".nodes"))
    nodes = tensors[name].copy()
    nodes[:, 0], nodes[:, 1] = 0, 60
    with pytest.raises(IntegrityError, match="share out"):
        load_plan(pack(program, {**tensors, name: nodes}))
