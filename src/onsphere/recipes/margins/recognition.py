"""A recipe of a recogniser: a body, the classifier of a row, an open set, and a protocol."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from onsphere.data import Data, OpenSet
from onsphere.models import Recogniser
from onsphere.recipes.margins.objectives import Objective, Tuning

Load = Callable[[], OpenSet]


def recogniser(
    body: Callable[[], nn.Module], features: int, objective: Objective, tuning: Tuning, classes: int
) -> nn.Module:
    """A body and the classifier of a row."""
    return Recogniser(body(), objective.head(features, classes, tuning))


def recogniser_of(
    body: Callable[[], nn.Module], features: int, objective: Objective, tuning: Tuning, load: Load
) -> nn.Module:
    """The same with as many classes as an open set has to train on."""
    return recogniser(body, features, objective, tuning, load().data.num_classes)


def known(load: Load) -> Data:
    """The part of an open set that is trained on."""
    return load().data


class Later(nn.Module):
    """A regularizer that joins after some steps of the training: what is before them trains without it.

    Its value is computed from the first step on, so that the cost of a step is that of the steps with it.

    Args:
        regularizer: called at every step.
        steps: that it is left out of.

    >>> later = Later(nn.Identity(), 1)
    >>> [later(torch.ones(())).item() for _ in range(3)]
    [0.0, 1.0, 1.0]
    """

    done: Tensor

    def __init__(self, regularizer: Callable[..., Tensor], steps: int) -> None:
        super().__init__()
        self.regularizer, self.steps = regularizer, steps
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))

    @property
    def wants_labels(self) -> bool:
        """That of the regularizer."""
        return bool(getattr(self.regularizer, "wants_labels", False))

    def forward(self, *labels: Tensor) -> Tensor:
        value = self.regularizer(*labels)
        joined = (self.done >= self.steps).to(value)
        self.done += 1
        return joined * value


def later(model: nn.Module, build: Callable[[nn.Module], Callable[..., Tensor]], steps: int) -> Later:
    """For a Recipe's ``regularizer``: what ``build`` makes, after so many steps."""
    return Later(build(model), steps)
