"""The quick run asks the plan's core alone; every family is compared with scikit-learn in the whole run."""

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CORE = {"test_plan.py", "test_row_masks.py", "test_separable.py", "test_threads.py"}


def pytest_collection_modifyitems(items):
    if os.environ.get("TESTS_PROFILE") != "quick":
        return
    for item in items:
        if item.path.parent == HERE and item.path.name not in CORE:
            item.add_marker(pytest.mark.slow)
