"""The page of an inspection: minimum angles and cosines of every layer beside those of random directions."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots
from scipy import special

from onsphere.report.figures import finished
from onsphere.report.page import document, plot_html, table_html, write_atomically
from onsphere.report.tables import DASH, Grid

MEASURED, RANDOM, BEST = "#D55E00", "#808080", "#009E73"
FINE = 240  # bins of a histogram at most
FEW, LONG = 40, 26  # layers whose names fit below a figure, and letters of a name


def write_inspection(data: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write an inspection as one HTML file that opens offline.

    It holds what stands out, the minimum angle of every layer beside what random directions give and the best possible,
    the cosines of the layers named in "worst", and tables of all numbers. About 5 MB, nearly all of it plotly.js.

    Args:
        data: what ``onsphere inspect --json`` prints: an ``Inspection.as_dict()`` with the "source" that was read and
            the version of "onsphere".
        path: the file to write; it is replaced in one step, and its folder must exist.

    Raises:
        ValueError: the data is of another kind or version.

    >>> import tempfile
    >>> data = {"schema": 1, "source": "model.safetensors", "onsphere": "0.1.0", "threshold": 0.2, "complete": True,
    ...         "layers": [], "worst": [], "skipped": [], "notes": []}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_inspection(data, f"{folder}/inspection.html")
    """
    if data.get("schema") != 1 or "layers" not in data or "worst" not in data:
        raise ValueError(f"expected what `onsphere inspect --json` prints, schema 1; got schema {data.get('schema')!r}")
    write_atomically(Path(path), page(data))


def page(data: Mapping[str, Any]) -> str:
    """The HTML that `write_inspection` writes."""
    layers = {layer["name"]: layer for layer in data["layers"]}
    worst = [layers[name] for name in data["worst"]]
    facts = [f"{len(layers)} layers", f"{sum(layer['pairs'] for layer in layers.values()):,} pairs of neurons"]
    facts.append(f"onsphere {data['onsphere']}")
    parts = [
        f"<h1>{html.escape(str(data['source']))}</h1>",
        f'<p class="facts">{"".join(f"<span>{html.escape(fact)}</span>" for fact in facts)}</p>',
        "" if data["complete"] else '<p class="warn">The inspection was interrupted: layers are missing.</p>',
        "<h2>What stands out</h2>",
        f"<ul>{''.join(f'<li>{html.escape(note)}</li>' for note in data['notes'])}</ul>",
    ]
    if layers:
        counts, energies = grids(data)
        parts += [
            "<h2>Minimum angles</h2>",
            '<p class="caption">The angle between the two closest neurons of a layer. The bar is what the same number '
            "of uniformly random directions gives, mean ± 3 standard deviations; the best possible is known for up to "
            "2 d neurons of d dimensions.</p>",
            plot_html(figure_minimum_angles(data["layers"])),
        ]
        shown = [layer for layer in worst if layer["pairs"]]
        if shown:
            parts += [
                "<h2>Pairwise cosines</h2>",
                '<p class="caption">The most correlated layers. The line is what random directions give; pairs right '
                "of the dashed line are correlated neurons.</p>",
                plot_html(figure_cosines(shown, data["threshold"])),
            ]
        parts += [
            "<h2>All layers</h2>",
            table_html(counts),
            '<p class="caption">Random: what uniformly random directions of that n and d give, mean ± standard '
            "deviation. Bold: beyond it by more than 3 standard deviations, or duplicates or zeros. "
            f"{DASH}: unknown or undefined.</p>",
            table_html(energies),
            '<p class="caption">Below each energy what random directions give, mean ± standard deviation; ∞: infinite. '
            "Half space: the energy of the neurons and their negatives.</p>",
        ]
    return document(str(data["source"]), parts)


def grids(data: Mapping[str, Any]) -> tuple[Grid, Grid]:
    """The two tables: counts and angles, and energies. Layers in the order of the model."""
    above = f"Cosine > {data['threshold']:g}\n%"
    head = ("Layer", "Neurons", "Dimension", "Minimum\nangle, °", "random", "best", above, "random",
            "Neurons with a\nnear-duplicate", "Pairs\n< 1°", "Zero")  # fmt: skip
    body, bold = [], set()
    for i, layer in enumerate(data["layers"]):
        random = layer["random"]
        body.append(
            (
                layer["name"],
                _neurons(layer),
                str(layer["dimension"]),
                _number(layer["minimum_angle_deg"], ".2f"),
                _expected(random["minimum_angle_deg"], ".1f", ".1f"),
                _number(layer["best_angle_deg"], ".2f"),
                _per_cent(layer["share_above"]),
                _per_cent(random["share_above"]["mean"]),
                str(layer["near_duplicates"]),
                str(layer["near_duplicate_pairs"]),
                str(layer["zero"]),
            )
        )
        marks = (layer["closer"], layer["more_correlated"], layer["near_duplicates"], layer["near_duplicate_pairs"])
        bold |= {(i, j) for j, mark in zip((3, 6, 8, 9, 10), (*marks, layer["zero"]), strict=True) if mark}
    names = list(data["layers"][0]["energies"]) if data["layers"] else []
    energies = tuple((layer["name"], *(_energy(layer, name) for name in names)) for layer in data["layers"])
    titles = (name.replace("half_", "half space\n") for name in names)
    high = {(i, names.index(name) + 1) for i, layer in enumerate(data["layers"]) for name in layer["high_energies"]}
    return (
        Grid("Angles and pairs, in the order of the model", head, tuple(body), frozenset(bold)),
        Grid("Energies", ("Layer", *titles), energies, frozenset(high)),
    )


def _energy(layer: Mapping[str, Any], name: str) -> str:
    if not layer["pairs"]:
        return DASH
    return f"{layer['energies'][name]:.5g}\n{_expected(layer['random']['energies'][name], '.5g', '.1g')}"


def _neurons(layer: Mapping[str, Any]) -> str:
    groups = f"{layer['groups']} × " if layer["groups"] > 1 else ""
    sample = f"{layer['sampled']} of " if layer["sampled"] is not None else ""
    return f"{groups}{sample}{layer['neurons']}"


def _number(value: float | None, form: str) -> str:
    return DASH if value is None else f"{value:{form}}"


def _per_cent(share: float | None) -> str:
    if share is None:
        return DASH
    return f"{100 * share:.2f}" if share == 0 or share >= 5e-5 else "< 0.01"


def _expected(value: Mapping[str, float | None], mean: str, std: str) -> str:
    if value["mean"] is None:
        return "∞"
    return f"{round(value['mean'], 9):{mean}} ± {'∞' if value['std'] is None else format(value['std'], std)}"


def figure_minimum_angles(layers: Sequence[Mapping[str, Any]]) -> go.Figure:
    """The minimum angle of every layer with those of random directions as bars and the best possible as triangles."""
    names = [layer["name"] for layer in layers]
    x = list(range(len(layers)))
    random = [layer["random"]["minimum_angle_deg"] for layer in layers]
    known = [(i, r["mean"], 3 * r["std"]) for i, r in zip(x, random, strict=True) if r["mean"] is not None]
    figure = go.Figure()
    figure.add_scatter(
        x=[i for i, _, _ in known],
        y=[mean for _, mean, _ in known],
        error_y={
            "array": [spread for _, _, spread in known],
            "arrayminus": [min(mean, spread) for _, mean, spread in known],
            "thickness": 5,
            "width": 0,
            "color": "rgba(128,128,128,0.35)",
        },
        mode="markers",
        marker={"symbol": "line-ew", "size": 11, "line": {"width": 2, "color": RANDOM}},
        name="random directions",
        text=[names[i] for i, _, _ in known],
        hovertemplate="%{text}: %{y:.1f}°",
    )
    figure.add_scatter(
        x=x,
        y=[layer["best_angle_deg"] for layer in layers],
        mode="markers",
        marker={"symbol": "triangle-down-open", "size": 8, "color": BEST},
        name="best possible",
        text=names,
        hovertemplate="%{text}: %{y:.1f}°",
    )
    figure.add_scatter(
        x=x,
        y=[layer["minimum_angle_deg"] for layer in layers],
        mode="lines+markers",
        line={"color": "rgba(213,94,0,0.35)", "width": 1},
        marker={"symbol": "circle", "size": 7, "color": MEASURED},
        name="measured",
        text=names,
        hovertemplate="%{text}: %{y:.2f}°",
    )
    angles = [
        layer[key] for layer in layers for key in ("best_angle_deg", "minimum_angle_deg") if layer[key] is not None
    ]
    highest = max([1.0, *angles, *(mean + spread for _, mean, spread in known)])
    figure.update_yaxes(title="minimum angle, degree", range=[-0.03 * highest, 1.05 * highest])
    step = math.ceil(len(layers) / FEW)
    labels = [_end_of(name) for name in names[::step]]
    slope = -45 if len(layers) > 5 else 0
    figure.update_xaxes(tickvals=x[::step], ticktext=labels, tickangle=slope, showgrid=False)
    return finished(figure, "Minimum angle of every layer", 460)


def _end_of(name: str) -> str:
    """A long name's end, which tells layers apart, so that names leave room for the figure above them."""
    return name if len(name) <= LONG else f"…{name[1 - LONG :]}"


def figure_cosines(layers: Sequence[Mapping[str, Any]], threshold: float) -> go.Figure:
    """The pairwise cosines of some layers, a panel each, and the law of random directions as a line."""
    rows = math.ceil(len(layers) / 2)
    titles = [
        f"<b>{html.escape(layer['name'])}</b>: {layer['pairs_above']:,} of {layer['pairs']:,} pairs above {threshold:g}"
        for layer in layers
    ]
    figure = make_subplots(
        rows=rows, cols=2, subplot_titles=titles, vertical_spacing=0.3 / rows, horizontal_spacing=0.09
    )
    for k, layer in enumerate(layers):
        place = {"row": k // 2 + 1, "col": k % 2 + 1}
        reach = min(1.0, 4 / math.sqrt(layer["dimension"]))  # random directions have cosines of about 1 / sqrt(d)
        edges, counts = _coarser(layer["histogram"], layer["pairs"], -reach, max(reach, threshold))
        expected = _random_counts(edges, layer["dimension"], layer["pairs"])
        centres = [(low + high) / 2 for low, high in pairwise(edges)]
        width = edges[1] - edges[0]
        figure.add_bar(
            x=centres,
            y=counts,
            width=width,
            marker={"color": MEASURED, "line": {"width": 0}},
            opacity=0.75,
            name="measured",
            showlegend=k == 0,
            hovertemplate="cosine %{x:.3f}: %{y} pairs<extra></extra>",
            **place,
        )
        figure.add_scatter(
            x=centres,
            y=expected,
            mode="lines",
            line={"color": RANDOM, "width": 2, "shape": "hvh"},
            name="random directions",
            showlegend=k == 0,
            hovertemplate="cosine %{x:.3f}: %{y:.1f} expected<extra></extra>",
            **place,
        )
        figure.add_vline(x=threshold, line={"width": 1, "dash": "dash", "color": RANDOM}, **place)
    figure.update_yaxes(title="pairs", col=1)
    figure.update_xaxes(title="cosine", row=rows)
    done = finished(figure, "Pairwise cosines of the most correlated layers", 110 + 230 * rows)
    done.update_layout(margin={"t": 80}, legend={"y": 1.0 + 0.18 / rows})
    done.update_annotations(font={"size": 12})
    return done


def _coarser(histogram: Mapping[str, Any], pairs: int, low: float, high: float) -> tuple[list[float], list[int]]:
    """Edges and counts from about ``low`` to ``high``, and further as far as there are pairs.

    Bins are joined until there are no more than 2 sqrt(pairs) of them: finer ones show the noise of counting.
    """
    width, counts = histogram["width"], histogram["counts"]
    offset = round((histogram["low"] + 1) / width)
    first = min(offset, math.floor((low + 1) / width + 1e-9))
    last = max(offset + len(counts), math.ceil((high + 1) / width - 1e-9))
    at_most = max(6, min(FINE, round(2 * math.sqrt(pairs))))
    step = next(step for step in (1, 2, 4, 5, 8, 10, 20, 40, 80) if last - first <= at_most * step or step == 80)
    start, stop = first // step, (last - 1) // step + 1
    joined = [0] * (stop - start)
    for k, count in enumerate(counts):
        joined[(offset + k) // step - start] += count
    return [k * step * width - 1 for k in range(start, stop + 1)], joined


def _random_counts(edges: Sequence[float], d: int, pairs: int) -> list[float]:
    """How many pairs of random directions fall between the edges: (1 + c) / 2 is Beta((d - 1) / 2, (d - 1) / 2)."""
    if d == 1:  # equal or opposite
        return [pairs / 2 if k in (0, len(edges) - 2) else 0.0 for k in range(len(edges) - 1)]
    a = (d - 1) / 2
    law = [float(special.betainc(a, a, min(max((1 + edge) / 2, 0.0), 1.0))) for edge in edges]
    return [pairs * (high - low) for low, high in pairwise(law)]
