"""Deep learning on the hypersphere: everything here is a function of the angles between directions."""

from onsphere import (
    angular,
    attacks,
    codes,
    diagnostics,
    functional,
    integrations,
    losses,
    margins,
    sphere,
    verification,
    where,
)
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
from onsphere.losses import AngularSoftmax, ArcFacePlus, CosFacePlus, ShardedAngularSoftmax, SphereFacePlus
from onsphere.margins import Annealed, ArcFace, Combined, CosFace, LSoftmax, SphereFace
from onsphere.regularizers import Regularizer
from onsphere.sphere import NonFiniteWeightError

__version__ = "0.1.0"

__all__ = [
    "MHE",
    "MMA",
    "SRIP",
    "AngularSoftmax",
    "Annealed",
    "ArcFace",
    "ArcFacePlus",
    "Combined",
    "CosFace",
    "CosFacePlus",
    "LSoftmax",
    "Logarithmic",
    "MaxCosine",
    "NonFiniteWeightError",
    "Orthogonal",
    "OrthogonalDiagonal",
    "Orthonormal",
    "Regularizer",
    "Riesz",
    "ShardedAngularSoftmax",
    "SphereConv2d",
    "SphereFace",
    "SphereFacePlus",
    "SphereLinear",
    "angular",
    "attach",
    "attacks",
    "codes",
    "diagnostics",
    "functional",
    "integrations",
    "losses",
    "margins",
    "sphere",
    "verification",
    "where",
]
