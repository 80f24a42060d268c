"""`onsphere code --n N --d D`: one search, its row, its files and its page."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onsphere.cli.code.bar import Bar
from onsphere.cli.mistakes import Mistake, or_mistake

ENERGIES = ("thomson", "whyte", "riesz")
ON_TARGET = math.radians(1e-8)  # how near to the target is on it: angles in tables are rounded
WIDTH = 150  # of the table in a file or a pipe


def search(given: argparse.Namespace) -> int:
    """Search as the arguments say; 130 where Ctrl-C ended it."""
    _check_objective(given)
    saves, page = given.save or [], _page(given)
    _check_files(saves, page, given.d)
    settings, keywords = _settings(given)
    from rich.console import Console

    from onsphere import codes, report  # what the report needs had better be missing now than afterwards

    words = _degrees if given.objective == "max_min_angle" else _energy
    with Bar(Console(stderr=True), words) as bar:
        code = or_mistake(lambda: codes.solve(given.n, given.d, progress=bar, **keywords))
    if not code.complete:
        print("onsphere: interrupted; this is the best so far", file=sys.stderr)
    for path in saves:
        _written(path, partial(codes.save, code.points, path))
    from onsphere.cli.code.facts import facts, for_page
    from onsphere.train.result import plain

    data = facts(code, settings)
    if page is not None:
        _written(page, partial(report.write_code_page, {**data, **for_page(code)}, page))
    try:
        if given.json:
            print(json.dumps(plain(data), allow_nan=False))  # an energy may be larger than a float can be
        else:
            _show(data)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0 if code.complete else 130


def _check_objective(given: argparse.Namespace) -> None:
    if given.objective == "riesz" and given.s is None:
        raise Mistake("--objective riesz needs its power: --s 2, for instance")
    if given.objective != "riesz" and given.s is not None:
        raise Mistake(f"--s goes with --objective riesz, not with {given.objective}")
    if given.objective not in ENERGIES:
        for name, value in (("half_space", given.half_space), ("weights", given.weights)):
            if value not in (None, False):
                raise Mistake(f"--{name} goes with an energy: --objective {', '.join(ENERGIES)}")
    elif given.target is not None:
        raise Mistake(f"--target is a minimum angle and goes with --objective max_min_angle, not {given.objective}")


def _page(given: argparse.Namespace) -> Path | None:
    """The page's name."""
    path: Path | None = given.html
    return Path(f"code-{given.n}-{given.d}.html") if path == Path() else path


def _check_files(saves: Sequence[Path], page: Path | None, d: int) -> None:
    """Refuse a name or a folder before the search and not after it."""
    from onsphere.codes.files import check_destination

    for path in saves:
        try:
            check_destination(path, d)
        except (OSError, ValueError) as error:
            raise Mistake(f"--save: {error}") from error
    if page is not None and page.suffix.lower() not in (".html", ".htm"):
        raise Mistake(f"--html {page}: expected a name that ends in .html")
    if page is not None and not page.parent.is_dir():
        raise Mistake(f"--html {page}: there is no folder {page.parent}")
    for path in [*saves, *([] if page is None else [page])]:
        if path.is_dir():
            raise Mistake(f"{path} is a folder: expected the name of a file")


def _settings(given: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the files say of the search, and the arguments of `solve`."""
    weights = None if given.weights is None else _weights(given.weights, given.n)
    settings = {
        "s": given.s,
        "half_space": given.half_space,
        "weights": None if weights is None else weights.tolist(),
        "budget_s": given.budget,
        "restarts": given.restarts,
        "target": given.target,
        "start": None if given.start is None else str(given.start),
    }
    keywords = {
        "budget_s": given.budget,
        "restarts": given.restarts,
        "seed": given.seed,
        "objective": given.objective,
        "s": given.s,
        "weights": weights,
        "half_space": given.half_space,
        "start": _start(given.start, given.n, given.d) if given.start is not None else None,
        "target": _target(given.target, given.n, given.d) if given.target is not None else None,
    }
    return settings, keywords


def _weights(text: str, n: int) -> NDArray[np.float64]:
    """Factors of the first points; 1 for the others."""
    try:
        first = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise Mistake(f"--weights: expected numbers with commas between them, got {text!r}") from error
    if not all(0 < each < math.inf for each in first):
        raise Mistake(f"--weights: expected numbers above 0, got {text}")
    if len(first) > n:
        raise Mistake(f"--weights: {len(first)} of them for {n} points")
    return np.array([*first, *[1.0] * (n - len(first))])


def _start(path: Path, n: int, d: int) -> NDArray[np.float64]:
    from onsphere.codes.files import load

    points = or_mistake(lambda: load(path))
    if points.shape != (n, d):
        raise Mistake(f"--start {path} holds {points.shape[0]} points in {points.shape[1]} dimensions, not {n} in {d}")
    return points


def _target(text: str, n: int, d: int) -> float:
    """An angle in radians."""
    if text == "best-known":
        from onsphere.codes.best_known import best_known

        known = best_known(n, d)
        if known is None:
            raise Mistake(f"no best known angle is recorded for n={n}, d={d}: give --target in degrees")
        return known.angle - ON_TARGET
    try:
        angle = float(text)
    except ValueError as error:
        raise Mistake(f"--target: expected best-known or a number of degrees, got {text!r}") from error
    if not 0 < angle <= 180:
        raise Mistake(f"--target must lie between 0 and 180 degrees, got {text}")
    return math.radians(angle) - ON_TARGET


def _degrees(value: float) -> str:
    return f"{math.degrees(value):.9f}°"


def _energy(value: float) -> str:
    from onsphere.report.code import energy_words

    return f"energy {energy_words(value)}"


def _written(path: Path, write: Callable[[], None]) -> None:
    """Write a file and say so; a full disk spoils neither the other files nor the table."""
    try:
        write()
    except OSError as error:
        print(f"onsphere: cannot write {path}: {error.strerror or error}", file=sys.stderr)
    else:
        print(f"{'page' if path.suffix.startswith('.htm') else 'points'}: {path}", file=sys.stderr)


def columns(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The headings of the row and its cells."""
    from onsphere.report.code import certified, energy_words, gap_words

    known = data["best_known"]
    shown = [("n", str(data["n"])), ("d", str(data["d"]))]
    if data["energy"] is not None:
        shown.append(("energy", energy_words(data["energy"])))
    shown.append(("angle, °", f"{data['angle_deg']:.9f}"))
    if data["energy"] is None:
        shown += [
            ("best known, °", "–" if known is None else f"{known['angle_deg']:.9f}"),
            ("gap", gap_words(data["gap_deg"])),
        ]
    shown.append(("certified, °", certified(data["certified_deg"]).rstrip("°")))
    if data["energy"] is None:  # at a minimum of an energy few pairs have the very same angle
        shown += [("contacts", str(len(data["contacts"]))), ("rattlers", str(len(data["rattlers"])))]
    return [*shown, ("found by", data["origin"]), ("seconds", f"{data['seconds']:.1f}")]


def _show(data: Mapping[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    # A file or a pipe has no width of its own.
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    shown = columns(data)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for title, _ in shown:
        justify: Literal["left", "right"] = "left" if title == "found by" else "right"
        table.add_column(title, justify=justify, no_wrap=True)
    table.add_row(*(Text(cell, style=_style(title, data)) for title, cell in shown))
    if Measurement.get(console, console.options.update(width=10_000), table).maximum > console.width:
        table = Table.grid(padding=(0, 2, 0, 0))  # one below the other where the terminal is narrow
        for title, cell in shown:
            table.add_row(Text(title, style="dim"), Text(cell, style=_style(title, data)))
    console.print(table)
    for line in notes(data):
        console.print(line, highlight=False, markup=False, style="dim")


def _style(title: str, data: Mapping[str, Any]) -> str:
    from onsphere.report.code import SAME as same

    gap = data["gap_deg"]
    if title == "angle, °":
        return "bold"
    if title != "gap" or gap is None:
        return ""
    return "bold green" if gap < -same else "green" if gap <= same else "yellow"


def notes(data: Mapping[str, Any]) -> list[str]:
    """What belongs to the row and has no room in it."""
    said = []
    if data["energy"] is None:
        from onsphere.report.code import best_known_words
        from onsphere.report.code_figures import touching

        said.append(best_known_words(data))
        if not touching(data):
            said.append("few contacts: the points are spread, but not polished until they touch")
    if data["exact"]:
        said.append("a closed form: nothing was searched")
    return said
