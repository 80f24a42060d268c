import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onsphere import sphere


def test_angle_is_exact_near_zero_and_pi_in_float32() -> None:
    for small in (1e-3, 1e-6, 1e-12):
        u, v = torch.tensor([1.0, 0.0]), torch.tensor([math.cos(small), math.sin(small)])
        assert sphere.angle(u, v).item() == pytest.approx(small, rel=1e-6)
        assert math.pi - sphere.angle(u, -v).double().item() == pytest.approx(small, abs=2e-7)


@pytest.mark.parametrize("other", [[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
def test_gradient_of_angle_is_finite_at_singular_points(other: list[float]) -> None:
    u = torch.tensor([2.0, 0.0], requires_grad=True)
    v = torch.tensor(other, requires_grad=True)
    sphere.angle(u, v).backward()
    assert u.grad is not None
    assert v.grad is not None
    assert u.grad.isfinite().all()
    assert v.grad.isfinite().all()


def test_angle_passes_gradcheck_and_has_unit_gradient_everywhere() -> None:
    torch.manual_seed(0)
    u, v = (torch.randn(7, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(sphere.angle, (u, v))
    (grad,) = torch.autograd.grad(sphere.angle(u, v).sum(), u)
    torch.testing.assert_close(grad.norm(dim=1) * u.norm(dim=1), torch.ones(7, dtype=torch.float64))


@given(exponent=st.integers(-35, 35), seed=st.integers(0, 99))
def test_normalize_survives_the_whole_exponent_range(exponent: int, seed: int) -> None:
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(sphere.normalize(x * 10.0**exponent), sphere.normalize(x), rtol=1e-5, atol=1e-6)


def test_normalize_passes_gradcheck_and_gives_zero_rows_a_zero_gradient() -> None:
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(sphere.normalize, (x,))
    z = torch.zeros(2, 3, requires_grad=True)
    sphere.normalize(z).sum().backward()
    assert torch.equal(z.grad, torch.zeros(2, 3))


def test_cosine_broadcasts() -> None:
    u, v = torch.randn(4, 1, 3), torch.randn(5, 3)
    expected = torch.nn.functional.cosine_similarity(u, v, dim=-1)
    torch.testing.assert_close(sphere.cosine(u, v), expected)


def test_uniform_has_unit_rows_a_zero_mean_and_a_seed() -> None:
    points = sphere.uniform(20_000, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(points.norm(dim=1), torch.ones(20_000))
    assert points.mean(0).abs().max() < 0.02
    assert torch.equal(points, sphere.uniform(20_000, 3, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match="n=0"):
        sphere.uniform(0, 3)


@pytest.mark.parametrize(("n", "d"), [(2, 3), (40, 2), (255, 9), (256, 9), (700, 3), (1100, 6), (2500, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearest_agrees_with_brute_force_in_every_tiling(n: int, d: int, dtype: torch.dtype) -> None:
    weight = torch.randn(n, d, generator=torch.Generator().manual_seed(n), dtype=dtype)
    index, cosine = sphere.nearest(sphere.directions(weight))
    unit = sphere.normalize(weight.double())
    gram = (unit @ unit.T).fill_diagonal_(-2)
    every = torch.arange(n)
    assert not bool((index == every).any())
    torch.testing.assert_close(gram[every, index], gram.max(1).values, rtol=0, atol=1e-12 if n > 300 else 3e-7)
    torch.testing.assert_close(cosine.double(), gram.max(1).values, rtol=0, atol=5e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [12, 300])
def test_nearest_among_near_duplicates_is_found_from_differences(n: int, dtype: torch.dtype) -> None:
    """Cosines of all of these round to 1 (in float64, too, for the smaller gaps)."""
    gap = 1e-5 if dtype == torch.float32 else 1e-9
    d = n + 2
    weight = torch.zeros(n, d, dtype=dtype)
    weight[:, 0] = 1.0
    for row in range(n):  # row k leans out by (k+1)(k+2)/2 gaps: its nearest is k-1, and row 0's is 1
        weight[row, 1] = gap * (row + 1) * (row + 2) / 2
    index, _ = sphere.nearest(sphere.directions(weight))
    expected = [1, *range(n - 1)]
    assert index.tolist() == expected


def test_nearest_of_equal_rows_is_the_first_other_one_whatever_their_lengths() -> None:
    row = torch.tensor([3.0, -17.0, 22.0])  # whole numbers: its multiples are exact
    index, _ = sphere.nearest(sphere.directions(torch.stack([row, 3 * row, 7 * row, -row])))
    assert index.tolist()[:3] == [1, 0, 0]


def test_pairs_of_equal_rows_get_opposite_fixed_tangents() -> None:
    rows = sphere.directions(torch.ones(3, 5))
    i, j = torch.tensor([0, 1, 0]), torch.tensor([1, 0, 2])
    seen = sphere.pairs(rows, i, j)
    assert torch.equal(seen.at_u[0], -seen.at_v[0])
    torch.testing.assert_close(seen.at_u[0], seen.at_v[1])  # the pair, not its order, decides
    assert (seen.at_u[0] - seen.at_u[2]).norm() > 1e-3
    torch.testing.assert_close(seen.at_u.norm(dim=1), torch.ones(3, dtype=torch.float64))
    torch.testing.assert_close(seen.at_u.sum(1), torch.zeros(3, dtype=torch.float64))  # tangent to (1, ..., 1)


def test_pairs_keep_their_digits_at_both_ends() -> None:
    for theta in (1e-12, 1e-3, 1.0, math.pi - 1e-3, math.pi - 1e-12):
        rows = sphere.directions(torch.tensor([[1.0, 0.0], [math.cos(theta), math.sin(theta)]], dtype=torch.float64))
        seen = sphere.pairs(rows, torch.tensor([0]), torch.tensor([1]))
        assert seen.angle.item() == pytest.approx(theta, rel=1e-12)
        assert seen.at_u[0].tolist() == pytest.approx([0.0, 1.0], abs=1e-3)


@pytest.mark.parametrize("bad", [torch.zeros(3), torch.zeros(2, 2, 2), torch.zeros(2, 2, dtype=torch.int64)])
def test_what_is_not_a_matrix_is_refused_by_its_shape_and_type(bad: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected a floating-point matrix \(n, d\)") as error:
        sphere.directions(bad)
    assert str(tuple(bad.shape)) in str(error.value)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_weights_are_refused(bad: float) -> None:
    weight = torch.ones(3, 4)
    weight[1, 2] = bad
    with pytest.raises(sphere.NonFiniteWeightError, match="1 NaN or infinite"):
        sphere.directions(weight)


def test_rows_of_extreme_length_keep_their_direction() -> None:
    base = torch.randn(6, 4)
    scaled = base * torch.tensor([1e-38, 1e-30, 1e-10, 1e10, 1e30, 1e37])[:, None]
    torch.testing.assert_close(
        sphere.directions(scaled).unit(slice(None)), sphere.directions(base).unit(slice(None)), rtol=1e-5, atol=1e-6
    )


def test_full_precision_turns_tf32_and_autocast_off_and_restores_them() -> None:
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    try:
        matmul.fp32_precision = "tf32"
        with sphere.full_precision(torch.device("cuda")):
            assert matmul.fp32_precision == "ieee"
        assert matmul.fp32_precision == "tf32"
        with pytest.raises(KeyError), sphere.full_precision(torch.device("cuda")):
            raise KeyError
        assert matmul.fp32_precision == "tf32"
    finally:
        matmul.fp32_precision = before
    with torch.autocast("cpu", dtype=torch.bfloat16), sphere.full_precision(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_zero_rows_are_counted() -> None:
    assert sphere.zero_rows(torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, -0.0]])) == 2
    assert sphere.zero_rows(torch.zeros(0, 4)) == 0
