"""From recipes to a result: every row with every seed, one file, whatever the machine."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from onsphere.data import Data, Files, Images, TensorData, Tensors
from onsphere.train.batches import load, steps_per_epoch, total_steps
from onsphere.train.continuing import continued, identity, summary, training, with_training
from onsphere.train.cost import measure_rows
from onsphere.train.files import slug
from onsphere.train.interruption import StopRequest
from onsphere.train.keeping import Keep, Keeper, check_checkpoints, check_fresh, claimed
from onsphere.train.loop import Training
from onsphere.train.recipe import Progress, Recipe
from onsphere.train.result import Cost, Result, Row, git_commit, machine, version

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.strategy import Strategy
    from torch.distributed.device_mesh import DeviceMesh

__all__ = ["Interrupted", "measure_cost", "run"]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped a run; the training that it met can be resumed from its last finished step.

    Args:
        result: holds the seeds that were done, with ``complete`` False.
        path: of the result file with them, or None where nothing was written.
        signal: number of the signal, SIGINT for Ctrl-C.
        saved: whether the state after the last step was written, which a second Ctrl-C prevents.

    >>> isinstance(Interrupted(None, None), KeyboardInterrupt)
    True
    """

    def __init__(self, result: Result, path: Path | None, signal: int = signal.SIGINT, saved: bool = False) -> None:
        super().__init__(f"interrupted; what was done is in {path}" if path else "interrupted")
        self.result = result
        self.path = path
        self.signal = signal
        self.saved = saved


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
    resume: bool = False,
    checkpoint_seconds: float = 60.0,
    save_weights: bool = True,
    keep_best: bool = False,
    keep_every: int | None = None,
    logs: Sequence[str] = ("csv",),
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Train every recipe with every seed and gather what came out.

    Seeds go round outside and rows inside, so that what an interrupted run leaves can be compared. With one process on
    a CPU two runs give the same numbers to the last bit, and so does one that was stopped and resumed.

    Args:
        recipes: one, or the rows of a comparison: same name, same data.
        seeds: one training each; the default is the MMA paper's (section 5.2).
        folder: result.json is written there, anew after every training, and weights, logs and checkpoints beside it;
            None writes nothing.
        devices: how many, per machine; ``auto`` is torchrun's number of processes, and one without torchrun.
        accelerator: ``auto``, ``cpu``, ``cuda``, ...
        precision: Lightning Fabric's names: ``32-true``, ``bf16-mixed``, ...
        strategy: Fabric's names or objects: ``auto``, ``ddp``, ...; ``fsdp`` is PyTorch's ``fully_shard``. Without
            torchrun, several devices start the calling script again for each, so that it should call ``run`` once.
        num_nodes: machines; torchrun's number goes first.
        threads: of torch on the CPU, per process; None leaves them as they are.
        measure: measure costs first, see measure_cost.
        resume: go on with the run in the folder: finished trainings are kept, an unfinished one continues at its
            checkpoint, and the rest follow. An empty folder is started in.
        checkpoint_seconds: between two checkpoints of a training, in folder/checkpoints; 0 for one after every step.
            A training that is killed loses no more than that, one that is interrupted nothing.
        save_weights: write the final weights of every training to folder/weights/ROW-SEED.safetensors.
        keep_best: also those with the best top-1 so far, ROW-SEED.best.safetensors, or the smallest test loss of a
            model that classifies nothing. They were chosen by the test set.
        keep_every: also those after every so many epochs, ROW-SEED.epoch-N.safetensors.
        logs: what is written to folder/logs after every epoch: ``csv``, ``tensorboard``, both or none.
        progress: called with a Progress on the first process.

    Raises:
        ValueError: if there are no recipes or seeds, if rows have different names or data, or if a row or seed is there
            twice, or if a batch has fewer images than there are processes.
        CheckpointError: if what is in the folder is damaged or of another run, or, without ``resume``, unfinished.
        OSError: if a file cannot be written, such as on a full disk; older files stay as they are.
        NonFiniteLoss: if a loss becomes NaN or infinite; seeds done before are in the result file.
        Interrupted: on Ctrl-C or SIGTERM, after the step that it meets; it carries what was done. A second Ctrl-C does
            not wait for the step.

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
    if isinstance(seeds, int):
        raise ValueError(f"seeds={seeds}: expected a list of them, such as [{seeds}]")
    seeds = tuple(seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds={list(seeds)}: expected at least one, and no seed twice")
    keep = Keep(checkpoint_seconds, save_weights, keep_best, keep_every, logs)
    if resume and folder is None:
        raise ValueError("resume=True needs the folder of the run that is to go on")
    fabric = _fabric(accelerator, devices, precision, strategy, num_nodes)
    job = functools.partial(
        _run,
        rows=rows,
        seeds=seeds,
        folder=None if folder is None else Path(folder),
        precision=str(precision),
        threads=threads,
        measure=measure,
        resume=resume,
        keep=keep,
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

    Peak memory is what a step holds at its worst moment: the row's parameters, buffers, optimizer state and batch, plus
    the most that torch's allocator has handed out during the step (activations, gradients, temporaries) above what it
    had handed out before. On a GPU the latter is torch.cuda.max_memory_allocated over the level before; on a CPU it is
    the running sum of the profiler's allocations and frees. Not in it: the data set, the interpreter, libraries' own
    buffers (oneDNN's scratch space), fragmentation.

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
    with on_threads(threads):
        data = load(_common_data(rows, fabric), fabric.device)
        return measure_rows(fabric, rows, data, batches, warmup, max_seconds, seed, progress)


def _run(
    fabric: Fabric,
    *,
    rows: Sequence[Recipe],
    seeds: Sequence[int],
    folder: Path | None,
    precision: str,
    threads: int | None,
    measure: bool,
    resume: bool,
    keep: Keep,
    progress: Callable[[Progress], None] | None,
) -> Result:
    clock = time.perf_counter()
    path = None if folder is None else folder / "result.json"
    if folder is not None and not resume:
        check_fresh(folder)
    if not fabric.is_global_zero:
        progress = None

    # The first process alone writes; the others wait for it where they meet first.
    lock = claimed(folder) if folder is not None and fabric.is_global_zero else contextlib.nullcontext()
    with on_threads(threads), lock, StopRequest() as stop:
        source = _common_data(rows, fabric)
        result = Result(
            name=rows[0].name,
            source=rows[0].source,
            complete=False,
            started=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=0.0,
            onsphere=version(),
            commit=git_commit(),
            python=platform.python_version(),
            torch=torch.__version__,
            machine=machine(fabric.device, fabric.world_size),
            precision=precision,
            data=summary(source),
            rows=tuple(Row(recipe.row, recipe.settings, recipe.paper, None, (), training(recipe)) for recipe in rows),
            metric=rows[0].metric,
        )
        written = None
        if resume and path is not None and path.exists():
            result, written = continued(path, result, seeds), path
        before = result.seconds
        if folder is not None:
            check_checkpoints(folder, [identity(recipe, seed, source, precision) for recipe in rows for seed in seeds])
        try:
            data = load(source, fabric.device)
            if measure and result.rows[0].cost is None:
                costs = measure_rows(fabric, rows, data, 50, 3, 60.0, seeds[0], progress)
                measured = [replace(row, cost=cost) for row, cost in zip(result.rows, costs, strict=True)]
                result = replace(result, rows=tuple(measured))
            steps = [total_steps(recipe, data) for recipe in rows]
            at = Progress("train", rows[0].row, rows=len(rows), seeds=len(seeds), total=len(seeds) * sum(steps))
            stop.training = True
            for (i, seed), (j, recipe) in itertools.product(enumerate(seeds), enumerate(rows)):
                keeper = Keeper(
                    fabric,
                    folder,
                    keep,
                    identity(recipe, seed, source, precision),
                    steps_per_epoch(recipe, data),
                    steps[j],
                )
                if seed not in {done.seed for done in result.rows[j].seeds}:
                    at = replace(at, row=recipe.row, row_index=j, seed=seed, seed_index=i)
                    outcome = Training(fabric, recipe, data, seed, keeper, stop, progress, at).run()
                    result = with_training(result, j, outcome, seeds, before + time.perf_counter() - clock)
                    if path is not None and fabric.is_global_zero:
                        result.write(path)
                        written = path
                keeper.forget()
                at = replace(at, done=at.done + steps[j])
        except KeyboardInterrupt:
            result = replace(result, seconds=before + time.perf_counter() - clock)
            raise Interrupted(result, written, stop.signal or signal.SIGINT, stop.saved) from None
        finally:
            stop.training = False
        return result


def _rows(recipes: Recipe | Sequence[Recipe]) -> tuple[Recipe, ...]:
    rows = (recipes,) if isinstance(recipes, Recipe) else tuple(recipes)
    if not rows:
        raise ValueError("recipes is empty: expected at least one")
    names = [recipe.row for recipe in rows]
    if len(set(names)) != len(names):
        raise ValueError(f"rows {names}: expected no row twice")
    if len({slug(name) for name in names}) != len(names):
        raise ValueError(f"rows {names}: two would have the same file names, which only have a-z, 0-9 and .+_-")
    for what, found in (("recipes of", {r.name for r in rows}), ("metrics", {r.metric for r in rows})):
        if len(found) > 1:
            raise ValueError(f"{what} {sorted(found)}: expected rows of one comparison")
    return rows


def _common_data(rows: Sequence[Recipe], fabric: Fabric) -> Data | TensorData:
    """The first row's data, once it is clear that it is all rows'."""
    data = rows[0].data()
    for recipe in rows:
        other = data if recipe.data is rows[0].data else recipe.data()
        if other is not data and not _same(other, data):
            raise ValueError(
                f"row {recipe.row!r} has other data ({summary(other)}) than row {rows[0].row!r} ({summary(data)}): "
                "a comparison needs the same for all rows"
            )
        smallest = len(data.train) // math.ceil(len(data.train) / recipe.batch_size)
        if smallest < fabric.world_size:
            raise ValueError(
                f"row {recipe.row!r}: batch_size={recipe.batch_size} gives batches of {smallest} of the "
                f"{len(data.train)} images: expected at least one for each of {fabric.world_size} processes"
            )
    return data


def _same(a: Data | TensorData, b: Data | TensorData) -> bool:
    return _same_examples(a.train, b.train) and _same_examples(a.test, b.test)


def _same_examples(a: Images | Files | Tensors, b: Images | Files | Tensors) -> bool:
    if isinstance(a, Images) and isinstance(b, Images):
        return torch.equal(a.labels, b.labels) and torch.equal(a.images, b.images)
    if isinstance(a, Tensors) and isinstance(b, Tensors):
        return torch.equal(a.labels, b.labels) and torch.equal(a.values, b.values)
    # Two readings of a folder too big for memory: their labels and sizes, for pixels are not worth decoding here.
    return a.shape == b.shape and torch.equal(a.labels, b.labels)


def _fabric(accelerator: str, devices: int | str, precision: Any, strategy: str | Strategy, num_nodes: int) -> Fabric:
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.model_parallel import ModelParallelStrategy

    if devices == "auto" and "LOCAL_WORLD_SIZE" in os.environ:  # torchrun sets these
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        num_nodes = int(os.environ["WORLD_SIZE"]) // devices
    elif devices == "auto":
        devices = 1
    if strategy == "fsdp":
        # Fabric's own "fsdp" flattens weights, and a regularizer could not see its neurons any more.
        strategy = ModelParallelStrategy(_shard, int(devices) * num_nodes, tensor_parallel_size=1)
    return Fabric(accelerator=accelerator, devices=devices, precision=precision, strategy=strategy, num_nodes=num_nodes)


def _shard(model: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Share out every layer's weights over the processes, as DTensors of their own shapes."""
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    for module in model.modules():
        if module is not model and next(module.parameters(recurse=False), None) is not None:
            fully_shard(module, mesh=mesh["data_parallel"])
            if callable(getattr(module, "logits", None)):  # a head's other way in, for evaluation
                register_fsdp_forward_method(module, "logits")
    fully_shard(model, mesh=mesh["data_parallel"])
    return model


@contextlib.contextmanager
def on_threads(threads: int | None) -> Iterator[None]:
    """So many of torch's threads, and afterwards as many as there were; None changes nothing."""
    before = torch.get_num_threads()
    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads={threads}: expected at least 1, or None to leave torch's number")
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
