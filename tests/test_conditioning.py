"""The lemmas of section 3.2.3: Hessians against autograd, ranks, and how condition numbers grow with the rescaling."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import reference_conditioning as reference
from onsphere import layers
from onsphere.diagnostics import Conditioning, factorization_hessian, rescaled_conditioning, restricted

SIZES = [(8, 6, 3), (6, 8, 3), (5, 4, 1), (3, 7, 3), (2, 6, 3), (4, 4, 4)]
OBJECTIVES = {"plain": reference.plain, "cosine": reference.cosine}


def factors(n: int, m: int, k: int, seed: int = 0, *, unit: bool = True) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    u, v = (torch.randn(rows, k, generator=generator, dtype=torch.float64) for rows in (n, m))
    return (u / u.norm(dim=1, keepdim=True), v / v.norm(dim=1, keepdim=True)) if unit else (u, v)


def close(one: Tensor, other: Tensor, rtol: float = 1e-11) -> bool:
    return float((one - other).abs().max()) <= rtol * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize("at_optimum", [True, False])
@pytest.mark.parametrize("objective", ["plain", "cosine"])
@pytest.mark.parametrize("size", SIZES)
def test_the_closed_forms_are_the_hessians_of_the_literal_objectives(
    size: tuple[int, int, int], objective: str, at_optimum: bool
) -> None:
    u, v = factors(*size, unit=False)  # of any length: D_U and D_V are no identities
    normalized = objective == "cosine"
    target = torch.randn(size[0], size[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if at_optimum:
        target = u @ v.T
        if normalized:
            target = target / u.norm(dim=1)[:, None] / v.norm(dim=1)
    found = factorization_hessian(u, v, None if at_optimum else target, normalized=normalized)
    assert close(found, reference.hessian(OBJECTIVES[objective], u, v, target))
    assert close(found, factorization_hessian(u, v, target, normalized=normalized))


@pytest.mark.parametrize("size", SIZES)
def test_at_an_optimum_the_eigenvalues_are_sums_of_squared_singular_values(size: tuple[int, int, int]) -> None:
    u, v = factors(*size)
    for c in (1.0, 3.0):
        values = torch.linalg.eigvalsh(factorization_hessian(c * u, v / c)).flip(0)
        nonzero = reference.spectrum(c * u, v / c)
        assert close(values[: len(nonzero)], nonzero)
        assert values[len(nonzero) :].abs().max() < 1e-12 * nonzero[0]


@pytest.mark.parametrize(("n", "m", "k"), [(8, 6, 3), (6, 8, 3), (5, 4, 1), (9, 9, 4)])
def test_how_many_eigenvalues_are_zero(n: int, m: int, k: int) -> None:
    u, v = factors(n, m, k)
    # U A, V A^-T for every invertible A; not only for rotations, of which there are k (k - 1) / 2.
    assert restricted(factorization_hessian(u, v)).zeros == k * k
    if k > 1:  # the length of every row, and the rotations
        assert restricted(factorization_hessian(u, v, normalized=True)).zeros == n + m + k * (k - 1) // 2


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), c=st.floats(1, 20), n=st.integers(4, 7), m=st.integers(4, 7), k=st.integers(1, 3))
def test_lemma_1_the_plain_condition_number_grows_at_least_as_c_squared(
    seed: int, c: float, n: int, m: int, k: int
) -> None:
    u, v = factors(n, m, k, seed)
    u, v = balanced(u, v)
    before, after = restricted(factorization_hessian(u, v)), restricted(factorization_hessian(c * u, v / c))
    assert after.kappa >= 0.5 * c**2 * before.kappa * (1 - 1e-6)
    # Exactly: with equal singular values on both sides, the largest by (c^2 + 1/c^2) / 2 and the smallest by 1 / c^2.
    assert after.kappa == pytest.approx((c**4 + 1) / 2 * before.kappa, rel=1e-5)


def balanced(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of the same product whose singular values are equal."""
    left, values, right = torch.linalg.svd(u @ v.T)
    k = u.shape[1]
    root = values[:k].sqrt()
    return left[:, :k] * root, right[:k].T * root


def test_lemma_1_needs_more_rows_than_columns() -> None:
    u, v = factors(3, 7, 3)  # U has no direction left that only V / c could move
    kappas = [each.kappa for each in rescaled_conditioning(u, v, (1.0, 10.0, 100.0)).plain]
    singular = torch.linalg.svdvals(u)
    assert kappas[2] == pytest.approx(float((singular[0] / singular[-1]) ** 2), rel=1e-3)
    assert kappas[1] == pytest.approx(kappas[2], rel=0.02)


def test_lemma_1_may_fail_near_one_where_the_factors_are_not_balanced() -> None:
    u, v = factors(6, 6, 2)
    u = u @ torch.diag(torch.tensor([2.0, 0.02], dtype=torch.float64))  # badly conditioned itself
    assert len(u) * v.square().sum() <= len(v) * u.square().sum()  # the premise of the lemma
    found = rescaled_conditioning(u, v, (1.0, 2.0, 200.0)).plain
    assert found[1].kappa < found[0].kappa
    assert found[2].kappa > 200**2 * found[0].kappa


@pytest.mark.parametrize(("n", "m", "k"), [(8, 6, 3), (6, 8, 3), (9, 9, 4)])
def test_lemma_2_holds_after_projection_and_not_as_written(n: int, m: int, k: int) -> None:
    u, v = factors(n, m, k)
    scales = (1.0, 2.0, 4.0, 8.0, 16.0, 64.0)
    found = rescaled_conditioning(u, v, scales)
    kappas = {name: [each.kappa for each in getattr(found, name)] for name in ("plain", "cosine", "weighted")}
    for each in found.projected:
        assert each.kappa == pytest.approx(found.projected[0].kappa, rel=1e-8)
        assert each.largest == pytest.approx(found.projected[0].largest, rel=1e-12)
    for name, power in (("plain", 4), ("cosine", 4), ("weighted", 2)):
        growth = math.log(kappas[name][-1] / kappas[name][-2]) / math.log(4)
        assert growth == pytest.approx(power, abs=0.1), name
        assert kappas[name][-1] > scales[-1] ** power / 10 * kappas[name][0], name
    # Weighted gradients undo half of it, in the exponent: what c does to them, sqrt(c) does without them.
    assert kappas["weighted"][2] == pytest.approx(kappas["cosine"][1], rel=1e-8)
    assert kappas["weighted"][4] == pytest.approx(kappas["cosine"][2], rel=1e-8)
    assert found.cosine[0].kappa == pytest.approx(found.projected[0].kappa, rel=1e-10)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), spread=st.floats(0, 3))
def test_lemma_2_relative_to_the_lengths_of_the_rows_the_hessian_is_the_same_everywhere(
    seed: int, spread: float
) -> None:
    u, v = factors(5, 4, 3, seed)
    generator = torch.Generator().manual_seed(seed)
    target = torch.randn(5, 4, generator=generator, dtype=torch.float64)  # anywhere, not at an optimum alone
    lengths = torch.exp(spread * torch.randn(9, generator=generator, dtype=torch.float64))
    there = factorization_hessian(lengths[:5, None] * u, lengths[5:, None] * v, target, normalized=True)
    relative = lengths.repeat_interleave(3)
    assert close(relative[:, None] * there * relative, factorization_hessian(u, v, target, normalized=True), 1e-9)


def test_what_the_proof_prints_has_the_right_eigenvalues_at_an_optimum_but_is_no_hessian() -> None:
    u, v = factors(6, 5, 3)
    target = u @ v.T
    printed = reference.printed_hessian_u(u, v, target)
    jacobian = torch.func.jacrev(lambda x: reference.printed_gradient_u(x, v, target).T.flatten())(u)
    assert close(jacobian.mT.reshape(18, 18), printed)
    assert float((printed - printed.T).abs().max()) > 0.1
    block = factorization_hessian(u, v, normalized=True)[:18, :18]
    values = torch.linalg.eigvals(printed)
    assert float(values.imag.abs().max()) < 1e-12
    assert close(values.real.sort().values, torch.linalg.eigvalsh(block), 1e-10)


def test_the_table_has_a_line_a_scale_and_says_the_zeros() -> None:
    text = str(rescaled_conditioning(*factors(8, 6, 3), scales=(1.0, 2.5)))
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[-3:-1]] == ["1", "2.5"]
    assert lines[-1] == "zero eigenvalues: 9 of (3.7), 17 of (3.8)"


def test_restricted_condition_numbers() -> None:
    assert restricted(torch.diag(torch.tensor([-8.0, 2.0, 1e-17]))) == Conditioning(8.0, 2.0, 1)
    assert restricted(torch.diag(torch.tensor([1.0, 1e-3])), rtol=1e-2).zeros == 1
    assert restricted(torch.eye(3)).kappa == 1


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        (torch.zeros(2, 2), "all eigenvalues are zero"),
        (torch.ones(2, 3), r"the shape \(2, 3\): expected \(N, N\)"),
        (torch.tensor([[1.0, 2.0], [0.0, 1.0]]), "differs from its transpose by 2"),
        (torch.tensor([[math.nan]]), "holds NaN"),
        (torch.ones(1, 1, dtype=torch.int64), "floating-point"),
    ],
    ids=["zero", "wide", "asymmetric", "nan", "integers"],
)
def test_what_is_no_hessian_is_refused(matrix: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        restricted(matrix)


def test_bad_input_is_refused() -> None:
    u, v = factors(4, 3, 2)
    zero = v.clone()
    zero[1] = 0
    with pytest.raises(ValueError, match=r"rtol=1.5: expected a number below 1"):
        restricted(torch.eye(2), rtol=1.5)
    with pytest.raises(ValueError, match=r"u has the shape \(4, 2\) and v \(3, 1\)"):
        factorization_hessian(u, v[:, :1])
    with pytest.raises(ValueError, match=r"target has the shape \(3, 4\): expected \(4, 3\)"):
        factorization_hessian(u, v, (u @ v.T).T)
    with pytest.raises(ValueError, match="row 1 of v is zero"):
        factorization_hessian(u, zero, normalized=True)
    with pytest.raises(ValueError, match="row 1 of v is zero"):
        rescaled_conditioning(u, zero)
    with pytest.raises(ValueError, match="u holds NaN"):
        factorization_hessian(u * math.nan, v)
    for scales in ((), (0.0,), (1.0, math.inf), (-2.0,)):
        with pytest.raises(ValueError, match=r"scales=.*: expected at least one finite number above 0"):
            rescaled_conditioning(u, v, scales)
    with pytest.raises(ValueError, match=r"u has the shape \(4, 1\): .* one number has no angle"):
        rescaled_conditioning(u[:, :1], v[:, :1])
    with pytest.raises(ValueError, match="cannot be told from zero in float64"):
        rescaled_conditioning(u, v, (1.0, 1e5))


@pytest.mark.parametrize("trick", ["none", "weighted gradients", "projection"])
def test_the_blocks_of_u_are_those_of_a_cosine_layer(trick: str) -> None:
    u, v = factors(5, 6, 3)
    c, target = 4.0, u @ v.T
    layer = layers.SphereLinear(3, 5, eps=1e-14, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(c * u)
    if trick == "weighted gradients":
        layers.weighted_gradients(layer)
    elif trick == "projection":
        layers.project_weights(layer)

    def gradient(weight: Tensor) -> Tensor:
        with torch.no_grad():
            layer.weight.copy_(weight)
        (found,) = torch.autograd.grad(0.5 * (target.T - layer(v / c)).square().sum(), layer.weight)
        return found.flatten()

    start, step = layer.weight.detach().clone(), 1e-5
    columns = []
    for i in range(start.numel()):
        change = torch.zeros_like(start).view(-1)
        change[i] = step
        change = change.view_as(start)
        columns.append((gradient(start + change) - gradient(start - change)) / (2 * step))
    block = factorization_hessian(u, v, normalized=True)[:15, :15]
    # A weight that is c times as long has a Hessian divided by c^2, of which weighted gradients give back one c.
    factor = {"none": 1 / c**2, "weighted gradients": 1 / c, "projection": 1.0}[trick]
    assert close(torch.stack(columns, 1), factor * block, 1e-7)
