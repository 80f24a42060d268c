"""The geometry of points on a sphere written out literally: loops, samples, sums over lattices. Slow on purpose."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def angle(u: Points, v: Points) -> float:
    return 2 * math.atan2(float(np.linalg.norm(u - v)), float(np.linalg.norm(u + v)))


def separation(points: Points) -> float:
    """Thesis eq. F.37."""
    return min(angle(u, v) for u, v in itertools.combinations(points, 2))


def covering_radius(points: Points, samples: int, generator: np.random.Generator) -> float:
    """Thesis eq. F.36, from below: the best of many places u, improved by random steps that get smaller."""
    d = points.shape[1]

    def from_nearest(places: Points) -> Points:
        distance = np.linalg.norm(places[:, None] - points, axis=2).min(1)
        return 2 * np.arcsin(np.minimum(distance / 2, 1.0))

    places = generator.standard_normal((samples, d))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    values = from_nearest(places)
    best, value = places[values.argmax()], float(values.max())
    step = 0.3
    while step > 1e-6:
        places = best + step * generator.standard_normal((400, d))
        places /= np.linalg.norm(places, axis=1, keepdims=True)
        values = from_nearest(places)
        if values.max() > value:
            best, value = places[values.argmax()], float(values.max())
        else:
            step *= 0.8
    return value


def holes(points: Points) -> list[tuple[Points, float, frozenset[int]]]:
    """Center, geodesic radius and points of every hole: every plane through d points with all others on one side."""
    n, d = points.shape
    found: dict[frozenset[int], tuple[Points, float]] = {}
    for chosen in itertools.combinations(range(n), d):
        corner = points[chosen[0]]
        _, sizes, rows = np.linalg.svd(points[list(chosen[1:])] - corner)
        if sizes[-1] < 1e-9:
            continue
        for normal in (rows[-1], -rows[-1]):
            beyond = (points - corner) @ normal
            if beyond.max() < 1e-9:
                on = frozenset(np.flatnonzero(beyond > -1e-9).tolist())
                found[on] = (normal, angle(normal, corner))
    return [(center, radius, on) for on, (center, radius) in found.items()]


def mean_hole_power_sum(n: int, d: int, p: float) -> float:
    """The expectation of thesis eq. F.38 for n random points of S^{d-1}, by an exact integral.

    d points span a plane at the signed distance h from the origin, whose density is (1 - h^2)^((d^2 - 2 d - 1) / 2) up
    to a factor (R. E. Miles, Isotropic random simplices, 1971); the plane bounds a facet if the n - d others lie on one
    side. The cap beyond it has the radius sqrt(2 (1 - h)).
    """
    h, step = np.linspace(-1.0, 1.0, 400_001, retstep=True)
    density = (1 - h * h) ** ((d * d - 2 * d - 1) / 2)
    density /= density.sum() * step
    slice_ = np.maximum(1 - h * h, 0.0) ** ((d - 3) / 2)
    below = np.cumsum(slice_) - slice_ / 2
    below /= slice_.sum()
    integrand = density * below ** (n - d) * (2 * (1 - h)) ** (p / 2)
    return 2 * math.comb(n, d) * float(integrand.sum()) * float(step)


def leading_hole_power_sum(n: int, d: int, p: float) -> float:
    """Thesis eqs. F.41 and F.43 in the thesis's letters, its d being d - 1 here."""
    gamma, sphere = math.gamma, d - 1

    def kappa(k: int) -> float:
        return gamma((k + 1) / 2) / (k * math.sqrt(math.pi) * gamma(k / 2))

    constant = 2 / (sphere + 1) * kappa(sphere**2) / kappa(sphere) ** sphere
    powers = gamma(sphere + p / sphere) * gamma(n + 1) / (gamma(sphere) * gamma(n + p / sphere))
    return constant * kappa(sphere) ** (-p / sphere) * powers


def riesz(points: Points, s: float) -> float:
    """Thesis eq. 5.1, summed over i < j."""
    return sum(
        -math.log(float(np.linalg.norm(u - v))) if s == 0 else float(np.linalg.norm(u - v)) ** -s
        for u, v in itertools.combinations(points, 2)
    )


def hexagonal_zeta(s: float, reach: int = 300) -> float:
    """The sum of |x|^-s over the nonzero points x of the hexagonal lattice with the shortest vector 1, for s > 2."""
    i, j = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1))
    squared = (i * i + i * j + j * j).ravel().astype(float)
    inside = (squared > 0) & (squared <= 0.75 * reach**2)
    tail = 2 * math.pi / (math.sqrt(3) / 2) / (s - 2) * (0.75 * reach**2) ** (1 - s / 2)  # an integral
    return float((squared[inside] ** (-s / 2)).sum()) + tail
