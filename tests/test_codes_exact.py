"""Codes with closed forms, to rounding."""

import math

import numpy as np
import pytest

from onsphere.codes.best_known import best_known
from onsphere.codes.exact import cross_polytope, polygon, simplex
from onsphere.codes.pairs import min_angle


@pytest.mark.parametrize("n", [*range(2, 14), 100, 999])
def test_the_polygon_has_equal_steps_and_unit_rows(n: int) -> None:
    points = polygon(n)
    assert points.shape == (n, 2)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-15)
    following = np.roll(points, -1, axis=0)
    np.testing.assert_allclose((points * following).sum(1), math.cos(2 * math.pi / n), atol=1e-12)
    assert min_angle(points) == pytest.approx(2 * math.pi / n, abs=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3, 5, 10, 40, 150])
def test_all_cosines_of_a_simplex_are_equal(d: int) -> None:
    for n in {2, 3, d // 2 + 1, d, d + 1} - {0, 1} - set(range(d + 2, 4)):
        points = simplex(n, d)
        assert points.shape == (n, d)
        expected = np.full((n, n), -1 / (n - 1))
        np.fill_diagonal(expected, 1.0)
        np.testing.assert_allclose(points @ points.T, expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(points.sum(0), 0, atol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 3, 7, 30])
def test_points_of_a_cross_polytope_are_orthogonal_or_opposite(d: int) -> None:
    for n in range(2, 2 * d + 1):
        points = cross_polytope(n, d)
        assert points.shape == (n, d)
        gram = points @ points.T
        assert set(np.unique(gram - 2 * np.eye(n))) <= {-1.0, 0.0}
        assert (gram == -1).sum() == 2 * (n // 2)


@pytest.mark.parametrize("d", [2, 3, 4, 9, 25])
def test_the_constructions_reach_the_best_known_angles(d: int) -> None:
    for n in range(2, 2 * d + 1):
        points = polygon(n) if d == 2 else simplex(n, d) if n <= d + 1 else cross_polytope(n, d)
        known = best_known(n, d)
        assert known is not None
        assert known.is_optimal
        assert min_angle(points) == pytest.approx(known.angle, abs=1e-12)


@pytest.mark.parametrize("n", [1, 0, -3])
def test_a_polygon_of_fewer_than_two_points_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match=f"n >= 2, got n={n}"):
        polygon(n)


@pytest.mark.parametrize(("n", "d"), [(1, 3), (5, 3), (0, 2)])
def test_a_simplex_that_does_not_exist_is_refused(n: int, d: int) -> None:
    with pytest.raises(ValueError, match=rf"2 <= n <= d \+ 1, got n={n}, d={d}"):
        simplex(n, d)


@pytest.mark.parametrize(("n", "d"), [(1, 3), (7, 3)])
def test_more_points_than_a_cross_polytope_has_are_refused(n: int, d: int) -> None:
    with pytest.raises(ValueError, match=f"2 <= n <= 2 d, got n={n}, d={d}"):
        cross_polytope(n, d)
