"""Hyperspherical energies: the MHE family of the thesis, called Riesz-Fisher and logarithmic loss in the MMA paper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from onsphere import sphere

Distance = Literal["euclidean", "angular"]

# Directions nearer than this count as this far apart, with no force between them: f_s has no finite value at 0, and the
# force s / distance^(s+1) there would destroy the weights. 1e-6 is what float32 can tell apart.
FLOOR = 1e-6
# Beyond these |cosines| a Gram product leaves too few digits of the distance: a float32 tile is computed again in
# float64, and in float64 the pair is computed from the difference of its vectors.
_CLOSE_FLOAT32 = 0.95
_CLOSE_FLOAT64 = 1 - 5e-5


@dataclass(frozen=True)
class _Kernel:
    """f_s of a distance, as a function of the cosine c of two directions, and its derivative by c."""

    s: float
    angular: bool
    half_space: bool

    @property
    def sees_opposite(self) -> bool:
        """Whether cosines near -1 need care, too."""
        return self.angular or self.half_space

    def tile(self, cosine: Tensor, product: Tensor | None, offset: Tensor | None) -> tuple[Tensor, Tensor]:
        """f and df/dc of every entry; ``product`` = b_i b_j and ``offset`` = (b_i - b_j)^2 where neurons are weighted."""
        if self.angular:
            theta = cosine.acos()
            value, slope = self._power(theta, -self.s - 1)
            if self.half_space:
                mirrored, opposite = self._power(torch.pi - theta, -self.s - 1)
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

    def _power(self, distance: Tensor, exponent: float) -> tuple[Tensor, Tensor]:
        """f_s(z) and -df/dz."""
        if self.s == 0:
            return distance.log().neg_(), distance.reciprocal()
        slope = distance.pow(exponent)
        return slope * distance, slope.mul(self.s)

    def pair(self, seen: sphere.Pairs, product: Tensor | float, offset: Tensor | float) -> tuple[Tensor, Tensor]:
        """f and the force along the unit tangents for pairs known from their differences."""
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
        value, slope = self._power(distance.clamp_min(FLOOR), -self.s - 1)
        return value, torch.where(distance < FLOOR, 0.0, slope)

    def antipodes(self, beta: Tensor | None, n: int) -> float:
        """Sum over the neurons of f of the distance between a neuron and its own mirror image."""
        if self.angular:
            distance = torch.full((n,), torch.pi, dtype=torch.float64)
        else:
            distance = torch.full((n,), 2.0, dtype=torch.float64) if beta is None else 2.0 * beta
        return float(self._power(distance, -self.s - 1)[0].sum())


def _squared(cosine: Tensor, slope: float, product: Tensor | None, offset: Tensor | None) -> Tensor:
    """Squared distance (b_i - b_j)^2 + b_i b_j (2 -+ 2c)."""
    squared = torch.mul(cosine, slope).add_(2.0)
    return squared if product is None or offset is None else squared.mul_(product).add_(offset)


@dataclass
class _Sum:
    """A running energy and its gradient: ``gradient`` holds sum_j P_ij w_j/||w_j||, ``radial`` its part along w_i."""

    value: Tensor
    gradient: Tensor | None
    radial: Tensor


def _energy(
    rows: sphere.Rows, kernel: _Kernel, beta: Tensor | None, chosen: Tensor | None, share: Tensor | None, grad: bool
) -> tuple[Tensor, Tensor | None]:
    """Sum of f over the unordered pairs of all rows, or of ``share`` * f over the pairs (chosen row, other row).

    One pass over Gram tiles: each gives its part of the value and of the gradient while it is in the cache.
    """
    matrix, n = rows.matrix, rows.n
    high, wide = sphere.tile_shape(n, matrix.device)
    total = _Sum(
        torch.zeros((), dtype=torch.float64, device=matrix.device),
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
        for part, weight in zip(chosen.split(high), share.split(high), strict=True):
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
    kernel: _Kernel,
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
    exact = cosine.dtype == torch.float64
    if not exact and _extreme(cosine, _CLOSE_FLOAT32, kernel.sees_opposite):
        exact = True
        cosine = rows.unit(i) @ rows.unit(j).T
        if own is not None:
            cosine[own] = 0.0
    close = None
    if exact and _extreme(cosine, _CLOSE_FLOAT64, kernel.sees_opposite):
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
    total.value += value.sum(dtype=torch.float64)

    if total.gradient is not None:
        along = slope * cosine
        after = slice(j.start + square, j.stop)
        if exact and matrix.dtype != torch.float64:
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
    if close is not None:
        _add_close(total, rows, kernel, beta, i, j, close, share, square)


def _extreme(cosine: Tensor, limit: float, both: bool) -> bool:
    low, high = torch.stack(torch.aminmax(cosine)).tolist()
    return bool(high > limit or (both and low < -limit))


def _add_close(
    total: _Sum,
    rows: sphere.Rows,
    kernel: _Kernel,
    beta: Tensor | None,
    i: slice | Tensor,
    j: slice,
    close: tuple[Tensor, Tensor],
    share: Tensor | None,
    square: int,
) -> None:
    """Add the pairs that only their differences can tell apart."""
    at = torch.arange(rows.n, device=rows.matrix.device)[i]
    chunk = max(1, (1 << 20) // rows.matrix.shape[1])
    for a, b in zip(close[0].split(chunk), close[1].split(chunk), strict=True):
        first, second = at[a], b + j.start
        seen = sphere.pairs(rows, first, second)
        product: Tensor | float = 1.0
        offset: Tensor | float = 0.0
        if beta is not None:
            b_i, b_j = beta[first].double(), beta[second].double()
            product, offset = b_i * b_j, (b_i - b_j).square()
        value, force = kernel.pair(seen, product, offset)
        weight = torch.ones_like(value) if share is None else share[a, 0].double()
        once = torch.where(b < square, 0.5, 1.0)  # such a pair comes again with its rows exchanged
        total.value += (value * weight * once).sum()
        if total.gradient is not None:
            force = (force * weight * once)[:, None]
            total.gradient.index_add_(0, first, (force * seen.at_u).to(total.gradient.dtype))
            total.gradient.index_add_(0, second, (force * seen.at_v).to(total.gradient.dtype))


class _HypersphericalEnergy(torch.autograd.Function):
    """The energy, with its gradient accumulated in the forward pass."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, kernel: _Kernel, beta: Tensor | None, labels: Tensor | None) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            rows = sphere.directions(weight)
            n = rows.n
            ctx.shape, ctx.dtype = weight.shape, weight.dtype
            ctx.gradient = None
            if n < 2:
                return rows.matrix.new_zeros(())
            if beta is not None and rows.kept is not None:
                beta = beta[rows.kept]
            chosen = share = None
            if labels is not None:
                chosen, share = _classes(labels, rows)
            elif kernel.half_space:
                factor = 4.0 / (2 * n * (2 * n - 1))
            else:
                factor = 2.0 / (n * (n - 1))
            if labels is not None:
                factor = 1.0
            value, gradient = _energy(rows, kernel, beta, chosen, share, ctx.needs_input_grad[0])
            value = value * factor
            if kernel.half_space:
                value = value + 2.0 * kernel.antipodes(beta, n) / (2 * n * (2 * n - 1))
            if gradient is not None:
                ctx.gradient = rows.gradient(gradient.mul_(factor), gradient.dtype)
            return value.to(rows.matrix.dtype)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
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
    chosen, times = labels.unique(return_counts=True)
    share = times.to(rows.matrix.dtype) / (max(1, len(labels)) * (rows.n - 1))
    return chosen, share


def mhe(
    weight: Tensor,
    s: float = 2.0,
    *,
    distance: Distance = "euclidean",
    half_space: bool = False,
    weights: Tensor | None = None,
    batch: float | int | None = None,
    labels: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Mean over ordered pairs of neurons of their hyperspherical energy (MHE, minimise hyperspherical energy).

    .. math::
        E_s = \frac{1}{N(N-1)} \sum_{i \ne j} f_s(\rho_{ij}), \qquad
        f_s(z) = z^{-s} \; (s > 0), \quad f_0(z) = \log z^{-1}

    with rho_ij = ||w_i/||w_i|| - w_j/||w_j|| || (the distance, not its square) or the angle between them.

    Args:
        weight: W, (N, d), one neuron a row. Zero rows are left out and get a zero gradient.
        s: the power, >= 0. Default 2: the thesis's choice (5.5.1).
        distance: "euclidean" (5.1) or "angular", radians (5.5).
        half_space: the energy of the 2N vectors {w, -w}: all ordered pairs / (2N(2N-1)), the N constant antipodal pairs
            included (5.3.4). It is N/(2N-1) * (mean over ordered pairs of f(rho) + f(rho of w_i, -w_j)) * (N-1)/N plus
            f(antipodal)/(2N-1); code that averages over the i != j pairs alone is that affine map away. For hidden
            layers only.
        weights: beta, (N,), positive: neuron i stands at beta_i w_i/||w_i|| (D.10). Euclidean distance only.
        batch: use this many neurons (int, at least 2), or this fraction of them (float in (0, 1]), drawn at random for
            this call (5.3.6).
        labels: y, (m,) class indices of a mini-batch: the data-dependent form for an output layer,
            1/(m(N-1)) sum_i sum_{j != y_i} f_s(rho_{y_i j}) (5.3.6). Full space only.
        generator: where ``batch`` draws from; default torch's own.

    Returns:
        A scalar; 0 for fewer than two neurons. float32, or float64 where the weight is. Directions closer than 1e-6 count
        as 1e-6 apart and do not push each other.

    Raises:
        ValueError: an argument is out of its range; the message repeats it.
        NonFiniteWeightError: the weight holds NaN or an infinity.

    Source: thesis eqs. 5.1, 5.5, D.10, sections 5.3.4 and 5.3.6; equal to MMA paper eqs. 9 and 11.

    Example:
        >>> round(mhe(torch.eye(3), s=2.0).item(), 4)
        0.5
    """
    _check(s, distance, half_space, weights, batch)
    if labels is not None:
        if half_space:
            raise ValueError("labels= is for an output layer, where half_space=True must not be used (thesis 5.3.4)")
        if batch is not None:
            raise ValueError(f"give batch or labels, not both: got batch={batch} and labels of shape {tuple(labels.shape)}")
        labels = _checked_labels(labels, weight)
    if weights is not None and weights.shape != weight.shape[:1]:
        raise ValueError(
            f"weights must hold one number a neuron: got shape {tuple(weights.shape)} for weight {tuple(weight.shape)}"
        )
    if batch is not None:
        chosen = _draw(weight.shape[0], batch, generator).to(weight.device)
        weight = weight[chosen]
        weights = None if weights is None else weights[chosen.to(weights.device)]
    beta = None if weights is None else weights.detach().to(weight.device, torch.float64)
    kernel = _Kernel(float(s), distance == "angular", half_space)
    value: Tensor = _HypersphericalEnergy.apply(weight, kernel, beta, labels)  # type: ignore[no-untyped-call]
    return value


def _check(s: float, distance: str, half_space: bool, weights: Tensor | None, batch: float | int | None) -> None:
    if not s >= 0 or s == float("inf"):
        raise ValueError(f"s must be a number >= 0, got {s}")
    if distance not in ("euclidean", "angular"):
        raise ValueError(f"distance must be 'euclidean' or 'angular', got {distance!r}")
    if weights is not None:
        if distance == "angular":
            raise ValueError("weights= changes lengths, which distance='angular' does not see; use distance='euclidean'")
        if weights.ndim != 1 or not bool(((weights > 0) & weights.isfinite()).all()):
            raise ValueError(f"weights must be a vector of positive finite numbers, got {weights}")
    if batch is not None:
        fraction = isinstance(batch, float)
        if (fraction and not 0 < batch <= 1) or (not fraction and batch < 2):
            raise ValueError(f"batch must be a fraction in (0, 1] or a count of at least 2, got {batch!r}")


def _checked_labels(labels: Tensor, weight: Tensor) -> Tensor:
    if labels.ndim != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(f"labels must be a vector of class indices, got {labels.dtype} {tuple(labels.shape)}")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < weight.shape[0]:
        raise ValueError(
            f"labels must lie in 0..{weight.shape[0] - 1}, one class a row of weight; "
            f"got {int(labels.min())}..{int(labels.max())}"
        )
    return labels.to(weight.device, torch.int64)


def _draw(n: int, batch: float | int, generator: torch.Generator | None) -> Tensor:
    count = max(2, round(batch * n)) if isinstance(batch, float) else batch
    device = generator.device if generator is not None else None
    return torch.randperm(n, generator=generator, device=device)[: min(count, n)]


def riesz(weight: Tensor, s: float = 1.0) -> Tensor:
    r"""The Riesz-Fisher loss, the mean over ordered pairs of an inverse power of their distance.

    .. math:: l_{RF} = \frac{1}{n(n-1)} \sum_{i \ne j} \|\hat w_i - \hat w_j\|^{-s}, \quad s > 0

    Args:
        weight: W, (n, d), one neuron a row.
        s: the power, > 0; default 1 as in the paper's Figure 2.

    Returns:
        A scalar, the same as ``mhe(weight, s)``.

    Raises:
        ValueError: s is not positive.

    Source: MMA paper, eq. 9.

    Example:
        >>> round(riesz(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), s=1.0).item(), 4)
        0.5
    """
    if not s > 0:
        raise ValueError(f"s must be positive, got {s}; for s = 0 use logarithmic()")
    return mhe(weight, s)


def logarithmic(weight: Tensor) -> Tensor:
    r"""The logarithmic loss, minus the mean over ordered pairs of the log distance.

    .. math:: l_{log} = -\frac{1}{n(n-1)} \sum_{i \ne j} \log \|\hat w_i - \hat w_j\|

    Args:
        weight: W, (n, d), one neuron a row.

    Returns:
        A scalar, the same as ``mhe(weight, 0)``.

    Source: MMA paper, eq. 11.

    Example:
        >>> round(logarithmic(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])).item(), 4)
        -0.6931
    """
    return mhe(weight, 0.0)


class MHE(nn.Module):
    """Minimise the hyperspherical energy: :func:`onsphere.functional.mhe` as a module (thesis 5.1, 5.5, 5.3.4, 5.3.6).

    With ``batch`` each call with gradients on draws other neurons: the draw depends on ``seed`` and on a count of calls
    (a buffer), so that it is the same on every rank and a resumed run continues it.

    Args:
        s, distance, half_space, weights, batch: as in :func:`onsphere.functional.mhe`.
        seed: of the draws of ``batch``.

    Example:
        >>> MHE(s=0.0, half_space=True)
        MHE(s=0.0, distance='euclidean', half_space=True)
    """

    over_groups = "mean"
    weights: Tensor | None
    calls: Tensor

    def __init__(
        self,
        s: float = 2.0,
        distance: Distance = "euclidean",
        half_space: bool = False,
        weights: Tensor | None = None,
        batch: float | int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        _check(s, distance, half_space, weights, batch)
        self.s, self.distance, self.half_space, self.batch, self.seed = float(s), distance, half_space, batch, seed
        self.register_buffer("weights", weights)
        if batch is not None:
            self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, weight: Tensor, labels: Tensor | None = None) -> Tensor:
        generator = None
        if self.batch is not None:
            generator = torch.Generator().manual_seed(1_000_003 * self.seed + int(self.calls))
            if torch.is_grad_enabled():
                self.calls += 1
        return mhe(
            weight,
            self.s,
            distance=self.distance,
            half_space=self.half_space,
            weights=self.weights,
            batch=self.batch,
            labels=labels,
            generator=generator,
        )

    def extra_repr(self) -> str:
        text = f"s={self.s}, distance={self.distance!r}, half_space={self.half_space}"
        if self.weights is not None:
            text += f", weights=<{len(self.weights)}>"
        return text if self.batch is None else f"{text}, batch={self.batch}, seed={self.seed}"


class Riesz(nn.Module):
    """The Riesz-Fisher loss: :func:`onsphere.functional.riesz` as a module (MMA paper, eq. 9).

    Example:
        >>> Riesz(s=2.0)(torch.eye(3))
        tensor(0.5000)
    """

    over_groups = "mean"

    def __init__(self, s: float = 1.0) -> None:
        super().__init__()
        if not s > 0:
            raise ValueError(f"s must be positive, got {s}; for s = 0 use Logarithmic()")
        self.s = float(s)

    def forward(self, weight: Tensor) -> Tensor:
        return riesz(weight, self.s)

    def extra_repr(self) -> str:
        return f"s={self.s}"


class Logarithmic(nn.Module):
    """The logarithmic loss: :func:`onsphere.functional.logarithmic` as a module (MMA paper, eq. 11).

    Example:
        >>> Logarithmic()(torch.eye(3))
        tensor(-0.3466)
    """

    over_groups = "mean"

    def forward(self, weight: Tensor) -> Tensor:
        return logarithmic(weight)
