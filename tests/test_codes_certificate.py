"""The closest pairs of a code, and the proof of its minimum angle."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import reference_codes as reference
from onsphere.codes import certificate, pairs
from onsphere.codes.certificate import certify
from onsphere.codes.exact import cross_polytope, polygon, simplex

Points = NDArray[np.float64]


def random_code(n: int, d: int, seed: int = 0) -> Points:
    points = np.random.default_rng(seed).normal(size=(n, d))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def rotated(points: Points, seed: int = 0) -> Points:
    d = points.shape[1]
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    return points @ turn


def roots_of_d4() -> Points:
    """The 24-cell: 96 pairs at 60 degrees, which rounding alone tells apart once it is turned."""
    rows = [np.eye(4)[i] * a + np.eye(4)[j] * b for i in range(4) for j in range(i) for a in (1, -1) for b in (1, -1)]
    return np.array(rows) / math.sqrt(2)


def assert_certified(points: Points) -> None:
    """Never above the truth, and the largest float64 that is not."""
    truth, proved = reference.exact_minimum_angle(points), certify(points)
    assert reference.as_real(proved) <= truth
    assert proved == math.pi or reference.as_real(math.nextafter(proved, math.inf)) > truth


@given(
    code=st.sampled_from([polygon(7), simplex(5, 4), simplex(3, 6), cross_polytope(8, 5), roots_of_d4()]),
    noise=st.sampled_from([0.0, 1e-17, 1e-16, 1e-15, 1e-12, 1e-8, 1e-3, 0.3]),
    stretch=st.sampled_from([0.0, 1e-16, 1e-12, 9e-7]),
    few=st.sampled_from([0, 1000]),
    seed=st.integers(0, 999),
)
@settings(max_examples=30)
def test_the_certificate_is_the_largest_float_below_the_truth(
    code: Points, noise: float, stretch: float, few: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    points = rotated(code, seed) + noise * rng.normal(size=code.shape)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(certificate, "_FEW", few)  # with and without a choice before the integers
        assert_certified(points * rng.uniform(1 - stretch, 1 + stretch, size=(len(points), 1)))


@pytest.mark.parametrize("points", [simplex(46, 46), cross_polytope(46, 40)])
def test_a_code_with_a_thousand_contacts_is_certified_by_the_one_that_rounding_made_closest(points: Points) -> None:
    assert len(pairs.closest_pairs(points, 1e-12)[1]) >= 1000
    assert_certified(points)
    assert_certified(rotated(points))


def test_cosines_with_more_bits_leave_few_of_many_pairs() -> None:
    points = rotated(simplex(50, 50))
    everything = np.stack(np.triu_indices(50, 1), 1)
    assert len(certificate._sharpened(points, everything)) < 20
    assert len(certificate._sharpened(cross_polytope(50, 40), everything)) == 1


@pytest.mark.parametrize("seed", range(20))
def test_the_closest_pair_is_among_those_that_cosines_with_more_bits_leave(seed: int) -> None:
    points = rotated(simplex(20, 30), seed) * np.random.default_rng(seed).uniform(1 - 1e-7, 1 + 1e-7, size=(20, 1))
    everything = np.stack(np.triu_indices(20, 1), 1)
    left = certificate._sharpened(points, everything)
    assert len(left) < 20
    integers = certificate._Integers(points)
    assert integers.closest(left, None) == integers.closest(everything, None)


@pytest.mark.parametrize(("k", "few"), [(12, 12), (12, 200)])
def test_scalar_products_of_pairs_are_the_same_with_and_without_a_matrix(k: int, few: int) -> None:
    x, y = random_code(200, 3, 1), random_code(200, 3, 2)
    i, j = np.arange(k) % few, np.arange(k)[::-1] * 3 % few
    expected = [float(np.dot(x[a], y[b])) for a, b in zip(i, j, strict=True)]
    np.testing.assert_allclose(certificate._scalars(x[:few], y[:few], i, j), expected, rtol=0, atol=1e-15)


@given(exponent=st.integers(-323, 0), seed=st.integers(0, 99), opposite=st.booleans())
@settings(max_examples=30)
def test_two_points_that_are_nearly_the_same_or_opposite(exponent: int, seed: int, opposite: bool) -> None:
    u = np.eye(3)[0]
    v = np.array([1.0, *(10.0**exponent * np.random.default_rng(seed).normal(size=2))])
    v /= np.linalg.norm(v)
    assert_certified(np.array([u, -v if opposite else v]))


@pytest.mark.parametrize("points", [[[1.0, 0.0], [1.0, 5e-324]], [[1.0, 0.0], [-1.0, 5e-324]], [[1.0], [-1.0]]])
def test_the_ends_of_the_range_of_angles(points: list[list[float]]) -> None:
    assert_certified(np.array(points))


@pytest.mark.parametrize("n", [2, 3, 4, 6, 7, 360])
def test_polygons_are_certified_to_their_last_digits(n: int) -> None:
    assert certify(polygon(n)) == pytest.approx(2 * math.pi / n, abs=2e-15)


@pytest.mark.parametrize(("n", "d"), [(2, 2), (30, 3), (200, 5), (40, 70)])
def test_the_certificate_agrees_with_the_minimum_angle_in_floats(n: int, d: int) -> None:
    points = random_code(n, d)
    assert certify(points) == pytest.approx(pairs.min_angle(points), abs=1e-14)
    assert certify(points) == pytest.approx(min(reference.all_angles(points).values()), abs=1e-14)


def test_points_of_the_same_direction_have_the_certificate_zero() -> None:
    points = random_code(50, 4)
    points[40] = points[3]
    assert certify(points) == 0.0
    half = np.full((1, 4), 0.5)
    assert certify(np.concatenate([points[:3], half, half * (1 + 2.0**-21)])) == 0.0  # of different length
    assert certify(np.concatenate([points[:3], half, half * [1, 1, 1, 1 + 2.0**-52]])) > 0.0


def test_many_points_of_the_same_direction_are_recognised_at_once() -> None:
    assert certify(np.full((2000, 5), math.sqrt(0.2))) == 0.0  # 2 million pairs, of which one is enough


def test_a_pair_that_cosines_cannot_tell_from_others_is_the_one_certified() -> None:
    gaps = np.array([3e-9, 2e-9, 1.5e-9, 2.5e-9])  # all four have the cosine 1.0 in float64
    angle = np.concatenate([[k, k + gap] for k, gap in enumerate(gaps)])
    points = np.stack([np.cos(angle), np.sin(angle)], 1)
    assert certify(points) == pytest.approx(1.5e-9, abs=4e-16)
    assert_certified(points)
    assert pairs.closest_pairs(points, 0.6e-9)[1].tolist() == [[2, 3], [4, 5]]


@pytest.mark.parametrize(("n", "d"), [(2500, 3), (2100, 4), (2000, 2), (1300, 3), (1025, 9)])
def test_trees_and_tiles_find_the_pairs_that_all_pairs_show(n: int, d: int) -> None:
    points = random_code(n, d)
    gram = points @ points.T
    i, j = np.triu_indices(n, 1)
    close = gram[i, j] > np.cos(pairs.min_angle(points) + 0.03) - 1e-9
    candidates = np.stack([i[close], j[close]], 1)
    theta = pairs.angles(points, candidates)
    smallest, contacts = pairs.closest_pairs(points, 0.02)
    assert smallest == pytest.approx(theta.min(), abs=1e-15)
    assert len(contacts) > 1
    assert contacts.tolist() == candidates[theta <= smallest + 0.02].tolist()
    assert certify(points) == pytest.approx(smallest, abs=1e-15)


@pytest.mark.parametrize("code", [polygon(5), cross_polytope(7, 4), roots_of_d4(), random_code(40, 3)])
@pytest.mark.parametrize("tolerance", [1e-9, 0.3, 4.0])
def test_contacts_are_all_pairs_within_the_tolerance(code: Points, tolerance: float) -> None:
    points = rotated(code)
    smallest, contacts = pairs.closest_pairs(points, tolerance)
    assert smallest == pytest.approx(min(reference.all_angles(points).values()), abs=1e-14)
    assert contacts.dtype == np.int64
    assert contacts.tolist() == reference.contacts(points, tolerance)


def test_angles_and_contacts_do_not_depend_on_the_frame() -> None:
    points = roots_of_d4()
    before, after = pairs.closest_pairs(points, 1e-9), pairs.closest_pairs(rotated(points, 5), 1e-9)
    assert before[0] == pytest.approx(after[0], abs=1e-14)
    assert before[1].tolist() == after[1].tolist()
    assert len(before[1]) == 96
    assert certify(points) == pytest.approx(certify(rotated(points, 5)), abs=1e-14)


def test_rattlers_are_the_points_without_a_contact() -> None:
    points = polygon(5)
    points[1] = [math.cos(1.3), math.sin(1.3)]
    _, contacts = pairs.closest_pairs(points, 1e-9)
    assert contacts.tolist() == [[1, 2]]
    assert pairs.rattlers(5, contacts).tolist() == [0, 3, 4]
    assert pairs.rattlers(4, np.array([[0, 1], [2, 3]])).tolist() == []


@pytest.mark.parametrize("function", [certify, pairs.min_angle])
@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1.0, 0.0]], r"at least two points, got shape \(1, 2\)"),
        ([1.0, 0.0], r"got shape \(2,\)"),
        ([[1.0, 0.0], [0.0, float("nan")]], r"finite coordinates, got \[ 0. nan\] in row 1"),
        ([[1.0, 0.0], [0.0, -math.inf]], "finite coordinates"),
        ([[1.0, 0.0], [0.0, 0.0]], "unit rows, got length 0.0 in row 1"),
        ([[1.0, 0.0], [0.0, 1.000002]], "unit rows, got length 1.000002 in row 1"),
        ([[1.0, 0.0], [0.0, 1e300]], "unit rows, got length inf in row 1"),
    ],
)
def test_what_is_no_code_is_refused(
    function: Callable[[Points], float], points: list[list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        function(np.array(points))


@pytest.mark.parametrize("tolerance", [-1e-9, float("nan")])
def test_a_negative_tolerance_is_refused(tolerance: float) -> None:
    with pytest.raises(ValueError, match="expected a tolerance >= 0 radians, got"):
        pairs.closest_pairs(np.eye(3), tolerance)
