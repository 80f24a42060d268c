"""`onsphere attack`: the numbers of the library for the networks of a run, and what is refused before any work."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from onsphere import attacks, recipes, report, train
from onsphere.attacks.evaluation import chosen
from onsphere.cli import main
from onsphere.recipes import RECIPES

LIMIT = 40
SMALL: Any = {"widths": (8, 8, 8), "depth": 3, "epochs": 8, "batch_size": 20, "train_images": 300}


def trained(folder: Path, recipe: str, rows: tuple[str, ...], seeds: tuple[int, ...], **settings: Any) -> Path:
    compared = recipes.compare(RECIPES[recipe], rows, **settings)
    train.run(compared, seeds=seeds, folder=folder, accelerator="cpu", measure=False, threads=1, logs=())
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of a small network that knows some digits, with two seeds each."""
    return trained(tmp_path_factory.mktemp("run"), "table3-digits", ("none", "mma"), (1, 2), **SMALL)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on other images."""
    entry = RECIPES["table3-cifar100"]
    return trained(tmp_path_factory.mktemp("other"), entry.name, ("none",), (1,), **entry.smoke)


def attack(*words: Any) -> int:
    return main(["attack", *map(str, words)])


def network(run: Path, row: str, seed: int) -> Any:
    """A network of the run by hand, for pixels, and 40 test images."""
    recipe = RECIPES["table3-digits"](row="none", **SMALL)
    data, model = recipe.data(), recipe.model()
    model.load_state_dict(load_file(run / "weights" / f"{row}-{seed}.safetensors"))
    return attacks.Normalized(model, data.mean, data.std).eval(), data.test.select(chosen(len(data.test), LIMIT))


def test_a_white_box(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--run", run, "--limit", LIMIT, "--eps", 12, "--step", 3, "--steps", 5, "--batch", 25)
    assert attack(*words, "--json", "--output", tmp_path / "found.json") == 0
    printed = capsys.readouterr().out
    content = json.loads(printed)
    assert json.loads((tmp_path / "found.json").read_text()) == content
    assert (content["schema"], content["kind"], content["complete"]) == (1, "attack", True)
    assert (content["eps"], content["step"], content["steps"], content["images"]) == (12, 3, 5, LIMIT)
    assert (content["data"], content["source"]) == ("digits", None)
    assert [(row["row"], row["seed"]) for row in content["rows"]] == [("none", 1), ("MMA", 1)]
    for row in content["rows"]:
        model, images = network(run, row["row"].lower(), 1)
        calls = {
            "none": None,
            "fgsm": partial(attacks.fgsm, eps=12 / 255),
            "bim": partial(attacks.bim, eps=12 / 255, step=3 / 255, steps=5),
        }
        assert row["accuracy"] == {name: attacks.robustness(model, images, call) for name, call in calls.items()}
        assert row["accuracy"]["bim"] < row["accuracy"]["none"] - 10
        for norm in ("l2", "linf"):
            found = attacks.strengths(model, images, partial(attacks.deepfool, norm=norm)).sorted(norm)
            np.testing.assert_allclose([v or np.inf for v in row["deepfool"][norm]], found, rtol=1e-3)

    # The table says the same.
    assert attack(*words, "--rows", "mma", "none") == 0
    head, _, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["row", "none,", "%", "FGSM,", "%", "BIM,", "%", "DeepFool", "ℓ₂", "DeepFool", "ℓ∞"]
    for line, row in zip(lines, content["rows"][::-1], strict=False):
        name, *numbers = line.split()
        assert name == row["row"]
        medians = [255 * row["deepfool"][norm][(LIMIT - 1) // 2] for norm in ("l2", "linf")]
        assert [float(number) for number in numbers] == pytest.approx([*row["accuracy"].values(), *medians], abs=0.01)
    assert any(f"{LIMIT} test images of digits; white box" in line for line in lines)
    assert any("eps = 12 of 255; BIM: 5 steps of 3" in line for line in lines)


def test_a_black_box(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--run", run, "--rows", "none", "--limit", LIMIT, "--attacks", "fgsm", "none", "--eps", 12)
    source = ("--source", run, "--source_row", "mma", "--source_seed", 2)
    assert attack(*words, *source, "--json", "--run_seed", 2) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["source"] == {"run": str(run), "row": "MMA", "seed": 2}
    (row,) = content["rows"]
    assert row["seed"] == 2
    (target, images), (attacker, _) = network(run, "none", 2), network(run, "mma", 2)
    fgsm = partial(attacks.fgsm, eps=12 / 255)
    black, white = attacks.robustness(target, images, fgsm, attacker), attacks.robustness(target, images, fgsm)
    assert row["accuracy"] == {"fgsm": black, "none": attacks.robustness(target, images, None)}
    assert white < black < row["accuracy"]["none"]
    assert attack(*words, *source) == 0
    said = capsys.readouterr().out
    assert "DeepFool" not in said
    assert f"black box: images made on MMA of {run}" in " ".join(said.split())


def test_every_test_image(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert attack("--run", run, "--rows", "mma", "--attacks", "none", "--limit", 0, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["images"] == 797
    (row,) = [row for row in report.load(run)["rows"] if row["row"] == "MMA"]
    assert content["rows"][0]["accuracy"]["none"] == pytest.approx(row["seeds"][0]["last"]["top1"], abs=1e-4)


def test_the_picture(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "attack.png"
    assert attack("--run", run, "--rows", "none", "--limit", 8, "--attacks", "fgsm", "--figure", path) == 0
    assert capsys.readouterr().err == f"picture: {path}\n"
    assert min(Image.open(path).size) > 500


def test_what_the_picture_is_drawn_from(run: Path) -> None:
    from onsphere.cli.attack.pictures import examples
    from onsphere.cli.attack.work import Found, Work
    from onsphere.cli.verify.trained import remade

    (model, images), fgsm = network(run, "none", 1), partial(attacks.fgsm, eps=12 / 255)
    work = Work(images, None, ["none", "fgsm", "l2", "linf"], {"fgsm": fgsm}, steps=1, batch=32)
    found = examples(Found(remade(run, "none", 1)), work)
    assert len(found) == 4
    right = (model(images.images / 255).argmax(1) == images.labels).nonzero().flatten()[:4]
    changed = fgsm(model, images.images[right] / 255, images.labels[right])
    for i, example in enumerate(found):
        assert example["class"] == str(images.labels[right[i]].item())
        np.testing.assert_allclose(np.array(example["pixels"])[:, :, 0], images.images[right[i], 0], atol=1e-4)
        assert [attacked["name"] for attacked in example["attacked"]] == ["FGSM", "DeepFool ℓ₂"]
        seen = example["attacked"][0]
        np.testing.assert_allclose(np.array(seen["pixels"])[:, :, 0], 255 * changed[i, 0], atol=1e-3)
        assert seen["class"] == str(model(changed[i : i + 1]).argmax().item())
        assert example["attacked"][1]["class"] != example["class"]


def test_interrupted_rows_that_are_finished_are_shown(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from onsphere.cli.attack import work

    do, stops = work.Work.do, {"MMA"}

    def stopped(self: Any, trained: Any, told: Any) -> Any:
        if trained.row in stops:
            raise KeyboardInterrupt
        return do(self, trained, told)

    monkeypatch.setattr(work.Work, "do", stopped)
    words = ("--run", run, "--limit", 4, "--attacks", "none", "--output", tmp_path / "part.json")
    assert attack(*words) == 130
    said = capsys.readouterr()
    assert "interrupted; 1 of 2 rows are finished" in said.err
    assert "none" in said.out
    content = json.loads((tmp_path / "part.json").read_text())
    assert (content["complete"], len(content["rows"])) == (False, 1)
    stops.add("none")
    (tmp_path / "part.json").unlink()
    assert attack(*words) == 130
    assert capsys.readouterr().err == "onsphere: interrupted\n"
    assert not (tmp_path / "part.json").exists()


def test_a_network_that_cannot_be_attacked(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from onsphere.cli.attack import work

    monkeypatch.setattr(work, "in_pixels", lambda trained, device: torch.nn.Flatten())
    assert attack("--run", run, "--limit", 4, "--attacks", "deepfool", "--rows", "none") == 0  # 64 classes
    monkeypatch.setattr(work, "in_pixels", lambda trained, device: torch.nn.Linear(3, 3))
    capsys.readouterr()
    assert attack("--run", run, "--limit", 4, "--rows", "none") == 2
    assert capsys.readouterr().err.startswith("onsphere: none: mat1 and mat2")


def test_folders_that_do_not_fit(run: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(run / "result.json", tmp_path / "result.json")
    for words, said in (
        (("--run", tmp_path), f"there is no file {tmp_path}/weights/none-1.safetensors"),
        (("--run", tmp_path / "nowhere"), "no result at"),
        (("--run", run, "--rows", "mhe"), "has no row 'mhe'"),
        (("--run", run, "--run_seed", 9), "has no seed 9 of none; there are: 1, 2"),
        (("--run", run, "--source", run), "has several rows: give --source_row, one of none, mma"),
        (("--run", run, "--source", other), "knows 100 classes of 3 x 32 x 32 images, but"),
    ):
        assert attack(*words) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert said in printed.err
        assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "nothing to attack: give --run FOLDER"),
        ("runs", "unexpected 'runs': a run's folder stands behind --run"),
        ("--run x --esp 8", "unknown argument '--esp'; did you mean --eps"),
        ("--run x --eps 300", "--eps 300: expected a number from 0 to 255"),
        ("--run x --step -1", "--step -1: expected a number from 0 to 255"),
        ("--run x --steps 0", "--steps must be at least 1, got 0"),
        ("--run x --limit -1", "--limit must be at least 0, got -1"),
        ("--run x --batch 0", "--batch must be at least 1, got 0"),
        ("--run x --attacks pgd", "invalid choice: 'pgd'"),
        ("--run x --source_row y", "--source_row is of the attacker's network: give --source FOLDER"),
        ("--run x --source_seed 1", "--source_seed is of the attacker's network"),
        ("--run x --source y --attacks deepfool", "leave it or --source out"),
        ("--run x --figure f.pdf", "--figure f.pdf: expected a file name that ends in .svg or .png"),
        ("--run x --figure nowhere/f.png", "--figure nowhere/f.png: there is no folder nowhere"),
        ("--run x --figure f.png --attacks none", "--attacks none is without one"),
        ("--run x --output f.txt", "--output f.txt: expected a file name that ends in .json"),
        ("--run x --device nosuch", "--device nosuch:"),
    ],
)
def test_what_is_refused(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert attack(*words.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_the_help_has_every_option_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        attack("--help")
    said = capsys.readouterr().out
    assert "onsphere attack --run" in said
    assert all(f"--{name}" in said for name in ("source", "attacks", "eps", "limit", "figure", "output", "json"))
    assert main(["--help"]) == 0
    assert "  attack " in capsys.readouterr().out
