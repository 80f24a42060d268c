"""Pictures of features, margins and decision regions: right numbers, clear errors, the same bytes twice."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onsphere import margins, report
from onsphere.report.__main__ import main
from onsphere.report.colours import looks
from onsphere.report.feature_panels import overlap, rank_correlation
from onsphere.report.features import inside_outside, recorded
from onsphere.report.margin_curves import accepted, boundary, figure_2_3, folded
from test_report import verified

PNG = b"\x89PNG\r\n\x1a\n"
ROWS = ("softmax", "A-Softmax m=2", "A-Softmax m=3", "A-Softmax m=4")
TITLES = (
    "Features in the plane",
    "Features on the sphere",
    "Angles between features",
    "Cosines between classes",
    "Norms of the class weights",
)


def features(dimensions: int, rows: tuple[str, ...] = ROWS) -> dict[str, Any]:
    """A result with features of three classes, their angles, cosines and norms."""
    neurons = np.eye(3)[:, :dimensions] if dimensions == 3 else np.array([[1.0, 0.0], [-0.6, 0.8], [-0.6, -0.8]])
    made = []
    for r, name in enumerate(rows):
        rng = np.random.default_rng(r)
        points = [5 * neuron + rng.standard_normal((12, dimensions)) for neuron in neurons]
        classes = [{axis: one[:, i].tolist() for i, axis in enumerate("xyz"[:dimensions])} for one in points]
        end = {
            "features": {"train": classes, "test": classes, "neurons": neurons.tolist()},
            "angles": {"edges": [0.0, 1.0, 2.0, 3.14], "intra": [9, 1, 0], "inter": [0, 4, 4]},
            "confusion": [[0.9, 0.1, None], [0.1, 0.8, 0.0], [0.2, 0.0, 0.7]],
            "weight_norms": {"norms": [1.0, 1.5, 2.0], "counts": [10, 20, 400]},
        }
        seed = {"seed": 123, "final": {"top1": 98.0, "afs": 0.5 - 0.1 * r}, "last": {"top1": 98.0}, "end": end}
        made.append({"row": name, "settings": {}, "paper": {}, "seeds": [seed]})
    return {"schema": 1, "name": "mnist-features", "metric": "afs", "rows": made}


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    content = path.read_bytes()
    assert content[:8] == PNG
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


# Pictures of results


def test_many_rows_have_a_panel_each_and_few_a_line_each(tmp_path: Path) -> None:
    sizes = {}
    for part in (None, "test", "both"):
        report.write_features(features(2, ROWS[:3]), tmp_path / "a.png", part)
        sizes[part] = size(tmp_path / "a.png")
    assert sizes[None] == sizes["test"]
    assert sizes["test"][0] > sizes["test"][1]  # three panels side by side
    assert sizes["both"][1] > 1.3 * sizes["both"][0]  # three lines of two
    report.write_features(features(2, ROWS[:2]), tmp_path / "a.png")
    report.write_features(features(2, ROWS[:2]), tmp_path / "b.png", "both")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_sphere_has_its_angles_below(tmp_path: Path) -> None:
    result = features(3, ROWS[:2])
    report.write_features(result, tmp_path / "a.png")
    for row in result["rows"]:
        del row["seeds"][0]["end"]["angles"]
    report.write_features(result, tmp_path / "b.png")
    (wide, high), (same, low) = size(tmp_path / "a.png"), size(tmp_path / "b.png")
    assert wide == same
    assert high > 1.3 * low


def test_the_score_stands_in_a_panels_title_and_the_overlap_below(tmp_path: Path) -> None:
    report.write_features(features(3), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    for words in ("AFS 0.5000, 98.0 %", "AFS 0.2000, 98.0 %", "overlap 10.0 %", "features of test images"):
        assert f"<!-- {words}" in text or f"{words} -->" in text or words in text, words


@pytest.mark.parametrize("write", ["features", "angles", "confusion", "weight_norms"])
def test_a_picture_of_a_result_is_the_same_twice_and_refused_where_nothing_was_recorded(
    write: str, tmp_path: Path
) -> None:
    draw = getattr(report, f"write_{write}")
    for name in ("a.svg", "b.svg"):
        draw(features(2, ROWS[:2]), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    with pytest.raises(ValueError, match=r"omniglot holds no .*: there is nothing to draw"):
        draw(verified(), tmp_path / "c.svg")
    assert not (tmp_path / "c.svg").exists()


def test_features_of_one_set_alone_are_drawn_and_the_other_is_missed(tmp_path: Path) -> None:
    result = features(2)
    del result["rows"][1]["seeds"][0]["end"]["features"]["test"]
    report.write_features(result, tmp_path / "a.svg", "train")
    with pytest.raises(ValueError, match="row A-Softmax m=2 lacks features for part 'test'"):
        report.write_features(result, tmp_path / "b.svg")
    with pytest.raises(ValueError, match="part is 'all': expected"):
        report.write_features(result, tmp_path / "b.svg", "all")  # type: ignore[arg-type]


def test_a_row_is_drawn_by_its_first_seed_that_recorded_something() -> None:
    result = features(2)
    result["rows"][0]["seeds"].insert(0, {"seed": 7, "final": {}})
    assert {name: seed["seed"] for name, seed in recorded(result, "angles")} == dict.fromkeys(ROWS, 123)


def test_the_mean_cosines_leave_out_what_is_not_there() -> None:
    assert inside_outside(np.array([[0.9, 0.1], [np.nan, 0.7]])) == "\nwithin 0.80, between 0.10"
    assert inside_outside(np.array([[np.nan]])) == ""


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_page_shows_what_was_recorded(dimensions: int, tmp_path: Path) -> None:
    report.write_html(features(dimensions, ROWS[:2]), tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    shown = [title for title in TITLES if f"<h2>{title}</h2>" in text]
    plane = [
        "Features in the plane",
        "Angles between features",
        "Cosines between classes",
        "Norms of the class weights",
    ]
    assert shown == (plane if dimensions == 2 else ["Features on the sphere", *plane[2:]])
    body = text.split("<body>")[1].split("<script")[0]
    assert body.count('src="data:image/png;base64,') == body.count("src=") == len(shown)


def test_the_page_of_an_open_set_result_sets_the_papers_metric_beside_ours(tmp_path: Path) -> None:
    report.write_html(verified(), tmp_path / "a.html")
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    table = text.split("<h2>The paper's numbers</h2>")[1].split("</table>")[0]
    assert (
        '<th scope="col">Objective</th><th scope="col">Verification<br>%</th><th scope="col">Rank-1<br>%</th>' in table
    )
    assert "Verification accuracy against softmax,<br>in the paper" in table
    assert "<td>97.53</td><td>54.85</td><td>+1.00</td><td>+1.00 ± 0.00</td>" in table
    assert "Time/batch" not in table


def test_the_commands_draw(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "result.json").write_text(json.dumps(features(3, ROWS[:2])))
    for option in ("--features", "--angles", "--confusion", "--weight-norms"):
        assert main([option, str(tmp_path), str(tmp_path / f"{option}.svg")]) == 0
    for option in ("--margins", "--regions", "--sphere-regions"):
        assert main([option, str(tmp_path / f"{option}.svg")]) == 0
    assert len(list(tmp_path.glob("*.svg"))) == 7
    assert main(["--features", str(tmp_path), str(tmp_path / "both.svg"), "--set", "both"]) == 0
    assert (tmp_path / "both.svg").read_bytes() != (tmp_path / "--features.svg").read_bytes()
    with pytest.raises(SystemExit):
        main(["--margins", str(tmp_path / "a.svg"), "--set", "both"])
    assert "--set goes with --features" in capsys.readouterr().err
    assert main(["--margins", str(tmp_path / "a.jpeg")]) == 2
    assert "expected a name that ends in .svg or .png" in capsys.readouterr().err


@given(st.lists(st.text("abcxyz019 =", min_size=1), min_size=1, max_size=50, unique=True))
def test_rows_of_other_names_never_look_alike(names: list[str]) -> None:
    keys = {"".join(letter for letter in name if letter.isalnum()) for name in names}
    if len(keys) == len(names):
        found = looks(["softmax", *names])
        assert len(set(found.values())) == len(names) + 1


# Pictures of arrays


def test_features_of_arrays_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for dimensions in (2, 3):
        points, labels = rng.standard_normal((30, dimensions)), rng.integers(0, 3, 30)
        points[0] = 0.0  # has no direction
        for name in ("a.svg", "b.svg"):
            report.draw_features(points, labels, tmp_path / name, rng.standard_normal((3, dimensions)) * 0 + 1)
        assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
        report.draw_features(points, labels, tmp_path / "c.svg")
        assert (tmp_path / "c.svg").read_bytes() != (tmp_path / "a.svg").read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": np.ones((4, 5))}, r"features have the shape \(4, 5\): expected \(n, 2\) or \(n, 3\)"),
        ({"features": np.ones((0, 2)), "labels": []}, r"features have the shape \(0, 2\)"),
        ({"features": [[math.nan, 1.0]] * 4}, "features holds 4 numbers that are not finite, of 8"),
        ({"features": [["a", "b"]] * 4}, "features cannot be read as numbers"),
        ({"labels": [0, 1]}, r"labels have the shape \(2,\): expected \(4,\)"),
        ({"labels": [0.0, 1.0, 0.0, 1.0]}, "labels are float64: expected whole numbers"),
        ({"labels": [0, -1, 0, 1]}, "the least label is -1"),
        ({"directions": [[1.0, 0.0]]}, r"directions have the shape \(1, 2\): expected \(2 or more, 2\)"),
        ({"directions": [[1.0, 0.0], [0.0, 0.0]]}, "row 1 of directions is zero"),
        ({"path": "a.bmp"}, r"cannot draw a\.bmp: expected a name that ends in \.svg or \.png"),
    ],
)
def test_features_that_cannot_be_drawn_are_refused(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"features": np.ones((4, 2)), "labels": [0, 1, 0, 1], "path": tmp_path / "a.svg"}
    with pytest.raises(ValueError, match=said):
        report.draw_features(**(arguments | change))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda to: report.draw_angles([0, 1, 2], [1, 2], [1, 2, 3], to), r"inter has the shape \(3,\)"),
        (lambda to: report.draw_angles([0, 1, 2], [1, -2], [1, 2], to), "intra has .* the least number -2"),
        (lambda to: report.draw_angles([0, 2, 1], [1, 2], [1, 2], to), "expected .* increasing numbers"),
        (lambda to: report.draw_angles([0, 90, 180], [1, 2], [1, 2], to), "edges go from 0 to 180: expected radians"),
        (lambda to: report.draw_confusion(np.ones((2, 3)), to), r"matrix has the shape \(2, 3\): expected \(C, C\)"),
        (lambda to: report.draw_confusion([[2.0]], to), "matrix goes from 2 to 2: expected cosines"),
        (lambda to: report.draw_confusion([[1.0]], to, ["a", "b"]), "2 names for 1 classes"),
        (lambda to: report.draw_weight_norms([1.0, 2.0], [1.0], to), r"norms have the shape \(2,\) and counts \(1,\)"),
        (lambda to: report.draw_weight_norms([1.0], [-1.0], to), "the least count -1"),
        (lambda to: report.draw_margins(to, {}), "no curve was given"),
        (lambda to: report.draw_margins(to, {"a": ([0.0, 1.0], [1.0])}), r"a: θ has the shape \(2,\) and ψ \(1,\)"),
        (lambda to: report.draw_regions(to, 1), "m is 1: expected a whole number of at least 2"),
        (lambda to: report.draw_sphere_regions(to, 2.5), "m is 2.5: expected a whole number"),
    ],
)
def test_arrays_that_cannot_be_drawn_are_refused(draw: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        draw(tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())


def test_classes_without_pairs_or_spread_are_drawn(tmp_path: Path) -> None:
    report.draw_angles([0.0, 1.0], [0], [0], tmp_path / "angles.svg")
    report.draw_confusion(np.eye(30), tmp_path / "cosines.png")
    report.draw_weight_norms([1.0, 1.0, 1.0], [0, 5, 5000], tmp_path / "norms.svg")  # normalised weights
    assert len(list(tmp_path.iterdir())) == 3


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(1, 9))
def test_histograms_overlap_wholly_with_themselves_and_not_at_all_with_empty_bins(
    counts: list[int], factor: int
) -> None:
    twice = [factor * count for count in counts]
    if sum(counts):
        assert overlap(counts, twice) == pytest.approx(1.0)
        assert overlap([*counts, *(0 for _ in counts)], [*(0 for _ in counts), *twice]) == 0.0
    else:
        assert overlap(counts, twice) is None


def test_the_rank_correlation_is_of_ranks() -> None:
    assert rank_correlation([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1.0)
    assert rank_correlation([1, 2, 3, 4], [5, 4, 3, -9]) == pytest.approx(-1.0)
    assert rank_correlation([1, 1, 1], [1, 2, 3]) is None


# Margins and regions


def test_the_curves_are_those_of_the_margins() -> None:
    import torch

    classes = {
        "softmax": margins.SphereFace(1),
        "L-/A-Softmax, m = 2": margins.SphereFace(2),
        "L-/A-Softmax, m = 3": margins.LSoftmax(3),
        "L-/A-Softmax, m = 4": margins.SphereFace(4),
        "CosFace, m = 0.35": margins.CosFace(0.35),
        "ArcFace, m = 0.5": margins.ArcFace(0.5),
    }
    curves = figure_2_3()
    assert list(curves) == list(classes)
    for name, (theta, psi) in curves.items():
        assert np.abs(classes[name].psi(torch.tensor(theta)).numpy() - psi).max() < 1e-9, name


@given(st.floats(0.0, math.pi), st.floats(0.0, math.pi), st.integers(2, 6))
def test_with_equal_norms_a_region_is_where_m_times_the_angle_is_smaller(first: float, second: float, m: int) -> None:
    both: list[NDArray[np.float64]] = [np.array([first]), np.array([second])]
    if min(abs(m * first - second), abs(m * second - first)) > 1e-5:
        expected = 1 if m * first < second else 2 if m * second < first else 0
        assert accepted(*both, m).tolist() == [expected]


@settings(max_examples=40)
@given(st.floats(0.2, 3.0), st.integers(1, 5))
def test_between_the_vectors_the_margin_is_as_wide_as_the_thesis_says(between: float, m: int) -> None:
    assert boundary(between, m) == pytest.approx(between / (m + 1), abs=1e-9)
    margin = between - 2 * boundary(between, m)
    assert margin == pytest.approx((m - 1) / (m + 1) * between, abs=1e-9)  # section 2.2.4


@settings(max_examples=40)
@given(st.floats(0.5, 1.5), st.floats(0.8, 1.25), st.integers(2, 4))
def test_a_margin_lies_on_either_side_of_softmaxs_boundary(between: float, ratio: float, m: int) -> None:
    if min(1.0, ratio) <= max(1.0, ratio) * math.cos(between) + 1e-3:
        with pytest.raises(ValueError, match="expected norms that are closer"):
            boundary(between, m, (min(1.0, ratio), max(1.0, ratio) / math.cos(between) * 1.01))
        return
    norms = (1.0, ratio)
    plain = boundary(between, 1, norms)
    assert boundary(between, m, norms) < plain < between - boundary(between, m, norms[::-1])
    assert math.cos(plain) == pytest.approx(ratio * math.cos(between - plain))
    # The longer vector has the wider region.
    assert (plain > between / 2) == (ratio < 1) or ratio == 1


def test_psi_folds_at_multiples_of_pi_over_m_without_a_jump() -> None:
    for m in (2, 3, 4):
        for k in range(1, m):
            fold = k * math.pi / m
            assert folded(fold - 1e-9, m) == pytest.approx(folded(fold + 1e-9, m), abs=1e-7)
            assert folded(fold, m) == pytest.approx(1 - 2 * k, abs=1e-9)
