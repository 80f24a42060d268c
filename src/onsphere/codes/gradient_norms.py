"""How strongly each loss pushes two points apart, by their angle: Figure 2 of the MMA paper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from onsphere import sphere


@dataclass(frozen=True, eq=False)
class Curve:
    """The norm of one loss's gradient over the angle of a pair.

    Attributes:
        equation: number of the closed form in the MMA paper.
        angles: (k,) theta, radians.
        autograd: (k,) the norm as torch's differentiation gives it.
        closed_form: (k,) the norm by the equation.
    """

    equation: int
    angles: NDArray[np.float64]
    autograd: NDArray[np.float64]
    closed_form: NDArray[np.float64]


def gradient_norms(angles: ArrayLike, s: float = 1.0, norm: float = 1.0) -> dict[str, Curve]:
    r"""Differentiate the four losses of a pair by one of its points, and evaluate the closed forms beside it.

    .. math::
        \left\| \frac{\partial \cos\theta}{\partial w_i} \right\| = \frac{\sin\theta}{\|w_i\|} \;(7), \quad
        \left\| \frac{\partial \theta}{\partial w_i} \right\| = \frac{1}{\|w_i\|} \;(8), \quad
        \left\| \frac{\partial \rho^{-s}}{\partial w_i} \right\|
            = \frac{s}{\|w_i\|} \frac{\cos(\theta/2)}{(2 \sin(\theta/2))^{s+1}} \;(10), \quad
        \left\| \frac{\partial \log \rho}{\partial w_i} \right\|
            = \frac{1}{\|w_i\|} \frac{\cos(\theta/2)}{2 \sin(\theta/2)} \;(12)

    with the distance rho of the two directions.

    Args:
        angles: theta, (k,), radians, inside (0, pi). At the ends no gradient exists for all four; towards 0 the norms
            tend to 0, 1/||w||, infinity and infinity, towards pi to 0, 1/||w||, 0 and 0.
        s: the power of the Riesz-Fisher loss, > 0. Default 1: the paper's Figure 2.
        norm: ||w_i||, > 0. Default 1: the paper's Figure 2.

    Returns:
        The curves of ``"cosine"``, ``"mma"``, ``"riesz"`` and ``"logarithmic"``.

    Raises:
        ValueError: an argument is out of its range.

    Source: MMA paper, section 3.2, eqs. 7, 8, 10, 12 and Figure 2.

    Example:
        >>> curves = gradient_norms([0.1, np.pi / 2])
        >>> for name, curve in curves.items():
        ...     print(f"{name:11}", curve.autograd.round(4))
        cosine      [0.0998 1.    ]
        mma         [1. 1.]
        riesz       [99.9583  0.3536]
        logarithmic [9.9917 0.5   ]
    """
    theta = np.atleast_1d(np.asarray(angles, dtype=np.float64))
    if theta.ndim != 1 or not ((theta > 0) & (theta < np.pi)).all():
        raise ValueError(f"angles must be a vector of numbers inside (0, pi), got {theta}")
    if not 0 < s < np.inf or not 0 < norm < np.inf:
        raise ValueError(f"s and norm must be positive and finite, got s={s}, norm={norm}")
    sine, cosine = 2 * np.sin(theta / 2), np.cos(theta / 2)
    losses: dict[str, tuple[int, Callable[[Tensor, Tensor], Tensor], NDArray[np.float64]]] = {
        "cosine": (7, sphere.cosine, np.sin(theta)),
        "mma": (8, sphere.angle, np.ones_like(theta)),
        "riesz": (10, lambda u, v: _distance(u, v) ** -s, s * cosine / sine ** (s + 1)),
        "logarithmic": (12, lambda u, v: _distance(u, v).log(), cosine / sine),
    }
    return {
        name: Curve(equation, theta, _by_autograd(loss, theta, norm), closed_form / norm)
        for name, (equation, loss, closed_form) in losses.items()
    }


def _distance(u: Tensor, v: Tensor) -> Tensor:
    distance: Tensor = torch.linalg.vector_norm(sphere.normalize(u) - sphere.normalize(v), dim=-1)
    return distance


def _by_autograd(
    loss: Callable[[Tensor, Tensor], Tensor], theta: NDArray[np.float64], norm: float
) -> NDArray[np.float64]:
    """Norms of the gradient by w_i, for pairs in three dimensions."""
    w_j = torch.from_numpy(norm * np.stack([np.cos(theta), np.sin(theta), np.zeros_like(theta)], 1))
    w_i = torch.tensor([norm, 0.0, 0.0], dtype=torch.float64).repeat(len(theta), 1).requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(w_i, w_j).sum(), w_i)
    norms: NDArray[np.float64] = torch.linalg.vector_norm(gradient, dim=1).numpy()
    return norms
