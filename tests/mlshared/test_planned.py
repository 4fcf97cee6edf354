"""A published version with a plan: rows without scikit-learn, large tables from the estimator, mapped files."""

import base64
import json
import multiprocessing
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from shelf import COLUMNS, NAME, add_version, disagree
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import trainer
from mlshared import Client, _load, _worker
from mlshared.errors import EnvironmentMismatch, InputError, IntegrityError, ModelNotReady, SelfTestFailed
from mlshared.events import StoreWarning
from mlshared.plan import pack
from mlshared.plan._file import unpack

ROOT = Path(__file__).parents[2]
TIGHT = {"rtol": 1e-9, "atol": 1e-12}


@pytest.fixture
def url(shelf, tmp_path):
    return shelf.copy_to(tmp_path / "models")


@pytest.fixture
def client(url, tmp_path):
    """Return a function that makes clients of the store; what they tell is in ``.events``."""
    made = []

    def make(**settings):
        events = []
        settings = {"cache_dir": tmp_path / "cache", "poll_seconds": 0, **settings}
        one = Client(url, hook=events.append, **settings)
        one.events = events
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


def other_libraries(manifest):
    """Say that the estimator needs a scikit-learn that nobody has."""
    needs = {"requires": {"scikit-learn": "0.1.0"}}
    return {
        "artifacts": tuple(a.model_copy(update=needs) if a.kind == "skops" else a for a in manifest.artifacts)
    }


def test_a_published_version_answers_with_its_plan(client, shelf):
    current = client().model(NAME).current
    assert current.plan is not None
    assert current.plan.methods == ("predict", "decision_function", "predict_proba")
    for row in shelf.rows:
        assert current.predict_proba(row) == shelf.offline(1, row)


CHILD = """
import json, sys

BANNED = {"sklearn", "pandas", "scipy", "joblib", "skops", "threadpoolctl"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BANNED:
            raise ModuleNotFoundError(name + " is not here")

sys.meta_path.insert(0, Refuse())
import numpy as np
from mlshared import Client

url, cache = sys.argv[1:]
rows = json.load(sys.stdin)
with Client(url, cache_dir=cache, poll_seconds=0, estimator_min_rows=10**6) as client:
    model = client.model("cancer")
    answers = {
        "one": [model.predict(row) for row in rows],
        "proba": [list(model.predict_proba(row).values()) for row in rows],
        "list": model.predict_proba(rows).tolist(),
        "array": model.predict_proba(np.array([list(row.values()) for row in rows])).tolist(),
        "labels": model.predict(rows).tolist(),
    }
    print(json.dumps([answers, sorted(BANNED & {name.partition(".")[0] for name in sys.modules})]))
"""


def test_a_process_without_scikit_learn_and_pandas(url, shelf, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CHILD, url, str(tmp_path / "cache")],
        cwd=ROOT,
        input=json.dumps(shelf.rows),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers, imported = json.loads(done.stdout)
    assert imported == []
    pipeline, table = shelf.pipelines[1], pd.DataFrame(shelf.rows, columns=COLUMNS)
    for way in ("proba", "list", "array"):
        np.testing.assert_allclose(answers[way], pipeline.predict_proba(table), **TIGHT)
    assert answers["one"] == answers["labels"] == pipeline.predict(table).tolist()


def test_a_large_table_asks_for_the_estimator(client, shelf):
    """The first is answered by the plan, later ones by the estimator; with the same answers."""
    here = client(estimator_min_rows=len(shelf.rows))
    current = here.model(NAME).current
    table = pd.DataFrame(shelf.rows, columns=COLUMNS)
    lazy = current.predictor.lazy
    current.predict_proba(table[:-1])
    assert not lazy.wanted
    first = current.predict_proba(table)
    assert lazy.wanted or lazy.predictor is not None
    assert type(current.estimator).__name__ == "Pipeline"
    assert (lazy.wanted, lazy.problem) == (False, None)
    asked = []
    lazy.predictor.table = lambda method, table, ask=lazy.predictor.table: (
        asked.append(method) or ask(method, table)
    )
    second = current.predict_proba(table)
    assert asked == ["predict_proba"]
    np.testing.assert_allclose(first, second, **TIGHT)
    np.testing.assert_array_equal(current.predict(table), shelf.pipelines[1].predict(table))
    np.testing.assert_allclose(current.predict_proba(shelf.rows), second, **TIGHT)


@pytest.mark.parametrize("what", [None, 7, object(), iter([{}]), np.array(1.0)])
def test_what_is_neither_a_row_nor_a_table(client, what):
    """It is an InputError that says what to pass, and nothing of Python's own."""
    with pytest.raises(InputError, match=r"expected a mapping|no table"):
        client().model(NAME).predict(what)


def test_who_asks_for_the_estimator_does_not_wait_for_a_tick(client, monkeypatch):
    """The refresh thread is woken for it."""
    monkeypatch.setattr(_worker, "TICK_SECONDS", 1e4)
    assert type(client().model(NAME).current.estimator).__name__ == "Pipeline"


def test_tables_and_rows_are_answered_alike(client, shelf):
    current = client().model(NAME).current
    table = pd.DataFrame(shelf.rows, columns=COLUMNS)
    by_rows = [list(current.predict_proba(row).values()) for row in shelf.rows]
    for given in (table, table[COLUMNS[::-1]], table.to_numpy(), shelf.rows, table.astype(object)):
        np.testing.assert_allclose(current.predict_proba(given), by_rows, **TIGHT)


def test_an_estimator_that_cannot_be_loaded_leaves_tables_to_the_plan(client, url, shelf):
    add_version(url, like=2, version=4, edit=other_libraries)
    here = client(estimator_min_rows=2)
    model = here.model(f"{NAME}@4")
    current = model.current
    table = pd.DataFrame(shelf.rows, columns=COLUMNS)
    wanted = shelf.pipelines[2].predict_proba(table)
    assert "scikit-learn 0.1.0" in model.status().estimator_problem  # known before anybody asks for it
    np.testing.assert_allclose(current.predict_proba(table), wanted, **TIGHT)
    with pytest.raises(EnvironmentMismatch, match=r"scikit-learn 0\.1\.0"):
        _ = current.estimator
    np.testing.assert_allclose(current.predict_proba(table), wanted, **TIGHT)
    assert not current.predictor.lazy.wanted
    with pytest.raises(EnvironmentMismatch):
        _ = current.estimator
    model.refresh()
    assert "scikit-learn 0.1.0" in model.status().estimator_problem
    said = [event.message for event in here.events if isinstance(event, StoreWarning)]
    said = [message for message in said if "unsigned" not in message]
    assert len(said) == 1
    assert "answered by the plan of cancer@4" in said[0]
    assert "0.1.0" in said[0]
    assert model.status().state == "serving"


def test_golden_rows_that_disagree_with_the_plan(client, url):
    add_version(url, like=2, version=4, golden=disagree)
    with pytest.raises(ModelNotReady) as caught:
        _ = client().model(f"{NAME}@4").current
    assert SelfTestFailed.__name__ in str(caught.value)


def tampered(change):
    """Return what makes another plan of a plan's file: ``change`` works on its program and tensors."""

    def made(data):
        program, tensors = unpack(data)
        tensors = {name: array.copy() for name, array in tensors.items()}
        change(program, tensors)
        return pack(program, tensors)

    return made


def without_probabilities(program, tensors):
    del program["outputs"]["predict_proba"]


def of_another_field(program, tensors):
    program["steps"][0]["field"] = "mean nothing"


def of_texts(program, tensors):
    """The first field is read as texts, and encoded to a number."""
    program["steps"].insert(0, {"op": "labels", "field": program["steps"][0]["field"]})
    for step in program["steps"]:
        step["in"] = [number + 1 for number in step.get("in", [])]
    for output in program["outputs"].values():
        output["steps"] = [number + 1 for number in output["steps"]]


@pytest.mark.parametrize("change", [without_probabilities, of_another_field, of_texts])
def test_a_plan_that_does_not_match_its_manifest(client, url, change):
    add_version(url, like=2, version=4, plan=tampered(change))
    with pytest.raises(ModelNotReady, match="does not answer what the manifest says"):
        _ = client().model(f"{NAME}@4").current


def doubled(program, tensors):
    name = next(step["arrays"]["W"] for step in program["steps"] if step["op"] == "linear")
    tensors[name] *= 1 + 1e-6


def test_a_plan_that_answers_otherwise(client, url):
    add_version(url, like=2, version=4, plan=tampered(doubled))
    with pytest.raises(ModelNotReady, match=SelfTestFailed.__name__):
        _ = client().model(f"{NAME}@4").current


def test_a_plan_that_answers_single_rows_otherwise(client, monkeypatch):
    """A mistake in the fast way of one row, which tables do not take, is found before the swap."""

    def wrongly(program, output, otherwise, shared):
        return lambda row: (
            [2 * value for value in listed] if isinstance(listed := otherwise(row), list) else listed
        )

    monkeypatch.setattr("mlshared.plan._plan.specialise", wrongly)
    with pytest.raises(ModelNotReady, match=r"predict_proba of single rows, row \d"):
        _ = client().model(NAME).current


def test_a_plan_that_is_none(client, url):
    add_version(url, like=2, version=4, plan=lambda data: data[:-1])
    with pytest.raises(ModelNotReady, match=IntegrityError.__name__):
        _ = client().model(f"{NAME}@4").current


def test_a_plan_of_a_later_format(client, url):
    def later(program, tensors):
        program["format"] = "2.0"

    add_version(url, like=2, version=4, plan=tampered(later))
    with pytest.raises(ModelNotReady, match="upgrade mlshared"):
        _ = client().model(f"{NAME}@4").current


# -- large plans, mapped from the cache


@pytest.fixture
def mapped(monkeypatch):
    """Take every plan for a large one; return how often one was loaded from a mapped file."""
    monkeypatch.setattr(_load, "MAPPED_FROM_BYTES", 1)
    views = []
    load = _load.load_plan
    monkeypatch.setattr(_load, "load_plan", lambda data: views.append(type(data)) or load(data))
    return views


def cached_plan(cache, url):
    manifest = json.loads(_payload(Path(url) / NAME / "versions" / "0000000001.json"))
    sha256 = next(a["sha256"] for a in manifest["artifacts"] if a["kind"] == "plan")
    (path,) = [path for path in cache.rglob(f"*{sha256}*") if "blobs" in str(path)]
    return path


def _payload(path):
    return base64.b64decode(json.loads(path.read_bytes())["payload"])


def test_a_mapped_plan_answers_as_any_other(client, shelf, mapped):
    current = client().model(NAME).current
    assert mapped == [memoryview]
    for row in shelf.rows:
        assert current.predict_proba(row) == shelf.offline(1, row)


@pytest.mark.parametrize("how", ["truncated", "replaced", "gone"])
def test_a_cached_plan_that_was_changed_is_fetched_anew(client, shelf, mapped, url, tmp_path, how):
    assert client().model(NAME).ready()
    path = cached_plan(tmp_path / "cache", url)
    data = path.read_bytes()
    path.chmod(0o600)
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "gone":
        path.unlink()
    else:
        other = path.with_name("other")
        other.write_bytes(data[:-8] + bytes(8))
        other.replace(path)
    current = client().model(NAME).current
    for row in shelf.rows[:5]:
        assert current.predict_proba(row) == shelf.offline(1, row)
    assert cached_plan(tmp_path / "cache", url).read_bytes() == data


def _asked(model, row, pipe):
    pipe.send(model.predict_proba(row))


@pytest.mark.parametrize("threshold", [1, 2**40])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_after_a_fork(client, shelf, monkeypatch, threshold):
    monkeypatch.setattr(_load, "MAPPED_FROM_BYTES", threshold)
    model = client().model(NAME)
    row = shelf.rows[3]
    before = model.predict_proba(row)
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe()
    child = fork.Process(target=_asked, args=(model, row, there))
    child.start()
    assert here.poll(120)
    assert here.recv() == before
    child.join(120)
    assert child.exitcode == 0


# -- tables of every dtype


TABLES = {
    "nullable": {"n": "Int64", "t": object},
    "objects": {"n": object, "t": object},
    "plain": {"n": "float64", "t": object},
    "category": {"n": "float64", "t": "category"},
}


@pytest.mark.parametrize("dtypes", TABLES.values(), ids=TABLES)
def test_tables_with_gaps(tmp_path, dtypes):
    """Whatever holds a gap, the plan's answer to a table is the pipeline's."""
    X = pd.DataFrame({"n": [1.0, 2, None, 4] * 10, "t": ["a", None, "b", "c"] * 10})
    X = X.astype({"n": dtypes["n"], "t": dtypes["t"]})
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    texts = OneHotEncoder(handle_unknown="ignore")
    pipeline = make_pipeline(
        ColumnTransformer([("n", numbers, ["n"]), ("t", texts, ["t"])]), LogisticRegression()
    ).fit(X, [0, 1, 0, 1, 1] * 8)
    store = f"memory://{uuid.uuid4().hex}"
    trainer.publish(pipeline, X, name="gaps", store=store)
    with Client(store, cache_dir=tmp_path / "cache", poll_seconds=0) as client:
        current = client.model("gaps").current
        assert current.plan is not None, current.manifest.plan_report
        wanted = pipeline.predict_proba(X)
        np.testing.assert_allclose(current.predict_proba(X), wanted, **TIGHT)
        rows = [{key: None if pd.isna(v) else v for key, v in row.items()} for row in X.to_dict("records")]
        np.testing.assert_allclose(current.predict_proba(rows), wanted, **TIGHT)
