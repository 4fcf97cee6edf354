"""What the examples' tests share."""

import json
from typing import Any

import pytest


@pytest.fixture
def flight() -> dict[str, Any]:
    """A flight as a browser would send it, its gusts unknown."""
    text = """
        {"time": "2013-10-04T17:30", "carrier": "UA", "origin": "EWR", "dest": "IAH", "distance": 1400,
         "built": 1999, "seats": 149, "temp": 71.06, "dewp": 64.04, "humid": 78.5, "wind_dir": 200,
         "wind_speed": 9.2, "wind_gust": null, "precip": 0, "pressure": 1014.4, "visib": 10}
    """
    row: dict[str, Any] = json.loads(text)
    return row
