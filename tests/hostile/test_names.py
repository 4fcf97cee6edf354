"""The exact names that skops trusts here, beside ours: what a new release of either adds must be looked at first."""

from skops.io import _trusted_types as trusted
from skops.io._sklearn import ALLOWED_LOSSES
from skops.io._utils import get_type_name

from mlshared._skops_names import ESTIMATORS, LOSSES, SCALARS, UFUNCS
from mlshared._skops_types import ALLOWED, SKOPS_DEFAULTS

# Named by skops, and refused here.
NOT_OURS = {"sklearn.cluster._birch.Birch", "numpy.void", "numpy.object_"}


def test_estimators_are_those_of_this_scikit_learn():
    """A class that a release adds, moves or drops fails here, and is on no list before somebody looked at it."""
    theirs = {*trusted.SKLEARN_ESTIMATOR_TYPE_NAMES, *trusted.SKLEARN_INTERNAL_TYPE_NAMES}
    assert theirs - NOT_OURS == ESTIMATORS


def test_functions_numbers_and_losses_are_those_of_this_numpy_and_scipy():
    """Each that skops trusts is listed, under one of its names."""
    assert {*trusted.NUMPY_UFUNC_TYPE_NAMES, *trusted.SCIPY_UFUNC_TYPE_NAMES} <= UFUNCS
    assert {*trusted.NUMPY_DTYPE_TYPE_NAMES} - NOT_OURS == SCALARS
    assert {get_type_name(loss) for loss in ALLOWED_LOSSES} <= LOSSES


def test_no_name_is_a_prefix():
    """Full names only: none ends in a dot or star, and each names something in a module."""
    names = ALLOWED.union(*SKOPS_DEFAULTS.values())
    assert all(part.isidentifier() for name in names for part in name.split("."))
    assert all("." in name for name in names)
