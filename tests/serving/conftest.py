"""Fixtures of the serving tests: a store with the shelf's model, in a folder or in S3, and what reads it."""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_SPEC = importlib.util.spec_from_file_location("gunicorns", Path(__file__).with_name("gunicorns.py"))
gunicorns = sys.modules["gunicorns"] = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(gunicorns)


@dataclass(frozen=True)
class Place:
    """A store: as trainers reach it, and as the web app does, whose requests are counted."""

    url: str
    options: dict[str, Any]
    app_options: dict[str, Any]
    proxy: Any = None


@pytest.fixture
def local(shelf, tmp_path):
    return Place(shelf.copy_to(tmp_path / "models"), {}, {})


@pytest.fixture
def s3(shelf, s3_store, counting_proxy):
    shelf.send_to(s3_store)
    return Place(s3_store.url, s3_store.options, s3_store.at(counting_proxy.url).options, counting_proxy)


@pytest.fixture
def place(request):
    return request.getfixturevalue(request.param)
