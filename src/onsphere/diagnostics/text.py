"""An inspection as text: tables of cells that a terminal can colour, a plain drawing of them, and sentences."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onsphere.diagnostics.inspection import Inspection, LayerReport

DASH = "–"
LEGEND = (
    "random: uniformly random directions of that n and d, mean ± standard deviation. best: the largest possible. "
    "*: beyond random by more than 3 standard deviations, or duplicates or zeros. –: unknown or undefined. ∞: infinite."
)
NAMED = 4  # so many layers are named in a sentence


@dataclass(frozen=True)
class Cell:
    """One cell: its text, a second and fainter line, and whether it deserves attention."""

    text: str
    below: str = ""
    marked: bool = False

    def lines(self, starred: bool) -> list[str]:
        """Its lines, with room for a star behind each where the column has stars."""
        star, blank = ("*" if self.marked else " ", " ") if starred else ("", "")
        return [self.text + star, *([self.below + blank] if self.below else [])]


@dataclass(frozen=True)
class Table:
    """A table before it is drawn; the first column holds names, the others numbers."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def lines(self, i: int) -> list[list[str]]:
        """The lines of every cell of a row; in a column that has stars, a blank where there is none."""
        starred = [any(row[j].marked for row in self.rows) for j in range(len(self.head))]
        return [cell.lines(star) for cell, star in zip(self.rows[i], starred, strict=True)]

    def columns(self, *which: int) -> Table:
        """The table with some of its columns only."""
        rows = tuple(tuple(row[j] for j in which) for row in self.rows)
        return Table(self.title, tuple(self.head[j] for j in which), rows)


def tables(inspection: Inspection, top: int | None = None) -> tuple[Table, Table]:
    """The two tables of an inspection, the most correlated layers first: angles and counts, then energies."""
    shown = inspection.worst(top)
    above = f"cos > {inspection.threshold:g}\n%"
    head = ("layer", "n", "d", "min angle\ndegree", "random", "best", above, "random", "< 1°", "zero")
    first = Table("Most correlated layers first", head, tuple(_counts(layer) for layer in shown))
    names = [name.replace("half_", "half ") for name in (shown[0].energies if shown else ())]
    second = Table(
        "Energies; below each what random directions give, mean ± standard deviation",
        ("layer", *names),
        tuple((Cell(layer.name), *(_energy(layer, name) for name in layer.energies)) for layer in shown),
    )
    return first, second


def _counts(layer: LayerReport) -> tuple[Cell, ...]:
    n = f"{layer.neurons}" if layer.sampled is None else f"{layer.sampled}/{layer.neurons}"
    angle, share = layer.random.minimum_angle_deg, layer.random.share_above
    best = DASH if layer.best_angle_deg is None else f"{layer.best_angle_deg:.1f}"
    return (
        Cell(layer.name),
        Cell(n if layer.groups == 1 else f"{layer.groups}x{n}"),
        Cell(f"{layer.dimension}"),
        Cell(_angle(layer.minimum_angle_deg), marked=layer.closer),
        Cell(DASH if math.isnan(angle.mean) else f"{angle.mean:.1f}±{angle.std:.1f}"),
        Cell(best),
        Cell(_per_cent(layer.share_above), marked=layer.more_correlated),
        Cell(_per_cent(share.mean)),
        Cell(f"{layer.near_duplicates}", marked=layer.near_duplicates > 0),
        Cell(f"{layer.zero}", marked=layer.zero > 0),
    )


def _angle(degrees: float) -> str:
    if math.isnan(degrees):
        return DASH
    return f"{degrees:.1f}" if degrees >= 1 or degrees == 0 else f"{degrees:.2g}"


def _per_cent(share: float) -> str:
    if math.isnan(share):
        return DASH
    return f"{100 * share:.2f}" if share == 0 or share >= 5e-5 else "<0.01"


def _energy(layer: LayerReport, name: str) -> Cell:
    value, random = layer.energies[name], layer.random.energies[name]
    if math.isnan(value):
        return Cell(DASH)
    spread = f"±{_std(random.std)}" if math.isfinite(random.mean) else ""
    return Cell(f"{value:.4g}", f"{_mean(random.mean)}{spread}", marked=name in layer.high_energies)


def _mean(value: float) -> str:
    return "∞" if math.isinf(value) else f"{round(value, 9):.4g}"


def _std(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:.1f}" if value >= 0.1 else f"{value:.0e}".replace("e-0", "e-")


def notes(inspection: Inspection) -> list[str]:
    """What a reader should know, in sentences."""
    layers = inspection.layers
    said = []
    if not inspection.complete:
        said.append("The inspection was interrupted: layers are missing.")
    correlated = [layer.name for layer in inspection.worst() if layer.more_correlated]
    pairs = f"More pairs with a cosine above {inspection.threshold:g} than random directions"
    said.append(f"{pairs}: {len(correlated)} of {len(layers)} layers{_some(correlated)}.")
    for kind, counts in (
        ("Near-duplicates (another neuron within 1 degree)", {each.name: each.near_duplicates for each in layers}),
        ("Zero neurons", {each.name: each.zero for each in layers}),
        ("Neurons with NaN or an infinity, left out", {each.name: each.nonfinite for each in layers}),
    ):
        found = {name: count for name, count in counts.items() if count}
        if found:
            said.append(f"{kind}: {sum(found.values())}{_some([f'{name} ({n})' for name, n in found.items()])}.")
    sampled = [f"{layer.name} ({layer.sampled} of {layer.neurons})" for layer in layers if layer.sampled is not None]
    if sampled:
        said.append(
            f"Only a random sample of the neurons was compared{_some(sampled)}. Pairs and near-duplicates are those of "
            "the sample, and the minimum angle of all neurons is at most that of the sample."
        )
    reasons = dict.fromkeys(each.why for each in inspection.skipped)
    for why in reasons:
        names = [each.name for each in inspection.skipped if each.why == why]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        said.append(f"Not looked at: {', '.join(names[:NAMED])}{more} ({why}).")
    return said


def _some(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f", in {', '.join(names[:NAMED])}{more}"


def whole(inspection: Inspection, width: int = 100) -> str:
    """The tables and the sentences, in lines of at most ``width`` characters where the numbers leave room for it."""
    sentences = "\n".join(f"- {sentence}" for sentence in notes(inspection))
    drawn = (plain(table, width) for table in tables(inspection))
    return "\n\n".join([*drawn, textwrap.fill(LEGEND, width), sentences])


def plain(table: Table, width: int = 100) -> str:
    """A table drawn with spaces; a long name goes on in the next line."""
    blocks = [[title.split("\n") for title in table.head], *(table.lines(i) for i in range(len(table.rows)))]
    widths = [max(len(line) for block in blocks for line in block[j]) for j in range(len(table.head))]
    widths[0] = min(widths[0], max(12, width - sum(widths[1:]) - 2 * len(widths[1:])))
    drawn = [table.title]
    for i, (name, *numbers) in enumerate(blocks):
        cells = [_folded(name[0], widths[0]), *numbers]
        for k in range(max(map(len, cells))):
            first, *rest = (cell[k] if k < len(cell) else "" for cell in cells)
            aligned = (f"{text:>{w}}" for text, w in zip(rest, widths[1:], strict=True))
            drawn.append("  ".join([f"{first:<{widths[0]}}", *aligned]).rstrip())
        if i == 0:
            drawn.append("-" * (sum(widths) + 2 * len(widths[1:])))
    return "\n".join(drawn)


def _folded(text: str, width: int) -> list[str]:
    """A name in lines, broken behind dots and underscores where that is possible."""
    folded = [""]
    for part in re.findall(r"[^._]+[._]?|[._]", text):
        if folded[-1] and len(folded[-1]) + len(part) > width:
            folded.append("")
        while len(part) > width:
            folded[-1:] = [part[:width], ""]
            part = part[width:]
        folded[-1] += part
    return folded
