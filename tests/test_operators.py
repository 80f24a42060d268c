"""Decoupled operators: the literal formulas, bounds, singular points, what is learned, conversion, optimization."""

from __future__ import annotations

import copy
import io
import itertools
import math
import warnings
from collections import OrderedDict
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.prune
import torch.utils.checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import onsphere as osp
import reference_operators as reference
from launching import forked
from onsphere import angular, layers, magnitude, where
from onsphere.layers.decoupled import OWN_STATE
from onsphere.models.head import classify_average
from onsphere.models.residual import BasicBlock, stages

MAGNITUDES = {
    "sphere": magnitude.Sphere(1.5),
    "ball": magnitude.Ball(1.5),
    "ball-layer": magnitude.Ball(0.5, radius="layer"),
    "tanh": magnitude.Tanh(1.5),
    "tanh-layer": magnitude.Tanh(radius="layer"),
    "linear": magnitude.Linear(0.7),
    "seg": magnitude.Seg(1.5, 0.4),
    "seg-layer": magnitude.Seg(0.5, 2.0, radius="layer"),
    "log": magnitude.Log(0.7),
    "mix": magnitude.Mix(0.7, 1.3),
}
ANGULARS = {
    "linear": angular.Linear(),
    "cosine": angular.Cosine(),
    "sigmoid": angular.Sigmoid(0.3),
    "sigmoid-filter": angular.Sigmoid(0.4, learnable=True),
    "sigmoid-layer": angular.Sigmoid(0.4, learnable=True, shared="layer"),
    "square-cosine": angular.SquareCosine(),
}
WEIGHTINGS = (None, "linear", "nonlinear_product", "nonlinear_separate")


def convolution(*args: Any, **kwargs: Any) -> osp.DecoupledConv2d:
    """A float64 layer in evaluation mode whose learned parameters and moving average are not what they start at."""
    torch.manual_seed(0)
    layer = osp.DecoupledConv2d(*args, **kwargs).double().eval()
    with torch.no_grad():
        for name in ("log_radius", "log_k"):
            if getattr(layer, name) is not None:
                getattr(layer, name).add_(0.4 * torch.randn_like(getattr(layer, name)))
        if layer.mean_norm is not None:
            layer.mean_norm.uniform_(0.8, 1.6)
    return layer


def by_filter(layer: osp.DecoupledConv2d, values: Tensor | None) -> Tensor | None:
    return None if values is None else values.exp().expand(layer.out_channels)


def literal(layer: osp.DecoupledConv2d, x: Tensor) -> Tensor:
    return reference.conv2d(
        x,
        layer.weight,
        layer.magnitude,
        layer.angular,
        layer.weighting,
        by_filter(layer, layer.log_radius),
        layer.mean_norm,
        by_filter(layer, layer.log_k),
        stride=layer.stride[0],
        padding=layer.padding[0],
        dilation=layer.dilation[0],
        groups=layer.groups,
        padding_mode=layer.padding_mode,
        eps=layer.eps,
    )


def assert_equal_in_value_and_gradient(layer: osp.DecoupledConv2d, x: Tensor, tolerance: float = 1e-9) -> None:
    x = x.clone().requires_grad_()
    expected, output = literal(layer, x), layer(x)
    assert output.shape == expected.shape
    assert torch.allclose(output, expected, rtol=tolerance, atol=tolerance)
    parameters = (x, *(p for p in (layer.weight, layer.log_radius, layer.log_k) if p is not None))
    direction = torch.randn_like(expected)
    theirs = torch.autograd.grad(expected, parameters, direction, allow_unused=True)
    for ours, their in zip(torch.autograd.grad(output, parameters, direction), theirs, strict=True):
        their = torch.zeros_like(ours) if their is None else their
        assert torch.allclose(ours, their, rtol=tolerance, atol=tolerance * max(1.0, float(their.abs().max())))


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=str)
@pytest.mark.parametrize("g", ANGULARS)
@pytest.mark.parametrize("h", MAGNITUDES)
def test_value_and_gradients_are_those_of_the_formula(h: str, g: str, weighting: Any) -> None:
    layer = convolution(4, 6, 3, padding=1, magnitude=MAGNITUDES[h], angular=ANGULARS[g], weighting=weighting)
    assert_equal_in_value_and_gradient(layer, 0.4 * torch.randn(3, 4, 5, 4, dtype=torch.float64))


@pytest.mark.parametrize(
    "geometry",
    [
        {"stride": 2, "padding": 1},
        {"padding": 2, "dilation": 2},
        {"groups": 2, "padding": 1},
        {"groups": 4},
        {"stride": 2, "dilation": 2, "padding": 3, "groups": 2},
        {"padding": 1, "padding_mode": "circular"},
        {"padding": 2, "padding_mode": "reflect", "groups": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize(("h", "g"), [("tanh", "linear"), ("seg-layer", "sigmoid-filter"), ("sphere", "square-cosine")])
def test_geometry_is_that_of_a_convolution(geometry: dict[str, Any], h: str, g: str) -> None:
    layer = convolution(4, 8, 3, magnitude=MAGNITUDES[h], angular=ANGULARS[g], **geometry)
    assert_equal_in_value_and_gradient(layer, 0.4 * torch.randn(2, 4, 7, 6, dtype=torch.float64))


def test_tiles_do_not_change_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = convolution(4, 6, 3, padding=1, magnitude=magnitude.Tanh(), angular=ANGULARS["sigmoid-filter"])
    x = torch.randn(5, 4, 5, 4, dtype=torch.float64)
    whole = layer(x)
    monkeypatch.setattr("onsphere.layers.kernel.TILE", 2 * whole[0].numel())
    assert torch.equal(layer(x), whole)
    assert_equal_in_value_and_gradient(layer, 0.4 * x)


def test_cosine_sphereconv_is_the_convolution_of_normalised_patches() -> None:
    layer, x = convolution(3, 5, 3), torch.randn(2, 3, 6, 6, dtype=torch.float64)
    patches = F.unfold(x, 3)
    unit = patches / (patches.square().sum(1, keepdim=True) + layer.eps).sqrt()
    filters = F.normalize(layer.weight.flatten(1), dim=1)
    assert torch.allclose(layer(x).flatten(2), filters @ unit, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
def test_linear_times_cosine_with_linear_weighting_is_the_ordinary_convolution(groups: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(4, 6, 3, 2, 1, groups=groups).double()
    layer = osp.DecoupledConv2d(
        4, 6, 3, 2, 1, groups=groups, bias=True, magnitude=magnitude.Linear(), weighting="linear"
    ).double()
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(layer(x), plain(x), rtol=0, atol=1e-12)
    direction = torch.randn_like(plain(x))
    ours, theirs = (torch.autograd.grad(f(x), (x, *f.parameters()), direction) for f in (layer, plain))
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=str)
def test_one_three_and_no_dimensions_are_convolutions_over_two(weighting: Any) -> None:
    operator: dict[str, Any] = {
        "magnitude": magnitude.Tanh(), "angular": ANGULARS["sigmoid-filter"], "weighting": weighting, "bias": True
    }  # fmt: skip
    flat = convolution(3, 5, (1, 3), padding=(0, 1), **operator)
    x = torch.randn(2, 3, 1, 6, dtype=torch.float64)
    sequence = osp.DecoupledConv1d(3, 5, 3, padding=1, **operator).double().eval()
    volume = osp.DecoupledConv3d(3, 5, (1, 1, 3), padding=(0, 0, 1), **operator).double().eval()
    state = flat.state_dict()
    sequence.load_state_dict({**state, "weight": state["weight"][:, :, 0]})
    volume.load_state_dict({**state, "weight": state["weight"][:, :, :, None].movedim(3, 2)})
    assert torch.allclose(sequence(x[:, :, 0]), flat(x)[:, :, 0])
    assert torch.allclose(sequence(x[0, :, 0]), flat(x)[0, :, 0])
    assert torch.allclose(volume(x.unsqueeze(2)), flat(x).unsqueeze(2))
    point = convolution(3, 5, 1, **operator)
    linear = osp.DecoupledLinear(3, 5, **operator).double().eval()
    linear.load_state_dict({**point.state_dict(), "weight": point.weight[:, :, 0, 0]})
    assert torch.allclose(linear(x.movedim(1, -1)), point(x).movedim(1, -1))
    assert linear(x[0, :, 0, 0]).shape == (5,)


@pytest.mark.parametrize("name", ["Sphere", "Ball", "Tanh", "Linear", "Seg", "Log", "Mix"])
def test_short_names_are_the_operators(name: str) -> None:
    torch.manual_seed(0)
    short = getattr(osp, f"{name}Conv2d")(3, 4, 3)
    torch.manual_seed(0)
    long = osp.DecoupledConv2d(3, 4, 3, magnitude=getattr(magnitude, name)())
    x = torch.randn(2, 3, 5, 5)
    assert short.magnitude == long.magnitude
    assert torch.equal(short(x), long(x))
    assert magnitude.MAGNITUDE[name.lower()] is getattr(magnitude, name)


@pytest.mark.parametrize("name", MAGNITUDES)
def test_slopes_of_magnitudes_are_their_derivatives(name: str) -> None:
    h: Any = MAGNITUDES[name]
    norm = torch.linspace(0.01, 3, 40, dtype=torch.float64).requires_grad_()
    if not hasattr(h, "value_and_slopes"):
        assert torch.allclose(h(norm), reference.MAGNITUDES[type(h).__name__](norm, None, **reference.numbers(h)))
        return
    radius = torch.tensor([[0.7], [1.3]], dtype=torch.float64, requires_grad=True)
    value = h(norm, radius)
    assert torch.allclose(value, reference.MAGNITUDES[type(h).__name__](norm, radius, **reference.numbers(h)))
    found, by_norm, by_radius = h.value_and_slopes(norm.detach(), radius.detach())
    assert torch.allclose(found, value)
    assert torch.allclose(by_norm.sum(0), torch.autograd.grad(value.sum(), norm, retain_graph=True)[0])
    assert torch.allclose(by_radius.sum(1, keepdim=True), torch.autograd.grad(value.sum(), radius)[0])


@pytest.mark.parametrize("k", [0.03, 0.3, 5.0])
@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid", "square-cosine"])
def test_slopes_of_activations_are_their_derivatives(name: str, k: float) -> None:
    g: Any = angular.Sigmoid(k) if name == "sigmoid" else ANGULARS[name]
    theta = torch.linspace(0.05, math.pi - 0.05, 41, dtype=torch.float64)
    cosine = theta.cos().requires_grad_()
    value = g.of_cosine(cosine)
    assert torch.allclose(value, reference.ANGULARS[type(g).__name__](theta, k), atol=1e-12)
    assert torch.allclose(g(theta), value, atol=1e-12)
    found, slope = g.value_and_slope(cosine.detach())
    assert torch.allclose(found, value, atol=1e-12)
    assert torch.allclose(slope, torch.autograd.grad(value.sum(), cosine)[0], rtol=1e-9, atol=1e-12)
    ends = g.value_and_slope(torch.tensor([1.0, -1.0, 1.0000001]))
    assert torch.allclose(ends[0], torch.tensor([1.0, -1.0, 1.0]), atol=1e-6)
    assert torch.isfinite(ends[1]).all()


OF_EACH_PATH = [
    ("sphere", "cosine", None),
    ("tanh", "linear", None),
    ("seg", "sigmoid-filter", None),
    ("mix", "square-cosine", "linear"),
    ("ball-layer", "sigmoid", "nonlinear_product"),
]


@pytest.mark.parametrize(("h", "g", "weighting"), OF_EACH_PATH)
def test_first_and_second_gradients(h: str, g: str, weighting: Any) -> None:
    layer = convolution(
        4, 4, 3, stride=2, padding=1, groups=2, magnitude=MAGNITUDES[h], angular=ANGULARS[g], weighting=weighting
    )
    x = torch.randn(2, 4, 4, 5, dtype=torch.float64, requires_grad=True)
    x.data[0, :, 2:, 2:] = 0  # patches of zeros among the others
    names = [name for name in ("weight", "log_radius", "log_k") if getattr(layer, name) is not None]

    def of_all(x: Tensor, *parameters: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), x)
        return output

    inputs = (x, *(getattr(layer, name) for name in names))
    assert torch.autograd.gradcheck(of_all, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(of_all, inputs, fast_mode=True)


@pytest.mark.parametrize("of_input", [True, False])
@pytest.mark.parametrize(("h", "g", "weighting"), OF_EACH_PATH)
def test_gradients_are_the_same_where_they_are_to_be_differentiated(
    h: str, g: str, weighting: Any, of_input: bool
) -> None:
    layer = convolution(4, 4, 3, magnitude=MAGNITUDES[h], angular=ANGULARS[g], weighting=weighting)
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64, requires_grad=of_input)
    inputs = (x, *layer.parameters()) if of_input else tuple(layer.parameters())
    once = torch.autograd.grad(layer(x).square().sum(), inputs)
    again = torch.autograd.grad(layer(x).square().sum(), inputs, create_graph=True)
    for ours, theirs in zip(again, once, strict=True):
        assert torch.allclose(ours, theirs)
    sum(gradient.square().sum() for gradient in again).backward()  # type: ignore[union-attr]
    assert layer.weight.grad.any()


def test_torch_func_transforms_it() -> None:
    layer = convolution(3, 4, 3, magnitude=magnitude.Tanh(), angular=angular.Linear())
    x = torch.randn(5, 3, 4, 4, dtype=torch.float64)

    def loss(weight: Tensor, image: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(layer, {"weight": weight}, image[None])
        return output.square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(layer.weight.detach(), x)
    for image, ours in zip(x, each, strict=True):
        assert torch.allclose(ours, torch.autograd.grad(loss(layer.weight, image), layer.weight)[0])


def test_forward_and_backward_derivatives_agree_before_any_training() -> None:
    layer, x = osp.BallConv2d(3, 4, 3).double().eval(), torch.randn(2, 3, 4, 4, dtype=torch.float64)
    assert torch.allclose(torch.func.jacfwd(layer)(x), torch.func.jacrev(layer)(x))


@settings(max_examples=40, deadline=None)
@given(
    h=st.sampled_from(["sphere", "ball", "ball-layer", "tanh", "tanh-layer"]),
    g=st.sampled_from(list(ANGULARS)),
    log_scale=st.floats(-30, 15),
    parallel=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
    seed=st.integers(0, 1000),
)
def test_bounded_operators_stay_in_their_bounds(
    h: str, g: str, log_scale: float, parallel: bool, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = osp.DecoupledConv2d(4, 6, 3, padding=1, magnitude=MAGNITUDES[h], angular=ANGULARS[g]).to(dtype)
    x = torch.randn(2, 4, 5, 5) * 10**log_scale
    if parallel:  # cosines that rounding carries beyond 1
        x[:, :, 1:4, 1:4] = layer.weight[0].float() * 10**log_scale
    for training in (True, False):
        output = layer.train(training)(x.to(dtype).requires_grad_())
        assert torch.isfinite(output).all()
        assert output.float().abs().max() <= torch.tensor(MAGNITUDES[h].alpha, dtype=dtype).float()  # type: ignore[attr-defined]


@pytest.mark.parametrize("weighting", WEIGHTINGS, ids=str)
@pytest.mark.parametrize("g", ANGULARS)
@pytest.mark.parametrize("h", MAGNITUDES)
def test_zero_patches_zero_filters_and_saturated_cosines_have_finite_gradients(h: str, g: str, weighting: Any) -> None:
    torch.manual_seed(0)
    layer = osp.DecoupledConv2d(2, 3, 3, magnitude=MAGNITUDES[h], angular=ANGULARS[g], weighting=weighting, eps=1e-12)
    with torch.no_grad():
        layer.weight[1] = 0
        layer.weight[2] = 7 * layer.weight[0]
    x = torch.zeros(3, 2, 6, 6)
    x[1, :, 2:5, 2:5], x[2, :, 2:5, 2:5] = 100 * layer.weight[0].detach(), -100 * layer.weight[0].detach()
    x.requires_grad_()
    for training in (True, False):
        output = layer.train(training)(x)
        assert not output[0].any()
        assert not output[:, 1].any()
        found = torch.autograd.grad(output.square().sum() + output.sum(), (x, *layer.parameters()))
        for gradient in (output, *found):
            assert torch.isfinite(gradient).all()
        assert not found[1][1].any()


def test_nothing_but_zeros_gives_zeros() -> None:
    for h, g in itertools.product(MAGNITUDES, ANGULARS):
        layer = osp.DecoupledConv2d(2, 3, 3, magnitude=MAGNITUDES[h], angular=ANGULARS[g])
        x = torch.zeros(1, 2, 4, 4, requires_grad=True)
        output = layer(x)
        assert not output.any()
        assert all(torch.isfinite(found).all() for found in torch.autograd.grad(output.sum(), (x, *layer.parameters())))


def test_a_nan_in_the_input_stays_in_its_patches() -> None:
    layer = osp.DecoupledConv2d(2, 3, 3, magnitude=magnitude.Log(), angular=angular.Linear())
    x = torch.randn(1, 2, 6, 6)
    x[0, 0, 0, 0] = torch.nan
    bad = torch.isnan(layer(x))
    assert bad[0, :, 0, 0].all()
    assert bad.sum() == 3


@pytest.mark.parametrize(("h", "g", "weighting"), OF_EACH_PATH)
def test_lengths_of_filters_do_not_matter_without_weighting(h: str, g: str, weighting: Any) -> None:
    layer = convolution(3, 4, 3, magnitude=MAGNITUDES[h], angular=ANGULARS[g], weighting=weighting)
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)
    before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(torch.tensor([1e-9, 0.5, 3.0, 1e9])[:, None, None, None])
    assert torch.allclose(layer(x), before) is (weighting is None)


def test_rotating_patches_and_filters_together_changes_nothing() -> None:
    layer = osp.DecoupledLinear(6, 5, magnitude=magnitude.Mix(), angular=angular.Sigmoid()).double()
    x = torch.randn(4, 6, dtype=torch.float64)
    rotation, _ = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))
    before = layer(x)
    with torch.no_grad():
        layer.weight.copy_(layer.weight @ rotation)
    assert torch.allclose(layer(x @ rotation), before)


@pytest.mark.parametrize("g", ["linear", "square-cosine"])
def test_autocast_keeps_float32_forward_and_backward(g: str) -> None:
    torch.manual_seed(0)
    layer = osp.DecoupledConv2d(32, 16, 1, magnitude=magnitude.Tanh(), angular=ANGULARS[g]).eval()
    x = torch.randn(4, 32, 3, 3, requires_grad=True)

    def gradients() -> list[Tensor]:
        loss = layer(x).square().sum()
        return [loss.detach(), *torch.autograd.grad(loss, (x, *layer.parameters()))]

    plain = gradients()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.float32
        mixed = gradients()
    for ours, theirs in zip(mixed, plain, strict=True):
        assert torch.equal(ours, theirs)


# What is learned


def test_the_mean_norm_is_a_moving_average_that_the_first_batch_starts() -> None:
    torch.manual_seed(0)
    layer = osp.TanhConv2d(4, 6, 3, padding=1, groups=2)
    assert torch.equal(layer.mean_norm, torch.zeros(2))
    means = []
    for scale in (1.0, 3.0, 0.5):
        x = scale * torch.randn(2, 4, 5, 5)
        layer(x)
        means.append(reference.patch_norms(x, 3, padding=1, groups=2).mean((0, 2)))
    expected = 0.9 * (0.9 * means[0] + 0.1 * means[1]) + 0.1 * means[2]
    assert torch.allclose(layer.mean_norm, expected)
    layer.eval()(torch.randn(2, 4, 5, 5))
    assert torch.allclose(layer.mean_norm, expected)


def test_before_any_training_the_batch_itself_says_how_long_patches_are() -> None:
    layer, x = osp.BallConv2d(3, 4, 3).eval(), torch.randn(2, 3, 5, 5)
    before = layer(x)
    assert torch.equal(layer.mean_norm, torch.zeros(1))
    layer.train()(x)
    assert torch.allclose(layer.eval()(x), before)


def test_a_layer_can_be_used_twice_before_backward() -> None:
    layer, x = osp.TanhConv2d(3, 4, 3), torch.randn(2, 3, 5, 5)
    (layer(x).sum() + layer(2 * x).sum()).backward()
    assert torch.isfinite(layer.weight.grad).all()


def test_a_batch_of_none_or_of_nan_leaves_the_moving_average() -> None:
    layer = osp.TanhConv2d(3, 4, 3)
    assert layer(torch.zeros(0, 3, 5, 5)).shape == (0, 4, 3, 3)
    assert torch.equal(layer.mean_norm, torch.zeros(1))
    layer(torch.randn(2, 3, 5, 5))
    before = layer.mean_norm.clone()
    layer(torch.zeros(0, 3, 5, 5)).sum().backward()
    layer(torch.full((1, 3, 5, 5), torch.nan))
    assert torch.equal(layer.mean_norm, before)
    assert before > 0


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing_changes_neither_gradients_nor_the_moving_average(reentrant: bool) -> None:
    layer = osp.TanhConv2d(3, 4, 3)
    layer(torch.randn(2, 3, 5, 5))
    twin, x = copy.deepcopy(layer), 3 * torch.randn(2, 3, 5, 5)
    x.requires_grad_()
    ours = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=reentrant).square().sum()
    ours.backward()
    twin(x).square().sum().backward()
    assert torch.equal(layer.mean_norm, twin.mean_norm)
    assert torch.equal(layer.log_radius.grad, twin.log_radius.grad)
    assert torch.equal(layer.weight.grad, twin.weight.grad)


def test_a_layer_without_memory_has_a_shape_and_starts_when_it_gets_some() -> None:
    curved = osp.TanhConv2d(3, 4, 3, angular=angular.Sigmoid(0.5, learnable=True), device="meta")
    rescaled = osp.SphereNormConv2d(3, 4, 3, beta=2.0, gamma=0.5, device="meta")
    for layer in (curved, rescaled):
        assert layer(torch.empty(2, 3, 5, 5, device="meta")).shape == (2, 4, 3, 3)
        layer.to_empty(device="cpu")
        for values in layer.state_dict().values():
            values.fill_(torch.nan)
        layer.reset_parameters()
        assert layer(torch.randn(2, 3, 5, 5)).isfinite().all()
    assert torch.equal(curved.radius, torch.ones(4))
    assert torch.allclose(curved.log_k.exp(), torch.tensor(0.5))
    assert torch.equal(rescaled.beta, torch.full((4,), 2.0))
    assert torch.equal(rescaled.gamma, torch.full((4,), 0.5))


@pytest.mark.parametrize("h", [magnitude.Ball(), magnitude.Tanh(radius="layer"), magnitude.Seg()], ids=repr)
def test_radius_learns_and_stays_positive(h: Any) -> None:
    torch.manual_seed(0)
    layer, x = osp.DecoupledConv2d(3, 4, 3, magnitude=h), torch.randn(8, 3, 5, 5)
    count = 1 if h.radius == "layer" else 4
    assert torch.equal(layer.radius, torch.ones(count))
    optimizer = torch.optim.SGD([layer.log_radius], lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        layer(x).square().sum().backward()
        optimizer.step()
    assert (layer.radius > 0).all()
    assert not torch.equal(layer.radius, torch.ones(count))


@pytest.mark.parametrize(("shared", "shapes"), [("filter", (4, 5)), ("layer", (1, 1)), ("network", (1, 1))])
def test_curvature_is_learned_by_filter_layer_or_network(shared: Any, shapes: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4, 5), nn.Linear(5, 2))
    osp.convert(model, angular=angular.Sigmoid(0.5, learnable=True, shared=shared))
    first, second = model[0].log_k, model[2].log_k
    assert (len(first), len(second)) == shapes
    assert torch.allclose(first.exp(), torch.tensor(0.5))
    assert (first is second) is (shared == "network")
    assert sum(p is first for p in model.parameters()) == 1
    model(torch.randn(6, 3, 3, 3)).square().sum().backward()
    assert first.grad.abs().min() > 0
    copied = copy.deepcopy(model)
    copied.load_state_dict(model.state_dict())
    assert (copied[0].log_k is copied[2].log_k) is (shared == "network")


def test_a_head_does_not_take_a_curvature_that_it_would_not_learn() -> None:
    with pytest.raises(ValueError, match="learnable=True"):
        osp.AngularSoftmax(4, 3, angular=angular.Sigmoid(learnable=True))


DISTRIBUTED = """
import sys
import torch
import torch.distributed as dist
import onsphere as osp
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")
torch.manual_seed(0)
layer = osp.TanhConv2d(3, 4, 3)
x = torch.randn(7, 3, 5, 5)
mine = x[:5] if dist.get_rank() == 0 else x[5:]
wrapped = DistributedDataParallel(layer)
for scale in (1.0, 2.0):
    wrapped(scale * mine).square().sum().backward()
torch.save((layer.mean_norm, layer.log_radius.grad * 2), f"{sys.argv[1]}/{dist.get_rank()}.pt")
"""


def test_two_processes_have_the_mean_norm_and_gradients_of_one(tmp_path: Any) -> None:
    (tmp_path / "script.py").write_text(DISTRIBUTED)
    forked(tmp_path / "script.py", str(tmp_path), processes=2)
    torch.manual_seed(0)
    layer = osp.TanhConv2d(3, 4, 3)
    x = torch.randn(7, 3, 5, 5)
    for scale in (1.0, 2.0):
        layer(scale * x).square().sum().backward()
    for rank in (0, 1):
        mean, gradient = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.allclose(mean, layer.mean_norm)
        assert torch.allclose(gradient, layer.log_radius.grad, atol=1e-5)


def test_state_is_saved_and_goes_on_to_the_last_bit() -> None:
    torch.manual_seed(0)

    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        model = nn.Sequential(
            osp.TanhConv2d(3, 4, 3, angular=angular.Sigmoid(learnable=True)), nn.Flatten(), nn.Linear(36, 2)
        )
        return model, torch.optim.Adam(model.parameters())

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Tensor) -> None:
        for x in batches:
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()

    (model, optimizer), batches = make(), torch.randn(6, 2, 3, 5, 5)
    train(model, optimizer, batches[:3])
    file = io.BytesIO()
    torch.save((model.state_dict(), optimizer.state_dict()), file)
    train(model, optimizer, batches[3:])
    other, its = make()
    file.seek(0)
    state, its_state = torch.load(file, weights_only=True)
    other.load_state_dict(state)
    its.load_state_dict(its_state)
    train(other, its, batches[3:])
    for name, value in model.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


# Functions of one's own


def test_functions_of_ones_own_are_operators() -> None:
    layer = convolution(3, 4, 3, magnitude=torch.sqrt, angular=lambda theta: 1 - (theta / math.pi) ** 2)
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    patches = F.unfold(x, 3)
    length = (patches.square().sum(1, keepdim=True) + layer.eps).sqrt()
    theta = torch.acos(F.normalize(layer.weight.flatten(1), dim=1) @ (patches / length))
    expected = length.sqrt() * (1 - (theta / math.pi) ** 2)
    output = layer(x).flatten(2)
    assert torch.allclose(output, expected)
    direction = torch.randn_like(expected)
    for ours, theirs in zip(
        *(torch.autograd.grad(value, (x, layer.weight), direction) for value in (output, expected)), strict=True
    ):
        assert torch.allclose(ours, theirs)


class Root:
    """h = sqrt(||x|| / rho), bounded by 2."""

    radius, bound = "filter", 2.0

    def __call__(self, norm: Tensor, radius: Tensor) -> Tensor:
        return (norm / radius).sqrt().clamp_max(2.0)


def test_a_magnitude_of_ones_own_may_have_a_radius_and_a_bound() -> None:
    layer = osp.DecoupledConv2d(3, 4, 3, magnitude=Root(), angular=angular.Linear())
    output = layer(torch.cat([torch.zeros(1, 3, 5, 5), torch.randn(1, 3, 5, 5), 1e3 * torch.randn(1, 3, 5, 5)]))
    assert output.abs().max() <= 2
    output.square().sum().backward()
    assert layer.log_radius.shape == (4,)
    assert torch.isfinite(layer.log_radius.grad).all()


# SphereNorm


def test_spherenorm_rescales_the_cosine() -> None:
    torch.manual_seed(0)
    layer, x = osp.SphereNormConv2d(3, 4, 3, padding=1, beta=2.0, gamma=0.5), torch.randn(2, 3, 5, 5)
    cosine = osp.SphereConv2d(3, 4, 3, padding=1)
    cosine.load_state_dict({"weight": layer.weight})
    assert torch.allclose(layer(x), 2 * cosine(x) + 0.5)
    assert {name for name, _ in layer.named_parameters()} == {"weight", "beta", "gamma"}
    with torch.no_grad():
        layer.beta.copy_(torch.arange(4.0))
    assert torch.allclose(layer(x)[:, 3], 3 * cosine(x)[:, 3] + 0.5)
    fixed = osp.SphereNormConv2d(3, 4, 3, beta=2.0, learned=False)
    assert [name for name, _ in fixed.named_parameters()] == ["weight"]
    assert set(fixed.state_dict()) == {"weight", "beta", "gamma"}


# Conversion


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 6),
        nn.Linear(6, 4),
    )


def test_conversion_keeps_weights_objects_and_names() -> None:
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modules, parameters = list(model.modules()), list(model.parameters())
    assert osp.convert(model, magnitude=magnitude.Tanh(), angular=angular.Linear()) is model
    assert [type(module).__name__ for module in model if isinstance(module, layers.Decoupled)] == [
        "DecoupledConv2d", "DecoupledConv2d", "DecoupledLinear"
    ]  # fmt: skip
    assert type(model[-1]) is nn.Linear
    assert all(a is b for a, b in zip(modules, model.modules(), strict=True))
    names = [name.rpartition(".")[2] for name, _ in model.named_parameters()]
    assert names.count("log_radius") == 3
    ours = [p for name, p in model.named_parameters() if not name.endswith("log_radius")]
    assert all(a is b for a, b in zip(parameters, ours, strict=True))
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value)
    layers.plain(model)
    assert [type(module) for module in model] == [type(module) for module in network()]
    assert list(model.state_dict()) == list(before)
    x = torch.randn(2, 3, 6, 6)
    model.eval()
    network_as_it_was = network().eval()
    assert torch.equal(model(x), network_as_it_was(x))
    assert repr(model) == repr(network_as_it_was)


def test_a_converted_layer_is_as_one_made_so() -> None:
    model = network()
    osp.convert(model, magnitude=magnitude.Seg(), angular=angular.Sigmoid(), weighting="linear", eps=1e-3)
    made = osp.DecoupledConv2d(
        3,
        8,
        3,
        padding=1,
        bias=True,
        magnitude=magnitude.Seg(),
        angular=angular.Sigmoid(),
        weighting="linear",
        eps=1e-3,
    )
    made.load_state_dict(model[0].state_dict())
    x = torch.randn(2, 3, 6, 6)
    assert torch.equal(made(x), model[0](x))


def test_a_converted_network_computes_what_it_did_with_the_plain_operator() -> None:
    model = network().double().eval()
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    before = model(x)
    osp.convert(model, magnitude=magnitude.Linear(), weighting="linear", where=where.everywhere)
    assert isinstance(model[-1], osp.DecoupledLinear)
    assert torch.allclose(model(x), before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("h", ["sphere", "tanh"])
def test_state_dicts_load_both_ways(h: str) -> None:
    ordinary, converted = network(), osp.convert(network(), magnitude=MAGNITUDES[h], angular=ANGULARS["sigmoid-filter"])
    with torch.no_grad():
        for parameter in converted.parameters():
            parameter.add_(1)
    own = {name: v.clone() for name, v in converted.state_dict().items() if name.rpartition(".")[2] in OWN_STATE}
    assert own
    ordinary.load_state_dict(layers.plain_state_dict(converted.state_dict()))
    converted.load_state_dict(network().state_dict())
    for name, value in converted.state_dict().items():
        assert torch.equal(value, own[name] if name in own else network().state_dict()[name])
    incomplete = converted.state_dict()
    del incomplete["0.log_k"]
    if h == "tanh":  # some of what was learned, but not all
        with pytest.raises(RuntimeError, match=r"0\.log_k"):
            converted.load_state_dict(incomplete)
    with pytest.raises(RuntimeError, match=r"0\.weight"):
        converted.load_state_dict({name: v for name, v in network().state_dict().items() if name != "0.weight"})


def test_layers_with_short_names_are_converted_to_the_general_ones() -> None:
    model = nn.Sequential(osp.SphereNormConv2d(3, 4, 3), osp.TanhConv2d(4, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    osp.convert(model, magnitude=magnitude.Log())
    assert [type(layer) for layer in model[:2]] == [osp.DecoupledConv2d] * 2
    assert list(model.state_dict()) == ["0.weight", "1.weight", "3.weight", "3.bias"]
    assert model(torch.randn(1, 3, 6, 6)).shape == (1, 2)


def test_conversion_of_what_is_decoupled_changes_the_operator() -> None:
    model = osp.convert(network(), magnitude=magnitude.Tanh())
    osp.convert(model, magnitude=magnitude.Log(), angular=angular.Linear())
    assert not any(name.rpartition(".")[2] in OWN_STATE for name in model.state_dict())
    assert model[0].magnitude == magnitude.Log()


def test_the_last_layer_is_the_classifier_also_if_it_has_one_neuron() -> None:
    model = osp.convert(nn.Sequential(nn.Linear(3, 4), nn.Conv2d(4, 1, 1), nn.Linear(4, 5), nn.Linear(5, 1)))
    assert [isinstance(layer, layers.Decoupled) for layer in model] == [True, True, True, False]


def test_layers_that_share_a_weight_are_converted_together() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2))
    model[2].weight = model[0].weight
    osp.convert(model)
    assert [isinstance(layer, layers.Decoupled) for layer in model] == [True, False, True, False]


def test_attention_is_left_alone() -> None:
    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = osp.convert(nn.Sequential(block, nn.Linear(8, 2)))
    assert [name for name, module in model.named_modules() if isinstance(module, layers.Decoupled)] == [
        "0.linear1", "0.linear2"
    ]  # fmt: skip
    assert model(torch.randn(2, 5, 8)).shape == (2, 5, 2)


def test_what_cannot_be_converted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no linear layer or convolution to convert; `where` chose: none"):
        osp.convert(nn.Sequential(nn.ReLU()))
    with pytest.raises(ValueError, match=r"chose: 0 \(ConvTranspose2d\)"):
        osp.convert(nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.Linear(4, 2)))
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Linear(4, 2))
    calls: list[Any] = [osp.convert, layers.plain, layers.project_weights, osp.WeightProjection]
    decoupled = nn.Sequential(nn.utils.parametrizations.weight_norm(osp.SphereLinear(3, 4)), nn.Linear(4, 2))
    for call in calls:
        with pytest.raises(ValueError, match="layer '0' is parametrized"):
            call(model if call is osp.convert else decoupled)
    with pytest.raises(TypeError, match=r"magnitude=.*Sphere.*: expected an object such as onsphere\.magnitude"):
        osp.DecoupledConv2d(3, 4, 3, magnitude=magnitude.Sphere)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="angular='cosine'"):
        osp.DecoupledLinear(3, 4, angular="cosine")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="weighting='product'"):
        osp.DecoupledLinear(3, 4, weighting="product")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: magnitude.Sphere(0.0), r"alpha=0\.0"),
        (lambda: magnitude.Tanh(math.nan), "alpha=nan"),
        (lambda: magnitude.Ball(radius="neuron"), "radius='neuron': expected 'filter' or 'layer'"),  # type: ignore[arg-type]
        (lambda: magnitude.Seg(beta=-1.0), r"beta=-1\.0"),
        (lambda: magnitude.Mix(beta=0.0), r"beta=0\.0"),
        (lambda: angular.Sigmoid(0.0), r"k=0\.0"),
        (lambda: angular.Sigmoid(shared="neuron"), "shared='neuron'"),  # type: ignore[arg-type]
    ],
    ids=["alpha", "nan", "radius", "seg", "mix", "k", "shared"],
)
def test_settings_are_checked(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# Weight projection and weighted gradients


@pytest.mark.parametrize("norm", [1.0, 3.0])
def test_projection_gives_filters_one_length_and_changes_nothing_else(norm: float) -> None:
    model = osp.convert(network().double().eval(), magnitude=magnitude.Seg(), angular=angular.Linear())
    with torch.no_grad():
        model[0].weight[2] = 0
    x, classifier = torch.randn(2, 3, 6, 6, dtype=torch.float64), model[-1].weight.clone()
    before = model(x)
    layers.project_weights(model, norm)
    for index in (0, 3, 6):
        lengths = model[index].weight.flatten(1).norm(dim=1)
        expected = torch.full_like(lengths, norm)
        if index == 0:
            expected[2] = 0
        assert torch.allclose(lengths, expected, atol=1e-12)
    assert torch.equal(model[-1].weight, classifier)
    assert torch.allclose(model(x), before, atol=1e-12)


def test_projection_that_would_be_lost_is_refused() -> None:
    model = nn.Sequential(osp.SphereLinear(3, 4), nn.Linear(4, 2))
    nn.utils.prune.l1_unstructured(model[0], "weight", 0.5)
    for call in (layers.project_weights, osp.WeightProjection):
        with pytest.raises(ValueError, match="layer '0' is parametrized or pruned: its weight is worked out of other"):
            call(model)  # type: ignore[operator]


def test_projection_counts_steps_and_goes_on() -> None:
    model = osp.convert(network())
    projection = osp.WeightProjection(model, every=3)
    for step in range(1, 7):
        with torch.no_grad():
            model[0].weight.mul_(2)
        projection.step()
        assert torch.allclose(model[0].weight.flatten(1).norm(dim=1), torch.ones(8)) is (step % 3 == 0)
    again = osp.WeightProjection(model, every=3)
    projection.step()
    again.load_state_dict(projection.state_dict())
    assert again.steps == 7
    assert repr(again) == "WeightProjection(every=3, norm=1.0, steps=7)"


@pytest.mark.parametrize(("h", "g"), [("sphere", "cosine"), ("tanh", "linear"), ("mix", "sigmoid-filter")])
def test_weighted_gradients_are_the_true_ones_times_the_length(h: str, g: str) -> None:
    layer = convolution(3, 4, 3, magnitude=MAGNITUDES[h], angular=ANGULARS[g])
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64)

    def gradient() -> Tensor:
        return torch.autograd.grad(layer(x).square().sum(), layer.weight)[0]

    before, output = gradient(), layer(x)
    assert osp.weighted_gradients(layer) is layer
    lengths = layer.weight.detach().flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.allclose(gradient(), lengths * before)
    assert torch.equal(layer(x), output)
    assert "weighted_gradients=True" in repr(layer)
    osp.weighted_gradients(layer, enabled=False)
    assert torch.equal(gradient(), before)


def test_weighted_gradients_of_the_cosine_are_equation_4_18() -> None:
    layer = osp.weighted_gradients(osp.SphereLinear(5, 1, eps=1e-30).double())
    x = torch.randn(1, 5, dtype=torch.float64)
    layer(x).sum().backward()
    w_hat, x_hat = F.normalize(layer.weight.detach()), F.normalize(x)
    assert torch.allclose(layer.weight.grad, x_hat - (w_hat @ x_hat.T) * w_hat)


def test_tricks_are_refused_where_lengths_count() -> None:
    weighted = osp.convert(network(), weighting="nonlinear_separate")
    for call, trick in ((osp.weighted_gradients, "weighted gradients"), (osp.WeightProjection, "weight projection")):
        with pytest.raises(ValueError, match=f"layer '0' has weighting='nonlinear_separate': {trick}"):
            call(weighted)
        with pytest.raises(ValueError, match="Sequential has no decoupled layer without weighting"):
            call(network())
    for every, norm, message in ((0, 1.0, "every=0"), (1, 0.0, r"norm=0\.0")):
        with pytest.raises(ValueError, match=message):
            osp.WeightProjection(osp.convert(network()), every, norm)


# Compiling and exporting


def resnet(filters: tuple[int, ...], **operator: Any) -> nn.Module:
    torch.manual_seed(0)
    first = {"conv0": nn.Conv2d(3, 4, 3, padding=1, bias=False), "bn0": nn.BatchNorm2d(4), "relu0": nn.ReLU()}
    blocks = stages(BasicBlock, 4, filters, (1,) * len(filters))
    model = osp.convert(classify_average(OrderedDict(first) | blocks, (4, *filters)[-1], 5), **operator)
    model(torch.randn(4, 3, 12, 12))  # the moving averages
    return model.eval()


# An export's seconds go by the number of layers: one operator is in all of a network, the others in one layer.
@pytest.mark.parametrize(
    ("h", "g", "filters"), [("sphere", "cosine", (4, 8)), ("tanh", "sigmoid-filter", ()), ("seg-layer", "linear", ())]
)
def test_a_converted_resnet_is_exported_and_runs_in_onnx(h: str, g: str, filters: tuple[int, ...]) -> None:
    model, x = resnet(filters, magnitude=MAGNITUDES[h], angular=ANGULARS[g]), torch.randn(2, 3, 12, 12)
    more = torch.randn(5, 3, 12, 12)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
        assert torch.allclose(exported.module()(x), model(x), atol=1e-5)
        assert torch.allclose(exported.module()(more), model(more), atol=1e-5)
        program = torch.onnx.export(exported, verbose=False)
        expected = model(more).numpy()
    file = io.BytesIO()
    assert program is not None
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: more.numpy()})
    assert np.allclose(output, expected, atol=1e-4)


@pytest.mark.parametrize(("h", "g", "weighting"), OF_EACH_PATH)
def test_layers_compile_without_a_break(h: str, g: str, weighting: Any) -> None:
    torch.manual_seed(0)
    operator: Any = {"magnitude": MAGNITUDES[h], "angular": ANGULARS[g], "weighting": weighting}
    model = nn.Sequential(
        osp.DecoupledConv2d(2, 4, 3, groups=2, padding=1, padding_mode="circular", **operator),
        nn.Flatten(),
        osp.DecoupledLinear(36, 3, **operator),
    )
    twin, x = copy.deepcopy(model), torch.randn(2, 2, 3, 3)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    outputs = compiled(x), twin(x)
    assert torch.allclose(*outputs, atol=1e-5)
    for output in outputs:
        output.square().sum().backward()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-4), name
    for (name, ours), theirs in zip(model.named_buffers(), twin.buffers(), strict=True):
        assert torch.allclose(ours, theirs), name


@pytest.mark.filterwarnings("ignore")
def test_layers_are_traced() -> None:
    layer, x = osp.TanhConv2d(3, 4, 3, angular=angular.Linear()), torch.randn(2, 3, 5, 5)
    layer(x)
    traced = torch.jit.trace(layer.eval(), x)
    assert torch.allclose(traced(torch.ones(3, 3, 5, 5)), layer(torch.ones(3, 3, 5, 5)), atol=1e-6)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("h", "g"), [("sphere", "cosine"), ("tanh", "linear")])
def test_channels_last_stays_channels_last(h: str, g: str, groups: int) -> None:
    layer = convolution(4, 6, 3, padding=1, groups=groups, magnitude=MAGNITUDES[h], angular=ANGULARS[g])
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    expected = layer(x)
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    output = layer(x.to(memory_format=torch.channels_last))
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(output, expected)
    assert_equal_in_value_and_gradient(layer, 0.4 * x.to(memory_format=torch.channels_last))


@pytest.mark.parametrize(
    ("h", "g"), [("sphere", "cosine"), ("sphere", "linear"), ("tanh", "sigmoid"), ("seg", "linear")]
)
def test_little_is_kept_for_backward(h: str, g: str) -> None:
    layer = osp.DecoupledConv2d(32, 32, 3, padding=1, magnitude=MAGNITUDES[h], angular=ANGULARS[g])
    x = torch.randn(8, 32, 16, 16, requires_grad=True)
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = layer(x)
    # The input, the product, and what has one channel.
    assert sum(kept.values()) <= 2.5 * output.numel() * 4
