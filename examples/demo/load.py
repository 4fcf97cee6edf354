"""Clients that never stop asking: keep-alive connections, at a steady pace, each answer written down.

    with Load(port, rows) as load:
        ...                          load.answers() so far

A connection is closed after a number of requests and opened again, so that every worker gets its share.
Nothing is tried twice: what fails is written down as failed.
"""

import http.client
import json
import random
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from examples.demo.answers import Answer

REQUESTS_A_CONNECTION: Final = 40
TIMEOUT_SECONDS: Final = 30.0


class Load:
    """Asks ``POST /predict`` for one row after the other until it is stopped.

    Args:
        port: Where the app listens, on 127.0.0.1.
        rows: What to ask for, over and over.
        clients: How many connections ask at once.
        rate: Requests a second, all together.
    """

    def __init__(self, port: int, rows: Sequence[dict[str, Any]], *, clients: int, rate: float) -> None:
        self._port = port
        self._bodies = [json.dumps(row).encode() for row in rows]
        self._period = clients / rate
        self._answers: list[Answer] = []  # list.append needs no lock
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_on, args=(number,), daemon=True) for number in range(clients)
        ]

    def answers(self) -> list[Answer]:
        """Return what has come back so far, in that order."""
        return list(self._answers)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)

    def _ask_on(self, number: int) -> None:
        pick = random.Random(number)  # noqa: S311 - which row comes next is no secret
        due = time.monotonic() + pick.uniform(0, self._period)
        connection = self._connect()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            # An answer that took longer than the period is not made up for: that would be a burst.
            due = max(due + self._period, time.monotonic())
            answer = self._ask(connection, pick.randrange(len(self._bodies)))
            self._answers.append(answer)
            if answer.failure is not None or pick.randrange(REQUESTS_A_CONNECTION) == 0:
                connection.close()
                connection = self._connect()
        connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)

    def _ask(self, connection: http.client.HTTPConnection, row: int) -> Answer:
        asked_at, began = time.time(), time.perf_counter()
        try:
            connection.request(
                "POST", "/predict", self._bodies[row], headers={"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            body = response.read()
            seconds = time.perf_counter() - began
            if response.status != http.HTTPStatus.OK:
                return Answer(asked_at, seconds, row, failure=f"status {response.status}: {body[:200]!r}")
            found = json.loads(body)
            return Answer(
                asked_at, seconds, row, found["worker"], found["version"], float(found["probability"])
            )
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            return Answer(
                asked_at, time.perf_counter() - began, row, failure=f"{type(error).__name__}: {error}"
            )
