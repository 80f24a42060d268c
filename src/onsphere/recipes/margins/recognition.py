"""A recipe of a recogniser: a body, the classifier of a row, an open set, and a protocol."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

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
