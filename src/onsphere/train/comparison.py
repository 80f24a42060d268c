"""From recipes to a result: every row with every seed, one file, whatever the machine."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from onsphere.data import Data
from onsphere.train.batches import load, steps_per_epoch
from onsphere.train.cost import measure_rows
from onsphere.train.loop import train
from onsphere.train.recipe import Progress, Recipe
from onsphere.train.result import Cost, Result, Row, SeedResult, git_commit, machine, version

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.strategy import Strategy
    from torch.distributed.device_mesh import DeviceMesh

__all__ = ["Interrupted", "measure_cost", "run"]


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
        strategy: Fabric's names or objects: ``auto``, ``ddp``, ...; ``fsdp`` is PyTorch's ``fully_shard``. Without
            torchrun, several devices start the calling script again for each, so that it should call ``run`` once.
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
    with _threads(threads):
        data = load(_common_data(rows, fabric), fabric.device)
        return measure_rows(fabric, rows, data, batches, warmup, max_seconds, seed, progress)


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
    commit = git_commit()
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
            onsphere=version(),
            commit=commit,
            python=platform.python_version(),
            torch=torch.__version__,
            machine=machine(fabric.device, fabric.world_size),
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
            data = load(source, fabric.device)
            if measure:
                costs = measure_rows(fabric, rows, data, 50, 3, 60.0, seeds[0], progress)
            steps = [recipe.epochs * steps_per_epoch(recipe, data) for recipe in rows]
            at = Progress("train", rows[0].row, rows=len(rows), seeds=len(seeds), total=len(seeds) * sum(steps))
            for i, seed in enumerate(seeds):
                for j, recipe in enumerate(rows):
                    at = replace(at, row=recipe.row, row_index=j, seed=seed, seed_index=i)
                    finished[j].append(train(fabric, recipe, data, seed, progress, at))
                    at = replace(at, done=at.done + steps[j])
                    if path is not None and fabric.is_global_zero:
                        result().write(path)
                        written = path
        except KeyboardInterrupt:
            raise Interrupted(result(), written) from None
        return result()


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
    from torch.distributed.fsdp import fully_shard

    for module in model.modules():
        if module is not model and next(module.parameters(recurse=False), None) is not None:
            fully_shard(module, mesh=mesh["data_parallel"])
    fully_shard(model, mesh=mesh["data_parallel"])
    return model


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
