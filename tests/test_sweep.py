"""A sweep of a coefficient: the study in its file, going on after an interruption, and what it says."""

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from onsphere import train
from onsphere.cli import main
from onsphere.cli.screen import Screen
from onsphere.cli.sweeping import _range
from onsphere.report.sweep import write_sweep
from onsphere.train import Progress

pytest.importorskip("optuna")

TINY = ["--epochs", "2", "--depth", "3", "--widths", "[2,2,2]", "--train_images", "20", "--batch_size", "10"]
SWEEP = ["sweep", "table3-digits", *TINY, "--seeds", "[1,2]", "--accelerator", "cpu"]
FOLDER = Path("runs/sweep-table3-digits")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def found(folder: Path = FOLDER) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    return content


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a wrong command gets."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def stop_at(title: str, seed_index: int = 1) -> Callable[[Screen, Progress], None]:
    def look(self: Screen, now: Progress) -> None:
        if now.row == title and now.seed_index == seed_index:
            raise KeyboardInterrupt

    return look


def trained(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Coefficients that run() is called with from now on."""
    coefficients: list[float] = []
    run = train.run

    @functools.wraps(run)
    def noting(recipe: Any, **settings: Any) -> Any:
        coefficients.append(recipe.settings["coefficient"])
        return run(recipe, **settings)

    monkeypatch.setattr(train, "run", noting)
    return coefficients


def test_a_grid_of_coefficients(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SWEEP, "--coefficient", "0.01..1", "--points", "3"]) == 0
    out, err = capsys.readouterr()
    content = found()
    assert content["complete"]
    assert (content["name"], content["row"], content["seeds"]) == ("table3-digits", "MMA", [1, 2])
    assert [point["coefficient"] for point in content["points"]] == [0.01, 0.1, 1.0]
    for point, folder in [*((p, f"{p['coefficient']:g}") for p in content["points"]), (content["baseline"], "none")]:
        result = json.loads((FOLDER / "points" / folder / "result.json").read_text())
        (row,) = result["rows"]
        assert row["settings"]["coefficient"] == point.get("coefficient", 0.0)
        # The MMA paper's Figures 3 and 4 take the accuracy at the end, not the mean of the last five epochs.
        assert point["top1"] == [seed["curve"]["top1"][-1] for seed in row["seeds"]]
    lines = [line.split() for line in out.splitlines()]
    mean = sum(content["points"][1]["top1"]) / 2
    assert ["0.1", f"{mean:.2f}"] in [line[:2] for line in lines]
    assert out.splitlines()[-1] == f"result: {FOLDER}/sweep.json   figure: {FOLDER}/sweep.svg"
    assert (FOLDER / "sweep.svg").read_text().startswith("<?xml")
    assert "MMA 0.1 (3/4)  seed 2 (2/2)  epoch 2/2" in err
    assert "100%  0:00:00 left" in err
    assert "Trial" not in out + err  # nothing of Optuna's own log


def test_an_interrupted_sweep_goes_on_with_the_same_coefficient(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*SWEEP, "--coefficient", "0.01..1", "--points", "3"]
    assert main([*command, "--folder", "undisturbed"]) == 0
    with monkeypatch.context() as stopping:
        stopping.setattr(Screen, "__call__", stop_at("MMA 0.1"))
        assert main(command) == 130
    out, err = capsys.readouterr()
    assert f"onsphere sweep table3-digits --folder {FOLDER} --resume" in err
    assert out.splitlines()[-1].startswith("partial result")
    assert [point["coefficient"] for point in found()["points"]] == [0.01]
    assert not found()["complete"]
    coefficients = trained(monkeypatch)
    assert main(["sweep", "table3-digits", "--resume"]) == 0
    assert coefficients == [0.0, 0.01, 0.1, 1.0]  # the first two have nothing left to do
    assert found() == found(Path("undisturbed"))


def test_chosen_coefficients_go_on_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    command = [*SWEEP, "--coefficient", "1e-3..10", "--trials", "4", "--baseline", "false"]
    with monkeypatch.context() as stopping:
        seen: list[str] = []

        def third(self: Screen, now: Progress) -> None:
            seen.append(now.row)
            if len({*seen}) == 3:
                raise KeyboardInterrupt

        stopping.setattr(Screen, "__call__", third)
        assert main(command) == 130
    first = [point["coefficient"] for point in found()["points"]]
    assert len(first) == 2
    assert main(["sweep", "table3-digits", "--resume"]) == 0
    content = found()
    every = [point["coefficient"] for point in content["points"]]
    assert {*first} < {*every}
    assert len({*every}) == 4
    assert all(1e-3 <= coefficient <= 10 for coefficient in every)
    assert f"MMA {max(every):.6g}" in seen or f"{seen[-1].split()[1]}" in {f"{at:.6g}" for at in every}
    assert content["baseline"] is None


def test_a_coefficient_that_makes_training_diverge_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    command = [*SWEEP, "--coefficient", "0.1..1e30", "--points", "2", "--baseline", "false"]
    assert main(command) == 0
    content = found()
    assert content["complete"]
    assert [point["coefficient"] for point in content["points"]] == [0.1]
    (failure,) = content["failures"]
    assert failure["coefficient"] == 1e30
    assert "the loss is not finite" in failure["reason"]
    assert ["1e+30", "diverged"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main(["sweep", "table3-digits", "--resume"]) == 0  # it is not tried again
    assert found() == content


def test_a_sweep_of_other_settings_is_not_continued(capsys: pytest.CaptureFixture[str]) -> None:
    command = [*SWEEP, "--coefficient", "0.1..1", "--points", "2", "--baseline", "false"]
    assert main(command) == 0
    before = (FOLDER / "sweep.json").read_bytes()
    capsys.readouterr()
    answer = refused(["sweep", "table3-digits", "--resume", "--epochs", "1"], capsys)
    assert "sweep.db is of another sweep: epochs is 2 there and 1 here" in answer
    assert "has a run already" in refused([*command, "--folder", str(FOLDER)], capsys)
    assert (FOLDER / "sweep.json").read_bytes() == before
    assert main([*command, "--overwrite", "--seeds", "[3]"]) == 0
    assert [len(point["top1"]) for point in found()["points"]] == [1, 1]


def test_a_sweep_of_another_range_is_not_continued(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "table3-digits", "--resume"]
    assert main([*SWEEP, "--coefficient", "0.1..1", "--points", "2", "--baseline", "false"]) == 0
    before = {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()}
    capsys.readouterr()
    answer = refused([*command, "--coefficient", "0.1..10"], capsys)
    assert "is of another sweep: coefficient is 0.1..1 there and 0.1..10 here" in answer
    assert "points is 2 there and 3 here" in refused([*command, "--points", "3"], capsys)
    assert "points is 2 there and None here" in refused([*command, "--trials", "3"], capsys)
    assert {path: path.read_bytes() for path in FOLDER.rglob("*") if path.is_file()} == before


def test_a_sweep_that_chooses_may_be_given_more_trials() -> None:
    command = [*SWEEP, "--seeds", "[1]", "--coefficient", "0.1..1", "--trials", "1", "--baseline", "false"]
    assert main(command) == 0
    (first,) = found()["points"]
    assert main(["sweep", "table3-digits", "--resume", "--trials", "2"]) == 0
    assert first in found()["points"]
    assert len(found()["points"]) == 2


def test_a_damaged_study_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    FOLDER.mkdir(parents=True)
    (FOLDER / "sweep.db").write_bytes(b"this is no database, but a text\n" * 100)
    command = [*SWEEP, "--coefficient", "0.1..1", "--resume"]
    assert "sweep.db cannot be used: file is not a database" in refused(command, capsys)
    assert (FOLDER / "sweep.db").read_bytes().startswith(b"this is")


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ("", "--coefficient is required: a range such as 0.01..1"),
        ("--coefficient 0.1", "'0.1' is not a range such as 0.01..1"),
        ("--coefficient 1..0.1", "'1..0.1' is not a range"),
        ("--coefficient 0..1", "'0..1' is not a range"),
        ("--coefficient a..b", "'a..b' is not a range"),
        ("--coefficient 0.1..1 --points 1", "--points: 1 is too few"),
        ("--coefficient 0.1..1 --trials 0", "--trials: 0 is too few"),
        ("--coefficient 0.1..1 --row none", "row none has no coefficient: give --row, one of orthogonal"),
        ("--coefficient 0.1..1 --devices 2", "a sweep trains on one device at a time"),
        ("--coefficients 0.1..1", "unknown option --coefficients; did you mean --coefficient"),
        ("--coefficient 0.1..1 --depth 4 --epochs 0", "epochs=0 must be greater than 0"),
        ("--coefficient 0.1..1 --accelerator tpuu", "accelerator"),
    ],
)
def test_a_mistake_is_named(options: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert answer in refused(["sweep", "table3-digits", *options.split()], capsys)
    assert not FOLDER.exists()


def test_figures_made_by_a_sweep_know_their_range() -> None:
    assert main(["sweep", "figure4-cifar100", "--smoke", "--points", "2", "--accelerator", "cpu"]) == 0
    content = found(Path("runs/sweep-figure4-cifar100-smoke"))
    assert [point["coefficient"] for point in content["points"]] == [0.01, 1.0]
    assert content["settings"]["model"] == "resnet20"


def test_a_missing_package_is_named_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    answer = refused([*SWEEP, "--coefficient", "0.1..1"], capsys)
    assert "pip install 'onsphere[sweep]'" in answer
    assert not FOLDER.exists()


def test_ends_of_a_range_as_people_write_them() -> None:
    for text in ("0.01..1", ".01..1.", "1e-2..1e0", " 0.01 .. 1 "):
        assert _range(text) == (0.01, 1.0)


def test_the_figure_is_the_same_for_the_same_sweep(tmp_path: Path) -> None:
    points = [{"coefficient": 10.0**i, "top1": [90.0 + i, 91.0 + i]} for i in range(-2, 1)]
    content = {"name": "a", "row": "MMA", "seeds": [1, 2], "points": points, "baseline": {"top1": [89.0]}}
    for name in ("a.svg", "b.svg"):
        write_sweep(content, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    write_sweep({**content, "baseline": None}, tmp_path / "c.svg")
    assert (tmp_path / "c.svg").read_bytes() != (tmp_path / "a.svg").read_bytes()
    with pytest.raises(ValueError, match="the sweep of a has no point"):
        write_sweep({**content, "points": []}, tmp_path / "d.svg")
