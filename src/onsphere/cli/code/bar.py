"""Progress of a search on stderr: a bar that goes away on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from onsphere.codes.code import Progress

PATIENCE = 30.0  # seconds between lines of progress where there is no terminal


class Bar:
    """What a search is told to report to.

    Args:
        console: where to draw.
        words: how the best value so far is said.
    """

    def __init__(self, console: Console, words: Callable[[float], str]) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        said = TextColumn("{task.description}", markup=False)
        columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn(), said)
        self.console, self.words, self.said = console, words, time.monotonic()
        self.bar = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self.task = self.bar.add_task("starting", total=1.0) if self.bar else None

    def __enter__(self) -> Bar:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def __call__(self, now: Progress) -> None:
        line = now.phase if now.best is None else f"{self.words(now.best)}  {now.phase}"
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=now.share, description=line)
        elif time.monotonic() - self.said > PATIENCE:
            self.said = time.monotonic()
            self.console.print(f"{now.share:4.0%}  {line}", highlight=False, markup=False, soft_wrap=True)
