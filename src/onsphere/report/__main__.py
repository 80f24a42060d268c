"""`python -m onsphere.report`: make a README's tables, a report or a picture anew from result files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from onsphere.report.arrays import draw_margins
from onsphere.report.attacks import write_strengths
from onsphere.report.curvatures import write_curvatures
from onsphere.report.energies import write_energies
from onsphere.report.features import write_angles, write_confusion, write_features, write_weight_norms
from onsphere.report.operators import draw_operators
from onsphere.report.page import write_atomically, write_html
from onsphere.report.picture import write_picture
from onsphere.report.readme import update
from onsphere.report.reconstruction import write_reconstructions
from onsphere.report.regions import draw_regions, draw_sphere_regions
from onsphere.report.results import load


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 on success, 1 where --check finds stale tables, 2 on bad input."""
    parser = argparse.ArgumentParser(prog="python -m onsphere.report", description=__doc__)
    job = parser.add_mutually_exclusive_group(required=True)
    job.add_argument("readme", nargs="?", type=Path, help="rewrite the tables of this file from results/ beside it")
    job.add_argument("--html", nargs=2, metavar=("RESULT", "FILE"), help="write the report of a result")
    job.add_argument("--picture", nargs=2, metavar=("RESULT", "FILE"), help="draw a result as .svg or .png")
    job.add_argument("--features", nargs=2, metavar=("RESULT", "FILE"), help="draw a result's features")
    job.add_argument("--angles", nargs=2, metavar=("RESULT", "FILE"), help="draw a result's angles between features")
    job.add_argument("--confusion", nargs=2, metavar=("RESULT", "FILE"), help="draw a result's cosines between classes")
    job.add_argument(
        "--weight-norms", nargs=2, metavar=("RESULT", "FILE"), help="draw a result's norms of class weights"
    )
    job.add_argument("--curvatures", nargs=2, metavar=("RESULT", "FILE"), help="draw a result's learned curvatures")
    job.add_argument("--reconstructions", nargs=2, metavar=("RESULT", "FILE"), help="draw a result's rebuilt images")
    job.add_argument("--energies", nargs=2, metavar=("RESULT", "FILE"), help="draw a result's energies (Figure 7.3)")
    job.add_argument("--strengths", nargs=2, metavar=("RESULT", "FILE"), help="draw what DeepFool needs (Figure C.1)")
    job.add_argument("--margins", metavar="FILE", help="draw psi(theta) of the margins (thesis, Figure 2.3)")
    job.add_argument("--regions", metavar="FILE", help="draw the decision regions of two classes (thesis, Figure 2.4)")
    job.add_argument("--sphere-regions", metavar="FILE", help="draw them on circle and sphere (thesis, Figure 2.8)")
    job.add_argument("--operators", metavar="FILE", help="draw h and g of decoupled layers (thesis, Figure 4.3)")
    parser.add_argument(
        "--set", choices=("train", "test", "both"), help="with --features: of which images (default: by their number)"
    )
    parser.add_argument(
        "--check", action="store_true", help="with README: change nothing, fail if it is not up to date"
    )
    given = parser.parse_args(arguments)
    if given.check and given.readme is None:
        parser.error("--check goes with a README, and with nothing else")
    if given.set and not given.features:
        parser.error("--set goes with --features, and with nothing else")
    try:
        if given.html:
            write_html(load(given.html[0]), given.html[1])
        elif given.picture:
            write_picture(load(given.picture[0]), given.picture[1])
        elif given.features:
            write_features(load(given.features[0]), given.features[1], given.set)
        elif given.angles:
            write_angles(load(given.angles[0]), given.angles[1])
        elif given.confusion:
            write_confusion(load(given.confusion[0]), given.confusion[1])
        elif given.weight_norms:
            write_weight_norms(load(given.weight_norms[0]), given.weight_norms[1])
        elif given.curvatures:
            write_curvatures(load(given.curvatures[0]), given.curvatures[1])
        elif given.reconstructions:
            write_reconstructions(load(given.reconstructions[0]), given.reconstructions[1])
        elif given.energies:
            write_energies(load(given.energies[0]), given.energies[1])
        elif given.strengths:
            write_strengths(load(given.strengths[0]), given.strengths[1])
        elif given.margins:
            draw_margins(given.margins)
        elif given.operators:
            draw_operators(given.operators)
        elif given.regions:
            draw_regions(given.regions)
        elif given.sphere_regions:
            draw_sphere_regions(given.sphere_regions)
        else:
            return _readme(given.readme, check=given.check)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _readme(path: Path, *, check: bool) -> int:
    text = path.read_text(encoding="utf-8")
    new = update(text, path.resolve().parent / "results")
    if check and new != text:
        print(f"{path} is not up to date with results/: run python -m onsphere.report {path}", file=sys.stderr)
        return 1
    if new != text:
        write_atomically(path, new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
