"""How the weights of a fresh model are drawn."""

from __future__ import annotations

import math
from typing import Literal

from torch import nn

__all__ = ["default_linear_std", "he_normal"]


def he_normal(
    model: nn.Module, *, mode: Literal["fan_in", "fan_out"] = "fan_in", classifier_std: float | None = None
) -> None:
    r"""Draw every convolution and hidden linear weight from N(0, 2 / fan), in place; biases and shifts become 0.

    fan_in is what a neuron reads, in_channels * k * k, and keeps the variance of the signals; fan_out is
    out_channels * k * k and keeps that of the gradients. Batch norm scales become 1.

    Args:
        model: any module; layers other than Conv2d, Linear and BatchNorm are left as they are.
        mode: which fan. The thesis's own networks take fan_in (as its published code does), the published codes of
            VGG on CIFAR, ResNet, WRN and DenseNet take fan_out.
        classifier_std: standard deviation of the weights of the layer called ``classifier``; None gives
            1 / sqrt(fan_in), since no ReLU follows.

    Raises:
        ValueError: if mode is neither of the two.

    Source: He et al. 2015, *Delving Deep into Rectifiers*, equations 10 (fan_in) and 14 (fan_out).

    >>> layer = nn.Linear(1000, 500)
    >>> he_normal(layer)
    >>> round(layer.weight.std().item() / (2 / 1000) ** 0.5, 1)
    1.0
    >>> he_normal(layer, mode="fan_out")
    >>> round(layer.weight.std().item() / (2 / 500) ** 0.5, 1)
    1.0
    """
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode={mode!r}: expected 'fan_in' or 'fan_out'")
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight
            fan_in, fan_out = weight[0].numel(), weight[:, 0].numel()
            std = math.sqrt(2 / (fan_in if mode == "fan_in" else fan_out))
            if name.rpartition(".")[2] == "classifier":
                std = math.sqrt(1 / fan_in) if classifier_std is None else classifier_std
            nn.init.normal_(weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()


def default_linear_std(features: int) -> float:
    """Standard deviation of a linear layer that torch draws by itself, uniform in +-1 / sqrt(features).

    >>> default_linear_std(300)
    0.03333333333333333
    """
    return math.sqrt(1 / (3 * features))
