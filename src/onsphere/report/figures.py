"""Plotly figures of a result: training curves, minimum angles, pairwise cosines as in Figure 1 of the MMA paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from onsphere.report.colours import looks
from onsphere.report.metrics import main_metric
from onsphere.report.results import (
    ANGLES,
    Histogram,
    Spread,
    dodge,
    histogram,
    last,
    layers,
    observed,
    reach,
    summarize,
)

CURVES = {  # key of a curve -> title, label of its axis
    "top1": ("Top-1 accuracy on the test images", "top-1, %"),
    "test_loss": ("Loss on the test images", "loss"),
    "objective": ("Training loss without the regularizer", "loss"),
    "train_loss": ("Training loss with the regularizer", "loss"),
}


def figure_curves(result: Mapping[str, Any], metric: str) -> go.Figure:
    """A training curve of every row: the mean over its seeds as a line, ± one standard deviation as a band.

    Args:
        result: a result as `load` returns it.
        metric: a key of the seeds' curves, "top1" for instance.
    """
    title, label = CURVES.get(metric, (metric, metric))
    found = {
        row["row"]: [(run["curve"]["epoch"], run["curve"][metric]) for run in row["seeds"] if has_curve(run, metric)]
        for row in result["rows"]
    }
    figure = _lines(found, result, title, label)
    if metric in ("top1", "top5"):
        # The steep start would flatten what the rows differ by at the end.
        late = [
            value
            for seeds in found.values()
            for epochs, values in seeds
            for epoch, value in zip(epochs, values, strict=False)
            if value is not None and epoch > max(epochs) / 4
        ]
        if late:
            room = 0.05 * (max(late) - min(late)) + 0.1
            figure.update_yaxes(range=[min(late) - room, max(late) + room])
    return figure


def has_curve(run: Mapping[str, Any], metric: str) -> bool:
    """Whether a seed recorded this curve."""
    curve = run.get("curve") or {}
    return bool(curve.get("epoch")) and any(value is not None for value in curve.get(metric) or ())


def figure_angle_curves(result: Mapping[str, Any]) -> go.Figure:
    """The minimum angle, averaged over the layers, after every epoch of every row."""
    found: dict[str, list[tuple[Sequence[float], Sequence[float | None]]]] = {}
    for row in result["rows"]:
        found[row["row"]] = []
        for series in observed(row, ANGLES):
            means = [Spread.of(values).mean for values in zip(*series.values(), strict=False)]
            found[row["row"]].append((range(1, len(means) + 1), means))
    return _lines(found, result, "Mean minimum angle while training", "degree")


def _lines(
    found: Mapping[str, Sequence[tuple[Sequence[float], Sequence[float | None]]]],
    result: Mapping[str, Any],
    title: str,
    label: str,
) -> go.Figure:
    figure = go.Figure()
    look = looks([row["row"] for row in result["rows"]])
    for name, seeds in found.items():
        at: dict[float, list[float | None]] = {}
        for epochs, values in seeds:
            for epoch, value in zip(epochs, values, strict=False):
                at.setdefault(epoch, []).append(value)
        if not at:
            continue
        epochs = sorted(at)
        spreads = [Spread.of(at[epoch]) for epoch in epochs]
        band = [(e, s.mean, s.std) for e, s in zip(epochs, spreads, strict=True) if s.mean is not None and s.std]
        if band:
            figure.add_scatter(
                x=[e for e, _, _ in band] + [e for e, _, _ in reversed(band)],
                y=[m + d for _, m, d in band] + [m - d for _, m, d in reversed(band)],
                fill="toself",
                fillcolor=look[name].faint(0.12),
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
                legendgroup=name,
            )
        figure.add_scatter(
            x=epochs,
            y=[spread.mean for spread in spreads],
            mode="lines" if len(epochs) > 1 else "markers",
            line={"color": look[name].colour, "dash": look[name].dash, "width": 2},
            name=name,
            legendgroup=name,
            hovertemplate="%{y:.3g}",
        )
    figure.update_xaxes(title="epoch")
    figure.update_yaxes(title=label)
    return finished(figure, title, 380)


def figure_angles(result: Mapping[str, Any]) -> go.Figure:
    """The minimum angle of every layer at the end of training: mean over the seeds, ± one standard deviation."""
    rows = summarize(result)
    names = layers(rows)
    look = looks([row.name for row in rows])
    figure = go.Figure()
    shown = [row for row in rows if row.angles]
    for k, row in enumerate(shown):
        spreads = [row.angles.get(layer, Spread.of(())) for layer in names]
        figure.add_scatter(
            x=[i + dodge(k, len(shown)) for i in range(len(names))],
            y=[spread.mean for spread in spreads],
            error_y={
                "array": [spread.std or 0.0 for spread in spreads],
                "visible": any(spread.std for spread in spreads),
                "thickness": 1,
                "color": look[row.name].colour,
                "width": 3,
            },
            mode="lines+markers",
            line={"color": look[row.name].faint(0.35), "width": 1},
            marker={"symbol": look[row.name].marker, "size": 8, "color": look[row.name].colour},
            name=row.name,
            text=names,
            hovertemplate="%{text}: %{y:.1f}°",
        )
    figure.update_yaxes(title="minimum angle, degree")
    figure.update_xaxes(
        tickvals=list(range(len(names))), ticktext=names, tickangle=-45 if len(names) > 5 else 0, showgrid=False
    )
    return finished(figure, "Minimum angle of every layer after training", 460)


def figure_cosines(result: Mapping[str, Any]) -> go.Figure:
    """The pairwise cosines of the first layer's filters, a panel a row, with the number above 0.2 (MMA paper, Fig. 1).

    Counts are means over the seeds.
    """
    found: dict[str, Histogram] = {}
    for row in result["rows"]:
        one = histogram(row)
        if one is not None:
            found[row["row"]] = one
    look = looks([row["row"] for row in result["rows"]])
    figure = make_subplots(
        rows=max(len(found), 1),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.28 / max(len(found), 1),
        subplot_titles=[
            f"<b>{name}</b>: {h.pairs_above:.4g} of {h.pairs} above {h.above:g}" for name, h in found.items()
        ],
    )
    tallest = max((max(h.counts) for h in found.values()), default=1.0)
    for i, (name, h) in enumerate(found.items(), start=1):
        centres = [(a + b) / 2 for a, b in zip(h.edges, h.edges[1:], strict=False)]
        figure.add_bar(
            x=centres,
            y=h.counts,
            width=[b - a for a, b in zip(h.edges, h.edges[1:], strict=False)],
            marker={"color": look[name].colour, "line": {"width": 0}},
            name=name,
            hovertemplate="cosine %{x:.3f}: %{y:.1f} pairs<extra></extra>",
            showlegend=False,
            row=i,
            col=1,
        )
        figure.add_vline(x=h.above, line={"width": 1, "dash": "dash", "color": "#808080"}, row=i, col=1)
        # One scale for all panels: their heights are what is compared.
        figure.update_yaxes(range=[0, 1.05 * tallest], title="pairs", row=i, col=1)
    half = reach(list(found.values()))
    figure.update_xaxes(range=[-half, half])
    figure.update_xaxes(title="cosine", row=max(len(found), 1), col=1)
    layer = next((h.layer for h in found.values()), "")
    height = 90 + 120 * max(len(found), 1)
    done = finished(figure, f"Pairwise cosines of the filters of {layer}", height)
    # A title above the first panel's own needs room in pixels, whatever the number of panels.
    done.update_layout(margin={"t": 66})
    done.update_annotations(x=0, xanchor="left", font={"size": 13})
    return done


def figure_accuracy(result: Mapping[str, Any]) -> go.Figure:
    """The main metric against the minimum angle averaged over the layers: small points are seeds, large ones means."""
    figure = go.Figure()
    metric = main_metric(result)
    unit = " %" if metric.percent else ""
    look = looks([row["row"] for row in result["rows"]])
    for row in result["rows"]:
        points = []
        for run in row["seeds"]:
            series = (run.get("observations") or {}).get(ANGLES) or {}
            ends = [end for end in map(last, series.values()) if end is not None]
            if ends and run["final"].get(metric.key) is not None:
                points.append((math.fsum(ends) / len(ends), run["final"][metric.key], run["seed"]))
        if not points:
            continue
        shared = {"color": look[row["row"]].colour, "symbol": look[row["row"]].marker}
        figure.add_scatter(
            x=[x for x, _, _ in points],
            y=[y for _, y, _ in points],
            customdata=[[seed] for _, _, seed in points],
            mode="markers",
            marker={**shared, "size": 7, "opacity": 0.5},
            legendgroup=row["row"],
            showlegend=False,
            hovertemplate=f"seed %{{customdata[0]}}: %{{y:.2f}}{unit}, %{{x:.1f}}°<extra>{row['row']}</extra>",
        )
        figure.add_scatter(
            x=[Spread.of(x for x, _, _ in points).mean],
            y=[Spread.of(y for _, y, _ in points).mean],
            mode="markers",
            marker={**shared, "size": 15, "line": {"width": 1, "color": "#808080"}},
            name=row["row"],
            legendgroup=row["row"],
            hovertemplate=f"mean: %{{y:.2f}}{unit}, %{{x:.1f}}°<extra>{row['row']}</extra>",
        )
    figure.update_xaxes(title="minimum angle, mean of all layers, °")
    figure.update_yaxes(title=f"{metric.words}{', %' if metric.percent else ''}")
    title = "Accuracy" if metric.key == "top1" else f"{metric.words[0].upper()}{metric.words[1:]}"
    return finished(figure, f"{title} against mean minimum angle", 380)


def finished(figure: go.Figure, title: str, height: int) -> go.Figure:
    """What all figures share. Colours of text and grid are left to the page, which knows whether it is dark."""
    figure.update_layout(
        title={
            "text": title,
            "x": 0,
            "xref": "container",
            "xanchor": "left",
            "y": 0.985,
            "yanchor": "top",
            "font": {"size": 15},
        },
        template="none",
        height=height,
        margin={"l": 60, "r": 16, "t": 76, "b": 56},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "xanchor": "left"},
        hovermode="closest",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 12},
    )
    figure.update_xaxes(automargin=True, zeroline=False, showline=True)
    figure.update_yaxes(automargin=True, zeroline=False)
    return figure
