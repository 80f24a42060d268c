"""Networks of decoupled operators, h(||w||, ||x||) g(theta): the thesis's SphereNets and DCNets, and their baselines.

Each is the ordinary network of its table, whose layers are then made decoupled ones (``onsphere.convert``). What the
tables leave open is the same in all of them:

- ``classifier``, the last layer, is an ordinary linear one with biases. ``num_classes=None`` leaves it out: the network
  then gives features (N, D), and a head can stand behind it (:class:`Recogniser`).
- Batch normalization follows every convolution; without it the ordinary ones have biases and the decoupled ones, whose
  biases the thesis leaves out (section 3.2.1), still have none.
- Initial weights are He normal with fan_in, as section C.1.1 says and as in the authors' published codes
  (wy1iu/SphereNet, wy1iu/DCNets); for the modified ResNet-18 they are SphereFace's.
- ``magnitude=None`` is the ordinary network, the tables' baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from onsphere.angular import Cosine
from onsphere.layers import convert
from onsphere.layers.decoupled import Activation, Weighting
from onsphere.magnitude import Magnitude
from onsphere.where import named

__all__ = ["decouple", "with_biases"]

SHORTCUTS = "*.shortcut.conv"


def decouple(
    model: nn.Sequential,
    magnitude: Magnitude | None,
    angular: Activation,
    weighting: Weighting | None,
    *,
    ordinary: Sequence[str] = (),
) -> nn.Sequential:
    """Make all layers of a network decoupled ones but ``classifier``, in place, with the weights that they have.

    Args:
        model: an ordinary network.
        magnitude: h, or None to leave the network as it is.
        angular: g.
        weighting: how ||w|| comes in, or None.
        ordinary: shell patterns of the names of more layers that stay as they are.

    Raises:
        ValueError: if there is an angular activation or a weighting, but no magnitude.

    >>> from collections import OrderedDict
    >>> from onsphere.magnitude import Sphere
    >>> model = nn.Sequential(OrderedDict(fc=nn.Linear(3, 4), classifier=nn.Linear(4, 2)))
    >>> [type(layer).__name__ for layer in decouple(model, Sphere(), Cosine(), None)]
    ['DecoupledLinear', 'Linear']
    """
    if magnitude is None:
        if angular != Cosine() or weighting is not None:
            raise ValueError(
                f"magnitude=None, angular={angular}, weighting={weighting!r}: the ordinary network is the inner "
                "product, expected no angular activation and no weighting"
            )
        return model

    wanted = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
        and not any(fnmatchcase(name, pattern) for pattern in ("classifier", *ordinary))
    ]
    convert(model, magnitude=magnitude, angular=angular, weighting=weighting, where=named(*wanted))
    return model


def with_biases(magnitude: Magnitude | None, batch_norm: bool) -> bool:
    """Whether a network's layers have biases: where nothing else shifts an inner product.

    >>> with_biases(None, batch_norm=False), with_biases(None, batch_norm=True)
    (True, False)
    """
    return magnitude is None and not batch_norm
