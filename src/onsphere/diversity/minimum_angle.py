"""Measures of the nearest neighbour: MMA (eq. 6) and the cosine loss (eq. 5) of the MMA paper."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from onsphere import sphere


class _NearestNeighbour(torch.autograd.Function):
    """Mean over rows of -theta or cos theta to the nearest other row, with a gradient of three nonzeros a row."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, angular: bool) -> Tensor:
        with sphere.full_precision(weight.device):
            rows = sphere.directions(weight)
            ctx.rows, ctx.angular, ctx.dtype = rows, angular, weight.dtype
            ctx.version = weight._version
            ctx.weight = weight.detach()
            if rows.n < 2:
                return rows.matrix.new_zeros(())
            index, cosine = sphere.nearest(rows)
            # Everywhere else the float32 cosine is good to 1e-6 rad; here angle and tangent come from differences.
            near = (cosine.abs() > sphere.NEAR).nonzero().squeeze(1)
            value = cosine.clamp(-1.0, 1.0).acos().neg_() if angular else cosine.clamp(-1.0, 1.0)
            if len(near):
                theta = sphere.pairs(rows, near, index[near]).angle
                value[near] = (-theta if angular else theta.cos()).to(value.dtype)
            ctx.index, ctx.cosine, ctx.near = index, cosine, near
            return value.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, None]:
        rows: sphere.Rows = ctx.rows
        with sphere.full_precision(rows.matrix.device):
            if ctx.weight._version != ctx.version:
                raise RuntimeError("the weight was changed in place between the measure and backward(); call it again")
            if rows.n < 2:
                return torch.zeros(rows.shape, dtype=ctx.dtype, device=rows.matrix.device), None
            gradient = _gradient(rows, ctx.index, ctx.cosine, ctx.near, ctx.angular, grad_output)
            return rows.gradient(gradient, ctx.dtype), None


def _gradient(
    rows: sphere.Rows, index: Tensor, cosine: Tensor, near: Tensor, angular: bool, grad_output: Tensor
) -> Tensor:
    n, scale = rows.n, rows.inverse_norm
    share = grad_output / n
    # d cos_ij / d w_i = (w_j/||w_j|| - cos_ij w_i/||w_i||) / ||w_i||, and d theta = -d cos / sin theta.
    by_cosine = share * (1 - cosine.square()).rsqrt_() if angular else share.expand(n)
    if len(near):
        by_cosine = by_cosine.index_fill(0, near, 0.0)
    other = scale[index]
    along, across = by_cosine * cosine, by_cosine * scale * other
    diagonal = (along * scale.square()).index_add_(0, index, along * other.square()).neg_()
    every = torch.arange(n, device=index.device)
    places = torch.stack([torch.cat([every, every, index]), torch.cat([every, index, every])])
    values = torch.cat([diagonal, across, across])
    gradient: Tensor = torch.sparse_coo_tensor(places, values, (n, n), check_invariants=False) @ rows.matrix
    if len(near):
        _add_near(gradient, rows, index, near, angular, share)
    return gradient


def _add_near(gradient: Tensor, rows: sphere.Rows, index: Tensor, near: Tensor, angular: bool, share: Tensor) -> None:
    """The pairs whose tangents only differences can tell."""
    for part in torch.split(near, sphere.rows_at_once(rows.matrix.shape[1])):
        other = index[part]
        pairs = sphere.pairs(rows, part, other)
        push = share.expand(len(part)) if angular else share * pairs.sine
        gradient.index_add_(0, part, ((push * rows.inverse_norm[part])[:, None] * pairs.at_u).to(gradient.dtype))
        gradient.index_add_(0, other, ((push * rows.inverse_norm[other])[:, None] * pairs.at_v).to(gradient.dtype))


def mma(weight: Tensor) -> Tensor:
    r"""Mean over the neurons of minus the angle to the nearest other neuron (MMA, maximise the minimal angles).

    .. math:: l_{MMA} = -\frac{1}{n} \sum_{i=1}^n \min_{j \ne i} \theta_{ij}, \qquad \theta_{ij} = \angle(w_i, w_j)

    Args:
        weight: W, (n, d), one neuron a row. Zero rows are left out and get a zero gradient.

    Returns:
        A scalar in [-pi, 0], radians; 0 for fewer than two neurons. float32, or float64 where the weight is.

    The gradient of theta_ij has norm 1/||w_i|| at every angle (eq. 8): equal rows, which have no direction between
    them, are pushed apart along a fixed one. A row exactly opposite to its nearest gets 0.

    Raises:
        ValueError: the weight is not a floating-point matrix.
        NonFiniteWeightError: the weight holds NaN or an infinity.

    Source: MMA paper, eq. 6.

    Example:
        >>> import math
        >>> round(math.degrees(-mma(torch.eye(3)).item()), 3)
        90.0
    """
    value: Tensor = _NearestNeighbour.apply(weight, True)  # type: ignore[no-untyped-call]
    return value


def max_cosine(weight: Tensor) -> Tensor:
    r"""Mean over the neurons of the largest cosine to another neuron (the cosine loss).

    .. math:: l_{cosine} = \frac{1}{n} \sum_{i=1}^n \max_{j \ne i} \cos\theta_{ij}

    Args:
        weight: W, (n, d), one neuron a row. Zero rows are left out and get a zero gradient.

    Returns:
        A scalar in [-1, 1]; 0 for fewer than two neurons. Its gradient vanishes between close neurons (eq. 7).

    Raises:
        ValueError: the weight is not a floating-point matrix.
        NonFiniteWeightError: the weight holds NaN or an infinity.

    Source: MMA paper, eq. 5.

    Example:
        >>> max_cosine(torch.eye(3))
        tensor(0.)
    """
    value: Tensor = _NearestNeighbour.apply(weight, False)  # type: ignore[no-untyped-call]
    return value


class MMA(nn.Module):
    """Maximise the minimal angles: :func:`onsphere.functional.mma` as a module (MMA paper, eq. 6).

    Example:
        >>> MMA()(torch.eye(4))
        tensor(-1.5708)
    """

    over_groups = "mean"

    def forward(self, weight: Tensor) -> Tensor:
        return mma(weight)


class MaxCosine(nn.Module):
    """The cosine loss: :func:`onsphere.functional.max_cosine` as a module (MMA paper, eq. 5).

    Example:
        >>> MaxCosine()(torch.eye(4))
        tensor(0.)
    """

    over_groups = "mean"

    def forward(self, weight: Tensor) -> Tensor:
        return max_cosine(weight)
