"""How spread a set of directions is: minimal angles, hyperspherical energies, orthogonality.

Every measure is a pure function of an (n, d) matrix with one neuron a row, and a small module of the same idea.
"""

from onsphere.diversity.energy import MHE, Logarithmic, Riesz, logarithmic, mhe, riesz
from onsphere.diversity.minimum_angle import MMA, MaxCosine, max_cosine, mma
from onsphere.diversity.orthogonality import (
    SRIP,
    Orthogonal,
    OrthogonalDiagonal,
    Orthonormal,
    orthogonal,
    orthogonal_diagonal,
    orthonormal,
    srip,
)

__all__ = [
    "MHE",
    "MMA",
    "SRIP",
    "Logarithmic",
    "MaxCosine",
    "Orthogonal",
    "OrthogonalDiagonal",
    "Orthonormal",
    "Riesz",
    "logarithmic",
    "max_cosine",
    "mhe",
    "mma",
    "orthogonal",
    "orthogonal_diagonal",
    "orthonormal",
    "riesz",
    "srip",
]
