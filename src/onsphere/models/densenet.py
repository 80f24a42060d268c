"""DenseNet: every layer reads the feature maps of all layers before it."""

from __future__ import annotations

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onsphere.models.head import classify_average
from onsphere.models.initialization import default_linear_std, he_normal
from onsphere.models.sizes import positive, scaled

__all__ = ["densenet", "densenet_40_12"]


def densenet(
    depth: int = 40,
    growth_rate: int = 12,
    num_classes: int = 100,
    in_channels: int = 3,
    *,
    width: float = 1.0,
) -> nn.Sequential:
    """DenseNet for small images: three dense blocks of (depth - 4) / 3 layers; no bottlenecks, no compression.

    Layers are called ``conv0``, ``dense1.0.conv`` (block, layer from 0), ``transition1.conv`` and ``classifier``.
    Images are (N, in_channels, H, W) of any size from 4 x 4 on. No dropout. Initial weights are those of the published
    code (liuzhuang13/DenseNet, models/densenet.lua): N(0, 2 / (k k out_channels)) for convolutions and the default of
    a linear layer for the classifier.

    Args:
        depth: layers with weights, 3 n + 4.
        growth_rate: feature maps that each layer adds; the first convolution makes twice as many.
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the growth rate and so on the filters of every layer.

    Raises:
        ValueError: if depth is not 3 n + 4, a size is below 1 or the width not above 0.

    Source: Huang et al. 2017, *Densely Connected Convolutional Networks*, section 3, implementation details.

    >>> densenet(7, 4, num_classes=5)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 5])
    """
    positive(depth=depth, growth_rate=growth_rate, num_classes=num_classes, in_channels=in_channels)
    if depth < 7 or depth % 3 != 1:
        raise ValueError(f"depth={depth}: expected 3 n + 4, such as 7, 10 or 40")
    (growth,) = scaled((growth_rate,), width)
    channels = 2 * growth
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv0"] = nn.Conv2d(in_channels, channels, 3, padding=1, bias=False)
    for block in (1, 2, 3):
        if block > 1:
            layers[f"transition{block - 1}"] = _transition(channels)
        dense = [DenseLayer(channels + i * growth, growth) for i in range((depth - 4) // 3)]
        layers[f"dense{block}"] = nn.Sequential(*dense)
        channels += len(dense) * growth
    layers["bn"] = nn.BatchNorm2d(channels)
    layers["relu"] = nn.ReLU(inplace=True)
    model = classify_average(layers, channels, num_classes)
    he_normal(model, mode="fan_out", classifier_std=default_linear_std(channels))
    return model


def densenet_40_12(num_classes: int = 100, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """DenseNet-40-12: :func:`densenet` of depth 40 and growth rate 12; 1.1 million parameters, 100 classes.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the growth rate.

    Raises:
        ValueError: if a size is below 1 or the width not above 0.

    Source: Huang et al. 2017, Table 2 (1.0M, which is 1.06M with 10 classes); MMA paper, Table 5.

    >>> sum(p.numel() for p in densenet_40_12(num_classes=100).parameters())
    1100428
    """
    return densenet(40, 12, num_classes, in_channels, width=width)


class DenseLayer(nn.Module):
    """The input and, behind it, ``growth`` new feature maps: cat(x, conv(relu(bn(x)))) with a 3 x 3 convolution.

    Args:
        channels: of the input.
        growth: feature maps that are added.

    Source: Huang et al. 2017, equation 2.

    >>> DenseLayer(4, 3)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 7, 6, 6])
    """

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.conv(F.relu(self.bn(x), inplace=True))], 1)


def _transition(channels: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            bn=nn.BatchNorm2d(channels),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(channels, channels, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )
