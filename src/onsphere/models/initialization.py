"""How the weights of a fresh model are drawn."""

from __future__ import annotations

import math

from torch import nn

__all__ = ["he_normal"]


def he_normal(model: nn.Module) -> None:
    r"""Draw every convolution and hidden linear weight from N(0, 2 / fan_in), in place; biases and shifts become 0.

    The layer called ``classifier`` has no ReLU behind it and gets N(0, 1 / fan_in). Batch norm scales become 1.

    Args:
        model: any module; layers other than Conv2d, Linear and BatchNorm are left as they are.

    Source: He et al. 2015, *Delving Deep into Rectifiers*, equation 10; both papers initialise their networks so.

    >>> from torch import nn
    >>> layer = nn.Linear(1000, 1000)
    >>> he_normal(layer)
    >>> round(layer.weight.std().item() / (2 / 1000) ** 0.5, 1)
    1.0
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            gain = 1.0 if name.rpartition(".")[2] == "classifier" else 2.0
            nn.init.normal_(module.weight, std=math.sqrt(gain / module.weight[0].numel()))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()
