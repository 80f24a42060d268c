"""The network of few-shot learning: four convolutions of equally many filters, each halving the image."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from onsphere.models.plain import with_hidden_layer
from onsphere.models.sizes import positive, scaled

__all__ = ["cnn4"]

LAYERS = 4


def cnn4(
    num_classes: int | None = 64, in_channels: int = 3, *, width: float = 1.0, image_size: int = 84
) -> nn.Sequential:
    """The thesis's CNN-4: four times a 3 x 3 convolution of 64 filters, batch normalization, ReLU, 2 x 2 max pooling.

    What comes out of the last pooling are the features, 64 (image_size // 16)^2 numbers: 1600 of 84 x 84 pixels. All of
    them are at least 0.

    Args:
        num_classes: outputs of the linear layer ``classifier``; None leaves it out, so that the network gives features.
        in_channels: channels of the images.
        width: factor on the filters.
        image_size: height and width of the images in pixels, at least 16; each pooling halves it, rounding down.

    Raises:
        ValueError: if a size is too small or the width not above 0.

    Source: thesis, Table F.3; batch normalization and ReLU as in Chen et al., A Closer Look at Few-shot Classification
    (ICLR 2019), whose network it is.

    >>> import torch
    >>> cnn4(None, width=0.125, image_size=84)(torch.zeros(2, 3, 84, 84)).shape
    torch.Size([2, 200])
    >>> [name for name, _ in cnn4(5, 1, image_size=16).named_children()][-6:]
    ['conv4', 'bn4', 'relu4', 'pool4', 'flatten', 'classifier']
    """
    positive(num_classes=() if num_classes is None else num_classes, in_channels=in_channels)
    if image_size < 2**LAYERS:
        raise ValueError(f"image_size={image_size}: expected at least {2**LAYERS}, since four poolings halve it")
    (filters,) = scaled((64,), width)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(1, LAYERS + 1):
        layers[f"conv{i}"] = nn.Conv2d(in_channels if i == 1 else filters, filters, 3, padding=1, bias=False)
        layers[f"bn{i}"] = nn.BatchNorm2d(filters)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        layers[f"pool{i}"] = nn.MaxPool2d(2)
    return with_hidden_layer(layers, filters * (image_size // 2**LAYERS) ** 2, 0, num_classes)
