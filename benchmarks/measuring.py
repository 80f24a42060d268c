"""How the benchmarks measure: ours and a peer in turn, medians of CPU time, and the peak of torch's allocator."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import torch

from onsphere.train.cost import peak_bytes
from onsphere.train.result import git_commit, machine

Step = Callable[[], object]
Row = dict[str, object]
Group = tuple[Callable[..., list[Row]], tuple[object, ...]]
ROOT = Path(__file__).resolve().parent.parent


def medians(steps: list[Step], rounds: int) -> list[float]:
    """Milliseconds of CPU time of each step, taken in turn."""
    for step in steps:
        step()
    taken: list[list[float]] = [[] for _ in steps]
    for _ in range(rounds):
        for place, step in enumerate(steps):
            start = time.process_time()
            step()
            taken[place].append(1e3 * (time.process_time() - start))
    return [statistics.median(each) for each in taken]


def compare(
    what: str,
    ours: Step,
    theirs: Step,
    peer: str,
    rounds: int,
    target: float | None = None,
    memory: bool = True,
    memory_target: float | None = None,
) -> Row:
    ours_ms, theirs_ms = medians([ours, theirs], rounds)
    row: Row = {
        "what": what,
        "peer": peer,
        "ours_ms": round(ours_ms, 3),
        "theirs_ms": round(theirs_ms, 3),
        "ratio": round(ours_ms / theirs_ms, 4),
        "target": target,
        "ours_bytes": None,
        "theirs_bytes": None,
        "memory_ratio": None,
        "memory_target": memory_target,
    }
    if memory:
        cpu = torch.device("cpu")
        row["ours_bytes"], row["theirs_bytes"] = peak_bytes(cpu, ours), peak_bytes(cpu, theirs)
        row["memory_ratio"] = round(row["ours_bytes"] / row["theirs_bytes"], 4)  # type: ignore[operator]
    print(
        f"{what:58s} {ours_ms:10.2f} ms {theirs_ms:10.2f} ms  {row['ratio']!s:>7} (target {target})"
        f"  memory {row['memory_ratio']} (target {memory_target})",
        flush=True,
    )
    return row


def arguments(description: str | None, name: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="timings of each step (default 7)")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "benchmarks" / f"{name}.json")
    return parser


def prepare() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


def run(groups: Sequence[Group], rounds: int, out: Path) -> None:
    """Run groups of rows and write them with the machine they ran on."""
    write(measured(groups, rounds), out)


def measured(groups: Sequence[Group], rounds: int) -> dict[str, object]:
    """The rows of all groups, and where they were measured."""
    rows: list[Row] = []
    # A new process for every group: what a malloc has seen before decides how dear large arrays are.
    with ProcessPoolExecutor(1, get_context("spawn"), prepare, max_tasks_per_child=1) as fresh:
        for group, options in groups:
            rows += fresh.submit(group, rounds, *options).result()
    return {
        "machine": machine(torch.device("cpu"), 1),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": git_commit(),
        "torch": torch.__version__,
        "threads": 1,
        "rows": rows,
    }


def write(result: Mapping[str, object], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    temporary.replace(out)
    print(f"written to {out}")
