"""Scores of features against their classes: angular Fisher score, angular visual hardness, model confidence."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from onsphere import sphere
from onsphere.diagnostics.features.matrices import checked, classes_of, finite, pieces

_CLOSE = 1 - 1e-4  # |cosine| above which acos loses more than two of float64's digits


@torch.no_grad()
def angular_fisher_score(features: Tensor, labels: Tensor) -> float:
    r"""The angular Fisher score: scatter within the classes against scatter between them, both of angles.

    .. math::
        \text{AFS} = \frac{S_w}{S_b}, \qquad
        S_w = \sum_i \sum_{x \in X_i} (1 - \cos\langle x, m_i \rangle), \qquad
        S_b = \sum_i n_i (1 - \cos\langle m_i, m \rangle)

    X_i are the n_i features of class i, m_i is their mean and m the mean of all, of the features as they are (not
    normalised). The smaller, the better the classes are told apart. Scaling or rotating all features changes nothing.

    Where the features surround the origin evenly, m is close to zero and its direction, and so S_b, hangs on details.

    Args:
        features: (n, D).
        labels: (n,) integers from 0 on; numbers that do not occur are no classes.

    Returns:
        The score; infinite where all class means have the same direction (NaN where all features have).

    Raises:
        ValueError: wrong shapes or types, NaN or infinite features, negative labels, fewer than two classes.

    Source: thesis, equation A.1; Table A.1 has 0.35 for softmax and 0.17 for A-Softmax with m = 4.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
        >>> angular_fisher_score(x, torch.tensor([0, 0, 1, 1]))
        0.0
        >>> angular_fisher_score(x, torch.tensor([0, 1, 0, 1]))
        inf
    """
    labels = checked(features, labels)
    classes, labels = torch.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"all {len(labels)} features are of one class: expected at least two")
    sums = _class_sums(features, labels, len(classes))
    counts = torch.bincount(labels, minlength=len(classes))
    means = sphere.normalize(sums)
    within = 0.0
    for rows, x in pieces(features):
        within += float(_one_minus_cosine(sphere.normalize(x), means[labels[rows]]).sum())
    overall = sphere.normalize(sums.sum(0, keepdim=True))
    between = float((counts * _one_minus_cosine(means, overall)).sum())
    if between == 0:
        return math.inf if within > 0 else math.nan
    return within / between


@torch.no_grad()
def angular_visual_hardness(features: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    r"""Angular visual hardness: the angle to the own class as a share of the angles to all classes.

    .. math:: \text{AVH}(x) = \frac{\theta(W_y, x)}{\sum_i \theta(W_i, x)}

    Small for images that people find easy. A feature in the middle of C classes has 1 / C. Scaling a feature or a
    class's weight changes nothing.

    Args:
        features: (n, D), what enters the last layer.
        labels: (n,) integers from 0 to C - 1: y.
        weight: (C, D) of the last layer, one class a row.

    Returns:
        (n,) float64 in [0, 1]; NaN where all angles are zero.

    Raises:
        ValueError: wrong shapes or types, NaN or infinite numbers, labels out of range.

    Source: thesis, section 1.1 and Figure 1.2 (Chen et al. 2020, *Angular Visual Hardness*).

    Example:
        >>> weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> angular_visual_hardness(torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([0, 0]), weight)
        tensor([0.0000, 0.5000], dtype=torch.float64)
    """
    labels = checked(features, labels, classes_of(features, weight))
    classes = sphere.normalize(weight.to(features.device, sphere.finest(features.device)))
    hardness = []
    for rows, x in pieces(features, len(classes)):
        angles = _angles(sphere.normalize(x), classes)
        hardness.append(angles.gather(1, labels[rows, None]).squeeze(1) / angles.sum(1))
    return torch.cat(hardness)


@torch.no_grad()
def model_confidence(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Model confidence: the softmax probability of the own class.

    .. math:: \frac{\exp(\langle W_y, x \rangle + b_y)}{\sum_i \exp(\langle W_i, x \rangle + b_i)}

    Args:
        features: (n, D), what enters the last layer.
        labels: (n,) integers from 0 to C - 1: y.
        weight: (C, D) of the last layer, one class a row; as the loss sees it, so normalised and scaled for a loss that
            does that.
        bias: (C,) of the last layer; None is none, as in the thesis.

    Returns:
        (n,) float64 in [0, 1].

    Raises:
        ValueError: wrong shapes or types, NaN or infinite numbers, labels out of range.

    Source: thesis, section 1.1 and Figure 1.2.

    Example:
        >>> model_confidence(torch.tensor([[1.0, 1.0]]), torch.tensor([1]), torch.eye(2))
        tensor([0.5000], dtype=torch.float64)
    """
    count = classes_of(features, weight)
    labels = checked(features, labels, count)
    finest = sphere.finest(features.device)
    classes = weight.to(features.device, finest)
    shift = classes.new_zeros(count)
    if bias is not None:
        if bias.shape != (count,) or not bias.is_floating_point():
            raise ValueError(f"bias is {bias.dtype} {tuple(bias.shape)}: expected floating point ({count},)")
        shift = bias.to(features.device, finest)
        finite("bias", shift)
    confidence = []
    for rows, x in pieces(features, count):
        logits = torch.addmm(shift, x, classes.T)
        confidence.append((logits.gather(1, labels[rows, None]).squeeze(1) - logits.logsumexp(1)).exp())
    return torch.cat(confidence)


def _class_sums(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    finest = sphere.finest(features.device)
    sums = torch.zeros(num_classes, features.shape[1], dtype=finest, device=features.device)
    for rows, x in pieces(features):
        sums.index_add_(0, labels[rows], x)
    return sums


def _one_minus_cosine(u: Tensor, v: Tensor) -> Tensor:
    """1 - cos of unit rows from their difference, which keeps its digits for small angles; 1 for a zero row."""
    directed = u.any(1) & v.any(1)
    return torch.where(directed, (u - v).square().sum(1) / 2, 1.0)


def _angles(u: Tensor, v: Tensor) -> Tensor:
    """All angles between unit rows of u and of v, (len(u), len(v)); exact near 0 and pi."""
    cosines = u @ v.T
    angles = cosines.clamp(-1, 1).acos()
    i, j = (cosines.abs() > _CLOSE).nonzero(as_tuple=True)
    for part in torch.split(torch.arange(len(i), device=i.device), sphere.rows_at_once(u.shape[1])):
        angles[i[part], j[part]] = sphere.angle(u[i[part]], v[j[part]])
    return angles
