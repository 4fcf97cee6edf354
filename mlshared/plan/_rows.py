"""One row, fast: a plan specialised once, at load, into a closure of loops and lookups.

    specialise(program, output) -> a function of one checked row, or None where numpy over one row has to do

Every specialisation must equal the definition, `Plan.run`; publish compares them on thousands of rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mlshared.plan._program import Output, Program


def specialise(program: Program, output: Output) -> Callable[[Mapping[str, Any]], Any] | None:
    """Return a function of one checked row, or None if nothing faster than the definition is known."""
    return None
