"""What is made while the pages are built: tables from result files and of the recipes, and what code blocks print.

A page says `<!-- generated: results -->` where the part `results` goes; the parts are the functions of PARTS. Where it
says `<!-- printed -->` it gets what the code block above has printed.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_GENERATED = re.compile(r"<!-- generated: ([\w-]+) -->")
_PRINTED = "<!-- printed -->"
_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The hook: a page's Markdown with its generated parts.

    Raises:
        KeyError: a page asks for a part that there is not.
    """
    markdown = _GENERATED.sub(lambda found: PARTS[found[1]](), markdown)
    if _PRINTED not in markdown:
        return markdown
    *above, rest = markdown.split(_PRINTED)
    return "".join(f"{part}```text\n{said}```" for part, said in zip(above, printed(above), strict=True)) + rest


def printed(parts: Sequence[str]) -> list[str]:
    """What the last Python block of every part of a page prints, where all blocks are run in their order."""
    import torch

    torch.set_num_threads(1)  # on tensors this small more of them are slower, the more so beside other programs
    namespace: dict[str, Any] = {}
    found = []
    for part in parts:
        said = io.StringIO()
        for block in _BLOCK.findall(part):
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(block, namespace)
        found.append(said.getvalue())
    return found


def results() -> str:
    """A section for every recorded result: its tables, what a reader must know, and its settings."""
    from onsphere.report import codes_markdown, load, load_codes, markdown

    parts = []
    for file in sorted((ROOT / "results").glob("*.json")):
        codes = load_codes(file)
        if codes is not None:
            parts.append(f"## {codes['name']}\n\n{codes_markdown(codes, full=True)}")
            continue
        result = load(file)
        rows = [row.get("settings") or {} for row in result["rows"]]
        shared = {name: value for name, value in rows[0].items() if all(row.get(name) == value for row in rows)}
        shown = _settings({name: value for name, value in shared.items() if name not in ("data_dir", "dataset")})
        parts.append(f"## {file.stem}\n\n{markdown(result)}\n\nSettings of all rows: {shown}.")
    return "\n\n".join(parts)


def benchmarks() -> str:
    """A section for every recorded benchmark."""
    from onsphere.report import benchmarks_markdown

    parts = []
    for file in sorted((ROOT / "results" / "benchmarks").glob("*.json")):
        table = benchmarks_markdown(json.loads(file.read_text(encoding="utf-8")))
        parts.append(f"### {file.stem}\n\n{table}")
    return "\n\n".join(parts)


def fine_tuning() -> str:
    """What examples/fine_tuning.py recorded: accuracies by row and learning rate."""
    found = json.loads((ROOT / "results" / "examples" / "fine_tuning.json").read_text(encoding="utf-8"))
    body = [
        [row["row"], str(row["free"]), *(f"{mean(each):.1f} ± {pstdev(each):.1f}" for each in row["accuracies"])]
        for row in found["rows"]
    ]
    head = ["What is tuned", "Free numbers", *(f"lr {rate:g}" for rate in found["rates"])]
    seeds = len(found["rows"][0]["accuracies"][0])
    how = (
        f"Accuracy in percent on the other images of 5 to 9, {found['shots']} images of each to tune on, "
        f"{found['steps']} steps of Adam, mean and standard deviation of {seeds} seeds; "
        f"torch {found['torch']}, peft {found['peft']}."
    )
    return f"{_table(head, body, left=1)}\n\n{how}"


def recipes() -> str:
    """The table of all recipes."""
    body = []
    for recipe in _recipes():
        name = recipe["name"]
        hours = [_range([variant[kind] for variant in recipe["hours"]]) for kind in ("gpu", "cpu")]
        body.append([f"[`{name}`](#{_anchor(name)})", recipe["source"], recipe["data"], *hours])
    return _table(["Recipe", "Table", "Data", "GPU hours", "CPU hours"], body, left=3)


def recipe_rows() -> str:
    """A section for every recipe: what it trains, and its rows with the paper's accuracy and ours."""
    from onsphere.recipes import RECIPES
    from onsphere.report.metrics import metric_of

    parts = []
    for recipe in _recipes():
        summary = " ".join((RECIPES[recipe["name"]].build.__doc__ or "").split("\n\n")[0].split())
        variants = [name for name in recipe["rows"][0] if name not in ("row", "paper", "here")]
        body = []
        for row in recipe["rows"]:
            paper = row["paper"].get(recipe["metric"])
            numbers = ["" if paper is None else f"{paper:.2f}", _here(row["here"], recipe["metric"])]
            body.append([f"`{row['row']}`", *(str(row[name]) for name in variants), *numbers])
        words = " ".join(metric_of(recipe["metric"]).title.split())
        words = words[0].lower() + words[1:] if words[1].islower() else words
        head = ["Row", *variants, f"Paper, {words}", f"Here, {words}"]
        others = [row["here"]["other"] for row in recipe["rows"] if row["here"] and row["here"]["other"]]
        notes = dict.fromkeys(f"\\* with other settings: {_settings(other)}." for other in others)
        title = f"### {recipe['name']} {{ #{_anchor(recipe['name'])} }}"
        intro = f"{recipe['source']}, {recipe['data']}. {summary}"
        parts += [title, intro, _table(head, body, left=1 + len(variants)), *notes]
    return "\n\n".join(parts)


def hours_basis() -> str:
    """What the hours in the table of recipes are estimated from."""
    from onsphere.recipes.cost import BASIS

    return BASIS


@cache
def _recipes() -> list[dict[str, Any]]:
    """What `onsphere recipes --json` says."""
    from onsphere.cli import main

    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        main(["recipes", "--json"])
    found: list[dict[str, Any]] = json.loads(said.getvalue())
    return found


def _table(head: Sequence[str], body: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table whose first columns are words and whose others are numbers."""
    line = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, line, *body))


def _here(ours: Mapping[str, Any] | None, metric: str) -> str:
    if ours is None:
        return ""
    spread = "" if ours["sd"] is None else f" ± {ours['sd']:.2f}"
    return f"{ours[metric]:.2f}{spread}{'*' if ours['other'] else ''}"


def _settings(values: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}={json.dumps(value)}`".replace('"', "") for name, value in values.items())


def _range(hours: Sequence[float]) -> str:
    low, high = (_hours(value) for value in (min(hours), max(hours)))
    return low if low == high else f"{low} to {high}"


def _hours(value: float) -> str:
    return "<0.01" if value < 0.005 else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _anchor(name: str) -> str:
    return name.replace(".", "-").lower()


PARTS: Mapping[str, Callable[[], str]] = {
    "results": results,
    "benchmarks": benchmarks,
    "fine-tuning": fine_tuning,
    "recipes": recipes,
    "recipe-rows": recipe_rows,
    "hours-basis": hours_basis,
}
