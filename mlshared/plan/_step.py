"""One step of a plan, and what a compiled one is.

A value is a block, an array of shape (n, width) of float64 or float32; codes, int64 of shape (n, 1), -1 for
unknown; labels, an object array of shape (n, 1) with None where missing; or counts, a sparse block.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mlshared.errors import IntegrityError

Array = NDArray[Any]
Kind = Literal["block", "codes", "labels", "tokens", "counts"]

MAX_WIDTH: Final = 4_000_000
MAX_FLOAT: Final = float(np.finfo(np.float64).max)


class Shape(NamedTuple):
    """What a step gives.

    Attributes:
        kind: Of value.
        width: Columns.
        dtype: Of a block.
        codes: Of codes that are decided, how many there are: each is below; 0 if that is not known.
    """

    kind: Kind
    width: int
    dtype: str = "float64"
    codes: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A step as it stands in the file.

    Attributes:
        op: Its name.
        inputs: Numbers of earlier steps.
        params: Scalars, texts and lists.
        arrays: Tensors, by parameter name.
    """

    op: str
    inputs: tuple[int, ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)

    def array(self, name: str, *shape: int | None, dtype: str = "float64") -> Array:
        """Return a tensor of that shape (None: any) and dtype, all of it finite or not as it may be.

        Raises:
            IntegrityError: If there is none.
        """
        found = self.arrays.get(name)
        if found is None or found.dtype != np.dtype(dtype) or found.ndim != len(shape):
            raise IntegrityError(
                f"step {self.op!r} lacks its tensor {name!r} of {dtype} with {len(shape)} axes"
            )
        if any(want is not None and want != have for want, have in zip(shape, found.shape, strict=True)):
            raise IntegrityError(f"step {self.op!r}: tensor {name!r} has shape {found.shape}")
        return found

    def has(self, name: str) -> bool:
        """Return whether it has a tensor of that name."""
        return name in self.arrays

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """Return a text parameter that is one of ``allowed``.

        Raises:
            IntegrityError: If it is not.
        """
        value = self.params.get(name)
        if value not in allowed:
            raise IntegrityError(f"step {self.op!r}: {name} is {str(value)[:40]!r}, not one of {allowed}")
        return str(value)

    def number(self, name: str, *, low: float, high: float) -> float:
        """Return a number parameter within bounds.

        Raises:
            IntegrityError: If it is none.
        """
        value = self.params.get(name)
        low, high = max(low, -MAX_FLOAT), min(high, MAX_FLOAT)  # of an int that no float holds, numpy raises
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise IntegrityError(f"step {self.op!r}: {name} is {str(value)[:40]!r}, not a number there")
        return value


class Compiled(NamedTuple):
    """A step ready to run.

    Attributes:
        shape: What it gives.
        run: Values of the inputs -> its value; for reads, the column -> its value. Never writes into them.
    """

    shape: Shape
    run: Callable[..., Any]


def only(step: Step, inputs: tuple[Shape, ...], kind: Kind = "block") -> Shape:
    """Return the shape of a step's one input.

    Raises:
        IntegrityError: If it has not one input of that kind.
    """
    if len(inputs) != 1 or inputs[0].kind != kind:
        raise IntegrityError(f"step {step.op!r} takes one {kind}")
    return inputs[0]


def indices(step: Step, name: str, values: Array, below: int) -> Array:
    """Return ``values`` if all of them are valid indices.

    Raises:
        IntegrityError: If one is negative or not below ``below``.
    """
    if values.size and (int(values.min()) < 0 or int(values.max()) >= below):
        raise IntegrityError(f"step {step.op!r}: {name} points outside of its {below:,} entries")
    return values
