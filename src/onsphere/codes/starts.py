"""Where a search begins: random points and unions of orbits, brought near local optima in different ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onsphere.codes.relaxation import riesz_stages, soft_stages, unit
from onsphere.codes.symmetric import symmetric_start

Array = NDArray[np.float64]

NOISE = 1e-6  # lets a polish leave a symmetric saddle


@dataclass(frozen=True)
class Arm:
    """A way to begin: whether points are drawn as orbits, and how they are relaxed."""

    name: str
    symmetric: bool
    relax: Callable[[Array], Array]


# Each finds some codes that the others miss: soft 3-100 the roots of E8, orbits the roots of D5 and the best known code
# of (3, 130), Riesz 2 most small codes at once. The cheap and often right ones come first.
ARMS: tuple[Arm, ...] = (
    Arm("Riesz 2", False, lambda x: riesz_stages(x, (2,), 100)),
    Arm("soft 3-100", False, lambda x: soft_stages(x, (3, 10, 30, 100), 100)),
    Arm("Riesz 1-128", True, lambda x: riesz_stages(x, (1, 8, 32, 128), 100)),
    Arm("Riesz 1-128", False, lambda x: riesz_stages(x, (1, 8, 32, 128), 100)),
    Arm("soft 3-100", True, lambda x: soft_stages(x, (3, 10, 30, 100), 100)),
    Arm("Riesz 16-200", False, lambda x: riesz_stages(x, (16, 64, 200), 100)),
    Arm("soft 10-100", True, lambda x: soft_stages(x, (10, 30, 100), 100)),
    Arm("soft 10-100", False, lambda x: soft_stages(x, (10, 30, 100), 100)),
    Arm("Riesz 2", True, lambda x: riesz_stages(x, (2,), 100)),
    Arm("Riesz 16-200", True, lambda x: riesz_stages(x, (16, 64, 200), 100)),
)


def begin(n: int, d: int, arm: Arm, rng: np.random.Generator) -> tuple[str, Array]:
    """Draw and relax one start: its origin in words and the points.

    Example:
        >>> origin, points = begin(12, 3, ARMS[0], np.random.default_rng(0))
        >>> origin, points.shape
        ('random points, Riesz 2', (12, 3))
    """
    found = symmetric_start(n, d, rng) if arm.symmetric else None
    if found is None:
        return f"random points, {arm.name}", arm.relax(unit(rng.standard_normal((n, d))))
    points, order = found
    relaxed = unit(arm.relax(points) + NOISE * rng.standard_normal((n, d)))
    return f"orbits of a group of order {order}, {arm.name}", relaxed
