"""The scores of features written out literally: loops over images and pairs, float64. Slow on purpose.

One thing is fixed here that the thesis leaves open: a feature of norm zero is at right angles to everything.
"""

import math

import torch
from torch import Tensor


def _unit(x: Tensor) -> Tensor:
    norm = x.square().sum().sqrt()
    return x / norm if bool(norm > 0) else x


def _cosine(x: Tensor, y: Tensor) -> float:
    return float((_unit(x) * _unit(y)).sum())


def angle(x: Tensor, y: Tensor) -> float:
    x, y = x.double(), y.double()
    if not bool(x.any()) or not bool(y.any()):
        return math.pi / 2
    u, v = _unit(x), _unit(y)
    return 2 * math.atan2(float((u - v).square().sum().sqrt()), float((u + v).square().sum().sqrt()))


def angular_fisher_score(features: Tensor, labels: Tensor) -> float:
    """Thesis, eq. A.1."""
    x = features.double()
    m = x.mean(0)
    within = between = 0.0
    for i in sorted(set(labels.tolist())):
        own = x[labels == i]
        m_i = own.mean(0)
        for x_j in own:
            within += 1 - _cosine(x_j, m_i)
        between += len(own) * (1 - _cosine(m_i, m))
    return within / between


def angular_visual_hardness(features: Tensor, labels: Tensor, weight: Tensor) -> list[float]:
    """Thesis, section 1.1."""
    hardness = []
    for x, y in zip(features, labels.tolist(), strict=True):
        angles = [angle(w, x) for w in weight]
        hardness.append(angles[y] / sum(angles))
    return hardness


def model_confidence(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> list[float]:
    """Thesis, section 1.1, with the biases of an ordinary last layer."""
    confidence = []
    for x, y in zip(features.double(), labels.tolist(), strict=True):
        exponentials = [math.exp(float((w * x).sum() + b)) for w, b in zip(weight.double(), bias.double(), strict=True)]
        confidence.append(exponentials[y] / sum(exponentials))
    return confidence


def pair_angles(features: Tensor, labels: Tensor) -> tuple[list[float], list[float]]:
    """Angles of the pairs of the same class, and of those of different classes: thesis, Figure 2.10."""
    intra, inter = [], []
    for i in range(len(features)):
        for j in range(i):
            (intra if labels[i] == labels[j] else inter).append(angle(features[i], features[j]))
    return intra, inter


def cosine_confusion(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Thesis, Figure 2.5: means over pairs of different features; NaN where there is none."""
    x = features.double()
    confusion = torch.full((num_classes, num_classes), math.nan, dtype=torch.float64)
    for i in range(num_classes):
        for j in range(num_classes):
            rows, columns = (labels == i).nonzero().flatten().tolist(), (labels == j).nonzero().flatten().tolist()
            cosines = [_cosine(x[a], x[b]) for a in rows for b in columns if a != b]
            if cosines:
                confusion[i, j] = sum(cosines) / len(cosines)
    return confusion


def spearman(x: list[float], y: list[float]) -> float:
    """The correlation of the ranks; a rank is the mean place among equals, counted by comparing every pair."""

    def ranks(values: list[float]) -> list[float]:
        return [sum((v < u) + (v == u) / 2 for v in values) for u in values]

    a, b = ranks(x), ranks(y)
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    product = sum((p - mean_a) * (q - mean_b) for p, q in zip(a, b, strict=True))
    spread = sum((p - mean_a) ** 2 for p in a) * sum((q - mean_b) ** 2 for q in b)
    return product / math.sqrt(spread)
