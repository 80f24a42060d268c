"""The norms of the class weights beside the sizes of the classes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from onsphere import sphere
from onsphere.diagnostics.features.matrices import checked_labels, rows_of


@dataclass(frozen=True, eq=False)
class WeightNorms:
    """The norms of the last layer's weights beside the sizes of the classes.

    Attributes:
        norms: (C,) float64, ||W_i||.
        counts: (C,) int64, the features of class i.
        rank_correlation: Spearman's, of norms and counts, in [-1, 1]; NaN where all norms or all counts are equal.
    """

    norms: Tensor
    counts: Tensor
    rank_correlation: float


@torch.no_grad()
def weight_norms(weight: Tensor, labels: Tensor) -> WeightNorms:
    r"""Norms of the last layer's weights against the sizes of the classes: the prior that a network has learned.

    .. math:: \|W_i\| \quad \text{against} \quad n_i = |\{ j : y_j = i \}|

    The thesis finds larger norms for larger classes, which is a reason to normalise the weights. The rank correlation
    puts a number to it: 1 where the norms grow with the counts, 0 where they have nothing to do with each other.

    Args:
        weight: (C, D) of the last layer, one class a row.
        labels: (n,) integers from 0 to C - 1, those of the training set.

    Raises:
        ValueError: wrong shapes or types, NaN or infinite weights, labels out of range.

    Source: thesis, section A.2 and Figure A.2. Rank correlation: Spearman 1904, ties share their mean rank.

    Example:
        >>> found = weight_norms(torch.tensor([[3.0, 4.0], [0.0, 1.0], [2.0, 0.0]]), torch.tensor([0, 0, 0, 1, 2, 2]))
        >>> found.norms.tolist(), found.counts.tolist(), round(found.rank_correlation, 6)
        ([5.0, 1.0, 2.0], [3, 1, 2], 1.0)
    """
    count = rows_of("weight", weight, "class")
    labels = checked_labels(labels, count).cpu()
    norms = torch.linalg.vector_norm(weight.to(sphere.finest(weight.device)), dim=1).cpu().double()
    counts = torch.bincount(labels, minlength=count)
    return WeightNorms(norms, counts, _rank_correlation(norms.numpy(), counts.numpy()))


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    from scipy.stats import rankdata  # takes long to import

    x, y = (rankdata(values) - (len(values) + 1) / 2 for values in (x, y))
    spread = math.sqrt(float(x @ x) * float(y @ y))
    return float(x @ y) / spread if spread > 0 else math.nan
