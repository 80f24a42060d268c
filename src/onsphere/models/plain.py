"""Networks without skip connections that are small enough to read at a glance: an MLP and the thesis's plain CNNs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from onsphere.models.initialization import he_normal
from onsphere.models.residual import stem
from onsphere.models.sizes import positive, scaled

__all__ = ["hidden_neurons", "mlp", "plain_cnn", "plain_cnn10", "pooled_side", "three_stages", "with_hidden_layer"]


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
    positive(in_features=in_features, num_classes=num_classes, hidden=hidden)
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
    relu: bool = True,
    fc: int | None = None,
    fc_relu: bool = True,
    fc_batch_norm: bool = False,
) -> nn.Sequential:
    """The thesis's CNN-3 to CNN-69: three stages of 3 x 3 convolutions, 2 x 2 max poolings, a hidden layer.

    The networks of the thesis's tables, for 32 x 32 colour images:

    - Tables D.1 and E.1 (chapters 5 and 6, MHE): depth 6, 9 or 15, the default widths
    - Table B.1 (chapter 3, SphereNet): depth 3, 9, 18, 45, 60 or 69, ``widths=(64, 96, 128), fc=256``
    - Table E.3 (Figure 6.1): depth 3 or 9, ``widths=(32, 64, 64)``
    - Table F.1 (chapter 7, OPT): depth 6 or 9, ``widths=(64, 64, 64)``

    Args:
        depth: number of convolutions, a multiple of 3; 9 is the thesis's default network.
        widths: filters of the convolutions ``conv1_*``, ``conv2_*`` and ``conv3_*``.
        in_channels: channels of the images.
        num_classes: outputs of ``classifier``.
        image_size: height and width of the images in pixels, at least 8; each pooling halves it, rounding down.
        batch_norm: a BatchNorm2d between every convolution and its ReLU; without it the convolutions have biases.
        relu: ReLUs at all.
        fc: neurons of the hidden linear layer ``fc``; None takes ``widths[2]``, 0 leaves the layer out.
        fc_relu: a ReLU behind ``fc``, too. Without it the features are linear, as in the authors' published code
            (wy1iu/MHE); features to be plotted, such as the two (``fc=2``) of Figure 5.4, need that.
        fc_batch_norm: a BatchNorm1d behind ``fc``, which then has no biases.

    Raises:
        ValueError: if depth is not a multiple of 3, a size is too small, or fc_relu is off or fc_batch_norm on where
            there is no fc.

    Source: thesis, the tables above; Table 5.2 varies the widths of Table D.1's CNN-9.

    >>> import torch
    >>> model = plain_cnn(6, widths=(8, 16, 32), in_channels=1, image_size=28)
    >>> model(torch.zeros(5, 1, 28, 28)).shape
    torch.Size([5, 10])
    >>> [name for name, _ in model.named_children() if name.startswith("conv")]
    ['conv1_1', 'conv1_2', 'conv2_1', 'conv2_2', 'conv3_1', 'conv3_2']
    """
    positive(in_channels=in_channels, num_classes=num_classes)
    if fc == 0 and (not fc_relu or fc_batch_norm):
        raise ValueError(
            f"fc_relu={fc_relu}, fc_batch_norm={fc_batch_norm}, fc=0: there is no hidden layer that could have them"
        )
    layers = three_stages(depth, widths, in_channels, batch_norm=batch_norm, relu=relu, bias=not batch_norm)
    features = widths[2] * pooled_side(image_size) ** 2
    hidden = hidden_neurons(fc, widths)
    return with_hidden_layer(
        layers, features, hidden, num_classes, batch_norm=fc_batch_norm, relu=relu and fc_relu, bias=not fc_batch_norm
    )


def plain_cnn10(
    num_classes: int = 1000, in_channels: int = 3, *, width: float = 1.0, image_size: int = 224, batch_norm: bool = True
) -> nn.Sequential:
    """The thesis's CNN-10 for ImageNet: a 7 x 7 convolution and a pooling in front of CNN-9; 5.4 million parameters.

    The first convolution and its 3 x 3 max pooling have stride 2 and are called ``conv0`` and ``pool0``; the other
    layers are those of :func:`plain_cnn` with 64/128/256 filters and a hidden layer of 256 neurons.

    Args:
        num_classes: outputs of ``classifier``.
        in_channels: channels of the images.
        width: factor on the filters and on the neurons of the hidden layer.
        image_size: height and width of the images in pixels, at least 29.
        batch_norm: a BatchNorm2d between every convolution and its ReLU; without it the convolutions have biases.

    Raises:
        ValueError: if a size is too small or the width not above 0.

    Source: thesis, Table F.1, last column.

    >>> sum(p.numel() for p in plain_cnn10().parameters())
    5434536
    """
    positive(in_channels=in_channels, num_classes=num_classes)
    if image_size < 29:
        raise ValueError(f"image_size={image_size}: expected at least 29, since five layers halve it")
    filters = scaled((64, 128, 256), width)
    layers = stem(in_channels, filters[0], kernel_size=7, stride=2, batch_norm=batch_norm, bias=not batch_norm)
    layers["pool0"] = nn.MaxPool2d(3, stride=2, padding=1)
    layers |= three_stages(9, filters, filters[0], batch_norm=batch_norm, bias=not batch_norm)
    features = filters[2] * pooled_side((image_size + 3) // 4) ** 2  # the two strides round up
    return with_hidden_layer(layers, features, filters[2], num_classes)


def three_stages(
    depth: int,
    widths: Sequence[int],
    channels: int,
    *,
    batch_norm: bool = True,
    relu: bool = True,
    bias: bool = False,
) -> OrderedDict[str, nn.Module]:
    """Three stages of depth / 3 convolutions, each with batch normalization and ReLU; a max pooling after each stage.

    Args:
        depth: number of convolutions, a multiple of 3.
        widths: filters of the three stages.
        channels: of the input.
        batch_norm: whether there is batch normalization.
        relu: whether there are ReLUs.
        bias: whether the convolutions have biases.

    Raises:
        ValueError: if depth is not a multiple of 3, there are not three widths, or a size is below 1.

    >>> [name for name in three_stages(3, (4, 4, 4), 1, batch_norm=False) if name.endswith("1")]
    ['conv1_1', 'relu1_1', 'pool1', 'conv2_1', 'relu2_1', 'conv3_1', 'relu3_1']
    """
    positive(depth=depth, widths=widths)
    if depth % 3:
        raise ValueError(f"depth={depth}: expected a multiple of 3, since the three stages have equally many layers")
    if len(widths) != 3:
        raise ValueError(f"widths={widths!r}: expected three numbers, one a stage")
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for stage, filters in enumerate(widths, start=1):
        for i in range(1, depth // 3 + 1):
            layers[f"conv{stage}_{i}"] = nn.Conv2d(channels, filters, 3, padding=1, bias=bias)
            if batch_norm:
                layers[f"bn{stage}_{i}"] = nn.BatchNorm2d(filters)
            if relu:
                layers[f"relu{stage}_{i}"] = nn.ReLU(inplace=True)
            channels = filters
        layers[f"pool{stage}"] = nn.MaxPool2d(2)
    return layers


def pooled_side(image_size: int) -> int:
    """Height and width that the three poolings leave of an image; each rounds down.

    Raises:
        ValueError: if nothing is left.

    >>> pooled_side(28)
    3
    """
    if image_size < 8:
        raise ValueError(f"image_size={image_size}: expected at least 8, since three poolings halve it")
    return image_size // 8


def hidden_neurons(fc: int | None, widths: Sequence[int]) -> int:
    """Neurons of the hidden layer: ``fc``, or as many as the last stage has filters where that is None.

    Raises:
        ValueError: if ``fc`` is below 0.

    >>> hidden_neurons(None, (64, 128, 256)), hidden_neurons(2, (64, 128, 256))
    (256, 2)
    """
    if fc is not None and fc < 0:
        raise ValueError(f"fc={fc}: expected the number of neurons, 0 for no such layer, or None for widths[2]")
    return widths[2] if fc is None else fc


def with_hidden_layer(
    layers: OrderedDict[str, nn.Module],
    features: int,
    hidden: int,
    num_classes: int | None,
    *,
    batch_norm: bool = False,
    relu: bool = True,
    bias: bool = True,
) -> nn.Sequential:
    """Put ``flatten``, the hidden layer ``fc`` and ``classifier`` behind the layers, and draw all weights.

    Args:
        layers: the network up to its last feature map; left as it is.
        features: numbers in that map.
        hidden: neurons of ``fc``; 0 leaves the layer out.
        num_classes: outputs of ``classifier``; None leaves it out, so that the network gives features.
        batch_norm: whether ``bn_fc`` follows ``fc``.
        relu: whether ``relu_fc`` follows them.
        bias: whether ``fc`` has biases.

    >>> list(dict(with_hidden_layer(OrderedDict(), 8, 4, 10).named_children()))
    ['flatten', 'fc', 'relu_fc', 'classifier']
    """
    layers = OrderedDict(layers, flatten=nn.Flatten())
    if hidden:
        layers["fc"] = nn.Linear(features, hidden, bias)
        if batch_norm:
            layers["bn_fc"] = nn.BatchNorm1d(hidden)
        if relu:
            layers["relu_fc"] = nn.ReLU(inplace=True)
    if num_classes is not None:
        layers["classifier"] = nn.Linear(hidden or features, num_classes)
    model = nn.Sequential(layers)
    he_normal(model)
    return model
