"""Gradient descent that keeps a matrix orthogonal: the thesis's step, its iterations, and its company."""

from __future__ import annotations

import copy
import io
import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

import onsphere as osp
import reference_orthogonal as reference
from onsphere import orthogonal


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def haar(n: int, seed: int = 0) -> Tensor:
    return reference.gram_schmidt(normal(n, n, seed=seed))


def deviation(r: Tensor) -> float:
    r = r.detach()
    return float((r.mT @ r - torch.eye(r.shape[-1], dtype=r.dtype)).norm())


def learned(r: Tensor) -> nn.Parameter:
    return nn.Parameter(r.clone())


def stepped(r: Tensor, gradient: Tensor, **settings: Any) -> Tensor:
    parameter = learned(r)
    parameter.grad = gradient.clone()
    osp.OrthogonalSGD([parameter], **settings).step()
    return parameter.detach()


SIZES = pytest.mark.parametrize("size", [1, 2, 5])


@SIZES
def test_a_step_is_the_closed_form_down_the_gradient(size: int) -> None:
    r, gradient = haar(size), normal(size, size, seed=3)
    ours = stepped(r, gradient, lr=0.05)
    torch.testing.assert_close(ours, reference.closed_form(r, gradient, -0.05), rtol=0, atol=1e-12)
    assert deviation(ours) < 1e-13


@SIZES
@pytest.mark.parametrize("iterations", [1, 2, 3, 5])
def test_iterations_are_the_fixed_point(size: int, iterations: int) -> None:
    r, gradient = haar(size), normal(size, size, seed=3)
    ours = stepped(r, gradient, lr=0.05, iterations=iterations)
    torch.testing.assert_close(ours, reference.fixed_point(r, gradient, -0.05, iterations), rtol=0, atol=1e-12)


def test_iterations_converge_at_the_rate_of_the_thesis() -> None:
    r, gradient = haar(6), normal(6, 6, seed=3)
    for iterations in (1, 2, 3):
        apart = [
            float((stepped(r, gradient, lr=lr, iterations=iterations) - stepped(r, gradient, lr=lr)).norm())
            for lr in (0.02, 0.01)
        ]
        assert math.log2(apart[0] / apart[1]) == pytest.approx(2 + iterations, abs=0.05)


def test_a_step_inside_autocast_is_the_same() -> None:
    r, gradient = haar(8).float(), normal(8, 8, seed=3).float()
    for settings in ({}, {"iterations": 2}, {"polish_every": 1}):
        expected = stepped(r, gradient, lr=0.1, **settings)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(stepped(r, gradient, lr=0.1, **settings), expected)


def test_matrices_in_a_batch_step_one_by_one() -> None:
    r = torch.stack([torch.stack([haar(4, seed=3 * i + j) for j in range(3)]) for i in range(2)])
    gradient = normal(2, 3, 4, 4, seed=5)
    for settings in ({}, {"iterations": 2}):
        ours = stepped(r, gradient, lr=0.05, **settings)
        for i in range(2):
            for j in range(3):
                alone = stepped(r[i, j], gradient[i, j], lr=0.05, **settings)
                torch.testing.assert_close(ours[i, j], alone, rtol=0, atol=1e-13)


def test_the_loss_descends_to_its_minimum() -> None:
    target = haar(5, seed=3)
    target = target if torch.linalg.det(target) > 0 else target @ torch.diag(torch.tensor([1.0, 1, 1, 1, -1]).double())
    parameter = learned(torch.eye(5, dtype=torch.float64))
    optimizer = osp.OrthogonalSGD([parameter], lr=0.2)
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        loss = (parameter - target).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(after <= before + 1e-12 for before, after in itertools.pairwise(losses))
    assert losses[-1] < 1e-10


@SIZES
def test_momentum_is_a_moving_sum_of_the_directions(size: int) -> None:
    parameter, r = learned(haar(size)), haar(size)
    optimizer = osp.OrthogonalSGD([parameter], lr=0.05, momentum=0.9)
    total = torch.zeros(size, size, dtype=torch.float64)
    eye = torch.eye(size, dtype=torch.float64)
    for seed in range(4):
        gradient = normal(size, size, seed=seed)
        total = 0.9 * total + r.mT @ reference.direction(r, gradient) @ r  # in the frame that turns with R
        r = r @ torch.linalg.inv(eye + 0.025 * total) @ (eye - 0.025 * total)
        parameter.grad = gradient
        optimizer.step()
        torch.testing.assert_close(parameter.detach(), r, rtol=0, atol=1e-12)


def test_a_step_is_no_longer_than_asked() -> None:
    r, gradient = haar(5), 30 * normal(5, 5, seed=3)
    norm = float(reference.direction(r, gradient).norm())
    for max_step, lam in ((1.0, 1 / norm), (0.25, 0.25 / norm), (None, 0.5), (1e6, 0.5)):
        ours = stepped(r, gradient, lr=0.5, max_step=max_step)
        torch.testing.assert_close(ours, reference.closed_form(r, gradient, -lam), rtol=0, atol=1e-12)
    assert 0.5 * norm > 10
    both = torch.stack([gradient, 1e-3 * gradient])  # each matrix has its own length
    ours = stepped(torch.stack([r, r]), both, lr=0.5)
    torch.testing.assert_close(ours[0], stepped(r, both[0], lr=0.5), rtol=0, atol=1e-12)
    torch.testing.assert_close(ours[1], reference.closed_form(r, both[1], -0.5), rtol=0, atol=1e-12)
    assert torch.equal(stepped(r, torch.zeros_like(r), lr=0.5), r)


def test_polishing_takes_rounding_away_at_its_turn() -> None:
    r = haar(6) + 1e-4 * normal(6, 6, seed=3)
    parameter = learned(r)
    optimizer = osp.OrthogonalSGD([parameter], lr=0.5, polish_every=3)
    for step in range(1, 4):
        parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        if step < 3:
            torch.testing.assert_close(parameter.detach(), r, rtol=0, atol=1e-14)
    torch.testing.assert_close(parameter.detach(), 1.5 * r - 0.5 * r @ r.T @ r, rtol=0, atol=1e-14)
    assert deviation(parameter) < deviation(r) ** 2


def test_iterations_stay_orthogonal_with_polishing_alone() -> None:
    # A truncated step leaves the orthogonal matrices by O(lambda^(2 + n)), every time in the same direction.
    found = []
    for polish_every in (1, 10**9):
        parameter = learned(torch.eye(8))
        optimizer = osp.OrthogonalSGD([parameter], lr=0.2, iterations=2, polish_every=polish_every)
        target = haar(8, seed=3).float()
        for _ in range(100):
            optimizer.zero_grad()
            (parameter - target).square().sum().backward()
            optimizer.step()
        found.append(deviation(parameter))
    assert found[0] < 2e-6
    assert found[1] > 1e-3


def test_ordinary_parameters_have_a_group_of_their_own() -> None:
    torch.manual_seed(0)
    layer, twin = nn.Linear(4, 3), nn.Linear(4, 3)
    twin.load_state_dict(layer.state_dict())
    parameter = learned(haar(4))
    settings: dict[str, Any] = {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}
    ours = osp.OrthogonalSGD(
        [{"params": [parameter]}, {"params": layer.parameters(), "orthogonal": False, **settings}], lr=0.05
    )
    theirs = torch.optim.SGD(twin.parameters(), **settings)
    alone = learned(haar(4))
    other = osp.OrthogonalSGD([alone], lr=0.05)
    x = torch.randn(5, 4)
    for _ in range(4):
        for model, optimizers, r in ((layer, (ours,), parameter), (twin, (theirs, other), alone)):
            for optimizer in optimizers:
                optimizer.zero_grad()
            (model(x).square().sum() + (r @ x.double().T).tanh().sum()).backward()
            for optimizer in optimizers:
                optimizer.step()
    for mine, its in zip(layer.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, its)
    assert torch.equal(parameter, alone)


def test_a_closure_is_called_and_its_loss_returned() -> None:
    parameter = learned(haar(3))
    weight = nn.Parameter(torch.ones(3, dtype=torch.float64))
    for optimizer in (
        osp.OrthogonalSGD([parameter], lr=0.1),
        orthogonal.Pair(osp.OrthogonalSGD([parameter], lr=0.1), torch.optim.SGD([weight], lr=0.1)),
    ):

        def closure(optimizer: torch.optim.Optimizer = optimizer) -> Tensor:
            optimizer.zero_grad()
            loss = (parameter @ weight).sum()
            loss.backward()
            return loss

        before = (parameter @ weight).sum().item()
        assert optimizer.step(closure).item() == before
        assert (parameter @ weight).sum().item() < before
    parameter.grad = None
    kept = parameter.detach().clone()
    osp.OrthogonalSGD([parameter], lr=0.1).step()  # nothing to do
    assert torch.equal(parameter, kept)


def test_what_is_not_orthogonal_is_refused() -> None:
    for value, message in (
        (torch.randn(3, 4), r"\(3, 4\).*square"),
        (torch.randn(3), r"\(3,\).*square"),
        (2 * torch.eye(3), "expected an orthogonal"),
        (torch.full((3, 3), math.nan), "expected an orthogonal"),
    ):
        with pytest.raises(ValueError, match=message):
            osp.OrthogonalSGD([nn.Parameter(value)], lr=0.1)
        optimizer = osp.OrthogonalSGD([learned(torch.eye(3))], lr=0.1)
        with pytest.raises(ValueError, match=message):
            optimizer.add_param_group({"params": [nn.Parameter(value)]})
        assert len(optimizer.param_groups) == 1
    osp.OrthogonalSGD([learned(haar(40).float().bfloat16())], lr=0.1)  # as orthogonal as its type can be
    for settings, message in (
        ({"lr": -0.1}, r"lr=-0\.1"),
        ({"lr": math.nan}, "lr=nan"),
        ({"lr": 0.1, "momentum": 1.0}, r"momentum=1\.0"),
        ({"lr": 0.1, "iterations": -1}, "iterations=-1"),
        ({"lr": 0.1, "max_step": 0.0}, r"max_step=0\.0"),
        ({"lr": 0.1, "polish_every": 0}, "polish_every=0"),
        ({"lr": 0.1, "weight_decay": 0.1}, r"weight_decay=0\.1"),
    ):
        with pytest.raises(ValueError, match=message):
            osp.OrthogonalSGD([learned(torch.eye(3))], **settings)


# With another optimizer


def model() -> nn.Module:
    torch.manual_seed(0)
    return osp.overparametrize(nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)), orthogonal.OrthogonalGD())


X = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))


def train(network: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, steps: int) -> float:
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (network(X) - X[:, :2].sin()).square().mean()
        loss.backward()
        optimizer.step()
        scheduler.step()
    return loss.item()


def test_split_finds_the_orthogonal_matrices() -> None:
    network = model()
    matrices, others = orthogonal.split(network.parameters())
    assert [tuple(p.shape) for p in matrices] == [(6, 6)]
    assert {id(p) for p in [*matrices, *others]} == {id(p) for p in network.parameters()}
    assert len(others) == 3
    assert orthogonal.split([]) == ([], [])
    assert orthogonal.split(nn.Linear(3, 3).parameters())[0] == []


def test_orthogonal_parameters_stay_what_they_are() -> None:
    parameter = orthogonal.OrthogonalParameter(torch.eye(3))
    assert isinstance(copy.deepcopy(parameter), orthogonal.OrthogonalParameter)
    network = model()
    for other in (copy.deepcopy(network), network.double(), network.to("cpu", torch.float32), network.float()):
        (matrix,) = orthogonal.split(other.parameters())[0]
        assert isinstance(matrix, orthogonal.OrthogonalParameter)
        assert matrix.requires_grad


def test_orthogonal_parameters_outlive_what_torch_replaces_parameters_for() -> None:
    network = model()
    state = copy.deepcopy(network.state_dict())
    network.load_state_dict(state, assign=True)
    (matrix,) = orthogonal.split(network.parameters())[0]
    assert matrix.data_ptr() == next(value for name, value in state.items() if name.endswith("matrix")).data_ptr()
    network.requires_grad_(False)
    network.to("meta")
    (matrix,) = orthogonal.split(network.parameters())[0]
    assert matrix.device.type == "meta"
    network.to_empty(device="cpu").load_state_dict(state)
    (matrix,) = orthogonal.split(network.parameters())[0]
    assert not matrix.requires_grad
    assert torch.equal(network(X), model()(X))


def pair(network: nn.Module) -> tuple[orthogonal.Pair, CosineAnnealingLR]:
    matrices, others = orthogonal.split(network.parameters())
    both = orthogonal.Pair(
        osp.OrthogonalSGD(matrices, lr=0.3, momentum=0.5, polish_every=3), torch.optim.Adam(others, lr=0.05)
    )
    return both, CosineAnnealingLR(both, 20)


def test_a_pair_is_its_two_optimizers() -> None:
    network, twin = model(), model()
    both, schedule = pair(network)
    matrices, others = orthogonal.split(twin.parameters())
    first = osp.OrthogonalSGD(matrices, lr=0.3, momentum=0.5, polish_every=3)
    second = torch.optim.Adam(others, lr=0.05)
    schedules = [CosineAnnealingLR(first, 20), CosineAnnealingLR(second, 20)]
    for _ in range(6):
        train(network, both, schedule, 1)
        first.zero_grad()
        second.zero_grad()
        (twin(X) - X[:, :2].sin()).square().mean().backward()
        for each in (first, second, *schedules):
            each.step()
    for name, value in network.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name
    assert [group["lr"] for group in both.param_groups] == [first.param_groups[0]["lr"], second.param_groups[0]["lr"]]
    both.zero_grad()
    assert all(p.grad is None for p in network.parameters())


def test_a_pair_can_be_copied_with_its_model() -> None:
    network = model()
    both, schedule = pair(network)
    train(network, both, schedule, 2)
    twin, its, its_schedule = copy.deepcopy((network, both, schedule))
    loss = train(network, both, schedule, 3)
    assert train(twin, its, its_schedule, 3) == loss
    assert [group["lr"] for group in its.param_groups] == [group["lr"] for group in both.param_groups]


def test_a_pair_is_resumed_to_the_last_bit() -> None:
    network = model()
    optimizer, schedule = pair(network)
    train(network, optimizer, schedule, 4)
    file = io.BytesIO()
    torch.save((network.state_dict(), optimizer.state_dict(), schedule.state_dict()), file)
    loss = train(network, optimizer, schedule, 8)
    file.seek(0)
    states = torch.load(file, weights_only=True)
    other = model()
    its, its_schedule = pair(other)
    train(other, its, its_schedule, 1)
    for part, state in zip((other, its, its_schedule), states, strict=True):
        part.load_state_dict(state)
    assert train(other, its, its_schedule, 8) == loss
    for name, value in network.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert [group["lr"] for group in its.param_groups] == [group["lr"] for group in optimizer.param_groups]


def test_a_group_that_is_added_to_a_pair_goes_to_the_right_one() -> None:
    network = model()
    matrices, others = orthogonal.split(network.parameters())
    rotating, moving = osp.OrthogonalSGD(matrices, lr=0.1), torch.optim.SGD(others, lr=0.1)
    for both in (orthogonal.Pair(rotating, moving), orthogonal.Pair(moving, rotating)):
        r, w = orthogonal.OrthogonalParameter(torch.eye(2)), nn.Parameter(torch.zeros(2))
        groups = both.param_groups
        both.add_param_group({"params": r, "lr": 0.25})
        both.add_param_group({"params": iter([w]), "lr": 0.5})
        assert rotating.param_groups[-1]["params"] == [r]
        assert moving.param_groups[-1]["params"] == [w]
        assert groups is both.param_groups
        assert sorted(group["lr"] for group in groups) == sorted(
            group["lr"] for each in (rotating, moving) for group in each.param_groups
        )
        w.grad = torch.ones(2)
        both.step()
        assert w.tolist() == [-0.5, -0.5]
        with pytest.raises(ValueError, match="one kind only"):
            both.add_param_group({"params": [orthogonal.OrthogonalParameter(torch.eye(2)), nn.Parameter(w.data)]})
    plain = orthogonal.Pair(torch.optim.SGD([nn.Parameter(w.data)], lr=0.1), moving)
    with pytest.raises(ValueError, match="one OrthogonalSGD"):
        plain.add_param_group({"params": [nn.Parameter(w.data)]})


def test_a_schedule_of_rates_and_momentum_acts_on_both() -> None:
    network = model()
    matrices, others = orthogonal.split(network.parameters())
    second = torch.optim.SGD(others, lr=0.1, momentum=0.9)
    both = orthogonal.Pair(osp.OrthogonalSGD(matrices, lr=0.1, momentum=0.9), second)
    schedule = OneCycleLR(both, max_lr=0.5, total_steps=10)
    for _ in range(4):
        both.step()
        schedule.step()
        lrs, momenta = ([group[name] for group in both.param_groups] for name in ("lr", "momentum"))
        assert len(set(lrs)) == len(set(momenta)) == 1
    assert second.param_groups[0]["lr"] != 0.02
    adam = orthogonal.Pair(osp.OrthogonalSGD(matrices, lr=0.1), torch.optim.Adam(others))
    with pytest.raises(ValueError, match="momentum"):
        OneCycleLR(adam, max_lr=0.5, total_steps=10)


def test_pairs_that_cannot_be_are_refused() -> None:
    network = model()
    matrices, others = orthogonal.split(network.parameters())
    with pytest.raises(ValueError, match="more than one parameter group"):
        orthogonal.Pair(osp.OrthogonalSGD(matrices, lr=0.1), torch.optim.SGD(network.parameters(), lr=0.1))
    both = orthogonal.Pair(osp.OrthogonalSGD(matrices, lr=0.1), torch.optim.SGD(others, lr=0.1))
    with pytest.raises(ValueError, match="Pair"):
        both.load_state_dict(torch.optim.SGD(others, lr=0.1).state_dict())


def test_another_optimizer_on_an_orthogonal_matrix_is_found_out() -> None:
    network = model()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(20):
        optimizer.zero_grad()
        (network(X) - X[:, :2].sin()).square().sum().backward()
        optimizer.step()
    with pytest.raises(ValueError, match="OrthogonalSGD"):
        osp.fold(network)


def test_a_matrix_of_half_precision_is_turned_in_float32() -> None:
    exact, half = haar(6).float(), haar(6).bfloat16()
    gradient = normal(6, 6, seed=1)
    parameter = learned(half)
    optimizer = osp.OrthogonalSGD([parameter], lr=0.1, momentum=0.5)
    parameter.grad = gradient.bfloat16()
    optimizer.step()
    assert parameter.dtype == torch.bfloat16
    assert optimizer.state[parameter]["momentum"].dtype == torch.float32
    expected = stepped(exact, gradient.float(), lr=0.1)
    torch.testing.assert_close(parameter.detach().float(), expected, rtol=0, atol=2e-2)
    assert not torch.equal(parameter.detach(), half)
