"""A real S3 wire on loopback: moto's server in a process of its own, and a proxy that counts what passes.

    with serving() as server:                       the server
        with CountingProxy(server.port) as proxy:   clients talk to proxy.url
            ...; proxy.requests; proxy.stop(); proxy.start(); proxy.hold()

moto looks for an object and stores it in two steps; its requests are taken one at a time here, so that
If-None-Match is as atomic as on S3. The proxy knows no TLS and no chunked request bodies.
"""

import contextlib
import io
import logging
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True)
class Request:
    """One request as it stood on the wire; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]


class CountingProxy:
    """Forwards TCP to a port of this host and keeps every HTTP request it sees.

    Attributes:
        requests: The requests, in the order of their arrival.
        connections: How many connections were made.
        bytes_back: How many bytes the server's answers had, as far as they were forwarded.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._sockets: set[socket.socket] = set()
        self._lock = threading.Lock()  # guards the counters and the set of sockets
        self._flowing = threading.Event()
        self._listener: socket.socket | None = None
        self.port = 0
        self.requests: list[Request] = []
        self.connections = 0
        self.bytes_back = 0
        self.start()

    @property
    def url(self) -> str:
        """The endpoint to give to clients."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._flowing.set()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on and cut those there are."""
        listener, self._listener = self._listener, None
        self._flowing.set()
        with self._lock:
            doomed = list(self._sockets)
            self._sockets.clear()
        for each in [*doomed, *([listener] if listener else [])]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits on it; close() does not
            each.close()

    def hold(self) -> None:
        """Take requests from now on, and never answer; `release` lets them pass."""
        self._flowing.clear()

    def release(self) -> None:
        """Let requests pass again."""
        self._flowing.set()

    def seen(self, method: str | None = None) -> list[Request]:
        """Return the requests so far, of one method or of all."""
        with self._lock:
            return [request for request in self.requests if method in (None, request.method)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                self._sockets |= {client, server}
                self.connections += 1
            threading.Thread(target=self._forward, args=(client, server), daemon=True).start()
            threading.Thread(target=self._return, args=(server, client), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket) -> None:
        parser = _Requests()
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                found = parser.feed(data)
                with self._lock:
                    self.requests += found
                self._flowing.wait()
                server.sendall(data)
        self._drop(client, server)

    def _return(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                client.sendall(data)
                with self._lock:
                    self.bytes_back += len(data)
        self._drop(client, server)

    def _drop(self, *ends: socket.socket) -> None:
        with self._lock:
            self._sockets -= set(ends)
        for each in ends:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


@dataclass
class _Requests:
    """Finds the requests in the bytes of one connection."""

    head: bytearray = field(default_factory=bytearray)
    body_left: int = 0

    def feed(self, data: bytes) -> list[Request]:
        found = []
        while data:
            if self.body_left:
                skipped = min(self.body_left, len(data))
                self.body_left -= skipped
                data = data[skipped:]
                continue
            before = len(self.head)
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                break
            data = data[end + 4 - before :]
            request = _parse(bytes(self.head[:end]))
            self.body_left = int(request.headers.get("content-length", 0))
            self.head.clear()
            found.append(request)
        return found


def _parse(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    pairs = (line.split(":", 1) for line in lines)
    return Request(method, path, {name.lower(): value.strip() for name, value in pairs})


@dataclass(frozen=True)
class S3Server:
    """A running server."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def send(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Send one unsigned request and return the answer's body: to make buckets, set policies, look."""
        request = urllib.request.Request(f"{self.url}{path}", data=body or None, method=method)
        request.add_header("Content-Type", "application/octet-stream")  # urllib's own means a form
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()


@contextlib.contextmanager
def serving() -> Iterator[S3Server]:
    """Run moto's S3 server in a process of its own, on a free port."""
    process = subprocess.Popen([sys.executable, "-W", "ignore", __file__], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield S3Server(int(process.stdout.readline()), process)
    finally:
        process.kill()
        process.communicate()


def _serve() -> None:
    """Serve until killed; the first line on stdout is the port."""
    from moto.moto_server.werkzeug_app import (  # noqa: PLC0415 - heavy, and for this process alone
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server  # noqa: PLC0415

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = DomainDispatcherApplication(create_backend_app)
    lock = threading.Lock()

    def one_at_a_time(environ, start_response):
        # The body is read before the lock: a client that is slow to send must not stop the others.
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        with lock:
            return list(moto(environ, start_response))

    server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True, request_handler=MotoRequestHandler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve()
