"""Unit vectors: directions of weight rows, cosines, angles that are sound at 0 and pi, nearest neighbours in tiles.

Everything here works on the rows of an (n, d) matrix. A row stands for the direction w/||w||; its length never matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Above this |cosine| a float32 Gram product no longer has the digits that an angle or a nearest neighbour needs
# (the error of theta is eps / sin theta), so such rows are looked at again in float64.
NEAR = 0.9
# Two float64 unit vectors closer than this differ by the rounding of their normalisation only: they are one direction.
SAME = 1e-15
# Elements of scratch that one step may use (times 8 bytes for float64): keeps every algorithm O(n * tile) in memory.
_SCRATCH = 1 << 20


class NonFiniteWeightError(ValueError):
    """A weight holds NaN or an infinity, so it has no direction."""


def finest(device: torch.device) -> torch.dtype:
    """The finest floating point that a device has: float64, but float32 on Apple's GPUs, where close pairs lose digits.

    Example:
        >>> finest(torch.device("cpu"))
        torch.float64
    """
    return torch.float32 if device.type == "mps" else torch.float64


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """All in the types that the tensors have; the meta device, which only finds shapes, knows no autocast.

    Example:
        >>> with without_autocast(torch.device("meta")):
        ...     shape = torch.zeros(2, 3, device="meta").shape
    """
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Float32 products with float32 digits: without autocast, and without TF32 where the user allows it elsewhere.

    Cosines from TF32 have three digits. It is needed backward as well as forward: autograd's threads have an autocast
    state of their own.

    Example:
        >>> with full_precision(torch.device("cpu")):
        ...     product = torch.eye(2) @ torch.eye(2)
    """
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision if device.type == "cuda" else None
    if before is not None:
        matmul.fp32_precision = "ieee"
    try:
        with without_autocast(device):
            yield
    finally:
        if before is not None:
            matmul.fp32_precision = before


def normalize(x: Tensor, dim: int = -1) -> Tensor:
    r"""Project vectors onto the unit sphere, ``x / ||x||``; a zero vector stays zero and gets a zero gradient.

    Args:
        x: any shape, floating point.
        dim: the dimension that holds the coordinates.

    Returns:
        A tensor of the shape of ``x``, computed in float32 or better.

    Example:
        >>> normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    x = x if x.dtype == torch.float64 else x.float()
    # Dividing by the largest coordinate first keeps the squares of tiny and huge vectors inside the exponent range.
    largest = x.detach().abs().amax(dim, keepdim=True)
    zero = largest == 0
    scaled = x / torch.where(zero, torch.inf, largest)  # 0/inf = 0, and so is its gradient
    length = torch.where(zero, torch.ones_like(largest), torch.linalg.vector_norm(scaled, dim=dim, keepdim=True))
    return scaled / length


def cosine(u: Tensor, v: Tensor, dim: int = -1) -> Tensor:
    """Cosine of the angle between vectors, ``<u, v> / (||u|| ||v||)``, broadcasting over the other dimensions.

    Example:
        >>> cosine(torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0]))
        tensor(0.7071)
    """
    return (normalize(u, dim) * normalize(v, dim)).sum(dim)


def angle(u: Tensor, v: Tensor, dim: int = -1) -> Tensor:
    r"""Angle between vectors in radians, ``2 atan2(||u - v||, ||u + v||)`` of the unit vectors.

    Exact near 0 and pi, where ``acos`` of a rounded cosine has no digits left. The gradient at exactly equal or
    opposite vectors, where none exists, is 0.

    Args:
        u, v: vectors along ``dim``; the other dimensions broadcast.
        dim: the dimension that holds the coordinates.

    Returns:
        Angles in [0, pi], radians.

    Example:
        >>> angle(torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1e-6]))
        tensor(1.0000e-06)
    """
    u, v = normalize(u, dim), normalize(v, dim)
    apart, together = (u - v).square().sum(dim), (u + v).square().sum(dim)
    tiny = torch.finfo(apart.dtype).tiny  # sqrt has an infinite slope at 0
    chord = torch.where(apart > 0, apart.clamp_min(tiny).sqrt(), torch.zeros_like(apart))
    total = torch.where(together > 0, together.clamp_min(tiny).sqrt(), torch.zeros_like(together))
    return 2 * torch.atan2(chord, total)


def uniform(n: int, d: int, *, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32) -> Tensor:
    """Sample ``n`` independent directions, uniform on the unit sphere of R^d (normalised Gaussians).

    Example:
        >>> uniform(5, 3, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([5, 3])
    """
    if n < 1 or d < 1:
        raise ValueError(f"n and d must be at least 1, got n={n}, d={d}")
    device = None if generator is None else generator.device
    gaussian = torch.randn(n, d, generator=generator, dtype=torch.float64, device=device)
    return normalize(gaussian).to(dtype)


@dataclass(frozen=True)
class Rows:
    """The rows of a weight matrix that have a direction, ready for exact and fast arithmetic.

    Attributes:
        matrix: (n, d) float32 or float64, the nonzero rows, up to a positive factor a row.
        inverse_norm: (n,) 1 / ||row|| of ``matrix``.
        shape: the shape of the weight that they come from.
        kept: (n,) indices of the rows in that weight, or None where all rows are kept.
        factor: (n, 1) what the rows were divided by to stay inside the exponent range, or None for 1.
    """

    matrix: Tensor
    inverse_norm: Tensor
    shape: torch.Size
    kept: Tensor | None
    factor: Tensor | None

    @property
    def n(self) -> int:
        return self.matrix.shape[0]

    def unit(self, index: Tensor | slice) -> Tensor:
        """The chosen rows as unit vectors in float64."""
        rows = self.matrix[index].to(finest(self.matrix.device))
        norm: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        return rows / norm

    def gradient(self, grad: Tensor, dtype: torch.dtype) -> Tensor:
        """Carry a gradient with respect to ``matrix`` back to the weight: zero rows get a zero gradient."""
        if self.factor is not None:
            grad = grad / self.factor
        if self.kept is not None:
            grad = torch.zeros(self.shape, dtype=grad.dtype, device=grad.device).index_copy_(0, self.kept, grad)
        return grad.to(dtype)


def directions(weight: Tensor) -> Rows:
    """Read the rows of ``weight`` as directions: check them, leave zero rows out, take care of extreme lengths.

    Args:
        weight: (n, d), floating point; half precision is read as float32.

    Raises:
        ValueError: ``weight`` is not a floating-point matrix.
        NonFiniteWeightError: ``weight`` holds NaN or an infinity.

    Example:
        >>> directions(torch.tensor([[1.0, 2.0], [0.0, 0.0]])).n
        1
    """
    if weight.ndim != 2 or not weight.is_floating_point():
        raise ValueError(
            f"expected a floating-point matrix (n, d) with one neuron a row, got {weight.dtype} {tuple(weight.shape)}"
        )
    if hasattr(weight, "full_tensor"):
        raise ValueError(
            f"weight of shape {tuple(weight.shape)} is shared out over processes: expected weight.full_tensor(), or "
            "onsphere.Regularizer, which gathers it"
        )
    matrix = weight.detach()
    matrix = matrix if matrix.dtype == torch.float64 else matrix.float()
    if weight.numel() == 0:
        return Rows(matrix[:0], matrix.new_empty(0), weight.shape, torch.arange(0, device=weight.device), None)
    norm = torch.linalg.vector_norm(matrix, dim=1)
    shortest, longest = torch.stack(torch.aminmax(norm)).tolist()  # the one wait for the device
    info = torch.finfo(matrix.dtype)
    if shortest > info.tiny**0.25 and longest < info.max**0.25:
        return Rows(matrix, norm.reciprocal_(), weight.shape, None, None)

    largest = matrix.abs().amax(1)
    if not bool(torch.isfinite(largest).all()):
        bad = int((~torch.isfinite(matrix)).sum())
        raise NonFiniteWeightError(f"weight of shape {tuple(weight.shape)} holds {bad} NaN or infinite values")
    kept = largest.nonzero().squeeze(1)
    factor = largest[kept, None]
    matrix = matrix[kept] / factor
    inverse = torch.linalg.vector_norm(matrix, dim=1).reciprocal_()
    return Rows(matrix, inverse, weight.shape, None if len(kept) == weight.shape[0] else kept, factor)


def zero_rows(weight: Tensor) -> int:
    """Count the rows of an (n, d) weight that are exactly zero and so have no direction.

    Example:
        >>> zero_rows(torch.tensor([[1.0, 2.0], [0.0, 0.0]]))
        1
    """
    return int((weight.detach().abs().amax(1) == 0).sum()) if weight.numel() else weight.shape[0]


def tile_shape(n: int, device: torch.device) -> tuple[int, int]:
    """Rows and columns of a Gram tile: small enough for a cache, large enough for a fast matrix product."""
    if device.type != "cpu":
        return 4096, 8192
    return (64, n) if n <= 1024 else (256, 2048)


def rows_at_once(d: int) -> int:
    """How many d-dimensional rows one step may gather, so that scratch stays bounded whatever the layer is."""
    return max(1, _SCRATCH // d)


def nearest(rows: Rows) -> tuple[Tensor, Tensor]:
    """Find the nearest other direction of every row: ``argmax_{j != i} <w_i, w_j> / (||w_i|| ||w_j||)``.

    One pass over the upper half of the Gram matrix, tile by tile. Rows whose nearest neighbour is so close that cosines
    cannot tell the candidates apart are decided in float64, and in the last instance from differences of the vectors.

    Args:
        rows: at least two directions.

    Returns:
        index (n,) int64 and cosine (n,) in the type of ``rows.matrix``. Ties go to the lowest index.

    Example:
        >>> index, _ = nearest(directions(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])))
        >>> index
        tensor([2, 2, 0])
    """
    matrix, scale, n = rows.matrix, rows.inverse_norm, rows.n
    if n < 256:
        gram = (matrix @ matrix.T).mul_(scale).mul_(scale[:, None])
        gram.fill_diagonal_(-2.0)
        best, index = gram.max(1)
    else:
        best, index = _half_gram_maxima(matrix, scale)
    close = (best > NEAR).nonzero().squeeze(1)
    if len(close):
        if matrix.dtype != finest(matrix.device):
            _nearest_in_float64(rows, close, best, index)
        # Below, 1 - cosine is under 5e-5: float64 leaves fewer than 11 digits of it and candidates may look alike.
        alike = close[best[close] > 1 - 5e-5]
        if len(alike):
            _nearest_by_differences(rows, alike, index)
    return index, best


def _half_gram_maxima(matrix: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Row maxima of the cosine matrix and where they are, from its upper triangle alone."""
    n = len(matrix)
    high, wide = tile_shape(n, matrix.device)
    best = matrix.new_full((n,), -2.0)
    index = torch.zeros(n, dtype=torch.int64, device=matrix.device)
    scratch = matrix.new_empty(min(high, n) * min(wide + high, n))
    for top in range(0, n, high):
        bottom = min(top + high, n)
        left = top
        while left < n:
            right = min(left + wide, n)
            tile = scratch[: (bottom - top) * (right - left)].view(bottom - top, right - left)
            torch.mm(matrix[top:bottom], matrix[left:right].T, out=tile)
            tile.mul_(scale[left:right]).mul_(scale[top:bottom, None])
            if left == top:
                tile.fill_diagonal_(-2.0)
            _improve(best[top:bottom], index[top:bottom], *tile.max(1), left)
            if right > bottom:
                _improve_columns(best[left:right], index[left:right], tile, top, skip=max(bottom - left, 0))
            left = right
    return best, index


def _improve(best: Tensor, index: Tensor, values: Tensor, where: Tensor, offset: int) -> None:
    better = values > best
    torch.where(better, values, best, out=best)
    torch.where(better, where + offset, index, out=index)


def _improve_columns(best: Tensor, index: Tensor, tile: Tensor, offset: int, skip: int) -> None:
    """The tile's mirror image below the diagonal: its column maxima are candidates for the columns' rows."""
    tile, best, index = tile[:, skip:], best[skip:], index[skip:]
    if tile.device.type != "cpu":
        _improve(best, index, *tile.max(0), offset)
        return
    # On a CPU a column maximum with its index costs ten times one without, and few columns improve after some tiles.
    better = (tile.amax(0) > best).nonzero().squeeze(1)
    values, where = tile[:, better].max(0) if len(better) < tile.shape[1] // 2 else tile.max(0)
    if len(values) == len(better):
        best[better], index[better] = values, where + offset
    else:
        _improve(best, index, values, where, offset)


def _nearest_in_float64(rows: Rows, chosen: Tensor, best: Tensor, index: Tensor) -> None:
    """Repeat the search for the chosen rows with float64 products; writes into ``best`` and ``index``."""
    for part in torch.split(chosen, 256):
        _, cosines = _cosines_in_float64(rows, part)
        values, where = cosines.max(1)
        best[part], index[part] = values.to(best.dtype), where


def _cosines_in_float64(rows: Rows, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors of the chosen rows and their cosines with all rows; -2 stands for a row with itself."""
    units = rows.unit(chosen)
    wide = rows_at_once(rows.matrix.shape[1])
    cosines = torch.cat([units @ rows.unit(slice(j, j + wide)).T for j in range(0, rows.n, wide)], 1)
    cosines[torch.arange(len(chosen), device=chosen.device), chosen] = -2.0
    return units, cosines


def _nearest_by_differences(rows: Rows, chosen: Tensor, index: Tensor) -> None:
    """Decide among candidates whose cosines agree to rounding by ||w_i - w_j|| itself; writes into ``index``."""
    d = rows.matrix.shape[1]
    rounding = 1e-15 * (4 + d**0.5)
    for part in torch.split(chosen, 256):
        units, cosines = _cosines_in_float64(rows, part)
        alike = cosines >= cosines.amax(1, keepdim=True) - rounding
        first = alike.to(torch.uint8).argmax(1)
        index[part] = first
        chord = torch.linalg.vector_norm(rows.unit(first) - units, dim=1)
        # A duplicate is the nearest there can be: a layer of equal rows must not cost n^2 differences.
        open_rows = ((alike.sum(1) > 1) & (chord > SAME)).nonzero().squeeze(1)
        for row in open_rows.tolist():
            candidates = alike[row].nonzero().squeeze(1)
            gaps = [
                torch.linalg.vector_norm(rows.unit(some) - units[row], dim=1)
                for some in torch.split(candidates, rows_at_once(d))
            ]
            index[part[row]] = candidates[torch.cat(gaps).argmin()]


@dataclass(frozen=True)
class Pairs:
    """Pairs of directions seen from their differences, in float64: exact however close or opposite they are.

    Attributes:
        angle: (m,) radians in [0, pi].
        opposite: (m,) pi - angle, exact where that is small.
        chord: (m,) ||u - v||.
        total: (m,) ||u + v||.
        sine: (m,) sin(angle).
        at_u: (m, d) unit tangent at u that points to v; at v the one that points to u.
    """

    angle: Tensor
    opposite: Tensor
    chord: Tensor
    total: Tensor
    sine: Tensor
    at_u: Tensor
    at_v: Tensor


def pairs(rows: Rows, i: Tensor, j: Tensor) -> Pairs:
    """Angles and tangents of the pairs (i, j).

    Equal directions have no tangent between them: they get a fixed one that depends on the pair only and is opposite at
    its two ends, so that following it parts them. Opposite directions get zero.
    """
    u = rows.unit(i)
    found = arcs(u, rows.unit(j))
    same = (found.chord < SAME).nonzero().squeeze(1)
    if len(same):
        apart = _fixed_tangent(u[same], i[same], j[same])
        found.at_u[same], found.at_v[same] = apart, -apart
    return found


def arcs(u: Tensor, v: Tensor) -> Pairs:
    """Angles and tangents between the rows of two matrices of unit vectors; equal and opposite ones get zero tangents.

    Example:
        >>> arcs(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).angle
        tensor([1.5708])
    """
    # v - <u,v> u, written without the cancelling product at either end of the range.
    difference, total = v - u, u + v
    chord = torch.linalg.vector_norm(difference, dim=1)
    length = torch.linalg.vector_norm(total, dim=1)
    close = (chord < length)[:, None]
    half_chord, half_length = (chord.square() / 2)[:, None], (length.square() / 2)[:, None]
    at_u = torch.where(close, difference + half_chord * u, total - half_length * u)
    at_v = torch.where(close, half_chord * v - difference, total - half_length * v)
    theta, opposite = 2 * torch.atan2(chord, length), 2 * torch.atan2(length, chord)
    return Pairs(theta, opposite, chord, length, chord * length / 2, _unit_or_zero(at_u), _unit_or_zero(at_v))


def _unit_or_zero(x: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return torch.where(norm > SAME, x / norm.clamp_min(SAME), torch.zeros_like(x))


def _fixed_tangent(u: Tensor, i: Tensor, j: Tensor) -> Tensor:
    low, high = torch.minimum(i, j).to(u.dtype), torch.maximum(i, j).to(u.dtype)
    # Irrational steps, so that no two pairs agree.
    phase = (low * 0.7548776662466927 + high * 0.5698402909980532 + 0.3)[:, None]
    steps = torch.arange(1, u.shape[1] + 1, dtype=u.dtype, device=u.device)
    wave = torch.cos(steps * phase + steps.square())
    tangent = wave - (wave * u).sum(1, keepdim=True) * u
    return _unit_or_zero(tangent) * torch.where(i < j, 1.0, -1.0).to(u)[:, None]
