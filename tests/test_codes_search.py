import math
import time
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import nnls

import reference_search as reference
from onsphere.codes import exact, hopping, interior_point, relaxation, symmetric
from onsphere.codes.code import Progress
from onsphere.codes.interior_point import polish, tangents
from onsphere.codes.packing_angle import cap_share, packing_angle
from onsphere.codes.pairs import closest_pairs
from onsphere.codes.relaxation import largest_cosine, unit
from onsphere.codes.search import Search
from onsphere.codes.starts import ARMS, Arm, begin

Array = NDArray[np.float64]
ICOSAHEDRON = math.degrees(math.acos(1 / math.sqrt(5)))


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _random(n: int, d: int, seed: int = 0) -> Array:
    return unit(np.random.default_rng(seed).standard_normal((n, d)))


def _rotation(d: int, seed: int = 0) -> Array:
    return np.asarray(np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0])


def _lengths(x: Array) -> Array:
    return np.asarray(np.linalg.norm(x, axis=1))


# Relaxation


@pytest.mark.parametrize("sharpness", [1.0, 7.5, 200.0])
@pytest.mark.parametrize(("n", "d"), [(2, 3), (7, 3), (9, 5)])
def test_the_soft_maximum_is_the_sum_over_pairs_and_its_gradient(n: int, d: int, sharpness: float) -> None:
    w = np.random.default_rng(n).standard_normal((n, d))
    leaf = torch.tensor(w, requires_grad=True)
    expected = reference.soft_maximum(leaf, sharpness)
    expected.backward()
    value, gradient = relaxation.soft_maximum(w.ravel(), n, d, sharpness)
    assert value == pytest.approx(expected.item(), rel=1e-12, abs=1e-12)
    assert leaf.grad is not None
    np.testing.assert_allclose(gradient.reshape(n, d), leaf.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 60.0])
@pytest.mark.parametrize(("n", "d"), [(2, 3), (7, 3), (9, 5)])
def test_the_log_riesz_energy_is_the_sum_over_pairs_and_its_gradient(n: int, d: int, sharpness: float) -> None:
    w = np.random.default_rng(n).standard_normal((n, d))
    leaf = torch.tensor(w, requires_grad=True)
    expected = reference.log_riesz(leaf, sharpness, reference.all_pairs(n))
    expected.backward()
    value, gradient = relaxation.log_riesz(w.ravel(), n, d, sharpness)
    assert value == pytest.approx(expected.item(), rel=1e-12, abs=1e-12)
    assert leaf.grad is not None
    np.testing.assert_allclose(gradient.reshape(n, d), leaf.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("smooth", [relaxation.soft_maximum, relaxation.log_riesz])
@pytest.mark.parametrize("sharpness", [1e-3, 1e4, 1e12])
def test_extreme_sharpness_and_equal_points_stay_finite(smooth: relaxation.Smooth, sharpness: float) -> None:
    w = np.random.default_rng(0).standard_normal((6, 3))
    w[1], w[3] = w[0], 2 * w[2]
    value, gradient = smooth(w.ravel(), 6, 3, sharpness)
    assert math.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("stages", [relaxation.soft_stages, relaxation.riesz_stages])
@pytest.mark.parametrize("close", [False, True])
def test_stages_give_unit_rows_further_apart(
    stages: Callable[[Array, tuple[float, ...], int], Array], close: bool
) -> None:
    x = _random(11, 4)
    if close:
        x = unit(x[:1] + 1e-3 * x)
    y = stages(x, (2, 30, 300), 60)
    np.testing.assert_allclose(_lengths(y), 1, atol=1e-14)
    assert largest_cosine(y) < largest_cosine(x)
    assert largest_cosine(y) == pytest.approx(reference.largest_cosine(torch.tensor(y)), abs=1e-15)


@pytest.mark.parametrize("cosine", [1 + 1e-15, 1.0, 0.3, -1.0, -1 - 1e-15])
def test_angle_of_is_the_arc_cosine_and_forgives_rounding(cosine: float) -> None:
    assert relaxation.angle_of(cosine) == math.acos(max(-1.0, min(1.0, cosine)))


# The scale of a code


@pytest.mark.parametrize("angle", [0.01, 0.4, 1.2, math.pi / 2])
def test_the_share_of_a_cap_has_closed_forms(angle: float) -> None:
    assert cap_share(angle, 2) == pytest.approx(angle / math.pi)
    assert cap_share(angle, 3) == pytest.approx((1 - math.cos(angle)) / 2)
    assert cap_share(angle, 4) == pytest.approx((angle - math.sin(angle) * math.cos(angle)) / math.pi)


@pytest.mark.parametrize("n", [100, 10_000, 1_000_000])
def test_the_packing_angle_covers_the_share_of_the_densest_packing(n: int) -> None:
    assert n * cap_share(packing_angle(n, 3) / 2, 3) == pytest.approx(2**-0.141, rel=1e-9)
    hexagonal = math.sqrt(8 * math.pi / (math.sqrt(3) * n))
    assert packing_angle(n, 3) == pytest.approx(hexagonal, rel=0.01)


@pytest.mark.parametrize(("n", "d"), [(2, 2), (3, 3), (6, 3), (300, 100), (2, 500)])
def test_the_packing_angle_of_few_points_is_at_most_the_simplex(n: int, d: int) -> None:
    assert 0 < packing_angle(n, d) <= math.acos(-1 / (n - 1))


# The interior point method


@pytest.mark.parametrize(("n", "d"), [(5, 2), (6, 3), (4, 8)])
def test_tangents_are_orthonormal_and_tangential(n: int, d: int) -> None:
    x = np.concatenate([_random(n, d), np.eye(d), -np.eye(d)])
    basis = tangents(x)
    assert basis.shape == (n + 2 * d, d, d - 1)
    np.testing.assert_allclose(np.einsum("nd,ndk->nk", x, basis), 0, atol=1e-15)
    np.testing.assert_allclose(
        np.einsum("ndk,ndl->nkl", basis, basis), np.broadcast_to(np.eye(d - 1), (len(x), d - 1, d - 1)), atol=2e-15
    )


@pytest.mark.parametrize(("n", "d"), [(5, 3), (6, 4), (4, 2)])
def test_the_newton_matrix_is_that_of_the_lagrangian(n: int, d: int) -> None:
    x, rng = _random(n, d), np.random.default_rng(1)
    pairs = interior_point._Pairs(x)
    pairs.i, pairs.j = np.triu_indices(n, 1)
    g = pairs.cosines(x)
    lam, weight = rng.uniform(0.1, 1, len(g)), rng.uniform(0.1, 9, len(g))
    system = interior_point._System(x, pairs)
    size = n * (d - 1) + 1
    matrix = np.empty((size, size))
    system.fill(matrix, lam, weight, g)
    expected = reference.newton_matrix(
        torch.tensor(x), torch.tensor(system.basis), torch.tensor(lam), torch.tensor(weight), reference.all_pairs(n)
    )
    np.testing.assert_allclose(matrix, expected.numpy(), atol=1e-12)


def test_along_and_pull_are_the_change_of_the_cosines_and_its_adjoint() -> None:
    x, rng = _random(7, 4), np.random.default_rng(1)
    pairs = interior_point._Pairs(x)
    system = interior_point._System(x, pairs)
    dx, weight = rng.standard_normal((7, 3)), rng.standard_normal(len(pairs.i))
    moved = unit(x + 1e-6 * np.einsum("ndk,nk->nd", system.basis, dx))
    np.testing.assert_allclose(system.along(dx), (pairs.cosines(moved) - pairs.cosines(x)) / 1e-6, atol=2e-5)
    assert weight @ system.along(dx) == pytest.approx(float((system.pull(weight) * dx).sum()))


def test_pairs_hold_all_that_matter_when_points_are_opposite_or_equal() -> None:
    opposite = unit(np.array([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]))
    assert list(
        zip(*np.array([interior_point._Pairs(opposite).i, interior_point._Pairs(opposite).j]), strict=True)
    ) == [(0, 1)]
    equal = unit(np.ones((5, 3)))
    assert len(interior_point._Pairs(equal).i) == 10


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 14), st.integers(2, 5), st.integers(0, 10**6), st.sampled_from([0.0, 1e-12, 1e-6, 1.0]))
def test_a_polish_is_never_worse_than_its_start(n: int, d: int, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    x[1:] = x[0] + spread * x[1:]
    if spread == 1:
        x[-1] = x[0] + 1e-8 * x[-1]  # one pair nearly equal
    x = unit(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = polish(x)
    assert found.cosine <= largest_cosine(x) + 4e-16  # two ways to round
    assert found.cosine == pytest.approx(reference.largest_cosine(torch.tensor(found.points)), abs=1e-15)
    np.testing.assert_allclose(_lengths(found.points), 1, atol=1e-14)


@pytest.mark.parametrize(("n", "d", "cosine"), [(12, 3, 1 / math.sqrt(5)), (3, 3, -0.5), (4, 3, -1 / 3), (2, 4, -1.0)])
def test_a_polish_comes_to_the_optimum_with_all_digits(n: int, d: int, cosine: float) -> None:
    assert polish(_random(n, d)).cosine == pytest.approx(cosine, abs=1e-12)


@pytest.mark.parametrize(("n", "d"), [(12, 3), (13, 3), (20, 3), (14, 4), (16, 5)])
def test_the_polished_code_has_multipliers_in_balance(n: int, d: int) -> None:
    found = polish(relaxation.soft_stages(_random(n, d, 3), (30, 100), 100))
    assert found.converged
    x = found.points
    _, contacts = closest_pairs(x, 1e-8)
    i, j = contacts.T
    # Column p: the tangential pull that contact p has on all points, and a last row of ones for the sum of all.
    pulls = np.zeros((n, d, len(contacts)))
    each, cosines = np.arange(len(contacts)), (x[i] * x[j]).sum(1)[:, None]
    pulls[i, :, each] += x[j] - cosines * x[i]
    pulls[j, :, each] += x[i] - cosines * x[j]
    balance = np.vstack([pulls.reshape(n * d, -1), np.ones(len(contacts))])
    right = np.append(np.zeros(n * d), 1.0)
    multipliers, residual = nnls(balance, right)
    assert residual < 1e-7
    assert multipliers.sum() == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize(("n", "d"), [(10, 3), (13, 4)])
def test_a_polish_follows_a_rotation(n: int, d: int) -> None:
    x = relaxation.soft_stages(_random(n, d), (10, 30), 100)
    assert polish(x @ _rotation(d)).cosine == pytest.approx(polish(x).cosine, abs=1e-9)


def test_a_polish_ends_at_its_deadline_with_what_it_has() -> None:
    x = _random(12, 3)
    found = polish(x, deadline=time.monotonic() - 1)
    assert (found.steps, found.converged) == (0, False)
    np.testing.assert_array_equal(found.points, x)


def test_a_polish_gives_up_where_nothing_better_is_in_sight() -> None:
    x = _random(12, 3)
    whole, hopeless = polish(x), polish(x, best=-0.9)
    assert whole.converged
    assert not hopeless.converged
    assert hopeless.steps < whole.steps


# Moves


@pytest.mark.parametrize("name", list(hopping.MOVES))
@pytest.mark.parametrize(("n", "d"), [(9, 2), (3, 3), (4, 3), (7, 3), (12, 4), (30, 8)])
def test_moves_keep_the_size_and_the_sphere_and_change_something(name: str, n: int, d: int) -> None:
    x = polish(_random(n, d)).points
    before = x.copy()
    moved = [hopping.MOVES[name][0](x, 0.5, np.random.default_rng(seed)) for seed in range(4)]
    for y in moved:
        assert y.shape == (n, d)
        np.testing.assert_allclose(_lengths(y), 1, atol=1e-14)
    assert max(float(np.abs(y - x).max()) for y in moved) > 1e-3
    np.testing.assert_array_equal(x, before)


def test_all_moves_occur_and_equal_chance_gives_equal_moves() -> None:
    x = exact.cross_polytope(8, 4)
    names = {hopping.hop(x, 1.0, np.random.default_rng(seed))[0] for seed in range(60)}
    assert names == set(hopping.MOVES)
    first, second = (hopping.hop(x, 1.0, np.random.default_rng(5))[1] for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert sum(share for _, share in hopping.MOVES.values()) == pytest.approx(1)


def test_holes_are_far_from_the_points_and_from_each_other() -> None:
    x = exact.cross_polytope(6, 3)
    found = hopping.holes(x, 8, np.random.default_rng(0))
    corners = np.abs(found @ x.T).max(1)  # the holes are the corners of the cube, at cosine 1 / sqrt 3
    assert len(found) >= 4
    assert corners.max() < 0.8
    assert largest_cosine(found) < 0.9


# Symmetric starts

GROUPS: list[tuple[str, symmetric.Bonds, int, int]] = [
    ("A3", {(0, 1): 3, (1, 2): 3}, 3, 24),
    ("B3", {(0, 1): 3, (1, 2): 4}, 3, 48),
    ("H3", {(0, 1): 3, (1, 2): 5}, 3, 120),
    ("D4", {(0, 1): 3, (1, 2): 3, (1, 3): 3}, 4, 192),
    ("F4", {(0, 1): 3, (1, 2): 4, (2, 3): 3}, 4, 1152),
    ("I2(7)", {(0, 1): 7}, 2, 14),
    ("A1 A1 A1", {}, 3, 8),
]


def _reflections(bonds: symmetric.Bonds, rank: int) -> list[Array]:
    return [np.eye(rank) - 2 * np.outer(root, root) for root in symmetric.simple_roots(bonds, rank)]


@pytest.mark.parametrize(("name", "bonds", "rank", "order"), GROUPS, ids=[group[0] for group in GROUPS])
def test_reflection_groups_have_their_orders(name: str, bonds: symmetric.Bonds, rank: int, order: int) -> None:
    reflections = _reflections(bonds, rank)
    group = symmetric.closure(reflections, order)
    assert group is not None
    assert len(group) == order
    np.testing.assert_array_equal(group[0], np.eye(rank))
    assert symmetric.closure(reflections, order - 1) is None


def test_orbits_are_invariant_under_their_group() -> None:
    reflections = _reflections(*GROUPS[1][1:3])
    group = symmetric.closure(reflections, 48)
    assert group is not None
    for x in (np.array([0.1, 0.5, 0.8]), symmetric.simple_roots(*GROUPS[1][1:3])[0]):
        points = symmetric.orbit(group, x)
        assert 48 % len(points) == 0
        for reflection in reflections:
            distances = np.linalg.norm((points @ reflection)[:, None] - points[None], axis=2)
            np.testing.assert_allclose(distances.min(1), 0, atol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(7, 3), (12, 3), (13, 3), (31, 4), (40, 5), (30, 8)])
def test_a_symmetric_start_has_exactly_n_different_points(n: int, d: int) -> None:
    found = [symmetric.symmetric_start(n, d, np.random.default_rng(seed)) for seed in range(8)]
    starts = [each for each in found if each is not None]
    assert starts
    for points, order in starts:
        assert points.shape == (n, d)
        assert order > 1
        np.testing.assert_allclose(_lengths(points), 1, atol=1e-12)
        assert largest_cosine(points) < 1 - 1e-13


@pytest.mark.parametrize("rank", range(1, 9))
def test_irreducible_diagrams_are_those_of_finite_groups(rank: int) -> None:
    for seed in range(12):
        bonds = symmetric.irreducible(rank, np.random.default_rng(seed))
        roots = symmetric.simple_roots(bonds, rank)  # fails where the form is not positive definite
        np.testing.assert_allclose(_lengths(roots), 1, atol=1e-12)
        assert len(bonds) == rank - 1


# Starts and the search


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: f"{arm.name} {arm.symmetric}")
@pytest.mark.parametrize(("n", "d"), [(8, 3), (13, 5), (30, 8)])
def test_every_arm_gives_a_start(arm: Arm, n: int, d: int) -> None:
    origin, x = begin(n, d, arm, np.random.default_rng(1))
    assert x.shape == (n, d)
    np.testing.assert_allclose(_lengths(x), 1, atol=1e-14)
    assert arm.name in origin
    assert largest_cosine(x) < largest_cosine(_random(n, d, 1))


def _search(n: int, d: int, attempts: int, seed: int = 0, start: Array | None = None) -> Search:
    search = Search(n, d, seed, 60.0, attempts, None, None)
    search.run(start)
    return search


def test_a_search_makes_its_attempts_and_hops(monkeypatch: pytest.MonkeyPatch) -> None:
    hops = 0

    def counted(x: Array, angle: float, rng: np.random.Generator) -> tuple[str, Array]:
        nonlocal hops
        hops += 1
        return hopping.hop(x, angle, rng)

    monkeypatch.setattr("onsphere.codes.search.hop", counted)
    search = _search(9, 3, 30)
    assert search.made == 30
    assert hops == 20  # after one round of ten arms the best is hopped from
    assert search.points is not None
    assert largest_cosine(search.points) == search.cosine
    assert math.degrees(math.acos(search.cosine)) == pytest.approx(70.528779366, abs=1e-8)


def test_equal_seeds_give_equal_searches() -> None:
    first, second, other = _search(14, 4, 15), _search(14, 4, 15), _search(14, 4, 15, seed=1)
    assert first.points is not None
    np.testing.assert_array_equal(first.points, second.points)
    assert [(each.value, each.origin) for each in first.history] == [
        (each.value, each.origin) for each in second.history
    ]
    assert not np.array_equal(first.points, other.points)


def test_costly_starts_are_relaxed_first_and_only_the_best_polished(monkeypatch: pytest.MonkeyPatch) -> None:
    polished = 0

    def counted(x: Array, best: float = math.inf, deadline: float = math.inf) -> interior_point.Polished:
        nonlocal polished
        polished += 1
        return polish(x, best, deadline)

    monkeypatch.setattr("onsphere.codes.search.COSTLY", 1)
    monkeypatch.setattr("onsphere.codes.search.polish", counted)
    search = _search(12, 3, 11)
    assert search.made == 11
    assert polished == 3  # of ten starts two, and a hop
    assert math.degrees(math.acos(search.cosine)) == pytest.approx(ICOSAHEDRON, abs=1e-9)


def test_the_budget_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.25
        return now

    for module in ("search", "interior_point"):
        monkeypatch.setattr(f"onsphere.codes.{module}.time", SimpleNamespace(monotonic=clock))
    seen: list[Progress] = []
    search = Search(13, 3, 0, 50.0, None, None, seen.append, began=0.0)
    search.run()
    assert search.points is not None
    assert now < 50.0 + 5.0  # what follows the deadline is one relaxation and its report
    assert len(seen) > 1
    assert seen[-1].share == 1.0


def test_the_smallest_budget_gives_a_code() -> None:
    search = Search(12, 3, 0, 1e-9, None, None, None)
    search.run()
    assert search.points is not None
    assert largest_cosine(search.points) < 1


def test_a_target_ends_the_search() -> None:
    search = Search(13, 3, 0, 60.0, None, math.radians(50), None)
    search.run()
    assert search.made == 1
    assert math.acos(search.cosine) >= math.radians(50)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_polish_that_ends_early_is_not_worse_than_its_start(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interior_point, "STEPS", steps)
    x = relaxation.soft_stages(_random(20, 3), (30, 300, 3000), 100)
    found = polish(x)
    assert not found.converged
    assert found.cosine <= largest_cosine(x)
