"""The optimizer hook, the gradient that it adds and the curve, against adding the regularizer to the loss by hand."""

import copy
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

import onsphere as osp
from onsphere import functional
from onsphere.integrations import add_gradients, curve

MakeOptimizer = Callable[..., torch.optim.Optimizer]


def network(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 7), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(7, 3)).to(dtype)


def batch(step: int, dtype: torch.dtype = torch.float64, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(step)
    images = torch.randn(size, 2, 4, 4, generator=generator, dtype=torch.float64).to(dtype)
    return images, torch.randint(3, (size,), generator=generator)


def both(model: nn.Module) -> osp.regularizers.RegularizerSum:
    return osp.Regularizer(model, osp.MMA(), 0.7) + osp.Regularizer(model, osp.MHE(batch=3), 0.2)


def task_loss(model: nn.Module, step: int, dtype: torch.dtype = torch.float64) -> Tensor:
    images, labels = batch(step, dtype)
    return nn.functional.cross_entropy(model(images), labels)


def train(
    model: nn.Module,
    make: MakeOptimizer,
    *,
    attached: bool,
    regularize: Callable[[nn.Module], nn.Module] = both,
    steps: int = 5,
    parts: int = 1,
    autocast: bool = False,
    set_to_none: bool = True,
) -> dict[str, Tensor]:
    """Train with the hook, or by adding the value to each micro-batch's loss."""
    optimizer, regularizer = make(model.parameters()), regularize(model)
    if attached:
        osp.attach(optimizer, regularizer)
    dtype = next(model.parameters()).dtype
    for step in range(steps):
        optimizer.zero_grad(set_to_none=set_to_none)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            for part in range(parts):
                loss = task_loss(model, parts * step + part, dtype)
                if not attached:
                    loss = loss + regularizer()
                (loss / parts).backward()
            optimizer.step()
    return model.state_dict()


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor], tolerance: float = 1e-12) -> None:
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=tolerance, atol=tolerance, msg=name)


OPTIMIZERS: dict[str, MakeOptimizer] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "adamw fused": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "adamw single": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=False),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "muon": lambda p: torch.optim.Muon([w for w in p if w.ndim == 2], lr=0.01),
}


# --- the hook trains as the loss does -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_ends_where_it_does_with_the_loss(name: str) -> None:
    def regularize(model: nn.Module) -> nn.Module:
        return osp.Regularizer(model, osp.MMA(), 0.7, osp.where.named("4", "6"))

    ways = [train(network(), OPTIMIZERS[name], attached=way, regularize=regularize) for way in (True, False)]
    assert_same(*ways)
    free = train(network(), OPTIMIZERS[name], attached=False, regularize=lambda model: lambda: 0.0)
    assert not torch.allclose(free["4.weight"], ways[0]["4.weight"], rtol=1e-3)


@settings(max_examples=20)
@given(st.integers(1, 4), st.booleans(), st.booleans(), st.sampled_from(["sgd", "adamw"]))
def test_the_hook_adds_once_a_step(parts: int, set_to_none: bool, autocast: bool, name: str) -> None:
    ways = [
        train(
            network(dtype=torch.float32),
            OPTIMIZERS[name],
            attached=way,
            regularize=lambda model: osp.Regularizer(model, osp.MMA(), 0.7),
            steps=3,
            parts=parts,
            autocast=autocast,
            set_to_none=set_to_none,
        )
        for way in (True, False)
    ]
    assert_same(*ways, tolerance=1e-6)


@pytest.mark.parametrize("change", [orthogonal, weight_norm, spectral_norm])
def test_parametrized_weights_get_the_gradient_on_their_originals(change: Callable[..., nn.Module]) -> None:
    ways = []
    for attached in (True, False):
        model = network()
        change(model[4])
        ways.append(train(model, OPTIMIZERS["sgd"], attached=attached))
    assert_same(*ways)


def test_attention_and_compiled_models() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
            self.head = nn.Linear(8, 3)

        def forward(self, images: Tensor) -> Tensor:
            tokens = images.flatten(2).mT.reshape(len(images), -1, 4)
            return self.head(self.attend(tokens, tokens, tokens)[0][:, :2].flatten(1))

    ways = []
    for attached in (True, False):
        torch.manual_seed(3)
        model = torch.compile(Attention().double(), backend="aot_eager") if attached else Attention().double()
        ways.append(
            {
                name.removeprefix("_orig_mod."): value
                for name, value in train(model, OPTIMIZERS["adam"], attached=attached, steps=2).items()
            }
        )
    assert_same(*ways)


def test_a_compiled_step_runs_the_hook() -> None:
    ways = []
    for attached in (True, False):
        model = network()
        optimizer, regularizer = torch.optim.SGD(model.parameters(), lr=0.1), both(model)
        if attached:
            osp.attach(optimizer, regularizer)
        step = torch.compile(optimizer.step, backend="eager") if attached else optimizer.step
        for number in range(2):
            optimizer.zero_grad()
            (task_loss(model, number) + (0.0 if attached else regularizer())).backward()
            step()
        ways.append(model.state_dict())
    assert_same(*ways)


@pytest.mark.parametrize("unscaled", [False, True])
def test_a_gradscaler_unscales_first_and_skips_steps(unscaled: bool) -> None:
    """Without fused=True the scaler unscales before the hook; with it only where unscale_ was called."""
    ways, values = [], []
    for attached in (True, False):
        model = network(dtype=torch.float32)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=unscaled)
        regularizer = osp.Regularizer(model, osp.MMA(), 0.7)
        handle = osp.attach(optimizer, regularizer) if attached else None
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        for step in range(4):
            optimizer.zero_grad()
            loss = task_loss(model, step, torch.float32) * (math.inf if step == 1 else 1.0)
            scaler.scale(loss if attached else loss + regularizer()).backward()
            if unscaled:
                scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        assert scaler.get_scale() == 512.0  # one step overflowed
        ways.append(model.state_dict())
        values.append(handle)
    assert_same(*ways, tolerance=1e-6)
    assert values[0].steps == (4 if unscaled else 3)  # a fused step runs and does nothing


def test_frozen_layers_stay_and_the_others_are_regularized() -> None:
    ways = []
    for attached in (True, False):
        model = network()
        model[4].requires_grad_(False)
        ways.append(train(model, OPTIMIZERS["sgd"], attached=attached))
    assert_same(*ways)
    assert torch.equal(ways[0]["4.weight"], network()[4].weight)


def test_layers_frozen_later_are_left_alone() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    handle = osp.attach(optimizer, osp.Regularizer(model, osp.MMA(), 0.7))
    model.requires_grad_(False)
    optimizer.step()
    assert handle.value is not None
    assert_same(model.state_dict(), network().state_dict())


# --- the handle -----------------------------------------------------------------------------------------------------


def test_the_handle_shows_the_value_and_lets_go() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    regularizer = osp.Regularizer(model, osp.MMA(), 0.7)
    with osp.attach(optimizer, regularizer) as handle:
        assert handle.value is None
        expected = regularizer().detach()
        optimizer.step()
        assert torch.equal(handle.value, expected)
        assert not handle.value.requires_grad
        assert list(handle.per_layer()) == ["0", "4", "6"]
    before = copy.deepcopy(model.state_dict())
    optimizer.zero_grad()
    optimizer.step()
    assert_same(before, model.state_dict())
    handle.remove()
    osp.attach(optimizer, regularizer)  # free again


def test_the_log_gets_the_curve_every_so_many_steps() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    regularizer = osp.Regularizer(model, osp.MMA(), 0.7, osp.where.hidden)
    seen: dict[int, dict[str, float]] = {}
    osp.attach(optimizer, regularizer, log=seen.__setitem__, log_every=3)
    first = {"regularizer": regularizer().item(), **curve(regularizer)}
    for _ in range(7):
        optimizer.step()
    assert list(seen) == [0, 3, 6]
    assert seen[0] == pytest.approx(first)
    assert list(seen[6]) == ["regularizer", "minimum_angle_deg/0", "minimum_angle_deg/4", "energy/0", "energy/4"]
    assert seen[6]["minimum_angle_deg/4"] > seen[0]["minimum_angle_deg/4"]
    with pytest.raises(ValueError, match="log_every must be at least 1, got 0"):
        osp.attach(optimizer, both(model), log_every=0)


# --- what is refused ------------------------------------------------------------------------------------------------


def refused(model: nn.Module, make: MakeOptimizer = OPTIMIZERS["sgd"], **options: object) -> str:
    regularizer = osp.Regularizer(model, osp.MMA(), 0.7, **options)
    with pytest.raises(ValueError) as error:  # noqa: PT011 (each caller looks at the message)
        osp.attach(make(model.parameters()), regularizer)
    return str(error.value)


def test_optimizers_that_evaluate_the_loss_again_are_refused() -> None:
    assert "LBFGS evaluates the loss again" in refused(network(), torch.optim.LBFGS)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    osp.attach(optimizer, both(model))
    for how in (optimizer.step, lambda closure: optimizer.step(closure=closure)):
        with pytest.raises(ValueError, match=r"step\(closure\) computes the gradients anew"):
            how(lambda: task_loss(model, 0).item())
    assert_same(model.state_dict(), network().state_dict())
    optimizer.step(None)


def test_scaled_gradients_are_refused_before_anything_changes() -> None:
    model = network(dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    handle = osp.attach(optimizer, osp.Regularizer(model, osp.MMA(), 0.7))
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(task_loss(model, 0, torch.float32)).backward()
    gradient = model[4].weight.grad.clone()
    with pytest.raises(ValueError, match=r"AdamW are still scaled .* scaler\.unscale_\(optimizer\)"):
        scaler.step(optimizer)
    assert handle.value is None
    assert torch.equal(gradient, model[4].weight.grad)


def test_sparse_gradients_are_refused() -> None:
    assert "SparseAdam takes sparse gradients only" in refused(network(), torch.optim.SparseAdam)
    embedding = nn.Embedding(5, 4, sparse=True)
    head = nn.Linear(4, 5, bias=False)
    head.weight = embedding.weight
    optimizer = torch.optim.SGD(embedding.parameters(), lr=0.1)
    osp.attach(optimizer, osp.Regularizer(head, osp.MMA(), 1.0))
    embedding(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(ValueError, match=r"weight has a sparse gradient"):
        optimizer.step()


def test_weights_of_another_optimizer_are_named() -> None:
    model = network()
    optimizer = torch.optim.SGD(model[4].parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"SGD does not hold 0\.weight, 6\.weight, which"):
        osp.attach(optimizer, both(model))
    osp.attach(optimizer, osp.Regularizer(model, osp.MMA(), 1.0, osp.where.named("4")))
    weight_norm(model[6])
    with pytest.raises(ValueError, match=r"6\.parametrizations\.weight\.original0"):
        osp.attach(optimizer, both(model))


def test_a_weight_unfrozen_without_its_optimizer_is_named_at_the_step() -> None:
    model = network()
    model[6].requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    osp.attach(optimizer, both(model))
    optimizer.step()
    model[6].requires_grad_(True)
    with pytest.raises(ValueError, match=r"does not hold 6\.weight, which"):
        optimizer.step()


def test_other_things_that_would_be_wrong_are_refused() -> None:
    frozen = network().requires_grad_(False)
    assert "all weights are frozen (requires_grad=False): 0.weight, 4.weight, 6.weight" in refused(frozen)
    assert "would maximise" in refused(network(), lambda p: torch.optim.SGD(p, lr=0.1, maximize=True))

    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    regularizer = both(model)
    osp.attach(optimizer, regularizer)
    with pytest.raises(ValueError, match="attached to this optimizer already"):
        osp.attach(optimizer, regularizer)
    output = osp.Regularizer(model, osp.MHE(data_dependent=True), 1.0, osp.where.output)
    for given_one in (output, regularizer + output):
        with pytest.raises(ValueError, match=r"needs the labels .*add_gradients\(regularizer, labels\)"):
            osp.attach(optimizer, given_one)
    with pytest.raises(TypeError, match=r"expected an onsphere\.Regularizer or a sum of them, got MMA"):
        osp.attach(optimizer, osp.MMA())
    with pytest.raises(TypeError, match=r"expected a torch\.optim\.Optimizer itself, got Sequential"):
        osp.attach(model, regularizer)


def test_weights_that_are_no_parameters_are_refused() -> None:
    model = network()
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(model[4])
    assert "4.weight is no parameter but made in the forward pass" in refused(model)
    model = network()
    regularizer = osp.Regularizer(model, osp.MMA(), 1.0)
    model[4].weight = nn.Parameter(model[4].weight.detach().flatten())  # as FSDP1 leaves it
    with pytest.raises(ValueError, match=r"4\.weight has become a vector of shape \(168,\)"):
        osp.attach(torch.optim.SGD(model.parameters(), lr=0.1), regularizer)


# --- the gradient by hand -------------------------------------------------------------------------------------------


def test_added_before_the_clipping_it_is_clipped_with_the_rest() -> None:
    """What the hook cannot do: attached it comes after the clipping, which changes where training ends."""
    ways = {}
    for way in ("loss", "added", "attached"):
        model = network()
        optimizer, regularizer = torch.optim.SGD(model.parameters(), lr=0.1), both(model)
        if way == "attached":
            osp.attach(optimizer, regularizer)
        for step in range(4):
            optimizer.zero_grad()
            loss = task_loss(model, step)
            (loss + regularizer() if way == "loss" else loss).backward()
            if way == "added":
                value = add_gradients(regularizer)
                assert not value.requires_grad
            nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
        ways[way] = model.state_dict()
    assert_same(ways["loss"], ways["added"])
    assert not torch.allclose(ways["loss"]["4.weight"], ways["attached"]["4.weight"], rtol=1e-3)


def test_labels_and_scale() -> None:
    model, labels = network(), torch.tensor([0, 2, 2, 1])
    regularizer = osp.Regularizer(model, osp.MHE(data_dependent=True), 2.0, osp.where.output)
    value = add_gradients(regularizer, labels, scale=8.0)
    added = model[6].weight.grad.clone()
    model.zero_grad()
    regularizer(labels).backward()
    torch.testing.assert_close(added, 8 * model[6].weight.grad)
    torch.testing.assert_close(value, regularizer(labels).detach())


def test_gradients_have_memory_of_their_own() -> None:
    """The gradient of a sum is one number seen many times over; the next backward pass must be able to add to it."""
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False))
    channels_last = nn.Conv2d(4, 6, 3).to(memory_format=torch.channels_last)
    for each in (model, channels_last):
        add_gradients(osp.Regularizer(each, lambda weight: weight.sum(), 1.0))
    model(torch.ones(1, 3)).sum().backward()
    torch.testing.assert_close(model[1].weight.grad, 1 + model[0].weight.sum(1).expand(2, 4))
    assert channels_last.weight.grad.stride() == channels_last.weight.stride()


def test_a_measure_with_weights_of_its_own_learns_them() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.beta = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))

        def forward(self, weight: Tensor) -> Tensor:
            return self.beta**2 * functional.mma(weight)

    ways = []
    for attached in (True, False):
        model = network()
        model.measure = Weighted()
        model.forward = lambda x, model=model: nn.Sequential(*list(model)[:7])(x)
        ways.append(
            train(
                model,
                OPTIMIZERS["sgd"],
                attached=attached,
                regularize=lambda model: osp.Regularizer(model, model.measure, 0.7),
            )
        )
    assert_same(*ways)
    assert ways[0]["measure.beta"] != 0.5


# --- the curve ------------------------------------------------------------------------------------------------------


def test_the_curve_is_the_papers_angle_and_energy() -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(6, 5)).double()
    found = curve(model)
    assert list(found) == ["minimum_angle_deg/0", "minimum_angle_deg/2", "energy/0", "energy/2"]
    for name, groups in (("0", model[0].weight.reshape(2, 3, 18)), ("2", model[2].weight[None])):
        angles, energies = [], []
        for rows in groups:
            unit = rows / rows.norm(dim=1, keepdim=True)
            for i, u in enumerate(unit):
                for j, v in enumerate(unit):
                    if i != j:
                        angles.append(math.degrees(math.acos((u @ v).item())))
                        energies.append((u - v).norm().item() ** -2)
        assert found[f"minimum_angle_deg/{name}"] == pytest.approx(min(angles))
        assert found[f"energy/{name}"] == pytest.approx(sum(energies) / len(energies))


def test_the_curve_of_a_regularizer_has_its_layers_once() -> None:
    model, other = network(), network(seed=1)
    hidden = osp.Regularizer(model, osp.MMA(), 1.0, osp.where.hidden)
    assert curve(hidden) == {k: v for k, v in curve(model).items() if not k.endswith("/6")}
    assert curve(hidden + osp.Regularizer(model, osp.MHE(), 1.0)) == curve(model)
    two = curve(osp.Regularizer(model, osp.MMA(), 1.0) + osp.Regularizer(other, osp.MMA(), 1.0))
    assert two["energy/4"] == curve(model)["energy/4"]
    assert two["energy/4 (2)"] == curve(other)["energy/4"]
    assert list(curve(nn.Linear(3, 4))) == ["minimum_angle_deg/weight", "energy/weight"]


def test_the_curve_only_reads() -> None:
    model = network()
    spectral_norm(model[4])
    regularizer = both(model)
    before = copy.deepcopy({**model.state_dict(), **regularizer.state_dict()})
    random = torch.get_rng_state()
    with torch.autocast("cpu", torch.bfloat16):
        inside = curve(regularizer)
    assert inside == curve(model)
    assert_same(before, {**model.state_dict(), **regularizer.state_dict()}, tolerance=0.0)
    assert torch.equal(random, torch.get_rng_state())
    assert all(module.training for module in model.modules())
    assert all(p.grad is None for p in model.parameters())


def test_the_curve_names_a_broken_weight_and_bears_zero_rows() -> None:
    model = network()
    with torch.no_grad():
        model[6].weight[1:] = 0
    assert math.isnan(curve(model)["minimum_angle_deg/6"])
    with torch.no_grad():
        model[4].weight[1, 2] = math.nan
    with pytest.raises(osp.NonFiniteWeightError, match=r"^4\.weight: "):
        curve(model)


def test_importing_onsphere_imports_no_trainer() -> None:
    code = (
        "import sys, onsphere, onsphere.data, onsphere.models\n"
        "sys.exit(bool({'lightning', 'pytorch_lightning', 'transformers', 'torch_geometric'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- several processes ----------------------------------------------------------------------------------------------


def small() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3)).double()


def fit(model: nn.Module, inputs: Tensor, *, attached: bool) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    regularizer = osp.Regularizer(model, osp.MMA(), 0.3) + osp.Regularizer(model, osp.MHE(batch=4), 0.2)
    if attached:
        osp.attach(optimizer, regularizer)
    for _ in range(4):
        optimizer.zero_grad()
        loss = model(inputs).square().mean()
        (loss if attached else loss + regularizer()).backward()
        optimizer.step()


def inputs() -> Tensor:
    return torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(8, 5).sin()


def one_rank(rank: int, folder: str) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    mine = inputs()[4 * rank : 4 * rank + 4]
    replicated = small()
    fit(DistributedDataParallel(replicated, gradient_as_bucket_view=True), mine, attached=True)
    torch.save(replicated.state_dict(), f"{folder}/replicated{rank}.pt")

    sharded, mesh = small(), init_device_mesh("cpu", (2,))
    for module in (sharded[0], sharded[2], sharded):
        fully_shard(module, mesh=mesh)
    fit(sharded, mine, attached=True)
    whole = {name: value.full_tensor() for name, value in sharded.state_dict().items()}
    torch.save(whole, f"{folder}/sharded{rank}.pt")
    angles = curve(sharded)
    assert angles == curve(replicated) or angles == pytest.approx(curve(replicated))
    dist.barrier()
    os._exit(0)  # gloo's destructor can wait for a thread that waits for the GIL it holds


def test_two_processes_train_like_one_replicated_and_sharded(tmp_path: Path) -> None:
    mp.start_processes(one_rank, args=(str(tmp_path),), nprocs=2, start_method="forkserver")
    model = small()
    fit(model, inputs(), attached=False)
    for way in ("replicated", "sharded"):
        for rank in (0, 1):
            assert_same(torch.load(tmp_path / f"{way}{rank}.pt", weights_only=True), model.state_dict())
