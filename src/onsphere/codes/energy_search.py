"""The search behind :func:`onsphere.codes.energies.minimise_energy`: starts, L-BFGS, Newton steps, hops."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onsphere.codes.code import Improvement, Progress
from onsphere.codes.potential import Potential
from onsphere.codes.relaxation import unit

Points = NDArray[np.float64]
# Unknowns n (d - 1) up to which Newton steps come from the eigenvectors of the Hessian (a third of a second there), and
# up to which the Hessian is formed at all (72 MB there, several times) for steps by MINRES.
_EIGENVECTORS, _HESSIAN = 1000, 3000
# L-BFGS ends this close above a minimum (in F); what is not above the best by more is polished and compared again.
_NEAR = 1e-8
# Polished values of F that differ by less are the same minimum: a thousand times their rounding.
_SAME = 1e-12
# A search ends early once this many random starts have ended at the best energy and none below it: a lower minimum that
# one start in ten leads to would have been missed with a chance of 0.5 %.
_AGAIN = 50
# Share of the time that goes to random starts; the rest goes to hops from the best.
_STARTS = 0.4
# So many hops without a new best, and the walk returns to the best.
_PATIENCE = 50


class Search:
    """A search for the lowest F. Mutable, so that what was found outlives a Ctrl-C.

    Attributes:
        value: F of ``best``; infinite before the first.
        best: (n, d), the lowest configuration so far.
        origin: what led to it.
        history: the improvements so far.
    """

    def __init__(
        self,
        potential: Potential,
        n: int,
        d: int,
        budget_s: float,
        restarts: int | None,
        seed: int,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.potential, self.n, self.d = potential, n, d
        self.value, self.best, self.origin = math.inf, np.empty((0, d)), ""
        self.history: list[Improvement] = []
        self._budget_s, self._restarts, self._progress = budget_s, restarts, progress
        self._random = np.random.default_rng(seed)
        self._began = self._reported = time.monotonic()
        self._started = self._again = 0
        self._unfinished: tuple[Points, str] | None = None

    def run(self, given: Points | None) -> None:
        """Starts, then hops: until the time is over, or the starts asked for are done, or enough starts agree."""
        while self._starts_go_on():
            if given is not None and self._started == 0:
                # The noise parts points that coincide and leaves a saddle; no force would.
                x, origin = unit(given + 1e-6 * self._random.standard_normal(given.shape)), "given start"
            else:
                x, origin = unit(self._random.standard_normal((self.n, self.d))), "random start"
            before = self.value
            _, value = self._descend(x, origin)
            self._started += 1
            if self.value < before - _SAME:
                self._again = 0
            self._again += origin == "random start" and value <= self.value + _SAME
        if self._restarts is None and self._again < _AGAIN:
            self._hop()

    def keep(self, x: Points, origin: str) -> float:
        """Remember x if it is lower than the best; returns its F."""
        value = self.potential.evaluate(x)[0]
        if value < self.value - _SAME or not len(self.best):
            self.value, self.best, self.origin = value, x, origin
            seconds = time.monotonic() - self._began
            self.history.append(Improvement(seconds, self.potential.energy(value, self.n), origin))
        return value

    def report_end(self) -> None:
        """The last word to ``progress``."""
        if self._progress is not None:
            self._progress(Progress(1.0, self.potential.energy(self.value, self.n), "done"))

    def keep_unfinished(self) -> None:
        """After a Ctrl-C: the descent that was broken off may already be the best, or all there is."""
        if self._unfinished is not None:
            self.keep(*self._unfinished)
        elif not len(self.best):
            raise KeyboardInterrupt

    def _starts_go_on(self) -> bool:
        if self._started == 0:
            return True
        if self._restarts is not None:
            return self._started < self._restarts and not self._late(1.0)
        return self._again < _AGAIN and not self._late(_STARTS)

    def _late(self, share: float) -> bool:
        return time.monotonic() - self._began >= share * self._budget_s

    def _report(self, phase: str) -> None:
        now = time.monotonic()
        if self._progress is not None and now - self._reported >= 0.1:
            self._reported = now
            share = min((now - self._began) / self._budget_s, 1.0)
            if self._restarts is not None:
                share = max(share, self._started / self._restarts)
            best = self.potential.energy(self.value, self.n) if len(self.best) else None
            self._progress(Progress(share, best, phase))

    def _descend(self, x: Points, origin: str) -> tuple[Points, float]:
        """The local minimum below x and its F: L-BFGS through growing powers, then Newton if it may be the best."""
        self._unfinished = (x, origin)
        for s in _ladder(self.potential.s):
            x = self._lbfgs(Potential(s, self.potential.beta, self.potential.half_space), x, origin)
        value = self.potential.evaluate(x)[0]
        # What the end of the time broke off is no minimum: it counts only where there is nothing else.
        if value < self.value + _NEAR and not (self._late(1.0) and len(self.best)):
            if self.n * (self.d - 1) <= _HESSIAN:
                x = newton(self.potential, x, lambda: self._late(1.0))
            value = self.keep(x, origin)
        self._unfinished = None
        return x, value

    def _lbfgs(self, potential: Potential, x: Points, origin: str) -> Points:
        """Minimise F over w with x = w/||w||."""
        from scipy.optimize import minimize  # takes long to import

        def function(flat: Points) -> tuple[float, Points]:
            w = flat.reshape(self.n, self.d)
            length = np.linalg.norm(w, axis=1, keepdims=True)
            value, gradient = potential.evaluate(w / length)
            return value, (gradient / length).ravel()

        def callback(flat: Points) -> None:
            self._unfinished = (unit(flat.reshape(self.n, self.d)), origin)
            self._report(origin)
            if self._late(1.0):
                raise StopIteration

        last = potential.s == self.potential.s
        options = {"maxcor": 20, "maxiter": 5000 if last else 50, "maxfun": 10000, "ftol": 1e-15, "gtol": 1e-10}
        found = minimize(function, x.ravel(), jac=True, method="L-BFGS-B", callback=callback, options=options)
        return unit(found.x.reshape(self.n, self.d))

    def _hop(self) -> None:
        """Move away from a minimum, descend again, and go on from there if it is lower or little higher (Metropolis).

        The temperature is a tenth of what hops go up on the average, for what is little depends on n, d and s.
        """
        x, value = self.best, self.value
        temperature, since = 0.0, 0
        while not self._late(1.0):
            moved, origin = self._moved(x)
            before = self.value
            reached, level = self._descend(moved, origin)
            since = 0 if self.value < before else since + 1
            rise = max(level - value, 0.0)
            if rise <= temperature * self._random.exponential():
                x, value = reached, level
            temperature += 0.1 * (0.1 * rise - temperature)
            if since == _PATIENCE:
                x, value, since = self.best, self.value, 0

    def _moved(self, x: Points) -> tuple[Points, str]:
        """One to three points into holes, a cap shaken, or all shaken."""
        kind = self._random.random()
        if kind < 0.4:
            return self._into_holes(x), "hop: points into holes"
        # About the distance of neighbours if each point had an equal share of the sphere.
        spacing = 3.0 * self.n ** (-1 / (self.d - 1))
        noise = spacing * self._random.uniform(0.1, 0.5) * self._random.standard_normal(x.shape)
        if kind < 0.85:
            near = x @ unit(self._random.standard_normal((1, self.d)))[0]
            count = int(self._random.integers(1, max(2, self.n // 3), endpoint=True))
            noise[np.argsort(near)[: self.n - count]] = 0.0
            return unit(x + noise), "hop: a cap shaken"
        return unit(x + noise), "hop: all points shaken"

    def _into_holes(self, x: Points) -> Points:
        """Chosen points go, one after the other, to that place of a random sample which is farthest from the rest."""
        x = x.copy()
        count = min(int(self._random.integers(1, 4)), self.n)
        for i in self._random.choice(self.n, size=count, replace=False):
            places = unit(self._random.standard_normal((max(50, 4 * self.n), self.d)))
            cosines = places @ np.delete(x, i, axis=0).T
            x[i] = places[(np.abs(cosines) if self.potential.half_space else cosines).max(1).argmin()]
        return x


def newton(potential: Potential, x: Points, stop: Callable[[], bool] = lambda: False) -> Points:
    """Newton steps on the spheres until the gradient is rounding, 30 at most, or until ``stop()``."""
    value, gradient = potential.evaluate(x)
    slope = float(np.linalg.norm(gradient))
    for _ in range(30):
        if stop() or slope == 0:
            break
        hessian, local, bases = potential.hessian(x)
        step = np.einsum("ika,ia->ik", bases, _newton_step(hessian, local).reshape(len(x), -1))
        # Half the mean distance at most, less for a hard potential: beyond it the quadratic model means nothing.
        reach = 0.5 * math.exp(-max(value, -1.0)) / max(potential.s, 1.0)
        step *= min(1.0, reach / max(float(np.linalg.norm(step, axis=1).max()), 1e-300))
        for _ in range(10):
            trial = unit(x + step)
            trial_value, gradient = potential.evaluate(trial)
            trial_slope = float(np.linalg.norm(gradient))
            # Near the minimum the digits of F no longer change, and only the gradient tells.
            if trial_value < value - 1e-13 or (trial_value < value + 1e-14 and trial_slope < slope):
                break
            step *= 0.5
        else:
            break
        settled = trial_slope > 0.5 * slope and trial_value > value - 1e-13
        x, value, slope = trial, trial_value, trial_slope
        if settled:
            break
    return x


def _newton_step(hessian: Points, gradient: Points) -> Points:
    """-|H|^-1 g, without the directions of no curvature: the rotations of the whole, along which g is zero too.

    The absolute eigenvalues make a saddle a place to leave, not to approach. MINRES knows no eigenvalues, but finds the
    same step where none is negative.
    """
    if len(gradient) > _EIGENVECTORS:
        from scipy.sparse.linalg import minres  # takes long to import

        step: Points = minres(hessian, -gradient, maxiter=500)[0]  # five digits: each step gains them
        return step
    curvature, directions = np.linalg.eigh(hessian)
    size = np.abs(curvature)
    bends = size > 1e-9 * size.max()
    along = directions[:, bends]
    return np.asarray(-along @ ((along.T @ gradient) / size[bends]))


def _ladder(s: float) -> list[float]:
    """Powers on the way to s: from a random start a hard potential ends in poor minima, and slowly."""
    return [*(rung for rung in (8.0, 32.0, 128.0, 512.0, 2048.0) if 2 * rung <= s), s]
