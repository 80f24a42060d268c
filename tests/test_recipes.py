"""The recipes hold the papers' settings, every row of every table trains, and observations are what figures need."""

import io
import itertools
import math
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

import onsphere as osp
from onsphere import data
from onsphere.recipes import COMPARISONS, RECIPES, Entry, compare, mhe, mma, observations
from onsphere.recipes.image_sets import CIFAR10
from onsphere.recipes.mhe.methods import METHODS, weights
from onsphere.recipes.mma import ROWS, RowName, cifar100, table3_digits
from onsphere.train import Recipe, run

DIGITS, CIFAR = RECIPES["table3-digits"], RECIPES["table3-cifar100"]


def learning_rates(recipe: Recipe, times: int) -> list[float]:
    """The learning rate at the first so many steps of the schedule."""
    assert recipe.schedule is not None
    optimizer = recipe.optimizer([nn.Parameter(torch.zeros(1))])
    schedule = recipe.schedule(optimizer)
    rates = []
    for _ in range(times):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


# ------------------------------------------------------------------------------------------------ the MMA paper


def test_rows_are_those_of_table_3_with_the_paper_coefficients() -> None:
    assert tuple(ROWS) == get_args(RowName) == CIFAR.rows
    recipes = compare(COMPARISONS["cifar100"], dataset="x")
    assert [(recipe.row, recipe.settings["coefficient"]) for recipe in recipes] == [
        ("none", 0.0),
        ("orthogonal", 1e-4),
        ("MHE s=2", 1.0),
        ("MHE s=0", 1.0),
        ("MMA", 0.07),
    ]
    assert [recipe.paper["top1"] for recipe in recipes] == [72.08, 72.83, 71.91, 72.08, 73.73]
    assert recipes[4].paper["time_ratio"] == pytest.approx(0.095 / 0.070, abs=1e-3)
    assert recipes[0].paper["minimum_angle_deg.conv4_3"] == 16.0


def test_the_paper_numbers_are_not_claimed_for_other_settings() -> None:
    assert not table3_digits("mma").paper
    assert cifar100("x", "mma").paper
    for other in ({"model": "resnet20"}, {"width": 0.5}, {"train_images": 512}, {"layers": "output"}):
        assert not cifar100("x", "mma", **other).paper  # type: ignore[arg-type]
    assert not CIFAR(dataset="noise").paper
    assert mhe.plain_network("x", "mhe-s2").paper
    for other in ({"widths": (8, 8, 8)}, {"coefficient": 3.0}, {"depth": 6}, {"test_images": 9}):
        assert not mhe.plain_network("x", "mhe-s2", **other).paper  # type: ignore[arg-type]
    assert not mhe.imagenet("x", image_size=64).paper
    assert not mhe.imbalanced_mnist("x", zeros=200).paper


def test_the_paper_numbers_are_not_claimed_for_a_shorter_training() -> None:
    for name, length, usual in (("table5-cifar100", "epochs", 164), ("thesis-table5.3-cifar100", "steps", 42500)):
        entry = RECIPES[name]
        assert entry().settings[length] == usual
        assert not entry(**{length: usual - 1}).paper
        assert entry(**{length: usual}).paper
        assert entry(**{length: usual + 1}).paper == entry().paper != {}


@pytest.mark.parametrize(
    ("name", "settings", "paper"),
    [
        ("table2-cifar100", {"row": "mma", "layers": "hidden"}, {"top1": 73.45, "top5": 90.91}),
        ("table2-cifar100", {"row": "none", "layers": "hidden"}, {"top1": 72.08, "top5": 90.50}),
        ("table4-cifar100", {"row": "none"}, {"top1": 80.65}),
        ("table4-cifar100", {"row": "autoaugment"}, {"top1": 82.65}),
        ("table5-cifar100", {"row": "mma", "model": "wrn_16_8"}, {"top1": 79.34, "top5": 95.05}),
        ("table5-cifar100", {"row": "none", "model": "densenet_40_12"}, {"top1": 73.98, "top5": 92.74}),
        ("table5-cifar100", {"row": "mma", "model": "vgg19_bn"}, {"top1": 73.73, "top5": 91.21}),
        ("table6-tinyimagenet", {"row": "mma", "model": "vgg16_bn"}, {"top1": 63.37, "top5": 82.68}),
        ("figure6-cifar100", {"row": "none"}, {"top1": 70.39, "top5": 91.12}),
        ("thesis-table5.1-cifar10", {"row": "half-a-mhe-s0"}, {"top1": 93.56}),
        ("thesis-table5.2-cifar100", {"row": "mhe-s2", "widths": (16, 32, 64)}, {"top1": 63.16}),
        ("thesis-table5.3-cifar100", {"row": "half-mhe-s2", "depth": 15}, {"top1": 74.16}),
        ("thesis-table5.3-cifar100", {"row": "none", "depth": 15}, {}),
        ("thesis-table5.4-cifar100", {"row": "a-mhe-s2", "layers": "output"}, {"top1": 72.2}),
        ("thesis-table5.5-cifar100", {"row": "none"}, {"top1": 77.13}),
        ("thesis-table5.6-imagenet", {"row": "orthogonal", "model": "resnet34"}, {"top1": 70.26}),
        ("thesis-table5.7-cifar10", {"row": "none"}, {"top1": 90.2, "class_top1.0": 69.6}),
        ("thesis-table5.7-cifar10", {"row": "none", "imbalance": "multiple"}, {"top1": 88.0}),
        ("thesis-tableD.3-cifar10", {"row": "orthonormal"}, {"top1": 93.87}),
        ("thesis-tableD.6-cifar100", {"row": "mhe-s2"}, {"top1": 70.7}),
        ("thesis-figure5.4-mnist", {"row": "none"}, {"top1": 88.5}),
    ],
)
def test_the_numbers_of_the_tables(name: str, settings: dict[str, Any], paper: dict[str, float]) -> None:
    recipe = RECIPES[name](**settings)
    assert {key: recipe.paper[key] for key in paper} == paper
    assert bool(recipe.paper) == bool(paper)
    assert recipe.name == name


def test_skip_connections_have_their_own_coefficient() -> None:
    assert cifar100("x", "mma", model="resnet20").settings["coefficient"] == 0.03
    assert cifar100("x", "mma", model="densenet_40_12").settings["coefficient"] == 0.03
    assert cifar100("x", "mhe-s2", model="resnet20").settings["coefficient"] == 1.0
    assert cifar100("x", "mma", model="resnet20", coefficient=0.2).settings["coefficient"] == 0.2
    assert mma.wrn_cifar100("x").settings["coefficient"] == 0.03
    assert [mma.tinyimagenet("x", model=m).settings["coefficient"] for m in ("resnet56", "vgg16_bn")] == [0.01, 0.07]


@pytest.mark.parametrize(
    ("model", "batch", "decay", "nesterov", "rates"),
    [
        ("vgg19_bn", 128, 5e-4, False, [(81, 0.1), (41, 0.01), (42, 0.001)]),
        ("resnet56", 128, 1e-4, False, [(81, 0.1), (41, 0.01), (42, 0.001)]),
        ("wrn_16_8", 128, 5e-4, True, [(60, 0.1), (60, 0.02), (40, 0.004), (40, 0.0008)]),
        ("densenet_40_12", 64, 1e-4, True, [(150, 0.1), (75, 0.01), (75, 0.001)]),
    ],
)
def test_each_network_is_trained_as_in_its_own_paper(
    model: Any, batch: int, decay: float, nesterov: bool, rates: list[tuple[int, float]]
) -> None:
    recipe = cifar100("x", "none", model=model)
    assert recipe.batch_size == batch
    assert learning_rates(recipe, recipe.epochs) == pytest.approx([rate for n, rate in rates for _ in range(n)])
    (group,) = recipe.optimizer([nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.9, decay, nesterov)


def test_milestones_follow_the_epochs_where_none_are_given() -> None:
    assert table3_digits("none", epochs=8).settings["milestones"] == (4, 6)
    assert table3_digits("none", epochs=8, milestones=(1,)).settings["milestones"] == (1,)
    assert table3_digits("none", epochs=1).settings["milestones"] == (1, 1)  # not 0, which would be before the start
    assert cifar100("x", "none", epochs=200).settings["milestones"] == (99, 149)
    assert mhe.plain_network("x", "none", steps=85_000).settings["milestones"] == (40_000, 60_000, 75_000)


# ------------------------------------------------------------------------------------------------ the thesis


def test_the_coefficients_of_the_thesis() -> None:
    for row in mhe.VARIANTS:
        found = weights(row, "everywhere", None, None)
        assert (found.coefficient, found.output_coefficient) == (1.0 if row.startswith("half") else 10.0, 1.0)
    assert weights("orthonormal", "everywhere", None, None).coefficient == 1e-5
    assert weights("mhe-s2", "output", 3.0, None) == weights("mhe-s2", "output", 3.0, None)
    assert weights("mhe-s2", "output", 3.0, None).output_coefficient == 3.0


def test_the_training_of_the_thesis_goes_by_steps() -> None:
    recipe = mhe.plain_network("x", "none")
    assert (recipe.max_steps, recipe.schedule_every, recipe.batch_size) == (42_500, "step", 128)
    (group,) = recipe.optimizer([nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 1e-4)
    rates = learning_rates(mhe.plain_network("x", "none", steps=425), 425)
    assert rates == pytest.approx([0.1] * 200 + [0.01] * 100 + [0.001] * 75 + [0.0001] * 50)
    big = mhe.imagenet("x", "none")
    assert (big.max_steps, big.batch_size) == (500_000, 64)
    assert big.settings["milestones"] == (150_000, 300_000, 400_000)


def unit(weight: Tensor) -> Tensor:
    return nn.functional.normalize(weight.flatten(1).double())


def energy(weight: Tensor, s: int, angular: bool) -> Tensor:
    """Mean over ordered pairs of the energy of directions, literally (eqs. 5.1 and 5.5)."""
    directions = unit(weight)
    apart = ~torch.eye(len(directions), dtype=torch.bool)
    distances = (directions @ directions.T)[apart].clamp(-1, 1).arccos() if angular else torch.cdist(
        directions, directions, compute_mode="donot_use_mm_for_euclid_dist")[apart]  # fmt: skip
    return (distances**-s if s else -distances.log()).mean()


@pytest.mark.parametrize("row", ["none", "orthonormal", *mhe.VARIANTS])
def test_a_row_of_the_thesis_regularizes_hidden_layers_and_output_layer_in_its_own_way(row: Any) -> None:
    torch.manual_seed(0)
    recipe = mhe.plain_network("x", row, widths=(3, 4, 5), depth=3)
    model = recipe.model()
    if row == "none":
        assert recipe.regularizer is None
        return
    assert recipe.regularizer is not None
    *hidden, output = [weight for weight in model.parameters() if weight.ndim > 1]
    if row == "orthonormal":
        residuals = [w.flatten(1) @ w.flatten(1).T - torch.eye(len(w)) for w in (*hidden, output)]
        expected = 1e-5 * sum(residual.square().sum() for residual in residuals)
    else:
        s, angular, half = int(row[-1]), "a-mhe" in row, row.startswith("half")
        doubled = [torch.cat((weight, -weight)) for weight in hidden] if half else hidden
        expected = (1 if half else 10) * sum(energy(weight, s, angular) for weight in doubled)
        expected = expected + energy(output, s, angular)
    assert recipe.regularizer(model)().item() == pytest.approx(torch.as_tensor(expected).item(), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"row": "mhe-s3"}, "row='mhe-s3' is none of none, orthogonal"),
        ({"row": "none", "coefficient": 1.0}, r"coefficient=1\.0 has no effect on row 'none'"),
        ({"row": "none", "output_coefficient": 1.0}, r"output_coefficient=1\.0 has no effect"),
        ({"row": "mhe-s2", "layers": "hidden", "output_coefficient": 1.0}, "has no effect with layers='hidden'"),
        ({"row": "half-mhe-s2", "layers": "output"}, "half space is for hidden layers"),
        ({"row": "mhe-s2", "steps": 0}, "steps=0 must be greater than 0"),
    ],
)
def test_what_the_thesis_cannot_mean_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mhe.plain_network("x", **settings)


def test_few_images_of_some_classes() -> None:
    single = mhe.imbalanced_cifar("noise", train_images=1000).data()
    assert torch.bincount(single.train.labels).tolist() == [10] + [100] * 9
    multiple = mhe.imbalanced_cifar("noise", imbalance="multiple", train_images=1000).data()
    assert torch.bincount(multiple.train.labels).tolist() == [10 * (label + 1) for label in range(10)]
    hundred = mhe.imbalanced_cifar("noise", classes=100, train_images=10_000).data()
    assert torch.bincount(hundred.train.labels).tolist() == [10] * 10 + [100] * 90
    zeros = mhe.imbalanced_mnist("noise", zeros=3, train_images=100).data()
    assert torch.bincount(zeros.train.labels).tolist() == [3] + [10] * 9


# ------------------------------------------------------------------------------------------------ all recipes


def test_rows_differ_in_nothing_but_the_regularizer() -> None:
    for entry, settings in ((DIGITS, {"epochs": 3}), (RECIPES["thesis-table5.7-cifar10"], {"dataset": "noise"})):
        recipes = compare(entry, **settings)
        varying = ("row", "coefficient", "output_coefficient")
        first = {key: value for key, value in recipes[0].settings.items() if key not in varying}
        for recipe in recipes[1:]:
            assert {key: recipe.settings[key] for key in first} == first
            assert recipe.data() is recipes[0].data()  # decoded once


@pytest.mark.parametrize(
    ("row", "value"),
    [
        ("orthogonal", osp.functional.orthogonal),
        ("mhe-s2", lambda w: osp.functional.mhe(w, s=2.0)),
        ("mhe-s0", lambda w: osp.functional.mhe(w, s=0.0)),
        ("mma", osp.functional.mma),
    ],
)
@pytest.mark.parametrize("layers", ["everywhere", "hidden", "output"])
def test_the_regularizer_of_a_row_is_its_measure_on_the_chosen_layers(row: RowName, value, layers: str) -> None:  # type: ignore[no-untyped-def]
    recipe = table3_digits(row, layers=layers, coefficient=0.5)  # type: ignore[arg-type]
    torch.manual_seed(0)
    model = recipe.model()
    assert recipe.regularizer is not None
    weights = {name: p.flatten(1) for name, p in model.named_parameters() if p.ndim > 1}
    if layers != "everywhere":
        weights = {name: w for name, w in weights.items() if name.startswith("classifier") == (layers == "output")}
    expected = 0.5 * sum(value(w) for w in weights.values())
    assert recipe.regularizer(model)().item() == pytest.approx(expected.item(), rel=1e-5)


def test_mhe_takes_its_share_of_the_neurons_on_cifar() -> None:
    torch.manual_seed(0)
    full = cifar100("x", "mhe-s2", width=0.1, mhe_batch=None)
    part = cifar100("x", "mhe-s2", width=0.1)
    model = full.model()
    assert full.regularizer is not None
    assert part.regularizer is not None
    everything, some = full.regularizer(model), part.regularizer(model)
    assert everything().item() == everything().item()
    assert some().item() != some().item()  # drawn anew at every step


def test_row_none_has_no_regularizer_and_no_coefficient() -> None:
    assert table3_digits("none").regularizer is None
    with pytest.raises(ValueError, match=r"coefficient=0\.1 has no effect on row 'none'"):
        table3_digits("none", coefficient=0.1)


@pytest.mark.parametrize("setting", [{"epochs": 0}, {"batch_size": -1}, {"train_images": 0}, {"learning_rate": 0.0}])
def test_values_out_of_range_are_named(setting: dict[str, float]) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        table3_digits("mma", **setting)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": ["none", "mmma"]}, "row 'mmma' is none of none, orthogonal"),
        ({"rows": ["none", "none"]}, "different"),
        ({"rows": []}, "different"),
        ({"rows": ["none"], "coefficients": {"mma": 1.0}}, "row 'mma' is none of none"),
    ],
)
def test_wrong_rows_are_named(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(DIGITS, **arguments)  # type: ignore[arg-type]


def test_minimum_angle_and_cosines_of_known_directions() -> None:
    angles = (0.0, 50.0, 90.0)
    layer = nn.Linear(2, 3, bias=False)
    layer.weight.data = torch.tensor([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in angles])
    model = nn.Sequential(layer, nn.Linear(3, 4))
    assert observations.minimum_angles(model)["minimum_angle_deg"]["0"] == pytest.approx(40.0, abs=1e-3)
    found = observations.first_layer_cosines(model, above=0.2, bins=20)["cosines"]
    assert (found["layer"], found["pairs"], found["pairs_above"], found["above"]) == ("0", 3, 2, 0.2)
    expected = [0] * 20
    expected[10], expected[16], expected[17] = 1, 1, 1  # cosines 0, 0.643 and 0.766 in bins of 0.1 from -1
    assert found["counts"] == expected
    assert found["edges"][0] == -1
    assert found["edges"][-1] == 1


def test_observations_leave_the_training_alone() -> None:
    recipe = table3_digits("mma", train_images=20, widths=(2, 2, 2), depth=3, epochs=2)
    result = run(recipe, seeds=[1], accelerator="cpu", measure=False)
    (seed,) = result.rows[0].seeds
    angles = seed.observations["minimum_angle_deg"]
    assert list(angles) == ["conv1_1", "conv2_1", "conv3_1", "fc", "classifier"]
    assert all(len(values) == 2 and 0 <= value <= 180 for values in angles.values() for value in values)
    assert seed.end["cosines"]["layer"] == "conv1_1"
    assert sum(seed.end["cosines"]["counts"]) == seed.end["cosines"]["pairs"] == 1


def parquet_images(folder: Path, classes: int = 100, images: int = 12) -> Path:
    """A data set in CIFAR-100's layout: noise with labels."""
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    image = pytest.importorskip("PIL.Image")
    noise = torch.Generator().manual_seed(0)
    rows = []
    for index in range(images):
        pixels = torch.randint(0, 256, (32, 32, 3), dtype=torch.uint8, generator=noise).numpy()
        file = io.BytesIO()
        image.fromarray(pixels).save(file, "png")
        rows.append({"image": {"bytes": file.getvalue(), "path": None}, "label": (index - 1) % classes})
    folder.mkdir()
    for split in ("train", "test"):
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{split}-00000-of-00001.parquet")
    return folder


def test_a_few_steps_on_files(tmp_path: Path) -> None:
    folder = parquet_images(tmp_path / "cifar")
    recipe = CIFAR(dataset=str(folder), row="mhe-s2", width=0.1, epochs=1, batch_size=4, train_images=8, test_images=5)
    result = run(recipe, seeds=[1], accelerator="cpu", measure=False)
    assert (result.data["train"], result.data["test"]) == (8, 5)
    (seed,) = result.rows[0].seeds
    assert seed.steps == 2
    assert set(seed.observations["minimum_angle_deg"]) >= {"conv3_3", "conv4_3", "conv5_3", "classifier"}


def test_another_data_set_is_refused(tmp_path: Path) -> None:
    folder = parquet_images(tmp_path / "cifar", classes=10)
    with pytest.raises(ValueError, match="has 10 classes: expected the 100 of CIFAR-100"):
        cifar100(str(folder), "none").data()
    with pytest.raises(ValueError, match="has images of 3 x 32 x 32: expected the 1 x 28 x 28 of MNIST"):
        mhe.imbalanced_mnist(str(folder), "none").data()
    with pytest.raises(ValueError, match="50 images were asked for, but there are 12"):
        CIFAR10.load(str(folder), 50)


# Its rows are the same functions as another's, trained there.
SAME_ROWS = {"orl-open-set": RECIPES["omniglot-open-set"].build}


def with_every_part(rows: tuple[str, ...]) -> tuple[str, ...]:
    """Of rows "operator+loss" so many that every operator and every loss is in one, since no code knows of a pair."""
    chosen, seen = [], set[str]()
    for row in rows:
        if set(row.split("+")) - seen:
            chosen.append(row)
            seen |= set(row.split("+"))
    return tuple(chosen)


def smoke_settings() -> list[Any]:
    """Every recipe in every variant, with the rows that its function has not had yet; with the default one if none."""
    cases, known = [], set()
    for entry in RECIPES.values():
        for values in itertools.product(*entry.variants.values()):
            variant = dict(zip(entry.variants, values, strict=True))
            build = SAME_ROWS.get(entry.name, entry.build)
            rows = tuple(row for row in entry.rows if (build, row) not in known) or (entry.defaults["row"],)
            known |= {(build, row) for row in entry.rows}
            rows = with_every_part(rows)
            if variant.get("layers") == "output":
                rows = tuple(row for row in entry.rows if not row.startswith("half"))[-1:]
            cases.append(pytest.param(entry, variant, rows, id="-".join([entry.name, *map(str, values)])))
    return cases


@pytest.mark.parametrize(("entry", "variant", "rows"), smoke_settings())
def test_a_step_or_two_of_every_recipe(entry: Entry, variant: dict[str, Any], rows: tuple[str, ...]) -> None:
    settings = {**variant, **entry.smoke}  # a variant of widths is a tiny one here
    for row in entry.rows if variant.get("layers") != "output" else ():
        if row not in rows:  # another recipe trains it
            recipe = entry(row=row, **settings)
            model = recipe.model()
            if recipe.prepare is not None:
                recipe.prepare(model)
            if recipe.regularizer is not None:
                recipe.regularizer(model)
    result = run(compare(entry, rows, **settings), seeds=[1], accelerator="cpu", measure=False, threads=1)
    assert result.name == entry.name
    assert result.complete
    for row in result.rows:
        (seed,) = row.seeds
        assert seed.steps in (1, 2)
        assert not row.paper
        assert all(math.isfinite(value) for value in seed.final.values())
        assert seed.observations["minimum_angle_deg"]


@pytest.mark.parametrize("entry", RECIPES.values(), ids=lambda entry: entry.name)
def test_every_recipe_trains_the_row_and_variant_of_its_table_by_default(entry: Entry) -> None:
    recipe = entry()
    assert recipe.settings["row"] in entry.rows
    assert all(recipe.settings[name] in values for name, values in entry.variants.items())
    assert not entry.rows[0].endswith(("mhe-s2", "-mhe", "-mma"))  # what the others are compared with
    assert len({(row.row, row.source) for row in entry.every_row()}) == len(list(entry.every_row()))
    with pytest.raises(ValueError, match=re.escape(f"row 'mmma' is none of {entry.rows[0]}")):
        entry(row="mmma")


def test_the_tables_have_as_many_rows_as_in_the_papers() -> None:
    counts = {name: len(list(entry.every_row())) for name, entry in RECIPES.items()}
    assert counts["table5-cifar100"] == 8
    assert counts["thesis-table5.1-cifar100"] == 13
    assert counts["thesis-table5.2-cifar100"] == 15
    assert counts["thesis-table5.4-cifar100"] == 13  # half space is not on the output layer
    assert counts["thesis-table5.6-imagenet"] == 10
    assert counts["thesis-table5.7-cifar10"] == 12
    assert counts["thesis-tableD.3-cifar10"] == 14


def multiply_adds(recipe: Recipe, shape: tuple[int, ...]) -> int:
    """Of convolutions and linear layers for one image."""
    total = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        assert isinstance(module.weight, Tensor)
        total += math.prod(output.shape[2:]) * module.weight.numel()

    model = recipe.model().eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
        elif isinstance(module, osp.AngularSoftmax):
            total += module.weight.numel()
    with torch.no_grad():
        model(torch.zeros(1, *shape))
    return total


@pytest.mark.parametrize(
    ("name", "settings", "size"),
    [
        ("table3-digits", {}, 8),
        ("table3-cifar100", {}, 32),
        ("table5-cifar100", {"model": "resnet56"}, 32),
        ("table5-cifar100", {"model": "densenet_40_12"}, 32),
        ("table6-tinyimagenet", {"model": "resnet56"}, 64),
        ("thesis-table5.2-cifar100", {"widths": (32, 64, 128)}, 32),
        ("thesis-table5.3-cifar100", {"depth": 15}, 32),
        ("thesis-table5.5-cifar10", {}, 32),
        ("thesis-table5.6-imagenet", {"model": "resnet18"}, 224),
        ("thesis-tableD.3-cifar10", {}, 32),
        ("thesis-figure5.4-mnist", {}, 28),
        ("thesis-table2.2-mnist", {}, 28),
        ("thesis-table2.3-cifar10", {}, 32),
        ("thesis-table2.4-cifar100", {}, 32),
        ("mnist-features", {}, 28),
    ],
)
def test_the_estimated_cost_is_that_of_the_network(name: str, settings: dict[str, Any], size: int) -> None:
    entry = RECIPES[name]
    recipe = entry(**settings)
    counted = multiply_adds(recipe, (entry.images.channels, size, size))
    images = recipe.epochs * entry.images.train
    if recipe.max_steps:
        images = recipe.max_steps * recipe.batch_size
    hours = entry.hours(**settings)
    assert hours.cpu == pytest.approx(1.46 / 3600 * images / 128 * counted / 398.2e6, rel=0.03)
    assert hours.gpu == pytest.approx(hours.cpu * 0.070 / 1.46)


# ------------------------------------------------------------------------------------------------ what is looked at


def test_accuracy_by_class_is_that_of_the_normalised_test_images() -> None:
    full = data.digits(100)

    class Nearest(nn.Module):
        """The class whose mean image, normalised as for training, is nearest."""

        def __init__(self) -> None:
            super().__init__()
            images = (full.train.images.float() / 255 - full.mean[0]) / full.std[0]
            means = torch.stack([images[full.train.labels == label].mean(0) for label in range(10)])
            self.means = nn.Parameter(means.flatten(1))

        def forward(self, images: Tensor) -> Tensor:
            return -torch.cdist(images.flatten(1), self.means)

    model = Nearest()
    with torch.no_grad():
        found = observations.class_accuracies(model, lambda: full)["class_top1"]
        images = (full.test.images.float() / 255 - full.mean[0]) / full.std[0]
        right = model(images).argmax(1) == full.test.labels
    expected = [100 * right[full.test.labels == label].float().mean().item() for label in range(10)]
    assert found == pytest.approx(expected, abs=1e-3)
    assert min(found) > 50  # it does recognise them


def test_features_in_the_plane_are_those_of_the_full_training_set() -> None:
    recipe = mhe.imbalanced_mnist("noise", widths=(2, 2, 2), zeros=1, train_images=60, test_images=20, steps=2)
    model = recipe.model().eval()
    assert isinstance(model, nn.Sequential)
    assert recipe.final is not None
    with torch.no_grad():
        end: Any = recipe.final(model)
        full, seen = data.noise(10, 28, 1, 60, 20), recipe.data()
        images = (full.train.images[:1].float() / 255 - seen.mean[0]) / seen.std[0]
        feature = model[:-1](images)[0]
    train, test = end["features"]["train"], end["features"]["test"]
    assert [len(digit["x"]) for digit in train] == [6] * 10  # zeros too, of which one is trained on
    assert [len(digit["y"]) for digit in test] == [2] * 10
    assert (train[0]["x"][0], train[0]["y"][0]) == pytest.approx(feature.tolist(), abs=2e-3)
    assert torch.tensor(end["features"]["neurons"]).norm(dim=1).tolist() == pytest.approx([1.0] * 10, abs=1e-4)
    assert len(end["class_top1"]) == 10


def test_both_rows_of_figure_5_4_are_trained_alike() -> None:
    none, energy = compare(RECIPES["thesis-figure5.4-mnist"], dataset="x")
    assert none.clip == energy.clip == 1.0
    assert (none.max_steps, none.batch_size) == (energy.max_steps, energy.batch_size)
    assert none.regularizer is None
    assert energy.regularizer is not None
    assert list(energy.regularizer(energy.model()).per_layer()) == ["classifier"]  # type: ignore[attr-defined]


def test_features_of_another_number_are_not_drawn() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Linear(4, 10))
    with pytest.raises(ValueError, match="takes 4 features: expected 2 or 3"):
        observations.drawn_features(model, data.digits, data.digits)


def test_every_row_of_the_methods_has_a_label_of_its_own() -> None:
    assert len({method.label for method in METHODS.values()}) == len(METHODS) == 15
