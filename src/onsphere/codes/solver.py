"""One door to all codes: closed forms, the search for a large minimum angle, and the minimisers of energies."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onsphere.codes import exact
from onsphere.codes.best_known import best_known
from onsphere.codes.certificate import certify
from onsphere.codes.code import TOUCHING, Code, Improvement, Progress
from onsphere.codes.energies import minimise_energy
from onsphere.codes.large import Spread
from onsphere.codes.pairs import closest_pairs, rattlers
from onsphere.codes.relaxation import unit
from onsphere.codes.search import Search

Array = NDArray[np.float64]
Objective = Literal["max_min_angle", "thomson", "whyte", "riesz"]

# Unknowns n (d - 1) above which the dense Newton steps of a polish take too long: there only near pairs count.
DENSE = 2500
# A code this close to a proven optimum (radians) is the optimum: the search ends.
OPTIMAL = 1e-12
POWERS: Mapping[str, float] = {"thomson": 1.0, "whyte": 0.0}


def solve(
    n: int,
    d: int,
    *,
    budget_s: float = 60.0,
    restarts: int | None = None,
    seed: int = 0,
    objective: Objective = "max_min_angle",
    s: float | None = None,
    weights: ArrayLike | None = None,
    half_space: bool = False,
    start: ArrayLike | None = None,
    target: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Code:
    r"""Spread n points on the unit sphere of R^d.

    .. math:: \max_{\hat w_1, \dots, \hat w_n} \min_{i \ne j} \theta_{ij}
        \qquad \text{or} \qquad \min \sum_{i < j} \|\hat w_i - \hat w_j\|^{-s}

    Where the largest minimum angle is known in closed form the points come at once: the simplex for n <= d + 1, a
    subset of the cross-polytope for n <= 2 d, the polygon for d = 2. Otherwise starts of many kinds are polished by an
    interior point method and followed by basin hopping until the budget is spent; the search ends before that where
    the best angle is proved and reached. Many points, n (d - 1) > 2500, are spread once, by ever sharper energies.

    Args:
        n: number of points, at least 2.
        d: dimension of the space, at least 2.
        budget_s: seconds that the search may take, > 0.
        restarts: attempts at most: starts and hops, for an energy starts alone. Where it ends the search, equal
            arguments give equal points. Many points are one attempt, which ends by its budget.
        seed: of all random numbers.
        objective: ``max_min_angle`` (the Tammes problem), ``thomson`` (energy, s = 1), ``whyte`` (s = 0) or ``riesz``.
        s: the exponent of ``riesz``, >= 0.
        weights: beta (n,), positive, for energies: points stand at beta_i w_i (thesis, D.10).
        half_space: for energies: each point stands for a line, the energy is that of {w, -w} (thesis, 5.3.4).
        start: (n, d) points to begin from; rows are normalised.
        target: minimum angle in radians at which to stop; for ``max_min_angle`` only.
        progress: called with a :class:`Progress` as the search goes on.

    Returns:
        A :class:`Code`. Ctrl-C ends the search and gives the best so far, with ``complete=False``; before the first
        code is found that is the start, or random points.

    Raises:
        ValueError: an argument is out of its range, or does not belong to the objective.

    Source: MMA paper, eqs. 1-4; thesis, 5.1 and D.10.

    Example:
        >>> code = solve(24, 3, restarts=1)
        >>> round(math.degrees(code.min_angle), 6)  # the snub cube, proved optimal
        43.690767
        >>> len(code.contacts), len(code.rattlers), code.certificate > 0.76
        (60, 0, True)
    """
    _check(n, d, budget_s, restarts, seed, objective, s, weights, half_space, target)
    begun = None if start is None else _start(start, n, d)
    if objective != "max_min_angle":
        power = POWERS.get(objective, s)
        assert power is not None
        began = time.monotonic()
        low = minimise_energy(
            n, d, power, weights=weights, half_space=half_space, budget_s=budget_s, restarts=restarts, seed=seed,
            start=begun, progress=progress,
        )  # fmt: skip
        return _code(low.points, objective, low.energy, low.origin, low.history, began, seed, low.exact, low.complete)
    began = time.monotonic()
    if begun is None and (construction := _closed_form(n, d)) is not None:
        origin, points = construction
        return _code(points, objective, None, origin, (), began, seed, True, True)
    known = best_known(n, d)
    if target is None and known is not None and known.is_optimal:
        target = known.angle - OPTIMAL
    search: Search | Spread
    if n * (d - 1) <= DENSE:
        search = Search(n, d, seed, budget_s, restarts, target, progress)
    else:
        search = Spread(n, d, seed, budget_s, target, progress)
    complete = True
    try:
        search.run(begun)
    except KeyboardInterrupt:
        complete = False
    if search.points is not None:
        points, origin = search.points, search.origin
    elif begun is not None:  # interrupted before anything was found
        points, origin = begun, "the given start"
    else:
        points, origin = unit(np.random.default_rng(seed).standard_normal((n, d))), "random points"
    return _code(points, objective, None, origin, tuple(search.history), began, seed, False, complete)


def _code(
    points: Array,
    objective: str,
    energy: float | None,
    origin: str,
    history: tuple[Improvement, ...],
    began: float,
    seed: int,
    closed_form: bool,
    complete: bool,
) -> Code:
    seconds = time.monotonic() - began  # what follows measures the code, it does not search
    n, d = points.shape
    points = np.array(points)
    points.flags.writeable = False
    try:
        (angle, contacts), certificate = closest_pairs(points, TOUCHING), certify(points)
    except KeyboardInterrupt:  # the code is there, and what is left takes a second at most: a second Ctrl-C ends it
        complete = False
        (angle, contacts), certificate = closest_pairs(points, TOUCHING), certify(points)
    return Code(
        points=points,
        min_angle=angle,
        contacts=contacts,
        rattlers=rattlers(n, contacts),
        certificate=certificate,
        best_known=best_known(n, d),
        objective=objective,
        energy=energy,
        origin=origin,
        history=history,
        seconds=seconds,
        seed=seed,
        exact=closed_form,
        complete=complete,
    )


def _closed_form(n: int, d: int) -> tuple[str, Array] | None:
    if n <= d + 1:
        return "simplex", exact.simplex(n, d)
    if n <= 2 * d:
        return "cross-polytope", exact.cross_polytope(n, d)
    return ("polygon", exact.polygon(n)) if d == 2 else None


def _check(
    n: int,
    d: int,
    budget_s: float,
    restarts: int | None,
    seed: int,
    objective: str,
    s: float | None,
    weights: ArrayLike | None,
    half_space: bool,
    target: float | None,
) -> None:
    for name, value in (("n", n), ("d", d)):
        if not isinstance(value, int | np.integer) or value < 2:
            raise ValueError(f"expected {name} to be an integer of at least 2, got {value!r}")
    if not budget_s > 0:
        raise ValueError(f"expected budget_s > 0 seconds, got {budget_s!r}")
    if restarts is not None and (not isinstance(restarts, int | np.integer) or restarts < 1):
        raise ValueError(f"expected restarts to be an integer of at least 1 or None, got {restarts!r}")
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"expected seed to be an integer of at least 0, got {seed!r}")
    if objective not in get_args(Objective):
        raise ValueError(f"expected objective to be one of {', '.join(get_args(Objective))}, got {objective!r}")
    if (objective == "riesz") != (s is not None):
        raise ValueError(f"s belongs to objective='riesz' and to it alone, got objective={objective!r}, s={s!r}")
    if objective == "max_min_angle":
        if weights is not None or half_space:
            given = "weights" if weights is not None else "half_space=True"
            raise ValueError(f"{given} belongs to the energies, got objective={objective!r}")
        if target is not None and not 0 < target <= math.pi:
            raise ValueError(f"expected target to be an angle in (0, pi] radians, got {target!r}")
    elif target is not None:
        raise ValueError(f"target belongs to objective='max_min_angle', got objective={objective!r}, target={target!r}")


def _start(start: ArrayLike, n: int, d: int) -> Array:
    points = np.array(start, dtype=np.float64)
    if points.shape != (n, d):
        raise ValueError(f"expected start to be (n, d) = ({n}, {d}), got shape {points.shape}")
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(1))[0])
        raise ValueError(f"expected start to be finite, got {points[row]} in row {row}")
    largest = np.abs(points).max(1)
    if not (largest > 0).all():
        row = int(np.flatnonzero(largest == 0)[0])
        raise ValueError(f"expected every row of start to have a direction, got zeros in row {row}")
    return unit(points / largest[:, None])
