"""The measures as pure functions of an (n, d) weight matrix with one neuron a row, and the angular loss as one."""

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
from onsphere.losses import angular_softmax

__all__ = [
    "angular_softmax",
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
