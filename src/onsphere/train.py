"""The training loop, and nothing else: a Recipe goes in, a Result comes out. It knows no method by name."""

from __future__ import annotations

import contextlib
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

import onsphere
from onsphere.data import Data, Images

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.strategies import Strategy

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

    >>> result = Result("example", "-", True, "2026-01-01T00:00:00+00:00", 1.0, "0", None, "3", "2", {}, "32-true", {}, ())
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
        devices: how many, per machine; ``auto`` takes all GPUs, or one process on a CPU.
        accelerator: ``auto``, ``cpu``, ``cuda``, ...
        precision: Lightning Fabric's names: ``32-true``, ``bf16-mixed``, ...
        strategy: Fabric's names or objects: ``auto``, ``ddp``, ... Under torchrun its processes are used. Without
            it, several devices start the calling script again for each, so that it should call ``run`` once.
        num_nodes: machines.
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
    from lightning.fabric import Fabric

    rows = _rows(recipes)
    seeds = tuple(seeds)
    if not seeds or len(set(seeds)) != len(seeds):
        raise ValueError(f"seeds={list(seeds)}: expected at least one, and no seed twice")
    path = None if folder is None else Path(folder) / "result.json"
    if devices == "auto" and accelerator in ("auto", "cpu") and not torch.cuda.is_available():
        devices = 1
    fabric = Fabric(
        accelerator=accelerator, devices=devices, precision=precision, strategy=strategy, num_nodes=num_nodes
    )
    result: Result = fabric.launch(_run, rows, seeds, path, precision, threads, measure, progress)
    return result
