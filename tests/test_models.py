"""Backbones: published parameter counts, layer names, shapes, initialisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from onsphere.models import mlp, plain_cnn, resnet20, vgg19_bn
from onsphere.models.initialization import he_normal


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_vgg19_bn_has_the_published_number_of_parameters() -> None:
    assert count(vgg19_bn(num_classes=100)) == 20_086_692
    assert count(vgg19_bn(num_classes=10)) == 20_086_692 - 90 * 513


def test_resnet20_has_the_published_number_of_parameters() -> None:
    assert count(resnet20(num_classes=10)) == 269_722  # 0.27M, He et al. 2016, Table 6
    assert count(resnet20(num_classes=100)) == 269_722 + 90 * 65


def test_cnn9_parameters_follow_table_d1() -> None:
    convolutions = 9 * (3 * 64 + 2 * 64 * 64 + 64 * 128 + 2 * 128 * 128 + 128 * 256 + 2 * 256 * 256)
    batch_norm = 2 * 3 * (64 + 128 + 256)
    linear = 256 * (4 * 4 * 256 + 1) + 10 * 257
    assert count(plain_cnn(9)) == convolutions + batch_norm + linear
    assert count(plain_cnn(9, batch_norm=False)) == convolutions + batch_norm // 2 + linear
    assert count(plain_cnn(9, fc=0)) == convolutions + batch_norm + 10 * (4 * 4 * 256 + 1)


@pytest.mark.parametrize(("depth", "each"), [(6, 2), (9, 3), (15, 5)])
def test_plain_cnn_has_equal_stages(depth: int, each: int) -> None:
    names = [name for name, m in plain_cnn(depth, widths=(4, 8, 8)).named_modules() if isinstance(m, nn.Conv2d)]
    assert names == [f"conv{stage}_{i}" for stage in (1, 2, 3) for i in range(1, each + 1)]


def test_the_layers_of_the_papers_table_3_are_there() -> None:
    layers = dict(vgg19_bn(width=0.25).named_modules())
    assert [type(layers[name]).__name__ for name in ("conv3_3", "conv4_3", "conv5_3", "classifier")] == [
        "Conv2d",
        "Conv2d",
        "Conv2d",
        "Linear",
    ]
    assert len([name for name in layers if name.startswith("conv")]) == 16


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (mlp(64, 10, hidden=(16, 8)), (1, 8, 8)),
        (mlp(64, 10, hidden=()), (1, 8, 8)),
        (plain_cnn(6, widths=(4, 8, 8), in_channels=1, image_size=8), (1, 8, 8)),
        (plain_cnn(3, widths=(4, 8, 8), image_size=16, fc=0), (3, 16, 16)),
        (vgg19_bn(10, width=0.05), (3, 32, 32)),
        (vgg19_bn(10, width=0.05), (3, 64, 64)),
        (resnet20(10, 1, width=0.5), (1, 8, 8)),
        (resnet20(10), (3, 32, 32)),
    ],
)
def test_every_model_gives_logits_and_gradients_to_every_parameter(model: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits = model(torch.randn(6, *shape))
    assert logits.shape == (6, 10)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_resnet_shortcut_subsamples_and_pads_with_zeros() -> None:
    block = resnet20(10).get_submodule("stage2.0")
    for layer in ("bn1", "bn2"):  # the residual branch gives nothing
        nn.init.zeros_(block.get_submodule(layer).weight)
    x = torch.rand(2, 16, 6, 6)
    out = block(x)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_he_normal_has_its_variance() -> None:
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("conv", nn.Conv2d(64, 256, 3))
    model.add_module("classifier", nn.Linear(2048, 100))
    he_normal(model)
    assert model.conv.weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.02)
    assert model.classifier.weight.var().item() == pytest.approx(1 / 2048, rel=0.02)
    assert not model.conv.bias.any()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: plain_cnn(7), "depth=7: expected a multiple of 3"),
        (lambda: plain_cnn(9, image_size=28), "image_size=28: expected a multiple of 8"),
        (lambda: plain_cnn(9, widths=(4, 0, 4)), r"widths=\(4, 0, 4\): expected at least 1"),
        (lambda: plain_cnn(9, widths=(4, 4)), r"widths=\(4, 4\): expected three"),  # type: ignore[arg-type]
        (lambda: plain_cnn(9, fc=-1), "fc=-1"),
        (lambda: mlp(64, 0), "num_classes=0: expected at least 1"),
        (lambda: vgg19_bn(0), "num_classes=0"),
        (lambda: vgg19_bn(width=0), "width=0"),
        (lambda: resnet20(in_channels=0), "in_channels=0"),
    ],
)
def test_wrong_sizes_are_named(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]
