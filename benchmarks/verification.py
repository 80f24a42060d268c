"""Time and memory of verification: 6000 pairs with 10 folds, and identification among a million distractors.

    python benchmarks/verification.py

Features of 512 numbers, one thread; medians of CPU time, and the peak of memory of the process above its level before.
Writes results/benchmarks/verification.json.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from measuring import Row, arguments, run
from onsphere import verification

FEATURES = 512


def row(what: str, seconds: float, limit: float | None, used: int, memory_limit: int | None) -> Row:
    """A row whose peer is a limit."""
    print(f"{what:60s} {seconds:8.2f} s (limit {limit})  {used / 2**20:.0f} MiB", flush=True)
    words = [f"{limit:g} s" if limit else "", f"{memory_limit / 2**20:g} MiB of memory" if memory_limit else ""]
    return {
        "what": what,
        "peer": ", ".join(word for word in words if word) or "-",
        "ours_ms": round(1e3 * seconds, 1),
        "theirs_ms": None if limit is None else 1e3 * limit,
        "ratio": None if limit is None else round(seconds / limit, 4),
        "target": None if limit is None else 1.0,
        "ours_bytes": used,
        "theirs_bytes": memory_limit,
        "memory_ratio": None if memory_limit is None else round(used / memory_limit, 4),
        "memory_target": None if memory_limit is None else 1.0,
    }


def measured(work: Callable[[], object], rounds: int) -> tuple[float, int]:
    """Median seconds, and bytes by which the process's peak has grown."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken), 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)


def pairs(rounds: int) -> list[Row]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(1200), 10)
    features = (rng.standard_normal((1200, FEATURES))[labels] + 2 * rng.standard_normal((12000, FEATURES))).astype("f4")
    flipped = features + 0.1 * rng.standard_normal(features.shape).astype("f4")
    drawn = verification.random_pairs(labels, 6000)

    def work() -> None:
        verification.verify(verification.scores(features, drawn, flipped), drawn)

    return [row("6000 pairs, 10 folds, features and their mirror images", *_with_limit(work, rounds, 2.0), None)]


def _with_limit(work: Callable[[], object], rounds: int, limit: float) -> tuple[float, float, int]:
    seconds, used = measured(work, rounds)
    return seconds, limit, used


def distractors(rounds: int) -> list[Row]:
    """Once: a million rows are 2 GB, and are drawn a part at a time."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 20)
    probes = (rng.standard_normal((20, FEATURES))[labels] + rng.standard_normal((400, FEATURES))).astype("f4")

    def parts() -> Iterator[np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
        for _ in range(100):
            yield rng.standard_normal((10_000, FEATURES), dtype=np.float32)

    seconds, used = measured(lambda: verification.rank1(probes, labels, distractors=parts()), 1)
    drawing, _ = measured(lambda: [None for _ in parts()], 1)
    return [row("rank-1 of 400 probes among 10^6 distractors (once)", seconds - drawing, None, used, 2**30)]


def main() -> None:
    given = arguments(__doc__, "verification").parse_args()
    run([(pairs, ()), (distractors, ())], given.rounds, given.out)


if __name__ == "__main__":
    main()
