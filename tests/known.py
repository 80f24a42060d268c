"""Configurations with closed forms."""

import math

import torch
from torch import Tensor


def simplex(n: int) -> Tensor:
    """n unit vectors in R^n with all cosines -1/(n-1)."""
    centred = torch.eye(n, dtype=torch.float64) - 1.0 / n
    return centred / centred.norm(dim=1, keepdim=True)


def cross_polytope(d: int) -> Tensor:
    """2d unit vectors +-e_k."""
    eye = torch.eye(d, dtype=torch.float64)
    return torch.cat([eye, -eye])


def icosahedron() -> Tensor:
    """12 unit vectors in R^3 with a minimal angle of acos(1/sqrt 5)."""
    golden = (1 + math.sqrt(5)) / 2
    points = []
    for a in (-1.0, 1.0):
        for b in (-golden, golden):
            points += [[0.0, a, b], [a, b, 0.0], [b, 0.0, a]]
    corners = torch.tensor(points, dtype=torch.float64)
    return corners / corners.norm(dim=1, keepdim=True)


THOMSON_12 = 49.165253058  # sum over i < j of 1/distance at the icosahedron (Thomson problem, n = 12)
