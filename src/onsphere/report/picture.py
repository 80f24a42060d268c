"""The picture of the README, drawn from a result file and from nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from onsphere.report.colours import looks
from onsphere.report.drawing import drawn, kind_of, style, write_bytes
from onsphere.report.headline import data_words
from onsphere.report.results import dodge, histogram, layers, reach, summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "star": "*", "cross": "P", "x": "X",
           "pentagon": "p", "hexagon": "h"}  # fmt: skip


def write_picture(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw pairwise cosines of the first and the last row, and every row's minimum angle in every layer.

    Args:
        result: a result as `load` returns it, with at least one row that has angles and cosines.
        path: where to write; the suffix chooses the format (.svg or .png). Equal results give equal bytes.

    Raises:
        ValueError: the result holds no angles or no cosines to draw.
    """
    from matplotlib import pyplot

    rows = summarize(result)
    found = {row["row"]: h for row in result["rows"] if (h := histogram(row)) is not None}
    if not found or not layers(rows):
        raise ValueError(f"{result['name']} holds no pairwise cosines or no minimum angles: there is nothing to draw")
    with style():
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
        _cosines(left, result, list(dict.fromkeys([next(iter(found)), list(found)[-1]])))
        _angles(right, result)
        figure.suptitle(f"{result['name']}: {data_words(result.get('data') or {})}", fontsize=9, color="#59636e")
        write_bytes(drawn(figure, kind_of(path)), path)


def _cosines(axes: Axes, result: Mapping[str, Any], shown: list[str]) -> None:
    look = looks([row["row"] for row in result["rows"]])
    found = {row["row"]: h for row in result["rows"] if row["row"] in shown and (h := histogram(row)) is not None}
    for name, h in found.items():
        label = f"{name}: {h.pairs_above:.4g} of {h.pairs} above {h.above:g}"
        axes.stairs(h.counts, h.edges, fill=True, color=look[name].colour, alpha=0.5, label=label)
        axes.stairs(h.counts, h.edges, color=look[name].colour, linewidth=1)
    first = next(iter(found.values()))
    axes.axvline(first.above, color="#808080", linestyle="--", linewidth=1)
    half = reach(list(found.values()))
    axes.set_xlim(-half, half)
    axes.set_xlabel("cosine between two filters")
    axes.set_ylabel("pairs, mean over seeds")
    axes.set_title(f"Pairwise cosines of {first.layer}", loc="left", fontsize=10, pad=20)
    axes.legend(frameon=False, fontsize=8, ncols=len(found), loc="lower left", bbox_to_anchor=(0, 1), borderpad=0,
                borderaxespad=0.3, columnspacing=1)  # fmt: skip


def _angles(axes: Axes, result: Mapping[str, Any]) -> None:
    rows = summarize(result)
    names = layers(rows)
    look = looks([row.name for row in rows])
    shown = [row for row in rows if row.angles]
    for k, row in enumerate(shown):
        at = [(i + dodge(k, len(shown)), row.angles[name]) for i, name in enumerate(names) if name in row.angles]
        known = [(i, spread.mean, spread.std or 0.0) for i, spread in at if spread.mean is not None]
        if not known:
            continue
        style = look[row.name]
        x, y, error = zip(*known, strict=True)
        axes.plot(x, y, color=style.colour, linewidth=1, alpha=0.35)
        axes.errorbar(x, y, yerr=error, label=row.name, color=style.colour, linestyle="none",
                      marker=MARKERS[style.marker], markersize=5, elinewidth=1, capsize=2)  # fmt: skip
    axes.set_xticks(
        range(len(names)), names, rotation=45 if len(names) > 5 else 0, ha="right" if len(names) > 5 else "center"
    )
    axes.set_ylabel("degree")
    axes.set_title("Minimum angle of every layer", loc="left", fontsize=10, pad=20)
    axes.legend(frameon=False, fontsize=8, ncols=len(shown), loc="lower left", bbox_to_anchor=(0, 1), borderpad=0,
                borderaxespad=0.3, handletextpad=0.2, columnspacing=1)  # fmt: skip
