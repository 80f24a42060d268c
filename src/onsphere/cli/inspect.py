"""`onsphere inspect`: look at every layer of a file of weights, or of a model that a function makes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from onsphere.cli.arguments import Parser
from onsphere.cli.factory import checked_device, is_dotted, made
from onsphere.cli.mistakes import Mistake, closest
from onsphere.cli.progress import Line

if TYPE_CHECKING:
    from rich.table import Table as RichTable
    from torch import nn

    from onsphere.diagnostics import Inspection
    from onsphere.diagnostics.text import Table

DESCRIPTION = """\
Look at every layer: the angle between its two closest neurons, pairs of correlated neurons, near-duplicates, zero
neurons and hyperspherical energies, beside what uniformly random directions give. The most correlated layers come
first. A file is read layer by layer, and nothing in it is executed."""

EXAMPLES = """\
examples:
  onsphere inspect model.safetensors
  onsphere inspect model.safetensors.index.json --top 10 --html inspection.html
  onsphere inspect checkpoint.pt --layers "*attn*" --json > inspection.json
  onsphere inspect my_package.models:resnet18"""

WIDTH = 100  # of the tables in a file or a pipe
PANELS = 6  # histograms on the page where --top does not say


def _parser() -> Parser:
    parser = Parser("onsphere inspect", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "what",
        metavar="FILE | MODULE:FACTORY",
        help="a .safetensors file, the .safetensors.index.json of a sharded one, a state dict or checkpoint saved by "
        "torch.save; or the dotted name of a model or of a function without arguments that makes one, found from the "
        "current folder too",
    )
    parser.add_argument("--top", type=int, metavar="N", help="show the N most correlated layers only (default: all)")
    parser.add_argument(
        "--threshold", type=float, default=0.2, metavar="COSINE", help="count pairs above this (default: 0.2)"
    )
    parser.add_argument(
        "--layers", action="append", metavar="PATTERN", help='layers to look at, such as "encoder.*"; may be repeated'
    )
    parser.add_argument(
        "--max_neurons",
        type=int,
        metavar="N",
        help="compare a random sample of N neurons of larger layers; all pairs of 100 000 neurons take many minutes",
    )
    parser.add_argument("--device", help="where to compute, such as cuda (default: where the weights are)")
    parser.add_argument("--json", action="store_true", help="print all numbers of all layers as JSON, and nothing else")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with figures that opens offline")
    return parser


def inspect(argv: Sequence[str]) -> int:
    """`onsphere inspect FILE ...`."""
    parser = _parser()
    given = parser.read(argv)
    if given.top is not None and given.top < 1:
        raise Mistake(f"--top must be at least 1, got {given.top}")
    if given.html is not None:
        from onsphere import report  # noqa: F401 - what it needs had better be missing now than after the work

        if not given.html.parent.is_dir():
            raise Mistake(f"--html {given.html}: there is no folder {given.html.parent}")
    from rich.console import Console

    from onsphere import __version__, diagnostics

    model, device = _model(given.what), checked_device(given.device)
    try:
        with Line(Console(stderr=True), "reading") as line:
            inspection = diagnostics.inspect(
                model,
                threshold=given.threshold,
                layers=given.layers or ["*"],
                max_neurons=given.max_neurons,
                device=device,
                progress=lambda now: line.show(now.share, now.layer),
            )
    except diagnostics.Interrupted as interrupted:
        inspection = interrupted.inspection
        print("onsphere: interrupted; finished layers are kept", file=sys.stderr)
    except ValueError as error:
        raise Mistake(f"{given.what}: {error}") from error
    data = {"source": given.what, "onsphere": __version__, **inspection.as_dict(given.top)}
    if given.html is not None:
        _write_page(data, given.html, given.top)
    try:
        if given.json:
            print(json.dumps(data, allow_nan=False))
        else:
            _show(inspection, given.top)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if inspection.complete else 130


def _model(what: str) -> nn.Module | Mapping[str, Any]:
    """The tensors of a file, or the model that a dotted name stands for."""
    from onsphere.diagnostics import WeightFileError, open_weights

    path = Path(what)
    if not path.exists() and is_dotted(what):
        return made(what)
    try:
        return open_weights(path)
    except FileNotFoundError as error:
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        raise Mistake(f"there is no file {what}{closest(path.name, beside) if len(beside) > 8 else ''}") from error
    except WeightFileError as error:
        raise Mistake(str(error)) from error
    except OSError as error:
        raise Mistake(f"cannot read {what}: {error.strerror or error}") from error


def _write_page(data: Mapping[str, Any], path: Path, top: int | None) -> None:
    from onsphere import report

    try:
        report.write_inspection({**data, "worst": data["worst"][: top or PANELS]}, path)
    except OSError as error:
        raise Mistake(f"cannot write {path}: {error.strerror or error}") from error
    print(f"page: {path}", file=sys.stderr)


def _show(inspection: Inspection, top: int | None) -> None:
    from rich.console import Console

    from onsphere.diagnostics import text

    # A file or a pipe has no width of its own.
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    counts, energies = text.tables(inspection, top)
    if console.width >= WIDTH:
        shown = [counts, energies]
    else:  # full space and half space one below the other
        end = len(energies.head)
        middle = (end + 1) // 2
        shown = [counts, energies.columns(0, *range(1, middle)), energies.columns(0, *range(middle, end))]
    for table in shown:
        console.print(_drawn(table), "")
    for line in (text.LEGEND, *(f"- {note}" for note in text.notes(inspection))):
        console.print(line, highlight=False, markup=False)


def _drawn(table: Table) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(
        title=Text(table.title),
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for j, title in enumerate(table.head):
        justify: Literal["left", "right"] = "right" if j else "left"
        drawn.add_column(Text(title), justify=justify, overflow="fold", no_wrap=j > 0, min_width=10 if j == 0 else None)
    for i, row in enumerate(table.rows):
        cells = []
        for cell, (first, *below) in zip(row, table.lines(i), strict=True):
            text = Text(first, style="bold yellow" if cell.marked else "")
            cells.append(text.append("".join(f"\n{line}" for line in below), style="dim"))
        drawn.add_row(*cells)
    return drawn
