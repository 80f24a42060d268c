import math
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

import reference_search as reference
from onsphere.codes import large
from onsphere.codes.asymptotics import hexagonal_angle
from onsphere.codes.code import Progress
from onsphere.codes.large import Spread, Stage, fibonacci, near_pairs
from onsphere.codes.packing_angle import cap_share, packing_angle
from onsphere.codes.pairs import min_angle
from onsphere.codes.relaxation import soft_maximum, unit

Array = NDArray[np.float64]
Literal = Callable[[Tensor, float, reference.Pairs], Tensor]


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _random(n: int, d: int, seed: int = 0) -> Array:
    return unit(np.random.default_rng(seed).standard_normal((n, d)))


def _spread(n: int, d: int, budget_s: float = 60.0, seed: int = 0) -> Spread:
    return Spread(n, d, seed, budget_s, None, None)


# Energies of near pairs


@pytest.mark.parametrize("scratch", [1 << 22, 30])  # all pairs at once, and a few at a time
@pytest.mark.parametrize(
    ("energy", "literal", "sharpness"),
    [
        (large.riesz, reference.log_riesz, 1.5),
        (large.riesz, reference.log_riesz, 200.0),
        (large.soft_spheres, reference.soft_spheres, 0.7),
        (large.soft_spheres, reference.soft_spheres, 1.9),
    ],
)
def test_energies_are_the_sums_over_the_pairs_and_their_gradients(
    energy: large.Energy, literal: Literal, sharpness: float, scratch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "SCRATCH", scratch)
    w = np.random.default_rng(3).standard_normal((12, 4))
    i, j = near_pairs(unit(w), 1.4)
    assert 10 < len(i) < 66
    leaf = torch.tensor(w, requires_grad=True)
    expected = literal(leaf, sharpness, list(zip(i.tolist(), j.tolist(), strict=True)))
    expected.backward()
    value, gradient = energy(w.ravel(), 12, 4, sharpness, i, j)
    assert value == pytest.approx(expected.item(), rel=1e-12)
    assert leaf.grad is not None
    np.testing.assert_allclose(gradient.reshape(12, 4), leaf.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("energy", [large.riesz, large.soft_spheres])
@pytest.mark.parametrize("sharpness", [1e-3, 1e5])
def test_equal_points_and_extreme_sharpness_stay_finite(energy: large.Energy, sharpness: float) -> None:
    w = np.random.default_rng(3).standard_normal((6, 3))
    w[1], w[3] = w[0], 3 * w[2]
    i, j = np.triu_indices(6, 1)
    value, gradient = energy(w.ravel(), 6, 3, sharpness, i, j)
    assert math.isfinite(value)
    assert np.isfinite(gradient).all()


# Lists of pairs


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 40), st.sampled_from([2, 3, 4, 5, 6, 9]), st.floats(0.05, 1.6), st.integers(0, 10**6))
def test_near_pairs_are_all_pairs_within_the_angle(n: int, d: int, angle: float, seed: int) -> None:
    x = _random(n, d, seed)
    i, j = near_pairs(x, angle)
    found = list(zip(i.tolist(), j.tolist(), strict=True))
    assert len(found) == len(set(found))
    assert set(found) == reference.near_pairs(torch.tensor(x), angle)


@pytest.mark.parametrize("d", [3, 6])
def test_tiles_and_tree_miss_no_pair_of_many_points(d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "TILE", 64)
    x = _random(300, d)
    i, j = near_pairs(x, 0.5)
    a, b = np.nonzero(np.triu(x @ x.T > math.cos(0.5), 1))
    assert sorted(zip(i.tolist(), j.tolist(), strict=True)) == list(zip(a.tolist(), b.tolist(), strict=True))
    assert len(i) > 100


@pytest.mark.parametrize(("n", "d"), [(3000, 3), (5000, 6), (10_000, 100)])
def test_a_list_holds_a_bounded_number_of_neighbours(n: int, d: int) -> None:
    roomy = _spread(n, d)._roomy()
    assert n * cap_share(roomy, d) == pytest.approx(large.NEIGHBOURS, rel=1e-6)


def test_few_points_may_all_be_neighbours() -> None:
    assert _spread(150, 30)._roomy() == pytest.approx(math.pi / 2)


@pytest.mark.parametrize(("n", "d"), [(900, 3), (700, 5)])
def test_no_pair_comes_near_that_the_list_misses(n: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a list is in use no pair outside of it is closer than the cutoff less twice the skin and the last step."""
    spread = _spread(n, d)
    lists: list[tuple[Array, float]] = []
    least: list[float] = []

    def listed(x: Array, cutoff: float) -> tuple[large.Index, large.Index]:
        lists.append((x, cutoff))
        return near_pairs(x, cutoff)

    def tell(share: float, phase: str) -> None:
        x, cutoff = lists[-1]
        assert spread._now is not None
        spacing = packing_angle(n, d)
        skin = max(0.1 * spacing, 0.35 * (cutoff - 1.1 * spacing))
        moved = np.linalg.norm(spread._now - x, axis=1).max()
        if moved > skin:  # the list ends here
            return
        outside = np.ones((n, n), dtype=bool)
        i, j = near_pairs(x, cutoff)
        outside[i, j] = outside[j, i] = False
        np.fill_diagonal(outside, False)
        nearest = math.acos(float((spread._now @ spread._now.T)[outside].max()))
        least.append(nearest - (cutoff - 2 * skin * 1.02))  # a chord of the skin is a little less than its arc

    monkeypatch.setattr(large, "near_pairs", listed)
    monkeypatch.setattr(spread, "_tell", tell)
    spread._stage(_random(n, d), Stage(large.riesz, 8, 2.2, 25, ""), math.inf)
    assert len(lists) > 1
    assert min(least) >= 0


def test_the_distance_travelled_is_that_of_the_farthest_point() -> None:
    x = np.zeros((3, 4))
    y = x.copy()
    y[1], y[2, 0] = 0.5, 0.9
    assert large._travelled(y, x) == pytest.approx(1.0)


# The spread


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
def test_fibonacci_points_are_on_the_sphere_in_equal_layers(n: int) -> None:
    x = fibonacci(n)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(np.diff(x[:, 2]), -2 / (n - 1 + 2 * large.GOLDEN_OFFSET), atol=1e-12)
    if n == 1000:
        assert min_angle(x) > 0.8 * hexagonal_angle(n)


def test_1500_points_come_close_to_the_hexagonal_angle() -> None:
    spread = _spread(1500, 3)
    spread.run()
    assert spread.points is not None
    assert spread.angle >= 0.95 * hexagonal_angle(1500)
    assert spread.angle == min_angle(spread.points)
    np.testing.assert_allclose(np.linalg.norm(spread.points, axis=1), 1, atol=1e-14)
    values = [each.value for each in spread.history]
    assert values == sorted(values)
    assert len(values) > 2
    assert spread.history[-1].origin == spread.origin


@pytest.mark.parametrize(("n", "d", "better"), [(400, 8, 2.0), (300, 100, 1.2), (700, 5, 3.0)])
def test_points_in_high_dimensions_spread_without_warnings(
    n: int, d: int, better: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tuple(replace(stage, iterations=25) for stage in large.stages(n, d)[:4])
    monkeypatch.setattr(large, "stages", lambda n, d: first)
    spread = _spread(n, d)
    spread.run()
    assert spread.points is not None
    assert spread.angle > better * min_angle(_random(n, d))
    assert spread.angle == min_angle(spread.points)


def test_few_points_in_a_high_dimension_are_relaxed_all_together() -> None:
    assert all(stage.energy is soft_maximum for stage in large.stages(300, 100))
    assert all(stage.energy is large.riesz for stage in large.stages(600, 8))
    spread = _spread(60, 30)
    spread.run()
    assert math.degrees(spread.angle) == pytest.approx(90, abs=0.1)


def test_memory_grows_with_the_pairs_and_not_with_their_coordinates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "SCRATCH", 1 << 16)
    x = _random(2000, 50)
    i, j = near_pairs(x, 1.3)
    assert len(i) > 30_000
    tracemalloc.start()
    large.riesz(x.ravel(), 2000, 50, 10.0, i, j)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * 8 * 50 * len(i)


@pytest.mark.parametrize("dimension", [3, 5])
def test_equal_runs_give_equal_points(dimension: int) -> None:
    points = []
    for _ in range(2):
        spread = _spread(220, dimension, seed=4)
        spread.run()
        points.append(spread.points)
    np.testing.assert_array_equal(points[0], points[1])
    if dimension > 3:  # there all begin on the same spiral
        other = _spread(220, dimension, seed=1, budget_s=0.1)
        other.run()
        assert not np.array_equal(points[0], other.points)


@pytest.mark.parametrize("d", [3, 5])
def test_the_best_is_never_worse_than_the_start(d: int) -> None:
    first = _spread(150, d)
    first.run()
    assert first.points is not None
    again = _spread(150, d, budget_s=0.2)
    again.run(first.points)
    assert again.angle >= first.angle
    assert again.history[0].origin == "the given start"


def test_a_start_of_equal_points_is_spread() -> None:
    spread = _spread(300, 3)
    spread.run(np.tile([0.0, 0.6, 0.8], (300, 1)))
    assert spread.angle > 0.8 * hexagonal_angle(300)


@pytest.mark.parametrize(("n", "d"), [(2000, 3), (1500, 6)])
def test_a_clustered_start_is_loosened_and_a_good_one_left_as_it_is(n: int, d: int) -> None:
    spread, x = _spread(n, d), _random(n, d)
    assert np.abs(spread._loosened(x) - x).max() < 1e-5
    cluster = spread._loosened(unit(x[:1] + 1e-3 * x))
    assert len(near_pairs(cluster, spread._roomy())[0]) <= 1.5 * large.CLUSTERED * large.NEIGHBOURS * n / 2
    np.testing.assert_allclose(np.linalg.norm(cluster, axis=1), 1, atol=1e-14)


@pytest.mark.parametrize("calls", [1, 40])
def test_an_interrupted_run_keeps_the_best_so_far(calls: int) -> None:
    seen: list[Progress] = []

    def stop(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) == calls:
            raise KeyboardInterrupt

    spread = Spread(500, 4, 0, 60.0, None, stop)
    with pytest.raises(KeyboardInterrupt):
        spread.run()
    assert spread.points is not None
    assert spread.angle == min_angle(spread.points) >= min_angle(_random(500, 4))
    if calls > 1:
        assert spread.angle > 3 * min_angle(_random(500, 4))
        assert "Riesz" in spread.origin


def test_the_target_skips_what_is_left() -> None:
    spread = Spread(400, 3, 0, 60.0, 0.9 * hexagonal_angle(400) / 2, None)
    spread.run()
    assert spread.origin == "Fibonacci points"
    assert len(spread.history) == 1


def test_every_stage_has_its_share_of_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    monkeypatch.setattr(large, "time", SimpleNamespace(monotonic=clock))
    seen: list[Progress] = []
    spread = Spread(400, 4, 0, 60.0, None, seen.append, began=0.0)
    spread.run()
    shares = [progress.share for progress in seen]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    assert {progress.phase for progress in seen} == {stage.name for stage in large.stages(400, 4)}
    assert now < 60 + 3 * len(large.stages(400, 4))
