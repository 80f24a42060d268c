"""What the recipes of SphereNets and decoupled networks share: Adam by steps, last layer, regularizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from onsphere.layers import Decoupled
from onsphere.models import Recogniser
from onsphere.recipes.mhe.training import counted_in_steps
from onsphere.recipes.settings import check_positive
from onsphere.regularizers import Regularizer
from onsphere.where import Layer


def adam_by_steps(steps: int, batch_size: int, learning_rate: float, milestones: Sequence[int]) -> dict[str, Any]:
    """The part of a Recipe that says how it is trained: Adam, divided by 10 after some of the steps.

    Args:
        steps: of the optimizer, in all.
        batch_size: images a step.
        learning_rate: before the first milestone.
        milestones: steps after which the learning rate is divided by 10.
    """
    check_positive(learning_rate=learning_rate)
    return counted_in_steps(partial(Adam, lr=learning_rate), steps, batch_size, milestones)


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


class WeightDecay(nn.Module):
    r"""Half the squared norm of a weight, whose gradient is the weight.

    .. math:: l = \tfrac{1}{2} \|W\|_F^2

    >>> import torch
    >>> WeightDecay()(torch.full((2, 2), 3.0))
    tensor(18.)
    """

    over_groups = "sum"

    def forward(self, weight: Tensor) -> Tensor:
        return 0.5 * weight.square().sum()


def penalties(
    measure: Callable[[], nn.Module], coefficient: float, weight_decay: float
) -> Callable[[nn.Module], Callable[..., Tensor]] | None:
    r"""For a Recipe's ``regularizer``: a measure of the filters of decoupled layers, weight decay of the others.

    .. math:: \lambda \sum l(W) + \frac{\mu}{2} \sum \|W\|_F^2

    An operator that sees a filter's direction only needs no weight decay (thesis, sections 3.2.4 and 4.5), and an
    optimizer's, which is on every parameter, would also pull curvatures and operator radii.

    Args:
        measure: makes l, such as ``diversity.Orthonormal``.
        coefficient: lambda, of decoupled layers.
        weight_decay: mu, of linear layers and convolutions that are not decoupled, the classifier among them.

    Raises:
        ValueError: if one of the two is below 0.
    """
    for name, value in (("coefficient", coefficient), ("weight_decay", weight_decay)):
        if not value >= 0:
            raise ValueError(f"{name}={value} must not be below 0")
    if not coefficient and not weight_decay:
        return None
    return partial(_penalties, measure=measure, coefficient=coefficient, weight_decay=weight_decay)


def _penalties(
    model: nn.Module, measure: Callable[[], nn.Module], coefficient: float, weight_decay: float
) -> Callable[..., Tensor]:
    terms = []
    if coefficient:
        terms.append(Regularizer(model, measure(), coefficient, decoupled_layers))
    if weight_decay:
        terms.append(Regularizer(model, WeightDecay(), weight_decay, ordinary_layers))
    return terms[0] if len(terms) == 1 else terms[0] + terms[1]


def decoupled_layers(candidates: Sequence[Layer]) -> Sequence[Layer]:
    """A selector of layers: the decoupled ones."""
    return [layer for layer in candidates if isinstance(layer.module, Decoupled)]


def ordinary_layers(candidates: Sequence[Layer]) -> Sequence[Layer]:
    """A selector of layers: those that are not decoupled."""
    return [layer for layer in candidates if not isinstance(layer.module, Decoupled)]
