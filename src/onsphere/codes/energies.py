"""Configurations of least energy: Thomson (s = 1), Whyte (s = 0), any Riesz energy, weighted, in half space."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onsphere.codes.code import Improvement, Progress
from onsphere.codes.energy_search import Search
from onsphere.codes.exact import polygon, simplex
from onsphere.codes.potential import Potential

Points = NDArray[np.float64]
# Weights whose fourth powers, in the Hessian, are far inside of the range of float64.
_LEAST, _LARGEST = 1e-50, 1e50


@dataclass(frozen=True, eq=False)
class Minimum:
    """A local minimum of an energy, the lowest that a search found.

    Attributes:
        points: (n, d) float64, unit rows; read-only.
        energy: :func:`energy` of the points; infinite, or zero, where float64 cannot hold it.
        log_energy: its natural logarithm, finite for every s > 0; None for s = 0, where the energy may be negative.
        origin: which start, move or construction led to it.
        history: every improvement on the way, values are energies; empty for an exact one.
        exact: whether the points are a closed form, up to rounding: nothing was searched.
        complete: False where Ctrl-C ended the search before its time.
    """

    points: Points
    energy: float
    log_energy: float | None
    origin: str
    history: tuple[Improvement, ...]
    exact: bool
    complete: bool


def energy(points: ArrayLike, s: float, *, weights: ArrayLike | None = None, half_space: bool = False) -> float:
    r"""The hyperspherical energy of a set of directions, summed over pairs i < j.

    .. math::
        E_s = \sum_{i<j} \|\beta_i \hat x_i - \beta_j \hat x_j\|^{-s} \; (s > 0), \qquad
        E_0 = \sum_{i<j} \log \|\beta_i \hat x_i - \beta_j \hat x_j\|^{-1}

    The thesis sums over ordered pairs, which is twice this value, and :func:`onsphere.functional.mhe` gives their mean,
    2 E / (n (n - 1)). Physics sums as here: the Thomson energy of the icosahedron is 49.165253058.

    Args:
        points: x, (n, d), one direction a row; their lengths do not matter.
        s: the power, >= 0. s = 1 is the Thomson problem, s = 0 is Whyte's.
        weights: beta, (n,), positive: point i stands at beta_i x_i/||x_i|| (D.10). Default all 1.
        half_space: the energy of the 2n vectors {x, -x} without the n antipodal pairs, whose distance never changes:
            2 sum over i < j of f(||y_i - y_j||) + f(||y_i + y_j||) with y_i = beta_i x_i. ``mhe(half_space=True)``
            counts those pairs too: it is (2 E + 2 sum_i f(2 beta_i)) / (2n (2n - 1)).

    Returns:
        The energy; infinite where two points coincide, or where float64 cannot hold the value.

    Raises:
        ValueError: points is not a finite matrix of at least 2 rows without zero rows, s is negative or not finite, or
            the weights are not n positive numbers from 1e-50 to 1e50.

    Source: thesis, eqs. 5.1 and D.10, section 5.3.4.

    Example:
        >>> octahedron = np.concatenate([np.eye(3), -np.eye(3)])
        >>> round(energy(octahedron, 1), 9)
        9.985281374
    """
    x = _directions(points)
    potential = _potential(len(x), s, weights, half_space)
    return potential.energy(potential.evaluate(x)[0], len(x))


def minimise_energy(
    n: int,
    d: int,
    s: float,
    *,
    weights: ArrayLike | None = None,
    half_space: bool = False,
    budget_s: float = 60.0,
    restarts: int | None = None,
    seed: int = 0,
    start: ArrayLike | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Minimum:
    r"""Search the configuration of n points in R^d whose energy is least.

    Random starts, each followed by L-BFGS on w with x = w/||w||, take 40 % of the budget; hops from the best (points
    moved into holes, a cap or all points shaken) take the rest. Each new best is polished by Newton steps with the
    exact Hessian on the spheres where n (d - 1) <= 3000. For s >= 16 a start goes through s = 8, 32, ... first. Simplex
    (n <= d + 1), polygon (d = 2) and, in half space, orthonormal set (n <= d) are known to be best for every s and are
    returned at once, unless weights or a start are given.

    Args:
        n: number of points, at least 2.
        d: dimension of the space, at least 2.
        s: the power, >= 0: 1 is the Thomson problem, 0 is Whyte's.
        weights, half_space: as in :func:`energy`.
        budget_s: seconds. The search ends before it where 50 random starts have ended at the best energy and none
            below it; for n up to about 20 in d = 3 this takes a second or two.
        restarts: end after this many starts, the given one included, without hops: within the budget the result is
            then the same, bit for bit, for the same seed.
        seed: of the starts and hops.
        start: (n, d), a configuration to begin with, one direction a row. Noise of 1e-6 is added to it: points may
            coincide, and a saddle is left.
        progress: called about ten times a second, and at the end.

    Returns:
        The lowest :class:`Minimum` found. Ctrl-C gives the one found so far, with ``complete=False``.

    Raises:
        ValueError: an argument is out of its range; the message repeats it.

    Source: thesis, section 5.3.1 and eq. D.10; MMA paper, eqs. 9 and 11.

    Example:
        >>> round(minimise_energy(5, 3, s=1, restarts=3).energy, 9)
        6.474691495
    """
    _check_search(n, d, budget_s, restarts, seed)
    search = Search(_potential(n, s, weights, half_space), n, d, budget_s, restarts, seed, progress)
    given = None if start is None else _directions(start, (n, d))
    known = _closed_form(n, d, half_space) if given is None and weights is None else None
    complete = True
    try:
        if known is not None:
            search.keep(*known)
        else:
            search.run(given)
        search.report_end()
    except KeyboardInterrupt:
        complete = False
        search.keep_unfinished()
    search.best.flags.writeable = False
    log_energy = None if s == 0 else search.potential.log_energy(search.value, n)
    value = search.potential.energy(search.value, n)
    history = tuple(search.history) if known is None else ()
    return Minimum(search.best, value, log_energy, search.origin, history, known is not None, complete)


def _check_search(n: int, d: int, budget_s: float, restarts: int | None, seed: int) -> None:
    if n < 2:
        raise ValueError(f"n must be at least 2 points, got {n}")
    if d < 2:
        raise ValueError(f"d must be at least 2 dimensions, got {d}")
    if not budget_s > 0:
        raise ValueError(f"budget_s must be a positive number of seconds, got {budget_s}")
    if restarts is not None and restarts < 1:
        raise ValueError(f"restarts must be at least 1, or None for as many as the budget allows, got {restarts}")
    if seed < 0:
        raise ValueError(f"seed must be an integer >= 0, got {seed}")


def _directions(points: ArrayLike, shape: tuple[int, int] | None = None) -> Points:
    x = np.asarray(points, dtype=np.float64)
    if x.ndim != 2 or len(x) < 2 or (shape is not None and x.shape != shape):
        wanted = "(n, d) with n >= 2" if shape is None else f"(n, d) = {shape}"
        raise ValueError(f"expected a matrix {wanted}, one point a row, got shape {x.shape}")
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise ValueError(f"points must be finite, got {x[row, column]} in row {row}, column {column}")
    longest = np.abs(x).max(1, keepdims=True)
    if not longest.all():
        raise ValueError(
            f"a point of length 0 has no direction: row {int(np.argmin(longest))} is {x[np.argmin(longest)]}"
        )
    x = x / longest
    unit: Points = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit


def _closed_form(n: int, d: int, half_space: bool) -> tuple[Points, str] | None:
    if half_space:
        return (np.eye(n, d), "orthonormal set") if n <= d else None
    if n <= d + 1:
        return simplex(n, d), "simplex"
    return (polygon(n), "polygon") if d == 2 else None


def _potential(n: int, s: float, weights: ArrayLike | None, half_space: bool) -> Potential:
    if not 0 <= s < math.inf:
        raise ValueError(f"s must be a finite number >= 0, got {s}")
    if weights is None:
        return Potential(float(s), None, half_space)
    beta = np.asarray(weights, dtype=np.float64)
    if beta.shape != (n,) or not ((beta >= _LEAST) & (beta <= _LARGEST)).all():
        raise ValueError(
            f"weights must be {n} positive finite numbers, one a point, from {_LEAST:g} to {_LARGEST:g}, got {weights}"
        )
    return Potential(float(s), beta[:, None], half_space)
