"""Magnitude functions: how long a patch is, h(||x||), beside what direction it has.

Each is a small frozen dataclass that is called with norms. Those with an operator radius, where their slope changes,
have a field ``radius`` and take the radius as a second argument; a layer learns it. A function of your own is any
callable that takes norms; with an attribute ``radius`` it is given the radius, too, and with an attribute ``bound`` the
layer holds its output to [-bound, bound]. ``value_and_slopes`` gives h and its derivatives by norm and radius, without
a graph: with it a layer that has a radius for each filter is faster and keeps less for backward.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

__all__ = ["MAGNITUDE", "Ball", "Linear", "Log", "Magnitude", "Mix", "Radius", "Seg", "Sphere", "Tanh"]

Magnitude = Callable[..., Tensor]
Radius = Literal["filter", "layer"]


@dataclass(frozen=True)
class Sphere:
    r"""The same for all lengths: SphereConv.

    .. math:: h(\|x\|) = \alpha

    Args:
        alpha: length of the output, above 0; default 1 (C.2).

    Raises:
        ValueError: if alpha is not above 0.

    Source: thesis, eq. 4.4.

    >>> Sphere()(torch.tensor([0.5, 3.0])).tolist()
    [1.0, 1.0]
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _above_zero("alpha", self.alpha)

    @property
    def bound(self) -> float:
        """The most that h can be."""
        return self.alpha

    def __call__(self, norm: Tensor) -> Tensor:
        return torch.full_like(norm, self.alpha)


@dataclass(frozen=True)
class Ball:
    r"""Growing up to the operator radius and the same from there on: BallConv.

    .. math:: h(\|x\|) = \alpha \, \frac{\min(\|x\|, \rho)}{\rho}

    Args:
        alpha: the most that h can be, above 0; default 1 (C.2).
        radius: whether a layer learns one rho for each ``filter``, as the authors' published code (wy1iu/DCNets), or
            one in all.

    Raises:
        ValueError: if alpha is not above 0 or radius neither of the two.

    Source: thesis, eq. 4.5.

    >>> Ball(2.0)(torch.tensor([0.5, 3.0]), torch.tensor(1.0)).tolist()
    [1.0, 2.0]
    """

    alpha: float = 1.0
    radius: Radius = "filter"

    def __post_init__(self) -> None:
        _above_zero("alpha", self.alpha)
        _known(self.radius)

    @property
    def bound(self) -> float:
        """The most that h can be."""
        return self.alpha

    def __call__(self, norm: Tensor, radius: Tensor) -> Tensor:
        return self.alpha * (norm / radius).clamp_max(1)

    def value_and_slopes(self, norm: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value = norm / radius
        inside = (value <= 1).to(norm.dtype) * (self.alpha / radius)
        by_radius = (value * inside).neg_()
        return value.clamp_max_(1).mul_(self.alpha), inside, by_radius


@dataclass(frozen=True)
class Tanh:
    r"""A smooth ball: TanhConv.

    .. math:: h(\|x\|) = \alpha \tanh\frac{\|x\|}{\rho}

    Args:
        alpha: what h tends to, above 0; default 1 (C.2).
        radius: whether a layer learns one rho for each ``filter``, as the authors' published code (wy1iu/DCNets), or
            one in all.

    Raises:
        ValueError: if alpha is not above 0 or radius neither of the two.

    Source: thesis, eq. 4.6.

    >>> Tanh()(torch.tensor([0.0, 100.0]), torch.tensor(2.0)).tolist()
    [0.0, 1.0]
    """

    alpha: float = 1.0
    radius: Radius = "filter"

    def __post_init__(self) -> None:
        _above_zero("alpha", self.alpha)
        _known(self.radius)

    @property
    def bound(self) -> float:
        """The most that h can be."""
        return self.alpha

    def __call__(self, norm: Tensor, radius: Tensor) -> Tensor:
        return self.alpha * torch.tanh(norm / radius)

    def value_and_slopes(self, norm: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ratio = norm / radius
        value = (2 * ratio).sigmoid_().mul_(2).sub_(1)  # tanh, several times faster
        by_norm = torch.addcmul(torch.ones_like(radius), value, value, value=-1).mul_(self.alpha / radius)
        return value.mul_(self.alpha), by_norm, ratio.mul_(by_norm).neg_()


@dataclass(frozen=True)
class Linear:
    r"""The length itself: LinearConv, which differs from an ordinary convolution in its unit filters only.

    .. math:: h(\|x\|) = \alpha \|x\|

    Args:
        alpha: slope, above 0; default 1 (C.2).

    Raises:
        ValueError: if alpha is not above 0.

    Source: thesis, eq. 4.7.

    >>> Linear(2.0)(torch.tensor([0.5, 3.0])).tolist()
    [1.0, 6.0]
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _above_zero("alpha", self.alpha)

    def __call__(self, norm: Tensor) -> Tensor:
        return self.alpha * norm


@dataclass(frozen=True)
class Seg:
    r"""One slope up to the operator radius and another from there on: SegConv.

    .. math:: h(\|x\|) = \alpha \min(\|x\|, \rho) + \beta \max(\|x\| - \rho, 0)

    Args:
        alpha: slope below the radius, above 0; default 1 (C.2).
        beta: slope above it, 0 or more; default 0.5 (C.2). With 0 it is a ball that is not divided by its radius, with
            alpha it is :class:`Linear`.
        radius: whether a layer learns one rho for each ``filter``, as the authors' published code (wy1iu/DCNets), or
            one in all.

    Raises:
        ValueError: if alpha is not above 0, beta below 0 or radius neither of the two.

    Source: thesis, eq. 4.8.

    >>> Seg()(torch.tensor([0.5, 3.0]), torch.tensor(1.0)).tolist()
    [0.5, 2.0]
    """

    alpha: float = 1.0
    beta: float = 0.5
    radius: Radius = "filter"

    def __post_init__(self) -> None:
        _above_zero("alpha", self.alpha)
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise ValueError(f"beta={self.beta!r}: expected a finite number of at least 0")
        _known(self.radius)

    def __call__(self, norm: Tensor, radius: Tensor) -> Tensor:
        return self.beta * norm + (self.alpha - self.beta) * torch.minimum(norm, radius)

    def value_and_slopes(self, norm: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inside = (norm <= radius).to(norm.dtype).mul_(self.alpha - self.beta)
        by_radius = (self.alpha - self.beta) - inside
        return self(norm, radius), inside.add_(self.beta), by_radius


@dataclass(frozen=True)
class Log:
    r"""The logarithm of the length: LogConv.

    .. math:: h(\|x\|) = \alpha \log(1 + \|x\|)

    Args:
        alpha: factor, that is, the base of the logarithm, above 0; default 1 (C.2).

    Raises:
        ValueError: if alpha is not above 0.

    Source: thesis, eq. 4.9.

    >>> Log()(torch.tensor([0.0, math.e - 1])).tolist()
    [0.0, 1.0]
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        _above_zero("alpha", self.alpha)

    def __call__(self, norm: Tensor) -> Tensor:
        return self.alpha * torch.log1p(norm)


@dataclass(frozen=True)
class Mix:
    r"""The length and its logarithm together: MixConv.

    .. math:: h(\|x\|) = \alpha \|x\| + \beta \log(1 + \|x\|)

    Args:
        alpha: factor of the length, above 0; default 1 (C.2).
        beta: factor of the logarithm, above 0; default 1 (C.2).

    Raises:
        ValueError: if alpha or beta is not above 0.

    Source: thesis, eq. 4.10.

    >>> Mix(2.0, 0.5)(torch.tensor([0.0, math.e - 1])).round().tolist()
    [0.0, 4.0]
    """

    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        _above_zero("alpha", self.alpha)
        _above_zero("beta", self.beta)

    def __call__(self, norm: Tensor) -> Tensor:
        return self.alpha * norm + self.beta * torch.log1p(norm)


MAGNITUDE: Mapping[str, type[Sphere | Ball | Tanh | Linear | Seg | Log | Mix]] = {
    "sphere": Sphere,
    "ball": Ball,
    "tanh": Tanh,
    "linear": Linear,
    "seg": Seg,
    "log": Log,
    "mix": Mix,
}


def _above_zero(name: str, value: float) -> None:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}={value!r}: expected a finite number above 0")


def _known(radius: str) -> None:
    if radius not in ("filter", "layer"):
        raise ValueError(f"radius={radius!r}: expected 'filter' or 'layer'")
