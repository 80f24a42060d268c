"""`onsphere code`: searches, files, pages, the paper's table and figures, and what is refused before any work."""

from __future__ import annotations

import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onsphere import codes
from onsphere.cli import main
from onsphere.cli.code import table
from onsphere.cli.code.bar import Bar
from onsphere.cli.code.facts import facts, pair_angles, view
from onsphere.cli.code.figures import thinned
from onsphere.codes import descent
from onsphere.codes.code import Code, Progress
from onsphere.codes.exact import cross_polytope
from onsphere.codes.files import load, save


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(words: str) -> int:
    return main(["code", *words.split()])


def test_a_search_prints_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--n 7 --d 3 --budget 60") == 0
    said = capsys.readouterr().out
    head, _, row, *notes = said.splitlines()
    assert all(
        title in head
        for title in ("angle", "best known", "gap", "certified", "contacts", "rattlers", "found by", "seconds")
    )
    cells = row.split()
    assert cells[:2] == ["7", "3"]
    assert cells[4] == "none"
    # 7 points: cos = 1 - 4 / sqrt(3) * cos(7 pi / 18), proved by Schuette and van der Waerden.
    assert float(cells[2]) == pytest.approx(math.degrees(math.acos(1 - 4 / math.sqrt(3) * math.cos(7 * math.pi / 18))))
    assert float(cells[5]) <= float(cells[2])
    assert notes[0].endswith("; proved optimal")


def test_json_is_json_and_holds_the_points(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--n 7 --d 3 --budget 60 --seed 3 --json") == 0
    data = json.loads(capsys.readouterr().out)
    points = np.array(data["points"])
    assert (data["schema"], data["kind"], data["n"], data["d"], data["seed"]) == (1, "code", 7, 3, 3)
    cosines = points @ points.T - 2 * np.eye(7)
    assert data["angle_deg"] == pytest.approx(math.degrees(math.acos(cosines.max())), abs=1e-9)
    assert data["certified_deg"] <= data["angle_deg"]
    assert data["gap_deg"] == pytest.approx(data["best_known"]["angle_deg"] - data["angle_deg"], abs=1e-12)


def test_an_energy_is_minimised_and_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--n 4 --d 3 --objective thomson --budget 0.3") == 0
    head, _, row, *_ = capsys.readouterr().out.splitlines()
    assert "energy" in head
    assert "best known" not in head
    assert row.split()[2] == "3.674234614"  # the tetrahedron: 6 / sqrt(8 / 3)


def test_an_energy_that_no_float_holds_is_null_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--n 24 --d 3 --objective riesz --s 5000 --restarts 1 --budget 0.1 --json") == 0  # distances below 1
    data = json.loads(capsys.readouterr().out)
    assert data["energy"] is None
    assert data["objective"] == "riesz"


def test_weights_of_the_first_points_reach_the_search(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, Any] = {}

    def solve(n: int, d: int, **given: Any) -> Code:
        seen.update(given)
        return real(n, d, **given)

    real = codes.solve
    monkeypatch.setattr(codes, "solve", solve)
    assert (
        run("--n 5 --d 3 --objective riesz --s 2 --half_space --weights 10,2 --budget 0.2 --restarts 1 --seed 4") == 0
    )
    assert seen["weights"].tolist() == [10, 2, 1, 1, 1]
    assert (seen["s"], seen["half_space"], seen["seed"], seen["restarts"], seen["budget_s"]) == (2.0, True, 4, 1, 0.2)


@pytest.mark.parametrize("goal", ["best-known", "77.8695"])
def test_a_target_ends_the_search(goal: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(f"--n 7 --d 3 --budget 60 --target {goal} --json") == 0
    assert json.loads(capsys.readouterr().out)["seconds"] < 30


def test_points_are_saved_in_every_form_and_can_be_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--n 8 --d 3 --budget 0.3 --save a.npy --save a.csv --save a.xyz --json") == 0
    points = np.array(json.loads(capsys.readouterr().out)["points"])
    assert all((load(f"a.{kind}") == points).all() for kind in ("npy", "csv", "xyz"))
    assert run("--n 8 --d 3 --budget 0.3 --start a.csv") == 0
    assert run("--n 9 --d 3 --budget 0.3 --start a.csv") == 2
    assert "a.csv holds 8 points in 3 dimensions, not 9 in 3" in capsys.readouterr().err


def test_the_page_has_a_name_of_its_own_and_is_written() -> None:
    assert run("--n 9 --d 3 --budget 0.3 --html") == 0
    text = Path("code-9-3.html").read_text(encoding="utf-8")
    assert "largest hole" in text
    assert "9 points on the sphere in 3 dimensions" in text
    assert run("--n 5 --d 4 --html other.html") == 0
    assert "Orthogonal projection from 4 dimensions" in Path("other.html").read_text(encoding="utf-8")


def test_ctrl_c_keeps_the_best_so_far(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def press(self: Bar, now: Progress) -> None:
        if now.best is not None:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Bar, "__call__", press)
    assert run("--n 20 --d 3 --budget 60 --save best.npy --json") == 130
    said = capsys.readouterr()
    data = json.loads(said.out)
    assert not data["complete"]
    assert data["seconds"] < 30
    assert "interrupted; this is the best so far" in said.err
    assert load("best.npy").shape == (20, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "Give --n and --d"),
        ("--n 1 --d 3", "--n must be at least 2, got 1"),
        ("--n 5 --d 1", "--d must be at least 2, got 1"),
        ("--n 5 --d 3 --budget 0", "--budget must be a number of seconds above 0, got 0"),
        ("--n 5 --d 3 --budget nan", "got nan"),
        ("--n 5 --d 3 --seed -1", "--seed must be 0 or more, got -1"),
        ("--n 5 --d 3 --restarts 0", "--restarts must be at least 1, got 0"),
        ("--n five --d 3", "invalid int value: 'five'"),
        ("--n 5 --d 3 --hmtl x.html", "did you mean --html or"),
        ("--n 5 --d 3 --save x.txt", ".npy, .csv or .xyz, got x.txt"),
        ("--n 5 --d 4 --save x.xyz", "d = 3, got d = 4"),
        ("--n 5 --d 3 --save no/x.npy", "no folder no"),
        ("--n 5 --d 3 --html no/x.html", "no folder no"),
        ("--n 5 --d 3 --html x.png", "ends in .html"),
        ("--n 5 --d 3 --objective riesz", "needs its power"),
        ("--n 5 --d 3 --objective thomson --s 2", "--s goes with --objective riesz, not with thomson"),
        ("--n 5 --d 3 --weights 1,2", "--weights goes with an energy"),
        ("--n 5 --d 3 --half_space", "--half_space goes with an energy"),
        ("--n 5 --d 3 --objective thomson --weights a", "expected numbers with commas between them, got 'a'"),
        ("--n 2 --d 3 --objective thomson --weights 1,2,3", "3 of them for 2 points"),
        ("--n 5 --d 3 --objective thomson --weights 1,0", "expected numbers above 0, got 1,0"),
        ("5 3", "unexpected '5': numbers and names follow an option"),
        ("--n 5 --d 3 --objective whyte --target 3", "not whyte"),
        ("--n 5 --d 3 --target 181", "between 0 and 180 degrees, got 181"),
        ("--n 5 --d 3 --target far", "best-known or a number of degrees, got 'far'"),
        ("--n 99 --d 17 --target best-known", "no best known angle is recorded for n=99, d=17"),
        ("--n 5 --d 3 --start no.npy", "no.npy"),
        ("--n 5 --d 3 --table", "--n belongs to the search for one code and does not go with --table"),
        ("--n 5 --d 3 --patience 3", "--patience belongs to --table"),
        ("--figure 5.1 --json", "--json belongs to the search for one code and does not go with --figure"),
        ("--figure 5.1 --budget 3", "--budget belongs to the search for one code and --table and does not go with"),
        ("--figure 2 --seed 3", "nothing in Figure 2 is random: it does not go with --seed 3"),
        ("--figure 5.1 --table", "give one of them"),
        ("--figure 7", "invalid choice: '7'"),
        ("--figure 5.1 --save x.pdf", "ends in .svg or .png"),
        ("--figure 5.1 --save x.svg --save y.svg", "--figure writes one file"),
        ("--table --rows 3,31", "'3,31' is no row of the paper's table; there are 3,4 3,30"),
        ("--table --save x.txt", "ends in .json"),
        ("--table --save no/x.json", "no folder no"),
    ],
)
def test_mistakes_are_said_before_any_work(
    words: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(codes, "solve", lambda *_, **__: pytest.fail("it searched"))
    monkeypatch.setattr(descent, "descend", lambda *_, **__: pytest.fail("it trained"))
    assert run(words) == 2
    assert said in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("--help")
    assert stop.value.code == 0
    assert "onsphere code --n 30 --d 3" in capsys.readouterr().out
    assert main(["--help"]) == 0
    assert "onsphere code --n 30 --d 3" in capsys.readouterr().out


def test_the_table_keeps_every_row_and_does_not_run_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--table --rows 4,5 3,4 --iterations 20 --patience 5 --budget 0.2 --save t.json") == 0
    said = capsys.readouterr()
    assert "104.5" in said.out
    assert "A plateau here is 5 steps" in said.out.replace("\n", " ")
    result = json.loads(Path("t.json").read_text(encoding="utf-8"))
    assert [(row["d"], row["n"]) for row in result["rows"]] == [(3, 4), (4, 5)]
    assert result["settings"] == {"iterations": 20, "patience": 5, "budget_s": 0.2, "seed": 0}
    first = result["rows"][0]
    assert first["ours"]["angle_deg"] == pytest.approx(109.471220634)
    assert {name: method["paper_deg"] for name, method in first["methods"].items()} == {
        "global": None, "cosine": 109.5, "mma": 109.5, "riesz": 109.4, "logarithmic": 109.5,
    }  # fmt: skip
    direct = descent.descend(4, 3, "mma", iterations=20, patience=5)
    assert first["methods"]["mma"]["angle_deg"] == pytest.approx(math.degrees(direct.min_angle))
    monkeypatch.setattr(descent, "descend", lambda *_, **__: pytest.fail("it trained again"))
    assert run("--table --rows 4,5 3,4 --iterations 20 --patience 5 --budget 0.2 --save t.json") == 0
    assert run("--table --rows 3,4 --iterations 21 --patience 5 --budget 0.2 --save t.json") == 2
    assert "other settings (iterations 20)" in capsys.readouterr().err


def test_ctrl_c_shows_the_finished_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stopping(row: descent.Row, *given: Any) -> dict[str, Any]:
        if row.n == 5:
            raise KeyboardInterrupt
        return real(row, *given)

    real = table._run
    monkeypatch.setattr(table, "_run", stopping)
    assert run("--table --rows 3,4 4,5 --iterations 10 --budget 0.2 --save t.json") == 130
    said = capsys.readouterr()
    assert "finished rows are kept" in said.err
    assert "109.471221" in said.out
    assert len(json.loads(Path("t.json").read_text(encoding="utf-8"))["rows"]) == 1


def test_a_file_of_something_else_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    Path("t.json").write_text('{"schema": 1}')
    assert run("--table --save t.json") == 2
    assert "something else is in this file" in capsys.readouterr().err
    assert Path("t.json").read_text() == '{"schema": 1}'


@pytest.mark.parametrize("name", ["5.1", "D.1", "2"])
def test_a_figure_is_drawn(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "_STEPS", 30)
    assert run(f"--figure {name}") == 0
    assert Path(f"figure-{name}.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_iterates_are_thinned_and_the_ends_kept() -> None:
    turn = np.radians(1.00001 * np.arange(0, 62))
    path = np.stack([np.cos(turn), np.sin(turn), 0 * turn], 1)
    shown = np.degrees(np.arctan2(*thinned(path).T[1::-1]))
    assert shown.round(2).tolist() == [*range(0, 61, 5), 61]


def test_angles_of_all_pairs_are_counted_once() -> None:
    pairs = pair_angles(cross_polytope(6, 3))
    counts, edges = np.array(pairs["counts"]), np.array(pairs["edges_deg"])
    assert counts.sum() == 15
    assert counts[(edges[:-1] < 90) & (edges[1:] > 90)].tolist() == [12]
    assert not pairs["sampled"]


def test_a_view_is_an_orthogonal_projection() -> None:
    points = cross_polytope(10, 5)
    contacts = np.array([(i, j) for i in range(10) for j in range(i + 1, 10) if points[i] @ points[j] > -0.5])
    for pairs in (contacts, np.empty((0, 2), np.int64)):
        shown = view(points, pairs)
        length = np.linalg.norm(shown["points"], axis=1)
        assert np.hypot(length, shown["hidden"]) == pytest.approx(1)
    touching = view(points, contacts)
    first = [i for i, hidden in enumerate(touching["hidden"]) if hidden < 1e-9]
    assert first == [0, 1, 2, 3, 4, 5]  # three axes span the view, and their ends are seen in full
    assert "onto the space of the points 0, 2 and 4" in touching["words"]


def test_a_printed_bound_is_a_bound() -> None:
    code = codes.solve(5, 3)
    data = facts(code, {})
    assert math.radians(data["certified_deg"]) <= code.certificate


def test_the_start_may_be_any_points_of_the_right_shape(tmp_path: Path) -> None:
    save(np.random.default_rng(0).standard_normal((6, 4)), "start.npy")
    assert run("--n 6 --d 4 --budget 0.2 --objective whyte --start start.npy") == 0
