"""The ways to learn an orthogonal matrix (thesis 7.3.3 to 7.3.6): each says which matrix a parameter stands for."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import linalg
from torch import Tensor
from torch.autograd.function import once_differentiable

from onsphere import sphere
from onsphere.orthogonal import bases

__all__ = [
    "Cayley",
    "Exponential",
    "GramSchmidt",
    "Householder",
    "Lowdin",
    "Method",
    "OrthogonalGD",
    "Relaxed",
    "Unconstrained",
    "cayley",
    "exponential",
]


class Method(ABC):
    """What makes a matrix R, which moves all neurons of a layer, out of a parameter without constraints.

    A new one says how, by ``matrix``; it overrides the rest where there is a faster way, or another start.
    """

    @abstractmethod
    def matrix(self, parameter: Tensor) -> Tensor:
        """R, (..., m, m)."""

    def rotate(self, rows: Tensor, parameter: Tensor) -> Tensor:
        """R v for every row v: rows R^T, (..., n, m); rows and parameter have the same leading dimensions."""
        return rows @ self.matrix(parameter).mT

    def parameter(self, start: Tensor) -> Tensor:
        """A parameter whose matrix is this one: the matrix itself, if it is so; ValueError if there is none."""
        if not torch.allclose(start, self.matrix(start), atol=1e-6):
            m = start.shape[-1]
            raise ValueError(f"{self} makes no such {m} x {m} matrix: expected start='normal', or one that it makes")
        return start


def cayley(w: Tensor) -> Tensor:
    r"""The Cayley transform of a skew-symmetric matrix: a rotation, determinant 1.

    .. math:: R = (I + W)(I - W)^{-1}

    Args:
        w: W = -W^T, (..., m, m).

    Returns:
        R, of the shape of ``w``.

    Raises:
        ValueError: if w is no square matrix.

    Source: thesis, section 7.3.4.

    >>> cayley(torch.tensor([[0.0, -1.0], [1.0, 0.0]]))
    tensor([[ 0., -1.],
            [ 1.,  0.]])
    """
    bases.check_square(w)
    (w,) = bases.fine(w)
    identity = torch.eye(w.shape[-1], dtype=w.dtype, device=w.device)
    with sphere.full_precision(w.device):
        rotation: Tensor = torch.linalg.solve(identity - w, identity + w, left=False)
    return rotation


def exponential(w: Tensor) -> Tensor:
    r"""The matrix exponential of a skew-symmetric matrix: a rotation, determinant 1.

    .. math:: R = \exp(W) = \sum_k W^k / k!

    Args:
        w: W = -W^T, (..., m, m).

    Returns:
        R, of the shape of ``w``.

    Raises:
        ValueError: if w is no square matrix.

    Source: thesis, section 7.3.4.

    >>> half = torch.pi / 2
    >>> exponential(torch.tensor([[0.0, -half], [half, 0.0]])).round(decimals=4).abs()
    tensor([[0., 1.],
            [1., 0.]])
    """
    bases.check_square(w)
    (w,) = bases.fine(w)
    with sphere.full_precision(w.device):
        rotation: Tensor = torch.linalg.matrix_exp(w)
    return rotation


@dataclass(frozen=True)
class GramSchmidt(Method):
    r"""R is what the Gram-Schmidt process makes of the columns of U.

    .. math:: R = \mathrm{GS}(U)

    Args:
        modified: the modified process (F.3), in a loop over the columns: the same matrix, much slower.
        iterations: of the iterative process (Algorithm 2); above 1 likewise in a loop. Default 1 (F.1.1).

    Raises:
        ValueError: if iterations is below 1.

    Source: thesis, section 7.3.3 and Algorithms 1 and 2.

    >>> GramSchmidt().matrix(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
    tensor([[1., 0.],
            [0., 1.]])
    """

    modified: bool = False
    iterations: int = 1

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise ValueError(f"iterations={self.iterations!r}: expected at least 1")

    def matrix(self, parameter: Tensor) -> Tensor:
        """See :func:`gram_schmidt`."""
        return bases.gram_schmidt(parameter, modified=self.modified, iterations=self.iterations)

    def rotate(self, rows: Tensor, parameter: Tensor) -> Tensor:
        """rows R^T."""
        if self.modified or self.iterations > 1:
            return bases.rotate_by_columns(rows, parameter, self.modified, self.iterations)
        return bases.rotate_by_qr(rows, parameter, own_signs=False)

    def parameter(self, start: Tensor) -> Tensor:
        """The matrix itself."""
        return check_orthogonal(start, self)


@dataclass(frozen=True)
class Householder(Method):
    r"""R is the product of the Householder reflections that make U triangular.

    .. math:: R = H_1 H_2 \cdots H_{m-1}, \qquad U = R T

    Its determinant is (-1)^(m-1). At the identity, which needs no reflection, R is the identity; for even m the first
    step of a training from there turns the last coordinate around.

    Source: thesis, section 7.3.3, eq. 7.3 and Algorithm 3.

    >>> Householder().matrix(torch.eye(2))
    tensor([[1., 0.],
            [0., 1.]])
    """

    def matrix(self, parameter: Tensor) -> Tensor:
        """See :func:`householder`."""
        return bases.householder(parameter)

    def rotate(self, rows: Tensor, parameter: Tensor) -> Tensor:
        """rows R^T."""
        return bases.rotate_by_qr(rows, parameter, own_signs=True)

    def parameter(self, start: Tensor) -> Tensor:
        """The matrix itself."""
        check_orthogonal(start, self)
        if not torch.allclose(self.matrix(start), start, atol=1e-3):
            m = start.shape[-1]
            raise ValueError(f"no {self} gives this matrix: expected the determinant {(-1) ** (m - 1)} for m={m}")
        return start


@dataclass(frozen=True)
class Lowdin(Method):
    r"""R is the orthogonal matrix nearest to U.

    .. math:: R = U (U^\top U)^{-1/2}

    Source: thesis, section 7.3.3, eq. 7.4 and F.10 to F.15.

    >>> Lowdin().matrix(torch.tensor([[2.0, 0.0], [0.0, 3.0]])).round(decimals=5)
    tensor([[1., 0.],
            [0., 1.]])
    """

    def matrix(self, parameter: Tensor) -> Tensor:
        """See :func:`lowdin`."""
        return bases.lowdin(parameter)

    def rotate(self, rows: Tensor, parameter: Tensor) -> Tensor:
        """rows R^T."""
        return bases.rotate_by_polar(rows, parameter)

    def parameter(self, start: Tensor) -> Tensor:
        """The matrix itself."""
        return check_orthogonal(start, self)


@dataclass(frozen=True)
class Cayley(Method):
    r"""R is the Cayley transform of the skew-symmetric matrix below U's diagonal.

    .. math:: R v = 2 (I - W)^{-1} v - v, \qquad W = \mathrm{tril}(U, -1) - \mathrm{tril}(U, -1)^\top

    R = (I + W)(I - W)^-1 is a rotation without a half turn in any plane. It is never formed.

    Source: thesis, section 7.3.4.

    >>> Cayley().matrix(torch.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """

    def matrix(self, parameter: Tensor) -> Tensor:
        """See :func:`cayley`."""
        return cayley(skew(parameter))

    def rotate(self, rows: Tensor, parameter: Tensor) -> Tensor:
        """rows R^T."""
        rotated: Tensor = _ByCayley.apply(*bases.fine(rows, parameter))  # type: ignore[no-untyped-call]
        return rotated

    def parameter(self, start: Tensor) -> Tensor:
        """tril(W) with W = (R - I)(R + I)^-1, from float64."""
        fine = check_rotation(start, self)
        identity = torch.eye(start.shape[-1], dtype=fine.dtype, device=fine.device)
        found: Tensor = torch.linalg.solve(fine + identity, fine - identity, left=False).tril(-1)
        if not torch.allclose(cayley(skew(found)), fine, atol=1e-6):
            raise ValueError(f"no {self} gives this matrix: expected a rotation without a half turn in any plane")
        return found.to(start.dtype)


@dataclass(frozen=True)
class Exponential(Method):
    r"""R is the exponential of the skew-symmetric matrix below U's diagonal.

    .. math:: R = \exp(W), \qquad W = \mathrm{tril}(U, -1) - \mathrm{tril}(U, -1)^\top

    Every rotation is one; :class:`Cayley` is much faster.

    Source: thesis, section 7.3.4.

    >>> Exponential().matrix(torch.zeros(2, 2))
    tensor([[1., 0.],
            [0., 1.]])
    """

    def matrix(self, parameter: Tensor) -> Tensor:
        """See :func:`exponential`; its squarings cost digits, which one Newton-Schulz step gives back."""
        rotation = exponential(skew(parameter))
        with sphere.full_precision(rotation.device):
            return 1.5 * rotation - 0.5 * rotation @ (rotation.mT @ rotation)

    def rotate(self, rows: Tensor, parameter: Tensor) -> Tensor:
        """rows R^T, with the step of Newton and Schulz on the rows."""
        rotated: Tensor = _ByExponential.apply(*bases.fine(rows, parameter))  # type: ignore[no-untyped-call]
        return rotated

    def parameter(self, start: Tensor) -> Tensor:
        """tril(W) of the W with the smallest angles, from float64."""
        fine = check_rotation(start, self)
        flat = [_logarithm(each) for each in fine.reshape(-1, *start.shape[-2:]).cpu().numpy()]
        found = torch.from_numpy(np.stack(flat)).view(start.shape).tril(-1)
        return found.to(start)


@dataclass(frozen=True)
class OrthogonalGD(Method):
    """R is the parameter itself, and its optimizer keeps it orthogonal: :class:`OrthogonalSGD` must train it.

    Source: thesis, section 7.3.5.

    >>> OrthogonalGD().matrix(torch.eye(2))
    tensor([[1., 0.],
            [0., 1.]])
    """

    def matrix(self, parameter: Tensor) -> Tensor:
        """The parameter."""
        return parameter

    def parameter(self, start: Tensor) -> Tensor:
        """The matrix itself."""
        return check_orthogonal(start, self)


@dataclass(frozen=True)
class Relaxed(Method):
    r"""R is the parameter itself, and a penalty keeps it nearly orthogonal: add :class:`Penalty` to the loss.

    .. math:: \beta \|R^\top R - I\|_F^2

    Args:
        beta: weight of the penalty. The thesis gives no number; 1 makes it as strong as a loss of order one.

    Raises:
        ValueError: if beta is not a finite number of at least 0.

    Source: thesis, section 7.3.6, eq. 7.7.

    >>> Relaxed(beta=0.1)
    Relaxed(beta=0.1)
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.beta) and self.beta >= 0):
            raise ValueError(f"beta={self.beta!r}: expected a finite number of at least 0")

    def matrix(self, parameter: Tensor) -> Tensor:
        """The parameter."""
        return parameter


@dataclass(frozen=True)
class Unconstrained(Method):
    """R is the parameter itself, any matrix: unconstrained over-parameterized training (UPT), the negative control.

    Source: thesis, section 7.5.1, Table 7.1.

    >>> Unconstrained().matrix(torch.ones(1, 1))
    tensor([[1.]])
    """

    def matrix(self, parameter: Tensor) -> Tensor:
        """The parameter."""
        return parameter


class _ByCayley(torch.autograd.Function):
    """2 (I - W)^-1 v - v and its gradient from one factorization of I - W."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, parameter: Tensor) -> Tensor:
        with sphere.full_precision(rows.device):
            lower = parameter.tril(-1)
            system = torch.sub(lower.mT, lower)
            system.diagonal(dim1=-2, dim2=-1).fill_(1)
            factors, pivots = torch.linalg.lu_factor(system)
            solved = torch.linalg.lu_solve(factors, pivots, rows.mT).mT
            ctx.save_for_backward(solved, factors, pivots)
            rotated: Tensor = 2 * solved - rows
            return rotated

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        solved, factors, pivots = ctx.saved_tensors
        with sphere.full_precision(grad.device):
            back = torch.linalg.lu_solve(factors, pivots, 2 * grad.mT, adjoint=True)
            grad_rows = back.mT - grad
            if not ctx.needs_input_grad[1]:
                return grad_rows, None
            full = back @ solved  # of W
            return grad_rows, (full - full.mT).tril_(-1)


class _ByExponential(torch.autograd.Function):
    """exp(W) v; written out, so that autocast around the backward pass does not reach it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, parameter: Tensor) -> Tensor:
        with sphere.full_precision(rows.device):
            w = skew(parameter)
            rotation = exponential(w)
            rotated: Tensor = rows @ rotation.mT
            ctx.save_for_backward(rows, w, rotation)
            # The squarings of the exponential cost digits: one Newton-Schulz step of R, applied to the rows.
            polished: Tensor = 1.5 * rotated - 0.5 * (rotated @ rotation) @ rotation.mT
            return polished

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None]:
        rows, w, rotation = ctx.saved_tensors
        with sphere.full_precision(grad.device):
            grad_rows: Tensor = grad @ rotation
            if not ctx.needs_input_grad[1]:
                return grad_rows, None
            # The derivative at W^T in the direction of R's gradient stands in the corner of a larger exponential.
            m = w.shape[-1]
            upper, lower = torch.cat([w.mT, grad.mT @ rows], -1), torch.cat([torch.zeros_like(w), w.mT], -1)
            full = exponential(torch.cat([upper, lower], -2))[..., :m, m:]
            return grad_rows, (full - full.mT).tril(-1)


def skew(parameter: Tensor) -> Tensor:
    """W = L - L^T with L below the diagonal."""
    lower: Tensor = parameter.tril(-1)
    return lower - lower.mT


def deviation(matrix: Tensor) -> Tensor:
    """||R^T R - I||_F, (...), in float64 on the CPU."""
    fine = matrix.detach().to("cpu", torch.float64)
    norms: Tensor = torch.linalg.matrix_norm(fine.mT @ fine - torch.eye(fine.shape[-1], dtype=fine.dtype))
    return norms


def beyond(matrix: Tensor, tolerance: float) -> float | None:
    """The largest ||R^T R - I||_F of some matrices if it is sqrt(m) times the tolerance or more, or NaN; else None."""
    worst = float(deviation(matrix).max())
    return None if worst < tolerance * matrix.shape[-1] ** 0.5 else worst


def check_orthogonal(start: Tensor, method: Method) -> Tensor:
    """The same; a ValueError if it is not orthogonal to about three digits."""
    bases.check_square(start)
    worst = beyond(start, 1e-3)
    if worst is not None:
        raise ValueError(
            f"{method} cannot start at a matrix with ||R^T R - I|| = {worst:.3g}: expected an orthogonal one"
        )
    return start


def check_rotation(start: Tensor, method: Method) -> Tensor:
    """The same in float64, orthogonal to its digits; a ValueError if it is not orthogonal with determinant 1."""
    fine = check_orthogonal(start, method).double()
    for _ in range(3):
        fine = 1.5 * fine - 0.5 * fine @ (fine.mT @ fine)
    if (torch.linalg.det(fine) < 0).any():
        raise ValueError(f"no {method} gives a matrix with determinant -1: expected a rotation, determinant 1")
    return fine


def _logarithm(rotation: np.ndarray) -> Any:
    """Of a normal matrix the real Schur form is block diagonal: turns in planes, by angles that can be read off."""
    t, z = linalg.schur(rotation, output="real")
    angles = np.zeros_like(t)
    j, half_turns = 0, []
    while j < len(t):
        if j + 1 < len(t) and abs(t[j + 1, j]) > 1e-8:
            angles[j + 1, j] = np.arctan2(t[j + 1, j] - t[j, j + 1], t[j, j] + t[j + 1, j + 1])
            j += 2
            continue
        if t[j, j] < 0:
            half_turns.append(j)
        j += 1
    # Eigenvalues -1 come in pairs, since the determinant is 1: each pair is half a turn in the plane of its vectors.
    for first, second in zip(half_turns[::2], half_turns[1::2], strict=True):
        angles[max(first, second), min(first, second)] = np.pi
    return z @ (angles - angles.T) @ z.T
