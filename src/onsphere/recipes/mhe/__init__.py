"""Chapter 5 and appendix D of the thesis "Deep Representation Learning on Hypersphere": minimum hyperspherical energy.

A recipe is one row of a table; everything but the row is the same for all of them.
"""

from onsphere.recipes.mhe.cifar import plain_network, spherenet, wide_resnet
from onsphere.recipes.mhe.imagenet import imagenet
from onsphere.recipes.mhe.imbalance import imbalanced_cifar, imbalanced_mnist
from onsphere.recipes.mhe.methods import METHODS, VARIANTS, Method

__all__ = [
    "METHODS",
    "VARIANTS",
    "Method",
    "imagenet",
    "imbalanced_cifar",
    "imbalanced_mnist",
    "plain_network",
    "spherenet",
    "wide_resnet",
]
