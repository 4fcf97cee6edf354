"""One row, fast: a plan specialised once, at load, into a closure of loops and lookups.

    specialise(program, output, otherwise, shared) -> a function of one checked row, or None where numpy over
                                                      one row has to do

Every specialisation must equal the definition, `Plan.run`; publish compares them on thousands of rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mlshared.plan._program import Output, Program
from mlshared.plan._row_blocks import blocked_row
from mlshared.plan._row_forest import forest_row
from mlshared.plan._row_linear import linear_row
from mlshared.plan._row_masks import masked_row
from mlshared.plan._row_text import text_row

Row = Mapping[str, Any]
Answer = Callable[[Row], Any]


def specialise(program: Program, output: Output, otherwise: Answer, shared: dict[Any, Any]) -> Answer | None:
    """Return a function of one checked row, or None if nothing faster than the definition is known.

    Args:
        program: The plan's.
        output: How the method is answered.
        otherwise: The definition, for rows that the fast way leaves to it: those refused, above all.
        shared: What the methods of this plan have in common, made once; filled here.
    """
    return (
        linear_row(program, output, otherwise, shared)
        or masked_row(program, output, otherwise, shared)
        or forest_row(program, output, otherwise, shared)
        or text_row(program, output)
        or blocked_row(program, output, otherwise, shared)
    )
