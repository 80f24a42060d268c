"""What a training is made from, and how far it has come."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from onsphere.data import Data, TensorData

__all__ = ["Progress", "Recipe"]

METRICS = ("top1", "top5", "test_loss")  # of every evaluation of a classifier


@dataclass(frozen=True)
class Recipe:
    """Everything that one row of a comparison is trained from: builders, settings and hooks.

    Args:
        name: of the comparison, e.g. ``table3-digits``; the same for all its rows.
        row: of the table, e.g. ``MMA``.
        source: paper and table.
        model: builds the network; called after the seed is set.
        data: gives the data set; the rows of one comparison should give the same object.
        optimizer: builds the optimizer from the parameters.
        epochs: passes over the training images.
        batch_size: images a step, over all processes together. An epoch has ceil(images / batch_size) steps, and its
            batches are as equal as can be, so that no image is left out and no batch is tiny.
        objective: (outputs, labels) to a scalar, a mean over the examples. None where the model gives it itself,
            because its last layer must know the labels: then ``model(images, labels)`` is the objective,
            ``model(images)`` are the outputs, and the test loss is their cross-entropy.
        classifies: whether the outputs are logits of the labels. A model that does something else, such as rebuild its
            images, gives its objective itself, and ``model(images, labels)`` is the test loss, too; there is no top1.
        regularizer: called with the bare model before training, gives what is called at every step and added; with the
            batch's labels where it has a true attribute ``wants_labels``.
        prepare: changes the model in place before the optimizer is built.
        max_steps: optimizer steps after which training stops, also within an epoch (which is then evaluated as any
            other); None for all steps of all epochs.
        schedule: builds a learning rate schedule, ReduceLROnPlateau included, which goes by the epoch's training loss.
        schedule_every: when it is stepped: once an ``epoch`` or after every optimizer ``step``.
        clip: the most that the norm of all gradients together, the regularizer's included, may be; None to leave it.
        ema: decay of an exponential moving average of the weights, which is then what is evaluated, observed and saved;
            None for the weights themselves. Orthogonal matrices (``OrthogonalGD``) are refused: their average is none.
        augment: (uint8 images, generator) to uint8 images, of another height and width if need be; on the device. What
            ``Tensors`` hold comes and goes as it is.
        test_transform: uint8 test images to uint8 images as augment makes them, e.g. their centres.
        after_step: each is called with the bare model and the number of steps done, after every step.
        observe: read-only; called with the bare model after every epoch, gives numbers, or mappings of them, for the
            result's ``observations``.
        evaluate: read-only; called with the bare model after the last epoch, gives further metrics, such as the
            accuracy of an open-set protocol, that stand beside top1 in the result's ``final`` and ``last``.
        metric: which metric the table is about, top1 or one of ``evaluate``'s; the same for all rows.
        final: read-only; called with the bare model after the last epoch, gives the result's ``end``.
        paper: the paper's numbers for this row, by the name of the metric.
        settings: what the recipe was made with, for the result file.

    Raises:
        ValueError: if epochs, batch_size or max_steps is below 1, clip not above 0, ema not between 0 and 1, metric
            one that nothing gives, or if there is an objective of outputs that are no logits.

    >>> import onsphere.models, onsphere.data
    >>> recipe = Recipe(
    ...     name="example",
    ...     row="none",
    ...     source="-",
    ...     model=lambda: onsphere.models.mlp(64, 10),
    ...     data=lambda: onsphere.data.digits(100),
    ...     optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    ...     epochs=1,
    ...     batch_size=50,
    ... )
    >>> recipe.epochs
    1
    """

    name: str
    row: str
    source: str
    model: Callable[[], nn.Module]
    data: Callable[[], Data | TensorData]
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    epochs: int
    batch_size: int
    objective: Callable[[Tensor, Tensor], Tensor] | None = F.cross_entropy
    classifies: bool = True
    regularizer: Callable[[nn.Module], Callable[..., Tensor]] | None = None
    prepare: Callable[[nn.Module], None] | None = None
    schedule: Callable[[Optimizer], LRScheduler] | None = None
    schedule_every: Literal["epoch", "step"] = "epoch"
    max_steps: int | None = None
    clip: float | None = None
    ema: float | None = None
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    test_transform: Callable[[Tensor], Tensor] | None = None
    after_step: tuple[Callable[[nn.Module, int], None], ...] = ()
    observe: Callable[[nn.Module], Mapping[str, object]] | None = None
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None
    metric: str = "top1"
    final: Callable[[nn.Module], Mapping[str, object]] | None = None
    paper: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "max_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value!r}: expected at least 1")
        if self.schedule_every not in ("epoch", "step"):
            raise ValueError(f"schedule_every={self.schedule_every!r}: expected 'epoch' or 'step'")
        if self.objective is not None and not self.classifies:
            raise ValueError("classifies=False: expected objective=None, the model gives its loss itself")
        if self.evaluate is None and self.metric not in self.metrics:
            known = " or ".join(filter(None, (", ".join(self.metrics[:-1]), self.metrics[-1])))
            raise ValueError(f"metric={self.metric!r}: expected {known}, or evaluate to give it")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip={self.clip!r}: expected a number above 0, or None")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema={self.ema!r}: expected a number between 0 and 1, or None")

    @property
    def metrics(self) -> tuple[str, ...]:
        """What every evaluation gives."""
        return METRICS if self.classifies else ("test_loss",)


@dataclass(frozen=True)
class Progress:
    """Where a run stands; handed to ``run``'s callback some ten times a second and at the end of every epoch.

    Args:
        phase: ``measure`` while costs are measured, then ``train``.
        row: the recipe's row, and ``row_index`` of ``rows``, from 0.
        seed: the seed, and ``seed_index`` of ``seeds``, from 0.
        epoch: from 1, of ``epochs``.
        step: of this epoch, from 1, of ``steps``.
        loss: of the last step; of the last epoch, where ``step == steps``.
        metrics: of the last evaluation of this row and seed, e.g. ``top1``; empty before the first.
        done: steps of the whole phase done, of ``total``.

    >>> Progress(phase="train", row="MMA", done=3, total=12).done
    3
    """

    phase: str
    row: str
    row_index: int = 0
    rows: int = 1
    seed: int = 0
    seed_index: int = 0
    seeds: int = 1
    epoch: int = 1
    epochs: int = 1
    step: int = 0
    steps: int = 1
    loss: float = math.nan
    metrics: Mapping[str, float] = field(default_factory=dict)
    done: int = 0
    total: int = 1
