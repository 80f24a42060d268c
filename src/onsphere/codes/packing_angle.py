"""The minimum angle that a good code of n points will have, roughly: the scale of a search before it has begun."""

from __future__ import annotations

import math

# log2 of the densest known sphere packings' share of space, by dimension (Conway & Sloane, table 1.2); a code of R^d is
# locally a packing of dimension d - 1.
DENSITY = {1: 0.0, 2: -0.141, 3: -0.433, 4: -0.697, 5: -1.104, 6: -1.423, 7: -1.760, 8: -1.979}
PER_DIMENSION = -0.3  # of log2 of the density, above dimension 8


def packing_angle(n: int, d: int) -> float:
    r"""The angle at which n caps of half of it cover the share of the sphere that the best packings cover of space.

    .. math:: \tfrac{n}{2} I_{\sin^2(\theta / 2)}\left(\tfrac{d - 1}{2}, \tfrac12\right) = \Delta_{d-1}

    A guess within some per cent for many points; for few it is held below the simplex's angle. Radians.

    Args:
        n: number of points, at least 2.
        d: dimension of space, at least 2.

    Example:
        >>> round(math.degrees(packing_angle(10_000, 3)), 3), round(math.degrees(packing_angle(240, 8)), 1)
        (2.183, 59.7)
    """
    from scipy import special

    density = 2.0 ** DENSITY.get(d - 1, PER_DIMENSION * (d - 1))
    share = min(1.0, 2 * density / n)
    half = math.asin(math.sqrt(float(special.betaincinv((d - 1) / 2, 0.5, share))))
    return min(2 * half, math.acos(-1 / (n - 1)))


def cap_share(angle: float, d: int) -> float:
    """The share of the sphere of R^d within an angle (radians, at most pi/2 counts) of a point.

    Example:
        >>> round(cap_share(math.pi / 3, 3), 6)
        0.25
    """
    from scipy import special

    sine = math.sin(min(angle, math.pi / 2))
    return 0.5 * float(special.betainc((d - 1) / 2, 0.5, sine * sine))
