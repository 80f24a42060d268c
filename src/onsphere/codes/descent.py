"""Spreading points by gradient descent on a loss: Table 1 of the MMA paper, Figures 5.1, D.1 and D.2 of the thesis."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onsphere import diversity, sphere
from onsphere.codes.code import Progress
from onsphere.codes.pairs import min_angle

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Method:
    """A loss of Table 1.

    Attributes:
        title: its name in words.
        equation: its number in the MMA paper.
        loss: of an (n, d) weight, rows of any length.
    """

    title: str
    equation: int
    loss: Callable[[Tensor], Tensor]


class Row(NamedTuple):
    """A row of Table 1: minimum angles in degrees, as printed.

    Attributes:
        d: dimension.
        n: number of points.
        optimal_deg: the paper's column "optimal", from Sloane's tables.
        angles_deg: the paper's angle for each of its methods, by the keys of ``METHODS``.
    """

    d: int
    n: int
    optimal_deg: float
    angles_deg: Mapping[str, float]


def largest_cosine(weight: Tensor) -> Tensor:
    r"""The largest cosine of all pairs: the Tammes problem itself as a loss, which moves only the closest pair.

    .. math:: l = \max_{i \ne j} \hat w_i \cdot \hat w_j

    Args:
        weight: W, (n, d), one point a row, n >= 2.

    Source: MMA paper, eq. 2, which calls it inefficient for that reason.

    Example:
        >>> largest_cosine(torch.eye(3))
        tensor(0.)
    """
    unit = sphere.normalize(weight)
    cosines = unit @ unit.T
    return (cosines - 4 * torch.eye(len(weight), dtype=cosines.dtype)).max()


def _riesz(weight: Tensor) -> Tensor:
    return diversity.riesz(weight, 2.0)


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "global": Method("largest cosine of all", 2, largest_cosine),
        "cosine": Method("cosine loss", 5, diversity.max_cosine),
        "mma": Method("MMA loss", 6, diversity.mma),
        "riesz": Method("Riesz-Fisher loss, s = 2", 9, _riesz),
        "logarithmic": Method("logarithmic loss", 11, diversity.logarithmic),
    }
)
"""The losses by name; "global" is named in the paper's section 3.1, but has no column in its Table 1."""


def _row(d: int, n: int, optimal: float, mma: float, cosine: float, riesz: float, logarithmic: float) -> Row:
    angles = {"mma": mma, "cosine": cosine, "riesz": riesz, "logarithmic": logarithmic}
    return Row(d, n, optimal, MappingProxyType(angles))


TABLE1: tuple[Row, ...] = (
    _row(3, 4, 109.5, 109.5, 109.5, 109.4, 109.5),
    _row(3, 30, 38.6, 38.5, 0.0, 34.9, 35.4),
    _row(3, 130, 18.5, 17.6, 0.0, 12.6, 16.7),
    _row(4, 5, 104.5, 104.5, 104.5, 104.5, 104.5),
    _row(4, 30, 54.3, 54.0, 53.7, 49.3, 48.6),
    _row(4, 130, 33.4, 32.0, 32.1, 27.9, 27.2),
    _row(4, 600, 19.8, 19.3, 0.0, 15.9, 13.1),
    _row(5, 6, 101.5, 101.5, 101.5, 101.2, 101.5),
    _row(5, 30, 65.6, 65.5, 64.0, 57.1, 60.0),
    _row(5, 130, 43.8, 42.9, 42.5, 35.8, 35.6),
)
"""Table 1 of the MMA paper, row by row."""


@dataclass(frozen=True, eq=False)
class Descent:
    """Where a descent ended.

    Attributes:
        points: (n, d) float64, unit rows; read-only.
        min_angle: the smallest angle between two points, radians.
        method: the key of ``METHODS``.
        iterations: how many steps were taken.
        final_learning_rate: what the plateaus left of it.
        patience, seed: as given.
        seconds: how long it took.
    """

    points: Points
    min_angle: float
    method: str
    iterations: int
    final_learning_rate: float
    patience: int
    seed: int
    seconds: float


def descend(
    n: int,
    d: int,
    method: str,
    *,
    iterations: int = 10_000,
    learning_rate: float = 0.1,
    factor: float = 0.2,
    patience: int = 300,
    momentum: float = 0.9,
    seed: int = 0,
    progress: Callable[[Progress], None] | None = None,
) -> Descent:
    """Spread n points of R^d as Table 1 of the MMA paper does: SGD with momentum on one of its losses.

    The weights start standard normal, in float32; the learning rate is divided by 5 once learning stagnates. The
    paper does not say when that is. Here it is ``torch.optim.lr_scheduler.ReduceLROnPlateau`` with a patience of 300
    iterations: MMA then reaches 18.1, 32.6, 42.9 and 19.2 degrees for (d, n) = (3, 130), (4, 130), (5, 130), (4, 600),
    where the paper has 17.6, 32.0, 42.9 and 19.3. PyTorch's default patience of 10 gives 17.2, 32.2 and 42.6 for the
    first three. The scheduler's threshold is relative, so with a negative loss (MMA, logarithmic) even standing still
    counts as an improvement, and the rate falls late or never.

    Args:
        n, d: how many points, in which dimension; each at least 2.
        method: a key of ``METHODS``.
        iterations: steps, at least 1; default 10000 (the paper's).
        learning_rate: of the first step; default 0.1 (the paper's).
        factor: what a plateau multiplies it by, in (0, 1); default 1/5 (the paper's).
        patience: iterations without an improvement that make a plateau, >= 0; default 300 (ours, see above).
        momentum: in [0, 1); default 0.9 (the paper's).
        seed: of the start.
        progress: called about a hundred times; its ``best`` is the minimum angle at that moment, radians.

    Returns:
        The last iterate, not the best one, as a :class:`Descent`.

    Raises:
        ValueError: an argument is out of its range, or the method is unknown; the message repeats it.

    Source: MMA paper, section 4 and Table 1.

    Example:
        >>> import math
        >>> round(math.degrees(descend(4, 3, "mma", iterations=1000, patience=50).min_angle))
        109
    """
    _check(n, d, method, iterations, learning_rate, factor, patience, momentum)
    began = time.monotonic()
    loss = METHODS[method].loss
    weight = torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    optimizer = torch.optim.SGD([weight], lr=learning_rate, momentum=momentum, foreach=False)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=factor, patience=patience)
    every = max(1, iterations // 100)
    for step in range(iterations):
        if progress is not None and step % every == 0:
            progress(Progress(step / iterations, min_angle(_directions(weight)), METHODS[method].title))
        weight.grad = None
        value = loss(weight)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        plateau.step(value.item())
    points = _directions(weight)
    points.flags.writeable = False
    rate = float(optimizer.param_groups[0]["lr"])
    seconds = time.monotonic() - began
    return Descent(points, min_angle(points), method, iterations, rate, patience, seed, seconds)


def _check(
    n: int,
    d: int,
    method: str,
    iterations: int,
    learning_rate: float,
    factor: float,
    patience: int,
    momentum: float,
) -> None:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    for name, given, least in (("n", n, 2), ("d", d, 2), ("iterations", iterations, 1), ("patience", patience, 0)):
        if given < least:
            raise ValueError(f"{name} must be at least {least}, got {given}")
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate must be a positive number, got {learning_rate}")
    if not 0 < factor < 1:
        raise ValueError(f"factor must lie between 0 and 1, got {factor}")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum must lie in [0, 1), got {momentum}")


def _directions(weight: Tensor) -> Points:
    """The rows as unit vectors in float64."""
    w = weight.detach().double().numpy()
    unit: Points = w / np.linalg.norm(w, axis=1, keepdims=True)
    return unit


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The way of some neurons over the sphere under plain gradient descent.

    Attributes:
        title: what moved them, in a few words.
        points: (steps + 1, n, 3) float64, unit rows: the directions after every step, the start first; read-only.
        weights: beta, (n,), of weighted MHE; all 1 where there is none.
        half_space: whether the negatives of the neurons took part.
    """

    title: str
    points: Points
    weights: Points
    half_space: bool

    @property
    def path_lengths(self) -> Points:
        """(n,): how far each neuron went, radians summed over the steps."""
        chord = np.linalg.norm(np.diff(self.points, axis=0), axis=2)
        lengths: Points = (2 * np.arcsin(np.minimum(chord / 2, 1))).sum(0)
        return lengths


def trajectory(loss: Callable[[Tensor], Tensor], start: Points, *, steps: int, learning_rate: float) -> Points:
    """The directions of the rows under gradient descent without momentum on the weights themselves.

    Args:
        loss: of an (n, d) float64 weight.
        start: (n, d), finite rows that are not zero; their lengths matter, for the gradient of a loss of directions is
            divided by them.
        steps: how many, at least 1.
        learning_rate: positive.

    Returns:
        (steps + 1, n, d) float64, unit rows, the start first.

    Raises:
        ValueError: an argument is out of its range; the message repeats it.

    Example:
        >>> way = trajectory(diversity.mhe, np.eye(2), steps=100, learning_rate=1.0)
        >>> way.shape, round(float(way[-1, 0] @ way[-1, 1]), 3)
        ((101, 2, 2), -1.0)
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate must be a positive number, got {learning_rate}")
    if start.ndim != 2 or not np.isfinite(start).all() or not start.any(1).all():
        raise ValueError(f"start must be a matrix (n, d) of finite rows that are not zero, got {start}")
    weight = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    way = np.empty((steps + 1, *start.shape))
    way[0] = _directions(weight)
    for step in range(1, steps + 1):
        (gradient,) = torch.autograd.grad(loss(weight), weight)
        with torch.no_grad():
            weight -= learning_rate * gradient
        way[step] = _directions(weight)
    return way


# The thesis gives neither the power nor the steps. s = 2 is its choice elsewhere (5.5.1); the rest is enough for every
# panel to come to rest. The orthonormal penalty is a sum of squares of the raw rows and takes a smaller step.
_STEPS, _RATE, _ORTHONORMAL_RATE = 600, 0.2, 0.02


def figure_5_1(seed: int = 0) -> tuple[Trajectory, ...]:
    """Ten neurons on the ordinary sphere, moved from one random start by orthonormal, MHE and half-space MHE.

    Args:
        seed: of the start, uniform on the sphere.

    Returns:
        Three trajectories, in the order of the figure.

    Source: thesis, Figure 5.1.

    Example:
        >>> [panel.title for panel in figure_5_1()]
        ['orthonormal', 'MHE', 'half-space MHE']
    """
    start = _start(seed)
    orthonormal = trajectory(diversity.orthonormal, start, steps=_STEPS, learning_rate=_ORTHONORMAL_RATE)
    return (
        _panel("orthonormal", orthonormal, np.ones(10), half_space=False),
        _energy_panel("MHE", start, np.ones(10), half_space=False),
        _energy_panel("half-space MHE", start, np.ones(10), half_space=True),
    )


def figure_d1(seed: int = 0) -> tuple[Trajectory, ...]:
    r"""Ten neurons moved by weighted MHE, the first with beta_1 = 1, 2, 4, 10 and the others with beta = 1.

    .. math:: E_s = \frac{1}{N(N-1)} \sum_{i \ne j} \|\beta_i \hat w_i - \beta_j \hat w_j\|^{-s}, \qquad s = 2

    Args:
        seed: of the start, uniform on the sphere and the same for all four.

    Returns:
        Four trajectories; ``weights`` holds beta.

    Source: thesis, Figure D.1 and eq. D.10.

    Example:
        >>> [float(panel.weights[0]) for panel in figure_d1()]
        [1.0, 2.0, 4.0, 10.0]
    """
    return _weighted(1, seed)


def figure_d2(seed: int = 0) -> tuple[Trajectory, ...]:
    """Ten neurons moved by weighted MHE, the first two with beta_1 = beta_2 = 1, 2, 4, 10 and the others with beta = 1.

    Arguments and result are those of :func:`figure_d1`.

    Source: thesis, Figure D.2 and eq. D.10.

    Example:
        >>> figure_d2()[3].title
        'beta_1 = beta_2 = 10'
    """
    return _weighted(2, seed)


def _weighted(heavy: int, seed: int) -> tuple[Trajectory, ...]:
    name = " = ".join(f"beta_{i + 1}" for i in range(heavy))
    panels = []
    for beta in (1.0, 2.0, 4.0, 10.0):
        weights = np.ones(10)
        weights[:heavy] = beta
        panels.append(_energy_panel(f"{name} = {beta:g}", _start(seed), weights, half_space=False))
    return tuple(panels)


def _start(seed: int) -> Points:
    return sphere.uniform(10, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()


def _energy_panel(title: str, start: Points, weights: Points, half_space: bool) -> Trajectory:
    beta = torch.from_numpy(weights)

    def loss(weight: Tensor) -> Tensor:
        return diversity.mhe(weight, 2.0, half_space=half_space, weights=beta)

    way = trajectory(loss, start, steps=_STEPS, learning_rate=_RATE)
    return _panel(title, way, weights, half_space)


def _panel(title: str, points: Points, weights: Points, half_space: bool) -> Trajectory:
    points.flags.writeable = False
    weights.flags.writeable = False
    return Trajectory(title, points, weights, half_space)
