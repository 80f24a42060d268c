"""The command `onsphere`: comparisons, single runs and sweeps of the recipes.

Heavy modules are imported by the command that needs them, so that a mistyped command is answered at once.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence

from onsphere.cli.mistakes import Mistake, pick

HELP = """\
usage: onsphere COMMAND ...

Deep learning on the hypersphere.

commands:
  compare [RECIPE]   train every row of a table and print it (short names: digits, cifar100)
  train RECIPE       train one row of a recipe
  sweep RECIPE       train one row with many coefficients and draw accuracy against them
  recipes [RECIPE]   list the recipes: tables, costs, the papers' numbers and ours; or the rows of one
  inspect FILE       look at every layer of a file of weights or of a model: how correlated its neurons are
  verify SET         do two images show the same identity? Open-set accuracy of features, or of a model
  attack             how do the networks of a run do on images that were changed to mislead them?
  code               spread points on a sphere: n points in d dimensions as far apart as possible

options:
  -h, --help         show this text; after a command: all its options with their defaults
  --version          show the version

examples:
  onsphere compare
  onsphere compare cifar100 --dataset FOLDER
  onsphere train table3-digits --row mma --coefficient 0.1 --epochs 10
  onsphere train table5-cifar100 --smoke
  onsphere sweep table3-digits --coefficient 0.01..1
  onsphere inspect model.safetensors
  onsphere verify --features mine.npz
  onsphere attack --run runs/table3-digits
  onsphere code --n 30 --d 3
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None for those of the process.

    Returns:
        the exit code: 0, 1 for training that failed, 2 for a wrong argument, file or missing package, 130 after
        Ctrl-C, 143 after SIGTERM.

    >>> main(["--version"])
    onsphere 0.1.0
    0
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    command = argv[0] if argv else "--help"
    try:
        if command in ("-h", "--help"):
            print(HELP, end="")
            return 0
        if command == "--version":
            from onsphere import __version__

            print(f"onsphere {__version__}")
            return 0
        return pick("command", command, COMMANDS)(argv[1:])
    except Mistake as mistake:
        print(f"onsphere: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before or after training; during it _train shows what is done
        print("onsphere: interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        extra = "sweep" if error.name == "optuna" else "train,vision"
        print(f"onsphere: {command} needs the package {error.name!r}: pip install 'onsphere[{extra}]'", file=sys.stderr)
        return 2


def compare(argv: Sequence[str]) -> int:
    """`onsphere compare [RECIPE] ...`."""
    name, argv = ("digits", argv) if not argv or argv[0].startswith("-") else (argv[0], argv[1:])
    from onsphere import recipes
    from onsphere.cli import options
    from onsphere.cli.training import train_and_show

    entry = pick("recipe", name, recipes.COMPARISONS)
    extra = {
        "rows": (tuple[str, ...], entry.rows, "rows to train, in the order of the table"),
        "coefficients": (
            dict[str, float],
            {},
            "coefficients that differ from the paper's: --coefficients.mma 0.1, or row: value in YAML",
        ),
    }
    skip = {"row", "coefficient"}  # instead of these there are rows and coefficients
    chosen, settings = options.parse("compare", name, entry, argv, extra, skip)
    return train_and_show("compare", name, entry, lambda: recipes.compare(entry, **settings), chosen)


def train(argv: Sequence[str]) -> int:
    """`onsphere train RECIPE ...`."""
    from onsphere import recipes
    from onsphere.cli import options
    from onsphere.cli.training import train_and_show

    if not argv or argv[0] in ("-h", "--help"):
        print(_usage("train", recipes.RECIPES))
        return 0 if argv else 2
    name, entry = argv[0], pick("recipe", argv[0], recipes.RECIPES)
    # One row's costs are compared with nothing: its ratios would be 1.
    chosen, settings = options.parse("train", name, entry, argv[1:], defaults={"measure": False})
    return train_and_show("train", name, entry, lambda: [entry(**settings)], chosen)


def sweep(argv: Sequence[str]) -> int:
    """`onsphere sweep RECIPE ...`."""
    from onsphere import recipes
    from onsphere.cli.sweeping import sweep_and_show

    if not argv or argv[0] in ("-h", "--help"):
        print(_usage("sweep", recipes.RECIPES))
        return 0 if argv else 2
    return sweep_and_show(argv[0], pick("recipe", argv[0], recipes.RECIPES), argv[1:])


def list_recipes(argv: Sequence[str]) -> int:
    """`onsphere recipes [RECIPE] [--json]`."""
    from onsphere.cli.listing import show

    return show(argv)


def inspect_model(argv: Sequence[str]) -> int:
    """`onsphere inspect FILE ...`."""
    from onsphere.cli.inspect import inspect

    return inspect(argv)


def spread_points(argv: Sequence[str]) -> int:
    """`onsphere code ...`."""
    from onsphere.cli.code import code

    return code(argv)


def verify_pairs(argv: Sequence[str]) -> int:
    """`onsphere verify SET ...`."""
    from onsphere.cli.verify import verify

    return verify(argv)


def attack_run(argv: Sequence[str]) -> int:
    """`onsphere attack --run FOLDER ...`."""
    from onsphere.cli.attack import attack

    return attack(argv)


def _usage(command: str, names: Iterable[str]) -> str:
    text = textwrap.fill(", ".join(names), 100, initial_indent="recipes: ", subsequent_indent=" " * 9,
                         break_on_hyphens=False)  # fmt: skip
    return f"usage: onsphere {command} RECIPE ...\n\n{text}\nsettings: onsphere {command} RECIPE --help"


COMMANDS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "compare": compare,
    "train": train,
    "sweep": sweep,
    "recipes": list_recipes,
    "inspect": inspect_model,
    "verify": verify_pairs,
    "attack": attack_run,
    "code": spread_points,
}
