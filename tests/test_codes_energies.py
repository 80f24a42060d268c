import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import reference_energies as reference
from onsphere import functional
from onsphere.codes import energy_search
from onsphere.codes import potential as potentials
from onsphere.codes.code import Progress
from onsphere.codes.energies import energy, minimise_energy
from onsphere.codes.energy_search import newton
from onsphere.codes.interior_point import tangents
from onsphere.codes.potential import Potential

Points = NDArray[np.float64]
# Smale, "Mathematical problems for the next century"; the values are on Wikipedia's "Thomson problem".
THOMSON = {
    2: 0.5,
    3: 1.732050808,
    4: 3.674234614,
    5: 6.474691495,
    6: 9.985281374,
    8: 19.675287861,
    12: 49.165253058,
    16: 92.911655302,
    20: 150.881568334,
    32: 412.261274651,
    60: 1543.830400976,
}
CASES = [
    (s, weighted, half) for s in (0.0, 1e-4, 1.0, 2.5, 40.0) for weighted in (False, True) for half in (False, True)
]


def _random(n: int = 6, d: int = 4, seed: int = 0) -> tuple[Points, Points]:
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, d))
    return x / np.linalg.norm(x, axis=1, keepdims=True), random.uniform(0.5, 2.0, n)


def _potential(s: float, beta: Points | None, half_space: bool) -> Potential:
    return Potential(s, None if beta is None else beta[:, None], half_space)


@pytest.mark.parametrize(("s", "weighted", "half_space"), CASES)
def test_energy_is_the_sum_over_pairs(s: float, weighted: bool, half_space: bool) -> None:
    x, beta = _random()
    weights = beta if weighted else None
    expected = reference.energy(torch.tensor(x), s, torch.tensor(beta) if weighted else None, half_space).item()
    assert energy(3 * x, s, weights=weights, half_space=half_space) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("s", [0.0, 1.0, 2.0])
def test_mhe_is_twice_the_energy_over_the_ordered_pairs(s: float) -> None:
    x, beta = _random(7, 3)
    n = len(x)
    w, b = torch.tensor(x), torch.tensor(beta)
    assert functional.mhe(w, s).item() == pytest.approx(2 * energy(x, s) / (n * (n - 1)), rel=1e-12)
    own = -np.log(2 * beta) if s == 0 else (2 * beta) ** (-s)
    half = (2 * energy(x, s, weights=beta, half_space=True) + 2 * own.sum()) / (2 * n * (2 * n - 1))
    assert functional.mhe(w, s, weights=b, half_space=True).item() == pytest.approx(half, rel=1e-12)


@pytest.mark.parametrize(("s", "weighted", "half_space"), CASES)
def test_gradient_and_hessian_are_those_of_the_literal_potential(s: float, weighted: bool, half_space: bool) -> None:
    x, beta = _random()
    literal_weights = torch.tensor(beta) if weighted else None
    potential = _potential(s, beta if weighted else None, half_space)
    value, gradient = potential.evaluate(x)
    leaf = torch.tensor(x, requires_grad=True)
    expected = reference.potential(leaf, s, literal_weights, half_space)
    expected.backward()
    assert leaf.grad is not None
    assert value == pytest.approx(expected.item(), abs=1e-11)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-9, atol=1e-10)

    hessian, local, bases = potential.hessian(x)
    np.testing.assert_allclose(np.einsum("ika,ia->ik", bases, local.reshape(len(x), -1)), gradient, atol=1e-12)
    for seed in range(3):
        flat = np.random.default_rng(seed).standard_normal(len(local))
        velocity = torch.tensor(np.einsum("ika,ia->ik", bases, flat.reshape(len(x), -1)))
        speed = velocity.norm(dim=1, keepdim=True)

        def along(t: torch.Tensor, velocity: torch.Tensor = velocity, speed: torch.Tensor = speed) -> torch.Tensor:
            moved = torch.cos(t * speed) * torch.tensor(x) + torch.sin(t * speed) / speed * velocity
            return reference.potential(moved, s, literal_weights, half_space)

        second = torch.autograd.functional.hessian(along, torch.zeros((), dtype=torch.float64))
        assert isinstance(second, torch.Tensor)
        assert flat @ hessian @ flat == pytest.approx(second.item(), rel=1e-7, abs=1e-6)


def test_tiles_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x, beta = _random(9, 3)
    for half_space in (False, True):
        potential = _potential(1.0, beta, half_space)
        value, gradient = potential.evaluate(x)
        with monkeypatch.context() as patch:
            patch.setattr(potentials, "_TILE", 20)
            tiled, tiled_gradient = potential.evaluate(x)
        assert tiled == pytest.approx(value, abs=1e-15)
        np.testing.assert_allclose(tiled_gradient, gradient, atol=1e-15)


def test_tangent_bases_are_orthonormal_and_tangent() -> None:
    x = np.concatenate([_random(5, 4)[0], np.eye(4), -np.eye(4)])
    bases = tangents(x)
    frames = np.concatenate([x[:, :, None], bases], 2)
    np.testing.assert_allclose(frames.transpose(0, 2, 1) @ frames, np.broadcast_to(np.eye(4), (13, 4, 4)), atol=1e-14)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), s=st.sampled_from([0.0, 1.0, 7.0]), half_space=st.booleans())
def test_rotations_and_permutations_change_nothing(seed: int, s: float, half_space: bool) -> None:
    x, beta = _random(6, 3, seed)
    random = np.random.default_rng(seed + 1)
    turn, _ = np.linalg.qr(random.standard_normal((3, 3)))
    order = random.permutation(6)
    before = energy(x, s, weights=beta, half_space=half_space)
    after = energy((x @ turn)[order], s, weights=beta[order], half_space=half_space)
    assert after == pytest.approx(before, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("n", THOMSON)
def test_thomson(n: int) -> None:
    found = minimise_energy(n, 3, 1, restarts=12)
    assert found.energy == pytest.approx(THOMSON[n], abs=6e-10)
    assert energy(found.points, 1) == pytest.approx(found.energy, rel=1e-14)


def test_whyte_of_the_octahedron() -> None:
    assert minimise_energy(6, 3, 0, restarts=3).energy == pytest.approx(-9 * math.log(2), abs=1e-13)


@pytest.mark.parametrize("s", [0.0, 1e-3, 1.0, 2.0, 30.0, 512.0])
def test_riesz_energies_of_the_icosahedron_and_the_simplex(s: float) -> None:
    assert minimise_energy(12, 3, s, restarts=4).energy == pytest.approx(reference.icosahedron_energy(s), rel=1e-12)
    searched = minimise_energy(5, 4, s, restarts=2, start=_random(5, 4)[0])
    assert searched.origin != "simplex"
    for found in (searched, minimise_energy(5, 4, s)):
        assert found.energy == pytest.approx(reference.simplex_energy(5, s), rel=1e-11)


def test_an_energy_that_no_float_holds_has_a_logarithm() -> None:
    found = minimise_energy(24, 3, 5000.0, restarts=2)
    closest = math.log(np.linalg.norm(found.points[:, None] - found.points, axis=2)[np.triu_indices(24, 1)].min())
    assert found.energy == math.inf
    assert found.log_energy is not None
    assert 0 <= found.log_energy + 5000 * closest <= math.log(24 * 23 / 2)


def test_half_space_spreads_lines() -> None:
    axes = minimise_energy(6, 3, 1, half_space=True, restarts=5)  # of the icosahedron
    np.testing.assert_allclose(np.abs(axes.points @ axes.points.T)[np.triu_indices(6, 1)], 1 / math.sqrt(5), atol=1e-12)
    assert axes.energy == pytest.approx(reference.icosahedron_energy(1) - 6 / 2, rel=1e-14)
    square = minimise_energy(3, 3, 2, half_space=True)
    assert square.energy == pytest.approx(
        minimise_energy(3, 3, 2, half_space=True, start=_random(3, 3)[0], restarts=1).energy
    )
    assert square.origin == "orthonormal set"


def test_a_heavy_point_leaves_the_others_to_themselves() -> None:
    alone = minimise_energy(9, 3, 2, restarts=5).energy
    excess = []
    for beta in (1.0, 2.0, 4.0, 10.0):
        found = minimise_energy(10, 3, 2, weights=[beta] + [1.0] * 9, restarts=5)
        excess.append(energy(found.points[1:], 2) / alone - 1)
    assert excess[0] > excess[1] > excess[2] > excess[3] >= -1e-12
    assert excess[3] < 1e-3


@pytest.mark.parametrize(("d", "s", "half_space"), [(3, 1.0, False), (4, 0.0, True), (3, 200.0, False)])
def test_a_minimum_has_no_gradient_and_no_way_down(d: int, s: float, half_space: bool) -> None:
    found = minimise_energy(11, d, s, half_space=half_space, restarts=2, weights=np.linspace(1, 1.2, 11))
    potential = _potential(s, np.linspace(1, 1.2, 11), half_space)
    _, gradient = potential.evaluate(found.points)
    assert np.linalg.norm(gradient) < 1e-12
    assert np.linalg.eigvalsh(potential.hessian(found.points)[0]).min() > -1e-10


def test_newton_squares_the_distance_and_leaves_a_saddle() -> None:
    potential = Potential(1.0, None, False)
    best = minimise_energy(12, 3, 1, restarts=1).points
    near = best + 1e-3 * np.random.default_rng(0).standard_normal(best.shape)
    near /= np.linalg.norm(near, axis=1, keepdims=True)
    assert potential.evaluate(newton(potential, near))[0] == pytest.approx(potential.evaluate(best)[0], abs=1e-15)
    square = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]])  # all forces vanish, but the simplex is lower
    assert minimise_energy(4, 3, 1, start=square, restarts=1).energy == pytest.approx(THOMSON[4], abs=1e-9)


def test_steps_by_minres_end_where_eigenvectors_do(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = minimise_energy(20, 3, 1, restarts=1, seed=3)
    monkeypatch.setattr(energy_search, "_EIGENVECTORS", 0)
    found = minimise_energy(20, 3, 1, restarts=1, seed=3)
    assert np.linalg.norm(Potential(1.0, None, False).evaluate(found.points)[1]) < 1e-12
    assert found.energy == pytest.approx(expected.energy, rel=1e-14)


def test_the_same_seed_gives_the_same_bits() -> None:
    first, second = (minimise_energy(13, 3, 1, restarts=3, seed=5) for _ in range(2))
    assert first.points.tobytes() == second.points.tobytes()
    assert (first.energy, first.origin) == (second.energy, second.origin)
    other = minimise_energy(13, 3, 1, restarts=3, seed=6)
    assert other.points.tobytes() != first.points.tobytes()


def test_what_a_search_returns() -> None:
    seen: list[Progress] = []
    found = minimise_energy(25, 3, 1, restarts=8, progress=seen.append)
    values = [step.value for step in found.history]
    assert values == sorted(values, reverse=True)
    assert values[-1] == found.energy
    assert found.history[-1].origin == found.origin == "random start"
    assert found.complete
    assert found.log_energy == pytest.approx(math.log(found.energy))
    np.testing.assert_allclose(np.linalg.norm(found.points, axis=1), 1, atol=1e-15)
    with pytest.raises(ValueError, match="read-only"):
        found.points[0, 0] = 0.0
    assert seen[-1] == Progress(1.0, found.energy, "done")


def test_a_search_ends_early_where_starts_agree() -> None:
    assert minimise_energy(5, 3, 1, budget_s=1e6).energy == pytest.approx(THOMSON[5], abs=1e-9)


def test_hops_go_on_where_starts_end_and_go_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()  # a clock that counts how often it is looked at, so that the test is the same everywhere
    monkeypatch.setattr(energy_search, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 10000))
    found = minimise_energy(60, 3, 2, budget_s=1.0, weights=np.linspace(1, 1.5, 60))
    starts = [step for step in found.history if step.origin == "random start"]
    assert found.energy < starts[-1].value
    assert found.origin.startswith("hop: ")


def test_the_given_start_comes_first_and_points_may_coincide() -> None:
    start = np.ones((7, 3))
    found = minimise_energy(7, 3, 1, start=start, restarts=1)
    assert found.origin == "given start"
    assert found.energy == pytest.approx(14.452977414, abs=1e-9)


def test_interrupt_returns_the_best_so_far() -> None:
    def interrupt(step: Progress) -> None:
        raise KeyboardInterrupt

    found = minimise_energy(2000, 3, 1, budget_s=30.0, progress=interrupt)
    assert not found.complete
    random = 2000**2 / 2  # the mean over random configurations is n (n - 1) / 2
    assert energy(found.points, 1) == pytest.approx(found.energy, rel=1e-12)
    assert found.energy < random


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: minimise_energy(1, 3, 1), r"n must be at least 2 points, got 1"),
        (lambda: minimise_energy(4, 1, 1), r"d must be at least 2 dimensions, got 1"),
        (lambda: minimise_energy(4, 3, -0.5), r"s must be a finite number >= 0, got -0.5"),
        (lambda: minimise_energy(4, 3, math.inf), r"s must be .* got inf"),
        (lambda: minimise_energy(4, 3, math.nan), r"s must be .* got nan"),
        (lambda: minimise_energy(4, 3, 1, budget_s=0), r"budget_s must be a positive .* got 0"),
        (lambda: minimise_energy(4, 3, 1, restarts=0), r"restarts must be at least 1.* got 0"),
        (lambda: minimise_energy(4, 3, 1, seed=-3), r"seed must be an integer >= 0, got -3"),
        (lambda: minimise_energy(4, 3, 1, weights=[1, 2, 0, 1]), r"4 positive finite numbers.* got \[1, 2, 0, 1\]"),
        (lambda: minimise_energy(2, 3, 1, weights=[1e-200, 1]), r"from 1e-50 to 1e\+50, got \[1e-200, 1\]"),
        (lambda: minimise_energy(2, 3, 1, weights=[1, math.nan]), r"got \[1, nan\]"),
        (lambda: minimise_energy(4, 3, 1, weights=[1, 2]), r"4 positive finite numbers.* got \[1, 2\]"),
        (lambda: minimise_energy(4, 3, 1, start=np.eye(3)), r"\(n, d\) = \(4, 3\).* got shape \(3, 3\)"),
        (lambda: minimise_energy(2, 2, 1, start=[[1, 0], [0, math.nan]]), r"finite, got nan in row 1, column 1"),
        (lambda: energy(np.eye(3)[0], 1), r"expected a matrix .* got shape \(3,\)"),
        (lambda: energy([[1.0, 0.0], [0.0, 0.0]], 1), r"length 0 has no direction: row 1 is \[0. 0.\]"),
        (lambda: energy(np.eye(3), -1), r"s must be .* got -1"),
        (lambda: energy(np.eye(3), 1, weights=[1, 1, -1]), r"3 positive finite numbers.* got \[1, 1, -1\]"),
    ],
)
def test_bad_input_is_repeated(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_points_that_coincide_have_infinite_energy() -> None:
    assert energy([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]], 0) == math.inf
    assert energy([[1.0, 0.0], [-2.0, 0.0]], 1, half_space=True) == math.inf
