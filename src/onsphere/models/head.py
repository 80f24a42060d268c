"""The end that convolutional networks share: average pooling and the linear layer ``classifier``."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

__all__ = ["classify_average"]


def classify_average(layers: OrderedDict[str, nn.Module], features: int, num_classes: int | None) -> nn.Sequential:
    """Put ``average``, ``flatten`` and ``classifier`` behind the layers.

    Args:
        layers: the network up to its last feature map, (N, features, H, W) of any H and W; left as it is.
        features: channels of that map.
        num_classes: outputs of ``classifier``, the last layer; None leaves it out, so that the network gives features.

    >>> import torch
    >>> convolution = OrderedDict(conv=nn.Conv2d(3, 8, 3))
    >>> classify_average(convolution, 8, 10)(torch.zeros(2, 3, 5, 5)).shape
    torch.Size([2, 10])
    """
    ends = OrderedDict(layers, average=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
    if num_classes is not None:
        ends["classifier"] = nn.Linear(features, num_classes)
    return nn.Sequential(ends)
