import itertools
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onsphere.codes import exact, large, solver
from onsphere.codes.best_known import best_known
from onsphere.codes.code import Code, Progress
from onsphere.codes.pairs import min_angle
from onsphere.codes.search import Search
from onsphere.codes.solver import solve

Array = NDArray[np.float64]


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def _random(n: int, d: int, seed: int = 0) -> Array:
    x = np.random.default_rng(seed).standard_normal((n, d))
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def _sound(code: Code, n: int, d: int) -> None:
    """What holds for every code."""
    assert (code.n, code.d) == code.points.shape == (n, d)
    np.testing.assert_allclose(np.linalg.norm(code.points, axis=1), 1, atol=1e-14)
    with pytest.raises(ValueError, match="read-only"):
        code.points[0] = 0
    cosines = code.points @ code.points.T
    np.fill_diagonal(cosines, -1)
    assert code.min_angle == pytest.approx(math.acos(max(-1.0, cosines.max())), abs=2e-8)
    assert code.min_angle - 1e-12 <= code.certificate <= code.min_angle + 1e-15
    angles = np.arccos(np.clip(cosines, -1, 1))
    for i, j in code.contacts:
        assert i < j
        assert angles[i, j] == pytest.approx(code.min_angle, abs=3e-8)
    touching = set(code.contacts.ravel().tolist())
    assert set(code.rattlers.tolist()) == set(range(n)) - touching
    assert code.best_known == best_known(n, d)
    if code.best_known is None:
        assert code.gap is None
    else:
        assert code.gap == pytest.approx(code.best_known.angle - code.min_angle, abs=1e-15)
    assert code.seconds >= 0
    values = [each.value for each in code.history]
    assert all(a < b for a, b in itertools.pairwise(values))
    if values:
        assert values[-1] == pytest.approx(code.min_angle, abs=1e-8)
        assert code.history[-1].origin == code.origin
        seconds = [each.seconds for each in code.history]
        assert seconds == sorted(seconds)


# Closed forms


@pytest.mark.parametrize(
    ("n", "d", "angle", "origin"),
    [
        (2, 2, math.pi, "simplex"),
        (2, 7, math.pi, "simplex"),
        (3, 3, math.acos(-1 / 2), "simplex"),
        (4, 3, math.acos(-1 / 3), "simplex"),
        (9, 8, math.acos(-1 / 8), "simplex"),
        (101, 100, math.acos(-1 / 100), "simplex"),
        (5, 3, math.pi / 2, "cross-polytope"),
        (6, 3, math.pi / 2, "cross-polytope"),
        (16, 8, math.pi / 2, "cross-polytope"),
        (5, 2, 2 * math.pi / 5, "polygon"),
        (97, 2, 2 * math.pi / 97, "polygon"),
    ],
)
def test_closed_forms_come_at_once(n: int, d: int, angle: float, origin: str) -> None:
    code = solve(n, d)
    _sound(code, n, d)
    assert code.min_angle == pytest.approx(angle, abs=1e-12)
    assert code.exact
    assert code.complete
    assert code.history == ()
    assert code.energy is None
    assert code.origin == origin
    assert code.objective == "max_min_angle"


# Known optima


@pytest.mark.parametrize(
    ("n", "d", "degrees", "contacts", "rattlers", "restarts"),
    [
        (7, 3, 77.869542155, 12, 0, 10),
        (12, 3, 63.434948823, 30, 0, 10),  # the icosahedron
        (24, 3, 43.690767108, 60, 0, 10),  # the snub cube
        (48, 3, 30.762786, 120, 0, 30),
        (16, 5, 78.463040967, 80, 0, 10),  # the Clebsch code: cosine 1/5
        (120, 4, 36.0, 720, 0, 10),  # the 600-cell
        (30, 5, 65.604697, None, 0, 30),
        (27, 6, 75.522487814, 216, 0, 10),  # Schlaefli: cosine 1/4
    ],
)
def test_known_optima_are_found(
    n: int, d: int, degrees: float, contacts: int | None, rattlers: int, restarts: int
) -> None:
    target = math.radians(degrees) - 1e-8
    code = solve(n, d, restarts=restarts, target=target)
    _sound(code, n, d)
    assert math.degrees(code.min_angle) == pytest.approx(degrees, abs=1e-6)
    assert code.certificate >= target - 1e-9
    assert contacts is None or len(code.contacts) == contacts
    assert len(code.rattlers) == rattlers
    assert not code.exact
    assert code.complete
    assert "points" in code.origin or "orbits" in code.origin


def test_a_proved_optimum_ends_the_search_and_has_no_gap() -> None:
    code = solve(12, 3)
    assert code.best_known is not None
    assert code.best_known.is_optimal
    assert code.gap == pytest.approx(0, abs=1e-12)


def test_a_rattler_touches_nothing() -> None:
    code = solve(19, 3, restarts=40, target=math.radians(47.69))  # 47.6919 degrees, with one rattler
    _sound(code, 19, 3)
    assert math.degrees(code.min_angle) == pytest.approx(47.69191, abs=1e-4)
    assert len(code.rattlers) == 1


@pytest.mark.parametrize(("n", "d"), [(9, 4), (11, 5), (17, 8), (5, 2), (7, 3)])
def test_just_more_points_than_the_cross_polytope_has(n: int, d: int) -> None:
    code = solve(n, d, restarts=6)
    _sound(code, n, d)
    assert math.radians(70) < code.min_angle < math.pi / 2 + 1e-12


def test_many_points_are_spread_by_near_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "DENSE", 100)
    code = solve(300, 4)
    _sound(code, 300, 4)
    assert "Riesz" in code.origin
    assert code.min_angle > 0.9 * 0.42


# Chance


def test_equal_seeds_give_equal_codes() -> None:
    first, second, other = (solve(17, 4, restarts=6, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.points, second.points)
    assert first.origin == second.origin
    assert first.seed == 3
    assert not np.array_equal(first.points, other.points)


def test_more_restarts_are_never_worse() -> None:
    few, many = solve(21, 4, restarts=2), solve(21, 4, restarts=12)
    assert many.min_angle >= few.min_angle - 1e-12


# A given start


def _icosahedron() -> Array:
    golden = (1 + math.sqrt(5)) / 2
    rows = [np.roll([0.0, a, b * golden], k) for k in range(3) for a in (-1, 1) for b in (-1, 1)]
    return np.asarray(np.array(rows) / math.sqrt(1 + golden**2))


def test_a_start_is_honoured() -> None:
    x = _icosahedron()
    start = 3.0 * (x + 0.02 * np.random.default_rng(0).standard_normal(x.shape))
    before = start.copy()
    code = solve(12, 3, start=start, restarts=1)
    _sound(code, 12, 3)
    assert np.abs(code.points - x).max() < 0.1  # the same one, not one that is turned
    assert math.cos(code.min_angle) == pytest.approx(1 / math.sqrt(5), abs=1e-12)
    assert code.origin.startswith("the given start")
    np.testing.assert_array_equal(start, before)


def test_a_start_of_a_closed_form_is_polished_and_not_replaced() -> None:
    start = _random(5, 3)
    code = solve(5, 3, start=start, restarts=2)
    _sound(code, 5, 3)
    assert not code.exact
    assert math.degrees(code.min_angle) == pytest.approx(90, abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(2, 2), (2, 3), (3, 3), (4, 3), (5, 2), (9, 2)])
def test_the_smallest_starts_come_to_their_optimum(n: int, d: int) -> None:
    code = solve(n, d, start=_random(n, d, 1), restarts=30)
    _sound(code, n, d)
    assert code.min_angle == pytest.approx(solve(n, d).min_angle, abs=1e-7)


@pytest.mark.parametrize(("n", "d"), [(9, 2), (3, 2), (2, 3), (5, 4)])
def test_hops_go_on_where_a_target_is_out_of_reach(n: int, d: int) -> None:
    code = solve(n, d, start=_random(n, d), target=math.pi, restarts=40)
    assert code.min_angle == pytest.approx(solve(n, d).min_angle, abs=1e-7)


def test_few_points_in_very_many_dimensions_come_near_the_simplex() -> None:
    code = solve(30, 120, start=_random(30, 120))
    _sound(code, 30, 120)
    assert code.min_angle == pytest.approx(math.acos(-1 / 29), abs=1e-4)


@pytest.mark.parametrize(("n", "d"), [(12, 3), (60, 3), (30, 6)])
def test_equal_points_of_a_start_separate(n: int, d: int) -> None:
    code = solve(n, d, start=np.ones((n, d)), restarts=1)
    _sound(code, n, d)
    assert code.min_angle > 0.9 * solve(n, d, restarts=1).min_angle
    assert code.origin == "the given start, relaxed"


def test_a_search_is_never_worse_than_its_start() -> None:
    best = solve(13, 3, restarts=30)
    again = solve(13, 3, start=best.points, budget_s=1e-9)
    assert again.min_angle >= best.min_angle - 1e-15
    assert again.complete


def test_a_turned_start_gives_the_same_angle() -> None:
    start = _random(15, 4)
    turn = np.linalg.qr(np.random.default_rng(1).standard_normal((4, 4)))[0]
    # The noise on a start is not turned with it: near an optimum it makes no difference.
    start = solve(15, 4, start=start, restarts=1).points
    start = start + 1e-3 * _random(15, 4, 2)
    angles = [solve(15, 4, start=each, restarts=1).min_angle for each in (start, start @ turn)]
    assert angles[0] == pytest.approx(angles[1], abs=1e-9)


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (np.ones((11, 3)), r"\(12, 3\).*\(11, 3\)"),
        (np.ones(12), r"\(12, 3\).*\(12,\)"),
        (np.array([[1.0, 2.0, 3.0]] * 11 + [[1.0, np.nan, 2.0]]), "nan.*row 11"),
        (np.array([[1.0, 2.0, np.inf]] + [[1.0, 3.0, 2.0]] * 11), "inf.*row 0"),
        (np.array([[1.0, 2.0, 3.0]] * 4 + [[0.0, 0.0, 0.0]] + [[1.0, 3.0, 2.0]] * 7), "row 4"),
    ],
)
@pytest.mark.parametrize("objective", ["max_min_angle", "thomson"])
def test_a_bad_start_is_refused(start: Array, words: str, objective: Any) -> None:
    with pytest.raises(ValueError, match=words):
        solve(12, 3, start=start, objective=objective)


def test_a_start_may_have_any_scale() -> None:
    code = solve(12, 3, start=1e-200 * _icosahedron(), restarts=1)
    assert math.cos(code.min_angle) == pytest.approx(1 / math.sqrt(5), abs=1e-12)


# Bad arguments

BAD: list[tuple[dict[str, Any], str]] = [
    ({"n": 1}, "n .*got 1"),
    ({"n": 7.5}, "n .*7.5"),
    ({"d": 1}, "d .*got 1"),
    ({"d": -3}, "d .*-3"),
    ({"budget_s": 0}, "budget_s.*got 0"),
    ({"budget_s": -2.5}, "budget_s.*-2.5"),
    ({"budget_s": math.nan}, "budget_s.*nan"),
    ({"restarts": 0}, "restarts.*got 0"),
    ({"restarts": 2.5}, "restarts.*2.5"),
    ({"seed": -4}, "seed.*-4"),
    ({"objective": "tammes"}, "max_min_angle.*'tammes'"),
    ({"objective": "riesz"}, "riesz.*None"),
    ({"objective": "riesz", "s": -1.0}, "-1"),
    ({"objective": "riesz", "s": math.nan}, "nan"),
    ({"objective": "thomson", "s": 2.0}, "thomson.*2.0"),
    ({"s": 3.0}, "max_min_angle.*3.0"),
    ({"weights": np.ones(12)}, "weights.*max_min_angle"),
    ({"half_space": True}, "half_space.*max_min_angle"),
    ({"target": 0.0}, "target.*got 0.0"),
    ({"target": 3.2}, "target.*3.2"),
    ({"target": math.nan}, "target.*nan"),
    ({"objective": "thomson", "target": 1.0}, "target.*thomson.*1.0"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=[str(each[0]) for each in BAD])
def test_bad_arguments_are_refused_with_what_was_given(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        solve(**{"n": 12, "d": 3, "budget_s": 1.0, **arguments})


# Progress, budget and Ctrl-C


def _stopping(calls: int) -> Callable[[Progress], None]:
    left = calls

    def stop(progress: Progress) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("calls", [1, 2, 7, 25])
@pytest.mark.parametrize("started", [False, True])
def test_an_interrupted_search_gives_its_best(calls: int, started: bool) -> None:
    code = solve(14, 4, start=_random(14, 4) if started else None, progress=_stopping(calls))
    _sound(code, 14, 4)
    assert not code.complete
    assert code.min_angle >= min_angle(_random(14, 4))
    assert code.origin


@pytest.mark.parametrize("calls", [1, 30])
@pytest.mark.parametrize("d", [3, 4])
def test_an_interrupted_spread_gives_its_best(calls: int, d: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "DENSE", 100)
    code = solve(400, d, progress=_stopping(calls))
    _sound(code, 400, d)
    assert not code.complete
    assert code.min_angle >= min_angle(large.fibonacci(400) if d == 3 else _random(400, 4))


@pytest.mark.parametrize("kind", ["Search", "Spread"])
@pytest.mark.parametrize("started", [False, True])
def test_ctrl_c_before_anything_was_found_gives_the_start_or_random_points(
    kind: str, started: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Any, start: Array | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Search if kind == "Search" else large.Spread, "run", interrupted)
    if kind == "Spread":
        monkeypatch.setattr(solver, "DENSE", 10)
    start = _random(13, 3)
    code = solve(13, 3, start=start if started else None)
    _sound(code, 13, 3)
    assert not code.complete
    if started:
        np.testing.assert_allclose(code.points, start, atol=1e-15)
    assert code.origin == ("the given start" if started else "random points")


@pytest.mark.parametrize(("restarts", "budget_s"), [(25, 60.0), (None, 0.3)])
def test_the_share_of_the_work_only_grows(restarts: int | None, budget_s: float) -> None:
    seen: list[Progress] = []
    solve(15, 3, restarts=restarts, budget_s=budget_s, progress=seen.append)
    shares = [each.share for each in seen]
    assert len(seen) > 1
    assert shares == sorted(shares)
    assert shares[0] >= 0
    assert shares[-1] <= 1
    assert shares[-1] > 0.9
    best = [each.best for each in seen]
    assert None not in best
    assert best == sorted(best, key=lambda each: each or 0)
    assert all(each.phase for each in seen)


@pytest.mark.parametrize(("n", "d"), [(12, 3), (14, 6), (900, 4)])
def test_the_smallest_budget_gives_a_code(n: int, d: int) -> None:
    code = solve(n, d, budget_s=1e-9)
    _sound(code, n, d)
    assert code.complete
    assert code.min_angle > 0


# Energies through the same door


def test_the_thomson_problem() -> None:
    code = solve(12, 3, objective="thomson", restarts=5)
    assert code.energy == pytest.approx(49.165253058, abs=1e-8)
    assert math.cos(code.min_angle) == pytest.approx(1 / math.sqrt(5), abs=1e-6)
    assert code.objective == "thomson"
    assert not code.exact
    assert code.complete


def _energy(x: Array, s: float) -> float:
    total = 0.0
    for i in range(len(x)):
        for j in range(i):
            rho = float(np.linalg.norm(x[i] - x[j]))
            total += -math.log(rho) if s == 0 else rho**-s
    return total


def _cube() -> Array:
    """Eight points that are no minimum: the square antiprism is better."""
    return np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / math.sqrt(3)


@pytest.mark.parametrize(
    ("objective", "s", "power"), [("whyte", None, 0.0), ("riesz", 3.0, 3.0), ("thomson", None, 1.0)]
)
def test_the_energy_is_that_of_the_points(objective: Any, s: float | None, power: float) -> None:
    code = solve(8, 3, objective=objective, s=s, restarts=3)
    assert code.energy == pytest.approx(_energy(code.points, power), rel=1e-10)
    assert code.energy < _energy(_cube(), power)
    values = [each.value for each in code.history]
    assert values == sorted(values, reverse=True)
    assert not code.points.flags.writeable


def test_half_space_and_weights_come_through_the_same_door() -> None:
    lines = solve(3, 3, objective="thomson", half_space=True)
    np.testing.assert_allclose(lines.points @ lines.points.T, np.eye(3), atol=1e-6)
    weights = np.array([1.0, 1.0, 1.0, 1.0, 3.0])
    plain = solve(5, 3, objective="thomson", restarts=3)
    heavy = solve(5, 3, objective="thomson", restarts=3, weights=weights)
    assert plain.energy is not None
    assert plain.energy == pytest.approx(6.474691495, abs=1e-8)
    assert heavy.energy is not None
    x = heavy.points * weights[:, None]
    assert heavy.energy == pytest.approx(_energy(x, 1.0), rel=1e-10)
    assert heavy.energy < _energy(exact.cross_polytope(5, 3) * weights[:, None], 1.0)


@pytest.mark.parametrize(("n", "d", "half_space"), [(4, 3, False), (5, 2, False), (3, 3, True)])
def test_closed_forms_of_energies_are_exact_and_without_history(n: int, d: int, half_space: bool) -> None:
    code = solve(n, d, objective="thomson", half_space=half_space)
    assert code.exact
    assert code.history == ()
    searched = solve(n, d, objective="thomson", half_space=half_space, start=_random(n, d), restarts=1)
    assert not searched.exact
    assert searched.energy == pytest.approx(code.energy, rel=1e-12)


def test_an_interrupted_energy_gives_its_best() -> None:
    code = solve(20, 3, objective="thomson", progress=_stopping(1))
    assert not code.complete
    assert code.energy == pytest.approx(_energy(code.points, 1.0), rel=1e-10)


def test_an_interrupt_while_a_code_is_measured_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    certify, calls = solver.certify, 0

    def interrupted(points: Array) -> float:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyboardInterrupt
        return certify(points)

    monkeypatch.setattr(solver, "certify", interrupted)
    code = solve(12, 3, restarts=1)
    assert not code.complete
    assert code.certificate == pytest.approx(code.min_angle, abs=1e-14)
