"""The curve of true accepts against false accepts, one for each set of pairs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from onsphere.report.colours import looks
from onsphere.report.drawing import SOFT, drawn, kind_of, style, write_bytes

DASHES = {"solid": "-", "dash": "--", "dot": ":", "dashdot": "-.", "longdash": (0, (8, 3)),
          "longdashdot": (0, (8, 3, 1, 3))}  # fmt: skip


def write_roc(curves: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Draw the true accept rate against the false accept rate, whose axis is logarithmic.

    Args:
        curves: each with "name", "far" and "tar" (rates from 0 to 1, rising), "eer" and "different", the number of
            pairs of different identities, below whose inverse no rate but 0 can be measured.
        path: where to write; the suffix chooses the format (.svg or .png). Equal curves give equal bytes.

    Raises:
        ValueError: there is no curve.

    >>> import tempfile
    >>> curve = {"name": "lfw", "far": [0.0, 0.5, 1.0], "tar": [0.5, 1.0, 1.0], "eer": 0.25, "different": 2}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_roc([curve], f"{folder}/roc.svg")
    """
    from matplotlib import pyplot

    if not curves:
        raise ValueError("there is no curve to draw")
    names = [str(curve["name"]) for curve in curves]
    look = looks(names)
    floor = min(1 / curve["different"] for curve in curves) / 2
    with style():
        figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
        for name, curve in zip(names, curves, strict=True):
            axes.step(
                [max(far, floor) for far in curve["far"]],
                [100 * tar for tar in curve["tar"]],
                where="post",
                color=look[name].colour,
                linestyle=DASHES[look[name].dash],
                linewidth=1.4,
                label=f"{name}: equal error rate {100 * curve['eer']:.2f} %",
            )
        axes.set_xscale("log")
        axes.set_xlim(floor, 1)
        axes.set_ylim(0, 101)
        axes.grid(color=SOFT, alpha=0.2, linewidth=0.6)
        axes.set_xlabel("false accept rate")
        axes.set_ylabel("true accept rate, %")
        axes.set_title("Accepted pairs at every threshold", fontsize=9, loc="left", color=SOFT)
        axes.legend(frameon=False, loc="lower right")
        write_bytes(drawn(figure, kind_of(path)), path)
