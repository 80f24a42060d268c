import copy
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import known
import onsphere as osp
import reference
from onsphere import functional, sphere
from onsphere.diversity import energy_tiles

Function = Callable[[Tensor], Tensor]

# name, fast, literal
NEAREST: list[tuple[str, Function, Function]] = [
    ("mma", functional.mma, reference.mma),
    ("max_cosine", functional.max_cosine, reference.max_cosine),
]
ENERGIES: list[tuple[str, Function, Function]] = [
    (
        f"mhe s={s} {distance} half={half}",
        lambda w, s=s, distance=distance, half=half: functional.mhe(w, s, distance=distance, half_space=half),
        lambda w, s=s, distance=distance, half=half: reference.mhe(w, s, distance, half),
    )
    for s in (0.0, 1.0, 2.0, 0.7)
    for distance in ("euclidean", "angular")
    for half in (False, True)
]
ORTHOGONALITY: list[tuple[str, Function, Function]] = [
    ("orthogonal", functional.orthogonal, reference.orthogonal),
    ("orthonormal", functional.orthonormal, reference.orthonormal),
    ("orthogonal_diagonal", functional.orthogonal_diagonal, reference.orthogonal_diagonal),
    ("srip", functional.srip, reference.srip),
]
ALL = NEAREST + ENERGIES + ORTHOGONALITY
DIRECTIONAL = [*NEAREST, *ENERGIES, ORTHOGONALITY[0]]


def named(table: list[tuple[str, Function, Function]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("fast", "literal"), [row[1:] for row in table], ids=[row[0] for row in table])


def draw(kind: str, seed: int, dtype: torch.dtype) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"n >> d": (14, 2), "d >> n": (3, 150), "one": (1, 4), "two": (2, 5)}
    n, d = shapes.get(kind, (7, 4))
    weight = torch.randn(n, d, generator=generator, dtype=torch.float64)
    if kind == "clustered":
        weight = weight[:1] + 1e-3 * weight
    if kind == "duplicate":
        weight[3] = 4 * weight[1]
    if kind == "antipodal":
        weight[3], weight[5] = -weight[1], -2 * weight[0]
    if kind == "almost antipodal":
        weight[3] = -weight[1] + 1e-4 * weight[2]
    if kind == "zero rows":
        weight[2] = weight[6] = 0
    return (weight * torch.rand(n, 1, generator=generator, dtype=torch.float64).add(0.5)).to(dtype)


KINDS = ["random", "clustered", "duplicate", "antipodal", "almost antipodal", "zero rows", "n >> d", "d >> n"]
KINDS += ["one", "two"]


def value_and_gradient(function: Function, weight: Tensor) -> tuple[Tensor, Tensor]:
    weight = weight.detach().clone().requires_grad_()
    value = function(weight)
    (gradient,) = torch.autograd.grad(value, weight)
    return value.detach(), gradient


def relative(got: Tensor, expected: Tensor) -> float:
    scale = expected.norm().clamp_min(1e-3 if expected.ndim == 0 else 1e-6)
    return float((got.double() - expected).norm() / scale)


def singular(name: str, kind: str) -> bool:
    """Whether the literal formula has no gradient there: an equal pair has none for MMA and leaves the others' nearest
    neighbour open, and an angle has a cusp at pi. What happens there is tested on its own below."""
    equal = kind == "duplicate"
    return (equal and name in ("mma", "max_cosine")) or ("angular" in name and (equal or kind == "antipodal"))


@pytest.mark.parametrize(("name", "fast", "literal"), ALL, ids=[row[0] for row in ALL])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3)
@given(seed=st.integers(0, 10_000))
def test_value_and_gradient_agree_with_the_literal_formula(
    name: str, fast: Function, literal: Function, kind: str, seed: int
) -> None:
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        weight = draw(kind, seed, dtype)
        value, gradient = value_and_gradient(fast, weight)
        true_value, true_gradient = value_and_gradient(literal, weight.double())
        assert relative(value, true_value) < tolerance
        if not singular(name, kind):
            assert relative(gradient, true_gradient) < tolerance


@named(ALL)
def test_gradcheck(fast: Function, literal: Function) -> None:
    weight = draw("random", 5, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(fast, (weight,))


@named(ALL)
def test_large_layers_agree_with_small_tiles_of_float64(fast: Function, literal: Function) -> None:
    """n = 600 goes through several tiles; float64 and float32 take different ways there."""
    weight = torch.randn(600, 24, generator=torch.Generator().manual_seed(1))
    weight[17] = weight[400] + 1e-3 * weight[5]
    value, gradient = value_and_gradient(fast, weight)
    true_value, true_gradient = value_and_gradient(fast, weight.double())
    assert relative(value, true_value) < 1e-5
    assert relative(gradient, true_gradient) < 1e-5


@pytest.mark.parametrize("half_space", [False, True])
@pytest.mark.parametrize("distance", ["euclidean", "angular"])
@pytest.mark.parametrize("s", [0.0, 2.0, 0.7])
def test_tiles_agree_with_the_differences_of_all_pairs(s: float, distance: str, half_space: bool) -> None:
    weight = torch.randn(300, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    weight[7] = weight[222] + 1e-4 * weight[0]
    weight[9] = -weight[223] + 1e-4 * weight[0]
    true = value_and_gradient(lambda w: reference.mhe_of_all_pairs(w, s, distance, half_space), weight)
    for dtype, tolerance in ((torch.float64, 1e-10), (torch.float32, 1e-2)):
        fast = value_and_gradient(
            lambda w: functional.mhe(w, s, distance=distance, half_space=half_space), weight.to(dtype)
        )
        assert relative(fast[0], true[0]) < tolerance
        assert relative(fast[1], true[1]) < tolerance


@named(DIRECTIONAL)
def test_rotation_scaling_and_permutation_do_not_matter(fast: Function, literal: Function) -> None:
    weight = draw("random", 3, torch.float64)
    rotation, _ = torch.linalg.qr(draw("random", 4, torch.float64)[:4])
    factors = torch.tensor([1e-3, 0.5, 1.0, 2.0, 7.0, 1e3, 1e6], dtype=torch.float64)[:, None]
    value, gradient = value_and_gradient(fast, weight)
    for changed, back in (
        (weight @ rotation, lambda g: g @ rotation.T),
        (weight * factors, lambda g: g * factors),
        (weight.flip(0), lambda g: g.flip(0)),
    ):
        other_value, other_gradient = value_and_gradient(fast, changed)
        torch.testing.assert_close(other_value, value, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(back(other_gradient), gradient, rtol=1e-9, atol=1e-11)


@named(DIRECTIONAL)
def test_gradient_is_tangent(fast: Function, literal: Function) -> None:
    weight = draw("random", 6, torch.float64)
    _, gradient = value_and_gradient(fast, weight)
    torch.testing.assert_close((gradient * weight).sum(1), torch.zeros(7, dtype=torch.float64), rtol=0, atol=1e-12)


# --- closed forms ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_simplex(n: int) -> None:
    angle = math.acos(-1 / (n - 1))
    chord = 2 * math.sin(angle / 2)
    points = known.simplex(n)
    assert functional.mma(points).item() == pytest.approx(-angle, abs=1e-12)
    assert functional.max_cosine(points).item() == pytest.approx(-1 / (n - 1), abs=1e-12)
    assert functional.mhe(points, 2.0).item() == pytest.approx(chord**-2, rel=1e-12)
    assert functional.mhe(points, 0.0).item() == pytest.approx(-math.log(chord), abs=1e-12)
    assert functional.mhe(points, 1.0, distance="angular").item() == pytest.approx(1 / angle, rel=1e-12)
    assert functional.orthogonal(points).item() == pytest.approx(n / (n - 1) / 2, rel=1e-12)


@pytest.mark.parametrize("d", [2, 3, 8])
def test_cross_polytope(d: int) -> None:
    points = known.cross_polytope(d)
    n = 2 * d
    assert functional.mma(points).item() == pytest.approx(-math.pi / 2, abs=1e-12)
    neighbours = n * (n - 2) * 2.0**-0.5 + n * 0.5
    assert functional.riesz(points, 1.0).item() == pytest.approx(neighbours / (n * (n - 1)), rel=1e-12)
    # The 2d vectors of the half space of an orthonormal basis are the cross-polytope.
    assert functional.mhe(points[:d], 1.0, half_space=True).item() == pytest.approx(
        functional.mhe(points, 1.0).item(), rel=1e-12
    )


def test_icosahedron_has_the_thomson_energy() -> None:
    points = known.icosahedron()
    assert functional.mma(points).item() == pytest.approx(-math.acos(1 / math.sqrt(5)), abs=1e-12)
    assert functional.mhe(points, 1.0).item() * 12 * 11 / 2 == pytest.approx(known.THOMSON_12, abs=1e-8)


@pytest.mark.parametrize("fast", [functional.mma, functional.mhe, functional.logarithmic])
def test_optimal_configurations_are_stationary(fast: Function) -> None:
    for points in (known.simplex(5), known.icosahedron()):
        _, gradient = value_and_gradient(fast, points)
        # MMA's icosahedron has five nearest neighbours a corner and picks one: only the simplex pair sums cancel.
        if fast is not functional.mma:
            assert gradient.abs().max() < 1e-12


def test_two_names_for_one_energy() -> None:
    weight = draw("random", 8, torch.float64)
    assert functional.riesz(weight, 2.0) == functional.mhe(weight, 2.0)
    assert functional.logarithmic(weight) == functional.mhe(weight, 0.0)
    assert osp.Riesz(2.0)(weight) == osp.MHE(2.0)(weight)
    assert osp.Logarithmic()(weight) == osp.MHE(0.0)(weight)


@pytest.mark.parametrize("theta", [0.05, 0.5, 1.5, 3.0])
def test_gradient_norms_of_the_papers_equations(theta: float) -> None:
    """MMA paper, eqs. 7, 8, 10 and 12, for one pair."""
    weight = torch.tensor([[2.0, 0.0], [3 * math.cos(theta), 3 * math.sin(theta)]], dtype=torch.float64)
    norms = weight.norm(dim=1)
    half = theta / 2
    for fast, expected in (
        (functional.max_cosine, math.sin(theta)),
        (functional.mma, 1.0),
        (lambda w: functional.riesz(w, 1.5), 1.5 * math.cos(half) / (2 * math.sin(half)) ** 2.5),
        (functional.logarithmic, math.cos(half) / (2 * math.sin(half))),
    ):
        _, gradient = value_and_gradient(fast, weight)
        # Both neurons name the pair and the mean is over two: the factors cancel.
        assert (gradient.norm(dim=1) * norms).tolist() == pytest.approx([expected, expected], rel=1e-10)


# --- singular points ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [1e-6, 0.0])
def test_mma_pushes_near_and_equal_filters_with_full_strength(angle: float, dtype: torch.dtype) -> None:
    weight = torch.eye(6, 20, dtype=dtype)
    weight[3] += weight[2]  # two pairs of their own, so that nobody else names the first two
    weight[5] += weight[4]
    weight[1] = 0
    weight[1, 0] = 3.0
    weight[1, 7] = 3 * angle
    _, gradient = value_and_gradient(functional.mma, weight)
    n = 6
    # Each of the two names the pair once, so each is chosen twice: gradient 2 / (n ||w||).
    expected = [2 / (n * float(weight[k].norm())) for k in (0, 1)]
    assert gradient[:2].norm(dim=1).tolist() == pytest.approx(expected, rel=1e-6)
    direction = gradient[0] / gradient[0].norm()
    if angle:
        assert abs(float(direction[7])) > 0.999


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [2, 3, 27])
@pytest.mark.parametrize("copies", [2, 3, 5])
def test_equal_filters_separate_within_50_steps(d: int, copies: int, dtype: torch.dtype) -> None:
    weight = torch.randn(6, d, generator=torch.Generator().manual_seed(d), dtype=dtype)
    weight[1:copies] = weight[0]
    parameter = nn.Parameter(weight)
    optimizer = torch.optim.SGD([parameter], lr=0.1, momentum=0.9)
    assert osp.diagnostics.minimum_angle(parameter) == 0.0
    for _ in range(50):
        optimizer.zero_grad()
        functional.mma(parameter).backward()
        optimizer.step()
    assert osp.diagnostics.minimum_angle(parameter) > math.radians(5)


def test_equal_filters_are_parted_the_same_way_every_time() -> None:
    weight = torch.ones(4, 9)
    gradients = [value_and_gradient(functional.mma, weight)[1] for _ in range(3)]
    assert gradients[0].norm() > 0
    assert torch.equal(gradients[0], gradients[1])
    assert torch.equal(gradients[0], gradients[2])


@named(ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "weight",
    [
        torch.ones(5, 3),
        torch.tensor([[1.0, 2.0], [-1.0, -2.0]]),
        torch.tensor([[1.0, 2.0], [-2.0, -4.0], [3.0, 6.0]]),
        torch.zeros(4, 3),
        torch.tensor([[0.0, 0.0], [1.0, 0.0]]),
        torch.tensor([[1.0], [2.0], [-3.0]]),
        torch.eye(3),
        torch.ones(1, 3),
    ],
    ids=["equal", "opposite", "multiples", "all zero", "one direction", "d=1", "orthonormal", "n=1"],
)
def test_values_and_gradients_are_finite_at_singular_points(
    fast: Function, literal: Function, weight: Tensor, dtype: torch.dtype
) -> None:
    value, gradient = value_and_gradient(fast, weight.to(dtype))
    assert value.isfinite()
    assert gradient.isfinite().all()


@named(DIRECTIONAL)
def test_zero_rows_are_left_out(fast: Function, literal: Function) -> None:
    weight = draw("random", 2, torch.float64)
    padded = torch.cat([torch.zeros(1, 4), weight[:3], torch.zeros(2, 4), weight[3:]]).double()
    value, gradient = value_and_gradient(fast, weight)
    other_value, other_gradient = value_and_gradient(fast, padded)
    torch.testing.assert_close(other_value, value, rtol=1e-13, atol=1e-13)
    assert not bool(other_gradient[[0, 4, 5]].any())
    torch.testing.assert_close(other_gradient[[1, 2, 3, 6, 7, 8, 9]], gradient, rtol=1e-12, atol=1e-12)


@named(ALL)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_weights_raise(fast: Function, literal: Function, bad: float) -> None:
    weight = torch.randn(4, 3)
    weight[2, 1] = bad
    with pytest.raises(osp.NonFiniteWeightError):
        fast(weight)


@named(ALL)
def test_half_precision_and_autocast_give_the_float32_gradient(fast: Function, literal: Function) -> None:
    weight = torch.randn(40, 12, generator=torch.Generator().manual_seed(0))
    value, gradient = value_and_gradient(fast, weight)
    for dtype in (torch.bfloat16, torch.float16):
        inside = weight.clone().requires_grad_()
        with torch.autocast("cpu", dtype=dtype):
            other = fast(inside)
            other.backward()  # autocast must be off in the backward pass, too
        assert other.dtype == torch.float32
        assert torch.equal(other.detach(), value)
        assert torch.equal(inside.grad, gradient)
        rounded = weight.to(dtype)
        value_16, gradient_16 = value_and_gradient(fast, rounded)
        value_32, gradient_32 = value_and_gradient(fast, rounded.float())
        assert gradient_16.dtype == dtype
        assert torch.equal(value_16, value_32)
        assert torch.equal(gradient_16, gradient_32.to(dtype))


@named(ALL)
def test_same_input_same_bits(fast: Function, literal: Function) -> None:
    weight = torch.randn(300, 20, generator=torch.Generator().manual_seed(0))
    first, second = value_and_gradient(fast, weight), value_and_gradient(fast, weight)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@named(ALL)
def test_views_and_other_strides(fast: Function, literal: Function) -> None:
    weight = draw("random", 9, torch.float64)
    value, gradient = value_and_gradient(fast, weight)
    other_value, other_gradient = value_and_gradient(fast, weight.T.contiguous().T)
    torch.testing.assert_close(other_value, value)
    torch.testing.assert_close(other_gradient, gradient)


def test_changing_the_weight_before_backward_is_noticed() -> None:
    weight = torch.randn(5, 3, requires_grad=True)
    value = functional.mma(weight)
    with torch.no_grad():
        weight += 1
    with pytest.raises(RuntimeError, match="changed in place"):
        value.backward()


def test_without_gradients_none_is_accumulated(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = []
    whole = energy_tiles._energy
    monkeypatch.setattr(energy_tiles, "_energy", lambda *a: wanted.append(a[-1]) or whole(*a))
    weight = torch.randn(5, 3, requires_grad=True)
    with torch.no_grad():
        assert not functional.mhe(weight).requires_grad
    functional.mhe(weight).backward()
    functional.mhe(weight.detach())
    assert wanted == [False, True, False]


def test_a_gradient_can_be_taken_twice_from_one_graph() -> None:
    for fast in (functional.mma, functional.mhe):
        weight = torch.randn(5, 3, requires_grad=True)
        value = fast(weight)
        (first,) = torch.autograd.grad(value, weight, retain_graph=True)
        (second,) = torch.autograd.grad(value, weight)
        assert torch.equal(first, second)


@named([*NEAREST, *ENERGIES, ORTHOGONALITY[0]])
def test_a_device_without_float64_gets_float32_answers(
    fast: Function, literal: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sphere, "finest", lambda device: torch.float32)
    for kind in KINDS:
        weight = draw(kind, 1, torch.float32)
        value, gradient = value_and_gradient(fast, weight)
        assert value.isfinite()
        assert gradient.isfinite().all()
    weight = draw("random", 1, torch.float32)
    value, gradient = value_and_gradient(fast, weight)
    true_value, true_gradient = value_and_gradient(literal, weight.double())
    assert relative(value, true_value) < 1e-5
    assert relative(gradient, true_gradient) < 1e-4


# --- the forms of MHE -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("half_space", [False, True])
@pytest.mark.parametrize("s", [0.0, 1.0, 2.0, 0.7])
@settings(max_examples=4)
@given(seed=st.integers(0, 1000))
def test_weighted_energy(s: float, half_space: bool, seed: int) -> None:
    weight = draw("clustered" if seed % 2 else "zero rows", seed, torch.float64)
    beta = torch.rand(7, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3 + 0.5
    beta[1] = beta[0]
    value, gradient = value_and_gradient(lambda w: functional.mhe(w, s, weights=beta, half_space=half_space), weight)
    true = value_and_gradient(lambda w: reference.mhe(w, s, half_space=half_space, beta=beta), weight)
    assert relative(value, true[0]) < 1e-10
    assert relative(gradient, true[1]) < 1e-10


@pytest.mark.parametrize("distance", ["euclidean", "angular"])
@pytest.mark.parametrize("s", [0.0, 2.0])
@settings(max_examples=5)
@given(labels=st.lists(st.integers(0, 6), min_size=1, max_size=12), seed=st.integers(0, 1000))
def test_data_dependent_energy(s: float, distance: str, labels: list[int], seed: int) -> None:
    weight = draw("clustered" if seed % 2 else "random", seed, torch.float64)
    y = torch.tensor(labels)
    value, gradient = value_and_gradient(lambda w: functional.mhe(w, s, distance=distance, labels=y), weight)
    true = value_and_gradient(lambda w: reference.mhe_of_labels(w, y, s, distance), weight)
    assert relative(value, true[0]) < 1e-10
    assert relative(gradient, true[1]) < 1e-10


@pytest.mark.parametrize("distance", ["euclidean", "angular"])
def test_half_space_is_an_affine_map_of_the_mean_over_pairs(distance: str) -> None:
    """As the docstring says, for those who know the published code."""
    weight = draw("random", 4, torch.float64)
    n = len(weight)
    unit = sphere.normalize(weight)
    total = 0.0
    for i in range(n):
        for j in range(n):
            if i != j:
                for other in (unit[j], -unit[j]):
                    rho = (unit[i] - other).norm() if distance == "euclidean" else sphere.angle(unit[i], other)
                    total += rho.item() ** -2.0
    mean = total / (n * (n - 1))
    antipodal = 2.0**-2 if distance == "euclidean" else math.pi**-2
    expected = ((n - 1) * mean + antipodal) / (2 * n - 1)
    assert functional.mhe(weight, 2.0, distance=distance, half_space=True).item() == pytest.approx(expected, rel=1e-12)


def test_every_label_once_is_the_full_energy() -> None:
    weight = torch.randn(400, 6)
    torch.testing.assert_close(
        functional.mhe(weight, labels=torch.randperm(400)), functional.mhe(weight), rtol=1e-5, atol=0
    )


def test_labels_of_zero_rows_are_left_out() -> None:
    weight = draw("zero rows", 1, torch.float64)
    kept = weight[[0, 1, 3, 4, 5]]
    value = functional.mhe(weight, labels=torch.tensor([0, 2, 3, 6, 3]))
    torch.testing.assert_close(value, functional.mhe(kept, labels=torch.tensor([0, 2, 2])))


def test_mini_batch_draws_that_many_rows_and_is_the_full_energy_on_average() -> None:
    weight = torch.randn(30, 5, dtype=torch.float64, requires_grad=True)
    measure = osp.MHE(0.0, batch=0.3)
    values = []
    for _ in range(400):
        weight.grad = None
        value = measure(weight)
        value.backward()
        assert int(weight.grad.any(1).sum()) == 9
        values.append(value.detach())
    assert torch.stack(values).mean().item() == pytest.approx(functional.mhe(weight, 0.0).item(), abs=0.02)
    assert int(osp.MHE(batch=7)(weight).isfinite())
    torch.testing.assert_close(osp.MHE(batch=1000)(weight), functional.mhe(weight))  # a count is capped at n


def test_mini_batch_state_continues_after_a_reload_and_rests_without_gradients() -> None:
    weight = torch.randn(30, 5, requires_grad=True)
    measure = osp.MHE(batch=4, seed=3)
    for _ in range(5):
        measure(weight)
    with torch.no_grad():
        measure(weight)
    twin = osp.MHE(batch=4, seed=3)
    twin.load_state_dict(copy.deepcopy(measure.state_dict()))
    for _ in range(3):
        assert torch.equal(measure(weight), twin(weight))
    assert int(measure.calls) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"s": -1.0}, "-1.0"),
        ({"s": math.nan}, "nan"),
        ({"distance": "manhattan"}, "manhattan"),
        ({"batch": 1.5}, r"1\.5"),
        ({"batch": 1}, "got 1"),
        ({"weights": torch.tensor([1.0, -2.0])}, "-2"),
        ({"weights": torch.ones(3), "distance": "angular"}, "angular"),
        ({"data_dependent": True, "half_space": True}, "half_space=True"),
    ],
)
def test_bad_arguments_of_mhe_are_repeated(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        osp.MHE(**arguments)  # type: ignore[arg-type]


def test_bad_labels_and_weights_are_refused() -> None:
    weight = torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"0\.\.3.*got -1\.\.7"):
        functional.mhe(weight, labels=torch.tensor([-1, 7]))
    with pytest.raises(ValueError, match="class indices"):
        functional.mhe(weight, labels=torch.tensor([0.5]))
    with pytest.raises(ValueError, match="output layer"):
        functional.mhe(weight, labels=torch.tensor([0]), half_space=True)
    with pytest.raises(ValueError, match=r"shape \(3,\) for weight \(4, 3\)"):
        functional.mhe(weight, weights=torch.ones(3))
    with pytest.raises(ValueError, match="data_dependent"):
        osp.MHE()(weight, torch.tensor([0]))
    with pytest.raises(ValueError, match="none were given"):
        osp.MHE(data_dependent=True)(weight)
    with pytest.raises(ValueError, match="s must be positive, got 0"):
        osp.Riesz(0.0)
    with pytest.raises(ValueError, match="iterations must be at least 1, got 0"):
        osp.SRIP(0)


def test_srip_rises_to_the_spectral_norm() -> None:
    for shape in ((5, 9), (9, 5)):
        weight = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        small = weight if shape[0] < shape[1] else weight.T
        exact = torch.linalg.matrix_norm(small @ small.T - torch.eye(5, dtype=torch.float64), 2)
        values = [functional.srip(weight, k).item() for k in (1, 2, 5, 400)]
        assert values == sorted(values)
        assert values[-1] == pytest.approx(exact.item(), rel=1e-9)


@pytest.mark.parametrize(
    "measure", [osp.MMA(), osp.MaxCosine(), osp.Riesz(2.0), osp.Logarithmic(), osp.MHE(1.0, half_space=True)]
)
def test_minimising_a_measure_spreads_the_neurons(measure: nn.Module) -> None:
    weight = nn.Parameter(torch.randn(6, 4, generator=torch.Generator().manual_seed(1)))
    before, angle = measure(weight).item(), osp.diagnostics.minimum_angle(weight)
    optimizer = torch.optim.SGD([weight], lr=0.3)
    for _ in range(100):
        optimizer.zero_grad()
        measure(weight).backward()
        optimizer.step()
    assert measure(weight).item() < before
    assert osp.diagnostics.minimum_angle(weight) > angle
