r"""The function whose minima are the configurations of least energy, with gradient and Hessian.

Not the energy itself but the log of a power mean of the inverse distances, over the P pairs:

.. math:: F_s = \frac{1}{s} \log \frac{1}{P} \sum_{i<j} \rho_{ij}^{-s}, \qquad
    F_0 = \frac{1}{P} \sum_{i<j} \log \rho_{ij}^{-1}

It has the minima of the energy (E = P exp(s F) for s > 0, P F for s = 0), one scale for every s, no overflow at any s;
F_s -> F_0 as s -> 0, and F_s -> -log of the smallest distance as s grows. So F of two configurations is known as well
where their distances are, to 1e-15, whatever s is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onsphere.codes.interior_point import tangents

Points = NDArray[np.float64]
# Pairs that one tile of distances holds: 32 MiB of float64.
_TILE = 1 << 22


@dataclass(frozen=True, eq=False)
class Potential:
    """F of n unit vectors x_i, standing at beta_i x_i; in half space together with their negatives.

    Attributes:
        s: the power, >= 0.
        beta: (n, 1) positive, or None for all 1.
        half_space: whether the negatives count too, without the pairs of a point and its own negative.
    """

    s: float
    beta: Points | None
    half_space: bool

    def pairs(self, n: int) -> int:
        """P, the number of pairs i < j; in half space 2 n (n - 1), without the n antipodal ones."""
        return (2 * n * (n - 1)) if self.half_space else n * (n - 1) // 2

    def energy(self, value: float, n: int) -> float:
        """The energy that belongs to a value of F; infinite or zero where float64 cannot hold it."""
        if self.s == 0:
            return self.pairs(n) * value
        log = self.log_energy(value, n)
        return math.exp(log) if log < 709.0 else math.inf

    def log_energy(self, value: float, n: int) -> float:
        """The natural logarithm of the energy that belongs to a value of F, for s > 0."""
        return self.s * value + math.log(self.pairs(n))

    def evaluate(self, x: Points) -> tuple[float, Points]:
        """F and its Riemannian gradient (n, d), tangent to the spheres; memory O(n * tile).

        Distances come from differences, so that close points lose no digits. Where two points coincide F is infinite
        and the gradient, which has no direction then, is zero.
        """
        y = x if self.beta is None else self.beta * x
        n = len(y)
        tiles = [(top, sign) for sign in self._signs for top in range(0, n, max(1, _TILE // n))]
        # The nearest pair sets the scale, so every tile is looked at before any is summed.
        first = _squared(y, *tiles[0])
        smallest = min([float(first.min()), *(float(_squared(y, *tile).min()) for tile in tiles[1:])])
        if smallest == 0:
            return math.inf, np.zeros_like(x)

        total, force = 0.0, np.zeros_like(x)
        for top, sign in tiles:
            squared = first if len(tiles) == 1 else _squared(y, top, sign)
            diagonal = np.arange(len(squared)), np.arange(top, top + len(squared))
            squared[diagonal] = smallest  # counts as log 1 = 0 below
            excess = np.log(squared / smallest)
            if self.s == 0:
                total += float(excess.sum())
                share = 1 / squared
            else:
                growth = np.expm1(-self.s / 2 * excess)
                total += float(growth.sum())
                share = (1 + growth) / squared
            share[diagonal] = 0.0
            # The part of the force along y_i itself is lost in the projection, so it is left out.
            force[top : top + len(squared)] += sign * (share @ y)
        ordered = n * (n - 1) * len(self._signs)
        if self.s == 0:
            value, norm = -(math.log(smallest) + total / ordered) / 2, float(ordered)
        else:
            value, norm = -math.log(smallest) / 2 + math.log1p(total / ordered) / self.s, ordered + total
        gradient = force * (2 / norm)
        if self.beta is not None:
            gradient *= self.beta
        return value, gradient - (gradient * x).sum(1, keepdims=True) * x

    def hessian(self, x: Points) -> tuple[Points, Points, Points]:
        r"""Riemannian Hessian and gradient of F in bases of the tangent spaces.

        F is a function of the cosines c_ij alone. With h_ij = dF/dc_ij, the second derivatives k_ij - s h_ij h_kl (k on
        the diagonal only), bases T_i of the tangent spaces and g_i = sum_j h_ij T_i^T x_j, the blocks are

        .. math::
            H_{ij} = h_{ij} T_i^T T_j + k_{ij} T_i^T x_j x_i^T T_j - s g_i g_j^T, \qquad
            H_{ii} = \sum_j k_{ij} T_i^T x_j x_j^T T_i - \sum_j h_{ij} c_{ij} I - s g_i g_i^T

        Returns:
            H, (n (d-1), n (d-1)); g, (n (d-1),); the bases, (n, d, d-1).
        """
        n, d = x.shape
        m = d - 1
        y = x if self.beta is None else self.beta * x
        size = np.ones((n, n)) if self.beta is None else self.beta @ self.beta.T
        every = [(sign, _squared(y, 0, sign)) for sign in self._signs]
        smallest = min(float(squared.min()) for _, squared in every)
        weight = [(sign, squared, (squared / smallest) ** (-self.s / 2)) for sign, squared in every]
        for _, _, u in weight:
            np.fill_diagonal(u, 0.0)
        norm = sum(float(u.sum()) for _, _, u in weight) / 2
        h, k = np.zeros((n, n)), np.zeros((n, n))
        for sign, squared, u in weight:
            h += sign * size * u / (norm * squared)
            k += (self.s + 2) * size**2 * u / (norm * squared**2)

        bases = tangents(x)
        across = np.einsum("ika,jk->ija", bases, x)  # T_i^T x_j
        flat = bases.transpose(1, 0, 2).reshape(d, n * m)
        hessian = (flat.T @ flat).reshape(n, m, n, m) * h[:, None, :, None]
        hessian += np.einsum("ij,ija,jib->iajb", k, across, across, optimize=True)
        own = np.einsum("ij,ija,ijb->iab", k, across, across, optimize=True)
        own -= (h * (x @ x.T)).sum(1)[:, None, None] * np.eye(m)
        index = np.arange(n)
        hessian[index, :, index, :] = own
        gradient = np.einsum("ij,ija->ia", h, across).reshape(n * m)
        return hessian.reshape(n * m, n * m) - self.s * np.outer(gradient, gradient), gradient, bases

    @property
    def _signs(self) -> tuple[float, ...]:
        return (1.0, -1.0) if self.half_space else (1.0,)


def _squared(y: Points, top: int, sign: float) -> Points:
    """Squared distances of the rows from ``top`` of a tile to sign * y; infinite for a row with itself."""
    from scipy.spatial.distance import cdist  # takes long to import

    bottom = min(top + max(1, _TILE // len(y)), len(y))
    squared: Points = cdist(y[top:bottom], sign * y, "sqeuclidean")
    squared[np.arange(bottom - top), np.arange(top, bottom)] = np.inf
    return squared
