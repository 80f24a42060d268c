"""Read-only measurements of a model: how close together its neurons are, beside directions drawn at random."""

from onsphere.diagnostics.angles import cosines, minimum_angle, minimum_angles
from onsphere.diagnostics.inspection import Inspection, Interrupted, LayerReport, Progress, Random, inspect
from onsphere.diagnostics.layer_weights import Skipped
from onsphere.diagnostics.random_directions import Expected
from onsphere.diagnostics.weight_files import WeightFileError, open_weights

__all__ = [
    "Expected",
    "Inspection",
    "Interrupted",
    "LayerReport",
    "Progress",
    "Random",
    "Skipped",
    "WeightFileError",
    "cosines",
    "inspect",
    "minimum_angle",
    "minimum_angles",
    "open_weights",
]
