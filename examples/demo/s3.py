"""S3 on this machine: moto's server, and a relay before it that counts what the workers ask for.

    workers -> Relay -> moto <- trainer

The relay passes bytes on as they are and reads only what requests begin with: it counts at the socket, not
what a client believes to have sent.
"""

import socket
import socketserver
import threading
import urllib.request
from collections import Counter
from types import TracebackType
from typing import Final, Self

BUCKET: Final = "models"
_CHUNK: Final = 1 << 16


def make_bucket(port: int) -> None:
    """Make the bucket on the server at that port."""
    # moto checks no signatures, so this needs no client library.
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
    urllib.request.urlopen(request, timeout=30).close()  # noqa: S310 - our own server


def environment(port: int) -> dict[str, str]:
    """Return what points every AWS client of a process to the server at that port."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


class Relay:
    """A TCP relay on 127.0.0.1 that counts HTTP requests by method and path.

    Args:
        port: Where to pass everything on to, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        relay = self

        class Passer(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", port)) as upstream:
                    back = threading.Thread(target=_pass_on, args=(upstream, self.request), daemon=True)
                    back.start()
                    relay.read_requests(self.request, upstream)
                    back.join()

        self._server = _Server(("127.0.0.1", 0), Passer)
        self._lock = threading.Lock()  # guards _requests
        self._requests: Counter[tuple[str, str]] = Counter()
        self.port: int = self._server.server_address[1]

    def requests(self) -> Counter[tuple[str, str]]:
        """Return how often each (method, path) was asked for so far."""
        with self._lock:
            return Counter(self._requests)

    def blobs(self) -> Counter[str]:
        """Return how often each blob was fetched so far, by path."""
        return Counter(
            {
                path: n
                for (method, path), n in self.requests().items()
                if method == "GET" and "/blobs/" in path
            }
        )

    def read_requests(self, client: socket.socket, upstream: socket.socket) -> None:
        """Pass a connection's requests on until its client closes it, and count them."""
        pending = b""
        while chunk := _receive(client):
            upstream.sendall(chunk)
            pending = self._count(pending + chunk)
        _shut(upstream)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _count(self, pending: bytes) -> bytes:
        """Count the whole requests in what was received, and return the rest."""
        while b"\r\n\r\n" in pending:
            head, _, rest = pending.partition(b"\r\n\r\n")
            length = _content_length(head)
            if len(rest) < length:
                break
            method, path, _ = head.split(b"\r\n")[0].decode("latin-1").split(" ", 2)
            with self._lock:
                self._requests[method, path.partition("?")[0]] += 1
            pending = rest[length:]
        return pending


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    while chunk := _receive(source):
        try:
            target.sendall(chunk)
        except OSError:
            break  # the client has gone; so has the reason to read on
    _shut(target)


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(_CHUNK)
    except OSError:
        return b""


def _shut(target: socket.socket) -> None:
    try:
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # closed from the other side already


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0
