"""The inverse of the normal distribution function, in numpy alone.

After ``ndtri`` of Stephen L. Moshier's Cephes library (www.netlib.org/cephes), which scipy uses too: a
rational function in the middle, two of ``sqrt(-2 log y)`` in the tails. Coefficients from the highest power.
"""

from typing import Final

import numpy as np

from mlshared.plan._step import Array

_ROOT_2_PI: Final = 2.50662827463100050242
_TAIL: Final = 0.13533528323661269189  # exp(-2)

_P0: Final = (
    -5.99633501014107895267e1, 9.80010754185999661536e1, -5.66762857469070293439e1,
    1.39312609387279679503e1, -1.23916583867381258016e0,
)  # fmt: skip
_Q0: Final = (
    1.0, 1.95448858338141759834e0, 4.67627912898881538453e0, 8.63602421390890590575e1,
    -2.25462687854119370527e2, 2.00260212380060660359e2, -8.20372256168333339912e1,
    1.59056225126211695515e1, -1.18331621121330003142e0,
)  # fmt: skip
_P1: Final = (
    4.05544892305962419923e0, 3.15251094599893866154e1, 5.71628192246421288162e1,
    4.40805073893200834700e1, 1.46849561928858024014e1, 2.18663306850790267539e0,
    -1.40256079171354495875e-1, -3.50424626827848203418e-2, -8.57456785154685413611e-4,
)  # fmt: skip
_Q1: Final = (
    1.0, 1.57799883256466749731e1, 4.53907635128879210584e1, 4.13172038254672030440e1,
    1.50425385692907503408e1, 2.50464946208309415979e0, -1.42182922854787788574e-1,
    -3.80806407691578277194e-2, -9.33259480895457427372e-4,
)  # fmt: skip
_P2: Final = (
    3.23774891776946035970e0, 6.91522889068984211695e0, 3.93881025292474443415e0,
    1.33303460815807542389e0, 2.01485389549179081538e-1, 1.23716634817820021358e-2,
    3.01581553508235416007e-4, 2.65806974686737550832e-6, 6.23974539184983293730e-9,
)  # fmt: skip
_Q2: Final = (
    1.0, 6.02427039364742014255e0, 3.67983563856160859403e0, 1.37702099489081330271e0,
    2.16236993594496635890e-1, 1.34204006088543189037e-2, 3.28014464682127739104e-4,
    2.89247864745380683936e-6, 6.79019408009981274425e-9,
)  # fmt: skip


def ppf(probabilities: Array) -> Array:
    """Return the x for which the standard normal distribution function is each of the float64 probabilities.

    -inf for 0, inf for 1, NaN outside of them.
    """
    with np.errstate(all="ignore"):
        mirrored = probabilities > 1 - _TAIL
        y = np.where(mirrored, 1 - probabilities, probabilities)
        found = np.where(y > _TAIL, _middle(y - 0.5), np.where(mirrored, 1.0, -1.0) * _tail(y))
        found = np.where(probabilities == 0, -np.inf, np.where(probabilities == 1, np.inf, found))
        return np.where((probabilities >= 0) & (probabilities <= 1), found, np.nan)


def _middle(y: Array) -> Array:
    square = y * y
    return (y + y * (square * _polynomial(square, _P0) / _polynomial(square, _Q0))) * _ROOT_2_PI


def _tail(y: Array) -> Array:
    x = np.sqrt(-2.0 * np.log(y))
    z = 1.0 / x
    near = z * _polynomial(z, _P1) / _polynomial(z, _Q1)
    far = z * _polynomial(z, _P2) / _polynomial(z, _Q2)
    return np.asarray((x - np.log(x) / x) - np.where(x < 8.0, near, far))


def _polynomial(x: Array, coefficients: tuple[float, ...]) -> Array:
    found = np.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        found = found * x + coefficient
    return found
