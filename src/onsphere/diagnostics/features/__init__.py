"""How well the features of a network are told apart by their angles: scores, histograms, confusions.

Features are the rows of an (n, D) matrix, one image a row, with labels (n,). Everything is computed in float64, some
rows at a time, without gradients. A feature that is exactly zero has no direction; it counts as at right angles to
everything.
"""

from onsphere.diagnostics.features.pairs import AngleHistograms, angle_histograms, cosine_confusion
from onsphere.diagnostics.features.scores import angular_fisher_score, angular_visual_hardness, model_confidence
from onsphere.diagnostics.features.sizes import WeightNorms, weight_norms

__all__ = [
    "AngleHistograms",
    "WeightNorms",
    "angle_histograms",
    "angular_fisher_score",
    "angular_visual_hardness",
    "cosine_confusion",
    "model_confidence",
    "weight_norms",
]
