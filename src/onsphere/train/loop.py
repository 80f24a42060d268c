"""The loop: one model from its seed to its last epoch."""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from onsphere.train.batches import Batch, Loaded, batches, steps_per_epoch, total_steps
from onsphere.train.interruption import StopRequest
from onsphere.train.keeping import Keeper
from onsphere.train.recipe import Progress, Recipe
from onsphere.train.result import SeedResult
from onsphere.train.synchronized import synchronize

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["NonFiniteLoss"]

EVALUATION_BATCH = 512
T = TypeVar("T")
SECONDS_BETWEEN_LOOKS = 0.1


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the message says in which row, seed, epoch and step, and in which part."""


class Training:
    """One model from its seed, or from its checkpoint, to its last step.

    Args:
        fabric: of the run.
        recipe: what is trained.
        data: on the device.
        seed: everything random comes from it.
        keeper: of this training's files.
        stop: notes Ctrl-C and SIGTERM.
        progress: called some ten times a second.
        at: what Progress is filled in from.
    """

    def __init__(
        self,
        fabric: Fabric,
        recipe: Recipe,
        data: Loaded,
        seed: int,
        keeper: Keeper,
        stop: StopRequest,
        progress: Callable[[Progress], None] | None,
        at: Progress,
    ) -> None:
        self.fabric, self.recipe, self.data, self.seed = fabric, recipe, data, seed
        self.keeper, self.stop = keeper, stop
        self.steps, self.total = steps_per_epoch(recipe, data), total_steps(recipe, data)
        self.watch = Watch(progress, replace(at, epochs=math.ceil(self.total / self.steps)))

    def run(self) -> SeedResult:
        """Train to the end.

        Raises:
            KeyboardInterrupt: a stop was asked for; the state after the last step is in the checkpoint.
        """
        begin = time.perf_counter()
        self.trainee = prepare(self.fabric, self.recipe, self.seed)
        self.so_far = so_far = self.keeper.start(self.trainee)
        self.begin = begin - so_far.seconds
        while so_far.step < self.total:
            epoch = so_far.step // self.steps + 1
            first, last = (epoch - 1) * self.steps, min(epoch * self.steps, self.total)
            self._steps(epoch, first, last)
            self._end_of_epoch(epoch, first, last)
            if last < self.total:
                self._stop_or_save(0)  # every process is here at the same time, so that they can always agree

        further = _further_metrics(self.recipe, self.trainee.evaluated)
        end = {} if self.recipe.final is None else _read(self.recipe.final, self.trainee.evaluated)
        self.keeper.finish(self.trainee)
        return SeedResult(
            seed=self.seed,
            seconds=time.perf_counter() - self.begin,
            steps=self.total,
            final={**{name: statistics.fmean(so_far.curve[name][-5:]) for name in self.recipe.metrics}, **further},
            last={**{name: so_far.curve[name][-1] for name in self.recipe.metrics}, **further},
            curve=so_far.curve,
            observations=_over_epochs(so_far.observed),
            end=end,
        )

    def _steps(self, epoch: int, first: int, last: int) -> None:
        """The steps of an epoch that are not done yet."""
        fabric, recipe, trainee, so_far = self.fabric, self.recipe, self.trainee, self.so_far
        trainee.wrapped.train()
        if so_far.losses is None:
            so_far.losses = torch.zeros(last - first, 2, device=fabric.device)  # objective and regularizer of each
        looked = so_far.step - first
        for batch in batches(fabric, recipe, self.data, self.seed, epoch, first=looked):
            row = so_far.step - first
            self.rate = float(trainee.optimizer.param_groups[0]["lr"])  # of this step; a schedule may step right after
            so_far.losses[row, 0], so_far.losses[row, 1] = optimizer_step(fabric, recipe, trainee, batch)
            so_far.step += 1
            for hook in recipe.after_step:
                hook(trainee.model, so_far.step)

            # To look at a loss makes a GPU wait, so there it is done some ten times a second only.
            due, ends = self.watch.due(), so_far.step == last
            if due or ends or fabric.device.type == "cpu":
                _check_finite(so_far.losses[looked : row + 1], recipe, self.seed, epoch, looked)
                looked = row + 1
            if ends:
                return  # the epoch is evaluated before anything is saved
            if due:
                self.watch.step(epoch, so_far.step, row + 1, last - first, so_far.losses[row].sum().item())
            self._stop_or_save(so_far.step)

    def _end_of_epoch(self, epoch: int, first: int, last: int) -> None:
        fabric, recipe, trainee, so_far = self.fabric, self.recipe, self.trainee, self.so_far
        assert so_far.losses is not None
        objective, penalty = _over_processes(fabric, so_far.losses.mean(0), "mean").tolist()
        so_far.losses = None
        if trainee.schedule is not None and recipe.schedule_every == "epoch":
            _step_schedule(trainee.schedule, objective + penalty)
        metrics = _evaluate(fabric, recipe, trainee, self.data)
        entry = {"epoch": epoch, "train_loss": objective + penalty, "objective": objective, "regularizer": penalty}
        for name, value in {**entry, **metrics, "lr": self.rate}.items():
            so_far.curve.setdefault(name, []).append(value)
        if recipe.observe is not None:
            so_far.observed.append(_read(recipe.observe, trainee.evaluated))
        self.keeper.after_epoch(trainee, so_far)
        self.watch.epoch(epoch, last, last - first, objective + penalty, metrics)

    def _stop_or_save(self, step: int) -> None:
        stops, saves = self.stop.agreed(self.fabric, step, self.keeper.due)
        if saves:
            self.so_far.seconds = time.perf_counter() - self.begin
            self.keeper.save(self.trainee, self.so_far)
        if stops:
            self.stop.saved = self.keeper.folder is not None
            raise KeyboardInterrupt


class Watch:
    """Tells a callback how far a training has come, some ten times a second."""

    def __init__(self, progress: Callable[[Progress], None] | None, at: Progress) -> None:
        self.progress, self.at, self.next = progress, at, 0.0

    def due(self) -> bool:
        return time.perf_counter() >= self.next

    def step(self, epoch: int, done: int, step: int, steps: int, loss: float) -> None:
        self._tell(epoch=epoch, step=step, steps=steps, loss=loss, done=self.at.done + done)

    def epoch(self, epoch: int, done: int, steps: int, loss: float, metrics: Mapping[str, float]) -> None:
        self.at = replace(self.at, metrics=metrics)
        self._tell(epoch=epoch, step=steps, steps=steps, loss=loss, done=self.at.done + done)

    def _tell(self, **where: Any) -> None:
        if self.progress is not None:
            self.progress(replace(self.at, **where))
        self.next = time.perf_counter() + SECONDS_BETWEEN_LOOKS


@dataclass(frozen=True)
class Trainee:
    """What a recipe's builders made for one seed: the bare model, the same one wrapped by Fabric, and the rest."""

    model: nn.Module
    wrapped: nn.Module
    optimizer: Any  # Fabric's wrapper, which has the optimizer's class only at run time
    schedule: LRScheduler | None
    regularizer: Callable[..., Tensor] | None
    average: AveragedModel | None

    @property
    def evaluated(self) -> nn.Module:
        """The bare model with the weights that count: averaged ones where the recipe wants them."""
        if self.average is None:
            return self.model
        averaged: nn.Module = self.average.module
        return averaged


def prepare(fabric: Fabric, recipe: Recipe, seed: int) -> Trainee:
    # The same seed on every process: they start from the same weights, and a regularizer that draws neurons at random
    # draws the same ones everywhere.
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a recipe's hooks may use it
    torch.manual_seed(seed)
    model = recipe.model()
    if recipe.prepare is not None:
        recipe.prepare(model)
    if fabric.world_size > 1:
        model = synchronize(model, fabric.device)
    regularizer = None if recipe.regularizer is None else recipe.regularizer(model)
    wrapped = fabric.setup_module(model)
    average = None
    if recipe.ema is not None:
        if any(hasattr(parameter, "full_tensor") for parameter in model.parameters()):
            raise ValueError(f"ema={recipe.ema}: averaged weights need whole parameters, these are sharded (fsdp)")
        if not all(getattr(parameter, "averageable", True) for parameter in model.parameters()):
            raise ValueError(f"ema={recipe.ema}: some parameters, such as orthogonal matrices, cannot be averaged")
        decay = get_ema_multi_avg_fn(recipe.ema)  # type: ignore[no-untyped-call]
        average = AveragedModel(model, multi_avg_fn=decay, use_buffers=True)
    optimizer = recipe.optimizer(model.parameters())
    schedule = None if recipe.schedule is None else recipe.schedule(optimizer)
    if isinstance(schedule, ReduceLROnPlateau) and recipe.schedule_every == "step":
        raise ValueError("schedule_every='step' with ReduceLROnPlateau: expected 'epoch', it goes by an epoch's loss")
    return Trainee(model, wrapped, fabric.setup_optimizers(optimizer), schedule, regularizer, average)


def optimizer_step(fabric: Fabric, recipe: Recipe, trainee: Trainee, batch: Batch) -> tuple[Tensor, Tensor | float]:
    """One step of the optimizer; gives the objective (times share) and the regularizer."""
    trainee.optimizer.zero_grad()
    if recipe.objective is None:
        objective = trainee.wrapped(batch.images, batch.labels) * batch.share
    else:
        objective = recipe.objective(trainee.wrapped(batch.images), batch.labels) * batch.share
    if trainee.regularizer is None:
        penalty: Tensor | float = 0.0
        fabric.backward(objective)
    else:
        # The whole batch's labels: then the penalty and its gradient are the same on every process, as those of weights
        # that are shared out over the processes must be.
        wants_labels = getattr(trainee.regularizer, "wants_labels", False)
        penalty = trainee.regularizer(batch.all_labels) if wants_labels else trainee.regularizer()
        fabric.backward(objective + penalty)
        penalty = penalty.detach()
    if recipe.clip is not None:
        fabric.clip_gradients(trainee.wrapped, trainee.optimizer, max_norm=recipe.clip)
    trainee.optimizer.step()
    if trainee.schedule is not None and recipe.schedule_every == "step":
        trainee.schedule.step()
    if trainee.average is not None:
        trainee.average.update_parameters(trainee.model)
    return objective.detach(), penalty


def _step_schedule(schedule: LRScheduler, loss: float) -> None:
    if isinstance(schedule, ReduceLROnPlateau):
        schedule.step(loss)
    else:
        schedule.step()


@torch.no_grad()
@parametrize.cached()  # a weight that is computed from parameters is so once, and not for every batch
def _evaluate(fabric: Fabric, recipe: Recipe, trainee: Trainee, data: Loaded) -> dict[str, float]:
    """Accuracies in percent and the mean objective over the test set, which the processes share out."""
    # The averaged copy is on every process and in no wrapper.
    model = trainee.wrapped if trainee.average is None else trainee.average.module
    model.eval()
    objective = F.cross_entropy if recipe.objective is None else recipe.objective
    loss = torch.zeros((), device=fabric.device)
    data.top1.reset()
    data.top5.reset()
    for first in range(0, len(data.test), EVALUATION_BATCH):
        indices = torch.arange(first, min(first + EVALUATION_BATCH, len(data.test)), device=fabric.device)
        indices = indices.tensor_split(fabric.world_size)[fabric.global_rank]
        images, labels = data.test.take(indices), data.test.labels[indices]
        if recipe.test_transform is not None:
            images = recipe.test_transform(images)
        inputs = (data.normalize(images),) if recipe.classifies else (data.normalize(images), labels)
        # Also where this process's part is empty: the wrapped model may wait for the others.
        with fabric.autocast() if trainee.average is not None else contextlib.nullcontext():
            outputs = model(*inputs)
        if len(labels):
            loss += (objective(outputs, labels) if recipe.classifies else outputs) * len(labels)
            if recipe.classifies:
                data.top1.update(outputs, labels)
                data.top5.update(outputs, labels)
    test_loss = {"test_loss": _over_processes(fabric, loss, "sum").item() / len(data.test)}
    if not recipe.classifies:
        return test_loss
    return {"top1": 100 * data.top1.compute().item(), "top5": 100 * data.top5.compute().item(), **test_loss}


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


def _further_metrics(recipe: Recipe, model: nn.Module) -> dict[str, float]:
    if recipe.evaluate is None:
        return {}
    found = {name: float(value) for name, value in _read(recipe.evaluate, model).items()}
    twice = sorted(found.keys() & {*recipe.metrics})
    if twice:
        raise ValueError(f"row {recipe.row!r}: evaluate gave {', '.join(twice)}: expected other names")
    known = (*recipe.metrics, *found)
    if recipe.metric not in known:
        raise ValueError(f"row {recipe.row!r}: metric={recipe.metric!r} is none of {', '.join(known)}")
    return found


@torch.no_grad()
def _read(look: Callable[[nn.Module], Mapping[str, T]], model: nn.Module) -> Mapping[str, T]:
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
