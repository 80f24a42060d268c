"""Residual networks of decoupled operators: ResNet-32, and ResNet-18 as it is and modified."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import Literal

from torch import Tensor, nn

from onsphere.angular import Cosine
from onsphere.layers.decoupled import Activation, Weighting
from onsphere.magnitude import Magnitude, Sphere
from onsphere.models.decoupled import SHORTCUTS, decouple, with_biases
from onsphere.models.head import classify_average
from onsphere.models.initialization import he_normal
from onsphere.models.residual import BasicBlock, normalization, projection, stages, stem
from onsphere.models.sizes import positive, scaled
from onsphere.models.sphereface import sphereface_weights

__all__ = ["ModifiedUnit", "decoupled_resnet18", "decoupled_resnet32", "modified_resnet18"]


def decoupled_resnet32(
    *,
    magnitude: Magnitude | None = Sphere(),
    angular: Activation = Cosine(),
    weighting: Weighting | None = None,
    widths: tuple[int, int, int] = (96, 192, 384),
    width: float = 1.0,
    batch_norm: bool = True,
    relu: bool = True,
    shortcuts: bool = False,
    in_channels: int = 3,
    num_classes: int | None = 100,
) -> nn.Sequential:
    """SphereResNet-32 and DCNet-32: :func:`wide_resnet32` with another operator in place of inner products.

    Layers are called as there: ``conv0``, ``stage1.0.conv1``, ``stage2.0.shortcut.conv``, ``classifier``. The first
    convolution is decoupled, the 1 x 1 shortcuts between stages are ordinary convolutions, as in the authors' published
    codes (wy1iu/SphereNet, sphere_resnet; wy1iu/DCNets, dcnet_cifar100). Images are (N, in_channels, H, W) of any size
    from 4 x 4 on.

    Args:
        magnitude: h, such as ``onsphere.magnitude.Tanh()``; default SphereConv. None is the ordinary network.
        angular: g, such as ``onsphere.angular.SquareCosine()``.
        weighting: how ||w|| comes in (eq. 4.15 and 4.16); None leaves it out.
        widths: filters of the three stages: 96/192/384 in section 3.4.5 and chapter 4, 64/96/128 in section 3.4.2.
        width: factor on all of them.
        batch_norm: batch normalization behind every convolution; without it the ordinary ones have biases.
        relu: the ReLUs, also those after a sum.
        shortcuts: make the 1 x 1 shortcut convolutions decoupled, too.
        in_channels: channels of the images.
        num_classes: outputs of ``classifier``; None leaves it out.

    Raises:
        ValueError: if there are not three widths, a size is below 1 or the width not above 0, or an angular activation
            or a weighting is given to the ordinary network.

    Source: thesis, Table B.2 (where sections 3.4.2 and 3.4.5 are called 4.2 and 4.3) and Table C.1.

    >>> import torch
    >>> import onsphere as osp
    >>> model = decoupled_resnet32(magnitude=osp.magnitude.Seg(), width=0.05)
    >>> model(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 100])
    """
    positive(in_channels=in_channels, num_classes=num_classes, widths=widths)
    if len(widths) != 3:
        raise ValueError(f"widths={widths!r}: expected three numbers, one a stage")
    filters = scaled(widths, width)
    biases = with_biases(magnitude, batch_norm)
    layers = stem(in_channels, filters[0], batch_norm=batch_norm, relu=relu, bias=biases)
    layers |= stages(_block(batch_norm, relu, biases), filters[0], filters, (5, 5, 5))
    model = classify_average(layers, filters[-1], num_classes)
    he_normal(model)
    return decouple(model, magnitude, angular, weighting, ordinary=() if shortcuts else (SHORTCUTS,))


def decoupled_resnet18(
    *,
    magnitude: Magnitude | None = Sphere(),
    angular: Activation = Cosine(),
    weighting: Weighting | None = None,
    widths: tuple[int, int, int, int] = (64, 128, 256, 512),
    width: float = 1.0,
    shortcuts: bool = True,
    batch_norm: bool = True,
    relu: bool = True,
    in_channels: int = 3,
    num_classes: int | None = 1000,
) -> nn.Sequential:
    """SphereResNet-18 and the standard DCNet: :func:`resnet18` with another operator in place of inner products.

    Layers are called as there: ``conv0``, ``stage1.0.conv1``, ``stage2.0.shortcut.conv``, ``classifier``; images are
    (N, in_channels, H, W) of any size from 33 x 33 on. Initial weights have fan_in where those of :func:`resnet18` have
    fan_out.

    - SphereResNet-18-v1 (section 3.4.6): ``widths=(256, 512, 768, 1024)``; -v2: ``shortcuts=False`` beside that
    - standard ResNet-18 of Table C.1: the default widths

    Args:
        magnitude: h, such as ``onsphere.magnitude.Tanh()``; default SphereConv. None is the ordinary network.
        angular: g, such as ``onsphere.angular.SquareCosine()``.
        weighting: how ||w|| comes in (eq. 4.15 and 4.16); None leaves it out.
        widths: filters of the four stages; the first convolution has as many as the first stage.
        width: factor on all of them.
        shortcuts: make the 1 x 1 shortcut convolutions decoupled, too.
        batch_norm: batch normalization behind every convolution; without it the ordinary ones have biases.
        relu: the ReLUs, also those after a sum.
        in_channels: channels of the images.
        num_classes: outputs of ``classifier``; None leaves it out.

    Raises:
        ValueError: if there are not four widths, a size is below 1 or the width not above 0, or an angular activation
            or a weighting is given to the ordinary network.

    Source: thesis, section 3.4.6, Table B.2 (last column) and Table C.1.

    >>> import torch
    >>> decoupled_resnet18(width=0.05, num_classes=10)(torch.zeros(2, 3, 33, 33)).shape
    torch.Size([2, 10])
    """
    positive(in_channels=in_channels, num_classes=num_classes, widths=widths)
    if len(widths) != 4:
        raise ValueError(f"widths={widths!r}: expected four numbers, one a stage")
    filters = scaled(widths, width)
    biases = with_biases(magnitude, batch_norm)
    layers = stem(in_channels, filters[0], kernel_size=7, stride=2, batch_norm=batch_norm, relu=relu, bias=biases)
    layers["pool0"] = nn.MaxPool2d(3, stride=2, padding=1)
    layers |= stages(_block(batch_norm, relu, biases), filters[0], filters, (2, 2, 2, 2))
    model = classify_average(layers, filters[-1], num_classes)
    he_normal(model)
    return decouple(model, magnitude, angular, weighting, ordinary=() if shortcuts else (SHORTCUTS,))


# Where the first stage begins with a convolution of stride 2 and how many residual units each stage has.
MODIFIED = {"table": (True, (1, 2, 3, 0)), "published": (False, (1, 2, 3, 1))}


def modified_resnet18(
    *,
    magnitude: Magnitude | None = Sphere(),
    angular: Activation = Cosine(),
    weighting: Weighting | None = None,
    width: float = 1.0,
    batch_norm: bool = True,
    relu: bool = True,
    variant: Literal["table", "published"] = "table",
    in_channels: int = 3,
    num_classes: int | None = 1000,
) -> nn.Sequential:
    """The thesis's modified ResNet-18 for ImageNet, after SphereFace: no shortcut has parameters.

    A 7 x 7 convolution of stride 2 and a pooling, then stages of 128/256/512/1024 filters: each begins with a 3 x 3
    convolution of stride 2, ``conv1`` to ``conv4``, and goes on with residual units, ``units1.0.conv1``, ...; average
    pooling and ``classifier`` follow. Images are (N, in_channels, H, W) of any size from 33 x 33 on.

    The table and the authors' published code (wy1iu/DCNets, DCNet_modified_ResNet.py) are not the same network. In the
    table, the first stage has its convolution of stride 2 and the fourth has no unit: 18 layers with weights, as the
    name says, which is the default. In the code the first stage has only its unit, so that all maps are twice as large,
    and the fourth has a unit: 19 layers. The rest is in the code alone: batch normalization everywhere; PReLUs, one
    slope a channel, first 0, behind all convolutions but the second of a unit; no activation after a sum.

    Initial weights are those of :func:`sphereface` (section C.1.1 says so): uniform in +-sqrt(3 / fan_in), and
    N(0, 0.01^2) in the units.

    Args:
        magnitude: h, such as ``onsphere.magnitude.Tanh()``; default SphereConv. None is the ordinary network.
        angular: g, such as ``onsphere.angular.SquareCosine()``.
        weighting: how ||w|| comes in (eq. 4.15 and 4.16); None leaves it out.
        width: factor on the filters of all stages; the first convolution has as many as the first stage.
        batch_norm: batch normalization behind every convolution; without it the ordinary ones have biases.
        relu: the PReLUs.
        variant: the network of the ``table`` or of the ``published`` code.
        in_channels: channels of the images.
        num_classes: outputs of ``classifier``; None leaves it out.

    Raises:
        ValueError: if a size is below 1, the width not above 0, the variant neither of the two, or an angular
            activation or a weighting is given to the ordinary network.

    Source: thesis, Table C.1, last column, and Table 4.6.

    >>> import torch
    >>> modified_resnet18(width=0.05, num_classes=10)(torch.zeros(2, 3, 33, 33)).shape
    torch.Size([2, 10])
    """
    positive(in_channels=in_channels, num_classes=num_classes)
    if variant not in MODIFIED:
        raise ValueError(f"variant={variant!r}: expected one of {', '.join(map(repr, MODIFIED))}")
    opened, units = MODIFIED[variant]
    filters = scaled((128, 256, 512, 1024), width)
    biases = with_biases(magnitude, batch_norm)

    def convolution(number: int, channels: int, count: int, size: int) -> OrderedDict[str, nn.Module]:
        made: OrderedDict[str, nn.Module] = OrderedDict()
        made[f"conv{number}"] = nn.Conv2d(channels, count, size, stride=2, padding=size // 2, bias=biases)
        if batch_norm:
            made[f"bn{number}"] = nn.BatchNorm2d(count)
        if relu:
            made[f"prelu{number}"] = nn.PReLU(count, init=0.0)
        return made

    layers = convolution(0, in_channels, filters[0], 7)
    layers["pool0"] = nn.MaxPool2d(3, stride=2, padding=1)
    channels = filters[0]
    for stage, (count, repeats) in enumerate(zip(filters, units, strict=True), start=1):
        if stage > 1 or opened:
            layers |= convolution(stage, channels, count, 3)
        if repeats:
            made = (ModifiedUnit(count, batch_norm=batch_norm, relu=relu, bias=biases) for _ in range(repeats))
            layers[f"units{stage}"] = nn.Sequential(*made)
        channels = count
    model = classify_average(layers, channels, num_classes)
    sphereface_weights(model)
    return decouple(model, magnitude, angular, weighting)


class ModifiedUnit(nn.Module):
    """x + bn2(conv2(prelu(bn1(conv1(x))))) with two 3 x 3 convolutions of as many filters as x has channels.

    Args:
        channels: of input and output.
        batch_norm: batch normalization behind each convolution.
        relu: the PReLU between them, whose slopes begin at 0.
        bias: whether the convolutions have biases.

    Source: wy1iu/DCNets, DCNet_modified_ResNet.py.

    >>> import torch
    >>> ModifiedUnit(4)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 4, 6, 6])
    """

    def __init__(self, channels: int, *, batch_norm: bool = True, relu: bool = True, bias: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.bn1 = normalization(channels, batch_norm)
        self.prelu = nn.PReLU(channels, init=0.0) if relu else nn.Identity()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.bn2 = normalization(channels, batch_norm)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))
        return x + out


def _block(batch_norm: bool, relu: bool, bias: bool) -> partial[BasicBlock]:
    shortcut = partial(projection, batch_norm=batch_norm, bias=bias)
    return partial(BasicBlock, shortcut=shortcut, batch_norm=batch_norm, relu=relu, bias=bias)
