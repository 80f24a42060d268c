"""What a search for points on a sphere reports to: the best value so far, in words, on the shared line of progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from onsphere.cli.progress import Line

if TYPE_CHECKING:
    from rich.console import Console

    from onsphere.codes.code import Progress


class Bar:
    """A progress callback of a search.

    Args:
        console: where to draw.
        words: how the best value so far is said.
    """

    def __init__(self, console: Console, words: Callable[[float], str]) -> None:
        self.line, self.words = Line(console, "starting"), words

    def __enter__(self) -> Bar:
        self.line.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.line.__exit__()

    def __call__(self, now: Progress) -> None:
        best = "" if now.best is None else f"{self.words(now.best)}  "
        self.line.show(now.share, f"{best}{now.phase}")
