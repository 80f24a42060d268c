"""The best minimum angle known for n points on the sphere of R^d: closed forms, and a table of published angles.

``best_known.csv`` has the rows that no formula here gives: d, n, the angle in degrees, its cosine, what is known about
it, and where it comes from. Angles of closed forms have all their digits. The others are given to nine decimals and
were mostly computed from published coordinates, whose own rounding can make them too small by some 1e-8 degrees: a code
that is better by less than that is the same code.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class BestKnown:
    """The best angle known, and how well it is known.

    Attributes:
        angle: radians.
        status: "proved optimal", "best known (published)", "best known kissing configuration" or "computed lower
            bound", the last one of no publication.
        source: who gave it.
    """

    angle: float
    status: str
    source: str

    @property
    def is_optimal(self) -> bool:
        """Whether it is proved that no code is better."""
        return self.status.startswith("proved optimal")


def best_known(n: int, d: int) -> BestKnown | None:
    r"""The best minimum angle known for n points in R^d, or None where neither a formula nor the table has one.

    .. math::
        \theta = 2\pi/n \ (d = 2), \qquad
        \theta = \arccos\frac{-1}{n - 1} \ (n \le d + 1), \qquad
        \theta = \pi/2 \ (d + 2 \le n \le 2d)

    The last two are Rankin's (1955). All other angles are in the table.

    Args:
        n: how many points, >= 2.
        d: the dimension of the space that holds the sphere, >= 2.

    Raises:
        ValueError: n or d is below 2.

    Example:
        >>> found = best_known(24, 4)
        >>> round(math.degrees(found.angle), 9), found.is_optimal, found.source
        (60.0, True, '24-cell, root system D4 (closed form)')
    """
    if n < 2 or d < 2:
        raise ValueError(f"expected n >= 2 points in d >= 2 dimensions, got n={n}, d={d}")
    if d == 2:
        return BestKnown(2 * math.pi / n, "proved optimal", "regular polygon (closed form)")
    if n <= d + 1:
        return BestKnown(math.acos(-1 / (n - 1)), "proved optimal", "simplex, Rankin 1955 (closed form)")
    if n <= 2 * d:
        return BestKnown(math.pi / 2, "proved optimal", "cross-polytope, Rankin 1955 (closed form)")
    return _table().get((n, d))


@cache
def _table() -> dict[tuple[int, int], BestKnown]:
    text = resources.files("onsphere.codes").joinpath("best_known.csv").read_text(encoding="utf-8")
    return {
        (int(row["n"]), int(row["d"])): BestKnown(math.radians(float(row["angle_deg"])), row["status"], row["source"])
        for row in csv.DictReader(text.splitlines())
    }
