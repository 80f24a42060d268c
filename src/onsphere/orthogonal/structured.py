"""Generalised OPT (thesis F.6): matrices with another structure than orthogonality."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from onsphere.orthogonal.methods import Method, skew

__all__ = ["Banded", "Hessenberg", "PositiveDefinite", "Skew", "Symmetric", "Triangular"]


@dataclass(frozen=True)
class PositiveDefinite(Method):
    r"""R is symmetric positive definite; it turns no neuron by a right angle or more.

    .. math:: R = L L^\top, \qquad L = \mathrm{tril}(U)

    Source: thesis, section F.6.

    >>> PositiveDefinite().matrix(torch.tensor([[1.0, 9.0], [2.0, 1.0]]))
    tensor([[1., 2.],
            [2., 5.]])
    """

    def matrix(self, parameter: Tensor) -> Tensor:
        """L L^T."""
        lower: Tensor = parameter.tril()
        return lower @ lower.mT

    def rotate(self, rows: Tensor, parameter: Tensor) -> Tensor:
        """rows R^T, in two products."""
        lower: Tensor = parameter.tril()
        return rows @ lower @ lower.mT

    def parameter(self, start: Tensor) -> Tensor:
        """The Cholesky factor; ValueError if there is none."""
        if not torch.allclose(start, start.mT, atol=1e-5):
            raise ValueError(f"{self} cannot start at a matrix that is not symmetric")
        factor: Tensor
        factor, wrong = torch.linalg.cholesky_ex(start)
        if wrong.any():
            raise ValueError(f"{self} cannot start at a matrix that is not positive definite")
        return factor


@dataclass(frozen=True)
class Triangular(Method):
    """R is triangular.

    Args:
        upper: above the diagonal; below it by default.

    Source: thesis, section F.6.

    >>> Triangular().matrix(torch.ones(2, 2))
    tensor([[1., 0.],
            [1., 1.]])
    """

    upper: bool = False

    def matrix(self, parameter: Tensor) -> Tensor:
        """One triangle of the parameter."""
        return parameter.triu() if self.upper else parameter.tril()


@dataclass(frozen=True)
class Banded(Method):
    """R is zero further than so many places from the diagonal.

    Args:
        width: of the band on either side; 0 leaves the diagonal.

    Raises:
        ValueError: if width is below 0.

    Source: thesis, section F.6.

    >>> Banded(1).matrix(torch.ones(3, 3))
    tensor([[1., 1., 0.],
            [1., 1., 1.],
            [0., 1., 1.]])
    """

    width: int

    def __post_init__(self) -> None:
        if self.width < 0:
            raise ValueError(f"width={self.width!r}: expected at least 0")

    def matrix(self, parameter: Tensor) -> Tensor:
        """The band of the parameter."""
        return parameter.triu(-self.width).tril(self.width)


@dataclass(frozen=True)
class Symmetric(Method):
    """R is symmetric.

    Source: thesis, section F.6.

    >>> Symmetric().matrix(torch.tensor([[1.0, 9.0], [2.0, 3.0]]))
    tensor([[1., 2.],
            [2., 3.]])
    """

    def matrix(self, parameter: Tensor) -> Tensor:
        """The lower triangle, mirrored."""
        return parameter.tril() + parameter.tril(-1).mT


@dataclass(frozen=True)
class Skew(Method):
    """R is skew-symmetric: every neuron becomes one at a right angle to it.

    The identity is not skew-symmetric: give ``start="normal"`` or a matrix.

    Source: thesis, section F.6.

    >>> Skew().matrix(torch.tensor([[1.0, 9.0], [2.0, 3.0]]))
    tensor([[ 0., -2.],
            [ 2.,  0.]])
    """

    def matrix(self, parameter: Tensor) -> Tensor:
        """The triangle below the diagonal, mirrored with the other sign."""
        return skew(parameter)


@dataclass(frozen=True)
class Hessenberg(Method):
    """R is triangular but for one more diagonal.

    Args:
        upper: the triangle above the diagonal and the first diagonal below it; else the other way round.

    Source: thesis, section F.6.

    >>> Hessenberg().matrix(torch.ones(3, 3))
    tensor([[1., 1., 1.],
            [1., 1., 1.],
            [0., 1., 1.]])
    """

    upper: bool = True

    def matrix(self, parameter: Tensor) -> Tensor:
        """The triangle and the diagonal beside it."""
        return parameter.triu(-1) if self.upper else parameter.tril(1)
