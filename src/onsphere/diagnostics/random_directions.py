r"""What n directions drawn independently and uniformly from the unit sphere of R^d give: the yardstick for a layer.

The cosine c of two of them has a known law, (1 - c) / 2 ~ Beta(a, a) with a = (d - 1) / 2, and so has their distance,
rho^2 = 4 (1 - c) / 2. Given the first direction, its distances to the others are independent and their law does not
depend on it: the pairs of a set are pairwise independent. So the mean over P pairs of anything has exactly the variance
of one pair divided by P.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Expected:
    """Mean and standard deviation of a quantity over random directions; infinite where the law has no such moment."""

    mean: float
    std: float


def share_above(threshold: float, d: int, pairs: int) -> Expected:
    r"""The share of pairs whose cosine exceeds a threshold t.

    .. math:: P(c > t) = I_{(1 - t) / 2}(a, a), \qquad a = (d - 1) / 2

    with the regularised incomplete beta function I. Exact, mean and spread.

    Args:
        threshold: t, in [-1, 1).
        d: the dimension.
        pairs: how many pairs there are.

    Example:
        >>> share_above(0.0, 3, pairs=100)
        Expected(mean=0.5, std=0.05)
    """
    from scipy import special  # takes long to import

    a = (d - 1) / 2
    mean = float(special.betainc(a, a, (1 - threshold) / 2)) if d > 1 else 0.5
    return Expected(mean, math.sqrt(mean * (1 - mean) / pairs))


def energy(s: float, d: int, counts: Sequence[int], half_space: bool = False) -> Expected:
    r"""The hyperspherical energy E_s, with the constants of :func:`onsphere.functional.mhe`.

    .. math::
        \mathbb{E} \rho^{-s} = 2^{-s} \frac{\Gamma(a - s/2)\, \Gamma(2a)}{\Gamma(a)\, \Gamma(2a - s/2)}, \qquad
        \mathbb{E} \log \rho^{-1} = \frac{\psi(2a) - \psi(a)}{2} - \log 2

    The mean is finite for s < d - 1, the spread for 2 s < d - 1 (s = 0: always where d > 1). In half space a pair
    contributes f(rho) + f(sqrt(4 - rho^2)), and the N antipodal pairs their constant. Both moments are exact; they are
    computed by a quadrature that has no cancellation where d is large.

    Args:
        s: the power, >= 0.
        d: the dimension.
        counts: the number of directions, one entry a group (at least 2 each): the mean over the groups is meant.
        half_space: the energy of the vectors and their negatives.

    Example:
        >>> round(energy(1.0, 3, [10]).mean, 6)  # two random points of the ordinary sphere: 1
        1.0
    """
    if s >= d - 1 or d == 1:
        return Expected(math.inf, math.inf)
    mean, variance = _pair_moments(s, d, half_space)
    total_mean, total_variance = 0.0, 0.0
    for n in counts:
        pairs = n * (n - 1) / 2
        if half_space:
            ordered = 2 * n * (2 * n - 1)
            total_mean += (4 * pairs * mean + 2 * n * _f(2.0, s)) / ordered
            total_variance += 16 * pairs * variance / ordered**2
        else:
            total_mean += mean
            total_variance += variance / pairs
    return Expected(total_mean / len(counts), math.sqrt(total_variance) / len(counts))


def _f(distance: float, s: float) -> float:
    return -math.log(distance) if s == 0 else distance**-s


def _pair_moments(s: float, d: int, half_space: bool) -> tuple[float, float]:
    """Mean and variance of what one pair contributes.

    With c = tanh(x) the density (1 - c^2)^((d-3)/2) dc becomes sech(x)^(d-1) dx, smooth and falling off exponentially:
    there the trapezoidal rule is exact to rounding.
    """
    finite = 2 * s < d - 1
    slowest = d - 1 - (2 * s if finite else s)  # the integrand falls off at least as exp(-slowest |x|)
    x = np.linspace(-1.0, 1.0, 4001) * max(12 / math.sqrt(d - 1), 45 / slowest)
    weight = np.exp(-(d - 1) * (np.logaddexp(x, -x) - math.log(2)))
    weight /= weight.sum()

    value = np.zeros_like(x)
    for side in (x, -x) if half_space else (x,):
        log_inverse = np.logaddexp(0.0, 2 * side) / 2 - math.log(2)  # log(1 / rho), since rho^2 = 4 / (1 + exp(2 x))
        value += log_inverse if s == 0 else np.exp(s * log_inverse)
    mean = float(weight @ value)
    return mean, float(weight @ (value - mean) ** 2) if finite else math.inf


def minimum_angle(d: int, counts: Sequence[int]) -> Expected:
    r"""The smallest angle between two directions of the same group, radians.

    .. math:: P(\theta_{\min} > \theta) \approx (1 - I_{\sin^2(\theta/2)}(a, a))^{P}

    for P pairs, as if they were independent and not only pairwise so. Exact for a single pair; in simulations within
    1 % for d >= 9, and 5 % too large for the few smallest n with d = 3. For d = 2 the law of the smallest gap on a
    circle is used instead, P = (1 - n theta / (2 pi))^(n-1), which is exact.

    Args:
        d: the dimension.
        counts: the number of directions, one entry a group (at least 2 each).

    Example:
        >>> round(math.degrees(minimum_angle(3, [2]).mean), 3)
        90.0
    """
    from scipy import special

    if d == 1:  # two directions are equal or opposite; of three, two are equal
        apart = math.prod(0.5 if n == 2 else 0.0 for n in counts)
        return Expected(math.pi * apart, math.pi * math.sqrt(apart * (1 - apart)))
    survival = (np.arange(1000) + 0.5) / 1000  # the mean over equally likely values
    if d == 2 and len(set(counts)) == 1:
        n = counts[0]
        angle = 2 * math.pi / n * -np.expm1(np.log(survival) / (len(counts) * (n - 1)))
    else:
        pairs = sum(n * (n - 1) / 2 for n in counts)
        a = (d - 1) / 2
        angle = 2 * np.arcsin(np.sqrt(special.betaincinv(a, a, -np.expm1(np.log(survival) / pairs))))
    return Expected(float(angle.mean()), float(angle.std()))


def best_angle(n: int, d: int) -> float | None:
    """The largest possible minimum angle of n directions, radians, where it is known for every d: up to n = 2 d.

    ``arccos(-1/(n-1))`` for n <= d + 1 (a simplex), a right angle for d + 2 <= n <= 2 d (Rankin); else None.

    Example:
        >>> math.degrees(best_angle(6, 3)), best_angle(7, 3)
        (90.0, None)
    """
    if n <= d + 1:
        return math.acos(-1 / (n - 1))
    return math.pi / 2 if n <= 2 * d else None
