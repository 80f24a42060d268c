"""The comparison as a table, laid out as Table 3 of the MMA paper: for a terminal, for Markdown, for a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from onsphere.report.headline import headline
from onsphere.report.metrics import Metric, compares_objectives, extra_metrics, main_metric, metric_of, row_heading
from onsphere.report.results import Row, Spread, layers, missing, notes, summarize

DASH = "–"  # stands for a number that is not there
WIDE = 6  # more layers than this get a table of their own in Markdown and HTML


@dataclass(frozen=True)
class Grid:
    """A table before it is drawn: headings, rows of text, and which cells hold the best value of their column."""

    title: str
    head: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()


def grids(result: Mapping[str, Any], *, joined: bool, apart: bool = False) -> list[Grid]:
    """The tables of a result.

    Args:
        result: a result as `load` returns it.
        joined: one table with a column a layer, as in the paper; else a second table with a line a layer and a column
            a row, which stays readable with many layers.
        apart: the metrics beside the one that the result is about get a table of their own, for a narrow terminal.
    """
    rows = summarize(result)
    names = layers(rows)
    columns = [Column(row_heading(result), tuple(row.name for row in rows))]
    further: list[Column] = []
    costs = _costs(rows)
    if compares_objectives(result):
        main, further = _metrics(result, rows)
        further += [cost for cost in costs if any(cell != DASH for cell in cost.cells)]
        columns += main if apart else [*main, *further]
    else:
        columns += [*costs, _accuracy(metric_of("top1"), rows), _accuracy(metric_of("top5"), rows)]
    if len({row.seeds for row in rows}) > 1:
        columns.append(Column("Seeds", tuple(str(row.seeds) for row in rows)))
    angles = [_angle(layer, rows) for layer in names]
    if joined and angles:
        columns += [Column(f"{angle.title}\nangle", angle.cells, angle.best) for angle in angles]
        return [_by_columns(f"{result['name']}, with the minimum angle (degree) of every layer", columns)]
    found = [_by_columns(str(result["name"]), columns)]
    if apart and further:
        found.append(_by_columns("Further metrics", [columns[0], *further]))
    if angles:
        found.append(_by_lines("Minimum angle of every layer, degree", rows, angles))
    return found


@dataclass(frozen=True)
class Column:
    """One quantity of all rows: its heading, a cell a row, and which rows hold the best."""

    title: str
    cells: tuple[str, ...]
    best: tuple[int, ...] = ()


def _costs(rows: Sequence[Row]) -> list[Column]:
    return [
        Column("Time/batch\nratio", tuple(number(row.time_ratio) for row in rows)),
        Column("Memory\nratio", tuple(number(row.memory_ratio) for row in rows)),
    ]


def _metrics(result: Mapping[str, Any], rows: Sequence[Row]) -> tuple[list[Column], list[Column]]:
    """What the table is about with the paper's number beside it, and every other metric that any row has."""
    main = main_metric(result)
    first = [_accuracy(main, rows)]
    if any(main.key in row.paper for row in rows):
        unit = "\n%" if main.percent else ""
        first.append(Column(f"Paper{unit}", tuple(number(row.paper.get(main.key), main.digits) for row in rows)))
    closed = [metric_of("top1"), metric_of("top5")] if main.key == "top1" else [metric_of("top1")]
    others = [metric for metric in (*extra_metrics(result), *closed) if metric != main]
    return first, [_accuracy(metric, rows) for metric in others if any(_spread(row, metric).count for row in rows)]


def _spread(row: Row, metric: Metric) -> Spread:
    return row.metrics.get(metric.key, Spread(None, None, 0))


def _accuracy(metric: Metric, rows: Sequence[Row]) -> Column:
    spreads = [_spread(row, metric) for row in rows]
    sign = -1 if metric.lower_is_better else 1
    best = _largest([None if spread.mean is None else sign * spread.mean for spread in spreads], metric.digits)
    return Column(metric.title, tuple(plus_minus(spread, metric.digits) for spread in spreads), best)


def _angle(layer: str, rows: Sequence[Row]) -> Column:
    means = [row.angles[layer].mean if layer in row.angles else None for row in rows]
    return Column(layer, tuple(number(mean, 1) for mean in means), _largest(means, 1))


def _by_columns(title: str, columns: Sequence[Column]) -> Grid:
    return Grid(
        title,
        tuple(column.title for column in columns),
        tuple(zip(*(column.cells for column in columns), strict=True)),
        frozenset((i, j) for j, column in enumerate(columns) for i in column.best),
    )


def _by_lines(title: str, rows: Sequence[Row], layers_: Sequence[Column]) -> Grid:
    return Grid(
        title,
        ("Layer", *(row.name for row in rows)),
        tuple((layer.title, *layer.cells) for layer in layers_),
        frozenset((i, j + 1) for i, layer in enumerate(layers_) for j in layer.best),
    )


def _largest(values: Sequence[float | None], digits: int) -> tuple[int, ...]:
    """Where the largest value as printed stands: several places on a tie, none where all are equal."""
    printed = [None if value is None else round(value, digits) for value in values]
    known = [value for value in printed if value is not None]
    if len(set(known)) < 2:
        return ()
    return tuple(i for i, value in enumerate(printed) if value == max(known))


def number(value: float | None, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return DASH if value is None else f"{value:.{digits}f}"


def plus_minus(spread: Spread, digits: int = 2) -> str:
    """Mean ± standard deviation; the mean alone for a single value; a dash for none."""
    if spread.mean is None:
        return DASH
    deviation = "" if spread.std is None else f" ± {spread.std:.{digits}f}"
    return f"{spread.mean:.{digits}f}{deviation}"


class _Fitted:
    """The tables of a result, joined into one where the terminal is wide enough for it."""

    def __init__(self, result: Mapping[str, Any]) -> None:
        self.result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for joined, apart in ((True, False), (False, False), (False, True)):
            drawn = [_drawn(grid) for grid in grids(self.result, joined=joined, apart=apart)]
            if all(
                Measurement.get(console, options.update(width=10_000), t).maximum <= options.max_width for t in drawn
            ):
                break
        yield from drawn
        warnings = missing(self.result)
        for sentence in notes(self.result):
            yield Text(f"- {sentence}", style="yellow" if sentence in warnings else "")


def _drawn(grid: Grid) -> Table:
    drawn = Table(title=Text(grid.title), title_justify="left", header_style="bold")
    for j, title in enumerate(grid.head):
        # Folding keeps every character of a long name where a terminal is too narrow; "..." would hide its end.
        drawn.add_column(Text(title), justify="left" if j == 0 else "right", overflow="fold")
    for i, cells in enumerate(grid.body):
        drawn.add_row(*(Text(cell, style="bold" if (i, j) in grid.best else "") for j, cell in enumerate(cells)))
    return drawn


def table(result: Mapping[str, Any]) -> _Fitted:
    """The comparison for `rich.print`, as the MMA paper's Table 3: accuracies as mean ± standard deviation over seeds.

    The minimum angles (degree, mean over seeds, at the end of training) stand as columns where the terminal is wide
    enough, else in a second table with a line a layer. The largest mean of a column is bold (the smallest one of an
    error or a Fisher score), which says nothing about noise: the sentences below the table (`notes`) do. A single seed
    shows its value without ±; a dash stands for what was not measured.

    A result that is about another metric than top-1 ("verification" for instance), or that recorded further ones, has a
    column for each, and the paper's number beside the one that it is about.

    Args:
        result: a result as `load` returns it.

    Returns:
        Something that rich can print.

    >>> from rich.console import Console
    >>> seed = {"seed": 123, "final": {"top1": 91.0, "top5": 99.0}}
    >>> result = {"schema": 1, "name": "tiny", "rows": [{"row": "none", "seeds": [seed]}]}
    >>> Console(width=80).print(table(result))  # doctest: +ELLIPSIS
    tiny...
    ...│ none           │          – │      – │ 91.00 │ 99.00 │...
    """
    return _Fitted(result)


def markdown(result: Mapping[str, Any]) -> str:
    """The comparison as Markdown: the tables, then what was run where, and what a reader must know.

    Args:
        result: a result as `load` returns it.

    >>> seed = {"seed": 123, "final": {"top1": 91.0, "top5": 99.0}}
    >>> result = {"schema": 1, "name": "tiny", "rows": [{"row": "none", "seeds": [seed]}]}
    >>> print(markdown(result).splitlines()[0])
    | Regularization | Time/batch ratio | Memory ratio | Top-1 % | Top-5 % |
    """
    drawn = [pipes(grid) for grid in grids(result, joined=is_narrow(result))]
    titled = [drawn[0], *(f"Minimum angle of every layer (degree):\n\n{grid}" for grid in drawn[1:])]
    source = f"{result['source']}. " if result.get("source") else ""
    titled.append(f"{source}{_escaped(headline(result))}.")
    titled.append("\n".join(f"- {_escaped(note)}" for note in notes(result)))
    return "\n\n".join(titled)


def is_narrow(result: Mapping[str, Any]) -> bool:
    """Whether a page has room for the layers as columns of the one table."""
    return len(layers(summarize(result))) + len(extra_metrics(result)) <= WIDE


def pipes(grid: Grid) -> str:
    """A table as Markdown."""
    lines = [[title.replace("\n", " ") for title in grid.head], ["---", *("---:" for _ in grid.head[1:])]]
    for i, cells in enumerate(grid.body):
        lines.append([f"**{_escaped(c)}**" if (i, j) in grid.best else _escaped(c) for j, c in enumerate(cells)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def benchmarks_markdown(benchmark: Mapping[str, Any]) -> str:
    """One file of `results/benchmarks` as Markdown; a missed target is said to be missed.

    Args:
        benchmark: machine, date, commit, torch, threads and rows with what, peer, ours_ms, theirs_ms, ratio, target and
            the same in bytes; anything may be missing or null. With "orthogonality" (of benchmarks/orthogonal.py) a
            second table says how orthogonal matrices are after training.
    """
    head = ("What", "Against", "Ours ms", "Theirs ms", "Time ratio", "Memory ratio")
    body = tuple(
        (
            str(row.get("what") or DASH),
            str(row.get("peer") or DASH),
            _significant(row.get("ours_ms")),
            _significant(row.get("theirs_ms")),
            _against(row.get("ratio"), row.get("target")),
            _against(row.get("memory_ratio"), row.get("memory_target")),
        )
        for row in benchmark.get("rows") or ()
    )
    parts = [pipes(Grid("", head, body)), _measured_on(benchmark)]
    if benchmark.get("orthogonality"):
        parts += [_orthogonality(benchmark["orthogonality"]), _measured_on(benchmark["orthogonality"])]
    return "\n\n".join(parts)


def _orthogonality(found: Mapping[str, Any]) -> str:
    numbers = {
        "‖RᵀR − I‖, Frobenius": "frobenius",
        "Largest of the last 100 steps": "frobenius_lately",
        "Spectral norm": "spectral",
        "Change of the energy": "energy_change",
    }
    head = ("R after training", "Optimizer", "Steps", *numbers, "Loss")
    body = tuple(
        (
            str(row["method"]),
            str(row["optimizer"]),
            str(row["steps"]),
            *(_within(row[name], row.get("target")) for name in numbers.values()),
            f"{row['loss_before']:.2g} → {row['loss']:.2g}",
        )
        for row in found["rows"]
    )
    return pipes(Grid("", head, body))


def _within(value: float, target: float | None) -> str:
    if target is None:
        return f"{value:.1e}"
    return f"{value:.1e} (target {target:g}: {'met' if abs(value) <= target else 'missed'})"


def _measured_on(benchmark: Mapping[str, Any]) -> str:
    machine = benchmark.get("machine") or {}
    threads = benchmark.get("threads")
    parts = [
        str(machine.get("processor") or machine.get("device") or "") if isinstance(machine, Mapping) else str(machine),
        f"{threads} thread{'s' if threads != 1 else ''}" if threads else "",
        f"torch {benchmark['torch']}" if benchmark.get("torch") else "",
        f"commit {benchmark['commit']}" if benchmark.get("commit") else "",
        str(benchmark.get("date") or "")[:10],
    ]
    return f"{_escaped('; '.join(part for part in parts if part))}."


def _significant(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def _against(ratio: float | None, target: float | None) -> str:
    if ratio is None or target is None:
        return number(ratio)
    return f"{ratio:.2f} (target {target:g}: {'met' if ratio <= target else 'missed'})"
