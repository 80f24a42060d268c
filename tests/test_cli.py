"""The command line as a user meets it: what it prints, where it writes, and how it answers a mistake."""

import inspect
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from onsphere.cli import main
from onsphere.cli.screen import Screen
from onsphere.recipes import RECIPES
from onsphere.train import Progress, run

TINY = ["--epochs", "1", "--depth", "3", "--widths", "[2,2,2]", "--train_images", "20", "--batch_size", "10"]
TINY += ["--seeds", "[1]", "--accelerator", "cpu"]
FAST = [*TINY, "--measure", "false"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a wrong command gets."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("onsphere: ")
    assert err.count("\n") == 1
    return err


# ------------------------------------------------------------------------------------------------ what one gets


def test_compare_prints_the_table_and_says_where_the_files_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *TINY]) == 0
    out, err = capsys.readouterr()
    result = json.loads(Path("runs/table3-digits/result.json").read_text())
    assert [row["row"] for row in result["rows"]] == ["none", "orthogonal", "MHE s=2", "MHE s=0", "MMA"]
    assert [row["cost"]["time_ratio"] > 0 for row in result["rows"]] == [True] * 5
    assert result["complete"]
    for row in result["rows"]:
        assert row["row"] in out
    assert out.splitlines()[-1] == ("result: runs/table3-digits/result.json   report: runs/table3-digits/report.html")
    assert "<html" in Path("runs/table3-digits/report.html").read_text().lower()
    assert "measuring time and memory" in err
    assert "MMA (5/5)  seed 1 (1/1)  epoch 1/1" in err
    assert "\x1b" not in out + err  # no terminal, no colours or cursor movements


def test_train_trains_one_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "table3-digits", "--row", "mma", "--coefficient", "0.1", *FAST]) == 0
    (row,) = json.loads(Path("runs/table3-digits/result.json").read_text())["rows"]
    assert row["row"] == "MMA"
    assert row["settings"]["coefficient"] == 0.1
    assert row["settings"]["widths"] == [2, 2, 2]


def test_rows_and_their_coefficients_can_be_chosen() -> None:
    assert main(["compare", "digits", "--rows", "[mma,none]", "--coefficients.mma", "0.5", *FAST]) == 0
    rows = json.loads(Path("runs/table3-digits/result.json").read_text())["rows"]
    assert [(row["row"], row["settings"]["coefficient"]) for row in rows] == [("MMA", 0.5), ("none", 0.0)]


def test_a_result_is_not_overwritten_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    one = ["train", "table3-digits", "--row", "none", *FAST]
    for _ in range(3):
        assert main(one) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == [
        "table3-digits",
        "table3-digits-2",
        "table3-digits-3",
    ]
    assert "runs/table3-digits-3/result.json" in capsys.readouterr().out
    assert main([*one, "--overwrite", "--seeds", "[7]"]) == 0
    assert json.loads(Path("runs/table3-digits/result.json").read_text())["rows"][0]["seeds"][0]["seed"] == 7
    capsys.readouterr()
    assert "--overwrite" in refused([*one, "--folder", "runs/table3-digits"], capsys)


# ------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize("name", RECIPES)
def test_help_shows_every_field_with_its_help_and_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", name, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    words = " ".join(shown.split())
    for function in (RECIPES[name], run):
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name in ("recipes", "progress"):
                continue
            assert f"--{parameter.name} " in shown
            if isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool):
                assert f"default: {parameter.default})" in words
    assert "divided by 10" in words  # from the docstring
    assert shown.count(f"onsphere train {name} ") >= 3  # usage and examples


def test_help_of_compare_is_that_of_digits(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for argv in (["compare", "--help"], ["compare", "digits", "--help"]):
        with pytest.raises(SystemExit):
            main(argv)
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "examples:" in shown[0]


def printed_config(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*argv, "--print_config"])
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["compare", "--epochs", "3", "--coefficients.mma", "0.2", "--milestones", "[1,2]"],
        ["compare", "cifar100", "--data_dir", "somewhere", "--model", "resnet20"],
        ["train", "table3-cifar100", "--data_dir", "somewhere", "--row", "mhe-s0", "--mhe_batch", "null"],
    ],
    ids=lambda argv: " ".join(argv[:2]),
)
def test_a_printed_configuration_gives_itself_when_fed_back(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first = printed_config(argv, capsys)
    Path("saved.yaml").write_text(first)
    command = argv[:1] if argv[1].startswith("--") else argv[:2]
    assert printed_config([*command, "--config", "saved.yaml"], capsys) == first


def test_a_printed_configuration_runs_and_the_command_line_overrides_it(capsys: pytest.CaptureFixture[str]) -> None:
    config = printed_config(["compare", "--rows", "[none,mma]", "--learning_rate", "0.03", *FAST], capsys)
    assert yaml.safe_load(config)["rows"] == ["none", "mma"]
    Path("saved.yaml").write_text(config)
    assert main(["compare", "--config", "saved.yaml", "--seeds", "[5]"]) == 0
    result = json.loads(Path("runs/table3-digits/result.json").read_text())
    assert [row["seeds"][0]["seed"] for row in result["rows"]] == [5, 5]
    assert result["rows"][0]["settings"]["learning_rate"] == 0.03


# ------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("comapre", "unknown command 'comapre'; did you mean compare?"),
        ("compare cifr100", "unknown setting 'cifr100'; did you mean cifar100?"),
        ("compare --epochs 1 cifar100", "'cifar100' is not expected here"),
        ("train table3-digit", "unknown recipe 'table3-digit'; did you mean table3-digits"),
        ("train mnist", "there are: table3-digits, table3-cifar100"),
        ("compare --epoch 3", "unknown option --epoch; did you mean --epochs"),
        ("compare --row none", "unknown option --row; did you mean --rows"),
        ("compare --epochs three", "--epochs: 'three' is not a whole number"),
        ("compare --epochs 2.5", "--epochs: '2.5' is not a whole number"),
        ("compare --seeds 1,2", "--seeds: '1,2' is not a list such as \"[1,2]\""),
        ("compare --widths [1,2]", 'is not a list such as "[1,2,3]"'),
        ("compare --rows [none,mmma]", "row 'mmma' is none of none, orthogonal, mhe-s2, mhe-s0, mma"),
        ("compare --rows [none] --coefficients.mma 1", "row 'mma' is none of none"),
        ("train table3-digits --row mmma", "--row: 'mmma'; did you mean mma?"),
        ("train table3-digits --row none --coefficient 1", "coefficient=1.0 has no effect on row 'none'"),
        ("train table3-digits --layers all", "there are: everywhere, hidden, output"),
        ("train table3-digits --coefficient big", "--coefficient: 'big' is not a number or null"),
        ("compare --epochs 0", "epochs=0 must be greater than 0"),
        ("compare --depth 4", "depth=4"),
        ("compare --seeds [1,1]", "no seed twice"),
        ("compare --accelerator tpuu", "accelerator"),
        ("compare --devices none", "devices"),
        ("compare cifar100", "--data_dir is required"),
        ("compare cifar100 --data_dir nowhere", "nowhere"),
        ("compare --config nowhere.yaml", "nowhere.yaml"),
        ("recipes all", "takes no arguments"),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(
    command: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answer in refused(command.split(), capsys)
    assert not list(Path().glob("runs/*"))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("epoch: 3\n", "unknown option epoch; did you mean epochs"),
        ("epochs: many\n", "--epochs: 'many' is not a whole number"),
        ("epochs: [\n", "config"),
    ],
)
def test_a_mistake_in_a_file_is_named_too(text: str, answer: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("wrong.yaml").write_text(text)
    assert answer in refused(["compare", "--config", "wrong.yaml"], capsys)


@pytest.mark.parametrize("package", ["jsonargparse", "rich.console", "lightning.fabric"])
def test_a_missing_package_is_named_with_how_to_get_it(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    answer = refused(["train", "table3-digits", "--row", "none", *FAST], capsys)
    assert package in answer
    assert "pip install" in answer


# ------------------------------------------------------------------------------------------------ what goes wrong later


def stop_in(seed_index: int) -> Callable[[Screen, Progress], None]:
    def look(self: Screen, now: Progress) -> None:
        if now.phase == "train" and now.seed_index == seed_index and now.row == "MMA":
            raise KeyboardInterrupt

    return look


def test_ctrl_c_keeps_and_shows_what_is_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Screen, "__call__", stop_in(1))
    assert main(["compare", "--rows", "[none,mma]", *FAST, "--seeds", "[1,2]"]) == 130
    out, err = capsys.readouterr()
    result = json.loads(Path("runs/table3-digits/result.json").read_text())
    assert not result["complete"]
    assert [[seed["seed"] for seed in row["seeds"]] for row in result["rows"]] == [[1, 2], [1]]
    assert "interrupted" in err
    assert "MMA" in out
    assert out.splitlines()[-1].startswith("partial result: runs/table3-digits/result.json")


def test_ctrl_c_before_anything_is_done(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Screen, "__call__", stop_in(0))
    assert main(["compare", "--rows", "[mma]", *FAST]) == 130
    assert "no result" in capsys.readouterr().out
    assert not Path("runs/table3-digits").exists()


def test_ctrl_c_does_not_show_an_older_result_as_this_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ["compare", "--rows", "[mma]", *FAST, "--folder", "mine"]
    assert main(one) == 0
    older = Path("mine/result.json").read_bytes()
    capsys.readouterr()
    monkeypatch.setattr(Screen, "__call__", stop_in(0))
    assert main([*one, "--overwrite"]) == 130
    assert capsys.readouterr().out == "no seed was finished, so there is no result\n"
    assert Path("mine/result.json").read_bytes() == older


def test_training_that_diverges_says_where(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--rows", "[none]", *FAST, "--epochs", "3", "--learning_rate", "1e30"]) == 1
    err = capsys.readouterr().err
    assert "row 'none', seed 1, epoch" in err
    assert "Traceback" not in err


# ------------------------------------------------------------------------------------------------ the screen


def test_the_bar_shows_row_seed_epoch_loss_and_accuracy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    terminal = Console(file=io.StringIO(), force_terminal=True, width=120)
    with Screen(terminal) as screen:
        screen(Progress("measure", "MMA", done=3, total=10))
        screen(Progress("train", "MMA", 4, 5, 223, 1, 5, 7, 40, 2, 5, 0.1234, {"top1": 91.25}, 50, 100))
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "MMA (5/5)  seed 223 (2/5)  epoch 7/40  loss 0.1234  top1 91.25" in shown
    assert "50%" in shown


def test_without_a_terminal_there_is_a_line_for_every_twentieth() -> None:
    pipe = Console(file=io.StringIO(), width=40)
    with Screen(pipe) as screen:
        for done in range(1, 1001):
            screen(Progress("train", "none", done=done, total=1000))
    lines = pipe.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 20
    assert lines[-1].startswith("100%")


def test_python_dash_m_works_and_exit_codes_reach_the_shell() -> None:
    ran = subprocess.run([sys.executable, "-m", "onsphere", "comapre"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "did you mean compare?" in ran.stderr
