"""The page of a spherical code: a sphere to turn with the points, their contacts and holes, and the numbers."""

from __future__ import annotations

import html
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onsphere.report.code_figures import (
    DRAWN,
    LINES,
    MANY,
    figure_history,
    figure_pair_angles,
    figure_points,
    lines,
    touching,
)
from onsphere.report.page import document, plot_html, table_html, write_atomically
from onsphere.report.tables import DASH, Grid

SAME = 1e-7  # degrees; the angles of published coordinates are off by several 1e-8

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
        # Wide enough for the whole sphere: plotly cuts it off where its place is narrower than high.
        '<div style="display: flex; flex-wrap: wrap; gap: 1rem 2rem">'
        f'<div style="flex: 1 1 600px; min-width: 0">{plot_html(figure_points(data))}'
        f'<p class="caption">{html.escape(caption(data))}</p></div>'
        f'<div style="flex: 0 1 auto; min-width: 0">{table_html(facts_grid(data))}{_source(data)}</div></div>',
    ]
    below = []
    if data.get("pair_angles"):
        below.append(plot_html(figure_pair_angles(data)))
    if len(data["history"]) > 1:
        below.append(plot_html(figure_history(data)))
    parts.append(f'<div class="grid">{"".join(below)}</div>')
    return document(title, parts)


def facts_grid(data: Mapping[str, Any]) -> Grid:
    """The numbers, one a line."""
    known = data["best_known"]
    lines = [("Minimum angle", degrees(data["angle_deg"])), ("Certified lower bound", certified(data["certified_deg"]))]
    if data["energy"] is None:
        lines += [
            ("Best known", DASH if known is None else degrees(known["angle_deg"])),
            ("Gap to the best known", gap_words(data["gap_deg"])),
            ("Pairs at the minimum angle", f"{len(data['contacts']):,}"),
        ]
        if touching(data):
            lines.append(("Points that touch no other", f"{len(data['rattlers']):,}"))
    else:
        lines.append(("Energy", energy_words(data["energy"])))
    if data.get("holes"):
        lines.append(("Largest hole, radius", degrees(max(data["holes"]["radii_deg"]))))
    lines += [
        ("Objective", objective_words(data)),
        ("Found by", f"{data['origin']}{' (closed form)' if data['exact'] else ''}".replace(", ", ",\n")),
    ]
    return Grid("What is known", ("Quantity", "Value"), tuple(lines))


def _source(data: Mapping[str, Any]) -> str:
    if data["energy"] is not None:
        return ""
    words = best_known_words(data)
    return f'<p class="caption" style="max-width: 44ch">{html.escape(f"{words[0].upper()}{words[1:]}.")}</p>'


def best_known_words(data: Mapping[str, Any]) -> str:
    """Where the best known angle comes from, or what stands in for it.

    >>> best_known_words({"n": 4, "d": 3, "best_known": {"status": "proved optimal", "source": "simplex"}})
    'best known angle: from simplex; proved optimal'
    >>> best_known_words({"n": 2000, "d": 3, "best_known": None, "angle_deg": 4.8, "hexagonal_deg": 5.0})
    'best known angle: none is recorded for n=2000, d=3; this one is 96.0 % of the hexagonal angle 5.000000°'
    """
    known = data["best_known"]
    if known is not None:
        return f"best known angle: from {known['source']}; {known['status']}"
    said = f"best known angle: none is recorded for n={data['n']}, d={data['d']}"
    if data.get("hexagonal_deg"):
        share = 100 * data["angle_deg"] / data["hexagonal_deg"]
        said += f"; this one is {share:.1f} % of the hexagonal angle {data['hexagonal_deg']:.6f}°"
    return said


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


def certified(value: float) -> str:
    """A lower bound in degrees: what is shown of it is one, too.

    >>> certified(89.99999999999)
    '89.999999999°'
    """
    return degrees(math.floor(value * 1e9) / 1e9)


def energy_words(value: float) -> str:
    """An energy to nine decimals, or to all its digits where it is huge.

    >>> energy_words(49.1652530577), energy_words(1.5e30)
    ('49.165253058', '1.50000000000000e+30')
    """
    return f"{value:.9f}" if abs(value) < 1e9 else f"{value:.14e}"


def gap_words(gap: float | None) -> str:
    """How far below the best known angle, in degrees; less than the table's own rounding is no difference.

    >>> gap_words(2e-8), gap_words(0.25), gap_words(-3e-6), gap_words(None)
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
        drawn = (
            f"Of the {n:,} points {DRAWN:,} are drawn, chosen at random" if n > DRAWN else "Only the points are drawn"
        )
        return " ".join([*said, f"{drawn}: with so many, lines would hide them."])
    pairs, name = lines(data)
    if len(pairs):
        some = f"; {LINES:,} of {len(pairs):,} are drawn" if len(pairs) > LINES else ""
        said.append(f"Lines join {'the pairs at the minimum angle' if name == 'contacts' else 'neighbours'}{some}.")
    if data["rattlers"] and data["energy"] is None and touching(data):
        said.append("Orange points touch no other and can be moved.")
    if data.get("holes"):
        said.append(
            "Green: the largest hole, the widest cap without a point inside. The centres and circles of all holes are "
            "hidden until their name above the picture is clicked."
        )
    return " ".join([*said, "Drag to turn, scroll to enlarge."])
