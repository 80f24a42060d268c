"""The examples run and show that training with the regularizer spreads the neurons."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.filterwarnings("ignore")


def example(name: str) -> ModuleType:
    path = Path(__file__).parent.parent / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"example_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "short"),
    [("attach", {"steps": 60}), ("lightning_callback", {"epochs": 2}), ("transformers_callback", {"steps": 30})],
)
def test_the_example_shows_wider_angles(name: str, short: dict[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    example(name).main(**short)
    printed = capsys.readouterr().out
    without, with_it = printed.split("with the regularizer", 1)
    assert "accuracy" in without
    assert "accuracy" in with_it
    if name == "attach":  # the last line of each part is of its end
        angles = [re.findall(r"degrees ([\d., ]+);", part)[-1].split(", ") for part in (without, with_it)]
    else:
        angles = [re.findall(r"^  minimum_angle_deg/\S+ ([\d.]+)$", part, re.MULTILINE) for part in (without, with_it)]
    assert len(angles[0]) == len(angles[1]) >= 3
    assert all(float(wider) > float(narrow) for narrow, wider in zip(*angles, strict=True))
