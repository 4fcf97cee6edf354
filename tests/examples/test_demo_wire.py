"""The demo's clients and its relay, over real sockets."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from examples.demo.load import Load
from examples.demo.s3 import Relay


class App(BaseHTTPRequestHandler):
    """Answers what it is asked, over connections that stay."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(self.path.encode())

    def do_PUT(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def do_POST(self) -> None:
        row = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = {"probability": row["x"], "version": 3, "worker": os.getpid()}
        self._answer(json.dumps(found).encode(), 500 if row["x"] == 1 else 200)

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), App) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def collect(load: Load, count: int) -> None:
    pause = threading.Event()
    while len(load.answers()) < count:
        pause.wait(0.01)


def test_every_answer_is_written_down_with_its_row() -> None:
    """Row, version and worker are what the app said."""
    rows = [{"x": 0.25}, {"x": 0.75}]
    with serving() as port:
        with Load(port, rows, clients=2, rate=1000) as load:
            collect(load, 50)
        answers = load.answers()
    assert {(a.row, a.probability) for a in answers} == {(0, 0.25), (1, 0.75)}
    assert {(a.version, a.worker, a.failure) for a in answers} == {(3, os.getpid(), None)}


def test_a_status_that_is_no_success_is_a_failure() -> None:
    """It is written down with what the app said, and asking goes on."""
    with serving() as port, Load(port, [{"x": 1}, {"x": 0.5}], clients=1, rate=1000) as load:
        collect(load, 30)
    found = {answer.failure is None for answer in load.answers()}
    assert found == {True, False}
    assert any("status 500" in (answer.failure or "") for answer in load.answers())


def test_an_app_that_is_not_there_is_a_failure() -> None:
    """Each request to it; none hangs."""
    with serving() as port:
        pass
    with Load(port, [{"x": 0.5}], clients=1, rate=1000) as load:
        collect(load, 3)
    assert all("ConnectionRefusedError" in (answer.failure or "") for answer in load.answers())


def test_the_pace_is_kept() -> None:
    """No more requests than the rate allows, however fast they are answered."""
    with serving() as port, Load(port, [{"x": 0.5}], clients=2, rate=40) as load:
        collect(load, 10)
    answers = load.answers()
    assert answers[-1].asked_at - answers[0].asked_at >= 8 / 40 - 2 / 40


def test_the_relay_counts_every_request_of_a_connection() -> None:
    """By method and path, bodies and queries left out, also where one connection carries many."""
    with serving() as port, Relay(port) as relay:
        connection = HTTPConnection("127.0.0.1", relay.port)
        for path in (
            "/models/flights/blobs/1/aa",
            "/models/flights/releases/2",
            "/models/flights/releases/2?x=1",
        ):
            connection.request("GET", path)
            assert connection.getresponse().read() == path.encode()
        connection.request("PUT", "/models/x", body=b"GET /models/flights/blobs/1/bb HTTP/1.1\r\n\r\n")
        assert connection.getresponse().read().startswith(b"GET /models")
        connection.close()
        assert relay.requests() == {
            ("GET", "/models/flights/blobs/1/aa"): 1,
            ("GET", "/models/flights/releases/2"): 2,
            ("PUT", "/models/x"): 1,
        }
        assert relay.blobs() == {"/models/flights/blobs/1/aa": 1}


def test_the_relay_passes_large_answers_on_whole() -> None:
    """Byte for byte, over its own buffer's size."""
    body = bytes(range(256)) * 4096
    with serving() as port, Relay(port) as relay:
        connection = HTTPConnection("127.0.0.1", relay.port)
        connection.request("PUT", "/models/large", body=body)
        assert connection.getresponse().read() == body
        connection.close()
