"""Angles between the features of all pairs: histograms within and between classes, the confusion of cosines."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from onsphere import sphere
from onsphere.diagnostics.features.matrices import checked, pieces

_TILE = 2048  # rows and columns of a piece of the matrix of all pairs


@dataclass(frozen=True, eq=False)
class AngleHistograms:
    """How many pairs of features have which angle.

    Attributes:
        edges: (bins + 1,) float64, radians from 0 to pi; a bin holds its left edge, the last one both.
        intra: (bins,) int64, pairs of the same class.
        inter: (bins,) int64, pairs of different classes.
    """

    edges: Tensor
    intra: Tensor
    inter: Tensor


@torch.no_grad()
def angle_histograms(
    features: Tensor, labels: Tensor, bins: int = 90, *, sample: int | None = None, seed: int = 0
) -> AngleHistograms:
    r"""Histograms of the angles between two features of the same class and between two of different classes.

    .. math:: \theta_{ij} = \angle(x_i, x_j), \quad i < j, \quad y_i = y_j \text{ or } y_i \ne y_j

    Of all n (n - 1) / 2 pairs, tile by tile (memory does not grow with n), or of a random sample.

    Args:
        features: (n, D).
        labels: (n,) integers from 0 on.
        bins: of equal width between 0 and pi; 90 makes them two degrees wide.
        sample: how many pairs to draw of either kind, uniformly and independently (a pair may come twice); None takes
            every pair once. The time for all pairs grows with n^2: from some ten thousand features on a sample is
            enough for a picture.
        seed: of the sample.

    Raises:
        ValueError: wrong shapes or types, NaN or infinite features, negative labels, bins or sample below 1.

    Source: thesis, Figure 2.10, second row (there of two of six classes).

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> found = angle_histograms(x, torch.tensor([0, 0, 1]), bins=4)
        >>> found.intra, found.inter
        (tensor([1, 0, 0, 0]), tensor([0, 0, 2, 0]))
    """
    labels = checked(features, labels)
    if bins < 1:
        raise ValueError(f"bins={bins}: expected at least 1")
    if sample is not None and sample < 1:
        raise ValueError(f"sample={sample}: expected at least 1, or None for all pairs")
    edges = torch.linspace(0, math.pi, bins + 1, dtype=torch.float64)
    if sample is None:
        intra, inter = _all_pairs(features, labels, bins)
    else:
        generator = torch.Generator().manual_seed(seed)
        drawn = _drawn_pairs(labels.cpu(), sample, generator)
        intra, inter = (_counted(_sampled_angles(features, *pairs), bins) for pairs in drawn)
    return AngleHistograms(edges, intra.cpu(), inter.cpu())


@torch.no_grad()
def cosine_confusion(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    r"""The confusion of cosines: the mean cosine between the features of two classes, for all pairs of classes.

    .. math::
        K_{ij} = \frac{1}{n_i n_j} \sum_{x \in X_i} \sum_{x' \in X_j} \cos\langle x, x' \rangle, \qquad
        K_{ii} = \frac{1}{n_i (n_i - 1)} \sum_{x \ne x' \in X_i} \cos\langle x, x' \rangle

    Computed from the sums of the normalised features of the classes, so in n D + C^2 D operations.

    Args:
        features: (n, D).
        labels: (n,) integers from 0 to num_classes - 1.
        num_classes: C.

    Returns:
        (C, C) float64, symmetric, in [-1, 1]; NaN where there is no pair: in row and column of a class without features
        and on the diagonal for a class with one.

    Raises:
        ValueError: wrong shapes or types, NaN or infinite features, labels out of range.

    Source: thesis, Figure 2.5 and section 2.2.7, Confusion Matrix Visualization.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> cosine_confusion(x, torch.tensor([0, 0, 1, 1]), 2)
        tensor([[1.0000, 0.3536],
                [0.3536, 0.7071]], dtype=torch.float64)
    """
    if num_classes < 1:
        raise ValueError(f"num_classes={num_classes}: expected at least 1")
    labels = checked(features, labels, num_classes)
    finest = sphere.finest(features.device)
    sums = torch.zeros(num_classes, features.shape[1], dtype=finest, device=features.device)
    alone = torch.zeros(num_classes, dtype=finest, device=features.device)  # what the features give with themselves
    for rows, x in pieces(features):
        unit = sphere.normalize(x)
        sums.index_add_(0, labels[rows], unit)
        alone.index_add_(0, labels[rows], unit.square().sum(1))
    counts = torch.bincount(labels, minlength=num_classes).to(finest)
    total = sums @ sums.T
    total.diagonal().sub_(alone)
    pairs = counts[:, None] * counts
    pairs.diagonal().sub_(counts)
    return (total / pairs).clamp_(-1, 1)  # 0 / 0 = NaN where there is no pair


def _bin(angles: Tensor, bins: int) -> Tensor:
    return (angles * (bins / math.pi)).long().clamp_(max=bins - 1)


def _counted(angles: Tensor, bins: int) -> Tensor:
    return torch.bincount(_bin(angles, bins), minlength=bins)


def _all_pairs(features: Tensor, labels: Tensor, bins: int) -> tuple[Tensor, Tensor]:
    n, finest = len(features), sphere.finest(features.device)
    counts = torch.zeros(2 * bins, dtype=torch.int64, device=features.device)
    for top in range(0, n, _TILE):
        above = slice(top, top + _TILE)
        u = sphere.normalize(features[above].to(finest))
        for left in range(top, n, _TILE):
            beside = slice(left, left + _TILE)
            v = u if left == top else sphere.normalize(features[beside].to(finest))
            # acos of a float64 cosine errs by 2e-8 next to 0 and pi, deep inside a bin, and by 1e-14 at inner edges.
            place = _bin((u @ v.T).clamp_(-1, 1).acos_(), bins)
            place += bins * (labels[above, None] != labels[beside])
            if left == top:
                i, j = torch.triu_indices(len(u), len(u), 1, device=u.device)
                place = place[i, j]
            counts += torch.bincount(place.flatten(), minlength=2 * bins)
    return counts[:bins], counts[bins:]


def _sampled_angles(features: Tensor, first: Tensor, second: Tensor) -> Tensor:
    finest, step = sphere.finest(features.device), sphere.rows_at_once(features.shape[1])
    pieces = zip(*(torch.split(index.to(features.device), step) for index in (first, second)), strict=True)
    return torch.cat([sphere.angle(features[i].to(finest), features[j].to(finest)) for i, j in pieces])


def _drawn_pairs(
    labels: Tensor, sample: int, generator: torch.Generator
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Random pairs of the same class and random pairs of different classes; none of a kind that does not occur."""
    order = labels.argsort(stable=True)
    size = torch.bincount(labels)
    start = size.cumsum(0) - size  # where a class begins in that order
    chosen, first, second = _draw(size, size - 1, sample, generator)
    same = order[start[chosen] + first], order[start[chosen] + second + (second >= first)]  # the second skips the first
    chosen, first, second = _draw(size, len(labels) - size, sample, generator)
    different = order[start[chosen] + first], order[second + size[chosen] * (second >= start[chosen])]  # or its class
    return same, different


def _draw(size: Tensor, partners: Tensor, sample: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Classes, the number of a feature in its class, and the number of one of that feature's partners.

    The pairs of a class are size * partners. All pairs are numbered, so that a number drawn is a pair drawn.
    """
    until = (size * partners).cumsum(0)
    total = int(until[-1])
    number = torch.randint(total, (sample,), generator=generator) if total else until[:0]
    chosen = torch.searchsorted(until, number, right=True)
    number = number - (until - size * partners)[chosen]
    return chosen, number // partners[chosen], number % partners[chosen]
