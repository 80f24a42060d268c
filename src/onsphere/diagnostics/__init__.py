"""Read-only measurements of a model: how close together its neurons are, beside directions drawn at random.

And of its features: how well their angles tell the classes apart (:mod:`onsphere.diagnostics.features`).
"""

from onsphere.diagnostics.angles import cosines, minimum_angle, minimum_angles
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
    "Expected",
    "Inspection",
    "Interrupted",
    "LayerReport",
    "Progress",
    "Random",
    "Skipped",
    "WeightFileError",
    "WeightNorms",
    "angle_histograms",
    "angular_fisher_score",
    "angular_visual_hardness",
    "cosine_confusion",
    "cosines",
    "inspect",
    "minimum_angle",
    "minimum_angles",
    "model_confidence",
    "open_weights",
    "weight_norms",
]
