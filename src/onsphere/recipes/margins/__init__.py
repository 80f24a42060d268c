"""Angular margins: chapter 2, section 5.5.2 and appendices A and D of the thesis, and the MMA paper's section 6."""

from onsphere.recipes.margins.arcface_plus import arcface
from onsphere.recipes.margins.closed_set import lsoftmax
from onsphere.recipes.margins.lsoftmax_faces import lsoftmax_faces
from onsphere.recipes.margins.mnist_features import mnist_features
from onsphere.recipes.margins.objectives import HEADS, MEASURES, Objective, objective
from onsphere.recipes.margins.small import omniglot, orl
from onsphere.recipes.margins.sphereface_tables import ablation, sphereface

__all__ = [
    "HEADS",
    "MEASURES",
    "Objective",
    "ablation",
    "arcface",
    "lsoftmax",
    "lsoftmax_faces",
    "mnist_features",
    "objective",
    "omniglot",
    "orl",
    "sphereface",
]
