"""How rescaling the two factors of a linear layer changes its conditioning, without and with the cosine operator.

Section 3.2.3 of the thesis in numbers: one linear layer F = U V^T, where (c U, V / c) is the same function for every c.
Its lemmas are about the eigenvalues of two Hessians; here they are computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onsphere.diagnostics.text import Cell, Table, plain

__all__ = ["Conditioning", "RescaledConditioning", "factorization_hessian", "rescaled_conditioning", "restricted"]


@dataclass(frozen=True)
class Conditioning:
    """The eigenvalues of a symmetric matrix that its restricted condition number is made of.

    Attributes:
        largest: the largest absolute eigenvalue.
        smallest: the smallest one that is not zero.
        zeros: how many are zero.
    """

    largest: float
    smallest: float
    zeros: int

    @property
    def kappa(self) -> float:
        """The restricted condition number, ``largest / smallest``."""
        return self.largest / self.smallest


@dataclass(frozen=True)
class RescaledConditioning:
    """What :func:`rescaled_conditioning` finds; ``print`` shows the restricted condition numbers as a table.

    Attributes:
        scales: c.
        plain: of (3.7) at (c U, V / c), one for every c.
        cosine: of (3.8) at (c U, V / c), as it is written.
        weighted: of (3.8) there with weighted gradients (eq. 4.18): of the linear map that a step of gradient descent
            whose gradients are multiplied by the norms of their rows makes near the optimum.
        projected: of (3.8) after every row has been brought back to length one (section 4.4.1), as the proof of Lemma 2
            assumes.
    """

    scales: tuple[float, ...]
    plain: tuple[Conditioning, ...]
    cosine: tuple[Conditioning, ...]
    weighted: tuple[Conditioning, ...]
    projected: tuple[Conditioning, ...]

    def __str__(self) -> str:
        columns = (self.plain, self.cosine, self.weighted, self.projected)
        head = ("c", "(3.7)", "(3.8)\nas written", "(3.8)\nweighted gradients", "(3.8)\nprojected weights")
        rows = tuple(
            (Cell(f"{scale:g}"), *(Cell(f"{column[i].kappa:.1f}") for column in columns))
            for i, scale in enumerate(self.scales)
        )
        zeros = f"zero eigenvalues: {self.plain[0].zeros} of (3.7), {self.cosine[0].zeros} of (3.8)"
        return f"{plain(Table('Restricted condition number at (c U, V / c)', head, rows))}\n{zeros}"


@torch.no_grad()
def factorization_hessian(u: Tensor, v: Tensor, target: Tensor | None = None, *, normalized: bool = False) -> Tensor:
    r"""The Hessian of one linear layer's objective, plain or with the cosine operator.

    .. math:: \mathcal{G}(U, V) = \tfrac{1}{2} \|F - U V^\top\|_F^2, \qquad
        \mathcal{G}_S(U, V) = \tfrac{1}{2} \|F - D_U U V^\top D_V\|_F^2

    D_U and D_V divide every row by its norm. The coordinates are the rows of U one after the other, then those of V.
    The plain one is the closed form B.1 (the residual enters as I_k ⊗ (U V^T - F), where B.1 prints the two factors the
    other way round); the other one follows from it by the chain rule. It is the derivative of the objective itself,
    which the matrices of section B.4.2 are not: they take D_U = I before they differentiate again.

    Args:
        u: U, (n, k).
        v: V, (m, k).
        target: F, (n, m). None takes what U and V give, so that they are a global optimum.
        normalized: take the second one, of the cosine operator.

    Returns:
        ((n + m) k, (n + m) k) float64, symmetric.

    Raises:
        ValueError: shapes that do not fit, numbers that are not finite, or, with ``normalized``, a row of zeros.

    Source: thesis, equations 3.7, 3.8 and B.1.

    Example:
        >>> factorization_hessian(torch.tensor([[2.0]]), torch.tensor([[3.0]])).tolist()
        [[9.0, 6.0], [6.0, 4.0]]
        >>> factorization_hessian(torch.tensor([[2.0]]), torch.tensor([[3.0]]), normalized=True).abs().max().item()
        0.0
    """
    u, v = _factors(u, v)
    if normalized:
        lengths = torch.cat([_norms("u", u), _norms("v", v)])
        u, v = u / lengths[: len(u), None], v / lengths[len(u) :, None]
    residual = torch.zeros(len(u), len(v), dtype=torch.float64, device=u.device)
    if target is not None:
        if target.shape != residual.shape:
            raise ValueError(f"target has the shape {tuple(target.shape)}: expected {tuple(residual.shape)}, as U V^T")
        residual = u @ v.T - _finite("target", target)
    plain_one = _plain(u, v, residual)
    return _through_normalization(plain_one, u, v, residual, lengths) if normalized else plain_one


@torch.no_grad()
def restricted(hessian: Tensor, rtol: float | None = None) -> Conditioning:
    r"""Largest and smallest nonzero eigenvalue of a symmetric matrix, and how many are zero.

    .. math:: \kappa = \frac{\lambda_{\max}}{\lambda_{\min}}, \qquad
        \lambda_{\min} = \min \{ |\lambda_i| : |\lambda_i| > r \, \lambda_{\max} \}

    Of an indefinite matrix the absolute eigenvalues are taken.

    Args:
        hessian: (N, N), symmetric.
        rtol: r; an absolute eigenvalue of at most r times the largest counts as zero. None takes 10 N times the
            distance from 1 to the next float64: what rounding leaves of a zero eigenvalue stays below it.

    Returns:
        The two eigenvalues and the count; ``.kappa`` is their ratio.

    Raises:
        ValueError: the matrix is not square, not finite, not symmetric to rounding, or zero.

    Source: thesis, Lemma 1.

    Example:
        >>> restricted(torch.diag(torch.tensor([8.0, 2.0, 0.0]))).kappa
        4.0
    """
    matrix = _finite("hessian", hessian)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not len(matrix):
        raise ValueError(f"hessian has the shape {tuple(hessian.shape)}: expected (N, N)")
    size = float(matrix.abs().max())
    if size == 0:
        raise ValueError("all eigenvalues are zero: expected a matrix that is not zero")
    apart = float((matrix - matrix.T).abs().max())
    if apart > 1e-6 * size:
        raise ValueError(f"hessian differs from its transpose by {apart:g}: expected a symmetric matrix")
    values = torch.linalg.eigvalsh((matrix + matrix.T) / 2).abs().sort().values
    threshold = (10 * len(values) * torch.finfo(torch.float64).eps if rtol is None else rtol) * values[-1]
    zeros = int((values <= threshold).sum())
    if zeros == len(values):
        raise ValueError(f"rtol={rtol!r}: expected a number below 1, which leaves the largest eigenvalue")
    return Conditioning(float(values[-1]), float(values[zeros]), zeros)


@torch.no_grad()
def rescaled_conditioning(u: Tensor, v: Tensor, scales: Sequence[float] = (1.0, 2.0, 4.0, 8.0)) -> RescaledConditioning:
    r"""Restricted condition numbers of (3.7) and (3.8) at the optimum (c U, V / c), for every c.

    .. math:: \lambda(\nabla^2 \mathcal{G}) = \left\{ c^2 \sigma_i^2 + \frac{\tau_j^2}{c^2} \right\}, \qquad
        i = 1, \dots, n, \quad j = 1, \dots, m

    are the eigenvalues of (3.7) beside zeros, with σ and τ the singular values of U and V, zeros included. With more
    rows than columns the smallest is τ_k²/c² from some c on, and the condition number grows as c⁴, faster than Lemma 1
    asks. Lemma 2 holds after the rows have been normalised. As (3.8) is written it does not: both objectives are the
    same at (U, V) and at (c U, V / c), so both Hessians have U's block divided by c² there and V's multiplied by c².

    Args:
        u: U, (n, k) with k at least 2, without rows of zeros.
        v: V, (m, k), likewise.
        scales: every c, above 0.

    Returns:
        The condition numbers and what they are made of, in the order of the scales.

    Raises:
        ValueError: shapes or numbers that do not fit; or a scale so far from 1 that the smallest eigenvalue cannot be
            told from rounding in float64.

    Source: thesis, Lemmas 1 and 2 (section 3.2.3, proofs in B.4).

    Example:
        >>> u, v = torch.eye(3)[[0, 1, 2, 0]], torch.eye(3)[[0, 1, 2, 1]]
        >>> found = rescaled_conditioning(u, v, scales=(1.0, 10.0))
        >>> [round(found.plain[i].kappa) for i in range(2)], [round(found.projected[i].kappa) for i in range(2)]
        ([4, 20002], [4, 4])
    """
    u, v = _factors(u, v)
    if u.shape[1] < 2:
        raise ValueError(
            f"u has the shape {tuple(u.shape)}: expected (n, k) with k at least 2, since one number has no angle"
        )
    _norms("u", u), _norms("v", v)
    given = tuple(float(c) for c in scales)
    if not given or not all(math.isfinite(c) and c > 0 for c in given):
        raise ValueError(f"scales={tuple(scales)!r}: expected at least one finite number above 0")
    found: tuple[list[Conditioning], ...] = ([], [], [], [])
    for c in given:
        at = (c * u, v / c)
        literal = factorization_hessian(*at, normalized=True)
        # Near an optimum w <- w - rate * D * gradient moves as D H does, whose eigenvalues are those of D^1/2 H D^1/2.
        root = torch.cat([_norms("u", at[0]), _norms("v", at[1])]).sqrt().repeat_interleave(u.shape[1])
        unit = (at[0] / _norms("u", at[0])[:, None], at[1] / _norms("v", at[1])[:, None])
        matrices = (
            factorization_hessian(*at),
            literal,
            root[:, None] * literal * root,
            factorization_hessian(*unit, normalized=True),
        )
        for column, matrix in zip(found, matrices, strict=True):
            column.append(restricted(matrix))
    # Those of one objective are congruent, so they have one rank.
    if len({each.zeros for each in found[0]}) > 1 or len({each.zeros for column in found[1:] for each in column}) > 1:
        raise ValueError(
            f"scales={given}: the smallest eigenvalue cannot be told from zero in float64 for all of them: expected "
            "scales closer to 1"
        )
    return RescaledConditioning(given, *(tuple(column) for column in found))


def _plain(u: Tensor, v: Tensor, residual: Tensor) -> Tensor:
    """B.1 for rows one after the other: H[(a, i), (b, j)]."""
    (n, k), m = u.shape, len(v)
    eye = torch.eye(k, dtype=u.dtype, device=u.device)
    upper = torch.kron(torch.eye(n, dtype=u.dtype, device=u.device), v.T @ v)
    lower = torch.kron(torch.eye(m, dtype=u.dtype, device=u.device), u.T @ u)
    mixed = torch.einsum("aj,bi->aibj", u, v) + torch.einsum("ab,ij->aibj", residual, eye)
    mixed = mixed.reshape(n * k, m * k)
    return torch.cat([torch.cat([upper, mixed], 1), torch.cat([mixed.T, lower], 1)])


def _through_normalization(plain_one: Tensor, u: Tensor, v: Tensor, residual: Tensor, lengths: Tensor) -> Tensor:
    """The Hessian of x -> G(rows of x at length one) from that of G at the unit rows u, v.

    With P = I - w w^T of a unit row w, r its former length and g the gradient of G in it: blocks of G's Hessian become
    P H P / (r r'), and the diagonal ones lose (P g w^T + w g^T P + <g, w> P) / r^2, the curvature of w / |w| itself.
    """
    k = u.shape[1]
    rows = torch.cat([u, v])
    gradient = torch.cat([residual @ v, residual.T @ u])
    along = (gradient * rows).sum(1)
    across = gradient - along[:, None] * rows
    tangent = torch.eye(k, dtype=u.dtype, device=u.device) - rows[:, :, None] * rows[:, None, :]
    turned = across[:, :, None] * rows[:, None, :]
    curved = (turned + turned.mT + along[:, None, None] * tangent) / lengths[:, None, None].square()
    jacobian = _diagonal(tangent / lengths[:, None, None])
    return jacobian @ plain_one @ jacobian - _diagonal(curved)


def _diagonal(blocks: Tensor) -> Tensor:
    """(r, k, k) blocks along the diagonal of an (r k, r k) matrix of zeros."""
    r, k, _ = blocks.shape
    whole = blocks.new_zeros(r, k, r, k)
    every = torch.arange(r, device=blocks.device)
    whole[every, :, every] = blocks
    return whole.reshape(r * k, r * k)


def _factors(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    if u.ndim != 2 or v.ndim != 2 or u.shape[1] != v.shape[1] or not u.numel() or not v.numel():
        raise ValueError(
            f"u has the shape {tuple(u.shape)} and v {tuple(v.shape)}: expected (n, k) and (m, k), none of them 0"
        )
    return _finite("u", u), _finite("v", v)


def _finite(name: str, given: Tensor) -> Tensor:
    if not given.is_floating_point():
        raise ValueError(f"{name} is {given.dtype}: expected floating-point numbers")
    if not given.isfinite().all():
        raise ValueError(f"{name} holds NaN or an infinity: expected finite numbers")
    return given.detach().to(torch.float64)


def _norms(name: str, factor: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(factor, dim=1)
    if not norms.all():
        raise ValueError(f"row {int(norms.argmin())} of {name} is zero: expected rows with a direction")
    return norms
