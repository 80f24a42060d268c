"""Angular activations: functions g of the angle that fall from 1 at 0 to -1 at pi.

Each is a small frozen dataclass with two forms of the same function, of the angle and of its cosine. An activation of
your own is any object with the two; decoupled layers take a plain function of the angle as well. ``value_and_slope`` is
the second form and its derivative in one, without a graph: with it a layer is faster and keeps less for backward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

__all__ = ["ANGULAR", "Angular", "Cosine", "Linear", "Shared", "Sigmoid", "SquareCosine", "of_cosine"]

Shared = Literal["filter", "layer", "network"]


class Angular(Protocol):
    """What stands for g: a function of angles in radians, and the same function of their cosines."""

    def __call__(self, theta: Tensor) -> Tensor: ...

    def of_cosine(self, cosine: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Cosine:
    r"""The cosine itself.

    .. math:: g(\theta) = \cos\theta

    A call takes angles (any shape, radians), ``of_cosine`` their cosines.

    Source: thesis, eq. 3.3.

    >>> Cosine()(torch.tensor([0.0, math.pi])).tolist()
    [1.0, -1.0]
    """

    def __call__(self, theta: Tensor) -> Tensor:
        return theta.cos()

    def of_cosine(self, cosine: Tensor) -> Tensor:
        return cosine

    def value_and_slope(self, cosine: Tensor) -> tuple[Tensor, Tensor]:
        return cosine, torch.ones_like(cosine)


@dataclass(frozen=True)
class Linear:
    r"""A straight line in the angle.

    .. math:: g(\theta) = 1 - \frac{2}{\pi}\theta = \frac{2}{\pi}\arcsin(\cos\theta)

    A call takes angles (any shape, radians), ``of_cosine`` their cosines. The slope in the cosine, infinite at 1 and
    -1, counts as 0 there.

    Source: thesis, eq. 3.2 with a = -2/pi and b = 1.

    >>> Linear()(torch.tensor([0.0, math.pi / 2, math.pi])).tolist()
    [1.0, 0.0, -1.0]
    """

    def __call__(self, theta: Tensor) -> Tensor:
        return 1 - (2 / math.pi) * theta

    def of_cosine(self, cosine: Tensor) -> Tensor:
        return (2 / math.pi) * _arcsine(cosine)

    def value_and_slope(self, cosine: Tensor) -> tuple[Tensor, Tensor]:
        arcsine, slope = _arcsine_and_slope(cosine)
        return arcsine.mul_(2 / math.pi), slope.mul_(2 / math.pi)


@dataclass(frozen=True)
class Sigmoid:
    r"""A sigmoid in the angle: nearly a step for small k, nearly a straight line for large k.

    .. math:: g(\theta) = \frac{1 + e^{-\pi/2k}}{1 - e^{-\pi/2k}} \cdot
        \frac{1 - e^{\theta/k - \pi/2k}}{1 + e^{\theta/k - \pi/2k}}
        = \coth\frac{\pi}{4k} \, \tanh\frac{\pi/2 - \theta}{2k}

    A call takes angles (any shape, radians), ``of_cosine`` their cosines. The second form cannot overflow.

    Args:
        k: curvature, above 0; default 0.3, the thesis's choice (sections 3.4.2 and B.2).
        learnable: a layer learns k, starting from this one (section 3.2.5, learnable SphereConv; there it starts at
            0.5). A loss function cannot.
        shared: what has a k of its own where it is learned: each ``filter`` (section 3.4.3), each ``layer``, or the
            ``network``, all layers that one call of ``onsphere.convert`` makes.

    Raises:
        ValueError: if k is not above 0 or shared none of the three.

    Source: thesis, eq. 3.4.

    >>> Sigmoid(0.3)(torch.tensor([0.0, math.pi])).tolist()
    [1.0, -1.0]
    """

    k: float = 0.3
    learnable: bool = False
    shared: Shared = "filter"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.k) and self.k > 0):
            raise ValueError(f"k={self.k!r}: expected a finite number above 0")
        if self.shared not in ("filter", "layer", "network"):
            raise ValueError(f"shared={self.shared!r}: expected 'filter', 'layer' or 'network'")

    def __call__(self, theta: Tensor, k: Tensor | None = None) -> Tensor:
        return self._of_complement(math.pi / 2 - theta, k)

    def of_cosine(self, cosine: Tensor, k: Tensor | None = None) -> Tensor:
        return self._of_complement(_arcsine(cosine), k)

    def value_and_slope(self, cosine: Tensor) -> tuple[Tensor, Tensor]:
        arcsine, slope = _arcsine_and_slope(cosine)
        end = math.tanh(math.pi / (4 * self.k))  # what tanh comes to at an angle of zero
        # tanh(x / 2) = 2 sigmoid(x) - 1, which is several times faster; the slope is 2 sigmoid(x) sigmoid(-x).
        sigmoid = arcsine.div_(self.k).sigmoid_()
        slope.mul_(sigmoid).mul_(1 - sigmoid).mul_(2 / (self.k * end))
        return sigmoid.mul_(2 / end).sub_(1 / end), slope

    def value_and_slopes(self, cosine: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The value and its derivatives by the cosine and by k, which is learned."""
        arcsine, slope = _arcsine_and_slope(cosine)
        end = torch.tanh(math.pi / (4 * k))
        tanh = (arcsine / k).sigmoid_().mul_(2).sub_(1)
        along = torch.addcmul(torch.ones_like(k), tanh, tanh, value=-1) / (2 * k * end)
        by_k = torch.addcmul(along * arcsine / -k, tanh, (1 - end**2) * math.pi / (2 * k * end) ** 2)
        return tanh.div_(end), slope.mul_(along), by_k

    def _of_complement(self, complement: Tensor, k: Tensor | None) -> Tensor:
        if k is None:
            return torch.tanh(complement / (2 * self.k)) / math.tanh(math.pi / (4 * self.k))
        return torch.tanh(complement / (2 * k)) / torch.tanh(math.pi / (4 * k))


@dataclass(frozen=True)
class SquareCosine:
    r"""The square of the cosine with the cosine's sign: flat near the right angle.

    .. math:: g(\theta) = \text{sign}(\cos\theta) \, \cos^2\theta

    A call takes angles (any shape, radians), ``of_cosine`` their cosines.

    Source: thesis, eq. 4.14.

    >>> SquareCosine().of_cosine(torch.tensor([0.5, -1.0])).tolist()
    [0.25, -1.0]
    """

    def __call__(self, theta: Tensor) -> Tensor:
        return self.of_cosine(theta.cos())

    def of_cosine(self, cosine: Tensor) -> Tensor:
        return cosine * cosine.abs()

    def value_and_slope(self, cosine: Tensor) -> tuple[Tensor, Tensor]:
        size = cosine.abs()
        return cosine * size, size.mul_(2)


ANGULAR: Mapping[str, type[Cosine] | type[Linear] | type[Sigmoid] | type[SquareCosine]] = {
    "cosine": Cosine,
    "linear": Linear,
    "sigmoid": Sigmoid,
    "square-cosine": SquareCosine,
}


def of_cosine(activation: Angular | Callable[[Tensor], Tensor], cosine: Tensor) -> Tensor:
    r"""What an activation makes of cosines, also one that is a plain function of the angle.

    .. math:: g(\theta), \qquad \theta = \pi/2 - \arcsin(\cos\theta)

    Args:
        activation: an activation of this module, an object with the same two forms, or a function of angles in radians.
        cosine: of the angles, any shape.

    >>> of_cosine(torch.cos, torch.tensor([0.0, 1.0])).round(decimals=4).abs().tolist()
    [0.0, 1.0]
    """
    function = getattr(activation, "of_cosine", None)
    value: Tensor = activation(math.pi / 2 - _arcsine(cosine)) if function is None else function(cosine)
    return value


def _arcsine(cosine: Tensor) -> Tensor:
    """asin that bears rounding beyond 1 and has a finite gradient everywhere."""
    tiny = torch.finfo(cosine.dtype).tiny
    return torch.atan2(cosine, ((1 - cosine) * (1 + cosine)).clamp_min(tiny).sqrt())


def _arcsine_and_slope(cosine: Tensor) -> tuple[Tensor, Tensor]:
    slope = torch.addcmul(torch.ones((), dtype=cosine.dtype, device=cosine.device), cosine, cosine, value=-1)
    saturated = slope <= 0
    return cosine.clamp(-1, 1).asin_(), slope.rsqrt_().masked_fill_(saturated, 0)
