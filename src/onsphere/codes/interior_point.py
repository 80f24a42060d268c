r"""Polish a configuration to a local optimum of the Tammes problem with all digits: a primal-dual interior point method.

The problem is to minimise c with :math:`\langle x_i, x_j \rangle \le c` for all pairs that matter, on a product of
spheres. With slacks s = c - <x_i, x_j>, multipliers lambda and the barrier parameter mu, a Newton step solves

.. math::
    \begin{pmatrix} H + J^T D J & -J^T D 1 \\ -1^T D J & 1^T D 1 \end{pmatrix}
    \begin{pmatrix} dx \\ dc \end{pmatrix} = \begin{pmatrix} -J^T \mu / s \\ 1^T \mu / s - 1 \end{pmatrix}, \qquad
    D = \lambda / s

where J holds the gradients of the cosines in tangent coordinates and H is the exact Riemannian Hessian of
:math:`\sum \lambda \langle x_i, x_j \rangle`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


def tangents(x: Points) -> NDArray[np.float64]:
    """Orthonormal bases (n, d, d - 1) of the tangent spaces: all but one column of a Householder reflection."""
    n, d = x.shape
    v = x.copy()
    sign = np.where(x[:, 0] >= 0, 1.0, -1.0)
    v[:, 0] += sign
    v *= np.sqrt(2.0 / np.einsum("nd,nd->n", v, v))[:, None]
    basis = -v[:, :, None] * v[:, None, 1:]
    index = np.arange(1, d)
    basis[:, index, index - 1] += 1.0
    return basis


def near_pairs(x: Points, reach: float) -> tuple[NDArray[np.intp], NDArray[np.intp], float]:
    gram = x @ x.T
    np.fill_diagonal(gram, -1.0)
    largest = float(gram.max())
    angle = np.arccos(min(largest, 1.0))
    threshold = np.cos(min(np.pi, angle * reach))
    i, j = np.nonzero(gram >= threshold)
    upper = i < j
    return i[upper], j[upper], largest


def polish(x: Points, best: float = np.inf, *, reach: float = 1.35, slack: float = 0.1, last: float = 1e-16, most: int = 200, trace: bool = False, mu0=None) -> tuple[Points, float, int]:
    """min c. Returns points, largest cosine, number of Newton steps."""
    from scipy.linalg import lapack

    n, d = x.shape
    k = d - 1
    size = n * k
    i, j, largest = near_pairs(x, reach)
    skin = (reach - 1) * np.arccos(largest)
    c = largest + slack * (1 - largest)
    g = np.einsum("pd,pd->p", x[i], x[j])
    s = c - g
    mu = 1 / np.sum(1 / s)
    if mu0 is not None: mu = mu0*(1-largest)
    lam = mu / s
    shift = 1e-3
    matrix = np.empty((size + 1, size + 1))
    diagonal = np.arange(size + 1)
    points_diag = np.arange(n)
    travelled = 0.0
    inner = 0
    for steps in range(most):
        basis = tangents(x)
        flat = basis.transpose(0, 2, 1).reshape(size, d)  # rows: tangent vectors
        a = np.einsum("pdk,pd->pk", basis[i], x[j])
        b = np.einsum("pdk,pd->pk", basis[j], x[i])
        # gradient residual with multipliers
        res = np.empty((n, k))
        for q in range(k):
            res[:, q] = np.bincount(i, lam * a[:, q], n) + np.bincount(j, lam * b[:, q], n)
        error = max(np.abs(res).max(), abs(1 - lam.sum()) * (1-largest), np.abs(lam * s - mu).max())
        while error <= 5 * mu and mu > last:
            if c - len(i) * mu > best + 1e-13:
                break
            mu = max(last, min(0.2 * mu, mu**1.5 if mu < 1e-4 else mu))
            error = max(error, np.abs(lam * s - mu).max())
            inner = 0
        if error <= 5 * mu and (mu <= last or c - len(i) * mu > best + 1e-13):
            break
        if inner > 40:
            break
        inner += 1
        weight = lam / s
        matrix[:] = 0.0
        blocks = np.ndarray((n, k, n, k), buffer=matrix.data, strides=(k * (size + 1) * 8, (size + 1) * 8, k * 8, 8))
        turn = (flat @ flat.T).reshape(n, k, n, k)
        cross = weight[:, None, None] * a[:, :, None] * b[:, None, :] + lam[:, None, None] * turn[i, :, j, :]
        blocks[i, :, j, :] = cross
        blocks[j, :, i, :] = cross.transpose(0, 2, 1)
        own = np.zeros((n, k * k))
        aa = (weight[:, None, None] * a[:, :, None] * a[:, None, :]).reshape(-1, k * k)
        bb = (weight[:, None, None] * b[:, :, None] * b[:, None, :]).reshape(-1, k * k)
        for q in range(k * k):
            own[:, q] = np.bincount(i, aa[:, q], n) + np.bincount(j, bb[:, q], n)
        pull = np.bincount(i, lam * g, n) + np.bincount(j, lam * g, n)
        own[:, :: k + 1] -= pull[:, None]
        blocks[points_diag, :, points_diag, :] = own.reshape(n, k, k)
        target = mu / s
        column = np.empty((n, k))
        gradient = np.empty((n, k))
        for q in range(k):
            column[:, q] = np.bincount(i, weight * a[:, q], n) + np.bincount(j, weight * b[:, q], n)
            gradient[:, q] = np.bincount(i, target * a[:, q], n) + np.bincount(j, target * b[:, q], n)
        matrix[size, :size] = -column.ravel()
        matrix[:size, size] = -column.ravel()
        matrix[size, size] = weight.sum()
        right = np.append(-gradient.ravel(), target.sum() - 1)
        diag = matrix[diagonal, diagonal].copy()
        merit = c - mu * np.log(s).sum()
        done = False
        while shift < 1e8:
            matrix[diagonal[:-1], diagonal[:-1]] = diag[:-1] + shift
            factor, info = lapack.dpotrf(matrix, lower=1, clean=0)
            if info:
                shift = max(shift * 8, 1e-6)
                continue
            step, _ = lapack.dpotrs(factor, right, lower=1)
            dx, dc = step[:size].reshape(n, k), step[size]
            length = np.sqrt((dx * dx).sum(1).max())
            if length > 0.25 * skin:
                scale = 0.25 * skin / length
            else:
                scale = 1.0
            dg = (a * dx[i]).sum(1) + (b * dx[j]).sum(1)
            ds = dc - dg
            neg = ds < 0
            alpha = min(scale, 0.995 * float(np.min(-s[neg] / ds[neg]))) if neg.any() else scale
            slope = dc - mu * (ds / s).sum()
            move = np.einsum("ndk,nk->nd", basis, dx)
            tries = 0
            while tries < 4:
                y = x + alpha * move
                y /= np.sqrt(np.einsum("nd,nd->n", y, y))[:, None]
                cy = c + alpha * dc
                gy = np.einsum("pd,pd->p", y[i], y[j])
                sy = cy - gy
                if sy.min() > 0 and cy - mu * np.log(sy).sum() <= merit + 1e-4 * alpha * min(slope, 0) + 1e-14:
                    done = True
                    break
                alpha *= 0.4
                tries += 1
            if done:
                break
            shift = max(shift * 8, 1e-6)
        if not done:
            break
        dlam = target - lam - weight * ds
        neg = dlam < 0
        beta = min(1.0, 0.995 * float(np.min(-lam[neg] / dlam[neg]))) if neg.any() else 1.0
        if trace:
            print(steps, "%.1e" % mu, "err %.1e" % error, c, np.degrees(np.arccos(gy.max())), "alpha %.2g beta %.2g shift %.1e len %.1e" % (alpha, beta, shift, length), len(i))
        shift = shift * 0.1 if alpha > 0.9 else shift * 4 if alpha < 0.3 else shift
        shift = max(shift, 1e-13)
        lam = lam + beta * dlam
        travelled += alpha * length
        x, c, g, s = y, cy, gy, sy
        lam = np.clip(lam, mu / s / 1e10, mu / s * 1e10)
        if 2 * travelled > 0.5 * skin:
            old = dict(zip(zip(i.tolist(), j.tolist()), lam.tolist()))
            i, j, largest = near_pairs(x, reach)
            skin = (reach - 1) * np.arccos(largest)
            g = np.einsum("pd,pd->p", x[i], x[j])
            c = max(c, g.max() + 1e-3 * mu)
            s = c - g
            lam = np.array([old.get(p, 0.0) for p in zip(i.tolist(), j.tolist())])
            lam = np.where(lam > 0, lam, mu / s)
            travelled = 0.0
    gram = x @ x.T
    np.fill_diagonal(gram, -1)
    return x, float(gram.max()), steps
