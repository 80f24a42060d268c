"""The decision regions of two classes: Figures 2.4 and 2.8 of the thesis."""

from __future__ import annotations

import math
import os
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onsphere.report.drawing import SOFT, drawn, kind_of, style, write_bytes
from onsphere.report.margin_curves import accepted, boundary
from onsphere.report.sphere_pictures import ball, seen

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
FIRST, SECOND, NEITHER = "#E08A3C", "#4C9F70", "#E4E8EC"  # the thesis's orange and green
PALE = {1: "#F0C49C", 2: "#A5CFB7"}
BETWEEN = math.radians(80)  # from W₁ to W₂
M = 2  # the smallest one with a margin: its regions are still wide enough to be seen
LONG = 1.45  # the longer vector, where they differ
REACH = 1.75  # radius of the drawn regions
VIEW = (1.0, 0.0, 0.35)  # from where spheres are seen: W₁ and W₂ both on the near side
GAP = 0.22  # half of the Euclidean margin
INK, SLATE = "#2b3138", "#4d5863"
VECTOR = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
WIDTH = {"arrowstyle": "<|-|>", "color": INK, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0}


def draw_regions(path: str | os.PathLike[str], m: int = M) -> None:
    """Draw the regions of two classes for softmax and L-Softmax: equal norms, a longer W₁, a longer W₂ (Figure 2.4).

    A direction is in class 1 where ‖W₁‖ ψ(θ₁) > ‖W₂‖ cos θ₂ and in class 2 the other way round; grey is the margin, and
    the dashed line softmax's one boundary, ‖W₁‖ cos θ₁ = ‖W₂‖ cos θ₂. With equal norms the margin between W₁ and W₂ is
    (m - 1)/(m + 1) θ₁₂ wide.

    Args:
        path: where to write; the suffix chooses the format (.svg or .png). Equal arguments give equal bytes.
        m: the factor of the angle, a whole number of at least 2.

    Raises:
        ValueError: m is smaller.

    Source: Liu, Deep Representation Learning on Hypersphere, section 2.2.4.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_regions(f"{folder}/regions.svg")
    """
    from matplotlib import pyplot

    kind = kind_of(path)
    _check(m)
    cases = (("=", (1.0, 1.0)), (">", (LONG, 1.0)), ("<", (1.0, LONG)))
    with style():
        figure, places = pyplot.subplots(1, 3, figsize=(9.6, 3.5), layout="constrained")
        for (sign, norms), axes in zip(cases, places, strict=True):
            _plane_regions(axes, m, norms)
            axes.set_title(f"‖W₁‖ {sign} ‖W₂‖", fontsize=10, color=SOFT)
        write_bytes(drawn(figure, kind), path)


def draw_sphere_regions(path: str | os.PathLike[str], m: int = M) -> None:
    """Draw what a Euclidean margin, modified softmax and A-Softmax ask of two classes, in 2-D and 3-D (Figure 2.8).

    A Euclidean margin keeps two half-spaces apart. Modified softmax divides the sphere at equal angles, θ₁ = θ₂.
    A-Softmax wants m θ₁ < θ₂ or m θ₂ < θ₁: arcs of the circle, circle-like regions of the sphere, and between them a
    margin.

    Args:
        path: where to write; the suffix chooses the format (.svg or .png). Equal arguments give equal bytes.
        m: the factor of the angle, a whole number of at least 2.

    Raises:
        ValueError: m is smaller.

    Source: Liu, Deep Representation Learning on Hypersphere, section 2.3.4.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     draw_sphere_regions(f"{folder}/regions.png")
    """
    from matplotlib import pyplot

    kind = kind_of(path)
    _check(m)
    with style():
        figure, places = pyplot.subplots(2, 3, figsize=(9.0, 6.2), layout="constrained")
        _half_planes(places[0, 0])
        _half_spaces(places[1, 0])
        for column, factor in ((1, 1), (2, m)):
            _circle(places[0, column], factor)
            _sphere(places[1, column], factor)
        for axes, title in zip(places[0], ("Euclidean margin", "modified softmax", f"A-Softmax, m = {m}"), strict=True):
            axes.set_title(title, fontsize=10, color=SOFT)
        write_bytes(drawn(figure, kind), path)


def _check(m: int) -> None:
    if isinstance(m, bool) or not isinstance(m, int) or m < 2:
        raise ValueError(f"m is {m!r}: expected a whole number of at least 2, since 1 has no margin")


def _angles_to(direction: Floats) -> Floats:
    """Angles in [0, π] of directions given by their angle from the vertical."""
    angles: Floats = np.abs((direction + math.pi) % (2 * math.pi) - math.pi)
    return angles


def _wedges(m: int, norms: tuple[float, float]) -> list[tuple[float, float, int]]:
    """The intervals of directions that belong to class 1 or 2: (from, to, class), angles from W₁ towards W₂."""
    step = math.radians(0.05)
    # Opposite to the middle of the two; a class that goes beyond there is two intervals.
    direction = np.arange(BETWEEN / 2 - math.pi, BETWEEN / 2 + math.pi, step)
    classes = accepted(_angles_to(direction), _angles_to(direction - BETWEEN), m, norms)
    cuts = [0, *(np.flatnonzero(np.diff(classes)) + 1).tolist(), len(direction)]
    found = [(float(direction[a]), float(direction[b - 1] + step), int(classes[a])) for a, b in pairwise(cuts)]
    return [wedge for wedge in found if wedge[2]]


def _point(angle: float, radius: float) -> tuple[float, float]:
    """A place in the panel: the bisector of W₁ and W₂ points up, W₁ is on the left."""
    return -radius * math.sin(BETWEEN / 2 - angle), radius * math.cos(BETWEEN / 2 - angle)


def _fill(axes: Axes, start: float, end: float, radius: float, colour: str, alpha: float) -> None:
    turn = np.linspace(start, end, max(2, int(abs(end - start) * 40)))
    outline = [(0.0, 0.0), *(_point(angle, radius) for angle in turn)]
    axes.fill(*zip(*outline, strict=True), color=colour, alpha=alpha, linewidth=0, zorder=1)


def _arrow(axes: Axes, angle: float, length: float, name: str) -> None:
    axes.annotate("", xy=_point(angle, length), xytext=(0, 0), zorder=5, arrowprops=VECTOR)
    axes.text(*_point(angle, length + 0.13), name, ha="center", va="center", fontsize=9, zorder=6)


def _ray(axes: Axes, angle: float, radius: float, colour: str, dash: str = "-") -> None:
    axes.plot(
        *zip((0.0, 0.0), _point(angle, radius), strict=True), color=colour, linestyle=dash, linewidth=1.3, zorder=4
    )


def _arc(axes: Axes, start: float, end: float, radius: float, colour: str, width: float) -> None:
    turn = np.linspace(start, end, 120)
    axes.plot(*zip(*(_point(angle, radius) for angle in turn), strict=True), color=colour, linewidth=width,
              solid_capstyle="butt", zorder=4)  # fmt: skip


def _bare(axes: Axes, reach: float, bottom: float | None = None) -> None:
    axes.set_xlim(-reach, reach)
    axes.set_ylim(-reach if bottom is None else bottom, reach)
    axes.set_aspect("equal")
    axes.axis("off")


def _plane_regions(axes: Axes, m: int, norms: tuple[float, float]) -> None:
    _fill(axes, -math.pi, math.pi, REACH, NEITHER, 1.0)
    for start, end, which in _wedges(m, norms):
        _fill(axes, start, end, REACH, PALE[which], 1.0)
    low, high = boundary(BETWEEN, m, norms), BETWEEN - boundary(BETWEEN, m, norms[::-1])
    _ray(axes, boundary(BETWEEN, 1, norms), REACH, SLATE, "--")
    _ray(axes, low, REACH, "#B3601A")
    _ray(axes, high, REACH, "#2C7350")
    _arc(axes, low, high, 0.55, SLATE, 1.0)
    axes.text(
        *_point((low + high) / 2, 1.92), f"margin {math.degrees(high - low):.1f}°", ha="center", va="center", fontsize=8
    )
    for angle, norm, name in ((0.0, norms[0], "W₁"), (BETWEEN, norms[1], "W₂")):
        _arrow(axes, angle, norm, name)
    for angle, words in ((-0.62, "class 1"), (BETWEEN + 0.62, "class 2")):
        axes.text(*_point(angle, 1.25), words, ha="center", va="center", fontsize=8, color=INK)
    _bare(axes, 2.05, -1.8)


def _half_planes(axes: Axes) -> None:
    for sign, colour in ((-1, FIRST), (1, SECOND)):
        axes.fill([sign * GAP, sign * 1.15, sign * 1.15, sign * GAP], [-1.0, -1.0, 1.0, 1.0], color=colour, alpha=0.5,
                  linewidth=0)  # fmt: skip
        axes.plot([sign * GAP, sign * GAP], [-1.0, 1.0], color=SLATE, linewidth=1.2)
        axes.text(sign * 0.7, -0.8, f"class {1 if sign < 0 else 2}", ha="center", fontsize=8)
    axes.annotate("", xy=(GAP, 0.15), xytext=(-GAP, 0.15), arrowprops=WIDTH)
    axes.text(0, 0.3, "margin", ha="center", fontsize=8)
    _bare(axes, 1.3)


def _half_spaces(axes: Axes) -> None:
    """Two boxes with a gap, the nearer faces over the farther ones."""
    corners = np.array([[x, z] for x, z in ((-0.55, -0.75), (0.55, -0.75), (0.55, 0.75), (-0.55, 0.75))])
    view = (1.0, 0.42, 0.4)
    faces: list[tuple[Floats, str]] = []
    for sign, colour in ((-1, FIRST), (1, SECOND)):
        inner, outer = (np.stack([corners[:, 0], np.full(4, sign * y), corners[:, 1]], 1) for y in (GAP, 1.05))
        faces += [(inner, colour), (outer, colour)]
        faces += [(np.stack([inner[i], inner[i - 1], outer[i - 1], outer[i]]), colour) for i in range(4)]
    placed = sorted(
        ((seen(face, view), colour) for face, colour in faces), key=lambda pair: float(pair[0][:, 2].mean())
    )
    for flat, colour in placed:
        axes.fill(flat[:, 0], flat[:, 1], facecolor=colour, alpha=0.42, edgecolor="white", linewidth=0.9)
    ends = seen(np.array([[0.55, -GAP, 0.75], [0.55, GAP, 0.75]]), view)
    axes.annotate("", xy=(ends[1, 0], ends[1, 1]), xytext=(ends[0, 0], ends[0, 1]), zorder=6, arrowprops=WIDTH)
    _bare(axes, 1.3)


def _circle(axes: Axes, m: int) -> None:
    _arc(axes, -math.pi, math.pi, 1.0, "#8796a5", 1.0)
    for start, end, which in _wedges(m, (1.0, 1.0)):
        colour = FIRST if which == 1 else SECOND
        _fill(axes, start, end, 1.0, colour, 0.28)
        _arc(axes, start, end, 1.0, colour, 4.5)
    for angle, name in ((0.0, "W₁"), (BETWEEN, "W₂")):
        _arrow(axes, angle, 1.0, name)
    low, high = boundary(BETWEEN, m), BETWEEN - boundary(BETWEEN, m)
    if m == 1:
        _ray(axes, low, 1.12, SLATE, "--")
        axes.text(*_point(BETWEEN / 2, 1.2), "θ₁ = θ₂", ha="center", va="center", fontsize=8)
    else:
        _ray(axes, low, 1.0, "#B3601A")
        _ray(axes, high, 1.0, "#2C7350")
        axes.text(*_point(BETWEEN / 2, 1.16), f"margin {math.degrees(high - low):.1f}°", ha="center", va="center",
                  fontsize=8)  # fmt: skip
    _bare(axes, 1.3)


def _sphere(axes: Axes, m: int) -> None:
    from matplotlib.colors import to_rgb

    half = BETWEEN / 2
    vectors = np.array([[math.cos(half), side * math.sin(half), 0.0] for side in (-1, 1)])
    table = np.array([to_rgb(colour) for colour in (NEITHER, FIRST, SECOND)])

    def colours(directions: Floats) -> Floats:
        one, two = (np.arccos(np.clip(directions @ vector, -1, 1)) for vector in vectors)
        found: Floats = table[accepted(one, two, m)]
        return found

    ball(axes, VIEW, colours)
    for (x, y, _), name in zip(seen(vectors, VIEW), ("W₁", "W₂"), strict=True):
        axes.plot([0, x], [0, y], color=INK, linewidth=1.0, linestyle=(0, (3, 2)), zorder=5)
        axes.scatter([x], [y], s=26, color=INK, edgecolors="white", linewidths=0.8, zorder=6)
        axes.text(x, y - 0.14, name, ha="center", va="center", fontsize=9, zorder=6)
    axes.scatter([0], [0], s=9, color=SLATE, zorder=5)
    axes.set_xlim(-1.3, 1.3)
    axes.set_ylim(-1.3, 1.3)
