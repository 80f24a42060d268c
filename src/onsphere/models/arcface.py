"""ArcFace's residual network for faces of 112 x 112 pixels, from the image to the features."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from onsphere.models.initialization import he_normal
from onsphere.models.residual import projection
from onsphere.models.sizes import height_and_width, positive, scaled

__all__ = ["FaceUnit", "arcface_resnet50"]

_EPS = 2e-5  # of every batch normalization in the published code


def arcface_resnet50(
    *,
    features: int = 512,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 112,
    width: float = 1.0,
) -> nn.Sequential:
    """ArcFace's ResNet-50: four stages of 3, 4, 14 and 3 improved residual units; 43.59 million parameters.

    A network gives features (N, features), not classes; a head such as ``onsphere.AngularSoftmax`` comes behind it
    (:class:`Recogniser` holds both). The first convolution is 3 x 3 with stride 1, and each stage halves height and
    width, rounding up: 112, 56, 28, 14, 7. The output is the paper's setting "E": batch normalization, dropout of 0.4,
    a linear layer and batch normalization, the last with its scales fixed at 1. Layers are called ``conv0``,
    ``stage1.0.conv1`` (stage, unit from 0, convolution), ``stage1.0.shortcut.conv``, ..., and ``fc``.

    Taken from the published code (deepinsight/insightface, fresnet.py, symbol_utils.py and train.py): the fixed scales,
    the 2e-5 that batch normalization adds to variances, projections as shortcuts wherever a unit halves the size,
    and initial weights N(0, 2 / (k k out_channels)).

    Args:
        features: outputs of ``fc``.
        in_channels: channels of the images.
        image_size: height and width in pixels, or one number for both.
        width: factor on the filters 64/128/256/512 of the four stages; the first convolution has as many as the first
            stage. Not on the features.

    Raises:
        ValueError: if a size is below 1 or the width not above 0.

    Source: Deng et al. 2019, *ArcFace*, section 3.1; MMA paper, section 6 and supplement C.

    >>> sum(p.numel() for p in arcface_resnet50().parameters())
    43590848
    >>> import torch
    >>> arcface_resnet50(features=8, in_channels=1, image_size=28, width=0.05)(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 8])
    """
    positive(features=features, in_channels=in_channels)
    height, wide = height_and_width(image_size)
    filters = scaled((64, 128, 256, 512), width)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv0=nn.Conv2d(in_channels, filters[0], 3, padding=1, bias=False),
        bn0=nn.BatchNorm2d(filters[0]),
        prelu0=nn.PReLU(filters[0]),
    )
    channels = filters[0]
    for stage, (count, repeats) in enumerate(zip(filters, (3, 4, 14, 3), strict=True), start=1):
        first = FaceUnit(channels, count, stride=2)
        layers[f"stage{stage}"] = nn.Sequential(first, *(FaceUnit(count, count) for _ in range(repeats - 1)))
        channels, height, wide = count, -(-height // 2), -(-wide // 2)
    layers["bn"] = nn.BatchNorm2d(channels)
    layers["dropout"] = nn.Dropout(0.4)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels * height * wide, features)
    layers["bn_fc"] = last = nn.BatchNorm1d(features)
    last.weight.requires_grad_(False)
    model = nn.Sequential(layers)
    he_normal(model, mode="fan_out")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.eps = _EPS
    return model


class FaceUnit(nn.Module):
    """shortcut(x) + bn3(conv2(prelu(bn2(conv1(bn1(x)))))) with two 3 x 3 convolutions; nothing follows the addition.

    Args:
        channels: of the input.
        filters: of both convolutions.
        stride: of the second convolution. The shortcut is the identity where it is 1 and the channels stay, and a
            projection otherwise.

    Source: Deng et al. 2019, section 3.1, the improved residual unit "IR".

    >>> import torch
    >>> FaceUnit(4, 8, stride=2)(torch.zeros(2, 4, 7, 7)).shape
    torch.Size([2, 8, 4, 4])
    """

    def __init__(self, channels: int, filters: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, filters, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.prelu = nn.PReLU(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(filters)
        same = stride == 1 and channels == filters
        self.shortcut = nn.Identity() if same else projection(channels, filters, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        out = self.bn3(self.conv2(out))
        total: Tensor = self.shortcut(x) + out
        return total
