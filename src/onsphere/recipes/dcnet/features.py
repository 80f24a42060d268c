"""Features in the plane: Figures C.2 and C.3 of the thesis, on MNIST."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import nn

from onsphere import models
from onsphere.attacks import AdversarialTraining
from onsphere.data import Data
from onsphere.diagnostics import angular_fisher_score
from onsphere.models.sizes import scaled
from onsphere.recipes.dcnet.robustness import TrainingName, trained
from onsphere.recipes.dcnet.rows import operator
from onsphere.recipes.decoupled import adam_by_steps
from onsphere.recipes.image_sets import MNIST
from onsphere.recipes.observations import classifier_angle, drawn_features, feature_record, features_of
from onsphere.recipes.settings import check_positive, milestones_or
from onsphere.train import Recipe

FIRST = 2000  # test images whose angles are counted


def mnist_features(
    dataset: str = "ylecun/mnist",
    row: Literal["baseline", "sphere", "ball", "tanh", "linear", "seg", "log", "mix"] = "sphere",
    training: TrainingName = "natural",
    coefficient: float | None = None,
    epsilon: float = 8.0,
    batch_norm: bool = True,
    width: float = 1.0,
    train_images: int | None = None,
    test_images: int | None = None,
    steps: int = 4_000,
    batch_size: int = 128,
    learning_rate: float = 0.01,
    milestones: tuple[int, ...] | None = None,
) -> Recipe:
    """Figures C.2 and C.3 of the thesis: MNIST with features of two numbers, trained naturally or against attacks.

    The network of section C.4, with the cosine activation and ordinary gradients; every layer but the last is
    decoupled, so that the features of bounded operators are bounded. The thesis does not say how it trained; here it is
    Adam from 0.01, for where features are bounded the classifier's weights must become long, and with 0.001 they are
    still short after a thousand steps. The result holds the features of 200 training and 200 test images of each digit,
    the classifier's neurons, the angles between features and their mean cosines by class, and the angular Fisher score
    of the test images (A.1); in the thesis the features of SphereConv, BallConv and TanhConv are the most compact. A
    row takes minutes on a GPU; on a CPU a minute or two with width=0.25, steps=800 and learning_rate=0.03, three times
    that with adversarial training, but two digits may then fall together.

    Args:
        dataset: MNIST as a folder (four IDX files, or parquet files in Hugging Face layout) or a name on the hub;
            `noise` for random images, to try the steps.
        row: the ordinary convolution, or a magnitude function (eqs. 4.4 to 4.10).
        training: natural (Figure C.2), or adversarial (Figure C.3): half of the objective is on images of the fast
            gradient sign method.
        coefficient: only null: these rows regularize nothing.
        epsilon: the most that a pixel may change in adversarial training, of 255 (C.1.2).
        batch_norm: batch normalization behind all layers but the last two.
        width: factor on the filters.
        train_images: training images kept, the first ones; null for all.
        test_images: test images kept, the first ones; null for all.
        steps: of the optimizer.
        batch_size: images a step, over all processes.
        learning_rate: of Adam, before the first milestone.
        milestones: steps after which the learning rate is divided by 10; null for half and three quarters of the steps.

    Raises:
        ValueError: for a value out of its range, and for a coefficient that would be ignored.

    >>> mnist_features("folder", "mix").row
    'MixConv'
    """
    settings = dict(locals())
    chosen = operator(row)
    if coefficient:
        raise ValueError(f"coefficient={coefficient} has no effect: these rows regularize nothing")
    settings["milestones"] = milestones_or(milestones, (2, 3), of=4, to=steps)
    check_positive(width=width, epsilon=epsilon, train_images=train_images, test_images=test_images)
    load = partial(MNIST.load, dataset, train_images, test_images)
    first, second, third = scaled((32, 64, 128), width)
    network = partial(
        models.decoupled_mnist_cnn, **chosen.arguments, widths=(first, second, third), batch_norm=batch_norm
    )
    return Recipe(
        name=f"thesis-figure{'C.2' if training == 'natural' else 'C.3'}-mnist",
        row=chosen.label,
        source=f"thesis, Figure {'C.2' if training == 'natural' else 'C.3'}",
        data=load,
        observe=classifier_angle,
        evaluate=partial(_score, load=load),
        metric="afs",
        final=partial(_record, load=load),
        settings=settings,
        **trained(network, MNIST.classes, training, epsilon, load),
        **adam_by_steps(steps, batch_size, learning_rate, settings["milestones"]),
    )


def _score(model: nn.Module, load: Callable[[], Data]) -> dict[str, float]:
    return {"afs": angular_fisher_score(*features_of(_layers(model)[:-1], load(), load().test))}


def _record(model: nn.Module, load: Callable[[], Data]) -> dict[str, object]:
    layers, source = _layers(model), load()
    some = source.test.select(torch.arange(min(FIRST, len(source.test))))
    return {**drawn_features(layers, load, load), **feature_record(*features_of(layers[:-1], source, some))}


def _layers(model: nn.Module) -> nn.Sequential:
    """The layers of the network itself."""
    network = model.model if isinstance(model, AdversarialTraining) else model
    assert isinstance(network, nn.Sequential)
    return network
