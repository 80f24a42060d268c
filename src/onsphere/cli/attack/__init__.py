"""`onsphere attack`: how well the networks of a run do on images that were changed to mislead them."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onsphere.cli.arguments import Parser
from onsphere.cli.mistakes import Mistake, or_mistake, words
from onsphere.cli.progress import Line

if TYPE_CHECKING:
    import torch

    from onsphere.cli.attack.work import Found, Work
    from onsphere.cli.verify.trained import Trained

DESCRIPTION = """\
How well do the networks of a run do on test images that were changed to mislead them? Accuracy under the fast gradient
sign method (FGSM) and the basic iterative method (BIM), which may change every pixel by eps, and the size of the change
with which DeepFool fools a network (thesis, Tables 4.7 and 4.8, Figure C.1). The images are made on the attacked
network itself, the white box, or on another one that the attacker has, the black box."""

EXAMPLES = """\
examples:
  onsphere attack --run runs/thesis-table4.7-cifar10
  onsphere attack --run runs/thesis-table4.7-cifar10 --rows baseline tanh --attacks none fgsm bim --limit 0
  onsphere attack --run runs/thesis-table4.7-cifar10 --source runs/attackers-network
  onsphere attack --run runs/table3-digits --eps 16 --step 4 --figure attack.png --output attack.json"""

ATTACKS = ("none", "fgsm", "bim", "deepfool")
WIDTH = 100  # of the table in a file or a pipe


def _parser() -> Parser:
    parser = Parser("onsphere attack", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "--run", type=Path, metavar="FOLDER", help="that `onsphere train` or `compare` left, with its weights; the "
        "data it was trained on must be where they were, and their test images are attacked"
    )  # fmt: skip
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="of --run (default: all that were trained)")
    parser.add_argument("--run_seed", type=int, metavar="N", help="of --run (default: the first of every row)")
    parser.add_argument(
        "--source", type=Path, metavar="FOLDER", help="make the images on the network of this run (black box)"
    )
    parser.add_argument("--source_row", metavar="ROW", help="of --source (default: the only one)")
    parser.add_argument("--source_seed", type=int, metavar="N", help="of --source (default: its first seed)")
    parser.add_argument(
        "--attacks",
        nargs="+",
        choices=ATTACKS,
        metavar="ATTACK",
        help=f"of {', '.join(ATTACKS)}; none is the accuracy without attack (default: all; with --source all but "
        "deepfool, which takes some dozens of passes an image)",
    )
    bounds = parser.add_argument_group("how much may change, pixels being 0 to 255")
    bounds.add_argument("--eps", type=float, default=8.0, metavar="X", help="most of a pixel, FGSM, BIM (default: 8)")
    bounds.add_argument("--step", type=float, default=2.0, metavar="X", help="of a pixel in a step of BIM (default: 2)")
    bounds.add_argument("--steps", type=int, default=20, metavar="N", help="of BIM (default: 20)")
    parser.add_argument(
        "--limit", type=int, default=1000, metavar="N", help="how many test images, a random choice that is always "
        "the same; 0 for all (default: 1000)"
    )  # fmt: skip
    parser.add_argument("--batch", type=int, default=100, metavar="N", help="images at a time (default: 100)")
    parser.add_argument("--device", help="where to compute, such as cuda (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON, and nothing else")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the same into a file")
    parser.add_argument(
        "--figure", type=Path, metavar="FILE", help="draw examples of the first row and the strengths of DeepFool into "
        "an .svg or .png"
    )  # fmt: skip
    return parser


def attack(argv: Sequence[str]) -> int:
    """`onsphere attack --run FOLDER ...`."""
    given = _parser().read(argv, bare="a run's folder stands behind --run")
    _check(given)
    import torch
    from rich.console import Console

    from onsphere.cli.attack import work
    from onsphere.cli.factory import checked_device
    from onsphere.cli.verify.trained import remade, rows_of
    from onsphere.train.comparison import on_threads

    device = torch.device(checked_device(given.device) or "cpu")
    source = None
    if given.source is not None:
        source = remade(given.source, given.source_row, given.source_seed, "--source_row")
    rows = [remade(given.run, row, given.run_seed) for row in given.rows or rows_of(given.run)]
    if source is not None:
        work.check_source(source, given.source, rows[0], given.run)
    todo = _work(rows[0], source, given, device)
    found: list[Found] = []
    code = 0
    try:
        with on_threads(rows[0].threads), Line(Console(stderr=True), "attacking") as line:
            work.attack_rows(rows, todo, found, line.show)
    except KeyboardInterrupt:
        if not found:
            raise
        code = 130
        print(f"onsphere: interrupted; {len(found)} of {len(rows)} rows are finished", file=sys.stderr)
    content = _content(found, source, given, len(todo.images), complete=code == 0)
    if given.figure is not None:
        _draw(content, found[0], todo, given.figure)
    _show(found, todo.parts, content, given)
    return code


def _work(first: Trained, source: Trained | None, given: argparse.Namespace, device: torch.device) -> Work:
    from onsphere import attacks
    from onsphere.cli.attack.work import NORMS, PIXEL, Work, attacked_images, in_pixels

    eps, step = given.eps / PIXEL, given.step / PIXEL
    return Work(
        images=attacked_images(first, given.limit or None).to(device),
        source=None if source is None else in_pixels(source, device),
        parts=[part for name in given.attacks for part in (NORMS if name == "deepfool" else (name,))],
        calls={
            "fgsm": partial(attacks.fgsm, eps=eps),
            "bim": partial(attacks.bim, eps=eps, step=step, steps=given.steps),
        },
        steps=given.steps,
        batch=given.batch,
    )


def _content(
    found: Sequence[Found], source: Trained | None, given: argparse.Namespace, images: int, complete: bool
) -> dict[str, Any]:
    """All that --json prints."""
    from onsphere import __version__
    from onsphere.cli.attack.table import data

    return {
        "schema": 1,
        "kind": "attack",
        "onsphere": __version__,
        "complete": complete,
        "run": str(given.run),
        "source": None if source is None else {"run": str(given.source), "row": source.row, "seed": source.seed},
        "data": found[0].trained.data.name,
        "images": images,
        "eps": given.eps,
        "step": given.step,
        "steps": given.steps,
        "rows": [data(one) for one in found],
    }


def _check(given: argparse.Namespace) -> None:
    """Raise a Mistake for what is wrong whatever is in the folders."""
    if given.run is None:
        raise Mistake("nothing to attack: give --run FOLDER (all options: onsphere attack --help)")
    for name in ("eps", "step"):
        if not 0 <= getattr(given, name) <= 255:
            raise Mistake(f"--{name} {getattr(given, name):g}: expected a number from 0 to 255, such as 8")
    for name, least in (("steps", 1), ("limit", 0), ("batch", 1)):
        if getattr(given, name) < least:
            raise Mistake(f"--{name} must be at least {least}, got {getattr(given, name)}")
    for name in ("source_row", "source_seed"):
        if given.source is None and getattr(given, name) is not None:
            raise Mistake(f"--{name} is of the attacker's network: give --source FOLDER")
    if given.attacks is None:
        given.attacks = [name for name in ATTACKS if given.source is None or name != "deepfool"]
    given.attacks = list(dict.fromkeys(given.attacks))
    if given.source is not None and "deepfool" in given.attacks:
        raise Mistake("deepfool measures how little fools a network that is known: leave it or --source out")
    for name, endings in (("figure", (".svg", ".png")), ("output", (".json",))):
        path = getattr(given, name)
        if path is not None and path.suffix not in endings:
            raise Mistake(f"--{name} {path}: expected a file name that ends in {' or '.join(endings)}")
        if path is not None and not path.parent.is_dir():
            raise Mistake(f"--{name} {path}: there is no folder {path.parent}")
    if given.figure is not None:
        if set(given.attacks) == {"none"}:
            raise Mistake("--figure shows attacks, and --attacks none is without one")
        from onsphere import report  # noqa: F401 - what it needs had better be missing now than after the work


def _draw(content: Mapping[str, Any], first: Found, work: Work, path: Path) -> None:
    from onsphere.cli.attack.pictures import examples
    from onsphere.report.attacks import write_attack

    try:
        write_attack({**content, "examples": examples(first, work)}, path)
    except OSError as error:
        raise Mistake(f"cannot write {words(error)}") from error
    print(f"picture: {path}", file=sys.stderr)


def _show(found: Sequence[Found], parts: Sequence[str], content: Mapping[str, Any], given: argparse.Namespace) -> None:
    from rich.console import Console

    from onsphere.cli.attack import table

    text = json.dumps(content, allow_nan=False)
    if given.output is not None:
        from onsphere.train.files import replace_file

        or_mistake(lambda: replace_file(given.output, text.encode()))
        print(f"numbers: {given.output}", file=sys.stderr)
    try:
        if given.json:
            print(text)
        else:
            console = Console(width=None if sys.stdout.isatty() else WIDTH)
            console.print(table.table(found, parts))
            for note in table.notes(found, content):
                console.print(note, highlight=False, markup=False, style="dim")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
