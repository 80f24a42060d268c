"""The plain networks of the large-margin softmax paper, one a data set, from the images to the features."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from torch import nn

from onsphere.models.initialization import he_normal
from onsphere.models.sizes import height_and_width, positive, scaled

__all__ = ["lsoftmax_cnn"]


@dataclass(frozen=True)
class _Column:
    """One column of Table 2.1; the last two fields are what the images of the data set are.

    Attributes:
        first: filters of Conv0.x, 0 where there is none.
        first_stride: of Conv0.x.
        stages: filters of Conv1.x, Conv2.x, ...
        repeats: convolutions of each of them.
        kernel: height and width of a filter; the padding keeps the size of the feature map.
        features: outputs of FC.
    """

    first: int
    first_stride: int
    stages: tuple[int, ...]
    repeats: int
    kernel: int
    features: int
    in_channels: int
    image_size: int | tuple[int, int]


COLUMNS: dict[str, _Column] = {
    "mnist-2d": _Column(0, 1, (32, 64, 128), 2, 5, 2, 1, 28),
    "mnist": _Column(64, 1, (64, 64, 64), 3, 3, 256, 1, 28),
    "cifar10": _Column(64, 1, (64, 96, 128), 4, 3, 256, 3, 32),
    "cifar100": _Column(96, 1, (96, 192, 384), 4, 3, 512, 3, 32),
    "lfw": _Column(64, 2, (64, 256, 256, 256), 4, 3, 512, 3, (112, 96)),
}
_POOLINGS = 3  # the LFW column has no pooling behind Conv4.x


def lsoftmax_cnn(
    dataset: Literal["mnist-2d", "mnist", "cifar10", "cifar100", "lfw"],
    *,
    features: int | None = None,
    in_channels: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    width: float = 1.0,
) -> nn.Sequential:
    """The five networks of L-Softmax: 3 x 3 convolutions as in VGG, batch normalization, PReLU, three max poolings.

    A network gives features (N, features), not classes: nothing follows ``fc`` (section A.1), and a head such as
    ``onsphere.AngularSoftmax`` comes behind it (:class:`Recogniser` holds both). Layers are called ``conv0``,
    ``conv1_1``, ..., ``conv3_4`` and ``fc``.

    Every convolution is followed by batch normalization and a PReLU with one slope a channel, and has no bias, which
    the normalization would take away. The 2 x 2 poolings round up (28, 14, 7, 4), as those of Caffe do, with which the
    thesis's networks were made. Initial weights are He normal with fan_in, as in the authors' published code
    (wy1iu/LargeMargin_Softmax_Loss, "msra"). That code has more filters (64/128/256) than Table 2.1, and ReLUs; here
    the table counts.

    Args:
        dataset: a column of Table 2.1. "mnist-2d" is the one for Figure 2.2, with two features to be plotted and 5 x 5
            convolutions.
        features: outputs of ``fc``; None takes the table's 2/256/256/512/512.
        in_channels: channels of the images; None takes 1 for MNIST and 3 for the others.
        image_size: height and width of the images in pixels, or one number for both; None takes 28 for MNIST, 32 for
            CIFAR, and for LFW, whose size the thesis does not give here, the (112, 96) of SphereFace.
        width: factor on the filters of all convolutions; not on the features.

    Raises:
        ValueError: if the data set is none of the five, a size is below 1 or the width not above 0.

    Source: thesis, Table 2.1 and section 2.2.7 (Liu et al. 2016, *Large-Margin Softmax Loss*).

    >>> sum(p.numel() for p in lsoftmax_cnn("mnist").parameters())
    596672
    >>> import torch
    >>> lsoftmax_cnn("mnist-2d", width=0.25)(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 2])
    """
    if dataset not in COLUMNS:
        raise ValueError(f"dataset={dataset!r}: expected one of {', '.join(map(repr, COLUMNS))}")
    column = COLUMNS[dataset]
    features = column.features if features is None else features
    in_channels = column.in_channels if in_channels is None else in_channels
    positive(features=features, in_channels=in_channels)
    height, wide = height_and_width(column.image_size if image_size is None else image_size)

    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = in_channels
    if column.first:
        (first,) = scaled((column.first,), width)
        layers |= _convolution("0", channels, first, column.kernel, column.first_stride)
        channels = first
        height, wide = (-(-side // column.first_stride) for side in (height, wide))
    for stage, filters in enumerate(scaled(column.stages, width), start=1):
        for i in range(1, column.repeats + 1):
            layers |= _convolution(f"{stage}_{i}", channels, filters, column.kernel)
            channels = filters
        if stage <= _POOLINGS:
            layers[f"pool{stage}"] = nn.MaxPool2d(2, ceil_mode=True)
            height, wide = -(-height // 2), -(-wide // 2)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels * height * wide, features)
    model = nn.Sequential(layers)
    he_normal(model)
    return model


def _convolution(name: str, channels: int, filters: int, kernel: int, stride: int = 1) -> OrderedDict[str, nn.Module]:
    convolution = nn.Conv2d(channels, filters, kernel, stride=stride, padding=kernel // 2, bias=False)
    return OrderedDict(
        {f"conv{name}": convolution, f"bn{name}": nn.BatchNorm2d(filters), f"prelu{name}": nn.PReLU(filters)}
    )
