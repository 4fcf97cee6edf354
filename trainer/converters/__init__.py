"""Fitted scikit-learn estimators -> row plans; one file a family.

    from trainer.converters import convert
    plan = convert(estimator, examples)

    @convert.register(MyEstimator)                 one of your own, by exact type
    def _(estimator, x): return x.affine(sub=estimator.mean_)

A type without a converter, or a parameter that a converter does not know, is `NotConvertible`: no plan rather
than one that is almost right.
"""

from . import (
    _boosting,
    _compose,
    _ensembles,
    _forests,
    _linear,
    _points,
    _preprocessing,
    _several,
    _svm,
    _wrappers,
)
from ._block import Block, NotConvertible, Outputs, combine, join
from ._convert import Convert, Converted

convert = Convert(
    {
        **_compose.CONVERTERS,
        **_preprocessing.CONVERTERS,
        **_linear.CONVERTERS,
        **_boosting.CONVERTERS,
        **_wrappers.CONVERTERS,
        **_ensembles.CONVERTERS,
        **_several.CONVERTERS,
        **_svm.CONVERTERS,
        **_points.CONVERTERS,
        **_forests.CONVERTERS,
    }
)

__all__ = ["Block", "Converted", "NotConvertible", "Outputs", "combine", "convert", "join"]
