"""SphereFace: residual networks without batch normalization that give features for open-set recognition."""

from __future__ import annotations

import math
from collections import OrderedDict

from torch import Tensor, nn

from onsphere.models.sizes import height_and_width, positive, scaled

__all__ = ["SphereFaceUnit", "sphereface", "sphereface_weights"]

# Residual units of the four stages, by the number of convolutions: thesis, Table 2.7.
UNITS: dict[int, tuple[int, int, int, int]] = {
    4: (0, 0, 0, 0),
    10: (0, 1, 2, 0),
    20: (1, 2, 4, 1),
    36: (2, 4, 8, 2),
    64: (3, 8, 16, 3),
}


def sphereface(
    depth: int = 20,
    *,
    features: int = 512,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = (112, 96),
    width: float = 1.0,
    batch_norm: bool = False,
) -> nn.Sequential:
    """SphereFace-4, 10, 20, 36 and 64: four stages, each opened by a convolution of stride 2, and a linear layer.

    A network gives features (N, features), not classes: no ReLU follows ``fc1`` (section A.1), and a head such as
    ``onsphere.AngularSoftmax`` comes behind it (:class:`Recogniser` holds both). Layers are called ``conv1``,
    ``units1.0.conv1`` (stage, unit from 0, convolution), ..., and ``fc1``.

    Three things are not in the thesis and are taken from the authors' published network (wy1iu/sphereface,
    sphereface_model.prototxt). A PReLU with one slope a channel follows every convolution, also the second of a unit,
    before the addition. The convolutions that open a stage and ``fc1`` have biases, those of the units have none.
    Initial weights are uniform in +-sqrt(3 / fan_in) where there are biases (Caffe's "xavier"), and N(0, 0.01^2) in
    the units, which so begin near the identity.

    Args:
        depth: convolutions: 4, 10, 20, 36 or 64.
        features: outputs of ``fc1``: 512 in Table 2.7, 3 in Figure 2.10.
        in_channels: channels of the images.
        image_size: height and width in pixels, or one number for both; each stage halves them, rounding up. The
            default is that of the published network.
        width: factor on the filters 64/128/256/512 of the four stages; not on the features.
        batch_norm: a BatchNorm2d between every convolution and its PReLU, and no biases in the convolutions. The
            published networks have none.

    Raises:
        ValueError: if the depth is none of the five, a size is below 1 or the width not above 0.

    Source: thesis, Table 2.7 and section 2.3.6 (Liu et al. 2017, *SphereFace*).

    >>> import torch
    >>> sum(p.numel() for p in sphereface(20).parameters())
    22666944
    >>> sphereface(4, features=3, in_channels=1, image_size=28, width=0.25)(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 3])
    """
    if depth not in UNITS:
        raise ValueError(f"depth={depth}: expected one of {', '.join(map(str, UNITS))}")
    positive(features=features, in_channels=in_channels)
    height, wide = height_and_width(image_size)
    filters = scaled((64, 128, 256, 512), width)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = in_channels
    for stage, (count, repeats) in enumerate(zip(filters, UNITS[depth], strict=True), start=1):
        layers[f"conv{stage}"] = nn.Conv2d(channels, count, 3, stride=2, padding=1, bias=not batch_norm)
        if batch_norm:
            layers[f"bn{stage}"] = nn.BatchNorm2d(count)
        layers[f"prelu{stage}"] = nn.PReLU(count)
        if repeats:
            layers[f"units{stage}"] = nn.Sequential(*(SphereFaceUnit(count, batch_norm) for _ in range(repeats)))
        channels, height, wide = count, -(-height // 2), -(-wide // 2)
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Linear(channels * height * wide, features)
    model = nn.Sequential(layers)
    sphereface_weights(model)
    return model


class SphereFaceUnit(nn.Module):
    """x + prelu2(conv2(prelu1(conv1(x)))) with two 3 x 3 convolutions of as many filters as x has channels.

    Args:
        channels: of input and output.
        batch_norm: batch normalization behind each convolution.

    Source: thesis, Table 2.7, double-column brackets; where the PReLUs are: sphereface_model.prototxt.

    >>> import torch
    >>> SphereFaceUnit(4)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 4, 6, 6])
    """

    def __init__(self, channels: int, batch_norm: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels) if batch_norm else nn.Identity()
        self.prelu1 = nn.PReLU(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels) if batch_norm else nn.Identity()
        self.prelu2 = nn.PReLU(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.prelu1(self.bn1(self.conv1(x)))
        out = self.prelu2(self.bn2(self.conv2(out)))
        return x + out


def sphereface_weights(model: nn.Sequential) -> None:
    """Draw all weights as :func:`sphereface` says, in place: small ones in the units; biases become 0.

    Args:
        model: a network whose residual units are in children called ``units...``.

    >>> layer = nn.Linear(3, 400)
    >>> sphereface_weights(nn.Sequential(layer))
    >>> 0.9 < layer.weight.max().item() <= 1
    True
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if name.startswith("units"):
                nn.init.normal_(module.weight, std=0.01)
            else:
                bound = math.sqrt(3 / module.weight[0].numel())
                nn.init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
