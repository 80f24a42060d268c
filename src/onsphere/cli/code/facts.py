"""A code as plain numbers: what `--json` prints, and what the page shows besides."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onsphere.codes.asymptotics import hexagonal_angle
from onsphere.codes.code import Code

Points = NDArray[np.float64]
SAMPLE = 2000  # points whose pairs the page's histogram counts, where there are more


def facts(code: Code, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All numbers of a code; angles in degrees where the name says so, else in radians.

    Args:
        code: from `onsphere.codes.solve`.
        settings: what the search was asked for beyond n, d, objective and seed.

    An energy that no float holds is infinite; `--json` prints null for it.
    """
    from onsphere import __version__

    known = code.best_known
    return {
        "schema": 1,
        "kind": "code",
        "onsphere": __version__,
        "n": code.n,
        "d": code.d,
        "objective": code.objective,
        **settings,
        "seed": code.seed,
        "origin": code.origin,
        "seconds": code.seconds,
        "exact": code.exact,
        "complete": code.complete,
        "angle_deg": math.degrees(code.min_angle),
        "min_angle": code.min_angle,
        "certified_deg": degrees_below(code.certificate),
        "certificate": code.certificate,
        "best_known": None
        if known is None
        else {"angle_deg": math.degrees(known.angle), "status": known.status, "source": known.source},
        "gap_deg": None if code.gap is None else math.degrees(code.gap),
        "hexagonal_deg": math.degrees(hexagonal_angle(code.n)) if code.d == 3 and code.n > 2 else None,
        "energy": code.energy,
        "contacts": code.contacts.tolist(),
        "rattlers": code.rattlers.tolist(),
        "history": [
            {"seconds": each.seconds, "value": each.value, "origin": each.origin} for each in code.history
        ],
        "points": code.points.tolist(),
    }  # fmt: skip


def degrees_below(angle: float) -> float:
    """Radians in degrees, rounded down: the constant, the product and this one are each off by 2^-53 at most.

    >>> degrees_below(math.pi) < 180 < degrees_below(math.pi) + 1e-12
    True
    """
    return math.degrees(angle) * (1 - 2**-50)


def for_page(code: Code) -> dict[str, Any]:
    """What the page needs besides `facts`: angles of pairs, holes on the sphere, a view of more dimensions."""
    from onsphere.report.code_figures import MANY

    return {
        "pair_angles": pair_angles(code.points, code.seed),
        "holes": _holes(code.points) if code.d == 3 and code.n <= MANY else None,
        "view": None if code.d == 3 else view(code.points, code.contacts),
    }


def pair_angles(points: Points, seed: int = 0) -> dict[str, Any]:
    """Counts of the angles of all pairs, or of the pairs of a sample, in bins of one degree."""
    from onsphere.codes.pairs import min_angle

    sampled = len(points) > SAMPLE
    if sampled:
        points = points[np.random.default_rng(seed).choice(len(points), SAMPLE, replace=False)]
    # With bins that begin below the minimum the first bar is that of the contacts alone.
    low = math.degrees(min_angle(points)) - 1e-6
    width = 1.0 if len(points) >= 20 else 3.0
    edges = np.arange(low - width * math.floor(low / width), 180 + 2 * width, width)
    counts = np.zeros(len(edges) - 1, np.int64)
    for i in range(len(points) - 1):
        others = points[i + 1 :]
        apart, together = np.linalg.norm(others - points[i], axis=1), np.linalg.norm(others + points[i], axis=1)
        counts += np.histogram(np.degrees(2 * np.arctan2(apart, together)), edges)[0]
    return {"edges_deg": edges.tolist(), "counts": counts.tolist(), "sampled": sampled}


def _holes(points: Points) -> dict[str, Any] | None:
    from onsphere.codes.geometry import holes

    try:
        found = holes(points)
    except ValueError:  # all points in one plane
        return None
    sides = np.sort(np.concatenate([found.facets[:, [i, j]] for i, j in ((0, 1), (0, 2), (1, 2))]), axis=1)
    return {
        "centres": found.centers.tolist(),
        "radii_deg": np.degrees(found.radii).tolist(),
        "sides": np.unique(sides, axis=0).tolist(),
    }


def view(points: Points, contacts: NDArray[np.int64]) -> dict[str, Any]:
    """An orthogonal projection to three dimensions, or the plane itself.

    Three points that touch each other span the space that is shown: a code's symmetries around them remain to be seen,
    while the principal axes of a code that is spread evenly in all directions are arbitrary.
    """
    n, d = points.shape
    if d < 3:
        return {"points": np.pad(points, ((0, 0), (0, 3 - d))).tolist(), "hidden": [0.0] * n, "words": "The plane."}
    triangle = _triangle(n, contacts)
    if triangle is None:
        basis = np.linalg.svd(points, full_matrices=False)[2][:3]
        words = f"Orthogonal projection from {d} dimensions onto the first three principal axes."
    else:
        basis = np.linalg.qr(points[list(triangle)].T)[0].T
        words = (
            f"Orthogonal projection from {d} dimensions onto the space of the points {triangle[0]}, {triangle[1]} and "
            f"{triangle[2]}, which touch each other."
        )
    shown = points @ basis.T
    hidden = np.linalg.norm(points - shown @ basis, axis=1)
    if hidden.max() > 1e-6:
        words += " The colour says how far a point lies from that space; larger dots are several points in one place."
    return {"points": shown.tolist(), "hidden": hidden.tolist(), "words": words}


def _triangle(n: int, contacts: NDArray[np.int64]) -> tuple[int, int, int] | None:
    """The first three points of which any two touch."""
    touching: list[set[int]] = [set() for _ in range(n)]
    for i, j in contacts.tolist():
        touching[i].add(j)
        touching[j].add(i)
    for i, j in contacts.tolist():
        both = touching[i] & touching[j]
        if both:
            return (i, j, min(both))
    return None
