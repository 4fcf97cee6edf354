"""The steps a plan may be made of: name -> the function that checks and compiles one."""

from collections.abc import Callable
from typing import Final

from mlshared.plan import (
    _bagging,
    _basic,
    _counts,
    _elementwise,
    _ensemble,
    _expand,
    _labels,
    _models,
    _neighbours,
    _points,
    _targets,
    _text,
)
from mlshared.plan._forest import forest
from mlshared.plan._step import Compiled, Shape, Step
from mlshared.plan._trees import trees

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
    "squares": _models.squares,
    "posterior": _models.posterior,
    "link": _basic.link,
    "decide": _basic.decide,
    "replace": _labels.replace,
    "clip": _elementwise.clip,
    "map": _elementwise.map_,
    "positive": _elementwise.positive,
    "power": _elementwise.power,
    "quantile": _elementwise.quantile,
    "bin": _elementwise.bin_,
    "equal": _elementwise.equal,
    "onehot": _expand.onehot,
    "monomials": _expand.monomials,
    "normalize": _expand.normalize,
    "spline": _expand.spline,
    "trees": trees,
    "average": _ensemble.average,
    "tally": _ensemble.tally,
    "shares": _ensemble.shares,
    "logits": _ensemble.logits,
    "isotonic": _ensemble.isotonic,
    "constant": _ensemble.constant,
    "duels": _ensemble.duels,
    "kernel": _points.kernel,
    "nearest": _neighbours.nearest,
    "distances": _points.distances,
    "mixture": _points.mixture,
    "forest": forest,
    "median": _bagging.median,
    "isolation": _bagging.isolation,
    "unpower": _targets.unpower,
    "tokens": _text.tokens,
    "count": _text.count,
    "tfidf": _text.tfidf,
    "dense": _counts.dense,
}
# What does the same on counts, or on counts beside blocks.
ON_COUNTS: Final[dict[str, Callable[[Step, tuple[Shape, ...]], Compiled]]] = {
    "gather": _counts.gather,
    "check": _counts.check,
    "affine": _counts.affine,
    "normalize": _counts.normalize,
    "linear": _counts.linear,
    "tfidf": _text.tfidf,
    "dense": _counts.dense,
}
READS: Final = frozenset({"number", "labels"})
