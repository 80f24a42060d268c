"""The energies of thesis eqs. 5.1 and D.10 and the losses of the MMA paper's Table 1, written out: loops, float64."""

import math

import torch
from torch import Tensor


def _f(rho: Tensor, s: float) -> Tensor:
    return torch.log(1 / rho) if s == 0 else rho ** (-s)


def energy(points: Tensor, s: float, weights: Tensor | None = None, half_space: bool = False) -> Tensor:
    """Half of the sum over ordered pairs of eq. D.10, of n vectors or of {y, -y} less the antipodal pairs."""
    n = len(points)
    y = [(1.0 if weights is None else weights[i]) * points[i] / points[i].norm() for i in range(n)]
    owner = list(range(n))
    if half_space:
        y, owner = y + [-v for v in y], owner + owner
    total = points.new_zeros(())
    for i in range(len(y)):
        for j in range(len(y)):
            if owner[i] != owner[j]:
                total = total + _f((y[i] - y[j]).norm(), s)
    return total / 2


def potential(points: Tensor, s: float, weights: Tensor | None = None, half_space: bool = False) -> Tensor:
    """F with E = P exp(s F) for s > 0, E = P F for s = 0, over P pairs."""
    n = len(points)
    pairs = 2 * n * (n - 1) if half_space else n * (n - 1) / 2
    mean = energy(points, s, weights, half_space) / pairs
    return mean if s == 0 else mean.log() / s


def _unit(w: Tensor) -> list[Tensor]:
    return [row / row.norm() for row in w.double()]


def _cosines(w: Tensor) -> list[list[Tensor]]:
    """Of every row with the others."""
    u = _unit(w)
    return [[u[i] @ u[j] for j in range(len(u)) if j != i] for i in range(len(u))]


def global_loss(w: Tensor) -> Tensor:
    """MMA paper, eq. 2."""
    return torch.stack([torch.stack(row).max() for row in _cosines(w)]).max()


def cosine_loss(w: Tensor) -> Tensor:
    """Eq. 5."""
    return torch.stack([torch.stack(row).max() for row in _cosines(w)]).mean()


def mma_loss(w: Tensor) -> Tensor:
    """Eq. 6."""
    return -torch.stack([torch.stack(row).acos().min() for row in _cosines(w)]).mean()


def riesz_loss(w: Tensor) -> Tensor:
    """Eq. 9 with s = 2."""
    n = len(w)
    return 2 * energy(w.double(), 2) / (n * (n - 1))


def logarithmic_loss(w: Tensor) -> Tensor:
    """Eq. 11."""
    n = len(w)
    return 2 * energy(w.double(), 0) / (n * (n - 1))


def icosahedron_energy(s: float) -> float:
    """30 edges, 30 longer diagonals, 6 diameters."""
    pairs = {2 - 2 / math.sqrt(5): 30, 2 + 2 / math.sqrt(5): 30, 4.0: 6}
    return sum(count * (-math.log(squared) / 2 if s == 0 else squared ** (-s / 2)) for squared, count in pairs.items())


def simplex_energy(n: int, s: float) -> float:
    """All distances are sqrt(2 n / (n - 1))."""
    squared = 2 * n / (n - 1)
    return n * (n - 1) / 2 * (-math.log(squared) / 2 if s == 0 else squared ** (-s / 2))
