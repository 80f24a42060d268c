"""Attacks on a classifier: images changed so little that nobody would call them something else, and yet it errs.

Fast gradient sign method and basic iterative method within a bound, DeepFool for the smallest change; accuracy under
attack when the attacker has the model itself (white box) or another one (black box, by transfer), and training against
it (thesis, section 4.6.2, C.1.2, C.1.3, C.3).
"""

from onsphere.attacks.evaluation import Strengths, robustness, strengths
from onsphere.attacks.fast_gradient import bim, fgsm
from onsphere.attacks.least import deepfool
from onsphere.attacks.normalized import Normalized
from onsphere.attacks.training import AdversarialTraining

__all__ = ["AdversarialTraining", "Normalized", "Strengths", "bim", "deepfool", "fgsm", "robustness", "strengths"]
