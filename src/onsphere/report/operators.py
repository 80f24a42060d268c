"""The magnitude functions h and angular activations g of decoupled layers, as the thesis prints them: Figure 4.3."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from onsphere.report.arrays import Curve, checked_curves, degrees, plot_curves
from onsphere.report.drawing import drawn, kind_of, style, write_bytes
from onsphere.report.margin_curves import POINTS

LONGEST = 3.0  # patches of up to three radii
ON_OTHERS = {"BallConv": "--", "SegConv": ":"}  # lie on SphereConv and LinearConv for half of their way
CURVATURES = (0.1, 0.3, 0.7)  # k of the sigmoid in Table 3.1


def magnitudes(alpha: float = 1.0, beta: float = 0.5, radius: float = 1.0) -> dict[str, Curve]:
    """The seven h(‖x‖) (eqs. 4.4 to 4.10), ‖x‖ from 0 to 3: name -> ‖x‖, h.

    Args:
        alpha: α of all of them.
        beta: β of SegConv; MixConv's is 1.
        radius: ρ, of BallConv, TanhConv and SegConv.

    >>> norm, h = magnitudes()["SegConv"]
    >>> float(norm[-1]), float(h[-1])
    (3.0, 2.0)
    """
    norm = np.linspace(0, LONGEST, POINTS)
    return {
        "SphereConv": (norm, np.full_like(norm, alpha)),
        "BallConv": (norm, alpha * np.minimum(norm, radius) / radius),
        "TanhConv": (norm, alpha * np.tanh(norm / radius)),
        "LinearConv": (norm, alpha * norm),
        "SegConv": (norm, np.where(norm <= radius, alpha * norm, beta * norm + alpha * radius - beta * radius)),
        "LogConv": (norm, alpha * np.log(1 + norm)),
        "MixConv": (norm, alpha * norm + np.log(1 + norm)),
    }


def activations() -> dict[str, Curve]:
    """The four g(θ) (eqs. 4.11 to 4.14), the sigmoid with three k: name -> θ in radians, g.

    >>> theta, g = activations()["square cosine"]
    >>> float(g[0]), float(g[-1])
    (1.0, -1.0)
    """
    theta = np.linspace(0, math.pi, POINTS)
    falling = {}
    for k in CURVATURES:
        end, here = math.exp(-math.pi / (2 * k)), np.exp(theta / k - math.pi / (2 * k))
        falling[f"sigmoid, k = {k}"] = (theta, (1 + end) / (1 - end) * (1 - here) / (1 + here))
    return {
        "linear": (theta, -2 / math.pi * theta + 1),
        "cosine": (theta, np.cos(theta)),
        **falling,
        "square cosine": (theta, np.sign(np.cos(theta)) * np.cos(theta) ** 2),
    }


def draw_operators(
    path: str | os.PathLike[str],
    magnitude: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    angular: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
) -> None:
    """Draw magnitude functions over the norm of a patch and angular activations over the angle, as Figure 4.3.

    Args:
        path: where to write; the suffix chooses the format (.svg or .png). Equal arrays give equal bytes.
        magnitude: name -> (‖x‖, h), drawn in this order. None draws the seven of the thesis with its settings (C.2):
            α = 1, β = 0.5 of SegConv and 1 of MixConv, ρ = 1.
        angular: name -> (θ in radians, g(θ)). None draws the four of the thesis, the sigmoid with k = 0.1, 0.3 and 0.7.

    Raises:
        ValueError: there is no curve, or one whose two arrays have different sizes.

    Source: Liu, Deep Representation Learning on Hypersphere, Figure 4.3 and eqs. 4.4 to 4.14.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_operators(f"{folder}/operators.svg")
    ...     draw_operators(f"{folder}/mine.svg", magnitude={"root": ([0.0, 1.0, 4.0], [0.0, 1.0, 2.0])})
    """
    from matplotlib import pyplot

    kind = kind_of(path)
    left = checked_curves(magnitudes() if magnitude is None else magnitude, "‖x‖", "h")
    right = checked_curves(activations() if angular is None else angular, "θ", "g")
    with style():
        figure, (first, second) = pyplot.subplots(1, 2, figsize=(9.6, 3.8), layout="constrained")
        plot_curves(first, left, ON_OTHERS)
        first.set_xlabel("‖x‖, length of the patch")
        first.set_ylabel("h(‖x‖)")
        first.margins(x=0)
        first.set_ylim(bottom=0)
        plot_curves(second, right)
        degrees(second)
        second.set_xlabel("θ, angle between filter and patch")
        second.set_ylabel("g(θ)")
        write_bytes(drawn(figure, kind), path)
