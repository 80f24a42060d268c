"""Decoupled operators as the thesis writes them: patch by patch from unfold, filter by filter, float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# h by name, of the norm, the radius and the numbers of the operator (eq. 4.4 to 4.10); every case written out.
MAGNITUDES: dict[str, Callable[..., Tensor]] = {
    "Sphere": lambda n, rho, alpha: alpha * torch.ones_like(n),
    "Ball": lambda n, rho, alpha: alpha * torch.where(n < rho, n, rho) / rho,
    "Tanh": lambda n, rho, alpha: alpha * (torch.exp(2 * n / rho) - 1) / (torch.exp(2 * n / rho) + 1),
    "Linear": lambda n, rho, alpha: alpha * n,
    "Seg": lambda n, rho, alpha, beta: torch.where(n <= rho, alpha * n, beta * n + alpha * rho - beta * rho),
    "Log": lambda n, rho, alpha: alpha * torch.log(1 + n),
    "Mix": lambda n, rho, alpha, beta: alpha * n + beta * torch.log(1 + n),
}


# g by name, of the angle (eq. 4.11 to 4.14).
def _sigmoid(theta: Tensor, k: Tensor | float) -> Tensor:
    k = torch.as_tensor(k, dtype=theta.dtype)
    end = torch.exp(-math.pi / (2 * k))
    inner = torch.exp(theta / k - math.pi / (2 * k))
    return (1 + end) / (1 - end) * (1 - inner) / (1 + inner)


ANGULARS: dict[str, Callable[..., Tensor]] = {
    "Linear": lambda theta, k: -2 / math.pi * theta + 1,
    "Cosine": lambda theta, k: torch.cos(theta),
    "Sigmoid": _sigmoid,
    "SquareCosine": lambda theta, k: torch.sign(torch.cos(theta)) * torch.cos(theta) ** 2,
}


def numbers(magnitude: Any) -> dict[str, float]:
    """alpha and beta of an operator."""
    return {name: getattr(magnitude, name) for name in ("alpha", "beta") if hasattr(magnitude, name)}


def conv2d(
    x: Tensor,
    weight: Tensor,
    magnitude: Any,
    angular: Any,
    weighting: str | None,
    rho: Tensor | None = None,
    mean: Tensor | None = None,
    k: Tensor | None = None,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    eps: float = 1e-4,
) -> Tensor:
    """h g of every filter and patch; rho and k are one a filter, mean is one a group; eps is added to ||x||^2."""
    kernel = weight.shape[2:]
    padded = F.pad(x, (padding,) * 4, mode="constant" if padding_mode == "zeros" else padding_mode)
    height, width = ((s - dilation * (n - 1) - 1) // stride + 1 for s, n in zip(padded.shape[2:], kernel, strict=True))
    patches = F.unfold(padded, tuple(kernel), dilation=dilation, stride=stride)  # (N, C k k, L)
    patches = patches.unflatten(1, (groups, -1))
    h_of, g_of, given = MAGNITUDES[type(magnitude).__name__], ANGULARS[type(angular).__name__], numbers(magnitude)
    one = x.new_ones(())
    outputs = []
    for f, w in enumerate(weight):
        group = f // (len(weight) // groups)
        patch, w = patches[:, group], w.flatten()
        length, norm_w = (patch.square().sum(1) + eps).sqrt(), w.square().sum().sqrt()
        cosine = (patch * w[:, None]).sum(1) / (length * norm_w)
        theta = torch.acos(cosine)
        own = one if rho is None else rho[f]
        radius = own if mean is None else own * mean[group]
        if weighting == "nonlinear_product":
            h = h_of(length * norm_w, radius, **given)
        elif weighting == "nonlinear_separate":
            h = h_of(norm_w, own, **given) * h_of(length, radius, **given) / magnitude.alpha
        else:
            h = h_of(length, radius, **given)
            h = norm_w * h if weighting == "linear" else h
        outputs.append(h * g_of(theta, getattr(angular, "k", None) if k is None else k[f]))
    return torch.stack(outputs, 1).unflatten(2, (height, width))


def patch_norms(x: Tensor, kernel: int, *, padding: int = 0, groups: int = 1, eps: float = 1e-4) -> Tensor:
    """sqrt(||x||^2 + eps) of the patches, (N, groups, L)."""
    patches = F.unfold(F.pad(x, (padding,) * 4), kernel).unflatten(1, (groups, -1))
    return (patches.square().sum(2) + eps).sqrt()
