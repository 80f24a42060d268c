"""What there is to train: the table of recipes, and the rows of one of them."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onsphere.cli.mistakes import Mistake, pick

if TYPE_CHECKING:
    from rich.table import Table

    from onsphere.recipes import Entry
    from onsphere.report import Spread
    from onsphere.train import Recipe

USAGE = """\
usage: onsphere recipes [RECIPE] [--json]

List the recipes with their tables, costs, the papers' numbers and our own, or the rows of one recipe.

examples:
  onsphere recipes
  onsphere recipes table3-cifar100
  onsphere recipes --json"""
WIDTHS = {"table": 96, "data": 110}  # columns of a terminal from which on these are shown; the names say both
ARROW = " → "
ESSENTIAL = {
    *("model", "classes", "imbalance", "layers", "depth", "width", "widths", "features", "images", "augmented"),
    *("trained_on", "regularized_after"),
    *("network", "batch_norm", "relu", "augmentation", "optimizer", "training", "transferred"),
}  # settings that make an experiment
UNIMPORTANT = {"dataset", "table"}  # where the images were, whose numbers stood beside the result


@dataclass(frozen=True)
class Ours:
    """Our own number of a row, from a recorded result.

    Args:
        metric: its name, that of the recipe's metric.
        value: over the seeds, in percent.
        other: the settings that are not those of the recipe, with their values.
        file: the result's name.
    """

    metric: str
    value: Spread
    other: Mapping[str, Any]
    file: str

    def as_json(self) -> dict[str, Any]:
        spread = self.value
        return {self.metric: spread.mean, "sd": spread.std, "seeds": spread.count, "other": dict(self.other)}


def show(argv: Sequence[str]) -> int:
    """`onsphere recipes ...`: print the table of all, or of one."""
    from onsphere.recipes import RECIPES

    if {"-h", "--help"} & {*argv}:
        print(USAGE)
        return 0
    names = [word for word in argv if word != "--json"]
    if len(names) > 1 or any(name.startswith("-") for name in names):
        raise Mistake(f"`onsphere recipes` takes the name of one recipe and --json; given: {' '.join(argv)}")
    entries = [pick("recipe", names[0], RECIPES)] if names else list(RECIPES.values())
    recorded = _recorded()
    if "--json" in argv:
        print(json.dumps([_as_json(entry, recorded) for entry in entries], indent=1))
    elif names:
        _print_one(entries[0], recorded)
    else:
        _print_all(entries, recorded)
    return 0


def _print_all(entries: Sequence[Entry], recorded: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console

    from onsphere.recipes.cost import BASIS

    console = Console(width=None if sys.stdout.isatty() else 120)
    optional = [title for title, width in WIDTHS.items() if console.width >= width]
    table = _table(["recipe", *optional, "GPU h", "CPU h", "paper", "here"], left=1 + len(optional))
    for entry in entries:
        default, first = entry(), entry(row=entry.rows[0])
        hours = [_hours(entry, **settings) for settings in _variants(entry)]
        words = {"table": entry.source.replace("MMA paper", "MMA"), "data": entry.images.title}
        cells = [entry.name, *(words[title] for title in optional)]
        cells += [_range([gpu for gpu, _ in hours]), _range([cpu for _, cpu in hours])]
        cells += [_arrow([recipe.paper.get(recipe.metric) for recipe in (first, default)])]
        found = [_ours(entry, recipe, recorded) for recipe in (first, default)]
        mark = "*" if any(one and one.other for one in found) else ""
        table.add_row(*cells, _arrow([one.value.mean if one else None for one in found], mark))
    console.print(table)
    console.print(
        "paper, here: the table's metric, which `onsphere recipes RECIPE` names, mostly top-1 accuracy in percent; of "
        "the first row → of the row that `onsphere train RECIPE` trains. *: with other settings, see there. "
        f"{BASIS}",
        style="dim",
        highlight=False,
    )


def _print_one(entry: Entry, recorded: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console

    from onsphere.recipes.cost import BASIS

    console = Console(width=None if sys.stdout.isatty() else 120)
    summary = (inspect.getdoc(entry.build) or "").split("\n\n")[0]
    console.print(f"[bold]{entry.name}[/bold]  {entry.source}, {entry.images.title}", highlight=False)
    console.print(summary, highlight=False, markup=False)
    table = _table(["row", *entry.variants, "coefficient", "paper", "here"], left=1 + len(entry.variants))
    notes = {}
    for recipe in entry.every_row():
        ours = _ours(entry, recipe, recorded)
        row, settings = str(recipe.settings["row"]), recipe.settings
        variants = [_plain(settings[name]) for name in entry.variants]
        table.add_row(
            row, *variants, _coefficients(settings), _number(recipe.paper.get(recipe.metric)), _with_spread(ours)
        )
        if ours and ours.other:
            notes[ours.file] = ours.other
    console.print(table)
    costs = {_words(settings): _hours(entry, **settings) for settings in _variants(entry)}
    if len({*costs.values()}) == 1:
        costs = {"": next(iter(costs.values()))}
    for words, (gpu, cpu) in costs.items():
        console.print(f"{words and words + ': '}{_range([gpu])} GPU hours, {_range([cpu])} CPU hours", highlight=False)
    for file, other in notes.items():
        console.print(f"* {file} has other settings: {_words(other)}", highlight=False)
    console.print(f"paper, here: {_metric_words(entry)}. {BASIS}", style="dim", highlight=False)
    print(f"\nonsphere train {entry.name} --row {entry.defaults['row']}\nonsphere compare {entry.name}")


def _as_json(entry: Entry, recorded: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "name": entry.name,
        "source": entry.source,
        "data": entry.images.title,
        "metric": entry().metric,
        "hours": [
            {**{name: _plain(value) for name, value in settings.items()}, "gpu": gpu, "cpu": cpu}
            for settings in _variants(entry)
            for gpu, cpu in [_hours(entry, **settings)]
        ],
        "rows": [
            {
                "row": recipe.settings["row"],
                **{name: _plain(recipe.settings[name]) for name in entry.variants},
                "paper": dict(recipe.paper),
                "here": None if ours is None else ours.as_json(),
            }
            for recipe in entry.every_row()
            for ours in [_ours(entry, recipe, recorded)]
        ],
    }


def _variants(entry: Entry) -> Iterator[dict[str, Any]]:
    """The settings of every variant."""
    seen = set()
    for recipe in entry.every_row():
        settings = {name: recipe.settings[name] for name in entry.variants}
        key = tuple(settings.values())
        if key not in seen:
            seen.add(key)
            yield settings


def _hours(entry: Entry, **settings: Any) -> tuple[float, float]:
    hours = entry.hours(row=entry.rows[0], **settings)
    return hours.gpu, hours.cpu


def _result_folders() -> list[Path]:
    """Where recorded results are: beside a source checkout, and in an installed package."""
    import onsphere

    package = Path(onsphere.__file__).parent
    return [package.parents[1] / "results", package / "results"]


def _recorded() -> list[Mapping[str, Any]]:
    """The recorded results; none where there are none."""
    from onsphere.report import load

    found: list[Mapping[str, Any]] = []
    for file in (file for folder in _result_folders() for file in sorted(folder.glob("*.json"))):
        with contextlib.suppress(OSError, ValueError):  # something else that lies there
            found.append({**load(file), "file": file.name})
    return found


def _ours(entry: Entry, recipe: Recipe, recorded: Sequence[Mapping[str, Any]]) -> Ours | None:
    """The recorded result of a row that is nearest to the recipe's settings; tables that share a network share it."""
    from onsphere.recipes import RECIPES
    from onsphere.report import Spread

    found = []
    for result in recorded:
        source = RECIPES.get(result["name"])
        for row in result["rows"]:
            settings = row.get("settings") or {}
            if source is None or source.build is not entry.build or row["row"] != recipe.row:
                continue
            other = {
                name: settings[name]
                for name, value in recipe.settings.items()
                if name not in UNIMPORTANT and name in settings and settings[name] != _listed(value)
            }
            if ESSENTIAL & {*other}:
                continue
            value = Spread.of(seed["final"].get(recipe.metric) for seed in row["seeds"])
            if value.count:
                found.append(Ours(recipe.metric, value, other, result["file"]))
    return min(found, key=lambda ours: (len(ours.other), -ours.value.count), default=None)


def _metric_words(entry: Entry) -> str:
    from onsphere.report.metrics import metric_of

    metric = metric_of(entry().metric)
    return f"{metric.words}{' in percent' if metric.percent else ''}"


def _listed(value: Any) -> Any:
    """As JSON reads it back."""
    return list(value) if isinstance(value, tuple) else value


def _table(titles: Sequence[str], left: int) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for place, title in enumerate(titles):
        table.add_column(title, justify="left" if place < left else "right", no_wrap=place == 0 or place >= left)
    return table


def _words(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={_plain(value)}" for name, value in settings.items())


def _plain(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _arrow(values: Sequence[float | None], mark: str = "") -> str:
    if all(value is None for value in values):
        return ""
    return ARROW.join("?" if value is None else f"{value:.2f}{mark}" for value in values)


def _range(hours: Sequence[float]) -> str:
    """Hours to two digits, or from the least to the most.

    >>> _range([0.0123]), _range([1.25]), _range([8.2, 341.0])
    ('0.012', '1.2', '8.2-341')
    """
    low, high = (f"{value:.2g}" if value < 10 else f"{value:.0f}" for value in (min(hours), max(hours)))
    low, high = ("<0.01" if value < 0.005 else text for text, value in ((low, min(hours)), (high, max(hours))))
    return low if low == high else f"{low}-{high}"


def _coefficients(settings: Mapping[str, Any]) -> str:
    values = [settings.get("coefficient"), settings.get("output_coefficient")]
    return ", ".join(f"{value:g}" for value in values if value)


def _with_spread(ours: Ours | None) -> str:
    if ours is None:
        return ""
    spread = "" if ours.value.std is None else f" ± {ours.value.std:.2f}"
    seeds = f"({ours.value.count} seed{'s' if ours.value.count > 1 else ''})"
    return f"{_number(ours.value.mean)}{spread} {seeds}{'*' if ours.other else ''}"
