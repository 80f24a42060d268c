"""The curvatures that sigmoid operators have learned, as in Figure 3.4 of the thesis."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from onsphere.report.drawing import SOFT, drawn, kind_of, style, write_bytes
from onsphere.report.feature_panels import NEGATIVE
from onsphere.report.features import recorded

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 20


def write_curvatures(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw how often each curvature k was learned, a panel a layer and a line a row, as Figure 3.4 of the thesis.

    Args:
        result: as `load` returns it.
        path: where to write; the suffix chooses the format (.svg or .png). Equal results give equal bytes.

    Raises:
        ValueError: no row has them.
    """
    write_bytes(curvatures_picture(result, kind_of(path)), path)


def curvatures_picture(result: Mapping[str, Any], kind: str, *, transparent: bool = False) -> bytes:
    """What `write_curvatures` writes.

    Args:
        result: as `load` returns it; of every row the first seed that has them is drawn.
        kind: ``svg`` or ``png``.
        transparent: leave the ground to the page.
    """
    from matplotlib import pyplot

    rows = recorded(result, "curvatures")
    if not rows:
        raise ValueError(f"{result['name']} holds no learned curvatures: there is nothing to draw")
    layers = [[*seed["end"]["curvatures"].items()] for _, seed in rows]
    across = max(map(len, layers))
    edges = bins([k for line in layers for _, values in line for k in values])
    with style(transparent=transparent):
        figure, grid = pyplot.subplots(
            len(rows), across, figsize=(2.7 * across, 2.1 * len(rows) + 0.2), layout="constrained", squeeze=False
        )
        for (name, _), line, panels in zip(rows, layers, grid, strict=True):
            for axes in panels[len(line) :]:
                axes.axis("off")
            for (layer, values), axes in zip(line, panels, strict=False):
                _panel(axes, values, edges)
                axes.set_title(f"{name}: {layer}" if len(rows) > 1 else layer, fontsize=9, color=SOFT)
            panels[0].set_ylabel("operators")
        return drawn(figure, kind, transparent=transparent)


def bins(values: Sequence[float]) -> list[float]:
    """Edges of equal bins that hold all values: from 0 to 1, or as far as they reach.

    >>> bins([0.2, 0.4])[:2], bins([0.2, 1.93])[-1]
    ([0.0, 0.05], 2.0)
    """
    top = max(1.0, float(np.ceil(10 * max(values)) / 10))
    return [round(top * i / BINS, 6) for i in range(BINS + 1)]


def _panel(axes: Axes, values: Sequence[float], edges: Sequence[float]) -> None:
    from matplotlib.ticker import MaxNLocator

    counts, _ = np.histogram(values, edges)
    axes.stairs(counts, edges, fill=True, color=NEGATIVE, alpha=0.45)
    axes.stairs(counts, edges, color=NEGATIVE, linewidth=0.9)
    axes.set_xlim(0, edges[-1])
    axes.set_ylim(0, None)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(f"k (mean {np.mean(values):.2f}, sd {np.std(values):.2f})", fontsize=8)
