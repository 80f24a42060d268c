"""Networks of decoupled operators: parameters counted by hand from the thesis, which layers are what, baselines."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onsphere import angular, layers, losses, magnitude, models
from onsphere.layers import Decoupled

Build = Callable[..., nn.Module]


def count(build: Build, **settings: Any) -> int:
    with torch.device("meta"):  # shapes only
        return sum(p.numel() for p in build(**settings).parameters())


def conv(channels: int, filters: int, k: int = 3) -> int:
    return k * k * channels * filters


def stages_of(widths: tuple[int, ...], blocks: int) -> list[tuple[int, int]]:
    """(channels, filters) of every block of two 3 x 3 convolutions."""
    channels = [widths[0], *(width for width in widths for _ in range(blocks))]
    return list(pairwise(channels))


def residual(stem: int, widths: tuple[int, ...], blocks: int) -> tuple[int, int, int]:
    """Weights of the convolutions, filters in them, and weights of the 1 x 1 shortcuts between stages."""
    weights, filters, shortcuts = stem, widths[0], 0
    for i, o in stages_of(widths, blocks):
        weights += conv(i, o) + conv(o, o)
        filters += 2 * o
        if i != o:
            shortcuts += conv(i, o, 1)
            filters += o
    return weights, filters, shortcuts


# ------------------------------------------------------------------------------------------------- sizes of the tables


@pytest.mark.parametrize("depth", [3, 9, 18, 45, 60, 69])
def test_plain_networks_of_table_b1(depth: int) -> None:
    each = depth // 3 - 1
    weights = conv(3, 64) + conv(64, 96) + conv(96, 128) + each * (conv(64, 64) + conv(96, 96) + conv(128, 128))
    filters = depth // 3 * (64 + 96 + 128)
    ends = 4 * 4 * 128 * 256 + 2 * 256 + 257 * 10  # the hidden layer, its batch normalization, the classifier
    build = partial(models.decoupled_cnn, depth, widths=(64, 96, 128), fc=256)
    assert count(build) == count(build, magnitude=None) == weights + 2 * filters + ends
    assert count(build, magnitude=magnitude.Tanh()) == weights + 3 * filters + ends + 256  # a radius a filter
    assert count(build, magnitude=magnitude.Tanh(radius="layer")) == weights + 2 * filters + ends + depth + 1
    learned = count(build, angular=angular.Sigmoid(0.5, learnable=True))
    assert learned == weights + 3 * filters + ends + 256
    assert count(build, angular=angular.Sigmoid(learnable=True, shared="network")) == count(build) + 1


def test_the_two_plain_networks_of_table_c1() -> None:
    weights = conv(3, 64) + 2 * conv(64, 64) + conv(64, 128) + 2 * conv(128, 128) + conv(128, 256) + 2 * conv(256, 256)
    norms = 2 * 3 * (64 + 128 + 256) + 2 * 512
    assert count(models.decoupled_cnn) == weights + norms + 4 * 4 * 256 * 512 + 513 * 10
    weights = conv(3, 32) + 2 * conv(32, 32) + conv(32, 64) + 2 * conv(64, 64) + conv(64, 128) + 2 * conv(128, 128)
    attacked = partial(models.decoupled_cnn, widths=(32, 64, 128), fc=256, batch_norm=False)
    assert count(attacked) == weights + 4 * 4 * 128 * 256 + 257 * 10
    biases = 3 * (32 + 64 + 128) + 256
    assert count(attacked, magnitude=None) == count(attacked) + biases


@pytest.mark.parametrize("widths", [(64, 96, 128), (96, 192, 384)])  # sections 3.4.2 and 3.4.5
def test_resnet32_of_table_b2(widths: tuple[int, int, int]) -> None:
    weights, filters, shortcuts = residual(conv(3, widths[0]), widths, 5)
    expected = weights + shortcuts + 2 * filters + (widths[2] + 1) * 100
    build = partial(models.decoupled_resnet32, widths=widths)
    assert count(build) == count(build, magnitude=None) == expected
    radii = filters - widths[1] - widths[2]  # the two shortcuts are ordinary ones
    assert count(build, magnitude=magnitude.Ball()) == expected + radii
    assert count(build, magnitude=magnitude.Ball(), shortcuts=True) == expected + filters
    halves = tuple(width // 2 for width in widths)
    assert count(build, width=0.5) == count(models.decoupled_resnet32, widths=halves)


@pytest.mark.parametrize("widths", [(64, 128, 256, 512), (256, 512, 768, 1024)])  # Table C.1 and section 3.4.6
def test_resnet18_of_tables_b2_and_c1(widths: tuple[int, int, int, int]) -> None:
    weights, filters, shortcuts = residual(conv(3, widths[0], 7), widths, 2)
    expected = weights + shortcuts + 2 * filters + (widths[3] + 1) * 1000
    build = partial(models.decoupled_resnet18, widths=widths)
    assert count(build) == count(build, shortcuts=False) == count(build, magnitude=None) == expected
    first = count(build, magnitude=magnitude.Seg()) - expected  # version 1
    second = count(build, magnitude=magnitude.Seg(), shortcuts=False) - expected  # version 2
    assert (first, first - second) == (filters, sum(widths[1:]))


@pytest.mark.parametrize(
    ("variant", "openings", "units", "depth"),
    [("table", (128, 256, 512, 1024), (1, 2, 3, 0), 18), ("published", (256, 512, 1024), (1, 2, 3, 1), 19)],
)
def test_modified_resnet18(variant: str, openings: tuple[int, ...], units: tuple[int, ...], depth: int) -> None:
    convolutions = [(3, 128, 7), *((i, o, 3) for i, o in pairwise((128, *openings)))]
    convolutions += [(c, c, 3) for c, n in zip((128, 256, 512, 1024), units, strict=True) for _ in range(2 * n)]
    assert len(convolutions) + 1 == depth
    weights = sum(conv(*each) for each in convolutions)
    filters = sum(o for _, o, _ in convolutions)
    slopes = filters - sum(c * n for c, n in zip((128, 256, 512, 1024), units, strict=True))  # not a unit's second one
    expected = weights + 2 * filters + slopes + 1025 * 1000
    build = partial(models.modified_resnet18, variant=variant)
    assert count(build) == count(build, magnitude=None) == expected
    assert count(build, magnitude=magnitude.Tanh()) == expected + filters
    assert count(build, relu=False) == expected - slopes
    assert count(build, batch_norm=False) == expected - 2 * filters
    assert count(build, batch_norm=False, magnitude=None) == expected - filters


def test_the_maps_of_the_modified_resnet18_on_large_images() -> None:
    for variant, sides in (("table", [28, 14, 7, 4]), ("published", [28, 14, 7])):
        with torch.device("meta"):
            model = models.modified_resnet18(magnitude=None, variant=variant)
            found = []
            for name, layer in model.named_children():
                if name.startswith("conv") and name != "conv0":
                    layer.register_forward_hook(lambda _, __, out, found=found: found.append(out.shape[2]))
            model(torch.empty(2, 3, 224, 224))
        assert found == sides


def test_the_mnist_network_has_nine_layers() -> None:
    weights = conv(1, 32) + conv(32, 32) + conv(32, 64) + conv(64, 64) + conv(64, 128) + conv(128, 128)
    expected = weights + 4 * (32 + 64 + 128) + 3 * 3 * 128 * 256 + 2 * 256 + 256 * 2 + 3 * 10
    build = models.decoupled_mnist_cnn
    assert count(build) == count(build, magnitude=None) == expected
    assert count(build, features=3) == expected + 256 + 10
    assert count(build, batch_norm=False) == expected - 4 * (32 + 64 + 128) - 2 * 256


# --------------------------------------------------------------------------------------- small ones that can be run

SMALL: dict[str, tuple[Build, tuple[int, int, int]]] = {
    "cnn": (partial(models.decoupled_cnn, 3, widths=(4, 6, 8), fc=6, image_size=8), (3, 8, 8)),
    "mnist": (partial(models.decoupled_mnist_cnn, widths=(4, 4, 4)), (1, 28, 28)),
    "resnet32": (partial(models.decoupled_resnet32, width=0.04, num_classes=10), (3, 8, 8)),
    "resnet18": (partial(models.decoupled_resnet18, width=0.06, num_classes=10), (3, 33, 33)),
    "modified": (partial(models.modified_resnet18, width=0.03, num_classes=10), (3, 33, 33)),
}
families = pytest.mark.parametrize("family", SMALL)
residuals = pytest.mark.parametrize("family", ["resnet32", "resnet18", "modified"])


def made(family: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return SMALL[family][0](**settings)


def batch(family: str, images: int = 4, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(images, *SMALL[family][1], generator=torch.Generator().manual_seed(1), dtype=dtype)


def neurons(model: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)}


@families
@pytest.mark.parametrize("h", magnitude.MAGNITUDE)
def test_every_operator_gives_logits_and_gradients_to_every_parameter(family: str, h: str) -> None:
    g = angular.SquareCosine() if h in ("linear", "seg") else angular.Sigmoid(learnable=True)
    model = made(family, magnitude=magnitude.MAGNITUDE[h](), angular=g)
    logits = model(batch(family))
    assert logits.shape == (4, 10)
    logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


@families
@pytest.mark.parametrize("weighting", ["linear", "nonlinear_product", "nonlinear_separate"])
def test_weighted_operators_reach_every_layer(family: str, weighting: str) -> None:
    if family == "mnist":
        return
    model = made(family, magnitude=magnitude.Tanh(), weighting=weighting)
    found = [module for module in model.modules() if isinstance(module, Decoupled)]
    assert {(module.magnitude, module.weighting) for module in found} == {(magnitude.Tanh(), weighting)}
    assert torch.isfinite(model(batch(family))).all()


@families
def test_all_layers_are_decoupled_but_the_classifier_which_comes_last(family: str) -> None:
    found = neurons(made(family))
    ordinary = [name for name, module in found.items() if not isinstance(module, Decoupled)]
    shortcuts = ["stage2.0.shortcut.conv", "stage3.0.shortcut.conv"] if family == "resnet32" else []
    assert ordinary == [*shortcuts, "classifier"]
    assert list(found)[-1] == "classifier"
    assert [module.bias is not None for module in found.values()] == [False] * (len(found) - 1) + [True]


def test_layers_of_one_filter_are_decoupled_too() -> None:
    for model in (models.decoupled_cnn(3, widths=(1, 1, 1), fc=1), models.decoupled_resnet18(width=0.001)):
        ordinary = [name for name, module in neurons(model).items() if not isinstance(module, Decoupled)]
        assert ordinary == ["classifier"]


def test_shortcuts_are_what_is_asked_for() -> None:
    for family in ("resnet32", "resnet18"):
        for shortcuts in (False, True):
            found = neurons(made(family, shortcuts=shortcuts))
            kinds = {isinstance(module, Decoupled) for name, module in found.items() if "shortcut" in name}
            assert kinds == {shortcuts}


def test_layers_have_the_names_of_the_tables() -> None:
    assert list(neurons(made("cnn"))) == ["conv1_1", "conv2_1", "conv3_1", "fc", "classifier"]
    assert list(neurons(made("mnist"))) == [
        *(f"conv{stage}_{i}" for stage in (1, 2, 3) for i in (1, 2)),
        *("fc1", "fc2", "classifier"),
    ]
    for ours, theirs in (
        (made("resnet32"), models.wide_resnet32(10, widths=(4, 8, 15))),
        (made("resnet18"), models.resnet18(10, width=0.06)),
    ):
        assert list(ours.state_dict()) == list(theirs.state_dict())
    assert list(neurons(made("modified"))) == [
        *("conv0", "conv1", "units1.0.conv1", "units1.0.conv2"),
        *("conv2", *(f"units2.{i}.conv{j}" for i in (0, 1) for j in (1, 2))),
        *("conv3", *(f"units3.{i}.conv{j}" for i in (0, 1, 2) for j in (1, 2))),
        *("conv4", "classifier"),
    ]


@families
def test_channels_last_changes_nothing_but_the_order_in_memory(family: str) -> None:
    model, images = made(family, magnitude=magnitude.Tanh()).double(), batch(family, dtype=torch.float64)
    expected = model(images)
    model = made(family, magnitude=magnitude.Tanh()).double()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert torch.allclose(model(images.to(memory_format=torch.channels_last)), expected)


@families
def test_a_few_steps_of_training_learn_a_batch(family: str) -> None:
    model, images, labels = made(family, magnitude=magnitude.Tanh()), batch(family, 8), torch.arange(8)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    found = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert found[-1] < 0.85 * found[0]


@families
def test_without_classifier_the_features_come_out(family: str) -> None:
    whole, body = made(family), made(family, num_classes=None)
    assert list(body.state_dict()) == [name for name in whole.state_dict() if not name.startswith("classifier")]
    body.load_state_dict({name: value for name, value in whole.state_dict().items() if "classifier" not in name})
    images, classifier = batch(family), whole.get_submodule("classifier")
    features = body(images)
    assert torch.equal(classifier(features), whole(images))
    head = losses.AngularSoftmax(features.shape[1], 10)
    assert models.Recogniser(body, head)(images, torch.arange(4)).isfinite()


# ------------------------------------------------------------------------------------------------------- baselines


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("relu", [True, False])
def test_the_ordinary_plain_network_is_plain_cnn(batch_norm: bool, relu: bool) -> None:
    settings: dict[str, Any] = {"widths": (4, 6, 8), "fc": 5, "image_size": 9, "batch_norm": batch_norm, "relu": relu}
    torch.manual_seed(3)
    ours = models.decoupled_cnn(6, magnitude=None, **settings)
    torch.manual_seed(3)
    theirs = models.plain_cnn(6, fc_relu=False, fc_batch_norm=batch_norm, **settings)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    images = torch.randn(4, 3, 9, 9)
    assert torch.equal(ours(images), theirs(images))


def test_the_ordinary_resnet32_is_wide_resnet32() -> None:
    torch.manual_seed(3)
    ours = models.decoupled_resnet32(magnitude=None, widths=(4, 8, 12))
    torch.manual_seed(3)
    theirs = models.wide_resnet32(100, widths=(4, 8, 12))
    images = torch.randn(4, 3, 8, 8)
    assert torch.equal(ours(images), theirs(images))


@families
def test_equal_seeds_draw_equal_weights_with_batch_norm(family: str) -> None:
    ours, ordinary = made(family), made(family, magnitude=None)
    assert list(ours.state_dict()) == list(ordinary.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), ordinary.parameters(), strict=True))


@families
def test_the_way_back_is_the_baseline(family: str) -> None:
    images, ordinary = batch(family), made(family, magnitude=None)
    model = layers.plain(made(family, magnitude=magnitude.Seg(), angular=angular.Sigmoid(learnable=True)))
    assert torch.equal(model(images), ordinary(images))
    state = layers.plain_state_dict(made(family, magnitude=magnitude.Ball()).state_dict())
    assert list(state) == list(ordinary.state_dict())


@pytest.mark.parametrize("family", ["cnn", "resnet32", "resnet18", "modified"])
def test_the_linearly_weighted_cosine_network_is_the_baseline(family: str) -> None:
    images = batch(family, dtype=torch.float64)
    ours = made(family, magnitude=magnitude.Linear(), weighting="linear").double()
    assert torch.allclose(ours(images), made(family, magnitude=None).double()(images), rtol=1e-9)


@residuals
def test_without_activations_an_ordinary_residual_network_is_affine(family: str) -> None:
    for batch_norm in (True, False):
        model = made(family, magnitude=None, relu=False, batch_norm=batch_norm).double().eval()
        if family != "resnet32":
            model.pool0 = nn.AvgPool2d(3, 2, 1)  # a maximum is not linear
        x, y = batch(family, dtype=torch.float64).chunk(2)
        assert torch.allclose(model(x + y) + model(0 * x), model(x) + model(y))
        bent = made(family, magnitude=None, batch_norm=batch_norm).double().eval()
        assert not torch.allclose(bent(x + y) + bent(0 * x), bent(x) + bent(y))


def test_without_activations_a_plain_network_has_none() -> None:
    assert not any(isinstance(module, nn.ReLU) for module in made("cnn", relu=False).modules())
    assert sum(isinstance(module, nn.ReLU) for module in made("cnn").modules()) == 3  # none behind fc
    plain = models.plain_cnn(3, widths=(4, 4, 4), relu=False)
    assert not any(isinstance(module, nn.ReLU) for module in plain.modules())


@families
def test_without_batch_norm_only_inner_products_have_biases(family: str) -> None:
    for h in (None, magnitude.Sphere()):
        model = made(family, magnitude=h, batch_norm=False)
        assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())
        found = [module.bias is not None for name, module in neurons(model).items() if name != "classifier"]
        assert set(found) == {h is None}


# ------------------------------------------------------------------------------------------------ what they start as


@pytest.mark.parametrize(
    ("build", "layer", "std"),
    [
        (models.decoupled_cnn, "conv3_1", (2 / (9 * 128)) ** 0.5),
        (models.decoupled_cnn, "fc", (2 / (16 * 256)) ** 0.5),
        (partial(models.decoupled_resnet32, width=0.5), "stage3.0.conv1", (2 / (9 * 96)) ** 0.5),
        (partial(models.decoupled_resnet18, width=0.5), "stage4.0.conv1", (2 / (9 * 128)) ** 0.5),
        (partial(models.modified_resnet18, width=0.25), "units3.1.conv2", 0.01),
        (partial(models.modified_resnet18, width=0.25), "conv3", (1 / (9 * 64)) ** 0.5),
        (partial(models.modified_resnet18, width=0.25), "classifier", (1 / 256) ** 0.5),
    ],
    ids=["cnn", "cnn-fc", "resnet32", "resnet18", "modified-unit", "modified-stage", "modified-classifier"],
)
def test_models_start_as_their_published_code_does(build: Build, layer: str, std: float) -> None:
    torch.manual_seed(0)
    weight = build().get_submodule(layer).get_parameter("weight")
    assert weight.std().item() == pytest.approx(std, rel=0.03)


def test_slopes_begin_at_zero() -> None:
    slopes = [module.weight for module in made("modified").modules() if isinstance(module, nn.PReLU)]
    assert len(slopes) == 1 + 4 + 6
    assert not any(slope.any() for slope in slopes)


def test_features_of_a_bounded_operator_are_bounded() -> None:
    images = 100 * batch("mnist", 16)
    assert made("mnist", num_classes=None)(images).abs().max() <= 1
    assert made("mnist", num_classes=None, magnitude=magnitude.Linear())(images).abs().max() > 1
    free = made("mnist", decoupled_features=False)
    assert type(free.get_submodule("fc2")) is nn.Linear
    assert isinstance(free.get_submodule("fc1"), Decoupled)


def test_a_curvature_of_the_network_is_one_parameter() -> None:
    model = made("resnet32", angular=angular.Sigmoid(0.5, learnable=True, shared="network"))
    found = {id(module.log_k) for module in model.modules() if isinstance(module, Decoupled)}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: models.decoupled_cnn(7), "depth=7: expected a multiple of 3"),
        (lambda: models.decoupled_cnn(num_classes=0), "num_classes=0: expected at least 1"),
        (lambda: models.decoupled_cnn(magnitude=None, weighting="linear"), "magnitude=None.*weighting='linear'"),
        (lambda: models.decoupled_cnn(magnitude=None, angular=angular.Linear()), "magnitude=None, angular=Linear"),
        (lambda: models.decoupled_mnist_cnn(features=0), "features=0: expected at least 1"),
        (lambda: models.decoupled_resnet32(widths=(4, 4)), r"widths=\(4, 4\): expected three"),  # type: ignore[arg-type]
        (lambda: models.decoupled_resnet32(width=0), "width=0: expected a factor above 0"),
        (lambda: models.decoupled_resnet18(widths=(4, 4, 4)), r"widths=\(4, 4, 4\): expected four"),  # type: ignore[arg-type]
        (lambda: models.modified_resnet18(variant="paper"), "variant='paper': expected one of 'table', 'published'"),  # type: ignore[arg-type]
        (lambda: models.modified_resnet18(in_channels=0), "in_channels=0"),
    ],
    ids=range(10),
)
def test_wrong_settings_are_named(build: Build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
