"""Networks without skip connections that are small enough to read at a glance: an MLP and the thesis's plain CNN."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from onsphere.models.initialization import he_normal

__all__ = ["mlp", "plain_cnn"]


def mlp(in_features: int, num_classes: int, hidden: Sequence[int] = (256, 256)) -> nn.Sequential:
    """Linear layers with ReLU between them, on flattened input.

    Args:
        in_features: numbers per example, e.g. 64 for an 8 x 8 grey image.
        num_classes: outputs.
        hidden: neurons of the layers ``hidden1``, ``hidden2``, ...; empty gives a linear classifier.

    Raises:
        ValueError: if a size is below 1.

    >>> import torch
    >>> mlp(64, 10, hidden=(32,))(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """
    _positive(in_features=in_features, num_classes=num_classes, hidden=hidden)
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for i, features in enumerate(hidden, start=1):
        layers[f"hidden{i}"] = nn.Linear(in_features, features)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
        in_features = features
    layers["classifier"] = nn.Linear(in_features, num_classes)
    model = nn.Sequential(layers)
    he_normal(model)
    return model


def plain_cnn(
    depth: int = 9,
    *,
    widths: tuple[int, int, int] = (64, 128, 256),
    in_channels: int = 3,
    num_classes: int = 10,
    image_size: int = 32,
    batch_norm: bool = True,
    fc: int | None = None,
) -> nn.Sequential:
    """CNN-6, CNN-9 or CNN-15: three stages of 3 x 3 convolutions with a 2 x 2 max pooling after each, a hidden layer.

    Args:
        depth: number of convolutions, a multiple of 3; 9 is the thesis's default network.
        widths: filters of the convolutions ``conv1_*``, ``conv2_*`` and ``conv3_*``.
        in_channels: channels of the images.
        num_classes: outputs of ``classifier``.
        image_size: height and width of the images in pixels, a multiple of 8.
        batch_norm: a BatchNorm2d between every convolution and its ReLU; without it the convolutions have biases.
        fc: neurons of the hidden linear layer ``fc``; None takes ``widths[2]`` as the thesis does, 0 leaves it out.

    Raises:
        ValueError: if depth is not a multiple of 3, image_size not one of 8, or a size is below 1.

    Source: thesis, Table D.1 (widths 64/128/256, fully connected 256); Table 5.2 varies the widths.

    >>> import torch
    >>> model = plain_cnn(6, widths=(8, 16, 32), in_channels=1, image_size=8)
    >>> model(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    >>> [name for name, _ in model.named_children() if name.startswith("conv")]
    ['conv1_1', 'conv1_2', 'conv2_1', 'conv2_2', 'conv3_1', 'conv3_2']
    """
    _positive(depth=depth, widths=widths, in_channels=in_channels, num_classes=num_classes, image_size=image_size)
    if depth % 3:
        raise ValueError(f"depth={depth}: expected a multiple of 3, since the three stages have equally many layers")
    if image_size % 8:
        raise ValueError(f"image_size={image_size}: expected a multiple of 8, since three poolings halve it")
    if len(widths) != 3:
        raise ValueError(f"widths={widths!r}: expected three numbers, one a stage")
    if fc is not None and fc < 0:
        raise ValueError(f"fc={fc}: expected the number of neurons, 0 for no such layer, or None for widths[2]")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = in_channels
    for stage, width in enumerate(widths, start=1):
        for i in range(1, depth // 3 + 1):
            layers[f"conv{stage}_{i}"] = nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm)
            if batch_norm:
                layers[f"bn{stage}_{i}"] = nn.BatchNorm2d(width)
            layers[f"relu{stage}_{i}"] = nn.ReLU(inplace=True)
            channels = width
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    layers["flatten"] = nn.Flatten()
    features = channels * (image_size // 8) ** 2
    hidden = widths[2] if fc is None else fc
    if hidden:
        layers["fc"] = nn.Linear(features, hidden)
        layers["relu_fc"] = nn.ReLU(inplace=True)
        features = hidden
    layers["classifier"] = nn.Linear(features, num_classes)
    model = nn.Sequential(layers)
    he_normal(model)
    return model


def _positive(**sizes: int | Sequence[int]) -> None:
    for name, value in sizes.items():
        if any(size < 1 for size in ((value,) if isinstance(value, int) else value)):
            raise ValueError(f"{name}={value!r}: expected at least 1")
