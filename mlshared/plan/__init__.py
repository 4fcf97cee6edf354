"""Row plans: a fitted pipeline as data, answered with numpy alone, exactly as scikit-learn answers.

    file (`_file`) -> program (`_program`) -> steps, checked and compiled (`_ops`) -> `Plan`

`Plan.run` over n rows is the definition; `Plan.one` answers a single row in microseconds (`_rows`). Nothing
here imports scikit-learn or pandas, runs code that came with a plan, or writes a plan: `trainer.converters` does.
"""

from mlshared.plan._file import pack
from mlshared.plan._plan import Plan, load_plan
from mlshared.plan._step import Shape, Step

__all__ = ["Plan", "Shape", "Step", "load_plan", "pack"]
