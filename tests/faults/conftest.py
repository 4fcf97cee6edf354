"""Fixtures of the fault tests.

serve       starts a client of the shelf's model, through counting_proxy: see served.py
served      one whose version 1 is in force, and who polls
impatient   short deadlines and backoffs
"""

import contextlib
import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from shelf import NAME

from mlshared import Client, _alias_log, _load, _refresh, _verdicts

_SPEC = importlib.util.spec_from_file_location("served", Path(__file__).with_name("served.py"))
module = sys.modules["served"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(module)
Asking, Served = module.Asking, module.Served
POLL_SECONDS, LOOK_SECONDS, BACKOFF_SECONDS = module.POLL_SECONDS, module.LOOK_SECONDS, module.BACKOFF_SECONDS


@pytest.fixture
def impatient(monkeypatch):
    """Deadlines and backoffs of a second or less: these tests wait for many of them."""
    monkeypatch.setattr(_refresh, "LOOK_SECONDS", LOOK_SECONDS)
    monkeypatch.setattr(_refresh, "COLD_LOOK_SECONDS", LOOK_SECONDS)
    monkeypatch.setattr(_refresh, "LONGEST_LOOK_BACKOFF_SECONDS", BACKOFF_SECONDS)
    monkeypatch.setattr(_load, "MANIFEST_SECONDS", LOOK_SECONDS)
    monkeypatch.setattr(_verdicts, "FIRST_BACKOFF_SECONDS", 0.01)  # 6 doublings to BACKOFF_SECONDS
    monkeypatch.setattr(_alias_log, "CONFIRM_SECONDS", POLL_SECONDS)


@pytest.fixture(autouse=True)
def _no_hot_loop(request):
    """Whatever happens, a client asks the store no more than a few times for each poll."""
    if "serve" not in request.fixturenames:
        yield
        return
    began, counting_proxy = time.monotonic(), request.getfixturevalue("counting_proxy")
    yield
    polls = (time.monotonic() - began) / (0.8 * POLL_SECONDS) + 20
    assert len(counting_proxy.seen()) < 4 * polls


@pytest.fixture
def serve(shelf, s3_store, s3_wire, counting_proxy, impatient, tmp_path):
    """A function that starts a client through the proxy, and somebody who asks it; the bucket holds the shelf."""
    shelf.send_to(s3_store)
    stack = contextlib.ExitStack()

    def begin(cache: str = "cache", **settings: Any) -> Served:
        events: list[Any] = []
        client = Client(
            s3_wire.url,
            cache_dir=tmp_path / cache,
            hook=lambda event: events.append((time.monotonic(), event)),
            **{"poll_seconds": POLL_SECONDS, "storage_options": s3_wire.options, **settings},
        )
        model = stack.enter_context(client).model(NAME)
        assert model.ready(timeout=60)
        asking = stack.enter_context(Asking(model, shelf))
        here = Served(client, model, s3_store, counting_proxy, asking, tmp_path / cache, events)
        here.until(lambda: asking.count)
        return here

    with stack:
        yield begin
        counting_proxy.heal()


@pytest.fixture
def served(serve) -> Served:
    here = serve()
    # Until the first poll has listed the log, so that what follows are polls of one request.
    here.until(lambda: here.proxy.seen("GET", r"/releases/production/0000000002\.json"))
    here.stays(1)
    return here
