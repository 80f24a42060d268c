"""The command line as a user meets it: what it prints, where it writes, and how it answers a mistake."""

import errno
import inspect
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from jsonargparse import Namespace
from rich.console import Console

from onsphere import report
from onsphere.cli import listing, main, training
from onsphere.cli.screen import Screen
from onsphere.recipes import RECIPES
from onsphere.train import Progress, run

TINY = ["--epochs", "1", "--depth", "3", "--widths", "[2,2,2]", "--train_images", "20", "--batch_size", "10"]
TINY += ["--seeds", "[1]", "--accelerator", "cpu"]
FAST = [*TINY, "--measure", "false"]
# Recipes that share a function share its options.
ONE_OF_EACH = list({entry.build: name for name, entry in reversed(RECIPES.items())}.values())


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


def test_a_single_row_is_not_measured_against_itself_unless_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert "measure: false" in printed_config(["train", "table3-digits"], capsys)
    assert "measure: true" in printed_config(["compare"], capsys)
    assert main(["train", "table3-digits", *TINY]) == 0
    assert json.loads(Path("runs/table3-digits/result.json").read_text())["rows"][0]["cost"] is None


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


def everything(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("wrong", ["--seeds [1,1]", "--threads 0", "--keep_every 0", "--epochs 0"])
def test_a_finished_run_is_not_replaced_by_a_mistake(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    one = ["train", "table3-digits", "--row", "none", *FAST]
    assert main(one) == 0
    before = everything(Path("runs"))
    capsys.readouterr()
    refused([*one, "--overwrite", *wrong.split()], capsys)
    assert everything(Path("runs")) == before


@pytest.mark.parametrize("folder", ["file", "file/inside", "dangling", "locked/inside", None])
@pytest.mark.parametrize("command", ["train", "compare", "sweep"])
def test_a_folder_that_cannot_be_made_is_a_mistake(
    command: str, folder: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make = Path.mkdir

    def mkdir(self: Path, mode: int = 0o777, parents: bool = False, exist_ok: bool = False) -> None:
        if self.name == "inside" and self.parent.name == "locked":  # chmod stops everybody but root
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        make(self, mode, parents, exist_ok)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    Path("file").write_text("mine")
    Path("dangling").symlink_to("nowhere/at/all")
    if folder is None:
        Path("runs").symlink_to("nowhere/at/all")
    argv = [command, "table3-digits", *FAST, *(["--coefficient", "0.1..1"] if command == "sweep" else [])]
    answer = refused([*argv, *(["--folder", folder] if folder else [])], capsys)
    assert (folder or "runs/") in answer
    assert "Errno" not in answer
    assert Path("file").read_text() == "mine"


# ------------------------------------------------------------------------------------------------ options


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_help_shows_every_field_with_its_help_and_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", name, "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    words = " ".join(shown.split())
    entry = RECIPES[name]
    for function in (entry.build, run):
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name in ("recipes", "progress") or parameter.name in entry.fixed:
                continue
            assert f"--{parameter.name} " in shown
            if isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool):
                assert f"default: {parameter.default})" in words
    described = inspect.getdoc(entry.build)
    assert described is not None
    assert described.splitlines()[0] in words
    assert shown.count(f"onsphere train {name} ") >= 3  # usage and examples


def test_help_of_compare_is_that_of_digits(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for argv in (["compare", "--help"], ["compare", "digits", "--help"]):
        with pytest.raises(SystemExit):
            main(argv)
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "examples:" in shown[0]


def test_recipes_lists_tables_costs_and_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    for name, entry in RECIPES.items():
        (line,) = [line for line in out.splitlines() if line.startswith(f"{name} ")]
        assert entry.images.title in line
    (line,) = [line for line in out.splitlines() if line.startswith("table4-cifar100")]
    assert "80.65 → 83.11" in line
    (line,) = [line for line in out.splitlines() if line.startswith("table5-cifar100")]
    assert "0.39-5.9" in line  # hours on a GPU, from ResNet56 to WRN-16-8
    assert "\x1b" not in out


def test_recipes_shows_the_rows_of_one_beside_our_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def row(name: str, **settings: object) -> dict[str, object]:
        entry = RECIPES["table5-cifar100"]
        recipe = entry(row=name, model="resnet56", dataset="elsewhere", **settings)
        plain = json.loads(json.dumps(recipe.settings))
        seeds = [{"seed": seed, "final": {"top1": top1}} for seed, top1 in ((1, 70.0), (2, 71.0))]
        return {"row": recipe.row, "settings": plain, "seeds": seeds}

    rows = [row("none"), row("mma", epochs=200)]
    Path("results").mkdir()
    Path("results/ours.json").write_text(json.dumps({"schema": 1, "name": "table5-cifar100", "rows": rows}))
    Path("results/other.json").write_text("{}")
    monkeypatch.setattr(listing, "_result_folders", lambda: [Path("results"), Path("nowhere")])
    assert main(["recipes", "table5-cifar100"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["none", "resnet56", "70.39", "70.50", "±", "0.71", "(2", "seeds)"] in lines
    assert ["mma", "resnet56", "0.03", "70.90", "70.50", "±", "0.71", "(2", "seeds)*"] in lines
    assert ["mma", "vgg19_bn", "0.07", "73.73"] in lines  # another model's result is not this one's
    assert ["*", "ours.json", "has", "other", "settings:", "epochs=200,", "milestones=99/149"] in lines
    assert main(["recipes", "figure6-cifar100"]) == 0  # the same training has another name there
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["none", "70.39", "70.50", "±", "0.71", "(2", "seeds)"] in lines
    assert main(["recipes", "table5-cifar100", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["rows"][0]["here"] == {"top1": 70.5, "sd": pytest.approx(0.7071, abs=1e-4), "seeds": 2, "other": {}}
    assert {hours["model"] for hours in entry["hours"]} == {"resnet56", "vgg19_bn", "wrn_16_8", "densenet_40_12"}


def test_recipes_does_without_results(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(listing, "_result_folders", lambda: [Path("nowhere")])
    assert main(["recipes", "table3-digits"]) == 0
    assert "(5 seeds)" not in capsys.readouterr().out


def printed_config(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main([*argv, "--print_config"])
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [
        ["compare", "--epochs", "3", "--coefficients.mma", "0.2", "--milestones", "[1,2]"],
        ["compare", "cifar100", "--dataset", "somewhere", "--model", "resnet20"],
        ["train", "table3-cifar100", "--dataset", "somewhere", "--row", "mhe-s0", "--mhe_batch", "null"],
        ["train", "thesis-table5.2-cifar100", "--widths", "[16,32,64]", "--smoke"],
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
        ("compare cifr100", "unknown recipe 'cifr100'; did you mean cifar100 or table5-cifar100?"),
        ("compare --epochs 1 cifar100", "'cifar100' is not expected here"),
        ("train table3-digit", "unknown recipe 'table3-digit'; did you mean table3-digits"),
        ("train mnist", "unknown recipe 'mnist'; see `onsphere recipes`"),
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
        ("compare --seeds [1,1]", "--seeds: [1, 1]: expected at least one, and no seed twice"),
        ("compare --seeds []", "--seeds: []: expected at least one"),
        ("compare --threads 0", "--threads: 0: expected at least 1"),
        ("compare --logs csv", "--logs: 'csv' is not a list such as \"[csv,tensorboard]\""),
        ("compare --logs [tape]", "expected a list of csv, tensorboard"),
        ("compare --accelerator tpuu", "accelerator"),
        ("compare --devices none", "devices"),
        ("compare cifar100 --dataset ./nowhere", "no folder './nowhere'"),
        ("compare --config nowhere.yaml", "nowhere.yaml"),
        ("train table2-cifar100 --model resnet20", "unknown option --model"),  # the table has one model
        ("train table2-cifar100 --row mhe-s2", "--row: 'mhe-s2'; there are: none, mma"),
        ("train thesis-table5.4-cifar100 --layers output --row half-mhe-s2", "half space is for hidden layers"),
        ("train table3-digits --resume", "there is no run in runs/table3-digits to resume"),
        ("train table3-digits --resume --folder nowhere", "nowhere has no run to resume"),
        ("train table3-digits --resume --overwrite", "give one of them"),
        ("recipes all", "unknown recipe 'all'"),
        ("recipes table3-digits --yaml", "takes the name of one recipe and --json"),
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


def test_an_interrupted_run_is_resumed_with_its_own_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compare", "--rows", "[none,mma]", *FAST, "--epochs", "3", "--seeds", "[1,2]"]
    assert main([*command, "--folder", "undisturbed"]) == 0
    with monkeypatch.context() as stopping:
        stopping.setattr(Screen, "__call__", stop_in(1))
        assert main(command) == 130
    said = capsys.readouterr().err.splitlines()[-1]
    again = said.split("To go on: onsphere ")[1].split()
    assert again == ["compare", "digits", "--folder", "runs/table3-digits", "--resume"]
    assert main(again) == 0
    first, second = (
        json.loads(Path(folder, "result.json").read_text()) for folder in ("undisturbed", "runs/table3-digits")
    )
    for a, b in zip(first["rows"], second["rows"], strict=True):
        assert a["settings"] == b["settings"]
        assert [seed["curve"] for seed in a["seeds"]] == [seed["curve"] for seed in b["seeds"]]
    assert main(["compare", "--resume"]) == 0  # found without its name, and there is nothing left
    assert "runs/table3-digits was finished: nothing was left to do" in capsys.readouterr().out


def test_resuming_takes_the_newest_run_that_is_not_finished(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = ["train", "table3-digits", *FAST]
    for stopped in (True, False):  # runs/table3-digits is interrupted in its second seed, runs/table3-digits-2 is not
        with monkeypatch.context() as stopping:
            if stopped:
                stopping.setattr(Screen, "__call__", stop_in(1))
            assert main([*one, "--seeds", "[1,2]"]) == (130 if stopped else 0)
    capsys.readouterr()
    assert main(["train", "table3-digits", "--resume"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("result: runs/table3-digits/result.json")
    assert main(["train", "table3-digits", "--resume", "--folder", "runs/table3-digits-2", "--seeds", "[1,2,3]"]) == 0
    assert len(json.loads(Path("runs/table3-digits-2/result.json").read_text())["rows"][0]["seeds"]) == 3
    assert yaml.safe_load(Path("runs/table3-digits-2/train.yaml").read_text())["seeds"] == [1, 2, 3]


def test_resuming_passes_over_the_runs_of_other_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for argv in (["train", "table3-digits"], ["compare", "--rows", "[mma]"]):  # both are left unfinished
        with monkeypatch.context() as stopping:
            stopping.setattr(Screen, "__call__", stop_in(1))
            assert main([*argv, *FAST, "--seeds", "[1,2]"]) == 130
    os.utime("runs/table3-digits-2/result.json", (2e9, 2e9))  # the newest
    capsys.readouterr()
    assert main(["train", "table3-digits", "--resume"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("result: runs/table3-digits/result.json")
    assert main(["compare", "--resume"]) == 0
    capsys.readouterr()
    assert "made by onsphere compare" in refused(
        ["train", "table3-digits", "--resume", "--folder", "runs/table3-digits-2"], capsys
    )


def test_another_run_is_not_continued(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "table3-digits", *FAST]) == 0
    before = {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()}
    capsys.readouterr()
    refusal = refused(["train", "table3-digits", "--resume", "--epochs", "2"], capsys)
    assert "epochs of row 'MMA' is 1 there and 2 here" in refusal
    assert "made by onsphere train" in refused(["compare", "--resume"], capsys)
    assert {path: path.read_bytes() for path in Path("runs").rglob("*") if path.is_file()} == before


def test_sigterm_stops_like_ctrl_c_with_its_own_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def terminate(self: Screen, now: Progress) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as stopping:
        stopping.setattr(Screen, "__call__", terminate)
        assert main(["train", "table3-digits", *FAST]) == 143
    assert list(Path("runs/table3-digits/checkpoints").iterdir())
    assert main(["train", "table3-digits", "--resume"]) == 0


@pytest.mark.parametrize(("times", "kept"), [(1, "step"), (2, "checkpoint")])
def test_a_second_ctrl_c_does_not_wait_for_the_step(
    times: int, kept: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(self: Screen, now: Progress) -> None:
        if now.epoch == 2:
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Screen, "__call__", press)
    assert main(["train", "table3-digits", *FAST, "--epochs", "3", "--checkpoint_seconds", "0"]) == 130
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"onsphere: interrupted; everything up to the last {kept} is kept. To go on: onsphere train")


def test_nothing_is_promised_where_nothing_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(self: Screen, now: Progress) -> None:
        if now.phase == "measure":
            self.phase = now.phase
            raise KeyboardInterrupt

    nothing = "nothing was done yet, and nothing is kept"
    monkeypatch.setattr(Screen, "__call__", stop)
    assert main(["compare", *TINY]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == f"onsphere: interrupted; {nothing}"
    assert not Path("runs/table3-digits").exists()
    replace = os.replace

    def full(source: str, target: str | Path) -> None:
        if Path(target).suffix != ".yaml":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    assert main(["train", "table3-digits", *FAST, "--logs", "[]"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in line
    assert line.endswith(nothing)
    assert not Path("runs/table3-digits").exists()


@pytest.mark.parametrize("folder", ["empty", ".", "link", "notes", "new"])
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_what_was_there_before_a_run_stays(command: str, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("empty", "notes/logs", "behind"):
        Path(name).mkdir(parents=True)
    Path("notes/mine.txt").write_text("mine")
    Path("link").symlink_to("behind")
    before = sorted(Path().rglob("*"))
    monkeypatch.setattr(Screen, "__call__", stop_in(0))
    argv = [command, "table3-digits", *FAST, "--folder", folder]
    if command == "sweep":
        argv += ["--coefficient", "0.1..1", "--baseline", "false"]
        monkeypatch.setattr(Screen, "__call__", lambda self, now: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(argv) == 130
    assert sorted(Path().rglob("*")) == before


def test_a_report_that_cannot_be_written_leaves_the_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(result: object, path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(report, "write_html", full)
    assert main(["train", "table3-digits", *FAST]) == 1
    out, err = capsys.readouterr()
    assert "MMA" in out
    assert out.splitlines()[-1] == "result: runs/table3-digits/result.json"
    assert err.splitlines()[-1] == (
        "onsphere: runs/table3-digits/report.html could not be written: No space left on device. "
        "The result in runs/table3-digits/result.json is safe"
    )


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    replace = os.replace

    def full(source: str, target: str | Path) -> None:
        if Path(target).name == "result.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(source, target)

    with monkeypatch.context() as filling:
        filling.setattr(os, "replace", full)
        assert main(["train", "table3-digits", *FAST]) == 1
    err = capsys.readouterr().err
    (line,) = [line for line in err.splitlines() if line.startswith("onsphere:")]
    assert "No space left on device" in line
    assert "onsphere train table3-digits --folder runs/table3-digits --resume" in line
    assert "Traceback" not in err
    assert main(["train", "table3-digits", "--resume"]) == 0


def test_smoke_needs_no_data_and_leaves_the_usual_folder_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "thesis-table5.5-cifar10", "--smoke", "--accelerator", "cpu"]) == 0
    result = json.loads(Path("runs/thesis-table5.5-cifar10-smoke/result.json").read_text())
    (row,) = result["rows"]
    assert (row["row"], row["paper"], result["data"]["name"]) == ("half-space MHE s=2", {}, "noise")
    assert row["seeds"][0]["steps"] == 2
    assert main(["train", "thesis-table5.5-cifar10", "--smoke", "--steps", "1", "--accelerator", "cpu"]) == 0
    result = json.loads(Path("runs/thesis-table5.5-cifar10-smoke-2/result.json").read_text())
    assert result["rows"][0]["seeds"][0]["steps"] == 1  # what is given goes first
    Path("smoke.yaml").write_text("smoke: true\naccelerator: cpu\nfolder: here\n")
    assert main(["train", "thesis-table5.5-cifar10", "--config", "smoke.yaml"]) == 0
    assert json.loads(Path("here/result.json").read_text())["data"]["name"] == "noise"


def test_any_table_can_be_compared() -> None:
    rows = ["--rows", "[none,half-mhe-s2]"]
    assert main(["compare", "thesis-table5.3-cifar100", "--smoke", "--depth", "6", "--accelerator", "cpu", *rows]) == 0
    result = json.loads(Path("runs/thesis-table5.3-cifar100-smoke/result.json").read_text())
    assert result["source"] == "thesis, Table 5.3, depth=6"
    assert [row["row"] for row in result["rows"]] == ["none", "half-space MHE s=2"]


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


def test_processes_that_start_together_are_given_their_folder(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert "need a --folder to agree on" in refused(["train", "table3-digits", *FAST], capsys)
    monkeypatch.setenv(training.FOLDER, "there")  # by the process that started this one
    assert training.claim("train", RECIPES["table3-digits"], Namespace(resume=False, folder=None)).path == Path("there")
    assert not Path("there").exists()


def test_a_corrupt_image_that_is_met_later_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from onsphere.data import decoding

    def look(self: Screen, now: Progress) -> None:
        self.phase = now.phase
        exec(compile("raise ValueError('cat.png: the image cannot be decoded')", "decoding.py", "exec"), vars(decoding))

    monkeypatch.setattr(Screen, "__call__", look)
    assert main(["train", "table3-digits", *FAST]) == 2
    assert capsys.readouterr().err == "onsphere: cat.png: the image cannot be decoded\n"
