"""Point clouds: uniform on their surfaces, read from any OFF file, seen by PointNet in any order; Table 7.12 trains."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from onsphere import models
from onsphere.cli.mistakes import Mistake
from onsphere.cli.verify.trained import remade
from onsphere.data import modelnet, rotate_jitter, shapes, surfaces
from onsphere.data.modelnet_files import read_off
from onsphere.data.point_clouds import Array, in_unit_ball, on_mesh
from onsphere.recipes import RECIPES, compare
from onsphere.recipes.opt.point_clouds import pointnet
from onsphere.recipes.shape_classification import MODELNET40, _load
from onsphere.train import run

ENTRY = RECIPES["thesis-table7.12-modelnet40"]
MANY = 20_000

# ------------------------------------------------------------------------------------------------ sampling


def test_a_mesh_is_sampled_uniformly() -> None:
    # Two triangles of areas 1/2 and 3/2 in the plane z = x, y from 0 to 1.
    vertices = np.array([[0.0, 0, 0], [1, 0, 1], [0, 1, 0], [0, -3, 0]])
    points = on_mesh(vertices, np.array([[0, 1, 2], [1, 0, 3]]), MANY, np.random.default_rng(0))
    assert np.allclose(points[:, 2], points[:, 0])
    above = points[points[:, 1] > 0]
    assert len(above) / MANY == pytest.approx(1 / 4, abs=0.01)
    assert (above[:, 0] + above[:, 1] <= 1 + 1e-12).all()
    # Means and second moment of a uniform triangle (0, 0), (1, 0), (0, 1).
    assert above.mean(0) == pytest.approx([1 / 3, 1 / 3, 1 / 3], abs=0.01)
    assert (above[:, 0] * above[:, 1]).mean() == pytest.approx(1 / 12, abs=0.003)


@pytest.mark.parametrize("faces", [[[0, 1, 1]], [[0, 1, 2]]], ids=["a-line", "three-in-line"])
def test_a_mesh_without_area_is_refused(faces: list[list[int]]) -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    with pytest.raises(ValueError, match=r"1 faces with an area of 0\.0: expected a surface"):
        on_mesh(vertices, np.array(faces), 3, np.random.default_rng(0))


def test_clouds_are_centred_in_the_unit_ball() -> None:
    points = in_unit_ball(np.random.default_rng(0).normal(5.0, 3.0, (50, 3)))
    assert points.mean(0) == pytest.approx([0.0] * 3, abs=1e-12)
    assert np.linalg.norm(points, axis=1).max() == pytest.approx(1.0, abs=1e-12)


class Fixed(np.random.Generator):
    """Proportions that are known: where one number is drawn uniformly, it is the middle of its range."""

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        if size is None or size == 2:
            middle = (low + high) / 2
            return middle if size is None else np.full(size, middle)
        return super().uniform(low, high, size)


def fixed() -> Fixed:
    return Fixed(np.random.PCG64(0))


def radius(points: Array) -> Array:
    return np.hypot(points[:, 0], points[:, 1])


def is_flat(points: Array, z: float) -> Array:
    return np.isclose(points[:, 2], z)


SHARES: dict[str, Callable[[Array], tuple[Array, float]]] = {
    # Which points are on one part of the surface, and that part's share of the area; height 2, radius or half side 1.
    "sphere": lambda p: (p[:, 2] > 0.5, 1 / 4),
    "cylinder": lambda p: (np.isclose(radius(p), 1) & ~is_flat(p, 0) & ~is_flat(p, 2), 4 / 6),
    "capsule": lambda p: (p[:, 2] > 2, 2 / 8),
    "cone": lambda p: (is_flat(p, 0), 1 / (1 + math.sqrt(5))),
    "torus": lambda p: (radius(p) > 1, 1 / 2 + 0.35 / math.pi),
    "box": lambda p: (is_flat(p, 2), 2.25 / (2 * 2.25 + 4 * 3)),
    "prism": lambda p: (is_flat(p, 0), (0.75 * math.sqrt(3)) / (1.5 * math.sqrt(3) + 6 * math.sqrt(3))),
    "pyramid": lambda p: (is_flat(p, 0), 4 / (4 + 4 * math.sqrt(5))),
}
EQUATIONS: dict[str, Callable[[Array], Array]] = {
    # 0 on the surface.
    "sphere": lambda p: np.linalg.norm(p, axis=1) - 1,
    "cylinder": lambda p: np.minimum(np.abs(radius(p) - 1), np.minimum(np.abs(p[:, 2]), np.abs(p[:, 2] - 2))),
    "capsule": lambda p: np.hypot(radius(p), p[:, 2] - p[:, 2].clip(0, 2)) - 1,
    "cone": lambda p: np.minimum(np.abs(radius(p) - (1 - p[:, 2] / 2)), np.abs(p[:, 2])),
    "torus": lambda p: np.hypot(radius(p) - 1, p[:, 2]) - 0.35,
    "box": lambda p: (np.abs(p - [0, 0, 1]) / [0.75, 0.75, 1]).max(1) - 1,
    "prism": lambda p: np.minimum(_triangle(p), np.minimum(np.abs(p[:, 2]), np.abs(p[:, 2] - 2))),
    "pyramid": lambda p: np.minimum(np.abs(p[:, 2]), np.abs(np.abs(p[:, :2]).max(1) - (1 - p[:, 2] / 2))),
}


def _triangle(points: Array) -> Array:
    """Distance from the nearest of the three sides, 1/2 from the middle."""
    normals = [(math.cos(angle), math.sin(angle)) for angle in (math.pi / 3, math.pi, 5 * math.pi / 3)]
    return np.abs(np.stack([points[:, 0] * x + points[:, 1] * y for x, y in normals]).max(0) - 0.5)


@pytest.mark.parametrize("name", surfaces.SURFACES)
def test_points_are_on_their_surface_and_every_part_has_its_share(name: str) -> None:
    points = surfaces.SURFACES[name](MANY, fixed())
    assert points.shape == (MANY, 3)
    assert np.abs(EQUATIONS[name](points)).max() < 1e-9
    chosen, share = SHARES[name](points)
    assert chosen.mean() == pytest.approx(share, abs=0.012)
    early = chosen[: MANY // 4]  # no part comes first
    assert early.mean() == pytest.approx(share, abs=0.025)


def test_proportions_differ_and_a_cloud_depends_on_its_number_only() -> None:
    few, more = shapes(32, 2, 1), shapes(32, 3, 2)
    assert torch.equal(few.train.values, more.train.values[:16])
    assert torch.equal(few.test.values, more.test.values[:8])
    assert not torch.equal(few.test.values, few.train.values[:8])
    assert not torch.equal(few.train.values, shapes(32, 2, 1, seed=1).train.values)
    assert few.train.labels.tolist() == [*range(8), *range(8)]
    assert few.classes == ("box", "capsule", "cone", "cylinder", "prism", "pyramid", "sphere", "torus")
    for kind, draw in surfaces.SURFACES.items():
        heights = [np.ptp(draw(1000, np.random.default_rng(number))[:, 2]) for number in range(6)]
        assert (np.ptp(heights) > 0.15) == (kind != "sphere"), kind


@pytest.mark.parametrize("setting", [{"points": 1}, {"train_per_class": 0}, {"test_per_class": -1}])
def test_numbers_of_shapes_out_of_range_are_named(setting: dict[str, int]) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"{name}={value}: expected at least"):
        shapes(**setting)


# ------------------------------------------------------------------------------------------------ augmentation


@pytest.mark.parametrize(("up", "axis"), [("x", 0), ("y", 1), ("z", 2)])
def test_clouds_turn_about_the_upright_axis(up: Any, axis: int) -> None:
    clouds = torch.randn(200, 3, 9, dtype=torch.float64)
    turned = rotate_jitter(std=0.0, up=up)(clouds, torch.Generator().manual_seed(0))
    assert torch.equal(turned[:, axis], clouds[:, axis])
    # A rotation: distances and the orientation stay.
    distances = [torch.cdist(each.mT, each.mT) for each in (clouds, turned)]
    assert torch.allclose(*distances, atol=1e-12)
    assert torch.allclose(*(torch.linalg.det(each[:, :, :3]) for each in (clouds, turned)), atol=1e-12)
    first, second = [i for i in range(3) if i != axis]
    before, after = (torch.atan2(each[:, second, 0], each[:, first, 0]) for each in (clouds, turned))
    angle = (after - before) % (2 * math.pi)
    assert torch.histc(angle, 4, 0, 2 * math.pi).min() > 30  # any angle is as likely as any other


def test_jitter_is_normal_and_clipped() -> None:
    still = torch.zeros(100, 3, 300)
    moves = rotate_jitter()(still, torch.Generator().manual_seed(0))
    assert moves.std().item() == pytest.approx(0.01, rel=0.02)
    clipped = rotate_jitter(std=0.1, clip=0.05)(still, torch.Generator().manual_seed(0))
    assert clipped.abs().max().item() == pytest.approx(0.05)
    assert (clipped.abs() == 0.05).float().mean().item() == pytest.approx(2 * 0.3085, abs=0.01)


@pytest.mark.parametrize("setting", [{"std": -0.1}, {"clip": -1.0}, {"up": "w"}])
def test_wrong_settings_of_the_augmentation_are_named(setting: dict[str, Any]) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"{name}={value!r}: expected"):
        rotate_jitter(**setting)


# ------------------------------------------------------------------------------------------------ ModelNet

CORNERS = "0 0 0\n2 0 0\n2 1 0\n0 1 0\n"
RECTANGLE = [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize(
    ("text", "faces"),
    [
        (f"OFF\n4 2 0\n{CORNERS}3 0 1 2\n3 0 2 3\n", RECTANGLE),
        (f"OFF4 2 0\n{CORNERS}3 0 1 2\n3 0 2 3\n", RECTANGLE),
        (f"OFF 4 2 0\r\n{CORNERS}3 0 1 2\n3 0 2 3", RECTANGLE),
        (f"OFF # a rectangle\n\n4 1 0 # and its numbers\n{CORNERS}\n4 0 1 2 3\n", RECTANGLE),
        (f"OFF\n4 2 0\n{CORNERS}3 0 1 2 255 0 0\n3 0 2 3 0.5 0.5 0.5\n", RECTANGLE),
        (f"OFF\n4 2 0\n{CORNERS}3 0 1 2\n4 0 1 2 3\n", [[0, 1, 2], *RECTANGLE]),
    ],
    ids=["plain", "broken-header", "one-line-header", "comments", "colours", "mixed"],
)
def test_off_files_are_read_however_they_are_written(tmp_path: Path, text: str, faces: list[list[int]]) -> None:
    path = tmp_path / "some.off"
    path.write_bytes(text.encode())
    vertices, found = read_off(path)
    assert vertices.tolist() == [[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]]
    assert found.tolist() == faces


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("solid cube", "begins with 'solid cub': expected OFF"),
        ("OFF", "has no numbers of vertices and faces"),
        ("OFF\n-4 2 0\n", "has no numbers of vertices and faces"),
        (
            f"OFF\n4 2 0\n{CORNERS}3 0 1 2\n",
            "ends too early: 16 numbers, expected at least 20 for 4 vertices and 2 faces",
        ),
        ("OFF\n4 2 0\n0 0 0\n1 zero 0\n", "has something else than numbers behind OFF"),
        (f"OFF\n4 2 0\n{CORNERS}3 0 1 2\n3 0 2 4\n", "a face names a vertex that is none of 0 to 3"),
        (f"OFF\n4 2 0\n{CORNERS}3 0 1 2 9\n5 0 1 2\n", "'5 0 1 2' is no face of 5 corners"),
        (f"OFF\n4 2 0\n{CORNERS}3 0 1.5 2 9\n3 0 1 2\n", "'3 0 1.5 2 9' is no face: "),
    ],
    ids=["stl", "empty", "negative", "short", "word", "vertex", "corners", "fraction"],
)
def test_damaged_off_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "some.off"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"some\.off'.*") as raised:
        read_off(path)
    assert message in str(raised.value)


def tetrahedron(height: float) -> str:
    return f"OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 {height}\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n"


def meshes(folder: Path, classes: int) -> Path:
    """Two meshes to train on and one to test on of every class."""
    for label in range(classes):
        for split, count in (("train", 2), ("test", 1)):
            where = folder / f"class{label:02}" / split
            where.mkdir(parents=True)
            for number in range(count):
                (where / f"{number}.off").write_text(tetrahedron(1 + label))
            (where / "notes.txt").write_text("no mesh")
    return folder


def test_modelnet_is_sampled_once_and_for_all(tmp_path: Path) -> None:
    found = modelnet(meshes(tmp_path / "ModelNet3", 3), points=64)
    assert (found.name, found.classes) == ("ModelNet3", ("class00", "class01", "class02"))
    assert found.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert (found.train.shape, found.train.values.dtype) == ((3, 64), torch.float32)
    assert found.train.values.mean(2).abs().max() < 1e-6
    assert torch.allclose(found.train.values.norm(dim=1).amax(1), torch.ones(6))
    # Two clouds of equal meshes are different samples, and the same ones every time.
    assert not torch.equal(found.train.values[0], found.train.values[1])
    assert not torch.equal(found.train.values[0], found.test.values[0])
    again = modelnet(tmp_path / "ModelNet3", points=64, name="mine")
    assert torch.equal(again.train.values, found.train.values)
    assert again.name == "mine"
    assert not torch.equal(modelnet(tmp_path / "ModelNet3", points=64, seed=1).train.values, found.train.values)


def test_what_is_missing_or_wrong_in_modelnet_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder of a class in"):
        modelnet(tmp_path)
    folder = meshes(tmp_path / "net", 2)
    (folder / "class01" / "train" / "1.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n")
    with pytest.raises(ValueError, match=r"class01/train/1\.off': 1 faces with an area of 0\.0"):
        modelnet(folder)
    (folder / "class00" / "test" / "0.off").unlink()
    (folder / "class01" / "train" / "1.off").write_text(tetrahedron(1))
    with pytest.raises(FileNotFoundError, match=r"no file \*\.off in .*class00/test"):
        modelnet(folder)
    with pytest.raises(ValueError, match="points=1: expected at least 2"):
        modelnet(folder, points=1)


def test_some_clouds_of_every_class_are_kept(tmp_path: Path) -> None:
    folder = str(meshes(tmp_path, 40))
    some = MODELNET40.load(folder, 4, 1, None)
    whole = MODELNET40.load(folder, 4, None, None)
    assert some.train.labels.tolist() == list(range(40))
    assert torch.equal(some.train.values, whole.train.values[::2])
    assert torch.equal(some.test.values, whole.test.values)
    _load.cache_clear()
    three = str(meshes(tmp_path / "three", 3))
    with pytest.raises(ValueError, match="has 3 classes: expected the 40 of ModelNet-40"):
        MODELNET40.load(three, 4, None, None)


# ------------------------------------------------------------------------------------------------ PointNet


def test_pointnet_sees_a_set_of_points() -> None:
    torch.manual_seed(0)
    model = models.pointnet(5, width=0.2).eval()
    clouds = torch.randn(3, 3, 20)
    expected = model(clouds)
    assert torch.allclose(model(clouds[:, :, torch.randperm(20)]), expected, atol=1e-6)
    assert torch.allclose(model(torch.cat((clouds, clouds[:, :, :7]), 2)), expected, atol=1e-6)
    assert not torch.allclose(model(clouds[:, :, 1:]), expected, atol=1e-6)


def test_the_layers_of_pointnet() -> None:
    model = models.pointnet()
    layers = {name: tuple(module.weight.shape) for name, module in model.named_children() if hasattr(module, "weight")}
    kernels = {name: shape for name, shape in layers.items() if len(shape) > 1}
    assert kernels == {
        "conv1": (64, 3, 1),
        "conv2": (64, 64, 1),
        "conv3": (64, 64, 1),
        "conv4": (128, 64, 1),
        "conv5": (1024, 128, 1),
        "fc1": (512, 1024),
        "fc2": (256, 512),
        "classifier": (40, 256),
    }
    assert isinstance(model.dropout, nn.Dropout)
    assert model.dropout.p == 0.3
    assert [name for name, _ in model.named_children()][-2:] == ["dropout", "classifier"]
    counted = sum(module.weight[0].numel() * len(module.weight) * (1024 if name < "e" and name != "classifier" else 1)
                  for name, module in model.named_children() if len(layers.get(name, ())) > 1)  # fmt: skip
    assert counted / 1e6 == pytest.approx(ENTRY.megamacs, abs=0.05)


@pytest.mark.parametrize("setting", [{"num_classes": 0}, {"in_channels": 0}, {"width": 0.0}, {"dropout": 1.0}])
def test_sizes_of_pointnet_out_of_range_are_named(setting: dict[str, Any]) -> None:
    ((name, value),) = setting.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        models.pointnet(**setting)


# ------------------------------------------------------------------------------------------------ Table 7.12


def test_the_rows_are_trained_as_the_thesis_says() -> None:
    rows = [ENTRY(row=row, dataset="folder") for row in ("none", "gs", "cp")]
    assert [recipe.paper["top1"] for recipe in rows] == [87.1, 87.23, 87.86]
    assert [recipe.settings["start"] for recipe in rows] == [None, "normal", "identity"]
    for recipe in rows:
        assert (recipe.epochs, recipe.batch_size, recipe.schedule_every) == (250, 32, "step")
        optimizer = recipe.optimizer([nn.Parameter(torch.zeros(1))])
        assert isinstance(optimizer, torch.optim.Adam)
        assert optimizer.param_groups[0]["lr"] == 0.001
    short = pointnet(decay_every=2)
    assert short.schedule is not None
    optimizer = short.optimizer([nn.Parameter(torch.zeros(1))])
    schedule, rates = short.schedule(optimizer), []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx([1e-3, 1e-3, 7e-4, 7e-4, 4.9e-4])


def test_all_layers_but_the_classifier_are_over_parametrized() -> None:
    recipe = pointnet(row="cp", width=0.05, points=8, train_per_class=1, test_per_class=1)
    model = recipe.model()
    assert recipe.prepare is not None
    recipe.prepare(model)
    plain = [name for name, _ in model.named_parameters() if name.endswith(".weight") and "bn" not in name]
    assert plain == ["classifier.weight"]
    matrices = {name.split(".")[0]: p.shape[0] for name, p in model.named_parameters() if name.endswith("matrix")}
    assert matrices == {"conv1": 3, "conv2": 3, "conv3": 3, "conv4": 3, "conv5": 6, "fc1": 51, "fc2": 26}


def test_other_settings_and_shapes_have_no_number_of_the_paper() -> None:
    assert not ENTRY().paper
    for other in ({"points": 512}, {"width": 0.5}, {"train_per_class": 9}, {"start": "random"}, {"decay_every": 6250}):
        assert not pointnet("folder", **other).paper  # type: ignore[arg-type]


def test_what_is_for_images_refuses_a_run_on_clouds(tmp_path: Path) -> None:
    run(
        compare(ENTRY, ["none"], **ENTRY.smoke), seeds=[0], folder=tmp_path, accelerator="cpu", measure=False, threads=1
    )
    with pytest.raises(Mistake, match=r"was trained on Tensors\(8 of 3 x 16\): expected images"):
        remade(tmp_path, None, None)


def test_shapes_are_learned() -> None:
    settings = {"width": 0.15, "points": 64, "train_per_class": 20, "test_per_class": 8, "epochs": 10, "batch_size": 16}
    rows = compare(ENTRY, ["none", "cp"], **settings)
    result = run(rows, seeds=[0], accelerator="cpu", measure=False, threads=1)
    for row in result.rows:
        (seed,) = row.seeds
        assert max(seed.curve["top1"]) > 45, row.row  # of eight classes
    (learned,) = result.rows[1].seeds
    assert all(
        max(e) == pytest.approx(min(e), rel=1e-5) for e in learned.observations["hyperspherical_energy"].values()
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"row": "ogd"}, "row='ogd' is none of none, gs, cp"),
        ({"coefficient": 0.5}, "coefficient=0.5 has no effect"),
        ({"width": 0.0}, "width=0.0 must be greater"),
        ({"decay_every": 0}, "decay_every=0 must be greater"),
        ({"train_per_class": 0}, "train_per_class=0 must be greater"),
        ({"learning_rate": -1.0}, "learning_rate=-1.0 must be greater"),
    ],
    ids=["row", "coefficient", "width", "decay", "clouds", "rate"],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pointnet(**settings)
