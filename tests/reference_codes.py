"""Codes written out literally: rational arithmetic and many digits, or all pairs at once. Slow on purpose."""

from fractions import Fraction
from itertools import combinations
from math import dist

import mpmath
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def exact_minimum_angle(points: Points) -> mpmath.mpf:
    """The minimum angle of the directions of the coordinates as rational numbers, to many digits however small."""
    rows = [[Fraction(value) for value in row] for row in points.tolist()]

    def scalar(x: list[Fraction], y: list[Fraction]) -> Fraction:
        return sum((a * b for a, b in zip(x, y, strict=True)), Fraction(0))

    squares = [scalar(x, x) for x in rows]
    signed_squares_of_cosines = (
        cosine * abs(cosine) / (squares[i] * squares[j])
        for i, j in combinations(range(len(rows)), 2)
        for cosine in [scalar(rows[i], rows[j])]
    )
    largest = max(signed_squares_of_cosines)
    with mpmath.workdps(1500):
        root = mpmath.sqrt(mpmath.mpf(abs(largest.numerator)) / largest.denominator)
        return mpmath.acos(root if largest > 0 else -root)


def as_real(value: float) -> mpmath.mpf:
    """A float64 number as it is."""
    return mpmath.mpf(value)


def all_angles(points: Points) -> dict[tuple[int, int], float]:
    """The angle of every pair i < j from the length of the chord, 2 asin(|u - v| / 2), or its supplement."""
    angles = {}
    for (i, u), (j, v) in combinations(enumerate(points.tolist()), 2):
        chord = dist(u, v)
        opposite = dist(u, [-x for x in v])
        angles[i, j] = 2 * np.arcsin(chord / 2) if chord < opposite else np.pi - 2 * np.arcsin(opposite / 2)
    return angles


def contacts(points: Points, tolerance: float) -> list[list[int]]:
    """All pairs i < j at most ``tolerance`` above the minimum angle."""
    angles = all_angles(points)
    smallest = min(angles.values())
    return [list(pair) for pair, angle in angles.items() if angle <= smallest + tolerance]
