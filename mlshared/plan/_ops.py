"""The steps a plan may be made of: name -> the function that checks and compiles one."""

from collections.abc import Callable
from typing import Final

from mlshared.plan import _basic
from mlshared.plan._step import Compiled, Shape, Step

FORMAT: Final = "1.0"

OPS: Final[dict[str, Callable[[Step, tuple[Shape, ...]], Compiled]]] = {
    "number": _basic.number,
    "labels": _basic.labels,
    "gather": _basic.gather,
    "check": _basic.check,
    "cast": _basic.cast,
    "fill": _basic.fill,
    "missing": _basic.missing,
    "affine": _basic.affine,
    "encode": _basic.encode,
    "lookup": _basic.lookup,
    "linear": _basic.linear,
    "link": _basic.link,
    "decide": _basic.decide,
}
READS: Final = frozenset({"number", "labels"})
