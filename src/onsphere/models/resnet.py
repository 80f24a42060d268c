"""Residual networks for small images: ResNet-20/32/56 and the thesis's wide ResNet-32."""

from __future__ import annotations

from functools import partial

from torch import nn

from onsphere.models.head import classify_average
from onsphere.models.initialization import default_linear_std, he_normal
from onsphere.models.residual import BasicBlock, projection, stages, stem
from onsphere.models.sizes import positive, scaled

__all__ = ["resnet20", "resnet32", "resnet56", "wide_resnet32"]


def resnet20(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """ResNet-20: one convolution, three stages of three residual blocks, average pooling; 0.27 million parameters.

    Layers are called ``conv0``, ``stage1.0.conv1`` (stage, block from 0, convolution) and ``classifier``. Images are
    (N, in_channels, H, W) of any size from 4 x 4 on. Shortcuts have no parameters (option A). Initial weights are
    those of the published code (fb.resnet.torch, models/resnet.lua): N(0, 2 / (9 out_channels)) for convolutions and
    the default of a linear layer for the classifier.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the filters 16/32/64 of the three stages.

    Raises:
        ValueError: if a size is below 1 or the width not above 0.

    Source: He et al. 2016, section 4.2 and Table 6 (0.27M); MMA paper, Figure 4; thesis, Table F.2.

    >>> sum(p.numel() for p in resnet20(num_classes=10).parameters())
    269722
    """
    return _resnet(3, num_classes, in_channels, width)


def resnet32(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """ResNet-32: as :func:`resnet20` with five blocks a stage; 0.46 million parameters.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the filters 16/32/64 of the three stages.

    Raises:
        ValueError: if a size is below 1 or the width not above 0.

    Source: He et al. 2016, Table 6 (0.46M); thesis, Table F.2.

    >>> sum(p.numel() for p in resnet32(num_classes=10).parameters())
    464154
    """
    return _resnet(5, num_classes, in_channels, width)


def resnet56(num_classes: int = 10, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """ResNet-56: as :func:`resnet20` with nine blocks a stage; 0.85 million parameters.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the filters 16/32/64 of the three stages.

    Raises:
        ValueError: if a size is below 1 or the width not above 0.

    Source: He et al. 2016, Table 6 (0.85M); MMA paper, Tables 5 and 6.

    >>> sum(p.numel() for p in resnet56(num_classes=10).parameters())
    853018
    """
    return _resnet(9, num_classes, in_channels, width)


def wide_resnet32(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    widths: tuple[int, int, int] = (64, 128, 256),
    width: float = 1.0,
) -> nn.Sequential:
    """The thesis's ResNet-32: one convolution, three stages of five blocks, average pooling; 7.4 million parameters.

    Layers are called as in :func:`resnet20`. The tables do not say what the shortcuts between stages are. Here they are
    1 x 1 convolutions with batch normalization (``stage2.0.shortcut.conv``), as in the authors' published code
    (wy1iu/SphereNet, sphere_resnet) and as section 3.4.6 says of the thesis's ResNet-18. Initial weights are He
    normal with fan_in, as there and in section 5.5.1.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        widths: filters of the three stages: 64/128/256 in Tables D.2 and E.2, 64/96/128 and 96/192/384 in Table B.2.
        width: factor on all of them.

    Raises:
        ValueError: if there are not three widths, a size is below 1 or the width not above 0.

    Source: thesis, Tables B.2, D.2 and E.2.

    >>> sum(p.numel() for p in wide_resnet32(num_classes=10).parameters())
    7427914
    """
    positive(num_classes=num_classes, in_channels=in_channels, widths=widths)
    if len(widths) != 3:
        raise ValueError(f"widths={widths!r}: expected three numbers, one a stage")
    filters = scaled(widths, width)
    layers = stem(in_channels, filters[0])
    layers |= stages(partial(BasicBlock, shortcut=projection), filters[0], filters, (5, 5, 5))
    model = classify_average(layers, filters[-1], num_classes)
    he_normal(model)
    return model


def _resnet(blocks: int, num_classes: int, in_channels: int, width: float) -> nn.Sequential:
    """6 * blocks + 2 layers with weights: blocks = 3, 5, 9 are ResNet-20, 32 and 56."""
    positive(num_classes=num_classes, in_channels=in_channels)
    filters = scaled((16, 32, 64), width)
    layers = stem(in_channels, filters[0]) | stages(BasicBlock, filters[0], filters, (blocks,) * 3)
    model = classify_average(layers, filters[-1], num_classes)
    he_normal(model, mode="fan_out", classifier_std=default_linear_std(filters[-1]))
    return model
