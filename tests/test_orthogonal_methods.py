"""Ways to an orthogonal matrix: each against its literal algorithm, closed forms, singular points, precision."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import reference_orthogonal as reference
from onsphere import orthogonal

Literal = Callable[[Tensor], Tensor]

UNROLLED: dict[str, tuple[Any, Literal]] = {
    "gs": (orthogonal.GramSchmidt(), reference.gram_schmidt),
    "mgs": (orthogonal.GramSchmidt(modified=True), reference.modified_gram_schmidt),
    "igs": (orthogonal.GramSchmidt(iterations=3), lambda u: reference.iterative_gram_schmidt(u, 3)),
    "hr": (orthogonal.Householder(), reference.householder),
    "ls": (orthogonal.Lowdin(), reference.lowdin),
}
ORTHOGONAL: dict[str, tuple[Any, Literal]] = {
    **UNROLLED,
    "cp": (orthogonal.Cayley(), reference.cayley),
    "exp": (orthogonal.Exponential(), reference.exponential),
}
FREE: dict[str, tuple[Any, Literal]] = {
    "ogd": (orthogonal.OrthogonalGD(), lambda u: u),
    "or": (orthogonal.Relaxed(beta=0.1), lambda u: u),
    "upt": (orthogonal.Unconstrained(), lambda u: u),
    "positive-definite": (orthogonal.PositiveDefinite(), reference.positive_definite),
    "lower": (orthogonal.Triangular(), reference.triangular),
    "upper": (orthogonal.Triangular(upper=True), lambda u: reference.triangular(u, upper=True)),
    "banded-0": (orthogonal.Banded(0), lambda u: reference.banded(u, 0)),
    "banded-2": (orthogonal.Banded(2), lambda u: reference.banded(u, 2)),
    "symmetric": (orthogonal.Symmetric(), reference.symmetric),
    "skew": (orthogonal.Skew(), reference.skew),
    "hessenberg-upper": (orthogonal.Hessenberg(), reference.hessenberg),
    "hessenberg-lower": (orthogonal.Hessenberg(upper=False), lambda u: reference.hessenberg(u, upper=False)),
}
EVERY = {**ORTHOGONAL, **FREE}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def haar(n: int, seed: int = 0) -> Tensor:
    return reference.gram_schmidt(normal(n, n, seed=seed))


def conditioned(n: int, seed: int, smallest: float = 0.2) -> Tensor:
    """A matrix with singular values between `smallest` and 1."""
    scale = torch.logspace(math.log10(smallest), 0, n, dtype=torch.float64)
    return haar(n, seed) @ torch.diag(scale) @ haar(n, seed + 1).T


def deviation(r: Tensor) -> float:
    r = r.detach().double()
    return float((r.mT @ r - torch.eye(r.shape[-1], dtype=torch.float64)).abs().max())


def gradients(value: Tensor, inputs: tuple[Tensor, ...], direction: Tensor) -> tuple[Tensor, ...]:
    """Zeros for an input that has no influence: a 1 x 1 matrix has no freedom."""
    value = value + 0 * sum(each.sum() for each in inputs)
    return torch.autograd.grad(value, inputs, direction, retain_graph=True)


def gradient(function: Callable[[Tensor], Tensor], at: Tensor, seed: int = 9) -> Tensor:
    """Of a random linear function of the matrix."""
    at = at.detach().clone().requires_grad_()
    value = function(at)
    (grad,) = torch.autograd.grad((value * normal(*value.shape, seed=seed).to(value.dtype)).sum(), at)
    return grad


# Against the literal algorithms


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("size", [1, 2, 5, 6])
def test_matrix_and_rotation_are_the_literal_ones(name: str, size: int) -> None:
    method, literal = EVERY[name]
    parameter = conditioned(size, seed=3).requires_grad_()
    rows = normal(4, size, seed=5).requires_grad_()
    expected = literal(parameter)
    torch.testing.assert_close(method.matrix(parameter), expected, rtol=0, atol=1e-12)
    for ours, theirs in ((method.matrix(parameter), expected), (method.rotate(rows, parameter), rows @ expected.T)):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
        direction, inputs = normal(*theirs.shape, seed=7), (parameter, rows)
        for mine, its in zip(gradients(ours, inputs, direction), gradients(theirs, inputs, direction), strict=True):
            torch.testing.assert_close(mine, its, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_batches_are_matrix_by_matrix(name: str) -> None:
    method, literal = EVERY[name]
    parameters = torch.stack([torch.stack([conditioned(4, seed=10 * i + j) for j in range(3)]) for i in range(2)])
    parameters.requires_grad_()
    rows = normal(2, 3, 5, 4).requires_grad_()
    expected = torch.stack([torch.stack([literal(p) for p in some]) for some in parameters])
    torch.testing.assert_close(method.matrix(parameters), expected, rtol=0, atol=1e-12)
    rotated = method.rotate(rows, parameters)
    torch.testing.assert_close(rotated, rows @ expected.mT, rtol=0, atol=1e-12)
    direction = normal(*rotated.shape, seed=4)
    for mine, its in zip(
        torch.autograd.grad(rotated, (parameters, rows), direction),
        torch.autograd.grad(rows @ expected.mT, (parameters, rows), direction),
        strict=True,
    ):
        torch.testing.assert_close(mine, its, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_gradcheck(name: str) -> None:
    method, _ = EVERY[name]
    parameter = torch.stack([conditioned(3, seed=1), conditioned(3, seed=2)]).requires_grad_()
    rows = normal(2, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(method.matrix, (parameter,))
    assert torch.autograd.gradcheck(method.rotate, (rows, parameter))


@pytest.mark.parametrize("name", EVERY)
def test_only_one_of_rows_and_parameter_needs_a_gradient(name: str) -> None:
    method, _ = EVERY[name]
    both = (normal(4, 3).requires_grad_(), conditioned(3, seed=3).requires_grad_())
    rows, parameter = torch.autograd.grad(method.rotate(*both).square().sum() + method.rotate(*both).sum(), both)
    some = both[0].detach().clone().requires_grad_()
    out = method.rotate(some, both[1].detach())
    (alone,) = torch.autograd.grad(out.square().sum() + out.sum(), some)
    torch.testing.assert_close(alone, rows)
    other = both[1].detach().clone().requires_grad_()
    out = method.rotate(both[0].detach(), other)
    (alone,) = torch.autograd.grad(out.square().sum() + out.sum(), other)
    torch.testing.assert_close(alone, parameter)


def test_functions_are_the_methods() -> None:
    u = conditioned(4, seed=3)
    w = reference.skew(u)
    for function, literal in (
        (orthogonal.gram_schmidt, reference.gram_schmidt),
        (orthogonal.householder, reference.householder),
        (orthogonal.lowdin, reference.lowdin),
    ):
        torch.testing.assert_close(function(u), literal(u), rtol=0, atol=1e-12)
    torch.testing.assert_close(orthogonal.cayley(w), reference.cayley(u), rtol=0, atol=1e-12)
    torch.testing.assert_close(orthogonal.exponential(w), reference.exponential(u), rtol=0, atol=1e-12)


def test_names_lead_to_methods() -> None:
    kinds = {name: method.__name__ for name, method in orthogonal.METHODS.items()}
    assert kinds == {
        "gs": "GramSchmidt",
        "hr": "Householder",
        "ls": "Lowdin",
        "cp": "Cayley",
        "exp": "Exponential",
        "ogd": "OrthogonalGD",
        "or": "Relaxed",
        "upt": "Unconstrained",
        "positive-definite": "PositiveDefinite",
        "triangular": "Triangular",
        "banded": "Banded",
        "symmetric": "Symmetric",
        "skew": "Skew",
        "hessenberg": "Hessenberg",
    }


def test_modified_and_iterated_gram_schmidt_are_the_same_function() -> None:
    u = conditioned(6, seed=3)
    plain = orthogonal.GramSchmidt()
    for other in (orthogonal.GramSchmidt(modified=True), orthogonal.GramSchmidt(iterations=2)):
        torch.testing.assert_close(other.matrix(u), plain.matrix(u), rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient(other.matrix, u), gradient(plain.matrix, u), rtol=0, atol=1e-11)


# Closed forms


@pytest.mark.parametrize("name", ["gs", "mgs", "igs", "ls"])
def test_an_orthogonal_matrix_is_its_own_orthogonalization(name: str) -> None:
    q = haar(5)
    torch.testing.assert_close(ORTHOGONAL[name][0].matrix(q), q, rtol=0, atol=1e-14)


def test_cayley_and_exponential_of_a_plane_rotation() -> None:
    for angle in (-1.3, 0.4, 3.0):
        generator = torch.tensor([[0.0, 0.0], [angle, 0.0]], dtype=torch.float64)
        turn = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=torch.float64
        )
        torch.testing.assert_close(orthogonal.Exponential().matrix(generator), turn, rtol=0, atol=1e-14)
        half = generator / angle * math.tan(angle / 2)
        torch.testing.assert_close(orthogonal.Cayley().matrix(half), turn, rtol=0, atol=1e-13)
    zero = torch.zeros(4, 4, dtype=torch.float64)
    for name in ("cp", "exp"):
        assert torch.equal(ORTHOGONAL[name][0].matrix(zero), torch.eye(4, dtype=torch.float64))


def test_the_upper_triangle_and_the_diagonal_of_a_skew_parameter_say_nothing() -> None:
    u = conditioned(4, seed=3)
    for method in (orthogonal.Cayley(), orthogonal.Exponential(), orthogonal.Skew()):
        assert torch.equal(method.matrix(u), method.matrix(u.tril(-1) + 7 * torch.ones(4, 4).triu()))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_determinants(size: int) -> None:
    signs = set()
    for seed in range(8):
        u = conditioned(size, seed=seed)
        sign = float(torch.linalg.det(u).sign())
        signs.add(sign)
        for name, (method, _) in ORTHOGONAL.items():
            expected = {"cp": 1.0, "exp": 1.0, "hr": (-1.0) ** (size - 1)}.get(name, sign)
            assert float(torch.linalg.det(method.matrix(u))) == pytest.approx(expected), name
    assert signs == {-1.0, 1.0}


def test_the_triangle_of_householder_and_gram_schmidt() -> None:
    u = conditioned(6, seed=4)
    for name in ("gs", "hr"):
        triangle = ORTHOGONAL[name][0].matrix(u).T @ u
        assert triangle.tril(-1).abs().max() < 1e-14
        assert (triangle.diagonal()[:-1] > 0).all()


def test_lowdin_is_the_nearest() -> None:
    u = conditioned(5, seed=6)
    best = float((orthogonal.lowdin(u) - u).norm())
    for seed in range(20):
        turn = reference.exponential(0.3 * normal(5, 5, seed=seed))
        assert float((orthogonal.lowdin(u) @ turn - u).norm()) > best
    assert float((orthogonal.gram_schmidt(u) - u).norm()) > best


# Properties

sizes = st.integers(1, 9)
seeds = st.integers(0, 10_000)


@settings(max_examples=15)
@given(size=sizes, seed=seeds, exponent=st.floats(-3, 0))
def test_orthogonality(size: int, seed: int, exponent: float) -> None:
    u = conditioned(size, seed, 10**exponent)
    for name, (method, _) in ORTHOGONAL.items():
        r = method.matrix(u)
        assert deviation(r) < 1e-13, name
        assert deviation(r.mT) < 1e-13, name


@settings(max_examples=15)
@given(size=sizes, seed=seeds, scale=st.floats(1e-3, 1e3))
def test_invariances(size: int, seed: int, scale: float) -> None:
    u, q = conditioned(size, seed), haar(size, seed + 7)
    triangle = normal(size, size, seed=seed).triu(1) + torch.diag(normal(size, seed=seed).abs() + 0.5)
    close = {"rtol": 0, "atol": 1e-10}
    for function in (orthogonal.gram_schmidt, orthogonal.householder):
        torch.testing.assert_close(function(u @ triangle), function(u), **close)
    torch.testing.assert_close(orthogonal.gram_schmidt(q @ u), q @ orthogonal.gram_schmidt(u), **close)
    torch.testing.assert_close(orthogonal.lowdin(q @ u), q @ orthogonal.lowdin(u), **close)
    torch.testing.assert_close(orthogonal.lowdin(u @ q), orthogonal.lowdin(u) @ q, **close)
    torch.testing.assert_close(orthogonal.lowdin(scale * u), orthogonal.lowdin(u), **close)
    w = reference.skew(u)
    for function in (orthogonal.cayley, orthogonal.exponential):
        torch.testing.assert_close(function(-w), function(w).mT, **close)
        torch.testing.assert_close(function(q @ w @ q.T), q @ function(w) @ q.T, **close)


# Where derivatives are delicate

SINGULAR_VALUES = {
    "identity": torch.eye(5, dtype=torch.float64),
    "orthogonal": haar(5, seed=2),
    "two equal": torch.diag(torch.tensor([1.0, 1.0, 2.0, 2.0, 3.0], dtype=torch.float64)),
    "nearly equal": torch.eye(5, dtype=torch.float64) + 1e-9 * normal(5, 5),
    "reflection": torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0], dtype=torch.float64)),
}


@pytest.mark.parametrize("name", ["gs", "mgs", "igs", "ls", "cp", "exp"])
@pytest.mark.parametrize("where", SINGULAR_VALUES)
def test_gradient_at_equal_singular_values(name: str, where: str) -> None:
    method, literal = ORTHOGONAL[name]
    u = SINGULAR_VALUES[where]
    torch.testing.assert_close(gradient(method.matrix, u), gradient(literal, u), rtol=0, atol=1e-9)


def test_the_literal_backward_of_the_svd_is_not_finite_there() -> None:
    def by_svd(u: Tensor) -> Tensor:
        left, _, right = torch.linalg.svd(u)
        return left @ right

    assert not gradient(by_svd, SINGULAR_VALUES["identity"]).isfinite().all()


@pytest.mark.parametrize("at", [(0.0, 0.0), (1.0, 1.0), (1.0, 2.0), (math.pi, math.pi), (1e-9, 0.0)])
def test_gradient_of_the_exponential_at_equal_and_zero_angles(at: tuple[float, float]) -> None:
    parameter = torch.zeros(5, 5, dtype=torch.float64)
    parameter[1, 0], parameter[3, 2] = at
    for name in ("exp", "cp"):
        method, literal = ORTHOGONAL[name]
        torch.testing.assert_close(gradient(method.matrix, parameter), gradient(literal, parameter), rtol=0, atol=1e-9)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_householder_at_the_identity(size: int) -> None:
    # Algorithm 3 skips every reflection there, but none beside it: for even sizes the last column turns around.
    identity = torch.eye(size, dtype=torch.float64)
    assert torch.equal(orthogonal.householder(identity), identity)
    assert torch.equal(reference.householder(identity), identity)
    turned = torch.ones(size, dtype=torch.float64)
    turned[-1] = (-1.0) ** (size - 1)
    beside = identity + 1e-6 * normal(size, size)
    torch.testing.assert_close(orthogonal.householder(beside), identity * turned, rtol=0, atol=1e-5)
    torch.testing.assert_close(orthogonal.householder(beside), reference.householder(beside), rtol=0, atol=1e-10)
    expected = gradient(lambda u: reference.householder(u) * turned, beside)
    torch.testing.assert_close(gradient(orthogonal.householder, identity), expected, rtol=0, atol=1e-4)


def test_householder_skips_reflections_that_are_not_needed() -> None:
    u = conditioned(5, seed=3)
    for triangle in (
        torch.diag(torch.tensor([1.0, -2.0, 3.0, -1.0, -1.0], dtype=torch.float64)),
        normal(5, 5).triu(),
        torch.block_diag(u[:2, :2], -torch.eye(3, dtype=torch.float64)),
        torch.block_diag(-torch.eye(2, dtype=torch.float64), u[:3, :3]),
    ):
        expected = reference.householder(triangle)
        torch.testing.assert_close(orthogonal.householder(triangle), expected, rtol=0, atol=1e-12)


def test_a_set_without_full_rank_has_no_finite_gradient() -> None:
    zero_column = conditioned(4, seed=3)
    zero_column[:, 1] = 0
    for name in ("gs", "mgs", "igs", "hr"):
        assert not gradient(ORTHOGONAL[name][0].matrix, zero_column).isfinite().all()
    nothing = torch.zeros(4, 4, dtype=torch.float64)
    assert not gradient(orthogonal.lowdin, nothing).isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("name", ORTHOGONAL)
def test_what_is_not_finite_stays_visible(name: str, value: float) -> None:
    u = conditioned(4, seed=3)
    u[2, 1] = value
    try:
        r = ORTHOGONAL[name][0].matrix(u)
    except torch.linalg.LinAlgError as error:
        assert "non-finite" in str(error)  # noqa: PT017
    else:
        assert not r.isfinite().all()


# Starts


@pytest.mark.parametrize("name", [name for name in EVERY if name not in ("mgs", "igs")])
def test_a_parameter_has_the_matrix_that_it_was_asked_for(name: str) -> None:
    method, literal = EVERY[name]
    for size in (1, 2, 5, 6):
        start = literal(conditioned(size, seed=4)) if name in ORTHOGONAL else literal(haar(size, seed=4))
        if name == "ogd":
            start = haar(size, seed=4)
        parameter = method.parameter(start)
        assert parameter.dtype == start.dtype
        torch.testing.assert_close(method.matrix(parameter), start, rtol=0, atol=1e-6)
        many = torch.stack([start, start]).view(2, 1, size, size).float()
        torch.testing.assert_close(method.matrix(method.parameter(many)), many, rtol=0, atol=1e-5)


def test_half_turns_have_a_logarithm_but_no_cayley_parameter() -> None:
    turn = haar(6, seed=1)
    half = turn @ torch.diag(torch.tensor([-1.0, -1.0, -1.0, -1.0, 1.0, 1.0], dtype=torch.float64)) @ turn.T
    method = orthogonal.Exponential()
    torch.testing.assert_close(method.matrix(method.parameter(half)), half, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match=r"Cayley\(\).*half turn"):
        orthogonal.Cayley().parameter(half)


@pytest.mark.parametrize("size", [2, 3])
def test_matrices_that_a_method_cannot_make_are_refused(size: int) -> None:
    rotation, reflection = torch.eye(size), torch.diag(torch.tensor([1.0, -1.0, 1.0][:size]))
    for name in ("cp", "exp"):
        ORTHOGONAL[name][0].parameter(rotation)
        with pytest.raises(ValueError, match="determinant"):
            ORTHOGONAL[name][0].parameter(reflection)
    for name in ("gs", "hr", "ls", "cp", "exp", "ogd"):
        with pytest.raises(ValueError, match="orthogonal"):
            EVERY[name][0].parameter(2 * rotation)
        with pytest.raises(ValueError, match="orthogonal"):
            EVERY[name][0].parameter(math.nan * rotation)
    with pytest.raises(ValueError, match=r"Skew\(\)"):
        orthogonal.Skew().parameter(rotation)
    with pytest.raises(ValueError, match="positive definite"):
        orthogonal.PositiveDefinite().parameter(reflection)
    with pytest.raises(ValueError, match="symmetric"):
        orthogonal.PositiveDefinite().parameter(rotation + rotation.roll(1, 0).tril())
    full = torch.arange(1.0, size * size + 1).view(size, size)
    for method in (orthogonal.Triangular(), orthogonal.Banded(0), orthogonal.Symmetric()):
        with pytest.raises(ValueError, match="makes no such"):
            method.parameter(full)


def test_arguments_out_of_range_are_refused() -> None:
    for build, message in (
        (lambda: orthogonal.GramSchmidt(iterations=0), "iterations=0"),
        (lambda: orthogonal.Relaxed(beta=-1.0), r"beta=-1\.0"),
        (lambda: orthogonal.Relaxed(beta=math.nan), "beta=nan"),
        (lambda: orthogonal.Banded(-1), "=-1"),
        (lambda: orthogonal.gram_schmidt(torch.eye(2), iterations=0), "iterations=0"),
    ):
        with pytest.raises(ValueError, match=message):
            build()
    for function in (
        orthogonal.gram_schmidt,
        orthogonal.householder,
        orthogonal.lowdin,
        orthogonal.cayley,
        orthogonal.exponential,
    ):
        for bad, message in (
            (torch.ones(2, 3), r"\(2, 3\)"),
            (torch.ones(3), r"\(3,\)"),
            (torch.ones(2, 2, dtype=torch.int64), "int64"),
        ):
            with pytest.raises(ValueError, match=message):
                function(bad)


# Precision


@pytest.mark.parametrize("name", ORTHOGONAL)
def test_float32_is_orthogonal_and_near_float64_where_the_set_is_nearly_dependent(name: str) -> None:
    method, _ = ORTHOGONAL[name]
    condition = 1e3
    u = conditioned(24, seed=3, smallest=1 / condition)
    r = method.matrix(u.float())
    assert r.dtype == torch.float32
    # The modified process loses digits with the condition of the set, the others do not.
    assert deviation(r) < (1e-7 * condition if name == "mgs" else 3e-6)
    torch.testing.assert_close(r.double(), method.matrix(u), rtol=0, atol=2e-7 * condition)
    ours, exact = gradient(method.matrix, u.float()).double(), gradient(method.matrix, u)
    assert float((ours - exact).norm() / exact.norm()) < 1e-6 * condition


def test_large_turns_do_not_cost_the_exponential_its_orthogonality() -> None:
    method, u = orthogonal.Exponential(), 20 * normal(24, 24).float()
    identity = torch.eye(24)
    assert deviation(torch.linalg.matrix_exp(reference.skew(u))) > 1e-5  # what squaring does alone
    assert deviation(method.matrix(u)) < 2e-6
    assert deviation(method.rotate(identity, u)) < 2e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ORTHOGONAL)
def test_half_precision_is_read_as_float32(name: str, dtype: torch.dtype) -> None:
    method, _ = ORTHOGONAL[name]
    u = conditioned(8, seed=3).to(dtype)
    r = method.matrix(u)
    assert r.dtype == torch.float32
    torch.testing.assert_close(r, method.matrix(u.float()), rtol=0, atol=1e-6)
    grad = gradient(method.matrix, u)
    assert grad.dtype == dtype
    torch.testing.assert_close(grad, gradient(method.matrix, u.float()).to(dtype), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ORTHOGONAL)
def test_autocast_changes_nothing(name: str) -> None:
    method, _ = ORTHOGONAL[name]
    found = []
    for enabled in (False, True):
        u, rows = conditioned(16, seed=3).float().requires_grad_(), normal(6, 16).float().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            r = method.matrix(u)
            assert deviation(r) < 2e-6
            rotated = method.rotate(rows, u)
            assert r.dtype == rotated.dtype == torch.float32
            grads = torch.autograd.grad((rotated * normal(6, 16, seed=1).float()).sum(), (u, rows))
        found.append((r, rotated, *grads))
    for without, under in zip(*found, strict=True):
        torch.testing.assert_close(under, without, rtol=0, atol=1e-6)


def test_a_second_derivative_is_refused_and_not_wrong() -> None:
    for method, literal in ORTHOGONAL.values():
        u = conditioned(3, seed=3).requires_grad_()
        (first,) = torch.autograd.grad(method.matrix(u).square()[0, 1], u, create_graph=True)
        try:
            first.sum().backward()
        except RuntimeError as error:
            assert "once_differentiable" in str(error)  # noqa: PT017
        else:
            (first,) = torch.autograd.grad(literal(u).square()[0, 1], u, create_graph=True)
            torch.testing.assert_close(u.grad, torch.autograd.grad(first.sum(), u)[0], rtol=0, atol=1e-9)
