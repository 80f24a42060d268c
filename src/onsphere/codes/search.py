"""The search for a code: exact constructions, many starts, basin hopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onsphere.codes import exact
from onsphere.codes.best_known import best_known
from onsphere.codes.certificate import certify
from onsphere.codes.code import Code, Improvement, Progress
from onsphere.codes.interior_point import polish
from onsphere.codes.pairs import closest_pairs, rattlers
from onsphere.codes.relaxation import log_riesz, relax, unit

Points = NDArray[np.float64]


def solve(
    n: int,
    d: int,
    *,
    budget_s: float = 60.0,
    restarts: int | None = None,
    seed: int = 0,
    objective: str = "max_min_angle",
    s: float | None = None,
    weights: NDArray[np.float64] | None = None,
    half_space: bool = False,
    start: Points | None = None,
    target: float | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Code:
    began = time.monotonic()
    history: list[Improvement] = []
    complete, is_exact, origin = True, True, ""
    energy = None
    if objective == "max_min_angle" and n <= d + 1:
        points, origin = exact.simplex(n, d), "simplex"
    elif objective == "max_min_angle" and n <= 2 * d:
        points, origin = exact.cross_polytope(n, d), "cross-polytope"
    elif objective == "max_min_angle" and d == 2:
        points, origin = exact.polygon(n), "polygon"
    elif objective == "max_min_angle":
        is_exact = False
        best = math.inf
        points = np.empty((0, d))
        attempt = 0
        try:
            while attempt == 0 or (time.monotonic() - began < budget_s and (restarts is None or attempt < restarts)):
                rng = np.random.default_rng([seed, attempt])
                x = relax(unit(rng.standard_normal((n, d))), log_riesz, [2], 100)
                x, c, _ = polish(x, best)
                if c < best - 1e-14:
                    best, points, origin = c, x, "random"
                    history.append(Improvement(time.monotonic() - began, float(np.arccos(c)), origin))
                attempt += 1
                if progress:
                    progress(Progress(min(1.0, (time.monotonic() - began) / budget_s), float(np.arccos(best)), "random"))
                if target is not None and np.arccos(best) >= target:
                    break
        except KeyboardInterrupt:
            complete = False
    else:
        from onsphere.codes.energies import minimise_energy

        is_exact = False
        power = {"thomson": 1.0, "whyte": 0.0}.get(objective, s)
        assert power is not None
        found = minimise_energy(
            n, d, power, weights=weights, half_space=half_space, budget_s=budget_s, restarts=restarts, seed=seed, start=start, progress=progress
        )
        points, energy, origin, complete = found.points, found.energy, found.origin, found.complete
        history = list(found.history)
    points.flags.writeable = False
    angle, contacts = closest_pairs(points, 1e-9)
    return Code(
        points, angle, contacts, rattlers(n, contacts), certify(points), best_known(n, d), objective, energy, origin,
        tuple(history), time.monotonic() - began, seed, is_exact, complete,
    )  # fmt: skip
