"""The examples of orthogonal over-parameterized training: what stays and is recorded, and that peft tunes the same."""

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_keeps_the_energy_and_saves_an_ordinary_model(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    saved = tmp_path / "weights.pt"
    given = ["--methods", "none", "ogd", "cp", "--epochs", "5", "--save", str(saved)]
    monkeypatch.setattr(sys, "argv", ["orthogonal_training.py", *given])
    example("orthogonal_training").main()
    lines = re.findall(r"(\w+) +accuracy (\S+) %, energy (\S+) when drawn, (\S+) when", capsys.readouterr().out)
    assert [line[0] for line in lines] == ["none", "ogd", "cp"]
    kept = {name: drawn == trained for name, _, drawn, trained in lines}
    assert kept == {"none": False, "ogd": True, "cp": True}
    assert all(float(accuracy) > 25 for _, accuracy, _, _ in lines)  # of ten digits
    ordinary = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    ordinary.load_state_dict(torch.load(saved, weights_only=True))


def test_a_network_is_tuned_by_each_row_and_recorded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fine_tuning = example("fine_tuning")
    rows = ("classifier alone", "OPT (CP)", "OPT (CP), blocks of 32")
    recorded = tmp_path / "numbers.json"
    given = ["--rows", *rows, "--rates", "0.01", "--seeds", "1", "--steps", "60", "--record", str(recorded)]
    monkeypatch.setattr(sys, "argv", ["fine_tuning.py", *given])
    fine_tuning.main()
    found = json.loads(recorded.read_text())["rows"]
    assert [row["row"] for row in found] == list(rows)
    classifier = 128 * 5 + 5
    assert [row["free"] - classifier for row in found] == [0, 64 * 63 // 2 + 128 * 127 // 2, (2 + 4) * 32 * 31 // 2]
    alone, *turned = (row["accuracies"][0][0] for row in found)
    assert min(turned) > alone + 10
    assert f"{turned[0]:.1f} ± 0.0" in capsys.readouterr().out


def test_blocks_of_opt_are_those_of_oft() -> None:
    fine_tuning = example("fine_tuning")
    _, few, rest = fine_tuning.digits(5, seed=0)
    outputs = []
    for row in ("OPT (CP), blocks of 32", "peft's OFT, blocks of 32"):
        torch.manual_seed(0)
        model = fine_tuning.ROWS[row](fine_tuning.network())
        fine_tuning.train(model, few, 20, 1e-2, 0)
        outputs.append(model(rest[0]).detach())
        assert fine_tuning.free(model) == 645 + 6 * 496
    start = fine_tuning.ROWS["everything"](fine_tuning.network())(rest[0])
    assert (outputs[0] - start).abs().max() > 1
    torch.testing.assert_close(outputs[0], outputs[1], rtol=1e-3, atol=1e-3)
