"""The training loop, and nothing else: a Recipe goes in, a Result comes out. It knows no method by name."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import itertools
import json
import math
import os
import platform
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from onsphere.data import Data, Images

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.strategy import Strategy

__all__ = [
    "Cost",
    "Interrupted",
    "NonFiniteLoss",
    "Progress",
    "Recipe",
    "Result",
    "Row",
    "SeedResult",
    "measure_cost",
    "run",
]

EVALUATION_BATCH = 512
SECONDS_BETWEEN_LOOKS = 0.1


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
        objective: (outputs, labels) to a scalar, a mean over the examples.
        regularizer: called with the bare model before training, gives what is called at every step and added.
        prepare: changes the model in place before the optimizer is built.
        schedule: builds a learning rate schedule, which is stepped once an epoch.
        augment: (uint8 images, generator) to images of the same shape; on the device.
        after_step: each is called with the bare model and the number of steps done, after every step.
        observe: read-only; called with the bare model after every epoch, gives numbers, or mappings of them, for the
            result's ``observations``.
        final: read-only; called with the bare model after the last epoch, gives the result's ``end``.
        paper: the paper's numbers for this row.
        settings: what the recipe was made with, for the result file.

    Raises:
        ValueError: if epochs or batch_size is below 1.

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
    data: Callable[[], Data]
    optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]
    epochs: int
    batch_size: int
    objective: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    regularizer: Callable[[nn.Module], Callable[[], Tensor]] | None = None
    prepare: Callable[[nn.Module], None] | None = None
    schedule: Callable[[Optimizer], LRScheduler] | None = None
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    after_step: tuple[Callable[[nn.Module, int], None], ...] = ()
    observe: Callable[[nn.Module], Mapping[str, object]] | None = None
    final: Callable[[nn.Module], Mapping[str, object]] | None = None
    paper: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected at least 1")


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


@dataclass(frozen=True)
class Cost:
    """What one training step of a row costs; ratios are to the first row.

    Args:
        seconds_per_batch: median over ``batches`` steps, seconds.
        peak_bytes: see measure_cost.
        time_ratio: this row's seconds over the first row's.
        memory_ratio: likewise, of peak_bytes.
        batches: steps that the median is over.

    >>> Cost(0.01, 1000, 1.0, 1.0, 50).batches
    50
    """

    seconds_per_batch: float
    peak_bytes: int
    time_ratio: float
    memory_ratio: float
    batches: int


@dataclass(frozen=True)
class SeedResult:
    """One training: its curve, one entry an epoch, and its metrics in percent (losses in nats).

    Args:
        seed: everything random came from it.
        seconds: of training and evaluation.
        steps: optimizer steps.
        final: means over the last five epochs, the MMA paper's criterion (section 5.1).
        last: of the last epoch.
        curve: epoch, train_loss = objective + regularizer, objective, regularizer, top1, top5, test_loss, lr.
        observations: what Recipe.observe gave, as lists over epochs.
        end: what Recipe.final gave.

    >>> SeedResult(123, 1.0, 10, {"top1": 90.0}, {"top1": 91.0}, {"top1": [89.0, 91.0]}).last["top1"]
    91.0
    """

    seed: int
    seconds: float
    steps: int
    final: Mapping[str, float]
    last: Mapping[str, float]
    curve: Mapping[str, Sequence[float]]
    observations: Mapping[str, Any] = field(default_factory=dict)
    end: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One row of a comparison: what it was made with, what it cost, and one SeedResult for every seed done.

    >>> Row("MMA", {"coefficient": 0.07}, {"top1": 73.73}, None, ()).row
    'MMA'
    """

    row: str
    settings: Mapping[str, Any]
    paper: Mapping[str, float]
    cost: Cost | None
    seeds: tuple[SeedResult, ...]


@dataclass(frozen=True)
class Result:
    """A comparison's outcome and where it came from; ``to_json`` gives the result file's content (schema 1).

    Args:
        name: of the comparison.
        source: paper and table.
        complete: False while seeds are missing.
        started: UTC, ISO 8601.
        seconds: wall-clock time so far.
        onsphere: version.
        commit: of a git checkout, with -dirty where files differ from it; None elsewhere.
        python: version.
        torch: version.
        machine: processor, cores, threads, platform, device, processes.
        precision: Fabric's name for it.
        data: name, train, test, classes (numbers of images and classes).
        rows: one a recipe.

    >>> made = {"onsphere": "0.1.0", "commit": None, "python": "3.11.7", "torch": "2.13.0", "machine": {}}
    >>> result = Result("example", "-", True, "2026-01-01", 1.0, **made, precision="32-true", data={}, rows=())
    >>> Result.from_json(result.to_json()) == result
    True
    """

    name: str
    source: str
    complete: bool
    started: str
    seconds: float
    onsphere: str
    commit: str | None
    python: str
    torch: str
    machine: Mapping[str, Any]
    precision: str
    data: Mapping[str, Any]
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """The content of result.json: dicts, lists, strings and finite numbers; None for what is not finite.

        >>> SCHEMA
        1
        """
        plain = _plain(asdict(self))
        assert isinstance(plain, dict)
        return {"schema": SCHEMA, **plain}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Result:
        """The inverse of to_json; None in a curve becomes NaN again.

        Raises:
            ValueError: if ``schema`` is another.

        >>> Result.from_json({"schema": 7})
        Traceback (most recent call last):
            ...
        ValueError: schema 7: expected 1
        """
        if content.get("schema") != SCHEMA:
            raise ValueError(f"schema {content.get('schema')!r}: expected {SCHEMA}")
        fields = {name: value for name, value in content.items() if name not in ("schema", "rows")}
        rows = []
        for row in content["rows"]:
            cost = None if row["cost"] is None else Cost(**_numbers(row["cost"]))
            seeds = []
            for seed in row["seeds"]:
                read = {name: _numbers(seed[name]) for name in ("final", "last", "curve")}
                seeds.append(SeedResult(**{**seed, **read}))
            rows.append(Row(**{**row, "cost": cost, "seeds": tuple(seeds)}))
        return cls(**fields, rows=tuple(rows))

    def write(self, path: str | Path) -> None:
        """Write the result file; a reader sees the old content or the new one, never a part.

        Args:
            path: of the file; its folder is made if need be.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(self.to_json(), file, indent=1, allow_nan=False)
                file.write("\n")
            os.chmod(temporary, 0o644)  # mkstemp's 0600 is for secrets
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


SCHEMA = 1


class NonFiniteLoss(RuntimeError):
    """The loss became NaN or infinite; the message says in which row, seed, epoch and step, and in which part."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C stopped a run.

    Args:
        result: holds the seeds that were done, with ``complete`` False.
        path: of the result file with them, or None where nothing was written.

    >>> isinstance(Interrupted(None, None), KeyboardInterrupt)
    True
    """

    def __init__(self, result: Result, path: Path | None) -> None:
        super().__init__(f"interrupted; what was done is in {path}" if path else "interrupted")
        self.result = result
        self.path = path


def run(
    recipes: Recipe | Sequence[Recipe],
    *,
    seeds: Sequence[int] = (123, 223, 323, 423, 523),
    folder: str | Path | None = None,
    devices: int | str = "auto",
    accelerator: str = "auto",
    precision: Any = "32-true",
    strategy: str | Strategy = "auto",
    num_nodes: int = 1,
    threads: int | None = None,
    measure: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Train every recipe with every seed and gather what came out.

    Seeds go round outside and rows inside, so that what an interrupted run leaves can be compared. With one process on
    a CPU two runs give the same numbers to the last bit.

    Args:
        recipes: one, or the rows of a comparison: same name, same data.
        seeds: one training each; the default is the MMA paper's (section 5.2).
        folder: result.json is written there, anew after every training; None writes nothing.
        devices: how many, per machine; ``auto`` is torchrun's number of processes, and one without torchrun.
        accelerator: ``auto``, ``cpu``, ``cuda``, ...
        precision: Lightning Fabric's names: ``32-true``, ``bf16-mixed``, ...
        strategy: Fabric's names or objects: ``auto``, ``ddp``, ... Without torchrun, several devices start the
            calling script again, once for each, so that it should call ``run`` once.
        num_nodes: machines; torchrun's number goes first.
        threads: of torch on the CPU, per process; None leaves them as they are.
        measure: measure costs first, see measure_cost.
        progress: called with a Progress on the first process.

    Raises:
        ValueError: if there are no recipes or seeds, if rows have different names or data, or if a row or seed is there
            twice, or if a batch has fewer images than there are processes.
        NonFiniteLoss: if a loss becomes NaN or infinite; seeds done before are in the result file.
        Interrupted: on Ctrl-C; it carries what was done.

    Source: MMA paper, sections 5.1 and 5.2.

    >>> import onsphere.models, onsphere.data
    >>> result = run(
    ...     Recipe(
    ...         name="example",
    ...         row="none",
    ...         source="-",
    ...         model=lambda: onsphere.models.mlp(64, 10),
    ...         data=lambda: onsphere.data.digits(),
    ...         optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    ...         epochs=3,
    ...         batch_size=50,
    ...     ),
    ...     seeds=[123],
    ...     accelerator="cpu",
    ...     measure=False,
    ... )
    >>> result.rows[0].seeds[0].last["top1"] > 85
    True
    """
    rows = _rows(recipes)
    seeds = tuple(seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds={list(seeds)}: expected at least one, and no seed twice")
    path = None if folder is None else Path(folder) / "result.json"
    fabric = _fabric(accelerator, devices, precision, strategy, num_nodes)
    job = functools.partial(
        _run,
        rows=rows,
        seeds=seeds,
        path=path,
        precision=str(precision),
        threads=threads,
        measure=measure,
        progress=progress,
    )
    result: Result = fabric.launch(job)
    return result


def measure_cost(
    recipes: Recipe | Sequence[Recipe],
    *,
    batches: int = 50,
    warmup: int = 3,
    max_seconds: float = 60.0,
    seed: int = 123,
    accelerator: str = "auto",
    precision: Any = "32-true",
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> tuple[Cost, ...]:
    """Time and peak memory of one training step of every row, all rows in turn within one loop.

    Time is that of forward, regularizer, backward, optimizer step and ``after_step`` hooks; fetching and augmenting the
    batch is not in it. Taking turns makes a machine's noise hit every row alike.

    Peak memory is what a step holds at its worst moment: the row's parameters, buffers, gradients and optimizer state,
    the same for a plain step, plus the peak of what torch's allocator hands out during one step above what it had
    handed out before. On a GPU this is torch.cuda.max_memory_allocated over the level before; on a CPU the running sum
    of the profiler's allocations and frees. Not in it: the data set, the interpreter, libraries' own buffers (oneDNN's
    scratch space), fragmentation.

    Args:
        recipes: one, or the rows of a comparison; ratios are to the first.
        batches: steps of each row that are timed.
        warmup: steps of each row before that.
        max_seconds: fewer batches are timed, at least 5, where they would take longer than this in all.
        seed: of the models and batches.
        accelerator: as in run.
        precision: as in run.
        threads: as in run.
        progress: called with phase ``measure``.

    Raises:
        ValueError: as in run; if batches or warmup is below 1.

    Source: MMA paper, Table 3, columns Time(s)/Batch and Memory (MiB).

    >>> import onsphere.models, onsphere.data
    >>> recipe = Recipe(
    ...     name="example",
    ...     row="none",
    ...     source="-",
    ...     model=lambda: onsphere.models.mlp(64, 10),
    ...     data=lambda: onsphere.data.digits(),
    ...     optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    ...     epochs=1,
    ...     batch_size=50,
    ... )
    >>> (cost,) = measure_cost(recipe, batches=5, accelerator="cpu")
    >>> cost.time_ratio, cost.peak_bytes > 2 * 4 * 85002  # parameters and gradients
    (1.0, True)
    """
    for name, count in (("batches", batches), ("warmup", warmup)):
        if count < 1:
            raise ValueError(f"{name}={count}: expected at least 1")
    rows = _rows(recipes)
    fabric = _fabric(accelerator, 1, precision, "auto", 1)
    with _threads(threads):
        data = _to_device(_common_data(rows, fabric), fabric.device)
        return _measure(fabric, rows, data, batches, warmup, max_seconds, seed, progress)


# --- the loop -------------------------------------------------------------------------------------------------------


def _run(
    fabric: Fabric,
    *,
    rows: Sequence[Recipe],
    seeds: Sequence[int],
    path: Path | None,
    precision: str,
    threads: int | None,
    measure: bool,
    progress: Callable[[Progress], None] | None,
) -> Result:
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    commit = _commit()
    costs: Sequence[Cost | None] = [None] * len(rows)
    finished: list[list[SeedResult]] = [[] for _ in rows]
    source: Data | None = None
    written: Path | None = None
    if not fabric.is_global_zero:
        progress = None

    def result() -> Result:
        return Result(
            name=rows[0].name,
            source=rows[0].source,
            complete=all(len(done) == len(seeds) for done in finished),
            started=started,
            seconds=time.perf_counter() - clock,
            onsphere=_version(),
            commit=commit,
            python=platform.python_version(),
            torch=torch.__version__,
            machine=_machine(fabric),
            precision=precision,
            data={} if source is None else _summary(source),
            rows=tuple(
                Row(recipe.row, recipe.settings, recipe.paper, cost, tuple(done))
                for recipe, cost, done in zip(rows, costs, finished, strict=True)
            ),
        )

    with _threads(threads):
        try:
            source = _common_data(rows, fabric)
            data = _to_device(source, fabric.device)
            if measure:
                costs = _measure(fabric, rows, data, 50, 3, 60.0, seeds[0], progress)
            steps = [recipe.epochs * _steps(recipe, data) for recipe in rows]
            at = Progress("train", rows[0].row, rows=len(rows), seeds=len(seeds), total=len(seeds) * sum(steps))
            for i, seed in enumerate(seeds):
                for j, recipe in enumerate(rows):
                    at = replace(at, row=recipe.row, row_index=j, seed=seed, seed_index=i)
                    finished[j].append(_train(fabric, recipe, data, seed, progress, at))
                    at = replace(at, done=at.done + steps[j])
                    if path is not None and fabric.is_global_zero:
                        result().write(path)
                        written = path
        except KeyboardInterrupt:
            raise Interrupted(result(), written) from None
        return result()


def _train(
    fabric: Fabric,
    recipe: Recipe,
    data: _Loaded,
    seed: int,
    progress: Callable[[Progress], None] | None,
    at: Progress,
) -> SeedResult:
    """One model from its seed to its last epoch."""
    begin = time.perf_counter()
    trainee = _prepare(fabric, recipe, seed)
    steps = _steps(recipe, data)
    curve: dict[str, list[float]] = {}
    observed: list[Mapping[str, object]] = []
    metrics: dict[str, float] = {}
    next_look = 0.0

    for epoch in range(1, recipe.epochs + 1):
        trainee.wrapped.train()
        losses = torch.zeros(steps, 2, device=fabric.device)  # objective and regularizer of every step
        looked = 0
        for step, batch in enumerate(_batches(fabric, recipe, data, seed, epoch), start=1):
            losses[step - 1, 0], losses[step - 1, 1] = _step(fabric, recipe, trainee, *batch)
            for hook in recipe.after_step:
                hook(trainee.model, (epoch - 1) * steps + step)

            # To look at a loss makes a GPU wait, so there it is done some ten times a second only.
            due = time.perf_counter() >= next_look
            if due or step == steps or fabric.device.type == "cpu":
                _check_finite(losses[looked:step], recipe, seed, epoch, looked)
                looked = step
            if due and progress is not None:
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
class _Trainee:
    """What a recipe's builders made for one seed: the bare model, the same one wrapped by Fabric, and the rest."""

    model: nn.Module
    wrapped: nn.Module
    optimizer: Any  # Fabric's wrapper, which has the optimizer's class only at run time
    schedule: LRScheduler | None
    regularizer: Callable[[], Tensor] | None


def _prepare(fabric: Fabric, recipe: Recipe, seed: int) -> _Trainee:
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
    return _Trainee(model, wrapped, fabric.setup_optimizers(optimizer), schedule, regularizer)


def _step(
    fabric: Fabric, recipe: Recipe, trainee: _Trainee, images: Tensor, labels: Tensor, share: float
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


def _batches(
    fabric: Fabric, recipe: Recipe, data: _Loaded, seed: int, epoch: int
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """This process's part of every batch of an epoch: normalised images, labels, and its share.

    Order and augmentation depend on seed and epoch only, so that every process draws the same batches, whatever their
    number is. The mean over processes of share * (mean over the part) is the mean over the batch.
    """
    words = np.random.SeedSequence((seed % 2**32, epoch)).generate_state(2, np.uint64) >> np.uint64(1)
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(int(words[0])))
    generator = torch.Generator(fabric.device).manual_seed(int(words[1]))
    for indices in order.to(fabric.device).tensor_split(_steps(recipe, data)):
        mine = indices.tensor_split(fabric.world_size)[fabric.global_rank]
        if recipe.augment is None:
            images = data.train.images[mine]
        else:  # the whole batch, so that each image is changed as with one process
            images = recipe.augment(data.train.images[indices], generator)
            images = images.tensor_split(fabric.world_size)[fabric.global_rank]
        yield data.normalize(images), data.train.labels[mine], len(mine) * fabric.world_size / len(indices)


def _steps(recipe: Recipe, data: _Loaded) -> int:
    return math.ceil(len(data.train) / recipe.batch_size)


@torch.no_grad()
def _evaluate(fabric: Fabric, recipe: Recipe, trainee: _Trainee, data: _Loaded) -> dict[str, float]:
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
    with torch.random.fork_rng():
        return look(model)


# --- cost -----------------------------------------------------------------------------------------------------------


def _measure(
    fabric: Fabric,
    rows: Sequence[Recipe],
    data: _Loaded,
    batches: int,
    warmup: int,
    max_seconds: float,
    seed: int,
    progress: Callable[[Progress], None] | None,
) -> tuple[Cost, ...]:
    trainees = [_prepare(fabric, recipe, seed) for recipe in rows]
    feeds = [_endless_batches(fabric, recipe, data, seed) for recipe in rows]
    counts = [0] * len(rows)

    def step(row: int) -> float:
        """One training step of a row; its seconds."""
        batch = next(feeds[row])
        trainees[row].wrapped.train()
        counts[row] += 1
        _wait(fabric.device)
        start = time.perf_counter()
        _step(fabric, rows[row], trainees[row], *batch)
        for hook in rows[row].after_step:
            hook(trainees[row].model, counts[row])
        _wait(fabric.device)
        return time.perf_counter() - start

    slowest = 0.0  # round of the warm-up but the first, which builds what later ones find ready
    for turn in range(warmup):
        seconds = sum(step(row) for row in range(len(rows)))
        slowest = max(slowest, seconds) if turn else seconds
    # Processes must agree on how often they meet.
    rounds: int = fabric.broadcast(min(batches, max(5, int(max_seconds / max(slowest, 1e-9)))))
    timed: list[list[float]] = [[] for _ in rows]
    next_look = 0.0
    for turn in range(rounds):
        for place in range(len(rows)):
            row = (place + turn) % len(rows)  # no row always comes first, or after the same one's cache
            timed[row].append(step(row))
        if progress is not None and (time.perf_counter() >= next_look or turn + 1 == rounds):
            done = (turn + 1) * len(rows)
            at = Progress("measure", rows[-1].row, len(rows) - 1, len(rows), seed=seed)
            progress(replace(at, step=turn + 1, steps=rounds, done=done, total=rounds * len(rows)))
            next_look = time.perf_counter() + SECONDS_BETWEEN_LOOKS
    medians = [statistics.median(seconds) for seconds in timed]
    peaks = [
        _held_bytes(trainee) + _peak_bytes(fabric.device, lambda row=row: step(row))  # type: ignore[misc]
        for row, trainee in enumerate(trainees)
    ]
    return tuple(
        Cost(seconds, peak, seconds / medians[0], peak / peaks[0], rounds)
        for seconds, peak in zip(medians, peaks, strict=True)
    )


def _endless_batches(
    fabric: Fabric, recipe: Recipe, data: _Loaded, seed: int
) -> Iterator[tuple[Tensor, Tensor, float]]:
    for epoch in itertools.count(1):
        yield from _batches(fabric, recipe, data, seed, epoch)


def _held_bytes(trainee: _Trainee) -> int:
    """Parameters, buffers, gradients and optimizer state: what a row holds between two steps."""
    tensors = [*trainee.model.parameters(), *trainee.model.buffers()]
    tensors += [p.grad for p in trainee.model.parameters() if p.grad is not None]
    for state in trainee.optimizer.state.values():
        tensors += [value for value in state.values() if isinstance(value, Tensor)]
    return sum({tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}.values())


def _peak_bytes(device: torch.device, step: Callable[[], object]) -> int:
    """The most that torch's allocator has handed out at any moment of a step, above its level before it."""
    if device.type == "cuda":
        _wait(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        _wait(device)
        return torch.cuda.max_memory_allocated(device) - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler's own log lines go into a progress bar
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step()
    # The trace file is the profiler's one public way to its allocations in order of time.
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]")
    peak: int = max(itertools.accumulate((change for _, change in changes), initial=0))
    return peak


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --- what goes in ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Loaded:
    """A data set on the device, with what is applied to every batch of it."""

    train: Images
    test: Images
    scale: Tensor
    shift: Tensor
    top1: Any
    top5: Any

    def normalize(self, images: Tensor) -> Tensor:
        return torch.addcmul(self.shift, images.to(self.scale.dtype), self.scale)


def _to_device(data: Data, device: torch.device) -> _Loaded:
    from torchmetrics.classification import MulticlassAccuracy

    mean, std = (torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (data.mean, data.std))
    std = std.clamp_min(1 / 255)  # a channel of one value only
    top1, top5 = (
        MulticlassAccuracy(data.num_classes, top_k=min(k, data.num_classes), average="micro", validate_args=False)
        for k in (1, 5)
    )
    train, test = (Images(split.images.to(device), split.labels.to(device)) for split in (data.train, data.test))
    return _Loaded(train, test, 1 / (255 * std), -mean / std, top1.to(device), top5.to(device))


def _rows(recipes: Recipe | Sequence[Recipe]) -> tuple[Recipe, ...]:
    rows = (recipes,) if isinstance(recipes, Recipe) else tuple(recipes)
    if not rows:
        raise ValueError("recipes is empty: expected at least one")
    names = [recipe.row for recipe in rows]
    if len(set(names)) != len(names):
        raise ValueError(f"rows {names}: expected no row twice")
    if len({recipe.name for recipe in rows}) > 1:
        raise ValueError(f"recipes of {sorted({recipe.name for recipe in rows})}: expected rows of one comparison")
    return rows


def _common_data(rows: Sequence[Recipe], fabric: Fabric) -> Data:
    """The first row's data, once it is clear that it is all rows'."""
    data = rows[0].data()
    for recipe in rows:
        other = data if recipe.data is rows[0].data else recipe.data()
        if other is not data and not _same(other, data):
            raise ValueError(
                f"row {recipe.row!r} has other data ({_summary(other)}) than row {rows[0].row!r} ({_summary(data)}): "
                "a comparison needs the same for all rows"
            )
        smallest = len(data.train) // math.ceil(len(data.train) / recipe.batch_size)
        if smallest < fabric.world_size:
            raise ValueError(
                f"row {recipe.row!r}: batch_size={recipe.batch_size} gives batches of {smallest} of the "
                f"{len(data.train)} images: expected at least one for each of {fabric.world_size} processes"
            )
    return data


def _same(a: Data, b: Data) -> bool:
    return all(
        torch.equal(getattr(getattr(a, split), tensor), getattr(getattr(b, split), tensor))
        for split in ("train", "test")
        for tensor in ("labels", "images")
    )


def _summary(data: Data) -> dict[str, Any]:
    return {"name": data.name, "train": len(data.train), "test": len(data.test), "classes": data.num_classes}


def _fabric(accelerator: str, devices: int | str, precision: Any, strategy: str | Strategy, num_nodes: int) -> Fabric:
    from lightning.fabric import Fabric

    if "TORCHELASTIC_RUN_ID" in os.environ and devices == "auto":
        processes = int(os.environ["LOCAL_WORLD_SIZE"])
        devices, num_nodes = processes, int(os.environ["WORLD_SIZE"]) // processes
    elif devices == "auto":
        devices = 1
    return Fabric(accelerator=accelerator, devices=devices, precision=precision, strategy=strategy, num_nodes=num_nodes)


@contextlib.contextmanager
def _threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads={threads}: expected at least 1, or None to leave torch's number")
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- what comes out -------------------------------------------------------------------------------------------------


def _over_epochs(observed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """[{name: {layer: value}}, ...], one an epoch, to {name: {layer: [value, ...]}}."""
    names = {name: None for epoch in observed for name in epoch}
    return {
        name: _over_epochs([epoch[name] for epoch in observed])
        if all(isinstance(epoch.get(name), Mapping) for epoch in observed)
        else [epoch.get(name) for epoch in observed]
        for name in names
    }


def _plain(value: Any) -> Any:
    """The same in JSON's types; what is not finite becomes None."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case Tensor() | np.ndarray() | np.generic():
            return _plain(value.tolist())
        case _:
            return str(value)


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of _plain for numbers and lists of numbers."""
    return {
        name: [math.nan if item is None else item for item in value]
        if isinstance(value, list)
        else (math.nan if value is None else value)
        for name, value in values.items()
    }


def _machine(fabric: Fabric) -> dict[str, Any]:
    device = torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else fabric.device.type
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "device": device,
        "processes": fabric.world_size,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version() -> str:
    try:
        return importlib.metadata.version("onsphere")
    except importlib.metadata.PackageNotFoundError:  # run from its source folder
        return "unknown"


def _commit() -> str | None:
    """This file's git commit, if it is a tracked one: an installed copy inside somebody's checkout is not."""
    folder = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None
