"""Train, judge and publish scikit-learn models to a store that `mlshared` serves from.

    from trainer import AtLeast, KeySplit, NoWorse, Recipe, TimeSplit
    import trainer

    outcome = trainer.retrain(recipe, store="s3://acme/models")
    published = trainer.publish(estimator, X_test, y_test, name="flights", store="./models")

`_retrain` is the whole way from a recipe to a release; `_publish` and `_release` are its two ends, used
alone from notebooks. Importing this loads no machine-learning library.
"""

from typing import TYPE_CHECKING, Any, Final

from .checks import AtLeast, Check, NoWorse
from .recipe import Recipe
from .splits import KeySplit, TimeSplit

if TYPE_CHECKING:
    from ._carry import copy, pull
    from ._collect import Collected, collect
    from ._compare import VersionComparison, compare
    from ._history import history, versions
    from ._keygen import keygen
    from ._outcome import Outcome
    from ._publish import Published, publish
    from ._recover import recover
    from ._release import hold, release, rollback
    from ._retrain import retrain
    from ._verify import verify

__all__ = [
    "AtLeast",
    "Check",
    "Collected",
    "KeySplit",
    "NoWorse",
    "Outcome",
    "Published",
    "Recipe",
    "TimeSplit",
    "VersionComparison",
    "collect",
    "compare",
    "copy",
    "history",
    "hold",
    "keygen",
    "publish",
    "pull",
    "recover",
    "release",
    "retrain",
    "rollback",
    "verify",
    "versions",
]

THIS_IS_MLSHARED: Final = (
    True  # another distribution installs a package of this name; the command looks for this
)

_LAZY: Final = {
    "Collected": "_collect",
    "Outcome": "_outcome",
    "Published": "_publish",
    "VersionComparison": "_compare",
    "collect": "_collect",
    "compare": "_compare",
    "copy": "_carry",
    "history": "_history",
    "hold": "_release",
    "keygen": "_keygen",
    "publish": "_publish",
    "pull": "_carry",
    "recover": "_recover",
    "release": "_release",
    "retrain": "_retrain",
    "rollback": "_release",
    "verify": "_verify",
    "versions": "_history",
}


def __getattr__(name: str) -> Any:
    # A recipe module imports this package in the web app too, for its feature function's sake.
    if name in _LAZY:
        from importlib import import_module  # noqa: PLC0415 - as said

        return getattr(import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
