"""The example's apps: what they answer, with the model in its place and under real gunicorn."""

import dataclasses
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import trainer
from examples.demo.processes import BIN, TOP, Processes, free_port
from examples.flights import recipe as recipes
from examples.flights.data import load_flights
from examples.flights.flask_app import app
from mlshared import InputError, ModelNotReady
from mlshared.testing import override_model
from trainer.config import find_config

Post = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module", params=["flask", "django"])
def post(request: pytest.FixtureRequest) -> Post:
    """Sends a flight to one of the apps in this process; gives the status and the JSON."""
    if request.param == "flask":

        def to_flask(row: dict[str, Any]) -> tuple[int, dict[str, Any]]:
            answer = app.test_client().post("/predict", json=row)
            return answer.status_code, answer.get_json()

        return to_flask

    # Here, because importing it settles Django's settings for the whole process.
    from django.test import Client  # noqa: PLC0415

    import_module("examples.flights.django_app")

    def to_django(row: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        answer = Client(headers={"host": "localhost"}).post("/predict", row, content_type="application/json")
        return answer.status_code, answer.json()

    return to_django


@pytest.mark.parametrize(("probability", "late"), [(0.8, True), (0.2, False)])
def test_the_answer(post: Post, flight: dict[str, Any], probability: float, *, late: bool) -> None:
    """The verdict, how probable, by which version and worker."""
    with override_model("flights", predict_proba={False: 1 - probability, True: probability}):
        status, answer = post(flight)
    assert status == 200
    assert answer == {"late": late, "probability": probability, "version": 0, "worker": os.getpid()}


def test_a_wrong_row_is_the_caller_s_fault(post: Post, flight: dict[str, Any]) -> None:
    """Status 400, with the field and what is wrong with it."""
    problem = {"field": "time", "message": "missing"}
    with override_model("flights", raises=InputError([problem])):
        assert post(flight) == (400, {"errors": [problem]})


def test_without_a_model_it_says_so(post: Post, flight: dict[str, Any]) -> None:
    """Status 503: trying again later may help."""
    with override_model("flights", raises=ModelNotReady("nothing yet")):
        assert post(flight) == (503, {"errors": [{"field": "", "message": "nothing yet"}]})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one version of "flights", the logistic pipeline on few rows."""
    folder = tmp_path_factory.mktemp("store") / "models"
    sample = load_flights(4).sample(4000, random_state=0)
    small = dataclasses.replace(recipes.logistic, name="flights", load=lambda: sample, gates=[])
    assert trainer.retrain(small, store=str(folder)).released
    return folder


@pytest.fixture
def served(request: pytest.FixtureRequest, store: Path, tmp_path: Path) -> Iterator[str]:
    """One of the apps under gunicorn, as its docstring says; gives its URL."""
    port = free_port()
    command = [str(BIN / "gunicorn"), "-c", "examples/flights/gunicorn_conf.py", request.param]
    settings = {"MLSHARED_STORE": str(store), "MLSHARED_CACHE_DIR": str(tmp_path / "cache")}
    with Processes(tmp_path, settings) as processes:
        server = processes.serve("gunicorn", [*command, "--bind", f"127.0.0.1:{port}"])
        processes.wait_until_up(server, "gunicorn", f"http://127.0.0.1:{port}/ready")
        yield f"http://127.0.0.1:{port}"


def post_to(url: str, row: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"{url}/predict", json.dumps(row).encode())
    request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.mark.slow
@pytest.mark.parametrize(
    "served", ["examples.flights.flask_app:app", "examples.flights.django_app"], indirect=True
)
def test_it_serves_under_gunicorn(served: str, flight: dict[str, Any]) -> None:
    """A flight gets a probability by version 1; one with nonsense for a time a 400 that says so."""
    status, answer = post_to(served, flight)
    assert (status, answer["version"]) == (200, 1)
    assert 0 < answer["probability"] < 1
    status, answer = post_to(served, {**flight, "time": "soon"})
    assert status == 400
    assert [problem["field"] for problem in answer["errors"]] == ["time"]


def test_the_recipes_name_what_pyproject_lists() -> None:
    """`trainer retrain` finds both, under their own names."""
    config = find_config(TOP)
    assert {name: config.recipe(name).name for name in config.models} == {
        "flights": "flights",
        "flights-logistic": "flights-logistic",
    }


def test_months_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """FLIGHTS_MONTHS=1 is January."""
    monkeypatch.setenv("FLIGHTS_MONTHS", "1")
    assert set(recipes.load()["time"].dt.month) == {1}
