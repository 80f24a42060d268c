"""The closest pairs of a code: its minimum angle, its contacts and its rattlers, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Index = NDArray[np.int64]

# How far the length of a row may be from 1: far above rounding, far below a mistake.
OFF_UNIT = 1e-6
_EPS = 2.0**-52
# Rows and columns of a tile of the Gram matrix: 8 MB.
_TILE = 1024
# Coordinates that one step may gather, so that scratch does not grow with the dimension.
_SCRATCH = 1 << 20
# From here on a tree is faster than the Gram matrix; above four dimensions its boxes overlap too much.
_TREE_FROM, _TREE_DIMENSIONS = 2000, 4
# Added to a squared distance that the tree is asked for: a hundred times the rounding that the sums in its traversal,
# at most a few hundred additions of numbers below 16, can gather.
_TREE_MARGIN = 1e-10


def unit_rows(points: Points) -> Points:
    """Check that ``points`` is a code, and return its directions x/||x|| in float64.

    Args:
        points: (n, d), n >= 2, d >= 1; the length of every row within ``OFF_UNIT`` of 1.

    Raises:
        ValueError: another shape, a value that is not finite, or a row that is not of unit length.

    Example:
        >>> unit_rows(np.array([[1.0, 0.0], [0.0, 1.0 + 1e-9]]))
        array([[1., 0.],
               [0., 1.]])
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or len(points) < 2 or points.shape[1] < 1:
        raise ValueError(f"expected a matrix (n, d) of at least two points, got shape {points.shape}")
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(1))[0])
        raise ValueError(f"expected finite coordinates, got {points[row]} in row {row}")
    with np.errstate(over="ignore"):
        norm = np.sqrt((points * points).sum(1))
    off = np.flatnonzero(~(np.abs(norm - 1) <= OFF_UNIT))
    if len(off):
        raise ValueError(f"expected unit rows, got length {norm[off[0]]} in row {off[0]} ({len(off)} rows are off)")
    units: Points = points / norm[:, None]
    return units


def angles(units: Points, pairs: Index) -> NDArray[np.float64]:
    r"""Angles of the given pairs, radians, from differences: exact however close or opposite the points are.

    .. math:: \theta = 2 \operatorname{atan2}(\|u - v\|, \|u + v\|)

    Args:
        units: (n, d), unit rows.
        pairs: (k, 2), indices of rows.

    Example:
        >>> angles(np.eye(3), np.array([[0, 1]])).round(6)
        array([1.570796])
    """
    result = np.empty(len(pairs))
    at_once = max(1, _SCRATCH // units.shape[1])
    for start in range(0, len(pairs), at_once):
        part = slice(start, start + at_once)
        u, v = units[pairs[part, 0]], units[pairs[part, 1]]
        result[part] = 2 * np.arctan2(np.linalg.norm(u - v, axis=1), np.linalg.norm(u + v, axis=1))
    return result


def closest_pairs(points: Points, tolerance: float) -> tuple[float, Index]:
    """The minimum angle and all pairs whose angle is at most ``tolerance`` above it.

    Cosines from tiles of the Gram matrix, or a k-d tree where there are many points in at most four dimensions, give
    the candidates; their angles come from differences (:func:`angles`), since a cosine has no digits left near 0.

    Args:
        points: (n, d), n >= 2, unit rows.
        tolerance: radians, >= 0.

    Returns:
        The minimum angle in radians, and the pairs (k, 2) as indices i < j, in lexicographic order.

    Raises:
        ValueError: a negative tolerance, or points that are not unit rows.

    Example:
        >>> square = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
        >>> smallest, contacts = closest_pairs(square, 1e-9)
        >>> round(smallest, 6), contacts.tolist()
        (1.570796, [[0, 1], [0, 3], [1, 2], [2, 3]])
    """
    if not tolerance >= 0:
        raise ValueError(f"expected a tolerance >= 0 radians, got {tolerance}")
    units = unit_rows(points)
    smallest = math.inf
    kept: list[tuple[Index, NDArray[np.float64]]] = []
    for pairs in candidates(units, tolerance):
        theta = angles(units, pairs)
        smallest = min(smallest, float(theta.min()))
        chosen = theta <= smallest + tolerance
        kept.append((pairs[chosen], theta[chosen]))
    contacts = np.concatenate([pairs[theta <= smallest + tolerance] for pairs, theta in kept])
    return smallest, contacts[np.lexsort((contacts[:, 1], contacts[:, 0]))]


def min_angle(points: Points) -> float:
    """The smallest angle between two points, radians; points (n, d), n >= 2, unit rows.

    Raises:
        ValueError: points are not unit rows, or fewer than two.

    Example:
        >>> round(min_angle(np.eye(3)), 6)
        1.570796
    """
    return closest_pairs(points, 0.0)[0]


def rattlers(n: int, contacts: Index) -> Index:
    """Indices of the points that are in no contact: free to move without making the code worse.

    Args:
        n: how many points there are.
        contacts: (k, 2), as :func:`closest_pairs` returns them.

    Example:
        >>> rattlers(4, np.array([[0, 1], [1, 3]]))
        array([2])
    """
    touched = np.zeros(n, dtype=bool)
    touched[contacts.ravel()] = True
    return np.flatnonzero(~touched)


def candidates(units: Points, tolerance: float = 0.0) -> Iterator[Index]:
    """Blocks (k, 2) of pairs i < j, none empty, that contain every pair at most ``tolerance`` above the minimum angle.

    What is contained is proved for the exact directions of the points that ``units`` was made of (:func:`unit_rows`),
    all rounding included; pairs a little farther apart than asked for are contained too.
    """
    n, d = units.shape
    return _from_tree(units, tolerance) if n >= _TREE_FROM and d <= _TREE_DIMENSIONS else _from_gram(units, tolerance)


def _cosine_error(d: int) -> float:
    """How far a computed cosine of two unit rows can be from that of the exact directions.

    With u = 2^-53: a scalar product of d terms is off by at most d u (1 + ...) in any order of summation; a computed
    row differs from its direction by a factor within (d/2 + 3) u of 1 in every coordinate, and there are two rows. That
    is (2 d + 6) u; the rest of (4 d + 32) u pays for second-order terms and for the cosine and arccosine below.
    """
    return (2 * d + 16) * _EPS


def _from_gram(units: Points, tolerance: float) -> Iterator[Index]:
    n, d = units.shape
    error = _cosine_error(d)
    tiles = [(top, left) for top in range(0, n, _TILE) for left in range(top, n, _TILE)]
    # A tile of one point with itself holds no pair.
    tiles = [(top, left) for top, left in tiles if top != left or top + 1 < n]
    only = _tile(units, *tiles[0]) if len(tiles) == 1 else None
    largest = [float((_tile(units, *where) if only is None else only).max()) for where in tiles]
    reach = min(math.acos(min(max(max(largest) - error, -1.0), 1.0)) + tolerance, math.pi)
    threshold = math.cos(reach) - 2 * error
    for where, most in zip(tiles, largest, strict=True):
        if most >= threshold:
            tile = _tile(units, *where) if only is None else only
            # On and below the diagonal stands -2, which no threshold, at least -1 - 2 error, is under.
            yield np.argwhere(tile >= threshold) + where


def _tile(units: Points, top: int, left: int) -> NDArray[np.float64]:
    tile: NDArray[np.float64] = units[top : top + _TILE] @ units[left : left + _TILE].T
    if top == left:
        tile[np.tri(len(tile), dtype=bool)] = -2.0
    return tile


def _from_tree(units: Points, tolerance: float) -> Iterator[Index]:
    from scipy.spatial import cKDTree  # takes long to import

    tree = cKDTree(units)
    chord = float(tree.query(units, k=2)[0][:, 1].min())
    # Any computed distance bounds the smallest from above, so this reach is never too short.
    reach = min(2 * math.asin(min(chord / 2, 1.0)) + tolerance, math.pi)
    radius = math.sqrt((2 * math.sin(reach / 2)) ** 2 + _TREE_MARGIN)
    pairs = tree.query_pairs(radius, output_type="ndarray").astype(np.int64)
    pairs.sort(1)
    yield pairs
