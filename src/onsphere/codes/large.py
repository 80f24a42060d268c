r"""Many points: energies of near pairs only, ever sharper, so that time and memory grow with n.

An energy of the pairs closer than a cutoff is minimised by L-BFGS over w with x = w / ||w||; when a point has
travelled far enough for another pair to come near, the list of pairs is made anew. Where the dimension is high and the
points are not so many, most pairs are near, and a soft maximum of all of them costs less.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onsphere.codes.code import Improvement, Progress
from onsphere.codes.packing_angle import cap_share, packing_angle
from onsphere.codes.pairs import min_angle
from onsphere.codes.relaxation import largest_cosine, soft_maximum, unit

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

Array = NDArray[np.float64]
Index = NDArray[np.intp]
Energy = Callable[..., tuple[float, Array]]  # of w flattened, n, d, the sharpness and, for near pairs, their indices


@dataclass(frozen=True)
class Stage:
    """One energy of near pairs to be minimised.

    Attributes:
        energy: value and gradient at w, flattened, for a sharpness and pairs.
        sharpness: the exponent of :func:`riesz`, the distance of :func:`soft_spheres` in units of the hoped one, or
            b (1 - c) of :func:`onsphere.codes.relaxation.soft_maximum`.
        reach: the cutoff in units of the angle that is hoped for; infinite where all pairs count.
        iterations: of L-BFGS.
        name: for the eyes of the user.
    """

    energy: Energy
    sharpness: float
    reach: float
    iterations: int
    name: str


CLUSTERED = 2  # times as many neighbours as of uniform points: from there on a start is loosened
SAMPLE = 64  # of the points whose neighbours are counted for that
NEIGHBOURS = 100  # that a point's list may hold on average: fixes the cutoff where there is little room between points
TREE_DIMENSIONS = 4  # up to here a k-d tree finds the near pairs; above, tiles of the Gram matrix
TILE = 1024
SCRATCH = 1 << 22  # coordinates of pairs that are held at once
CROWDED = 40  # points per dimension up to which most pairs are near: then all are taken
GOLDEN_OFFSET = 0.36  # of the first point from the pole, in units of the spacing in height (Roberts, 2018)


def fibonacci(n: int) -> Array:
    r"""n points of a spiral whose turns are golden sections: a good start in three dimensions.

    .. math:: z_k = 1 - 2 \frac{k + \epsilon}{n - 1 + 2 \epsilon}, \qquad \varphi_k = \pi (1 + \sqrt 5) k

    Example:
        >>> fibonacci(1000).shape
        (1000, 3)
    """
    k = np.arange(n)
    z = 1 - 2 * (k + GOLDEN_OFFSET) / (n - 1 + 2 * GOLDEN_OFFSET)
    turn = math.pi * (1 + math.sqrt(5)) * k
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), z], 1)


def near_pairs(x: Array, angle: float) -> tuple[Index, Index]:
    """The pairs i < j of unit rows closer than an angle.

    Example:
        >>> i, j = near_pairs(np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]]), 1.0)
        >>> sorted(zip(i.tolist(), j.tolist()))
        [(0, 2), (1, 2)]
    """
    n, d = x.shape
    if d <= TREE_DIMENSIONS:
        from scipy.spatial import cKDTree

        found = cKDTree(x).query_pairs(2 * math.sin(angle / 2), output_type="ndarray")
        return np.ascontiguousarray(found[:, 0]), np.ascontiguousarray(found[:, 1])
    threshold = math.cos(angle)
    rows, columns = [], []
    for begin in range(0, n, TILE):
        for across in range(begin, n, TILE):
            i, j = np.nonzero(x[begin : begin + TILE] @ x[across : across + TILE].T > threshold)
            i, j = i + begin, j + across
            upper = i < j
            rows.append(i[upper])
            columns.append(j[upper])
    return np.concatenate(rows), np.concatenate(columns)


def riesz(flat: Array, n: int, d: int, s: float, i: Index, j: Index) -> tuple[float, Array]:
    """Value and gradient of the log-Riesz energy of the pairs (i, j), divided by s, at w, flattened.

    Example:
        >>> pair = np.array([0]), np.array([1])
        >>> round(riesz(np.eye(2).ravel(), 2, 2, 1.0, *pair)[0], 6)  # log of 1 / sqrt 2
        -0.346574
    """
    x, norm = _directions(flat, n, d)
    apart = _Apart(x, i, j)
    square = apart.squares()
    nearest = float(square.min())
    weight = np.exp((s / 2) * np.log(nearest / square))
    total = float(weight.sum())
    weight /= square
    weight *= -1 / total
    return math.log(total) / s - 0.5 * math.log(nearest), apart.gradient(norm, weight)


def soft_spheres(flat: Array, n: int, d: int, distance: float, i: Index, j: Index) -> tuple[float, Array]:
    r"""Value and gradient of the overlaps of spheres of a diameter D, at w, flattened.

    .. math:: \sum_{(i, j)} \max(0, 1 - \|x_i - x_j\| / D)^2

    Unlike an energy that diverges it spreads its work over all overlaps and not over the worst alone.

    Example:
        >>> pair = np.array([0]), np.array([1])
        >>> round(soft_spheres(np.eye(2).ravel(), 2, 2, 2 * 2**0.5, *pair)[0], 6)
        0.25
    """
    x, norm = _directions(flat, n, d)
    apart = _Apart(x, i, j)
    length = np.sqrt(apart.squares())
    overlap = np.maximum(1 - length / distance, 0.0)
    return float(overlap @ overlap), apart.gradient(norm, -2 * overlap / (distance * length))


def _directions(flat: Array, n: int, d: int) -> tuple[Array, Array]:
    w = flat.reshape(n, d)
    norm: Array = np.sqrt(np.einsum("nd,nd->n", w, w))[:, None]
    return w / norm, norm


class _Apart:
    """The differences x_i - x_j of pairs, in parts of bounded memory; where one part holds all it is made once.

    The gradient is asked for last: it scales the differences in place.
    """

    def __init__(self, x: Array, i: Index, j: Index) -> None:
        self.x, self.i, self.j = x, i, j
        self.size = max(1, SCRATCH // x.shape[1])
        self.all = x[i] - x[j] if len(i) <= self.size else None

    def parts(self) -> Iterator[tuple[slice, Array]]:
        if self.all is not None:
            yield slice(0, len(self.i)), self.all
            return
        for begin in range(0, len(self.i), self.size):
            part = slice(begin, begin + self.size)
            yield part, self.x[self.i[part]] - self.x[self.j[part]]

    def squares(self) -> Array:
        """The squared distances, kept off zero."""
        square = np.empty(len(self.i))
        for part, apart in self.parts():
            np.einsum("pd,pd->p", apart, apart, out=square[part])
        return np.maximum(square, 1e-24, out=square)

    def gradient(self, norm: Array, weight: Array) -> Array:
        """With respect to w, flattened, where that of a pair with respect to x_i is weight (x_i - x_j)."""
        n, d = self.x.shape
        gradient = np.zeros((n, d))
        for part, apart in self.parts():
            i, j = self.i[part], self.j[part]
            apart *= weight[part, None]
            for k in range(d):
                gradient[:, k] += np.bincount(i, apart[:, k], n) - np.bincount(j, apart[:, k], n)
        gradient -= np.einsum("nd,nd->n", gradient, self.x)[:, None] * self.x
        gradient /= norm
        return gradient.ravel()


def _travelled(x: Array, y: Array) -> float:
    """The largest distance between a point and where it was."""
    step = x - y
    return math.sqrt(float(np.einsum("nd,nd->n", step, step).max()))


def stages(n: int, d: int) -> tuple[Stage, ...]:
    """The stages for n points in d dimensions; the last ones are nearly the packing itself.

    In three dimensions the hexagonal packing is the scale: spheres a little too large order the points, and shrink.
    In others nothing so good is known, and the Riesz exponent, or the sharpness of the soft maximum, grows step by
    step.
    """
    if n <= CROWDED * d:
        sharper = (3, 10, 30, 100, 300, 1000, 3000, 10_000, 100_000)
        return tuple(Stage(soft_maximum, b, math.inf, 150, f"soft {b}") for b in sharper)
    if d == 3:
        order = [Stage(riesz, 16, 2.2, 60, "Riesz 16")]
        for size in (1.02, 1.0, 0.99, 0.985, 0.98, 0.975):
            order.append(Stage(soft_spheres, size, 1.25, 200, f"soft spheres {size:g}"))
        return (*order, Stage(riesz, 1024, 1.4, 100, "Riesz 1024"), Stage(riesz, 8192, 1.3, 100, "Riesz 8192"))
    growing = ((8, 3.0), (16, 2.2), (32, 2.0), (64, 1.8), (128, 1.6), (256, 1.5), (512, 1.4), (1024, 1.4), (4096, 1.3),
               (16384, 1.3))  # fmt: skip
    return tuple(Stage(riesz, s, reach, 150, f"Riesz {s}") for s, reach in growing)


@dataclass
class Spread:
    """Many points being spread: where they are, and the best of where they were.

    Attributes:
        n, d, seed, budget_s, target, report: as in :class:`onsphere.codes.search.Search`.
    """

    n: int
    d: int
    seed: int
    budget_s: float
    target: float | None
    report: Callable[[Progress], None] | None
    began: float = field(default_factory=time.monotonic)
    points: Array | None = None
    angle: float = -1.0
    origin: str = ""
    history: list[Improvement] = field(default_factory=list)
    _now: Array | None = None
    _place: tuple[float, float] = (0.0, 1.0)

    def run(self, start: Array | None = None) -> None:
        """All stages, each with its share of the time; Ctrl-C passes through, with the best so far kept."""
        if start is not None:
            x, origin = self._loosened(start), "the given start"
            # The closest pairs of a cluster would take very long to find, and nobody wants its angle.
            first = start if float(np.abs(x - start).max()) < 1e-4 else x
        elif self.d == 3:
            x, origin = fibonacci(self.n), "Fibonacci points"
        else:
            x = unit(np.random.default_rng(self.seed).standard_normal((self.n, self.d)))
            origin = "random points"
        self._keep(x if start is None else first, origin)
        plan = stages(self.n, self.d)
        total, done = sum(stage.iterations for stage in plan), 0
        for stage in plan:
            if self.target is not None and self.angle >= self.target:
                break
            self._place = done / total, stage.iterations / total
            done += stage.iterations
            try:
                x = self._stage(x, stage, self.began + self.budget_s * done / total)
            finally:  # also of an interrupted stage
                if self._now is not None:
                    self._keep(self._now, f"{origin}, {stage.name}")
                    self._now = None

    def _loosened(self, start: Array) -> Array:
        """A start with a little noise, as equal points feel no force; with more where it is clustered.

        The lists of near pairs of a cluster would not fit into memory, and it would take long to spread.
        """
        rng = np.random.default_rng(self.seed)
        noise = rng.standard_normal(start.shape)
        sample = rng.choice(self.n, min(self.n, SAMPLE), replace=False)
        angle = self._roomy()
        expected = self.n * cap_share(angle, self.d)
        x = start
        for size in (1e-6, 1e-4, 1e-2, 0.1, 0.3, 1.0, 10.0):
            x = unit(start + size * noise)
            near = np.count_nonzero(x[sample] @ x.T > math.cos(angle)) / len(sample)
            if near <= CLUSTERED * expected:
                break
        return x

    def _stage(self, x: Array, stage: Stage, until: float) -> Array:
        """Minimise one energy, over as many lists of near pairs as it takes."""
        if stage.reach == math.inf:
            return self._descend(x, stage, (), math.inf, until, 0)[0]
        spacing = packing_angle(self.n, self.d)
        cutoff = min(stage.reach * spacing, self._roomy())
        skin = max(0.1 * spacing, 0.35 * (cutoff - 1.1 * spacing))
        done = 0
        while done < stage.iterations and time.monotonic() < until:
            x, used, ended = self._descend(x, stage, near_pairs(x, cutoff), skin, until, done)
            done += max(1, used)
            if ended:
                break
        return x

    def _descend(
        self, x: Array, stage: Stage, pairs: tuple[Index, ...], skin: float, until: float, done: int
    ) -> tuple[Array, int, bool]:
        """L-BFGS until a point has travelled the skin: points, iterations, and whether nothing is left to do."""
        from scipy.optimize import minimize

        if pairs and not len(pairs[0]):
            return x, 0, True
        spacing = packing_angle(self.n, self.d)
        sharpness = stage.sharpness
        if stage.energy is soft_spheres:
            sharpness *= 2 * math.sin(spacing / 2)
        elif stage.energy is soft_maximum:
            sharpness /= max(1 - min(largest_cosine(x), math.cos(spacing)), 1e-12)
        used = 0

        def watch(*, intermediate_result: OptimizeResult) -> None:
            nonlocal used
            used += 1
            self._now = unit(intermediate_result.x.reshape(self.n, self.d))
            self._tell((done + used) / stage.iterations, stage.name)
            if time.monotonic() >= until or _travelled(self._now, x) > skin:
                raise StopIteration

        # Lengths are measured in spacings, so that the first step of L-BFGS is of a sensible size.
        options = {"maxiter": stage.iterations - done, "maxcor": 8, "ftol": 1e-15, "gtol": 1e-13}
        arguments = (self.n, self.d, sharpness, *pairs)
        found = minimize(
            stage.energy, x.ravel() / spacing, arguments, "L-BFGS-B", jac=True, callback=watch, options=options
        )
        self._now = unit(found.x.reshape(self.n, self.d))
        return self._now, used, found.status == 0

    def _tell(self, share_of_stage: float, phase: str) -> None:
        if self.report is not None:
            before, width = self._place
            share = min(1.0, max(before + width * share_of_stage, (time.monotonic() - self.began) / self.budget_s))
            self.report(Progress(share, self.angle, phase))

    def _roomy(self) -> float:
        """The angle within which a point has ``NEIGHBOURS`` others on average."""
        low, high = 0.0, math.pi / 2
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if self.n * cap_share(middle, self.d) > NEIGHBOURS else (middle, high)
        return high

    def _keep(self, x: Array, origin: str) -> None:
        angle = min_angle(x)
        if angle > self.angle:
            self.points, self.angle, self.origin = x, angle, origin
            self.history.append(Improvement(time.monotonic() - self.began, angle, origin))
