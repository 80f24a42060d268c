"""The loop: one model from its seed to its last epoch."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from onsphere.train.batches import Loaded, batches, steps_per_epoch
from onsphere.train.recipe import Progress, Recipe
from onsphere.train.result import SeedResult

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["NonFiniteLoss"]

EVALUATION_BATCH = 512
SECONDS_BETWEEN_LOOKS = 0.1


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the message says in which row, seed, epoch and step, and in which part."""


def train(
    fabric: Fabric,
    recipe: Recipe,
    data: Loaded,
    seed: int,
    progress: Callable[[Progress], None] | None,
    at: Progress,
) -> SeedResult:
    """One model from its seed to its last epoch."""
    begin = time.perf_counter()
    trainee = prepare(fabric, recipe, seed)
    steps = steps_per_epoch(recipe, data)
    curve: dict[str, list[float]] = {}
    observed: list[Mapping[str, object]] = []
    metrics: dict[str, float] = {}
    next_look = 0.0

    for epoch in range(1, recipe.epochs + 1):
        trainee.wrapped.train()
        losses = torch.zeros(steps, 2, device=fabric.device)  # objective and regularizer of every step
        looked = 0
        for step, batch in enumerate(batches(fabric, recipe, data, seed, epoch), start=1):
            losses[step - 1, 0], losses[step - 1, 1] = optimizer_step(fabric, recipe, trainee, *batch)
            for hook in recipe.after_step:
                hook(trainee.model, (epoch - 1) * steps + step)

            # To look at a loss makes a GPU wait, so there it is done some ten times a second only.
            due = time.perf_counter() >= next_look
            if due or step == steps or fabric.device.type == "cpu":
                _check_finite(losses[looked:step], recipe, seed, epoch, looked)
                looked = step
            if due and progress is not None and step < steps:
                loss = losses[step - 1].sum().item()
                done = at.done + (epoch - 1) * steps + step
                at_step = replace(at, epoch=epoch, epochs=recipe.epochs, step=step, steps=steps, loss=loss)
                progress(replace(at_step, metrics=metrics, done=done))
                next_look = time.perf_counter() + SECONDS_BETWEEN_LOOKS

        rate = trainee.optimizer.param_groups[0]["lr"]
        if trainee.schedule is not None:
            trainee.schedule.step()
        objective, penalty = _over_processes(fabric, losses.mean(0), "mean").tolist()
        metrics = _evaluate(fabric, recipe, trainee, data)
        entry = {"epoch": epoch, "train_loss": objective + penalty, "objective": objective, "regularizer": penalty}
        for name, value in {**entry, **metrics, "lr": float(rate)}.items():
            curve.setdefault(name, []).append(value)
        if recipe.observe is not None:
            observed.append(_read(recipe.observe, trainee.model))
        if progress is not None:
            at_step = replace(at, epoch=epoch, epochs=recipe.epochs, step=steps, steps=steps, loss=objective + penalty)
            progress(replace(at_step, metrics=metrics, done=at.done + epoch * steps))
            next_look = time.perf_counter() + SECONDS_BETWEEN_LOOKS

    end = {} if recipe.final is None else _read(recipe.final, trainee.model)
    return SeedResult(
        seed=seed,
        seconds=time.perf_counter() - begin,
        steps=recipe.epochs * steps,
        final={name: statistics.fmean(curve[name][-5:]) for name in metrics},
        last=metrics,
        curve=curve,
        observations=_over_epochs(observed),
        end=end,
    )


@dataclass(frozen=True)
class Trainee:
    """What a recipe's builders made for one seed: the bare model, the same one wrapped by Fabric, and the rest."""

    model: nn.Module
    wrapped: nn.Module
    optimizer: Any  # Fabric's wrapper, which has the optimizer's class only at run time
    schedule: LRScheduler | None
    regularizer: Callable[[], Tensor] | None


def prepare(fabric: Fabric, recipe: Recipe, seed: int) -> Trainee:
    # The same seed on every process: they start from the same weights, and a regularizer that draws neurons at random
    # draws the same ones everywhere.
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a recipe's hooks may use it
    torch.manual_seed(seed)
    model = recipe.model()
    if recipe.prepare is not None:
        recipe.prepare(model)
    regularizer = None if recipe.regularizer is None else recipe.regularizer(model)
    wrapped = fabric.setup_module(model)
    optimizer = recipe.optimizer(model.parameters())
    schedule = None if recipe.schedule is None else recipe.schedule(optimizer)
    return Trainee(model, wrapped, fabric.setup_optimizers(optimizer), schedule, regularizer)


def optimizer_step(
    fabric: Fabric, recipe: Recipe, trainee: Trainee, images: Tensor, labels: Tensor, share: float
) -> tuple[Tensor, Tensor | float]:
    """One step of the optimizer; gives the objective (times share) and the regularizer."""
    trainee.optimizer.zero_grad()
    objective = recipe.objective(trainee.wrapped(images), labels) * share
    if trainee.regularizer is None:
        penalty: Tensor | float = 0.0
        fabric.backward(objective)
    else:
        penalty = trainee.regularizer()
        fabric.backward(objective + penalty)
        penalty = penalty.detach()
    trainee.optimizer.step()
    return objective.detach(), penalty


@torch.no_grad()
def _evaluate(fabric: Fabric, recipe: Recipe, trainee: Trainee, data: Loaded) -> dict[str, float]:
    """Accuracies in percent and the mean objective over the test set, which the processes share out."""
    trainee.wrapped.eval()
    loss = torch.zeros((), device=fabric.device)
    data.top1.reset()
    data.top5.reset()
    for first in range(0, len(data.test), EVALUATION_BATCH):
        images, labels = (
            split[first : first + EVALUATION_BATCH].tensor_split(fabric.world_size)[fabric.global_rank]
            for split in (data.test.images, data.test.labels)
        )
        # Also where this process's part is empty: the wrapped model may wait for the others.
        outputs = trainee.wrapped(data.normalize(images))
        if len(labels):
            loss += recipe.objective(outputs, labels) * len(labels)
            data.top1.update(outputs, labels)
            data.top5.update(outputs, labels)
    loss = _over_processes(fabric, loss, "sum")
    return {
        "top1": 100 * data.top1.compute().item(),
        "top5": 100 * data.top5.compute().item(),
        "test_loss": loss.item() / len(data.test),
    }


def _over_processes(fabric: Fabric, values: Tensor, operation: str) -> Tensor:
    reduced = fabric.all_reduce(values, reduce_op=operation)
    assert isinstance(reduced, Tensor)
    return reduced


def _check_finite(losses: Tensor, recipe: Recipe, seed: int, epoch: int, before: int) -> None:
    """Raise at the first of these steps' losses that is not finite; before is the number of steps before them."""
    bad = (~torch.isfinite(losses)).any(1)
    if bad.any():
        first = int(bad.nonzero()[0])
        objective, penalty = losses[first].tolist()
        raise NonFiniteLoss(
            f"row {recipe.row!r}, seed {seed}, epoch {epoch}, step {before + first + 1}: the loss is not finite "
            f"(objective {objective}, regularizer {penalty}): a lower learning rate or coefficient may help"
        )


@torch.no_grad()
def _read(look: Callable[[nn.Module], Mapping[str, object]], model: nn.Module) -> Mapping[str, object]:
    """What a read-only hook says; it may draw random numbers without changing the training."""
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(devices):
        return look(model)


def _over_epochs(observed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """[{name: {layer: value}}, ...], one an epoch, to {name: {layer: [value, ...]}}."""
    names = {name: None for epoch in observed for name in epoch}
    return {
        name: _over_epochs([epoch[name] for epoch in observed])
        if all(isinstance(epoch.get(name), Mapping) for epoch in observed)
        else [epoch.get(name) for epoch in observed]
        for name in names
    }
