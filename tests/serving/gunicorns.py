"""Real gunicorns on loopback, and the load that is kept on them.

with serving(store=url, cache_dir=..., workers=4, preload=True) as web:
    with Load(web.port, rows) as load:
        wait_for(lambda: len(load.workers_at(2)) == 4)
    load.answers                 every answer: when, from which process, by which version
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
IN_FLIGHT = 8
PATIENCE_SECONDS = 240.0  # until a test gives up: no claim of how long anything takes


@dataclass(frozen=True)
class Web:
    """A running gunicorn.

    Attributes:
        port: Where it listens.
        process: Its master.
        log: What it wrote.
    """

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, seconds: float = 30) -> tuple[int, Any]:
        """Return the status and JSON of one GET."""
        return ask(self.port, "GET", path, None, seconds)

    def post(self, path: str, body: Any, seconds: float = 30) -> tuple[int, Any]:
        """Return the status and JSON of one POST."""
        return ask(self.port, "POST", path, body, seconds)


def ask(port: int, method: str, path: str, body: Any, seconds: float) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


@contextlib.contextmanager
def serving(
    log: Path,
    *,
    workers: int = 4,
    preload: bool = False,
    worker_class: str = "sync",
    app: str = "cancer_app:app",
    chdir: Path = HERE,
    options: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Web]:
    """Run gunicorn on an app; settings become MLSHARED_* variables."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLSHARED_")}
    for name, value in settings.items():
        environment[f"MLSHARED_{name.upper()}"] = value if isinstance(value, str) else json.dumps(value)
    if options:
        environment["MLSHARED_STORAGE_OPTIONS"] = json.dumps(options)
    if preload:
        environment["USE_BEFORE_FORK"] = "1"
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener, log.open("wb") as output:
        command = [sys.executable, "-m", "gunicorn", "--workers", str(workers), "--chdir", str(chdir)]
        command += [
            "--bind",
            f"fd://{listener.fileno()}",
            *(["--preload"] if preload else []),
            *("--worker-class", worker_class, *(["--threads", "4"] if worker_class == "gthread" else [])),
            app,
        ]
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=output, pass_fds=[listener.fileno()]
        )
        try:
            yield Web(listener.getsockname()[1], process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class Answer:
    """One answer: when (monotonic), how long it took, and what it was."""

    at: float
    seconds: float
    status: int
    row: int
    body: dict[str, Any]


class Load:
    """Keeps eight requests in flight, and every answer."""

    def __init__(self, port: int, rows: list[dict[str, float]]) -> None:
        self._port = port
        self._rows = rows
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(IN_FLIGHT)]
        self.answers: list[Answer] = []
        self.failures: list[str] = []

    def workers_at(self, version: int, since: float = 0.0) -> set[int]:
        """Return the processes that have answered with a version since then."""
        return {
            a.body.get("pid")
            for a in list(self.answers)
            if a.at >= since and a.body.get("version") == version
        }

    def warm_up(self, workers: int, version: int = 1) -> None:
        """Wait until every worker has loaded the model, and forget the answers until then."""
        wait_for(lambda: len(self.workers_at(version)) == workers)
        self.answers, self.failures = [], []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        turn = number
        while not self._stop.is_set():
            row = turn % len(self._rows)
            turn += IN_FLIGHT + 1
            began = time.monotonic()
            try:
                status, body = ask(self._port, "POST", "/predict", self._rows[row], 30)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                continue
            now = time.monotonic()
            self.answers.append(Answer(now, now - began, status, row, body))


def wait_for(claim: Callable[[], Any]) -> float:
    """Return how many seconds it took until a claim held; fail if it never does."""
    began, pause = time.monotonic(), threading.Event()
    while not claim():
        assert time.monotonic() - began < PATIENCE_SECONDS, f"not within {PATIENCE_SECONDS:g} s"
        pause.wait(0.01)
    return time.monotonic() - began
