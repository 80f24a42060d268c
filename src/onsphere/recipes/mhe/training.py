"""Trainings that are counted in steps: those of the thesis's chapter 5 (D.1), and what others share with them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import MultiStepLR

from onsphere.recipes.settings import check_positive, milestones_or


def by_steps(
    steps: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    milestones: Sequence[int],
) -> dict[str, Any]:
    """The part of a Recipe that says how it is trained: SGD with momentum 0.9, divided by 10 after some of the steps.

    Args:
        steps: of the optimizer, in all.
        batch_size: images a step.
        learning_rate: before the first milestone.
        weight_decay: on every parameter.
        milestones: steps after which the learning rate is divided by 10.
    """
    check_positive(learning_rate=learning_rate)
    optimizer = partial(SGD, lr=learning_rate, momentum=0.9, weight_decay=weight_decay)
    return counted_in_steps(optimizer, steps, batch_size, milestones)


def counted_in_steps(
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer], steps: int, batch_size: int, milestones: Sequence[int]
) -> dict[str, Any]:
    """The same with another optimizer.

    Args:
        optimizer: builds it from the parameters.
        steps: of the optimizer, in all.
        batch_size: images a step.
        milestones: steps after which the learning rate is divided by 10.
    """
    check_positive(steps=steps, batch_size=batch_size)
    return {
        "optimizer": optimizer,
        "schedule": partial(MultiStepLR, milestones=milestones, gamma=0.1),
        "schedule_every": "step",
        "epochs": steps,  # more than enough, however few images there are
        "max_steps": steps,
        "batch_size": batch_size,
    }


def cifar_milestones(milestones: tuple[int, ...] | None, steps: int) -> tuple[int, ...]:
    """What was given, or 20k, 30k and 37.5k of 42.5k at the same shares of the steps."""
    return milestones_or(milestones, (20_000, 30_000, 37_500), of=42_500, to=steps)


def imagenet_milestones(milestones: tuple[int, ...] | None, steps: int) -> tuple[int, ...]:
    """What was given, or 150k, 300k and 400k of 500k at the same shares of the steps."""
    return milestones_or(milestones, (150_000, 300_000, 400_000), of=500_000, to=steps)


def top1(error: float | None) -> dict[str, float]:
    """A testing error of the thesis as accuracy, both in percent; nothing for None."""
    return {} if error is None else {"top1": round(100 - error, 2)}
