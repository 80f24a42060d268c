"""Backbones: published parameter counts, layer names, shapes, initialisation, memory formats, compilation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import nn

from onsphere import models, where
from onsphere.layers import DecoupledConv2d, DecoupledLinear
from onsphere.models import mlp, plain_cnn, plain_cnn10, resnet20, spherenet_cnn, vgg19_bn, wide_resnet32
from onsphere.models.initialization import he_normal

Build = Callable[[], nn.Module]


def count(build: Build) -> int:
    with torch.device("meta"):  # shapes only
        return sum(p.numel() for p in build().parameters())


def conv(channels: int, filters: int, k: int = 3) -> int:
    return k * k * channels * filters


def bn(channels: int) -> int:
    return 2 * channels


def linear(features: int, neurons: int) -> int:
    return (features + 1) * neurons


def basic_block(channels: int, filters: int, projection: bool) -> int:
    shortcut = conv(channels, filters, 1) + bn(filters) if projection and channels != filters else 0
    return conv(channels, filters) + bn(filters) + conv(filters, filters) + bn(filters) + shortcut


def bottleneck(channels: int, filters: int) -> int:
    inner = filters // 4
    convolutions = conv(channels, inner, 1) + conv(inner, inner) + conv(inner, filters, 1)
    shortcut = conv(channels, filters, 1) + bn(filters) if channels != filters else 0
    return convolutions + 2 * bn(inner) + bn(filters) + shortcut


@pytest.mark.parametrize(
    ("depth", "widths", "fc"),
    [(depth, (64, 96, 128), 256) for depth in (3, 9, 18, 45, 60, 69)]  # thesis, Table B.1
    + [(depth, (64, 128, 256), 256) for depth in (6, 9, 15)]  # Tables D.1 and E.1
    + [(3, (32, 64, 64), 64), (9, (32, 64, 64), 64)]  # Table E.3
    + [(6, (64, 64, 64), 64), (9, (64, 64, 64), 64)],  # Table F.1
)
def test_plain_networks_have_the_parameters_of_the_thesis_tables(
    depth: int, widths: tuple[int, int, int], fc: int
) -> None:
    a, b, c = widths
    more = depth // 3 - 1  # convolutions of a stage that keep the number of channels
    convolutions = conv(3, a) + conv(a, b) + conv(b, c) + more * (conv(a, a) + conv(b, b) + conv(c, c))
    rest = linear(4 * 4 * c, fc) + linear(fc, 100)
    norms = depth // 3 * (a + b + c)
    assert count(lambda: plain_cnn(depth, widths=widths, fc=fc, num_classes=100)) == convolutions + 2 * norms + rest
    without = count(lambda: plain_cnn(depth, widths=widths, fc=fc, num_classes=100, batch_norm=False))
    assert without == convolutions + norms + rest  # a bias in place of a scale and a shift
    # The cosine layers have no biases; batch norm follows the hidden one too.
    sphere = count(lambda: spherenet_cnn(depth, widths=widths, fc=fc, num_classes=100))
    assert sphere == convolutions + 2 * norms + 4 * 4 * c * fc + bn(fc) + linear(fc, 100)
    sphere = count(lambda: spherenet_cnn(depth, widths=widths, fc=fc, num_classes=100, batch_norm=False))
    assert sphere == convolutions + 4 * 4 * c * fc + linear(fc, 100)


def test_the_hidden_layer_is_as_wide_as_the_last_stage_unless_told_otherwise() -> None:
    whole = count(lambda: plain_cnn(9))
    assert whole == count(lambda: plain_cnn(9, fc=256))
    assert whole - count(lambda: plain_cnn(9, fc=0)) == linear(4096, 256) + linear(256, 10) - linear(4096, 10)
    assert isinstance(plain_cnn(3, widths=(4, 4, 4)).get_submodule("relu_fc"), nn.ReLU)
    assert "relu_fc" not in dict(plain_cnn(3, widths=(4, 4, 4), fc=2, fc_relu=False).named_modules())


def test_cnn10_has_the_parameters_of_table_f1() -> None:
    convolutions = conv(3, 64, 7) + 3 * conv(64, 64) + conv(64, 128) + 2 * conv(128, 128)
    convolutions += conv(128, 256) + 2 * conv(256, 256)
    norms = bn(64) + 3 * (bn(64) + bn(128) + bn(256))
    assert count(plain_cnn10) == convolutions + norms + linear(7 * 7 * 256, 256) + linear(256, 1000)


@pytest.mark.parametrize(("name", "published", "each"), [("vgg16_bn", 14.77, 3), ("vgg19_bn", 20.09, 4)])
def test_vgg_has_the_published_number_of_parameters(name: str, published: float, each: int) -> None:
    channels = [3, 64, 64, 128, 128] + [256] * each + [512] * 2 * each
    # Biases, scales and shifts.
    expected = sum(conv(i, o) + 3 * o for i, o in pairwise(channels)) + linear(512, 100)
    assert count(getattr(models, name)) == expected
    assert round(expected / 1e6, 2) == published


@pytest.mark.parametrize(("name", "published", "blocks"), [("20", 0.27, 3), ("32", 0.46, 5), ("56", 0.85, 9)])
def test_small_resnets_have_the_published_number_of_parameters(name: str, published: float, blocks: int) -> None:
    stages = [(16, 16)] * blocks + [(16, 32)] + [(32, 32)] * (blocks - 1) + [(32, 64)] + [(64, 64)] * (blocks - 1)
    expected = conv(3, 16) + bn(16) + sum(basic_block(i, o, projection=False) for i, o in stages) + linear(64, 10)
    build = getattr(models, f"resnet{name}")
    assert count(build) == expected
    assert round(expected / 1e6, 2) == published  # He et al. 2016, Table 6
    assert count(lambda: build(100)) == expected + 90 * 65


@pytest.mark.parametrize("widths", [(64, 128, 256), (64, 96, 128), (96, 192, 384)])  # thesis, Tables D.2, E.2 and B.2
def test_the_thesis_resnet32_has_five_blocks_a_stage(widths: tuple[int, int, int]) -> None:
    a, b, c = widths
    stages = [(a, a)] * 5 + [(a, b)] + [(b, b)] * 4 + [(b, c)] + [(c, c)] * 4
    expected = conv(3, a) + bn(a) + sum(basic_block(i, o, projection=True) for i, o in stages) + linear(c, 100)
    assert count(lambda: wide_resnet32(100, widths=widths)) == expected
    halves = (a // 2, b // 2, c // 2)
    assert count(lambda: wide_resnet32(widths=widths, width=0.5)) == count(lambda: wide_resnet32(widths=halves))


@pytest.mark.parametrize(
    ("name", "published", "blocks"),
    [("resnet18", 11_689_512, (2, 2, 2, 2)), ("resnet34", 21_797_672, (3, 4, 6, 3))],
)
def test_large_resnets_have_the_published_number_of_parameters(
    name: str, published: int, blocks: tuple[int, ...]
) -> None:
    channels = [64] + [64 * 2**stage for stage, repeats in enumerate(blocks) for _ in range(repeats)]
    expected = conv(3, 64, 7) + bn(64) + sum(basic_block(i, o, projection=True) for i, o in pairwise(channels))
    assert count(getattr(models, name)) == expected + linear(512, 1000) == published


def test_resnet50_has_the_published_number_of_parameters() -> None:
    channels = [64] + [256 * 2**stage for stage, repeats in enumerate((3, 4, 6, 3)) for _ in range(repeats)]
    expected = conv(3, 64, 7) + bn(64) + sum(bottleneck(i, o) for i, o in pairwise(channels)) + linear(2048, 1000)
    assert count(models.resnet50) == expected == 25_557_032


@pytest.mark.parametrize(("name", "published", "blocks", "k"), [("wrn_16_8", 11.0, 2, 8), ("wrn_28_10", 36.5, 4, 10)])
def test_wide_resnets_have_the_published_number_of_parameters(name: str, published: float, blocks: int, k: int) -> None:
    channels = [16] + [16 * k] * blocks + [32 * k] * blocks + [64 * k] * blocks
    expected = conv(3, 16) + bn(64 * k) + linear(64 * k, 100)
    for i, o in pairwise(channels):
        expected += bn(i) + conv(i, o) + bn(o) + conv(o, o) + (conv(i, o, 1) if i != o else 0)
    assert count(getattr(models, name)) == expected
    assert round(expected / 1e6, 1) == published  # Zagoruyko and Komodakis 2016, Table 4


def test_densenet_has_the_published_number_of_parameters() -> None:
    expected, channels = conv(3, 24), 24
    for block in (1, 2, 3):
        for _ in range(12):
            expected += bn(channels) + conv(channels, 12)
            channels += 12
        expected += bn(channels) + (conv(channels, channels, 1) if block < 3 else 0)
    assert channels == 24 + 36 * 12
    assert count(models.densenet_40_12) == expected + linear(channels, 100)
    assert round((expected + linear(channels, 10)) / 1e6, 2) == 1.06  # 1.0M in Huang et al. 2017, Table 2


# A small one of every family, the shape of an image, and the layers that hold neurons.
SMALL: dict[str, tuple[Build, tuple[int, int, int], list[str]]] = {
    "mlp": (lambda: mlp(64, 10, hidden=(16, 8)), (1, 8, 8), ["hidden1", "hidden2", "classifier"]),
    "plain": (
        lambda: plain_cnn(6, widths=(4, 6, 8), in_channels=1, image_size=28),
        (1, 28, 28),
        [*(f"conv{stage}_{i}" for stage in (1, 2, 3) for i in (1, 2)), "fc", "classifier"],
    ),
    "plain10": (
        lambda: plain_cnn10(10, width=0.05, image_size=37),
        (3, 37, 37),
        ["conv0", *(f"conv{stage}_{i}" for stage in (1, 2, 3) for i in (1, 2, 3)), "fc", "classifier"],
    ),
    "sphere": (
        lambda: spherenet_cnn(3, widths=(4, 6, 8), image_size=12),
        (3, 12, 12),
        ["conv1_1", "conv2_1", "conv3_1", "fc", "classifier"],
    ),
    "vgg": (
        lambda: models.vgg16_bn(10, width=0.05),
        (3, 64, 64),
        [*(f"conv{b}_{i}" for b, n in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, n + 1)), "classifier"],
    ),
    "resnet": (
        lambda: resnet20(10, 1, width=0.25),
        (1, 9, 9),
        ["conv0", *(f"stage{s}.{b}.conv{c}" for s in (1, 2, 3) for b in (0, 1, 2) for c in (1, 2)), "classifier"],
    ),
    "wide32": (
        lambda: wide_resnet32(width=0.05),
        (3, 8, 8),
        [
            "conv0",
            *(
                f"stage{s}.{b}.{layer}"
                for s in (1, 2, 3)
                for b in range(5)
                for layer in ("conv1", "conv2", *(["shortcut.conv"] if s > 1 and b == 0 else []))
            ),
            "classifier",
        ],
    ),
    "imagenet": (
        lambda: models.resnet18(10, width=0.05),
        (3, 40, 40),
        [
            "conv0",
            *(
                f"stage{s}.{b}.{layer}"
                for s in (1, 2, 3, 4)
                for b in (0, 1)
                for layer in ("conv1", "conv2", *(["shortcut.conv"] if s > 1 and b == 0 else []))
            ),
            "classifier",
        ],
    ),
    "bottleneck": (
        lambda: models.resnet50(10, width=0.05),
        (3, 40, 40),
        [
            "conv0",
            *(
                f"stage{s}.{b}.{layer}"
                for s, blocks in enumerate((3, 4, 6, 3), 1)
                for b in range(blocks)
                for layer in ("conv1", "conv2", "conv3", *(["shortcut.conv"] if b == 0 else []))
            ),
            "classifier",
        ],
    ),
    "wrn": (
        lambda: models.wide_resnet(10, 2, 10, width=0.25),
        (3, 8, 8),
        [
            "conv0",
            *(f"stage{s}.0.{layer}" for s in (1, 2, 3) for layer in ("conv1", "conv2", "shortcut")),
            "classifier",
        ],
    ),
    "dense": (
        lambda: models.densenet(10, 4, 10),
        (3, 8, 8),
        [
            "conv0",
            *(f"dense1.{i}.conv" for i in (0, 1)),
            "transition1.conv",
            *(f"dense2.{i}.conv" for i in (0, 1)),
            "transition2.conv",
            *(f"dense3.{i}.conv" for i in (0, 1)),
            "classifier",
        ],
    ),
}
families = pytest.mark.parametrize("family", SMALL)


@families
def test_every_model_gives_logits_and_gradients_to_every_parameter(family: str) -> None:
    torch.manual_seed(0)
    build, shape, _ = SMALL[family]
    model = build()
    logits = model(torch.randn(6, *shape))
    assert logits.shape == (6, 10)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if not name.endswith("bias"):
            assert parameter.grad.any(), name


@families
def test_layers_have_the_names_of_the_papers_and_the_last_one_is_the_classifier(family: str) -> None:
    build, _, names = SMALL[family]
    model = build()
    assert [layer.name for layer in where.layers(model)] == names
    neurons = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert neurons == names
    weights = [key for key in model.state_dict() if key.removesuffix(".weight") in names]
    assert weights == [f"{name}.weight" for name in names]


@families
def test_channels_last_changes_nothing_but_the_order_in_memory(family: str) -> None:
    torch.manual_seed(0)
    build, shape, _ = SMALL[family]
    model, images = build().double(), torch.randn(3, *shape, dtype=torch.float64)
    expected = model(images)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert torch.allclose(model(images.to(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("family", ["plain", "sphere", "vgg", "resnet", "imagenet", "wrn", "dense"])
def test_models_compile_without_a_break(family: str) -> None:
    torch.manual_seed(0)
    build, shape, _ = SMALL[family]
    model, images = build(), torch.randn(3, *shape)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(images), model(images), atol=1e-5)
    torch.compiler.reset()


@pytest.mark.parametrize(("size", "side"), [(8, 1), (15, 1), (28, 3), (31, 3), (33, 4)])
def test_plain_networks_take_images_of_any_size(size: int, side: int) -> None:
    model = plain_cnn(3, widths=(2, 2, 3), image_size=size, fc=0)
    assert model.get_submodule("classifier").in_features == 3 * side**2
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 10)


@pytest.mark.parametrize("size", [29, 32, 33, 61, 224])
def test_cnn10_takes_images_of_any_size(size: int) -> None:
    model = plain_cnn10(10, width=0.03, image_size=size)
    assert model(torch.zeros(2, 3, size, size)).shape == (2, 10)


def test_two_linear_features_can_be_negative() -> None:
    torch.manual_seed(0)
    model = plain_cnn(6, widths=(4, 4, 4), in_channels=1, image_size=28, fc=2, fc_relu=False)
    features = nn.Sequential(*list(model.children())[:-1])(torch.randn(50, 1, 28, 28))
    assert features.shape == (50, 2)
    assert (features < 0).any()


def test_all_layers_of_spherenet_but_the_last_see_angles_only() -> None:
    torch.manual_seed(0)
    model = spherenet_cnn(6, widths=(4, 6, 8), image_size=8)
    kinds = [type(layer.module) for layer in where.layers(model)]
    assert kinds == [DecoupledConv2d] * 6 + [DecoupledLinear, nn.Linear]
    images = torch.randn(4, 3, 8, 8)
    before = model(images)
    with torch.no_grad():
        for layer in where.hidden(where.layers(model)):
            layer.module.get_parameter("weight").mul_(8)
    assert torch.allclose(model(images), before, atol=1e-5)


def test_resnet_shortcut_subsamples_and_pads_with_zeros() -> None:
    block = resnet20(10).get_submodule("stage2.0")
    for layer in ("bn1", "bn2"):  # the residual branch gives nothing
        nn.init.zeros_(block.get_submodule(layer).weight)
    x = torch.rand(2, 16, 6, 6)
    out = block(x)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_a_wide_block_without_change_of_size_adds_to_its_raw_input() -> None:
    block = models.wide_resnet(16, 1, 10).get_submodule("stage2.1")
    nn.init.zeros_(block.get_submodule("conv2").weight)
    x = torch.randn(2, 32, 4, 4)
    assert torch.equal(block(x), x)


def test_a_dense_layer_keeps_what_it_reads() -> None:
    layer = models.densenet(7, 3, 10).get_submodule("dense1.0")
    x = torch.randn(2, 6, 4, 4)
    out = layer(x)
    assert out.shape == (2, 9, 4, 4)
    assert torch.equal(out[:, :6], x)


def test_he_normal_has_its_variance() -> None:
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("conv", nn.Conv2d(64, 256, 3))
    model.add_module("hidden", nn.Linear(2048, 512))
    model.add_module("classifier", nn.Linear(2048, 100))
    he_normal(model)
    assert model.conv.weight.var().item() == pytest.approx(2 / (64 * 9), rel=0.02)
    assert model.hidden.weight.var().item() == pytest.approx(2 / 2048, rel=0.02)
    assert model.classifier.weight.var().item() == pytest.approx(1 / 2048, rel=0.02)
    assert not model.conv.bias.any()
    he_normal(model, mode="fan_out", classifier_std=0.3)
    assert model.conv.weight.var().item() == pytest.approx(2 / (256 * 9), rel=0.02)
    assert model.hidden.weight.var().item() == pytest.approx(2 / 512, rel=0.02)
    assert model.classifier.weight.std().item() == pytest.approx(0.3, rel=0.02)
    with pytest.raises(ValueError, match="mode='out': expected 'fan_in' or 'fan_out'"):
        he_normal(model, mode="out")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("build", "layer", "std"),
    [
        (lambda: vgg19_bn(100), "conv3_1", (2 / (9 * 256)) ** 0.5),
        (lambda: vgg19_bn(100), "classifier", 0.01),
        (lambda: resnet20(100), "stage3.0.conv1", (2 / (9 * 64)) ** 0.5),
        (lambda: resnet20(100), "classifier", (1 / (3 * 64)) ** 0.5),
        (lambda: models.wide_resnet(10, 4), "stage3.0.shortcut", (2 / 256) ** 0.5),
        (lambda: models.densenet(40, 12), "transition2.conv", (2 / 312) ** 0.5),
        (lambda: wide_resnet32(), "stage3.0.conv1", (2 / (9 * 128)) ** 0.5),
        (lambda: plain_cnn(3), "conv3_1", (2 / (9 * 128)) ** 0.5),
        (lambda: spherenet_cnn(3), "conv3_1", (2 / (9 * 128)) ** 0.5),
    ],
)
def test_models_start_as_their_published_code_does(build: Build, layer: str, std: float) -> None:
    torch.manual_seed(0)
    weight = build().get_submodule(layer).get_parameter("weight")
    assert weight.std().item() == pytest.approx(std, rel=0.03)


def test_a_seed_draws_the_same_plain_network_as_ever() -> None:
    """Recorded results can be repeated: layers are made, and their weights drawn, in the order of the forward pass."""
    torch.manual_seed(5)
    model = plain_cnn(3, widths=(2, 3, 4), in_channels=1, image_size=8)
    torch.manual_seed(5)
    made = [nn.Conv2d(i, o, 3, bias=False) for i, o in ((1, 2), (2, 3), (3, 4))] + [nn.Linear(4, 4), nn.Linear(4, 10)]
    for module, gain in zip(made, (2, 2, 2, 2, 1), strict=True):
        nn.init.normal_(module.weight, std=(gain / module.weight[0].numel()) ** 0.5)
    drawn = [layer.module.weight for layer in where.layers(model)]
    assert all(torch.equal(ours, theirs.weight) for ours, theirs in zip(drawn, made, strict=True))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: plain_cnn(7), "depth=7: expected a multiple of 3"),
        (lambda: plain_cnn(9, image_size=7), "image_size=7: expected at least 8"),
        (lambda: plain_cnn(9, widths=(4, 0, 4)), r"widths=\(4, 0, 4\): expected at least 1"),
        (lambda: plain_cnn(9, widths=(4, 4)), r"widths=\(4, 4\): expected three"),  # type: ignore[arg-type]
        (lambda: plain_cnn(9, fc=-1), "fc=-1"),
        (lambda: plain_cnn(9, fc=0, fc_relu=False), "fc_relu=False, fc_batch_norm=False, fc=0"),
        (lambda: plain_cnn(9, fc=0, fc_batch_norm=True), "fc_batch_norm=True, fc=0"),
        (lambda: plain_cnn10(image_size=28), "image_size=28: expected at least 29"),
        (lambda: plain_cnn10(width=-1), "width=-1: expected a factor above 0"),
        (lambda: spherenet_cnn(4), "depth=4: expected a multiple of 3"),
        (lambda: spherenet_cnn(fc=-2), "fc=-2"),
        (lambda: mlp(64, 0), "num_classes=0: expected at least 1"),
        (lambda: vgg19_bn(0), "num_classes=0: expected at least 1"),
        (lambda: vgg19_bn(width=0), "width=0: expected a factor above 0"),
        (lambda: models.vgg16_bn(width=float("nan")), "width=nan"),
        (lambda: resnet20(in_channels=0), "in_channels=0: expected at least 1"),
        (lambda: wide_resnet32(widths=(4, 4)), r"widths=\(4, 4\): expected three"),  # type: ignore[arg-type]
        (lambda: models.resnet18(0), "num_classes=0"),
        (lambda: models.wide_resnet(18, 2), "depth=18: expected 6 n \\+ 4"),
        (lambda: models.wide_resnet(4, 2), "depth=4: expected 6 n \\+ 4"),
        (lambda: models.wide_resnet(16, 0), "widening=0: expected at least 1"),
        (lambda: models.densenet(41), "depth=41: expected 3 n \\+ 4"),
        (lambda: models.densenet(40, 0), "growth_rate=0: expected at least 1"),
    ],
)
def test_wrong_sizes_are_named(build: Build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
