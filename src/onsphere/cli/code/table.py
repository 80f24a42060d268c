"""`onsphere code --table`: Table 1 of the MMA paper, each method as the paper trains it, beside the own search."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onsphere.cli.code.bar import Bar
from onsphere.cli.mistakes import Mistake

if TYPE_CHECKING:
    from onsphere.codes.code import Progress
    from onsphere.codes.descent import Row

WIDTH = 150  # of the table in a file or a pipe


def table(given: argparse.Namespace) -> int:
    """Run the rows, write the file after every one, and show them; 130 after Ctrl-C."""
    path = given.save[0] if given.save else None
    settings = {
        "iterations": given.iterations,
        "patience": given.patience,
        "budget_s": given.budget,
        "seed": given.seed,
    }
    if path is not None:
        _check_file(path)
    rows = _rows(given.rows)
    done = _read(path, settings) if path is not None else []
    result = _result(settings, done)
    complete = True
    import torch
    from rich.console import Console

    from onsphere.report.codes_tables import printed

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # on tensors this small more of them are slower
    try:
        with Bar(Console(stderr=True), lambda value: f"{math.degrees(value):.4f}°") as bar:
            for k, row in enumerate(rows):
                if not any((each["n"], each["d"]) == (row.n, row.d) for each in result["rows"]):
                    began = time.monotonic()
                    made = _run(row, given, _Part(bar, k, len(rows)))
                    result["rows"].append(made)
                    result["seconds"] += time.monotonic() - began
                    if path is not None:
                        _write(result, path)
    except KeyboardInterrupt:
        complete = False
        print("onsphere: interrupted; finished rows are kept", file=sys.stderr)
    finally:
        torch.set_num_threads(threads)
    result["rows"].sort(key=lambda row: (row["d"], row["n"]))
    if path is not None and result["rows"]:
        print(f"results: {path}", file=sys.stderr)
    # A file or a pipe has no width of its own.
    Console(width=None if sys.stdout.isatty() else WIDTH).print(printed(result))
    return 0 if complete else 130


def _rows(wanted: Sequence[str] | None) -> list[Row]:
    """Rows of the paper's table by "d,n", in the order given; all of them where none is."""
    from onsphere.codes.descent import TABLE1

    if wanted is None:
        return list(TABLE1)
    known = {f"{row.d},{row.n}": row for row in TABLE1}
    names = [name for text in wanted for name in text.split()]
    for name in names:
        if name not in known:
            raise Mistake(f"--rows: {name!r} is no row of the paper's table; there are {' '.join(known)}")
    return [known[name] for name in dict.fromkeys(names)]


class _Part:
    """One row's share of the bar: half of it the search, half the methods."""

    def __init__(self, bar: Bar, k: int, rows: int) -> None:
        self.bar, self.k, self.rows = bar, k, rows
        self.low, self.high, self.name = 0.0, 1.0, ""

    def section(self, low: float, high: float, name: str) -> _Part:
        self.low, self.high, self.name = low, high, name
        return self

    def __call__(self, now: Progress) -> None:
        from onsphere.codes.code import Progress

        share = (self.k + self.low + (self.high - self.low) * now.share) / self.rows
        self.bar(Progress(share, now.best, f"{self.name}: {now.phase}"))


def _run(row: Row, given: argparse.Namespace, part: _Part) -> dict[str, Any]:
    from onsphere import codes
    from onsphere.cli.code.facts import degrees_below
    from onsphere.codes.best_known import best_known
    from onsphere.codes.descent import METHODS, descend

    where = f"d={row.d} n={row.n}"
    known = best_known(row.n, row.d)
    code = codes.solve(
        row.n, row.d, budget_s=given.budget, seed=given.seed, progress=part.section(0.0, 0.5, f"{where} our search")
    )
    if not code.complete:  # Ctrl-C came during the search, which then returns what it has
        raise KeyboardInterrupt
    methods = {}
    for k, (name, method) in enumerate(METHODS.items()):
        low, high = (0.5 + 0.5 * (k + end) / len(METHODS) for end in (0, 1))
        found = descend(
            row.n,
            row.d,
            name,
            iterations=given.iterations,
            patience=given.patience,
            seed=given.seed,
            progress=part.section(low, high, where),
        )
        methods[name] = {
            "title": method.title,
            "equation": method.equation,
            "angle_deg": math.degrees(found.min_angle),
            "paper_deg": row.angles_deg.get(name),
            "seconds": found.seconds,
        }
    return {
        "n": row.n,
        "d": row.d,
        "paper_optimal_deg": row.optimal_deg,
        "best_known_deg": None if known is None else math.degrees(known.angle),
        "status": None if known is None else known.status,
        "ours": {
            "angle_deg": math.degrees(code.min_angle),
            "certified_deg": degrees_below(code.certificate),
            "origin": code.origin,
            "seconds": code.seconds,
        },
        "methods": methods,
    }


def _result(settings: Mapping[str, Any], done: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A result file's content without rows yet to come."""
    import torch

    from onsphere import __version__
    from onsphere.train.result import git_commit, machine

    return {
        "schema": 1,
        "kind": "code-methods",
        "name": "MMA paper, Table 1: points on a sphere",
        "source": "MMA paper, Table 1",
        "settings": dict(settings),
        "onsphere": __version__,
        "commit": git_commit(),
        "machine": machine(torch.device("cpu"), 1),
        "seconds": sum(_seconds(row) for row in done),
        "rows": list(done),
    }


def _seconds(row: Mapping[str, Any]) -> float:
    return float(row["ours"]["seconds"]) + sum(float(method["seconds"]) for method in row["methods"].values())


def _check_file(path: Path) -> None:
    if path.suffix.lower() != ".json":
        raise Mistake(f"--save {path}: --table writes a name that ends in .json")
    if not path.parent.is_dir():
        raise Mistake(f"--save {path}: there is no folder {path.parent}")


def _read(path: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows that the file has already; it is not run over with other settings."""
    if not path.exists():
        return []
    try:
        old = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Mistake(f"--save {path}: {error}") from error
    if not isinstance(old, dict) or old.get("kind") != "code-methods":
        raise Mistake(f"--save {path}: something else is in this file; it is left alone")
    if old.get("settings") != settings:
        differ = [
            f"{name} {value}" for name, value in (old.get("settings") or {}).items() if settings.get(name) != value
        ]
        raise Mistake(f"--save {path} holds rows with other settings ({', '.join(differ)}): name another file")
    rows: list[dict[str, Any]] = old["rows"]
    return rows


def _write(result: Mapping[str, Any], path: Path) -> None:
    from onsphere.train.files import replace_file
    from onsphere.train.result import plain

    result = {**result, "rows": sorted(result["rows"], key=lambda row: (row["d"], row["n"]))}
    try:
        replace_file(path, f"{json.dumps(plain(result), indent=1, allow_nan=False)}\n".encode())
    except OSError as error:
        raise Mistake(str(error)) from error
