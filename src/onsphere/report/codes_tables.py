"""Tables of recorded codes: the papers' methods side by side, and what our own search reaches."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from onsphere.report.headline import machine_words
from onsphere.report.tables import DASH, Grid, number, pipes

KINDS = ("codes", "code-methods")
WITHIN = 1e-6  # degrees: nearer to the table's angle is the same code
MANY = 30  # pairs of n and d; more of them get a sentence in a README instead of a table


def load_codes(path: Path) -> dict[str, Any] | None:
    """A file of codes, or None where it is of another kind.

    Raises:
        ValueError: it is of such a kind, and of another schema or without rows.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # whoever reads results says what is wrong with it
        return None
    if not isinstance(result, dict) or result.get("kind") not in KINDS:
        return None
    if result.get("schema") != 1 or not isinstance(result.get("rows"), list):
        raise ValueError(f"{path}: expected schema 1 and a list of rows, got schema {result.get('schema')!r}")
    return result


def codes_markdown(result: Mapping[str, Any], *, full: bool) -> str:
    """A file of codes as Markdown.

    Args:
        result: of a kind in `KINDS`.
        full: every line; else a sentence stands for more than 30 of them.
    """
    if result["kind"] == "code-methods":
        parts = [pipes(methods_grid(result)), *methods_notes(result)]
    else:
        cases = _cases(result["rows"])
        parts = [summary(result)] if len(cases) > MANY else []
        if full or len(cases) <= MANY:
            parts.append(pipes(codes_grid(result)))
    return "\n\n".join([*parts, f"{_provenance(result)}."])


def methods_grid(result: Mapping[str, Any], digits: int = 6) -> Grid:
    """Table 1 of the MMA paper with our numbers: bold is the best of the methods, in brackets the paper's."""
    names = list(dict.fromkeys(name for row in result["rows"] for name in row["methods"]))
    titles = {name: row["methods"][name]["title"] for row in result["rows"] for name in row["methods"]}
    head = ("d", "n", "best known", "our search", *(titles[name] for name in names))
    body, best = [], set()
    for i, row in enumerate(result["rows"]):
        found = [row["methods"].get(name) for name in names]
        angles = [None if method is None else round(method["angle_deg"], 2) for method in found]
        known = [angle for angle in angles if angle is not None]
        best |= {(i, 4 + k) for k, angle in enumerate(angles) if len(set(known)) > 1 and angle == max(known)}
        best_known = _with_paper(row["best_known_deg"], row.get("paper_optimal_deg"), digits)
        cells = [str(row["d"]), str(row["n"]), best_known, number(row["ours"]["angle_deg"], digits)]
        body.append((*cells, *(_with_paper(m and m["angle_deg"], m and m.get("paper_deg"), 2) for m in found)))
    return Grid("Minimum angle, degree", head, tuple(body), frozenset(best))


def _with_paper(ours: float | None, paper: float | None, digits: int) -> str:
    return f"{number(ours, digits)} ({number(paper, 1)})"


def methods_notes(result: Mapping[str, Any]) -> list[str]:
    """What belongs to the table of methods."""
    settings = result["settings"]
    return [
        f"Minimum angles in degrees; in brackets the paper's. The methods are SGD with {settings['iterations']} steps "
        "from a standard normal start, learning rate 0.1 divided by 5 on a plateau, momentum 0.9, seed "
        f"{settings['seed']}. A plateau here is {settings['patience']} steps without a lower loss; the paper does not "
        f"say what it took. Our search had {settings['budget_s']:g} s."
    ]


class _Fitted:
    """The table of methods, with the paper's numbers below ours where the terminal is narrow."""

    def __init__(self, result: Mapping[str, Any]) -> None:
        self.result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self.result["rows"]:
            yield Text("no row is finished")
            return
        drawn = _drawn(methods_grid(self.result), " ")
        if Measurement.get(console, options.update(width=10_000), drawn).maximum > options.max_width:
            drawn = _drawn(methods_grid(self.result, digits=4), "\n")
        yield drawn
        for note in methods_notes(self.result):
            yield Text(note, style="dim")


def printed(result: Mapping[str, Any]) -> _Fitted:
    """The table of methods for `rich.print`."""
    return _Fitted(result)


def _drawn(grid: Grid, between: str) -> Table:
    drawn = Table(
        title=Text(grid.title), title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, show_edge=False,
        pad_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for title in grid.head:
        drawn.add_column(
            Text(title if between == " " else title.replace(" = ", "=").replace(" ", "\n")),
            justify="right",
            no_wrap=True,
        )
    for i, cells in enumerate(grid.body):
        best = ("bold" if (i, j) in grid.best else "" for j in range(len(cells)))
        drawn.add_row(*(Text(cell.replace(" ", between), style=style) for cell, style in zip(cells, best, strict=True)))
    return drawn


Case = tuple[int, int, float | None]  # d, n and the target where there is one


def _cases(rows: Iterable[Mapping[str, Any]]) -> dict[Case, list[Mapping[str, Any]]]:
    """Rows that differ in the seed only."""
    found: dict[Case, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["d"], row["n"], row.get("target_deg")), []).append(row)
    return found


def codes_grid(result: Mapping[str, Any]) -> Grid:
    """A line for every d and n (and target), reduced over the seeds."""
    many = any("peak_mb" in row for row in result["rows"])  # of points: then memory counts, and the hexagonal angle
    head = ["d", "n", "best known or target, °", "median, °", "best, °"]
    head += ["of hexagonal, %", "median s", "peak MB"] if many else ["reached by", "median s"]
    body = []
    for (d, n, target), rows in _cases(result["rows"]).items():
        goal = target if target is not None else rows[0].get("best_known_deg")
        angles = [row["angle_deg"] for row in rows]
        cells = [str(d), str(n), number(goal, 6), number(median(angles), 6), number(max(angles), 6)]
        seconds = f"{median(row['seconds'] for row in rows):.1f}"
        if many:
            share = rows[0].get("share_of_hexagonal")
            cells += [number(share and 100 * share, 1), seconds, str(max(row["peak_mb"] for row in rows))]
        else:
            reached = DASH if goal is None else f"{sum(angle > goal - WITHIN for angle in angles)} of {len(angles)}"
            cells += [reached, seconds]
        body.append(tuple(cells))
    return Grid("Minimum angle", tuple(head), tuple(body))


def summary(result: Mapping[str, Any]) -> str:
    """Many codes in a few sentences."""
    rows = result["rows"]
    best = {case: max(found, key=lambda row: row["angle_deg"]) for case, found in _cases(rows).items()}
    gaps = {
        case: row["best_known_deg"] - row["angle_deg"]
        for case, row in best.items()
        if row.get("best_known_deg") is not None
    }
    near = sum(abs(gap) <= WITHIN for gap in gaps.values())
    better = [case for case, gap in gaps.items() if gap < -WITHIN]
    worse = [case for case, gap in gaps.items() if gap > WITHIN]
    longest = max(rows, key=lambda row: row["seconds"])
    said = [
        f"{near} of {len(gaps)} codes ({_range(best)}) are within {WITHIN:g} degrees of the best known angle"
        + (f"; better: {_names(better)}" if better else "; none is better")
        + (f"; below it: {_names(worse)}." if worse else "."),
        f"All of them took {_duration(math.fsum(row['seconds'] for row in rows))}, the longest "
        f"(d = {longest['d']}, n = {longest['n']}) {_duration(longest['seconds'])}.",
    ]
    return " ".join(said)


def _range(cases: Iterable[Case]) -> str:
    cases = list(cases)
    ends = {"d": sorted({d for d, _, _ in cases}), "n": sorted({n for _, n, _ in cases})}
    return ", ".join(
        f"{name} = {values[0]}" + (f" to {values[-1]}" if len(values) > 1 else "") for name, values in ends.items()
    )


def _names(cases: Sequence[Case]) -> str:
    return ", ".join(f"n = {n}" for _, n, _ in cases)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _provenance(result: Mapping[str, Any]) -> str:
    machine = result.get("machine") or {}
    parts = [
        str(result.get("source") or ""),
        machine_words(machine) if isinstance(machine, Mapping) else str(machine),
        f"commit {result['commit']}" if result.get("commit") else "",
        f"{_duration(result['seconds'])} in all" if result.get("seconds") is not None else "",
    ]
    return "; ".join(part for part in parts if part) or "No machine is recorded"
