"""What a training step costs: its time and its peak memory, all rows of a comparison in turn."""

from __future__ import annotations

import functools
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from onsphere.train.batches import Batch, Loaded, batches
from onsphere.train.loop import SECONDS_BETWEEN_LOOKS, Trainee, optimizer_step, prepare
from onsphere.train.recipe import Progress, Recipe
from onsphere.train.result import Cost

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def measure_rows(
    fabric: Fabric,
    rows: Sequence[Recipe],
    data: Loaded,
    batches: int,
    warmup: int,
    max_seconds: float,
    seed: int,
    progress: Callable[[Progress], None] | None,
) -> tuple[Cost, ...]:
    trainees = [prepare(fabric, recipe, seed) for recipe in rows]
    for trainee in trainees:
        trainee.wrapped.train()
    feeds = [_endless_batches(fabric, recipe, data, seed) for recipe in rows]
    counts = [0] * len(rows)

    def step(row: int, batch: Batch) -> None:
        counts[row] += 1
        optimizer_step(fabric, rows[row], trainees[row], batch)
        for hook in rows[row].after_step:
            hook(trainees[row].model, counts[row])

    def seconds_of_step(row: int) -> float:
        batch = next(feeds[row])
        _wait(fabric.device)
        start = time.perf_counter()
        step(row, batch)
        _wait(fabric.device)
        return time.perf_counter() - start

    slowest = 0.0  # round of the warm-up but the first, which builds what later ones find ready
    for turn in range(warmup):
        seconds = sum(seconds_of_step(row) for row in range(len(rows)))
        slowest = max(slowest, seconds) if turn else seconds
    # Processes must agree on how often they meet.
    rounds: int = fabric.broadcast(min(batches, max(5, int(max_seconds / max(slowest, 1e-9)))))
    timed: list[list[float]] = [[] for _ in rows]
    next_look = 0.0
    for turn in range(rounds):
        for place in range(len(rows)):
            row = (place + turn) % len(rows)  # no row always comes first, or after the same one's cache
            timed[row].append(seconds_of_step(row))
        if progress is not None and (time.perf_counter() >= next_look or turn + 1 == rounds):
            done = (turn + 1) * len(rows)
            at = Progress("measure", rows[-1].row, len(rows) - 1, len(rows), seed=seed)
            progress(replace(at, step=turn + 1, steps=rounds, done=done, total=rounds * len(rows)))
            next_look = time.perf_counter() + SECONDS_BETWEEN_LOOKS
    medians = [statistics.median(seconds) for seconds in timed]
    peaks = []
    for row, trainee in enumerate(trainees):
        batch = next(feeds[row])
        # The step makes its gradients anew, and so counts them: freeing old ones is an event the profiler cannot size.
        trainee.optimizer.zero_grad(set_to_none=True)
        held = _held_bytes(trainee, batch)
        peaks.append(held + peak_bytes(fabric.device, functools.partial(step, row, batch)))
    return tuple(
        Cost(seconds, peak, seconds / medians[0], peak / peaks[0], rounds)
        for seconds, peak in zip(medians, peaks, strict=True)
    )


def _endless_batches(fabric: Fabric, recipe: Recipe, data: Loaded, seed: int) -> Iterator[Batch]:
    for epoch in itertools.count(1):
        yield from batches(fabric, recipe, data, seed, epoch)


def _held_bytes(trainee: Trainee, batch: Batch) -> int:
    """Parameters, buffers, optimizer state and the batch: what a row holds before a step."""
    tensors = [*trainee.model.parameters(), *trainee.model.buffers(), batch.images, batch.labels]
    for state in trainee.optimizer.state.values():
        tensors += [value for value in state.values() if isinstance(value, Tensor)]
    return sum({tensor.data_ptr(): tensor.numel() * tensor.element_size() for tensor in tensors}.values())


def peak_bytes(device: torch.device, step: Callable[[], object]) -> int:
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
