"""Features in the plane and on the sphere: Figures 2.2, 2.10 and A.5 of the thesis, on MNIST."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import nn

from onsphere import models
from onsphere.data import Data
from onsphere.diagnostics import angular_fisher_score
from onsphere.recipes.image_sets import MNIST
from onsphere.recipes.margins.objectives import Annealing, Tuning, objective
from onsphere.recipes.margins.recognition import recogniser
from onsphere.recipes.mhe.training import by_steps
from onsphere.recipes.observations import (
    classifier_angle,
    drawn_features,
    feature_record,
    features_of,
    norms_of_classes,
)
from onsphere.recipes.settings import check_positive, milestones_or
from onsphere.train import Recipe

FIRST = 2000  # test images whose angles are counted


def mnist_features(
    dataset: str = "ylecun/mnist",
    row: Literal[
        "softmax",
        "l-softmax-m2",
        "l-softmax-m3",
        "l-softmax-m4",
        "sphereface-m1",
        "sphereface-m2",
        "sphereface-m3",
        "sphereface-m4",
    ] = "sphereface-m4",
    coefficient: float | None = None,
    features: Literal[2, 3] = 3,
    width: float = 0.25,
    annealing_minimum: float = 2.0,
    annealed_after: float = 2 / 3,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 800,
    batch_size: int = 128,
    learning_rate: float = 0.05,
    weight_decay: float = 5e-4,
    milestones: tuple[int, ...] | None = None,
    clip: float | None = 5.0,
) -> Recipe:
    """Figures 2.2, 2.10 and A.5 of the thesis: MNIST with features of two or three numbers, to be seen; a minute a row.

    The network is Table 2.1's for Figure 2.2, with a quarter of the filters, so that a CPU trains a row in a minute;
    width=1 is the thesis's. Figure 2.10 has six people of CASIA-WebFace in three dimensions; here it is digits.
    Everything is the same for all rows. The result holds the features of 200 training and 200 test images of each
    digit, the classifier's neurons, the angles between features, their mean cosines by class, the norms of the class
    weights and the angular Fisher score of the test images (A.1), which should fall as m grows.

    Args:
        dataset: MNIST as a folder (four IDX files, or parquet files in Hugging Face layout) or a name on the hub;
            `noise` for random images, to try the steps.
        row: the objective: softmax, L-Softmax (weights keep their norms) or SphereFace (A-Softmax), with m.
        coefficient: only null: these rows regularize nothing.
        features: 2 for the plane (Figures 2.2 and A.5), 3 for the sphere (Figure 2.10).
        width: factor on the filters.
        annealing_minimum: lambda at the end (thesis 2.2.7); smaller is more margin. With 0.5 two classes of L-Softmax
            with m=4 fell together in so few steps.
        annealed_after: the share of the steps after which lambda has come down to it.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of SGD with momentum 0.9, before the first milestone.
        weight_decay: of SGD, on every parameter.
        milestones: steps after which the learning rate is divided by 10; null for 12k and 15k of 18k, at the same
            shares of the steps.
        clip: the most that the norm of all gradients may be; null to leave it.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> mnist_features("folder", "l-softmax-m2", features=2).row
    'L-Softmax m=2'
    """
    settings = dict(locals())
    chosen = objective(row, coefficient)
    settings["coefficient"] = chosen.coefficient
    settings["milestones"] = milestones_or(milestones, (12, 15), of=18, to=steps)
    check_positive(width=width, annealed_after=annealed_after, steps=steps)
    check_positive(train_images=train_images, test_images=test_images)
    tuning = Tuning(Annealing.over(annealed_after * steps, annealing_minimum))
    load = partial(MNIST.load, dataset, train_images, test_images)
    body = partial(models.lsoftmax_cnn, "mnist-2d", features=features, width=width)
    return Recipe(
        name="mnist-features",
        row=chosen.label,
        source=f"thesis, Figures {'2.2 and A.5' if features == 2 else '2.10'}",
        model=partial(recogniser, body, features, chosen, tuning, MNIST.classes),
        data=load,
        objective=None,
        clip=clip,
        observe=classifier_angle,
        evaluate=partial(_score, load=load),
        metric="afs",
        final=partial(_record, load=load),
        settings=settings,
        **by_steps(steps, batch_size, learning_rate, weight_decay, settings["milestones"]),
    )


def _score(model: nn.Module, load: Callable[[], Data]) -> dict[str, float]:
    assert isinstance(model, models.Recogniser)
    return {"afs": angular_fisher_score(*features_of(model.body, load(), load().test))}


def _record(model: nn.Module, load: Callable[[], Data]) -> dict[str, object]:
    assert isinstance(model, models.Recogniser)
    source = load()
    some = source.test.select(torch.arange(min(FIRST, len(source.test))))
    return {
        **drawn_features(model, load, load),
        **feature_record(*features_of(model.body, source, some)),
        **norms_of_classes(model, source.train.labels),
    }
