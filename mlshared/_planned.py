"""Answers from a row plan; large tables from the estimator, where one is at hand.

A row, or a short list of rows, goes through the plan: neither scikit-learn nor pandas is imported for it. A
table of ``min_rows`` or more asks for the estimator: it is loaded in the background, and until it is there, or
where it cannot be loaded here, the plan answers tables too.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from mlshared import _frames
from mlshared._native import Flag
from mlshared._schema import Schema
from mlshared._values import is_missing
from mlshared._version import Predictor
from mlshared.errors import ModelNotReady, raisable
from mlshared.plan import Plan

Row = dict[str, Any]

ESTIMATOR_SECONDS: Final = 120.0


def _nothing() -> None:
    return None


class LazyEstimator:
    """The estimator of a version that has a plan: loaded by the refresh thread once somebody wants it.

    Args:
        wake: Has the refresh thread look at once, not at its next tick.
        foresee: Tells why it will not be loaded here, as far as that can be told beforehand; asked once, late.
    """

    def __init__(self, wake: Callable[[], None], foresee: Callable[[], Exception | None] = _nothing) -> None:
        self._wake = wake
        self._foresee = foresee
        self.wanted = False
        self.predictor: Predictor | None = None
        self.problem: Exception | None = None
        self._settled = Flag()
        self._foreseen: tuple[Exception | None] | None = None

    @property
    def foreseen(self) -> Exception | None:
        """Why it will not be loaded here, as far as can be told; looks at what is installed, once."""
        if (
            self._foreseen is None
        ):  # no cached_property: up to Python 3.11 it locks, and a fork keeps that lock
            self._foreseen = (self._foresee(),)
        return self._foreseen[0]

    def want(self) -> None:
        """Ask for it, unless it is known that it cannot be had."""
        if self.problem is None and not self.wanted:
            self.wanted = True
            self._wake()

    def settle(self, *, predictor: Predictor | None = None, problem: Exception | None = None) -> None:
        """Note that it is loaded, or why it cannot be."""
        self.wanted = False
        self.predictor, self.problem = predictor, problem
        self._settled.set()

    def wait(self, seconds: float) -> Predictor:
        """Return it, waiting until it is loaded.

        Raises:
            MlsharedError: If it cannot be, or is not in time.
        """
        if self.predictor is None:
            self.want()
            self._settled.wait(seconds)
        if self.problem is not None:
            raise raisable(self.problem)
        if self.predictor is None:
            raise ModelNotReady(f"the estimator was not loaded within {seconds:g} s")
        return self.predictor


class PlanPredictor:
    """Answers rows and tables with a plan.

    Args:
        plan: The plan.
        schema: Of what it reads.
        lazy: The estimator, for large tables.
        min_rows: From how many rows on a table is large.
    """

    def __init__(self, plan: Plan, schema: Schema, lazy: LazyEstimator, *, min_rows: int) -> None:
        self.plan = plan
        self.lazy = lazy
        self._schema = schema
        self._min_rows = min_rows

    @property
    def estimator(self) -> Any:
        """The fitted estimator, loaded at first use.

        Raises:
            MlsharedError: If it cannot be loaded here.
        """
        return self.lazy.wait(ESTIMATOR_SECONDS).estimator

    def one(self, method: str) -> Callable[[Row], Any]:
        """Return the function that answers one checked row: a scalar, or lists of floats."""
        return self.plan.one(method)

    def rows(self, method: str, rows: list[Row]) -> Any:
        """Return the answer to checked rows."""
        return self.plan.rows(method, rows)

    def table(self, method: str, table: Any) -> Any:
        """Return the answer to a user's table, checked first."""
        if _height(table) >= self._min_rows:
            if self.lazy.predictor is not None:
                return self.lazy.predictor.table(method, table)
            self.lazy.want()
        return self.plan.run(method, self._columns(_frames.columns(table, self._schema)))

    def _columns(self, checked: dict[str, Any]) -> dict[str, Any]:
        """Return checked columns by field: numbers as an array with NaN, texts as a list with None."""
        if self._schema.input == "text":
            return checked
        columns = {}
        for field in self._schema.fields:
            column = checked[field.name]
            if field.kind in {"number", "boolean"} or field.value_type in {"int", "float"}:
                columns[field.name] = _numbers(column)
            else:
                columns[field.name] = [None if is_missing(value) else value for value in column.tolist()]
        return columns


def _height(table: Any) -> int:
    shape = getattr(table, "shape", ())
    return shape[0] if isinstance(shape, tuple) and shape else 0


def _numbers(column: Any) -> Any:
    if str(column.dtype) in {"object", "category"}:
        values = [np.nan if is_missing(value) else value for value in column.tolist()]
        return np.array(values, dtype=np.float64)
    if isinstance(column, np.ndarray):
        return column.astype(np.float64)
    return column.to_numpy(dtype=np.float64, na_value=np.nan)
