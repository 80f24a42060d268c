"""Over-parameterized models: what is learned, what stays, folding back, saving, compiling, two processes."""

from __future__ import annotations

import copy
import io
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import scipy.stats
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import onsphere as osp
import reference_orthogonal as reference
from launching import forked
from onsphere import orthogonal

KEEPING = {  # methods whose matrix is always orthogonal, with a plain optimizer
    "gs": orthogonal.GramSchmidt(),
    "hr": orthogonal.Householder(),
    "ls": orthogonal.Lowdin(),
    "cp": orthogonal.Cayley(),
    "exp": orthogonal.Exponential(),
}
OTHERS = {
    "ogd": orthogonal.OrthogonalGD(),
    "or": orthogonal.Relaxed(beta=0.1),
    "upt": orthogonal.Unconstrained(),
    "positive-definite": orthogonal.PositiveDefinite(),
    "triangular": orthogonal.Triangular(),
    "banded": orthogonal.Banded(1),
    "symmetric": orthogonal.Symmetric(),
    "hessenberg": orthogonal.Hessenberg(),
}
EVERY = {**KEEPING, **OTHERS}


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 8, 2, bias=False),
            relu1=nn.ReLU(),
            grouped=nn.Conv2d(8, 6, 2, groups=2),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            linear=nn.Linear(24, 9),
            relu3=nn.ReLU(),
            classifier=nn.Linear(9, 3),
        )
    )


X = torch.randn(12, 3, 4, 4, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 3, (12,), generator=torch.Generator().manual_seed(2))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(X), Y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def energies(model: nn.Module) -> Tensor:
    """The hyperspherical energy (s = 1) of every group of every hidden layer."""
    found = osp.where.hidden(osp.where.layers(model, single=True))
    with torch.no_grad():
        return torch.stack([osp.MHE(s=1.0)(group.double()) for layer in found for group in layer.neurons()])


def norms(model: nn.Module) -> Tensor:
    found = osp.where.hidden(osp.where.layers(model, single=True))
    with torch.no_grad():
        return torch.cat([layer.neurons().flatten(0, 1).norm(dim=1) for layer in found])


def original(layer: nn.Module) -> Tensor:
    return layer.parametrizations.weight.original  # type: ignore[union-attr,return-value]


def matrix(layer: nn.Module) -> nn.Parameter:
    return layer.parametrizations.weight[0].maps["default"].matrix  # type: ignore[union-attr,index,return-value]


# What overparametrize() does


@pytest.mark.parametrize("name", EVERY)
def test_outputs_stay_and_the_matrices_alone_are_learned(name: str) -> None:
    model = network()
    weights, expected = {n: w.clone() for n, w in model.state_dict().items()}, model(X)
    assert osp.overparametrize(model, EVERY[name]) is model
    torch.testing.assert_close(model(X), expected, rtol=0, atol=1e-6)
    own = ".parametrizations.weight."
    assert {n for n, _ in model.named_parameters()} == {
        f"conv{own}0.maps.default.matrix",
        f"grouped{own}0.maps.default.matrix",
        "grouped.bias",
        f"linear{own}0.maps.default.matrix",
        "linear.bias",
        "classifier.weight",
        "classifier.bias",
    }
    assert {n for n, _ in model.named_buffers()} >= {f"{n}{own}original" for n in ("conv", "grouped", "linear")}
    for n in ("conv", "grouped", "linear"):
        assert torch.equal(model.state_dict()[f"{n}{own}original"], weights[f"{n}.weight"])
    assert matrix(model.conv).shape == (12, 12)
    assert matrix(model.grouped).shape == (2, 1, 16, 16)
    assert matrix(model.linear).shape == (24, 24)
    assert type(model.classifier) is nn.Linear
    model(X).square().sum().backward()
    for n in ("conv", "grouped", "linear"):
        grad = matrix(getattr(model, n)).grad
        assert grad is not None
        assert grad.isfinite().all()
        assert grad.abs().max() > 0
    assert not original(model.conv).requires_grad


def test_the_weight_is_v_times_r_transposed_in_every_kind_of_layer() -> None:
    kinds: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
        "linear": (nn.Linear(4, 5), (2, 4)),
        "conv1d": (nn.Conv1d(2, 5, 3), (2, 2, 7)),
        "conv2d": (nn.Conv2d(2, 5, (3, 2)), (2, 2, 5, 5)),
        "conv3d": (nn.Conv3d(2, 3, 2), (2, 2, 3, 3, 3)),
        "grouped": (nn.Conv2d(4, 6, 2, groups=2, padding_mode="circular", padding=1), (2, 4, 3, 3)),
        "transposed": (nn.ConvTranspose2d(4, 5, 2), (2, 4, 3, 3)),
        "transposed grouped": (nn.ConvTranspose1d(4, 6, 3, groups=2), (2, 4, 3)),
        "decoupled": (osp.SphereConv2d(2, 5, 3), (2, 2, 5, 5)),
        "decoupled linear": (osp.DecoupledLinear(4, 5), (2, 4)),
    }
    for name, (layer, shape) in kinds.items():
        torch.manual_seed(0)
        x = torch.randn(shape)
        model, kind = nn.Sequential(layer), type(layer)
        before = osp.where.layers(model)[0].neurons().detach()
        bare, keys = model(x), list(model.state_dict())
        osp.overparametrize(model, orthogonal.Cayley(), where=osp.where.everywhere)
        torch.testing.assert_close(model(x), bare, rtol=0, atol=1e-6)
        with torch.no_grad():
            matrix(layer).normal_(std=0.3)
        turns = orthogonal.matrices(model)["0"]
        assert deviation(turns) < 1e-6
        assert (turns - torch.eye(turns.shape[-1])).abs().max() > 0.1
        after = osp.where.layers(model)[0].neurons()
        torch.testing.assert_close(
            after, before @ turns.mT.detach(), rtol=0, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
        turned = model(x)
        assert (turned - bare).abs().max() > 1e-3
        osp.fold(model)
        torch.testing.assert_close(model(x), turned, rtol=0, atol=1e-6)
        assert type(model[0]) is kind
        assert list(model.state_dict()) == keys


def deviation(r: Tensor) -> float:
    r = r.detach().double()
    return float((r.mT @ r - torch.eye(r.shape[-1], dtype=r.dtype)).abs().max())


@pytest.mark.parametrize("name", KEEPING)
def test_energies_norms_and_orthogonality_stay_through_training(name: str) -> None:
    model = osp.overparametrize(network(), KEEPING[name])
    before, lengths, bare = energies(model), norms(model), model.conv.weight.detach().clone()
    losses = train(model, torch.optim.Adam(model.parameters(), lr=0.01), 60)
    assert losses[-1] < 0.5 * losses[0]
    assert (model.conv.weight - bare).abs().max() > 0.01
    torch.testing.assert_close(energies(model), before, rtol=1e-5, atol=0)
    torch.testing.assert_close(norms(model), lengths, rtol=1e-5, atol=0)
    for r in orthogonal.matrices(model).values():
        assert deviation(r) < 1e-5
    assert max(orthogonal.deviations(model).values()) < 1e-5


def test_energy_is_the_thesis_sum_over_pairs() -> None:
    model = osp.overparametrize(network(), orthogonal.GramSchmidt())
    train(model, torch.optim.Adam(model.parameters(), lr=0.01), 5)
    weight = model.conv.weight.detach().flatten(1)
    n = len(weight)
    assert float(energies(model)[0]) * n * (n - 1) == pytest.approx(reference.energy(weight), rel=1e-6)
    assert reference.energy(weight) == pytest.approx(reference.energy(original(model.conv).flatten(1)), rel=1e-5)


def test_what_does_not_keep_the_energy_is_seen() -> None:
    for name in ("or", "upt"):
        model = osp.overparametrize(network(), EVERY[name])
        before = energies(model)
        train(model, torch.optim.Adam(model.parameters(), lr=0.01), 20)
        assert (energies(model) / before - 1).abs().max() > 1e-3
        assert min(orthogonal.deviations(model).values()) > 0.01


def test_the_penalty_is_the_thesis_one_and_holds_back() -> None:
    left = []
    for weight in (0.0, 1.0):
        model = osp.overparametrize(network(), orthogonal.Relaxed(beta=0.3))
        penalty = orthogonal.Penalty(model)
        assert float(penalty()) == 0.0
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(20):
            optimizer.zero_grad()
            (nn.functional.cross_entropy(model(X), Y) + weight * penalty()).backward()
            optimizer.step()
        with torch.no_grad():
            blocks = [
                m.double()
                for n, p in model.named_parameters()
                if n.endswith("matrix")
                for m in p.view(-1, *p.shape[-2:])
            ]
        assert len(blocks) == 4
        assert float(penalty()) == pytest.approx(float(reference.penalty(blocks, 0.3)), rel=1e-5)
        left.append(float(penalty()))
    assert left[1] < 0.5 * left[0]
    assert not list(penalty.state_dict())
    with pytest.raises(ValueError, match="Relaxed"):
        orthogonal.Penalty(osp.overparametrize(network(), orthogonal.Cayley()))


# Blocks (F.5)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("name", ["gs", "cp", "ogd"])
def test_blocks_are_along_the_input_channels(name: str, share: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(6, 5, (2, 3), bias=False))
    v = model[0].weight.detach().clone()
    osp.overparametrize(model, EVERY[name], osp.where.everywhere, blocks=3, share_blocks=share, start="random")
    blocks = EVERY[name].matrix(matrix(model[0])).detach().view(-1, 12, 12)
    assert len(blocks) == (1 if share else 3)
    r = reference.shared_blocks(blocks[0], 3) if share else reference.separate_blocks(list(blocks))
    assert deviation(r) < 2e-6
    torch.testing.assert_close(orthogonal.matrices(model)["0"].view(36, 36), r)
    torch.testing.assert_close(model[0].weight.detach().flatten(1), v.flatten(1) @ r.T, rtol=0, atol=1e-6)
    for k in range(3):  # a sub-neuron of c1 x c2 x c3/k is turned by its own block
        own = v[:, 2 * k : 2 * k + 2].flatten(1) @ blocks[0 if share else k].T
        torch.testing.assert_close(model[0].weight.detach()[:, 2 * k : 2 * k + 2].flatten(1), own, rtol=0, atol=1e-6)


@pytest.mark.parametrize("share", [False, True])
def test_blocks_of_a_grouped_convolution(share: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(8, 6, 2, groups=2, bias=False))
    v = model[0].weight.detach().clone().view(2, 3, 16)
    osp.overparametrize(
        model, orthogonal.GramSchmidt(), osp.where.everywhere, blocks=2, share_blocks=share, start="random"
    )
    learned = matrix(model[0])
    assert learned.shape == ((2, 8, 8) if share else (2, 2, 8, 8))
    blocks = [[reference.gram_schmidt(b) for b in group] for group in learned.double().view(2, -1, 8, 8)]
    full = [reference.shared_blocks(g[0], 2) if share else reference.separate_blocks(g) for g in blocks]
    expected = torch.stack([own.double() @ r.T for own, r in zip(v, full, strict=True)])
    torch.testing.assert_close(orthogonal.matrices(model)["0"].double(), torch.stack(full).detach(), rtol=0, atol=1e-6)
    weight = model[0].weight.view(2, 3, 16)
    torch.testing.assert_close(weight.double(), expected, rtol=0, atol=1e-6)
    direction = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(1))
    mine, its = (torch.autograd.grad((w * direction).sum(), learned)[0] for w in (weight, expected))
    torch.testing.assert_close(mine, its, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("k", "shared", "separate"),
    [
        (1, 331.7, 331.7),
        (2, 82.9, 165.9),
        (4, 20.7, 82.9),
        (8, 5.2, 41.5),
        (16, 1.3, 20.7),
        (32, 0.3, 10.4),
        (64, 0.1, 5.2),
    ],
)
def test_parameters_of_tables_f4_and_f5(k: int, shared: float, separate: float) -> None:
    for share, expected in ((True, shared), (False, separate)):
        layer = nn.Sequential(nn.Conv2d(64, 2, 3, bias=False))
        osp.overparametrize(layer, orthogonal.GramSchmidt(), osp.where.everywhere, blocks=k, share_blocks=share)
        (parameter,) = layer.parameters()
        assert abs(parameter.numel() / 1000 - expected) < 0.1  # the tables round, or cut off (331.776)


# Starts and refinements


@pytest.mark.parametrize("start", ["identity", "random", "normal"])
@pytest.mark.parametrize("name", KEEPING)
def test_starts(name: str, start: str) -> None:
    model = network()
    bare = model(X)
    osp.overparametrize(model, KEEPING[name], start=start)
    for r in orthogonal.matrices(model).values():
        assert deviation(r) < 1e-5
    assert torch.allclose(model(X), bare, atol=1e-6) == (start == "identity")
    if start == "normal" and name != "cp" and name != "exp":
        entries = matrix(model.linear).detach().flatten()
        assert scipy.stats.kstest(entries.numpy(), "norm").pvalue > 0.01


@pytest.mark.parametrize("name", [*KEEPING, "ogd", "upt"])
def test_a_given_start(name: str) -> None:
    start = reference.cayley(torch.randn(24, 24, generator=torch.Generator().manual_seed(0)).double()).float()
    if name == "hr":  # 23 reflections
        start[:, -1] *= -1
    model = network()
    osp.overparametrize(model, EVERY[name], osp.where.named("linear"), start=start)
    torch.testing.assert_close(orthogonal.matrices(model)["linear"].view(24, 24), start, rtol=0, atol=1e-5)


def test_normalized_neurons() -> None:
    model = osp.overparametrize(network(), orthogonal.Cayley(), normalize=True)
    torch.testing.assert_close(norms(model), torch.ones_like(norms(model)))
    bare = network().conv.weight.detach().flatten(1)
    direction = bare / bare.norm(dim=1, keepdim=True)
    torch.testing.assert_close(original(model.conv).flatten(1), direction)


def test_refinement_lowers_the_energy_and_keeps_the_norms() -> None:
    measure = osp.MHE(half_space=True)
    bare = network().conv.weight.detach().flatten(1)
    better = orthogonal.refined(bare, measure, steps=200)
    assert float(measure(better)) < float(measure(bare)) - 1e-3
    torch.testing.assert_close(better.norm(dim=1), bare.norm(dim=1))
    model = osp.overparametrize(network(), orthogonal.Cayley(), refine=measure, refine_steps=200)
    torch.testing.assert_close(original(model.conv).detach().flatten(1), better)
    grouped = network().grouped.weight.detach().view(2, 3, 16)
    for before, after in zip(grouped, original(model.grouped).detach().view(2, 3, 16), strict=True):
        assert float(measure(after)) < float(measure(before)) - 1e-4
    torch.testing.assert_close(norms(model), norms(network()))


def test_a_mean_raises_the_energy() -> None:
    last = energies(network())
    for mean in (0.05, 0.2, 1.0):
        model = network()
        out = orthogonal.initialize_with_mean(model, mean)
        assert out is None or out is model
        assert (energies(model) > last).all()
        torch.testing.assert_close(model.conv.weight - network().conv.weight, torch.full_like(model.conv.weight, mean))
        assert torch.equal(model.classifier.weight, network().classifier.weight)
        last = energies(model)


def test_a_mean_that_would_be_lost_is_refused() -> None:
    with pytest.raises(ValueError, match=r"conv\.weight is parametrized"):
        orthogonal.initialize_with_mean(osp.overparametrize(network(), orthogonal.Cayley()), 1.0)
    with pytest.raises(ValueError, match="no layer"):
        orthogonal.initialize_with_mean(nn.Sequential(nn.Linear(2, 2)), 1.0)


def test_normalised_gaussians_are_uniform_on_the_sphere() -> None:
    # Theorem 6: a coordinate of a uniform direction has a square that follows Beta(1/2, (d - 1)/2).
    for d, sigma in ((2, 0.3), (3, 1.0), (12, 5.0)):
        layer = nn.Linear(d, 4000)
        nn.init.normal_(layer.weight, std=sigma, generator=torch.Generator().manual_seed(d))
        unit = osp.sphere.normalize(layer.weight.detach().double())
        law = scipy.stats.beta(0.5, (d - 1) / 2).cdf
        axis = osp.sphere.normalize(torch.arange(1.0, d + 1, dtype=torch.float64))
        turned = unit @ axis  # along any direction, not the axes alone
        for coordinate in (unit[:, 0], turned):
            assert scipy.stats.kstest(coordinate.square().numpy(), law).pvalue > 0.01
            assert scipy.stats.binomtest(int((coordinate > 0).sum()), 4000).pvalue > 0.01
        cubes = osp.sphere.normalize(torch.rand(4000, d, generator=torch.Generator().manual_seed(0)).double() * 2 - 1)
        assert scipy.stats.kstest(cubes[:, 0].square().numpy(), law).pvalue < 0.01 or d == 12


# Folding


@pytest.mark.parametrize("name", EVERY)
def test_folding_leaves_a_plain_model(name: str) -> None:
    model, plain = network(), network()
    osp.overparametrize(model, EVERY[name])
    with torch.no_grad():
        for n, p in model.named_parameters():
            if n.endswith("matrix"):
                draw = 0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0))
                p.copy_(p @ orthogonal.Exponential().matrix(draw) if name == "ogd" else p + draw)
    expected = model(X)
    assert (expected - plain(X)).abs().max() > 1e-4
    assert osp.fold(model) is model
    torch.testing.assert_close(model(X), expected, rtol=0, atol=1e-6)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in plain.named_parameters()]
    assert [n for n, _ in model.named_buffers()] == []
    for mine, its in zip(model.modules(), plain.modules(), strict=True):
        assert type(mine) is type(its)
        assert mine.__dict__.keys() == its.__dict__.keys()
        for hooks in (n for n in mine.__dict__ if "hooks" in n):
            assert not mine.__dict__[hooks], hooks
    for parameter in model.parameters():
        assert isinstance(parameter, nn.Parameter)
        assert parameter.requires_grad
        assert parameter.is_leaf
        assert parameter.is_contiguous()
    plain.load_state_dict(model.state_dict())
    assert torch.equal(plain(X), model(X))


def test_what_the_user_has_made_of_a_layer_stays() -> None:
    class Twice(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    calls = []
    shared = nn.Linear(4, 4)
    model = nn.Sequential(Twice(4, 4), shared, nn.ReLU(), shared, nn.Linear(4, 2))
    model[0].register_forward_hook(lambda *_: calls.append(1))
    x = torch.randn(3, 4)
    bare, keys = model(x), list(model.state_dict())
    osp.overparametrize(model, orthogonal.GramSchmidt())
    torch.testing.assert_close(model(x), bare, rtol=0, atol=1e-6)
    train_on = torch.optim.Adam(model.parameters(), lr=0.1)
    model(x).square().sum().backward()
    train_on.step()
    expected = model(x)
    osp.fold(model)
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-6)
    assert type(model[0]) is Twice
    assert model[1] is model[3]
    assert list(model.state_dict()) == keys
    assert len(calls) == 5


def test_a_frozen_layer_comes_back_frozen() -> None:
    model = network()
    model.conv.requires_grad_(False)
    osp.fold(osp.overparametrize(model, orthogonal.Cayley()))
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["conv.weight"]


def test_a_layout_in_memory_stays() -> None:
    model = network().to(memory_format=torch.channels_last)
    osp.overparametrize(model, orthogonal.GramSchmidt())
    osp.fold(model)
    assert model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert model.linear.weight.is_contiguous()


def test_a_folded_model_is_exported_and_runs_in_onnx() -> None:
    model = osp.overparametrize(network(), orthogonal.Cayley(), start="random").eval()
    expected = model(X).detach()
    osp.fold(model)
    more = X[:3]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(model, (X,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        torch.testing.assert_close(exported.module()(X), expected, rtol=0, atol=1e-6)
        program = torch.onnx.export(exported, verbose=False)
    file = io.BytesIO()
    assert program is not None
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: more.numpy()})
    assert np.allclose(output, expected[:3].numpy(), atol=1e-5)
    assert sorted(i.name for i in program.model.graph.initializers.values() if i.name in model.state_dict()) == sorted(
        model.state_dict()
    )


def test_train_weights_learns_both() -> None:
    model = osp.overparametrize(network(), orthogonal.Cayley(), train_weights=True)
    assert isinstance(original(model.conv), nn.Parameter)
    v, r = original(model.conv).detach().clone(), matrix(model.conv).detach().clone()
    train(model, torch.optim.Adam(model.parameters(), lr=0.01), 3)
    assert not torch.equal(v, original(model.conv))
    assert not torch.equal(r, matrix(model.conv))
    expected = model(X)
    osp.fold(model)
    torch.testing.assert_close(model(X), expected, rtol=0, atol=1e-6)
    assert list(model.state_dict()) == list(network().state_dict())


def test_rebasing_goes_on_from_the_folded_weights() -> None:
    model = osp.overparametrize(network(), orthogonal.Cayley())
    train(model, torch.optim.Adam(model.parameters(), lr=0.01), 5)
    energy, expected = energies(model), model(X)
    osp.overparametrize(osp.fold(model), orthogonal.GramSchmidt(), train_weights=False)
    torch.testing.assert_close(model(X), expected, rtol=0, atol=1e-6)
    losses = train(model, torch.optim.Adam(model.parameters(), lr=0.01), 5)
    assert losses[-1] < losses[0]
    torch.testing.assert_close(energies(model), energy, rtol=1e-5, atol=0)


class Bend(nn.Module):
    """A nonlinear map of the neurons, with parameters of its own."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.inner = nn.Linear(d, d)

    def forward(self, neurons: Tensor) -> Tensor:
        return neurons + 0.1 * torch.tanh(self.inner(neurons))


def test_a_module_of_ones_own_maps_the_neurons() -> None:
    torch.manual_seed(0)
    bend = Bend(24)
    model, plain = network(), network()
    osp.overparametrize(model, bend, osp.where.named("linear"))
    torch.testing.assert_close(model.linear.weight, bend(plain.linear.weight))
    assert all(mine is not p for mine in model.parameters() for p in bend.parameters())  # a copy
    assert (
        sum(p.numel() for p in model.parameters())
        == sum(p.numel() for p in [*plain.parameters(), *bend.parameters()]) - plain.linear.weight.numel()
    )
    losses = train(model, torch.optim.Adam(model.parameters(), lr=0.01), 20)
    assert losses[-1] < losses[0]
    expected = model(X)
    osp.fold(model)
    torch.testing.assert_close(model(X), expected, rtol=0, atol=1e-6)
    assert list(model.state_dict()) == list(plain.state_dict())


# Attention


def test_attention() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8)
    for shapes in ({}, {"kdim": 6, "vdim": 4}):
        torch.manual_seed(0)
        model = nn.ModuleDict({"attention": nn.MultiheadAttention(8, 2, batch_first=True, **shapes)})
        key, value = (x, x) if not shapes else (torch.randn(2, 3, 6), torch.randn(2, 3, 4))
        bare, keys = model["attention"](x, key, value)[0], list(model.state_dict())
        osp.overparametrize(model, orthogonal.Cayley(), osp.where.everywhere)
        torch.testing.assert_close(model["attention"](x, key, value)[0], bare, rtol=0, atol=1e-6)
        with torch.no_grad():
            for n, p in model.named_parameters():
                if n.endswith("matrix"):
                    p.normal_(std=0.3)
        out = model["attention"](x, key, value)[0]
        assert (out - bare).abs().max() > 1e-3
        out.square().sum().backward()
        assert all(p.grad is not None for n, p in model.named_parameters() if n.endswith("matrix"))
        osp.fold(model)
        torch.testing.assert_close(model["attention"](x, key, value)[0], out, rtol=0, atol=1e-6)
        assert list(model.state_dict()) == keys


# Several tasks (F.8)


def test_tasks_share_the_neurons_and_have_their_own_matrices() -> None:
    model = osp.overparametrize(network(), orthogonal.Cayley())
    assert orthogonal.tasks(model) == ("default",)
    train(model, torch.optim.Adam(model.parameters(), lr=0.01), 5)
    first = model(X).detach()
    energy = energies(model)
    orthogonal.switch(model, "second")
    assert set(orthogonal.tasks(model)) == {"default", "second"}
    before = {n: p.detach().clone() for n, p in model.named_parameters() if "maps.default" in n}
    torch.testing.assert_close(orthogonal.matrices(model)["conv"].view(12, 12), torch.eye(12))
    optimizer = torch.optim.Adam((p for n, p in model.named_parameters() if "maps.second" in n), lr=0.01)
    train(model, optimizer, 5)
    second = model(X).detach()
    torch.testing.assert_close(energies(model), energy, rtol=1e-5, atol=0)
    for n, p in model.named_parameters():
        if n in before:
            assert torch.equal(p, before[n])
    orthogonal.switch(model, "default")
    assert torch.equal(model(X), first)
    assert (second - first).abs().max() > 1e-3

    other = osp.overparametrize(network(3), orthogonal.Cayley())
    other.load_state_dict(model.state_dict())  # with a task that it has not met
    assert orthogonal.tasks(other) == ("default", "second")
    assert torch.equal(other(X), first)
    orthogonal.switch(other, "second")
    assert torch.equal(other(X), second)
    orthogonal.switch(other, "default")
    assert torch.equal(other(X), first)
    orthogonal.switch(other, "second")
    osp.fold(other)
    torch.testing.assert_close(other(X), second, rtol=0, atol=1e-6)


# What cannot be done


def test_what_cannot_be_overparametrized_is_refused_by_name() -> None:
    def tied() -> nn.Module:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
        model[1].weight = model[0].weight
        return model

    def normed() -> nn.Module:
        return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.Linear(5, 2))

    cases: tuple[tuple[Callable[[], nn.Module], dict[str, Any], str], ...] = (
        (tied, {}, r"0\.weight is shared"),
        (normed, {}, r"0\.weight is parametrized already"),
        (lambda: nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 2)), {}, "0.weight is not initialised"),
        (network, {"blocks": 2}, "conv"),
        (network, {"blocks": 5}, "conv"),
        (network, {"blocks": 0}, "blocks=0"),
        (network, {"start": "zero"}, "zero"),
        (network, {"start": torch.eye(7)}, "7"),
        (network, {"where": osp.where.named("nothing")}, "nothing"),
        (lambda: nn.Sequential(nn.ReLU()), {}, "no layer"),
        (lambda: osp.overparametrize(network(), orthogonal.Cayley()), {}, "conv"),
    )
    for build, arguments, message in cases:
        model = build()
        keys = list(model.state_dict())
        with pytest.raises(ValueError, match=message):
            osp.overparametrize(model, orthogonal.Cayley(), **arguments)
        assert list(model.state_dict()) == keys  # nothing is half done
    with pytest.raises(ValueError, match=r"Skew|identity"):
        osp.overparametrize(network(), orthogonal.Skew())
    with pytest.raises(TypeError, match="Cayley"):
        osp.overparametrize(network(), orthogonal.Cayley)
    with pytest.raises(ValueError, match=r"no over-parametrized"):
        osp.fold(network())
    with pytest.raises(ValueError, match="over"):
        orthogonal.switch(network(), "second")
    for name in ("", "a.b", "keys", "training"):
        with pytest.raises(ValueError, match=f"task='{name}'"):
            orthogonal.switch(osp.overparametrize(network(), orthogonal.Cayley()), name)


def test_a_refinement_that_fails_leaves_the_model_as_it_was() -> None:
    def measure(neurons: Tensor) -> Tensor:
        if neurons.shape[1] == network().linear.in_features:
            raise FloatingPointError
        return osp.MHE()(neurons)

    model = network()
    with pytest.raises(FloatingPointError):
        osp.overparametrize(model, orthogonal.Cayley(), refine=measure, refine_steps=1)
    assert list(model.state_dict()) == list(network().state_dict())


def test_new_matrices_in_a_wrapper_that_would_not_share_them_are_refused() -> None:
    def wrapped(model: nn.Module) -> nn.Module:
        wrapper = DistributedDataParallel.__new__(DistributedDataParallel)  # its constructor wants other processes
        nn.Module.__init__(wrapper)
        wrapper.module = model
        return wrapper

    with pytest.raises(ValueError, match="before it is wrapped"):
        osp.overparametrize(wrapped(network()), orthogonal.Cayley())
    model = osp.overparametrize(network(), orthogonal.Cayley())
    with pytest.raises(ValueError, match="before it is wrapped"):
        orthogonal.switch(wrapped(model), "second")
    assert orthogonal.tasks(orthogonal.switch(wrapped(model), "default")) == ("default",)
    assert type(osp.fold(wrapped(model)).module.conv) is nn.Conv2d


def test_layers_without_any_parameter() -> None:
    model = osp.overparametrize(nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2)), nn.Tanh())
    assert orthogonal.tasks(orthogonal.switch(model, "second")) == ("default", "second")
    assert osp.Regularizer(model, osp.MHE(), 1.0)().isfinite()


# Copies, files, resuming
# Copies, files, resuming


def roundtrip(state: Any) -> Any:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("name", [*KEEPING, "ogd"])
def test_copies_and_files_are_exact(name: str) -> None:
    model = osp.overparametrize(network(), EVERY[name], start="random")
    other = copy.deepcopy(model)
    assert torch.equal(other(X), model(X))
    assert not {p.data_ptr() for p in other.parameters()} & {p.data_ptr() for p in model.parameters()}
    with torch.no_grad():
        matrix(other.conv).zero_()
    assert matrix(model.conv).abs().max() > 0
    assert type(matrix(other.conv)) is type(matrix(model.conv))

    loaded = osp.overparametrize(network(5), EVERY[name])
    loaded.load_state_dict(roundtrip(model.state_dict()))
    assert torch.equal(loaded(X), model(X))
    for n, r in orthogonal.matrices(loaded).items():
        assert torch.equal(r, orthogonal.matrices(model)[n])
        assert deviation(r) < 1e-5


def optimizer_of(name: str, model: nn.Module) -> torch.optim.Optimizer:
    if name != "ogd":
        return torch.optim.Adam(model.parameters(), lr=0.01)
    matrices, others = orthogonal.split(model.parameters())
    return orthogonal.Pair(
        osp.OrthogonalSGD(matrices, lr=0.05, momentum=0.9, polish_every=3), torch.optim.Adam(others, lr=0.01)
    )


@pytest.mark.parametrize("name", [*KEEPING, "ogd"])
def test_a_training_is_resumed_to_the_last_bit(name: str) -> None:
    model = osp.overparametrize(network(), EVERY[name])
    optimizer = optimizer_of(name, model)
    train(model, optimizer, 4)
    state = roundtrip((model.state_dict(), optimizer.state_dict()))
    train(model, optimizer, 4)
    other = osp.overparametrize(network(7), EVERY[name])
    its = optimizer_of(name, other)
    other.load_state_dict(state[0])
    its.load_state_dict(state[1])
    train(other, its, 4)
    for n, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[n]), n


def test_the_training_loop_stops_and_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    from onsphere.train import Interrupted
    from test_resume import numbers, quick, recipe, stop_at

    def build(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        matrices, others = orthogonal.split(parameters)
        first = osp.OrthogonalSGD(matrices, lr=0.1, momentum=0.9, polish_every=3)
        return orthogonal.Pair(first, torch.optim.SGD(others, lr=0.05, momentum=0.9))

    def prepare(model: nn.Module) -> None:
        osp.overparametrize(model, orthogonal.OrthogonalGD())

    changes: dict[str, Any] = {
        "prepare": prepare,
        "optimizer": build,
        "schedule": lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 3),
        "regularizer": None,
        "observe": lambda model: {"deviation": orthogonal.deviations(model)},
    }
    result = quick(recipe(**changes), tmp_path / "undisturbed")
    seed = result.rows[0].seeds[0]
    assert seed.curve["train_loss"][-1] < seed.curve["train_loss"][0]
    ((_, deviations),) = seed.observations["deviation"].items()
    assert len(deviations) == 3
    assert max(deviations) < 1e-5
    with pytest.raises(Interrupted):
        quick(recipe(**changes, after_step=(stop_at(7),)), tmp_path / "stopped")
    quick(recipe(**changes), tmp_path / "stopped", resume=True)
    assert numbers(tmp_path / "stopped") == numbers(tmp_path / "undisturbed")


# Precision


@pytest.mark.parametrize("name", KEEPING)
def test_matrices_are_float32_under_autocast_forward_and_backward(name: str) -> None:
    grads = []
    for autocast in (False, True):
        model = osp.overparametrize(network(), KEEPING[name], start="random")
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            for layer in (model.conv, model.grouped, model.linear):
                assert layer.weight.dtype == torch.float32
            for r in orthogonal.matrices(model).values():
                assert r.dtype == torch.float32
                assert deviation(r) < 2e-6
            direction = torch.randn(model.linear.weight.shape, generator=torch.Generator().manual_seed(0))
            (model.linear.weight * direction).sum().backward()  # inside autocast
        grads.append(matrix(model.linear).grad)
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize("name", EVERY)
def test_weights_are_the_same_under_autocast(name: str) -> None:
    model = osp.overparametrize(network(), EVERY[name])
    with torch.no_grad():
        for n, p in model.named_parameters():
            if n.endswith("matrix"):
                p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0)))
        for layer in (model.conv, model.grouped, model.linear):
            expected = layer.weight
            with torch.autocast("cpu", dtype=torch.bfloat16):
                assert torch.equal(layer.weight, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", KEEPING)
def test_half_precision_models(name: str, dtype: torch.dtype) -> None:
    model = osp.overparametrize(network(), KEEPING[name]).to(dtype)
    for layer in (model.conv, model.grouped, model.linear):
        assert layer.weight.dtype == dtype
    out = model(X.to(dtype))
    assert out.dtype == dtype
    out.float().square().sum().backward()
    grad = matrix(model.conv).grad
    assert grad is not None
    assert grad.dtype == dtype
    assert grad.isfinite().all()
    for r in orthogonal.matrices(model).values():
        assert r.dtype == torch.float32
        assert deviation(r) < 2e-6


@pytest.mark.parametrize("name", EVERY)
def test_every_method_follows_a_model_into_other_precision(name: str) -> None:
    model = osp.overparametrize(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2)), EVERY[name])
    model.bfloat16()(torch.ones(2, 4, dtype=torch.bfloat16)).sum().backward()
    assert matrix(model[0]).grad.isfinite().all()  # type: ignore[union-attr]
    model.double()
    orthogonal.switch(model, "second")(torch.ones(2, 4, dtype=torch.float64)).sum().backward()
    assert type(osp.fold(model)[0]) is nn.Linear


def long_training(name: str, d: int, steps: int) -> float:
    """The largest |R^T R - I| (Frobenius) in float32 that many Adam steps (OGD: its own at 0.5) leave behind."""
    torch.manual_seed(0)
    model = osp.overparametrize(nn.Sequential(nn.Linear(d, d)), EVERY[name], osp.where.everywhere)
    optimizer: torch.optim.Optimizer
    if name == "ogd":
        optimizer = osp.OrthogonalSGD([matrix(model[0])], lr=0.5)
    else:
        optimizer = torch.optim.Adam([matrix(model[0])], lr=1e-2)
    x, target = torch.randn(32, d), torch.randn(32, d)
    worst = 0.0
    for step in range(steps):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), target, reduction="sum").div(32).backward()
        optimizer.step()
        if step % 20 == 0 or step == steps - 1:
            worst = max(worst, orthogonal.deviations(model)["0"])
    return worst


@pytest.mark.parametrize("name", [*KEEPING, "ogd"])
def test_a_long_training_in_float32_stays_orthogonal(name: str) -> None:
    assert long_training(name, 48, 200) < 1e-5


# Compiling


def test_all_methods_compile_without_a_break() -> None:
    torch.manual_seed(0)
    names = (*KEEPING, "ogd", "positive-definite")  # the others are masks
    layers = {name: nn.Linear(4, 4) for name in names}
    model = nn.Sequential(OrderedDict(conv=nn.Conv2d(4, 4, 2, groups=2), flatten=nn.Flatten(), **layers))
    osp.overparametrize(model, orthogonal.Cayley(), osp.where.named("conv"), blocks=2, start="random")
    for name in names:
        start = "random" if name in KEEPING or name == "ogd" else "identity"
        osp.overparametrize(model, EVERY[name], osp.where.named(name), start=start)
    twin, x = copy.deepcopy(model), torch.randn(6, 4, 2, 2)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    outputs = compiled(x), twin(x)
    torch.testing.assert_close(*outputs)
    for output in outputs:
        output.square().sum().backward()
    for mine, its in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad)


# Two processes

DISTRIBUTED = """
import os
import sys

sys.path.insert(0, sys.argv[2])
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import onsphere as osp
from test_orthogonal_training import EVERY, PARALLEL, X, Y, network, optimizer_of, steps

dist.init_process_group("gloo")
torch.set_num_threads(1)
rank = dist.get_rank()
found = {}
for name in PARALLEL:
    model = osp.overparametrize(network(rank), EVERY[name], start="random")  # the second process has other neurons
    wrapped = DistributedDataParallel(model)
    optimizer = optimizer_of(name, model)
    steps(wrapped, optimizer, X[rank::2], Y[rank::2], 6)
    found[name] = model.state_dict()
torch.save(found, f"{sys.argv[1]}/{rank}.pt")
dist.barrier()
os._exit(0)  # gloo's destructor can wait for a thread that waits for the GIL it holds
"""
PARALLEL = ("gs", "hr", "ls", "cp", "exp", "ogd")


def steps(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, count: int) -> None:
    for _ in range(count):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def test_two_processes_train_as_one(tmp_path: Any) -> None:
    script = tmp_path / "script.py"
    script.write_text(DISTRIBUTED)
    forked(script, str(tmp_path), str(Path(__file__).parent), processes=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name in PARALLEL:
        model = osp.overparametrize(network(0), EVERY[name], start="random")
        steps(model, optimizer_of(name, model), X, Y, 6)
        for n, value in model.state_dict().items():
            assert torch.equal(first[name][n], second[name][n]), (name, n)
            torch.testing.assert_close(
                first[name][n], value, rtol=0, atol=1e-4, msg=lambda m, at=(name, n): f"{at}: {m}"
            )
