"""The recipes of decoupled networks have the thesis's settings and numbers, and do what they say."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from onsphere import angular, attacks, layers, magnitude, models
from onsphere.losses import AngularSoftmax
from onsphere.recipes import RECIPES, compare, dcnet
from onsphere.recipes.dcnet import robustness
from onsphere.recipes.dcnet.rows import OperatorRow, operator, rows
from onsphere.recipes.dcnet.weights import load_weights, weights_file
from onsphere.train import Recipe, run
from test_recipes import multiply_adds

NAMES = [entry.name for entry in dcnet.ENTRIES]


def tiny(name: str, **settings: Any) -> Recipe:
    entry = RECIPES[name]
    return entry(**{**entry.smoke, **settings})


def made(recipe: Recipe) -> nn.Module:
    torch.manual_seed(0)
    return recipe.model()


def decoupled(model: nn.Module) -> list[Any]:
    return [layer for layer in model.modules() if isinstance(layer, layers.Decoupled)]


def rates(recipe: Recipe) -> list[float]:
    """The learning rate of every step."""
    assert recipe.schedule is not None
    assert recipe.max_steps is not None
    optimizer = recipe.optimizer([nn.Parameter(torch.zeros(1))])
    schedule = recipe.schedule(optimizer)
    found = []
    for _ in range(recipe.max_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


# ------------------------------------------------------------------------------------------------ the tables


@pytest.mark.parametrize(
    ("name", "settings", "paper"),
    [
        ("thesis-table4.1-cifar100", {"row": "nonlinearly-weighted-separate"}, {"top1": 76.62}),
        ("thesis-table4.1-cifar100", {"row": "weighted-gradients"}, {"top1": 78.55}),
        ("thesis-table4.2-cifar100", {"row": "baseline"}, {"top1": 64.7}),
        ("thesis-table4.2-cifar100", {"row": "tanh-square-cosine"}, {"top1": 65.74}),
        ("thesis-table4.2-cifar100", {"row": "seg-square-cosine"}, {}),
        ("thesis-table4.2-cifar100", {"row": "linear-square-cosine"}, {}),
        ("thesis-table4.3-cifar100", {"row": "baseline", "relu": False}, {"top1": 41.76}),
        ("thesis-table4.3-cifar100", {"row": "linear-cosine", "relu": False}, {"top1": 63.51}),
        ("thesis-table4.3-cifar100", {"row": "mix-square-cosine", "relu": True}, {"top1": 74.23}),
        ("thesis-table4.4-cifar100", {"row": "tanh-linear"}, {"top1": 78.4}),
        ("thesis-table4.4-cifar100", {"row": "baseline"}, {"top1": 73.31}),
        ("thesis-table4.4-cifar100", {"row": "log-square-cosine"}, {"top1": 77.14}),
        ("thesis-table4.5-cifar10", {"row": "linear-square-cosine"}, {"top1": 94.66}),
        ("thesis-table4.5-cifar100", {"row": "tanh-cosine"}, {"top1": 78.88}),
        ("thesis-table4.5-cifar100", {"row": "baseline"}, {}),
        ("thesis-table4.6-imagenet", {"row": "linear", "network": "standard"}, {"top5": 88.01}),
        ("thesis-table4.6-imagenet", {"row": "baseline", "network": "modified"}, {"top5": 87.9}),
        ("thesis-table4.6-imagenet", {"row": "sphere", "network": "modified-without-bn"}, {"top5": 86.7}),
        ("thesis-table4.6-imagenet", {"row": "linear", "network": "modified-without-bn"}, {}),
        ("thesis-table4.7-cifar10", {"row": "sphere"}, {"top1": 88.58, "fgsm": 43.64, "bim": 8.89}),
        ("thesis-table4.7-cifar10", {"row": "sphere", "training": "adversarial"}, {"top1": 87.41, "bim": 35.07}),
        ("thesis-table4.8-cifar10", {"row": "tanh", "training": "adversarial"}, {"fgsm": 80.38, "bim": 82.47}),
        ("thesis-tableC.2-cifar100", {"row": "linear-square-cosine"}, {"top1": 79.46}),
        ("thesis-tableC.2-cifar100", {"row": "baseline"}, {"top1": 78.45}),
    ],
)
def test_the_numbers_of_the_tables(name: str, settings: dict[str, Any], paper: dict[str, float]) -> None:
    recipe = RECIPES[name](**settings)
    assert {key: recipe.paper[key] for key in paper} == paper
    assert bool(recipe.paper) == bool(paper)
    assert recipe.name == name
    assert recipe.metric in (*recipe.paper, "afs") or not paper


def test_the_tables_have_all_their_numbers() -> None:
    counts = {name: sum(bool(recipe.paper) for recipe in RECIPES[name].every_row()) for name in NAMES}
    assert counts == {
        "thesis-table4.1-cifar100": 6,
        "thesis-table4.2-cifar100": 8,
        "thesis-table4.3-cifar100": 30,
        "thesis-table4.4-cifar100": 22,
        "thesis-tableC.2-cifar100": 22,
        "thesis-table4.5-cifar10": 2,
        "thesis-table4.5-cifar100": 2,
        "thesis-table4.6-imagenet": 10,
        "thesis-table4.7-cifar10": 8,
        "thesis-table4.8-cifar10": 8,
        "thesis-figureC.2-mnist": 0,
        "thesis-figureC.3-mnist": 0,
    }


@pytest.mark.parametrize(
    ("name", "other"),
    [
        *(("thesis-table4.4-cifar100", other) for other in ({"width": 0.5}, {"coefficient": 0.1}, {"relu": False})),
        *(("thesis-table4.4-cifar100", other) for other in ({"project_every": None}, {"batch_norm": False})),
        *(
            ("thesis-table4.3-cifar100", other)
            for other in ({"optimizer": "sgd"}, {"steps": 100}, {"dataset": "noise"})
        ),
        ("thesis-table4.1-cifar100", {"train_images": 100}),
        ("thesis-table4.5-cifar10", {"project_every": None}),
        *(("thesis-table4.6-imagenet", other) for other in ({"image_size": 64}, {"project_every": None})),
        ("thesis-table4.6-imagenet", {"network": "standard", "initial": "random"}),
        *(
            ("thesis-table4.7-cifar10", other)
            for other in ({"epsilon": 4.0}, {"iterations": 10}, {"coefficient": 1e-5})
        ),
        ("thesis-table4.8-cifar10", {"attacked_images": 1000}),
    ],
)
def test_the_numbers_are_not_claimed_for_other_settings(name: str, other: dict[str, Any]) -> None:
    assert RECIPES[name]().paper
    assert not RECIPES[name](**other).paper


def test_a_row_is_its_operator() -> None:
    assert get_args(OperatorRow) == rows("linear", "cosine", "square-cosine")
    known = {"linear": angular.Linear, "cosine": angular.Cosine, "square-cosine": angular.SquareCosine}
    for row in get_args(OperatorRow)[1:]:
        name, _, activation = row.partition("-")
        chosen = operator(row)
        assert type(chosen.magnitude) is magnitude.MAGNITUDE[name]
        assert type(chosen.angular) is known[activation]
    assert len({operator(row).label for row in get_args(OperatorRow)}) == 22
    segment, mix = operator("seg").magnitude, operator("mix").magnitude
    assert (segment.alpha, segment.beta, mix.alpha, mix.beta) == (1.0, 0.5, 1.0, 1.0)  # C.2
    for wrong in ("tanhh", "tanh-", "tanh-sigmoid", "cosine", ""):
        with pytest.raises(ValueError, match="is none of baseline, sphere, ball"):
            operator(wrong) if wrong != "tanh-" else operator("tanh-x")


def test_the_training_of_the_thesis() -> None:
    adam, sgd = RECIPES["thesis-table4.4-cifar100"](), RECIPES["thesis-tableC.2-cifar100"]()
    for recipe, kind, rate in ((adam, torch.optim.Adam, 0.001), (sgd, torch.optim.SGD, 0.1)):
        optimizer = recipe.optimizer([nn.Parameter(torch.zeros(1))])
        assert type(optimizer) is kind
        (group,) = optimizer.param_groups
        assert (group["lr"], group["weight_decay"], recipe.batch_size, recipe.max_steps) == (rate, 0.0, 128, 42_500)
    short = RECIPES["thesis-table4.1-cifar100"](steps=425)
    assert rates(short) == pytest.approx([1e-3] * 200 + [1e-4] * 100 + [1e-5] * 75 + [1e-6] * 50)
    big = RECIPES["thesis-table4.6-imagenet"]()
    (group,) = big.optimizer([nn.Parameter(torch.zeros(1))]).param_groups
    assert (big.batch_size, group["lr"], group["momentum"], big.metric) == (40, 0.1, 0.9, "top5")


def test_networks_have_the_layers_that_their_tables_say() -> None:
    def kinds(name: str, **settings: Any) -> set[type[nn.Module]]:
        return {type(module) for module in made(tiny(name, **settings)).modules()}

    assert {nn.BatchNorm2d, nn.ReLU} & kinds("thesis-table4.2-cifar100") == {nn.ReLU}
    assert {nn.BatchNorm2d, nn.ReLU} & kinds("thesis-table4.3-cifar100", relu=False) == {nn.BatchNorm2d}
    assert {nn.BatchNorm2d, nn.ReLU} & kinds("thesis-table4.3-cifar100", relu=True) == {nn.BatchNorm2d, nn.ReLU}
    assert nn.BatchNorm2d not in kinds("thesis-table4.7-cifar10")
    assert nn.BatchNorm2d not in kinds("thesis-table4.6-imagenet", network="modified-without-bn")
    for name in NAMES:
        first = RECIPES[name].rows[0]
        default = made(tiny(name))
        assert decoupled(default), name
        assert (first == "baseline") == (not decoupled(made(tiny(name, row=first)))), name
        classifier = default.classifier if hasattr(default, "classifier") else default.model.classifier
        assert not isinstance(classifier, layers.Decoupled)


def test_the_widths_of_table_c_1() -> None:
    def filters(recipe: Recipe) -> list[int]:
        with torch.device("meta"):
            return [layer.weight.shape[0] for layer in decoupled(recipe.model())]

    plain = [64] * 3 + [128] * 3 + [256] * 3
    assert filters(RECIPES["thesis-table4.3-cifar100"]()) == [*plain, 512]
    assert filters(RECIPES["thesis-table4.7-cifar10"]()) == [*(n // 2 for n in plain), 256]
    assert filters(RECIPES["thesis-table4.4-cifar100"]()) == [96] * 11 + [192] * 10 + [384] * 10
    assert filters(RECIPES["thesis-figureC.2-mnist"]()) == [32] * 2 + [64] * 2 + [128] * 2 + [256, 2]
    assert filters(RECIPES["thesis-table4.3-cifar100"](width=0.25)) == [*(n // 4 for n in plain), 128]


def test_the_loss_of_table_4_5_has_unit_class_weights_and_no_margin() -> None:
    model: Any = made(tiny("thesis-table4.5-cifar10"))
    assert isinstance(model, models.Recogniser)
    head = model.classifier
    assert isinstance(head, AngularSoftmax)
    assert (head.margin, head.scale, head.normalize_weight, head.bias) == (None, "feature_norm", True, None)
    x = torch.randn(3, head.weight.shape[1])
    expected = x @ nn.functional.normalize(head.weight).T
    torch.testing.assert_close(head.logits(x), expected)


# ------------------------------------------------------------------------------------------------ what training does


@pytest.mark.parametrize("name", ["thesis-table4.3-cifar100", "thesis-table4.4-cifar100", "thesis-table4.6-imagenet"])
def test_filters_are_kept_orthogonal_and_other_layers_small(name: str) -> None:
    recipe = tiny(name, coefficient=0.5, weight_decay=0.25)
    model = made(recipe)
    filters = {id(layer) for layer in decoupled(model)}
    penalty, decay = torch.zeros(()), torch.zeros(())
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            weight = layer.weight.flatten(1)
            gram = weight @ weight.T
            if id(layer) in filters and len(weight) > 1:
                penalty = penalty + (gram - gram.diag().diag()).square().sum()
            elif id(layer) not in filters:
                decay = decay + 0.5 * weight.square().sum()
    assert penalty > 0
    assert recipe.regularizer is not None
    assert recipe.regularizer(model)().item() == pytest.approx((0.5 * penalty + 0.25 * decay).item(), rel=1e-4)
    assert tiny(name, row="baseline").settings["coefficient"] == 0.0
    assert tiny(name).settings["coefficient"] == 1e-5
    with pytest.raises(ValueError, match=r"coefficient=0\.1 has no effect on row 'baseline'"):
        tiny(name, row="baseline", coefficient=0.1)
    with pytest.raises(ValueError, match=r"weight_decay=-1 must not be below 0"):
        tiny(name, weight_decay=-1)


def test_filters_are_projected_after_every_so_many_steps() -> None:
    recipe = tiny("thesis-table4.3-cifar100", project_every=3)
    model: Any = made(recipe)
    (hook,) = recipe.after_step
    norms = [layer.weight.flatten(1).norm(dim=1) for layer in decoupled(model)]
    classifier = model.classifier.weight.clone()
    for step in (1, 2, 4):
        hook(model, step)
    for layer, before in zip(decoupled(model), norms, strict=True):
        assert torch.equal(layer.weight.flatten(1).norm(dim=1), before)
    hook(model, 6)
    for layer in decoupled(model):
        torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), torch.ones(len(layer.weight)))
    assert torch.equal(model.classifier.weight, classifier)
    for settings in ({"project_every": None}, {"row": "baseline"}):
        assert not tiny("thesis-table4.3-cifar100", **settings).after_step
    with pytest.raises(ValueError, match="project_every=0"):
        tiny("thesis-table4.3-cifar100", project_every=0)


def test_networks_under_attack_have_no_optimization_trick() -> None:
    for name in ("thesis-table4.7-cifar10", "thesis-table4.8-cifar10", "thesis-figureC.2-mnist"):
        recipe = tiny(name)
        assert not recipe.after_step
        model = made(recipe)
        if recipe.prepare is not None:
            recipe.prepare(model)
        assert not any(layer.weighted_gradients or layer.weighting for layer in decoupled(model))


@pytest.mark.parametrize(
    ("row", "weighting", "projected", "weighted"),
    [
        ("linearly-weighted", "linear", False, False),
        ("nonlinearly-weighted-product", "nonlinear_product", False, False),
        ("nonlinearly-weighted-separate", "nonlinear_separate", False, False),
        ("standard", None, False, False),
        ("weight-projection", None, True, False),
        ("weighted-gradients", None, False, True),
    ],
)
def test_the_rows_of_table_4_1(row: str, weighting: str | None, projected: bool, weighted: bool) -> None:
    recipe = tiny("thesis-table4.1-cifar100", row=row)
    model = made(recipe)
    if recipe.prepare is not None:
        recipe.prepare(model)
    assert len(recipe.after_step) == projected
    for layer in decoupled(model):
        assert isinstance(layer.magnitude, magnitude.Tanh)
        assert isinstance(layer.angular, angular.Cosine)
        assert (layer.weighting, layer.weighted_gradients) == (weighting, weighted)
    with pytest.raises(ValueError, match="row='weighted' is none of linearly-weighted"):
        dcnet.optimization("x", "weighted")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ weights of before


def trained_baseline(folder: Path, **settings: Any) -> tuple[Path, nn.Module]:
    """A run of the baseline of Table 4.6, and what its weights are."""
    recipe = tiny("thesis-table4.6-imagenet", row="baseline", **settings)
    run(recipe, seeds=[3], folder=folder, accelerator="cpu", measure=False, logs=(), threads=1)
    model = recipe.model()
    load_weights(model, str(folder))
    return folder, model


def test_operators_start_from_a_trained_ordinary_network(tmp_path: Path) -> None:
    folder, ordinary = trained_baseline(tmp_path / "run", network="standard")
    file = folder / "weights" / "baseline-3.safetensors"
    (folder / "weights" / "baseline-3.best.safetensors").write_bytes(b"another")
    assert weights_file(str(folder)) == weights_file(str(file)) == file
    for initial in (folder, file):
        recipe = tiny("thesis-table4.6-imagenet", row="tanh", network="standard", initial=str(initial))
        found = made(recipe).state_dict()
        for name, value in ordinary.state_dict().items():
            assert torch.equal(found[name], value), name
        assert not torch.equal(found["conv0.weight"], made(tiny(recipe.name, network="standard")).conv0.weight)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"baseline-3\.safetensors does not fit Sequential: Missing .*prelu0"):
        made(tiny("thesis-table4.6-imagenet", row="tanh", network="modified", initial=str(folder)))
    (folder / "weights" / "baseline-4.safetensors").write_bytes(b"another seed")
    with pytest.raises(ValueError, match=r"several weights of the baseline: give one of .*baseline-3.*baseline-4"):
        weights_file(str(folder))


def test_operators_of_the_standard_network_must_be_told_where_to_start(tmp_path: Path) -> None:
    # The network of the table is made, so that nothing but the start can be missing: at this width it is quick.
    def network(**settings: Any) -> nn.Module:
        return dcnet.imagenet("imagenet", width=0.05, **settings).model()

    with pytest.raises(ValueError, match="initial=null: TanhConv in the standard network starts from a trained"):
        network(row="tanh", network="standard")
    for settings in (
        {"row": "tanh", "network": "standard", "initial": "random"},
        {"row": "baseline", "network": "standard"},
        {"row": "tanh", "network": "modified"},
    ):
        assert isinstance(network(**settings), nn.Sequential)
    with pytest.raises(FileNotFoundError, match="no file or folder 'nowhere'"):
        dcnet.imagenet("imagenet", initial="nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no weights/baseline-SEED\.safetensors"):
        dcnet.imagenet("imagenet", initial=str(tmp_path))


# ------------------------------------------------------------------------------------------------ attacks


def test_what_is_attacked_is_the_network_and_by_pixels() -> None:
    recipe = tiny("thesis-table4.7-cifar10", epsilon=16.0, iterations=3, step=3.0, attacked_images=8)
    model = made(recipe).eval()
    assert recipe.evaluate is not None
    with torch.no_grad():
        found = recipe.evaluate(model)
    data = recipe.data()
    pixels = data.test.images.float() / 255  # type: ignore[union-attr]
    target = attacks.Normalized(model, data.mean, data.std)
    once = attacks.fgsm(target, pixels, data.test.labels, eps=16 / 255)
    often = attacks.bim(target, pixels, data.test.labels, eps=16 / 255, step=3 / 255, steps=3)
    assert (once - pixels).abs().max().item() == pytest.approx(16 / 255, abs=1e-6)
    with torch.no_grad():
        right = [100 * (target(images).argmax(1) == data.test.labels).float().mean().item() for images in (once, often)]
    assert [found["fgsm"], found["bim"]] == pytest.approx(right)
    assert set(found) == {"fgsm", "bim"}


def test_a_black_box_is_attacked_through_another_network(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[nn.Module] = []

    def spy(model: nn.Module, images: Tensor, labels: Tensor, **_: Any) -> Tensor:
        seen.append(model)
        return images

    monkeypatch.setattr(attacks, "fgsm", spy)
    monkeypatch.setattr(attacks, "bim", spy)
    robustness._trained_source.cache_clear()
    recipes = compare(
        RECIPES["thesis-table4.8-cifar10"], ["sphere", "ball"], **RECIPES["thesis-table4.8-cifar10"].smoke
    )
    for recipe in recipes:
        assert recipe.evaluate is not None
        with torch.no_grad():
            recipe.evaluate(made(recipe).eval())
    assert len(seen) == 4
    sources = [normalized.model for normalized in seen]
    assert all(source is sources[0] for source in sources)  # trained once
    assert robustness._trained_source.cache_info().misses == 1
    assert not decoupled(sources[0])  # the baseline
    white = tiny("thesis-table4.7-cifar10")
    assert white.evaluate is not None
    model = made(white).eval()
    white.evaluate(model)
    assert seen[-1].model is model


def test_the_attackers_network_is_trained_from_its_own_seed_or_given(tmp_path: Path) -> None:
    robustness._trained_source.cache_clear()
    name, cpu = "thesis-table4.8-cifar10", torch.device("cpu")

    def source(**settings: Any) -> nn.Module:
        recipe = tiny(name, **settings)
        box: robustness.Source = recipe.evaluate.keywords["box"]  # type: ignore[union-attr]
        return box.model(cpu)

    seven = source()
    settings = {**RECIPES[name].smoke, "training": "natural"}
    alone = RECIPES["thesis-table4.7-cifar10"](**settings, row="baseline")
    run(alone, seeds=[7], folder=tmp_path, accelerator="cpu", measure=False, logs=(), threads=1)
    given = source(source=str(tmp_path))
    eight = source(source_seed=8)
    for key, value in seven.state_dict().items():
        torch.testing.assert_close(given.state_dict()[key], value)
    assert not torch.equal(eight[0].weight, seven[0].weight)  # type: ignore[index]
    with pytest.raises(ValueError, match="has no effect with transferred=False"):
        tiny("thesis-table4.7-cifar10", source=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no file or folder 'nowhere'"):
        tiny(name, source="nowhere")
    assert isinstance(source(training="adversarial"), attacks.AdversarialTraining)


def test_several_processes_are_told_before_the_training_that_the_attacker_needs_a_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "source.safetensors").write_bytes(b"looked at later")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    recipe = tiny("thesis-table4.8-cifar10")
    assert recipe.prepare is not None
    with pytest.raises(ValueError, match="source=null: several processes"):
        recipe.prepare(nn.Identity())
    assert tiny("thesis-table4.8-cifar10", source=str(tmp_path / "source.safetensors")).prepare is None


def test_adversarial_training_is_half_on_adversarial_images() -> None:
    recipe = tiny("thesis-table4.7-cifar10", training="adversarial", epsilon=4.0)
    model = made(recipe)
    assert isinstance(model, attacks.AdversarialTraining)
    assert recipe.objective is None
    assert (model.eps, model.weight) == (4 / 255, 0.5)
    data = recipe.data()
    images, labels = data.test.images[:4].float() / 255, data.test.labels[:4]  # type: ignore[union-attr]
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (data.mean, data.std))
    normalised = (images - mean) / std
    changed = attacks.fgsm(attacks.Normalized(model.model, data.mean, data.std), images, labels, eps=4 / 255)
    loss = nn.functional.cross_entropy
    expected = (loss(model.model(normalised), labels) + loss(model.model((changed - mean) / std), labels)) / 2
    torch.testing.assert_close(model(normalised, labels), expected, rtol=1e-4, atol=1e-5)
    assert tiny("thesis-table4.7-cifar10").objective is nn.functional.cross_entropy


@pytest.mark.parametrize("wrong", [{"epsilon": 256.0}, {"step": 300.0}, {"epsilon": 0.0}], ids=str)
def test_attacks_that_cannot_be_are_refused_before_the_training(wrong: dict[str, float]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        tiny("thesis-table4.7-cifar10", **wrong)


def test_strengths_of_deepfool_are_recorded_in_rising_order() -> None:
    recipe = tiny("thesis-table4.7-cifar10", deepfool_images=5)
    assert recipe.final is not None
    with torch.no_grad():
        found: Any = recipe.final(made(recipe).eval())["deepfool"]
    for norm in ("l2", "linf"):
        values = [math.inf if value is None else value for value in found[norm]]
        assert len(values) == 5
        assert values == sorted(values)
        assert values[0] > 0
    assert found["l2"] != found["linf"]
    assert tiny("thesis-table4.7-cifar10").final is None
    with pytest.raises(ValueError, match="deepfool_images=-1"):
        tiny("thesis-table4.7-cifar10", deepfool_images=-1)


# ------------------------------------------------------------------------------------------------ features


@pytest.mark.parametrize("name", ["thesis-figureC.2-mnist", "thesis-figureC.3-mnist"])
def test_features_are_what_the_last_layer_reads(name: str) -> None:
    recipe = tiny(name, row="sphere")
    model: Any = made(recipe).eval()
    network = model.model if name.endswith("C.3-mnist") else model
    assert isinstance(model, attacks.AdversarialTraining) == name.endswith("C.3-mnist")
    assert recipe.final is not None
    assert recipe.evaluate is not None
    with torch.no_grad():
        record: Any = recipe.final(model)
        assert math.isfinite(recipe.evaluate(model)["afs"])
        data = recipe.data()
        labels = data.test.labels
        images = data.test.images[labels == 0].float() / 255  # type: ignore[union-attr]
        expected = network[:-1]((images - data.mean[0]) / data.std[0])
    drawn = record["features"]["test"][0]
    assert drawn["x"] == pytest.approx(expected[:, 0].tolist(), abs=1e-3)
    assert drawn["y"] == pytest.approx(expected[:, 1].tolist(), abs=1e-3)
    assert max(map(abs, drawn["x"] + drawn["y"])) <= 1  # a bounded operator's
    assert set(record) >= {"features", "class_top1", "angles", "confusion"}
    with pytest.raises(ValueError, match=r"coefficient=0\.5 has no effect"):
        tiny(name, coefficient=0.5)


# ------------------------------------------------------------------------------------------------ costs


@pytest.mark.parametrize("name", NAMES)
def test_the_estimated_cost_is_that_of_the_network(name: str) -> None:
    entry = RECIPES[name]
    size = 224 if entry.images.title == "ImageNet" else entry.images.size
    works = entry.megamacs if isinstance(entry.megamacs, dict) else {None: entry.megamacs}
    for value, work in works.items():
        settings = {} if value is None else {next(iter(entry.variants)): value}
        recipe = entry(row=entry.rows[0], **settings)
        if entry.fixed.get("training") == "adversarial":  # the network itself is that of natural training
            recipe = entry.build(row="baseline", training="natural")
        with torch.device("meta"):  # nothing is computed
            counted = multiply_adds(recipe, (entry.images.channels, size, size))
        assert work == pytest.approx(counted / 1e6, rel=0.002)
