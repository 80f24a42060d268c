"""How hyperspherical energies go while training, as in Figures 7.3 and F.2 of the thesis."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onsphere.report.colours import Look, looks
from onsphere.report.drawing import SOFT, drawn, kind_of, style, write_bytes
from onsphere.report.results import Spread, observed
from onsphere.report.roc import DASHES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENERGIES = "hyperspherical_energy"  # the observation that holds every layer's energy, one value an epoch
ACROSS, NAMES = 4, 6  # panels of layers side by side, names of the legend
WIDTH, TALL, LOW, LINE, GAP = 9.6, 2.3, 1.35, 0.22, 0.62  # inches: the picture, its panels, the legend, between panels
LEAST = 2e-3  # of an energy: a panel shows no smaller difference, as large as a hill

Values = Sequence[float | None]


@dataclass(frozen=True)
class Course:
    """One row of a result, means over its seeds after every epoch.

    Args:
        name: of the row.
        at: where on the axis: steps, or epochs where the steps are not known.
        layers: layer -> energies.
        error: on the test images, per cent; empty where there is no top-1.
    """

    name: str
    at: Sequence[float]
    layers: Mapping[str, Values]
    error: Values

    @property
    def total(self) -> Values:
        """The sum over the layers."""
        sums = [[value for value in values if value is not None] for values in zip(*self.layers.values(), strict=True)]
        return [math.fsum(known) if len(known) == len(self.layers) else None for known in sums]


def write_energies(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the energy of all layers together and the test error while training, and below the energy of every layer.

    A line a row: the mean over its seeds after every epoch. The energy of a layer is the mean over ordered pairs of its
    neurons of 1 / ||w_i - w_j||, of unit neurons; that of a network is the sum over its hidden layers.

    Args:
        result: as `load` returns it; its recipe recorded energies, as that of Figure 7.3 does.
        path: where to write; the suffix chooses the format (.svg or .png). Equal results give equal bytes.

    Raises:
        ValueError: no row has them.

    Source: Liu, Deep Representation Learning on Hypersphere, Figures 7.3 and F.2.
    """
    write_bytes(energies_picture(result, kind_of(path)), path)


def energies_picture(result: Mapping[str, Any], kind: str, *, transparent: bool = False) -> bytes:
    """What `write_energies` writes.

    Args:
        result: as `load` returns it.
        kind: ``svg`` or ``png``.
        transparent: leave the ground to the page.
    """
    from matplotlib import pyplot

    found = courses(result)
    if not found:
        raise ValueError(f"{result['name']} holds no hyperspherical energies: there is nothing to draw")
    look = looks([row["row"] for row in result["rows"]])
    names = list(dict.fromkeys(layer for course in found for layer in course.layers))
    lines, legend = math.ceil(len(names) / ACROSS), math.ceil(len(found) / NAMES)
    below = lines * (LOW + GAP) + 0.1
    height = below + TALL + GAP + LINE * legend + 0.2
    axis = "step" if steps_of_epoch(result["rows"], result) else "epoch"
    with style(transparent=transparent):
        figure = pyplot.figure(figsize=(WIDTH, height))
        # To the inch: matplotlib's own layouts depend in their last digits on where objects lie in memory.
        place: dict[str, Any] = {"left": 0.065, "right": 0.985}
        bottom = (below + GAP - 0.15) / height
        top = figure.add_gridspec(1, 2, bottom=bottom, top=bottom + TALL / height, wspace=0.17, **place)
        left, right = (figure.add_subplot(top[0, i]) for i in range(2))
        _panel(left, {course.name: (course.at, course.total) for course in found}, look, least=LEAST)
        left.set_title("Hyperspherical energy, sum of all layers", loc="left", fontsize=9, color=SOFT)
        _panel(right, {course.name: (course.at, course.error) for course in found}, look)
        right.set_title("Test error, %", loc="left", fontsize=9, color=SOFT)
        for axes in (left, right):
            axes.set_xlabel(axis)
        across = min(ACROSS, len(names))
        span = {"bottom": 0.42 / height, "top": (below - 0.25) / height, "wspace": 0.34, "hspace": GAP / LOW}
        grid = figure.add_gridspec(lines, across, **span, **place)
        for i, layer in enumerate(names):
            axes = figure.add_subplot(grid[divmod(i, across)])
            curves = {course.name: (course.at, course.layers[layer]) for course in found if layer in course.layers}
            _panel(axes, curves, look, least=LEAST)
            axes.set_title(layer, loc="left", fontsize=8, color=SOFT)
            axes.tick_params(labelsize=7)
            if i + across >= len(names):
                axes.set_xlabel(axis, fontsize=8)
        figure.legend(*left.get_legend_handles_labels(), loc="upper left", ncols=NAMES, frameon=False,
                      bbox_to_anchor=(0.05, 1 - 0.03 / height), fontsize=8, handlelength=3.2)  # fmt: skip
        return drawn(figure, kind, transparent=transparent)


def courses(result: Mapping[str, Any]) -> list[Course]:
    """Every row that recorded energies, as means over its seeds.

    >>> seed = {"observations": {ENERGIES: {"fc": [0.75]}}, "curve": {"epoch": [1], "top1": [40.0]}}
    >>> courses({"rows": [{"row": "none", "seeds": [seed]}]})
    [Course(name='none', at=[1], layers={'fc': [0.75]}, error=[60.0])]
    """
    found = []
    for row in result["rows"]:
        series = observed(row, ENERGIES)
        if not series:
            continue
        layers = dict.fromkeys(layer for seed in series for layer in seed)
        energies = {layer: _means([seed.get(layer) or () for seed in series]) for layer in layers}
        epochs = max(map(len, energies.values()))
        per_epoch = steps_of_epoch([row], result)
        most = max((run.get("steps") or 0 for run in row["seeds"]), default=0)
        ends = [min(epoch * per_epoch, most or epoch * per_epoch) if per_epoch else epoch
                for epoch in range(1, epochs + 1)]  # fmt: skip
        top1 = _means([(run.get("curve") or {}).get("top1") or () for run in row["seeds"]])
        error = [None if value is None else 100 - value for value in top1]
        found.append(Course(row["row"], ends, energies, error))
    return found


def steps_of_epoch(rows: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> int | None:
    """Steps of an epoch of rows that have one batch size; None where the result does not say."""
    sizes = {(row.get("training") or {}).get("batch_size") for row in rows}
    images = (result.get("data") or {}).get("train")
    size = sizes.pop() if len(sizes) == 1 else None
    return math.ceil(images / size) if images and size else None


def _means(series: Sequence[Values]) -> list[float | None]:
    longest = max(map(len, series), default=0)
    return [Spread.of(values[epoch] for values in series if epoch < len(values)).mean for epoch in range(longest)]


def _panel(
    axes: Axes, curves: Mapping[str, tuple[Sequence[float], Values]], look: Mapping[str, Look], least: float = 0.0
) -> None:
    """Lines, and a scale that does not make hills of less than ``least``."""
    for name, (at, values) in curves.items():
        known = [(x, y) for x, y in zip(at, values, strict=False) if y is not None and math.isfinite(y)]
        axes.plot([x for x, _ in known], [y for _, y in known], label=name, color=look[name].colour,
                  linestyle=DASHES[look[name].dash], linewidth=1.4, marker="o" if len(known) == 1 else None,
                  markersize=3)  # fmt: skip
    low, high = axes.get_ylim()
    if high - low < least:
        axes.set_ylim((low + high - least) / 2, (low + high + least) / 2)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(color=SOFT, alpha=0.2, linewidth=0.6)
