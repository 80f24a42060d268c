"""Orthogonal matrices out of any square one: Gram-Schmidt, Householder, Löwdin; applied without being formed.

Each works on rows: it gives ``rows R^T``, the rotated neurons R v, since a layer has fewer neurons than dimensions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from onsphere import sphere

__all__ = ["fine", "gram_schmidt", "householder", "lowdin", "rotate_by_columns", "rotate_by_polar", "rotate_by_qr"]


def gram_schmidt(u: Tensor, *, modified: bool = False, iterations: int = 1) -> Tensor:
    r"""The orthonormal set that the Gram-Schmidt process makes of the columns of a matrix, in their order.

    .. math:: \tilde e_j = u_j - \sum_{k<j} \langle e_k, u_j \rangle e_k, \qquad e_j = \tilde e_j / \|\tilde e_j\|

    It is the Q of U = Q T with a positive diagonal of T, and by default worked out as that, by Householder reflections,
    which round less than either loop.

    Args:
        u: U, (..., m, m), of full rank; a set that is not gives numbers that are not finite.
        modified: subtract each projection from all later columns at once (F.3), in a loop over the columns.
        iterations: how often the projections are subtracted (Algorithm 2); above 1 in a loop over the columns.

    Returns:
        R, of the shape of ``u``, computed in float32 or better.

    Raises:
        ValueError: if u is no square matrix, or iterations below 1.

    Source: thesis, section 7.3.3, Algorithms 1 and 2, eq. F.1 to F.3.

    >>> gram_schmidt(torch.tensor([[3.0, 1.0], [0.0, 2.0]]))
    tensor([[1., 0.],
            [0., 1.]])
    """
    check_square(u)
    if iterations < 1:
        raise ValueError(f"iterations={iterations!r}: expected at least 1")
    identity = _identity(u)
    if modified or iterations > 1:
        return rotate_by_columns(identity, u, modified, iterations).mT
    return rotate_by_qr(identity, u, own_signs=False).mT


def householder(u: Tensor) -> Tensor:
    r"""The orthogonal matrix of Householder's reflections that make a matrix triangular.

    .. math:: Q = H_1 H_2 \cdots H_{m-1}, \qquad H_j = I - 2 \frac{v_j v_j^\top}{v_j^\top v_j}

    Each reflection maps a column onto +e_j. So Q has the columns of :func:`gram_schmidt`, but for the sign of the last
    one, which makes the determinant (-1)^(m-1): one factor -1 a reflection. Columns that are zero below the diagonal
    need none, so that Q(I) = I, although for even m the Q of matrices near I is not near I.

    Args:
        u: U, (..., m, m), of full rank; one that is not gives gradients that are not finite.

    Returns:
        Q, of the shape of ``u``, computed in float32 or better.

    Raises:
        ValueError: if u is no square matrix.

    Source: thesis, section 7.3.3, Algorithm 3.

    >>> householder(torch.tensor([[3.0, 1.0], [4.0, 2.0]]))
    tensor([[ 0.6000,  0.8000],
            [ 0.8000, -0.6000]])
    """
    check_square(u)
    return rotate_by_qr(_identity(u), u, own_signs=True).mT


def lowdin(u: Tensor) -> Tensor:
    r"""The orthogonal matrix nearest to a matrix: Löwdin's symmetric orthogonalization.

    .. math:: R = U (U^\top U)^{-1/2} = W Z^\top \quad\text{with}\quad U = W \Sigma Z^\top

    Its gradient is finite at equal singular values, too, where that of the decomposition itself is not.

    Args:
        u: U, (..., m, m), of full rank.

    Returns:
        R, of the shape of ``u``, computed in float32 or better.

    Raises:
        ValueError: if u is no square matrix.

    Source: thesis, section 7.3.3, eq. F.7 to F.15.

    >>> lowdin(torch.tensor([[2.0, 0.0], [0.0, 5.0]])).round(decimals=5)
    tensor([[1., 0.],
            [0., 1.]])
    """
    check_square(u)
    return rotate_by_polar(_identity(u), u).mT


def check_square(u: Tensor) -> None:
    """Raise a ValueError unless these are square matrices of floating-point numbers."""
    if u.dim() < 2 or u.shape[-1] != u.shape[-2] or not u.is_floating_point():
        raise ValueError(f"a {u.dtype} tensor of shape {tuple(u.shape)}: expected square matrices, (..., m, m)")


def rotate_by_qr(rows: Tensor, u: Tensor, own_signs: bool) -> Tensor:
    """rows Q^T, (..., n, m), with the Q of :func:`gram_schmidt`, or of :func:`householder` for own signs."""
    rotated: Tensor = _ByQR.apply(*fine(rows, u), own_signs)  # type: ignore[no-untyped-call]
    return rotated


def rotate_by_columns(rows: Tensor, u: Tensor, modified: bool, iterations: int) -> Tensor:
    """rows Q^T, (..., n, m), with the Q of :func:`gram_schmidt` from a loop over its columns."""
    rotated: Tensor = _ByColumns.apply(*fine(rows, u), modified, iterations)  # type: ignore[no-untyped-call]
    return rotated


def rotate_by_polar(rows: Tensor, u: Tensor) -> Tensor:
    """rows R^T, (..., n, m), with the R of :func:`lowdin`."""
    rotated: Tensor = _ByPolar.apply(*fine(rows, u))  # type: ignore[no-untyped-call]
    return rotated


def fine(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All in the finest of their types, which is float32 at least."""
    dtype = torch.float32
    for each in tensors:
        dtype = torch.promote_types(dtype, each.dtype)
    return tuple(each.to(dtype) for each in tensors)


def _identity(u: Tensor) -> Tensor:
    identity = torch.eye(u.shape[-1], dtype=u.dtype, device=u.device)
    return identity.expand(u.shape)


class _ByQR(torch.autograd.Function):
    """Both ways by U = Q T; Q stays the product of reflections that LAPACK makes."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, u: Tensor, own_signs: bool) -> Tensor:
        with sphere.full_precision(u.device):
            factored, tau = torch.geqrf(u)
            diagonal = factored.diagonal(dim1=-2, dim2=-1)
            # LAPACK's reflections leave any sign on T's diagonal; where there is none (tau = 0), the sign is U's.
            signs = torch.where(diagonal < 0, -1.0, 1.0)
            if own_signs:
                signs = torch.where(tau == 0, 1.0, signs)
                # Q has a factor -1 of its determinant for each reflection but one of the last column, which some
                # libraries make and LAPACK does not.
                last = signs[..., :-1].prod(-1, keepdim=True) * torch.where(tau[..., -1:] == 0, 1.0, -1.0)
                signs = torch.cat([signs[..., :-1], last], -1)
            signs = signs.to(u.dtype).unsqueeze(-2)
            ctx.save_for_backward(rows, factored, tau, signs)
            return torch.ormqr(factored, tau, rows * signs, left=False, transpose=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        rows, factored, tau, signs = ctx.saved_tensors
        with sphere.full_precision(grad.device):
            turned = torch.ormqr(factored, tau, grad, left=False, transpose=False) * signs  # grad Q
            if not ctx.needs_input_grad[1]:
                return turned, None, None
            inner = _triangular_gradient(turned, rows, factored.triu() * signs.mT)
            return turned, torch.ormqr(factored, tau, signs.mT * inner, left=True, transpose=False), None


class _ByColumns(torch.autograd.Function):
    """The same with a Q that is found column by column."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, u: Tensor, modified: bool, iterations: int) -> Tensor:
        with sphere.full_precision(u.device):
            q = _modified(u, iterations) if modified else _classical(u, iterations)
            ctx.save_for_backward(rows, q, u)
            return rows @ q.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        rows, q, u = ctx.saved_tensors
        with sphere.full_precision(grad.device):
            turned = grad @ q
            if not ctx.needs_input_grad[1]:
                return turned, None, None, None
            return turned, q @ _triangular_gradient(turned, rows, (q.mT @ u).triu()), None, None


def _triangular_gradient(turned: Tensor, rows: Tensor, t: Tensor) -> Tensor:
    """tril(S - S^T, -1) T^-T with S = Q^T G = (grad Q)^T rows, so that Q times it is the gradient of U = Q T."""
    s = turned.mT @ rows
    lower = (s - s.mT).tril_(-1)
    solved: Tensor = torch.linalg.solve_triangular(t.mT, lower, upper=False, left=False)
    return solved


def _classical(u: Tensor, iterations: int) -> Tensor:
    q = torch.zeros_like(u)
    for j in range(u.shape[-1]):
        column, before = u[..., j : j + 1], q[..., :j]
        for _ in range(iterations):
            column = column - before @ (before.mT @ column)
        q[..., j : j + 1] = column / torch.linalg.vector_norm(column, dim=-2, keepdim=True)
    return q


def _modified(u: Tensor, iterations: int) -> Tensor:
    q = u.clone()
    for _ in range(iterations):
        for j in range(u.shape[-1]):
            column = q[..., j : j + 1]
            column /= torch.linalg.vector_norm(column, dim=-2, keepdim=True)
            later = q[..., j + 1 :]
            later -= column @ (column.mT @ later)
    return q


class _ByPolar(torch.autograd.Function):
    """Both ways by U = W S Z^T; autograd of the decomposition would divide by differences of singular values."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, u: Tensor) -> Tensor:
        with sphere.full_precision(u.device):
            w, sizes, zt = torch.linalg.svd(u)
            turned: Tensor = rows @ zt.mT
            ctx.save_for_backward(turned, w, sizes, zt)
            rotated: Tensor = turned @ w.mT
            # LAPACK's W and Z are orthogonal to some 1e-6 only: one Newton-Schulz step of R, applied to the rows.
            polished: Tensor = 1.5 * rotated - 0.5 * (rotated @ w @ zt @ zt.mT) @ w.mT
            return polished

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        turned, w, sizes, zt = ctx.saved_tensors
        with sphere.full_precision(grad.device):
            inner = grad @ w
            p = inner.mT @ turned  # W^T G Z
            sums = sizes.unsqueeze(-1) + sizes.unsqueeze(-2)
            grad_u = w @ ((p - p.mT) / sums) @ zt if ctx.needs_input_grad[1] else None
            return inner @ zt, grad_u
