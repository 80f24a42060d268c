"""Orthogonal over-parameterization as the thesis writes it (chapter 7, appendix F): column by column, float64.

Everything is plain differentiable arithmetic, so that autograd through it gives the reference gradients too.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TERMS = 24  # of the exponential's series: 0.5^24 / 24! is far below the last digit


def _columns(matrix: Tensor) -> list[Tensor]:
    return [matrix[:, j] for j in range(matrix.shape[1])]


def gram_schmidt(u: Tensor) -> Tensor:
    """Algorithm 1: e_j = t / ||t||, t = u_j - R R^T u_j."""
    done: list[Tensor] = []
    for u_j in _columns(u):
        t = u_j
        for e in done:
            t = t - (e @ u_j) * e
        done.append(t / (t @ t).sqrt())
    return torch.stack(done, 1)


def modified_gram_schmidt(u: Tensor) -> Tensor:
    """Eq. F.3: every projection is taken of what the ones before it have left."""
    done: list[Tensor] = []
    for u_j in _columns(u):
        t = u_j
        for e in done:
            t = t - (e @ t) / (e @ e) * e
        done.append(t)
    return torch.stack([t / (t @ t).sqrt() for t in done], 1)


def iterative_gram_schmidt(u: Tensor, iterations: int) -> Tensor:
    """Algorithm 2 with a fixed number of steps of its while loop."""
    done: list[Tensor] = []
    for u_j in _columns(u):
        t = u_j
        for _ in range(iterations):
            p = t
            for e in done:
                t = t - (e @ p) * e
        done.append(t / (t @ t).sqrt())
    return torch.stack(done, 1)


def _reflector(x: Tensor) -> tuple[Tensor, Tensor]:
    """The function {v, beta} = Householder(x) of Algorithm 3."""
    sigma2 = x[1:] @ x[1:]
    one = torch.ones_like(x[:1])
    if sigma2 == 0:
        return torch.cat([one, x[1:]]), torch.zeros_like(sigma2)
    length = (x[0] ** 2 + sigma2).sqrt()
    v1 = x[0] - length if x[0] <= 0 else -sigma2 / (x[0] + length)
    beta = 2 * v1**2 / (sigma2 + v1**2)
    return torch.cat([one, x[1:] / v1]), beta


def householder(u: Tensor) -> Tensor:
    """Algorithm 3: Q = H_1 H_2 ... H_(n-1) with H_j = Diag(I_(j-1), I - beta v v^T), of U = Q (upper triangular)."""
    n = u.shape[0]
    q = torch.eye(n, dtype=u.dtype)
    for j in range(n - 1):
        v, beta = _reflector(u[j:, j])
        v = torch.cat([torch.zeros(j, dtype=u.dtype), v])
        h = torch.eye(n, dtype=u.dtype) - beta * torch.outer(v, v)
        u = h @ u
        q = q @ h
    return q


def inverse_root(m: Tensor, steps: int = 30) -> Tensor:
    """M^(-1/2) by the iteration of Denman and Beavers, which needs no eigenvectors and so has a gradient everywhere."""
    y, z = m, torch.eye(m.shape[0], dtype=m.dtype)
    for _ in range(steps):
        y, z = (y + torch.linalg.inv(z)) / 2, (z + torch.linalg.inv(y)) / 2
    return z


def lowdin(u: Tensor) -> Tensor:
    """Eq. F.10: R = U M^(-1/2), M = U^T U."""
    return u @ inverse_root(u.T @ u)


def skew(parameter: Tensor) -> Tensor:
    """W = L - L^T with L the strictly lower triangle (7.3.4: it suffices to learn one triangle)."""
    n = parameter.shape[0]
    w = [[torch.zeros((), dtype=parameter.dtype) for _ in range(n)] for _ in range(n)]
    for i in range(n):
        for j in range(i):
            w[i][j] = parameter[i, j]
            w[j][i] = -parameter[i, j]
    return torch.stack([torch.stack(row) for row in w])


def cayley(parameter: Tensor) -> Tensor:
    """R = (I + W)(I - W)^(-1) (7.3.4)."""
    w, eye = skew(parameter), torch.eye(parameter.shape[0], dtype=parameter.dtype)
    return (eye + w) @ torch.linalg.inv(eye - w)


def exponential(parameter: Tensor) -> Tensor:
    """R = exp(W) (7.3.4): the series of W / 2^k, squared k times."""
    w = skew(parameter)
    halvings = 0
    while w.detach().norm() > 0.5:
        w, halvings = w / 2, halvings + 1
    term = total = torch.eye(w.shape[0], dtype=w.dtype)
    for k in range(1, TERMS):
        term = term @ w / k
        total = total + term
    for _ in range(halvings):
        total = total @ total
    return total


# Eq. 7.5 and 7.6. With lambda > 0 and the plain gradient these ascend; descent is lambda = -lr.


def direction(u: Tensor, gradient: Tensor) -> Tensor:
    """W = W^ - W^T, W^ = G U^T - 1/2 U (U^T G U^T), under eq. 7.5."""
    hat = gradient @ u.T - 0.5 * u @ (u.T @ gradient @ u.T)
    return hat - hat.T


def closed_form(u: Tensor, gradient: Tensor, lam: float) -> Tensor:
    """Y(lambda) = (I - lambda/2 W)^(-1) (I + lambda/2 W) U (eq. 7.5)."""
    w, eye = direction(u, gradient), torch.eye(u.shape[0], dtype=u.dtype)
    return torch.linalg.inv(eye - lam / 2 * w) @ (eye + lam / 2 * w) @ u


def fixed_point(u: Tensor, gradient: Tensor, lam: float, iterations: int) -> Tensor:
    """Y = U + lambda/2 W (U + Y), n times (eq. 7.6); from Y = U + lambda W U, which gives the rate o(lambda^(2+n))."""
    w = direction(u, gradient)
    y = u + lam * w @ u
    for _ in range(iterations):
        y = u + lam / 2 * w @ (u + y)
    return y


def penalty(matrices: Sequence[Tensor], beta: float) -> Tensor:
    """beta ||R^T R - I||_F^2 (eq. 7.7), entry by entry, summed over the matrices."""
    total = torch.zeros((), dtype=torch.float64)
    for r in matrices:
        n = r.shape[0]
        for i in range(n):
            for j in range(n):
                total = total + beta * (r[:, i] @ r[:, j] - float(i == j)) ** 2
    return total


# Parameter-efficient (F.5)


def separate_blocks(blocks: Sequence[Tensor]) -> Tensor:
    """R_u of eq. F.34."""
    size = sum(block.shape[0] for block in blocks)
    r = torch.zeros(size, size, dtype=blocks[0].dtype)
    at = 0
    for block in blocks:
        end = at + block.shape[0]
        r[at:end, at:end] = block
        at = end
    return r


def shared_blocks(block: Tensor, k: int) -> Tensor:
    """R_s of eq. F.33."""
    return separate_blocks([block] * k)


# Other structures (F.6), all out of the entries of a square parameter


def _kept(parameter: Tensor, keep: object) -> Tensor:
    n = parameter.shape[0]
    mask = torch.tensor([[bool(keep(i, j)) for j in range(n)] for i in range(n)])  # type: ignore[operator]
    return torch.where(mask, parameter, torch.zeros((), dtype=parameter.dtype))


def triangular(parameter: Tensor, upper: bool = False) -> Tensor:
    return _kept(parameter, lambda i, j: j >= i if upper else j <= i)


def positive_definite(parameter: Tensor) -> Tensor:
    """L L^T, L lower triangular."""
    lower = triangular(parameter)
    return lower @ lower.T


def banded(parameter: Tensor, b: int) -> Tensor:
    return _kept(parameter, lambda i, j: abs(i - j) <= b)


def symmetric(parameter: Tensor) -> Tensor:
    """The lower triangle and its mirror image."""
    return triangular(parameter) + _kept(parameter, lambda i, j: j < i).T


def hessenberg(parameter: Tensor, upper: bool = True) -> Tensor:
    """Triangular and one diagonal more."""
    return _kept(parameter, lambda i, j: i <= j + 1 if upper else j <= i + 1)


def energy(neurons: Tensor) -> float:
    """The hyperspherical energy, sum over ordered pairs of 1 / ||v_i - v_j|| of the unit vectors (under eq. 7.2)."""
    unit = neurons.double() / neurons.double().norm(dim=1, keepdim=True)
    n = unit.shape[0]
    return sum(float(1 / (unit[i] - unit[j]).norm()) for i in range(n) for j in range(n) if i != j)
