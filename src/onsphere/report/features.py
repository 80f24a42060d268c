"""Features in the plane with the classifier's neurons, a panel a row, as Figure 5.4 of the thesis."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onsphere.report.drawing import SOFT, drawn, kind_of, style, write_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SETS = {"train": "training images", "test": "test images"}
SPREAD = 0.98  # share of the points that a panel must hold: a few lie far outside
ARROW = "#D62728"


def recorded(result: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Every row that recorded features in the plane, with its first seed that did.

    Args:
        result: as `load` returns it.

    >>> recorded({"rows": [{"row": "none", "seeds": [{"seed": 1, "end": {}}]}]})
    []
    """
    found = []
    for row in result["rows"]:
        seeds = [seed for seed in row["seeds"] if (seed.get("end") or {}).get("features")]
        if seeds:
            found.append((row["row"], seeds[0]))
    return found


def write_features(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the features of every row that has them, training images on the left and test images on the right.

    Each colour is a class; the arrows are the normalised neurons of the classifier, all of one length.

    Args:
        result: as `load` returns it.
        path: where to write; the suffix chooses the format (.svg or .png). Equal results give equal bytes.

    Raises:
        ValueError: no row has features in the plane.
    """
    write_bytes(features_picture(result, kind_of(path)), path)


def features_picture(result: Mapping[str, Any], kind: str, *, transparent: bool = False) -> bytes:
    """What `write_features` writes.

    Args:
        result: as `load` returns it.
        kind: ``svg`` or ``png``.
        transparent: leave the ground to the page.
    """
    from matplotlib import pyplot

    rows = recorded(result)
    if not rows:
        raise ValueError(f"{result['name']} holds no features in the plane: there is nothing to draw")
    with style():
        figure, panels = pyplot.subplots(
            len(rows), len(SETS), figsize=(8, 3.9 * len(rows) + 0.2), layout="constrained", squeeze=False
        )
        for (name, seed), line in zip(rows, panels, strict=True):
            for (part, title), axes in zip(SETS.items(), line, strict=True):
                _panel(axes, seed["end"]["features"], part)
                axes.set_title(f"{name}: {title}{_accuracy(seed) if part == 'test' else ''}", fontsize=9, color=SOFT)
        return drawn(figure, kind, transparent=transparent)


def _accuracy(seed: Mapping[str, Any]) -> str:
    """The accuracy on all test images, and on those of the class that does worst."""
    found = (seed.get("last") or {}).get("top1")
    by_class: Sequence[float] = seed["end"].get("class_top1") or ()
    words = [] if found is None else [f"{found:.1f} %"]
    if by_class:
        worst = min(range(len(by_class)), key=lambda label: by_class[label])
        words.append(f"class {worst} {by_class[worst]:.1f} %")
    return f" ({', '.join(words)})" if words else ""


def _panel(axes: Axes, features: Mapping[str, Any], part: str) -> None:
    from matplotlib import colormaps

    classes = features[part]
    table = colormaps["tab10" if len(classes) <= 10 else "turbo"]
    colours = [table(i if len(classes) <= 10 else i / (len(classes) - 1)) for i in range(len(classes))]
    radii = sorted((x * x + y * y) ** 0.5 for one in classes for x, y in zip(one["x"], one["y"], strict=True))
    reach = radii[int(SPREAD * (len(radii) - 1))] or 1.0
    for label, (one, colour) in enumerate(zip(classes, colours, strict=True)):
        axes.scatter(one["x"], one["y"], s=3, color=colour, linewidths=0, rasterized=True, label=str(label))
    for label, (x, y) in enumerate(features["neurons"]):
        axes.annotate(
            "",
            xy=(0.85 * reach * x, 0.85 * reach * y),
            xytext=(0, 0),
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
            bbox={"boxstyle": "circle,pad=0.15", "facecolor": "white", "edgecolor": colours[label], "linewidth": 1.2},
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
