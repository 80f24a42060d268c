"""What the search for codes minimises, written out: loops over pairs in float64, differentiated by autograd."""

import itertools
import math
from collections.abc import Iterable

import torch
from torch import Tensor

Pairs = Iterable[tuple[int, int]]


def all_pairs(n: int) -> list[tuple[int, int]]:
    return list(itertools.combinations(range(n), 2))


def _unit(w: Tensor) -> list[Tensor]:
    return [row / row.norm() for row in w]


def largest_cosine(w: Tensor) -> float:
    x = _unit(w)
    return max(float(x[i] @ x[j]) for i, j in all_pairs(len(x)))


def soft_maximum(w: Tensor, b: float) -> Tensor:
    """1/b log of the sum over i < j of exp(b <x_i, x_j>)."""
    x = _unit(w)
    return torch.stack([b * (x[i] @ x[j]) for i, j in all_pairs(len(x))]).logsumexp(0) / b


def log_riesz(w: Tensor, s: float, pairs: Pairs) -> Tensor:
    """1/s log of the sum over pairs of ||x_i - x_j||^-s."""
    x = _unit(w)
    return torch.stack([-s * (x[i] - x[j]).norm().log() for i, j in pairs]).logsumexp(0) / s


def soft_spheres(w: Tensor, diameter: float, pairs: Pairs) -> Tensor:
    """Sum over pairs of max(0, 1 - ||x_i - x_j|| / D)^2."""
    x = _unit(w)
    total = w.new_zeros(())
    for i, j in pairs:
        total = total + torch.clamp(1 - (x[i] - x[j]).norm() / diameter, min=0) ** 2
    return total


def near_pairs(x: Tensor, angle: float) -> set[tuple[int, int]]:
    return {(i, j) for i, j in all_pairs(len(x)) if math.acos(min(1.0, max(-1.0, float(x[i] @ x[j])))) < angle}


def newton_matrix(x: Tensor, basis: Tensor, lam: Tensor, weight: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """The matrix of the interior point method for unknowns (dx, dc), D = diag(weight).

    x_i moves to (x_i + B_i dx_i) / ||x_i + B_i dx_i||. That curve has no tangential acceleration, so that the ordinary
    Hessian of the Lagrangian along it is the Riemannian one.
    """
    n, _, k = basis.shape

    def cosines(flat: Tensor) -> Tensor:
        moved = _unit(x + torch.einsum("ndk,nk->nd", basis, flat.reshape(n, k)))
        return torch.stack([moved[i] @ moved[j] for i, j in pairs])

    zero = torch.zeros(n * k, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(cosines, zero)
    hessian = torch.autograd.functional.hessian(lambda flat: lam @ cosines(flat), zero)
    corner = hessian + jacobian.T @ torch.diag(weight) @ jacobian
    edge = -(jacobian.T @ weight)[:, None]
    return torch.cat([torch.cat([corner, edge], 1), torch.cat([edge.T, weight.sum().reshape(1, 1)], 1)])
