"""The examples of recognition run as their first lines say: a recogniser, and a head shared out over processes."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from launching import TORCHRUN, launched

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
STEP = re.compile(r"step (\d+), \d processes: loss (\d+\.\d+)")


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_recogniser_is_better_than_its_pixels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["recogniser.py", "--epochs", "3"])
    example("recogniser").main()
    pixels, recogniser = map(float, re.findall(r"accuracy (\d+\.\d)% on 2000 pairs", capsys.readouterr().out))
    assert 60 < pixels < recogniser - 3 < 97


def test_a_recogniser_takes_images_from_a_folder(tmp_path: Path) -> None:
    recogniser = example("recogniser")
    images, labels = recogniser.figures(24, 3, torch.Generator().manual_seed(0), size=20)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = tmp_path / f"figure{label:02d}"
        folder.mkdir(exist_ok=True)
        Image.fromarray((image[0] * 255).byte().numpy()).save(folder / f"{number}.png")
    train, known, unseen, others = recogniser.folder(str(tmp_path), 4)
    assert train.shape[1:] == unseen.shape[1:] == (1, 32, 32)
    assert 0.5 < float(train.max()) <= 1
    assert sorted({*known.tolist()}) == [0, 1, 2, 3]
    assert sorted({*others.tolist()}) == [*range(20)]
    with pytest.raises(SystemExit, match="--train-identities N"):
        recogniser.folder(str(tmp_path), None)


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_a_sharded_training_goes_on_with_another_number_of_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sharded_head = example("sharded_head")

    def losses(folder: str, steps: int) -> dict[str, float]:
        sharded_head.train(steps, 2, tmp_path / folder, 1.0)
        return {step: float(loss) for step, loss in STEP.findall(capsys.readouterr().out)}

    whole = losses("whole", 6)
    options = ("--folder", str(tmp_path / "parts"), "--steps", "4", "--every", "2")
    said = launched(*TORCHRUN, str(EXAMPLES / "sharded_head.py"), *options, anew=tmp_path / "parts")
    begun = {step: float(loss) for step, loss in STEP.findall(said)}
    ended = losses("parts", 6)
    assert (list(begun), list(ended)) == (["2", "4"], ["6"])  # what is done is not done again
    assert {**begun, **ended} == pytest.approx(whole, rel=1e-4)
