"""Many threads ask one plan at once, and every answer is right: a plan keeps no scratch memory."""

import sys
import threading

import numpy as np
import pytest

from .zoo import zoo

ASKED = 150  # rows a thread

# A plan of each fast way of answering a row, and of the definition.
WAYS = {
    "linear": "logistic",
    "masks": "hist",
    "forest": "forest",
    "text": "text",
    "blocks": "votes",
    "generic": "svm",
}


@pytest.fixture
def restless():
    """Switch threads as often as Python can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
@pytest.mark.parametrize("threads", [4, 16])
@pytest.mark.parametrize("name", WAYS.values(), ids=WAYS)
def test_every_answer_is_right(name, threads):
    animal = zoo()[name]
    plan = animal.converted.plan
    rows = [row for row in animal.rows if all(_ordinary(value) for value in row.values())]
    wanted = {method: [plan.one(method)(row) for row in rows] for method in plan.methods}
    tables = {method: np.asarray(plan.rows(method, rows)) for method in plan.methods}
    start, wrong = threading.Barrier(threads), []

    def ask(seed):
        order = np.random.default_rng(seed).integers(0, len(rows), ASKED).tolist()
        start.wait()
        for method in plan.methods:
            one = plan.one(method)
            wrong.extend((method, place) for place in order if one(rows[place]) != wanted[method][place])
            if not np.array_equal(plan.rows(method, rows), tables[method]):
                wrong.append((method, "table"))

    asking = [threading.Thread(target=ask, args=(seed,)) for seed in range(threads)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert wrong == []


def _ordinary(value):
    return isinstance(value, str) or (value is not None and abs(value) < 100)
