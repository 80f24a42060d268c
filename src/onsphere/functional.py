"""The measures as pure functions of an (n, d) weight matrix with one neuron a row."""

from onsphere.diversity import (
    logarithmic,
    max_cosine,
    mhe,
    mma,
    orthogonal,
    orthogonal_diagonal,
    orthonormal,
    riesz,
    srip,
)

__all__ = [
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
