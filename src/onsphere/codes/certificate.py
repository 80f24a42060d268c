r"""A proof of the minimum angle of a code: a float64 number that the exact angle of the coordinates is not below.

The directions are those of the rational vectors that the float64 coordinates are, so the length of a row, rounded or
not, does not matter. For two rows scaled to integer vectors x and y, with S = <x, y> and the Gram determinant
G = |x|^2 |y|^2 - <x, y>^2,

.. math:: \cos\theta = \frac{S}{|x| |y|}, \qquad \sin\theta = \frac{\sqrt G}{|x| |y|},

and S, G and |x|^2 |y|^2 are integers, computed without error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from operator import mul

import numpy as np
from numpy.typing import NDArray

from onsphere.codes.pairs import Index, Points, angles, candidates, unit_rows

# Bits that the bounds of sines, cosines and roots have beyond the 53 of the angle.
_EXTRA_BITS = 128
# Coordinates that one step may gather, so that scratch does not grow with the dimension.
_SCRATCH = 1 << 20
# So many pairs are compared in integers at once; of more, the closest are chosen first.
_FEW = 1000


@dataclass(frozen=True)
class _Pair:
    """Integers of a pair of rows: S = <x, y> and P = |x|^2 |y|^2."""

    scalar: int
    squares: int

    def closer_than(self, other: _Pair) -> bool:
        """Whether its cosine is the larger one, by the integers sign(S) S^2 over P: no rounding."""
        mine, theirs = self.scalar * abs(self.scalar), other.scalar * abs(other.scalar)
        return mine * other.squares > theirs * self.squares

    @property
    def same_direction(self) -> bool:
        """Whether the angle is 0 exactly: no pair is closer."""
        return self.scalar > 0 and self.scalar**2 == self.squares


def certify(points: Points) -> float:
    r"""The largest float64 that is proved to be at most the minimum angle of the points' directions, radians.

    What is proved, for the coordinates as exact rational numbers:

    1. Which pair is closest. Float64 cosines or a k-d tree give candidates, float64 angles thin them out, each with a
       bound of its rounding, so that the closest pair is among those that are left
       (:func:`onsphere.codes.pairs.candidates`). Where many are left, as in a simplex, cosines with 70 bits leave few.
       Those are compared in integers, without rounding.
    2. That the number t that is returned is at most its angle theta. Both lie in [0, pi], so that
       ``sin(theta - t) >= 0`` is the same as

       .. math:: \sqrt G \cos t \ge S \sin t,

       which is decided with bounds of the three irrational numbers: an integer square root, and partial sums of the
       series of sine and cosine in rational numbers, which are alternately above and below the sum for every t >= 0.
       The criterion is as sharp near 0 and pi as elsewhere, where an arccosine is not.

    The next larger float64 fails the test, so the result is within one unit in the last place of theta.

    Args:
        points: (n, d), n >= 2; the length of every row within 1e-6 of 1.

    Returns:
        Radians; 0.0 exactly if two rows have the same direction; for an antipodal pair float64's pi, which is below pi.

    Raises:
        ValueError: another shape, a value that is not finite, or a row that is not of unit length.

    Example:
        >>> certify(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))  # the largest float64 below pi/2
        1.5707963267948966
    """
    points = np.asarray(points, dtype=np.float64)
    closest = _closest(points, unit_rows(points))
    return _angle_below(closest)


def _closest(points: Points, units: Points) -> _Pair:
    integers = _Integers(points)
    slack = _angle_error(points.shape[1]) * 2
    smallest = math.inf
    best: _Pair | None = None
    for pairs in candidates(units):
        theta = angles(units, pairs)
        smallest = min(smallest, float(theta.min()))
        pairs = pairs[theta <= smallest + slack]
        best = integers.closest(pairs if len(pairs) < _FEW else _sharpened(points, pairs), best)
        if best.same_direction:
            break
    assert best is not None  # two points make a pair
    return best


def _angle_error(d: int) -> float:
    """How far a computed angle can be from that of the exact directions, radians.

    With u = 2^-53: a computed unit row is within (d/2 + 3) u of its direction, a computed chord within 4 times that of
    the exact one, and so is the length of the sum; the angle changes by at most as much as either; four units in the
    last place for arctan2 are 16 u. Together (4 d + 40) u, here doubled.
    """
    return (4 * d + 40) * 2.0**-52


def _sharpened(points: Points, pairs: Index) -> Index:
    """Those of the pairs that may be the closest one, by cosines with an error of some d^1.5 2^-78.

    A row is h + r with h a multiple of 2^-26 and |r| <= 2^-27 in every coordinate, both exact. Then <h, h'> is exact in
    any order of summation, as partial sums are multiples of 2^-52 below 2; the rest of <x, x'>, <h, r'> + <r, x'>, is
    below sqrt(d) 2^-26 and has an error of (2 d + 4) sqrt(d) 2^-79 at most. The squared lengths are 1 + v, v from the
    same sums; the factor 1 + w that normalises has that error again and 24 u max |v|, with u = 2^-53. The bound below
    is twice the first, and 32 u max |v|.
    """
    rows, local = np.unique(pairs, return_inverse=True)
    i, j = local.reshape(pairs.shape).T
    x = points[rows]
    h = np.rint(x * 2.0**26) * 2.0**-26
    r = x - h
    each = np.arange(len(rows))
    excess = (_scalars(h, h, each, each) - 1) + (_scalars(h, r, each, each) + _scalars(r, x, each, each))
    main, rest = _scalars(h, h, i, j), _scalars(h, r, i, j) + _scalars(r, x, i, j)
    w = np.expm1(-(np.log1p(excess[i]) + np.log1p(excess[j])) / 2)
    cosine = (main - main.max()) + (rest + (main + rest) * w)  # minus the exact constant max(main)
    d = points.shape[1]
    error = (2 * d + 16) * math.sqrt(d) * 2.0**-78 + 2.0**-48 * float(np.abs(excess).max())
    chosen = np.flatnonzero(cosine >= cosine.max() - 2 * error)
    if not r.any():  # a code of few digits, such as a cross-polytope: all is exact, and one pair of a kind is enough
        lengths = np.sort(np.stack([excess[i], excess[j]]), axis=0)
        chosen = chosen[np.unique(np.stack([main, *lengths])[:, chosen], axis=1, return_index=True)[1]]
    return pairs[chosen]


def _scalars(x: Points, y: Points, i: Index, j: Index) -> NDArray[np.float64]:
    """<x_i, y_j> for pairs of rows: from a product of matrices where the pairs are a good part of all."""
    if len(x) * len(y) <= 16 * len(i):
        product: NDArray[np.float64] = (x @ y.T)[i, j]
        return product
    at_once = max(1, _SCRATCH // x.shape[1])
    starts = range(0, len(i), at_once)
    return np.concatenate([np.einsum("kd,kd->k", x[i[k : k + at_once]], y[j[k : k + at_once]]) for k in starts])


class _Integers:
    """Rows of a code as integer vectors of the same directions, made when they are asked for."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self._rows: dict[int, tuple[list[int], int]] = {}

    def row(self, index: int) -> tuple[list[int], int]:
        """The row times the smallest power of two that makes its significands integers, and its squared length."""
        known = self._rows.get(index)
        if known is None:
            significand, exponent = np.frexp(self._points[index])
            whole = np.ldexp(significand, 53).astype(np.int64).tolist()
            lowest = int(exponent[significand != 0].min())
            vector = [m << (e - lowest) if m else 0 for m, e in zip(whole, exponent.tolist(), strict=True)]
            known = self._rows[index] = vector, sum(map(mul, vector, vector))
        return known

    def closest(self, pairs: Index, best: _Pair | None) -> _Pair:
        """The closest of ``best`` and the pairs."""
        for i, j in pairs.tolist():
            (x, x_squared), (y, y_squared) = self.row(i), self.row(j)
            pair = _Pair(sum(map(mul, x, y)), x_squared * y_squared)
            if best is None or pair.closer_than(best):
                best = pair
                if best.same_direction:
                    break
        assert best is not None
        return best


def _angle_below(pair: _Pair) -> float:
    """The largest float64 that is proved to be at most the angle of the pair."""
    determinant = pair.squares - pair.scalar**2
    if determinant == 0:
        return 0.0 if pair.scalar > 0 else math.pi
    root, bits = _root(determinant)
    length = math.isqrt(pair.squares)
    # Division of Python's integers is rounded correctly whatever their size, so this is off by a few units at most.
    angle = min(math.atan2(root / (length << bits), pair.scalar / length), math.pi)
    while angle > 0 and not _at_most(angle, pair):
        angle = math.nextafter(angle, 0.0)
    while angle < math.pi and _at_most(above := math.nextafter(angle, math.inf), pair):
        angle = above
    return angle


def _at_most(t: float, pair: _Pair) -> bool:
    """Whether t in [0, pi] is proved to be at most the pair's angle: sqrt(G) cos t >= S sin t."""
    root, bits = _root(pair.squares - pair.scalar**2)
    sine_below, sine_above = _bounds(_sine_terms(Fraction(t)))
    cosine_below, _ = _bounds(_cosine_terms(Fraction(t)))
    left = (root if cosine_below >= 0 else root + 1) * cosine_below
    right = pair.scalar * (sine_above if pair.scalar >= 0 else sine_below)
    return left >= right * (1 << bits)


def _root(square: int) -> tuple[int, int]:
    """(r, b) with r <= 2^b sqrt(square) < r + 1, and r of at least ``53 + _EXTRA_BITS`` bits."""
    bits = max(0, 53 + _EXTRA_BITS - square.bit_length() // 2)
    return math.isqrt(square << 2 * bits), bits


def _sine_terms(t: Fraction) -> Iterable[Fraction]:
    return _terms(t, t, 1)


def _cosine_terms(t: Fraction) -> Iterable[Fraction]:
    return _terms(Fraction(1), t, 0)


def _terms(first: Fraction, t: Fraction, power: int) -> Iterable[Fraction]:
    """The terms of a series without their signs, each t^2 / ((k + 1) (k + 2)) times the one before."""
    term = first
    while True:
        yield term
        term = term * t * t / ((power + 1) * (power + 2))
        power += 2


def _bounds(terms: Iterable[Fraction]) -> tuple[Fraction, Fraction]:
    """Bounds of an alternating series, sine or cosine of t >= 0: two partial sums that differ by its smallest term.

    That they are bounds, from the first term on and for every t >= 0, follows by integrating cos t <= 1 repeatedly.
    """
    total, sign, first = Fraction(0), 1, None
    for term in terms:
        first = term if first is None else first
        before, total = total, total + sign * term
        sign = -sign
        if total != before and term * (1 << 53 + _EXTRA_BITS) < first:
            return min(before, total), max(before, total)
    raise AssertionError("a series has no end")
