"""What all matplotlib pictures share: equal numbers give equal bytes, and a file is written whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SOFT = "#6c7680"  # of titles and frames: readable on white and on near-black


@contextmanager
def style(*, transparent: bool = False) -> Iterator[None]:
    """Small type, no box around the axes, and no screen.

    Args:
        transparent: draw axes and their words in a tone that can be read on a light and on a dark page.
    """
    import matplotlib

    matplotlib.use("agg")
    # A fixed salt and, in drawn(), no date: drawing again from the same numbers changes no byte.
    given: Any = {"svg.hashsalt": "onsphere", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    if transparent:
        soft = ("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "legend.labelcolor")
        given |= dict.fromkeys(soft, SOFT)
    with matplotlib.rc_context(given):
        yield


def drawn(figure: Figure, kind: str, *, transparent: bool = False) -> bytes:
    """A figure as the content of a file; it is closed.

    Args:
        figure: from matplotlib.
        kind: ``svg`` or ``png``.
        transparent: leave the ground to the page.
    """
    from matplotlib import pyplot

    buffer = BytesIO()
    metadata = {"Date": None} if kind == "svg" else None
    figure.savefig(buffer, format=kind, dpi=160, metadata=metadata, transparent=transparent)
    pyplot.close(figure)
    return buffer.getvalue()


def kind_of(path: str | os.PathLike[str]) -> str:
    """The format that a file's suffix asks for; SVG where there is none.

    Raises:
        ValueError: it asks for another one than SVG or PNG.

    >>> kind_of("docs/figure2.3.svg"), kind_of("features.png")
    ('svg', 'png')
    """
    kind = Path(path).suffix.lstrip(".").lower() or "svg"
    if kind not in ("svg", "png"):
        raise ValueError(f"cannot draw {path}: expected a name that ends in .svg or .png")
    return kind


def write_bytes(content: bytes, path: str | os.PathLike[str]) -> None:
    """Write a file so that a reader sees the old one or the new one, and never a half."""
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(content)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
