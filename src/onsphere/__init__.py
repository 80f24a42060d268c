"""Deep learning on the hypersphere: everything here is a function of the angles between directions."""

from onsphere import codes, diagnostics, functional, integrations, sphere, where
from onsphere.diversity import (
    MHE,
    MMA,
    SRIP,
    Logarithmic,
    MaxCosine,
    Orthogonal,
    OrthogonalDiagonal,
    Orthonormal,
    Riesz,
)
from onsphere.integrations import attach
from onsphere.layers import SphereConv2d, SphereLinear
from onsphere.regularizers import Regularizer
from onsphere.sphere import NonFiniteWeightError

__version__ = "0.1.0"

__all__ = [
    "MHE",
    "MMA",
    "SRIP",
    "Logarithmic",
    "MaxCosine",
    "NonFiniteWeightError",
    "Orthogonal",
    "OrthogonalDiagonal",
    "Orthonormal",
    "Regularizer",
    "Riesz",
    "SphereConv2d",
    "SphereLinear",
    "attach",
    "codes",
    "diagnostics",
    "functional",
    "integrations",
    "sphere",
    "where",
]
