"""Figure 4.3: its curves are those of the operators, and its picture is the same twice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from onsphere import angular, magnitude, report
from onsphere.report.__main__ import main
from onsphere.report.operators import activations, magnitudes

RADIUS = torch.tensor(1.0, dtype=torch.float64)


def tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values)


def assert_close(ours: Any, curve: NDArray[np.float64], name: str) -> None:
    np.testing.assert_allclose(ours.numpy(), curve, rtol=0, atol=1e-12, err_msg=name)


def test_the_curves_of_h_are_the_magnitudes_of_the_library() -> None:
    curves = magnitudes()
    assert [name.removesuffix("Conv").lower() for name in curves] == list(magnitude.MAGNITUDE)
    for (name, (norm, h)), kind in zip(curves.items(), magnitude.MAGNITUDE.values(), strict=True):
        ours: magnitude.Magnitude = kind()
        found = ours(tensor(norm), RADIUS) if hasattr(ours, "radius") else ours(tensor(norm))
        assert_close(found, h, name)


@pytest.mark.parametrize("radius", [0.5, 2.0])
def test_so_they_are_at_other_settings(radius: float) -> None:
    curves = magnitudes(alpha=1.5, beta=0.2, radius=radius)
    ours: dict[str, magnitude.Magnitude] = {
        "BallConv": magnitude.Ball(1.5),
        "TanhConv": magnitude.Tanh(1.5),
        "SegConv": magnitude.Seg(1.5, 0.2),
    }
    for name, h in ours.items():
        norm, curve = curves[name]
        assert_close(h(tensor(norm), radius * RADIUS), curve, name)


def test_the_curves_of_g_are_the_activations_of_the_library() -> None:
    ours: dict[str, angular.Angular] = {
        "linear": angular.Linear(),
        "cosine": angular.Cosine(),
        "sigmoid, k = 0.1": angular.Sigmoid(0.1),
        "sigmoid, k = 0.3": angular.Sigmoid(0.3),
        "sigmoid, k = 0.7": angular.Sigmoid(0.7),
        "square cosine": angular.SquareCosine(),
    }
    curves = activations()
    assert list(curves) == list(ours)
    for name, (theta, g) in curves.items():
        assert (theta[0], theta[-1]) == (0, math.pi)
        assert_close(ours[name](tensor(theta)), g, name)


def test_the_picture_is_the_same_twice_and_from_the_command_line(tmp_path: Path) -> None:
    report.draw_operators(tmp_path / "a.svg")
    assert main(["--operators", str(tmp_path / "b.svg")]) == 0
    picture = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert picture == (tmp_path / "b.svg").read_text(encoding="utf-8")
    for words in (*magnitudes(), *activations()):
        assert f"<!-- {words} -->" in picture


def test_own_curves_are_drawn_and_bad_ones_refused(tmp_path: Path) -> None:
    report.draw_operators(tmp_path / "own.svg", magnitude={"root": ([0.0, 1.0, 4.0], [0.0, 1.0, 2.0])})
    own = (tmp_path / "own.svg").read_text(encoding="utf-8")
    assert "<!-- root -->" in own
    assert "<!-- BallConv -->" not in own
    assert "<!-- square cosine -->" in own
    with pytest.raises(ValueError, match="no curve was given: expected a name with θ and g"):
        report.draw_operators(tmp_path / "x.svg", angular={})
    with pytest.raises(ValueError, match=r"a: ‖x‖ has the shape \(2,\) and h \(1,\)"):
        report.draw_operators(tmp_path / "x.svg", magnitude={"a": ([0.0, 1.0], [1.0])})
    with pytest.raises(ValueError, match=r"expected a name that ends in \.svg or \.png"):
        report.draw_operators(tmp_path / "x.pdf")
    assert not (tmp_path / "x.svg").exists()
