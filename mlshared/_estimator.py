"""Answers from a fitted scikit-learn estimator, the way it was trained to be asked.

A row becomes a one-row frame with the training dtypes and the training frame's own missing value; a table
is brought to them. One row is answered with one OpenMP thread: a parallel region entered for one row in a
busy process was seen to take half a second.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from mlshared import _frames
from mlshared._answers import values
from mlshared._schema import Schema
from mlshared.errors import InputError

Row = dict[str, Any]

# How scikit-learn refuses rows. IndexError: CategoricalNB looks a category up by its number.
REFUSALS: Final = (ValueError, OverflowError, IndexError)
# A process with another id was forked from the one that imported this.
_IMPORTED_IN: Final = os.getpid()


class EstimatorPredictor:
    """Answers rows and tables with an estimator.

    Args:
        estimator: Fitted.
        schema: Of what it reads.
    """

    def __init__(self, estimator: Any, schema: Schema) -> None:
        self.estimator = estimator
        self._schema = schema
        self._threads = _thread_limiter()

    def rows(self, method: str, rows: list[Row]) -> Any:
        """Return the estimator's own answer to checked rows, an array of shape (n, ...) or a list of such."""
        with self._one_thread():
            return self._ask(method, _frames.frame(rows, self._schema))

    def one(self, method: str) -> Callable[[Row], Any]:
        """Return the function that answers one checked row: a scalar, or lists of values."""
        return lambda row: values(method, self.rows(method, [row]))

    def table(self, method: str, table: Any) -> Any:
        """Return the estimator's own answer to a user's table, checked first."""
        with self._one_thread() if is_forked() else nullcontext():
            return self._ask(method, _frames.table(table, self._schema))

    def _ask(self, method: str, x: Any) -> Any:
        try:
            return getattr(self.estimator, method)(x)
        except REFUSALS as error:
            if isinstance(error, InputError):
                raise
            reason = (str(error).splitlines() or ["refused"])[0]
            raise InputError([{"field": "input", "message": f"the model refuses it: {reason}"}]) from error

    def _one_thread(self) -> AbstractContextManager[Any]:
        return self._threads.limit(limits=1, user_api="openmp") if self._threads else nullcontext()


def is_forked() -> bool:
    """Return whether tables, too, are answered with one OpenMP thread: in a forked child.

    The threads of GNU's OpenMP do not survive a fork, and a parallel region waits for them for ever. Told by the
    process's id, as not every web server that forks runs Python's hooks.
    """
    return os.getpid() != _IMPORTED_IN


def _thread_limiter() -> Any:
    try:
        from threadpoolctl import ThreadpoolController  # noqa: PLC0415 - comes with scikit-learn
    except ImportError:
        return None
    return ThreadpoolController()


def set_one_job(estimator: Any) -> None:
    """Set every ``n_jobs`` of an estimator to 1: a web worker has its core and no more."""
    if not hasattr(estimator, "get_params"):
        return
    jobs = [name for name in estimator.get_params(deep=True) if name.rpartition("__")[2] == "n_jobs"]
    if jobs:
        estimator.set_params(**dict.fromkeys(jobs, 1))
