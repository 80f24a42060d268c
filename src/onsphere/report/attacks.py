"""Pictures of attacks: images, what an attack made of them and the difference; and how strong a change must be."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from onsphere.report.colours import looks
from onsphere.report.drawing import SOFT, drawn, kind_of, style, write_bytes
from onsphere.report.features import recorded
from onsphere.report.roc import DASHES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import GridSpec

NORMS = {"l2": "ℓ₂ norm", "linf": "ℓ∞ norm"}
INK, ALARM = "#2b3138", "#C8442B"  # of a class that stayed, and of one that an attack has changed
WIDTH, LINE, CURVES = 8.4, 1.18, 3.1  # inches: of the figure, a line of examples, the curves
PIXEL = 255  # strengths are of pixels from 0 to 1, and are drawn as eps is said

Strengths = Mapping[str, Sequence[float | None]]


def write_attack(found: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw what `onsphere attack` found: examples with their differences, and every row's strengths of DeepFool.

    Args:
        found: "rows", each with "row" and perhaps "deepfool": "l2" and "linf", the strengths that fooled the network,
            of pixels from 0 to 1, null where none did. Perhaps "examples": each with "class", "pixels" (height, width,
            channels; 0 to 255) and "attacked", a list of the same with a "name".
        path: where to write; the suffix chooses the format (.svg or .png). Equal contents give equal bytes.

    Raises:
        ValueError: there are neither examples nor strengths.

    Source: Liu, Deep Representation Learning on Hypersphere, Figure C.1.

    >>> import tempfile
    >>> rows = [{"row": "baseline", "deepfool": {"l2": [0.1, 0.3], "linf": [0.01, None]}}]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_attack({"rows": rows}, f"{folder}/attack.svg")
    """
    curves = {str(row["row"]): row["deepfool"] for row in found["rows"] if row.get("deepfool")}
    examples = list(found.get("examples") or [])
    if not curves and not examples:
        raise ValueError("there are neither examples nor strengths to draw")
    _write(curves, examples, str(found["rows"][0]["row"]) if examples else "", path)


def write_strengths(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Draw the strengths of the changes by which DeepFool fooled the networks of a result, as Figure C.1.

    Args:
        result: as `load` returns it; rows recorded "deepfool" at the end of their training, as
            `thesis-table4.7-cifar10` does if asked for it.
        path: where to write; the suffix chooses the format (.svg or .png). Equal results give equal bytes.

    Raises:
        ValueError: no row has them.

    Source: Liu, Deep Representation Learning on Hypersphere, Figure C.1.
    """
    curves = {name: seed["end"]["deepfool"] for name, seed in recorded(result, "deepfool")}
    if not curves:
        raise ValueError(f"{result['name']} holds no strengths of attacks: there is nothing to draw")
    _write(curves, [], "", path)


def _write(
    curves: Mapping[str, Strengths], examples: Sequence[Mapping[str, Any]], row: str, path: str | os.PathLike[str]
) -> None:
    """Examples above, curves below, everything in its place to the inch.

    matplotlib's own ways to lay out such a figure depend in its last digits on where objects lie in memory.
    """
    from matplotlib import pyplot

    kind = kind_of(path)
    above = LINE * len(examples) + 0.5 if examples else 0.0
    height = above + (CURVES if curves else 0.0)
    with style():
        figure = pyplot.figure(figsize=(WIDTH, height))
        if examples:
            grid = figure.add_gridspec(
                len(examples),
                1 + 2 * len(examples[0]["attacked"]),
                left=0.02,
                right=0.98,
                bottom=1 - (above - 0.12) / height,
                top=1 - 0.5 / height,
                wspace=0.12,
                hspace=0.3,
            )
            _examples(figure, grid, examples)
            title = f"What {row} takes images for, before and after an attack"
            figure.text(0.5, 1 - 0.2 / height, title, ha="center", fontsize=9, color=SOFT)
        if curves:
            norms = [norm for norm in NORMS if any(strengths.get(norm) for strengths in curves.values())]
            places = figure.add_gridspec(
                1, len(norms), left=0.08, right=0.98, bottom=0.5 / height, top=(CURVES - 0.35) / height, wspace=0.22
            )
            for i, norm in enumerate(norms):
                _curves(figure.add_subplot(places[0, i]), curves, norm)
        write_bytes(drawn(figure, kind), path)


def _curves(axes: Axes, curves: Mapping[str, Strengths], norm: str) -> None:
    """A curve ends where no image was fooled any more."""
    look = looks(list(curves))
    for name, strengths in curves.items():
        values = sorted(PIXEL * value for value in strengths.get(norm) or () if value is not None)
        values = [value for value in values if math.isfinite(value)]
        axes.plot(range(1, len(values) + 1), values, label=name, color=look[name].colour,
                  linestyle=DASHES[look[name].dash], linewidth=1.4)  # fmt: skip
    axes.set_xlim(0, max(len(strengths.get(norm) or ()) for strengths in curves.values()))
    axes.set_ylim(0, None)
    axes.grid(color=SOFT, alpha=0.2, linewidth=0.6)
    axes.set_xlabel("test images, the easiest to fool first")
    axes.set_ylabel(f"{NORMS[norm]} of the change, of {PIXEL}")
    axes.set_title(f"What DeepFool needs: {NORMS[norm]}", fontsize=9, loc="left", color=SOFT)
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _examples(figure: Figure, grid: GridSpec, examples: Sequence[Mapping[str, Any]]) -> None:
    """A line an image: itself, then what each attack made of it, and the difference; below, the class that is seen."""
    names = [str(attacked["name"]) for attacked in examples[0]["attacked"]]
    titles = ["image", *(title for name in names for title in (name, "difference"))]
    for number, example in enumerate(examples):
        line = [figure.add_subplot(grid[number, column]) for column in range(len(titles))]
        if number == 0:
            for axes, title in zip(line, titles, strict=True):
                axes.set_title(title, fontsize=8, color=SOFT)
        image, seen = np.asarray(example["pixels"], float), str(example["class"])
        _image(line[0], image, seen)
        for i, attacked in enumerate(example["attacked"]):
            changed, now = np.asarray(attacked["pixels"], float), str(attacked["class"])
            gain = _gain(changed - image)
            _image(line[1 + 2 * i], changed, now, INK if now == seen else ALARM)
            _image(line[2 + 2 * i], 127.5 + gain * (changed - image), f"× {gain:.3g}")


def _gain(difference: NDArray[np.float64]) -> float:
    """What makes a difference span the scale, rounded down to one digit."""
    most = float(np.abs(difference).max())
    if not most:
        return 1.0
    digit: float = 10.0 ** math.floor(math.log10(127.5 / most))
    return math.floor(127.5 / most / digit) * digit


def _image(axes: Axes, pixels: NDArray[np.float64], words: str, colour: str = INK) -> None:
    shown = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    if shown.shape[2] == 1:
        axes.imshow(shown[:, :, 0], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    else:
        axes.imshow(shown, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel(words, fontsize=7, labelpad=2, color=colour)
    for spine in axes.spines.values():
        spine.set_visible(False)
