"""Plain networks of decoupled operators: CNN-3 to CNN-69, CNN-9 and the small one for MNIST."""

from __future__ import annotations

from torch import nn

from onsphere.angular import Cosine
from onsphere.layers.decoupled import Activation, Weighting
from onsphere.magnitude import Magnitude, Sphere
from onsphere.models.decoupled import decouple, with_biases
from onsphere.models.initialization import he_normal
from onsphere.models.plain import hidden_neurons, pooled_side, three_stages, with_hidden_layer
from onsphere.models.sizes import positive

__all__ = ["decoupled_cnn", "decoupled_mnist_cnn"]


def decoupled_cnn(
    depth: int = 9,
    *,
    magnitude: Magnitude | None = Sphere(),
    angular: Activation = Cosine(),
    weighting: Weighting | None = None,
    widths: tuple[int, int, int] = (64, 128, 256),
    fc: int | None = 512,
    batch_norm: bool = True,
    relu: bool = True,
    in_channels: int = 3,
    num_classes: int | None = 10,
    image_size: int = 32,
) -> nn.Sequential:
    r"""The thesis's plain SphereNets and DCNets: :func:`plain_cnn` with another operator in place of inner products.

    .. math:: \langle w, x \rangle \;\to\; h(\|w\|, \|x\|) \, g(\theta_{(w, x)})

    The networks of the tables, for 32 x 32 colour images:

    - Table C.1, plain CNN-9: the defaults
    - Table C.1, CNN-9 for adversarial attacks: ``widths=(32, 64, 128), fc=256, batch_norm=False``
    - Table B.1: depth 3, 9, 18, 45, 60 or 69, ``widths=(64, 96, 128), fc=256``
    - Table D.1 (section D.5): ``fc=256``

    The hidden layer ``fc`` is decoupled, too, with batch normalization and without a ReLU, as in the authors' published
    code (wy1iu/SphereNet, spherenet.py, and baseline_cnn.py for the ordinary network). ``magnitude=None`` is therefore
    ``plain_cnn(fc_relu=False, fc_batch_norm=batch_norm)``. Without classifier the features are what follows ``fc``.

    Args:
        depth: number of convolutions, a multiple of 3.
        magnitude: h, such as ``onsphere.magnitude.Tanh()``; default SphereConv. None is the ordinary network.
        angular: g, such as ``onsphere.angular.SquareCosine()``.
        weighting: how ||w|| comes in (eq. 4.15 and 4.16); None leaves it out.
        widths: filters of ``conv1_*``, ``conv2_*`` and ``conv3_*``.
        fc: neurons of the hidden layer; None takes ``widths[2]``, 0 leaves the layer out.
        batch_norm: batch normalization behind all layers but the classifier; without it ordinary ones have biases.
        relu: ReLU behind every convolution; Tables 3.3 and 4.3 have networks without.
        in_channels: channels of the images.
        num_classes: outputs of ``classifier``; None leaves it out.
        image_size: height and width of the images in pixels, at least 8; each pooling halves it, rounding down.

    Raises:
        ValueError: if depth is not a multiple of 3, a size is too small, or an angular activation or a weighting is
            given to the ordinary network.

    Source: thesis, Tables B.1 and C.1.

    >>> import torch
    >>> import onsphere as osp
    >>> operator = dict(magnitude=osp.magnitude.Tanh(), angular=osp.angular.SquareCosine())
    >>> model = decoupled_cnn(3, **operator, widths=(8, 16, 32), fc=16, image_size=8)
    >>> model(torch.zeros(5, 3, 8, 8)).shape
    torch.Size([5, 10])
    """
    positive(in_channels=in_channels, num_classes=num_classes)
    biases = with_biases(magnitude, batch_norm)
    layers = three_stages(depth, widths, in_channels, batch_norm=batch_norm, relu=relu, bias=biases)
    features = widths[2] * pooled_side(image_size) ** 2
    hidden = hidden_neurons(fc, widths)
    model = with_hidden_layer(layers, features, hidden, num_classes, batch_norm=batch_norm, relu=False, bias=biases)
    return decouple(model, magnitude, angular, weighting)


def decoupled_mnist_cnn(
    *,
    magnitude: Magnitude | None = Sphere(),
    angular: Activation = Cosine(),
    features: int = 2,
    decoupled_features: bool = True,
    widths: tuple[int, int, int] = (32, 64, 128),
    batch_norm: bool = True,
    in_channels: int = 1,
    num_classes: int | None = 10,
) -> nn.Sequential:
    """The six convolutions and three linear layers whose features the thesis plots: 256, 2 and 10 neurons.

    Layers are called ``conv1_1``, ..., ``conv3_2``, ``fc1``, ``fc2`` and ``classifier``. The thesis does not say where
    the map is made smaller; here a 2 x 2 max pooling ends each of the three stages, as in its other plain networks, and
    images are 28 x 28. ``fc1`` has batch normalization and ReLU behind it, ``fc2``, which gives the features, nothing.
    Nor does it say whether ``fc2`` is decoupled, as ``fc1`` is. If it is, features of bounded operators are bounded,
    and training takes long: the classifier's weights have to grow until features of at most 1 tell ten classes apart.

    Args:
        magnitude: h; default SphereConv. None is the ordinary network.
        angular: g.
        features: neurons of ``fc2``: 2 in the figures.
        decoupled_features: make ``fc2`` decoupled, too; False leaves it an ordinary layer with unbounded features.
        widths: filters of the three stages, two convolutions each.
        batch_norm: batch normalization behind convolutions and ``fc1``; without it the ordinary ones have biases.
        in_channels: channels of the images.
        num_classes: outputs of ``classifier``; None leaves it out.

    Raises:
        ValueError: if a size is below 1 or an angular activation is given to the ordinary network.

    Source: thesis, section C.4, Figures C.2 and C.3.

    >>> import torch
    >>> model = decoupled_mnist_cnn(widths=(4, 4, 4), num_classes=None)
    >>> features = model(torch.rand(5, 1, 28, 28))
    >>> features.shape, bool((features.abs() <= 1).all())
    (torch.Size([5, 2]), True)
    """
    positive(features=features, in_channels=in_channels, num_classes=num_classes)
    biases = with_biases(magnitude, batch_norm)
    layers = three_stages(6, widths, in_channels, batch_norm=batch_norm, bias=biases)
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Linear(widths[2] * pooled_side(28) ** 2, 256, biases)
    if batch_norm:
        layers["bn_fc1"] = nn.BatchNorm1d(256)
    layers["relu_fc1"] = nn.ReLU(inplace=True)
    layers["fc2"] = nn.Linear(256, features, biases)
    if num_classes is not None:
        layers["classifier"] = nn.Linear(features, num_classes)
    model = nn.Sequential(layers)
    he_normal(model)
    return decouple(model, magnitude, angular, None, ordinary=() if decoupled_features else ("fc2",))
