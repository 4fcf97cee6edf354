"""The quick run asks the plan's core alone; every family is compared with scikit-learn in the whole run."""

import os
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

HERE = Path(__file__).parent
CORE = {"test_hostile.py", "test_plan.py", "test_row_masks.py", "test_separable.py", "test_threads.py"}
WHOLE_RUN = ("test_any_number_of_leaves", "test_more_leaves_take", "test_every_truncation", "little_memory")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Threads that wait for one another burn more time than frames of some dozen rows take."""
    with threadpool_limits(1):
        yield


def pytest_collection_modifyitems(items):
    if os.environ.get("TESTS_PROFILE") != "quick":
        return
    for item in items:
        if item.path.parent == HERE and (
            item.path.name not in CORE or any(name in item.name for name in WHOLE_RUN)
        ):
            item.add_marker(pytest.mark.slow)
