"""What many points on a sphere are like: holes of random points (thesis F.9), least energies (its Theorem 2).

The thesis counts the dimension of the sphere, its S^d lies in R^{d+1}; here, as everywhere in this library, d is the
dimension of the space and the sphere is S^{d-1}. So ``kappa(3)`` is the thesis's kappa_2. Energies are summed over
pairs i < j as in :func:`onsphere.codes.solve`; the thesis sums over ordered pairs, which is twice as much.
"""

from __future__ import annotations

import math

import numpy as np


def surface_area(d: int) -> float:
    r"""The area of the unit sphere of R^d.

    .. math:: \psi_{d-1} = \frac{2 \pi^{d/2}}{\Gamma(d/2)}

    Args:
        d: the dimension of the space, >= 1 (d = 1: two points, area 2).

    Raises:
        ValueError: d is less than 1.

    Source: thesis eq. F.40.

    Example:
        >>> round(surface_area(3) / math.pi, 6)
        4.0
    """
    _check_dimension(d, 1)
    return 2 * math.exp(d / 2 * math.log(math.pi) - math.lgamma(d / 2))


def kappa(d: int) -> float:
    r"""The share of the sphere of R^d that a small cap of chordal radius r covers, divided by r^{d-1}.

    .. math:: \kappa_{d-1} = \frac{1}{d-1} \frac{\psi_{d-2}}{\psi_{d-1}}
        = \frac{1}{d-1} \frac{\Gamma(d/2)}{\sqrt\pi\, \Gamma((d-1)/2)}

    Args:
        d: the dimension of the space, >= 2.

    Raises:
        ValueError: d is less than 2.

    Source: thesis eq. F.41. On S^2 a cap covers exactly r^2/4.

    Example:
        >>> round(kappa(3), 12)
        0.25
    """
    _check_dimension(d, 2)
    return math.exp(_log_kappa(d - 1))


def facet_constant(d: int) -> float:
    r"""How many facets the convex hull of many random points of the sphere of R^d has for each point.

    .. math:: B_D = \frac{2}{D + 1} \frac{\kappa_{D^2}}{(\kappa_D)^D}, \qquad D = d - 1

    The index D^2 is the square of D: with the square of kappa_D in its place S^2 would have 2/3 of a facet a point,
    and not 2.

    Args:
        d: the dimension of the space, >= 2.

    Raises:
        ValueError: d is less than 2.

    Source: thesis eq. F.41; C. Buchta, J. Mueller, R. F. Tichy, Stochastical approximation of convex bodies, 1985.

    Example:
        >>> [round(facet_constant(d), 4) for d in (2, 3, 4, 5)]
        [1.0, 2.0, 6.7677, 31.7778]
    """
    _check_dimension(d, 2)
    sphere = d - 1
    return 2 / d * math.exp(_log_kappa(sphere**2) - sphere * _log_kappa(sphere))


def expected_facets(n: int, d: int, *, exact: bool = False) -> float:
    r"""The expected number of facets of the convex hull of n random points, and so of their holes.

    .. math:: \mathbb{E} f = B_{d-1}\, N\, (1 + o(1))

    Args:
        n: N, the number of points, drawn independently and uniformly; more than d.
        d: the dimension of the space, >= 2.
        exact: the expectation for this n, and not only its leading term: see :func:`expected_hole_power_sum`. The two
            differ by a factor 1 + O(n^{-2/(d-1)}), which is large where d is.

    Raises:
        ValueError: n <= d or d < 2.

    Source: thesis eq. F.42.

    Example:
        >>> round(expected_facets(100, 3), 6), round(expected_facets(100, 3, exact=True), 6)  # on S^2 always 2 n - 4
        (200.0, 196.0)
    """
    return expected_hole_power_sum(n, d, 0.0, exact=exact)


def expected_hole_power_sum(n: int, d: int, p: float, *, exact: bool = False) -> float:
    r"""The expected sum of the p-th powers of the Euclidean hole radii of n random points.

    .. math:: \mathbb{E}\mathcal{P} = B_D\, \kappa_D^{-p/D}\,
        \frac{\Gamma(D + p/D)\, \Gamma(N + 1)}{\Gamma(D)\, \Gamma(N + p/D)}\, (1 + O(N^{-2/D})), \qquad D = d - 1

    With ``exact`` no term is left out: d points span a plane whose distance h from the origin has a density
    proportional to (1 - h^2)^{(d^2 - 2d - 1)/2}, and it bounds a facet if the others lie on one side,

    .. math:: \mathbb{E}\mathcal{P} = 2 \binom{N}{d} D^2 \kappa_{D^2} \int_0^\pi
        \sin^{D^2 - 1}\alpha\; (1 - \sigma(\alpha))^{N - d}\, (2 \sin\tfrac{\alpha}{2})^p\, d\alpha

    where sigma is the share of the sphere that a cap of geodesic radius alpha covers.

    Args:
        n: N, the number of points, drawn independently and uniformly; more than d.
        d: the dimension of the space, >= 2.
        p: the power, >= 0.
        exact: integrate instead of taking the leading term.

    Raises:
        ValueError: n <= d, d < 2 or p < 0.

    Source: thesis eq. F.43 (J. S. Brauchart et al., Random point sets on the sphere, 2018); the density: R. E. Miles,
    Isotropic random simplices, 1971.

    Example:
        >>> [round(expected_hole_power_sum(100, 3, 2.0, exact=exact), 4) for exact in (False, True)]
        [16.0, 15.5248]
    """
    from scipy import special  # takes long to import

    _check_dimension(d, 2)
    if n <= d or not 0 <= p < math.inf:
        raise ValueError(f"expected n > d points and a power p >= 0, got n={n}, d={d}, p={p}")
    if exact:
        return _integrated(n, d, p)
    power = p / (d - 1)
    # The quotient of two gamma functions at large n, without the cancellation of their logarithms.
    quotient = float(special.poch(n + power, 1 - power))
    log_rest = math.lgamma(d - 1 + power) - math.lgamma(d - 1) - power * _log_kappa(d - 1)
    return facet_constant(d) * math.exp(log_rest) * quotient


def energy_integral(s: float, d: int) -> float:
    r"""The mean energy of a pair of random points, I_s of the uniform measure.

    .. math::
        I_s = \iint \|u - v\|^{-s}\, d\sigma(u)\, d\sigma(v)
            = 2^{D-s-1}\, \frac{\Gamma(\frac{D+1}{2})\, \Gamma(\frac{D-s}{2})}{\sqrt\pi\, \Gamma(D - \frac s2)},
        \qquad I_0 = \iint \log \|u - v\|^{-1} = \frac{\psi(D) - \psi(D/2)}{2} - \log 2

    with D = d - 1 and, in the last formula, the digamma function psi.

    Args:
        s: the power, 0 <= s < d - 1; 0 stands for the logarithm.
        d: the dimension of the space, >= 2.

    Raises:
        ValueError: the integral is infinite (s >= d - 1), s is negative, or d < 2.

    Source: thesis eqs. D.1, D.2.

    Example:
        >>> round(energy_integral(1.0, 3), 6), round(energy_integral(0.0, 3), 6)  # 1 and 1/2 - log 2
        (1.0, -0.193147)
    """
    _check_dimension(d, 2)
    if not 0 <= s < d - 1:
        raise ValueError(f"the energy integral needs 0 <= s < d - 1, got s={s}, d={d}")
    return _integral(s, d - 1)


def growth(n: int, d: int, s: float) -> float:
    r"""How the least energy of n points grows with n, up to a constant factor.

    .. math:: p(N) = N^2 \;(s < D), \qquad N^2 \log N \;(s = D), \qquad N^{1 + s/D} \;(s > D), \qquad D = d - 1

    Args:
        n: N, the number of points, >= 2.
        d: the dimension of the space, >= 2.
        s: the power, >= 0.

    Raises:
        ValueError: an argument is out of its range.

    Source: thesis Theorem 2.

    Example:
        >>> growth(10, 3, 1.0), round(growth(10, 3, 4.0), 6)
        (100.0, 1000.0)
    """
    _check_energy(n, d, s)
    if s == d - 1:
        return n**2 * math.log(n)
    return float(n) ** 2 if s < d - 1 else _exp((1 + s / (d - 1)) * math.log(n))


def minimal_energy(n: int, d: int, s: float, *, terms: int = 1) -> float:
    r"""The least energy of n points as n grows, summed over pairs i < j: half of the thesis's sum over ordered pairs.

    .. math:: E_s(N) \approx \tfrac12 I_s N^2 \;(s < D), \qquad \tfrac12 \kappa_D N^2 \log N \;(s = D), \qquad
        \tfrac12 \frac{C_{s,D}}{\psi_D^{s/D}} N^{1 + s/D} \;(s > D), \qquad D = d - 1

    C is known for the circle, C_{s,1} = 2 zeta(s), and conjectured for S^2,

    .. math:: C_{s,2} = (\sqrt3 / 2)^{s/2}\, \zeta_\Lambda(s), \qquad
        \zeta_\Lambda(s) = \sum_{0 \ne x \in \Lambda} |x|^{-s} = 6\, \zeta(\tfrac s2)\, L_{-3}(\tfrac s2)

    with the hexagonal lattice Lambda of shortest vector 1: nearly all points then have six neighbours.

    Two terms, for d = 2 and 3 and s < D + 2: the first and the third formula added, each continued analytically to the
    other's s; at s = D their finite parts; at s = 0 the third is -N log N / 2 on the circle, where the sum is exact,
    and (C_log - log(N) / 2) N / 2 on S^2. On S^2 the second term is conjectured, but close: 4446.95 for Thomson's
    problem with n = 100, whose best known energy is 4448.35.

    Args:
        n: N, the number of points, >= 2.
        d: the dimension of the space, >= 2.
        s: the power, >= 0; 0 stands for the logarithm.
        terms: 1 or 2.

    Returns:
        The estimate; infinite where float64 cannot hold it. One term is 0 for d = 2, s = 0, where I_0 = 0.

    Raises:
        ValueError: an argument is out of its range, or the constant is not known: s > d - 1 for d > 3. How the energy
            grows is known there, too: :func:`growth`.

    Source: thesis Theorem 2, eqs. D.2, D.4, D.5; the constants, second terms and conjectures: J. S. Brauchart,
    D. P. Hardin, E. B. Saff, The next-order term for optimal Riesz and logarithmic energy asymptotics on the sphere,
    2012.

    Example:
        >>> [round(minimal_energy(100, 3, 1.0, terms=terms), 1) for terms in (1, 2)]
        [5000.0, 4446.9]
    """
    _check_energy(n, d, s)
    sphere = d - 1
    if terms not in (1, 2):
        raise ValueError(f"terms must be 1 or 2, got {terms}")
    if d > 3 and s > sphere:
        raise ValueError(f"the constant for s > d - 1 is known for d = 2 and 3 only, got s={s}, d={d}; see growth()")
    if terms == 2 and (d > 3 or s >= sphere + 2):
        raise ValueError(f"the second term is known for d = 2 and 3 and s < d + 1 only, got s={s}, d={d}")
    if s == sphere:
        finite = _FINITE_PART[sphere] if terms == 2 else 0.0
        return n**2 * (kappa(d) * math.log(n) + finite) / 2
    smooth = _integral(s, sphere) * n**2 / 2 if terms == 2 or s < sphere else 0.0
    return smooth + (_local(n, s, sphere) / 2 if terms == 2 or s > sphere else 0.0)


def hexagonal_angle(n: int) -> float:
    r"""The largest possible minimum angle of n points in three dimensions as n grows, radians.

    .. math:: \theta \approx \sqrt{\frac{8 \pi}{\sqrt3\, n}}

    It is the distance of neighbours in a hexagonal lattice with n points on the sphere's area 4 pi. A few small n
    exceed it: the icosahedron has 63.43 degrees, 0.43 more.

    Args:
        n: the number of points, >= 3.

    Raises:
        ValueError: n is less than 3.

    Source: W. Habicht, B. L. van der Waerden, Lagerung von Punkten auf der Kugel, 1951.

    Example:
        >>> round(math.degrees(hexagonal_angle(10_000)), 4)
        2.1825
    """
    if n < 3:
        raise ValueError(f"n must be at least 3, got {n}")
    return math.sqrt(8 * math.pi / (math.sqrt(3) * n))


# The factor of N^2 beside kappa N^2 log N for s = D: what is left of the two terms where their poles cancel. In it, the
# difference of the Stieltjes constants gamma_1(1/3) and gamma_1(2/3) is written by gamma functions (Malmsten 1846).
_FINITE_PART = {
    1: (np.euler_gamma - math.log(math.pi / 2)) / math.pi,
    2: np.euler_gamma / 2 + math.log(3) / 8 - 0.75 * (math.lgamma(1 / 3) - math.lgamma(2 / 3)),
}
# C_log of S^2.
_C_LOG = 2 * math.log(2) + math.log(2 / 3) / 2 + 3 * (math.log(math.pi) / 2 - math.lgamma(1 / 3))


def _check_dimension(d: int, least: int) -> None:
    if d < least:
        raise ValueError(f"d, the dimension of the space, must be at least {least}, got {d}")


def _check_energy(n: int, d: int, s: float) -> None:
    _check_dimension(d, 2)
    if n < 2 or not 0 <= s < math.inf:
        raise ValueError(f"expected n >= 2 points and a finite power s >= 0, got n={n}, s={s}")


def _exp(x: float) -> float:
    return math.exp(x) if x < 709.7 else math.inf


def _log_kappa(sphere: int) -> float:
    """log kappa_D for a sphere of dimension D."""
    return math.lgamma((sphere + 1) / 2) - math.lgamma(sphere / 2) - math.log(math.pi) / 2 - math.log(sphere)


def _integrated(n: int, d: int, p: float) -> float:
    """The integral of :func:`expected_hole_power_sum` over x = log(sigma / (1 - sigma)).

    There the integrand is analytic and falls off exponentially on both sides, where the trapezoidal rule is exact to
    rounding, however large n is.
    """
    from scipy import special

    sphere = d - 1
    x, step = np.linspace(-80 - math.log(n), 80, 8001, retstep=True)
    log_cap, log_rest = special.log_expit(x), special.log_expit(-x)
    log_sine = np.log(special.betaincinv(sphere / 2, sphere / 2, np.exp(log_cap))) / 2  # of alpha / 2
    log_cosine = np.log(special.betaincinv(sphere / 2, sphere / 2, np.exp(log_rest))) / 2
    log_factor = math.log(2 * sphere) + _log_kappa(sphere**2) - _log_kappa(sphere)
    log_choices = -math.log(n + 1) - float(special.betaln(n - d + 1, d + 1))
    exponent = (sphere**2 - sphere) * (math.log(2) + log_sine + log_cosine) + p * (math.log(2) + log_sine)
    exponent += log_cap + (n - d + 1) * log_rest + log_factor + log_choices
    return float(np.exp(exponent).sum() * step)


def _integral(s: float, sphere: int) -> float:
    """I_s, continued analytically beyond s = D."""
    from scipy import special

    if s == 0:
        return float(special.digamma(sphere) - special.digamma(sphere / 2)) / 2 - math.log(2)
    if s < sphere:
        log_gammas = math.lgamma((sphere + 1) / 2) + math.lgamma((sphere - s) / 2) - math.lgamma(sphere - s / 2)
        return math.exp((sphere - s - 1) * math.log(2) + log_gammas) / math.sqrt(math.pi)
    gammas = math.gamma((sphere + 1) / 2) * float(special.gamma((sphere - s) / 2) * special.rgamma(sphere - s / 2))
    return math.pow(2, sphere - s - 1) * gammas / math.sqrt(math.pi)


def _local(n: int, s: float, sphere: int) -> float:
    """The term of order N^{1 + s/D}, over ordered pairs: what the neighbours of a point contribute."""
    from scipy import special

    if s == 0:
        return -n * math.log(n) if sphere == 1 else n * (_C_LOG - math.log(n) / 2)
    if sphere == 1:
        return 2 * float(special.zeta(s)) * n * _exp(s * math.log(n / (2 * math.pi)))
    lattice = 6 * float(special.zeta(s / 2)) * _dirichlet_l(s / 2)
    return lattice * n * _exp(s / 2 * math.log(n * math.sqrt(3) / (8 * math.pi)))


def _dirichlet_l(t: float) -> float:
    """L_{-3}(t) = 1 - 2^-t + 4^-t - 5^-t + ..., for t > 0."""
    from scipy import integrate, special

    if t > 2:
        # Hurwitz's zeta function from its second term on: the first is 3^t, which overflows at large t.
        rest = float(special.zeta(t, 4 / 3) - special.zeta(t, 5 / 3))
        return 1 - math.pow(2, -t) + math.pow(3, -t) * rest
    # Integrated by parts once, so that it converges at t = 0, too.
    value: float = integrate.quad(
        lambda x: x**t * 2 * math.sinh(x) / (1 + 2 * math.cosh(x)) ** 2, 0, 60, epsabs=1e-13, epsrel=1e-13, limit=200
    )[0]
    return value / math.gamma(t + 1)
