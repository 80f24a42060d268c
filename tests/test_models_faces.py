"""Backbones that give features, and the recogniser that puts a head behind them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onsphere import AngularSoftmax, CosFace, where
from onsphere.models import Recogniser, arcface_resnet50, lsoftmax_cnn, sphereface
from onsphere.models.arcface import FaceUnit
from onsphere.models.sphereface import SphereFaceUnit

Build = Callable[[], nn.Module]


class Cosines(nn.Module):
    """A head as small as one can be: cosines with the classes, and their cross-entropy."""

    def __init__(self, features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_classes, features))

    def logits(self, features: Tensor) -> Tensor:
        return F.normalize(features) @ F.normalize(self.weight).T

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.logits(features), labels)


def count(build: Build) -> int:
    with torch.device("meta"):  # shapes only
        return sum(p.numel() for p in build().parameters())


def conv(channels: int, filters: int, k: int = 3) -> int:
    return k * k * channels * filters


def linear(features: int, neurons: int) -> int:
    return (features + 1) * neurons


# Table 2.7, read column by column: the filters of every convolution in order.
SPHEREFACE = {
    4: [64, 128, 256, 512],
    10: [64] + [128] * 3 + [256] * 5 + [512],
    20: [64] * 3 + [128] * 5 + [256] * 9 + [512] * 3,
    36: [64] * 5 + [128] * 9 + [256] * 17 + [512] * 5,
    64: [64] * 7 + [128] * 17 + [256] * 33 + [512] * 7,
}


@pytest.mark.parametrize("depth", SPHEREFACE)
def test_sphereface_has_the_parameters_of_table_2_7(depth: int) -> None:
    filters = SPHEREFACE[depth]
    assert len(filters) == depth
    weights = sum(conv(i, o) for i, o in pairwise([3, *filters]))
    slopes = sum(filters)
    opening = 64 + 128 + 256 + 512  # only these convolutions have biases
    last = linear(512 * 7 * 6, 512)
    assert count(lambda: sphereface(depth)) == weights + slopes + opening + last
    # Batch normalization: a scale and a shift behind every convolution, and no biases.
    assert count(lambda: sphereface(depth, batch_norm=True)) == weights + slopes + 2 * sum(filters) + last


@pytest.mark.parametrize(
    ("dataset", "kernel", "filters", "channels", "last"),
    [
        ("mnist-2d", 5, [32, 32, 64, 64, 128, 128], 1, linear(128 * 4 * 4, 2)),
        ("mnist", 3, [64] * 10, 1, linear(64 * 4 * 4, 256)),
        ("cifar10", 3, [64] * 5 + [96] * 4 + [128] * 4, 3, linear(128 * 4 * 4, 256)),
        ("cifar100", 3, [96] * 5 + [192] * 4 + [384] * 4, 3, linear(384 * 4 * 4, 512)),
        ("lfw", 3, [64] * 5 + [256] * 12, 3, linear(256 * 7 * 6, 512)),
    ],
)
def test_the_lsoftmax_networks_have_the_parameters_of_table_2_1(
    dataset: str, kernel: int, filters: list[int], channels: int, last: int
) -> None:
    weights = sum(conv(i, o, kernel) for i, o in pairwise([channels, *filters]))
    expected = weights + 3 * sum(filters) + last  # scale, shift and slope of every channel
    assert count(lambda: lsoftmax_cnn(dataset)) == expected  # type: ignore[arg-type]


def test_arcface_resnet50_has_the_published_number_of_parameters() -> None:
    channels = [64] + [64] * 3 + [128] * 4 + [256] * 14 + [512] * 3
    openings = {0, 3, 7, 21}  # units that halve the size
    expected = conv(3, 64) + 2 * 64 + 64
    for i, (c, f) in enumerate(pairwise(channels)):
        expected += 2 * c + conv(c, f) + 2 * f + f + conv(f, f) + 2 * f
        expected += conv(c, f, 1) + 2 * f if i in openings else 0
    expected += 2 * 512 + linear(512 * 7 * 7, 512) + 2 * 512
    assert count(arcface_resnet50) == expected
    assert round(expected / 1e6, 2) == 43.59
    with torch.device("meta"):
        model = arcface_resnet50()
    # 50 as its authors count: two convolutions a unit, the first one and the linear layer.
    assert sum(isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3) for m in model.modules()) + 1 == 50


# A small one of every family and the shape of an image.
SMALL: dict[str, tuple[Build, tuple[int, int, int]]] = {
    "sphereface-4": (lambda: sphereface(4, features=5, in_channels=1, image_size=28, width=0.05), (1, 28, 28)),
    "sphereface-20": (lambda: sphereface(20, features=5, image_size=(112, 92), width=0.05), (3, 112, 92)),
    "sphereface-64": (lambda: sphereface(64, features=5, image_size=16, width=0.05), (3, 16, 16)),
    "sphereface-10-bn": (
        lambda: sphereface(10, features=5, in_channels=1, image_size=(17, 9), width=0.05, batch_norm=True),
        (1, 17, 9),
    ),
    "mnist-2d": (lambda: lsoftmax_cnn("mnist-2d", features=5, width=0.1), (1, 28, 28)),
    "mnist": (lambda: lsoftmax_cnn("mnist", features=5, image_size=(9, 30), width=0.1), (1, 9, 30)),
    "cifar10": (lambda: lsoftmax_cnn("cifar10", features=5, width=0.1), (3, 32, 32)),
    "cifar100": (lambda: lsoftmax_cnn("cifar100", features=5, in_channels=1, width=0.1), (1, 32, 32)),
    "lfw": (lambda: lsoftmax_cnn("lfw", features=5, image_size=(33, 25), width=0.05), (3, 33, 25)),
    "arcface": (lambda: arcface_resnet50(features=5, in_channels=1, image_size=(33, 28), width=0.05), (1, 33, 28)),
}
families = pytest.mark.parametrize("family", SMALL)


@families
def test_every_backbone_gives_features_and_gradients_to_every_parameter(family: str) -> None:
    torch.manual_seed(0)
    build, shape = SMALL[family]
    model = build()
    features = model(torch.randn(4, *shape))
    assert features.shape == (4, 5)
    assert (features < 0).any()  # no ReLU at the end
    (features * torch.randn(4, 5)).sum().backward()
    fixed = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert fixed == (["bn_fc.weight"] if family == "arcface" else [])
    for name, parameter in model.named_parameters():
        if name in fixed:
            continue
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        if (family, name) != ("arcface", "fc.bias"):  # which the normalization behind it takes away
            assert parameter.grad.any(), name


@families
def test_channels_last_changes_nothing_but_the_order_in_memory(family: str) -> None:
    torch.manual_seed(0)
    build, shape = SMALL[family]
    model, images = build().double().eval(), torch.randn(3, *shape, dtype=torch.float64)
    expected = model(images)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert torch.allclose(model(images.to(memory_format=torch.channels_last)), expected)


@pytest.mark.parametrize("family", ["sphereface-4", "mnist-2d", "arcface"])
def test_the_features_can_be_exported_for_any_batch_size(family: str) -> None:
    torch.manual_seed(0)
    build, shape = SMALL[family]
    model = Recogniser(build(), Cosines(5, 7)).eval()
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(model.body, (torch.randn(3, *shape),), dynamic_shapes=({0: batch},)).module()
    images = torch.randn(6, *shape)
    assert torch.allclose(exported(images), model.features(images), atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 15, (1, 40)])
@pytest.mark.parametrize("build", [sphereface, lsoftmax_cnn, arcface_resnet50])
def test_images_may_be_of_any_size(build: Callable[..., nn.Module], size: int | tuple[int, int]) -> None:
    first = {sphereface: (4,), lsoftmax_cnn: ("lfw",)}.get(build, ())
    model = build(*first, features=3, image_size=size, width=0.02).eval()
    shape = (size, size) if isinstance(size, int) else size
    assert model(torch.zeros(2, 3, *shape)).shape == (2, 3)


def test_a_sphereface_unit_adds_the_input_behind_the_second_prelu() -> None:
    torch.manual_seed(0)
    unit, x = SphereFaceUnit(3).double(), torch.randn(2, 3, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        unit.prelu1.weight.copy_(torch.tensor([0.1, 0.2, 0.3]))
        unit.prelu2.weight.copy_(torch.tensor([0.5, -0.5, 2.0]))
        first = F.conv2d(x, unit.conv1.weight, padding=1)
        first = first.clamp_min(0) + unit.prelu1.weight.view(3, 1, 1) * first.clamp_max(0)
        second = F.conv2d(first, unit.conv2.weight, padding=1)
        second = second.clamp_min(0) + unit.prelu2.weight.view(3, 1, 1) * second.clamp_max(0)
        assert torch.allclose(unit(x), x + second)


def test_a_face_unit_is_linear_behind_its_last_normalization() -> None:
    unit = FaceUnit(2, 2).eval()
    with torch.no_grad():
        unit.bn3.weight.zero_()
        unit.bn3.bias.fill_(-3)
    x = torch.randn(1, 2, 4, 4)
    assert torch.equal(unit(x), x - 3)  # negative numbers pass: no ReLU follows the addition
    assert isinstance(FaceUnit(2, 2, stride=2).shortcut, nn.Sequential)
    assert FaceUnit(2, 2, stride=2).conv1.stride == (1, 1)
    assert FaceUnit(2, 2, stride=2).conv2.stride == (2, 2)


def test_sphereface_begins_as_its_authors_network_does() -> None:
    torch.manual_seed(0)
    model = sphereface(20, width=0.5)
    for name, module in model.named_modules():
        if isinstance(module, nn.PReLU):
            assert (module.weight == 0.25).all()
            assert module.num_parameters > 1  # one slope a channel
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        weight = module.weight
        if name.startswith("units"):
            assert module.bias is None
            assert weight.std().item() == pytest.approx(0.01, rel=0.03)
            assert weight.abs().max() > 0.03  # normal, not uniform
        else:
            assert module.bias is not None
            assert not module.bias.any()
            bound = (3 / weight[0].numel()) ** 0.5
            assert weight.abs().max() <= bound
            assert weight.abs().mean().item() == pytest.approx(bound / 2, rel=0.1)


def test_the_output_of_arcface_is_the_papers_setting_e() -> None:
    torch.manual_seed(0)
    model = arcface_resnet50(features=6, image_size=16, width=0.05)
    assert [type(module) for module in list(model.children())[-5:]] == [
        nn.BatchNorm2d,
        nn.Dropout,
        nn.Flatten,
        nn.Linear,
        nn.BatchNorm1d,
    ]
    features = model(torch.randn(64, 3, 16, 16))
    assert torch.allclose(features.mean(0), torch.zeros(6), atol=1e-5)
    assert torch.allclose(features.square().mean(0), torch.ones(6), atol=1e-3)
    epsilons = {m.eps for m in model.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)}
    assert epsilons == {2e-5}


def test_poolings_round_up_as_those_of_caffe_do() -> None:
    assert lsoftmax_cnn("mnist", width=0.1).get_submodule("fc").in_features == 6 * 4 * 4  # 28, 14, 7, 4
    assert lsoftmax_cnn("lfw", width=0.1).get_submodule("fc").in_features == 26 * 7 * 6


def test_a_recogniser_gives_features_logits_and_the_loss_and_has_its_classifier_last() -> None:
    torch.manual_seed(0)
    head = Cosines(5, 7)
    model = Recogniser(sphereface(4, features=5, in_channels=1, image_size=8, width=0.1), head)
    images, labels = torch.randn(3, 1, 8, 8), torch.tensor([0, 6, 2])
    features = model.features(images)
    assert torch.equal(features, model.body(images))
    assert torch.equal(model(images), head.logits(features))
    assert torch.equal(model(images, labels), head(features, labels))
    assert torch.equal(model(images, labels=labels), model(images, labels))
    assert [name for name, _ in model.named_children()] == ["body", "classifier"]
    assert [*model.state_dict()][-1] == "classifier.weight"


def test_the_output_layer_of_a_recogniser_is_its_head() -> None:
    torch.manual_seed(0)
    body = lsoftmax_cnn("mnist-2d", features=5, image_size=8, width=0.1)
    model = Recogniser(body, AngularSoftmax(5, 7, CosFace(0.35)))
    layers = where.layers(model)
    assert [layer.name for layer in where.output(layers)] == ["classifier"]
    assert [layer.name for layer in where.hidden(layers)][-1] == "body.fc"
    loss = model(torch.randn(6, 1, 8, 8), torch.arange(6))
    loss.backward()
    assert loss.ndim == 0
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sphereface(12), r"depth=12: expected one of 4, 10, 20, 36, 64"),
        (lambda: sphereface(4, features=0), r"features=0: expected at least 1"),
        (lambda: sphereface(4, image_size=(112, 0)), r"image_size=\(112, 0\): expected a side or \(height, width\)"),
        (lambda: sphereface(4, image_size=(1, 2, 3)), r"image_size=\(1, 2, 3\): expected a side"),  # type: ignore[arg-type]
        (lambda: sphereface(4, image_size=2.5), r"image_size=2.5: expected a side"),  # type: ignore[arg-type]
        (lambda: sphereface(4, width=0), r"width=0: expected a factor above 0"),
        (lambda: lsoftmax_cnn("svhn"), r"dataset='svhn': expected one of 'mnist-2d', 'mnist', "),  # type: ignore[arg-type]
        (lambda: lsoftmax_cnn("mnist", in_channels=0), r"in_channels=0: expected at least 1"),
        (lambda: arcface_resnet50(image_size=0), r"image_size=0: expected a side"),
        (lambda: arcface_resnet50(features=-1), r"features=-1: expected at least 1"),
        (lambda: Recogniser(nn.Flatten(), nn.Linear(4, 2)), r"a Linear without a method logits\(features\)"),
    ],
)
def test_bad_sizes_are_named(build: Build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
