"""The geometry of points on a sphere: their holes, their covering radius and their separation (thesis F.9).

The thesis counts the dimension of the sphere: its S^d lies in R^{d+1}. Here, as everywhere in this library, d is the
dimension of the space, so that the points lie on S^{d-1}.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onsphere.codes.pairs import min_angle, unit_rows

Points = NDArray[np.float64]
# Neighbouring facets whose outward normals differ by less than this lie on one plane: rounding moves the normals of a
# facet's pieces by far less, and two different holes that are closer than this cannot be told apart anyway.
SAME_HOLE = 1e-9
# Distance from the origin to the convex hull below which the origin counts as inside.
_INSIDE = 1e-12


@dataclass(frozen=True, eq=False)
class Holes:
    """The largest empty caps of a configuration, one for each facet of its convex hull.

    Attributes:
        centers: (f, d) unit vectors: where the caps are centered, the outward normals of the facets.
        radii: (f,) geodesic radii of the caps, the angles from a center to its facet's points, radians. Above pi/2
            where the origin lies outside the facet's plane.
        facets: (m, d) indices of points: the facets, cut into simplices. m = f where all facets are simplices.
        hole: (m,) the hole to which each simplex belongs.
    """

    centers: Points
    radii: Points
    facets: NDArray[np.int64]
    hole: NDArray[np.int64]


def holes(points: ArrayLike) -> Holes:
    r"""Find the holes of a configuration: the caps that have points on the boundary only, one for each facet.

    A facet of the convex hull with the outward unit normal u lies on the plane <u, x> = cos alpha, and no point lies
    beyond it: the cap around u with geodesic radius alpha is empty. Pieces of one facet, such as the two triangles of a
    cube's square, are one hole. The hull is computed by ``scipy.spatial.ConvexHull`` (for d = 2 by sorting the angles),
    whose cost grows steeply with d: :func:`expected_facets` tells how many facets random points have.

    Args:
        points: (n, d), unit rows, d >= 2.

    Returns:
        The holes, in no particular order.

    Raises:
        ValueError: the points are not unit rows, or all of them lie on one hyperplane.

    Source: thesis F.9, the paragraph of eq. F.38.

    Example:
        >>> cube = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 3**0.5
        >>> found = holes(cube)
        >>> len(found.radii), len(found.facets), np.degrees(found.radii).round(4)
        (6, 12, array([54.7356, 54.7356, 54.7356, 54.7356, 54.7356, 54.7356]))
    """
    unit = _checked(points)
    found = _holes(unit)
    if found is None:
        n, d = unit.shape
        raise ValueError(f"holes need points that do not all lie on one hyperplane, got {n} points of R^{d} that do")
    return found


def hole_radii(points: ArrayLike) -> Points:
    r"""The Euclidean radii of the holes: the distance from a hole's center to the points on its boundary.

    .. math:: \rho_i = 2 \sin(\alpha_i / 2)

    with the geodesic radius alpha_i.

    Args:
        points: (n, d), unit rows, d >= 2.

    Returns:
        (f,) radii in (0, 2], in the order of :func:`holes`.

    Raises:
        ValueError: as for :func:`holes`.

    Source: thesis F.9, the paragraph of eq. F.38.

    Example:
        >>> hole_radii([[1, 0], [0, 1], [-1, 0], [0, -1]]).round(4)
        array([0.7654, 0.7654, 0.7654, 0.7654])
    """
    return 2 * np.sin(holes(points).radii / 2)


def hole_power_sum(points: ArrayLike, p: float) -> float:
    r"""The sum of the p-th powers of the Euclidean hole radii.

    .. math:: \mathcal{P} = \sum_{i=1}^{f} \rho_i^p, \qquad
        \lim_{p \to \infty} \mathcal{P}^{1/p} = \max_i \rho_i = 2 \sin(\alpha / 2)

    The limit is by the covering radius alpha where the hull contains the origin. p = 0 counts the holes.

    Args:
        points: (n, d), unit rows, d >= 2.
        p: the power, >= 0.

    Raises:
        ValueError: p is negative, or as for :func:`holes`.

    Source: thesis eqs. F.38, F.39.

    Example:
        >>> octahedron = np.vstack([np.eye(3), -np.eye(3)])
        >>> hole_power_sum(octahedron, 0), round(hole_power_sum(octahedron, 2), 4)
        (8.0, 6.7624)
    """
    if not p >= 0:
        raise ValueError(f"p must be a number >= 0, got {p}")
    return float((hole_radii(points) ** p).sum())


def covering_radius(points: ArrayLike) -> float:
    r"""The largest angle from a point of the sphere to the nearest point of the configuration, radians.

    .. math:: \alpha = \max_{u \in S^{d-1}} \min_i \angle(u, w_i)

    Where the convex hull contains the origin this is the radius of the largest hole. Otherwise it is more than that of
    any hole in general (two points have no hole in three dimensions): it is then pi minus the radius of the smallest
    cap that holds all points, which is centered where the hull comes closest to the origin.

    Args:
        points: (n, d), unit rows, n >= 2, d >= 2. They may lie on a hyperplane, where :func:`holes` finds none.

    Returns:
        The radius in (0, pi], radians; pi/2 for points all around the origin of a subspace, whose pole is farthest.

    Raises:
        ValueError: the points are not unit rows, or fewer than two.

    Source: thesis eq. F.36; its statement that the largest hole is always the covering radius needs the origin inside.

    Example:
        >>> octahedron = np.vstack([np.eye(3), -np.eye(3)])
        >>> [round(math.degrees(covering_radius(points)), 4) for points in (octahedron, np.eye(3)[:2])]
        [54.7356, 135.0]
    """
    unit = _checked(points)
    nearest = _nearest_to_origin(unit)
    distance = float(np.linalg.norm(nearest))
    if distance > _INSIDE:
        return float(_angle(-nearest / distance, unit).min())
    found = _holes(unit)
    return math.pi / 2 if found is None else float(found.radii.max())


def separation(points: ArrayLike) -> float:
    r"""The smallest angle between two points, radians.

    .. math:: \psi = \min_{i \ne j} \angle(w_i, w_j)

    Args:
        points: (n, d), unit rows, n >= 2, d >= 2.

    Raises:
        ValueError: the points are not unit rows, or there is only one.

    Source: thesis eq. F.37.

    Example:
        >>> round(math.degrees(separation(np.eye(3))), 6)
        90.0
    """
    return min_angle(_checked(points))


def _checked(points: ArrayLike) -> Points:
    unit = unit_rows(np.asarray(points, dtype=np.float64))
    if unit.shape[1] < 2:
        raise ValueError(f"expected points on a sphere in at least two dimensions, got shape {unit.shape}")
    return unit


def _angle(u: Points, v: Points) -> Points:
    """Angles between unit vectors along the last axis, with all digits near 0 and pi."""
    angle: Points = 2 * np.arctan2(np.linalg.norm(u - v, axis=-1), np.linalg.norm(u + v, axis=-1))
    return angle


def _holes(unit: Points) -> Holes | None:
    """The holes, or None where the hull has no facets."""
    from scipy.spatial import ConvexHull, QhullError  # takes long to import

    n, d = unit.shape
    if d == 2:
        return _gaps_of_a_circle(unit)
    if n < d + 1:
        return None
    try:
        hull = ConvexHull(unit)
    except QhullError as error:
        if "QH6154" in str(error) or "QH6013" in str(error):  # every initial simplex is flat
            return None
        raise
    simplices, normals = hull.simplices.astype(np.int64), hull.equations[:, :-1]
    count, hole = _one_plane(normals, hull.neighbors)
    sums = np.zeros((count, d))
    np.add.at(sums, hole, normals)
    centers = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    angles = np.zeros(count)
    np.add.at(angles, hole, _angle(centers[hole][:, None], unit[simplices]).mean(1))
    return Holes(centers, angles / np.bincount(hole), simplices, hole)


def _gaps_of_a_circle(unit: Points) -> Holes | None:
    _, first = np.unique(unit, axis=0, return_index=True)
    if len(first) < 2:
        return None
    direction = np.arctan2(unit[first, 1], unit[first, 0])
    order = np.argsort(direction)
    start, point = direction[order], first[order]
    gap = np.diff(start, append=start[0] + 2 * np.pi)
    middle = start + gap / 2
    centers = np.stack([np.cos(middle), np.sin(middle)], 1)
    return Holes(centers, gap / 2, np.stack([point, np.roll(point, -1)], 1), np.arange(len(point)))


def _one_plane(normals: Points, neighbors: NDArray[np.int64]) -> tuple[int, NDArray[np.int64]]:
    """Number the planes: neighbouring simplices with the same normal are pieces of one facet."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, d = neighbors.shape
    here, there = np.repeat(np.arange(count), d), neighbors.ravel()
    upper = here < there
    here, there = here[upper], there[upper]
    same = np.linalg.norm(normals[here] - normals[there], axis=1) < SAME_HOLE
    links = coo_array((np.ones(int(same.sum())), (here[same], there[same])), shape=(count, count))
    planes, plane = connected_components(links, directed=False)
    return int(planes), plane.astype(np.int64)


def _nearest_to_origin(unit: Points) -> Points:
    """The point of the convex hull that is nearest to the origin.

    For weights a >= 0 the minimum of ||sum a_i w_i||^2 + (sum a_i - 1)^2 is, up to the length of a, that point's
    weights: non-negative least squares. Points enter one at a time, the worst first, so that many points cost little.
    """
    from scipy.optimize import nnls

    chosen = [0]
    nearest: Points = unit[0]
    while np.linalg.norm(nearest) > _INSIDE:
        worst = int((unit @ nearest).argmin())
        if worst in chosen:
            break
        chosen.append(worst)
        system = np.vstack([unit[chosen].T, np.ones(len(chosen))])
        weights, _ = nnls(system, np.append(np.zeros(unit.shape[1]), 1.0))
        nearer = (weights / weights.sum()) @ unit[chosen]
        if np.linalg.norm(nearer) >= np.linalg.norm(nearest):
            break
        nearest = nearer
        chosen = [index for index, weight in zip(chosen, weights, strict=True) if weight > 0]
    return nearest
