"""Progress of long work on stderr: a bar that goes away on a terminal, else a line now and then."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

PATIENCE = 30.0  # seconds between lines of progress where there is no terminal


class Line:
    """One bar, or one line after the other.

    Args:
        console: where to draw.
        first: what the bar says before anything was shown.
    """

    def __init__(self, console: Console, first: str) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        words = TextColumn("{task.description}", markup=False)
        columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), words)
        self.console, self.said = console, time.monotonic()
        self.bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self.task = self.bar.add_task(first, total=1.0) if self.bar else None

    def __enter__(self) -> Line:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def show(self, share: float, words: str) -> None:
        """Say how far the work is, from 0 to 1, and what is being done."""
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=share, description=words)
        elif time.monotonic() - self.said > PATIENCE:
            self.said = time.monotonic()
            self.console.print(f"{share:4.0%}  {words}", highlight=False, markup=False, soft_wrap=True)
