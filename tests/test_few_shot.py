"""Few-shot learning: the network, the episodes, the classifiers that are tuned in them, and the recipes' settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import reference_few_shot as reference
from onsphere import data, layers, models, orthogonal
from onsphere.recipes import RECIPES
from onsphere.recipes.opt import finetuning
from onsphere.recipes.opt.finetuning import FewShot
from onsphere.report import markdown
from onsphere.train import Recipe, run
from test_recipes import multiply_adds

NAMES = ["thesis-table7.10-miniimagenet", "thesis-table7.10-omniglot"]
ROWS = ["baseline", "baseline-opt", "baseline++", "baseline++-opt"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(row: str, name: str = NAMES[1], **changes: Any) -> Recipe:
    return RECIPES[name](**{**RECIPES[name].smoke, "row": row, **changes})


# ------------------------------------------------------------------------------------------------ the network


def test_the_network_is_that_of_table_f_3() -> None:
    model = models.cnn4(64)
    convolutions = [layer for layer in model if isinstance(layer, nn.Conv2d)]
    assert [tuple(layer.weight.shape) for layer in convolutions] == [(64, 3, 3, 3), *[(64, 64, 3, 3)] * 3]
    kinds = [type(layer) for layer in model]
    assert kinds == [*[nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d] * 4, nn.Flatten, nn.Linear]
    assert model.get_submodule("classifier").weight.shape == (64, 1600)
    features = models.cnn4(None, 1, image_size=33, width=0.25)(torch.randn(2, 1, 33, 33))
    assert features.shape == (2, 16 * 2 * 2)
    assert features.min() >= 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 15}, "image_size=15: expected at least 16"),
        ({"num_classes": 0}, "num_classes=0: expected at least 1"),
        ({"width": 0.0}, r"width=0\.0: expected a factor above 0"),
    ],
    ids=["size", "classes", "width"],
)
def test_networks_that_cannot_be_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        models.cnn4(**wrong)


# ------------------------------------------------------------------------------------------------ episodes


@settings(max_examples=20)
@given(
    sizes=st.lists(st.integers(0, 7), min_size=4, max_size=9),
    ways=st.integers(1, 4),
    shots=st.integers(1, 3),
    queries=st.integers(1, 3),
    seed=st.integers(0, 100),
)
def test_an_episode_has_different_images_of_its_classes(
    sizes: list[int], ways: int, shots: int, queries: int, seed: int
) -> None:
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=seeded(seed))]
    enough = [label for label, size in enumerate(sizes) if size >= shots + queries]
    if len(enough) < ways:
        with pytest.raises(ValueError, match=rf"{len(enough)} of {sum(map(bool, sizes))} classes have so many"):
            data.draw_episodes(labels, seeded(seed), 5, ways=ways, shots=shots, queries=queries)
        return
    drawn = data.draw_episodes(labels, seeded(seed), 5, ways=ways, shots=shots, queries=queries)
    assert len(drawn) == 5
    assert (drawn.support.shape, drawn.query.shape) == ((5, ways, shots), (5, ways, queries))
    images = torch.cat([drawn.support, drawn.query], 2)
    assert (labels[images] == drawn.classes[:, :, None]).all()
    for classes, episode in zip(drawn.classes.tolist(), images, strict=True):
        assert len({*classes}) == ways
        assert {*classes} <= {*enough}
        assert len({*episode.flatten().tolist()}) == episode.numel()


def test_equal_generators_draw_equal_episodes_and_all_images_come() -> None:
    labels = torch.arange(60) % 6
    first, same = (data.draw_episodes(labels, seeded(), 200, ways=2, shots=2, queries=3) for _ in range(2))
    other = data.draw_episodes(labels, seeded(1), 200, ways=2, shots=2, queries=3)
    assert torch.equal(first.support, same.support)
    assert torch.equal(first.query, same.query)
    assert not torch.equal(first.support, other.support)
    assert {*first.support.flatten().tolist()} == {*first.query.flatten().tolist()} == {*range(60)}
    assert not torch.equal(first.support[0], first.support[1])


@pytest.mark.parametrize("name", ["count", "ways", "shots", "queries"])
def test_numbers_of_episodes_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0: expected at least 1"):
        data.draw_episodes(torch.arange(4), seeded(), **{name: 0})


# ------------------------------------------------------------------------------------------------ tuned classifiers


@pytest.mark.parametrize("scale", [None, 2.0], ids=["linear", "cosine"])
def test_all_episodes_at_once_are_tuned_as_each_by_itself(scale: float | None) -> None:
    few = FewShot(ways=3, shots=2, scale=scale, learning_rate=0.3)
    support = torch.rand(2, 6, 5, dtype=torch.float64, generator=seeded())
    support = support if scale is None else F.normalize(support, dim=2)
    weight = torch.randn(2, 3, 5, dtype=torch.float64, generator=seeded(1))
    orders = torch.rand(2, 4, 6, generator=seeded(2)).argsort(2)  # batches of 4 and of 2
    found = few.tuned(support, weight, orders)
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    for episode in (0, 1):
        expected = reference.tuned(support[episode], labels, weight[episode], orders[episode], scale, 4, 0.3)
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours[episode], theirs, rtol=1e-10, atol=1e-10)
    assert (found[0] - weight).abs().max() > 0.05
    assert bool(found[1].any()) == (scale is None)


@pytest.mark.parametrize("scale", [None, 2.0], ids=["linear", "cosine"])
def test_classes_that_lie_apart_are_recognised_and_others_are_guessed(scale: float | None) -> None:
    labels = torch.arange(8).repeat_interleave(9)
    few = FewShot(ways=4, shots=3, queries=6, episodes=60, scale=scale, epochs=10, learning_rate=0.1)
    noise = torch.rand(72, 20, generator=seeded())
    apart = few.accuracies(noise + 5 * F.one_hot(labels, 20), labels)
    assert apart.dtype == torch.float64
    assert apart.shape == (60,)
    assert apart.mean() == 1
    assert 0.18 < few.accuracies(noise, labels).mean() < 0.32


def test_the_episodes_do_not_depend_on_how_many_are_tuned_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = torch.arange(4).repeat_interleave(5)
    features = torch.rand(20, 6, generator=seeded()) + 0.3 * F.one_hot(labels, 6)
    few = FewShot(ways=3, shots=2, queries=3, episodes=7, epochs=5)
    whole = few.accuracies(features, labels)
    assert whole.unique().numel() > 1
    monkeypatch.setattr(finetuning, "AT_ONCE", 3)
    assert torch.equal(few.accuracies(features, labels), whole)


def test_the_accuracy_is_that_of_the_features_with_its_interval() -> None:
    source = data.open_set_noise(3, 4, 16, channels=1, images_per_class=5)
    few = FewShot(ways=2, shots=1, queries=3, episodes=30, epochs=5)
    torch.manual_seed(0)
    model = models.cnn4(3, 1, width=0.1, image_size=16).eval()
    with torch.no_grad():
        found = few.metrics(model, lambda: source)
        images = source.unseen
        assert isinstance(images, data.Images)
        pixels = (images.images / 255 - source.data.mean[0]) / source.data.std[0]
        accuracies = few.accuracies(model[:-1](pixels), images.labels)
    assert found["few_shot"] == pytest.approx(100 * accuracies.mean().item())
    variance = sum((value - accuracies.mean().item()) ** 2 for value in accuracies.tolist()) / 30
    assert found["few_shot_ci95"] == pytest.approx(100 * 1.96 * (variance / 30) ** 0.5)
    assert found["few_shot_ci95"] > 0
    with pytest.raises(ValueError, match="noise has no unseen images to draw episodes from"):
        few.metrics(model, lambda: data.OpenSet(source.data))


# ------------------------------------------------------------------------------------------------ the recipes


def test_the_numbers_of_table_7_10() -> None:
    entry = RECIPES[NAMES[0]]
    assert [recipe.paper for recipe in entry.every_row()] == [
        {"few_shot": accuracy} for accuracy in (62.53, 63.27, 66.43, 66.82)
    ]
    assert entry.rows == tuple(ROWS)
    for other in ({"shots": 1}, {"scale": 10.0}, {"image_size": 32}, {"epochs": 100}, {"start": "random"}):
        assert not entry(**other).paper
    assert not any(recipe.paper for recipe in RECIPES[NAMES[1]].every_row())


@pytest.mark.parametrize("row", ROWS)
def test_training_is_that_of_f_3(row: str) -> None:
    recipe = RECIPES[NAMES[0]](row=row)
    assert (recipe.epochs, recipe.metric, recipe.schedule) == (200, "few_shot", None)
    (group,) = recipe.optimizer([nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["lr"], group["weight_decay"]) == (1e-3, 5e-4)
    protocol: FewShot = recipe.evaluate.func.__self__  # type: ignore[union-attr]
    scale = 2.0 if row.startswith("baseline++") else None
    assert protocol == FewShot(5, 5, 15, 600, scale, epochs=100, batch_size=4, learning_rate=1e-2)


@pytest.mark.parametrize("row", ROWS)
def test_a_row_is_its_classifier_and_its_convolutions(row: str) -> None:
    torch.manual_seed(0)
    recipe = small(row, scale=3.0)
    model: Any = recipe.model()
    before = [model.conv1.weight.detach().clone(), model.conv4.weight.detach().clone()]
    x = torch.rand(5, 1, 16, 16)
    if row.startswith("baseline++"):
        assert isinstance(model.classifier, layers.SphereLinear)
        features = model.eval()[:-1](x)
        expected = 3 * F.cosine_similarity(features[:, None], model.classifier.weight, dim=2)
        torch.testing.assert_close(model(x), expected, rtol=1e-3, atol=1e-3)
    else:
        assert type(model.classifier) is nn.Linear
    if recipe.prepare is not None:
        recipe.prepare(model)
    layers_of_row = ["conv1", "conv2", "conv3", "conv4"]
    names = [name for name, _ in model.named_parameters() if name.startswith("conv")]
    if row.endswith("-opt"):
        assert list(orthogonal.matrices(model)) == layers_of_row
        assert len(names) == 4
        assert all(name.endswith("matrix") for name in names)
    else:
        assert names == [f"{name}.weight" for name in layers_of_row]
    for weight, layer in zip(before, (model.conv1, model.conv4), strict=True):
        torch.testing.assert_close(layer.weight, weight)  # the matrices start from the identity


def test_rows_have_the_same_convolutions_before_training() -> None:
    states = []
    for row in ROWS:
        torch.manual_seed(3)
        states.append(small(row).model().conv3.weight)  # type: ignore[union-attr]
    assert all(torch.equal(states[0], other) for other in states[1:])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"row": "baseline+++"}, r"row 'baseline\+\+\+' is none of baseline, baseline-opt"),
        ({"coefficient": 0.1}, r"coefficient=0\.1 has no effect"),
        ({"shots": 0}, "shots=0 must be greater than 0"),
        ({"scale": -1.0}, r"scale=-1\.0 must be greater than 0"),
    ],
    ids=["row", "coefficient", "shots", "scale"],
)
def test_settings_without_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RECIPES[NAMES[0]](**wrong)


def test_another_set_of_classes_is_refused(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for split, names in (("train", "ab"), ("test", "cd")):
        for name in names:
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(2):
                image.new("RGB", (4, 4)).save(folder / f"{number}.png")
    with pytest.raises(ValueError, match="has 2 classes to train on and others unseen: expected the 64 of mini-ImageN"):
        RECIPES[NAMES[0]](dataset=str(tmp_path)).data()


@pytest.mark.parametrize(("name", "size"), [(NAMES[0], 84), (NAMES[1], 32)])
def test_the_estimated_cost_is_that_of_the_network(name: str, size: int) -> None:
    entry = RECIPES[name]
    recipe = small("baseline", name, width=1.0, image_size=size)
    classes = 6 * 64 * (size // 16) ** 2  # of noise
    of_all = entry.images.classes * 64 * (size // 16) ** 2
    counted = multiply_adds(recipe, (entry.images.channels, size, size)) - classes + of_all
    assert entry.megamacs == pytest.approx(counted / 1e6, rel=2e-3)


def test_the_interval_over_episodes_is_said_below_the_table() -> None:
    name = NAMES[1]
    found = run([small(row, name, episodes=5) for row in ROWS[:2]], seeds=[1], accelerator="cpu", measure=False)
    text = markdown(found.to_json())
    assert "| Method | Few-shot % | Top-1 % |" in text
    mean = sum(row.seeds[0].final["few_shot_ci95"] for row in found.rows) / 2
    assert f"few-shot accuracy has a 95 % interval of ± {mean:.2f} points, mean over rows and seeds." in text
