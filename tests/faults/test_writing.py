"""f13 to f17, f36, f40: what a trainer writes when answers are lost, others race, it is killed, or people step in."""

import contextlib
import hashlib
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import proxy
import pytest
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression

import trainer
from mlshared import Client
from mlshared._objects import open_objects
from mlshared.errors import ConfigError, InputError
from mlshared.manifest import Artifact
from mlshared.store import Store
from trainer import _append
from trainer._append import OutcomeUnknown, found_store
from trainer._publish import Draft, upload
from trainer._release import release_automatically
from trainer.checks import Check
from trainer.cli import main

HERE = Path(__file__).parent
SKOPS = b"an estimator"


def load(name, folder=HERE):
    """Import a module that lies beside the tests, under its own name."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def slowly(*values):
    """Return parameters of a test that the quick run leaves out."""
    return pytest.param(*values, marks=pytest.mark.slow)


entries = load("entries", HERE.parent)
killing, racing = load("killing"), load("racing")
ALIAS, MODEL = entries.ALIAS, entries.MODEL
CONFLICT = proxy.status(409, "ConditionalRequestConflict")


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    """No trainer.toml above, a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLSHARED_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(_append, "PAUSE_SECONDS", 0.01)


@contextlib.contextmanager
def opened(place):
    objects = open_objects(place.url, place.options)
    try:
        yield Store(objects)
    finally:
        objects.close()


def draft(store_id, by="me"):
    artifact = Artifact(
        kind="skops", required=True, sha256=hashlib.sha256(SKOPS).hexdigest(), size=len(SKOPS)
    )
    return Draft(entries.manifest(store=store_id, artifacts=(artifact,), labels={"by": by}), {"skops": SKOPS})


def passing(_head):
    return (Check("better", passed=True, message=""),)


def published(place, *, versions):
    """Publish so many versions past any proxy; the first is released. Return the store's id."""
    with opened(place) as store:
        store_id = found_store(store).id
        stored = [upload(store, draft(store_id)) for _ in range(versions)]
        assert release_automatically(store, store_id, stored[0], ALIAS, passing).released
    return store_id


def log_of(place):
    with opened(place) as store:
        store_id = store.identity().id
        return [store.release(store_id, MODEL, ALIAS, n).entry for n in store.releases(MODEL, ALIAS)]


def check_versions(place, numbers):
    """Every version is there, whole, under its own number and nothing else."""
    with opened(place) as store:
        store_id = store.identity().id
        assert store.versions(MODEL) == numbers
        for number in numbers:
            entry = store.manifest(store_id, MODEL, number).entry
            for artifact in entry.artifacts:
                store.blob(MODEL, entry.publish_id, artifact)


# -- f13, f14: answers that are lost or odd -----------------------------------------------------------------


@pytest.mark.parametrize(
    "what", [slowly("mlshared.json"), slowly("/blobs/"), slowly("/versions/"), "/releases/"]
)
def test_f13_a_create_whose_answer_was_lost_counts_once(s3_store, s3_wire, counting_proxy, what):
    """Also where the storage library sends it again by itself, and hears that the key is taken."""
    rule = counting_proxy.inject(proxy.lose, method="PUT", path=what, times=1)
    with opened(s3_wire) as store:
        store_id = found_store(store).id
        stored = upload(store, draft(store_id))
        assert release_automatically(store, store_id, stored, ALIAS, passing).released
    assert rule.hits == 1
    check_versions(s3_store, [1])
    assert [(e.number, e.version) for e in log_of(s3_store)] == [(1, 1)]


FAULTS = {"409": CONFLICT, "reset": proxy.reset, "503": proxy.status(503)}
SENT_AGAIN = [
    ("409", "/versions/"), ("reset", "/releases/"), ("503", "/blobs/"),
    *(slowly(name, what) for name, what in [
        ("409", "/blobs/"), ("409", "/releases/"), ("reset", "/blobs/"), ("reset", "/versions/"),
        ("503", "/versions/"), ("503", "/releases/"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "what"), SENT_AGAIN)
def test_f14_a_create_that_did_not_happen_is_sent_again(s3_store, s3_wire, counting_proxy, fault, what):
    """Read back, absent, the same bytes once more: no number is skipped."""
    store_id = published(s3_store, versions=1)
    counting_proxy.inject(FAULTS[fault], method="PUT", path=what, times=3)
    with opened(s3_wire) as store:
        stored = upload(store, draft(store_id))
        assert release_automatically(store, store_id, stored, ALIAS, passing).released
    check_versions(s3_store, [1, 2])
    assert [e.version for e in log_of(s3_store)] == [1, 2]


def test_f14_a_number_that_was_taken_meanwhile_is_left_to_its_owner(s3_store, s3_wire, counting_proxy):
    """A 412, also after an answer that told nothing: the other's bytes stay, ours go under the next number."""
    store_id = published(s3_store, versions=1)
    theirs = []

    def overtaken(exchange):
        with opened(s3_store) as store:
            theirs.append(upload(store, draft(store_id, by="them")))
        CONFLICT(exchange)

    counting_proxy.inject(overtaken, method="PUT", path="/versions/", times=1)
    with opened(s3_wire) as store:
        mine = upload(store, draft(store_id))
    assert (theirs[0].entry.version, mine.entry.version) == (2, 3)
    with opened(s3_store) as store:
        assert store.manifest(store_id, MODEL, 2).entry.labels == {"by": "them"}
        assert store.manifest(store_id, MODEL, 3).entry.labels == {"by": "me"}


class Ticking:
    """A clock that is two seconds on whenever it is read: a deadline passes after so many looks, not after a minute."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 2.0
        return self.now


@pytest.mark.parametrize("took_effect", [True, slowly(False)])
def test_f14_an_unknown_outcome_is_said_and_exits_75(
    s3_store, s3_wire, counting_proxy, monkeypatch, capsys, took_effect
):
    """What may still appear is named; run again, the command does what was asked for, once."""
    published(s3_store, versions=2)
    monkeypatch.setenv("MLSHARED_STORAGE_OPTIONS", json.dumps(s3_wire.options))
    monkeypatch.setattr("mlshared.store.time", Ticking())
    entry = "/releases/production/0000000002"
    counting_proxy.inject(proxy.reset, path=entry)
    if took_effect:
        counting_proxy.inject(proxy.lose, method="PUT", path=entry, times=1)
    assert main(["release", MODEL, "2", "--store", s3_wire.url]) == 75
    said = capsys.readouterr().err
    assert "number 2 of flights@production may still appear; look with `trainer history`" in said
    assert [e.version for e in log_of(s3_store)] == ([1, 2] if took_effect else [1])
    counting_proxy.heal()
    assert main(["release", MODEL, "2", "--store", s3_wire.url, "--quiet"]) == 0
    assert log_of(s3_store)[-1].version == 2


def test_f14_credentials_that_expire_meanwhile_leave_it_unknown(s3_store, s3_wire, counting_proxy):
    """A refusal is no proof that the write before it was none."""
    store_id = published(s3_store, versions=1)
    counting_proxy.inject(proxy.status(403, "ExpiredToken"), path="/versions/0000000002")
    counting_proxy.inject(proxy.lose, method="PUT", path="/versions/0000000002", times=1)
    with opened(s3_wire) as store, pytest.raises(OutcomeUnknown, match="version 2 of flights may still"):
        upload(store, draft(store_id))
    check_versions(s3_store, [1, 2])


# -- f15: many at once --------------------------------------------------------------------------------------


@pytest.fixture(params=["a folder", "S3"])
def place(request, tmp_path):
    """A URL and its options."""
    if request.param == "a folder":
        return str(tmp_path / "models"), {}
    store = request.getfixturevalue("s3_store")
    return store.url, store.options


@pytest.mark.slow
def test_f15_eight_processes_publish_twenty_times_each(place, tmp_path):
    """Versions 1 to 160 without a gap, each manifest whole and its writer's own, with all its blobs."""
    url, options = place
    processes, publishes = 8, 20
    printed = racing.race(racing.WRITER, [(url, options, me, publishes) for me in range(processes)], tmp_path)
    numbers = list(range(1, processes * publishes + 1))
    assert sorted(number for out in printed for number in out) == numbers
    objects = open_objects(url, options)
    store = Store(objects)
    store_id = found_store(store).id
    assert store.versions(MODEL) == numbers
    labels, ids = set(), set()
    for number in numbers:
        store.allow(30)
        entry = store.manifest(store_id, MODEL, number).entry
        me = int(entry.labels["by"].split("/")[0])
        assert number in printed[me]
        assert entry.classes == (me, me + 1)
        for artifact in entry.artifacts:
            store.blob(MODEL, entry.publish_id, artifact)
        labels.add(entry.labels["by"])
        ids.add(entry.publish_id)
    assert labels == {f"{me}/{n}" for me in range(processes) for n in range(publishes)}
    assert len(ids) == len(numbers)
    objects.close()


@pytest.mark.slow
def test_f15_three_processes_publish_the_whole_way(place, tmp_path):
    """With reading back in a clean interpreter each time; one of them gets the first release, no other."""
    url, options = place
    printed = racing.race(racing.FULL, [(url, options, me, 1) for me in range(3)], tmp_path)
    versions = sorted(number for out in printed for number in out[::2])
    assert versions == [1, 2, 3]
    released = [version for out in printed for version, was in zip(out[::2], out[1::2], strict=True) if was]
    assert [e.version for e in trainer.history(MODEL, store=url, storage_options=options)] == released
    assert len(released) == 1


# -- f16: killed --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_f16_a_publisher_killed_at_every_step_leaves_old_or_new(place):
    """Whole versions, a log in order, never something between; and running it again succeeds."""
    url, options = place
    steps = killing.deaths(url, options)
    assert [killed for _, killed in steps] == [True] * (len(steps) - 1) + [False]
    assert len(steps) > (60 if "://" not in url else 10)
    heads = []
    for step, killed in steps:
        heads.append(_whole(f"{url}/{step}", options))
        if killed:
            again = killing.publish_and_release(f"{url}/{step}", options)
            assert _whole(f"{url}/{step}", options) == again, f"after step {step}"
    assert heads == sorted(heads), "a later death left an older version in force"
    assert set(heads) == {0, 1, 2}, "no death fell between two releases"


def _whole(url, options):
    """Return the version in force, 0 if none, having looked at everything there is."""
    with opened(type("Place", (), {"url": url, "options": options})) as store:
        identity = store.identity()
        if identity is None:
            return 0
        numbers = store.versions(MODEL)
        assert numbers == list(range(1, len(numbers) + 1))
        shas = {}
        for number in numbers:
            stored = store.manifest(identity.id, MODEL, number)
            shas[number] = stored.sha256
            for artifact in stored.entry.artifacts:
                store.blob(MODEL, stored.entry.publish_id, artifact)
        log = store.releases(MODEL, ALIAS)
        assert log == list(range(1, len(log) + 1))
        found = [store.release(identity.id, MODEL, ALIAS, number) for number in log]
        for before, after in pairwise(found):
            assert after.entry.prev.sha256 == before.sha256
        assert all(stored.entry.manifest_sha256 == shas[stored.entry.version] for stored in found)
        return found[-1].entry.version if found else 0


# -- f17: storage that overwrites ---------------------------------------------------------------------------


@pytest.fixture
def overwriting(tmp_path):
    """A real S3-like server that ignores If-None-Match: its URL for a store, and the options."""
    pytest.importorskip("nanio", reason="nanio, a server that ignores If-None-Match, is not installed")
    (tmp_path / "data" / "bucket").mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        Path(sys.executable).parent / "nanio", "serve", "--data-dir", tmp_path / "data", "--host", "127.0.0.1",
        "--port", str(port), "--no-access-log",
    ]  # fmt: skip
    keys = {"NANIO_ACCESS_KEY": "dummy-key", "NANIO_SECRET_KEY": "dummy-secret"}
    with (tmp_path / "nanio.log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **keys}, stdout=log, stderr=log)
    try:
        _wait_for(port, server)
        yield (
            "s3://bucket/models",
            {
                "endpoint_url": f"http://127.0.0.1:{port}",
                "key": "dummy-key",
                "secret": "dummy-secret",
                "client_kwargs": {"region_name": "us-east-1"},
            },
        )
    finally:
        server.terminate()
        server.wait(20)


def _wait_for(port, server):
    until = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server does not listen"
            time.sleep(0.05)
        else:
            return


@pytest.mark.slow
def test_f17_a_store_that_ignores_if_none_match_is_refused(overwriting, monkeypatch, capsys):
    """By `doctor`, with what to do, and by the very first publish, before there is a version."""
    url, options = overwriting
    monkeypatch.setenv("MLSHARED_STORAGE_OPTIONS", json.dumps(options))
    assert main(["doctor", "--store", url, "--quiet"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("problem      create-if-absent: this storage overwrites existing objects")
    assert "use storage that has conditional writes" in line
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"two trainers would overwrite each other's versions"):
            trainer.publish(*_fitted(), name=MODEL, store=url)
    objects = open_objects(url, options)
    assert objects.names(MODEL, timeout=20) == []
    objects.close()


def _fitted():
    X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    return LogisticRegression().fit(X, y), X, y


@pytest.mark.parametrize("where", ["a folder", "S3", "memory"])
def test_f17_stores_that_hold_create_if_absent_are_not(where, request, tmp_path, monkeypatch, capsys):
    """Every other finding is ok too, and what was tried is no model of the store."""
    place = {"a folder": str(tmp_path / "models"), "memory": f"memory://{tmp_path.name}/models"}.get(where)
    if place is None:
        s3_store = request.getfixturevalue("s3_store")
        place = s3_store.url
        monkeypatch.setenv("MLSHARED_STORAGE_OPTIONS", json.dumps(s3_store.options))
    assert main(["doctor", "--store", place, "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {finding["kind"] for finding in findings} == {"ok"}
    assert {finding["about"] for finding in findings} == {
        "reachable", "identity", "read-back", "create-if-absent", "list", "clock"
    }  # fmt: skip


# -- f36: a rollback while a retrain is under way -----------------------------------------------------------

RECIPE = """
from pathlib import Path

from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainer import KeySplit, Recipe

COLUMNS = {columns!r}


def load():
    Path("gate").read_text()  # a pipe: until somebody writes to it
    frame = load_breast_cancer(as_frame=True).frame[[*COLUMNS, "target"]]
    return frame.assign(id=range(len(frame)))


def build():
    return make_pipeline(make_column_transformer((StandardScaler(), COLUMNS)), LogisticRegression())



recipe = Recipe(
    name="cancer", load=load, target="target", build=build, split=KeySplit("id", test=0.2), metrics=["roc_auc"]
)
"""


@pytest.mark.slow
def test_f36_a_rollback_with_hold_outlives_the_retrain_under_way(shelf, tmp_path):
    """The retrain publishes, does not release, and exits 0, as a person chose that."""
    url = shelf.copy_to(tmp_path / "models")
    trainer.release("cancer", 2, store=url)
    columns = list(shelf.rows[0])
    (tmp_path / "held_recipe.py").write_text(RECIPE.format(columns=columns))
    (tmp_path / "trainer.toml").write_text(
        'store = "./models"\n[models.cancer]\nrecipe = "held_recipe:recipe"\n'
    )
    os.mkfifo(tmp_path / "gate")
    retrain = subprocess.Popen(
        [sys.executable, "-m", "mlshared._trainer_entry", "retrain", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with (tmp_path / "gate").open("w") as gate:  # opens once the retrain waits there
        entry = trainer.rollback("cancer", store=url, reason="wrong on Mondays")
        gate.write("go")
    out, err = retrain.communicate(timeout=240)
    assert retrain.returncode == 0, err
    (outcome,) = json.loads(out)["outcomes"]
    assert (outcome["version"], outcome["released"], outcome["on_hold"]) == (4, False, True)
    assert all(check["passed"] for check in outcome["checks"]), "without the hold it would be released"
    assert outcome["reason"].startswith(f"on hold since entry {entry.number} (wrong on Mondays)")
    log = trainer.history("cancer", store=url)
    assert [(e.version, e.kind, e.hold) for e in log[-2:]] == [(2, "release", False), (1, "rollback", True)]


# -- f40: a schema that the app's rows do not meet ----------------------------------------------------------


@pytest.mark.slow
def test_f40_a_new_required_field_is_never_released_by_itself(shelf, tmp_path, capsys):
    """Published only; exit 3 by hand; with --breaking, the app's error names the field."""
    url = shelf.copy_to(tmp_path / "models")
    X, y = load_breast_cancer(as_frame=True, return_X_y=True)
    X = X[[*shelf.rows[0], "worst texture"]]
    wider = LogisticRegression(max_iter=10_000).fit(X, y)
    with Client(url, poll_seconds=0, cache_dir=str(tmp_path / "app")) as client:
        app = client.model("cancer")
        assert app.predict(shelf.rows[0]) in {0, 1}
        made = trainer.publish(wider, X, y, name="cancer", store=url, release="production")
        assert (made.version, made.released) == (4, False)
        assert "field 'worst texture' is new, and every row must have it" in made.reason
        assert main(["release", "cancer", "4", "--store", url]) == 3
        assert "'worst texture' is new" in capsys.readouterr().err
        assert not app.refresh()

        assert main(["release", "cancer", "4", "--store", url, "--breaking", "--quiet"]) == 0
        assert app.refresh()
        with pytest.raises(InputError) as caught:
            app.predict(shelf.rows[0])
        assert [problem["field"] for problem in caught.value.errors()] == ["worst texture"]
