"""The figure of a sweep: accuracy against the coefficient, as the MMA paper's Figures 3 and 4."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from onsphere.report.colours import looks
from onsphere.report.drawing import SOFT, drawn, kind_of, style, write_bytes
from onsphere.report.results import Spread


def write_sweep(content: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the mean accuracy over the seeds for every coefficient, with its standard deviation.

    The axis of the coefficient is logarithmic. Row none is a line with a band, where it was trained.

    Args:
        content: of a sweep.json.
        path: where to write; the suffix chooses the format (.svg or .png). Equal content gives equal bytes.

    Raises:
        ValueError: there is no point to draw.
    """
    from matplotlib import pyplot

    if not content["points"]:
        raise ValueError(f"the sweep of {content['name']} has no point: there is nothing to draw")
    row = str(content["row"])
    look = looks(["none", row])
    places = [point["coefficient"] for point in content["points"]]
    spreads = [Spread.of(point["top1"]) for point in content["points"]]
    with style():
        figure, axes = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
        if content["baseline"]:
            level = Spread.of(content["baseline"]["top1"])
            assert level.mean is not None
            grey = look["none"].colour
            axes.axhline(level.mean, color=grey, linestyle="--", linewidth=1, label="none")
            if level.std:
                axes.axhspan(level.mean - level.std, level.mean + level.std, color=grey, alpha=0.12, linewidth=0)
        means = [spread.mean or 0.0 for spread in spreads]
        deviations = [spread.std or 0.0 for spread in spreads]
        axes.errorbar(
            places,
            means,
            yerr=deviations if any(deviations) else None,
            color=look[row].colour,
            marker="o",
            markersize=4,
            linewidth=1.2,
            capsize=3,
            label=row,
        )
        axes.set_xscale("log")
        axes.set_xlabel("coefficient")
        axes.set_ylabel("top-1 after the last epoch, %")
        seeds = len(content["seeds"])
        bars = f": mean ± standard deviation over {seeds} seeds" if seeds > 1 else ", one seed"
        axes.set_title(f"{content['name']}{bars}", fontsize=9, loc="left", color=SOFT)
        axes.legend(frameon=False)
        write_bytes(drawn(figure, kind_of(path)), path)
