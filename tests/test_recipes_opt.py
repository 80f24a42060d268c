"""Chapter 7 on images: the tables' numbers and energies, what every row trains, and the figure of the energies."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from test_recipes import learning_rates, multiply_adds

pytest.importorskip("lightning")

import onsphere as osp
from onsphere import models, orthogonal
from onsphere.data import Data
from onsphere.recipes import RECIPES, compare
from onsphere.recipes.opt import initial_energy, methods, mnist, parameter_efficient, plain_network
from onsphere.recipes.opt.methods import LABELS, WITHOUT_MATRICES, coefficient_of, energies, prepare, table_energy
from onsphere.recipes.opt.paper import BLOCKS, TABLE_7_2, TABLE_7_6_ENERGY
from onsphere.report import markdown, write_energies, write_html
from onsphere.report.__main__ import main
from onsphere.report.energies import courses, energies_picture
from onsphere.report.metrics import row_heading
from onsphere.train import Recipe, run

FIGURE = RECIPES["thesis-figure7.3-cifar100"]
SMALL: Any = {"dataset": "noise", "widths": (4, 4, 4)}


def prepared(recipe: Recipe) -> nn.Module:
    """The model as training finds it."""
    torch.manual_seed(0)
    model = recipe.model()
    if recipe.prepare is not None:
        recipe.prepare(model)
    return model


def matrix(model: nn.Module, layer: str) -> Tensor:
    """A layer's learned parameter."""
    found = model.get_parameter(f"{layer}.parametrizations.weight.0.maps.default.matrix")
    assert isinstance(found, Tensor)
    return found


# ----------------------------------------------------------------------------------------------- the thesis's numbers


@pytest.mark.parametrize(
    ("name", "settings", "paper"),
    [
        ("thesis-table7.1-cifar100", {"row": "upt-learnable", "depth": 6}, {"top1": 51.53}),
        ("thesis-table7.1-cifar100", {"row": "gs", "depth": 9}, {"top1": 68.97}),
        ("thesis-table7.1-cifar100", {"row": "none", "depth": 9}, {"top1": 66.45}),
        ("thesis-table7.2-cifar100", {"row": "mean-2e-2"}, {"top1": 46.11, "energy": 3.5531}),
        ("thesis-table7.2-cifar100", {"row": "mean-5e-2"}, {"energy": 4.2776}),
        ("thesis-table7.3-mnist", {"row": "or", "initialization": "normal"}, {"top1": 94.59}),
        ("thesis-table7.3-mnist", {"row": "ogd", "initialization": "xavier"}, {"top1": 98.44}),
        ("thesis-table7.4-cifar100", {"row": "hs-mhe", "depth": 6}, {"top1": 65.03}),
        ("thesis-table7.4-cifar100", {"row": "hr", "depth": 9}, {"top1": 67.25}),
        ("thesis-table7.5-cifar100", {"row": "cp"}, {"top1": 65.12}),
        ("thesis-table7.5-cifar100", {"row": "or"}, {}),
        ("thesis-table7.6-cifar100", {"row": "ls", "refine": "hs-mhe"}, {"top1": 65.63, "energy": 3.4976}),
        ("thesis-table7.6-cifar100", {"row": "gs", "refine": "none"}, {"top1": 66.98, "energy": 3.5109}),
        ("thesis-table7.7-cifar100", {"row": "none", "normalize": True}, {"top1": 63.95}),
        ("thesis-table7.7-cifar100", {"row": "ogd", "normalize": False}, {"top1": 66.63}),
        ("thesis-table7.8-cifar100", {"row": "gs", "depth": 20}, {"top1": 69.27}),
        ("thesis-table7.9-imagenet", {"row": "none"}, {"top1": 55.68, "top5": 78.87}),
        ("thesis-figure7.3-cifar100", {"row": "or"}, {"top1": 65.3}),
        ("thesis-tableF.4-cifar100", {"row": "gs", "blocks": 16}, {"top1": 44.09}),
        ("thesis-tableF.4-cifar100", {"row": "fixed", "blocks": 4}, {"top1": 26.19}),
        ("thesis-tableF.5-cifar100", {"row": "ogd", "blocks": 64}, {"top1": 45.07}),
        ("thesis-tableF.5-cifar100", {"row": "hr", "blocks": 2}, {"top1": 64.35}),
    ],
)
def test_the_numbers_of_the_tables(name: str, settings: dict[str, Any], paper: dict[str, float]) -> None:
    assert RECIPES[name](**settings).paper == paper
    assert not RECIPES[name](**settings, dataset="noise").paper


def test_the_tables_have_as_many_rows_as_in_the_thesis() -> None:
    names = [name for name, entry in RECIPES.items() if entry.build.__module__.startswith("onsphere.recipes.opt.")]
    counts = {name: len(list(RECIPES[name].every_row())) for name in names}
    expected = {"7.1": 10, "7.2": 6, "7.3": 14, "7.4": 16, "7.5": 8, "7.6": 9, "7.7": 14, "7.8": 6, "7.9": 2}
    for table, count in {**expected, "F.4": 49, "F.5": 49}.items():
        (name,) = [name for name in names if f"table{table}-" in name]
        assert counts[name] == count


@pytest.mark.parametrize(
    "changed",
    [
        {"widths": (8, 8, 8)},
        {"train_images": 9},
        {"batch_norm": False},
        {"normalize": True},
        {"refine": "mhe"},
        {"start": "identity"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_the_thesis_numbers_are_not_claimed_for_other_settings(changed: Any) -> None:
    assert plain_network("x", "gs").paper
    assert not plain_network("x", "gs", **changed).paper


def test_settings_of_one_row_do_not_take_the_number_from_the_others() -> None:
    assert plain_network("x", "none", start="random", rotation_rate=0.3).paper
    assert plain_network("x", "gs", rotation_rate=0.3).paper
    assert not plain_network("x", "ogd", rotation_rate=0.3).paper
    assert not plain_network("x", "or", coefficient=0.3).paper
    assert plain_network("x", "or", coefficient=methods.BETA).paper
    assert not mnist("x", "or", "normal", clip=3.0).paper
    assert not initial_energy("x", method="gs").paper
    assert not parameter_efficient("x", blocks=2, widths=(8, 8, 8)).paper


def test_the_tables_energy_is_half_space_energy_summed_over_all_hidden_layers() -> None:
    """With the definition of eq. 7.2 none of these numbers comes out: it gives 4.2 for CNN-6."""
    for row, (expected, _) in TABLE_7_2.items():
        recipe = initial_energy("x", row)  # type: ignore[arg-type]
        torch.manual_seed(0)
        model = recipe.model()
        orthogonal.initialize_with_mean(model, float(row.removeprefix("mean-")))
        assert table_energy(model)["energy"] == pytest.approx(expected, rel=0.004)
    torch.manual_seed(0)
    assert table_energy(recipe.model())["energy"] == pytest.approx(TABLE_7_2["mean-0"][0], abs=0.002)


@pytest.mark.parametrize(("refine", "steps"), [("mhe", None), ("hs-mhe", 40)])
def test_refined_neurons_have_the_energy_of_table_7_6(refine: Any, steps: int | None) -> None:
    model = prepared(plain_network("x", "or", refine=refine, refine_steps=steps))
    assert table_energy(model)["energy"] == pytest.approx(TABLE_7_6_ENERGY[refine], abs=0.0015)


def test_steps_of_a_refinement_are_of_that_refinement() -> None:
    assert [plain_network("x", refine=name).settings["refine_steps"] for name in ("none", "mhe", "hs-mhe")] == [
        None,
        10,
        5000,
    ]
    assert plain_network("x", refine="mhe", table="7.6").paper
    assert not plain_network("x", refine="mhe", refine_steps=5000, table="7.6").paper
    assert plain_network("x", refine="none", refine_steps=7, table="7.6").paper  # another column's setting


PARAMETERS = {  # of the matrix of one layer, in thousands: shared blocks, separate ones
    1: (331.7, 331.7), 2: (82.9, 165.9), 4: (20.7, 82.9), 8: (5.2, 41.5), 16: (1.3, 20.7), 32: (0.3, 10.4),
    64: (0.1, 5.2),
}  # fmt: skip


@pytest.mark.parametrize("shared", [True, False], ids=["F.4", "F.5"])
def test_the_matrices_have_the_parameters_of_tables_f_4_and_f_5(shared: bool) -> None:
    assert tuple(PARAMETERS) == BLOCKS
    for blocks, numbers in PARAMETERS.items():
        model = prepared(parameter_efficient("x", "gs", blocks=blocks, share_blocks=shared))
        for layer in ("conv1_2", "conv2_1", "conv3_2"):
            assert matrix(model, layer).numel() / 1000 == pytest.approx(numbers[0 if shared else 1], abs=0.08)
        assert matrix(model, "conv1_1").shape == (27, 27)  # three channels, which cannot be split
        size = 1024 // blocks
        assert matrix(model, "fc").shape[-2:] == (size, size)
        assert matrix(model, "fc").numel() == size**2 * (1 if shared else blocks)


# ------------------------------------------------------------------------------------------------------------ the rows


def test_every_method_has_a_label_and_a_start() -> None:
    assert set(methods.STARTS) | set(WITHOUT_MATRICES) == set(LABELS)
    assert set(methods.STARTS) <= set(orthogonal.METHODS)


@pytest.mark.parametrize("row", methods.STARTS)
def test_the_neurons_are_fixed_and_one_matrix_a_hidden_layer_is_learned(row: str) -> None:
    change = prepare(row)
    assert change is not None
    torch.manual_seed(0)
    model = models.mlp(6, 4, hidden=(5, 3))
    change(model)
    learned = {name for name, _ in model.named_parameters()}
    matrices = {f"hidden{i}.parametrizations.weight.0.maps.default.matrix" for i in (1, 2)}
    assert learned == matrices | {"hidden1.bias", "hidden2.bias", "classifier.weight", "classifier.bias"}
    spread = matrix(model, "hidden1").std().item()
    assert (0.6 < spread < 1.4) == (methods.STARTS[row] == "normal")


@pytest.mark.parametrize("row", ["gs", "upt"])
def test_learnable_weights_are_learned_besides(row: str) -> None:
    kinds = {}
    for name in (row, f"{row}-learnable"):
        model = prepared(plain_network(row=name, **SMALL))  # type: ignore[arg-type]
        kinds[name] = {name for name, _ in model.named_parameters() if name.endswith("weight.original")}
    layers = ("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "fc")
    assert kinds == {row: set(), f"{row}-learnable": {f"{layer}.parametrizations.weight.original" for layer in layers}}


def test_fixed_neurons_stay_and_all_else_learns() -> None:
    model = prepared(parameter_efficient(row="fixed", **SMALL))
    still = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert still == {f"{layer}.weight" for layer in energies(model)["hyperspherical_energy"]}
    assert len(still) == 7


@pytest.mark.parametrize("row", ["none", "hs-mhe", "cp", "fixed"])
def test_neurons_are_normalised_in_every_row(row: str) -> None:
    change = prepare(row, normalize=True)
    assert change is not None
    model = models.plain_cnn(3, widths=(4, 4, 4))
    before = model.get_submodule("conv2_1").weight.detach().flatten(1)  # type: ignore[operator]
    change(model)
    after = model.get_submodule("conv2_1").weight.detach().flatten(1)  # type: ignore[operator]
    torch.testing.assert_close(after.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(after, before / before.norm(dim=1, keepdim=True), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(model.get_submodule("classifier").weight.norm(dim=1), torch.ones(10))  # type: ignore


def test_the_matrices_of_ogd_have_an_optimizer_of_their_own() -> None:
    recipe = plain_network(row="ogd", rotation_rate=0.3, **SMALL)
    model = prepared(recipe)
    optimizer = recipe.optimizer(model.parameters())
    assert isinstance(optimizer, orthogonal.Pair)
    first, second = optimizer.both
    assert isinstance(first, orthogonal.OrthogonalSGD)
    assert isinstance(second, SGD)
    held = [sum(len(group["params"]) for group in each.param_groups) for each in (first, second)]
    assert held == [7, len(list(model.parameters())) - 7]
    assert [each.param_groups[0]["lr"] for each in (first, second)] == [0.3, 0.1]
    assert second.param_groups[0]["weight_decay"] == 5e-4
    assert isinstance(plain_network(row="gs", rotation_rate=0.3, **SMALL).optimizer(model.parameters()), SGD)


def test_the_learning_rate_falls_at_the_milestones_of_f_3() -> None:
    recipe = plain_network(row="none", **{**SMALL, "steps": 425})
    assert recipe.settings["milestones"] == (200, 300, 375)
    assert learning_rates(recipe, 425)[::100] == pytest.approx([0.1, 0.1, 0.01, 0.001, 1e-4])


def test_the_penalties_of_or_and_of_hs_mhe() -> None:
    recipe = plain_network(row="or", coefficient=0.3, **SMALL)
    model = prepared(recipe)
    assert recipe.regularizer is not None
    assert recipe.regularizer(model)().item() == pytest.approx(0.0, abs=1e-6)
    with torch.no_grad():
        matrix(model, "conv2_1").mul_(2.0)  # R^T R - I = 3 I of 36 x 36
    assert recipe.regularizer(model)().item() == pytest.approx(0.3 * 9 * 36, rel=1e-5)

    recipe = plain_network(row="hs-mhe", coefficient=2.0, **SMALL)
    model = prepared(recipe)
    assert recipe.regularizer is not None
    weights = [p.flatten(1) for name, p in model.named_parameters() if p.ndim > 1]
    hidden = sum(osp.functional.mhe(weight, half_space=True) for weight in weights[:-1])
    assert recipe.regularizer(model)().item() == pytest.approx((2 * hidden + osp.functional.mhe(weights[-1])).item())


def test_a_comparison_takes_the_settings_of_some_rows_for_all() -> None:
    recipes = compare(RECIPES["thesis-table7.4-cifar100"], dataset="x", start="identity", rotation_rate=0.3)
    found = {recipe.row: (recipe.settings["start"], recipe.settings["rotation_rate"]) for recipe in recipes}
    assert found["baseline"] == found["HS-MHE"] == (None, None)
    assert found["OPT (OGD)"] == ("identity", 0.3)
    assert found["OPT (GS)"] == ("identity", None)
    assert [recipe.settings["coefficient"] for recipe in recipes] == [None, 1.0, *[None] * 5, 1.0]


def test_mnist_is_as_in_the_repository_that_f_3_names() -> None:
    recipe = mnist("noise", "none", "normal", train_images=8, test_images=8)
    data = recipe.data()
    assert isinstance(data, Data)
    assert (data.mean, data.std) == ((0.0,), (1.0,))  # pixels between 0 and 1
    assert recipe.data() is data
    model = prepared(recipe)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    assert [shape for shape in shapes.values() if len(shape) == 2] == [(256, 784), (256, 256), (10, 256)]
    xavier = prepared(mnist("noise", "none", "xavier"))
    for name, p in model.named_parameters():
        other = xavier.get_parameter(name)
        if p.ndim == 1:
            assert not p.any()
            assert not other.any()
        else:
            assert p.std().item() == pytest.approx(1.0, abs=0.05)
            bound = math.sqrt(6 / sum(p.shape))
            assert 0.97 * bound < other.abs().max().item() <= bound
    assert (recipe.epochs, recipe.batch_size, recipe.schedule) == (100, 100, None)


def test_normal_weights_have_their_own_rate_and_bound() -> None:
    found = {
        (row, start): mnist("x", row, start).settings for row in ("ogd", "or", "gs") for start in ("normal", "xavier")
    }
    assert [found["ogd", start]["rotation_rate"] for start in ("normal", "xavier")] == [1e-4, methods.ROTATION_RATE]
    assert [found["or", start]["clip"] for start in ("normal", "xavier")] == [1.0, None]
    assert found["gs", "normal"]["rotation_rate"] is found["gs", "normal"]["clip"] is None
    assert mnist("x", "gs", "normal", clip=2.0).clip == 2.0
    assert mnist("x", "or", "normal").clip == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plain_network("x", "gs", coefficient=0.1), r"coefficient=0\.1 has no effect on row 'gs'"),
        (lambda: plain_network("x", "or", coefficient=0.0), r"coefficient=0\.0 must be greater than 0"),
        (lambda: plain_network("x", "ogd", rotation_rate=-1.0), r"rotation_rate=-1\.0 must be greater than 0"),
        (lambda: plain_network("x", refine_steps=0), "refine_steps=0 must be greater than 0"),
        (lambda: plain_network("x", refine="mma"), "refine='mma' is none of none, mhe"),  # type: ignore[arg-type]
        (lambda: plain_network("x", "qr"), "row='qr' is none of none, fixed, hs-mhe"),  # type: ignore[arg-type]
        (lambda: initial_energy("x", "mean-7"), "row='mean-7' is none of mean-0"),  # type: ignore[arg-type]
        (lambda: mnist("x", initialization="he"), "initialization='he' is none of"),  # type: ignore[arg-type]
        (lambda: RECIPES["thesis-table7.8-cifar100"](depth=56), "depth=56 is none of 20, 32"),
        (lambda: prepare("none", blocks=2), "blocks=2 has no effect on row 'none', which learns no matrix"),
        (lambda: prepare("hs-mhe", train_weights=True), "train_weights=True has no effect on row 'hs-mhe'"),
        (lambda: methods.optimizer("cp", SGD, 0.1), r"rotation_rate=0\.1 has no effect on row 'cp'"),
        (lambda: prepared(parameter_efficient(blocks=3, **SMALL)), "conv1_2"),
    ],
    ids=[
        "coefficient", "zero", "rate", "steps", "refine", "row", "mean", "initialization", "depth", "blocks", "weights",
        "optimizer", "division",
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_blocks_that_do_not_divide_change_nothing() -> None:
    recipe = parameter_efficient(row="gs", blocks=3, **SMALL)
    model = recipe.model()
    assert recipe.prepare is not None
    with pytest.raises(ValueError, match="3"):
        recipe.prepare(model)
    assert not [name for name, _ in model.named_parameters() if "parametrizations" in name]


def test_coefficients() -> None:
    assert [coefficient_of(row, None) for row in ("none", "gs", "hs-mhe", "or")] == [None, None, 1.0, methods.BETA]


@pytest.mark.parametrize(
    "name",
    ["thesis-table7.3-mnist", "thesis-table7.4-cifar100", "thesis-table7.8-cifar100", "thesis-table7.9-imagenet"],
)
def test_the_estimated_cost_is_that_of_the_network(name: str) -> None:
    entry = RECIPES[name]
    works = entry.megamacs if isinstance(entry.megamacs, dict) else {None: entry.megamacs}
    for value, work in works.items():
        recipe = entry(**({} if value is None else {next(iter(entry.variants)): value}))
        size = 224 if entry.name.endswith("imagenet") else entry.images.size
        with torch.device("meta"):
            counted = multiply_adds(recipe, (entry.images.channels, size, size))
        assert counted / 1e6 == pytest.approx(work, rel=0.01)


# ----------------------------------------------------------------------------------------------------- the energies


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs of two steps, the last of one, of five images in batches of three: a result's folder."""
    folder = tmp_path_factory.mktemp("energies")
    settings = {**FIGURE.smoke, "train_images": 5, "batch_size": 3, "steps": 5, "start": "identity"}
    recipes = compare(FIGURE, ["none", "gs", "or"], **settings)
    run(recipes, seeds=[1, 2], accelerator="cpu", measure=False, threads=1, folder=folder)
    return folder


def test_orthogonal_matrices_keep_the_energy_and_others_do_not(trained: Path) -> None:
    result = json.loads((trained / "result.json").read_text())
    baseline, kept, relaxed = ([seed["observations"] for seed in row["seeds"]] for row in result["rows"])
    for seed in range(2):
        for layer, values in kept[seed]["hyperspherical_energy"].items():
            assert max(values) - min(values) <= 2e-6
            assert values[0] == pytest.approx(relaxed[seed]["hyperspherical_energy"][layer][0], rel=0.05)
        assert any(len(set(values)) > 1 for values in baseline[seed]["hyperspherical_energy"].values())
        assert max(max(values) for values in kept[seed]["orthogonality_deviation"].values()) < 1e-5
        assert max(max(values) for values in relaxed[seed]["orthogonality_deviation"].values()) > 1e-3
        assert "orthogonality_deviation" not in baseline[seed]
        assert len(baseline[seed]["hyperspherical_energy"]["fc"]) == 3


def test_courses_are_means_over_the_seeds_at_the_ends_of_epochs(trained: Path) -> None:
    result = json.loads((trained / "result.json").read_text())
    found = courses(result)
    assert [course.name for course in found] == ["baseline", "OPT (GS)", "OPT (OR)"]
    assert all(list(course.at) == [2, 4, 5] for course in found)
    seeds = [seed["observations"]["hyperspherical_energy"]["fc"] for seed in result["rows"][0]["seeds"]]
    means = [sum(values) / 2 for values in zip(*seeds, strict=True)]
    assert found[0].layers["fc"] == pytest.approx(means)
    totals = [sum(values[0] or 0 for values in found[0].layers.values())]
    assert found[0].total[:1] == pytest.approx(totals)
    errors = [100 - sum(seed["curve"]["top1"][0] for seed in result["rows"][0]["seeds"]) / 2]
    assert found[0].error[:1] == pytest.approx(errors)
    del result["data"]
    assert list(courses(result)[0].at) == [1, 2, 3]  # epochs where the steps are not known


def test_the_figure_is_drawn_and_shown(trained: Path, tmp_path: Path) -> None:
    result = json.loads((trained / "result.json").read_text())
    assert main(["--energies", str(trained), str(tmp_path / "energies.svg")]) == 0
    picture = (tmp_path / "energies.svg").read_bytes()
    assert picture == energies_picture(result, "svg")
    write_energies(result, tmp_path / "energies.png")
    assert (tmp_path / "energies.png").read_bytes()[:4] == b"\x89PNG"
    write_html(result, tmp_path / "report.html")
    assert "Energies while training" in (tmp_path / "report.html").read_text()
    assert row_heading(result) == "Method"
    assert "| OPT (GS) |" in markdown(result)


def test_a_result_without_energies_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = {"seed": 1, "final": {"top1": 50.0}}
    result = {"schema": 1, "name": "tiny", "rows": [{"row": "none", "seeds": [seed]}]}
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert main(["--energies", str(tmp_path), str(tmp_path / "energies.svg")]) == 2
    assert "tiny holds no hyperspherical energies" in capsys.readouterr().err
    assert not (tmp_path / "energies.svg").exists()


def test_the_energy_of_tables_7_2_and_7_6_stands_beside_the_accuracy() -> None:
    recipe = RECIPES["thesis-table7.2-cifar100"](row="mean-5e-2", **RECIPES["thesis-table7.2-cifar100"].smoke)
    result = run(recipe, seeds=[1], accelerator="cpu", measure=False, threads=1)
    (seed,) = result.rows[0].seeds
    assert seed.final["energy"] == table_energy(prepared_with_seed(recipe, 1))["energy"]
    assert "Energy" in markdown(result.to_json())


def prepared_with_seed(recipe: Recipe, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = recipe.model()
    assert recipe.prepare is not None
    recipe.prepare(model)
    return model
