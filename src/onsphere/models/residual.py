"""Residual blocks, their shortcuts, and the stages made of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BasicBlock", "Bottleneck", "ZeroPadding", "normalization", "projection", "stages", "stem"]


def stem(
    in_channels: int,
    filters: int,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    batch_norm: bool = True,
    relu: bool = True,
    bias: bool = False,
) -> OrderedDict[str, nn.Module]:
    """The convolution ``conv0`` in front of the stages, with batch normalization and ReLU.

    Args:
        in_channels: channels of the images.
        filters: of the convolution.
        kernel_size: height and width of a filter, odd; the padding keeps height and width at stride 1.
        stride: step between the patches.
        batch_norm: whether there is ``bn0``.
        relu: whether there is ``relu0``.
        bias: whether the convolution has biases.

    >>> list(stem(3, 16))
    ['conv0', 'bn0', 'relu0']
    """
    convolution = nn.Conv2d(in_channels, filters, kernel_size, stride=stride, padding=kernel_size // 2, bias=bias)
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv0=convolution)
    if batch_norm:
        layers["bn0"] = nn.BatchNorm2d(filters)
    if relu:
        layers["relu0"] = nn.ReLU(inplace=True)
    return layers


def normalization(filters: int, batch_norm: bool) -> nn.Module:
    """Batch normalization, or what stands for it where there is none.

    >>> normalization(4, False)
    Identity()
    """
    return nn.BatchNorm2d(filters) if batch_norm else nn.Identity()


class ZeroPadding(nn.Module):
    """The shortcut without parameters: every stride-th pixel, filled up with zero channels (He et al., option A).

    Args:
        channels: of the input.
        filters: channels of the output, not fewer.
        stride: step between the pixels that are kept.

    >>> import torch
    >>> ZeroPadding(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 8, 3, 3])
    """

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.before, self.after = (filters - channels) // 2, (filters - channels + 1) // 2
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))


def projection(
    channels: int, filters: int, stride: int, *, batch_norm: bool = True, bias: bool = False
) -> nn.Sequential:
    """The shortcut with parameters: a 1 x 1 convolution and batch normalization (He et al., option B).

    Args:
        channels: of the input.
        filters: channels of the output.
        stride: step between the pixels that are read.
        batch_norm: batch normalization behind the convolution.
        bias: whether the convolution has biases.

    >>> import torch
    >>> projection(4, 8, 2)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 8, 3, 3])
    """
    convolution = nn.Conv2d(channels, filters, 1, stride=stride, bias=bias)
    return nn.Sequential(OrderedDict(conv=convolution, bn=normalization(filters, batch_norm)))


Shortcut = Callable[[int, int, int], nn.Module]


def _shortcut(channels: int, filters: int, stride: int, changing: Shortcut) -> nn.Module:
    return nn.Identity() if stride == 1 and channels == filters else changing(channels, filters, stride)


class BasicBlock(nn.Module):
    """relu(shortcut(x) + bn2(conv2(relu(bn1(conv1(x)))))) with two 3 x 3 convolutions.

    Args:
        channels: of the input.
        filters: of both convolutions.
        stride: of the first convolution.
        shortcut: what stands for the identity where stride or channels change: ``ZeroPadding`` or ``projection``.
        batch_norm: batch normalization behind the two convolutions.
        relu: the two activations, also the one after the sum.
        bias: whether the two convolutions have biases.

    Source: He et al. 2016, *Deep Residual Learning for Image Recognition*, Figure 5 left.

    >>> import torch
    >>> BasicBlock(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 8, 3, 3])
    """

    def __init__(
        self,
        channels: int,
        filters: int,
        stride: int = 1,
        shortcut: Shortcut = ZeroPadding,
        *,
        batch_norm: bool = True,
        relu: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=bias)
        self.bn1 = normalization(filters, batch_norm)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=bias)
        self.bn2 = normalization(filters, batch_norm)
        self.shortcut = _shortcut(channels, filters, stride, shortcut)
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        out = self._activation(self.bn1(self.conv1(x)))
        return self._activation(self.bn2(self.conv2(out)) + self.shortcut(x))

    def _activation(self, x: Tensor) -> Tensor:
        return F.relu(x, inplace=True) if self.relu else x


class Bottleneck(nn.Module):
    """relu(shortcut(x) + bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))): 1 x 1, 3 x 3 and 1 x 1 convolutions.

    Args:
        channels: of the input.
        filters: of the output, a multiple of 4; the two inner convolutions have a quarter of it.
        stride: of the 3 x 3 convolution, where the published codes have it (fb.resnet.torch, torchvision); the paper
            has it in the first one. Parameters are the same.

    Source: He et al. 2016, Figure 5 right; shortcuts that change the size are projections.

    >>> import torch
    >>> Bottleneck(4, 8, stride=2)(torch.zeros(1, 4, 6, 6)).shape
    torch.Size([1, 8, 3, 3])
    """

    def __init__(self, channels: int, filters: int, stride: int = 1) -> None:
        super().__init__()
        inner = filters // 4
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, filters, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(filters)
        self.shortcut = _shortcut(channels, filters, stride, projection)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        return F.relu(self.bn3(self.conv3(out)) + self.shortcut(x), inplace=True)


def stages(
    block: Callable[[int, int, int], nn.Module], channels: int, filters: Sequence[int], blocks: Sequence[int]
) -> OrderedDict[str, nn.Module]:
    """Stages ``stage1``, ``stage2``, ... of blocks; every stage but the first halves height and width.

    Args:
        block: makes a block from channels, filters and stride.
        channels: of the input of the first stage.
        filters: of the output, for every stage.
        blocks: how many, for every stage.

    >>> [name for name in stages(BasicBlock, 4, (4, 8), (1, 2))]
    ['stage1', 'stage2']
    """
    made: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, (count, repeats) in enumerate(zip(filters, blocks, strict=True), start=1):
        first = block(channels, count, 1 if stage == 1 else 2)
        made[f"stage{stage}"] = nn.Sequential(first, *(block(count, count, 1) for _ in range(repeats - 1)))
        channels = count
    return made
