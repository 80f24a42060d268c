"""Section 5 of the MMA paper: angular regularizers side by side, and networks with and without MMA.

"MMA Regularization: Decorrelating Weights of Neural Networks by Maximizing the Minimal Angles", NeurIPS 2020.
A recipe is one row of a table; everything but the row is the same for all of them.
"""

from onsphere.recipes.mma.cifar100 import cifar100, wrn_cifar100
from onsphere.recipes.mma.digits import table3_digits
from onsphere.recipes.mma.rows import ROWS, Row, RowName
from onsphere.recipes.mma.tinyimagenet import tinyimagenet

__all__ = ["ROWS", "Row", "RowName", "cifar100", "table3_digits", "tinyimagenet", "wrn_cifar100"]
