"""Plotly figures of a spherical code: the sphere to turn, the angles of its pairs, the improvements of the search."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from onsphere.report.figures import finished

POINT, RATTLER, CONTACT, HOLE, BALL = "#2A7FB8", "#D55E00", "#65717e", "#009E73", "#9fb4c8"
MANY = 2000  # from more points on contacts and holes are a grey felt: the points alone are drawn
DRAWN, LINES = 100_000, 20_000  # points and lines that a browser still turns smoothly
STEP = math.radians(6)  # between the corners of a drawn arc

Vectors = NDArray[np.float64]


def lines(data: Mapping[str, Any]) -> tuple[Sequence[Sequence[int]], str]:
    """The pairs that lines join, and their name: at a minimum of an energy no two pairs need have the same angle."""
    if data["energy"] is None and touching(data):
        return data["contacts"], "contacts"
    return (data.get("holes") or {}).get("sides") or [], "neighbours"


def touching(data: Mapping[str, Any]) -> bool:
    """Whether the points are polished until most of them touch another, so that the others are worth a word."""
    return 2 * len(data["rattlers"]) < int(data["n"])


def figure_points(data: Mapping[str, Any]) -> go.Figure:
    """The points, their contacts and the holes on a sphere, or their projection."""
    on_sphere = data["d"] == 3
    points = np.asarray(data["points"] if on_sphere else data["view"]["points"], float)
    figure = go.Figure()
    _ball(figure, 0.55 if on_sphere else 0.18)
    if data["n"] <= MANY:
        pairs, name = lines(data)
        _pairs(figure, points, np.asarray(pairs, int).reshape(-1, 2)[:LINES], name, on_sphere)
        if on_sphere and data.get("holes"):
            _holes(figure, np.asarray(data["holes"]["centres"], float), np.asarray(data["holes"]["radii_deg"], float))
    shown = np.arange(len(points))
    if len(points) > DRAWN:  # at random: at even steps through their order they would form stripes
        shown = np.sort(np.random.default_rng(0).choice(len(points), DRAWN, replace=False))
    if on_sphere:
        loose = np.zeros(len(points), bool)
        if data["energy"] is None and touching(data) and data["n"] <= MANY:
            loose[np.asarray(data["rattlers"], int)] = True
        _points(figure, points, shown[~loose[shown]], "points", POINT)
        _points(figure, points, shown[loose[shown]], "points that touch no other", RATTLER)
    else:
        _places(figure, points, shown, np.asarray(data["view"]["hidden"], float))
    finished(figure, "Points on the sphere" if on_sphere else "Projection to three dimensions", 680)
    nothing = {"visible": False, "showspikes": False}
    away = 1.0 if on_sphere else 1.15  # there the scale of colours takes some of the width
    figure.update_layout(
        scene={
            **{axis: {**nothing, "range": [-1.03, 1.03]} for axis in ("xaxis", "yaxis", "zaxis")},
            "aspectmode": "cube",
            "camera": {"eye": {"x": 1.05 * away, "y": 0.8 * away, "z": 0.55 * away}},
            "dragmode": "orbit",
        },
        margin={"l": 0, "r": 0, "b": 0},
        legend={"itemsizing": "constant"},
    )
    return figure


def _ball(figure: go.Figure, opacity: float) -> None:
    """A translucent sphere a little smaller than the unit one, so that what lies on that is in front of it."""
    latitude, longitude = np.meshgrid(np.linspace(0, np.pi, 41), np.linspace(0, 2 * np.pi, 81))
    radius = 0.985
    figure.add_surface(
        x=_lean(radius * np.sin(latitude) * np.cos(longitude)),
        y=_lean(radius * np.sin(latitude) * np.sin(longitude)),
        z=_lean(radius * np.cos(latitude)),
        surfacecolor=_lean(np.zeros_like(latitude)),
        colorscale=[[0, BALL], [1, BALL]],
        showscale=False,
        opacity=opacity,
        lighting={"ambient": 0.85, "diffuse": 0.3, "specular": 0.05, "roughness": 0.9, "fresnel": 0.1},
        lightposition={"x": 2000, "y": 1500, "z": 3000},
        hoverinfo="skip",
    )


def _size(n: int) -> float:
    return float(np.clip(110 / math.sqrt(n), 1.2, 9.0))


def _points(figure: go.Figure, points: Vectors, which: NDArray[np.int64], name: str, colour: str) -> None:
    if not len(which):
        return
    x, y, z = (_lean(axis) for axis in points[which].T)
    figure.add_scatter3d(
        x=x, y=y, z=z, mode="markers", marker={"size": _size(len(points)), "color": colour, "line": {"width": 0}},
        name=f"{name}: {len(which):,}", text=[f"point {i}" for i in which] if len(points) <= MANY else None,
        hovertemplate="%{text}<extra></extra>" if len(points) <= MANY else None,
    )  # fmt: skip


def _places(figure: go.Figure, points: Vectors, which: NDArray[np.int64], hidden: Vectors) -> None:
    """Projected points: coloured by what is not seen of them, larger where several fall on one place."""
    places, place = merged(points[which])
    count = np.bincount(place, minlength=len(places))
    first = which[np.unique(place, return_index=True)[1]]
    few = len(points) <= MANY
    text = [
        f"point {i}" + (f" and {k - 1} more" if k > 1 else "") + f", hidden part {hidden[i]:.3f}"
        for i, k in zip(first, count, strict=True)
    ]
    marker: dict[str, Any] = {
        "size": _lean(1.6 * _size(len(places)) * np.cbrt(count)),
        "color": POINT,
        "line": {"width": 0},
    }
    if np.ptp(hidden) > 1e-6:
        bar = {"title": {"text": "hidden"}, "len": 0.5, "thickness": 12, "x": 1.0}
        marker |= {"color": _lean(hidden[first]), "colorscale": "Viridis", "colorbar": bar, "cmin": 0, "cmax": 1}
    x, y, z = (_lean(axis) for axis in places.T)
    figure.add_scatter3d(
        x=x, y=y, z=z, mode="markers", marker=marker, name=f"points: {len(which):,}", text=text if few else None,
        hovertemplate="%{text}<extra></extra>" if few else None,
    )  # fmt: skip


def merged(points: Vectors) -> tuple[Vectors, NDArray[np.int64]]:
    """The places that points fall on, and the place of each point."""
    _, first, place = np.unique(np.round(points, 6) + 0.0, axis=0, return_index=True, return_inverse=True)
    return points[first], place.reshape(-1).astype(np.int64)


def _pairs(figure: go.Figure, points: Vectors, pairs: NDArray[np.int64], name: str, on_sphere: bool) -> None:
    if not len(pairs):
        return
    if on_sphere:
        paths = [arc(points[i], points[j]) for i, j in pairs]
        width = 4.0 if len(pairs) <= 400 else 1.5
    else:  # many may fall on one line, or on one point
        places, place = merged(points)
        ends = np.unique(np.sort(place[pairs], axis=1), axis=0)
        paths = [places[[i, j]] for i, j in ends if i != j]
        width = 3.0 if len(paths) <= 400 else 1.5
    _lines(figure, paths, f"{name}: {len(pairs):,}", CONTACT, width, opacity=1.0 if len(paths) <= 1500 else 0.5)


def arc(start: Vectors, end: Vectors) -> Vectors:
    """The great circle's shorter arc as corners a few degrees apart; the straight line between opposite points."""
    angle = 2 * math.atan2(float(np.linalg.norm(start - end)), float(np.linalg.norm(start + end)))
    if angle > math.pi - 1e-6 or angle < 1e-9:
        return np.stack([start, end])
    share = np.linspace(0, 1, max(2, math.ceil(angle / STEP) + 1))[:, None]
    path: Vectors = (np.sin((1 - share) * angle) * start + np.sin(share * angle) * end) / math.sin(angle)
    return path


def circle(centre: Vectors, radius: float, corners: int = 73) -> Vectors:
    """The border of the cap around a unit vector, ``radius`` in radians; its first corner is its last."""
    aside = np.eye(3)[int(np.argmin(np.abs(centre)))]
    first = np.cross(centre, aside)
    first /= np.linalg.norm(first)
    second = np.cross(centre, first)
    turn = np.linspace(0, 2 * np.pi, corners)[:, None]
    border: Vectors = math.cos(radius) * centre + math.sin(radius) * (np.cos(turn) * first + np.sin(turn) * second)
    return border


def _holes(figure: go.Figure, centres: Vectors, radii_deg: Vectors) -> None:
    radii, largest = np.radians(radii_deg), int(np.argmax(radii_deg))
    corners = 73 if len(centres) <= 200 else 25
    circles = [circle(centre, radius, corners) for centre, radius in zip(centres, radii, strict=True)]
    x, y, z = (_lean(axis) for axis in centres.T)
    figure.add_scatter3d(
        x=x, y=y, z=z, mode="markers", marker={"size": 3, "color": HOLE, "symbol": "diamond"}, visible="legendonly",
        name=f"hole centres: {len(centres):,}", text=[f"{radius:.6f}°" for radius in radii_deg],
        hovertemplate="hole of radius %{text}<extra></extra>",
    )  # fmt: skip
    _lines(figure, circles, "circles of all holes", HOLE, 1.5, visible="legendonly")
    # Rings from the border to the centre, since a flat disc would dip into the sphere.
    rings = np.stack([circle(centres[largest], radii[largest] * share) for share in np.linspace(1, 0, 12)])
    x, y, z = (_lean(1.001 * rings[..., k]) for k in range(3))
    words = f"largest hole: radius {radii_deg[largest]:.4f}°"
    figure.add_surface(
        x=x, y=y, z=z, surfacecolor=_lean(np.zeros(rings.shape[:2])), colorscale=[[0, HOLE], [1, HOLE]],
        showscale=False, opacity=0.45, lighting={"ambient": 0.95, "diffuse": 0.1, "specular": 0}, name=words,
        legendgroup="largest",
        hovertemplate=f"{words}<extra></extra>",
    )  # fmt: skip
    _lines(figure, [1.002 * circle(centres[largest], radii[largest])], words, HOLE, 5.0, legendgroup="largest")


def _lines(
    figure: go.Figure, paths: Sequence[Vectors], name: str, colour: str, width: float, **options: Any
) -> None:  # fmt: skip
    """Many paths as one trace: one for each would take a browser minutes."""
    gap = np.full((1, 3), np.nan)
    x, y, z = (_lean(axis) for axis in np.concatenate([part for path in paths for part in (path, gap)]).T)
    figure.add_scatter3d(
        x=x, y=y, z=z, mode="lines", line={"color": colour, "width": width}, name=name, hoverinfo="skip", **options
    )


def _lean(values: Vectors) -> NDArray[np.float32]:
    """Half of the bytes in the file, and still far finer than a pixel."""
    return values.astype(np.float32)


def figure_pair_angles(data: Mapping[str, Any]) -> go.Figure:
    """How many pairs have which angle, and the angles of random pairs as a line."""
    pairs = data["pair_angles"]
    edges, counts = np.asarray(pairs["edges_deg"], float), np.asarray(pairs["counts"], float)
    centres = (edges[1:] + edges[:-1]) / 2
    figure = go.Figure()
    figure.add_bar(
        x=centres, y=counts, width=np.diff(edges), marker={"color": POINT, "line": {"width": 0}}, name="this code",
        opacity=0.8, hovertemplate="%{x:.2f}°: %{y} pairs<extra></extra>",
    )  # fmt: skip
    fine = np.radians(np.linspace(0, 180, 361))
    law = np.sin(fine) ** (data["d"] - 2)
    law *= counts.sum() * (edges[1] - edges[0]) / (law.sum() * 0.5)
    figure.add_scatter(
        x=np.degrees(fine), y=law, mode="lines", line={"color": "#808080", "width": 2}, name="random directions",
        hoverinfo="skip",
    )  # fmt: skip
    figure.add_vline(x=data["angle_deg"], line={"width": 1, "dash": "dash", "color": RATTLER})
    figure.update_xaxes(title="angle of a pair, degree", range=[0, 181], dtick=30)
    figure.update_yaxes(title="pairs" + (", of a sample" if pairs.get("sampled") else ""), rangemode="tozero")
    return finished(figure, "Angles of all pairs; dashed: the minimum", 380)


def figure_history(data: Mapping[str, Any]) -> go.Figure:
    """The best value against time, with the arm of the search that found it."""
    angle = data["energy"] is None
    history = data["history"]
    values = [math.degrees(each["value"]) if angle else each["value"] for each in history]
    seconds = [each["seconds"] for each in history]
    end = max(data["seconds"], seconds[-1])
    figure = go.Figure()
    figure.add_scatter(
        x=[*seconds, end], y=[*values, values[-1]], mode="lines", line={"color": POINT, "width": 2, "shape": "hv"},
        showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=seconds, y=values, mode="markers", marker={"color": POINT, "size": 7}, showlegend=False,
        text=[html.escape(each["origin"]) for each in history],
        hovertemplate="%{y:.9f}" + ("°" if angle else "") + " after %{x:.2f} s<br>%{text}<extra></extra>",
    )  # fmt: skip
    known = data["best_known"]
    if angle and known is not None:
        figure.add_hline(y=known["angle_deg"], line={"width": 1, "dash": "dash", "color": HOLE})
    figure.update_xaxes(title="seconds")
    figure.update_yaxes(title="minimum angle, degree" if angle else "energy", tickformat=".7~g")
    shown = [*values, *([known["angle_deg"]] if angle and known else [])]
    middle, least = (max(shown) + min(shown)) / 2, 1e-5 * abs(values[-1])
    if max(shown) - min(shown) < least:  # ticks must differ in the digits that they have
        figure.update_yaxes(range=[middle - least, middle + least])
    return finished(figure, "Improvements" + ("; dashed: the best known" if angle and known else ""), 380)
