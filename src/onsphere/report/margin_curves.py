"""ψ(θ) as the papers print it and where two classes are told apart by it: the numbers behind Figures 2.3, 2.4, 2.8."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
POINTS = 721  # of a curve: every quarter of a degree


def folded(theta: ArrayLike, m: int) -> Floats:
    """L-Softmax's and A-Softmax's ψ(θ) = (-1)^k cos(m θ) - 2k for θ in [kπ/m, (k+1)π/m], k = 0, ..., m - 1 (eq. 2.6).

    >>> folded([0.0, math.pi / 2, math.pi], 2).round(6).tolist()
    [1.0, -1.0, -3.0]
    """
    angle = np.asarray(theta, float)
    k = np.clip(np.floor(m * angle / math.pi), 0, m - 1)
    psi: Floats = (-1.0) ** k * np.cos(m * angle) - 2 * k
    return psi


def figure_2_3() -> dict[str, tuple[Floats, Floats]]:
    """The curves of Figure 2.3, with CosFace (m = 0.35) and ArcFace (m = 0.5) beside them: name -> θ in radians, ψ(θ).

    ArcFace's cos(θ + m) goes on as cos θ - m sin m beyond θ = π - m, as its paper has it.

    >>> list(figure_2_3())[:2]
    ['softmax', 'L-/A-Softmax, m = 2']
    """
    theta = np.linspace(0, math.pi, POINTS)
    m = 0.5
    arcface = np.where(theta <= math.pi - m, np.cos(theta + m), np.cos(theta) - m * math.sin(m))
    return {
        "softmax": (theta, np.cos(theta)),
        **{f"L-/A-Softmax, m = {k}": (theta, folded(theta, k)) for k in (2, 3, 4)},
        "CosFace, m = 0.35": (theta, np.cos(theta) - 0.35),
        "ArcFace, m = 0.5": (theta, arcface),
    }


def accepted(first: Floats, second: Floats, m: int, norms: tuple[float, float] = (1.0, 1.0)) -> NDArray[np.int64]:
    """Which class L-Softmax with two classes wants a direction in: 1, 2, or 0 for the margin between them.

    Class 1 has ‖W₁‖ ψ(θ₁) > ‖W₂‖ cos θ₂, class 2 the same with the classes changed; with equal norms that is
    m θ₁ < θ₂ and m θ₂ < θ₁. m = 1 is softmax, which has no margin.

    Args:
        first: θ₁, the angles to W₁ in radians.
        second: θ₂, of the same shape.
        m: the factor of the angle.
        norms: of W₁ and W₂.

    >>> accepted(np.array([0.1, 0.4, 0.9]), np.array([0.9, 0.6, 0.1]), 2).tolist()
    [1, 0, 2]
    """
    one = norms[0] * folded(first, m) > norms[1] * np.cos(second)
    two = norms[1] * folded(second, m) > norms[0] * np.cos(first)
    return np.where(one, 1, np.where(two, 2, 0))


def boundary(between: float, m: int, norms: tuple[float, float] = (1.0, 1.0)) -> float:
    """The angle from W₁ towards W₂ up to which a direction between them is in class 1, radians.

    Args:
        between: the angle from W₁ to W₂ in radians.
        m: as for `accepted`.
        norms: as for `accepted`.

    Raises:
        ValueError: not even W₁ itself, or even W₂ itself, is in class 1.

    >>> round(math.degrees(boundary(math.radians(60), 2)), 6), round(math.degrees(boundary(math.radians(60), 1)), 6)
    (20.0, 30.0)
    """

    from scipy.optimize import brentq

    def ahead(angle: float) -> float:
        return float(norms[0] * folded(angle, m) - norms[1] * np.cos(between - angle))

    if ahead(0.0) <= 0 or ahead(between) >= 0:
        raise ValueError(
            f"there is no boundary between W₁ and W₂ at {math.degrees(between):g} degrees with norms {norms}, m = {m}: "
            "expected norms that are closer to each other"
        )
    return float(brentq(ahead, 0.0, between, xtol=1e-14))
