"""Residual networks for large images: ResNet-18/34/50 with the 7 x 7 convolution and the pooling at their beginning."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from onsphere.models.head import classify_average
from onsphere.models.initialization import default_linear_std, he_normal
from onsphere.models.residual import BasicBlock, Bottleneck, projection, stages, stem
from onsphere.models.sizes import positive, scaled

__all__ = ["resnet18", "resnet34", "resnet50"]


def resnet18(num_classes: int = 1000, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """ResNet-18: 2, 2, 2 and 2 blocks of two 3 x 3 convolutions; 11.69 million parameters with 1000 classes.

    Layers are called ``conv0``, ``stage1.0.conv1`` (stage, block from 0, convolution), ``stage2.0.shortcut.conv`` and
    ``classifier``. Images are (N, in_channels, H, W) of any size from 33 x 33 on, 224 x 224 in the papers. Shortcuts
    that change the size are projections (option B). Initial weights are those of the published code (fb.resnet.torch,
    models/resnet.lua): N(0, 2 / (k k out_channels)) for convolutions and the default of a linear layer for the
    classifier.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the filters 64/128/256/512 of the four stages; the first convolution has as many as the first
            stage.

    Raises:
        ValueError: if a size is below 1 or the width not above 0.

    Source: He et al. 2016, Table 1; thesis, Tables D.2 and E.2.

    >>> sum(p.numel() for p in resnet18().parameters())
    11689512
    """
    return _resnet(_basic, (2, 2, 2, 2), 1, num_classes, in_channels, width)


def resnet34(num_classes: int = 1000, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """ResNet-34: as :func:`resnet18` with 3, 4, 6 and 3 blocks; 21.80 million parameters with 1000 classes.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the filters 64/128/256/512 of the four stages.

    Raises:
        ValueError: if a size is below 1 or the width not above 0.

    Source: He et al. 2016, Table 1; thesis, Tables D.2 and E.2.

    >>> sum(p.numel() for p in resnet34().parameters())
    21797672
    """
    return _resnet(_basic, (3, 4, 6, 3), 1, num_classes, in_channels, width)


def resnet50(num_classes: int = 1000, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """ResNet-50: as :func:`resnet34` with bottleneck blocks of three convolutions; 25.56 million parameters.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the inner filters 64/128/256/512 of the four stages; a block's output has four times as many.

    Raises:
        ValueError: if a size is below 1 or the width not above 0.

    Source: He et al. 2016, Table 1; thesis, section E.1.

    >>> sum(p.numel() for p in resnet50().parameters())
    25557032
    """
    return _resnet(Bottleneck, (3, 4, 6, 3), 4, num_classes, in_channels, width)


_basic = partial(BasicBlock, shortcut=projection)


def _resnet(
    block: Callable[[int, int, int], nn.Module],
    blocks: tuple[int, int, int, int],
    expansion: int,
    num_classes: int,
    in_channels: int,
    width: float,
) -> nn.Sequential:
    positive(num_classes=num_classes, in_channels=in_channels)
    inner = scaled((64, 128, 256, 512), width)
    filters = [expansion * count for count in inner]
    layers = stem(in_channels, inner[0], kernel_size=7, stride=2)
    layers["pool0"] = nn.MaxPool2d(3, stride=2, padding=1)
    model = classify_average(layers | stages(block, inner[0], filters, blocks), filters[-1], num_classes)
    he_normal(model, mode="fan_out", classifier_std=default_linear_std(filters[-1]))
    return model
