"""VGG with batch normalization and the single linear layer that is usual on CIFAR."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from onsphere.models.initialization import he_normal

__all__ = ["vgg19_bn"]


def vgg19_bn(num_classes: int = 100, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """VGG19-BN: sixteen 3 x 3 convolutions in five blocks and one linear layer; 20.09 million parameters, 100 classes.

    The MMA paper's layers L3-3, L4-3, L5-3 and Classify (Table 3) are ``conv3_3``, ``conv4_3``, ``conv5_3`` and
    ``classifier`` here.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the filters 64/128/256/512/512 of the five blocks.

    Raises:
        ValueError: if a size is below 1.

    Images are (N, in_channels, H, W) with H and W multiples of 32; what is left after five poolings is averaged.

    Source: Simonyan and Zisserman 2015, Table 1, column E; MMA paper, section 5.1.

    >>> sum(p.numel() for p in vgg19_bn(num_classes=100).parameters())
    20086692
    """
    return _vgg_bn((2, 2, 4, 4, 4), num_classes, in_channels, width)


def _vgg_bn(convolutions: tuple[int, ...], classes: int, in_channels: int, width: float) -> nn.Sequential:
    if classes < 1 or in_channels < 1 or width <= 0:
        raise ValueError(
            f"num_classes={classes}, in_channels={in_channels}, width={width}: expected at least one class and one "
            "channel, and a width above 0"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = in_channels
    for block, (count, full) in enumerate(zip(convolutions, (64, 128, 256, 512, 512), strict=True), start=1):
        filters = max(1, round(full * width))
        for i in range(1, count + 1):
            # The published CIFAR code leaves the (useless) biases in front of batch norm: kept, so that counts agree.
            layers[f"conv{block}_{i}"] = nn.Conv2d(channels, filters, 3, padding=1)
            layers[f"bn{block}_{i}"] = nn.BatchNorm2d(filters)
            layers[f"relu{block}_{i}"] = nn.ReLU(inplace=True)
            channels = filters
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    layers["average"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["classifier"] = nn.Linear(channels, classes)
    model = nn.Sequential(layers)
    he_normal(model)
    return model
