"""The recipes of angular margins hold the papers' settings and numbers, and measure open sets as they say."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from onsphere import data, models, verification
from onsphere.data import Images, OpenSet
from onsphere.diversity import MHE, MMA
from onsphere.losses import AngularSoftmax
from onsphere.margins import Annealed, ArcFace, CosFace, LSoftmax, SphereFace
from onsphere.recipes import RECIPES, compare, margins, observations
from onsphere.recipes.margins.objectives import Annealing, OpenSetRow, Tuning, objective
from onsphere.recipes.margins.pairwise import CentreLoss, SoftmaxAnd
from onsphere.recipes.margins.protocols import Faces, UnseenPairs, recogniser_features, tar_among
from onsphere.recipes.margins.recognition import Later
from onsphere.regularizers import Regularizer
from onsphere.train import Recipe


def noise(name: str, **settings: Any) -> Recipe:
    entry = RECIPES[name]
    return entry(**{**entry.smoke, **settings})


def head_of(row: str, **tuning: Any) -> Any:
    return objective(row).head(8, 5, Tuning(**tuning))


# ------------------------------------------------------------------------------------------------ rows


@pytest.mark.parametrize(
    ("row", "margin", "scale", "normalized", "bias"),
    [
        ("softmax", None, "feature_norm", False, True),
        ("sphereface-m1", None, "feature_norm", True, False),
        ("sphereface-m3", SphereFace(3), "feature_norm", True, False),
        ("l-softmax-m2", LSoftmax(2), "feature_norm", False, False),
        ("cosface", CosFace(0.35), 64.0, True, False),
        ("arcface-mma", ArcFace(0.5), 64.0, True, False),
    ],
)
def test_a_row_is_its_head(row: str, margin: Any, scale: Any, normalized: bool, bias: bool) -> None:
    head = head_of(row)
    assert isinstance(head, AngularSoftmax)
    if isinstance(head.margin, Annealed):
        assert (head.margin.base, head.margin.gamma, head.margin.minimum) == (1000.0, 0.12, 5.0)  # thesis A.7
        assert head.margin.margin == margin
    else:
        assert head.margin == margin
    assert (head.scale, head.normalize_weight, head.bias is not None) == (scale, normalized, bias)


def test_every_row_has_a_label_of_its_own_and_plus_is_a_measure_of_the_class_weights() -> None:
    rows = [objective(row) for row in get_args(OpenSetRow)]
    assert len({row.label for row in rows}) == len(rows)
    mhe, mma = objective("sphereface-m4-mhe"), objective("arcface-mma")
    assert (mhe.coefficient, mma.coefficient) == (1.0, 0.03)  # thesis D.1; MMA paper, supplement C
    for chosen, kind in ((mhe, MHE), (mma, MMA)):
        (term,) = chosen.terms
        assert isinstance(term.measure(), kind)
        assert term.layers == "output"
    assert mhe.terms[0].measure().data_dependent  # eq. 5.8
    assert objective("arcface-mma", 0.5).terms[0].coefficient == 0.5


@pytest.mark.parametrize(
    ("row", "coefficient", "message"),
    [
        ("softmaxx", None, "row='softmaxx' is none of softmax, sphereface-m1"),
        ("mhe", None, "row='mhe' is none of"),
        ("arcface-mhe-mma", None, "row='arcface-mhe-mma' is none of"),
        ("arcface", 0.1, r"coefficient=0\.1 has no effect on row 'arcface'"),
    ],
)
def test_rows_that_cannot_be_are_refused(row: str, coefficient: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        objective(row, coefficient)


@pytest.mark.parametrize(("steps", "minimum"), [(100, 5.0), (1000, 0.5)])
def test_annealing_comes_to_its_minimum_when_it_should(steps: int, minimum: float) -> None:
    margin = Annealing.over(steps, minimum)(SphereFace(4))
    for _ in range(steps - 1):
        margin.advance()
    assert margin.weight.item() > minimum
    margin.advance()
    margin.advance()
    assert margin.weight.item() == minimum
    with pytest.raises(ValueError, match=r"annealing_minimum=0\.0 must be greater than 0"):
        Annealing.over(100, 0.0)


def test_the_regularizer_of_a_plus_row_is_on_the_classifier_and_gets_the_labels() -> None:
    recipe = noise("omniglot-open-set", row="softmax-mhe", coefficient=0.5)
    torch.manual_seed(0)
    model: Any = recipe.model()
    assert recipe.regularizer is not None
    regularizer = recipe.regularizer(model)
    assert isinstance(regularizer, Regularizer)
    assert regularizer.wants_labels
    labels = torch.tensor([0, 2, 2, 5])
    unit = F.normalize(model.classifier.weight.detach().double())
    pairs = [(unit[i] - unit[j]).norm() ** -2 for i in labels for j in range(6) if i != j]
    assert regularizer(labels).item() == pytest.approx(0.5 * torch.stack(pairs).mean().item(), rel=1e-5)
    beside = noise("omniglot-open-set", row="softmax-centre").model()
    assert [layer.name for layer in Regularizer(beside, MMA(), 1.0).layers][-1] == "classifier.head"


def test_a_regularizer_may_join_later() -> None:
    class Labels(nn.Module):
        wants_labels = True

        def forward(self, labels: Tensor) -> Tensor:
            return labels.float().sum()

    later = Later(Labels(), 2)
    labels = torch.tensor([1, 2])
    assert later.wants_labels
    assert [later(labels).item() for _ in range(4)] == [0.0, 0.0, 3.0, 3.0]
    again = Later(Labels(), 2)
    again.load_state_dict(later.state_dict())
    assert again(labels).item() == 3.0  # a resumed training goes on where it was


# ------------------------------------------------------------------------------------------------ losses beside softmax


def test_the_centre_loss_is_the_papers() -> None:
    torch.manual_seed(0)
    loss, x, y = CentreLoss(3, 4, rate=0.5), torch.randn(5, 3, requires_grad=True), torch.tensor([0, 2, 2, 3, 2])
    loss.centres.normal_()
    before = loss.centres.clone()
    value = loss(x, y)
    value.backward()
    expected = sum(0.5 * (x[i] - before[y[i]]).square().sum().item() for i in range(5)) / 5
    assert value.item() == pytest.approx(expected, rel=1e-6)
    assert x.grad is not None
    assert torch.allclose(x.grad, (x.detach() - before[y]) / 5, atol=1e-6)
    for j in range(4):
        members = [i for i in range(5) if y[i] == j]
        delta = sum((before[j] - x[i].detach() for i in members), torch.zeros(3)) / (1 + len(members))
        assert torch.allclose(loss.centres[j], before[j] - 0.5 * delta, atol=1e-6)
    frozen = loss.centres.clone()
    loss.eval()(x, y)
    assert torch.equal(loss.centres, frozen)
    with pytest.raises(ValueError, match=r"rate=1\.5: expected a number between 0 and 1"):
        CentreLoss(3, 4, rate=1.5)


@pytest.mark.parametrize(("row", "weight", "probe"), [("softmax-contrastive", 1.0, False), ("triplet", 1.0, True)])
def test_losses_of_pairs_stand_beside_softmax(row: str, weight: float, probe: bool) -> None:
    pytest.importorskip("pytorch_metric_learning")
    torch.manual_seed(0)
    head = head_of(row)
    assert isinstance(head, SoftmaxAnd)
    assert (head.weight_of_loss, head.probe) == (weight, probe)
    x, y = (torch.randn(6, 8) + 1).requires_grad_(), torch.tensor([0, 0, 1, 1, 2, 2])
    assert head(x, y).item() == pytest.approx((head.head(x, y) + head.loss(x, y)).item(), rel=1e-6)
    unit = F.normalize(x.detach())
    distance = torch.cdist(unit, unit)
    if row == "softmax-contrastive":  # mean over the pairs of each kind whose loss is above zero
        same = (y[:, None] == y) & ~torch.eye(6, dtype=torch.bool)
        near = (1 - distance[y[:, None] != y]).clamp_min(0)
        literal = distance[same].mean() + near[near > 0].mean()
    else:
        terms = [
            distance[a, p] - distance[a, n] + 0.2
            for a in range(6) for p in range(6) for n in range(6)
            if a != p and y[a] == y[p] and y[a] != y[n]
        ]  # fmt: skip
        literal = torch.stack([term for term in terms if term > 0]).mean()
    assert head.loss(x, y).item() == pytest.approx(literal.item(), rel=1e-4)
    head(x, y).backward()
    alone = torch.autograd.grad(head.loss(x, y), x)[0]
    assert torch.allclose(x.grad, alone, atol=1e-6) == probe  # type: ignore[arg-type]
    assert torch.equal(head.logits(x), head.head.logits(x))
    heavier = head_of(row, pair_weight=0.25)
    assert heavier.weight_of_loss == 0.25


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module("builtins").__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("pytorch_metric_learning"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *rest, **more)

    monkeypatch.setattr("builtins.__import__", without)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'onsphere\[margins\]'"):
        head_of("triplet")
    with pytest.raises(ValueError, match="weight=-1: expected at least 0"):
        SoftmaxAnd(nn.Identity(), nn.Identity(), -1)


# ------------------------------------------------------------------------------------------------ numbers and settings


@pytest.mark.parametrize(
    ("name", "settings", "paper", "metric"),
    [
        ("thesis-table2.2-mnist", {"row": "softmax"}, {"top1": 99.60}, "top1"),
        ("thesis-table2.3-cifar10", {"row": "l-softmax-m2", "augmented": False}, {"top1": 92.27}, "top1"),
        ("thesis-table2.3-cifar10", {"row": "l-softmax-m2"}, {"top1": 93.99}, "top1"),
        ("thesis-table2.4-cifar100", {"row": "l-softmax-m4"}, {"top1": 70.47}, "top1"),
        ("thesis-table2.5-lfw", {"row": "softmax-contrastive"}, {"lfw": 97.31}, "lfw"),
        ("thesis-table2.8-faces", {"row": "sphereface-m3"}, {"lfw": 99.25, "ytf": 94.4}, "lfw"),
        ("thesis-table2.9-faces", {"row": "softmax-centre"}, {"lfw": 99.05, "ytf": 94.4}, "lfw"),
        ("thesis-table2.10-faces", {"row": "triplet"}, {"rank1": 64.797, "tar_at_far_1e-06": 78.322}, "rank1"),
        ("thesis-table5.8-faces", {"row": "sphereface-m2-mhe"}, {"lfw": 99.05, "rank1": 68.51}, "lfw"),
        ("thesis-table5.9-faces", {"row": "sphereface-m1"}, {"lfw": 96.93, "rank1": 41.07}, "lfw"),
        ("thesis-table5.10-faces", {"row": "cosface"}, {"lfw": 99.10, "rank1": 75.10}, "lfw"),
        ("thesis-sectionD.6-faces", {"row": "cosface-mhe"}, {"lfw": 99.37}, "lfw"),
        ("thesis-tableD.7-faces", {"row": "sphereface-m2-mhe"}, {"tar_at_far_1e-06": 80.94}, "tar_at_far_1e-06"),
        ("thesis-tableD.8-faces", {"trained_on": "imdb-face"}, {"lfw": 99.57, "rank1": 73.15}, "lfw"),
        ("thesis-tableA.1-faces", {"row": "B"}, {"lfw": 96.37, "afs": 0.2835}, "lfw"),
        ("thesis-tableA.2-faces", {"depth": 10}, {"rank1": 65.335, "tar_at_far_1e-06": 78.069}, "rank1"),
        ("thesis-tableA.2-faces", {"depth": 10, "row": "softmax"}, {}, "rank1"),
        ("table7-faces", {"row": "arcface"}, {"lfw": 99.35, "cfp_fp": 95.30, "agedb_30": 94.62}, "lfw"),
        ("omniglot-open-set", {}, {}, "verification"),
        ("mnist-features", {}, {}, "afs"),
    ],
)
def test_the_numbers_of_the_tables(
    name: str, settings: dict[str, Any], paper: Mapping[str, float], metric: str
) -> None:
    recipe = RECIPES[name](**settings)
    assert recipe.paper == paper
    assert (recipe.metric, recipe.name) == (metric, name)


def test_the_paper_numbers_are_not_claimed_for_other_settings() -> None:
    for other in ({"width": 0.5}, {"depth": 64}, {"coefficient": 0.1}, {"trained_on": "ms-celeb"}):
        assert not margins.sphereface("x", "sphereface-m4-mhe", "5.8", **other).paper  # type: ignore[arg-type]
    assert not RECIPES["thesis-table5.8-faces"](steps=100).paper
    assert not margins.arcface("x", coefficient=0.1).paper
    assert not margins.ablation("x", depth=10).paper
    assert not margins.lsoftmax("x", images="cifar100", augmented=False).paper
    assert not margins.lsoftmax("x", train_images=100).paper


def rates(recipe: Recipe, times: int) -> list[float]:
    assert recipe.schedule is not None
    optimizer = recipe.optimizer([nn.Parameter(torch.zeros(1))])
    schedule = recipe.schedule(optimizer)
    found = []
    for _ in range(times):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_training_is_as_the_papers_say() -> None:
    plus = margins.sphereface("x", "sphereface-m4-mhe", "5.9")
    assert (plus.max_steps, plus.batch_size, plus.schedule_every) == (28_000, 128, "step")
    assert (plus.settings["milestones"], plus.settings["depth"]) == ((16_000, 24_000), 64)
    assert plus.settings["regularized_after"] == 16_000
    assert margins.sphereface("x", "cosface-mhe", "D.6").settings["regularized_after"] == 0
    (group,) = plus.optimizer([nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 5e-4)
    short = margins.sphereface("x", "softmax", steps=28)
    assert rates(short, 28) == pytest.approx([0.1] * 16 + [0.01] * 8 + [0.001] * 4)

    images = margins.lsoftmax("x", "softmax", images="cifar100", steps=18)
    assert images.batch_size == 256
    assert rates(images, 18) == pytest.approx([0.1] * 12 + [0.01] * 3 + [0.001] * 3)
    assert margins.lsoftmax("x").max_steps == 18_000

    arc = margins.arcface("x", "arcface-mma")
    assert (arc.max_steps, arc.batch_size, arc.settings["milestones"]) == (38_000, 440, (23_750, 33_250))

    faces = margins.lsoftmax_faces("x", patience=0)
    assert (faces.epochs, faces.batch_size) == (30, 256)
    assert faces.schedule is not None
    optimizer = faces.optimizer([nn.Parameter(torch.zeros(1))])
    schedule, found = faces.schedule(optimizer), []
    for loss in (3.0, 3.0, 3.0, 3.0, 3.0):
        found.append(optimizer.param_groups[0]["lr"])
        schedule.step(loss)  # type: ignore[arg-type]
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.001])


def test_rows_differ_in_their_objective_only() -> None:
    recipes = compare(RECIPES["omniglot-open-set"], ["softmax", "arcface-mma"], **RECIPES["omniglot-open-set"].smoke)
    a, b = ({k: v for k, v in recipe.settings.items() if k not in ("row", "coefficient")} for recipe in recipes)
    assert a == b
    assert recipes[0].data() is recipes[1].data()
    bodies = []
    for recipe in recipes:
        torch.manual_seed(3)
        bodies.append(recipe.model().body.state_dict())  # type: ignore[union-attr]
    assert all(torch.equal(bodies[0][name], bodies[1][name]) for name in bodies[0])


def test_the_steps_of_the_ablation() -> None:
    found = {}
    for row in "ABCDEFG":
        model: Any = noise("thesis-tableA.1-faces", row=row).model().eval()
        head = model.classifier
        m = None if head.margin is None else head.margin.margin.m
        with torch.no_grad():
            positive = bool((model.features(torch.randn(20, 3, 16, 12)) >= 0).all())
        found[row] = (positive, head.bias is not None, head.normalize_weight, m)
    assert found == {
        "A": (True, True, False, None),
        "B": (False, True, False, None),
        "C": (False, False, False, None),
        "D": (False, False, True, None),
        "E": (False, False, True, 2),
        "F": (False, False, True, 3),
        "G": (False, False, True, 4),
    }
    with pytest.raises(ValueError, match=r"coefficient=0\.1 has no effect"):
        margins.ablation("x", coefficient=0.1)


@pytest.mark.parametrize(
    ("build", "settings", "message"),
    [
        (margins.omniglot, {"width": 0.0}, r"width=0\.0 must be greater than 0"),
        (margins.omniglot, {"annealing_minimum": 0.0}, r"annealing_minimum=0\.0 must be greater than 0"),
        (margins.orl, {"scale": -1.0}, r"scale=-1\.0 must be greater than 0"),
        (margins.sphereface, {"row": "softmax", "regularized_after": 5}, "regularized_after=5 has no effect"),
        (margins.sphereface, {"probes": "x"}, "probes='x', distractors=None: expected both, or neither"),
        (margins.arcface, {"row": "softmax"}, "row='softmax' is none of arcface, arcface-mma"),
        (margins.mnist_features, {"row": "arcface", "coefficient": 0.1}, r"coefficient=0\.1 has no effect"),
        (margins.ablation, {"row": "H"}, "row='H' is none of A, B"),
    ],
)
def test_wrong_settings_are_named(build: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**{"dataset": "x", **settings})


# ------------------------------------------------------------------------------------------------ data


def test_the_omniglot_recipe_wants_omniglot(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for split, names in (("train", "ab"), ("test", "cd")):
        for name in names:
            (tmp_path / split / name).mkdir(parents=True)
            for number in range(2):
                image.fromarray(np.full((9, 9), 40 * number, np.uint8)).save(tmp_path / split / name / f"{number}.png")
    with pytest.raises(ValueError, match="has 2 classes to train on and others unseen: expected the 964 of Omniglot"):
        margins.omniglot(str(tmp_path)).data()
    with pytest.raises(FileNotFoundError, match=r"no folder '.*nothing'"):
        margins.omniglot(str(tmp_path / "nothing")).data()


def write_face(path: Path, person: int, number: int) -> bytes:
    """A tiny picture: where it is bright says who it is."""
    image = pytest.importorskip("PIL.Image")
    pixels = np.full((16, 12, 3), 20 + number, np.uint8)
    pixels[4 * person : 4 * person + 4, :6] = 230
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(pixels).save(path)
    return path.read_bytes()


@pytest.fixture
def faces(tmp_path: Path) -> dict[str, str]:
    """A folder of people, a .bin set, and MegaFace's two folders."""
    for person in range(3):
        for number in range(3):
            write_face(tmp_path / "people" / f"p{person}" / f"{number}.png", person, number)
    for person in (0, 1):
        for number in range(3):
            write_face(tmp_path / "probes" / f"q{person}" / f"{number}.png", person, number)
    for number in range(4):
        write_face(tmp_path / "distractors" / "all" / f"{number}.png", 3, number)
    images, same = [], []
    for pair in range(20):
        people = (pair % 4, pair % 4 if pair % 2 else (pair + 1) % 4)
        images += [write_face(tmp_path / "one.png", person, number) for number, person in enumerate(people)]
        same.append(bool(pair % 2))
    verification.write_bin(tmp_path / "lfw.bin", images, same)
    names = {"dataset": "people", "lfw": "lfw.bin", "probes": "probes", "distractors": "distractors"}
    return {setting: str(tmp_path / name) for setting, name in names.items()}


def pixels_model(classes: int = 3) -> models.Recogniser:
    """Features are the pixels themselves, so that all faces are told apart."""
    body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 12, 3 * 16 * 12, bias=False))
    nn.init.eye_(body[1].weight)  # type: ignore[arg-type]
    return models.Recogniser(body, AngularSoftmax(3 * 16 * 12, classes))


def test_faces_are_measured_from_bin_sets_and_folders(faces: dict[str, str]) -> None:
    recipe = margins.sphereface(row="sphereface-m4", table="5.8", image_size=(16, 12), **faces)  # type: ignore[arg-type]
    source = recipe.data()
    assert (source.mean[0], source.std[0]) == (0.5, 128 / 255)  # (p - 127.5) / 128
    assert (len(source.train), len(source.test), source.num_classes) == (6, 3, 3)
    assert recipe.evaluate is not None
    with torch.no_grad():
        found = recipe.evaluate(pixels_model())
    assert set(found) == {"afs", "lfw", "lfw_sd", "rank1", "tar_at_far_1e-06"}
    assert (found["lfw"], found["rank1"], found["tar_at_far_1e-06"]) == (100.0, 100.0, 100.0)

    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, images: Tensor) -> Tensor:
            return self.weight.expand(len(images), 8)

    with torch.no_grad():
        chance = recipe.evaluate(models.Recogniser(Blind(), AngularSoftmax(8, 3)))
    assert chance["lfw"] == 50.0
    assert chance["rank1"] == 0.0  # a tie is no success


def test_what_is_missing_after_the_training_is_missed_before_it(faces: dict[str, str]) -> None:
    build = margins.sphereface
    size = (16, 12)
    with pytest.raises(FileNotFoundError, match=r"no file '.*none' for lfw: expected a \.bin set"):
        build(image_size=size, **{**faces, "lfw": faces["lfw"] + "none"}).data()  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"no folder '.*none' for distractors"):
        build(image_size=size, **{**faces, "distractors": faces["probes"] + "none"}).data()  # type: ignore[arg-type]
    wanted = build(faces["dataset"], "softmax", "2.10", lfw=faces["lfw"], image_size=size)
    assert (wanted.settings["probes"], wanted.settings["distractors"]) == ("facescrub", "megaface")
    with pytest.raises(FileNotFoundError, match="no folder 'facescrub' for probes"):
        wanted.data()


# ------------------------------------------------------------------------------------------------ protocols


def test_features_of_mirror_images_are_joined_or_added() -> None:
    source = data.open_set_noise(4, 3, image_size=(16, 12))
    model = pixels_model()
    assert isinstance(source.unseen, Images)
    with torch.no_grad():
        plain, labels = recogniser_features(model, source.data, source.unseen)
        both, _ = recogniser_features(model, source.data, source.unseen, "concatenate")
        total, _ = recogniser_features(model, source.data, source.unseen, "sum")
    images = (source.unseen.images.float() / 255 - torch.tensor(source.data.mean).view(3, 1, 1)) / torch.tensor(
        source.data.std
    ).view(3, 1, 1)
    assert torch.allclose(plain, images.flatten(1), atol=1e-5)
    assert torch.equal(labels, source.unseen.labels)
    assert torch.allclose(both, torch.cat([images.flatten(1), images.flip(3).flatten(1)], 1), atol=1e-5)
    assert torch.allclose(total, (images + images.flip(3)).flatten(1), atol=1e-5)


def test_unseen_images_are_verified_and_searched_for() -> None:
    torch.manual_seed(0)
    known = data.open_set_noise(4, 2, image_size=(16, 12)).data
    base = torch.randint(256, (8, 1, 3, 16, 12))
    pixels = (base + torch.randint(-4, 5, (8, 5, 3, 16, 12))).clamp(0, 255).flatten(0, 1).to(torch.uint8)
    source = OpenSet(known, Images(pixels, torch.arange(8).repeat_interleave(5)))
    protocol = UnseenPairs(pairs=40, folds=2)
    with torch.no_grad():
        found = protocol.metrics(pixels_model(4), lambda: source)
        again = protocol.metrics(pixels_model(4), lambda: source)
        record: Any = protocol.record(pixels_model(4), lambda: source)
    assert found == again
    assert (found["verification"], found["eer"], found["rank1"]) == (100.0, 0.0, 100.0)
    assert found["afs"] < 0.05
    assert {"verification_sd", "tar_at_far_0.001", "auc"} <= set(found)
    assert sum(record["angles"]["intra"]) == 8 * 10
    assert sum(record["angles"]["inter"]) == 40 * 39 // 2 - 80
    assert np.diag(record["confusion"]) == pytest.approx(np.ones(8), abs=0.05)
    with pytest.raises(ValueError, match="noise has no unseen images"):
        protocol.metrics(pixels_model(4), lambda: OpenSet(known))


def test_the_rate_among_distractors_is_that_of_all_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(3)
    centres = torch.randn(4, 5, generator=generator)
    probes = centres[labels] + 0.6 * torch.randn(12, 5, generator=generator)
    others = torch.randn(50, 5, generator=generator)
    unit, far_away = F.normalize(probes.double()), F.normalize(others.double())
    negatives = np.sort((unit @ far_away.T).flatten().numpy())[::-1]
    positives = np.array([float(unit[i] @ unit[j]) for i in range(12) for j in range(i) if labels[i] == labels[j]])
    for far in (1e-6, 0.01, 0.1):
        allowed = math.floor(far * negatives.size)  # so many of the 600 pairs may be accepted
        expected = (positives > negatives[allowed]).mean()
        for tile in (7, 4096):
            assert tar_among(probes, labels, others, far, tile) == pytest.approx(expected)
    assert tar_among(probes, labels, others, 0.1) > tar_among(probes, labels, others, 1e-6)


def test_both_folders_of_megaface_or_none() -> None:
    with pytest.raises(ValueError, match="probes=None, distractors='x': expected both, or neither"):
        Faces((), (4, 4), distractors="x")


# ------------------------------------------------------------------------------------------------ what is recorded


@pytest.mark.parametrize("features", [2, 3])
def test_features_are_recorded_to_be_drawn(features: int) -> None:
    recipe = noise("mnist-features", features=features, row="l-softmax-m2")
    torch.manual_seed(0)
    model: Any = recipe.model().eval()
    assert recipe.final is not None
    assert recipe.evaluate is not None
    with torch.no_grad():
        end: Any = recipe.final(model)
        score = recipe.evaluate(model)
        source = recipe.data()
        assert isinstance(source.train, Images)
        first = (source.train.images[:1].float() / 255 - source.mean[0]) / source.std[0]
        point = model.features(first)[0]
    axes = "xyz"[:features]
    digit = end["features"]["train"][int(source.train.labels[0])]
    assert set(digit) == set(axes)
    assert [digit[axis][0] for axis in axes] == pytest.approx(point.tolist(), abs=2e-3)
    assert torch.tensor(end["features"]["neurons"]).shape == (10, features)
    assert torch.tensor(end["features"]["neurons"]).norm(dim=1).tolist() == pytest.approx([1.0] * 10, abs=1e-4)
    assert end["weight_norms"]["norms"] == pytest.approx(model.classifier.weight.norm(dim=1).tolist(), abs=1e-4)
    assert end["weight_norms"]["counts"] == [4] * 10
    assert len(end["angles"]["edges"]) == len(end["angles"]["intra"]) + 1
    assert end["angles"]["edges"][-1] == pytest.approx(math.pi, abs=1e-5)
    assert len(end["confusion"]) == 10
    assert score["afs"] > 0


def test_the_angle_that_is_observed_is_the_classifiers() -> None:
    model = models.Recogniser(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), AngularSoftmax(2, 3))
    with torch.no_grad():
        model.classifier.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]))  # type: ignore[operator, union-attr]
    assert observations.classifier_angle(model)["minimum_angle_deg"] == {"classifier": 90.0}
