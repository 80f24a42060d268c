"""What comes out of a training: the numbers, where they came from, and the file that holds them."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from onsphere.train.files import replace_file

__all__ = ["Cost", "Result", "Row", "SeedResult"]

SCHEMA = 1


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
        final: means over the last five epochs, the MMA paper's criterion (section 5.1), and what Recipe.evaluate gave.
        last: of the last epoch, and what Recipe.evaluate gave.
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

    Args:
        row: its name.
        settings: that the recipe was made with.
        paper: the paper's numbers.
        cost: of a training step; None where it was not measured.
        seeds: one entry a seed.
        training: epochs, batch_size, max_steps, schedule_every, clip and ema of the recipe.

    >>> Row("MMA", {"coefficient": 0.07}, {"top1": 73.73}, None, ()).row
    'MMA'
    """

    row: str
    settings: Mapping[str, Any]
    paper: Mapping[str, float]
    cost: Cost | None
    seeds: tuple[SeedResult, ...]
    training: Mapping[str, Any] = field(default_factory=dict)


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
        metric: which of the metrics the comparison is about; top1 in files that do not say it.

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
    metric: str = "top1"

    def to_json(self) -> dict[str, Any]:
        """The content of result.json: dicts, lists, strings and finite numbers; None for what is not finite.

        >>> SCHEMA
        1
        """
        content = plain(asdict(self))
        assert isinstance(content, dict)
        return {"schema": SCHEMA, **content}

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
        text = json.dumps(self.to_json(), indent=1, allow_nan=False)
        replace_file(Path(path), f"{text}\n".encode())


def plain(value: Any) -> Any:
    """The same in JSON's types; what is not finite becomes None."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(name): plain(item) for name, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case Tensor() | np.ndarray() | np.generic():
            return plain(value.tolist())
        case _:
            return str(value)


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of plain for numbers and lists of numbers."""
    return {
        name: [math.nan if item is None else item for item in value]
        if isinstance(value, list)
        else (math.nan if value is None else value)
        for name, value in values.items()
    }


def machine(device: torch.device, processes: int) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processes": processes,
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def version() -> str:
    try:
        return importlib.metadata.version("onsphere")
    except importlib.metadata.PackageNotFoundError:  # run from its source folder
        return "unknown"


def git_commit() -> str | None:
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
