"""The picture of features in the plane, made from a result file alone."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest

from onsphere.report import write_features, write_html
from onsphere.report.__main__ import main
from onsphere.report.features import features_picture, recorded


def result_with_features(classes: int = 10) -> dict[str, Any]:
    """Two rows: in the first the features are on a ring, in the second elsewhere."""
    angles = [2 * math.pi * label / classes for label in range(classes)]
    ring = [{"x": [math.cos(a), 2 * math.cos(a)], "y": [math.sin(a), 2 * math.sin(a)]} for a in angles]
    far = [{"x": [50 * x for x in one["x"]], "y": one["y"]} for one in ring]
    neurons = [[math.cos(a), math.sin(a)] for a in angles]
    rows = []
    for name, points in (("none", far), ("MHE s=2", ring)):
        end = {"features": {"train": points, "test": points, "neurons": neurons}, "class_top1": [90.0] * classes}
        rows.append({"row": name, "seeds": [{"seed": 1, "final": {"top1": 88.5}, "last": {"top1": 88.5}, "end": end}]})
    return {"schema": 1, "name": "thesis-figure5.4-mnist", "rows": rows}


def test_equal_results_give_equal_pictures_and_others_do_not(tmp_path: Path) -> None:
    result = result_with_features()
    for name in ("a.svg", "b.svg", "a.png"):
        write_features(result, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    other = copy.deepcopy(result)
    other["rows"][0]["seeds"][0]["end"]["features"]["train"][0]["x"][0] += 20.0
    assert features_picture(other, "svg") != features_picture(result, "svg")
    assert "</svg>" in features_picture(result_with_features(100), "svg").decode()


def test_the_first_seed_with_features_is_drawn() -> None:
    result = result_with_features()
    seed = result["rows"][0]["seeds"][0]
    result["rows"][0]["seeds"] = [{"seed": 7, "final": {}, "end": {}}, seed, {**seed, "seed": 3}]
    assert [(name, found["seed"]) for name, found in recorded(result)] == [("none", 1), ("MHE s=2", 1)]


def test_the_report_shows_features_where_there_are_any(tmp_path: Path) -> None:
    result = result_with_features()
    write_html(result, tmp_path / "with.html")
    page = (tmp_path / "with.html").read_text()
    assert "Features in the plane" in page
    assert 'src="data:image/png;base64,' in page
    for row in result["rows"]:
        row["seeds"][0]["end"] = {}
    write_html(result, tmp_path / "without.html")
    assert "Features in the plane" not in (tmp_path / "without.html").read_text()
    with pytest.raises(ValueError, match="holds no features in the plane"):
        write_features(result, tmp_path / "none.svg")


def test_the_command_draws_features(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--features", str(tmp_path), str(tmp_path / "a.svg")]) == 2
    assert "no result at" in capsys.readouterr().err
