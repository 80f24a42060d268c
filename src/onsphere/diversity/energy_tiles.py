"""The sum of a kernel over all pairs of directions with its gradient, in one pass over tiles of the Gram matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from onsphere import sphere

# Directions nearer than this count as this far apart, with no force between them: f_s has no finite value at 0, and the
# force s / distance^(s+1) there would destroy the weights. 1e-6 is what float32 can tell apart.
FLOOR = 1e-6
# Beyond these |cosines| a Gram product leaves too few digits of the distance: a float32 tile is computed again in
# float64, and in float64 the pair is computed from the difference of its vectors.
_CLOSE_FLOAT32 = 0.95
_CLOSE_FLOAT64 = 1 - 5e-5


PairKernel = Callable[[sphere.Pairs, Tensor | float, Tensor | float], tuple[Tensor, Tensor]]


class Kernel(Protocol):
    """What a pair of directions contributes, as a function of the cosine c between them."""

    @property
    def sees_opposite(self) -> bool:
        """Whether cosines near -1 need as much care as those near 1."""

    def factor(self, n: int) -> float:
        """By what the sum over unordered pairs is multiplied."""

    def constant(self, n: int, beta: Tensor | None) -> float:
        """What is added to it."""

    def tile(self, cosine: Tensor, product: Tensor | None, offset: Tensor | None) -> tuple[Tensor, Tensor]:
        """The value and its derivative by c for every entry.

        ``product`` = b_i b_j and ``offset`` = (b_i - b_j)^2 where neurons are weighted.
        """

    @property
    def pair(self) -> PairKernel | None:
        """The value and the force along the unit tangents for pairs known from their differences.

        None where cosines will do: the kernel is finite where directions meet.
        """


@dataclass(frozen=True)
class SquaredCosine:
    """c^2: summed over unordered pairs, half the squared distance of the normalised Gram matrix from the identity."""

    sees_opposite = True
    pair = None

    def factor(self, n: int) -> float:
        return 1.0

    def constant(self, n: int, beta: Tensor | None) -> float:
        return 0.0

    def tile(self, cosine: Tensor, product: Tensor | None, offset: Tensor | None) -> tuple[Tensor, Tensor]:
        return cosine.square(), 2.0 * cosine


@dataclass(frozen=True)
class RieszKernel:
    """f_s of the distance or the angle, for the vectors w or (half space) for {w, -w}."""

    s: float
    angular: bool
    half_space: bool

    @property
    def sees_opposite(self) -> bool:
        return self.angular or self.half_space

    def factor(self, n: int) -> float:
        # An unordered pair stands for two ordered ones, and in half space for eight, four of each of two distances.
        return 4.0 / (2 * n * (2 * n - 1)) if self.half_space else 2.0 / (n * (n - 1))

    def constant(self, n: int, beta: Tensor | None) -> float:
        return 2.0 * self._antipodes(n, beta) / (2 * n * (2 * n - 1)) if self.half_space else 0.0

    def tile(self, cosine: Tensor, product: Tensor | None, offset: Tensor | None) -> tuple[Tensor, Tensor]:
        if self.angular:
            theta = cosine.acos()
            value, slope = self._power(theta)
            if self.half_space:
                mirrored, opposite = self._power(torch.pi - theta)
                value, slope = value.add_(mirrored), slope.sub_(opposite)
            return value, slope.div_(cosine.square().neg_().add_(1.0).sqrt_())
        value, slope = self._root_power(_squared(cosine, -2.0, product, offset))
        if self.half_space:
            mirrored, opposite = self._root_power(_squared(cosine, 2.0, product, offset))
            value, slope = value.add_(mirrored), slope.sub_(opposite)
        return value, slope if product is None else slope.mul_(product)

    def _root_power(self, squared: Tensor) -> tuple[Tensor, Tensor]:
        """f_s(sqrt(t)) and -2 df/dt; overwrites t. The common s need no general power."""
        if self.s == 2:
            value = squared.reciprocal_()
            return value, value.square().mul_(2.0)
        if self.s == 1:
            value = squared.rsqrt_()
            return value, value.pow(3)
        if self.s == 0:
            return squared.log().mul_(-0.5), squared.reciprocal_()
        slope = squared.pow(-self.s / 2 - 1)
        return squared.mul_(slope), slope.mul(self.s)

    def _power(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        """f_s(z) and -df/dz."""
        if self.s == 0:
            return distance.log().neg_(), distance.reciprocal()
        slope = distance.pow(-self.s - 1)
        return slope * distance, slope.mul(self.s)

    def pair(self, seen: sphere.Pairs, product: Tensor | float, offset: Tensor | float) -> tuple[Tensor, Tensor]:
        if self.angular:
            value, force = self._floored(seen.angle)
            if self.half_space:
                mirrored, back = self._floored(seen.opposite)
                value, force = value + mirrored, force - back
            return value, force
        distance = (product * seen.chord.square() + offset).sqrt()
        value, slope = self._floored(distance)
        force = slope / distance.clamp_min(FLOOR)
        if self.half_space:
            distance = (product * seen.total.square() + offset).sqrt()
            mirrored, slope = self._floored(distance)
            value, force = value + mirrored, force - slope / distance.clamp_min(FLOOR)
        return value, force * product * seen.sine

    def _floored(self, distance: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = self._power(distance.clamp_min(FLOOR))
        return value, torch.where(distance < FLOOR, 0.0, slope)

    def _antipodes(self, n: int, beta: Tensor | None) -> float:
        """Sum over the neurons of f of the distance between a neuron and its own mirror image."""
        if self.angular:
            distance = torch.full((n,), torch.pi, dtype=torch.float64)
        else:
            distance = torch.full((n,), 2.0, dtype=torch.float64) if beta is None else 2.0 * beta
        return float(self._power(distance)[0].sum())


def _squared(cosine: Tensor, slope: float, product: Tensor | None, offset: Tensor | None) -> Tensor:
    """Squared distance (b_i - b_j)^2 + b_i b_j (2 -+ 2c)."""
    squared = torch.mul(cosine, slope).add_(2.0)
    return squared if product is None or offset is None else squared.mul_(product).add_(offset)


def pair_sum(weight: Tensor, kernel: Kernel, beta: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
    """The kernel summed over the unordered pairs of rows of an (n, d) weight, times its factor, plus its constant.

    Args:
        weight: (n, d), one neuron a row; zero rows are left out.
        kernel: what a pair contributes.
        beta: (n,) weights of the neurons.
        labels: (m,) rows: the mean over them of the mean over all other rows, instead of the sum over all pairs.
    """
    # Within forward() it cannot be seen that nobody will ask for the gradient.
    weight = weight if torch.is_grad_enabled() else weight.detach()
    value: Tensor = _PairSum.apply(weight, kernel, beta, labels)  # type: ignore[no-untyped-call]
    return value


@dataclass
class _Sum:
    """A running energy and its gradient: ``gradient`` holds sum_j P_ij w_j/||w_j||, ``radial`` its part along w_i."""

    value: Tensor
    gradient: Tensor | None
    radial: Tensor


def _energy(
    rows: sphere.Rows, kernel: Kernel, beta: Tensor | None, chosen: Tensor | None, share: Tensor | None, grad: bool
) -> tuple[Tensor, Tensor | None]:
    """Sum of f over the unordered pairs of all rows, or of ``share`` * f over the pairs (chosen row, other row).

    One pass over Gram tiles: each gives its part of the value and of the gradient while it is in the cache.
    """
    matrix, n = rows.matrix, rows.n
    high, wide = sphere.tile_shape(n, matrix.device)
    total = _Sum(
        torch.zeros((), dtype=sphere.finest(matrix.device), device=matrix.device),
        torch.zeros_like(matrix) if grad else None,
        torch.zeros_like(rows.inverse_norm),
    )
    if chosen is None or share is None:
        for top in range(0, n, high):
            bottom = min(top + high, n)
            me = torch.arange(bottom - top, device=matrix.device)
            for left in range(top, n, wide):
                own = (me, me) if left == top else None
                _add_tile(total, rows, kernel, beta, slice(top, bottom), slice(left, min(left + wide, n)), own, None)
    else:
        for part, weight in zip(torch.split(chosen, high), torch.split(share, high), strict=True):
            for left in range(0, n, wide):
                right = min(left + wide, n)
                mine = ((part >= left) & (part < right)).nonzero().squeeze(1)
                own = (mine, part[mine] - left)
                _add_tile(total, rows, kernel, beta, part, slice(left, right), own, weight[:, None])
    if total.gradient is not None:
        scale = rows.inverse_norm
        total.gradient.mul_(scale[:, None]).addcmul_(matrix, (-total.radial * scale.square())[:, None])
    return total.value, total.gradient


def _add_tile(
    total: _Sum,
    rows: sphere.Rows,
    kernel: Kernel,
    beta: Tensor | None,
    i: slice | Tensor,
    j: slice,
    own: tuple[Tensor, Tensor] | None,
    share: Tensor | None,
) -> None:
    """Add the pairs (i, j) of one tile. ``share`` None means the upper triangle, whose first columns are the rows i."""
    matrix, scale = rows.matrix, rows.inverse_norm
    cosine = (matrix[i] @ matrix[j].T).mul_(scale[j]).mul_(scale[i][:, None])
    if own is not None:
        cosine[own] = 0.0
    exact = cosine.dtype == sphere.finest(cosine.device)
    if not exact and _extreme(cosine, _CLOSE_FLOAT32, kernel.sees_opposite):
        exact = True
        cosine = rows.unit(i) @ rows.unit(j).T
        if own is not None:
            cosine[own] = 0.0
    close = None
    if exact and kernel.pair is not None and _extreme(cosine, _CLOSE_FLOAT64, kernel.sees_opposite):
        size = cosine.abs() if kernel.sees_opposite else cosine
        close = (size > _CLOSE_FLOAT64).nonzero(as_tuple=True)
        cosine[close] = 0.0

    product = offset = None
    if beta is not None:
        b_i, b_j = beta[i].to(cosine.dtype)[:, None], beta[j].to(cosine.dtype)
        product, offset = b_i * b_j, (b_i - b_j).square()
    value, slope = kernel.tile(cosine, product, offset)
    for hole in (own, close):
        if hole is not None:
            value[hole] = 0.0
            slope[hole] = 0.0
    if share is not None:
        value, slope = value.mul_(share), slope.mul_(share)
    square = 0  # columns of the tile that are its own rows: there both orders of a pair are present
    if share is None and own is not None:
        square = cosine.shape[0]
        value[:, :square] *= 0.5
    total.value += value.sum(dtype=total.value.dtype)

    if total.gradient is not None:
        along = slope * cosine
        after = slice(j.start + square, j.stop)
        if cosine.dtype != matrix.dtype:
            # The part along w_i is up to 100 times the rest here: take it off before rounding to float32.
            u_i, u_j = rows.unit(i), rows.unit(j)
            total.gradient[i] += (slope @ u_j - along.sum(1, keepdim=True) * u_i).to(matrix.dtype)
            below = slope[:, square:].T @ u_i - along[:, square:].sum(0)[:, None] * u_j[square:]
            total.gradient[after] += below.to(matrix.dtype)
        else:
            total.radial[i] += along.sum(1)
            total.radial[after] += along[:, square:].sum(0)
            total.gradient[after].addmm_(slope[:, square:].T, matrix[i] * scale[i][:, None])
            if isinstance(i, slice):
                total.gradient[i].addmm_(slope.mul_(scale[j]), matrix[j])
            else:
                total.gradient[i] += slope.mul_(scale[j]) @ matrix[j]
    if close is not None and kernel.pair is not None:
        _add_close(total, rows, kernel.pair, beta, i, j, close, share, square)


def _extreme(cosine: Tensor, limit: float, both: bool) -> bool:
    low, high = torch.stack(torch.aminmax(cosine)).tolist()
    return bool(high > limit or (both and low < -limit))


def _add_close(
    total: _Sum,
    rows: sphere.Rows,
    pair: PairKernel,
    beta: Tensor | None,
    i: slice | Tensor,
    j: slice,
    close: tuple[Tensor, ...],
    share: Tensor | None,
    square: int,
) -> None:
    """Add the pairs that only their differences can tell apart."""
    at = torch.arange(rows.n, device=rows.matrix.device)[i]
    chunk = sphere.rows_at_once(rows.matrix.shape[1])
    for a, b in zip(torch.split(close[0], chunk), torch.split(close[1], chunk), strict=True):
        first, second = at[a], b + j.start
        seen = sphere.pairs(rows, first, second)
        product: Tensor | float = 1.0
        offset: Tensor | float = 0.0
        if beta is not None:
            b_i, b_j = beta[first], beta[second]
            product, offset = b_i * b_j, (b_i - b_j).square()
        value, force = pair(seen, product, offset)
        weight = torch.ones_like(value) if share is None else share[a, 0].to(value.dtype)
        once = torch.where(b < square, 0.5, 1.0)  # such a pair comes again with its rows exchanged
        total.value += (value * weight * once).sum()
        if total.gradient is not None:
            force = (force * weight * once)[:, None]
            total.gradient.index_add_(0, first, (force * seen.at_u).to(total.gradient.dtype))
            total.gradient.index_add_(0, second, (force * seen.at_v).to(total.gradient.dtype))


class _PairSum(torch.autograd.Function):
    """The energy, with its gradient accumulated in the forward pass."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, kernel: Kernel, beta: Tensor | None, labels: Tensor | None) -> Tensor:
        with sphere.full_precision(weight.device):
            rows = sphere.directions(weight)
            n = rows.n
            ctx.shape, ctx.dtype = weight.shape, weight.dtype
            ctx.gradient = None
            if n < 2:
                return rows.matrix.new_zeros(())
            if beta is not None and rows.kept is not None:
                beta = beta[rows.kept]
            chosen = share = None
            factor, constant = kernel.factor(n), kernel.constant(n, beta)
            if labels is not None:
                chosen, share = _classes(labels, rows)
                factor = 1.0
            value, gradient = _energy(rows, kernel, beta, chosen, share, ctx.needs_input_grad[0])
            value = value * factor + constant
            if gradient is not None:
                ctx.gradient = rows.gradient(gradient.mul_(factor), gradient.dtype)
            return value.to(rows.matrix.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        if ctx.gradient is None:
            return torch.zeros(ctx.shape, dtype=ctx.dtype, device=grad_output.device), None, None, None
        return (ctx.gradient * grad_output).to(ctx.dtype), None, None, None


def _classes(labels: Tensor, rows: sphere.Rows) -> tuple[Tensor, Tensor]:
    """The rows that a mini-batch names and how much each of their pairs counts: (times named) / (m (N - 1))."""
    if rows.kept is not None:
        place = torch.full((rows.shape[0],), -1, dtype=torch.int64, device=labels.device)
        place[rows.kept] = torch.arange(rows.n, device=labels.device)
        labels = place[labels]
        labels = labels[labels >= 0]
    chosen, times = torch.unique(labels, return_counts=True)
    share = times.to(rows.matrix.dtype) / (max(1, len(labels)) * (rows.n - 1))
    return chosen, share
