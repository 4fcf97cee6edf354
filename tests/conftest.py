"""Fixtures that tests of several rooms share.

s3_server       a real S3 server on loopback, one for the session
s3_store        a fresh bucket on it: .url, .options, .server
counting_proxy  a proxy before the server: .url, .requests, .stop(), .start(), .hold()
s3_wire         s3_store, reached through counting_proxy
"""

import importlib.util
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_SPEC = importlib.util.spec_from_file_location("wire", Path(__file__).with_name("wire.py"))
wire = importlib.util.module_from_spec(_SPEC)
sys.modules["wire"] = wire
_SPEC.loader.exec_module(wire)


@dataclass(frozen=True)
class S3Store:
    """A bucket, and how to reach it."""

    url: str
    options: dict[str, Any]
    server: Any

    @property
    def bucket(self) -> str:
        return self.url.split("/")[2]

    def at(self, endpoint: str) -> "S3Store":
        """Return the same store reached through another endpoint."""
        return S3Store(self.url, {**self.options, "endpoint_url": endpoint}, self.server)


@pytest.fixture(scope="session")
def s3_server():
    with wire.serving() as server:
        yield server


@pytest.fixture
def s3_store(s3_server):
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    s3_server.send("PUT", f"/{bucket}")
    options = {
        "endpoint_url": s3_server.url,
        "key": "dummy-key",
        "secret": "dummy-secret",
        "client_kwargs": {"region_name": "us-east-1"},
    }
    return S3Store(f"s3://{bucket}/models", options, s3_server)


@pytest.fixture
def counting_proxy(s3_server):
    with wire.CountingProxy(s3_server.port) as proxy:
        yield proxy


@pytest.fixture
def s3_wire(s3_store, counting_proxy):
    return s3_store.at(counting_proxy.url)
