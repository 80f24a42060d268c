"""Pages, pictures and tables of codes, made from plain data."""

from __future__ import annotations

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import opened
from onsphere import report
from onsphere.cli import listing
from onsphere.report.code import caption, facts_grid, page
from onsphere.report.code_figures import DRAWN, arc, circle, figure_history, figure_pair_angles, figure_points, merged
from onsphere.report.codes_tables import codes_grid, methods_grid, printed, summary
from onsphere.report.readme import update
from onsphere.report.sphere_pictures import seen

OCTAHEDRON = np.vstack([np.eye(3), -np.eye(3)])


def octahedron(**changes: Any) -> dict[str, Any]:
    contacts = [[i, j] for i in range(6) for j in range(i + 1, 6) if j != i + 3]
    centres = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / math.sqrt(3)
    return {
        "schema": 1, "kind": "code", "onsphere": "0.1.0", "n": 6, "d": 3, "objective": "max_min_angle", "seed": 0,
        "origin": "hop", "seconds": 2.0, "exact": False, "complete": True, "angle_deg": 90.0, "energy": None,
        "certified_deg": 89.99999999999, "gap_deg": 0.0, "contacts": contacts, "rattlers": [],
        "best_known": {"angle_deg": 90.0, "status": "proved optimal", "source": "Rankin <1955>"},
        "history": [
            {"seconds": 0.5, "value": 1.5, "origin": "soft"}, {"seconds": 1.0, "value": math.pi / 2, "origin": "hop"},
        ],
        "points": OCTAHEDRON.tolist(),
        "pair_angles": {"edges_deg": [0, 60, 120, 180], "counts": [0, 12, 3], "sampled": False},
        "holes": {"centres": centres.tolist(), "radii_deg": [54.7356] * 8, "sides": contacts},
        "view": None,
        **changes,
    }  # fmt: skip


def traces(figure: Any) -> dict[str, Any]:
    return {(trace.name or "").split(":")[0]: trace for trace in figure.data}


def test_the_page_holds_facts_sphere_pairs_and_history() -> None:
    text = page(octahedron())
    for words in ("6 points on the sphere in 3 dimensions", "Certified lower bound", "89.999999999°",
                  "proved optimal", "contacts: 12", "hole centres: 8", "largest hole", "Improvements",
                  "Rankin &lt;1955&gt;"):  # fmt: skip
        assert words in text
    assert "Rankin <1955>" not in text
    assert "search was interrupted" not in text
    assert "search was interrupted" in page(octahedron(complete=False))


def test_a_page_of_something_else_is_refused(tmp_path: Path) -> None:
    for change in ({"schema": 2}, {"kind": "codes"}):
        with pytest.raises(ValueError, match="kind 'code'; got schema"):
            report.write_code_page(octahedron(**change), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
def test_a_browser_draws_the_page(tmp_path: Path) -> None:
    report.write_code_page(octahedron(), tmp_path / "page.html")
    # Without 3-D interfaces: a machine without a graphics card takes seconds to prepare the sphere, and warns.
    done = opened(tmp_path / "page.html", tmp_path / "profile", "--disable-3d-apis")
    assert "Uncaught" not in done.stderr
    assert "ERROR:CONSOLE" not in done.stderr
    assert done.stdout.count('class="plot js-plotly-plot"') == 3


def test_arcs_and_circles_lie_on_the_sphere() -> None:
    u, v = np.array([1.0, 0, 0]), np.array([0.6, 0.8, 0])
    path = arc(u, v)
    assert np.linalg.norm(path, axis=1) == pytest.approx(1)
    assert path[0] == pytest.approx(u)
    assert path[-1] == pytest.approx(v)
    steps = np.einsum("ij,ij->i", path[1:], path[:-1])
    assert steps == pytest.approx(math.cos(math.acos(0.6) / (len(path) - 1)))
    assert len(arc(u, -u)) == 2
    border = circle(v, 0.3)
    assert border @ v == pytest.approx(math.cos(0.3))
    assert np.linalg.norm(border, axis=1) == pytest.approx(1)


def test_rattlers_have_a_colour_of_their_own() -> None:
    found = traces(figure_points(octahedron(rattlers=[2, 5])))
    assert len(found["points"].x) == 4
    assert len(found["points that touch no other"].x) == 2
    assert found["points"].marker.color != found["points that touch no other"].marker.color
    assert "Orange" in caption(octahedron(rattlers=[2, 5]))
    assert "Orange" not in caption(octahedron())


def test_points_that_hardly_touch_show_neighbours_and_no_rattlers() -> None:
    data = octahedron(contacts=[[0, 1]], rattlers=[2, 3, 4, 5])
    found = traces(figure_points(data))
    assert "neighbours" in found
    assert len(found["points"].x) == 6
    assert "Points that touch no other" not in dict(facts_grid(data).body)
    assert "Orange" not in caption(data)


def test_a_history_of_equal_values_has_an_axis_whose_ticks_differ() -> None:
    history = [{"seconds": seconds, "value": math.pi / 2, "origin": "hop"} for seconds in (1.0, 2.0)]
    low, high = figure_history(octahedron(history=history)).layout.yaxis.range
    assert low < 90 < high
    assert high - low > 1e-4


def test_an_energy_shows_neighbours_and_no_gap() -> None:
    data = octahedron(objective="riesz", s=2.0, energy=6.75, contacts=[], rattlers=[0, 1, 2, 3, 4, 5])
    found = traces(figure_points(data))
    assert "neighbours" in found
    assert "points that touch no other" not in found
    grid = dict(facts_grid(data).body)
    assert grid["Energy"] == "6.750000000"
    assert grid["Objective"] == "Riesz energy, s = 2"
    assert "Gap to the best known" not in grid
    assert list(figure_history(data).data[1].y) == [1.5, math.pi / 2]


def test_very_many_points_are_thinned_and_without_lines() -> None:
    n = DRAWN + 1000
    points = np.random.default_rng(0).standard_normal((n, 3))
    data = octahedron(n=n, points=points / np.linalg.norm(points, axis=1, keepdims=True))
    found = traces(figure_points(data))
    assert len(found["points"].x) == DRAWN
    assert "contacts" not in found
    assert "largest hole" not in found
    assert f"Of the {n:,} points {DRAWN:,} are drawn" in caption(data)


def test_a_projection_merges_what_falls_on_one_place() -> None:
    points = np.vstack([np.eye(4), -np.eye(4)])
    view = {"points": points[:, :3].tolist(), "hidden": np.abs(points[:, 3]).tolist(), "words": "A projection."}
    contacts = [[i, j] for i in range(8) for j in range(i + 1, 8) if j != i + 4]
    data = octahedron(n=8, d=4, points=points.tolist(), contacts=contacts, holes=None, view=view)
    found = traces(figure_points(data))
    dots = found["points"]
    assert len(dots.x) == 7  # the two ends of the fourth axis lie in the middle
    assert [text for text in dots.text if "more" in text] == ["point 3 and 1 more, hidden part 1.000"]
    # 12 edges of the octahedron and 6 to the middle, each once
    assert np.isnan(found["contacts"].x).sum() == 18
    assert caption(data).startswith("A projection.")
    places, place = merged(points[:, :3])
    assert places[place] == pytest.approx(points[:, :3])


def test_the_line_of_random_pairs_has_as_many_pairs() -> None:
    bars, line = figure_pair_angles(octahedron()).data
    assert sum(bars.y) == 15
    assert np.trapezoid(line.y, line.x) / 60 == pytest.approx(15, rel=1e-3)


def codes(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"schema": 1, "kind": "codes", "name": name, "rows": rows, "commit": "abc", "seconds": 12.0,
            "machine": {"processor": "A processor", "threads": 1}}  # fmt: skip


def row(n: int, angle: float, known: float | None = 40.0, seed: int = 0, **more: Any) -> dict[str, Any]:
    return {"n": n, "d": 3, "seed": seed, "angle_deg": angle, "best_known_deg": known, "status": "best known",
            "gap_deg": None if known is None else known - angle, "certified_deg": angle, "origin": "hop",
            "seconds": 2.0 + seed, "budget_s": 60.0, **more}  # fmt: skip


def test_seeds_are_counted_that_reach_the_target() -> None:
    rows = [row(30, angle, seed=k, target_deg=40.0) for k, angle in enumerate((40.0, 39.9999995, 39.999998))]
    grid = codes_grid(codes("targets", rows))
    assert grid.body == (("3", "30", "40.000000", "40.000000", "40.000000", "2 of 3", "3.0"),)
    none = codes_grid(codes("targets", [row(30, 39.0, known=None)]))
    assert none.body[0][2:6] == ("–", "39.000000", "39.000000", "–")


def test_many_codes_are_a_sentence_in_the_readme_and_a_table_in_the_pages() -> None:
    rows = [row(n, 40.0 - 5e-7) for n in range(5, 40)] + [row(40, 40.00001), row(41, 39.99)]
    result = codes("d3", rows)
    said = summary(result)
    assert said.startswith("35 of 37 codes (d = 3, n = 5 to 41) are within 1e-06 degrees of the best known angle")
    assert "better: n = 40" in said
    assert "below it: n = 41." in said
    short, full = (report.codes_markdown(result, full=full) for full in (False, True))
    assert "|" not in short
    assert said in short
    assert full.count("\n| 3 |") == 37
    few = codes("d3", rows[:30])
    assert report.codes_markdown(few, full=False).count("\n| 3 |") == 30


def methods() -> dict[str, Any]:
    def method(title: str, angle: float, paper: float | None) -> dict[str, Any]:
        return {"title": title, "equation": 6, "angle_deg": angle, "paper_deg": paper, "seconds": 1.0}

    found = {"mma": method("MMA loss", 38.5, 38.5), "global": method("largest cosine of all", 20.0, None)}
    ours = {"angle_deg": 38.597116, "certified_deg": 38.597, "origin": "hop", "seconds": 1.0}
    return {
        "schema": 1, "kind": "code-methods", "name": "codes-table1", "source": "MMA paper, Table 1", "commit": "abc",
        "settings": {"iterations": 100, "patience": 7, "budget_s": 1.0, "seed": 0}, "machine": {}, "seconds": 2.0,
        "rows": [
            {"n": 30, "d": 3, "best_known_deg": 38.597116, "paper_optimal_deg": 38.6, "ours": ours, "methods": found},
        ],
    }  # fmt: skip


def test_the_methods_stand_side_by_side_with_the_papers_numbers() -> None:
    grid = methods_grid(methods())
    assert grid.body == (("3", "30", "38.597116 (38.6)", "38.597116", "38.50 (38.5)", "20.00 (–)"),)
    assert grid.best == {(0, 4)}
    text = report.codes_markdown(methods(), full=False)
    assert "| **38.50 (38.5)** |" in text
    assert "7 steps without a lower loss" in text


@pytest.mark.parametrize("width", [50, 150])
def test_the_table_fits_the_terminal(width: int) -> None:
    from rich.console import Console

    console = Console(width=width, record=True, file=io.StringIO())
    console.print(printed(methods()))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= width
    assert any("38.50 (38.5)" in line for line in lines) == (width == 150)
    assert any("20.00" in line for line in lines)


def test_a_readme_holds_codes_beside_results(tmp_path: Path) -> None:
    training = {"schema": 1, "name": "tiny", "rows": [{"row": "none", "seeds": [{"seed": 1, "final": {"top1": 91.0}}]}]}
    for name, content in {"a": codes("some-codes", [row(30, 40.0)]), "b": training, "c": methods()}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    markers = [f"<!-- {part}:{end} -->" for part in ("results", "benchmarks") for end in ("begin", "end")]
    text = update("\n".join(markers), tmp_path)
    assert [line for line in text.splitlines() if line.startswith("###")] == [
        "### some-codes",
        "### b",
        "### codes-table1",
    ]
    (tmp_path / "d.json").write_text('{"kind": "codes", "schema": 7, "rows": []}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"d\.json: expected schema 1 and a list of rows, got schema 7"):
        update("\n".join(markers), tmp_path)


def test_recipes_leave_codes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = {"a": codes("d3", [row(30, 40.0)]), "b": codes("d3", []), "c": methods()}
    for name, content in contents.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    monkeypatch.setattr(listing, "_result_folders", lambda: [tmp_path])
    assert listing.show(["table3-digits"]) == 0
    assert [row for result in listing._recorded() for row in result["rows"]] == []


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_spheres_are_drawn_the_same_twice(kind: str, tmp_path: Path) -> None:
    dots = [{"points": OCTAHEDRON.tolist(), "colour": "red"}, {"points": (-OCTAHEDRON).tolist(), "colour": "pink"}]
    paths = [{"points": arc(OCTAHEDRON[0], OCTAHEDRON[1]).tolist(), "colour": "green"}]
    data = {"panels": [{"title": "dots", "dots": dots}, {"title": "a path", "paths": paths}], "view": [0.0, 1.0, 0.3]}
    for name in ("first", "second"):
        report.write_spheres(data, tmp_path / f"{name}.{kind}")
    assert (tmp_path / f"first.{kind}").read_bytes() == (tmp_path / f"second.{kind}").read_bytes()


def test_curves_are_drawn(tmp_path: Path) -> None:
    line = {"angles_deg": [10.0, 90.0], "norms": [0.2, 1.0]}
    report.write_gradient_norms(
        {"s": 1.0, "curves": {"riesz": {"equation": 10, "lines": line, "markers": line}}}, tmp_path / "curves.svg"
    )
    assert "Riesz-Fisher, s = 1 (eq. 10)" in (tmp_path / "curves.svg").read_text(encoding="utf-8")


def test_a_view_turns_and_keeps_lengths() -> None:
    points = np.random.default_rng(0).standard_normal((20, 3))
    view = np.array([1.0, 2.0, -0.5])
    shown = seen(points, view)
    assert np.linalg.norm(shown, axis=1) == pytest.approx(np.linalg.norm(points, axis=1))
    assert shown[:, 2] == pytest.approx(points @ view / np.linalg.norm(view))
