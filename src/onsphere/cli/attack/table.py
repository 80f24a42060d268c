"""What was found, as a table and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onsphere.cli.attack.work import NORMS, PIXEL, TITLES, Found

if TYPE_CHECKING:
    from rich.table import Table


def data(found: Found) -> dict[str, Any]:
    """One row: accuracies in per cent, strengths of pixels from 0 to 1 in rising order, null where nothing fooled."""
    rising = {norm: found.strengths[norm].sorted(norm).tolist() for norm in NORMS if norm in found.strengths}
    return {
        "row": found.trained.row,
        "seed": found.trained.seed,
        "accuracy": found.accuracy,
        "deepfool": {
            norm: [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
            for norm, values in rising.items()
        },
    }


def table(found: Sequence[Found], parts: Sequence[str]) -> Table:
    """One line a row."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(header_style="bold", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    heads = ["row", *(TITLES[part] if part in NORMS else f"{TITLES[part]}, %" for part in parts)]
    for j, head in enumerate(heads):
        drawn.add_column(Text(head), justify="right" if j else "left", no_wrap=j > 0)
    for one in found:
        cells = {part: f"{value:.2f}" for part, value in one.accuracy.items()}
        for norm in NORMS:
            if norm in one.strengths:
                median = one.strengths[norm].median(norm)
                cells[norm] = f"{PIXEL * median:.2f}" if math.isfinite(median) else "-"
        drawn.add_row(Text(one.trained.row), *(cells[part] for part in parts))
    return drawn


def notes(found: Sequence[Found], content: Mapping[str, Any]) -> list[str]:
    """What the numbers are of.

    Args:
        found: by row.
        content: all that is written, with "images", "data", "source", "eps", "step" and "steps".
    """
    source = content["source"]
    box = "white box" if source is None else f"black box: images made on {source['row']} of {source['run']}"
    said = [f"{content['images']:,} test images of {content['data']}; {box}"]
    if {"fgsm", "bim"} & {*found[0].accuracy}:
        bim = f"; BIM: {content['steps']} steps of {content['step']:g}" if "bim" in found[0].accuracy else ""
        said.append(f"accuracy where every pixel may change by eps = {content['eps']:g} of 255{bim}")
    if found[0].strengths:
        said.append("DeepFool: the size of the change that fools half of the images, of 255, in its own norm")
    for one in found:
        for norm, each in one.strengths.items():
            stayed = int((~each.fooled).sum())
            if stayed:
                said.append(f"{one.trained.row}: {TITLES[norm]} did not fool the network on {stayed:,} images")
    return said
