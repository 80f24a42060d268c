"""`onsphere code`: spread points on a sphere, and the papers' table and figures about it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from onsphere.cli.arguments import Parser
from onsphere.cli.mistakes import Mistake

DESCRIPTION = """\
Spread n points on the unit sphere in d dimensions as far apart as possible (the Tammes problem, spherical codes), or
minimise an energy of theirs. Shows the minimum angle beside the best known one and a lower bound that is proved for the
very coordinates that are saved. Ctrl-C ends the search and keeps the best so far."""

EXAMPLES = """\
the row that is printed:
  angle      the smallest angle between two points
  gap        how far it is below the best known one; none, where they agree in all digits that are sure
  certified  a lower bound of the angle, proved for the coordinates as they stand
  contacts   pairs of points at the smallest angle; rattlers: points that touch no other and can be moved
  found by   the start, or the change of an earlier code, that led to it

examples:
  onsphere code --n 30 --d 3
  onsphere code --n 130 --d 4 --budget 600 --save points.csv --html
  onsphere code --n 12 --d 3 --objective thomson
  onsphere code --n 30 --d 3 --target best-known --json
  onsphere code --table --save results/codes_table1.json
  onsphere code --figure D.1 --save weighted.png"""

OBJECTIVES = ("max_min_angle", "thomson", "whyte", "riesz")
FIGURES = ("5.1", "D.1", "D.2", "2")
NO_NAME = Path()  # --html without a file


def _parser() -> Parser:
    parser = Parser("onsphere code", DESCRIPTION, EXAMPLES)
    one = parser.add_argument_group("the search for one code")
    one.add_argument("--n", type=int, metavar="N", help="how many points")
    one.add_argument(
        "--d", type=int, metavar="D", help="the dimension of the space that holds the sphere: 3 for a ball"
    )
    one.add_argument("--budget", type=float, default=60.0, metavar="SECONDS", help="how long to search (default: 60)")
    one.add_argument(
        "--target", metavar="best-known|DEGREES", help="stop as soon as the minimum angle is reached, to 1e-8 degrees"
    )
    one.add_argument(
        "--restarts",
        type=int,
        metavar="N",
        help="at most so many attempts, for an energy so many starts (default: as the time allows); where this ends "
        "the search, and not the time, equal arguments give equal points",
    )
    one.add_argument("--seed", type=int, default=0, metavar="N", help="everything random comes from it (default: 0)")
    one.add_argument("--start", type=Path, metavar="FILE", help="points to begin with: .npy, .csv or .xyz")
    energy = parser.add_argument_group("an energy instead of the minimum angle")
    energy.add_argument(
        "--objective",
        choices=OBJECTIVES,
        default="max_min_angle",
        metavar="NAME",
        help="max_min_angle (default), or the energy to make small: thomson, the sum of 1/distance; whyte, of "
        "-log distance; riesz, of 1/distance^s",
    )
    energy.add_argument("--s", type=float, metavar="S", help="the power of riesz")
    energy.add_argument("--half_space", action="store_true", help="between the points and their negatives")
    energy.add_argument(
        "--weights",
        metavar="B1,B2,...",
        help="factors of the first points, as in eq. D.10 of the thesis; those of the others are 1",
    )
    output = parser.add_argument_group("what comes out")
    output.add_argument(
        "--save",
        type=Path,
        action="append",
        metavar="FILE",
        help="write the points as .npy, .csv or (d = 3) .xyz; may be repeated. With --table the .json file that keeps "
        "the rows, with --figure the .svg or .png",
    )
    output.add_argument(
        "--html",
        type=Path,
        nargs="?",
        const=NO_NAME,
        metavar="FILE",
        help="write a page with the sphere to turn, which opens offline (default name: code-N-D.html)",
    )
    output.add_argument("--json", action="store_true", help="print all numbers as JSON, and nothing else")
    papers = parser.add_argument_group("the papers' results")
    papers.add_argument(
        "--table",
        action="store_true",
        help="run Table 1 of the MMA paper again, beside a search of --budget seconds a row; a row that --save's file "
        "has already is not run twice",
    )
    papers.add_argument(
        "--rows", nargs="+", metavar="D,N", help="--table: some rows, such as 3,30 4,130 (default: all of the paper's)"
    )
    papers.add_argument(
        "--iterations",
        type=int,
        default=10_000,
        metavar="N",
        help="--table: steps of SGD (default: 10000, the paper's)",
    )
    papers.add_argument(
        "--patience",
        type=int,
        default=300,
        metavar="N",
        help="--table: steps without a lower loss after which the learning rate is divided by 5 (default: 300, which "
        "comes near the paper's numbers)",
    )
    papers.add_argument(
        "--figure",
        choices=FIGURES,
        metavar="NAME",
        help="draw Figure 5.1, D.1 or D.2 of the thesis, or 2 of the MMA paper (default file: figure-NAME.svg)",
    )
    return parser


def code(argv: Sequence[str]) -> int:
    """`onsphere code ...`."""
    parser = _parser()
    given = parser.read(argv, bare=f"numbers and names follow an option, as in {parser.prog} --n 30 --d 3")
    if given.table and given.figure:
        raise Mistake("--table and --figure are two commands: give one of them")
    _check(given, parser)
    if given.figure:
        from onsphere.cli.code.figures import figure

        return figure(given)
    if given.table:
        from onsphere.cli.code.table import table

        return table(given)
    from onsphere.cli.code.search import search

    return search(given)


# What goes with some of the three jobs only; in the others it would be dropped without a word.
_ONLY: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("search",): ("n", "d", "restarts", "objective", "s", "half_space", "weights", "target", "start", "html", "json"),
    ("table",): ("iterations", "patience", "rows"),
    ("search", "table"): ("budget",),
}
_JOBS = {"search": "the search for one code", "table": "--table", "figure": "--figure"}


def _check(given: argparse.Namespace, parser: Parser) -> None:
    """Refuse what goes with another job, and numbers out of range."""
    job = "figure" if given.figure else "table" if given.table else "search"
    for jobs, names in _ONLY.items():
        for name in names:
            if job not in jobs and getattr(given, name) != parser.get_default(name):
                owners = " and ".join(_JOBS[each] for each in jobs)
                raise Mistake(f"--{name} belongs to {owners} and does not go with {_JOBS[job]}")
    if given.figure == "2" and given.seed != parser.get_default("seed"):
        raise Mistake(f"nothing in Figure 2 is random: it does not go with --seed {given.seed}")
    if not (given.budget > 0 and math.isfinite(given.budget)):
        raise Mistake(f"--budget must be a number of seconds above 0, got {given.budget:g}")
    if given.seed < 0:
        raise Mistake(f"--seed must be 0 or more, got {given.seed}")
    for name, least in (("n", 2), ("d", 2), ("restarts", 1), ("iterations", 1), ("patience", 0)):
        value = getattr(given, name)
        if value is not None and value < least:
            raise Mistake(f"--{name} must be at least {least}, got {value}")
    if job == "search" and (given.n is None or given.d is None):
        raise Mistake(
            "how many points in how many dimensions? Give --n and --d, for instance: onsphere code --n 30 --d 3"
        )
    if job != "search" and given.save and len(given.save) > 1:
        raise Mistake(f"--{job} writes one file, got --save {' --save '.join(map(str, given.save))}")
