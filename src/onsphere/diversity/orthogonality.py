"""Measures of how far neurons are from orthogonal: the baselines of both papers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from onsphere import sphere
from onsphere.diversity.energy_tiles import SquaredCosine, pair_sum


class _GramPenalty(torch.autograd.Function):
    """||W W^T - I||_F^2, or the same without the diagonal, with one product in the backward pass instead of two."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, with_diagonal: bool) -> Tensor:
        with sphere.full_precision(rows.device):
            residual = rows @ rows.T
            if with_diagonal:
                residual.diagonal().sub_(1.0)
            else:
                residual.fill_diagonal_(0.0)
            ctx.save_for_backward(residual, rows)
            flat = residual.flatten()
            return flat.dot(flat)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        residual, rows = ctx.saved_tensors
        with sphere.full_precision(rows.device):
            return (residual @ rows).mul_(4.0 * grad_output), None


def _penalty(rows: Tensor, with_diagonal: bool) -> Tensor:
    value: Tensor = _GramPenalty.apply(rows, with_diagonal)  # type: ignore[no-untyped-call]
    return value


def _raw(weight: Tensor) -> Tensor:
    """The weight itself in float32 or better, checked as the directional measures check theirs."""
    sphere.directions(weight)
    return weight if weight.dtype == torch.float64 else weight.float()


def orthogonal(weight: Tensor) -> Tensor:
    r"""Half the squared distance of the normalised Gram matrix from the identity (orthogonal regularization).

    .. math:: l = \tfrac{1}{2} \|\hat W \hat W^T - I\|_F^2

    Args:
        weight: W, (n, d), one neuron a row, normalised here. Zero rows are left out and get a zero gradient.

    Returns:
        A scalar >= 0; 0 for fewer than two neurons.

    Raises:
        ValueError: the weight is not a floating-point matrix.
        NonFiniteWeightError: the weight holds NaN or an infinity.

    Source: MMA paper, eq. 14 without lambda.

    Example:
        >>> orthogonal(torch.tensor([[1.0, 0.0], [0.0, 5.0]]))
        tensor(0.)
    """
    return pair_sum(weight, SquaredCosine())


def orthonormal(weight: Tensor) -> Tensor:
    r"""Squared distance of the raw neurons from an orthonormal set.

    .. math:: l = \|W^T W - I\|_F^2 \quad\text{with the neurons as columns of } W

    Args:
        weight: (n, d), one neuron a row (the transpose of the thesis's W), not normalised.

    Returns:
        A scalar >= 0. A zero row is an ordinary value here and costs 1.

    Raises:
        ValueError: the weight is not a floating-point matrix.
        NonFiniteWeightError: the weight holds NaN or an infinity.

    Source: thesis, sections 4.5 and 5.3.7.

    Example:
        >>> orthonormal(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        tensor(9.)
    """
    with sphere.full_precision(weight.device):
        return _penalty(_raw(weight), with_diagonal=True)


def orthogonal_diagonal(weight: Tensor) -> Tensor:
    r"""Sum of the squared products of different raw neurons.

    .. math:: l = \|W^T W - \mathrm{diag}(W^T W)\|_F^2 \quad\text{with the neurons as columns of } W

    Args:
        weight: (n, d), one neuron a row (the transpose of the thesis's W), not normalised.

    Returns:
        A scalar >= 0.

    Raises:
        ValueError: the weight is not a floating-point matrix.
        NonFiniteWeightError: the weight holds NaN or an infinity.

    Source: thesis, section 4.5.

    Example:
        >>> orthogonal_diagonal(torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
        tensor(2.)
    """
    with sphere.full_precision(weight.device):
        return _penalty(_raw(weight), with_diagonal=False)


def srip(weight: Tensor, iterations: int = 2) -> Tensor:
    r"""Spectral norm of the residual of the smaller Gram matrix, by power iteration (SRIP).

    .. math:: l = \sigma(W^T W - I) \approx \|M u\| / \|u\|, \qquad u = M^{k-1} v, \quad M = W^T W - I

    Args:
        weight: W, (n, d), one neuron a row, not normalised. Of W W^T and W^T W the smaller is used: the residual of
            the larger has the same spectrum and eigenvalues of -1 besides, which no weight could remove.
        iterations: k >= 1, products with M; default 2 as in its paper. The start v is fixed, a cosine wave, so that the
            value is a function of the weight alone.

    Returns:
        A scalar >= 0, a lower bound of the norm that rises to it with ``iterations``. M is never formed.

    Raises:
        ValueError: the weight is not a floating-point matrix, or iterations < 1.
        NonFiniteWeightError: the weight holds NaN or an infinity.

    Source: Bansal, Chen and Wang, "Can We Gain More from Orthogonality Regularizations in Training Deep CNNs?", NeurIPS
    2018, eqs. 6-8; the thesis's baseline in tables 6.1, 6.6 and 6.7.

    Example:
        >>> round(srip(torch.diag(torch.tensor([1.0, 2.0])), iterations=20).item(), 4)
        3.0
    """
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    with sphere.full_precision(weight.device):
        matrix = _raw(weight)
        if matrix.shape[0] > matrix.shape[1]:
            matrix = matrix.T
        wave = torch.cos(torch.arange(1, len(matrix) + 1, dtype=torch.float64).square())
        vector = (wave / wave.norm()).to(matrix.dtype).to(matrix.device)
        length: Tensor = matrix.new_zeros(())
        for _ in range(iterations):
            product = matrix @ (matrix.T @ vector) - vector
            squared = product.square().sum()
            if not bool(squared > 0):  # an orthonormal set: nothing is left, and 0 / 0 must not reach the gradient
                return matrix.sum() * 0
            length = squared.sqrt()
            vector = product / length
        return length


class Orthogonal(nn.Module):
    """Orthogonal regularization: :func:`onsphere.functional.orthogonal` as a module (MMA paper, eq. 14).

    Example:
        >>> Orthogonal()(torch.eye(3))
        tensor(0.)
    """

    over_groups = "sum"

    def forward(self, weight: Tensor) -> Tensor:
        return orthogonal(weight)


class Orthonormal(nn.Module):
    """Orthonormal regularization: :func:`onsphere.functional.orthonormal` as a module (thesis 4.5, 5.3.7).

    Example:
        >>> Orthonormal()(torch.eye(3))
        tensor(0.)
    """

    over_groups = "sum"

    def forward(self, weight: Tensor) -> Tensor:
        return orthonormal(weight)


class OrthogonalDiagonal(nn.Module):
    """The thesis's orthogonal constraint: :func:`onsphere.functional.orthogonal_diagonal` as a module (4.5).

    Example:
        >>> OrthogonalDiagonal()(2 * torch.eye(3))
        tensor(0.)
    """

    over_groups = "sum"

    def forward(self, weight: Tensor) -> Tensor:
        return orthogonal_diagonal(weight)


class SRIP(nn.Module):
    """Spectral restricted isometry regularization: :func:`onsphere.functional.srip` as a module.

    Example:
        >>> SRIP(iterations=3)
        SRIP(iterations=3)
    """

    over_groups = "sum"

    def __init__(self, iterations: int = 2) -> None:
        super().__init__()
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.iterations = iterations

    def forward(self, weight: Tensor) -> Tensor:
        return srip(weight, self.iterations)

    def extra_repr(self) -> str:
        return f"iterations={self.iterations}"
