"""Fitted scikit-learn estimators -> row plans; one file a family.

    from trainer.converters import convert
    plan = convert(estimator, examples)

    @convert.register(MyEstimator)                 one of your own, by exact type
    def _(estimator, x): return x.affine(sub=estimator.mean_)

A type without a converter, or a parameter that a converter does not know, is `NotConvertible`: no plan rather
than one that is almost right.
"""

from . import (
    _adaboost,
    _bagging,
    _boosting,
    _classes,
    _compose,
    _decomposition,
    _encoders,
    _ensembles,
    _expansions,
    _forests,
    _imputers,
    _layers,
    _lightgbm,
    _linear,
    _points,
    _scalers,
    _selection,
    _several,
    _svm,
    _text,
    _wrappers,
    _xgboost,
)
from ._block import Block, NotConvertible, Outputs, combine, join
from ._convert import Convert, Converted

convert = Convert(
    {
        **_compose.CONVERTERS,
        **_scalers.CONVERTERS,
        **_imputers.CONVERTERS,
        **_encoders.CONVERTERS,
        **_expansions.CONVERTERS,
        **_selection.CONVERTERS,
        **_decomposition.CONVERTERS,
        **_linear.CONVERTERS,
        **_classes.CONVERTERS,
        **_layers.CONVERTERS,
        **_boosting.CONVERTERS,
        **_lightgbm.CONVERTERS,
        **_xgboost.CONVERTERS,
        **_wrappers.CONVERTERS,
        **_ensembles.CONVERTERS,
        **_several.CONVERTERS,
        **_svm.CONVERTERS,
        **_points.CONVERTERS,
        **_text.CONVERTERS,
        **_forests.CONVERTERS,
        **_bagging.CONVERTERS,
        **_adaboost.CONVERTERS,
    }
)

__all__ = ["Block", "Converted", "NotConvertible", "Outputs", "combine", "convert", "join"]
