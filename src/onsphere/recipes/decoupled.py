"""What the recipes of SphereNets and decoupled networks share: Adam by steps, last layer, regularizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import nn
from torch.optim import Adam

from onsphere.models import Recogniser
from onsphere.recipes.mhe.training import counted_in_steps
from onsphere.recipes.settings import check_positive, milestones_or
from onsphere.regularizers import Regularizer
from onsphere.where import Layer

STEPS = 64_000  # of CIFAR (thesis, section 3.4.1)


def adam_by_steps(
    steps: int, batch_size: int, learning_rate: float, milestones: Sequence[int], weight_decay: float = 0.0
) -> dict[str, Any]:
    """The part of a Recipe that says how it is trained: Adam, divided by 10 after some of the steps.

    Args:
        steps: of the optimizer, in all.
        batch_size: images a step.
        learning_rate: before the first milestone.
        milestones: steps after which the learning rate is divided by 10.
        weight_decay: on every parameter, as a part of the loss; layers that see directions only need none.
    """
    check_positive(learning_rate=learning_rate)
    optimizer = partial(Adam, lr=learning_rate, weight_decay=weight_decay)
    return counted_in_steps(optimizer, steps, batch_size, milestones)


def cifar_milestones(milestones: Sequence[int] | None, steps: int) -> tuple[int, ...]:
    """What was given, or 34k and 54k of 64k (section 3.4.1) at the same shares of the steps.

    >>> cifar_milestones(None, 6400)
    (3400, 5400)
    """
    return milestones_or(milestones, (34_000, 54_000), of=STEPS, to=steps)


def classified(
    network: Callable[..., nn.Module], classes: int, head: Callable[[], nn.Module] | None = None
) -> dict[str, Any]:
    """The part of a Recipe that says what is trained for which objective.

    Args:
        network: builds it from ``num_classes``, which is None for a network without the last layer.
        classes: number of them.
        head: makes what takes the place of the last layer, such as an AngularSoftmax of the network's features; None
            for the ordinary linear layer and the softmax loss.
    """
    if head is None:
        return {"model": partial(network, num_classes=classes), "objective": F.cross_entropy}
    return {"model": partial(_recogniser, network, head), "objective": None}


def _recogniser(network: Callable[..., nn.Module], head: Callable[[], nn.Module]) -> Recogniser:
    return Recogniser(network(num_classes=None), head())


def regularized(measure: Callable[[], nn.Module], coefficient: float) -> Callable[[nn.Module], Regularizer] | None:
    """For a Recipe's ``regularizer``: a measure of the weights of all decoupled layers; None where nothing is added.

    Args:
        measure: makes it, such as ``diversity.Orthonormal``.
        coefficient: its weight in the loss.
    """
    return partial(_regularizer, measure=measure, coefficient=coefficient) if coefficient else None


def _regularizer(model: nn.Module, measure: Callable[[], nn.Module], coefficient: float) -> Regularizer:
    return Regularizer(model, measure(), coefficient, decoupled_layers)


def decoupled_layers(candidates: Sequence[Layer]) -> Sequence[Layer]:
    """A selector of layers: those with a magnitude and an angular activation, which ordinary ones do not have."""
    return [layer for layer in candidates if hasattr(layer.module, "magnitude")]
