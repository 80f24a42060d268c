"""Angular activations: functions g of the angle that fall from 1 at 0 to -1 at pi.

Each is a small frozen dataclass with two forms of the same function, of the angle and of its cosine. An activation of
your own is any object with the two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["ANGULAR", "Angular", "Cosine", "Linear", "Sigmoid"]


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


@dataclass(frozen=True)
class Sigmoid:
    r"""A sigmoid in the angle: nearly a step for small k, nearly a straight line for large k.

    .. math:: g(\theta) = \frac{1 + e^{-\pi/2k}}{1 - e^{-\pi/2k}} \cdot
        \frac{1 - e^{\theta/k - \pi/2k}}{1 + e^{\theta/k - \pi/2k}}
        = \coth\frac{\pi}{4k} \, \tanh\frac{\pi/2 - \theta}{2k}

    A call takes angles (any shape, radians), ``of_cosine`` their cosines. The second form cannot overflow.

    Args:
        k: curvature, above 0; default 0.3, the thesis's choice (sections 3.4.2 and B.2).

    Raises:
        ValueError: if k is not above 0.

    Source: thesis, eq. 3.4.

    >>> Sigmoid(0.3)(torch.tensor([0.0, math.pi])).tolist()
    [1.0, -1.0]
    """

    k: float = 0.3

    def __post_init__(self) -> None:
        if not (math.isfinite(self.k) and self.k > 0):
            raise ValueError(f"k={self.k!r}: expected a finite number above 0")

    def __call__(self, theta: Tensor) -> Tensor:
        return self._of_complement(math.pi / 2 - theta)

    def of_cosine(self, cosine: Tensor) -> Tensor:
        return self._of_complement(_arcsine(cosine))

    def _of_complement(self, complement: Tensor) -> Tensor:
        return torch.tanh(complement / (2 * self.k)) / math.tanh(math.pi / (4 * self.k))


ANGULAR: Mapping[str, type[Cosine] | type[Linear] | type[Sigmoid]] = {
    "cosine": Cosine,
    "linear": Linear,
    "sigmoid": Sigmoid,
}


def _arcsine(cosine: Tensor) -> Tensor:
    """asin that bears rounding beyond 1 and has a finite gradient everywhere."""
    tiny = torch.finfo(cosine.dtype).tiny
    return torch.atan2(cosine, ((1 - cosine) * (1 + cosine)).clamp_min(tiny).sqrt())
