"""All that is counted of the pairs of a set of directions, in one pass over tiles of the Gram matrix."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from onsphere import sphere
from onsphere.diversity.energy_tiles import FLOOR

BINS = 400  # of the histogram of cosines, from -1 to 1
POWERS = (0, 1, 2)  # s of the energies; an energy stands at index s
NEAR_DUPLICATE = math.radians(1.0)

# Beyond this |cosine| in a float32 tile its distances lose digits, so the tile is computed again in float64.
_CLOSE_FLOAT32 = 0.95
# Within this of |cosine| = 1 float64 has fewer than 6 digits of the squared distance: such pairs are computed from the
# difference of their vectors. Within the second they are nearer than FLOOR, and count as that, whatever the rest is.
_CLOSE_FLOAT64 = 1e-9
_SAME_FLOAT64 = 1e-13
# Pairs whose cosines agree this well with the largest one may be the closest pair; how many of them are looked at.
_ROUNDING = {torch.float32: 1e-6, torch.float64: 1e-13}
_CANDIDATES = 256


@dataclass
class Tally:
    """What there is among the pairs i < j of n directions.

    Attributes:
        n: the number of directions.
        above: pairs whose cosine exceeds the threshold.
        near_duplicate_pairs: pairs closer than one degree.
        near_duplicates: directions that have another within one degree.
        angle: the smallest angle, radians; NaN where there is no pair.
        energy: sum over the pairs of f_s(||u - v||) for every s of POWERS; closer than FLOOR counts as FLOOR.
        mirrored: sum over the pairs of f_s(||u + v||).
        histogram: (BINS,) pairs by their cosine.
    """

    n: int
    above: int = 0
    near_duplicate_pairs: int = 0
    near_duplicates: int = 0
    angle: float = math.nan
    energy: list[float] = field(default_factory=lambda: [0.0] * len(POWERS))
    mirrored: list[float] = field(default_factory=lambda: [0.0] * len(POWERS))
    histogram: list[int] = field(default_factory=lambda: [0] * BINS)

    @property
    def pairs(self) -> int:
        return self.n * (self.n - 1) // 2

    def mean_energy(self, s: int, half_space: bool) -> float:
        """E_s with the constants of :func:`onsphere.functional.mhe`."""
        if not half_space:
            return self.energy[s] / self.pairs
        antipodes = self.n * (-math.log(2) if s == 0 else 0.5**s)
        return (4 * (self.energy[s] + self.mirrored[s]) + 2 * antipodes) / (2 * self.n * (2 * self.n - 1))


def tally(rows: sphere.Rows, threshold: float, step: Callable[[int], None] = lambda pairs: None) -> Tally:
    """Go once through all pairs of directions.

    Args:
        rows: the directions.
        threshold: count the pairs with a cosine above this.
        step: called with the number of further pairs that are done, often enough for a progress bar.
    """
    n, device = rows.n, rows.matrix.device
    found = Tally(n)
    if n < 2:
        return found
    high, wide = sphere.tile_shape(n, device)
    counter = _Counter(rows, threshold)
    with torch.no_grad(), sphere.full_precision(device):
        for top in range(0, n, high):
            bottom = min(top + high, n)
            counter.add(top, bottom, top, bottom)  # the square on the diagonal, of which the upper half is meant
            for left in range(bottom, n, wide):
                counter.add(top, bottom, left, min(left + wide, n))
            step((bottom - top) * (2 * n - top - bottom - 1) // 2)
        counter.write(found)
    return found


class _Counter:
    """Running counts; they stay on the device until the end."""

    def __init__(self, rows: sphere.Rows, threshold: float) -> None:
        n, device = rows.n, rows.matrix.device
        self.rows, self.threshold = rows, threshold
        self.above = torch.zeros((), dtype=torch.int64, device=device)
        self.duplicate_pairs = 0
        self.duplicate = torch.zeros(n, dtype=torch.bool, device=device)
        self.sums = torch.zeros(2, len(POWERS), dtype=torch.float64, device=device)
        self.histogram = torch.zeros(BINS, dtype=torch.int64, device=device)
        self.best = -2.0
        self.closest: list[tuple[Tensor, Tensor, Tensor]] = []  # cosine, i, j

    def add(self, top: int, bottom: int, left: int, right: int) -> None:
        """Count the pairs of the rows [top, bottom) with [left, right), or among themselves where both are the same."""
        i, j = slice(top, bottom), slice(left, right)
        upper = None
        if left == top:
            upper = torch.triu_indices(bottom - top, bottom - top, 1, device=self.above.device)
            if upper.shape[1] == 0:
                return

        def pair(k: Tensor) -> tuple[Tensor, Tensor]:
            if upper is not None:
                return upper[0, k] + top, upper[1, k] + left
            return k // (right - left) + top, k % (right - left) + left

        cosine = self._cosines(i, j, upper, exact=self.rows.matrix.dtype == torch.float64)
        low, high = torch.stack(torch.aminmax(cosine)).tolist()
        if cosine.dtype == torch.float32 and max(-low, high) > _CLOSE_FLOAT32:
            cosine = self._cosines(i, j, upper, exact=True)
            low, high = torch.stack(torch.aminmax(cosine)).tolist()

        self.above += torch.count_nonzero(cosine > self.threshold)
        bins = torch.add(cosine, 1.0).mul_(BINS / 2).to(torch.int32).clamp_(0, BINS - 1)
        self.histogram += torch.bincount(bins, minlength=BINS)
        self._look_for_closest(cosine, high, pair)
        if high > math.cos(NEAR_DUPLICATE):
            near = (cosine > math.cos(NEAR_DUPLICATE)).nonzero().squeeze(1)
            self.duplicate_pairs += len(near)
            for index in pair(near):
                self.duplicate[index] = True
        self._add_energies(cosine, pair, max(-low, high))

    def _cosines(self, i: slice, j: slice, upper: Tensor | None, exact: bool) -> Tensor:
        if exact:
            units, wide = self.rows.unit(i), sphere.rows_at_once(self.rows.matrix.shape[1])
            parts = [slice(left, min(left + wide, j.stop)) for left in range(j.start, j.stop, wide)]
            tile = torch.cat([units @ self.rows.unit(part).T for part in parts], 1)
        else:
            matrix, scale = self.rows.matrix, self.rows.inverse_norm
            tile = (matrix[i] @ matrix[j].T).mul_(scale[j]).mul_(scale[i][:, None])
        return tile.flatten() if upper is None else tile[upper[0], upper[1]]

    def _look_for_closest(self, cosine: Tensor, high: float, pair: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        slack = _ROUNDING[cosine.dtype]
        if high < self.best - slack:
            return
        self.best = max(self.best, high)
        candidates = (cosine >= self.best - slack).nonzero().squeeze(1)[:_CANDIDATES]
        self.closest.append((cosine[candidates], *pair(candidates)))

    def _add_energies(self, cosine: Tensor, pair: Callable[[Tensor], tuple[Tensor, Tensor]], largest: float) -> None:
        apart, together = torch.mul(cosine, -2.0).add_(2.0), torch.mul(cosine, 2.0).add_(2.0)
        if largest > 1 - _CLOSE_FLOAT64:
            from_one = 1 - cosine.abs()
            close = ((from_one < _CLOSE_FLOAT64) & (from_one > _SAME_FLOAT64)).nonzero().squeeze(1)
            for some in torch.split(close, sphere.rows_at_once(self.rows.matrix.shape[1])):
                seen = sphere.pairs(self.rows, *pair(some))
                apart[some], together[some] = seen.chord.square(), seen.total.square()
        for side, squared in enumerate((apart, together)):
            squared.clamp_min_(FLOOR**2)
            self.sums[side, 0] -= squared.log().sum() / 2
            inverse = squared.rsqrt_()
            self.sums[side, 1] += inverse.sum()
            self.sums[side, 2] += inverse.square_().sum()

    def write(self, found: Tally) -> None:
        found.above, found.near_duplicate_pairs = int(self.above), self.duplicate_pairs
        found.near_duplicates = int(self.duplicate.sum())
        found.histogram = self.histogram.tolist()
        found.energy, found.mirrored = self.sums.tolist()
        good = [cosine >= self.best - _ROUNDING[cosine.dtype] for cosine, _, _ in self.closest]
        i = torch.cat([i[kept] for (_, i, _), kept in zip(self.closest, good, strict=True)])
        j = torch.cat([j[kept] for (_, _, j), kept in zip(self.closest, good, strict=True)])
        chunk = sphere.rows_at_once(self.rows.matrix.shape[1])
        parts = zip(torch.split(i, chunk), torch.split(j, chunk), strict=True)
        found.angle = min(float(sphere.pairs(self.rows, a, b).angle.min()) for a, b in parts)
