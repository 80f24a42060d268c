"""The report: numbers reduced right, honest sentences, readable in any state of a run, offline, no torch."""

from __future__ import annotations

import copy
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from browser import drawn
from onsphere import report
from onsphere.report.__main__ import main
from onsphere.report.colours import looks
from onsphere.report.headline import headline
from onsphere.report.readme import update
from onsphere.report.results import check, histogram, missing

ROWS = ("none", "orthogonal", "MHE s=2", "MHE s=0", "MMA")
LAYERS = ("conv1", "conv2", "classifier")
VGG = (*(f"conv{b}_{i}" for b, n in enumerate((2, 2, 4, 4, 4), 1) for i in range(1, n + 1)), "classifier")
EDGES = [-1.0, -0.5, 0.0, 0.2, 0.6, 1.0]


def seed(number: int, top1: float, layers: tuple[str, ...] = LAYERS, angle: float = 40.0) -> dict[str, Any]:
    return {
        "seed": number,
        "seconds": 1.0,
        "steps": 20,
        "final": {"top1": top1, "top5": 99.0, "test_loss": 0.3},
        "last": {"top1": top1, "top5": 99.0, "test_loss": 0.3},
        "curve": {
            "epoch": [1, 2],
            "train_loss": [2.0, 1.0],
            "objective": [1.9, 0.9],
            "regularizer": [0.1, 0.1],
            "top1": [top1 - 20, top1],
            "top5": [90.0, 99.0],
            "test_loss": [1.0, None],
            "lr": [0.1, 0.1],
        },
        "observations": {"minimum_angle_deg": {layer: [10.0, angle + i] for i, layer in enumerate(layers)}},
        "end": {
            "cosines": {
                "layer": layers[0],
                "edges": EDGES,
                "counts": [0, 100, 300, number % 10, 0],
                "above": 0.2,
                "pairs_above": number % 10,
                "pairs": 496,
            }
        },
    }


def make(layers: tuple[str, ...] = LAYERS, seeds: int = 5) -> dict[str, Any]:
    """A result with top-1 of row r, seed k equal to 90 + r + k / 10, so that differences to the first row are exact."""
    return {
        "schema": 1,
        "name": "table3-digits",
        "source": "MMA paper, Table 3",
        "complete": True,
        "started": "2026-01-02T10:00:00+00:00",
        "seconds": 125.0,
        "onsphere": "0.1.0",
        "commit": "abc1234",
        "python": "3.11.7",
        "torch": "2.13.0+cpu",
        "machine": {"processor": "Some CPU", "cores": 2, "threads": 2, "platform": "Linux", "device": "cpu"},
        "precision": "32-true",
        "data": {"name": "digits", "train": 200, "test": 797, "classes": 10},
        "rows": [
            {
                "row": name,
                "settings": {"coefficient": 0.07},
                "paper": {"top1": 72.0 + r, "top5": 90.5, "minimum_angle_deg.conv2": 70.25 + r},
                "cost": {
                    "seconds_per_batch": 0.01 * (1 + r),
                    "peak_bytes": 2**20 * (1 + r),
                    "time_ratio": 1.0 + r,
                    "memory_ratio": 1.0 + r / 2,
                    "batches": 50,
                },
                "seeds": [seed(123 + 100 * k, 90 + r + k / 10, layers, 40.0 + r) for k in range(seeds)],
            }
            for r, name in enumerate(ROWS)
        ],
    }


OBJECTIVES = ("softmax", "A-Softmax m=4", "ArcFace")


def verified(seeds: int = 3) -> dict[str, Any]:
    """An open-set result: verification of row r, seed k is 90 + r + k / 10, the equal error rate 10 - r."""
    result = make()
    result |= {"name": "omniglot", "source": "thesis, Table 2.5", "metric": "verification"}
    result["data"] = {"name": "omniglot", "train": 19280, "test": 964, "classes": 964}
    result["rows"] = [
        {
            "row": name,
            "paper": {"verification": 96.53 + r, "rank1": 54.855} if r < 2 else {},
            "seeds": [
                {
                    "seed": 123 + 100 * k,
                    "final": {
                        "top1": 80.0,
                        "top5": 95.0,
                        "test_loss": 1.0,
                        "afs": 0.3 - 0.05 * r + 0.001 * k,
                        "tar_at_far_0.01": 70.0,
                        "tar_at_far_0.001": 40.0 + r,
                        "auc": 99.0,
                        "eer": 10.0 - r,
                        "verification_sd": 0.5,
                        "verification": 90 + r + k / 10,
                    },
                }
                for k in range(seeds)
            ],
        }
        for r, name in enumerate(OBJECTIVES)
    ]
    return result


def broken() -> dict[str, Any]:
    """What an interrupted run leaves: a row without seeds or cost, one with fewer, one with nothing observed."""
    result = make()
    result["complete"] = False
    result["rows"][2] |= {"seeds": [], "cost": None}
    result["rows"][3]["seeds"] = result["rows"][3]["seeds"][:1]
    result["rows"][4]["seeds"][0] |= {"observations": {}, "end": {}, "curve": {}}
    return result


def printed(result: dict[str, Any], width: int) -> str:
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.table(result))
    return console.export_text()


# Reading


def test_load_reads_a_file_or_the_folder_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(make()))
    assert report.load(tmp_path) == report.load(tmp_path / "result.json") == make()


def test_load_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no result at .*gone"):
        report.load(tmp_path / "gone")
    file = tmp_path / "result.json"
    file.write_text("{")
    with pytest.raises(ValueError, match=r"result\.json is not a result: it is not valid JSON"):
        report.load(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: r.update(schema=7), "schema is 7, expected 1"),
        (lambda r: r.pop("rows"), "the result has no 'rows'"),
        (lambda r: r.update(rows=3), "'rows' of the result is 3, expected list"),
        (lambda r: r["rows"][1].pop("seeds"), r"rows\[1\] has no 'seeds'"),
        (lambda r: r["rows"][1]["seeds"][2].pop("final"), r"rows\[1\]\.seeds\[2\] has no 'final'"),
        (lambda r: r["rows"][1]["seeds"].append(5), r"rows\[1\]\.seeds\[5\] is 5, expected an object"),
        (lambda r: r["rows"][0]["seeds"][1]["end"]["cosines"].update(edges=[0, 1]), r"\(none\).*different bins"),
    ],
)
def test_load_says_where_a_result_is_not_one(tmp_path: Path, change: Any, said: str) -> None:
    result = json.loads(json.dumps(make()))  # a deep copy: seeds share their list of edges
    change(result)
    (tmp_path / "result.json").write_text(json.dumps(result))
    with pytest.raises(ValueError, match=said):
        report.load(tmp_path)
    with pytest.raises(ValueError, match=said):
        check(result)


# Reducing


def test_rows_are_means_and_sample_deviations_over_seeds() -> None:
    row = report.summarize(make())[4]
    values = [94 + k / 10 for k in range(5)]
    assert row.top1.mean == pytest.approx(statistics.mean(values))
    assert row.top1.std == pytest.approx(statistics.stdev(values))
    assert (row.time_ratio, row.memory_ratio, row.seeds) == (5.0, 3.0, 5)
    # The last epoch, and not the mean over epochs.
    assert {layer: spread.mean for layer, spread in row.angles.items()} == {
        "conv1": 44.0,
        "conv2": 45.0,
        "classifier": 46.0,
    }


def test_one_seed_has_no_deviation_and_none_has_nothing() -> None:
    assert report.Spread.of([3.0]) == report.Spread(3.0, None, 1)
    assert report.Spread.of([None]) == report.Spread(None, None, 0)


def test_differences_are_paired_by_seed() -> None:
    result = make()
    # In another order and with one seed missing in the first row: pairing by position would be wrong.
    result["rows"][4]["seeds"].reverse()
    del result["rows"][0]["seeds"][1]
    mma = report.differences(result)[-1]
    assert (mma.row, mma.count) == ("MMA", 4)
    assert mma.mean == pytest.approx(4.0)
    assert mma.error == pytest.approx(0.0, abs=1e-9)


def test_a_standard_error_is_that_of_the_mean_of_differences() -> None:
    result = make()
    gains = (1.0, 2.0, 0.5, -1.0, 1.5)
    for k, gain in enumerate(gains):
        result["rows"][4]["seeds"][k]["final"]["top1"] = 90 + k / 10 + gain
    mma = report.differences(result)[-1]
    assert mma.error is not None
    assert mma.error == pytest.approx(statistics.stdev(gains) / math.sqrt(5))
    assert mma.half_width == pytest.approx(2.7764 * mma.error, rel=1e-4)  # Student's t, 4 degrees of freedom


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ((1.0, 1.1, 0.9, 1.0, 1.2), "MMA helped here: top-1 +1.04"),
        ((-1.0, -1.1, -0.9, -1.0, -1.2), "MMA hurt here: top-1 -1.04"),
        ((1.0, 2.0, 0.5, -1.0, 1.5), "MMA made no clear difference here: top-1 +0.80"),
        ((0.0, 0.0, 0.0, 0.0, 0.0), "MMA made no clear difference here: top-1 +0.00"),
    ],
)
def test_a_note_claims_an_effect_only_where_the_interval_leaves_out_zero(
    gains: tuple[float, ...], verdict: str
) -> None:
    result = make()
    for k, gain in enumerate(gains):
        result["rows"][4]["seeds"][k]["final"]["top1"] = result["rows"][0]["seeds"][k]["final"]["top1"] + gain
    assert any(note.startswith(verdict) for note in report.notes(result)), report.notes(result)


def test_notes_say_what_is_missing() -> None:
    said = " ".join(report.notes(broken()))
    assert "incomplete" in said
    assert "MHE s=2 has none, MHE s=0 has 1" in said
    assert "single seed" in said
    assert "not measured for MHE s=2" in said
    assert "MHE s=0: top-1 +3.00 points against none (1 paired seed: no standard error)" in said
    assert missing(make()) == []


def test_a_histogram_is_the_mean_over_seeds() -> None:
    result = make()
    result["rows"][0]["seeds"][0]["end"]["cosines"]["pairs_above"] = 8
    found = histogram(result["rows"][0])
    assert found is not None
    assert found.pairs_above == pytest.approx((8 + 3 * 4) / 5)
    assert found.counts == pytest.approx((0, 100, 300, 3, 0))


def test_bins_are_joined_where_pairs_are_few_and_never_across_the_threshold() -> None:
    def one(pairs: int) -> report.results.Histogram:
        counts = [1.0] * 30 + [2.0] * 20
        edges = [k / 25 - 1 for k in range(51)]
        cosines = {"layer": "a", "edges": edges, "counts": counts, "above": 0.2, "pairs_above": 40, "pairs": pairs}
        found = histogram({"seeds": [{"end": {"cosines": cosines}}]})
        assert found is not None
        return found

    assert one(100_000).counts == (1.0,) * 30 + (2.0,) * 20
    # 2 sqrt(70) = 16.7 bins at most: five by five, and 0.2 is still an edge.
    assert one(70).counts == (5.0,) * 6 + (10.0,) * 4
    assert one(70).edges == pytest.approx([k / 5 - 1 for k in range(11)])


# Tables


def test_a_wide_terminal_shows_one_table_with_a_column_a_layer() -> None:
    text = printed(make(), 160)
    line = next(line for line in text.splitlines() if "MMA" in line and "│" in line)
    cells = [cell.strip() for cell in line.strip("│ \n").split("│")]
    assert cells == ["MMA", "5.00", "3.00", "94.20 ± 0.16", "99.00 ± 0.00", "44.0", "45.0", "46.0"]
    assert "Layer" not in text


@pytest.mark.parametrize(("layers", "width"), [(LAYERS, 80), (VGG, 80), (VGG, 160)])
def test_a_narrow_terminal_or_many_layers_get_a_line_a_layer(layers: tuple[str, ...], width: int) -> None:
    text = printed(make(layers), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for i, layer in enumerate(layers):
        line = next(line for line in text.splitlines() if re.match(rf"│ {layer} ", line))
        assert [cell.strip() for cell in line.strip("│ \n").split("│")] == [
            layer,
            *(f"{40 + r + i:.1f}" for r in range(5)),
        ]


def test_what_is_not_there_is_a_dash_and_one_seed_has_no_plus_minus() -> None:
    text = printed(broken(), 80)
    cells = {
        cells[0]: cells[1:]
        for line in text.splitlines()
        if "│" in line and len(cells := [cell.strip() for cell in line.strip("│ \n").split("│")]) == 6
    }
    assert cells["MHE s=2"] == ["–", "–", "–", "–", "0"]
    assert cells["MHE s=0"][2] == "93.00"
    assert "incomplete" in text


def test_markdown_is_the_same_table() -> None:
    lines = report.markdown(make()).splitlines()
    assert lines[0].startswith("| Regularization | Time/batch ratio | Memory ratio | Top-1 % | Top-5 % | conv1 angle")
    assert lines[6] == ("| MMA | 5.00 | 3.00 | **94.20 ± 0.16** | 99.00 ± 0.00 | **44.0** | **45.0** | **46.0** |")
    assert len({line.count("|") for line in lines[:7]}) == 1
    assert headline(make()) in report.markdown(make())
    assert "; 20 steps; " in headline(make())


def test_markdown_of_many_layers_has_a_second_table() -> None:
    text = report.markdown(make(VGG))
    assert "| Layer | none | orthogonal | MHE s=2 | MHE s=0 | MMA |" in text
    assert "| conv5_3 | 54.0 | 55.0 | 56.0 | 57.0 | **58.0** |" in text


def test_a_pipe_in_a_name_does_not_break_the_table() -> None:
    result = make()
    result["rows"][4]["row"] = "a|b"
    assert "| a\\|b | 5.00 |" in report.markdown(result)


def test_bold_is_for_a_difference_that_is_printed() -> None:
    lone = make()
    lone["rows"] = lone["rows"][:1]
    assert "**" not in report.markdown(lone)
    tied = make()
    for run in tied["rows"][3]["seeds"]:
        run["final"]["top1"] += 1.001  # as much as the last row, to the digits shown
    assert report.markdown(tied).count("**94.20 ± 0.16**") == 2


def test_a_result_about_verification_has_its_columns_and_the_papers_number() -> None:
    lines = report.markdown(verified()).splitlines()
    assert lines[0] == (
        "| Objective | Verification % | Paper % | EER % | TAR at FAR 0.001, % | Angular Fisher score | Top-1 % |"
    )
    assert lines[2] == (
        "| softmax | 90.10 ± 0.10 | 96.53 | 10.00 ± 0.00 | 40.00 ± 0.00 | 0.3010 ± 0.0010 | 80.00 ± 0.00 |"
    )
    # The least error and the least score are the best; equal columns have none.
    assert lines[4] == (
        "| ArcFace | **92.10 ± 0.10** | – | **8.00 ± 0.00** | **42.00 ± 0.00** | **0.2010 ± 0.0010** | 80.00 ± 0.00 |"
    )
    assert len({line.count("|") for line in lines[:5]}) == 1


def test_the_sentences_are_about_the_metric_of_the_result() -> None:
    said = report.notes(verified())
    assert (
        "ArcFace helped here: verification accuracy +2.00 points against softmax (standard error 0.00, 3 paired seeds)."
        in said
    )
    assert sum("standard deviation of 0.50 points" in note for note in said) == 1
    assert not any("top-1" in note or "Time and memory" in note for note in said)
    assert [(d.row, round(d.mean, 9)) for d in report.differences(verified(), "eer")][-1] == ("ArcFace", -2.0)


def test_a_row_with_an_addition_is_set_against_the_row_without_it() -> None:
    result = verified()
    for row, name in zip(result["rows"], ("softmax", "ArcFace", "ArcFace + MMA"), strict=True):
        row["row"] = name
    assert [note.split(" (")[0] for note in report.notes(result)[:3]] == [
        "ArcFace helped here: verification accuracy +1.00 points against softmax",
        "ArcFace + MMA helped here: verification accuracy +2.00 points against softmax",
        "ArcFace + MMA helped here: verification accuracy +1.00 points against ArcFace",
    ]
    assert [(d.row, round(d.mean, 9)) for d in report.differences(result, base="ArcFace")] == [
        ("softmax", -1.0),
        ("ArcFace + MMA", 1.0),
    ]
    with pytest.raises(ValueError, match="omniglot has no row 'CosFace': expected one of softmax, ArcFace"):
        report.differences(result, base="CosFace")


def test_many_rows_are_told_in_a_sentence_an_outcome() -> None:
    """Every seed of the first ten rows gains the same, so that they are sure; one row jumps about, one has a seed."""
    result = verified()
    softmax, *_ = result["rows"]
    rows = [softmax]
    for r in range(10):
        rows.append(copy.deepcopy(softmax) | {"row": f"m={r}"})
        for run in rows[-1]["seeds"]:
            run["final"]["verification"] += 1 if r else -1
    jumping, single = copy.deepcopy(softmax) | {"row": "m=1 + MMA"}, copy.deepcopy(softmax) | {"row": "once"}
    for k, run in enumerate(jumping["seeds"]):
        run["final"]["verification"] += k - 1
    single["seeds"] = single["seeds"][:1]
    result["rows"] = [*rows, jumping, single]
    said = report.notes(result)
    starts = [note.split(":")[0] for note in said]
    against = "Verification accuracy against softmax, "
    assert f"{against}hurt" in starts
    assert f"{against}helped" in starts
    assert f"{against}no clear difference (the 95 % interval contains zero)" in starts
    assert f"{against}one paired seed, no standard error" in starts
    helped = next(note for note in said if note.startswith(f"{against}helped"))
    assert all(f"m={r} +1.00 ± 0.00" in helped for r in range(1, 10))
    assert "m=0" not in helped
    assert any("against the same row without the addition" in note and "m=1 + MMA -1.00" in note for note in said)


@pytest.mark.parametrize(
    ("metric", "words"), [("eer", "equal error rate -2.00 points"), ("afs", "Fisher score -0.1000 ag")]
)
def test_less_of_an_error_helps(metric: str, words: str) -> None:
    said = [note for note in report.notes(verified() | {"metric": metric}) if note.startswith("ArcFace")]
    assert said[0].startswith("ArcFace helped here: ")
    assert words in said[0]


def test_a_narrow_terminal_shows_the_main_metric_and_the_others_apart() -> None:
    text = printed(verified(), 80)
    assert max(map(len, text.splitlines())) <= 80
    lines = [line for line in text.splitlines() if line.startswith("│ ArcFace")]
    assert [[cell.strip() for cell in line.strip("│ ").split("│")] for line in lines] == [
        ["ArcFace", "92.10 ± 0.10", "–"],
        ["ArcFace", "8.00 ± 0.00", "42.00 ± 0.00", "0.2010 ± 0.0010", "80.00 ± 0.00"],
    ]
    assert sum(line.startswith("│ ArcFace") for line in printed(verified(), 120).splitlines()) == 1


def test_cost_columns_of_an_open_set_result_are_there_when_measured() -> None:
    result = verified()
    result["rows"][1]["cost"] = {"seconds_per_batch": 0.1, "peak_bytes": 2**20, "time_ratio": 1.5, "memory_ratio": None}
    assert "| Top-1 % | Time/batch ratio |" in report.markdown(result).splitlines()[0]
    assert "not measured for softmax, ArcFace" in " ".join(report.notes(result))


def test_a_margin_that_is_judged_by_accuracy_is_an_objective_too() -> None:
    result = make()
    result["rows"][1]["settings"] = {"margin": 4}
    head, _, first = report.markdown(result).splitlines()[:3]
    assert head.startswith("| Objective | Top-1 % | Paper % | Top-5 % | Time/batch ratio |")
    assert first.startswith("| none | 90.20 ± 0.16 | 72.00 |")


def test_benchmarks_say_met_or_missed_and_bear_nulls() -> None:
    full = {
        "what": "MMA, VGG19-BN",
        "ours_ms": 12.345,
        "theirs_ms": 51234.0,
        "ratio": 0.24,
        "target": 0.25,
        "memory_ratio": 0.6,
        "memory_target": 0.5,
        "peer": "literal",
    }
    text = report.benchmarks_markdown(
        {
            "machine": {"processor": "Some CPU"},
            "date": "2026-01-02",
            "commit": "abc",
            "torch": "2.13.0",
            "threads": 1,
            "rows": [full, {"what": "MHE", "ours_ms": None, "ratio": 0.7, "target": None, "memory_ratio": None}],
        }
    )
    assert "| MMA, VGG19-BN | literal | 12.3 | 51234 | 0.24 (target 0.25: met) | 0.60 (target 0.5: missed) |" in text
    assert "| MHE | – | – | – | 0.70 | – |" in text
    assert "Some CPU; 1 thread; torch 2.13.0; commit abc; 2026-01-02." in text
    assert report.benchmarks_markdown({"rows": []})


def test_a_benchmark_of_orthogonality_has_a_second_table() -> None:
    kept = {"method": "Cayley", "optimizer": "Adam", "steps": 10, "loss_before": 0.5, "loss": 0.25}
    kept |= {"frobenius": 2e-5, "frobenius_lately": 3e-4, "spectral": 1e-6, "energy_change": -2e-7, "target": 1e-5}
    relaxed = {**kept, "method": "relaxed", "energy_change": 0.25, "target": None}
    text = report.benchmarks_markdown({"rows": [], "orthogonality": {"commit": "abc", "rows": [kept, relaxed]}})
    assert "| 3.0e-04 (target 1e-05: missed) | 1.0e-06 (target 1e-05: met) | -2.0e-07 (target 1e-05: met) |" in text
    assert "| relaxed | Adam | 10 | 2.0e-05 | 3.0e-04 | 1.0e-06 | 2.5e-01 | 0.5 → 0.25 |" in text
    assert text.endswith("commit abc.")


# Figures


def test_curves_hold_the_mean_and_a_band() -> None:
    figure = report.figure_curves(make(), "top1")
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert list(lines) == list(ROWS)
    assert list(lines["MMA"].y) == pytest.approx([74.2, 94.2])
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert len(bands) == 5
    assert max(bands[-1].y) == pytest.approx(94.2 + statistics.stdev([k / 10 for k in range(5)]))


def test_a_null_in_a_curve_is_a_gap_and_not_a_zero() -> None:
    figure = report.figure_curves(make(), "test_loss")
    assert next(trace for trace in figure.data if trace.name).y == (1.0, None)


def test_cosines_have_a_panel_a_row_with_its_count() -> None:
    figure = report.figure_cosines(make())
    assert [a.text for a in figure.layout.annotations] == [f"<b>{name}</b>: 3 of 496 above 0.2" for name in ROWS]
    assert all(list(trace.y) == [0, 100, 300, 3, 0] for trace in figure.data)


def test_angles_have_every_layer_of_every_row_that_has_any() -> None:
    figure = report.figure_angles(broken())
    assert [trace.name for trace in figure.data] == ["none", "orthogonal", "MHE s=0", "MMA"]
    assert all(list(trace.text) == list(LAYERS) for trace in figure.data)
    assert len({trace.x for trace in figure.data}) == 4  # equal angles do not hide each other


def test_every_row_keeps_its_colour_and_no_two_share_one() -> None:
    assert looks(ROWS)["MMA"] == looks(["MMA", "none"])["MMA"] == looks(["mma"])["mma"]
    assert looks(["mhe-s2"])["mhe-s2"] == looks(ROWS)["MHE s=2"]
    found = looks([*ROWS, "SRIP", "cosine", "half-space MHE"])
    assert len({look.colour for look in found.values()}) == len({look.marker for look in found.values()}) == 8


# The page


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.write_html(make(), path)
    assert [file.name for file in path.parent.iterdir()] == ["report.html"]  # no draft is left
    return path.read_text(encoding="utf-8")


def test_the_page_asks_nobody_for_anything(html: str) -> None:
    for tag, attributes in Page(html).tags:
        assert not {"src", "href", "srcset", "data-src"} & attributes.keys(), (tag, attributes)
    assert "default-src 'none'" in html
    assert html.count("plotly.js v") == 1


def test_the_page_holds_header_table_notes_and_figures(html: str) -> None:
    page = Page(html)
    words = " ".join(word.strip() for word in page.words if len(word) < 500)
    for expected in (
        "MMA paper, Table 3",
        "digits, 200 training and 797 test images",
        "Some CPU",
        "commit abc1234",
        "94.20 ± 0.16",
        "74.2",  # the paper's angle, one digit
        "MMA helped here: top-1 +4.00 points",
        "took 2 min 5 s",
    ):
        assert expected in words, expected
    data = [word for word in page.words if word.startswith('{"data"')]
    assert len(data) == sum(attributes.get("class") == "plot" for _, attributes in page.tags) == 8
    assert all(json.loads(text)["data"] for text in data)


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    result = make(("</script><b>", "x", "y"))
    result["name"] = "<img src=x>"
    result["rows"][1]["row"] = "</script><script>alert(1)</script>"
    report.write_html(result, tmp_path / "report.html")
    tags = [tag for tag, _ in Page((tmp_path / "report.html").read_text()).tags]
    assert "img" not in tags
    assert tags.count("script") == 1 + 8 + 1  # plotly.js, the figures, the page's own


@pytest.mark.parametrize("rows", [0, 1])
def test_a_page_of_next_to_nothing_is_written(tmp_path: Path, rows: int) -> None:
    result = {"schema": 1, "name": "tiny", "rows": [{"row": "none", "seeds": []}][:rows]}
    report.write_html(result, tmp_path / "report.html")
    assert "tiny" in (tmp_path / "report.html").read_text()
    assert report.markdown(result)
    assert printed(result, 80)


def test_a_failed_write_leaves_the_old_page(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    result = make()
    del result["rows"][0]["seeds"][0]["final"]
    with pytest.raises(ValueError, match="has no 'final'"):
        report.write_html(result, path)
    assert path.read_text() == "old"
    with pytest.raises(FileNotFoundError):
        report.write_html(make(), tmp_path / "no" / "report.html")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
@pytest.mark.parametrize("result", [make(VGG), broken()], ids=["full", "incomplete"])
def test_a_browser_draws_the_page_without_a_console_error(tmp_path: Path, result: dict[str, Any]) -> None:
    report.write_html(result, tmp_path / "report.html")
    assert drawn(tmp_path / "report.html", tmp_path / "profile").count('class="main-svg"') >= 8


# The README's tables and picture


README = (
    "top\n<!-- results:begin -->\nold\n<!-- results:end -->\nmid\n<!-- benchmarks:begin --><!-- benchmarks:end -->\n"
)


def test_the_tables_of_a_readme_are_made_from_the_files(tmp_path: Path) -> None:
    (tmp_path / "results" / "benchmarks").mkdir(parents=True)
    (tmp_path / "results" / "demo.json").write_text(json.dumps(make()))
    (tmp_path / "results" / "benchmarks" / "speed.json").write_text(json.dumps({"rows": [{"what": "MMA"}]}))
    readme = tmp_path / "README.md"
    readme.write_text(README)
    assert main([str(readme), "--check"]) == 1
    assert readme.read_text() == README
    assert main([str(readme)]) == 0
    text = readme.read_text()
    assert text.startswith("top\n<!-- results:begin -->\n\n### demo\n\n| Regularization |")
    assert "old" not in text
    assert "### speed\n\n| What |" in text
    assert main([str(readme), "--check"]) == 0
    assert update(text, tmp_path / "results") == text


def test_a_readme_without_markers_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing")
    assert main([str(readme)]) == 2
    assert "expected <!-- results:begin -->" in capsys.readouterr().err
    assert readme.read_text() == "nothing"


def test_a_picture_is_drawn_the_same_twice(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(broken()))
    for name in ("a.svg", "b.svg"):
        assert main(["--picture", str(tmp_path), str(tmp_path / name)]) == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()


def test_a_picture_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        report.write_picture({"schema": 1, "name": "tiny", "rows": []}, tmp_path / "a.svg")


def test_no_function_changes_its_result() -> None:
    result = broken()
    before = copy.deepcopy(result)
    printed(result, 80)
    report.markdown(result)
    report.figure_cosines(result)
    assert result == before


def test_the_report_needs_no_torch() -> None:
    """Its own files import neither torch nor any other part of the package (the package's __init__ is what does)."""
    code = (
        "import sys, types; p = types.ModuleType('onsphere'); p.__path__ = [sys.argv[1]]; sys.modules['onsphere'] = p\n"
        "import onsphere.report\n"
        "bad = [m for m in sys.modules if m.split('.')[0] == 'torch']\n"
        "bad += [m for m in sys.modules if m.startswith('onsphere.') and not m.startswith('onsphere.report')]\n"
        "sys.exit(' '.join(bad) or 0)"
    )
    folder = Path(report.__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
