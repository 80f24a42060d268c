r"""Polish a configuration to a local optimum of the Tammes problem with all digits: an interior point method.

The problem is to minimise c with :math:`\langle x_i, x_j \rangle \le c` for all pairs that matter, on a product of
spheres. With the slacks s = c - <x_i, x_j>, the multipliers lambda of the pairs and the barrier parameter mu, a Newton
step of the conditions :math:`\lambda s = \mu,\ \sum \lambda = 1,\ J^T \lambda = 0` solves

.. math::
    \begin{pmatrix} H + J^T D J & -J^T D 1 \\ -1^T D J & 1^T D 1 \end{pmatrix}
    \begin{pmatrix} dx \\ dc \end{pmatrix} = \begin{pmatrix} -J^T \mu / s \\ 1^T \mu / s - 1 \end{pmatrix}, \qquad
    D = \lambda / s

where J holds the gradients of the cosines in tangent coordinates and H is the exact Riemannian Hessian of
:math:`\sum \lambda \langle x_i, x_j \rangle`. The problem is not convex and rotations leave it as it is, so H is
shifted until the matrix has a Cholesky factor.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onsphere.codes.relaxation import angle_of, unit

Array = NDArray[np.float64]
Index = NDArray[np.intp]

REACH = 1.3  # pairs up to this multiple of the minimum angle are kept in the problem
SLACK = 0.03  # the first gap c - (largest cosine), as a share of 1 - (largest cosine)
LAST = 1e-15  # the barrier parameter at the end: c is then right to about n d times this
EXACT = 1e-13  # what rounding leaves of the stationarity of a polished code
INNER = 25  # Newton steps at one barrier parameter, after which it is lowered anyway
STEPS = 400


@dataclass(frozen=True)
class Polished:
    """What :func:`polish` gives: unit points (n, d), their largest cosine, Newton steps, whether it came to its end."""

    points: Array
    cosine: float
    steps: int
    converged: bool


def tangents(x: Array) -> Array:
    """Orthonormal bases (n, d, d - 1) of the tangent spaces: all but one column of a Householder reflection.

    Example:
        >>> x = unit(np.array([[1.0, 2.0, 2.0]]))
        >>> basis = tangents(x)[0]
        >>> bool(np.abs(x[0] @ basis).max() < 1e-15), bool(np.abs(basis.T @ basis - np.eye(2)).max() < 1e-15)
        (True, True)
    """
    v = x.copy()
    v[:, 0] += np.where(x[:, 0] >= 0, 1.0, -1.0)
    v *= np.sqrt(2.0 / np.einsum("nd,nd->n", v, v))[:, None]
    basis: Array = -v[:, :, None] * v[:, None, 1:]
    index = np.arange(1, x.shape[1])
    basis[:, index, index - 1] += 1.0
    return basis


class _Pairs:
    """The pairs that matter while points move: all up to a reach, found anew before another pair could matter."""

    def __init__(self, x: Array) -> None:
        gram = x @ x.T
        gram.flat[:: len(x) + 1] = -1.0
        angle = angle_of(float(gram.max()))
        # Opposite points may round to a cosine below -1: then all pairs are near, whatever the cosine.
        least = math.cos(REACH * angle) if REACH * angle < math.pi else -2.0
        i, j = np.nonzero(gram >= least)
        upper = i < j
        self.i: Index = i[upper]
        self.j: Index = j[upper]
        self.key = self.i * len(x) + self.j
        self.skin = (REACH - 1) * max(angle, 1e-3)
        self.travelled = 0.0

    def cosines(self, x: Array) -> Array:
        return np.asarray(np.einsum("pd,pd->p", x[self.i], x[self.j]))

    @property
    def outdated(self) -> bool:
        return 2 * self.travelled > 0.6 * self.skin


class _System:
    """The Newton system at a point: gradients of the pairs' cosines and the matrix of the reduced equations."""

    def __init__(self, x: Array, pairs: _Pairs) -> None:
        self.n, d = x.shape
        self.k = d - 1
        self.i, self.j = pairs.i, pairs.j
        self.basis = tangents(x)
        # of <x_i, x_j> with respect to the tangent coordinates of i and of j
        self.a: Array = np.matmul(x[self.j][:, None, :], self.basis[self.i])[:, 0]
        self.b: Array = np.matmul(x[self.i][:, None, :], self.basis[self.j])[:, 0]

    def pull(self, weight: Array) -> Array:
        """J^T weight, as (n, k)."""
        total = np.empty((self.n, self.k))
        for q in range(self.k):
            total[:, q] = np.bincount(self.i, weight * self.a[:, q], self.n)
            total[:, q] += np.bincount(self.j, weight * self.b[:, q], self.n)
        return total

    def along(self, dx: Array) -> Array:
        """J dx: the first-order change of the cosines."""
        return np.asarray((self.a * dx[self.i]).sum(1) + (self.b * dx[self.j]).sum(1))

    def fill(self, matrix: Array, lam: Array, weight: Array, g: Array) -> None:
        """The symmetric matrix of the module's docstring; the last row and column belong to c."""
        n, k, i, j = self.n, self.k, self.i, self.j
        width = matrix.strides[0]
        matrix[:] = 0.0
        blocks = np.ndarray((n, k, n, k), buffer=matrix.data, strides=(k * width, width, 8 * k, 8))
        weighted_a, weighted_b = weight[:, None] * self.a, weight[:, None] * self.b
        turn = np.matmul(self.basis[i].transpose(0, 2, 1), self.basis[j])
        cross = weighted_a[:, :, None] * self.b[:, None, :] + lam[:, None, None] * turn
        blocks[i, :, j, :] = cross
        blocks[j, :, i, :] = cross.transpose(0, 2, 1)
        own = np.empty((n, k, k))
        for p in range(k):
            for q in range(p, k):
                total = np.bincount(i, weighted_a[:, p] * self.a[:, q], n)
                total += np.bincount(j, weighted_b[:, p] * self.b[:, q], n)
                own[:, p, q] = own[:, q, p] = total
        curvature = np.bincount(i, lam * g, n) + np.bincount(j, lam * g, n)
        own.reshape(n, k * k)[:, :: k + 1] -= curvature[:, None]
        each = np.arange(n)
        blocks[each, :, each, :] = own
        column = self.pull(weight).ravel()
        matrix[-1, :-1] = matrix[:-1, -1] = -column
        matrix[-1, -1] = weight.sum()


def polish(x: Array, best: float = math.inf, deadline: float = math.inf) -> Polished:
    """Minimise the largest cosine from x on, to all digits of a local optimum.

    Args:
        x: (n, d) unit rows, best near a local optimum already: the method finds the next one, not a good one.
        best: give up, unconverged, where no cosine below this one is in sight.
        deadline: stop, unconverged, at this time on the clock of ``time.monotonic``.

    Returns:
        The points with the least largest cosine that the path came to; never worse than x.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = polish(unit(rng.standard_normal((12, 3))))
        >>> round(float(np.degrees(np.arccos(found.cosine))), 9)  # the icosahedron
        63.434948823
    """
    from scipy.linalg import lapack

    n, d = x.shape
    size = n * (d - 1)
    pairs = _Pairs(x)
    g = pairs.cosines(x)
    first, kept = float(g.max()), x
    c = first + SLACK * max(1 - first, 1e-6)
    s = c - g
    mu = 1 / float(np.sum(1 / s))  # with lambda = mu / s the multipliers add up to 1
    lam = mu / s
    shift, radius = 1e-12, 0.25 * pairs.skin
    matrix, work = np.empty((size + 1, size + 1)), np.empty((size + 1, size + 1))
    shifted = np.arange(size)
    recent: deque[float] = deque(maxlen=9)
    inner = steps = 0
    converged = hopeless = False
    while steps < STEPS and time.monotonic() < deadline:
        system = _System(x, pairs)
        stationarity = max(float(np.abs(system.pull(lam)).max()), 0.1 * abs(1 - float(lam.sum())))
        # Central enough for the next mu: exactly where mu is small, roughly where the path is still long.
        while stationarity <= max(10 * mu, EXACT) + (0.1 * math.sqrt(mu) if mu > 1e-7 else 0.0):
            if float(np.abs(lam * s - mu).max()) > 10 * mu:
                break
            if mu <= LAST or (mu < 1e-8 and c - len(g) * mu > best):
                converged = mu <= LAST
                hopeless = not converged
                break
            mu, inner = _lower(mu), 0
        if converged or hopeless:
            break
        recent.append(c)
        rate = (recent[0] - c) / max(1, len(recent) - 1)
        if len(recent) == 9 and c - 3 * len(g) * mu - 40 * rate > best:
            break
        if inner == INNER:
            if mu <= LAST:
                break
            mu, inner = _lower(mu), 0
        inner += 1
        steps += 1

        weight, target = lam / s, mu / s
        system.fill(matrix, lam, weight, g)
        right = np.append(-system.pull(target).ravel(), target.sum() - 1)
        merit = c - mu * float(np.log(s).sum())
        while shift < 1e8:
            np.copyto(work, matrix)
            work[shifted, shifted] += shift
            factor, failed = lapack.dpotrf(work.T, lower=1, clean=0, overwrite_a=1)
            if failed:
                shift = max(3 * shift, 1e-6)
                continue
            step, _ = lapack.dpotrs(factor, right, lower=1)
            dx, dc = step[:-1].reshape(n, d - 1), float(step[-1])
            length = math.sqrt(float((dx * dx).sum(1).max()))
            ds = dc - system.along(dx)
            alpha = min(1.0, radius / length) if length else 1.0
            if (falling := ds < 0).any():
                alpha = min(alpha, max(0.9, 1 - mu) * float(np.min(-s[falling] / ds[falling])))
            longest = alpha
            slope = min(dc - mu * float((ds / s).sum()), 0.0)
            move = np.matmul(system.basis, dx[:, :, None])[:, :, 0]
            accepted = False
            for _ in range(3):
                y = unit(x + alpha * move)
                gap = c + alpha * dc - pairs.cosines(y)
                if gap.min() > 0:
                    value = c + alpha * dc - mu * float(np.log(gap).sum())
                    accepted = value <= merit + 1e-4 * alpha * slope + 1e-14
                if accepted:
                    break
                alpha *= 0.4
            if accepted:
                break
            shift = max(3 * shift, 1e-6)
        else:
            break
        if alpha >= 0.99 * longest:
            shift = max(0.5 * shift, 1e-12)
            if alpha * length > 0.9 * radius:
                radius = min(2 * radius, 0.4 * pairs.skin)
        else:
            radius = max(alpha * length, 1e-3 * pairs.skin)
        change = target - lam - weight * ds
        shrinking = change < 0
        share = min(1.0, 0.95 * float(np.min(-lam[shrinking] / change[shrinking]))) if shrinking.any() else 1.0
        x, c, s = y, c + alpha * dc, gap
        g = c - s
        lam = np.clip(lam + share * change, mu / s / 1e8, mu / s * 1e8)
        pairs.travelled += alpha * length
        if pairs.outdated:
            before = dict(zip(pairs.key.tolist(), lam.tolist(), strict=True))
            pairs = _Pairs(x)
            g = pairs.cosines(x)
            c = max(c, float(g.max()) + max(1e-3 * mu, 1e-15))
            s = c - g
            known = np.array([before.get(key, 0.0) for key in pairs.key.tolist()])
            lam = np.where(known > 0, known, mu / s)
    largest = float(_Pairs(x).cosines(x).max())
    if largest > first:
        return Polished(kept, first, steps, False)
    return Polished(x, largest, steps, converged)


def _lower(mu: float) -> float:
    """The next barrier parameter: slowly while the path bends, fast at its end."""
    return max(LAST, min(0.4 * mu, mu**1.5 if mu < 1e-7 else mu))
