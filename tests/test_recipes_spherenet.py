"""The recipes of chapter 3 hold the thesis's settings and numbers, and their rows are what they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from onsphere import angular, data, models
from onsphere.losses import AngularSoftmax
from onsphere.margins import Annealed, SphereFace
from onsphere.recipes import RECIPES, compare, spherenet
from onsphere.recipes.decoupled import decoupled_layers, ordinary_layers, penalties
from onsphere.recipes.margins.objectives import Annealing
from onsphere.recipes.spherenet.cifar import curvatures
from onsphere.recipes.spherenet.rows import EVERY, LOSSES, OPERATORS, parts
from onsphere.report import write_html
from onsphere.report.__main__ import main
from onsphere.report.curvatures import bins, write_curvatures
from onsphere.report.metrics import row_heading
from onsphere.train import Recipe, run
from onsphere.where import layers
from test_recipes import learning_rates, multiply_adds

TABLE_3_1 = RECIPES["thesis-table3.1-cifar10"]
SMALL = {"width": 0.05, "steps": 2, "batch_size": 4}


def small(row: str, **settings: Any) -> Recipe:
    return spherenet.cifar("noise", row, **{**SMALL, **settings})


# ------------------------------------------------------------------------------------------------ numbers and settings


@pytest.mark.parametrize(
    ("name", "settings", "top1"),
    [
        ("thesis-table3.1-cifar10", {"row": "sigmoid-0.3+ga-softmax"}, 92.38),
        ("thesis-table3.1-cifar10", {"row": "conv+softmax"}, 90.58),
        ("thesis-table3.1-cifar10", {"row": "linear+w-sigmoid-0.3"}, 91.42),
        ("thesis-table3.1-cifar10", {"row": "sigmoid-0.7+a-softmax"}, 92.22),
        ("thesis-table3.2-cifar10", {"row": "conv+softmax", "network": "cnn-60"}, 88.15),
        ("thesis-table3.2-cifar10", {"row": "sigmoid-0.3+w-cosine", "network": "resnet-32"}, 91.7),
        ("thesis-table3.2-cifar10", {"row": "cosine+w-cosine", "network": "cnn-3"}, 82.23),
        ("thesis-table3.3-cifar10", {"row": "conv+softmax"}, 80.73),
        ("thesis-table3.3-cifar10", {"row": "sigmoid-0.1+w-cosine"}, 86.29),
        ("thesis-table3.4-cifar10", {"row": "sigmoid-0.3+ga-softmax"}, 95.01),
        ("thesis-table3.4-cifar100", {"row": "cosine+w-cosine"}, 74.92),
        ("thesis-section3.4.3-cifar10", {"row": "sigmoid-learned+w-cosine"}, 91.64),
        ("thesis-figure3.3c-cifar10", {"row": "cosine+softmax", "widths": (16, 32, 48)}, None),
        ("thesis-figure3.5-cifar10", {"row": "batch-norm", "batch_size": 4}, None),
        ("thesis-figure3.6-imagenet", {"row": "sphere-v1"}, None),
    ],
)
def test_the_numbers_of_the_tables(name: str, settings: dict[str, Any], top1: float | None) -> None:
    assert RECIPES[name](**settings).paper == ({} if top1 is None else {"top1": top1})


@pytest.mark.parametrize(
    "other",
    [
        {"augmentation": "crop-flip"},
        {"widths": (64, 128, 256)},
        {"width": 0.5},
        {"coefficient": 0.0},
        {"weight_decay": 0.0},
        {"relu": False},
        {"train_images": 100},
        {"batch_size": 64},
        {"steps": 63_999},
    ],
)
def test_the_numbers_are_not_claimed_for_other_settings(other: dict[str, Any]) -> None:
    assert TABLE_3_1(row="cosine+w-cosine").paper
    assert not TABLE_3_1(row="cosine+w-cosine", **other).paper


def test_every_number_of_the_tables_stands_beside_a_row() -> None:
    counts = {name: sum(bool(recipe.paper) for recipe in RECIPES[name].every_row()) for name in RECIPES}
    assert counts["thesis-table3.1-cifar10"] == 6 * 8
    assert counts["thesis-table3.2-cifar10"] == 6 * 6
    assert counts["thesis-table3.3-cifar10"] == 6
    assert counts["thesis-section3.4.3-cifar10"] == 2
    assert counts["thesis-table3.4-cifar10"] == counts["thesis-table3.4-cifar100"] == 5


def test_the_training_is_that_of_3_4_1() -> None:
    recipe = TABLE_3_1(row="cosine+softmax")
    assert (recipe.max_steps, recipe.batch_size, recipe.settings["milestones"]) == (64_000, 128, (34_000, 54_000))
    assert recipe.augment is data.flip
    optimizer = recipe.optimizer([nn.Parameter(torch.zeros(1))])
    assert isinstance(optimizer, torch.optim.Adam)
    assert optimizer.param_groups[0]["weight_decay"] == 0
    rates = learning_rates(TABLE_3_1(row="cosine+softmax", steps=64), 64)
    assert rates == pytest.approx([1e-3] * 34 + [1e-4] * 20 + [1e-5] * 10)
    assert RECIPES["thesis-table3.4-cifar10"]().augment is data.augment
    assert small("conv+softmax", augmentation="none").augment is None


def test_imagenet_is_trained_as_in_b_2() -> None:
    recipe = RECIPES["thesis-figure3.6-imagenet"](row="sphere-v2")
    assert (recipe.max_steps, recipe.batch_size, recipe.settings["milestones"]) == (550_000, 40, (200_000, 375_000))
    (group,) = recipe.optimizer([nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 0.0)


# ------------------------------------------------------------------------------------------------ rows


def decoupled(model: nn.Module) -> list[str]:
    return [layer.name for layer in decoupled_layers(layers(model))]


def ordinary(model: nn.Module) -> list[str]:
    return [layer.name for layer in ordinary_layers(layers(model))]


def test_rows_are_all_pairs_of_an_operator_and_a_loss() -> None:
    assert len(EVERY) == len({*EVERY}) == 48
    labels = {(operator.label, loss.label) for operator, loss in map(parts, EVERY)}
    assert len(labels) == 48
    assert len({operator.label for operator in OPERATORS.values()}) == len(OPERATORS)
    corner = compare(TABLE_3_1, ("conv+softmax", "sigmoid-0.3+w-sigmoid-0.3", "cosine+ga-softmax"), dataset="x")
    assert [recipe.row for recipe in corner] == [
        "conv, softmax",
        "sigmoid k=0.3, sigmoid k=0.3 W-Softmax",
        "cosine, GA-Softmax m=4",
    ]


@pytest.mark.parametrize("row", ["cosine", "cosine+", "+softmax", "cos+softmax", "cosine+w-softmax", "cosine-softmax"])
def test_other_rows_are_refused(row: str) -> None:
    with pytest.raises(
        ValueError, match=r"row='.*': expected one of conv, sigmoid-0\.1, .*, then \+ and one of softmax"
    ):
        spherenet.cifar("x", row)


@pytest.mark.parametrize(
    ("row", "function"),
    [
        ("cosine+softmax", angular.Cosine()),
        ("linear+w-cosine", angular.Linear()),
        ("sigmoid-0.1+softmax", angular.Sigmoid(0.1)),
        ("sigmoid-0.3+softmax", angular.Sigmoid(0.3)),
        ("sigmoid-0.7+ga-softmax", angular.Sigmoid(0.7)),
        ("sigmoid-learned+softmax", angular.Sigmoid(0.5, learnable=True)),
    ],
)
@pytest.mark.parametrize("network", ["cnn-3", "resnet-32"])
def test_an_operator_is_in_all_hidden_layers(row: str, function: Any, network: Any) -> None:
    model: Any = small(row, network=network).model()
    plain = [name.removeprefix("body.") for name in ordinary(model)]
    shortcuts = ["stage2.0.shortcut.conv", "stage3.0.shortcut.conv"] if network == "resnet-32" else []
    assert plain == [*shortcuts, "classifier"]
    found = decoupled_layers(layers(model))
    assert {layer.module.angular for layer in found} == {function}
    assert len(found) == (31 if network == "resnet-32" else 4)


def test_the_ordinary_row_has_ordinary_layers() -> None:
    model = small("conv+softmax").model()
    assert decoupled(model) == []
    assert ordinary(model)[-2:] == ["fc", "classifier"]
    assert not any(isinstance(layer, nn.ReLU) for layer in small("conv+softmax", relu=False).model())  # type: ignore[arg-type]
    assert any(isinstance(layer, nn.ReLU) for layer in model)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("loss", "function", "m"),
    [
        ("w-sigmoid-0.1", angular.Sigmoid(0.1), None),
        ("w-sigmoid-0.7", angular.Sigmoid(0.7), None),
        ("w-linear", angular.Linear(), None),
        ("w-cosine", angular.Cosine(), None),
        ("a-softmax", angular.Cosine(), 4),
        ("ga-softmax", angular.Linear(), 4),
    ],
)
def test_a_loss_is_its_head(loss: str, function: Any, m: int | None) -> None:
    torch.manual_seed(0)
    recipe = small(f"conv+{loss}", steps=300)
    model: Any = recipe.model()
    assert recipe.objective is None
    head = model.classifier
    assert isinstance(head, AngularSoftmax)
    assert (head.scale, head.normalize_weight, head.bias, head.angular) == ("feature_norm", True, None, function)
    if m is None:
        assert head.margin is None
    else:
        assert isinstance(head.margin, Annealed)
        assert head.margin.margin == SphereFace(m)
        assert (head.margin.minimum, head.margin.gamma) == (5.0, Annealing.over(200, 5.0).gamma)
    assert head.weight.norm(dim=1).mean().item() == pytest.approx(2**0.5, rel=0.3)  # not so small that Adam spins it
    images, labels = torch.rand(3, 3, 32, 32), torch.tensor([0, 3, 9])
    model.train()(images, labels).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_softmax_is_the_ordinary_one() -> None:
    recipe = small("cosine+softmax")
    assert recipe.objective is torch.nn.functional.cross_entropy
    assert type(recipe.model()[-1]) is nn.Linear  # type: ignore[index]
    assert LOSSES["softmax"].head(4, 10, Annealing()) is None


# ------------------------------------------------------------------------------------------------ regularization


def test_sphere_convolutions_are_kept_orthonormal_and_other_layers_small() -> None:
    recipe = small("cosine+w-cosine", network="resnet-32", coefficient=0.5, weight_decay=0.25)
    torch.manual_seed(0)
    model: Any = recipe.model()
    assert recipe.regularizer is not None
    expected = torch.zeros(())
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | AngularSoftmax):
            w = module.weight.detach().flatten(1)
            if "shortcut" in name or name == "classifier":
                expected += 0.25 * 0.5 * w.square().sum()
            else:
                expected += 0.5 * (w @ w.T - torch.eye(len(w))).square().sum()
    assert recipe.regularizer(model)().item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_ordinary_row_has_weight_decay_alone() -> None:
    recipe = small("conv+softmax", weight_decay=0.25)
    model = recipe.model()
    assert recipe.settings["coefficient"] == 0.0
    assert recipe.regularizer is not None
    expected = sum(0.125 * p.detach().square().sum() for p in model.parameters() if p.ndim > 1)
    assert recipe.regularizer(model)().item() == pytest.approx(float(expected), rel=1e-5)
    assert small("conv+softmax", weight_decay=0.0).regularizer is None
    with pytest.raises(ValueError, match=r"coefficient=0\.1 has no effect on row 'conv\+softmax'"):
        small("conv+softmax", coefficient=0.1)
    for wrong in ({"coefficient": -1.0}, {"weight_decay": -1.0}):
        with pytest.raises(ValueError, match=r"=-1\.0 must not be below 0"):
            small("cosine+softmax", **wrong)


def test_weight_decay_is_in_the_loss_with_its_own_gradient() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    build = penalties(nn.Identity, 0.0, 0.1)
    assert build is not None
    build(model)().backward()
    for layer in model:
        assert isinstance(layer, nn.Linear)
        assert layer.weight.grad is not None
        assert torch.allclose(layer.weight.grad, 0.1 * layer.weight)
        assert layer.bias.grad is None


# ------------------------------------------------------------------------------------------------ learned curvatures


def test_curvatures_are_learned_and_kept_for_figure_3_4() -> None:
    recipe = small("sigmoid-learned+w-cosine", learning_rate=0.05, train_images=8, test_images=8)
    (seed,) = run(recipe, seeds=[1], accelerator="cpu", measure=False, threads=1).rows[0].seeds
    found: Any = seed.end["curvatures"]
    assert [(name, len(values)) for name, values in found.items()] == [("conv1_1", 3), ("conv2_1", 5), ("conv3_1", 6)]
    values = [k for line in found.values() for k in line]
    assert all(0 < k < 1 for k in values)
    assert len({*values}) > 1  # from 0.5 on, each its own way
    names = set(seed.observations["minimum_angle_deg"])
    assert {"conv1_1", "fc", "classifier"} <= names == set(observed("sigmoid-learned+softmax"))


def observed(row: str) -> dict[str, float]:
    recipe = small(row)
    assert recipe.observe is not None
    found: Any = recipe.observe(recipe.model())["minimum_angle_deg"]
    return found


@pytest.mark.parametrize(("ending", "count"), [("", 3 + 5 + 6 + 13), ("-layer", 4), ("-network", 1)])
def test_what_has_a_curvature_of_its_own(ending: str, count: int) -> None:
    model = small(f"sigmoid-learned{ending}+softmax", network="cnn-3").model()
    own = {id(p): p.numel() for name, p in model.named_parameters() if name.endswith("log_k")}
    assert sum(own.values()) == count
    assert curvatures(model)["curvatures"]
    assert curvatures(small("cosine+softmax").model()) == {}


def learned(*rows: dict[str, list[float]]) -> dict[str, Any]:
    made = [
        {
            "row": f"row {i}",
            "settings": {},
            "paper": {},
            "seeds": [{"seed": 1, "final": {}, "end": {"curvatures": end}}],
        }
        for i, end in enumerate(rows)
    ]
    return {"schema": 1, "name": "learned", "rows": made}


def test_curvatures_are_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = learned({"conv1_1": [0.1, 0.5, 0.9], "conv2_1": [0.5, 1.3]}, {"conv1_1": [0.2]})
    for name in ("a.svg", "b.svg", "c.png"):
        write_curvatures(one, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    write_curvatures(
        learned({"conv1_1": [0.1, 0.5, 0.2], "conv2_1": [0.5, 1.3]}, {"conv1_1": [0.2]}), tmp_path / "b.svg"
    )
    assert (tmp_path / "a.svg").read_bytes() != (tmp_path / "b.svg").read_bytes()
    with pytest.raises(ValueError, match="learned holds no learned curvatures"):
        write_curvatures(learned({}), tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
    assert main(["--curvatures", str(tmp_path), str(tmp_path / "c.svg")]) == 2
    assert "no result at" in capsys.readouterr().err


def test_the_report_shows_curvatures_where_there_are_any(tmp_path: Path) -> None:
    for name, end in (("with", {"conv1_1": [0.4, 0.6]}), ("without", {})):
        write_html(learned(end), tmp_path / f"{name}.html")
    assert "Learned curvatures" in (tmp_path / "with.html").read_text()
    assert "Learned curvatures" not in (tmp_path / "without.html").read_text()


def test_the_bins_hold_all_curvatures() -> None:
    assert bins([0.001, 0.999])[0] == 0.0
    assert bins([0.001, 0.999])[-1] == 1.0
    assert bins([0.5, 37.21])[-1] == 37.3


# ------------------------------------------------------------------------------------------------ normalization


@pytest.mark.parametrize(
    ("row", "batch", "sphere", "rescaled", "orthonormal"),
    [
        ("batch-norm", True, False, False, False),
        ("sphere-norm", False, True, False, False),
        ("sphere-norm-orthonormal", False, True, False, True),
        ("sphere-norm-rescaled", False, True, True, False),
        ("batch-norm-sphere-norm", True, True, False, False),
        ("batch-norm-sphere-norm-orthonormal", True, True, False, True),
    ],
)
def test_normalizations(row: Any, batch: bool, sphere: bool, rescaled: bool, orthonormal: bool) -> None:
    recipe = spherenet.normalization("noise", row, **SMALL, weight_decay=0.0)  # type: ignore[arg-type]
    model = recipe.model()
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules()) is batch
    assert decoupled(model) == ([name for name in ordinary_names(model) if name != "classifier"] if sphere else [])
    assert (recipe.regularizer is not None) is orthonormal
    assert recipe.settings["coefficient"] == (1e-4 if orthonormal else 0.0)
    parameters = {name for name, _ in model.named_parameters() if name.startswith("conv1_1")}
    expected = {"conv1_1.weight"} | ({"conv1_1.beta", "conv1_1.gamma"} if rescaled else set())
    assert parameters == expected
    if not orthonormal:
        with pytest.raises(ValueError, match=f"coefficient=0.1 has no effect on row '{row}'"):
            spherenet.normalization("noise", row, coefficient=0.1)


def ordinary_names(model: nn.Module) -> list[str]:
    return [layer.name for layer in layers(model)]


def test_small_batches_are_variants() -> None:
    entry = RECIPES["thesis-figure3.5-cifar10"]
    assert len(list(entry.every_row())) == 4 * 5
    assert [recipe.batch_size for recipe in entry.every_row()][::5] == [4, 8, 16, 32]
    assert RECIPES["thesis-figure3.3b-cifar10"]().batch_size == 128


# ------------------------------------------------------------------------------------------------ ImageNet


@pytest.mark.parametrize(
    ("row", "sphere", "shortcuts", "loss"),
    [("resnet-18", False, False, None), ("sphere-v1", True, True, angular.Cosine()), ("sphere-v2", True, False, None)],
)
def test_the_three_residual_networks(row: Any, sphere: bool, shortcuts: bool, loss: Any) -> None:
    recipe = spherenet.imagenet("noise", row, width=0.01)
    model = recipe.model()
    names = decoupled(model)
    assert bool(names) is sphere
    assert any("shortcut" in name for name in names) is shortcuts
    assert isinstance(model, models.Recogniser) is (loss is not None)
    if loss is not None:
        assert model.classifier.angular == loss  # type: ignore[union-attr]
        assert model.classifier.margin is None  # type: ignore[union-attr]


# ------------------------------------------------------------------------------------------------ reports


@pytest.mark.parametrize(
    ("name", "heading"),
    [
        *((entry.name, "Operator") for entry in spherenet.ENTRIES),
        ("table3-digits", "Regularization"),
        ("thesis-table5.4-cifar100", "Regularization"),
        ("thesis-tableD.3-cifar10", "Regularization"),
        ("thesis-table2.4-cifar100", "Objective"),
    ],
)
def test_reports_call_the_rows_what_they_are(name: str, heading: str) -> None:
    recipe = RECIPES[name]()
    row = {"settings": recipe.settings, "seeds": []}
    assert row_heading({"name": name, "metric": recipe.metric, "rows": [row]}) == heading


# ------------------------------------------------------------------------------------------------ costs


@pytest.mark.parametrize(
    ("name", "settings", "size"),
    [
        ("thesis-table3.1-cifar10", {"row": "sigmoid-0.3+ga-softmax"}, 32),
        *(
            ("thesis-table3.2-cifar10", {"network": network, "row": "conv+softmax"}, 32)
            for network in ("cnn-3", "cnn-18", "cnn-60", "resnet-32")
        ),
        ("thesis-table3.3-cifar10", {"row": "conv+softmax"}, 32),
        ("thesis-table3.4-cifar100", {"row": "conv+softmax"}, 32),
        ("thesis-figure3.3c-cifar10", {"row": "conv+softmax", "widths": (16, 32, 48)}, 32),
        ("thesis-figure3.3d-cifar10", {"row": "conv+softmax"}, 32),
        ("thesis-figure3.5-cifar10", {"row": "batch-norm", "batch_size": 4}, 32),
    ],
)
def test_the_estimated_cost_is_that_of_the_network(name: str, settings: dict[str, Any], size: int) -> None:
    entry = RECIPES[name]
    recipe = entry(**settings)
    images = recipe.max_steps * recipe.batch_size if recipe.max_steps else 0
    work = multiply_adds(recipe, (3, size, size))
    assert entry.hours(**settings).cpu == pytest.approx(1.46 / 3600 * images / 128 * work / 398.2e6, rel=0.002)
