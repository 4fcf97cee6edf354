"""Real S3 servers on loopback, each in a process of its own: moto's, and versitygw where it has been built.

    with serving() as server: ...                   moto
    with serving_files(folder) as server: ...       versitygw, which keeps objects as files in a folder
    server.url, server.port, server.send("PUT", "/bucket")

moto looks for an object and stores it in two steps; its requests are taken one at a time here, so that
If-None-Match is as atomic as on S3. versitygw is given everything as it comes.
"""

import contextlib
import io
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY: Final = "dummy-key"
SECRET: Final = "dummy-secret"
REGION: Final = "us-east-1"
BUILD: Final = "go install github.com/versity/versitygw/cmd/versitygw@v1.7.0"
EVERY_SERVER: Final = ["moto", pytest.param("versitygw", marks=pytest.mark.slow)]
BUILT: Final = Path(__file__).parents[1] / ".cache" / "bin"


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
        """Send one request and return the answer's body: to make buckets, set policies, look, replace."""
        # A type of its own, as urllib's means a form; signed, as versitygw wants it.
        headers = {"Content-Type": "application/octet-stream"}
        signed = AWSRequest(method, f"{self.url}{path}", headers, body)
        S3SigV4Auth(Credentials(KEY, SECRET), "s3", REGION).add_auth(signed)
        request = urllib.request.Request(signed.url, body or None, dict(signed.headers), method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()


@dataclass(frozen=True)
class S3Store:
    """A bucket, and how to reach it."""

    url: str
    options: dict[str, Any]
    server: Any

    @property
    def bucket(self) -> str:
        return self.url.split("/")[2]

    def put(self, key: str, data: bytes) -> None:
        """Put an object into the store, whatever lies there."""
        self.server.send("PUT", f"/{self.url.removeprefix('s3://')}/{key}", data)

    def get(self, key: str) -> bytes:
        """Return an object's bytes."""
        return self.server.send("GET", f"/{self.url.removeprefix('s3://')}/{key}")

    def delete(self, key: str) -> None:
        """Remove an object."""
        self.server.send("DELETE", f"/{self.url.removeprefix('s3://')}/{key}")

    def at(self, endpoint: str) -> "S3Store":
        """Return the same store reached through another endpoint."""
        return S3Store(self.url, {**self.options, "endpoint_url": endpoint}, self.server)


def new_bucket(server: S3Server) -> S3Store:
    """Make a bucket; return the store in it."""
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    server.send("PUT", f"/{bucket}")
    options = {
        "endpoint_url": server.url,
        "key": KEY,
        "secret": SECRET,
        "client_kwargs": {"region_name": REGION},
    }
    return S3Store(f"s3://{bucket}/models", options, server)


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


def versitygw() -> str | None:
    """Return where versitygw is, if it is: on the PATH, or where tests/run builds it."""
    return shutil.which("versitygw", path=f"{BUILT}{os.pathsep}{os.environ.get('PATH', '')}")


@contextlib.contextmanager
def serving_files(folder: Path) -> Iterator[S3Server]:
    """Run versitygw on a folder, on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(versitygw()), "--port", f"127.0.0.1:{port}", "--access", KEY, "--secret", SECRET]
    command += ["--region", REGION, "--quiet", "posix", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield S3Server(port, process)
    finally:
        process.kill()
        process.communicate()


def _wait_for(port: int, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        assert process.poll() is None, "it ended"
        assert time.monotonic() < until, "it does not listen"
        time.sleep(0.02)


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
