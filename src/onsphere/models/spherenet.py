"""SphereNet: a network that sees angles only, since each of its layers but the last gives cosines."""

from __future__ import annotations

from torch import nn

from onsphere.models.decoupled_cnn import decoupled_cnn

__all__ = ["spherenet_cnn"]


def spherenet_cnn(
    depth: int = 9,
    *,
    widths: tuple[int, int, int] = (64, 128, 256),
    in_channels: int = 3,
    num_classes: int = 10,
    image_size: int = 32,
    batch_norm: bool = True,
    fc: int | None = None,
) -> nn.Sequential:
    """The thesis's plain SphereNet: the layers of ``plain_cnn`` with cosine SphereConv in place of convolutions.

    Batch normalization and ReLU follow every SphereConv (section 3.4.1); ``batch_norm=False`` is the network of section
    3.4.4, in which SphereConv is the only normalization. The hidden layer is a cosine layer too (section 3.2.4,
    extension to fully connected layers), with batch normalization and without a ReLU, as in the authors' published
    code (wy1iu/SphereNet, spherenet.py). The last layer is an ordinary linear one with biases, for the ordinary softmax
    loss. Weight decay has no effect on SphereConv; the thesis takes orthogonality or MHE instead.

    Args:
        depth: number of SphereConvs, a multiple of 3.
        widths: filters of ``conv1_*``, ``conv2_*`` and ``conv3_*``: 64/128/256 in section D.5 (Table D.1), 64/96/128
            with ``fc=256`` in chapter 3 (Table B.1).
        in_channels: channels of the images.
        num_classes: outputs of ``classifier``.
        image_size: height and width of the images in pixels, at least 8; each pooling halves it, rounding down.
        batch_norm: batch normalization behind every cosine layer.
        fc: neurons of the hidden layer ``fc``; None takes ``widths[2]``, 0 leaves the layer out.

    Raises:
        ValueError: if depth is not a multiple of 3 or a size is too small.

    Source: thesis, chapter 3, Table B.1 and section D.5.

    >>> import torch
    >>> spherenet_cnn(3, widths=(8, 16, 32), image_size=8)(torch.zeros(5, 3, 8, 8)).shape
    torch.Size([5, 10])
    """
    return decoupled_cnn(
        depth,
        widths=widths,
        fc=fc,
        batch_norm=batch_norm,
        in_channels=in_channels,
        num_classes=num_classes,
        image_size=image_size,
    )
