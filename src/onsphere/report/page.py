"""One HTML file that holds a whole report: no network, light or dark as the reader has it, fits a phone."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from onsphere.report import figures
from onsphere.report.curvatures import curvatures_picture
from onsphere.report.drawing import write_bytes
from onsphere.report.energies import courses, energies_picture
from onsphere.report.features import (
    angles_picture,
    confusion_picture,
    features_picture,
    on_sphere,
    recorded,
    weight_norms_picture,
)
from onsphere.report.headline import data_words, machine_words
from onsphere.report.metrics import compares_objectives, main_metric, metric_of, row_heading
from onsphere.report.reconstruction import reconstructions_picture
from onsphere.report.results import (
    ANGLES,
    Row,
    check,
    differences,
    histogram,
    notes,
    observed,
    summarize,
)
from onsphere.report.tables import DASH, Grid, grids, is_narrow, number

# "default-src 'none'" is what makes "opens offline" a fact: the browser itself refuses any request to a network.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #ffffff; --card: #f6f8fa; --rule: #d1d9e0;
        --warn: #8a5a00; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --soft: #9aa4af; --paper: #14171b; --card: #1c2026; --rule: #3a424c; --warn: #e3b341; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 1160px; background: var(--paper); color: var(--ink);
       font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: .98rem; font-weight: 500; margin: .6rem 0 0; }
p, li { max-width: 75ch; }
.facts { color: var(--soft); margin: 0; font-size: .92rem; display: flex; flex-wrap: wrap;
         gap: 0 1.4rem; max-width: none; }
.facts span { overflow-wrap: anywhere; }
.warn { border-left: 4px solid var(--warn); padding: .4rem .8rem; background: var(--card); max-width: none; }
.scroll { overflow-x: auto; border: 1px solid var(--rule); border-radius: 8px; width: fit-content; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
th, td { padding: .4rem .8rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
tbody tr:last-child th, tbody tr:last-child td { border-bottom: 0; }
thead th { background: var(--card); vertical-align: bottom; font-weight: 600; }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
tbody th { font-weight: 500; }
td.best { font-weight: 700; }
caption, .caption { color: var(--soft); font-size: .88rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 1rem; }
.grid > *, .plot { min-width: 0; }
.plot { width: 100%; margin: .4rem 0 1rem; }
.picture { max-width: 100%; height: auto; }
details { margin-top: 1rem; } summary { cursor: pointer; } pre { overflow-x: auto; background: var(--card);
  padding: .8rem; border-radius: 8px; font-size: .82rem; }
"""

SCRIPT = """
"use strict";
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function coloured(layout) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim(), rule = style.getPropertyValue("--rule").trim();
  const copy = JSON.parse(JSON.stringify(layout));
  copy.font = Object.assign({}, copy.font, {color: ink});
  for (const key of Object.keys(copy)) {
    if (/^[xy]axis/.test(key)) Object.assign(copy[key], {gridcolor: rule, linecolor: rule, tickcolor: rule});
  }
  return copy;
}
function draw() {
  for (const place of document.querySelectorAll(".plot")) {
    const figure = JSON.parse(place.nextElementSibling.textContent), layout = figure.layout;
    if (layout.scene) {  // plotly cuts a scene off that is narrower than high
      layout.height = Math.min(layout.height, place.clientWidth + 130);
      place.style.height = `${layout.height}px`;
    }
    Plotly.react(place, figure.data, coloured(layout), {responsive: true, displayModeBar: false});
  }
}
draw();
dark.addEventListener("change", draw);
"""


def write_html(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the whole report of a result as one HTML file that opens offline.

    It holds what was run on what, the comparison as in the MMA paper's Table 3, what the numbers do and do not show
    (differences to the first row with their standard error over paired seeds), training curves, the minimum angle of
    every layer and the histograms of pairwise cosines of the paper's Figure 1; and where they were recorded features in
    two or three dimensions, cosines between classes and norms of class weights. A result that is not finished is shown
    as far as it goes, and says so. The file is about 5 MB, nearly all of it plotly.js.

    Args:
        result: a result as `load` returns it.
        path: the file to write; it is replaced in one step, and its folder must exist.

    Raises:
        ValueError: the result lacks something that the report needs.

    >>> import tempfile
    >>> seed = {"seed": 123, "final": {"top1": 91.0, "top5": 99.0}}
    >>> result = {"schema": 1, "name": "tiny", "rows": [{"row": "none", "seeds": [seed]}]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_html(result, f"{folder}/report.html")
    """
    check(result)
    write_atomically(Path(path), page(result))


def page(result: Mapping[str, Any]) -> str:
    """The HTML that `write_html` writes."""
    rows = summarize(result)
    said = notes(result)
    incomplete = not result.get("complete", True)
    parts = [
        f"<h1>{html.escape(str(result['name']))}</h1>",
        f'<p class="facts">{"".join(f"<span>{html.escape(fact)}</span>" for fact in _facts(result))}</p>',
        '<p class="warn">This run is incomplete; what follows is as far as it got.</p>' if incomplete else "",
        "<h2>Comparison</h2>",
        *(table_html(grid) for grid in grids(result, joined=is_narrow(result))),
        f'<p class="caption">{html.escape(_legend(result, rows))}</p>',
        "<h2>What the numbers show</h2>",
        f"<ul>{''.join(f'<li>{html.escape(note)}</li>' for note in said)}</ul>",
        _paper(result, rows),
        *_sections(result),
        _details(result),
    ]
    return document(str(result["name"]), parts)


def document(title: str, parts: Sequence[str]) -> str:
    """A whole page that opens offline: a title and the parts of its body, which are HTML."""
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)} · onsphere</title>\n<style>{STYLE}</style>\n"
        f"<script>{get_plotlyjs()}</script>\n</head>\n<body>\n{body}\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def _facts(result: Mapping[str, Any]) -> list[str]:
    machine = result.get("machine") or {}
    seeds = list(dict.fromkeys(run["seed"] for row in result["rows"] for run in row["seeds"]))
    facts = [
        ("", result.get("source")),
        ("data: ", data_words(result.get("data") or {})),
        ("seeds: ", ", ".join(map(str, seeds))),
        ("machine: ", machine_words(machine)),
        ("platform: ", machine.get("platform")),
        ("precision: ", result.get("precision")),
        ("onsphere ", result.get("onsphere")),
        ("torch ", result.get("torch")),
        ("Python ", result.get("python")),
        ("commit ", result.get("commit")),
        ("started ", str(result.get("started") or "")[:16].replace("T", " ")),
        ("took ", _duration(result.get("seconds"))),
    ]
    return [f"{label}{value}" for label, value in facts if value]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _legend(result: Mapping[str, Any], rows: Sequence[Row]) -> str:
    seeds = max((row.seeds for row in rows), default=0)
    spread = f"mean ± sample standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    if compares_objectives(result):
        measured = (
            f"{spread[0].upper()}{spread[1:]}. Top-1 and top-5 are those of the test images, every seed the mean of "
            "its last five epochs; all else is measured after the last epoch. "
        )
        best = "Bold: the best mean of a column, which may be noise. "
    else:
        measured = f"Accuracy on the test images: {spread}, every seed the mean of its last five epochs. "
        best = "Bold: the largest mean of a column, which may be noise. "
    return f"{measured}Angles are means over the seeds at the end of training. {best}{DASH}: not measured."


def table_html(grid: Grid) -> str:
    """A table as HTML; it scrolls by itself where a screen is too narrow."""
    head = "".join(f'<th scope="col">{html.escape(title).replace(chr(10), "<br>")}</th>' for title in grid.head)
    lines = []
    for i, cells in enumerate(grid.body):
        rest = "".join(
            f"<td{' class=best' if (i, j) in grid.best else ''}>{html.escape(cell).replace(chr(10), '<br>')}</td>"
            for j, cell in enumerate(cells)
            if j
        )
        lines.append(f'<tr><th scope="row">{html.escape(cells[0])}</th>{rest}</tr>')
    return (
        f'<p class="caption">{html.escape(grid.title)}</p><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _paper(result: Mapping[str, Any], rows: Sequence[Row]) -> str:
    """The paper's numbers beside what was found here: accuracies on different data cannot be compared, gains can."""
    main = main_metric(result)
    if not any(row.paper.get(main.key) is not None for row in rows):
        return ""
    base = rows[0].paper.get(main.key)
    here = {difference.row: difference for difference in differences(result)}
    printed = list(dict.fromkeys(key for row in rows for key in row.paper if key.startswith(f"{ANGLES}.")))
    shown = [metric_of("top1"), metric_of("top5")]
    costs = {"time_ratio": "Time/batch\nratio", "memory_ratio": "Memory\nratio"}
    if compares_objectives(result):
        costs = {key: title for key, title in costs.items() if any(key in row.paper for row in rows)}
        keys = dict.fromkeys([main.key, *(key for row in rows for key in row.paper)])
        shown = [metric_of(key) for key in keys if key not in {*printed, *costs}]
    body = []
    for row in rows:
        paper = row.paper.get(main.key)
        found = here.get(row.name)
        gain = DASH if paper is None or base is None or row is rows[0] else f"{paper - base:+.{main.digits}f}"
        error = "" if found is None or found.error is None else f" ± {found.error:.{main.digits}f}"
        body.append(
            (
                row.name,
                *(number(row.paper.get(metric.key), metric.digits) for metric in shown),
                *(number(row.paper.get(key)) for key in costs),
                *(number(row.paper.get(key), 1) for key in printed),
                gain,
                DASH if found is None else f"{found.mean:+.{main.digits}f}{error}",
            )
        )
    head = (row_heading(result), *(metric.title for metric in shown), *costs.values())
    angles = (f"{key.removeprefix(f'{ANGLES}.')}\nangle" for key in printed)
    words = f"{main.words[0].upper()}{main.words[1:]} against {rows[0].name}"
    gains = (f"{words},\nin the paper", f"{words},\nhere ± standard error")
    source = str(result.get("source") or "the paper")
    return (
        "<h2>The paper's numbers</h2>"
        + table_html(Grid(f"From {source}; angles in degrees", (*head, *angles, *gains), tuple(body)))
        + '<p class="caption">The paper trained its own network on its own data; where those differ from this run, '
        "only the differences between rows can be set side by side, and not the accuracies.</p>"
    )


def _sections(result: Mapping[str, Any]) -> list[str]:
    curves = [
        figures.figure_curves(result, metric)
        for metric in figures.CURVES
        if any(figures.has_curve(run, metric) for row in result["rows"] for run in row["seeds"])
    ]
    angles = any(observed(row, ANGLES) for row in result["rows"])
    parts = []
    if curves:
        parts += [
            "<h2>Training curves</h2>",
            '<p class="caption">Mean over the seeds; the band is ± one standard deviation. '
            "The accuracy axis leaves out the steep first quarter. "
            "A click on a name hides it, dragging enlarges, a double click shows everything.</p>",
            f'<div class="grid">{"".join(plot_html(figure) for figure in curves)}</div>',
        ]
    if angles:
        parts += [
            "<h2>Minimum angles</h2>",
            '<p class="caption">The angle between the two closest neurons of a layer. '
            "Bars are ± one standard deviation over the seeds.</p>",
            plot_html(figures.figure_angles(result)),
            f'<div class="grid">{plot_html(figures.figure_angle_curves(result))}'
            f"{plot_html(figures.figure_accuracy(result))}</div>",
        ]
    if any(histogram(row) for row in result["rows"]):
        parts += [
            "<h2>Pairwise cosines</h2>",
            '<p class="caption">As Figure 1 of the MMA paper: the cosines between all pairs of filters of one layer, '
            "counts averaged over the seeds. Pairs right of the dashed line are correlated filters.</p>",
            plot_html(figures.figure_cosines(result)),
        ]
    return [*parts, *_pictures(result)]


def _pictures(result: Mapping[str, Any]) -> list[str]:
    """What the first seed of every row left of its features: places, cosines between classes, norms of weights."""
    parts = []
    found = recorded(result)
    if found:
        if any(on_sphere(seed) for _, seed in found):
            title, source = "Features on the sphere", "As Figure 2.10 of the thesis"
            below = (
                " What lies on the far side is fainter. Below, where they were recorded: the angles of pairs of one "
                "class and of pairs of two classes."
            )
        else:
            title, source, below = "Features in the plane", "As Figure 5.4 of the thesis", ""
        parts += _picture(
            title,
            f"{source}: each colour is a class, the arrows are the normalised neurons of the classifier. "
            f"The features are those of the first seed.{below}",
            features_picture(result, "png", transparent=True),
        )
    if recorded(result, "angles") and not any(on_sphere(seed) for _, seed in found):
        parts += _picture(
            "Angles between features",
            "As the second row of Figure 2.10 of the thesis: angles of pairs of one class and of pairs of two classes, "
            "each as shares of its pairs, of the first seed. The less the two overlap, the better one threshold tells "
            "them apart.",
            angles_picture(result, "png", transparent=True),
        )
    if recorded(result, "confusion"):
        parts += _picture(
            "Cosines between classes",
            "As Figure 2.5 of the thesis: the mean cosine between the features of two classes, of the first seed. "
            "A good objective makes the diagonal red and all else pale or blue.",
            confusion_picture(result, "png", transparent=True),
        )
    if recorded(result, "weight_norms"):
        parts += _picture(
            "Norms of the class weights",
            "As Figure A.2 of the thesis: the norm of every class's weights over the number of its training images, of "
            "the first seed. Objectives that normalise the weights do not use these norms.",
            weight_norms_picture(result, "png", transparent=True),
        )
    if recorded(result, "curvatures"):
        parts += _picture(
            "Learned curvatures",
            "As Figure 3.4 of the thesis: the k that the sigmoid operators of some layers have learned, of the first "
            "seed. Operators with a small k are nearly steps, those with a large one straight lines.",
            curvatures_picture(result, "png", transparent=True),
        )
    if courses(result):
        parts += _picture(
            "Energies while training",
            "As Figures 7.3 and F.2 of the thesis: above, the hyperspherical energy of all hidden layers together and "
            "the test error after every epoch; below, the energy of every layer. Means over the seeds. An orthogonal "
            "matrix leaves a layer's energy as it was before training.",
            energies_picture(result, "png", transparent=True),
        )
    if recorded(result, "reconstructions"):
        parts += _picture(
            "Rebuilt images",
            "As Figure 1.1 of the thesis: test images and what an autoencoder rebuilds of them, of the first seed. Its "
            "weights are fixed, and its latent layer gives its inner products, or the cosines of its angles, or the "
            "products of its norms, each multiplied by one number. Correlations are means over all test images.",
            reconstructions_picture(result, "png", transparent=True),
        )
    return parts


def _picture(title: str, caption: str, content: bytes) -> list[str]:
    data = base64.b64encode(content).decode()
    return [
        f"<h2>{title}</h2>",
        f'<p class="caption">{caption}</p>',
        f'<img class="picture" alt="{title.lower()}" src="data:image/png;base64,{data}">',
    ]


def plot_html(figure: go.Figure) -> str:
    """A figure as HTML, which the page's script draws."""
    # The page says the title, since a browser breaks a long line on a phone and plotly does not.
    figure = go.Figure(figure)
    title = figure.layout.title.text or ""
    figure.update_layout(title=None, margin={"t": 28})
    # "</" would end the script element wherever a name holds it.
    data = figure.to_json().replace("</", "<\\/")
    height = figure.layout.height
    place = f'<div class="plot" style="height:{height}px"></div><script type="application/json">{data}</script>'
    return f"<div><h3>{html.escape(title)}</h3>{place}</div>"


def _details(result: Mapping[str, Any]) -> str:
    lines = [
        f"{row['row']}: " + ", ".join(f"{key}={value}" for key, value in (row.get("settings") or {}).items())
        for row in result["rows"]
        if row.get("settings")
    ]
    if not lines:
        return ""
    return f"<details><summary>Settings of every row</summary><pre>{html.escape(chr(10).join(lines))}</pre></details>"


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader sees the old one or the new one, and never a half."""
    write_bytes(text.encode(), path)
