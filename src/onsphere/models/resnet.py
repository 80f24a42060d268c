"""Residual networks for small images, with the shortcuts that have no parameters (option A)."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from onsphere.models.initialization import he_normal

__all__ = ["resnet20"]


def resnet20(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """ResNet-20: one convolution, three stages of three residual blocks, average pooling; 0.27 million parameters.

    Layers are called ``conv0``, ``stage1.0.conv1`` (stage, block from 0, convolution) and ``classifier``.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the filters 16/32/64 of the three stages.

    Raises:
        ValueError: if a size is below 1.

    Images are (N, in_channels, H, W) of any size from 4 x 4 on.

    Source: He et al. 2016, section 4.2 and Table 6 (0.27M); MMA paper, Figure 4.

    >>> sum(p.numel() for p in resnet20(num_classes=10).parameters())
    269722
    """
    return _resnet(3, num_classes, in_channels, width)


class BasicBlock(nn.Module):
    """relu(x' + bn2(conv2(relu(bn1(conv1(x)))))), x' = x, or x subsampled and filled up with zero channels.

    Args:
        channels: of the input.
        filters: of both convolutions.
        stride: of the first convolution.

    >>> import torch
    >>> BasicBlock(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 8, 3, 3])
    """

    def __init__(self, channels: int, filters: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.stride = stride
        self.new_channels = filters - channels

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.stride != 1 or self.new_channels:
            before = self.new_channels // 2
            shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, before, self.new_channels - before))
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(out)) + shortcut, inplace=True)


def _resnet(blocks: int, classes: int, in_channels: int, width: float) -> nn.Sequential:
    """6 * blocks + 2 layers with weights: blocks = 3, 5, 9 are ResNet-20, 32 and 56."""
    if classes < 1 or in_channels < 1 or width <= 0:
        raise ValueError(
            f"num_classes={classes}, in_channels={in_channels}, width={width}: expected at least one class and one "
            "channel, and a width above 0"
        )
    filters = [max(1, round(full * width)) for full in (16, 32, 64)]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv0"] = nn.Conv2d(in_channels, filters[0], 3, padding=1, bias=False)
    layers["bn0"] = nn.BatchNorm2d(filters[0])
    layers["relu0"] = nn.ReLU(inplace=True)
    channels = filters[0]
    for stage, count in enumerate(filters, start=1):
        first = BasicBlock(channels, count, stride=1 if stage == 1 else 2)
        layers[f"stage{stage}"] = nn.Sequential(first, *(BasicBlock(count, count) for _ in range(blocks - 1)))
        channels = count
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(channels, classes)
    model = nn.Sequential(layers)
    he_normal(model)
    return model
