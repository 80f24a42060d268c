"""VGG with batch normalization and the single linear layer that is usual on CIFAR."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from onsphere.models.head import classify_average
from onsphere.models.initialization import he_normal
from onsphere.models.sizes import positive, scaled

__all__ = ["vgg16_bn", "vgg19_bn"]


def vgg16_bn(num_classes: int = 100, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """VGG16-BN: thirteen 3 x 3 convolutions in five blocks and one linear layer; 14.77 million parameters, 100 classes.

    Layers are called as in :func:`vgg19_bn`, and so are images and initial weights.

    Args:
        num_classes: outputs of ``classifier``; 200 for TinyImageNet.
        in_channels: channels of the images.
        width: factor on the filters 64/128/256/512/512 of the five blocks.

    Raises:
        ValueError: if a size is below 1 or the width not above 0.

    Source: Simonyan and Zisserman 2015, Table 1, column D; MMA paper, Table 6.

    >>> sum(p.numel() for p in vgg16_bn(num_classes=100).parameters())
    14774436
    """
    return _vgg_bn((2, 2, 3, 3, 3), num_classes, in_channels, width)


def vgg19_bn(num_classes: int = 100, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """VGG19-BN: sixteen 3 x 3 convolutions in five blocks and one linear layer; 20.09 million parameters, 100 classes.

    The MMA paper's layers L3-3, L4-3, L5-3 and Classify (Table 3) are ``conv3_3``, ``conv4_3``, ``conv5_3`` and
    ``classifier`` here. Images are (N, in_channels, H, W) with H and W multiples of 32; what is left after five
    poolings is averaged. Convolutions start from N(0, 2 / (9 out_channels)), the classifier from N(0, 0.01^2), as in
    W. Yang's PyTorch code for CIFAR (bearpaw/pytorch-classification, models/vgg.py).

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the filters 64/128/256/512/512 of the five blocks.

    Raises:
        ValueError: if a size is below 1 or the width not above 0.

    Source: Simonyan and Zisserman 2015, Table 1, column E; MMA paper, section 5.1.

    >>> sum(p.numel() for p in vgg19_bn(num_classes=100).parameters())
    20086692
    """
    return _vgg_bn((2, 2, 4, 4, 4), num_classes, in_channels, width)


def _vgg_bn(convolutions: tuple[int, ...], num_classes: int, in_channels: int, width: float) -> nn.Sequential:
    positive(num_classes=num_classes, in_channels=in_channels)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = in_channels
    for block, (count, filters) in enumerate(
        zip(convolutions, scaled((64, 128, 256, 512, 512), width), strict=True), start=1
    ):
        for i in range(1, count + 1):
            # The published CIFAR code leaves the (useless) biases in front of batch norm: kept, so that counts agree.
            layers[f"conv{block}_{i}"] = nn.Conv2d(channels, filters, 3, padding=1)
            layers[f"bn{block}_{i}"] = nn.BatchNorm2d(filters)
            layers[f"relu{block}_{i}"] = nn.ReLU(inplace=True)
            channels = filters
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    model = classify_average(layers, channels, num_classes)
    he_normal(model, mode="fan_out", classifier_std=0.01)
    return model
