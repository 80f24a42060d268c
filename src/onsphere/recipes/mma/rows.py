"""The rows of the MMA paper's Table 3: diversity measures with the paper's coefficients and numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from onsphere.diversity import MHE, MMA, Orthogonal
from onsphere.recipes.regularization import Layers, Term

RowName = Literal["none", "orthogonal", "mhe-s2", "mhe-s0", "mma"]


@dataclass(frozen=True)
class Row:
    """A row of Table 3.

    Args:
        label: the name that tables and reports print.
        measure: makes the measure from the size of MHE's mini-batch of neurons (the others need none); None for no
            regularization.
        coefficient: the paper's, Section 5.2.
        skip_coefficient: the paper's for models with skip connections; None where it names no other one.
        paper: Table 3's numbers for VGG19-BN on CIFAR-100: accuracies in percent, seconds per batch of 128 and memory
            on a GTX 1080, the two as ratios to the baseline, and the minimum angles in degrees.
    """

    label: str
    measure: Callable[[float | None], nn.Module] | None
    coefficient: float
    skip_coefficient: float | None
    paper: Mapping[str, float]

    def terms(self, coefficient: float, layers: Layers = "everywhere", mhe_batch: float | None = None) -> list[Term]:
        """The row's regularization: nothing, or its measure on these layers."""
        return [] if self.measure is None else [Term(partial(self.measure, mhe_batch), coefficient, layers)]


def _paper(seconds: float, mebibytes: float, top1: float, top5: float, *angles: float) -> Mapping[str, float]:
    layers = ("conv3_3", "conv4_3", "conv5_3", "classifier")  # the paper's L3-3, L4-3, L5-3 and Classify
    return {
        "top1": top1,
        "top5": top5,
        "seconds_per_batch": seconds,
        "memory_mib": mebibytes,
        "time_ratio": round(seconds / 0.070, 3),
        "memory_ratio": round(mebibytes / 1127, 3),
        **{f"minimum_angle_deg.{layer}": angle for layer, angle in zip(layers, angles, strict=True)},
    }


ROWS: Mapping[RowName, Row] = {
    "none": Row("none", None, 0.0, None, _paper(0.070, 1127, 72.08, 90.50, 70.1, 16.0, 30.8, 54.0)),
    "orthogonal": Row(
        "orthogonal", lambda _: Orthogonal(), 1e-4, None, _paper(0.096, 1237, 72.83, 90.98, 79.3, 75.3, 81.2, 63.1)
    ),
    "mhe-s2": Row(
        "MHE s=2", lambda b: MHE(s=2.0, batch=b), 1.0, None, _paper(0.259, 5551, 71.91, 90.76, 74.2, 58.1, 68.5, 71.3)
    ),
    "mhe-s0": Row(
        "MHE s=0", lambda b: MHE(s=0.0, batch=b), 1.0, None, _paper(0.253, 5551, 72.08, 90.72, 69.6, 48.6, 57.8, 63.4)
    ),
    "mma": Row("MMA", lambda _: MMA(), 0.07, 0.03, _paper(0.095, 1229, 73.73, 91.21, 85.7, 84.7, 85.3, 84.9)),
}


def coefficient_of(row: RowName, given: float | None, *, skip_connections: bool) -> float:
    """The coefficient that was given, or the paper's.

    Raises:
        ValueError: for an unknown row, and for a coefficient that row none would ignore.
    """
    if row not in ROWS:
        raise ValueError(f"row={row!r} is none of {', '.join(ROWS)}")
    if row == "none" and given:
        raise ValueError(f"coefficient={given} has no effect on row 'none', which has no regularization")
    if given is not None:
        return given
    of_skips = ROWS[row].skip_coefficient
    return of_skips if skip_connections and of_skips is not None else ROWS[row].coefficient
