"""Section 3.2.3 of the thesis and its proofs, literally: objectives row by row, and what B.4.2 prints."""

from __future__ import annotations

import torch
from torch import Tensor


def unpacked(x: Tensor, n: int, m: int) -> tuple[Tensor, Tensor]:
    k = x.numel() // (n + m)
    return x[: n * k].reshape(n, k), x[n * k :].reshape(m, k)


def packed(u: Tensor, v: Tensor) -> Tensor:
    return torch.cat([u.flatten(), v.flatten()])


def plain(x: Tensor, target: Tensor) -> Tensor:
    """Equation 3.7."""
    u, v = unpacked(x, *target.shape)
    return 0.5 * (target - u @ v.T).square().sum()


def cosine(x: Tensor, target: Tensor) -> Tensor:
    """Equation 3.8."""
    u, v = unpacked(x, *target.shape)
    d_u = torch.diag(torch.stack([1 / row.norm() for row in u]))
    d_v = torch.diag(torch.stack([1 / row.norm() for row in v]))
    return 0.5 * (target - d_u @ u @ v.T @ d_v).square().sum()


def hessian(objective: object, u: Tensor, v: Tensor, target: Tensor) -> Tensor:
    assert callable(objective)
    found: Tensor = torch.func.hessian(lambda x: objective(x, target))(packed(u, v))
    return found


def spectrum(u: Tensor, v: Tensor) -> Tensor:
    """The nonzero eigenvalues of (3.7) at an optimum: one for every pair of singular values, largest first."""
    (n, k), m = u.shape, len(v)
    sigma = torch.linalg.svdvals(u).tolist() + [0.0] * (n - min(n, k))
    tau = torch.linalg.svdvals(v).tolist() + [0.0] * (m - min(m, k))
    values = [s * s + t * t for s in sigma for t in tau]
    return torch.tensor(sorted((value for value in values if value > 1e-12), reverse=True), dtype=torch.float64)


def printed_gradient_u(u: Tensor, v: Tensor, target: Tensor) -> Tensor:
    """B.4.2: the gradient of (3.8) in U with D_U = I and D_V = I."""
    residual = u @ v.T - target
    return residual @ v - (residual * (u @ v.T)).sum(1, keepdim=True) * u


def printed_hessian_u(u: Tensor, v: Tensor, target: Tensor) -> Tensor:
    """B.4.2: the block of U that is printed as its Hessian, (n k, n k) with the columns of U one below the other."""
    (n, k), residual = u.shape, u @ v.T - target
    twice = 2 * u @ v.T - target
    last = [[torch.diag(u[:, i] * (twice @ v[:, j])) for j in range(k)] for i in range(k)]
    along = (residual * (u @ v.T)).sum(1)
    return (
        torch.kron(v.T @ v, torch.eye(n, dtype=u.dtype))
        - torch.diag(along.repeat(k))
        - torch.cat([torch.cat(row, 1) for row in last])
    )
