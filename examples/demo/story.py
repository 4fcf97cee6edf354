"""The demo's steps, in order: train, serve, keep asking, retrain, change over, roll back, count.

`tell` reads like what is shown. What came back is judged in `examples.demo.answers`.
"""

import json
import math
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from examples.demo import answers, s3
from examples.demo.answers import Answer
from examples.demo.load import Load
from examples.demo.processes import BIN, Processes, free_port, shown
from examples.demo.screen import Screen

WORKERS: Final = 2
CLIENTS: Final = 8
REQUESTS_A_SECOND: Final = 100.0
POLL_SECONDS: Final = 2.0
ROWS: Final = 200
STEADY_SECONDS: Final = 4.0
CHANGE_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Stage:
    """What the steps run on.

    Attributes:
        screen: Where they are shown.
        processes: What they start.
        store: The store, as commands take it.
        trainer: What the trainer finds in its environment beside the store.
        app: What the app finds there.
        relay: What counts the app's requests to S3; None where the store is a folder.
    """

    screen: Screen
    processes: Processes
    store: str
    trainer: Mapping[str, str] = field(default_factory=dict)
    app: Mapping[str, str] = field(default_factory=dict)
    relay: s3.Relay | None = None


def tell(stage: Stage) -> int:
    """Run all steps; return 0 if everything was as it should be, else 1."""
    step = stage.screen.step
    step("Train on January to June, publish")
    _retrain(stage, 6, None)
    step(f"Serve: the Flask app under gunicorn, {WORKERS} workers")
    port = _serve(stage)
    step(f"Keep asking: {CLIENTS} keep-alive connections, {REQUESTS_A_SECOND:.0f} requests a second")
    rows = _unseen_flights()
    with Load(port, rows, clients=CLIENTS, rate=REQUESTS_A_SECOND) as load:
        steady = _steady(stage, load)
        step("Retrain on January to September, while they ask")
        _retrain(stage, 9, load)
        while_training = load.answers()[len(steady) :]
        step("Every worker changes over, none restarts")
        forth = _change(stage, load, before=1, after=2)
        step("Roll back")
        _roll_back(stage)
        back = _change(stage, load, before=2, after=1)
    step("What it came to")
    asked = load.answers()
    fine = _count(stage, asked, rows, forth, back)
    stage.screen.say(f"latency        {_latencies(steady)}; while retraining {_latencies(while_training)}")
    stage.screen.last(_next(stage, fine=fine))
    return 0 if fine else 1


def _retrain(stage: Stage, months: int, load: Load | None) -> None:
    stage.screen.command(f"FLIGHTS_MONTHS={months} trainer retrain flights --store {stage.store}")
    began = time.monotonic()
    # One thread: OpenMP's threads wait for each other by spinning, on cores that the app needs meanwhile.
    environment = {"FLIGHTS_MONTHS": str(months), "OMP_NUM_THREADS": "1", **stage.trainer}
    process = stage.processes.start(_trainer(stage, "retrain", "flights"), **environment)
    stage.screen.wait(lambda: process.poll() is not None, lambda: _so_far(load), seconds=math.inf)
    outcome = stage.processes.finish(process)["outcomes"][0]
    score, champion = outcome["metrics"]["roc_auc"], outcome["champion_version"]
    told = f"{outcome['ref']} is published and released after {time.monotonic() - began:.0f} s"
    stage.screen.say(f"{told}: ROC AUC {score:.3f} on the 60 days it has not seen")
    if champion is not None:
        score = outcome["champion_metrics"]["roc_auc"]
        stage.screen.say(f"flights@{champion}, in force until then, has {score:.3f} on the same days")


def _serve(stage: Stage) -> int:
    """Start the app, wait until it is ready, and return its port."""
    port = free_port()
    command = [str(BIN / "gunicorn"), "--config", "examples/demo/gunicorn_conf.py"]
    command += ["--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS), "examples.flights.flask_app:app"]
    notes = {"DEMO_READS": str(stage.processes.log("reads"))}
    server = stage.processes.serve("gunicorn", command, MLSHARED_STORE=stage.store, **notes, **stage.app)
    seconds = stage.processes.wait_until_up(server, "gunicorn", f"http://127.0.0.1:{port}/ready")
    stage.screen.say(f"http://127.0.0.1:{port} is ready after {seconds:.1f} s")
    return port


def _unseen_flights() -> list[dict[str, Any]]:
    """Return flights of October to December, which no version was trained on, as an app gets them."""
    from examples.flights.data import load_flights  # noqa: PLC0415 - pandas takes a while

    flights = load_flights()
    unseen = flights[flights["time"].dt.month > 9].drop(columns="late").sample(ROWS, random_state=0)
    rows: list[dict[str, Any]] = json.loads(unseen.to_json(orient="records", date_format="iso"))
    return rows


def _steady(stage: Stage, load: Load) -> list[Answer]:
    stage.screen.wait(lambda: False, lambda: _so_far(load), seconds=STEADY_SECONDS)
    steady = load.answers()
    stage.screen.say(f"{len(steady):,} requests in {STEADY_SECONDS:.0f} s, {_latencies(steady)}")
    return steady


def _change(stage: Stage, load: Load, *, before: int, after: int) -> float | None:
    """Show each worker change over; return the release's time, or None if one of them did not change."""
    history = stage.processes.run(_trainer(stage, "history", "flights"), **stage.trainer)["history"]
    released = datetime.fromisoformat(history[-1]["created_at"]).timestamp()
    stage.screen.wait(
        lambda: len(answers.changes(load.answers(), after, since=released)) >= WORKERS,
        lambda: _so_far(load),
        seconds=CHANGE_SECONDS,
    )
    changes = answers.changes(load.answers(), after, since=released)
    for worker, seconds in sorted(changes.items(), key=lambda change: change[1]):
        told = f"version {before} -> {after}, {seconds:.1f} s after the release"
        stage.screen.say(f"worker {worker}: {told}")
    if len(changes) < WORKERS:
        stage.screen.say(f"{WORKERS - len(changes)} of {WORKERS} workers have not changed over")
        return None
    return released


def _roll_back(stage: Stage) -> None:
    arguments = ("rollback", "flights", "--reason", "to see it happen")
    stage.screen.command(f"trainer rollback flights --reason 'to see it happen' --store {stage.store}")
    entry = stage.processes.run(_trainer(stage, *arguments), **stage.trainer)
    held = ", on hold: retrains publish, and release nothing until a person does" if entry["hold"] else ""
    stage.screen.say(f"flights@{entry['version']} is in force again{held}")


def _count(
    stage: Stage, asked: Sequence[Answer], rows: list[dict[str, Any]], forth: float | None, back: float | None
) -> bool:
    """Print what the requests came to; return whether all is as it should be."""
    say = stage.screen.say
    failed = answers.failures(asked)
    wrong = answers.wrong(asked, _offline(stage, asked, rows))
    say(f"requests       {len(asked):>8,}   to {len(answers.workers(asked))} workers")
    say(f"failed         {len(failed):>8,}")
    say(f"wrong answers  {len(wrong):>8,}   each compared with what its version predicts offline")
    for failure in failed[:3]:
        say(f"failed: {failure[:160]}")
    if forth is None or back is None:
        return False
    stale = answers.went_back([a for a in asked if a.asked_at < back], 1, 2, since=forth)
    stale += answers.went_back(asked, 2, 1, since=back)
    say(f"stale answers  {len(stale):>8,}   by a worker that had changed over before")
    once = _say_downloads(stage)
    return once and not (failed or wrong or stale)


def _say_downloads(stage: Stage) -> bool:
    """Print how often blobs were read from the store; return whether each was read once."""
    if stage.relay is None:
        blobs = Counter(stage.processes.log("reads").read_text().splitlines())
        seen = "files opened, as the workers' interpreters saw it"
    else:
        blobs, requests = stage.relay.blobs(), stage.relay.requests()
        gets = sum(n for (method, _), n in requests.items() if method == "GET")
        seen = f"GETs at the socket; {gets} with the polls"
    stage.screen.say(
        f"downloads      {blobs.total():>8,}   of {len(blobs)} blobs, for {WORKERS} workers ({seen})"
    )
    return 0 < blobs.total() == len(blobs)


def _offline(stage: Stage, asked: Sequence[Answer], rows: list[dict[str, Any]]) -> dict[int, list[float]]:
    versions = sorted({answer.version for answer in asked if answer.failure is None})
    command = [sys.executable, "-m", "examples.demo.offline", *map(str, versions)]
    found = stage.processes.run(command, stdin=json.dumps(rows), MLSHARED_STORE=stage.store, **stage.trainer)
    return {int(version): probabilities for version, probabilities in found.items()}


def _trainer(stage: Stage, *arguments: str) -> list[str]:
    return [str(BIN / "trainer"), *arguments, "--store", stage.store, "--json", "--quiet"]


def _so_far(load: Load | None) -> str:
    return "" if load is None else f"{len(load.answers()):,} requests so far"


def _latencies(asked: Sequence[Answer]) -> str:
    p50, p99 = (answers.percentile(asked, percent) * 1e3 for percent in (50, 99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"


def _next(stage: Stage, *, fine: bool) -> str:
    if not fine:
        return f"This should not happen; the logs are in {shown(stage.processes.folder)}."
    if stage.relay is not None:
        return "Next: your own model; README.md begins with a train.py and an app.py to paste."
    return f"Next: {shown(BIN / 'trainer')} history flights --store {stage.store}"
