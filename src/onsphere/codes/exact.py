"""Optimal codes with closed forms: the polygon, the simplex and the subsets of the cross-polytope."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def polygon(n: int) -> Points:
    """The n corners of the regular polygon, (n, 2): the optimal code of the plane, with minimum angle 2 pi / n.

    Raises:
        ValueError: n is below 2.

    Example:
        >>> polygon(4).round(3)
        array([[ 1.,  0.],
               [ 0.,  1.],
               [-1.,  0.],
               [ 0., -1.]])
    """
    if n < 2:
        raise ValueError(f"a polygon of points needs n >= 2, got n={n}")
    angle = 2 * np.pi * np.arange(n) / n
    points = np.stack([np.cos(angle), np.sin(angle)], 1)
    points[np.abs(points) < 1e-15] = 0.0
    return points


def simplex(n: int, d: int) -> Points:
    r"""n <= d + 1 points, (n, d), whose cosines are all -1/(n - 1): from the eigenvectors of the Gram matrix of eq. 4.

    .. math:: C = \frac{n}{n - 1} I - \frac{1}{n - 1} 1 1^T = U \Lambda U^T, \qquad \hat W = U \Lambda^{1/2}

    C has the eigenvalue 0 once and n/(n - 1) with multiplicity n - 1, so the rows of W lie in n - 1 dimensions
    (MMA paper, section 3.1); the remaining coordinates are zero.

    Raises:
        ValueError: n > d + 1, where no such points exist.

    Example:
        >>> points = simplex(4, 3)
        >>> (points @ points.T).round(6)
        array([[ 1.      , -0.333333, -0.333333, -0.333333],
               [-0.333333,  1.      , -0.333333, -0.333333],
               [-0.333333, -0.333333,  1.      , -0.333333],
               [-0.333333, -0.333333, -0.333333,  1.      ]])
    """
    if not 2 <= n <= d + 1:
        raise ValueError(f"a simplex of n points needs 2 <= n <= d + 1, got n={n}, d={d}")
    gram = (n * np.eye(n) - 1.0) / (n - 1)
    values, vectors = np.linalg.eigh(gram)  # ascending: the eigenvalue 0 comes first
    rows = vectors[:, 1:] * np.sqrt(values[1:])
    points = np.zeros((n, d))
    points[:, : n - 1] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return points


def cross_polytope(n: int, d: int) -> Points:
    """n <= 2 d of the points +-e_k, (n, d): optimal with 90 degrees for d + 2 <= n <= 2 d (Rankin 1955).

    Opposite points come in pairs, so that as many pairs as possible are antipodal.

    Raises:
        ValueError: n > 2 d, where no code has 90 degrees.

    Example:
        >>> cross_polytope(5, 3)
        array([[ 1.,  0.,  0.],
               [-1.,  0.,  0.],
               [ 0.,  1.,  0.],
               [ 0., -1.,  0.],
               [ 0.,  0.,  1.]])
    """
    if not 2 <= n <= 2 * d:
        raise ValueError(f"a subset of the cross-polytope needs 2 <= n <= 2 d, got n={n}, d={d}")
    points = np.zeros((n, d))
    index = np.arange(n)
    points[index, index // 2] = np.where(index % 2, -1.0, 1.0)
    return points
