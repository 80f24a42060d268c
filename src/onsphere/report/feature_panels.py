"""The panels of pictures of features: in the plane, on the sphere, angles, cosines of classes, norms of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onsphere.report.drawing import SOFT
from onsphere.report.sphere_pictures import VIEW, ball, seen

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage

Floats = NDArray[np.float64]
SPREAD = 0.98  # share of the points that a panel must hold: a few lie far outside
ARROW = "#D62728"
POSITIVE, NEGATIVE = "#D55E00", "#2A7FB8"  # pairs of one class and of two
NUMBERED = 12  # classes up to which every cell of a matrix says its value
COLOURED = 10  # classes up to which every class has a colour of its own name


def palette(classes: int) -> list[Any]:
    """A colour a class."""
    from matplotlib import colormaps

    table = colormaps["tab10" if classes <= COLOURED else "turbo"]
    return [table(i if classes <= COLOURED else i / (classes - 1)) for i in range(classes)]


def plane(
    axes: Axes,
    classes: Sequence[Mapping[str, Sequence[float]]],
    directions: Sequence[Sequence[float]],
    *,
    behind: bool = False,
) -> None:
    """Features of two numbers, a colour a class, and the directions of the classes as arrows of one length.

    Args:
        axes: where to draw.
        classes: for every class its features as {"x": [...], "y": [...]}.
        directions: unit vectors, one a class; may be empty.
        behind: draw the arrows below the points, which a large margin makes as narrow as an arrow.
    """
    colours = palette(len(classes))
    radii = sorted((x * x + y * y) ** 0.5 for one in classes for x, y in zip(one["x"], one["y"], strict=True))
    reach = (radii[int(SPREAD * (len(radii) - 1))] if radii else 0.0) or 1.0
    for label, (one, colour) in enumerate(zip(classes, colours, strict=True)):
        axes.scatter(one["x"], one["y"], s=3, color=colour, linewidths=0, rasterized=True, label=str(label))
    for label, (x, y) in enumerate(directions):
        axes.annotate(
            "",
            xy=(0.85 * reach * x, 0.85 * reach * y),
            xytext=(0, 0),
            zorder=0.5 if behind else None,
            arrowprops={"arrowstyle": "-|>", "color": ARROW, "linewidth": 1, "shrinkA": 0, "shrinkB": 0},
        )
        axes.text(
            0.95 * reach * x,
            0.95 * reach * y,
            str(label),
            ha="center",
            va="center",
            fontsize=7,
            fontweight="bold",
            bbox={
                "boxstyle": "circle,pad=0.15",
                "facecolor": "white",
                "edgecolor": colours[label % len(colours)],
                "linewidth": 1.2,
            },
        )
    axes.set_xlim(-1.1 * reach, 1.1 * reach)
    axes.set_ylim(-1.1 * reach, 1.1 * reach)
    axes.set_aspect("equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(SOFT)
        spine.set_linewidth(0.6)


def sphere(axes: Axes, classes: Sequence[Mapping[str, Sequence[float]]], directions: Sequence[Sequence[float]]) -> None:
    """Features of three numbers, projected on the unit sphere; what lies on its far side is fainter.

    A feature of norm zero has no direction and is left out.

    Args:
        axes: where to draw.
        classes: for every class its features as {"x": [...], "y": [...], "z": [...]}.
        directions: unit vectors, one a class; may be empty.
    """
    ball(axes, VIEW)
    colours = palette(len(classes))
    for one, colour in zip(classes, colours, strict=True):
        points = np.stack([np.asarray(one[axis], float) for axis in ("x", "y", "z")], 1)
        norms = np.linalg.norm(points, axis=1)
        x, y, depth = seen(points[norms > 0] / norms[norms > 0, None], VIEW).T
        for near in (False, True):
            side = (depth >= 0) == near
            axes.scatter(x[side], y[side], s=4 if near else 2, color=colour, alpha=0.9 if near else 0.22, linewidths=0,
                         rasterized=True, zorder=5 if near else 1.5)  # fmt: skip
    for label, (x, y, depth) in enumerate(seen(np.asarray(directions, float).reshape(-1, 3), VIEW)):
        alpha = 1.0 if depth >= 0 else 0.35
        axes.plot([0, x], [0, y], color=ARROW, linewidth=0.9, alpha=0.7 * alpha, zorder=6 if depth >= 0 else 2)
        axes.text(
            0.72 * x,  # not at its end, where the features of the class are
            0.72 * y,
            str(label),
            ha="center",
            va="center",
            fontsize=6.5,
            fontweight="bold",
            alpha=alpha,
            zorder=7 if depth >= 0 else 2,
            bbox={"boxstyle": "circle,pad=0.12", "facecolor": "white", "edgecolor": colours[label % len(colours)],
                  "linewidth": 1.1, "alpha": 0.85 * alpha},
        )  # fmt: skip


def overlap(intra: Sequence[float], inter: Sequence[float]) -> float | None:
    """The area that two histograms of equal bins share when each has area one; None where one of them is empty.

    >>> overlap([3, 1, 0], [0, 2, 2])
    0.25
    """
    first, second = np.asarray(intra, float), np.asarray(inter, float)
    if not first.sum() or not second.sum():
        return None
    return float(np.minimum(first / first.sum(), second / second.sum()).sum())


def angles(axes: Axes, histogram: Mapping[str, Sequence[float]], *, legend: bool = True) -> None:
    """How large the angles of pairs of one class and of pairs of two classes are, each as a share of its pairs.

    Args:
        axes: where to draw.
        histogram: "edges" of the bins in radians, and "intra" and "inter", pairs in each bin.
        legend: whether to say which colour is which.
    """
    edges = histogram["edges"]
    words = {"intra": ("positive pairs", POSITIVE), "inter": ("negative pairs", NEGATIVE)}
    for name, (label, colour) in words.items():
        counts = np.asarray(histogram[name], float)
        shares = counts / max(counts.sum(), 1.0)
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.45, label=label)
        axes.stairs(shares, edges, color=colour, linewidth=0.9)
    shared = overlap(histogram["intra"], histogram["inter"])
    axes.set_xlim(0, math.pi)
    axes.set_ylim(0, None)
    axes.set_xticks([0, math.pi / 4, math.pi / 2, 3 * math.pi / 4, math.pi], ["0", "π/4", "π/2", "3π/4", "π"])
    axes.set_yticks([])
    words_below = "" if shared is None else f" (overlap {100 * shared:.1f} %)"
    axes.set_xlabel(f"angle of a pair, radians{words_below}", fontsize=8)
    if legend:
        axes.legend(frameon=False, fontsize=7.5, loc="upper right", handlelength=1.2, borderaxespad=0.1)


def cosines(axes: Axes, matrix: Floats, names: Sequence[str] = ()) -> AxesImage:
    """The mean cosine of the features of every pair of classes; blue is below zero and red above.

    Args:
        axes: where to draw.
        matrix: (C, C) cosines.
        names: of the classes; their numbers where it is empty.
    """
    from matplotlib.ticker import MaxNLocator

    count = len(matrix)
    image = axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r", interpolation="nearest")
    if count <= NUMBERED:
        for i in range(count):
            for j in range(count):
                if math.isfinite(matrix[i, j]):
                    axes.text(j, i, f"{matrix[i, j]:.2f}", ha="center", va="center", fontsize=6,
                              color="white" if abs(matrix[i, j]) > 0.65 else "black")  # fmt: skip
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator("auto", integer=True))
    if names or count <= NUMBERED:
        ticks = list(names) or [str(i) for i in range(count)]
        axes.set_xticks(range(count), ticks, rotation=45 if names else 0, ha="right" if names else "center", fontsize=7)
        axes.set_yticks(range(count), ticks, fontsize=7)
    axes.tick_params(length=0)
    axes.set_xlabel("class")
    axes.set_ylabel("class")
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


def norms(axes: Axes, weights: Sequence[float], counts: Sequence[float]) -> None:
    """The norm of every class's weights over the number of its images; the axis is logarithmic where sizes differ much.

    Args:
        axes: where to draw.
        weights: norms, one a class.
        counts: images, one a class.
    """
    axes.scatter(counts, weights, s=26 if len(weights) <= 100 else 6, color=NEGATIVE, alpha=0.8, linewidths=0)
    if len(weights) <= NUMBERED:
        for label, (x, y) in enumerate(zip(counts, weights, strict=True)):
            axes.annotate(str(label), (x, y), xytext=(4, 3), textcoords="offset points", fontsize=7, color=SOFT)
    if min(counts) > 0 and max(counts) > 10 * min(counts):
        axes.set_xscale("log")
    low, high = min(weights), max(weights)
    # Norms that are all equal, as those of normalised weights, would fill the axis with rounding.
    room = max(0.12 * (high - low), 0.02 * high)
    axes.set_ylim(low - room, high + room)
    axes.set_xlabel("training images of the class")
    axes.set_ylabel("norm of the class's weights")


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation; None where one side is constant, or has fewer than three numbers.

    >>> rank_correlation([1, 2, 3, 9], [5, 6, 8, 7])
    0.8
    """
    from scipy.stats import rankdata

    a, b = rankdata(first), rankdata(second)
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return round(float(np.corrcoef(a, b)[0, 1]), 12)
