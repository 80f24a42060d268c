import copy
import math
import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import orthogonal as make_orthogonal
from torch.nn.utils.parametrizations import weight_norm

import onsphere as osp
from onsphere import functional


def small_model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 4, 6), nn.ReLU(), nn.Linear(6, 4)
    )


def names(model: nn.Module, **options: bool) -> list[str]:
    return [layer.name for layer in osp.where.layers(model, **options)]


# --- which weights, and how they are read ---------------------------------------------------------------------------


def test_every_kind_of_layer_is_read_with_neurons_as_rows() -> None:
    model = nn.ModuleDict(
        {
            "linear": nn.Linear(5, 7),
            "conv1": nn.Conv1d(4, 6, 3),
            "conv2": nn.Conv2d(4, 6, (3, 2)),
            "conv3": nn.Conv3d(2, 5, 2),
            "transposed": nn.ConvTranspose2d(4, 6, 3),
            "grouped": nn.Conv2d(8, 12, 3, groups=4),
            "grouped_transposed": nn.ConvTranspose1d(8, 12, 3, groups=4),
            "depthwise": nn.Conv2d(8, 8, 3, groups=8),
            "attention": nn.MultiheadAttention(6, 2),
            "cross": nn.MultiheadAttention(6, 2, kdim=5, vdim=3),
            "norm": nn.LayerNorm(4),
            "one": nn.Linear(9, 1),
        }
    )
    shapes = {layer.name: tuple(layer.neurons().shape) for layer in osp.where.layers(model)}
    assert shapes == {
        "linear": (1, 7, 5),
        "conv1": (1, 6, 12),
        "conv2": (1, 6, 24),
        "conv3": (1, 5, 16),
        "transposed": (1, 6, 36),
        "grouped": (4, 3, 18),
        "grouped_transposed": (4, 3, 6),
        "attention.in_proj_weight": (3, 6, 6),
        "attention.out_proj": (1, 6, 6),
        "cross.q_proj_weight": (1, 6, 6),
        "cross.k_proj_weight": (1, 6, 5),
        "cross.v_proj_weight": (1, 6, 3),
        "cross.out_proj": (1, 6, 6),
    }
    single = osp.where.layers(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1)), single=True)
    assert [tuple(layer.neurons().shape) for layer in single] == [(1, 4, 3), (1, 1, 4)]
    asked = {layer.name: tuple(layer.neurons().shape) for layer in osp.where.layers(model, depthwise=True)}
    assert asked["depthwise"] == (1, 8, 9)


def test_neurons_of_a_transposed_convolution_make_the_outputs() -> None:
    """Zeroing the weights of one neuron must silence exactly one output channel."""
    for groups in (1, 2):
        layer = nn.ConvTranspose2d(4, 6, 3, groups=groups, bias=False)
        (read,) = osp.where.layers(layer)
        with torch.no_grad():
            view = read.neurons()
            expected = layer(torch.eye(4).view(4, 4, 1, 1)).sum((2, 3)).T  # (output channel, input channel)
        for g in range(groups):
            for k in range(6 // groups):
                channel = g * (6 // groups) + k
                used = expected[channel][g * 4 // groups : (g + 1) * 4 // groups]
                torch.testing.assert_close(view[g, k].view(4 // groups, 9).sum(1), used)


def test_selectors() -> None:
    model = small_model()
    found = osp.where.layers(model)
    assert [layer.name for layer in osp.where.everywhere(found)] == ["0", "4", "6"]
    assert [layer.name for layer in osp.where.hidden(found)] == ["0", "4"]
    assert [layer.name for layer in osp.where.output(found)] == ["6"]
    assert [layer.name for layer in osp.where.named("[04]")(found)] == ["0", "4"]
    assert [layer.name for layer in osp.where.named("6", "0")(found)] == ["0", "6"]
    with pytest.raises(ValueError, match=r"no layer matches 'head'; the layers are: 0, 4, 6"):
        osp.where.named("head")(found)
    with pytest.raises(ValueError, match="at least one pattern"):
        osp.where.named()


def test_a_shared_weight_counts_once() -> None:
    shared = nn.Linear(5, 5)
    twin = nn.Linear(5, 5)
    twin.weight = shared.weight
    assert names(nn.Sequential(shared, nn.ReLU(), shared, twin)) == ["0"]


def test_a_lazy_layer_is_refused_until_it_has_a_weight() -> None:
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(ValueError, match=r"0\.weight is not initialised"):
        osp.where.layers(model)
    model(torch.zeros(1, 3))
    assert names(model) == ["0"]


# --- the sum over layers --------------------------------------------------------------------------------------------


def test_value_is_the_weighted_sum_over_layers_and_per_layer_its_parts() -> None:
    model = small_model()
    regularizer = osp.Regularizer(model, osp.MMA(), coefficient=0.07)
    expected = [
        functional.mma(model[0].weight.flatten(1)),
        functional.mma(model[4].weight),
        functional.mma(model[6].weight),
    ]
    torch.testing.assert_close(regularizer(), 0.07 * sum(expected))
    parts = regularizer.per_layer()
    assert list(parts) == ["0", "4", "6"]
    torch.testing.assert_close(torch.stack(list(parts.values())), torch.stack(expected))
    assert not any(value.requires_grad for value in parts.values())


@pytest.mark.parametrize(("measure", "extensive"), [(osp.MMA(), False), (osp.MHE(), False), (osp.Orthogonal(), True)])
def test_grouped_convolutions_are_compared_within_groups_only(measure: nn.Module, extensive: bool) -> None:
    conv = nn.Conv2d(8, 12, 3, groups=4)
    value = osp.Regularizer(conv, measure, 1.0)()
    groups = torch.stack([measure(block) for block in conv.weight.view(4, 3, -1)])
    torch.testing.assert_close(value, groups.sum() if extensive else groups.mean())
    # A filter that equals one of another group is no near-duplicate.
    with torch.no_grad():
        conv.weight[0] = conv.weight[11]
    assert osp.diagnostics.minimum_angles(conv)[""] > 0.1


def test_depthwise_convolutions_are_skipped_unless_asked_for() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Linear(4, 3))
    assert list(osp.Regularizer(model, osp.MMA(), 1.0).per_layer()) == ["1"]
    asked = osp.Regularizer(model, osp.MMA(), 1.0, depthwise=True)
    assert list(asked.per_layer()) == ["0", "1"]
    torch.testing.assert_close(asked.per_layer()["0"], functional.mma(model[0].weight.view(8, 9)).detach())


def test_regularizers_add() -> None:
    model = small_model()
    a = osp.Regularizer(model, osp.MHE(half_space=True), 1.0, osp.where.hidden)
    b = osp.Regularizer(model, osp.MHE(), 0.5, osp.where.output)
    c = osp.Regularizer(model, osp.Orthonormal(), 1e-5)
    for total in (a + b + c, a + (b + c), (a + b) + (c + a)):
        expected = sum(term().item() for term in total.terms)
        assert total().item() == pytest.approx(expected, rel=1e-6)
    assert list((a + b).per_layer()) == ["MHE 0", "MHE 4", "MHE 6"]
    with pytest.raises(TypeError):
        a + 1.0


def test_labels_go_to_the_data_dependent_term_and_to_it_alone() -> None:
    model = small_model()
    labels = torch.tensor([0, 3, 3, 1])
    hidden = osp.Regularizer(model, osp.MHE(), 1.0, osp.where.hidden)
    output = osp.Regularizer(model, osp.MHE(data_dependent=True), 2.0, osp.where.output)
    expected = hidden() + 2 * functional.mhe(model[6].weight, labels=labels)
    torch.testing.assert_close((hidden + output)(labels=labels), expected)
    torch.testing.assert_close(output(labels), 2 * functional.mhe(model[6].weight, labels=labels))
    with pytest.raises(ValueError, match="takes no labels"):
        hidden(labels)
    with pytest.raises(ValueError, match="none of these"):
        (hidden + hidden)(labels)
    with pytest.raises(ValueError, match="none were given"):
        output()


def test_any_callable_is_a_measure() -> None:
    model = small_model()
    regularizer = osp.Regularizer(model, lambda weight: weight.square().sum(), 0.1)
    expected = 0.1 * sum(model[k].weight.square().sum() for k in (0, 4, 6))
    torch.testing.assert_close(regularizer(), expected)


@pytest.mark.parametrize("coefficient", [-1.0, math.nan, math.inf])
def test_bad_coefficients_are_repeated(coefficient: float) -> None:
    with pytest.raises(ValueError, match=str(coefficient)):
        osp.Regularizer(small_model(), osp.MMA(), coefficient)


def test_nothing_to_regularize_is_an_error() -> None:
    with pytest.raises(ValueError, match="no layer to regularize is left in ReLU"):
        osp.Regularizer(nn.ReLU(), osp.MMA(), 1.0)
    with pytest.raises(ValueError, match="its layers are: 0"):
        osp.Regularizer(nn.Sequential(nn.Linear(3, 3)), osp.MMA(), 1.0, osp.where.hidden)
    with pytest.raises(TypeError, match=r"MMA\(\), not MMA"):
        osp.Regularizer(small_model(), osp.MMA, 1.0)


def test_a_nan_weight_is_named() -> None:
    model = small_model()
    with torch.no_grad():
        model[4].weight[1, 2] = math.nan
    for regularizer in (
        osp.Regularizer(model, osp.MMA(), 1.0),
        osp.Regularizer(model, osp.MMA(), 1.0) + osp.Regularizer(model, osp.SRIP(), 1.0),
    ):
        with pytest.raises(osp.NonFiniteWeightError, match=r"^4\.weight: .*1 NaN"):
            regularizer()
    attention = nn.MultiheadAttention(4, 1)
    with torch.no_grad():
        attention.in_proj_weight[0, 0] = math.inf
    with pytest.raises(osp.NonFiniteWeightError, match=r"^in_proj_weight: "):
        osp.Regularizer(attention, osp.MHE(), 1.0)()


def test_zero_neurons_are_counted() -> None:
    model = small_model()
    with torch.no_grad():
        model[0].weight[[1, 5]] = 0
    regularizer = osp.Regularizer(model, osp.MMA(), 1.0)
    regularizer().backward()
    assert regularizer.zero_neurons() == {"0": 2, "4": 0, "6": 0}
    assert not bool(model[0].weight.grad[[1, 5]].any())


def test_repr_shows_measure_coefficient_and_layers() -> None:
    text = repr(osp.Regularizer(small_model(), osp.MHE(s=0.0), 0.3))
    assert "coefficient=0.3" in text
    assert "s=0.0" in text
    assert "0, 4, 6" in text


# --- it follows the model -------------------------------------------------------------------------------------------


def test_state_dicts_stay_as_they_are() -> None:
    model = small_model()
    before = list(model.state_dict())
    regularizer = osp.Regularizer(model, osp.MMA(), 1.0)
    model.regularizer = regularizer
    assert list(model.state_dict()) == before
    assert not list(regularizer.state_dict())
    assert not list(regularizer.parameters())
    drawing = osp.Regularizer(model, osp.MHE(batch=3), 1.0)
    assert list(drawing.state_dict()) == ["measure.calls"]


def test_it_follows_casts_replaced_and_reloaded_weights() -> None:
    model = small_model()
    regularizer = osp.Regularizer(model, osp.MMA(), 1.0)
    model.double()
    assert regularizer().dtype == torch.float64
    model.load_state_dict(small_model(seed=5).double().state_dict())
    torch.testing.assert_close(regularizer(), osp.Regularizer(small_model(seed=5).double(), osp.MMA(), 1.0)())
    model[4].weight = nn.Parameter(torch.randn(6, 32, dtype=torch.float64))
    torch.testing.assert_close(regularizer.per_layer()["4"], functional.mma(model[4].weight).detach())
    model.to(torch.bfloat16)
    regularizer().backward()
    assert model[4].weight.grad.dtype == torch.bfloat16


def test_it_follows_a_deep_copy_together_with_its_model() -> None:
    model = small_model()
    pair = {"model": model, "regularizer": osp.Regularizer(model, osp.MMA(), 1.0)}
    twin = copy.deepcopy(pair)
    with torch.no_grad():
        twin["model"][0].weight.normal_()
    assert twin["regularizer"]().item() != pair["regularizer"]().item()


def test_autocast_around_the_training_step_changes_nothing() -> None:
    gradients = []
    for enabled in (False, True):
        model = small_model()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            value = osp.Regularizer(model, osp.MMA(), 1.0)()
            assert value.dtype == torch.float32
            value.backward()
        gradients.append(model[4].weight.grad)
    assert torch.equal(gradients[0], gradients[1])


@pytest.mark.parametrize("change", [make_orthogonal, weight_norm])
def test_parametrized_weights(change: object) -> None:
    model = small_model()
    change(model[4])  # type: ignore[operator]
    regularizer = osp.Regularizer(model, osp.MMA(), 1.0)
    assert names(model) == ["0", "4", "6"]
    torch.testing.assert_close(regularizer.per_layer()["4"], functional.mma(model[4].weight).detach())
    regularizer().backward()
    originals = [p for name, p in model.named_parameters() if name.startswith("4.parametrizations")]
    assert originals
    assert any(p.grad is not None and bool(p.grad.any()) for p in originals) or change is make_orthogonal


def test_layers_inside_a_parametrization_are_not_the_models() -> None:
    class Through(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(6, 6)

        def forward(self, weight: Tensor) -> Tensor:
            return weight + 0 * self.inner.weight.sum()

    model = nn.Sequential(nn.Linear(4, 6))
    parametrize.register_parametrization(model[0], "weight", Through())
    assert names(model) == ["0"]


def test_compiled_models_keep_their_names_and_gradients() -> None:
    model = small_model()
    compiled = torch.compile(model, backend="aot_eager")
    assert names(compiled) == ["0", "4", "6"]
    regularizer = osp.Regularizer(compiled, osp.MMA(), 0.5)
    x = torch.randn(3, 3, 4, 4)
    (compiled(x).sum() + regularizer()).backward()
    expected = small_model()
    (expected(x).sum() + osp.Regularizer(expected, osp.MMA(), 0.5)()).backward()
    torch.testing.assert_close(model[4].weight.grad, expected[4].weight.grad)


def test_a_compiled_training_step_may_contain_the_regularizer() -> None:
    model = small_model()
    regularizer = osp.Regularizer(model, osp.MMA(), 0.5)

    @torch.compile(backend="aot_eager")
    def loss(x: Tensor) -> Tensor:
        return model(x).sum() + regularizer()

    loss(torch.ones(2, 3, 4, 4)).backward()
    first = model[4].weight.grad.clone()
    model.zero_grad()
    (model(torch.ones(2, 3, 4, 4)).sum() + regularizer()).backward()
    torch.testing.assert_close(first, model[4].weight.grad)


def _model_without_batch_norm() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 9), nn.ReLU(), nn.Linear(9, 3)).double()


def _train(model: nn.Module, regularizer: nn.Module, x: Tensor) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        (model(x).square().mean() + regularizer()).backward()
        optimizer.step()


def _leave() -> None:
    """End a rank without tearing gloo down: its destructor can wait for a thread that waits for the GIL it holds."""
    dist.barrier()
    os._exit(0)


def _one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    bare = _model_without_batch_norm()
    wrapped = DistributedDataParallel(bare)
    measures = osp.Regularizer(wrapped, osp.MMA(), 0.3) + osp.Regularizer(wrapped, osp.MHE(batch=4), 0.2)
    assert names(wrapped) == ["0", "2"]
    x = torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(8, 5).sin()
    _train(wrapped, measures, x[4 * rank : 4 * rank + 4])
    torch.save(bare.state_dict(), f"{folder}/weights{rank}.pt")
    _leave()


def test_two_gloo_processes_train_like_one(tmp_path: Path) -> None:
    mp.start_processes(_one_rank, args=(str(tmp_path),), nprocs=2, start_method="forkserver")
    model = _model_without_batch_norm()
    measures = osp.Regularizer(model, osp.MMA(), 0.3) + osp.Regularizer(model, osp.MHE(batch=4), 0.2)
    _train(model, measures, torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(8, 5).sin())
    for name, value in torch.load(tmp_path / "weights0.pt", weights_only=True).items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=1e-12, atol=1e-12)


def _one_sharded_rank(rank: int, folder: str) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    model = _model_without_batch_norm()
    whole = osp.Regularizer(_model_without_batch_norm(), osp.MMA(), 1.0)
    whole().backward()
    for k in (0, 2):
        model[k].weight = nn.Parameter(distribute_tensor(model[k].weight.detach(), mesh, [Shard(0)]))
    value = osp.Regularizer(model, osp.MMA(), 1.0)()
    value.backward()
    torch.testing.assert_close(value, whole())
    for k in (0, 2):
        expected = whole.layers[k // 2].module.weight.grad
        torch.testing.assert_close(model[k].weight.grad.full_tensor(), expected)
    _leave()


def test_sharded_weights_are_gathered(tmp_path: Path) -> None:
    mp.start_processes(_one_sharded_rank, args=(str(tmp_path),), nprocs=2, start_method="forkserver")


# --- diagnostics ----------------------------------------------------------------------------------------------------


def test_minimum_angles_and_cosines() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 0, 0], [0, 2.0, 0], [1.0, 1e-6, 0]]))
    angles = osp.diagnostics.minimum_angles(model)
    assert angles["0"] == pytest.approx(1e-6, rel=1e-6)
    values = osp.diagnostics.cosines(model, "0")
    assert values.sort().values.tolist() == pytest.approx([0.0, 1e-6, 1.0], abs=1e-7)
    with pytest.raises(ValueError, match="no layer is called 'fc'; the layers are: 0, 1"):
        osp.diagnostics.cosines(model, "fc")
    assert math.isnan(osp.diagnostics.minimum_angle(torch.zeros(3, 2)))
