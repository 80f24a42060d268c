"""What is seen while a comparison trains."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from onsphere.train import Progress


class Screen:
    """Shows training as it goes: one bar for all of it on a terminal, else a line for every twentieth.

    Args:
        console: where to draw.
        patience: seconds after which there is a line in any case.
    """

    def __init__(self, console: Console, patience: float = 300.0) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
        from rich.progress import TimeRemainingColumn as Left

        self.console, self.patience = console, patience
        self.phase, self.since, self.said, self.twentieth = "", 0.0, 0.0, 0
        self.bar = Progress(BarColumn(None), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left"), Left())
        self.live = Live(self.bar, console=console) if console.is_terminal and sys.stdout.isatty() else None

    def __enter__(self) -> Screen:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, now: Progress) -> None:
        if now.phase != self.phase:
            self.phase, self.since, self.said, self.twentieth = now.phase, time.monotonic(), time.monotonic(), 0
            for task in self.bar.task_ids:
                self.bar.remove_task(task)
            self.bar.add_task(now.phase, total=now.total)
        if self.live:
            from rich.console import Group
            from rich.text import Text

            self.bar.update(self.bar.task_ids[0], completed=now.done, total=now.total)
            self.live.update(Group(self.bar, Text(_status(now))))
            return
        seconds, twentieth = time.monotonic(), 20 * now.done // now.total
        if twentieth > self.twentieth or seconds - self.said > self.patience:
            self.said, self.twentieth = seconds, twentieth
            left = timedelta(seconds=round((seconds - self.since) * (now.total / max(now.done, 1) - 1)))
            line = f"{now.done / now.total:4.0%}  {left} left  {_status(now)}"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def _status(now: Progress) -> str:
    row = f"{now.row} ({now.row_index + 1}/{now.rows})"
    if now.phase == "measure":
        return f"measuring time and memory of a step: {row}"
    metrics = "".join(f"  {name} {value:.2f}" for name, value in now.metrics.items() if name in ("top1", "top5"))
    seed = f"seed {now.seed} ({now.seed_index + 1}/{now.seeds})"
    return f"{row}  {seed}  epoch {now.epoch}/{now.epochs}  loss {now.loss:.4f}{metrics}"
