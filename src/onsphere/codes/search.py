"""The search for a code with a large minimum angle: starts, polishing, basin hopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onsphere.codes.code import Improvement, Progress
from onsphere.codes.hopping import hop
from onsphere.codes.interior_point import Polished, polish
from onsphere.codes.packing_angle import packing_angle
from onsphere.codes.relaxation import angle_of, largest_cosine, riesz_stages, soft_stages, unit
from onsphere.codes.starts import ARMS, begin

Array = NDArray[np.float64]

# Unknowns n (d - 1) from which a polish costs seconds, so that only the best starts of a round are polished.
COSTLY = 700
POLISHED = 2  # of a round of costly starts
PATIENCE = 60  # hops without a better code of the chain, after which new starts are tried
FAIR_PATIENCE = 25  # the same for a chain whose best code is a little worse than that of the chains before
NEAR = 4e-3  # of 1 - cosine: how little that is
IMPATIENCE = 8  # the same for a chain whose best code is much worse, or is that code
HOPEFUL = 0.01  # of 1 - cosine: how far from the best a start may be to be polished to its end
TOLERANCE = 1e-3  # of 1 - cosine: how much worse a code may be for a hop to go on from there
WORSE = 0.3  # how often a worse code within the tolerance is accepted
CROWDED = 1e-2  # of a good angle: where a start's is smaller, an energy that diverges separates the points first
SAME = 1e-12  # two cosines closer than this are one code's
RELAXED: tuple[tuple[tuple[float, ...], int], ...] = (
    ((30,), 40),
    ((20, 60, 200), 40),
)  # after a move: stages, iterations


@dataclass
class Search:
    """The state of a search: the best code so far, how it was found, and when to stop.

    Attributes:
        n, d: points and dimension.
        seed: attempt k draws from the seed (seed, k), so that equal attempts are equal on all machines.
        budget_s: seconds, after which no new attempt begins.
        attempts: how many starts and hops to make at most, or None.
        target: angle in radians at which to stop, or None.
        report: called after every attempt.
    """

    n: int
    d: int
    seed: int
    budget_s: float
    attempts: int | None
    target: float | None
    report: Callable[[Progress], None] | None
    began: float = field(default_factory=time.monotonic)
    made: int = 0
    points: Array | None = None
    cosine: float = math.inf
    origin: str = ""
    explored: float = math.inf
    history: list[Improvement] = field(default_factory=list)

    def run(self, start: Array | None = None) -> None:
        """Search until the budget, the attempts or the target is reached; Ctrl-C passes through, and all is kept."""
        if start is not None:
            self.keep(Polished(start, largest_cosine(start), 0, False), "the given start")
            # Equal points feel no force, so a little noise comes first.
            noisy = unit(start + 1e-6 * self.chance().standard_normal(start.shape))
            crowded = angle_of(largest_cosine(noisy)) < CROWDED * packing_angle(self.n, self.d)
            apart = riesz_stages(noisy, (2,), 100) if crowded else noisy
            relaxed = soft_stages(apart, (30, 100), 100)
            for origin, x in (("the given start, polished", noisy), ("the given start, relaxed", relaxed)):
                self.keep(polish(x, deadline=self.deadline), origin)
            assert self.points is not None
            self.chain(self.cosine, self.points, "the given start")
        while self.points is None or not self.over:  # the smallest budget, too, gives a code
            self.chain(*self.round())

    def round(self) -> tuple[float, Array, str]:
        """One start of every arm; the best of them: its cosine, points and origin."""
        found: list[tuple[float, Array, str]] = []
        if self.n * (self.d - 1) < COSTLY:
            for arm in ARMS:
                if self.over and found:
                    break
                origin, x = begin(self.n, self.d, arm, self.chance())
                found.append((*self.keep(polish(x, self._worst(), self.deadline), origin), origin))
        else:
            relaxed: list[tuple[float, str, Array]] = []
            for arm in ARMS * self._passes():
                if self.over and relaxed:
                    break
                origin, x = begin(self.n, self.d, arm, self.chance())
                x = soft_stages(x, (100, 300), 50)
                relaxed.append((largest_cosine(x), origin, x))
                if self.target is not None and angle_of(relaxed[-1][0]) > self.target - 1e-3:
                    break
            for _, origin, x in sorted(relaxed, key=lambda each: each[0])[:POLISHED]:
                if self.over and found:
                    break
                found.append((*self.keep(polish(x, self._worst(), self.deadline), origin), origin))
        return min(found, key=lambda each: each[0])

    def _worst(self) -> float:
        """The largest cosine that a start should be polished to its end for."""
        return self.cosine + HOPEFUL * (1 - self.cosine) if self.points is not None else math.inf

    def _passes(self) -> int:
        """How often the arms are relaxed before the best are polished: about as long as one polish takes."""
        return int(np.clip(round((self.n * (self.d - 1)) ** 3 / self.n**2 / 15_000), 1, 6))

    def chain(self, cosine: float, x: Array, origin: str) -> None:
        """Basin hopping from a code, until it has not become better for long."""
        best, best_x, waited = cosine, x, 0
        cost = max(1.0, (self.n * (self.d - 1) / COSTLY) ** 3)  # of a hop: so many fewer are worth their time
        while waited < max(1.0, self._patience(best) / cost) and not self.over:
            rng = self.chance()
            name, moved = hop(x, angle_of(cosine), rng)
            stages, iterations = RELAXED[int(rng.integers(len(RELAXED)))]
            tolerance = TOLERANCE * (1 - cosine)
            found = polish(soft_stages(moved, stages, iterations), cosine + tolerance, self.deadline)
            value, y = self.keep(found, f"{origin}, then {name}")
            waited += 1
            if value < best - SAME:
                best, best_x, waited = value, y, 0
            if value < cosine + SAME or (value < cosine + tolerance and rng.random() < WORSE):
                x, cosine = y, value
            elif waited % 20 == 0:
                x, cosine = best_x, best
        self.explored = min(self.explored, best)

    def _patience(self, best: float) -> int:
        """How many hops in vain a chain may make whose best code has this largest cosine."""
        if best < self.explored - SAME:
            return PATIENCE
        near = self.explored + NEAR * (1 - self.explored)
        return FAIR_PATIENCE if self.explored + SAME < best < near else IMPATIENCE

    def keep(self, found: Polished, origin: str) -> tuple[float, Array]:
        """Remember a code if it is the best; its cosine and points."""
        if found.cosine < self.cosine - SAME:
            self.points, self.cosine, self.origin = found.points, found.cosine, origin
            self.history.append(Improvement(time.monotonic() - self.began, angle_of(self.cosine), origin))
        if self.report is not None:
            done = self.made / self.attempts if self.attempts else 0.0
            share = min(1.0, max(done, (time.monotonic() - self.began) / self.budget_s))
            self.report(Progress(share, angle_of(self.cosine), origin))
        return found.cosine, found.points

    def chance(self) -> np.random.Generator:
        """The random numbers of the next attempt."""
        self.made += 1
        return np.random.default_rng([self.seed, self.made])

    @property
    def deadline(self) -> float:
        """When to leave a polish that is under way, on the clock of ``time.monotonic``."""
        return self.began + self.budget_s

    @property
    def over(self) -> bool:
        """Whether no further attempt should begin."""
        if self.target is not None and angle_of(self.cosine) >= self.target:
            return True
        if self.attempts is not None and self.made >= self.attempts:
            return True
        return time.monotonic() >= self.deadline
