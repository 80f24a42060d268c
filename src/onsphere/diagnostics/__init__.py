"""Read-only measurements of a model: how close together its neurons are, beside directions drawn at random.

And of its features: how well their angles tell the classes apart (:mod:`onsphere.diagnostics.features`). And of the
conditioning of a linear layer (:mod:`onsphere.diagnostics.conditioning`).
"""

from onsphere.diagnostics.angles import cosines, minimum_angle, minimum_angles
from onsphere.diagnostics.conditioning import (
    Conditioning,
    RescaledConditioning,
    factorization_hessian,
    rescaled_conditioning,
    restricted,
)
from onsphere.diagnostics.features import (
    AngleHistograms,
    WeightNorms,
    angle_histograms,
    angular_fisher_score,
    angular_visual_hardness,
    cosine_confusion,
    model_confidence,
    weight_norms,
)
from onsphere.diagnostics.inspection import Inspection, Interrupted, LayerReport, Progress, Random, inspect
from onsphere.diagnostics.layer_weights import Skipped
from onsphere.diagnostics.random_directions import Expected
from onsphere.diagnostics.weight_files import WeightFileError, open_weights

__all__ = [
    "AngleHistograms",
    "Conditioning",
    "Expected",
    "Inspection",
    "Interrupted",
    "LayerReport",
    "Progress",
    "Random",
    "RescaledConditioning",
    "Skipped",
    "WeightFileError",
    "WeightNorms",
    "angle_histograms",
    "angular_fisher_score",
    "angular_visual_hardness",
    "cosine_confusion",
    "cosines",
    "factorization_hessian",
    "inspect",
    "minimum_angle",
    "minimum_angles",
    "model_confidence",
    "open_weights",
    "rescaled_conditioning",
    "restricted",
    "weight_norms",
]
