"""`onsphere verify`: how well features tell whether two images show the same identity."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from onsphere.cli.arguments import Parser
from onsphere.cli.mistakes import Mistake, words
from onsphere.cli.progress import Line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from onsphere.cli.verify.model import Eye
    from onsphere.cli.verify.sets import Set
    from onsphere.cli.verify.table import Found
    from onsphere.data.decoding import Encoded

DESCRIPTION = """\
Do two images show the same identity, one that training never saw? Accuracy over ten folds, the threshold of each chosen
on the other nine, equal error rate and true accept rates, from cosines of features: your own, or those that a model
gives for a set of images. Several sets make one table."""

EXAMPLES = """\
files of features:
  .npz   "features" (N, D), perhaps "flipped" (N, D) of the mirror images, and either "labels" (N,), identities to
         draw pairs from; or "same" (n,) with "first", "second" (rows) and "fold", or with two rows a pair; or --pairs
  .npy   (N, D) with --pairs: rows in the order in which it names the images, two rows a pair, or as --names says

examples:
  onsphere verify --features mine.npz
  onsphere verify --features mine.npy --pairs pairs.txt --names names.txt
  onsphere verify lfw.bin cfp_fp.bin agedb_30.bin --model my_package.models:build --weights model.safetensors
  onsphere verify lfw-112x96 --pairs pairs.txt --model my_package.models:build --far 1e-2 1e-3 --roc roc.svg
  onsphere verify characters --model my_package.models:build --colours grey --size 28 --count 2000
  onsphere verify characters --run runs/omniglot-open-set --row arcface"""

WIDTH = 120  # of the table in a file or a pipe
FAR = (1e-1, 1e-2, 1e-3)
COUNT = 6000  # as LFW's View 2


def _parser() -> Parser:
    parser = Parser("onsphere verify", DESCRIPTION, EXAMPLES)
    parser.add_argument(
        "sets",
        nargs="*",
        type=Path,
        metavar="SET",
        help="images: a .bin set as insightface packs them, read without running what is in it; or a folder of images, "
        "with --pairs, or with a folder for each identity or test-*.parquet, from which pairs are drawn. All need "
        "--model or --run",
    )
    parser.add_argument(
        "--features", action="append", type=Path, default=[], metavar="FILE", help="features instead; may be repeated"
    )
    pairs = parser.add_argument_group("which images are compared")
    pairs.add_argument("--pairs", type=Path, metavar="FILE", help="pairs in the format of LFW's pairs.txt")
    pairs.add_argument("--names", type=Path, metavar="FILE", help="the image of every row of features, one a line")
    pairs.add_argument(
        "--folds",
        type=int,
        metavar="N",
        help="cut the pairs into N folds in their order (default: the file's own, or 10)",
    )
    pairs.add_argument(
        "--count", type=int, metavar="N", help="how many pairs are drawn from identities (default: 6000)"
    )
    pairs.add_argument("--seed", type=int, metavar="N", help="of the drawing (default: 0)")
    pairs.add_argument(
        "--shared", action="store_true", help="draw every fold from all identities, where there are too few for "
        "folds that share none"
    )  # fmt: skip
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--model",
        metavar="MODULE:FACTORY",
        help="the dotted name of a model or of a function without arguments that makes one, found from the current "
        "folder too; its method features, if it has one, or itself gives (n, D) for images",
    )
    model.add_argument(
        "--run", type=Path, metavar="FOLDER", help="instead: a model that `onsphere train` or `compare` left there; it "
        "sees images as in training, whose data must be where they were"
    )  # fmt: skip
    model.add_argument("--row", metavar="ROW", help="of --run (default: the only one)")
    model.add_argument("--run_seed", type=int, metavar="N", help="of --run (default: its first seed)")
    model.add_argument("--weights", type=Path, metavar="FILE", help="to load into it: .safetensors, or a state dict")
    model.add_argument("--device", help="where to compute, such as cuda (default: where the model is)")
    model.add_argument("--batch", type=int, default=64, metavar="N", help="images at a time (default: 64)")
    model.add_argument(
        "--size",
        type=int,
        nargs="+",
        metavar="N",
        help="height and width, or one number for both: the largest middle part of that shape is resized (default: the "
        "images' own)",
    )
    model.add_argument(
        "--mean", type=float, nargs="+", metavar="X", help="taken from pixels 0 to 255, one number or one a channel "
        "(default: 127.5)"
    )  # fmt: skip
    model.add_argument("--std", type=float, nargs="+", metavar="X", help="that they are then divided by (default: 128)")
    model.add_argument("--colours", choices=("rgb", "bgr", "grey"), help="(default: rgb)")
    parser.add_argument(
        "--flip",
        choices=("concatenate", "sum", "none"),
        help="how the features of an image and of its mirror image become one (default: concatenate); none leaves the "
        "mirror image out",
    )
    parser.add_argument(
        "--far", type=float, nargs="*", default=list(FAR), metavar="RATE", help="false accept rates to give the true "
        "accept rate at (default: 0.1 0.01 0.001)"
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON, and nothing else")
    parser.add_argument("--roc", type=Path, metavar="FILE", help="draw the curves into an .svg or .png")
    return parser


def verify(argv: Sequence[str]) -> int:
    """`onsphere verify SET ...`."""
    parser = _parser()
    given = parser.read(argv)
    _check(given)
    from onsphere.cli.verify.sets import Choice, named_apart, opened

    choice = Choice(given.pairs, given.names, given.folds, given.count or COUNT, given.seed or 0, given.shared)
    sets = named_apart([opened(path, choice) for path in [*given.sets, *given.features]])
    _check_sets(sets, given)
    eye = _eye(given) if any(one.features is None for one in sets) else None
    found: list[Found] = []
    code = 0
    try:
        for one in sets:
            found.append(_verified(one, eye, given))
    except KeyboardInterrupt:
        if not found:
            raise
        code = 130
        print(f"onsphere: interrupted; {len(found)} of {len(sets)} sets are finished", file=sys.stderr)
    _show(found, given)
    return code


def _check(given: argparse.Namespace) -> None:
    """Raise a Mistake for what is wrong whatever is in the files."""
    if not given.sets and not given.features:
        raise Mistake("nothing to verify: give a SET, or --features FILE (all options: onsphere verify --help)")
    for path in given.features:
        if path.suffix not in (".npz", ".npy"):
            raise Mistake(f"--features {path}: expected an .npz or .npy file; images stand without --features")
    for name, least in (("batch", 1), ("folds", 2), ("count", 1), ("seed", 0)):
        value = getattr(given, name)
        if value is not None and value < least:
            raise Mistake(f"--{name} must be at least {least}, got {value}")
    for rate in given.far:
        if not 0 < rate <= 1:
            raise Mistake(f"--far {rate:g}: expected rates above 0, at most 1, such as 1e-3")
    if given.size is not None and (len(given.size) > 2 or min(given.size) < 1):
        raise Mistake(f"--size {' '.join(map(str, given.size))}: expected height and width in pixels, or one number")
    if given.model is not None and given.run is not None:
        raise Mistake("--model and --run: which one is meant?")
    if given.model is None and given.weights is not None:
        raise Mistake("--weights are loaded into a model: give --model")
    if given.run is None and (given.row is not None or given.run_seed is not None):
        raise Mistake(f"--{'row' if given.row is not None else 'run_seed'} is of a run: give --run FOLDER")
    if given.names is not None and given.pairs is None:
        raise Mistake("--names says which image a row is: it needs --pairs")
    if given.roc is not None:
        if given.roc.suffix not in (".svg", ".png"):
            raise Mistake(f"--roc {given.roc}: expected a file name that ends in .svg or .png")
        if not given.roc.parent.is_dir():
            raise Mistake(f"--roc {given.roc}: there is no folder {given.roc.parent}")
        from onsphere import report  # noqa: F401 - what it needs had better be missing now than after the work


def _check_sets(sets: Sequence[Set], given: argparse.Namespace) -> None:
    """Raise a Mistake for options that none of the sets can follow."""
    images = next((one for one in sets if one.features is None), None)
    if images is not None and given.model is None and given.run is None:
        raise Mistake(f"{images.source} holds images: give --model, or --run")
    for name in ("model", "run", "device", "size", "mean", "std", "colours"):
        if images is None and getattr(given, name) is not None:
            raise Mistake(f"--{name} is about images, and only features are given")
    if not any(one.drawn for one in sets):
        for name in ("count", "seed", "shared"):
            if getattr(given, name) not in (None, False):
                raise Mistake(f"--{name} is for pairs that are drawn, and all sets say which they compare")
    if given.flip in ("concatenate", "sum"):
        for one in sets:
            if one.features is not None and one.flipped is None:
                raise Mistake(f"--flip {given.flip}: {one.source} has no features of mirror images")


def _eye(given: argparse.Namespace) -> Eye:
    """What looks at the images, and how they come before it."""
    from onsphere.cli.factory import checked_device
    from onsphere.cli.verify.model import Eye, Look, loaded
    from onsphere.verification.extraction import MEAN, STD

    device = checked_device(given.device)
    if given.run is None:
        model = loaded(given.model, given.weights)
        usual = Look([MEAN], [STD], None, "rgb")
    else:
        from onsphere.cli.verify.trained import trained

        model, usual = trained(given.run, given.row, given.run_seed)
    look = Look(
        mean=given.mean or usual.mean,
        std=given.std or usual.std,
        size=(given.size[0], given.size[-1]) if given.size else usual.size,
        colours=given.colours or usual.colours,
        flip=given.flip != "none",
        batch=given.batch,
    )
    for name, values in (("mean", look.mean), ("std", look.std)):
        if len(values) not in (1, look.channels):
            raise Mistake(f"--{name}: expected one number, or {look.channels}, got {len(values)}")
    return Eye(model if device is None else model.to(device), look)


def _verified(one: Set, eye: Eye | None, given: argparse.Namespace) -> Found:
    from onsphere import verification
    from onsphere.cli.verify.table import Found

    features, flipped = one.features, one.flipped
    if one.encoded is not None and eye is not None:
        features, flipped = _extracted(one, one.encoded, eye)
    assert features is not None
    mirrored = None if given.flip == "none" else flipped
    combine: Literal["concatenate", "sum"] = given.flip if given.flip == "sum" else "concatenate"
    try:
        scores = verification.scores(features, one.pairs, mirrored, combine)
        result = verification.verify(scores, one.pairs, far=given.far)
        return Found(one, result, "none" if mirrored is None else combine)
    except ValueError as error:
        raise Mistake(f"{one.source}: {error}") from error


def _extracted(one: Set, encoded: Encoded, eye: Eye) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """The features of all images of a set, with a line of progress."""
    from rich.console import Console

    count = len(encoded)
    with Line(Console(stderr=True), one.name) as line:
        return eye.features(encoded, lambda done: line.show(done / count, f"{one.name}: {done:,} images"))


def _show(found: Sequence[Found], given: argparse.Namespace) -> None:
    from rich.console import Console

    from onsphere import __version__
    from onsphere.cli.verify import table

    if given.roc is not None:
        from onsphere.report.roc import write_roc

        try:
            write_roc([table.curve(one) for one in found], given.roc)
        except OSError as error:
            raise Mistake(f"cannot write {words(error)}") from error
        print(f"curves: {given.roc}", file=sys.stderr)
    try:
        if given.json:
            data = {
                "schema": 1,
                "kind": "verification",
                "onsphere": __version__,
                "model": given.model,
                "run": None if given.run is None else str(given.run),
                "sets": [table.data(one) for one in found],
            }
            print(json.dumps(data, allow_nan=False))
        else:
            console = Console(width=None if sys.stdout.isatty() else WIDTH)
            console.print(table.table(found, given.far))
            for note in table.notes(found, given.far):
                console.print(note, highlight=False, markup=False, style="dim")
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
