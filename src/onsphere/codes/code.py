"""A spherical code: points on a sphere and what is known about them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onsphere.codes.best_known import BestKnown

Points = NDArray[np.float64]
# Two pairs whose angles differ by less than this (radians) are both at the minimum: far above the rounding of a
# polished code, far below the difference between a contact and a near-contact.
TOUCHING = 1e-9


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        share: of the work or of the time, from 0 to 1.
        best: the best value so far: minimum angle in radians, or the energy; None before the first.
        phase: what is being done, in a few words.
    """

    share: float
    best: float | None
    phase: str


@dataclass(frozen=True)
class Improvement:
    """A better configuration on the way to a code.

    Attributes:
        seconds: since the start of the search.
        value: minimum angle in radians; for an energy the energy.
        origin: which arm of the search found it.
    """

    seconds: float
    value: float
    origin: str


@dataclass(frozen=True, eq=False)
class Code:
    r"""Points on the unit sphere of R^d, found by :func:`solve`, and what is known about them.

    Attributes:
        points: (n, d) float64, unit rows; read-only.
        min_angle: the smallest angle between two points, radians.
        contacts: (k, 2) indices i < j of the pairs whose angle is at most ``TOUCHING`` above ``min_angle``.
        rattlers: (r,) indices of the points that touch no other point.
        certificate: a rigorous lower bound of the minimum angle of the coordinates as they stand, radians.
        best_known: the best angle known for this n and d, or None where the table has none.
        objective: what was optimised.
        energy: the energy of the points, summed over pairs i < j; None for ``max_min_angle``.
        origin: which arm of the search, or which construction, found the points.
        history: improvements in the order in which they were found; empty for an exact code.
        seconds: how long the search took.
        seed: of the search.
        exact: whether the points are a closed form, up to rounding.
        complete: False where Ctrl-C ended the search before its time.

    Example:
        >>> from onsphere.codes import solve
        >>> print(solve(6, 3))
        6 points in 3 dimensions, smallest angle 90.000000000 degrees
        best known 90.000000000 (proved optimal; cross-polytope, Rankin 1955 (closed form))
        12 contacts, 0 points without; cross-polytope
    """

    points: Points
    min_angle: float
    contacts: NDArray[np.int64]
    rattlers: NDArray[np.int64]
    certificate: float
    best_known: BestKnown | None
    objective: str
    energy: float | None
    origin: str
    history: tuple[Improvement, ...]
    seconds: float
    seed: int
    exact: bool
    complete: bool

    @property
    def n(self) -> int:
        """How many points there are."""
        return len(self.points)

    @property
    def d(self) -> int:
        """The dimension of the space that holds the sphere."""
        return int(self.points.shape[1])

    @property
    def gap(self) -> float | None:
        """The best known angle minus ``min_angle``, radians; None where none is known. Negative: a better code."""
        return None if self.best_known is None else self.best_known.angle - self.min_angle

    def __str__(self) -> str:
        """All that matters in a few lines."""
        lines = [f"{self.n} points in {self.d} dimensions, smallest angle {math.degrees(self.min_angle):.9f} degrees"]
        if self.energy is not None:
            lines.append(f"{self.objective} energy {self.energy:.9f}")
        elif self.best_known is not None:
            known = self.best_known
            lines.append(f"best known {math.degrees(known.angle):.9f} ({known.status}; {known.source})")
        lines.append(f"{len(self.contacts)} contacts, {len(self.rattlers)} points without; {self.origin}")
        return "\n".join(lines)
