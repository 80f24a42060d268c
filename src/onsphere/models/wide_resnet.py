"""Wide residual networks (WRN): few layers, many filters, batch normalization and ReLU in front of the convolutions.

The thesis's ResNet-32 with many filters is another network: ``wide_resnet32`` in ``resnet.py``.
"""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from onsphere.models.head import classify_average
from onsphere.models.initialization import default_linear_std, he_normal
from onsphere.models.residual import stages
from onsphere.models.sizes import positive, scaled

__all__ = ["wide_resnet", "wrn_16_8", "wrn_28_10"]


def wide_resnet(
    depth: int = 28,
    widening: int = 10,
    num_classes: int = 100,
    in_channels: int = 3,
    *,
    width: float = 1.0,
) -> nn.Sequential:
    """WRN-depth-widening: one convolution, three stages of (depth - 4) / 6 blocks, average pooling.

    Layers are called ``conv0``, ``stage1.0.conv1`` (stage, block from 0, convolution), ``stage1.0.shortcut`` (a 1 x 1
    convolution where the number of channels changes) and ``classifier``. Images are (N, in_channels, H, W) of any
    size from 4 x 4 on. No dropout. Initial weights are those of the published code
    (szagoruyko/wide-residual-networks, models/utils.lua): N(0, 2 / (k k out_channels)) for convolutions and the
    default of a linear layer for the classifier.

    Args:
        depth: layers with weights, 6 n + 4.
        widening: factor k on the filters 16/32/64 of the three stages, not on those of the first convolution.
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the filters of every layer, the first one's too; for networks smaller than the paper's.

    Raises:
        ValueError: if depth is not 6 n + 4, a size is below 1 or the width not above 0.

    Source: Zagoruyko and Komodakis 2016, Table 1.

    >>> import torch
    >>> wide_resnet(10, 2, num_classes=5)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 5])
    """
    positive(depth=depth, widening=widening, num_classes=num_classes, in_channels=in_channels)
    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"depth={depth}: expected 6 n + 4, such as 10, 16, 22, 28 or 40")
    first, *filters = scaled((16, 16 * widening, 32 * widening, 64 * widening), width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv0=nn.Conv2d(in_channels, first, 3, padding=1, bias=False),
        **stages(PreactivationBlock, first, filters, (depth // 6,) * 3),
        bn=nn.BatchNorm2d(filters[-1]),
        relu=nn.ReLU(inplace=True),
    )
    model = classify_average(layers, filters[-1], num_classes)
    he_normal(model, mode="fan_out", classifier_std=default_linear_std(filters[-1]))
    return model


def wrn_16_8(num_classes: int = 100, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """WRN-16-8: :func:`wide_resnet` of depth 16 and widening 8; 11.0 million parameters.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the filters of every layer.

    Raises:
        ValueError: if a size is below 1 or the width not above 0.

    Source: Zagoruyko and Komodakis 2016, Table 4 (11.0M); MMA paper, Table 5.

    >>> sum(p.numel() for p in wrn_16_8(num_classes=100).parameters())
    11007540
    """
    return wide_resnet(16, 8, num_classes, in_channels, width=width)


def wrn_28_10(num_classes: int = 100, in_channels: int = 3, *, width: float = 1.0) -> nn.Sequential:
    """WRN-28-10: :func:`wide_resnet` of depth 28 and widening 10; 36.5 million parameters.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the filters of every layer.

    Raises:
        ValueError: if a size is below 1 or the width not above 0.

    Source: Zagoruyko and Komodakis 2016, Table 4 (36.5M); MMA paper, Table 4.

    >>> import torch
    >>> with torch.device("meta"):  # shapes without memory
    ...     model = wrn_28_10(num_classes=100)
    >>> sum(p.numel() for p in model.parameters())
    36536884
    """
    return wide_resnet(28, 10, num_classes, in_channels, width=width)


class PreactivationBlock(nn.Module):
    """x' + conv2(relu(bn2(conv1(y)))) with y = relu(bn1(x)); x' = x, or a 1 x 1 convolution of y where sizes change.

    Args:
        channels: of the input.
        filters: of both 3 x 3 convolutions.
        stride: of the first convolution.

    Source: Zagoruyko and Komodakis 2016, Figure 1 (c).

    >>> import torch
    >>> PreactivationBlock(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 8, 3, 3])
    """

    def __init__(self, channels: int, filters: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        same = stride == 1 and channels == filters
        self.shortcut = None if same else nn.Conv2d(channels, filters, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        activated = F.relu(self.bn1(x), inplace=True)
        shortcut = x if self.shortcut is None else self.shortcut(activated)
        out: Tensor = self.conv2(F.relu(self.bn2(self.conv1(activated)), inplace=True))
        return out + shortcut
