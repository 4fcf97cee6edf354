"""A real S3 server on loopback: moto's, in a process of its own.

    with serving() as server:
        server.url, server.port, server.send("PUT", "/bucket")

moto looks for an object and stores it in two steps; its requests are taken one at a time here, so that
If-None-Match is as atomic as on S3.
"""

import contextlib
import io
import logging
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass


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
