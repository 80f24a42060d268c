"""Points on spheres as in Figures 5.1, D.1 and D.2 of the thesis, and the curves of Figure 2 of the MMA paper."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onsphere.report.drawing import SOFT, drawn, kind_of, style, write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Vectors = NDArray[np.float64]
COLOURS = {"red": "#D62728", "pink": "#F4A6C0", "blue-green": "#17849B", "green": "#3A9D23"}
VIEW = (1.0, 0.55, 0.45)  # from where the spheres are seen
LINES = 7  # meridians and parallels
FACETS = 361  # points of a drawn circle
CURVES = {"cosine": ("cosine", "#2A7FB8"), "mma": ("MMA", "#D55E00"), "riesz": ("Riesz-Fisher", "#009E73"),
          "logarithmic": ("logarithmic", "#9A6FD0")}  # fmt: skip


def write_spheres(data: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw spheres side by side, seen from one direction; what lies on the far side is lighter.

    Args:
        data: "panels", each with "title" and any of: "dots", a list of {"points": (k, 3) unit vectors, "colour"};
            "paths", a list of {"points": the iterates (k, 3), "colour"}, drawn as square dots with dashed lines and the
            last one joined to the origin. Colours: red, pink, blue-green, green. "view": from where they are seen,
            three numbers that are not along the third axis; may be missing.
        path: where to write; the suffix chooses the format (.svg or .png). Equal data give equal bytes.
    """
    from matplotlib import pyplot

    panels, view = data["panels"], data.get("view") or VIEW
    with style():
        figure, places = pyplot.subplots(
            1, len(panels), figsize=(2.9 * len(panels), 3.2), layout="constrained", squeeze=False
        )
        for panel, axes in zip(panels, places[0], strict=True):
            ball(axes, view)
            for path_ in panel.get("paths", ()):
                _path(axes, seen(np.asarray(path_["points"], float), view), COLOURS[path_["colour"]])
            for dots in panel.get("dots", ()):
                _dots(axes, seen(np.asarray(dots["points"], float), view), COLOURS[dots["colour"]])
            axes.set_title(panel["title"], fontsize=10, color=SOFT, pad=2)
        write_bytes(drawn(figure, kind_of(path)), path)


def seen(points: Vectors, view: Sequence[float]) -> Vectors:
    """Right, up and towards the eye: (k, 3) coordinates of an orthogonal view with the third axis upright.

    >>> seen(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), (1.0, 0.0, 0.0)).round(6).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    turned: Vectors = points @ screen(view)
    return turned


def screen(view: Sequence[float]) -> Vectors:
    """The (3, 3) matrix whose columns point right, up and towards the eye."""
    eye = np.asarray(view) / np.linalg.norm(view)
    right = np.cross([0.0, 0.0, 1.0], eye)
    right /= np.linalg.norm(right)
    up = np.cross(eye, right)
    return np.stack([right, up, eye], 1)


def ball(axes: Axes, view: Sequence[float], colours: Callable[[Vectors], Vectors] | None = None) -> None:
    """Shading, outline, and a net of meridians and parallels, lighter on the far side.

    Args:
        axes: they are cleared of their frame.
        view: from where it is seen.
        colours: (k, 3) unit vectors of the near side -> their (k, 3) red, green and blue in [0, 1]; None paints all of
            it light blue.
    """
    size = 240 if colours is None else 700  # edges between colours show the pixels
    x, y = np.meshgrid(np.linspace(-1, 1, size), np.linspace(-1, 1, size))
    height = np.sqrt(np.clip(1 - x * x - y * y, 0, None))
    light = np.clip(-0.45 * x + 0.6 * y + 0.66 * height, 0, 1)
    image = np.empty((size, size, 4))
    if colours is None:
        image[..., :3] = np.array([0.80, 0.85, 0.90]) + light[..., None] * np.array([0.17, 0.13, 0.09])
    else:
        near = np.stack([x, y, height], -1).reshape(-1, 3) @ screen(view).T
        image[..., :3] = colours(near).reshape(size, size, 3) * (0.84 + 0.16 * light[..., None])
    image[..., 3] = x * x + y * y <= 1
    axes.imshow(image, extent=(-1, 1, -1, 1), origin="lower", interpolation="bilinear", zorder=0)
    turn = np.linspace(0, 2 * np.pi, FACETS)
    for k in range(LINES):
        meridian = math.pi * k / LINES
        line = np.stack([np.cos(turn) * math.cos(meridian), np.cos(turn) * math.sin(meridian), np.sin(turn)], 1)
        _net(axes, seen(line, view))
        latitude = math.pi * ((k + 1) / (LINES + 1) - 0.5)
        line = np.stack([np.cos(turn), np.sin(turn), np.full_like(turn, math.tan(latitude))], 1) * math.cos(latitude)
        _net(axes, seen(line, view))
    axes.plot(np.cos(turn), np.sin(turn), color="#8796a5", linewidth=1.0, zorder=2)
    axes.set_xlim(-1.08, 1.08)
    axes.set_ylim(-1.08, 1.08)
    axes.set_aspect("equal")
    axes.axis("off")


def _net(axes: Axes, line: Vectors) -> None:
    x, y, depth = line.T
    for near, colour, width in ((True, "#ffffff", 0.8), (False, "#b9c5d0", 0.4)):
        inside = depth >= 0 if near else depth < 0
        axes.plot(np.where(inside, x, np.nan), np.where(inside, y, np.nan), color=colour, linewidth=width, zorder=1)


def _dots(axes: Axes, points: Vectors, colour: str) -> None:
    x, y, depth = points.T
    for near in (False, True):
        inside = (depth >= 0) == near
        axes.scatter(
            x[inside], y[inside], s=62 if near else 40, color=colour, alpha=1.0 if near else 0.4,
            edgecolors="white" if near else "none", linewidths=0.8, zorder=6 if near else 3,
        )  # fmt: skip


def _path(axes: Axes, points: Vectors, colour: str) -> None:
    """The iterates as squares with dashes between them, and a line from the origin to the last."""
    x, y, depth = points.T
    near = depth >= 0
    for k in range(len(points) - 1):
        faint = not (near[k] and near[k + 1])
        axes.plot(x[k : k + 2], y[k : k + 2], color=colour, linestyle=(0, (3, 2)), linewidth=1.1,
                  alpha=0.4 if faint else 1.0, zorder=4)  # fmt: skip
    for inside, alpha in ((~near, 0.4), (near, 1.0)):
        axes.scatter(x[inside], y[inside], s=16, marker="s", color=colour, alpha=alpha, linewidths=0, zorder=5)
    axes.plot([0, x[-1]], [0, y[-1]], color=colour, linewidth=1.8, alpha=1.0 if near[-1] else 0.5, zorder=4)
    axes.scatter([0], [0], s=9, color="#4d5863", zorder=4)
    axes.scatter(x[-1:], y[-1:], s=58 if near[-1] else 40, marker="s", color=colour, zorder=7,
                 alpha=1.0 if near[-1] else 0.5, edgecolors="white", linewidths=0.8)  # fmt: skip


def write_gradient_norms(data: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the norm of each loss's gradient over the angle of a pair: closed forms as lines, autograd as markers.

    Args:
        data: "s" of the Riesz-Fisher loss, and "curves": cosine, mma, riesz, logarithmic -> {"equation", "lines" and
            "markers", each with "angles_deg" and "norms"}.
        path: where to write; the suffix chooses the format (.svg or .png). Equal data give equal bytes.
    """
    from matplotlib import pyplot

    with style():
        figure, axes = pyplot.subplots(figsize=(6.2, 4.0), layout="constrained")
        for name, curve in data["curves"].items():
            title, colour = CURVES[name]
            words = f"{title}, s = {data['s']:g}" if name == "riesz" else title
            lines, markers = curve["lines"], curve["markers"]
            axes.plot(lines["angles_deg"], lines["norms"], color=colour, linewidth=1.8,
                      label=f"{words} (eq. {curve['equation']})")  # fmt: skip
            axes.plot(markers["angles_deg"], markers["norms"], linestyle="none", marker="o", markersize=4.5,
                      markerfacecolor="white", markeredgecolor=colour, markeredgewidth=1.2)  # fmt: skip
        axes.plot([], [], linestyle="none", marker="o", markersize=4.5, markerfacecolor="white",
                  markeredgecolor=SOFT, markeredgewidth=1.2, label="autograd")  # fmt: skip
        axes.set_xlim(0, 180)
        axes.set_ylim(0, 4)  # two of the curves go to infinity at 0
        axes.set_xticks(range(0, 181, 30))
        axes.set_xlabel("angle of the pair, degree")
        axes.set_ylabel("norm of the gradient")
        axes.legend(frameon=False)
        write_bytes(drawn(figure, kind_of(path)), path)
