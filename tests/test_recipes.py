"""The recipes hold the papers' settings, and their observations are what the tables and figures need."""

import io
import math
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import nn

import onsphere as osp
from onsphere.recipes import COMPARISONS, RECIPES, compare, mma, table3_cifar100, table3_digits
from onsphere.recipes.mma import ROWS, RowName
from onsphere.train import run


def test_rows_are_those_of_table_3_with_the_paper_coefficients() -> None:
    assert tuple(ROWS) == get_args(RowName)
    recipes = compare(COMPARISONS["cifar100"], data_dir=Path("x"))
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
    assert table3_cifar100(Path("x"), "mma").paper
    for other in ({"model": "resnet20"}, {"width": 0.5}, {"train_images": 512}, {"layers": "hidden"}):
        assert not table3_cifar100(Path("x"), "mma", **other).paper  # type: ignore[arg-type]


def test_skip_connections_have_their_own_coefficient() -> None:
    assert table3_cifar100(Path("x"), "mma", model="resnet20").settings["coefficient"] == 0.03
    assert table3_cifar100(Path("x"), "mhe-s2", model="resnet20").settings["coefficient"] == 1.0
    assert table3_cifar100(Path("x"), "mma", model="resnet20", coefficient=0.2).settings["coefficient"] == 0.2


def test_learning_rate_of_the_cifar_schedule() -> None:
    recipe = table3_cifar100(Path("x"), "none")
    assert recipe.schedule is not None
    optimizer = recipe.optimizer([nn.Parameter(torch.zeros(1))])
    schedule = recipe.schedule(optimizer)
    rates = []
    for _ in range(recipe.epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([0.1] * 81 + [0.01] * 41 + [0.001] * 42)
    assert optimizer.param_groups[0]["momentum"] == 0.9
    assert optimizer.param_groups[0]["weight_decay"] == 5e-4


def test_milestones_follow_the_epochs_where_none_are_given() -> None:
    assert table3_digits("none", epochs=8).settings["milestones"] == (4, 6)
    assert table3_digits("none", epochs=8, milestones=(1,)).settings["milestones"] == (1,)


def test_rows_differ_in_nothing_but_the_regularizer() -> None:
    recipes = compare(COMPARISONS["digits"], epochs=3)
    first = {key: value for key, value in recipes[0].settings.items() if key not in ("row", "coefficient")}
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
    full = table3_cifar100(Path("x"), "mhe-s2", width=0.1, mhe_batch=None)
    part = table3_cifar100(Path("x"), "mhe-s2", width=0.1)
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
        compare(COMPARISONS["digits"], **arguments)  # type: ignore[arg-type]


def test_minimum_angle_and_cosines_of_known_directions() -> None:
    angles = (0.0, 50.0, 90.0)
    layer = nn.Linear(2, 3, bias=False)
    layer.weight.data = torch.tensor([[math.cos(math.radians(a)), math.sin(math.radians(a))] for a in angles])
    model = nn.Sequential(layer, nn.Linear(3, 4))
    assert mma.minimum_angles(model)["minimum_angle_deg"]["0"] == pytest.approx(40.0, abs=1e-3)
    found = mma.first_layer_cosines(model, above=0.2, bins=20)["cosines"]
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


@pytest.mark.parametrize(("model", "row"), [("vgg19_bn", "mhe-s2"), ("vgg19_bn", "mma"), ("resnet20", "mma")])
def test_a_few_steps_of_the_cifar_recipe(tmp_path: Path, model: str, row: str) -> None:
    folder = parquet_images(tmp_path / "cifar")
    recipe = RECIPES["table3-cifar100"](
        folder, row, model=model, width=0.1, epochs=1, batch_size=4, train_images=8, test_images=5
    )
    result = run(recipe, seeds=[1], accelerator="cpu", measure=False)
    assert (result.data["train"], result.data["test"]) == (8, 5)
    (seed,) = result.rows[0].seeds
    assert seed.steps == 2
    assert set(seed.observations["minimum_angle_deg"]) >= (
        {"conv3_3", "conv4_3", "conv5_3", "classifier"} if model == "vgg19_bn" else {"conv0", "classifier"}
    )


def test_another_data_set_in_the_folder_is_refused(tmp_path: Path) -> None:
    folder = parquet_images(tmp_path / "cifar", classes=10)
    with pytest.raises(ValueError, match="has 10 classes: expected the 100"):
        table3_cifar100(folder, "none").data()
