"""Cosine layers: the literal formula, invariance to lengths, zeros, precision, and being an ordinary Conv2d outside."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import reference
from onsphere import where
from onsphere.layers import SphereConv2d, SphereLinear


def convolution(*args: object, **kwargs: object) -> SphereConv2d:
    torch.manual_seed(0)
    return SphereConv2d(*args, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [(3, 1, 1, 1, 1), (3, 2, 1, 1, 1), ((2, 3), 1, 2, 1, 1), (3, 1, 2, 2, 2), (1, 2, 0, 1, 4), (3, 2, 3, 2, 1)],
)
def test_value_and_gradients_are_those_of_the_formula(
    kernel: int | tuple[int, int], stride: int, padding: int, dilation: int, groups: int
) -> None:
    layer = convolution(4, 8, kernel, stride, padding, dilation, groups).double()
    x = torch.randn(2, 4, 7, 6, dtype=torch.float64, requires_grad=True)
    literal = reference.sphere_conv2d(x, layer.weight, stride, padding, dilation, groups, layer.eps)
    output = layer(x)
    assert output.shape == literal.shape
    assert torch.allclose(output, literal, atol=1e-12)
    direction = torch.randn_like(literal)
    expected = torch.autograd.grad(literal, (x, layer.weight), direction)
    for ours, theirs in zip(torch.autograd.grad(output, (x, layer.weight), direction), expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-11)


def test_float32_agrees_with_the_formula() -> None:
    layer, x = convolution(16, 8, 3, padding=1), torch.randn(2, 16, 5, 5)
    literal = reference.sphere_conv2d(x, layer.weight, 1, 1, 1, 1, layer.eps)
    assert torch.allclose(layer(x).double(), literal, atol=1e-6)


def test_a_linear_layer_is_a_convolution_over_one_pixel() -> None:
    layer = SphereLinear(6, 5, bias=True).double()
    with torch.no_grad():
        layer.bias.normal_()
    x = torch.randn(3, 6, dtype=torch.float64)
    literal = reference.sphere_conv2d(x[:, :, None, None], layer.weight[:, :, None, None], 1, 0, 1, 1, layer.eps)
    assert torch.allclose(layer(x), literal[:, :, 0, 0] + layer.bias)
    assert torch.equal(layer(x.view(1, 3, 6)), layer(x).view(1, 3, 5))


@pytest.mark.parametrize("groups", [1, 2])
def test_gradients_of_the_convolution(groups: int) -> None:
    layer = convolution(4, 4, 3, stride=2, padding=1, groups=groups).double()
    x = torch.randn(1, 4, 4, 5, dtype=torch.float64, requires_grad=True)
    x.data[:, :, 2:, 2:] = 0  # patches of zeros among the others

    def of_both(x: Tensor, weight: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(layer, {"weight": weight}, x)
        return output

    # A step of the default 1e-6 is small against sqrt(eps) = 1e-2, where the function bends.
    assert torch.autograd.gradcheck(of_both, (x, layer.weight), fast_mode=True)
    assert torch.autograd.gradgradcheck(of_both, (x, layer.weight), fast_mode=True)


def test_gradients_of_the_linear_layer() -> None:
    layer = SphereLinear(4, 3).double()
    x = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)

    def of_both(x: Tensor, weight: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(layer, {"weight": weight}, x)
        return output

    assert torch.autograd.gradcheck(of_both, (x, layer.weight))
    assert torch.autograd.gradgradcheck(of_both, (x, layer.weight))


@pytest.mark.parametrize("eps", [1e-4, 1e-12])
def test_zero_patches_and_zero_filters_give_zero_and_finite_gradients(eps: float) -> None:
    layer = convolution(2, 3, 3, padding=1, eps=eps)
    with torch.no_grad():
        layer.weight[1] = 0
    x = torch.zeros(1, 2, 6, 6)
    x[:, :, 5, 5] = 1
    x.requires_grad_()
    output = layer(x)
    assert not output[:, :, :4, :4].any()
    assert not output[:, 1].any()
    output.sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().max() <= 3 * 9 * 1.001 / eps**0.5  # filters times patches that see the pixel
    assert torch.isfinite(layer.weight.grad).all()
    assert not layer.weight.grad[1].any()


@settings(max_examples=25, deadline=None)
@given(
    factor=st.floats(1e-15, 1e15),
    filters=st.integers(1, 4),
    seed=st.integers(0, 100),
)
def test_lengths_of_filters_do_not_matter(factor: float, filters: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = SphereConv2d(3, filters, 2), torch.randn(2, 3, 4, 4)
    before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(factor)
    assert torch.allclose(layer(x), before, atol=1e-6)
    assert before.abs().max() <= 1 + 1e-6


@settings(max_examples=25, deadline=None)
@given(factor=st.floats(10, 1e12), seed=st.integers(0, 100))
def test_lengths_of_long_patches_do_not_matter(factor: float, seed: int) -> None:
    torch.manual_seed(seed)
    layer, x = SphereConv2d(3, 4, 3), torch.randn(2, 3, 5, 5)
    assert torch.allclose(layer(factor * x), layer(100 * factor * x), atol=1e-6)


def test_a_filter_that_equals_its_patch_gives_one() -> None:
    layer = SphereConv2d(3, 2, 3)
    x = 10 * torch.randn(1, 3, 3, 3)
    with torch.no_grad():
        layer.weight[0], layer.weight[1] = x[0], -2 * x[0]
    assert torch.allclose(layer(x).flatten(), torch.tensor([1.0, -1.0]), atol=1e-6)


@pytest.mark.parametrize("make", [lambda: SphereConv2d(64, 32, 1), lambda: SphereLinear(64, 32)])
def test_autocast_keeps_float32_forward_and_backward(make: object) -> None:
    torch.manual_seed(0)
    layer: nn.Module = make()  # type: ignore[operator]
    x = torch.randn(16, 64).view(16, 64, *(() if isinstance(layer, nn.Linear) else (1, 1))).requires_grad_()
    weights = torch.randn(16, 32)

    def gradients() -> tuple[Tensor, ...]:
        output = layer(x)
        assert output.dtype == torch.float32
        loss = (output.flatten(1) * weights).sum()
        return (output.detach(), *torch.autograd.grad(loss, (x, layer.weight)))

    plain = gradients()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = gradients()
    for ours, theirs in zip(mixed, plain, strict=True):
        assert torch.equal(ours, theirs)


def test_a_half_precision_layer_computes_in_float32_and_answers_in_its_own_type() -> None:
    layer, x = convolution(64, 8, 3, padding=1, bias=True).bfloat16(), torch.randn(1, 64, 5, 5).bfloat16()
    output = layer(x)
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, layer.float()(x.float()).bfloat16())
    # Squares of 300 do not fit float16.
    assert torch.isfinite(convolution(64, 8, 3).half()(torch.full((1, 64, 3, 3), 300.0).half())).all()


@pytest.mark.parametrize("groups", [1, 2])
def test_channels_last_stays_channels_last(groups: int) -> None:
    layer, x = convolution(4, 6, 3, padding=1, groups=groups), torch.randn(2, 4, 5, 5)
    expected = layer(x)
    layer.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    output = layer(x.to(memory_format=torch.channels_last))
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(output, expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_patches_are_measured_as_they_are_padded(mode: str) -> None:
    layer = convolution(2, 3, 3, padding=(1, 2), padding_mode=mode)
    bare = SphereConv2d(2, 3, 3)
    bare.load_state_dict(layer.state_dict())
    x = torch.randn(2, 2, 5, 6)
    padded = nn.functional.pad(x, (2, 2, 1, 1), mode="constant" if mode == "zeros" else mode)
    assert torch.allclose(layer(x), bare(padded), atol=1e-6)


def test_same_padding_and_single_images_work_as_in_conv2d() -> None:
    layer, x = convolution(2, 3, (3, 2), padding="same", dilation=2, bias=True), torch.randn(2, 2, 6, 7)
    assert layer(x).shape == (2, 3, 6, 7)
    assert torch.allclose(layer(x[0]), layer(x)[0])


def test_bias_is_added_to_the_cosine() -> None:
    layer, x = convolution(2, 3, 3, bias=True), torch.randn(2, 2, 5, 5)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.0, 1.0, -2.0]))
    without = SphereConv2d(2, 3, 3)
    without.load_state_dict({"weight": layer.weight})
    assert without.bias is None
    assert torch.allclose(layer(x) - without(x), layer.bias[:, None, None].expand(3, 3, 3))


def test_it_is_a_convolution_to_the_rest_of_the_library() -> None:
    plain = nn.Conv2d(4, 6, 3, groups=2, bias=False)
    layer = SphereConv2d(4, 6, 3, groups=2)
    layer.load_state_dict(plain.state_dict())
    found = where.layers(nn.Sequential(layer, nn.ReLU(), nn.Flatten(), SphereLinear(6, 3)))
    assert [(entry.name, entry.neurons().shape) for entry in found] == [("0", (2, 3, 18)), ("3", (1, 3, 6))]
    assert torch.equal(found[0].neurons().flatten(), plain.weight.flatten())


def test_layers_compile_without_a_break() -> None:
    model = nn.Sequential(SphereConv2d(2, 4, 3, groups=2), nn.Flatten(), SphereLinear(4, 3))
    x = torch.randn(2, 2, 3, 3)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    assert torch.allclose(compiled(x), model(x), atol=1e-6)
    compiled(x).sum().backward()
    assert model[0].weight.grad is not None
    assert torch.isfinite(model[0].weight.grad).all()


def test_settings_are_checked_and_shown() -> None:
    for eps in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=f"eps={eps}: expected a number above 0"):
            SphereConv2d(2, 3, 3, eps=eps)
        with pytest.raises(ValueError, match="eps="):
            SphereLinear(2, 3, eps=eps)
    assert "stride=(2, 2)" in repr(SphereConv2d(2, 3, 3, stride=2, eps=1e-6))
    assert "eps=1e-06" in repr(SphereConv2d(2, 3, 3, eps=1e-6))
    assert "eps=0.0001" in repr(SphereLinear(2, 3))
