r"""Angular margins: what an objective puts in place of the cosine between a feature and the weights of its own class.

A margin is a function psi of that angle, below the cosine, so that a feature has to come nearer to its class than plain
softmax asks. Each is one small frozen dataclass and a line of MARGINS; a margin of your own is any object with the same
method ``psi``. Gradients are those of the formulas, also where a formula has corners.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from onsphere.angular import Angular, Cosine

__all__ = [
    "MARGINS",
    "Annealed",
    "ArcFace",
    "Combined",
    "CosFace",
    "LSoftmax",
    "Margin",
    "SphereFace",
    "margin_between",
    "minimal_m",
    "widest_class",
]


class Margin(Protocol):
    """What gives psi: angles in radians in [0, pi], and the g that stands for the cosine, to values of their shape.

    Heads differentiate it in the angle only: parameters of a margin of your own would get no gradient.
    """

    def psi(self, theta: Tensor, angular: Angular = ...) -> Tensor: ...


@dataclass(frozen=True)
class SphereFace:
    r"""Multiplicative margin of the angular softmax (A-Softmax): the angle counts m times.

    .. math:: \psi(\theta) = (-1)^k \cos(m\theta) - 2k, \quad \theta \in [k\pi/m, (k+1)\pi/m]

    Continuous and falling from 1 to 1 - 2m; flat at every multiple of pi/m. With another g in place of the cosine it is
    g(m theta - k pi) - 2k, which for the linear one is 1 - 2 m theta / pi throughout (GA-Softmax). Real m are allowed;
    for integers this is the multiple-angle polynomial of the paper. From random weights it needs :class:`Annealed`.

    Args:
        m: at least 1, which is no margin; default 4, the paper's choice (section 2.3.5, see :func:`minimal_m`).

    Raises:
        ValueError: if m is below 1 or not finite.

    Source: thesis, eqs. 2.6, 2.20 and 3.11; Liu et al. 2017, *SphereFace*.

    >>> SphereFace(4).psi(torch.tensor([0.0, math.pi])).tolist()
    [1.0, -7.0]
    """

    m: float = 4.0

    def __post_init__(self) -> None:
        _at_least_one(m=self.m)

    def psi(self, theta: Tensor, angular: Angular = Cosine()) -> Tensor:
        return _folded(self.m * theta, angular)


@dataclass(frozen=True)
class LSoftmax:
    r"""Margin of the large-margin softmax (L-Softmax): that of :class:`SphereFace`, on weights that keep their norms.

    .. math:: f_{y} = \|W_y\| \|x\| \psi(\theta), \quad \psi(\theta) = (-1)^k \cos(m\theta) - 2k, \quad
        \theta \in [k\pi/m, (k+1)\pi/m]

    A head with it needs ``normalize_weight=False``, and ``scale="feature_norm"`` for the paper's loss.

    Args:
        m: at least 1, which is no margin; default 4, the best of the paper's tables.

    Raises:
        ValueError: if m is below 1 or not finite.

    Source: thesis, eqs. 2.4 to 2.7; Liu et al. 2016, *Large-Margin Softmax Loss*.

    >>> LSoftmax(2).psi(torch.tensor([math.pi / 2])).item()
    -1.0
    """

    m: float = 4.0

    def __post_init__(self) -> None:
        _at_least_one(m=self.m)

    def psi(self, theta: Tensor, angular: Angular = Cosine()) -> Tensor:
        return _folded(self.m * theta, angular)


@dataclass(frozen=True)
class CosFace:
    r"""Additive margin on the cosine (AM-Softmax, large-margin cosine loss).

    .. math:: \psi(\theta) = \cos\theta - m

    Args:
        m: at least 0, which is no margin; default 0.35, both papers' choice.

    Raises:
        ValueError: if m is negative or not finite.

    Source: thesis, loss L_a1 of Part I and eq. D.11; Wang et al. 2018, *CosFace* and *Additive Margin Softmax*.

    >>> round(CosFace(0.35).psi(torch.tensor([0.0])).item(), 4)
    0.65
    """

    m: float = 0.35

    def __post_init__(self) -> None:
        _not_negative(m=self.m)

    def psi(self, theta: Tensor, angular: Angular = Cosine()) -> Tensor:
        return angular(theta) - self.m


@dataclass(frozen=True)
class ArcFace:
    r"""Additive margin on the angle.

    .. math:: \psi(\theta) = \begin{cases} \cos(\theta + m) & \theta + m \le \pi \\
        \cos\theta - m \sin m & \text{beyond} \end{cases}

    Beyond pi, where the cosine would rise again, the paper's published code goes on as written here; psi falls by a
    small jump there. With ``easy_margin`` the margin applies in the half space only: cos(theta + m) where
    theta < pi / 2, else cos(theta).

    Args:
        m: radians, in [0, pi / 2]; default 0.5, the paper's choice. From 2.33 on, the jump would be upwards.
        easy_margin: leave angles of pi / 2 and more without a margin.

    Raises:
        ValueError: if m is out of its range; on a call, for a g other than the cosine: the continuation is made for it
            (``Combined(m2=m)`` takes any).

    Source: thesis, loss L_a2 of Part I; MMA paper, eq. 15; Deng et al. 2019, *ArcFace*.

    >>> round(ArcFace(0.5).psi(torch.tensor([0.0])).item(), 4)
    0.8776
    """

    m: float = 0.5
    easy_margin: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.m <= math.pi / 2:
            words = f"expected radians in [0, pi / 2]; {self.m!r} degrees are {_radians(self.m)}"
            raise ValueError(f"m={self.m!r}: {words}")

    def psi(self, theta: Tensor, angular: Angular = Cosine()) -> Tensor:
        if not isinstance(angular, Cosine):
            raise ValueError(f"ArcFace with angular={angular!r}: expected Cosine(); Combined(m2={self.m}) takes any")
        if self.easy_margin:
            return torch.where(theta < math.pi / 2, (theta + self.m).cos(), theta.cos())
        beyond = theta.cos() - self.m * math.sin(self.m)
        return torch.where(theta + self.m <= math.pi, (theta + self.m).cos(), beyond)


@dataclass(frozen=True)
class Combined:
    r"""All three margins in one.

    .. math:: \psi(\theta) = \cos(m_1\theta + m_2) - m_3

    continued beyond pi as :class:`SphereFace` is: with xi = m_1 theta + m_2, g(xi - k pi) - 2k - m_3 where xi lies in
    [k pi, (k+1) pi]. (m, 0, 0) is SphereFace, (1, 0, m) CosFace, and (1, m, 0) ArcFace up to pi, without its jump
    beyond.

    Args:
        m1: multiplies the angle, at least 1.
        m2: added to it, radians, in [0, pi).
        m3: taken from the cosine, at least 0.

    Raises:
        ValueError: if one is out of its range.

    Source: Deng et al. 2019, *ArcFace*, eq. 4.

    >>> round(Combined(1.0, 0.3, 0.2).psi(torch.tensor([0.0])).item(), 4)
    0.7553
    """

    m1: float = 1.0
    m2: float = 0.0
    m3: float = 0.0

    def __post_init__(self) -> None:
        _at_least_one(m1=self.m1)
        if not 0 <= self.m2 < math.pi:
            raise ValueError(f"m2={self.m2!r}: expected radians in [0, pi)")
        _not_negative(m3=self.m3)

    def psi(self, theta: Tensor, angular: Angular = Cosine()) -> Tensor:
        return _folded(self.m1 * theta + self.m2, angular) - self.m3


MARGINS: Mapping[
    str, type[SphereFace] | type[LSoftmax] | type[CosFace] | type[ArcFace] | type[Combined]
] = {
    "l-softmax": LSoftmax,
    "sphereface": SphereFace,
    "cosface": CosFace,
    "arcface": ArcFace,
    "combined": Combined,
}  # fmt: skip


class Annealed(nn.Module):
    r"""A margin that comes in slowly: a mean of the plain cosine and psi whose weight moves during training.

    .. math:: \frac{\lambda \cos\theta + \psi(\theta)}{1 + \lambda}, \qquad
        \lambda = \max(\lambda_{\min}, \lambda_0 (1 + \gamma t)^{-p})

    t is the number of training steps of the head that holds it: the head counts calls in training mode with gradients
    on. The count is a buffer, so that a checkpoint carries it and a resumed training goes on where it was.

    Args:
        margin: psi.
        base: lambda_0, of the first step.
        gamma: how fast lambda falls.
        power: p.
        minimum: lambda_min, 0 or more; 5 is the thesis's (A.7), and 0 ends at the margin alone.

    Raises:
        ValueError: if a number is negative or not finite, or the margin is annealed already.

    Source: thesis, sections 2.2.7 and A.7; the defaults are those of the published SphereFace training.

    >>> margin = Annealed(SphereFace(4))
    >>> margin.weight.item()
    1000.0
    >>> for _ in range(100_000):
    ...     margin.advance()
    >>> margin.weight.item()
    5.0
    """

    iteration: Tensor

    def __init__(
        self, margin: Margin, base: float = 1000.0, gamma: float = 0.12, power: float = 1.0, minimum: float = 5.0
    ) -> None:
        super().__init__()
        if isinstance(margin, Annealed) or not hasattr(margin, "psi") or isinstance(margin, type):
            raise ValueError(f"margin={margin!r}: expected a margin such as SphereFace(4), not annealed itself")
        _not_negative(base=base, gamma=gamma, power=power, minimum=minimum)
        self.margin, self.base, self.gamma, self.power, self.minimum = margin, base, gamma, power, minimum
        self.register_buffer("iteration", torch.zeros((), dtype=torch.int64))

    @property
    def weight(self) -> Tensor:
        """lambda at the present count, a scalar on the buffer's device."""
        return (self.base * (1 + self.gamma * self.iteration) ** -self.power).clamp_min(self.minimum)

    def reset_parameters(self) -> None:
        """Count from 0 again; also what fills the buffer of a module that was made on the meta device."""
        self.iteration.zero_()

    def advance(self) -> None:
        """Count a step."""
        self.iteration += 1

    def psi(self, theta: Tensor, angular: Angular = Cosine()) -> Tensor:
        weight = self.weight.to(theta)
        return (weight * angular(theta) + self.margin.psi(theta, angular)) / (1 + weight)

    def extra_repr(self) -> str:
        numbers = f"base={self.base:g}, gamma={self.gamma:g}, power={self.power:g}, minimum={self.minimum:g}"
        return f"{self.margin}, {numbers}"


def minimal_m(num_classes: int) -> float:
    r"""The least m of SphereFace for which every class is narrower than the gaps between classes.

    Two classes whose vectors are theta apart, with m theta_1 < theta_2 asked of the features of class 1 and vice versa.
    In the plane of the two vectors class 1 reaches to theta/(m+1) on the side of class 2. On the other side it reaches
    to theta/(m-1), where theta_2 = theta + theta_1, or, where that would be past the point opposite of class 2
    (theta > (m-1) pi / m), to (2 pi - theta)/(m+1). The gap between the classes is (m-1) theta/(m+1). The widest angle
    within a class is at most the gap where

    .. math:: \frac{\theta}{m-1} + \frac{\theta}{m+1} \le \frac{m-1}{m+1}\theta
        \;\Leftrightarrow\; 2m \le (m-1)^2 \;\Leftrightarrow\; m \ge 2 + \sqrt{3},

    and in the other case where 2 pi <= (m-1) theta for all theta > (m-1) pi / m, which is the same condition.

    With k >= 3 classes at equal steps 2 pi / k in the plane each has a neighbour on both sides and reaches to
    (2 pi / k)/(m+1) towards both, so that

    .. math:: \frac{2}{m+1} \cdot \frac{2\pi}{k} \le \frac{m-1}{m+1} \cdot \frac{2\pi}{k}
        \;\Leftrightarrow\; m \ge 3.

    Args:
        num_classes: at least 2.

    Returns:
        2 + sqrt(3) for two classes, 3 for more. Both are lower bounds of the m that is needed in general.

    Raises:
        ValueError: for fewer than two classes.

    Source: thesis, section 2.3.5, properties 2 and 3, eqs. 2.21 to 2.23.

    >>> round(minimal_m(2), 4), minimal_m(10)
    (3.7321, 3.0)
    """
    if num_classes < 2:
        raise ValueError(f"num_classes={num_classes}: expected at least 2")
    return 2 + math.sqrt(3) if num_classes == 2 else 3.0


def widest_class(m: float, theta: float) -> float:
    r"""The widest angle between two features of one of two classes that both satisfy SphereFace's condition.

    .. math:: \frac{\theta}{m-1} + \frac{\theta}{m+1} \;\; (\theta \le \tfrac{m-1}{m}\pi), \qquad
        \frac{2\pi - \theta}{m+1} + \frac{\theta}{m+1} \;\; \text{beyond}

    Args:
        m: at least 2, as the thesis asks.
        theta: between the vectors of the two classes, radians in [0, pi].

    Returns:
        radians, in the plane of the two vectors.

    Raises:
        ValueError: if m or theta is out of its range.

    Source: thesis, left sides of eqs. 2.21 and 2.22.

    >>> round(math.degrees(widest_class(4, math.radians(90))), 6)
    48.0
    """
    _check_plane(m, theta, least=2)
    outer = theta / (m - 1) if theta <= (m - 1) / m * math.pi else (2 * math.pi - theta) / (m + 1)
    return outer + theta / (m + 1)


def margin_between(m: float, theta: float) -> float:
    r"""The angle between the nearest features of two classes that both satisfy SphereFace's condition.

    .. math:: \frac{m-1}{m+1}\theta

    Args:
        m: at least 1.
        theta: between the vectors of the two classes, radians in [0, pi].

    Raises:
        ValueError: if m or theta is out of its range.

    Source: thesis, sections 2.2.4 and 2.3.3.

    >>> round(math.degrees(margin_between(4, math.radians(90))), 6)
    54.0
    """
    _check_plane(m, theta, least=1)
    return (m - 1) / (m + 1) * theta


def _folded(xi: Tensor, angular: Angular) -> Tensor:
    """g(xi - k pi) - 2k with xi in [k pi, (k+1) pi]: g continued beyond pi, falling and without a gap."""
    k = (xi.detach() / math.pi).floor()
    return angular(xi - math.pi * k) - 2 * k


def _at_least_one(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 1):
            raise ValueError(f"{name}={value!r}: expected a finite number of at least 1 (1 is no margin)")


def _not_negative(**values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}={value!r}: expected a finite number of at least 0")


def _radians(degrees: float) -> str:
    return f"{math.radians(degrees):.4g} radians"


def _check_plane(m: float, theta: float, least: int) -> None:
    if not (math.isfinite(m) and m >= least):
        raise ValueError(f"m={m!r}: expected a finite number of at least {least}")
    if not 0 <= theta <= math.pi:
        raise ValueError(f"theta={theta!r}: expected radians in [0, pi]")
