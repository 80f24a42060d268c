"""The page of a spherical code: a sphere to turn with the points, their contacts and holes, and the numbers."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from onsphere.report.figures import finished
from onsphere.report.page import document, plot_html, table_html, write_atomically
from onsphere.report.tables import DASH, Grid

POINT, RATTLER, CONTACT, HOLE, BALL = "#2A7FB8", "#D55E00", "#65717e", "#009E73", "#9fb4c8"
MANY = 2000  # from more points on contacts and holes are a grey felt: the points alone are drawn
SAME = 1e-8  # degrees; published coordinates are rounded by as much
DRAWN = 20_000  # points and contacts that a browser still turns smoothly
STEP = math.radians(6)  # between the corners of a drawn arc

Vectors = NDArray[np.float64]
KINDS = {"max_min_angle": "largest minimum angle", "thomson": "Thomson energy", "whyte": "logarithmic energy",
         "riesz": "Riesz energy"}  # fmt: skip


def write_code_page(data: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a code as one HTML file that opens offline.

    It holds a sphere that can be turned, with the points, the contact graph and the holes between the points (in more
    than three dimensions an orthogonal projection), the table of facts, a histogram of the angles of all pairs and the
    improvements during the search. About 5 MB, nearly all of it plotly.js.

    Args:
        data: what ``onsphere code --json`` prints, and beside it "pair_angles" with "edges_deg" and "counts"; for d = 3
            "holes" with "centres", "radii_deg" and "sides" (pairs of neighbours); for any other d "view" with "points",
            "hidden" (how far each point lies from the space that is shown) and "words". The first two may be null.
        path: the file to write; it is replaced in one step, and its folder must exist.

    Raises:
        ValueError: the data is of another kind or version.

    >>> import tempfile
    >>> data = {"schema": 1, "kind": "code", "onsphere": "0.1.0", "n": 2, "d": 3, "objective": "max_min_angle",
    ...         "points": [[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], "angle_deg": 180.0, "certified_deg": 180.0,
    ...         "best_known": None, "gap_deg": None, "energy": None, "contacts": [[0, 1]], "rattlers": [],
    ...         "history": [], "origin": "simplex", "seconds": 0.0, "seed": 0, "exact": True, "complete": True}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_code_page(data, f"{folder}/code.html")
    """
    if data.get("schema") != 1 or data.get("kind") != "code":
        raise ValueError(
            "expected what `onsphere code --json` prints, schema 1 and kind 'code'; "
            f"got schema {data.get('schema')!r}, kind {data.get('kind')!r}"
        )
    write_atomically(Path(path), page(data))


def page(data: Mapping[str, Any]) -> str:
    """The HTML that `write_code_page` writes."""
    title = f"{data['n']:,} points on the sphere in {data['d']} dimensions"
    facts = [f"{data['seconds']:.1f} s", f"seed {data['seed']}", f"onsphere {data['onsphere']}"]
    parts = [
        f"<h1>{title}</h1>",
        f'<p class="facts">{"".join(f"<span>{html.escape(fact)}</span>" for fact in facts)}</p>',
        "" if data["complete"] else '<p class="warn">The search was interrupted: this is the best so far.</p>',
        '<div style="display: flex; flex-wrap: wrap; gap: 1rem 2rem">'
        f'<div style="flex: 1 1 480px; min-width: 0">{plot_html(figure_points(data))}'
        f'<p class="caption">{html.escape(caption(data))}</p></div>'
        f'<div style="min-width: 0">{table_html(facts_grid(data))}{_source(data)}</div></div>',
    ]
    below = []
    if data.get("pair_angles"):
        below.append(plot_html(figure_pair_angles(data)))
    if data["history"]:
        below.append(plot_html(figure_history(data)))
    parts.append(f'<div class="grid">{"".join(below)}</div>')
    return document(title, parts)


def facts_grid(data: Mapping[str, Any]) -> Grid:
    """The numbers, one a line."""
    known, gap = data["best_known"], data["gap_deg"]
    lines = [
        ("Minimum angle", degrees(data["angle_deg"])),
        ("Certified lower bound", degrees(data["certified_deg"])),
        ("Best known", DASH if known is None else degrees(known["angle_deg"])),
        ("Gap to the best known", gap_words(gap)),
        *([("Energy", energy_words(data["energy"]))] if data["energy"] is not None else []),
        *(
            [
                ("Pairs at the minimum angle", f"{len(data['contacts']):,}"),
                ("Points that touch no other", f"{len(data['rattlers']):,}"),
            ]
            if data["energy"] is None
            else []
        ),
        *([("Largest hole, radius", degrees(max(data["holes"]["radii_deg"])))] if data.get("holes") else []),
        ("Objective", objective_words(data)),
        ("Found by", f"{data['origin']}{' (closed form)' if data['exact'] else ''}"),
    ]  # fmt: skip
    return Grid("What is known", ("Quantity", "Value"), tuple(lines))


def _source(data: Mapping[str, Any]) -> str:
    known = data["best_known"]
    if known is None:
        return ""
    words = html.escape(f"The best known angle: {known['status']}; {known['source'].rstrip('.')}.")
    return f'<p class="caption" style="max-width: 44ch">{words}</p>'


def objective_words(data: Mapping[str, Any]) -> str:
    """What was optimised, with what belongs to it.

    >>> objective_words({"objective": "riesz", "s": 3.0, "half_space": True})
    'Riesz energy, s = 3, half space'
    """
    words = [KINDS.get(data["objective"], data["objective"])]
    words += [f"s = {data['s']:g}"] if data.get("s") is not None else []
    words += ["half space"] if data.get("half_space") else []
    words += ["weighted"] if data.get("weights") else []
    return ", ".join(words)


def degrees(value: float) -> str:
    """An angle in degrees as it is shown everywhere: nine decimals.

    >>> degrees(90)
    '90.000000000°'
    """
    return f"{value:.9f}°"


def energy_words(value: float) -> str:
    """An energy to nine decimals, or to all its digits where it is huge.

    >>> energy_words(49.1652530577), energy_words(1.5e30)
    ('49.165253058', '1.50000000000000e+30')
    """
    return f"{value:.9f}" if abs(value) < 1e9 else f"{value:.14e}"


def gap_words(gap: float | None) -> str:
    """How far below the best known angle, in degrees; less than the table's own rounding is no difference.

    >>> gap_words(2e-9), gap_words(0.25), gap_words(-3e-6), gap_words(None)
    ('none', '0.25°', '3e-06° better', '–')
    """
    if gap is None:
        return DASH
    if abs(gap) < SAME:
        return "none"
    return f"{gap:.3g}°" if gap > 0 else f"{-gap:.3g}° better"


def caption(data: Mapping[str, Any]) -> str:
    """What the picture shows, in words."""
    n, said = data["n"], []
    if data["d"] != 3 and data.get("view"):
        said.append(data["view"]["words"])
    if n > MANY:
        drawn = f"{min(n, DRAWN):,} of {n:,} points, taken evenly from their order, are drawn" if n > DRAWN else ""
        return " ".join([*said, f"{drawn or 'Only the points are drawn'}: with so many, lines would hide them."])
    pairs, name = lines(data)
    if pairs:
        some = f"; {DRAWN:,} of {len(pairs):,} are drawn" if len(pairs) > DRAWN else ""
        said.append(f"Lines join {'the pairs at the minimum angle' if name == 'contacts' else 'neighbours'}{some}.")
    if data["rattlers"] and name == "contacts":
        said.append("Orange points touch no other and can be moved.")
    if data.get("holes"):
        said.append(
            "Green: the largest hole, the widest cap without a point inside. The centres and circles of all holes are "
            "hidden until their name above the picture is clicked."
        )
    return " ".join([*said, "Drag to turn, scroll to enlarge."])


def lines(data: Mapping[str, Any]) -> tuple[Sequence[Sequence[int]], str]:
    """The pairs that lines join, and their name: at a minimum of an energy no two pairs need have the same angle."""
    if data["energy"] is None:
        return data["contacts"], "contacts"
    return (data.get("holes") or {}).get("sides") or [], "neighbours"


def figure_points(data: Mapping[str, Any]) -> go.Figure:
    """The points, their contacts and the holes on a sphere, or their projection."""
    on_sphere = data["d"] == 3
    points = np.asarray(data["points"] if on_sphere else data["view"]["points"], float)
    figure = go.Figure()
    _ball(figure, "sphere" if on_sphere else "shadow of the sphere")
    if data["n"] <= MANY:
        pairs, name = lines(data)
        _pairs(figure, points, np.asarray(pairs, int).reshape(-1, 2)[:DRAWN], name, on_sphere)
        if on_sphere and data.get("holes"):
            _holes(figure, np.asarray(data["holes"]["centres"], float), np.asarray(data["holes"]["radii_deg"], float))
    loose = np.zeros(len(points), bool)
    if data["energy"] is None and data["n"] <= MANY:
        loose[np.asarray(data["rattlers"], int)] = True
    shown = np.arange(len(points))[:: math.ceil(len(points) / DRAWN)]
    hidden = None if on_sphere else np.asarray(data["view"]["hidden"], float)
    _points(figure, points, shown[~loose[shown]], "points", POINT, hidden)
    _points(figure, points, shown[loose[shown]], "points that touch no other", RATTLER, None)
    finished(figure, "Points on the sphere" if on_sphere else "Projection to three dimensions", 680)
    nothing = {"visible": False, "showspikes": False}
    figure.update_layout(
        scene={
            **{axis: {**nothing, "range": [-1.03, 1.03]} for axis in ("xaxis", "yaxis", "zaxis")},
            "aspectmode": "cube",
            "camera": {"eye": {"x": 1.05, "y": 0.8, "z": 0.55}},
            "dragmode": "orbit",
        },
        margin={"l": 0, "r": 0, "b": 0},
        legend={"itemsizing": "constant"},
    )
    return figure


def _ball(figure: go.Figure, name: str) -> None:
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
        opacity=0.55,
        lighting={"ambient": 0.85, "diffuse": 0.3, "specular": 0.05, "roughness": 0.9, "fresnel": 0.1},
        lightposition={"x": 2000, "y": 1500, "z": 3000},
        hoverinfo="skip",
        name=name,
    )


def _points(
    figure: go.Figure, points: Vectors, which: NDArray[np.int64], name: str, colour: str, hidden: Vectors | None
) -> None:
    if not len(which):
        return
    size = float(np.clip(110 / math.sqrt(len(points)), 2.0, 9.0))
    marker: dict[str, Any] = {"size": size, "color": colour, "line": {"width": 0}}
    text = [f"point {i}" for i in which]
    if hidden is not None and np.ptp(hidden) > 1e-6:  # in colour, since depth there is not seen
        marker |= {
            "color": _lean(hidden[which]),
            "colorscale": "Viridis",
            "colorbar": {"title": {"text": "hidden"}, "len": 0.5, "thickness": 12, "x": 1.0},
        }
        text = [f"point {i}, hidden part {hidden[i]:.3f}" for i in which]
    x, y, z = (_lean(axis) for axis in points[which].T)
    figure.add_scatter3d(
        x=x, y=y, z=z, mode="markers", marker=marker, name=f"{name}: {len(which):,}", text=text,
        hovertemplate="%{text}<extra></extra>" if len(which) <= MANY else None,
    )  # fmt: skip


def _pairs(figure: go.Figure, points: Vectors, pairs: NDArray[np.int64], name: str, on_sphere: bool) -> None:
    if not len(pairs):
        return
    if on_sphere:
        paths = [arc(points[i], points[j]) for i, j in pairs]
        width = 4.0 if len(pairs) <= 400 else 1.5
    else:
        paths = [points[[i, j]] for i, j in pairs]
        width = 2.0 if len(pairs) <= 400 else 1.0
    _lines(figure, paths, f"{name}: {len(pairs):,}", CONTACT, width, opacity=1.0 if len(pairs) <= 1500 else 0.35)


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
        name=f"hole centres: {len(centres):,}", text=[degrees(radius) for radius in radii_deg],
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
    return finished(figure, "Improvements" + ("; dashed: the best known" if angle and known else ""), 380)
