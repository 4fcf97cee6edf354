"""A short run of the fuzzer; `python tests/hostile/fuzz.py --minutes 60 --seed N` is the long one, by hand."""

import pytest
from fuzz import fuzz

# Of cases, and some more until the artifacts are made.
SECONDS = 60.0


@pytest.mark.slow
def test_tampered_artifacts_are_refused_or_answer():
    """Some thousands of changed entries, plans, golden rows, categories and estimators: no crash, no other error."""
    counts, found = fuzz(seed=20, seconds=SECONDS)
    print(dict(counts))
    assert found == []
    assert {kind.split(":")[0] for kind in counts} >= {"entry", "plan", "golden", "categories", "estimator"}
    assert {"estimator: answers", "estimator: IntegrityError", "golden: SelfTestFailed"} <= set(counts)
