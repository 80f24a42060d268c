"""What was found, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onsphere.cli.verify.sets import Set

if TYPE_CHECKING:
    from rich.table import Table

    from onsphere.verification import Verification


@dataclass(frozen=True, eq=False)
class Found:
    """A set, how well its pairs were told apart, and how mirror images came in: "concatenate", "sum" or "none"."""

    given: Set
    result: Verification
    flip: str


def data(found: Found) -> dict[str, Any]:
    """Everything about one set that JSON can hold; rates in per cent, thresholds as cosines."""
    result = found.result
    return {
        "name": found.given.name,
        "source": str(found.given.source),
        "flip": found.flip,
        "same": result.same,
        "different": result.different,
        "folds": len(result.thresholds),
        **result.percent(),
        "standard_error": 100 * result.standard_error,
        "fold_verification": [100 * value for value in result.fold_accuracy.tolist()],
        "thresholds": result.thresholds.tolist(),
    }


def curve(found: Found) -> dict[str, Any]:
    """What the figure of the ROC needs of one set."""
    result = found.result
    return {"name": found.given.name, "far": result.roc.far.tolist(), "tar": result.roc.tar.tolist(),
            "eer": result.eer, "different": result.different}  # fmt: skip


def table(found: Sequence[Found], far: Sequence[float]) -> Table:
    """One line a set."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(header_style="bold", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    heads = ["set", "pairs", "accuracy, %", "threshold", "EER, %", "AUC, %", *(f"TAR @ {rate:g}" for rate in far)]
    for j, head in enumerate(heads):
        drawn.add_column(Text(head), justify="right" if j else "left", no_wrap=True)
    for one in found:
        result = one.result
        drawn.add_row(
            Text(one.given.name),
            f"{result.same + result.different:,}",
            f"{100 * result.accuracy:.2f} ± {100 * result.accuracy_std:.2f}",
            f"{result.thresholds.mean():.4f}",
            f"{100 * result.eer:.2f}",
            f"{100 * result.auc:.2f}",
            *(f"{100 * result.tar_at_far[float(rate)]:.2f}" for rate in far),
        )
    return drawn


def notes(found: Sequence[Found], far: Sequence[float]) -> list[str]:
    """What the columns mean, and which of them a set is too small for."""
    said = ["accuracy: mean and standard deviation over the folds, the threshold of each chosen on the others"]
    if far:
        said.append("TAR @ rate: true accept rate in %, at the lowest threshold with at most that false accept rate")
    for one in found:
        small = [f"{rate:g}" for rate in far if rate * one.result.different < 1]
        if small:
            said.append(
                f"{one.given.name}: with {one.result.different:,} pairs of different identities a false accept rate of "
                f"{', '.join(small)} means none at all"
            )
    return said
