"""The margins and heads as their papers write them: literal, slow, float64, with acos."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def multiple_angle(cosine: Tensor, m: int) -> Tensor:
    """Thesis eq. 2.7: cos(m theta) as a polynomial of cos(theta)."""
    total = torch.zeros_like(cosine)
    for n in range(m // 2 + 1):
        total = total + (-1) ** n * math.comb(m, 2 * n) * cosine ** (m - 2 * n) * (1 - cosine**2) ** n
    return total


def folded(theta: Tensor, m: float, g=torch.cos) -> Tensor:
    """Thesis eqs. 2.6, 2.20 and 3.11, case by case."""
    value = torch.zeros_like(theta)
    for k in range(math.ceil(m) + 1):
        inside = (theta >= k * math.pi / m) & (theta <= (k + 1) * math.pi / m)
        here = (-1) ** k * torch.cos(m * theta) - 2 * k if g is torch.cos else g(m * theta - k * math.pi) - 2 * k
        value = torch.where(inside, here, value)
    return value


def arcface(theta: Tensor, m: float, easy: bool = False) -> Tensor:
    if easy:
        return torch.where(torch.cos(theta) > 0, torch.cos(theta + m), torch.cos(theta))
    return torch.where(theta + m <= math.pi, torch.cos(theta + m), torch.cos(theta) - m * math.sin(m))


def combined(theta: Tensor, m1: float, m2: float, m3: float) -> Tensor:
    xi = m1 * theta + m2
    value = torch.zeros_like(theta)
    for k in range(math.ceil(m1) + 2):
        inside = (xi >= k * math.pi) & (xi <= (k + 1) * math.pi)
        value = torch.where(inside, (-1) ** k * torch.cos(xi) - 2 * k, value)
    return value - m3


def linear_g(theta: Tensor) -> Tensor:
    """Thesis eq. 3.2."""
    return -2 / math.pi * theta + 1


def sigmoid_g(theta: Tensor, k: float) -> Tensor:
    """Thesis eq. 3.4."""
    a, b = math.exp(-math.pi / (2 * k)), torch.exp(theta / k - math.pi / (2 * k))
    return (1 + a) / (1 - a) * (1 - b) / (1 + b)


def annealing(iteration: int, base: float, gamma: float, power: float, minimum: float) -> float:
    return max(minimum, base * (1 + gamma * iteration) ** -power)


def head(
    features: Tensor,
    weight: Tensor,
    labels: Tensor,
    psi=None,
    g=torch.cos,
    scale: float | str = 64.0,
    normalize_weight: bool = True,
    bias: Tensor | None = None,
    label_smoothing: float = 0.0,
    class_weight: Tensor | None = None,
) -> Tensor:
    """The loss of every example times its class weight, one logit after the other."""
    classes = len(weight)
    found = []
    for x, y in zip(features, labels.tolist(), strict=True):
        logits = []
        for j in range(classes):
            w = weight[j]
            theta = torch.acos(torch.dot(x, w) / (x.norm() * w.norm()))
            value = psi(theta) if j == y and psi is not None else g(theta)
            height = x.norm() if scale == "feature_norm" else scale
            logit = height * value * (1.0 if normalize_weight else w.norm())
            logits.append(logit if bias is None else logit + bias[j])
        z = torch.stack(logits)
        log_probabilities = z - torch.log(torch.exp(z - z.max()).sum()) - z.max()
        weights = torch.ones(classes, dtype=z.dtype) if class_weight is None else class_weight
        loss = -(1 - label_smoothing) * weights[y] * log_probabilities[y]
        loss = loss - label_smoothing / classes * (weights * log_probabilities).sum()
        found.append(loss)
    return torch.stack(found)
