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
LEAST_SHIFT = 1e-12
WINDOW = 9  # steps whose progress says whether a path falls short
INNER = 25  # Newton steps at one barrier parameter, after which it is lowered anyway
STEPS = 400


@dataclass(frozen=True, eq=False)
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
    path = _Path(x)
    converged = False
    while path.steps < STEPS and time.monotonic() < deadline:
        system = _System(path.x, path.pairs)
        if (ending := path.centre(system, best)) is not None:
            converged = ending
            break
        if path.falls_short(best) or not path.renew_barrier() or not path.step(system):
            break
    largest = float(_Pairs(path.x).cosines(path.x).max())
    if largest > path.first:
        return Polished(x, path.first, path.steps, False)
    return Polished(path.x, largest, path.steps, converged)


class _Path:
    """Where the method stands: points, c, slacks, multipliers and barrier, and what it has learned of step lengths."""

    def __init__(self, x: Array) -> None:
        size = x.shape[0] * (x.shape[1] - 1)
        self.x, self.pairs = x, _Pairs(x)
        cosines = self.pairs.cosines(x)
        self.first = float(cosines.max())
        self.c = self.first + SLACK * max(1 - self.first, 1e-6)
        self.s = self.c - cosines
        self.mu = 1 / float(np.sum(1 / self.s))  # with lambda = mu / s the multipliers add up to 1
        self.lam = self.mu / self.s
        self.shift, self.radius = LEAST_SHIFT, 0.25 * self.pairs.skin
        self.matrix, self.work = np.empty((size + 1, size + 1)), np.empty((size + 1, size + 1))
        self.recent: deque[float] = deque(maxlen=WINDOW)
        self.steps = self.inner = 0

    def centre(self, system: _System, best: float) -> bool | None:
        """Lower the barrier while the point is central enough for it.

        Returns:
            True at the end of the path, False where it cannot end below ``best``, None where it goes on.
        """
        stationarity = max(float(np.abs(system.pull(self.lam)).max()), 0.1 * abs(1 - float(self.lam.sum())))
        # Central enough for the next mu: exactly where mu is small, roughly where the path is still long.
        while stationarity <= max(10 * self.mu, EXACT) + (0.1 * math.sqrt(self.mu) if self.mu > 1e-7 else 0.0):
            if float(np.abs(self.lam * self.s - self.mu).max()) > 10 * self.mu:
                break
            if self.mu <= LAST:
                return True
            if self.mu < 1e-8 and self.c - len(self.s) * self.mu > best:
                return False
            self.mu, self.inner = _lower(self.mu), 0
        return None

    def falls_short(self, best: float) -> bool:
        """Whether c will hardly come below ``best`` at the rate of the last steps.

        The factors were fitted to many polishes: one in ten of those that would have come below is given up.
        """
        self.recent.append(self.c)
        rate = (self.recent[0] - self.c) / max(1, len(self.recent) - 1)
        return len(self.recent) == WINDOW and self.c - 3 * len(self.s) * self.mu - 40 * rate > best

    def renew_barrier(self) -> bool:
        """Lower a barrier that has seen many steps; False where it is the last one."""
        if self.inner == INNER:
            if self.mu <= LAST:
                return False
            self.mu, self.inner = _lower(self.mu), 0
        return True

    def step(self, system: _System) -> bool:
        """One Newton step, shifted until it lowers the barrier function; False where none does."""
        self.inner += 1
        self.steps += 1
        weight, target = self.lam / self.s, self.mu / self.s
        system.fill(self.matrix, self.lam, weight, self.c - self.s)
        right = np.append(-system.pull(target).ravel(), target.sum() - 1)
        while self.shift < 1e8:
            if (solution := self._solved(right)) is not None:
                dx, dc = solution[:-1].reshape(system.n, system.k), float(solution[-1])
                ds = dc - system.along(dx)
                length = math.sqrt(float((dx * dx).sum(1).max()))
                if self._line_search(np.matmul(system.basis, dx[:, :, None])[:, :, 0], length, dc, ds):
                    change = target - self.lam - weight * ds
                    self._move_multipliers(change)
                    if self.pairs.outdated:
                        self._renew_pairs()
                    return True
            self.shift = max(3 * self.shift, 1e-6)
        return False

    def _solved(self, right: Array) -> Array | None:
        """The solution of the shifted system; None where it has no Cholesky factor."""
        from scipy.linalg import lapack

        np.copyto(self.work, self.matrix)
        self.work.flat[: -1 : len(self.work) + 1] += self.shift  # not in the last row, which belongs to c
        factor, failed = lapack.dpotrf(self.work.T, lower=1, clean=0, overwrite_a=1)
        return None if failed else np.asarray(lapack.dpotrs(factor, right, lower=1)[0])

    def _line_search(self, move: Array, length: float, dc: float, ds: Array) -> bool:
        """Go along the step as far as slacks and radius allow, or less, until it lowers the barrier function enough."""
        mu, s = self.mu, self.s
        merit = self.c - mu * float(np.log(s).sum())
        slope = min(dc - mu * float((ds / s).sum()), 0.0)
        alpha = min(1.0, self.radius / length) if length else 1.0
        if (falling := ds < 0).any():
            alpha = min(alpha, max(0.9, 1 - mu) * float(np.min(-s[falling] / ds[falling])))
        longest = alpha
        for _ in range(3):
            y = unit(self.x + alpha * move)
            slacks = self.c + alpha * dc - self.pairs.cosines(y)
            if slacks.min() > 0:
                value = self.c + alpha * dc - mu * float(np.log(slacks).sum())
                if value <= merit + 1e-4 * alpha * slope + 1e-14:
                    break
            alpha *= 0.4
        else:
            return False
        if alpha >= 0.99 * longest:
            self.shift = max(0.5 * self.shift, LEAST_SHIFT)
            if alpha * length > 0.9 * self.radius:
                self.radius = min(2 * self.radius, 0.4 * self.pairs.skin)
        else:
            self.radius = max(alpha * length, 1e-3 * self.pairs.skin)
        self.x, self.c, self.s = y, self.c + alpha * dc, slacks
        self.pairs.travelled += alpha * length
        return True

    def _move_multipliers(self, change: Array) -> None:
        """The dual step, as far as the multipliers stay positive."""
        shrinking = change < 0
        share = min(1.0, 0.95 * float(np.min(-self.lam[shrinking] / change[shrinking]))) if shrinking.any() else 1.0
        central = self.mu / self.s
        self.lam = np.clip(self.lam + share * change, central / 1e8, central * 1e8)

    def _renew_pairs(self) -> None:
        """Find the pairs that matter anew; those that stay keep their multipliers."""
        before = dict(zip(self.pairs.key.tolist(), self.lam.tolist(), strict=True))
        self.pairs = _Pairs(self.x)
        cosines = self.pairs.cosines(self.x)
        self.c = max(self.c, float(cosines.max()) + max(1e-3 * self.mu, 1e-15))
        self.s = self.c - cosines
        known = np.array([before.get(key, 0.0) for key in self.pairs.key.tolist()])
        self.lam = np.where(known > 0, known, self.mu / self.s)


def _lower(mu: float) -> float:
    """The next barrier parameter: slowly while the path bends, fast at its end."""
    return max(LAST, min(0.4 * mu, mu**1.5 if mu < 1e-7 else mu))
