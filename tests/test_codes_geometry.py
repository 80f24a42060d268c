"""Holes, covering radius, random and minimal-energy points, gradient norms: closed forms and literal twins."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import known
import reference_geometry as reference
from onsphere import functional
from onsphere.codes import asymptotics, exact, geometry
from onsphere.codes.gradient_norms import gradient_norms

Points = NDArray[np.float64]


def _random(n: int, d: int, seed: int, lean: float = 0.0) -> Points:
    """Random points; with ``lean`` they crowd around the first axis."""
    points = np.random.default_rng(seed).standard_normal((n, d))
    points[:, 0] += lean
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def _rotation(d: int, seed: int) -> Points:
    rotation: Points = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]
    return rotation


def _hypercube(d: int) -> Points:
    return np.array(list(itertools.product((-1.0, 1.0), repeat=d))) / math.sqrt(d)


def _cell_24() -> Points:
    sides = [
        a * np.eye(4)[i] + b * np.eye(4)[j]
        for i, j in itertools.combinations(range(4), 2)
        for a in (-1, 1)
        for b in (-1, 1)
    ]
    return np.array(sides) / math.sqrt(2)


def _on_a_circle(height: float, directions: list[float]) -> Points:
    radius = math.sqrt(1 - height**2)
    return np.array([[radius * math.cos(a), radius * math.sin(a), height] for a in directions])


CLOSED_FORMS = {
    "octahedron": (exact.cross_polytope(6, 3), 8, math.acos(1 / math.sqrt(3))),
    "cube": (_hypercube(3), 6, math.acos(1 / math.sqrt(3))),
    "icosahedron": (known.icosahedron().numpy(), 20, math.acos(math.sqrt((5 + 2 * math.sqrt(5)) / 15))),
    "pentagon": (exact.polygon(5), 5, math.pi / 5),
    "antipodes": (exact.polygon(2), 2, math.pi / 2),
    "tesseract": (_hypercube(4), 8, math.pi / 3),
    "5-cube": (_hypercube(5), 10, math.acos(1 / math.sqrt(5))),
    "24-cell": (_cell_24(), 24, math.pi / 4),
    **{f"simplex {d}": (exact.simplex(d + 1, d), d + 1, math.acos(1 / d)) for d in (2, 3, 4, 5, 7)},
    **{f"cross-polytope {d}": (exact.cross_polytope(2 * d, d), 2**d, math.acos(1 / math.sqrt(d))) for d in (2, 4, 5)},
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
@pytest.mark.parametrize("turned", [False, True])
def test_closed_forms_of_holes_and_covering_radius(name: str, turned: bool) -> None:
    points, count, radius = CLOSED_FORMS[name]
    if turned:
        points = points @ _rotation(points.shape[1], 3)
    holes = geometry.holes(points)
    assert holes.radii == pytest.approx([radius] * count, abs=1e-13)
    assert geometry.covering_radius(points) == pytest.approx(radius, abs=1e-13)
    assert geometry.hole_power_sum(points, 3) == pytest.approx(count * (2 * math.sin(radius / 2)) ** 3, rel=1e-13)
    assert set(holes.hole.tolist()) == set(range(count))


def _as_set(holes: geometry.Holes) -> dict[frozenset[int], tuple[Points, float]]:
    points_of: list[set[int]] = [set() for _ in holes.radii]
    for simplex, hole in zip(holes.facets.tolist(), holes.hole.tolist(), strict=True):
        points_of[hole].update(simplex)
    return {frozenset(on): (c, float(r)) for on, c, r in zip(points_of, holes.centers, holes.radii, strict=True)}


@pytest.mark.parametrize(("n", "d"), [(9, 3), (4, 3), (9, 4), (8, 5), (7, 2)])
@pytest.mark.parametrize("lean", [0.0, 1.0, 6.0])
def test_holes_agree_with_the_planes_through_all_choices_of_points(n: int, d: int, lean: float) -> None:
    points = _random(n, d, seed=n + d, lean=lean)
    found, expected = _as_set(geometry.holes(points)), reference.holes(points)
    assert found.keys() == {on for _, _, on in expected}
    for center, radius, on in expected:
        assert found[on][1] == pytest.approx(radius, abs=1e-12)
        np.testing.assert_allclose(found[on][0], center, atol=1e-11)
    assert lean < 6.0 or max(radius for _, radius in found.values()) > math.pi / 2


def test_the_pieces_of_a_square_are_one_hole_also_with_noise_far_below_a_contact() -> None:
    points = _hypercube(3) @ _rotation(3, 1)
    points += 1e-13 * np.random.default_rng(0).standard_normal(points.shape)
    assert len(geometry.holes(points).radii) == 6
    points += 1e-6 * np.random.default_rng(0).standard_normal(points.shape)
    assert len(geometry.holes(points / np.linalg.norm(points, axis=1, keepdims=True)).radii) == 12


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000), d=st.integers(2, 5), extra=st.integers(1, 25), lean=st.sampled_from([0.0, 1.0, 4.0])
)
def test_holes_are_empty_and_touch_their_points(seed: int, d: int, extra: int, lean: float) -> None:
    points = _random(d + extra, d, seed, lean)
    holes = geometry.holes(points)
    cosines = holes.centers @ points.T
    assert np.arccos(cosines.max(1)) == pytest.approx(holes.radii, abs=1e-7)
    on_boundary = np.take_along_axis(cosines[holes.hole], holes.facets, 1)
    np.testing.assert_allclose(on_boundary, np.cos(holes.radii[holes.hole])[:, None] + 0 * on_boundary, atol=1e-9)


@settings(max_examples=30)
@given(seed=st.integers(0, 10_000), d=st.integers(2, 5), extra=st.integers(1, 25), lean=st.sampled_from([0.0, 2.0]))
def test_rotations_and_permutations_change_nothing(seed: int, d: int, extra: int, lean: float) -> None:
    points = _random(d + extra, d, seed, lean)
    moved = np.random.default_rng(seed).permutation(points) @ _rotation(d, seed)
    assert np.sort(geometry.hole_radii(moved)) == pytest.approx(np.sort(geometry.hole_radii(points)), abs=1e-8)
    assert geometry.covering_radius(moved) == pytest.approx(geometry.covering_radius(points), abs=1e-9)
    assert geometry.separation(moved) == pytest.approx(geometry.separation(points), abs=1e-13)
    assert geometry.separation(points) == pytest.approx(reference.separation(points), abs=1e-14)


@pytest.mark.parametrize(("n", "d"), [(2, 3), (3, 3), (5, 3), (20, 3), (6, 4), (12, 4), (4, 4), (3, 2), (9, 2)])
@pytest.mark.parametrize("lean", [0.0, 1.0, 5.0])
def test_covering_radius_agrees_with_dense_sampling_wherever_the_origin_is(n: int, d: int, lean: float) -> None:
    points = _random(n, d, seed=10 * n + d, lean=lean)
    sampled = reference.covering_radius(points, 20_000, np.random.default_rng(0))
    assert sampled - 1e-7 <= geometry.covering_radius(points) <= sampled + 2e-5  # a sample is never above the truth


@pytest.mark.parametrize(
    ("points", "radius"),
    [
        (np.eye(3)[:2], math.radians(135)),
        (np.vstack([np.eye(3)[:1], np.eye(3)[:1]]), math.pi),
        (exact.cross_polytope(2, 3), math.pi / 2),
        (exact.cross_polytope(4, 3), math.pi / 2),
        (exact.simplex(4, 5), math.pi / 2),
        (_on_a_circle(0.0, [0.0, 2.0, 4.0]) @ _rotation(3, 5), math.pi / 2),
        (_on_a_circle(0.0, [0.0, 1.0, 1.5]), math.pi - 0.75),  # an arc of the equator
        (_on_a_circle(0.6, [0.0, 2.0, 4.0]), math.pi - math.acos(0.6)),  # acute: all three are on the smallest cap
        (_on_a_circle(-0.6, [0.0, 2.0, 4.0, 5.0]) @ _rotation(3, 6), math.pi - math.acos(0.6)),
        (_on_a_circle(0.6, [0.0, 0.2, 1.0]), math.pi - math.asin(0.8 * math.sin(0.5))),  # obtuse: two of them are
        (np.vstack([_on_a_circle(0.0, [0.0, 2.0, 4.0]), np.eye(3)[2:]]), math.pi / 2),  # the origin on a facet
    ],
)
def test_covering_radius_of_points_in_a_plane_or_a_half_space(points: Points, radius: float) -> None:
    assert geometry.covering_radius(points) == pytest.approx(radius, abs=1e-12)


def test_the_largest_hole_is_not_the_covering_radius_where_the_origin_is_outside() -> None:
    points = np.vstack([_on_a_circle(0.6, [0.0, 0.2, 1.0]), _on_a_circle(0.7, [0.5])])
    assert geometry.covering_radius(points) > geometry.holes(points).radii.max() + 1e-3


def test_covering_radius_of_a_tight_cluster_keeps_its_digits() -> None:
    points = np.array([[1.0, 0.0, 0.0], [math.cos(2e-4), math.sin(2e-4), 0.0], [1.0, 1e-4, 0.5e-4]])
    assert math.pi - geometry.covering_radius(points) == pytest.approx(1e-4, abs=1e-11)


def test_many_points() -> None:
    points = _random(20_000, 3, seed=0)
    holes = geometry.holes(points)
    assert len(holes.radii) == 2 * len(points) - 4
    assert geometry.covering_radius(points) == pytest.approx(holes.radii.max(), abs=1e-13)
    nearest = np.linalg.norm(points - holes.centers[holes.radii.argmax()], axis=1).min()
    assert 2 * math.asin(nearest / 2) == pytest.approx(holes.radii.max(), abs=1e-12)


def test_the_power_sum_tends_to_the_largest_hole() -> None:
    points = _random(30, 4, seed=2)
    p = 2000.0
    largest = 2 * math.sin(geometry.covering_radius(points) / 2)
    scaled = (geometry.hole_radii(points) / largest) ** p
    assert scaled.sum() ** (1 / p) == pytest.approx(1.0, abs=1e-3)  # F.39
    assert geometry.hole_power_sum(points, 2.5) == pytest.approx(
        sum((2 * math.sin(radius / 2)) ** 2.5 for _, radius, _ in reference.holes(points)), rel=1e-12
    )


@pytest.mark.parametrize("measure", [geometry.holes, geometry.covering_radius, geometry.separation])
@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1.0, 0.0, 0.0]], r"\(1, 3\)"),
        ([[1.0], [-1.0]], r"\(2, 1\)"),
        ([1.0, 0.0], r"\(2,\)"),
        ([[1.0, 0.0], [0.0, 2.0]], r"length 2\.0 in row 1"),
        ([[1.0, 0.0], [0.0, math.nan]], "nan"),
    ],
)
def test_bad_points_are_refused(measure: object, points: object, message: str) -> None:
    assert callable(measure)
    with pytest.raises(ValueError, match=message):
        measure(points)


@pytest.mark.parametrize(
    "points", [exact.simplex(3, 3), exact.cross_polytope(4, 3), _on_a_circle(0.3, [0, 1, 2, 3, 4.5]) @ _rotation(3, 8)]
)
def test_points_on_a_hyperplane_have_no_holes(points: Points) -> None:
    with pytest.raises(ValueError, match=f"hyperplane, got {len(points)} points of R\\^3"):
        geometry.holes(points)
    with pytest.raises(ValueError, match="hyperplane, got 2 points"):
        geometry.holes([[1.0, 0.0], [1.0, 0.0]])


def test_a_negative_power_is_refused() -> None:
    for p in (-1.0, math.nan):
        with pytest.raises(ValueError, match=f"got {p}"):
            geometry.hole_power_sum(np.eye(3), p)


def test_surface_areas_and_kappa_follow_their_recursion() -> None:
    areas = [asymptotics.surface_area(d) for d in (1, 2, 3, 4)]
    assert areas == pytest.approx([2, 2 * math.pi, 4 * math.pi, 2 * math.pi**2], rel=1e-14)
    assert asymptotics.kappa(2) == pytest.approx(1 / math.pi, rel=1e-14)
    for d in range(3, 200):  # thesis: kappa_D = 1 / (2 pi D kappa_{D-1})
        assert asymptotics.kappa(d) * asymptotics.kappa(d - 1) == pytest.approx(1 / (2 * math.pi * (d - 1)), rel=1e-12)
        areas = [asymptotics.surface_area(d - 1), asymptotics.surface_area(d)]
        assert asymptotics.kappa(d) == pytest.approx(areas[0] / areas[1] / (d - 1), rel=1e-12)


@pytest.mark.parametrize("d", [2, 3, 5])
def test_kappa_is_the_share_of_a_small_cap(d: int) -> None:
    points, radius = _random(400_000, d, seed=d), 0.3
    inside = float((np.linalg.norm(points - np.eye(d)[0], axis=1) < radius).mean())
    share = asymptotics.kappa(d) * radius ** (d - 1)
    assert inside == pytest.approx(share, abs=4 * math.sqrt(share / len(points)) + 0.02 * share)


def test_facet_constants_and_the_right_reading_of_the_index() -> None:
    constants = [asymptotics.facet_constant(d) for d in (2, 3, 4, 5)]
    assert constants == pytest.approx([1, 2, 24 * math.pi**2 / 35, 286 / 9], rel=1e-12)


@pytest.mark.parametrize(("n", "d", "p"), [(10, 3, 2.0), (100, 3, 3.5), (5, 4, 0.0), (20, 4, 1.0), (30, 5, 2.0)])
def test_the_exact_expectation_agrees_with_the_literal_integral(n: int, d: int, p: float) -> None:
    literal = reference.mean_hole_power_sum(n, d, p)
    assert asymptotics.expected_hole_power_sum(n, d, p, exact=True) == pytest.approx(literal, rel=2e-4)


@pytest.mark.parametrize(("n", "d"), [(7, 2), (3, 2), (40, 3), (10**9, 3), (4, 3), (9, 8), (41, 40)])
def test_facets_that_every_configuration_has(n: int, d: int) -> None:
    always = n if d == 2 else 2 * n - 4 if d == 3 else d + 1
    assert asymptotics.expected_facets(n, d, exact=True) == pytest.approx(always, rel=1e-9)


@pytest.mark.parametrize(("n", "d", "p"), [(40, 2, 2.0), (40, 3, 1.0), (60, 4, 0.0), (60, 4, 3.0), (30, 5, 2.0)])
def test_holes_of_random_points_have_the_expected_power_sum(n: int, d: int, p: float) -> None:
    sums = np.array([geometry.hole_power_sum(_random(n, d, seed), p) for seed in range(150)])
    error = sums.std() / math.sqrt(len(sums))
    assert asymptotics.expected_hole_power_sum(n, d, p, exact=True) == pytest.approx(sums.mean(), abs=4 * error)


@pytest.mark.parametrize(("d", "p"), [(2, 1.0), (3, 0.0), (3, 2.0), (4, 0.0), (4, 3.0), (5, 1.0)])
def test_the_leading_term_is_right_to_the_order_that_the_lemma_gives(d: int, p: float) -> None:
    """Thesis F.43: the relative error is O(N^(-2/D)). A wrong constant would not vanish."""
    errors = []
    for n in (10**3, 10**5, 10**7):
        ratio = asymptotics.expected_hole_power_sum(n, d, p) / asymptotics.expected_hole_power_sum(n, d, p, exact=True)
        errors.append(abs(ratio - 1) * n ** (2 / (d - 1)))
    assert max(errors) < 30
    assert abs(ratio - 1) < 0.01


@pytest.mark.parametrize(("n", "d", "p"), [(10, 2, 1.0), (30, 3, 0.0), (30, 3, 2.5), (50, 4, 7.0), (100, 6, 1.0)])
def test_the_leading_term_is_the_lemmas_formula(n: int, d: int, p: float) -> None:
    literal = reference.leading_hole_power_sum(n, d, p)
    assert asymptotics.expected_hole_power_sum(n, d, p) == pytest.approx(literal, rel=1e-12)
    if p == 0:
        assert asymptotics.expected_facets(n, d) == pytest.approx(literal, rel=1e-12)


def test_the_leading_term_at_large_n_keeps_its_digits() -> None:
    n, p = 10**12, 3.0  # d = 3: B = 2, kappa = 1/4, Gamma(N+1)/Gamma(N+q) = N^(1-q) (1 + q (1-q) / (2 N) ...)
    expected = 2 * 4 ** (p / 2) * math.gamma(2 + p / 2) * n ** (1 - p / 2)
    assert asymptotics.expected_hole_power_sum(n, 3, p) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(("s", "d"), [(0.0, 2), (0.5, 2), (0.0, 3), (0.8, 3), (1.0, 4), (0.0, 6), (2.0, 6)])
def test_energy_integrals_agree_with_random_pairs(s: float, d: int) -> None:
    distance = np.linalg.norm(_random(200_000, d, seed=1) - _random(200_000, d, seed=2), axis=1)
    values = -np.log(distance) if s == 0 else distance**-s
    error = values.std() / math.sqrt(len(values))
    assert asymptotics.energy_integral(s, d) == pytest.approx(values.mean(), abs=5 * error)


def test_energy_integrals_with_closed_forms() -> None:
    for s in (0.25, 1.0, 1.9):
        assert asymptotics.energy_integral(s, 3) == pytest.approx(2 ** (1 - s) / (2 - s), rel=1e-13)
    assert asymptotics.energy_integral(0.0, 2) == pytest.approx(0.0, abs=1e-15)
    assert asymptotics.energy_integral(0.0, 3) == pytest.approx(0.5 - math.log(2), rel=1e-14)
    assert asymptotics.energy_integral(1.0, 1000) == pytest.approx(1 / math.sqrt(2), rel=1e-3)  # nearly orthogonal


def test_growth_is_that_of_theorem_2() -> None:
    assert asymptotics.growth(50, 4, 2.0) == 2500.0
    assert asymptotics.growth(50, 4, 3.0) == pytest.approx(2500 * math.log(50), rel=1e-14)
    assert asymptotics.growth(50, 4, 6.0) == pytest.approx(50**3, rel=1e-12)
    assert asymptotics.growth(10**6, 2, 1e9) == math.inf
    for d, s in [(2, 0.5), (2, 1.0), (2, 4.0), (3, 1.0), (3, 2.0), (3, 3.0), (7, 5.0), (7, 6.0)]:
        quotients = [asymptotics.minimal_energy(n, d, s) / asymptotics.growth(n, d, s) for n in (10, 10**5)]
        assert quotients[0] == pytest.approx(quotients[1], rel=1e-10)


@pytest.mark.parametrize("s", [0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
def test_minimal_energy_on_the_circle_is_that_of_the_polygon(s: float) -> None:
    """The next term is of order N^(s-1) beside N^2 or N^(1+s)."""
    literal = reference.riesz(exact.polygon(150), s)
    assert asymptotics.minimal_energy(150, 2, s, terms=2) == pytest.approx(literal, rel=4e-4 if s >= 2 else 2e-5)


@pytest.mark.parametrize("s", [3.0, 6.0])
def test_the_leading_term_alone_on_the_circle(s: float) -> None:
    literal = reference.riesz(exact.polygon(300), s)
    assert asymptotics.minimal_energy(300, 2, s) == pytest.approx(literal, rel=1e-3)


@pytest.mark.parametrize("s", [2.5, 3.0, 4.0, 6.0, 20.0])
def test_the_constant_on_the_sphere_is_the_sum_over_the_hexagonal_lattice(s: float) -> None:
    n = 1000
    lattice = reference.hexagonal_zeta(s)
    expected = 0.5 * n * lattice * (n * math.sqrt(3) / 2 / (4 * math.pi)) ** (s / 2)
    assert asymptotics.minimal_energy(n, 3, s) == pytest.approx(expected, rel=1e-5)


def test_constants_of_the_next_order_on_the_sphere() -> None:
    """Values printed in Brauchart, Hardin, Saff 2012."""
    n = 10**4
    thomson = asymptotics.minimal_energy(n, 3, 1.0, terms=2) - asymptotics.minimal_energy(n, 3, 1.0)
    assert 2 * thomson / n**1.5 == pytest.approx(-1.1061, abs=1e-4)
    square = asymptotics.minimal_energy(n, 3, 2.0, terms=2) - asymptotics.minimal_energy(n, 3, 2.0)
    assert 2 * square / n**2 == pytest.approx(-0.08576841030090248, rel=1e-9)
    logarithm = asymptotics.minimal_energy(n, 3, 0.0, terms=2) - asymptotics.minimal_energy(n, 3, 0.0)
    assert 2 * logarithm / n + math.log(n) / 2 == pytest.approx(-0.05560530494, abs=1e-9)


@pytest.mark.parametrize("d", [2, 3])
def test_at_s_equal_to_the_spheres_dimension_the_two_terms_meet(d: int) -> None:
    step, s = 1e-4, d - 1.0
    beside = [asymptotics.minimal_energy(100, d, s + sign * step, terms=2) for sign in (-1, 1)]
    assert asymptotics.minimal_energy(100, d, s, terms=2) == pytest.approx(sum(beside) / 2, rel=1e-7)


@pytest.mark.parametrize("s", [1e-5, 1.0, 1.9, 2.2])
def test_two_terms_come_close_to_the_icosahedron(s: float) -> None:
    literal = reference.riesz(known.icosahedron().numpy(), s)
    assert asymptotics.minimal_energy(12, 3, s, terms=2) == pytest.approx(literal, rel=0.02)


def test_two_terms_come_close_to_the_best_known_thomson_energies() -> None:
    """D. J. Wales, S. Ulker, 2006: the best known energies."""
    for n, best, error in [(12, known.THOMSON_12, 4e-3), (100, 4448.350634, 4e-4), (400, 75582.448512, 1e-4)]:
        assert asymptotics.minimal_energy(n, 3, 1.0, terms=2) == pytest.approx(best, rel=error)
        assert asymptotics.minimal_energy(n, 3, 1.0) > best * 1.01


def test_what_float64_cannot_hold_is_infinite() -> None:
    assert asymptotics.minimal_energy(10**6, 3, 512.0) == math.inf
    assert math.isfinite(asymptotics.minimal_energy(100, 3, 512.0))


def test_hexagonal_angle_is_the_spacing_of_a_lattice_with_that_density() -> None:
    n = 5000
    cell = math.sqrt(3) / 2 * asymptotics.hexagonal_angle(n) ** 2
    assert n * cell == pytest.approx(4 * math.pi, rel=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: asymptotics.surface_area(0), "got 0"),
        (lambda: asymptotics.kappa(1), "got 1"),
        (lambda: asymptotics.facet_constant(1), "got 1"),
        (lambda: asymptotics.expected_facets(3, 3), "n=3, d=3"),
        (lambda: asymptotics.expected_hole_power_sum(9, 3, -1.0), "p=-1.0"),
        (lambda: asymptotics.energy_integral(2.0, 3), "s=2.0, d=3"),
        (lambda: asymptotics.energy_integral(-0.5, 3), "s=-0.5"),
        (lambda: asymptotics.growth(1, 3, 1.0), "n=1"),
        (lambda: asymptotics.growth(5, 3, math.nan), "s=nan"),
        (lambda: asymptotics.minimal_energy(5, 3, 1.0, terms=3), "got 3"),
        (lambda: asymptotics.minimal_energy(5, 4, 3.5), "s=3.5, d=4"),
        (lambda: asymptotics.minimal_energy(5, 4, 1.0, terms=2), "s=1.0, d=4"),
        (lambda: asymptotics.minimal_energy(5, 3, 4.0, terms=2), "s=4.0, d=3"),
        (lambda: asymptotics.hexagonal_angle(2), "got 2"),
        (lambda: gradient_norms([0.0, 1.0]), r"\[0\. 1\.\]"),
        (lambda: gradient_norms([math.pi]), "3.14159"),
        (lambda: gradient_norms([1.0], s=0.0), r"s=0\.0"),
        (lambda: gradient_norms([1.0], norm=-1.0), r"norm=-1\.0"),
    ],
)
def test_bad_arguments_are_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("s", "norm"), [(1.0, 1.0), (2.0, 0.3), (0.5, 20.0), (8.0, 1.0)])
def test_autograd_agrees_with_the_closed_forms(s: float, norm: float) -> None:
    theta = np.linspace(0, math.pi, 182)[1:-1]
    curves = gradient_norms(theta, s, norm)
    assert {name: curve.equation for name, curve in curves.items()} == {
        "cosine": 7,
        "mma": 8,
        "riesz": 10,
        "logarithmic": 12,
    }
    for curve in curves.values():
        np.testing.assert_allclose(curve.autograd, curve.closed_form, rtol=1e-10, atol=1e-12)
    literal = [s / norm * math.cos(t / 2) / (2 * math.sin(t / 2)) ** (s + 1) for t in theta]
    np.testing.assert_allclose(curves["riesz"].closed_form, literal, rtol=1e-12)


def test_close_to_the_ends_the_norms_have_the_limits_that_are_documented() -> None:
    curves = gradient_norms([1e-4, math.pi - 1e-4], norm=2.0)
    ends = {name: curve.autograd.tolist() for name, curve in curves.items()}
    assert ends["cosine"] == pytest.approx([0.5e-4, 0.5e-4], rel=1e-6)
    assert ends["mma"] == pytest.approx([0.5, 0.5], rel=1e-10)
    assert ends["riesz"] == pytest.approx([0.5e8, 0.5 * 0.5e-4 / 4], rel=1e-4)
    assert ends["logarithmic"] == pytest.approx([0.5e4, 0.5 * 0.5e-4 / 2], rel=1e-4)


@pytest.mark.parametrize("theta", [0.05, 1.0, 3.0])
def test_the_librarys_losses_of_a_pair_have_these_gradients(theta: float) -> None:
    curves = gradient_norms([theta], s=1.5, norm=0.7)
    measures = {
        "cosine": functional.max_cosine,
        "mma": functional.mma,
        "riesz": lambda weight: functional.riesz(weight, 1.5),
        "logarithmic": functional.logarithmic,
    }
    for name, measure in measures.items():
        rows = [[0.7, 0.0], [0.7 * math.cos(theta), 0.7 * math.sin(theta)]]
        weight = torch.tensor(rows, dtype=torch.float64, requires_grad=True)
        measure(weight).backward()
        assert weight.grad is not None
        assert weight.grad[0].norm().item() == pytest.approx(curves[name].autograd[0], rel=1e-8)
