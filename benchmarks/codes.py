"""How good the codes are, and how fast: spherical codes beside the best known angles, on one core.

    python benchmarks/codes.py d3        every n from 5 to 60 in three dimensions        -> results/codes_d3.json
    python benchmarks/codes.py targets   sixteen hard codes, five seeds, 60 s each       -> results/codes_targets.json
    python benchmarks/codes.py records   five codes with 600 s each, to reach the table  -> results/codes_records.json
    python benchmarks/codes.py large     10^4 and 10^5 points                            -> results/codes_large.json

A search ends when it has reached its target, so that seconds are the time to the target, and at its budget otherwise.
Angles that count are the certified ones: proved lower bounds of the minimum angle of the coordinates. A row is written
when it is done, and rows that the file has are not run again, as long as the file is of this commit.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is imported; more cores do not help matrices this small

import argparse
import json
import math
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from onsphere.cli.code.facts import degrees_below
from onsphere.codes import best_known, hexagonal_angle, solve
from onsphere.train.files import replace_file
from onsphere.train.result import git_commit, machine

RESULTS = Path(__file__).resolve().parent.parent / "results"
Case = tuple[int, int, int, float, float | None]  # d, n, seed, budget in seconds, target in degrees

WITHIN = 1e-6  # degrees
# d, n and the angle that 60 seconds should give.
TARGETS = (
    (3, 24, 43.690767), (3, 30, 38.597116), (3, 48, 30.762786), (3, 60, 27.192830), (3, 100, 21.031202),
    (3, 130, 18.5095), (4, 24, 60.0), (4, 30, 54.249605), (4, 120, 36.0), (4, 130, 33.39), (4, 600, 19.75),
    (5, 16, 78.463041), (5, 30, 65.604697), (5, 40, 60.0), (5, 130, 43.60), (8, 240, 60.0),
)  # fmt: skip
RECORDS = ((3, 130), (4, 30), (4, 130), (4, 600), (5, 130))
# n, d, seconds: the hexagonal angle is the yardstick in three dimensions.
LARGE = ((10_000, 3, 60.0), (10_000, 8, 120.0), (100_000, 3, 120.0))


def d3() -> Iterator[Case]:
    """Every n from 5 to 60, until the best known angle is reached."""
    for n in range(5, 61):
        known = best_known(n, 3)
        yield 3, n, 0, 120.0, None if known is None else math.degrees(known.angle) - WITHIN / 10


def targets() -> Iterator[Case]:
    """The hard codes."""
    for d, n, angle in TARGETS:
        for seed in range(5):
            yield d, n, seed, 60.0, angle - WITHIN


def records() -> Iterator[Case]:
    """Until the best known angle is reached or beaten."""
    for d, n in RECORDS:
        known = best_known(n, d)
        assert known is not None
        yield d, n, 0, 600.0, math.degrees(known.angle) - WITHIN / 10


def large() -> Iterator[Case]:
    """Many points."""
    for n, d, budget in LARGE:
        yield d, n, 0, budget, None


PARTS = {
    "d3": ("Spherical codes: every n from 5 to 60 in three dimensions", d3),
    "targets": ("Spherical codes: hard targets, five seeds, at most 60 s", targets),
    "records": ("Spherical codes: beside the best known angles, at most 600 s", records),
    "large": ("Spherical codes: many points", large),
}


def measure(case: Case) -> dict[str, Any]:
    """Solve one case: what a row of a results file holds."""
    d, n, seed, budget, target = case
    began = time.perf_counter()
    code = solve(n, d, seed=seed, budget_s=budget, target=None if target is None else math.radians(target))
    if not code.complete:
        raise KeyboardInterrupt
    known = code.best_known
    row: dict[str, Any] = {
        "n": n,
        "d": d,
        "seed": seed,
        "angle_deg": math.degrees(code.min_angle),
        "best_known_deg": None if known is None else math.degrees(known.angle),
        "status": None if known is None else known.status,
        "gap_deg": None if code.gap is None else math.degrees(code.gap),
        "certified_deg": degrees_below(code.certificate),
        "origin": code.origin,
        "seconds": round(time.perf_counter() - began, 3),
        "budget_s": budget,
    }
    if n >= 1000:  # cases come in the order of their memory, so that the peak so far is each one's own
        row["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        if d == 3:
            row["share_of_hexagonal"] = code.min_angle / hexagonal_angle(n)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    part = parser.parse_args().part
    name, cases = PARTS[part]
    path = RESULTS / f"codes_{part}.json"
    result: dict[str, Any] = {
        "schema": 1,
        "kind": "codes",
        "name": name,
        "commit": git_commit(),
        "machine": machine(torch.device("cpu"), 1),
        "seconds": 0.0,
        "rows": [],
    }
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if before["commit"] == result["commit"]:
            result["rows"] = before["rows"]
    done = {(row["d"], row["n"], row["seed"]) for row in result["rows"]}
    goals = {(d, n): angle for d, n, angle in TARGETS}
    for case in cases():
        d, n, seed, *_ = case
        if (d, n, seed) in done:
            continue
        row = measure(case)
        if part == "targets":
            row["target_deg"] = goals[d, n]
        result["rows"].append(row)
        result["seconds"] = round(math.fsum(each["seconds"] for each in result["rows"]), 1)
        replace_file(path, (json.dumps(result, indent=1) + "\n").encode())
        gap = "" if row["gap_deg"] is None else f"  gap {row['gap_deg']:.1e}"
        print(f"d={d} n={n} seed={seed}  {row['certified_deg']:.7f} deg{gap}  {row['seconds']:.1f} s  {row['origin']}")


if __name__ == "__main__":
    main()
