"""Classification with L-Softmax: Tables 2.2 to 2.4 of the thesis, on MNIST, CIFAR-10 and CIFAR-100."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from onsphere import data, models
from onsphere.data import Data
from onsphere.diagnostics import angular_fisher_score
from onsphere.recipes.image_sets import CIFAR10, CIFAR100, MNIST, ImageSet
from onsphere.recipes.margins.objectives import Annealing, Tuning, objective
from onsphere.recipes.margins.paper import TABLE_2_2, TABLE_2_3, TABLE_2_4
from onsphere.recipes.margins.recognition import recogniser
from onsphere.recipes.mhe.training import by_steps
from onsphere.recipes.observations import feature_record, features_of, minimum_angles
from onsphere.recipes.settings import check_positive, milestones_or
from onsphere.train import Recipe

ImageSetName = Literal["mnist", "cifar10", "cifar100"]
SETS: Mapping[str, ImageSet] = {"mnist": MNIST, "cifar10": CIFAR10, "cifar100": CIFAR100}
FIRST = 2000  # test images whose features are looked at


def lsoftmax(
    dataset: str | None = None,
    row: Literal["softmax", "l-softmax-m2", "l-softmax-m3", "l-softmax-m4"] = "l-softmax-m4",
    images: ImageSetName = "cifar10",
    augmented: bool = True,
    coefficient: float | None = None,
    width: float = 1.0,
    annealing_gamma: float | None = None,
    annealing_minimum: float = 1.0,
    annealed_after: float = 2 / 3,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 18_000,
    batch_size: int = 256,
    learning_rate: float = 0.1,
    weight_decay: float = 5e-4,
    milestones: tuple[int, ...] | None = None,
    clip: float | None = None,
) -> Recipe:
    """Tables 2.2, 2.3 and 2.4 of the thesis: softmax and L-Softmax on MNIST, CIFAR-10 or CIFAR-100.

    Networks of Table 2.1, PReLU, batch normalization, He's initial weights, batch 256, SGD with momentum 0.9 (2.2.7).
    Steps, milestones and learning rate are the thesis's. It does not say whether, and how, the margin was annealed in
    these tables; here it is, for otherwise m of 3 and more do not train from the start. Images are normalised by mean
    and standard deviation; the thesis subtracts the mean only, which with batch normalization makes no difference but
    for weight decay on the first layer. The result also holds the cosines between classes of Figure 2.5, of the first
    2000 test images and the first 20 classes.

    Args:
        dataset: the images as a folder or a name on the hub; `noise` for random images, to try the steps; null for the
            hub's name of ``images``.
        row: softmax, or L-Softmax with its m.
        images: which of the three.
        augmented: CIFAR: images padded by 4 pixels, cropped and flipped at random (CIFAR10+). MNIST has none.
        coefficient: only null: these rows regularize nothing.
        width: factor on the filters of the convolutions.
        annealing_gamma: how fast lambda falls from 1000, as 1 / (1 + gamma t); null for what annealed_after says.
        annealing_minimum: where lambda stays ("a small value will usually suffice").
        annealed_after: the share of the steps after which lambda has come down to it.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 12k and 15k of 18k, at the same
            shares of the steps.
        clip: the most that the norm of all gradients may be; null to leave it.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> recipe = lsoftmax("folder", "l-softmax-m4", images="cifar10")
    >>> recipe.paper, recipe.max_steps, recipe.batch_size
    ({'top1': 94.08}, 18000, 256)
    """
    settings = dict(locals())
    chosen = objective(row, coefficient)
    source = SETS[images]
    settings["coefficient"] = chosen.coefficient
    settings["dataset"] = folder = dataset or str(source.hub)
    settings["augmented"] = augmented = augmented and images != "mnist"
    settings["milestones"] = milestones_or(milestones, (12, 15), of=18, to=steps)
    check_positive(width=width, annealed_after=annealed_after, annealing_gamma=annealing_gamma, steps=steps)
    check_positive(train_images=train_images, test_images=test_images)
    annealing = Annealing.over(annealed_after * steps, annealing_minimum)
    if annealing_gamma is not None:
        annealing = Annealing(annealing_gamma, annealing_minimum)
    settings["annealing_gamma"] = annealing.gamma
    tables: Mapping[str, tuple[str, Mapping[str, float]]] = {
        "mnist": ("2.2", TABLE_2_2),
        "cifar10": ("2.3", TABLE_2_3[augmented]),
        "cifar100": ("2.4", TABLE_2_4),
    }
    table, errors = tables[images]
    as_published = (width, train_images, test_images) == (1.0, None, None) and (augmented or images != "cifar100")
    load = partial(source.load, folder, train_images, test_images)
    body = partial(models.lsoftmax_cnn, images, width=width)
    features = 512 if images == "cifar100" else 256
    return Recipe(
        name=f"thesis-table{table}",
        row=chosen.label,
        source=f"thesis, Table {table}",
        model=partial(recogniser, body, features, chosen, Tuning(annealing), source.classes),
        data=load,
        objective=None,
        augment=data.augment if augmented else None,
        clip=clip,
        observe=minimum_angles,
        evaluate=partial(_score, load=load),
        final=partial(_record, load=load),
        paper={"top1": round(100 - errors[row], 2)} if as_published else {},
        settings=settings,
        **by_steps(steps, batch_size, learning_rate, weight_decay, settings["milestones"]),
    )


def _some(model: nn.Module, load: Callable[[], Data]) -> tuple[Any, Any]:
    assert isinstance(model, models.Recogniser)
    source = load()
    return features_of(model.body, source, source.test.select(torch.arange(min(FIRST, len(source.test)))))


def _score(model: nn.Module, load: Callable[[], Data]) -> dict[str, float]:
    return {"afs": angular_fisher_score(*_some(model, load))}


def _record(model: nn.Module, load: Callable[[], Data]) -> dict[str, object]:
    return feature_record(*_some(model, load))
