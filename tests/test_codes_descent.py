import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import reference_energies as reference
from onsphere import functional
from onsphere.codes import descent
from onsphere.codes.code import Progress
from onsphere.codes.descent import (
    METHODS,
    TABLE1,
    Trajectory,
    descend,
    figure_5_1,
    figure_d1,
    figure_d2,
    largest_cosine,
    trajectory,
)
from onsphere.codes.pairs import min_angle

LITERAL: dict[str, Callable[[Tensor], Tensor]] = {
    "global": reference.global_loss,
    "cosine": reference.cosine_loss,
    "mma": reference.mma_loss,
    "riesz": reference.riesz_loss,
    "logarithmic": reference.logarithmic_loss,
}


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_its_equation_in_value_and_gradient(method: str) -> None:
    w = torch.randn(9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).mul_(2).requires_grad_()
    (expected,) = torch.autograd.grad(LITERAL[method](w), w)
    value = METHODS[method].loss(w)
    (gradient,) = torch.autograd.grad(value, w)
    assert value.item() == pytest.approx(LITERAL[method](w).item(), rel=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


def test_the_largest_cosine_of_all_may_be_negative() -> None:
    triangle = torch.tensor([[1.0, 0.0], [-0.5, math.sqrt(0.75)], [-0.5, -math.sqrt(0.75)]])
    assert largest_cosine(3 * triangle).item() == pytest.approx(-0.5)


def test_table_1_is_the_papers() -> None:
    assert len(TABLE1) == 10
    assert {(row.d, row.n): row.angles_deg["mma"] for row in TABLE1}[4, 600] == 19.3
    assert all(set(row.angles_deg) == set(METHODS) - {"global"} for row in TABLE1)
    for d, n, optimal, _ in TABLE1:
        if n == d + 1:
            assert optimal == round(math.degrees(math.acos(-1 / d)), 1)
    assert all(max(row.angles_deg.values()) <= row.optimal_deg for row in TABLE1)
    assert sum(row.angles_deg["cosine"] == 0 for row in TABLE1) == 3


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_tetrahedron(method: str) -> None:
    found = descend(4, 3, method, iterations=600, patience=40)
    assert math.degrees(found.min_angle) == pytest.approx(math.degrees(math.acos(-1 / 3)), abs=1.0)


def test_mma_spreads_thirty_points_and_the_result_says_what_ran() -> None:
    found = descend(30, 3, "mma", iterations=1000, patience=50, seed=2)
    assert 35 < math.degrees(found.min_angle) < 38.5972
    assert found.min_angle == min_angle(found.points)
    assert found.points.shape == (30, 3)
    assert (found.method, found.iterations, found.patience, found.seed) == ("mma", 1000, 50, 2)


def test_a_descent_is_the_written_out_sgd() -> None:
    w = torch.randn(5, 3, generator=torch.Generator().manual_seed(7)).requires_grad_()
    velocity = torch.zeros_like(w)
    for _ in range(20):
        (gradient,) = torch.autograd.grad(functional.riesz(w, 2.0), w)
        velocity = 0.5 * velocity + gradient
        w = (w - 0.3 * velocity).detach().requires_grad_()
    unit = w.detach().double().numpy()
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    found = descend(5, 3, "riesz", iterations=20, learning_rate=0.3, momentum=0.5, seed=7)
    np.testing.assert_allclose(found.points, unit, atol=1e-5)


def test_a_plateau_divides_the_learning_rate() -> None:
    kept = descend(4, 3, "cosine", iterations=300, patience=10_000)
    assert kept.final_learning_rate == 0.1
    cut = descend(4, 3, "cosine", iterations=300, patience=5, factor=0.5)
    assert math.log2(0.1 / cut.final_learning_rate) == pytest.approx(round(math.log2(0.1 / cut.final_learning_rate)))
    assert cut.final_learning_rate < 0.1


def test_the_same_seed_gives_the_same_descent() -> None:
    first, second, other = (descend(8, 3, "mma", iterations=50, seed=seed) for seed in (3, 3, 4))
    assert first.points.tobytes() == second.points.tobytes() != other.points.tobytes()


def test_a_descent_says_how_far_it_is() -> None:
    seen: list[Progress] = []
    descend(8, 3, "mma", iterations=500, progress=seen.append)
    assert len(seen) == 100
    assert [step.share for step in seen] == sorted(step.share for step in seen)
    assert seen[0].best is not None
    assert seen[-1].best is not None
    assert seen[0].best < seen[-1].best


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "mna"}, r"method must be one of global, cosine, mma, riesz, logarithmic, got 'mna'"),
        ({"n": 1}, r"n must be at least 2, got 1"),
        ({"d": 1}, r"d must be at least 2, got 1"),
        ({"iterations": 0}, r"iterations must be at least 1, got 0"),
        ({"patience": -1}, r"patience must be at least 0, got -1"),
        ({"learning_rate": 0.0}, r"learning_rate must be a positive number, got 0.0"),
        ({"factor": 1.0}, r"factor must lie between 0 and 1, got 1.0"),
        ({"momentum": 1.0}, r"momentum must lie in \[0, 1\), got 1.0"),
    ],
)
def test_bad_input_is_repeated(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        descend(**{"n": 4, "d": 3, "method": "mma"} | arguments)


def test_a_trajectory_is_the_written_out_descent_of_the_directions() -> None:
    start = np.random.default_rng(0).standard_normal((4, 3))
    way = trajectory(functional.mhe, start, steps=3, learning_rate=0.5)
    w = torch.tensor(start)
    for step in range(4):
        np.testing.assert_allclose(way[step], w / w.norm(dim=1, keepdim=True), atol=1e-14)
        w.requires_grad_()
        (gradient,) = torch.autograd.grad(2 * reference.energy(w, 2) / 12, w)
        w = w.detach() - 0.5 * gradient
    np.testing.assert_array_equal(start, np.random.default_rng(0).standard_normal((4, 3)))


@pytest.mark.parametrize(
    ("start", "steps", "learning_rate", "message"),
    [
        (np.eye(3), 0, 0.1, r"steps must be at least 1, got 0"),
        (np.eye(3), 5, -1.0, r"learning_rate must be a positive number, got -1.0"),
        (np.full((2, 2), np.nan), 5, 0.1, r"finite rows.* got \[\[nan nan\]"),
        (np.zeros((2, 2)), 5, 0.1, r"not zero, got \[\[0. 0.\]"),
    ],
)
def test_a_bad_trajectory_is_repeated(start: Any, steps: int, learning_rate: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trajectory(functional.mhe, start, steps=steps, learning_rate=learning_rate)


def _line_angle(points: Any) -> float:
    """The smallest angle between the lines through the points, degrees."""
    return math.degrees(min_angle(np.concatenate([points, -points])))


def test_figure_5_1_shows_what_the_thesis_says() -> None:
    orthonormal, full, half = figure_5_1()
    for panel in (full, half):
        np.testing.assert_array_equal(panel.points[0], orthonormal.points[0])
    assert (full.half_space, half.half_space) == (False, True)
    # The orthonormal penalty leaves some neurons close together, MHE spreads them, half space spreads the lines.
    assert math.degrees(min_angle(orthonormal.points[-1])) < 30
    assert math.degrees(min_angle(full.points[-1])) > 60
    assert _line_angle(full.points[-1]) < 30
    assert _line_angle(half.points[-1]) > 44


@pytest.mark.parametrize(("figure", "heavy"), [(figure_d1, 1), (figure_d2, 2)])
def test_heavy_neurons_move_less_and_are_no_longer_kept_away_from(
    figure: Callable[[int], tuple[Trajectory, ...]], heavy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descent, "_STEPS", 300)  # half the way, which is nearly all of it
    panels = figure(0)
    assert [panel.weights[heavy - 1] for panel in panels] == [1, 2, 4, 10]
    assert all((panel.weights[heavy:] == 1).all() for panel in panels)
    for panel in panels:
        np.testing.assert_array_equal(panel.points[0], panels[0].points[0])
    _, _, four, ten = panels
    for panel in (four, ten):
        assert panel.path_lengths[:heavy].max() < 0.5 * panel.path_lengths[heavy:].min()
    assert ten.path_lengths[:heavy].max() < 0.3 * four.path_lengths[:heavy].min()
    assert math.degrees(min_angle(ten.points[-1])) < 30 < 55 < math.degrees(min_angle(panels[0].points[-1]))


def test_a_panel_is_descent_on_weighted_mhe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent, "_STEPS", 1)
    panel = figure_d1(1)[1]
    w = torch.tensor(panel.points[0], requires_grad=True)
    loss = reference.energy(w, 2, torch.tensor(panel.weights)) * 2 / 90
    (gradient,) = torch.autograd.grad(loss, w)
    moved = (w - 0.2 * gradient).detach().numpy()
    np.testing.assert_allclose(panel.points[1], moved / np.linalg.norm(moved, axis=1, keepdims=True), atol=1e-12)
