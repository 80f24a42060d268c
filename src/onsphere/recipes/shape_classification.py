"""Point clouds of ModelNet-40, or of made-up shapes, classified by PointNet: what chapters 6 and 7 share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import nn
from torch.optim import Adam
from torch.optim.lr_scheduler import StepLR

from onsphere import models
from onsphere.data import TensorData, Tensors, modelnet, rotate_jitter, shapes
from onsphere.recipes.settings import check_positive

SHAPES = "shapes"  # as a data set: solids that the code makes
MADE = (100, 25)  # of each, to train and to test on


@dataclass(frozen=True)
class ShapeSet:
    """A public set of meshes.

    Args:
        title: as the papers write it.
        classes: number of them.
        train: number of training examples.

    >>> MODELNET40.load("shapes", 64, 2, 1).test
    Tensors(8 of 3 x 64)
    """

    title: str
    classes: int
    train: int

    def load(self, dataset: str, points: int, train_per_class: int | None, test_per_class: int | None) -> TensorData:
        """Read the set once: the rows of a comparison get the same object.

        Args:
            dataset: a folder as ``data.modelnet`` takes it, or ``shapes``.
            points: of a cloud.
            train_per_class: clouds of each class to learn from: the first ones; of ``shapes`` so many are made. None
                for all, and 100 of ``shapes``.
            test_per_class: likewise to test on; None for all, and 25 of ``shapes``.

        Raises:
            ValueError: if a folder has other classes.
        """
        return _load(self, dataset, points, train_per_class, test_per_class)


MODELNET40 = ShapeSet("ModelNet-40", classes=40, train=9843)


@lru_cache(maxsize=1)
def _load(
    meshes: ShapeSet, dataset: str, points: int, train_per_class: int | None, test_per_class: int | None
) -> TensorData:
    if dataset == SHAPES:
        return shapes(points, train_per_class or MADE[0], test_per_class or MADE[1])
    full = modelnet(dataset, points=points)
    if full.num_classes != meshes.classes:
        raise ValueError(
            f"dataset={dataset!r} has {full.num_classes} classes: expected the {meshes.classes} of {meshes.title}"
        )
    train, test = _first(full.train, train_per_class), _first(full.test, test_per_class)
    return TensorData(full.name, train, test, full.num_classes, full.classes)


def _first(clouds: Tensors, per_class: int | None) -> Tensors:
    if per_class is None:
        return clouds
    labels = torch.unique(clouds.labels)
    return clouds.select(torch.cat([(clouds.labels == label).nonzero().flatten()[:per_class] for label in labels]))


def shape_classification(
    meshes: ShapeSet,
    dataset: str,
    *,
    points: int,
    train_per_class: int | None,
    test_per_class: int | None,
    width: float,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    decay_every: int,
) -> dict[str, Any]:
    """The part of a Recipe that says how PointNet is trained: E.1 and F.3 of the thesis.

    Args:
        meshes, dataset, points, train_per_class, test_per_class: as in ``ShapeSet.load``.
        width: of the network.
        epochs: passes over the clouds.
        batch_size: clouds a step.
        learning_rate: of Adam, times 0.7 after every ``decay_every`` steps.
        decay_every: see there.
    """
    check_positive(train_per_class=train_per_class, test_per_class=test_per_class, decay_every=decay_every)
    check_positive(width=width, learning_rate=learning_rate)
    load = partial(meshes.load, dataset, points, train_per_class, test_per_class)
    return {
        "model": partial(_network, load, width),
        "data": load,
        "augment": rotate_jitter(),
        "optimizer": partial(Adam, lr=learning_rate),
        "schedule": partial(StepLR, step_size=decay_every, gamma=0.7),
        "schedule_every": "step",
        "epochs": epochs,
        "batch_size": batch_size,
    }


def _network(load: Callable[[], TensorData], width: float) -> nn.Module:
    return models.pointnet(load().num_classes, width=width)
