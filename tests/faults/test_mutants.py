"""That the list of mutants does not rot: `mutate.py` runs them, and nothing else does."""

import importlib.util
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
_SPEC = importlib.util.spec_from_file_location("mutate", HERE / "mutate.py")
mutate = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(mutate)


@pytest.mark.parametrize("mutant", mutate.mutants(), ids=lambda mutant: f"{mutant.row}-{mutant.path}")
def test_a_mutant_can_be_applied_and_noticed(mutant):
    """Its old text is there exactly once, the new one differs, and the test that shall fail exists."""
    assert mutant.found() == 1
    assert mutant.new != mutant.old
    path, _, rest = mutant.test.partition("::")
    name = re.match(r"\w+", rest)[0]
    assert f"def {name}(" in (mutate.TOP / path).read_text()
